"""The map of the chapters."""

import textwrap

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch

from lab.figures.style import COLORS


def draw_map(names, needed):
    """Boxes for the chapters, each below those that it needs, and arrows to it from them.

    names: {number: title}; needed: {number: numbers of earlier chapters}, in order.
    """
    depth = {}
    for number, named in needed.items():
        depth[number] = 1 + max((depth[each] for each in named), default=-1)
    rows = {d: [n for n in depth if depth[n] == d] for d in sorted(set(depth.values()))}
    place = {
        n: ((i + 0.5) / len(row) * 4 - 2, -1.3 * d)
        for d, row in rows.items()
        for i, n in enumerate(row)
    }
    figure, ax = plt.subplots(figsize=(6, 1.05 * len(rows)), layout="constrained")
    for number, name in names.items():
        ax.text(
            *place[number],
            f"{number}\n{textwrap.fill(name.partition(':')[0], 13)}",
            ha="center",
            va="center",
            fontsize=8.5,
            bbox={"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": COLORS[0]},
            zorder=2,
        )
    for number, named in needed.items():
        for each in named:
            (x0, y0), (x1, y1) = place[each], place[number]
            ax.add_patch(
                FancyArrowPatch(
                    (x0, y0 - 0.32),
                    (x1, y1 + 0.45),
                    arrowstyle="-|>",
                    mutation_scale=9,
                    color="#777777",
                    zorder=1,
                )
            )
    ax.set(xlim=(-2.1, 2.1), ylim=(-1.3 * (len(rows) - 1) - 0.6, 0.6))
    ax.axis("off")
    return figure
