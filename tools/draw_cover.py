"""Draw the book's cover from its stored runs: `python -m tools.draw_cover` writes
figures/theme/cover.png."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import yaml

from _common import digits_at_chance
from lab import ROOT
from lab.experiments import runs_of

COVER = ROOT / "figures/theme/cover.png"
PAPER, INK, SOFT, LINE = "#15161a", "#dddbd5", "#a4a39d", "#8dbdec"


def draw_cover(title: str, subtitle: str):
    """Twenty runs of one recipe: the staircase down to the floor, a line for each seed. Returns the
    figure."""
    figure = plt.figure(figsize=(6, 9), facecolor=PAPER, layout="none")
    axes = figure.add_axes([0.08, 0.08, 0.84, 0.5], facecolor=PAPER)
    for run in [*runs_of("reference"), *runs_of("reference, until learned")]:
        excess = digits_at_chance(run.history["loss"], run.config.floor, n_targets=12)
        axes.plot(run.history["epoch"], excess, color=LINE, linewidth=1, alpha=0.7)
    axes.set(xlim=(0, 58), ylim=(-0.1, 4))
    axes.axis("off")
    figure.text(
        0.08,
        0.9,
        textwrap.fill(title, 24),
        color=INK,
        fontsize=25,
        family="serif",
        weight="bold",
        va="top",
        linespacing=1.25,
    )
    figure.text(
        0.08,
        0.77,
        textwrap.fill(subtitle, 42),
        color=SOFT,
        fontsize=12.5,
        family="serif",
        va="top",
        linespacing=1.4,
    )
    return figure


def main() -> None:
    book = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["book"]
    draw_cover(book["title"], book["subtitle"]).savefig(
        COVER, dpi=150, facecolor=PAPER, metadata={"Software": None}
    )
    print(COVER.relative_to(ROOT))


if __name__ == "__main__":
    main()
