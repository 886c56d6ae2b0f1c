"""The figures of the chapter on two tasks. Each helper returns its figure."""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from _common import COLORS
from lab.figures.style import LINES
from lab.stats import kaplan_meier

__all__ = "draw_needs plot_two_losses plot_times plot_two_maps plot_scores plot_pairs".split()


def draw_needs(panels):
    """What each digit of the answer needs: arcs from the row that predicts it to positions.

    panels: {title: (labels (T,), needed {row: positions})}.
    """
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(6, 2.1 * len(panels)), squeeze=False, layout="constrained"
    )
    angles = np.linspace(0, np.pi, 40)
    for ax, (title, (labels, needed)) in zip(axes[:, 0], panels.items()):
        for i, (row, positions) in enumerate(needed.items()):
            for key in positions:
                x = (row + key) / 2 + (row - key) / 2 * np.cos(angles)
                ax.plot(x, 0.5 + 0.3 * (row - key) * np.sin(angles), color=COLORS[i], linewidth=1.6)
            ax.plot(row, 0.5, "v", color=COLORS[i], markersize=6)
        for position, label in enumerate(labels):
            ax.text(position, 0, label, ha="center", va="center")
        ax.set_title(title, loc="left", fontsize=10)
        ax.set(xlim=(-0.6, 11.6), ylim=(-0.4, 3.4))
        ax.axis("off")
    return figure


