"""The figures of the chapter on the problem. Each helper returns its figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch

from _common import COLORS, decode_tokens, encode_addition

__all__ = "draw_targets draw_circle plot_right_digits plot_rows".split()
GREY = "#666666"


def _tile(ax, x, y, text, color=GREY, fill="white"):
    """A token in a box of width 0.8 around (x, y)."""
    ax.add_patch(
        FancyBboxPatch(
            (x - 0.38, y - 0.34),
            0.76,
            0.68,
            boxstyle="round,pad=0.02",
            facecolor=fill,
            edgecolor=color,
            linewidth=1.6,
        )
    )
    size = 12 if len(text) == 1 else 7.5
    ax.text(x, y, text, ha="center", va="center", family="monospace", fontsize=size)


def draw_targets(a, b):
    """The twelve targets of one three-digit sum: above, the token read; below, the token that comes
    next, framed by whether anybody could know it. A drawing, not data.

    a, b: operands, 0 to 999.
    """
    prompt, answer = encode_addition(a, b)
    symbols = [decode_tokens([token]).strip("<>") for token in prompt + answer]
    by_chance = {0, 1, 3, 4, 5}  # targets that are operand digits
    figure, ax = plt.subplots(figsize=(6.2, 2.2), layout="constrained")
    for i, (read, target) in enumerate(zip(symbols, symbols[1:])):
        color = COLORS[1] if i in by_chance else COLORS[2]
        _tile(ax, i, 1.5, read)
        _tile(ax, i, 0, target, color)
        ax.annotate(
            "", (i, 0.42), (i, 1.1), arrowprops={"arrowstyle": "->", "color": color, "lw": 1.3}
        )
    ax.text(-0.75, 1.5, "read", ha="right", va="center", fontsize=9.5)
    ax.text(-0.75, 0, "next", ha="right", va="center", fontsize=9.5)
    for x, text, color in (
        (2.0, "drawn at random", COLORS[1]),
        (8.8, "follows from what was read", COLORS[2]),
    ):
        ax.text(x, -0.85, text, ha="center", va="center", color=color, fontsize=10)
    ax.set(xlim=(-1.9, 11.6), ylim=(-1.15, 2.0))
    ax.axis("off")
    return figure


def draw_circle(start=4):
    """The ten digits on a circle, an arrow from each to the next: a carry would have to lift every
    digit above the one before it. A drawing, not data.

    start: the digit whose arrow is worked out in the text, and drawn apart.
    """
    angles = np.pi / 2 - 2 * np.pi * np.arange(10) / 10
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (10, 2)
    figure, ax = plt.subplots(figsize=(4.2, 4.2), layout="constrained")
    for d in range(10):
        here, there = places[d], places[(d + 1) % 10]
        chosen = d == start % 10
        ax.annotate(
            "",
            here + 0.74 * (there - here),
            here + 0.26 * (there - here),
            arrowprops={
                "arrowstyle": "-|>",
                "color": COLORS[1] if chosen else GREY,
                "linewidth": 2.6 if chosen else 1.3,
            },
        )
        ax.text(*here, str(d), ha="center", va="center", fontsize=14)
    first, second = places[start % 10], places[(start + 1) % 10]
    middle = (first + second) / 2
    ax.text(
        *(1.16 * middle),
        f"a carry lifts {(start + 1) % 10}\nabove {start % 10}",
        color=COLORS[1],
        fontsize=10,
        ha="left" if middle[0] > 0.1 else "center",
        va="top" if middle[1] < 0 else "bottom",
    )
    ax.text(0, 0, "ten steps up,\nand back\nat the start", ha="center", va="center", fontsize=11)
    ax.set(xlim=(-1.2, 1.6), ylim=(-1.55, 1.15), aspect="equal")
    ax.axis("off")
    return figure


def plot_rows(values, log=False, marks=None, intervals=None, text=None, xlabel="", xlim=None):
    """One labelled dot to a row, each label above its line, so that a narrow screen has room.

    values: {label: number}; marks: colour indices by row (None: all 0); intervals: (low, high) or
    None by row; text: how a value is written beside its dot (None: not at all).
    """
    figure, ax = plt.subplots(figsize=(5.6, 0.52 * len(values) + 0.7), layout="constrained")
    for i, (label, value) in enumerate(values.items()):
        color = COLORS[marks[i] if marks else 0]
        ax.axhline(i, color="#cccccc", linewidth=1)
        if intervals and intervals[i] is not None:
            ax.plot(intervals[i], [i, i], color=color, linewidth=5, alpha=0.4)
        ax.plot(value, i, "o", color=color)
        left = ax.get_yaxis_transform()
        ax.text(0.01, i - 0.13, label, transform=left, ha="left", va="bottom", fontsize=9.5)
        if text:
            ax.annotate(
                text(value),
                (value, i),
                (7, -3),
                textcoords="offset points",
                va="top",
                fontsize=9,
                color=color,
            )
    ax.set(
        xscale="log" if log else "linear",
        yticks=[],
        xlabel=xlabel,
        ylim=(len(values) - 0.5, -0.75),
        xlim=xlim,
    )
    ax.spines["left"].set_visible(False)
    return figure


def plot_right_digits(right):
    """The share of sums in which each rule has a digit right, by column of the answer: what stands
    in the place of the laboratory. right: {rule: (N, 4) booleans or more, ones first}."""
    figure, ax = plt.subplots(figsize=(5.6, 2.9), layout="constrained")
    columns = ["thousands", "hundreds", "tens", "ones"]
    for i, (rule, digits) in enumerate(right.items()):
        shares = np.asarray(digits, dtype=float)[:, :4].mean(0)[::-1]
        ax.plot(columns, shares, "osD^v"[i % 5], color=COLORS[i], label=rule, clip_on=False)
        ax.plot(columns, shares, linestyle=":", color=COLORS[i], linewidth=1)
    ax.set(ylabel="digits right", ylim=(0, 1.03))
    ax.yaxis.set_major_formatter("{x:.0%}")
    figure.legend(loc="outside upper center", ncols=2)
    return figure
