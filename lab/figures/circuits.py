"""Figures of chapter 11: the prompt and one column's way through the circuit, the circuit's four
steps, how exact its numbers must be, the way back, what tests see."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch, Rectangle

from _common import COLORS
from lab.stats import exact_interval

__all__ = """
    draw_prompt draw_column plot_parabola plot_wave plot_hinges plot_slack plot_recovery
    plot_blind_spots
""".split()

GREY = "#666666"


def draw_prompt(digits, row, looked_at, own):
    """A prompt as a strip of boxes in two lines, and arrows from one row to what it must see.

    digits: list of the tokens, prompt and what is written so far; row: the position that writes
    next, the last one drawn; looked_at: {position: label}; own: the label of the row itself.
    """
    n, half = row + 1, (row + 2) // 2
    figure, ax = plt.subplots(figsize=(5.4, 3.1), layout="constrained")

    def place(position):
        return position % half, -2.2 * (position // half)

    for position in range(n):
        x, y = place(position)
        color = COLORS[1] if position == row else COLORS[0] if position in looked_at else "#aaaaaa"
        ax.add_patch(
            Rectangle((x - 0.42, y - 0.42), 0.84, 0.84, facecolor="white", edgecolor=color, lw=1.8)
        )
        ax.text(x, y, str(digits[position]), ha="center", va="center", fontsize=10)
    for position, label in looked_at.items():
        x, y = place(position)
        ax.text(x, y + 0.6, label, ha="center", va="bottom", fontsize=10, color=COLORS[0])
        ax.text(x, y - 0.55, str(row - position), ha="center", va="top", fontsize=9, color=GREY)
    x, y = place(row)
    ax.text(x, y + 0.6, own, ha="center", va="bottom", fontsize=10, color=COLORS[1])
    ax.text(x, y - 0.55, "writes next", ha="right", va="top", fontsize=9, color=GREY)
    ax.set(xlim=(-0.7, half + 0.2), ylim=(-3.4, 1.3))
    ax.axis("off")
    return figure


def draw_column(row):
    """One column's way through the circuit, as boxes from top to bottom with this sum's numbers.

    row: a row of lab.adders.models.by_hand.worked_sum, with `own` and `before`, the digit sums of
    the column and of the one before it.
    """
    boxes = [
        (f"what attention brings: 10 × {row.own} + {row.before}", row.h + row.previous, COLORS[0]),
        (f"the row's own token, {row.previous}, is taken off", row.h, COLORS[2]),
        (
            "95 is reached: the hinges take 100 off" if row.h > 94.5 else "below 94: no hinge acts",
            row.y,
            COLORS[1],
        ),
        ("the nearest multiple of ten, a tenth of it", row.written, COLORS[4]),
    ]
    figure, ax = plt.subplots(figsize=(5.4, 3.4), layout="constrained")
    for i, (text, value, color) in enumerate(boxes):
        y = -i
        ax.add_patch(
            FancyBboxPatch(
                (0, y - 0.25), 4.0, 0.5, boxstyle="round,pad=0.04", fc="white", ec=color, lw=1.8
            )
        )
        ax.text(2.0, y, text, ha="center", va="center", fontsize=9.5)
        ax.text(4.35, y, f"{value:.2f}" if i < 3 else f"{value:.0f}", va="center", fontsize=11)
        if i:
            ax.annotate(
                "", (2.0, y + 0.32), (2.0, y + 0.68), arrowprops={"arrowstyle": "->", "color": GREY}
            )
    ax.set(xlim=(-0.1, 5.2), ylim=(-len(boxes) + 0.5, 0.5))
    ax.axis("off")
    return figure


def plot_parabola(points, y, logits):
    """Top: the ten points of the digits, (10, 2). Bottom: their scores (len(y), 10), less the mean
    over digits, against y."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(5.8, 5.2), layout="constrained")
    points, scores = np.asarray(points, dtype=float), np.asarray(logits, dtype=float)
    top.plot(-points[:, 1], points[:, 0] - points[0, 0], "o-", color=COLORS[0], linewidth=0.8)
    for d, (first, second) in enumerate(points):
        top.annotate(
            str(d), (-second, first - points[0, 0]), textcoords="offset points", xytext=(5, 4)
        )
    top.set(
        xlabel="minus the second coordinate",
        ylabel="first coordinate,\nless that of 0",
        xlim=(-0.6, 10),
    )
    scores = scores - scores.mean(1, keepdims=True)
    for d in range(10):
        bottom.plot(y, scores[:, d], color="#999999", linewidth=0.7)
    bottom.plot(y, scores.max(1), color=COLORS[1], linewidth=2.5)
    for d in range(10):
        at = int(np.argmin(np.abs(np.asarray(y) - 10 * d)))
        bottom.annotate(
            str(d),
            (y[at], scores[at].max()),
            textcoords="offset points",
            xytext=(0, 4),
            ha="center",
        )
    bottom.set(xlabel="y", ylabel="score of each digit,\nless the mean")
    bottom.margins(y=0.12)
    return figure


