"""Figures of chapter 10: the board by date, success rates, one training, and the profile of the log
ratio."""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.dates import ConciseDateFormatter

from _common import COLORS

__all__ = "plot_board plot_rates plot_trajectory plot_profile plot_starts plot_crossed".split()

OUTCOMES = {
    False: {
        "marker": "s",
        "color": COLORS[1],
        "fillstyle": "none",
        "linestyle": "none",
        "label": "fails",
    },
    True: {
        "marker": "o",
        "color": COLORS[0],
        "fillstyle": "full",
        "linestyle": "none",
        "label": "succeeds",
    },
}


def plot_board(board, own):
    """Learned or set numbers by date: board as lab.adders.studies.frontier.board_record gives it;
    own: {label: numbers}, as lines.

    Full markers stood in the board's table, open ones never did. The line is the smallest trained
    entry in that table so far.
    """
    figure, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
    for i, (category, table) in enumerate(board.groupby("category", sort=False)):
        for was_listed, fill, size in (
            (True, "full", 5),
            (False, "none", 8),
        ):  # rings are seen around other markers
            part = table[table["listed"].notna() == was_listed]
            ax.plot(
                part["date"],
                part["parameters"],
                "os"[i % 2],
                color=COLORS[i],
                fillstyle=fill,
                markersize=size,
                linestyle="none",
                label=f"{category}, {'listed' if was_listed else 'submitted only'}",
            )
    record = board[(board["category"] == "trained") & board["listed"].notna()].sort_values("listed")
    ax.step(
        record["listed"], record["parameters"].cummin(), where="post", color="#666666", linewidth=1
    )
    for i, (label, numbers) in enumerate(own.items()):
        ax.axhline(numbers, color=COLORS[2 + i], linestyle=["-.", ":"][i % 2], linewidth=1.6)
        ax.annotate(
            label,
            (1.0, numbers),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            xytext=(4, 0),
            va="center",
            fontsize=8,
        )
    ax.set(yscale="log", ylabel="counted numbers")
    ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000]
    ax.set_yticks(ticks, [f"{n:,}" for n in ticks])
    ax.minorticks_off()
    ax.legend(fontsize=8, loc="upper right", ncols=2)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(ax.xaxis.get_major_locator()))
    return figure


def plot_rates(table, groups):
    """Success rates with exact 95 % intervals, one row each: table as
    lab.adders.studies.frontier.success_table gives it.

    groups: {legend: list of labels}; rows in the order of the table, first on top.
    """
    figure, ax = plt.subplots(figsize=(8, 0.3 * len(table) + 1.5), layout="constrained")
    row = {label: i for i, label in enumerate(table["label"])}
    for i, (legend, labels) in enumerate(groups.items()):
        part = table[table["label"].isin(labels)]
        share, y = part["successes"] / part["seeds"], [row[label] for label in part["label"]]
        ax.errorbar(
            share,
            y,
            xerr=[share - part["low"], part["high"] - share],
            fmt="osD^v"[i % 5],
            color=COLORS[i],
            capsize=3,
            markersize=5,
            linestyle="none",
            label=legend,
        )
    ax.axvline(0.5, color="#888888", linestyle=":", linewidth=1)
    ax.set_yticks(
        range(len(table)), [f"{label}  ({n})" for label, n in zip(table["label"], table["seeds"])]
    )
    ax.set(xlim=(-0.02, 1.02), ylim=(len(table) - 0.5, -0.5), xlabel="share of seeds that succeed")
    ax.xaxis.set_major_formatter("{x:.0%}")
    figure.legend(fontsize=8, loc="outside lower center", ncols=len(groups))
    return figure


