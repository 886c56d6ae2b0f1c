"""The figure of the appendix on predictions: what was expected against what came out."""

import matplotlib.pyplot as plt

from _common import COLORS
from lab.figures.style import MARKERS

__all__ = ["plot_expected"]


def plot_expected(table):
    """Share expected (x) against share observed (y), with its exact 95 % interval, a marker for
    each table of predictions; hollow where the interval misses the expectation.

    table: as `lab.adders.studies.expected.scored`, rows with a count only.
    """
    figure, ax = plt.subplots(figsize=(5.6, 5.2), layout="constrained")
    ax.plot([0, 1], [0, 1], color="#888888", linestyle="--", linewidth=1, zorder=0)
    ax.annotate("as expected", (0.53, 0.5), color="#666666", rotation=43, va="top")
    for i, (name, rows) in enumerate(table.groupby("table", sort=False)):
        for number, row in enumerate(rows.itertuples()):
            # a small step aside keeps equal expectations apart
            x = row.expected / row.of + 0.006 * (number % 3 - 1)
            ax.vlines(x, row.low, row.high, color=COLORS[i], linewidth=1, alpha=0.7)
            ax.plot(
                x,
                row.share,
                MARKERS[i],
                color=COLORS[i],
                fillstyle="full" if row.inside else "none",
                label=name if number == 0 else None,
            )
    ax.set(
        xlabel="share of seeds expected to succeed",
        ylabel="share that did",
        xlim=(-0.03, 1.03),
        ylim=(-0.03, 1.03),
    )
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.yaxis.set_major_formatter("{x:.0%}")
    if len(table):
        ax.legend(loc="upper left", bbox_to_anchor=(0.0, 0.97))
    return figure
