"""The figures of the chapter on attention maps: what must be on them."""

import numpy as np
import pytest

from lab.figures.attention import draw_edge, plot_answer_rows


def test_an_edge_is_one_line_of_as_many_as_the_row_can_see():
    ax = draw_edge(row=8, key=1).axes[0]
    *edges, cross = ax.lines
    assert len(edges) == 9 and cross.get_marker() == "x"
    (thick,) = [line for line in edges if line.get_linewidth() > 2]
    assert list(thick.get_xdata()) == [1, 8]
    assert "predicts the tens" in [text.get_text() for text in ax.texts]
    for row, key in ((6, 0), (11, 0), (8, 9), (8, -1)):
        with pytest.raises(ValueError, match="row must be 7 to 10"):
            draw_edge(row, key)


def test_effects_stand_below_the_weights_of_their_layer():
    values = np.zeros((2, 4, 11))
    panels = [ax.get_title(loc="left") for ax in plot_answer_rows(values, values).axes[:4]]
    assert panels == [
        "layer 1: weight",
        "layer 1: nats lost when cut",
        "layer 2: weight",
        "layer 2: nats lost when cut",
    ]
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_answer_rows()
