"""Plots that only some chapters need. Each helper returns its figure."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from _common import COLORS
from lab.stats import kaplan_meier

LINES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1))]
MARKERS = "osD^vP*X"


def plot_survival(groups, limit, xlabel="epoch", ylabel="share of runs still learning"):
    """Kaplan-Meier curves. groups: {label: (times, censored)}; limit: the time at which observation
    ended."""
    figure, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
    for i, (label, (times, censored)) in enumerate(groups.items()):
        curve = kaplan_meier(times, censored)
        # a group that was watched for less ends there
        end = max(times) if np.any(censored) else limit
        ax.step(
            [*curve["time"], end],
            [*curve["survival"], curve["survival"].iloc[-1]],
            where="post",
            linewidth=2,
            color=COLORS[i % len(COLORS)],
            linestyle=LINES[i % len(LINES)],
            label=label,
        )
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.03, 1.05), xlim=(0, limit * 1.02))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def plot_staircase(history, columns, limit=None):
    """Three panels, one below the other: excess loss in digits at chance, exact match
    on a log scale, accuracy by column; all against epoch.

    history: with `excess`, the loss as `digits_at_chance`; columns: {name in the history: label};
    limit: last epoch drawn.
    """
    history = pd.DataFrame(history)
    history = history[history["epoch"] <= (limit or history["epoch"].max())]
    figure, (upper, middle, lower) = plt.subplots(
        3, 1, figsize=(5.4, 7), sharex=True, layout="constrained"
    )
    top = min(4.5, history["excess"].max() * 1.05)
    upper.hlines(
        np.arange(math.ceil(top)),
        1,
        history["epoch"].max(),
        color="#888888",
        linestyle="--",
        linewidth=0.8,
    )
    upper.plot(history["epoch"], history["excess"], color=COLORS[0])
    upper.set(ylabel="excess loss\n(digits at chance)", ylim=(-0.2, top))
    for name, label, style in [
        ("train_accuracy", "training sums", "--"),
        ("accuracy", "test sums", "-"),
    ]:
        middle.plot(
            history["epoch"],
            history[name].clip(lower=1e-4),
            style,
            color=COLORS[name == "accuracy"],
            label=label,
        )
    middle.set(ylabel="exact match", yscale="log", ylim=(0.8e-4, 1.5))
    for i, (name, label) in enumerate(columns.items()):
        lower.plot(
            history["epoch"],
            history[name],
            ["-", "--", "-.", ":"][i % 4],
            color=COLORS[i],
            label=label,
        )
    lower.set(ylabel="column right", ylim=(-0.02, 1.04))
    lower.yaxis.set_major_formatter("{x:.0%}")
    lower.set_xlabel("epoch")
    middle.legend(loc="lower right")
    lower.legend(loc="lower right")
    return figure


def plot_excess(runs, limit):
    """Excess loss in digits at chance against epoch, one flat panel per run, one below the other.
    `history["excess"]` must be there."""
    figure, axes = plt.subplots(
        len(runs), 1, figsize=(5.4, 1.2 * len(runs) + 0.5), sharex=True, layout="constrained"
    )
    for ax, run in zip(axes, runs):
        shown = run.history[run.history["epoch"] <= limit]
        ax.hlines([0, 1, 2, 3], 1, limit, color="#888888", linestyle="--", linewidth=0.8)
        ax.plot(shown["epoch"], shown["excess"], color=COLORS[0], linewidth=1.2)
        ax.set(ylabel=f"seed {run.config.seed}", yticks=range(4), ylim=(-0.2, 4), xlim=(0, limit))
    axes[-1].set_xlabel("epoch")
    figure.supylabel("excess loss (digits at chance)", fontsize=10)
    return figure