def plot_two_losses(groups, limit):
    """Excess loss in digits at chance against epoch (logarithmic), a panel for each task, a line
    for each run.

    groups: {task: runs}, each history with `excess`; limit: the last epoch drawn. Solid: learned by
    then; dashed: not.
    """
    figure, axes = plt.subplots(
        len(groups),
        1,
        figsize=(5.8, 2.6 * len(groups)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for i, (ax, (task, runs)) in enumerate(zip(axes[:, 0], groups.items())):
        ax.hlines(range(6), 1, limit, color="#888888", linestyle=":", linewidth=0.8)
        labelled = set()
        for run in runs:
            shown = run.history[run.history["epoch"] <= limit]
            learned = (run.epochs_to(0.999) or math.inf) <= limit
            label = "learned" if learned else "not learned"
            ax.plot(
                shown["epoch"],
                shown["excess"],
                "-" if learned else "--",
                linewidth=1.1 if learned else 1.6,
                alpha=0.8,
                color=COLORS[i] if learned else "#000000",
                label=None if label in labelled else label,
            )
            labelled.add(label)
        ax.set(
            ylabel="excess loss\n(digits at chance)",
            xscale="log",
            xlim=(1, limit),
            ylim=(-0.2, 5.5),
        )
        ax.set_title(f"{task} ({len(runs)} runs)", loc="left", fontsize=10)
        ax.set_xticks([t for t in (1, 2, 5, 10, 20, 40, 60) if t <= limit])
        ax.xaxis.set_major_formatter("{x:.0f}")
        ax.xaxis.set_minor_locator(plt.NullLocator())
        ax.legend(loc="upper right")
    ax.set_xlabel("epoch")
    return figure


def plot_times(groups, limit):
    """Kaplan-Meier curves with their 95 % intervals. groups: {label: (times, censored)}; limit:
    where observation ended."""
    return plot_times_by_panel({"": groups}, limit)


def plot_times_by_panel(panels, limit):
    """`plot_times` in panels, one below the other. panels: {title: groups}."""
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(6.2, 0.8 + 3 * len(panels)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, (title, groups) in zip(axes[:, 0], panels.items()):
        for i, (label, (times, censored)) in enumerate(groups.items()):
            curve = kaplan_meier(times, censored)
            curve.loc[len(curve)] = {**curve.iloc[-1].to_dict(), "time": limit}
            color = COLORS[i % len(COLORS)]
            ax.fill_between(
                curve["time"],
                curve["low"],
                curve["high"],
                step="post",
                color=color,
                alpha=0.18,
                linewidth=0,
            )
            ax.step(
                curve["time"],
                curve["survival"],
                where="post",
                linewidth=2,
                color=color,
                linestyle=LINES[i % len(LINES)],
                label=label,
            )
        ax.set(
            ylabel="share of runs not there yet",
            ylim=(-0.03, 1.05),
            xlim=(0, limit * 1.02),
        )
        ax.yaxis.set_major_formatter("{x:.0%}")
        ax.set_title(title, loc="left", fontsize=10)
    for ax in axes[:, 0]:
        ax.set_xlabel("epoch" if ax is axes[-1, 0] else "")
        ax.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.18 if ax is axes[-1, 0] else -0.06),
            ncols=3 if len(ax.lines) == 3 else 2,
        )
    return figure


def plot_two_maps(panels, size=3.0):
    """Attention maps of two tasks or two models, one row for each and one column per layer; what
    the answer needs is framed.

    panels: {title: (maps (layers, T, T), labels (T,), needed {row: positions})}; size: width of one
    map, in inches.
    """
    n_layers = max(len(maps) for maps, _, _ in panels.values())
    figure, axes = plt.subplots(
        len(panels),
        n_layers,
        figsize=(size * n_layers, (size - 0.1) * len(panels) + 0.9),
        squeeze=False,
        layout="constrained",
    )
    for row, (task, (maps, labels, needed)) in enumerate(panels.items()):
        for layer, weights in enumerate(maps):
            ax = axes[row, layer]
            future = np.triu(np.ones_like(weights, dtype=bool), 1)
            image = ax.imshow(np.ma.masked_where(future, weights), vmin=0, vmax=1)
            ax.set_facecolor("#e8e8e8")
            ax.set_xticks(range(len(labels)), labels, fontsize=9)
            ax.set_yticks(range(len(labels)), labels, fontsize=9)
            ax.set(
                title=f"{task}, layer {layer + 1}",
                xlabel="looked at (key)",
                ylabel="asks (query)" if layer == 0 else None,
            )
            ax.grid(False)
            for query, positions in needed.items():
                for key in positions:
                    ax.add_patch(
                        Rectangle(
                            (key - 0.44, query - 0.44),
                            0.88,
                            0.88,
                            fill=False,
                            edgecolor=COLORS[1],
                            linewidth=2,
                        )
                    )
    figure.colorbar(
        image,
        ax=axes.ravel().tolist(),
        location="bottom",
        shrink=0.6,
        aspect=40,
        label="attention weight",
    )
    return figure


def plot_scores(groups, uniform, names):
    """Score in the first layer against score in the second, one panel per task, one mark per model.

    groups: {task: {"untrained" | "learned" | "not learned": array (models, 2)}}; uniform: {task:
    score of even rows}; names: {task: what the score is called}.
    """
    styles = {
        "untrained": {"marker": "o", "color": "#777777", "s": 9, "alpha": 0.6, "linewidths": 0},
        "learned": {
            "marker": "o",
            "color": COLORS[0],
            "s": 42,
            "edgecolors": "white",
            "linewidths": 0.5,
        },
        "not learned": {
            "marker": "X",
            "color": COLORS[1],
            "s": 56,
            "edgecolors": "white",
            "linewidths": 0.5,
        },
    }
    figure, axes = plt.subplots(
        len(groups), 1, figsize=(5.2, 3.9 * len(groups)), squeeze=False, layout="constrained"
    )
    for ax, (task, scores) in zip(axes[:, 0], groups.items()):
        for line in (ax.axhline, ax.axvline):
            line(uniform[task], color="#888888", linestyle="--", linewidth=0.9)
        for name, values in scores.items():
            values = np.asarray(values, dtype=float).reshape(-1, 2)
            ax.scatter(values[:, 0], values[:, 1], label=f"{name} ({len(values)})", **styles[name])
        ax.set(
            xlabel="score in layer 1",
            ylabel="score in layer 2",
            xlim=(-0.04, 1.04),
            ylim=(-0.04, 1.04),
        )
        ax.set_title(f"{names[task]}, {task}", loc="left", fontsize=10)
        ax.legend(loc="upper right", fontsize=8.5)
    return figure


def plot_pairs(panels, limit):
    """Time to learn from scratch beside the time after the other task, one line per seed.

    panels: {title: (seeds, times from scratch, times after)}, infinity where it was never reached;
    drawn at the top.
    """
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(5.4, 3 * len(panels)), squeeze=False, layout="constrained"
    )
    for ax, (title, (seeds, scratch, after)) in zip(axes[:, 0], panels.items()):
        seen = [time for time in (*scratch, *after) if math.isfinite(time)]
        top = max([1, *seen]) * 1.25
        never = False
        for i, (seed, *pair) in enumerate(zip(seeds, scratch, after)):
            drawn = [time if math.isfinite(time) else top for time in pair]
            never = never or top in drawn
            shift = 0.03 * (i - (len(seeds) - 1) / 2)  # equal times stay apart
            ax.plot(
                np.array([0, 1]) + shift,
                drawn,
                "osD^v"[i % 5] + ["-", "--", "-.", ":"][i % 4],
                color=COLORS[i % len(COLORS)],
                label=f"seed {seed}",
                markersize=6,
            )
        if never:
            ax.axhline(top, color="#888888", linestyle=":", linewidth=1)
            ax.annotate(
                f"not by epoch {limit}",
                (0.5, top),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=9,
            )
        ax.set_xticks([0, 1], ["from scratch", "after the other task"])
        ax.set(xlim=(-0.25, 1.25), ylim=(0, top * 1.12), ylabel="epochs to 99.9 %")
        ticks = plt.MaxNLocator(integer=True).tick_values(0, top)
        ax.set_yticks([tick for tick in ticks if 0 <= tick < 0.95 * top])
        ax.set_title(title, loc="left", fontsize=10)
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8.5)
    return figure
