"""Figures of chapter 9. Each helper returns its figure."""

import matplotlib.pyplot as plt
import numpy as np

from _common import COLORS
from lab.figures.style import MARKERS

__all__ = (
    "draw_places plot_scores plot_validation plot_columns plot_by_ripple plot_found"
    " plot_where_rows_look plot_fixed plot_effects plot_second_passes".split()
)
GREY = "#666666"


def draw_places(a, b, columns):
    """A ten-digit sum as on paper, each digit with its place in the sequence, and arrows from the
    rows that write some columns of the result to the two digits they need.

    a, b: operands below 10**10; columns: which of 0..9 get arrows, a colour each.
    """
    digits = {
        "a": [(9 - i, a // 10**i % 10, 9 - i) for i in range(10)],
        "b": [(9 - i, b // 10**i % 10, 20 - i) for i in range(10)],
        "sum": [(i, (a + b) // 10**i % 10, 22 + i) for i in range(11)],
    }
    heights = {"a": 2.6, "b": 1.6, "sum": 0.0}
    figure, ax = plt.subplots(figsize=(6, 3.1), layout="constrained")
    for name, cells in digits.items():
        for x, digit, place in cells:
            ax.text(x, heights[name], str(digit), ha="center", va="center", fontsize=13)
            ax.text(
                x,
                heights[name] - 0.33,
                str(place),
                ha="center",
                va="center",
                fontsize=8,
                color=GREY,
            )
    for column, color in zip(columns, COLORS):
        for name, way in (("a", -0.12), ("b", 0.12)):
            ax.annotate(
                "",
                (9 - column, heights[name] - 0.45),
                (column, 0.3),
                arrowprops={
                    "arrowstyle": "->",
                    "color": color,
                    "linewidth": 1.6,
                    "connectionstyle": f"arc3,rad={way}",
                },
            )
        ax.text(column, -0.62, f"$Z_{column}$", color=color, ha="center", va="center", fontsize=12)
    ax.text(-0.8, heights["b"], "+", ha="center", va="center", fontsize=13)
    ax.text(-0.8, heights["sum"], "=", ha="center", va="center", fontsize=13)
    ax.annotate(
        "written this way",
        (10.4, -1.05),
        (-0.3, -1.05),
        va="center",
        color=GREY,
        fontsize=9,
        arrowprops={"arrowstyle": "->", "color": GREY},
    )
    ax.set(xlim=(-1.1, 10.6), ylim=(-1.35, 3.0))
    ax.axis("off")
    return figure


def plot_scores(groups, published):
    """Each seed's share of the board's sums as a point, one row per group. groups: {label: shares};
    published: {label: share}."""
    figure, ax = plt.subplots(figsize=(6.4, 0.7 * len(groups) + 1.3), layout="constrained")
    for row, (label, shares) in enumerate(groups.items()):
        shares = np.sort(np.asarray(shares, dtype=float))
        ax.plot(
            shares,
            row + 0.22 * (np.arange(len(shares)) % 3 - 1),
            "o",
            color=COLORS[0],
            markersize=6,
            alpha=0.8,
            label="one seed" if row == 0 else None,
        )
        ax.plot(
            np.median(shares),
            row,
            "|",
            color=COLORS[0],
            markersize=26,
            markeredgewidth=2,
            label="median" if row == 0 else None,
        )
        ax.plot(
            published[label],
            row,
            "D",
            color=COLORS[1],
            markersize=7,
            fillstyle="none",
            markeredgewidth=1.6,
            label="published" if row == 0 else None,
        )
    ax.axvline(0.99, color="#888888", linestyle=":", linewidth=1.2)
    ax.set_yticks(range(len(groups)), list(groups))
    ax.set(
        xlabel="share of the board's sums right", xlim=(-0.03, 1.03), ylim=(len(groups) - 0.5, -0.5)
    )
    ax.xaxis.set_major_formatter("{x:.0%}")
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)
    return figure


def plot_validation(panels, stages):
    """Share of validation sums right against step, one panel per group, one line per seed.

    panels: {title: history with seed, step, exact}; stages: {title: steps at which the operands
    grow}, drawn as dotted lines.
    """
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(6, 2.4 * len(panels)), sharey=True, layout="constrained"
    )
    for ax, (title, history) in zip(np.atleast_1d(axes), panels.items()):
        for _seed, part in history.sort_values("step").groupby("seed"):
            color = COLORS[0 if part["exact"].iloc[-1] < 0.9995 else 1]
            ax.plot(part["step"], part["exact"], color=color, linewidth=1, alpha=0.8)
        for step in stages[title]:
            ax.axvline(step, color="#888888", linestyle=":", linewidth=1.2)
        ax.set(ylim=(-0.03, 1.03), xlim=(0, history["step"].max()), ylabel="sums right")
        ax.set_title(f"the {title}, {history['seed'].nunique()} seeds", loc="left", fontsize=10)
        ax.xaxis.set_major_locator(plt.MaxNLocator(5))
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.yaxis.set_major_formatter("{x:.0%}")
    ax.set_xlabel("step")
    return figure


def plot_columns(panels, scores):
    """Share of digits right, one row per seed and one cell per column, the ones on the right as in
    writing.

    panels: {title: shares (S, 11)}; scores: {title: share of the board's sums (S,)}, written beside
    the rows. Rows by score."""
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(5.2, 0.36 * sum(map(len, panels.values())) + 0.9),
        sharex=True,
        height_ratios=[len(shares) for shares in panels.values()],
        layout="constrained",
    )
    for ax, (title, shares) in zip(np.atleast_1d(axes), panels.items()):
        order = np.argsort(-np.asarray(scores[title]), kind="stable")
        ax.imshow(np.asarray(shares)[order, ::-1], aspect="auto", vmin=0, vmax=1, cmap="viridis")
        for row, k in enumerate(order):
            for column, share in enumerate(np.asarray(shares)[k, ::-1]):
                ax.text(
                    column,
                    row,
                    f"{100 * share:.1f}" if 0.95 <= share < 0.9995 else f"{100 * share:.0f}",
                    ha="center",
                    va="center",
                    fontsize=8.5,
                    color="black" if share > 0.6 else "white",
                )
            ax.text(10.7, row, f"{100 * scores[title][k]:.1f} %", va="center", fontsize=8.5)
        ax.set_yticks([])
        ax.set(ylabel=title)
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set_visible(False)
    axes = np.atleast_1d(axes)
    axes[0].set_title("sums", loc="right", fontsize=9, x=1.12)
    axes[-1].set_xticks(range(11), [f"$Z_{{{i}}}$" for i in range(10, -1, -1)])
    return figure


def plot_by_ripple(panels):
    """Share of sums right by longest ripple, one panel per group, one line per seed. panels:
    {title: shares (S, 10)}. Where all of a group are above 80 %, its axis begins there."""
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(6, 2.4 * len(panels)), sharex=True, layout="constrained"
    )
    for ax, (title, shares) in zip(np.atleast_1d(axes), panels.items()):
        for row in np.asarray(shares):
            ax.plot(range(10), row, "o-", color=COLORS[0], markersize=3.5, linewidth=1, alpha=0.8)
        limits = (0.8, 1.01) if np.min(shares) > 0.8 else (-0.03, 1.03)
        ax.set(xticks=range(10), ylim=limits, ylabel="sums right")
        ax.set_title(f"the {title}, {len(shares)} seeds", loc="left", fontsize=10)
        ax.yaxis.set_major_formatter("{x:.0%}")
    ax.set_xlabel("longest ripple (columns)")
    return figure


def plot_found(tables):
    """Digits right against attention on the column's own two digits, a point per seed and column.
    tables: {label: column_table}."""
    figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for i, (label, table) in enumerate(tables.items()):
        ax.plot(
            table["own"],
            table["right"],
            "os"[i % 2],
            color=COLORS[i],
            markersize=5,
            alpha=0.75,
            fillstyle=["full", "none"][i % 2],
            label=label,
        )
    ax.axhline(0.1, color="#888888", linestyle=":", linewidth=1.2)
    ax.set(
        xlabel="attention on the two digits of the own column",
        ylabel="digits right",
        xlim=(-0.03, 1.03),
        ylim=(-0.03, 1.03),
    )
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.legend(loc="upper left", fontsize=8)
    return figure


def plot_where_rows_look(patterns):
    """Mean attention of the rows that write the sum, one panel per model. patterns: {title:
    (33, 33)}."""
    labels = (
        [f"$X_{9 - k}$" for k in range(10)]
        + ["+"]
        + [f"$Y_{9 - k}$" for k in range(10)]
        + ["="]
        + [f"$Z_{{{k}}}$" for k in range(11)]
    )
    figure, axes = plt.subplots(
        len(patterns), 1, figsize=(7.2, 3 * len(patterns)), sharex=True, layout="constrained"
    )
    for ax, (title, pattern) in zip(np.atleast_1d(axes), patterns.items()):
        shown = np.ma.masked_where(
            np.arange(33)[None] > np.arange(21, 32)[:, None], np.asarray(pattern)[21:32]
        )
        image = ax.imshow(shown, aspect="auto", vmin=0, vmax=0.6, cmap="viridis")
        ax.set_yticks(range(11), [f"$Z_{{{i}}}$" for i in range(11)])
        ax.set(title=title, ylabel="row that writes")
        ax.grid(False)
    ends = [0, 9, 11, 20, 22, 31]
    np.atleast_1d(axes)[-1].set_xticks(ends, [labels[place] for place in ends])
    figure.colorbar(image, ax=axes, label="attention weight", shrink=0.7, pad=0.01)
    return figure


def plot_fixed(table):
    """What fixing the attention costs: a row per model, its share of sums right with its own
    attention and with the average one. table: DataFrame (recipe, seed, free, fixed)."""
    figure, ax = plt.subplots(figsize=(6, 0.34 * len(table) + 1.2), layout="constrained")
    rows = np.arange(len(table))
    ax.hlines(rows, table["fixed"], table["free"], color="#888888", linewidth=1.5, zorder=1)
    ax.plot(table["free"], rows, "o", color=COLORS[0], label="its own attention")
    ax.plot(table["fixed"], rows, "D", color=COLORS[1], label="fixed at the mean")
    ax.set_yticks(rows, [f"{each.recipe}, seed {each.seed}" for each in table.itertuples()])
    ax.set(xlabel="sums right", xlim=(-0.03, 1.03), ylim=(len(table) - 0.5, -0.5))
    ax.xaxis.set_major_formatter("{x:.0%}")
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    return figure


def plot_effects(effects, means):
    """By how much each change of a recipe multiplies the number of wrong sums: a point per seed,
    and the mean with its interval.

    effects: DataFrame (name, seed, factor); means: DataFrame (name, factor, low, high), drawn in
    its order. Logarithmic scale.
    """
    figure, ax = plt.subplots(figsize=(5.4, 0.85 * len(means) + 1.2), layout="constrained")
    for row, each in enumerate(means.itertuples()):
        ax.text(
            0.01,
            row - 0.34,
            each.name.replace("\n", " "),
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=9.5,
        )
        part = effects[effects["name"] == each.name].sort_values("seed")
        ax.plot(
            part["factor"],
            [row + 0.2] * len(part),
            "o",
            color=COLORS[0],
            markersize=5,
            alpha=0.8,
            label="one seed" if row == 0 else None,
        )
        ax.errorbar(
            [each.factor],
            [row],
            xerr=[[each.factor - each.low], [each.high - each.factor]],
            fmt="D",
            color=COLORS[1],
            capsize=3,
            markersize=5,
            label="geometric mean, 95 % interval" if row == 0 else None,
        )
    ax.axvline(1, color="#888888", linewidth=1)
    ax.set_yticks(range(len(means)), [""] * len(means))
    ax.set(xscale="log", xlabel="wrong sums, times", ylim=(len(means) - 0.55, -0.6))
    ticks = [
        t
        for t in (0.01, 0.03, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100)
        if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]
    ]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    figure.legend(fontsize=9, loc="outside lower center", ncols=2)
    return figure


def plot_second_passes(panels, before, mine=None):
    """Share of validation sums right during second passes, one panel per schedule, one thin line
    per arm and seed, with a marker where it is lowest. Seeds differ by colour and marker.

    panels: {title: history with sweep, seed, step, exact}; before: {seed: share at their start};
    mine: {title: your own run's history with step and exact}, drawn thick.
    """
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(6, 2 * len(panels) + 0.3),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    lowest = min(history["exact"].min() for history in panels.values())
    of_seed = {}
    for ax, (title, history) in zip(np.atleast_1d(axes), panels.items()):
        for (_, seed), part in history.groupby(["sweep", "seed"]):
            i = list(before).index(seed)
            shares = [before[seed], *part["exact"]]
            [of_seed[f"seed {seed}"]] = ax.plot(
                [0, *part["step"]],
                shares,
                color=COLORS[i % 5],
                marker=MARKERS[i % 5],
                markevery=[int(np.argmin(shares))],
                markersize=4.5,
                linewidth=0.8,
                alpha=0.6,
            )
        for own, part in (mine or {}).items():
            if own == title:
                ax.plot(part["step"], part["exact"], color="#333333", linewidth=2.4)
        ax.set(ylim=(lowest - 0.05, 1.02), ylabel="sums right")
        ax.set_title(title, loc="left", fontsize=10)
        ax.yaxis.set_major_formatter("{x:.0%}")
    ax.set_xlabel("step of the second pass")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    names = sorted(of_seed)
    figure.legend(
        [of_seed[name] for name in names], names, fontsize=8, loc="outside lower center", ncols=5
    )
    return figure
