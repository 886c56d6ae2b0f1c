"""The figures of the chapter on two tasks: what must be on them."""

import matplotlib.pyplot as plt

from lab.addition.alignment import needed_positions
from lab.figures.two_tasks import draw_needs


def test_an_arc_leads_from_each_row_to_each_position_that_it_needs():
    needed = {task: needed_positions(task, n) for task, n in (("addition", 3), ("reversal", 5))}
    figure = draw_needs({task: (list("abcdefghijkl"), rows) for task, rows in needed.items()})
    for ax, rows in zip(figure.axes, needed.values()):
        arcs = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) > 1]
        ends = {(round(x.max()), round(x.min())) for x in arcs}
        assert ends == {(row, key) for row, keys in rows.items() for key in keys}
    plt.close(figure)