def plot_trajectory(table, names):
    """One training against steps: exact match, the log ratio with ln 10, and numbers as multiples
    of their last value.

    table: as lab.adders.studies.frontier.trajectory gives it; names: {column: label} for the third
    panel.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    for name, label, style in (("exact", "uniform", "-"), ("ripple_exact", "stratified", "--")):
        left.plot(table["step"], table[name], style, color=COLORS[name != "exact"], label=label)
    left.set(ylabel="sums right (validation)", ylim=(-0.03, 1.05))
    left.yaxis.set_major_formatter("{x:.0%}")
    middle.plot(table["step"], table["log_ratio"], color=COLORS[0])
    middle.axhline(math.log(10), color="#666666", linestyle="--", linewidth=1)
    middle.annotate(
        "ln 10",
        (table["step"].max(), math.log(10)),
        textcoords="offset points",
        xytext=(0, 3),
        ha="right",
        fontsize=9,
    )
    middle.set(ylabel="log ratio of attention", ylim=(1.6, 3.0))
    for i, (name, label) in enumerate(names.items()):
        right.plot(
            table["step"],
            table[name] / table[name].iloc[-1],
            ["-", "--", "-.", ":"][i % 4],
            color=COLORS[i % 7],
            label=label,
        )
    right.set(ylabel="share of the last value")
    for ax in (left, middle, right):
        ax.set_xlabel("step")
        ax.xaxis.set_major_locator(plt.MaxNLocator(4))
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    return figure


def plot_profile(profiles, found):
    """The smallest loss against the log ratio, less its minimum: profiles {label:
    (ratios, losses)}; found: the log ratios that trained seeds have, as ticks below."""
    figure, ax = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    top = 0.0
    for i, (label, (ratios, losses)) in enumerate(profiles.items()):
        excess = 1000 * (np.asarray(losses) - min(losses))
        top = max(top, excess.max())
        ax.plot(
            ratios,
            excess,
            "os"[i % 2] + ["-", "--"][i % 2],
            color=COLORS[i],
            label=label,
            markersize=5,
        )
    ax.axvline(math.log(10), color="#666666", linestyle="--", linewidth=1)
    ax.annotate(
        "ln 10", (math.log(10), 0.93 * top), textcoords="offset points", xytext=(4, 0), fontsize=9
    )
    ax.plot(
        found,
        np.full(len(found), -0.06 * top),
        "|",
        color="#444444",
        markersize=11,
        label="trained seeds",
    )
    ax.set(
        xlabel="log ratio of attention, own to previous column",
        ylabel="loss above the minimum,\nthousandths of a nat",
    )
    ax.legend(fontsize=8, loc="upper center")
    return figure


def plot_starts(begun, threshold):
    """Where one number starts in each run, and what becomes of it: {label: DataFrame
    (write, success)}, one row of points each."""
    figure, ax = plt.subplots(figsize=(8, 0.7 * len(begun) + 1.1), layout="constrained")
    for row, (_label, table) in enumerate(begun.items()):
        y = row + 0.16 * (
            np.arange(len(table)) % 3 - 1
        )  # so that neighbours do not hide each other
        for success, style in OUTCOMES.items():
            part = (table["success"] == success).to_numpy()
            ax.plot(
                table.loc[part, "write"],
                y[part],
                markersize=5,
                **style | ({} if row == 0 else {"label": None}),
            )
    ax.axvline(threshold, color="#888888", linestyle=":", linewidth=1.2)
    ax.set_yticks(range(len(begun)), list(begun))
    ax.set(xlabel="start of write", xlim=(-1.05, 1.05), ylim=(len(begun) - 0.5, -0.5))
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    return figure


def plot_crossed(grid, begins, threshold):
    """Every start with every stream, a square each, filled where the run succeeds; starts in the
    order of where one number begins.

    grid: (starts, streams) booleans, a DataFrame; begins: {start: where it begins}; threshold: a
    line between those below and above.
    """
    figure, ax = plt.subplots(figsize=(6.5, 4.6), layout="constrained")
    order = sorted(grid.index, key=begins.get)
    for success, style in OUTCOMES.items():
        row, column = np.nonzero((grid.loc[order] == success).to_numpy())
        ax.plot(column, row, markersize=7, **style)
    ax.axhline(
        sum(begins[start] < threshold for start in order) - 0.5,
        color="#888888",
        linestyle=":",
        linewidth=1.2,
    )
    ax.set_yticks(range(len(order)), [f"{begins[start]:.2f}" for start in order])
    ax.set_xticks(range(grid.shape[1]), grid.columns)
    ax.set(
        xlabel="stream of examples",
        ylabel="start: where write begins",
        ylim=(len(order) - 0.5, -0.5),
        xlim=(-0.6, grid.shape[1] - 0.4),
    )
    ax.grid(False)
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    return figure
