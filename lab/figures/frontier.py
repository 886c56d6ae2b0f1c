"""Figures of chapter 10: the board by date, success rates, one training, and the profile of the log
ratio."""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.dates import ConciseDateFormatter
from matplotlib.patches import Rectangle

from _common import COLORS
from lab.adders.formats import FORMATS
from lab.adders.fragility import right_sums

__all__ = """
    draw_wave plot_board plot_rates plot_trajectory plot_profile plot_starts plot_crossed
    plot_turned
""".split()

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


@torch.no_grad()
def draw_wave(model, a, b, columns):
    """The wave of a rotary adder's attention over the tokens of one sum, a panel for each column
    that is written: the wave above, the tokens, and below them the weights as bars.

    model: a RotaryAdder with a window; a, b: the operands; columns: which digits of the sum are
    being written, 1 to 9. Under each panel stands what the row reads off.
    """
    format, c = FORMATS[model.config.format], model.config
    tokens = format.sequences(torch.tensor([a]), torch.tensor([b]))[0].tolist()
    pattern = model.attention_weights(model.max_seq_len)
    figure, axes = plt.subplots(
        len(columns), 1, figsize=(5.6, 2.7 * len(columns)), squeeze=False, layout="constrained"
    )
    for ax, i in zip(axes[:, 0], columns):
        row = format.prompt - 1 + i
        first = row - c.window + 1
        own, before = {row - 21: "X", row - 10: "Y"}, {row - 22: "X", row - 11: "Y"}
        at = np.linspace(first - 0.3, row + 0.3, 400)
        wave = np.cos(2 * math.pi / c.period * (row - at - model.phi.item()))
        ax.plot(at, 1.75 + 0.75 * wave, color=COLORS[0], linewidth=1.6)
        for position in range(first, row + 1):
            color = (
                COLORS[1]
                if position in own
                else COLORS[2]
                if position in before
                else COLORS[4]
                if position == row
                else "#aaaaaa"
            )
            ax.add_patch(Rectangle((position - 0.4, -0.35), 0.8, 0.7, fc="white", ec=color, lw=1.6))
            ax.text(position, -0.02, str(tokens[position]), ha="center", va="center", fontsize=9)
            ax.bar(position, -2.2 * float(pattern[row, position]), 0.7, bottom=-0.5, color=color)
            if position in own or position in before:
                name, index = (own | before)[position], i if position in own else i - 1
                ax.text(
                    position,
                    0.4,
                    f"${name}_{{{index}}}$",
                    ha="center",
                    va="bottom",
                    color=color,
                    fontsize=9,
                )
        ax.text(row, 0.4, f"$Z_{{{i - 1}}}$", ha="center", va="bottom", color=COLORS[4], fontsize=9)
        x, y, u, v = (tokens[row - lag] for lag in (21, 10, 22, 11))
        ax.text(
            (first + row) / 2,
            -1.85,
            f"own column {x} + {y}; the one before {u} + {v} = {u + v}, written {tokens[row]}:"
            f" a carry of {(u + v - tokens[row] + 9) // 10}",
            ha="center",
            va="top",
            fontsize=9,
        )
        ax.set(xlim=(first - 0.8, row + 0.8), ylim=(-2.3, 2.7))
        ax.set_title(f"the row that writes $Z_{{{i}}}$", fontsize=10, loc="left")
        ax.axis("off")
    return figure


def plot_board(board, own):
    """Learned or set numbers by date: board as lab.adders.studies.frontier.board_record gives it;
    own: {label: numbers}, as lines.

    Full markers stood in the board's table, open ones never did. The line is the smallest trained
    entry in that table so far.
    """
    figure, ax = plt.subplots(figsize=(5.8, 5.2), layout="constrained")
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
            xytext=(0, 3),
            ha="right",
            color=COLORS[2 + i],
            fontsize=9,
        )
    ax.set(yscale="log", ylabel="counted numbers")
    ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000]
    ax.set_yticks(ticks, [f"{n:,}" for n in ticks])
    ax.minorticks_off()
    figure.legend(fontsize=9, loc="outside lower center", ncols=2)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(ax.xaxis.get_major_locator()))
    return figure


def plot_rates(table, groups):
    """Success rates with exact 95 % intervals, one row each: table as
    lab.adders.studies.frontier.success_table gives it.

    groups: {legend: list of labels}; rows in the order of the table, first on top.
    """
    figure, ax = plt.subplots(figsize=(5.8, 0.3 * len(table) + 1.3), layout="constrained")
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
    figure.legend(fontsize=9, loc="outside lower center", ncols=len(groups))
    return figure


