"""The figures of the chapter on learning curves. Each helper returns its figure."""

import math

import matplotlib.pyplot as plt
import numpy as np

from _common import COLORS, digits_at_chance
from lab.addition.curves import FAILED, LEARNED, band
from lab.figures.style import LINES
from lab.stats import kaplan_meier, percent

__all__ = """
    draw_the_next_runs plot_twenty plot_waiting plot_step_law plot_lapses plot_map plot_map_curves
    plot_changes plot_orders plot_gaps plot_replayed
""".split()
GREY = "#666666"


def draw_the_next_runs(times, n_more, limit):
    """What is known before the other runs are made: one bar for each run that learned, up to its
    epoch, and a question mark for each run still to come.

    times: epochs in which the known runs learned; n_more: runs to come; limit: last epoch.
    """
    rows = len(times) + n_more
    figure, ax = plt.subplots(figsize=(6, 0.17 * rows + 0.8), layout="constrained")
    for row, time in enumerate(times):
        ax.plot([0, time], [row, row], color=COLORS[0], linewidth=2)
        ax.plot(time, row, "o", color=COLORS[0], markersize=5)
        ax.annotate(f"{time:.0f}", (time, row), (6, 0), textcoords="offset points", va="center")
    for row in range(len(times), rows):
        ax.plot([0, limit], [row, row], color="#aaaaaa", linestyle=":", linewidth=1)
        ax.text(limit * (0.15 + 0.7 * ((7 * row) % 11) / 10), row, "?", ha="center", va="center")
    ax.set(xlabel="epoch", xlim=(0, limit), ylim=(rows - 0.3, -0.7), yticks=[])
    middle = (len(times) - 1) / 2, (len(times) + rows - 1) / 2
    for y, text in zip(middle, (f"{len(times)} known", f"{n_more} to come")):
        ax.annotate(
            text, (0, y), (-8, 0), textcoords="offset points", ha="right", va="center", rotation=90
        )
    ax.grid(axis="y", visible=False)
    return figure


def plot_twenty(runs, mine, limit):
    """Excess loss and exact match of every run as thin lines, with the median of the runs and one
    run drawn over them; a run's line ends where the run did.

    runs, mine: finished runs whose histories have `excess`; limit: the last epoch shown.
    """
    figure, axes = plt.subplots(2, 1, figsize=(6.2, 5.4), sharex=True, layout="constrained")
    for ax, name in zip(axes, ("excess", "accuracy")):
        for run in runs:
            shown = run.history[run.history["epoch"] <= limit]
            ax.plot(shown["epoch"], shown[name], color=COLORS[0], linewidth=0.7, alpha=0.55)
        middle = band(runs, name, limit)
        ax.step(middle["epoch"], middle["median"], where="mid", color="#000000", linewidth=2)
        shown = mine.history[mine.history["epoch"] <= limit]
        ax.plot(shown["epoch"], shown[name], color=COLORS[1], linestyle="--", linewidth=2)
    axes[0].hlines([0, 1, 2, 3], 1, limit, color="#888888", linestyle=":", linewidth=0.8)
    axes[0].set(ylabel="excess loss\n(digits at chance)", ylim=(-0.2, 4.2))
    axes[1].set(ylabel="exact match", ylim=(-0.03, 1.05), xlabel="epoch", xlim=(0, limit + 1))
    axes[1].yaxis.set_major_formatter("{x:.0%}")
    for color, style, width, text in (
        (COLORS[0], "-", 0.8, f"{len(runs)} runs"),
        ("#000000", "-", 2, "their median"),
        (COLORS[1], "--", 2, f"your run (seed {mine.config.seed})"),
    ):
        axes[0].plot([], [], color=color, linestyle=style, linewidth=width, label=text)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def plot_waiting(upper_groups, lower_groups, limit, titles):
    """Two panels of Kaplan-Meier curves. Groups: {label: (times, censored)}; the first of the upper
    panel has its interval."""
    figure, axes = plt.subplots(2, 1, figsize=(6.2, 6), sharex=True, layout="constrained")
    for ax, groups, title in zip(axes, (upper_groups, lower_groups), titles):
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
        ax.set(xlim=(0, limit * 1.02), ylim=(-0.03, 1.05), ylabel="runs not there yet")
        ax.set_title(title, loc="left", fontsize=10)
        ax.yaxis.set_major_formatter("{x:.0%}")
        ax.legend(loc="upper right", fontsize=9)
    axes[1].set_xlabel("epoch")
    return figure