def plot_wave(lags, scores, marked, weights, labels):
    """Top: score against lag, with some lags marked: {lag: label}. Bottom: weights of one row, a
    bar per label."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(5.8, 5.0), layout="constrained")
    top.plot(lags, scores, color=COLORS[0], linewidth=1.4)
    for i, (lag, label) in enumerate(marked.items()):
        at = float(np.interp(lag, lags, scores))
        top.plot(lag, at, "o", color=COLORS[1])
        top.annotate(
            label,
            (lag, at),
            textcoords="offset points",
            xytext=(-7, 3) if i % 2 == 0 else (7, -3),
            ha="right" if i % 2 == 0 else "left",
            fontsize=9.5,
        )
    size = np.abs(scores).max()
    top.set(xlabel="tokens back", ylabel="score", ylim=(-1.1 * size, 1.2 * size))
    top.set_xlim(right=max(lags) + 4)
    bottom.bar(
        range(len(labels)), weights, color=[COLORS[0] if w > 0.2 else COLORS[4] for w in weights]
    )
    for i, weight in enumerate(weights):
        bottom.annotate(
            f"{weight:.3f}",
            (i, weight),
            textcoords="offset points",
            xytext=(0, 3),
            ha="center",
            fontsize=10,
        )
    bottom.set_xticks(range(len(labels)), labels)
    bottom.set(ylabel="attention weight", ylim=(0, 0.55))
    bottom.grid(False, axis="x")
    return figure


def plot_hinges(h, steps, possible):
    """What the hinges add, against h: steps is {label: (len(h),) array}; possible: the values that
    h takes, as ticks below.

    Top the whole range, bottom the edge.
    """
    figure, axes = plt.subplots(2, 1, figsize=(5.8, 5.0), layout="constrained")
    for ax, limits in zip(axes, ((-12, 202), (87, 101))):
        for i, values in enumerate(steps.values()):
            ax.plot(h, values, ["-", "--", ":"][i % 3], color=COLORS[i], linewidth=2)
        ax.plot(possible, np.full(len(possible), -112.0), "|", color="#444444", markersize=9)
        ax.set(xlim=limits, ylim=(-118, 8), xlabel="h", ylabel="added to h")
    for i, (label, values) in enumerate(steps.items() if len(steps) > 1 else ()):
        place = (94, -60) if i == 0 else (185, float(np.interp(185, h, values)))
        axes[0].annotate(
            label,
            place,
            textcoords="offset points",
            xytext=(-6, 0) if i == 0 else (0, 7),
            ha="right",
            color=COLORS[i],
        )
    return figure


def plot_slack(tables, limit=1.0):
    """How far each number may move, as a share of its size: {panel: {label: DataFrame
    (name, slack, kind)}}, tightest first, one panel below the other."""
    heights = [len(next(iter(series.values()))) for series in tables.values()]
    figure, axes = plt.subplots(
        len(tables),
        1,
        figsize=(5.8, 0.24 * sum(heights) + 1.6),
        height_ratios=heights,
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, (title, series) in zip(axes[:, 0], tables.items()):
        first = next(iter(series.values()))
        order = first.sort_values("slack", ascending=False)["name"].tolist()
        for i, (label, table) in enumerate(series.items()):
            slack = table.set_index("name")["slack"].reindex(order)
            free = np.isinf(slack)
            ax.plot(
                slack.where(~free),
                range(len(order)),
                "os"[i % 2],
                color=COLORS[i],
                fillstyle=["full", "none"][i % 2],
                markersize=[5, 9][i % 2],
                label=label,
            )
            ax.plot(
                np.full(int(free.sum()), limit),
                np.flatnonzero(free),
                ">",
                color=COLORS[i],
                markersize=6,
            )
        kinds = first.set_index("name")["kind"].reindex(order)
        ax.set_yticks(
            range(len(order)),
            [f"{name}{' (frozen)' if kind == 'frozen' else ''}" for name, kind in kinds.items()],
            fontsize=9,
        )
        ax.set(xscale="log", xlim=(1e-4, 1.6 * limit), title=title)
        ticks = [1e-4, 1e-3, 1e-2, 1e-1, 1]
        ax.set_xticks(ticks, ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
        ax.minorticks_off()
    axes[-1, 0].set_xlabel("share of itself that a number may move")
    if any(len(series) > 1 for series in tables.values()):
        axes[0, 0].legend(fontsize=9, loc="upper left")
    return figure


def plot_recovery(panels):
    """Shares with exact 95 % intervals against noise: {panel: {label: DataFrame
    (noise, n, successes)}}, one panel below the other. Noise 0 is drawn at the left edge."""
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(5.8, 3.1 * len(panels)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, (title, series) in zip(axes[:, 0], panels.items()):
        for i, (label, table) in enumerate(series.items()):
            share = table["successes"] / table["n"]
            low, high = zip(
                *(exact_interval(int(s), int(n)) for s, n in zip(table["successes"], table["n"]))
            )
            x = table["noise"].clip(lower=3e-4) * 1.14 ** (i - len(series) / 2)
            ax.errorbar(
                x,
                share,
                [share - low, high - share],
                fmt="osD^v"[i % 5] + ["-", "--", ":", "-.", "-"][i % 5],
                color=COLORS[i % 5],
                capsize=3,
                linewidth=1.4,
                markersize=6,
                label=label,
            )
        ax.set(xscale="log", title=title, xlim=(2e-4, 0.6), ylim=(-0.04, 1.06))
        ax.set_xticks([3e-4, 1e-3, 1e-2, 0.1], ["0", "0.1 %", "1 %", "10 %"])
        ax.minorticks_off()
        ax.set_ylabel("starts that add")
        ax.yaxis.set_major_formatter("{x:.0%}")
        ax.legend(fontsize=9, loc="center left" if len(series) < 3 else "upper right")
    axes[-1, 0].set_xlabel("noise, as a share of each number")
    return figure


def plot_blind_spots(results):
    """Share wrong by longest ripple (top) and by longest run of nines in the sum (bottom): {label:
    Verification}."""
    figure, axes = plt.subplots(2, 1, figsize=(5.8, 5.0), sharey=True, layout="constrained")
    for i, (label, result) in enumerate(results.items()):
        for ax, table, column in (
            (axes[0], result.ripples, "ripple"),
            (axes[1], result.nines, "nines"),
        ):
            share = table["wrong"] / table["pairs"]
            ax.plot(
                table[column] + 0.12 * (i - 0.5),
                share,
                "os^"[i % 3] + ["-", "--", ":"][i % 3],
                color=COLORS[i],
                markersize=5,
            )
            worst = int(np.argmax(share)) if share.max() > 0 else len(share) // 2
            ax.annotate(
                label,
                (table[column][worst], share[worst]),
                textcoords="offset points",
                xytext=(0, 8) if share[worst] < 0.9 else (-8, -4),
                ha="center" if share[worst] < 0.9 else "right",
                color=COLORS[i],
                fontsize=10,
            )
    for ax, what in zip(axes, ("longest ripple", "longest run of nines in the sum")):
        ax.set(xlabel=what, ylabel="share wrong")
        ax.set_xticks(range(11) if "nines" in what else range(10))
        ax.yaxis.set_major_formatter("{x:.0%}")
    return figure
