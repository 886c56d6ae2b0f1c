"""The figures of the chapter on learning curves. Each helper returns its figure."""

import matplotlib.pyplot as plt
import numpy as np

from _common import COLORS
from lab.addition.curves import FAILED, LEARNED
from lab.figures.style import LINES
from lab.stats import kaplan_meier


def plot_band(excess, accuracy, mine):
    """Two bands of curves with one run drawn over them: excess loss in digits at chance, and exact
    match.

    excess, accuracy: as `lab.addition.curves.band` returns them; mine: a run whose history has
    `excess`.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    last = excess["epoch"].max()
    shown = mine.history[mine.history["epoch"] <= last]
    left.hlines([0, 1, 2, 3], 1, last, color="#888888", linestyle=":", linewidth=0.8)
    for ax, table, name in ((left, excess, "excess"), (right, accuracy, "accuracy")):
        ax.fill_between(
            table["epoch"],
            table["low"],
            table["high"],
            step="mid",
            color=COLORS[0],
            alpha=0.25,
            linewidth=0,
            label="8 runs of 10",
        )
        ax.step(
            table["epoch"],
            table["median"],
            where="mid",
            color=COLORS[0],
            linewidth=2,
            label="median",
        )
        ax.plot(
            shown["epoch"],
            shown[name],
            color=COLORS[1],
            linestyle="--",
            linewidth=1.6,
            label=f"your run (seed {mine.config.seed})",
        )
        ax.set(xlabel="epoch", xlim=(0, last + 1))
    left.set(ylabel="excess loss (digits at chance)", ylim=(-0.2, 4.2))
    right.set(ylabel="exact match on test sums", ylim=(-0.03, 1.05))
    right.yaxis.set_major_formatter("{x:.0%}")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def plot_waiting(left_groups, right_groups, limit, titles):
    """Two panels of Kaplan-Meier curves. Groups: {label: (times, censored)}; the first of the left
    panel has its interval."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for ax, groups, title in zip(axes, (left_groups, right_groups), titles):
        for i, (label, (times, censored)) in enumerate(groups.items()):
            curve = kaplan_meier(times, censored)
            curve.loc[len(curve)] = {**curve.iloc[-1].to_dict(), "time": limit}
            if ax is axes[0] and i == 0:
                ax.fill_between(
                    curve["time"],
                    curve["low"],
                    curve["high"],
                    step="post",
                    color=COLORS[0],
                    alpha=0.2,
                    linewidth=0,
                )
            ax.step(
                curve["time"],
                curve["survival"],
                where="post",
                linewidth=2 if i == 0 else 1.5,
                color=COLORS[i % len(COLORS)],
                linestyle=LINES[i % len(LINES)],
                label=label,
            )
        ax.set(xlabel="epoch", xlim=(0, limit * 1.02), ylim=(-0.03, 1.05), title=title)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    axes[0].set_ylabel("share of runs not there yet")
    axes[0].yaxis.set_major_formatter("{x:.0%}")
    return figure


def plot_step_law(table):
    """Exact match against excess loss, one point per epoch, with the line 10 ** -excess. table:
    with `excess`, `accuracy`."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    shown = table[table["excess"] < 4]
    left.hist(shown["excess"], bins=np.arange(-0.025, 4, 0.05), color=COLORS[0])
    left.set(
        xlabel="excess loss (digits at chance)",
        ylabel="epochs of all runs",
        yscale="log" if len(shown) else "linear",
    )
    line = np.linspace(0, 4, 100)
    right.plot(line, 10**-line, color=COLORS[1], linestyle="--", label="10 to the power of −excess")
    right.plot(
        shown["excess"],
        shown["accuracy"].clip(lower=1e-4),
        ".",
        markersize=4,
        alpha=0.5,
        color=COLORS[0],
        label="an epoch of a run",
    )
    right.set(
        xlabel="excess loss (digits at chance)",
        ylabel="exact match",
        yscale="log",
        ylim=(0.8e-4, 1.5),
    )
    right.legend(loc="lower left")
    return figure


def plot_lapses(runs):
    """One line per run from the epoch in which it had learned to its last, with a mark at every
    lapse.

    The mark's height on the line's row says how far the run fell: from 99 % (on the line) to
    nothing (next row below).
    """
    figure, ax = plt.subplots(figsize=(8, 0.4 * len(runs) + 1.2), layout="constrained")
    for row, run in enumerate(runs):
        history, learned = run.history, run.epochs_to(LEARNED)
        end = history["epoch"].max()
        if learned is None:
            ax.hlines(row, 1, end, color="#999999", linestyle=":", linewidth=1.5)
            continue
        ax.hlines(row, 1, learned, color="#999999", linestyle=":", linewidth=1.5)
        ax.hlines(row, learned, end, color=COLORS[0], linewidth=2)
        failed = history[(history["epoch"] > learned) & (history["accuracy"] < FAILED)]
        ax.vlines(
            failed["epoch"],
            row,
            row + 0.9 * (1 - failed["accuracy"]),
            color=COLORS[1],
            linewidth=2.5,
        )
        ax.plot(failed["epoch"], np.full(len(failed), row), "x", color=COLORS[1], markersize=5)
    ax.set(xlabel="epoch", ylabel="seed", yticks=range(len(runs)), ylim=(len(runs) + 0.05, -0.6))
    ax.set_yticklabels([run.config.seed for run in runs])
    ax.grid(axis="y", visible=False)
    return figure


def plot_map_curves(cells):
    """Training (dashed) and test exact match (solid) against steps, one panel per cell, one pair of
    lines per seed.

    cells: {title: runs}, at least one. Steps are on a logarithmic axis.
    """
    columns = min(3, len(cells))
    rows = -(-len(cells) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(3.1 * columns + 0.6, 2.5 * rows + 0.5),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat[len(cells) :]:
        ax.set_axis_off()
    for ax, (title, runs) in zip(axes.flat, cells.items()):
        for run in runs:
            steps = run.history["epoch"] * -(-run.config.n_train // run.config.batch_size)
            ax.plot(
                steps,
                run.history["train_accuracy"],
                linestyle="--",
                marker=".",
                markersize=2,
                linewidth=1.4,
                zorder=3,
                color=COLORS[0],
                label="training sums",
            )
            ax.plot(
                steps,
                run.history["accuracy"],
                linestyle="-",
                marker=".",
                markersize=2,
                linewidth=1.4,
                color=COLORS[1],
                label="test sums",
            )
        ax.set(xscale="log", ylim=(-0.03, 1.05), xlabel="step")
        ax.set_title(title, fontsize=10)
        ax.yaxis.set_major_formatter("{x:.0%}")
    for ax in axes[:, 0]:
        ax.set_ylabel("exact match")
    handles = dict(zip(*axes[0, 0].get_legend_handles_labels()[::-1]))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    return figure
