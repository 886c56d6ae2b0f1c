"""Figures of chapter 11: the circuit's four steps, how exact its numbers must be, the way back,
what tests see."""

import matplotlib.pyplot as plt
import numpy as np

from _common import COLORS
from lab.stats import exact_interval

__all__ = "plot_parabola plot_wave plot_hinges plot_slack plot_recovery plot_blind_spots".split()


def plot_parabola(points, y, logits):
    """Left: the ten points of the digits, (10, 2). Right: their scores (len(y), 10), less the mean
    over digits, against y."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    points, scores = np.asarray(points, dtype=float), np.asarray(logits, dtype=float)
    left.plot(-points[:, 1], points[:, 0] - points[0, 0], "o-", color=COLORS[0], linewidth=0.8)
    for d, (first, second) in enumerate(points):
        left.annotate(
            str(d), (-second, first - points[0, 0]), textcoords="offset points", xytext=(5, 4)
        )
    left.set(
        xlabel="minus the second coordinate",
        ylabel="first coordinate, less that of 0",
        xlim=(-0.6, 10),
    )
    scores = scores - scores.mean(1, keepdims=True)
    for d in range(10):
        right.plot(y, scores[:, d], color="#999999", linewidth=0.7)
    right.plot(y, scores.max(1), color=COLORS[1], linewidth=2.5)
    for d in range(10):
        at = int(np.argmin(np.abs(np.asarray(y) - 10 * d)))
        right.annotate(
            str(d),
            (y[at], scores[at].max()),
            textcoords="offset points",
            xytext=(0, 4),
            ha="center",
        )
    right.set(xlabel="y", ylabel="score of each digit, less the mean")
    return figure


def plot_wave(lags, scores, marked, weights, labels):
    """Left: score against lag, with some lags marked: {lag: label}. Right: weights of one row, a
    bar per label."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
    left.plot(lags, scores, color=COLORS[0], linewidth=1.2)
    for i, (lag, label) in enumerate(marked.items()):
        at = float(np.interp(lag, lags, scores))
        left.plot(lag, at, "osD^"[i % 4], color=COLORS[1 + i % 4], label=label)
    size = np.abs(scores).max()
    left.set(
        xlabel="tokens back", ylabel="score", ylim=(-1.15 * size, 1.85 * size)
    )  # room for the legend
    left.legend(fontsize=8, loc="upper center", ncol=2)
    right.bar(
        range(len(labels)), weights, color=[COLORS[0] if w > 0.2 else COLORS[4] for w in weights]
    )
    for i, weight in enumerate(weights):
        right.annotate(
            f"{weight:.3f}",
            (i, weight),
            textcoords="offset points",
            xytext=(0, 3),
            ha="center",
            fontsize=9,
        )
    right.set_xticks(range(len(labels)), labels)
    right.set(ylabel="attention weight", ylim=(0, 0.55))
    return figure


def plot_hinges(h, steps, possible):
    """What the hinges add, against h: steps is {label: (len(h),) array}; possible: the values that
    h takes, as ticks below.

    Left the whole range, right the edge.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.2), sharey=True, layout="constrained")
    for ax, limits, title in zip(axes, ((-12, 202), (87, 101)), ("all values", "the edge")):
        for i, (label, values) in enumerate(steps.items()):
            ax.plot(h, values, ["-", "--", ":"][i % 3], color=COLORS[i], linewidth=2, label=label)
        ax.plot(possible, np.full(len(possible), -112.0), "|", color="#444444", markersize=9)
        ax.set(xlim=limits, ylim=(-118, 8), xlabel="h", title=title)
    axes[0].set_ylabel("added to h")
    axes[0].legend(fontsize=8)
    return figure


def plot_slack(tables, limit=1.0):
    """How far each number may move, as a share of its size: {panel: {label: DataFrame
    (name, slack, kind)}}, tightest first."""
    figure, axes = plt.subplots(
        1, len(tables), figsize=(8.6, 4.2), squeeze=False, layout="constrained"
    )
    for ax, (title, series) in zip(axes[0], tables.items()):
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
                markersize=[5, 8][i % 2],
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
            fontsize=8,
        )
        ax.set(xscale="log", xlim=(3e-5, 1.6 * limit), xlabel="share it may move", title=title)
    axes[0, 0].legend(fontsize=8, loc="upper right")
    return figure


def plot_recovery(panels):
    """Shares with exact 95 % intervals against noise: {panel: {label: DataFrame
    (noise, n, successes)}}. Noise 0 is drawn at the left edge."""
    figure, axes = plt.subplots(
        1, len(panels), figsize=(8.4, 3.3), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (title, series) in zip(axes[0], panels.items()):
        for i, (label, table) in enumerate(series.items()):
            share = table["successes"] / table["n"]
            low, high = zip(
                *(exact_interval(int(s), int(n)) for s, n in zip(table["successes"], table["n"]))
            )
            x = table["noise"].clip(lower=3e-4) * 1.1 ** (i - len(series) / 2)
            ax.errorbar(
                x,
                share,
                [share - low, high - share],
                fmt="osD^v"[i % 5] + ["-", "--", ":", "-.", "-"][i % 5],
                color=COLORS[i % 7],
                capsize=3,
                linewidth=1.2,
                markersize=5,
                label=label,
            )
        ax.set(
            xscale="log", xlabel="noise, as a share of each number", title=title, xlim=(2e-4, 0.6)
        )
        ax.set_xticks([3e-4, 1e-3, 1e-2, 0.1], ["0", "0.1 %", "1 %", "10 %"])
        ax.legend(fontsize=8, loc="center left")
    axes[0, 0].set(ylabel="share of starts that add", ylim=(-0.04, 1.06))
    axes[0, 0].yaxis.set_major_formatter("{x:.0%}")
    return figure


def plot_blind_spots(results):
    """Share wrong by longest ripple (left) and by longest run of nines in the sum (right): {label:
    Verification}."""
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.2), sharey=True, layout="constrained")
    for i, (label, result) in enumerate(results.items()):
        for ax, table, column in (
            (axes[0], result.ripples, "ripple"),
            (axes[1], result.nines, "nines"),
        ):
            ax.plot(
                table[column] + 0.12 * (i - 0.5),
                table["wrong"] / table["pairs"],
                "os^"[i % 3] + ["-", "--", ":"][i % 3],
                color=COLORS[i],
                label=label,
                markersize=5,
            )
    for ax, what in zip(axes, ("longest ripple", "longest run of nines in the sum")):
        ax.set(xlabel=what)
        ax.set_xticks(range(11) if "nines" in what else range(10))
    axes[0].set_ylabel("share wrong")
    axes[0].yaxis.set_major_formatter("{x:.0%}")
    axes[0].legend(fontsize=8, loc="upper left")
    return figure