def plot_trajectory(table, names):
    """One training against steps: exact match, the log ratio with ln 10, and numbers as multiples
    of their last value.

    table: as lab.adders.studies.frontier.trajectory gives it; names: {column: label} for the third
    panel.
    """
    figure, (left, middle, right) = plt.subplots(
        3, 1, figsize=(5.8, 6.6), sharex=True, layout="constrained"
    )
    for name, label, style in (("exact", "uniform", "-"), ("ripple_exact", "stratified", "--")):
        left.plot(table["step"], table[name], style, color=COLORS[name != "exact"], label=label)
    left.set(ylabel="sums right\n(validation)", ylim=(-0.03, 1.05))
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
    middle.set(ylabel="log ratio", ylim=(1.6, 3.0))
    for i, (name, label) in enumerate(names.items()):
        right.plot(
            table["step"],
            table[name] / table[name].iloc[-1],
            ["-", "--", "-.", ":"][i % 4],
            color=COLORS[i % 7],
            label=label,
        )
    right.set(ylabel="share of the\nlast value", xlabel="step")
    right.xaxis.set_major_locator(plt.MaxNLocator(4))
    right.xaxis.set_major_formatter("{x:,.0f}")
    left.legend(fontsize=9)
    right.legend(fontsize=9)
    return figure


def plot_profile(profiles, found):
    """The smallest loss against the log ratio, less its minimum: profiles {label:
    (ratios, losses)}; found: the log ratios that trained seeds have, as ticks below."""
    figure, ax = plt.subplots(figsize=(5.8, 3.4), layout="constrained")
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


def plot_starts(begun, threshold, number="write", across="start of write", limits=(-1.05, 1.05)):
    """Where one number starts in each run, and what becomes of it: {label: DataFrame
    (the number, success)}, one row of points each. across: what the axis is called."""
    figure, ax = plt.subplots(figsize=(5.8, 0.75 * len(begun) + 1.1), layout="constrained")
    for row, (_label, table) in enumerate(begun.items()):
        y = row + 0.16 * (
            np.arange(len(table)) % 3 - 1
        )  # so that neighbours do not hide each other
        for success, style in OUTCOMES.items():
            part = (table["success"] == success).to_numpy()
            ax.plot(
                table.loc[part, number],
                y[part],
                markersize=5,
                **style | ({} if row == 0 else {"label": None}),
            )
    ax.axvline(threshold, color="#888888", linestyle=":", linewidth=1.2)
    ax.set_yticks(range(len(begun)), [label.replace(", ", ",\n") for label in begun])
    ax.set(xlabel=across, xlim=limits, ylim=(len(begun) - 0.5, -0.5))
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    return figure


def plot_crossed(grid, begins, threshold):
    """Every start with every stream, a square each, filled where the run succeeds; starts in the
    order of where one number begins.

    grid: (starts, streams) booleans, a DataFrame; begins: {start: where it begins}; threshold: a
    line between those below and above.
    """
    figure, ax = plt.subplots(figsize=(5.8, 4.6), layout="constrained")
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


@torch.no_grad()
def plot_turned(model, a, b, roles, reach=0.3, steps=61):
    """The share of sums that stay right while one number of a model moves and the others stay, a
    panel a number: what stands in the place of the laboratory.

    a, b: (N,) int64; roles: {"arc[0]" or the like: what the number is}; reach: how far, as a share
    of the number's size.
    """
    changes = np.linspace(-reach, reach, steps)
    figure, axes = plt.subplots(
        math.ceil(len(roles) / 2),
        2,
        figsize=(5.8, 1.15 * math.ceil(len(roles) / 2) + 0.4),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    tensors = dict(model.named_parameters())
    for ax, (name, role) in zip(axes.flat, roles.items()):
        tensor, _, index = name.rstrip("]").partition("[")
        numbers, index = tensors[tensor].view(-1), int(index)
        value, shares = float(numbers[index]), []
        for change in changes:
            numbers[index] = value * (1 + change)
            shares.append(float(right_sums(model, a, b).double().mean()))
        numbers[index] = value
        ax.plot(changes, shares, color=COLORS[0])
        ax.set_title(role, loc="left", fontsize=9)
        ax.set(ylim=(-0.05, 1.1), yticks=(0, 1))
    for ax in axes.flat:
        ax.xaxis.set_major_formatter("{x:+.0%}")
        ax.yaxis.set_major_formatter("{x:.0%}")
    figure.supxlabel("change of the number", fontsize=10)
    figure.supylabel("sums right", fontsize=10)
    return figure
