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
        end = (
            max(times) if np.any(censored) else limit
        )  # a group that was watched for less ends there
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
    """Three panels against epoch: excess loss in digits at chance, exact match on a log scale,
    accuracy by column.

    history: with `excess`, the loss as `digits_at_chance`; columns: {name in the history: label};
    limit: last epoch drawn.
    """
    history = pd.DataFrame(history)
    history = history[history["epoch"] <= (limit or history["epoch"].max())]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    top = min(4.5, history["excess"].max() * 1.05)
    left.hlines(
        np.arange(math.ceil(top)),
        1,
        history["epoch"].max(),
        color="#888888",
        linestyle="--",
        linewidth=0.8,
    )
    left.plot(history["epoch"], history["excess"], color=COLORS[0])
    left.set(ylabel="excess loss (digits at chance)", ylim=(-0.2, top))
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
        right.plot(
            history["epoch"],
            history[name],
            ["-", "--", "-.", ":"][i % 4],
            color=COLORS[i],
            label=label,
        )
    right.set(ylabel="column right", ylim=(-0.02, 1.04))
    right.yaxis.set_major_formatter("{x:.0%}")
    for ax in (left, middle, right):
        ax.set_xlabel("epoch")
    middle.legend(loc="lower right")
    right.legend(loc="lower right")
    return figure


def plot_excess(runs, limit):
    """Excess loss in digits at chance against epoch, one small panel per run. `history["excess"]`
    must be there."""
    figure, axes = plt.subplots(
        1, len(runs), figsize=(2 * len(runs), 2.6), sharey=True, layout="constrained"
    )
    for ax, run in zip(axes, runs):
        shown = run.history[run.history["epoch"] <= limit]
        ax.hlines([0, 1, 2, 3], 1, limit, color="#888888", linestyle="--", linewidth=0.8)
        ax.plot(shown["epoch"], shown["excess"], color=COLORS[0], linewidth=1.2)
        ax.set(title=f"seed {run.config.seed}", xlabel="epoch", ylim=(-0.2, 4), xlim=(0, limit))
    axes[0].set_ylabel("digits at chance")
    return figure