def plot_step_law(table):
    """How often each excess loss occurred, and the exact match that went with it, on one axis that
    runs as training does: from three digits at chance on the left to none on the right.

    table: one row per epoch, with `excess` and `accuracy`.
    """
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(6.2, 5.2), sharex=True, layout="constrained"
    )
    shown = table[table["excess"] < 3.5]
    heights, edges, _ = top.hist(shown["excess"], bins=np.arange(-0.05, 3.6, 0.1), color=COLORS[0])
    for digits in (3, 2, 1):
        near = int(((shown["excess"] - digits).abs() < 0.1).sum())
        height = heights[np.abs(edges[:-1] + 0.05 - digits) < 0.15].max(initial=0)
        top.annotate(
            f"{near:,} epochs",
            (digits, height),
            (0, 3),
            textcoords="offset points",
            ha="left" if digits == 3 else "center",
        )
    top.set(ylabel="epochs of all runs", ylim=(0, 1.15 * max(1, heights.max(initial=0))))
    line = np.linspace(0, 3.5, 100)
    bottom.plot(shown["excess"], shown["accuracy"].clip(lower=1e-4), ".", markersize=4, alpha=0.5)
    bottom.plot(line, 10**-line, color=COLORS[1], linestyle="--")
    bottom.annotate(
        "ten to the minus\ndigits at chance",
        (1.5, 10**-1.5),
        (12, -34),
        textcoords="offset points",
        color=COLORS[1],
    )
    bottom.set(
        xlabel="excess loss (digits at chance); training goes to the right",
        ylabel="exact match",
        yscale="log",
        ylim=(0.8e-4, 1.5),
        xlim=(3.5, -0.1),
        xticks=[3, 2, 1, 0],
        yticks=[1e-4, 1e-3, 1e-2, 1e-1, 1],
    )
    bottom.set_yticklabels(["0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    return figure


def plot_lapses(runs):
    """Exact match of each run after it had learned, one panel a run, with a dot at every lapse."""
    figure, axes = plt.subplots(
        len(runs),
        1,
        figsize=(6.2, 0.95 * len(runs) + 0.7),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, run in zip(axes[:, 0], runs):
        history, learned = run.history, run.epochs_to(LEARNED)
        after = history[history["epoch"] >= (math.inf if learned is None else learned)]
        failed = after[after["accuracy"] < FAILED]
        ax.plot(history["epoch"], history["accuracy"], color="#aaaaaa", linestyle=":")
        ax.plot(after["epoch"], after["accuracy"], color=COLORS[0], linewidth=1.3)
        ax.plot(failed["epoch"], failed["accuracy"], "o", color=COLORS[1], markersize=4)
        ax.set(ylim=(-0.06, 1.08), yticks=[0, 0.5, 1], ylabel=f"seed {run.config.seed}")
        ax.yaxis.set_major_formatter("{x:.0%}")
    axes[-1, 0].set_xlabel("epoch")
    return figure


def plot_map(table, outcomes):
    """The map as a heat map: a cell for each number of training sums and weight decay, coloured by
    the median share of unseen sums right at the end. In it that median at the fit and at the end,
    and how many seeds had which outcome.

    table: as `lab.addition.memorising.outcome_table` returns it; outcomes: the names to be counted.
    """
    sizes, decays = sorted(table["size"].unique()), sorted(table["decay"].unique())
    figure, ax = plt.subplots(
        figsize=(1.75 * len(sizes) + 1.2, 0.95 * len(decays) + 0.9), layout="constrained"
    )
    ends = np.full((len(decays), len(sizes)), np.nan)
    for i, decay in enumerate(decays):
        for j, size in enumerate(sizes):
            cell = table[(table["size"] == size) & (table["decay"] == decay)]
            ends[i, j] = cell["last_test"].median()
            fit = cell["test_at_fit"].dropna()
            start = f"{percent(fit.median(), 0)} → " if len(fit) else "no fit, "
            counted = [(name, int((cell["outcome"] == name).sum())) for name in outcomes]
            text = "\n".join(f"{name}: {count}" for name, count in counted if count)
            ax.text(
                j,
                i,
                f"{start}{percent(ends[i, j], 0)}\n{text}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if ends[i, j] < 0.6 else "black",
            )
    ax.imshow(ends, vmin=0, vmax=1, aspect="auto")
    ax.set(
        xticks=range(len(sizes)),
        yticks=range(len(decays)),
        xlabel="training sums",
        ylabel="weight decay",
    )
    ax.set_xticklabels([f"{size:,}" for size in sizes])
    ax.set_yticklabels([f"{decay:g}" for decay in decays])
    ax.grid(False)
    return figure


def plot_map_curves(cells):
    """Training (dashed) and test exact match (solid) against steps, one panel per cell, one pair of
    lines per seed.

    cells: {title: runs}, at least one. Steps are on a logarithmic axis.
    """
    figure, axes = plt.subplots(
        len(cells),
        1,
        figsize=(6.2, 1.8 * len(cells) + 0.7),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, (title, runs) in zip(axes[:, 0], cells.items()):
        for run in runs:
            steps = run.history["epoch"] * -(-run.config.n_train // run.config.batch_size)
            for name, style, color, label in (
                ("train_accuracy", "--", COLORS[0], "training sums"),
                ("accuracy", "-", COLORS[1], "unseen sums"),
            ):
                ax.plot(
                    steps,
                    run.history[name],
                    style,
                    color=color,
                    linewidth=1.4,
                    marker=".",
                    markersize=3,
                    label=label,
                )
        ax.set(xscale="log", ylim=(-0.03, 1.05), ylabel="exact match")
        ax.set_title(title, fontsize=10, loc="left")
        ax.yaxis.set_major_formatter("{x:.0%}")
    axes[-1, 0].set_xlabel("step")
    axes[-1, 0].xaxis.set_major_formatter("{x:,.0f}")
    handles = dict(zip(*axes[0, 0].get_legend_handles_labels()[::-1]))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2)
    return figure


def plot_orders(orders, rest, level=0.999, limit=60):
    """Exact match on test sums against epoch, a line to each run until it first reaches `level`.

    orders: {name: finished runs}, two of them; rest: the exact match of the best local rule for the
    second order, drawn as a line.
    """
    figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for i, runs in enumerate(orders.values()):
        for run in runs:
            reached = run.epochs_to(level)
            shown = run.history[run.history["epoch"] <= (reached or limit)]
            ax.plot(
                shown["epoch"],
                shown["accuracy"],
                ["-", "--"][i],
                color=COLORS[i],
                linewidth=1.2,
            )
            if reached and reached <= limit:
                ax.plot(reached, level, "os"[i], color=COLORS[i], markersize=5)
    ax.axhline(rest, color=GREY, linestyle=":", linewidth=1.5)
    ax.annotate(
        "best local rule",
        (limit, rest),
        (0, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        color=GREY,
    )
    first, second = orders
    ax.text(0.62 * limit, 0.3, f"solid: {first}", color=COLORS[0])
    ax.text(0.62 * limit, 0.2, f"dashed: {second}", color=COLORS[1])
    ax.set(
        xlabel="epoch", ylabel="exact match (test sums)", ylim=(-0.02, 1.04), xlim=(0, limit + 2)
    )
    ax.yaxis.set_major_formatter("{x:.0%}")
    return figure


def plot_gaps(runs, mine=None, last=500):
    """Training exact match minus that of unseen sums against epoch: stored runs thin, yours thick.

    runs: finished runs; mine: what `train_model` returns (None: only the stored ones); last: the
    last epoch shown.
    """
    figure, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
    for i, run in enumerate(runs):
        shown = run.history[run.history["epoch"] <= last]
        gap = shown["train_accuracy"] - shown["accuracy"]
        label = f"{len(runs)} stored runs" if i == 0 else None
        ax.plot(shown["epoch"], gap, ".-", color=COLORS[0], linewidth=0.9, label=label)
    if mine:
        gap = np.subtract(mine["train_accuracy"], mine["accuracy"])
        ax.plot(mine["epoch"], gap, ".-", color=COLORS[1], linewidth=2.2, label="your run")
    ax.set(xlabel="epoch", ylabel="gap", ylim=(-0.05, 1.02))
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.legend(loc="lower right")
    return figure


def plot_changes(groups, limit):
    """Kaplan-Meier curves of changed recipes, each in a panel of its own over that of the first
    group, the reference. groups: {label: (times, censored)}; limit: the end of watching."""
    (base, reference), *changes = groups.items()
    rows = -(-len(changes) // 2)
    figure, axes = plt.subplots(
        rows,
        2,
        figsize=(6.4, 2.2 * rows + 0.6),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat[len(changes) :]:
        ax.set_axis_off()
    for i, (ax, (label, group)) in enumerate(zip(axes.flat, changes)):
        for color, width, (times, censored), name in (
            ("#888888", 3, reference, base),
            (COLORS[i % len(COLORS)], 2, group, "changed"),
        ):
            curve = kaplan_meier(times, censored)
            ax.step(
                [*curve["time"], limit],
                [*curve["survival"], curve["survival"].iloc[-1]],
                where="post",
                color=color,
                linewidth=width,
                label=name,
            )
        ax.set(ylim=(-0.03, 1.05), xlim=(0, limit * 1.02))
        ax.set_title(label, fontsize=10, loc="left", color=COLORS[i % len(COLORS)])
        ax.yaxis.set_major_formatter("{x:.0%}")
    axes[0, 0].annotate(f"grey: {base}", (2, 0.04), color="#555555", fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    figure.supylabel("share of runs still learning", fontsize=10)
    return figure


def plot_replayed(run, others):
    """The history of the run that the laboratory replays, in whose place this stands: above, its
    excess loss in digits at chance, over that of other runs in grey; below, the columns it has
    right."""
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(5.6, 4.2), sharex=True, layout="constrained"
    )

    def draw(each, **style):
        history = each.history.iloc[: len(run.history)]
        excess = digits_at_chance(history["loss"], each.config.floor, 12)
        upper.plot(history["epoch"], excess, **style)

    for each in others:
        draw(each, color="#bbbbbb", linewidth=0.7)
    draw(run, color=COLORS[0], linewidth=2)
    upper.set(ylabel="excess loss\n(digits at chance)", ylim=(-0.1, 3.6))
    for k, column in enumerate(["ones", "tens", "hundreds", "thousands"]):
        lower.plot(
            run.history["epoch"],
            run.history[f"column_{k + 1}"],
            linestyle=LINES[k],
            color=COLORS[k],
            label=column,
        )
    lower.set(ylabel="digits right", xlabel="epoch", ylim=(-0.02, 1.04))
    lower.yaxis.set_major_formatter("{x:.0%}")
    figure.legend(loc="outside lower center", ncols=4)
    return figure
