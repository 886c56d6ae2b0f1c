"""Figures of chapter 8: waves, spectra, neurons, logits and the losses of a run. Each helper
returns its figure."""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter

from _common import COLORS
from lab.figures.style import LINES
from lab.modular.fourier import component_norms, frequency_norms
from lab.modular.spectra import plane, shares

__all__ = (
    "draw_dials plot_cosines plot_two_tasks plot_grok_live plot_spectra plot_circle plot_inside "
    "plot_neurons plot_lags plot_progress plot_emergence plot_replicas plot_early "
    "plot_spectra_and_circles"
).split()


def draw_dials(p, a, b, frequencies):
    """The numbers 0..p-1 on a circle, one dial per frequency, and a + b as two turns on each."""
    figure, axes = plt.subplots(
        1, len(frequencies), figsize=(3.1 * len(frequencies), 3.4), layout="constrained"
    )
    for ax, k in zip(np.atleast_1d(axes), frequencies):
        angle = 2 * math.pi * k * np.arange(p) / p  # clockwise from the top
        ax.add_patch(plt.Circle((0, 0), 1, fill=False, color="#888888"))
        for x in range(p):
            place = math.sin(angle[x]), math.cos(angle[x])
            marked = x in (a, (a + b) % p)
            ax.plot(*place, "o", color="#333333" if marked else "#aaaaaa", markersize=4)
            ax.text(
                1.18 * place[0],
                1.18 * place[1],
                str(x),
                ha="center",
                va="center",
                fontsize=13 if marked else 10,
                fontweight="bold" if marked else "normal",
            )
        first, second = (2 * math.pi * (k * x % p) / p for x in (a, b))
        for radius, start, turn, color, label in (
            (0.8, 0.0, first, COLORS[0], f"turn by {a}"),
            (0.6, first, second, COLORS[1], f"then by {b}"),
        ):
            t = start + np.linspace(0, turn, 100)
            ax.plot(radius * np.sin(t), radius * np.cos(t), color=color, linewidth=2.2)
            ax.annotate(
                "",
                (radius * math.sin(t[-1]), radius * math.cos(t[-1])),
                (radius * math.sin(t[-4]), radius * math.cos(t[-4])),
                arrowprops={"arrowstyle": "->", "color": color, "linewidth": 2.2},
            )
            ax.text(
                0, 0.12 if radius == 0.8 else -0.12, label, color=color, ha="center", va="center"
            )
        ax.set_title(f"frequency {k}", fontsize=11)
        ax.set(aspect="equal", xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))
        ax.axis("off")
    return figure


def plot_grok_live(runs, mine=None, until=1_000):
    """Accuracy on training and test pairs of stored runs as thin lines, and your own run thick.

    runs: finished runs; mine: DataFrame (epoch, train_accuracy, test_accuracy); until: the last
    epoch drawn.
    """
    figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
    thick = {"linewidth": 2.6, "alpha": 1.0}
    drawn = [(run.history, {"linewidth": 0.9, "alpha": 0.6}) for run in runs]
    for history, look in drawn + [(mine, thick)] * (mine is not None):
        shown = history[(history["epoch"] > 0) & (history["epoch"] <= until)]
        for i, (name, style) in enumerate((("test", "-"), ("train", "--"))):
            ax.plot(shown["epoch"], shown[f"{name}_accuracy"], style, color=COLORS[i], **look)
    for i, text in enumerate(("test pairs", "training pairs (dashed)")):
        ax.text(0.98, 0.18 - 0.1 * i, text, color=COLORS[i], ha="right", transform=ax.transAxes)
    ax.set(xlabel="epoch", ylabel="right answers", ylim=(-0.03, 1.04), xlim=(0, until))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def plot_cosines(p, sets, margins):
    """Above: the mean of cos(2 pi k d / p) over a set of frequencies, against the lag d. Below:
    margins by number of frequencies.

    sets: {label: list of k}; margins: {number of frequencies: (draws,) margins}.
    """
    figure, (left, right) = plt.subplots(2, 1, figsize=(6, 5.4), layout="constrained")
    d = np.arange(-(p // 2), p // 2 + 1)
    for i, (label, frequencies) in enumerate(sets.items()):
        left.plot(
            d,
            np.cos(2 * math.pi * np.outer(frequencies, d) / p).mean(0),
            LINES[i % len(LINES)],
            linewidth=1.4,
            color=COLORS[i % len(COLORS)],
            label=label,
        )
    left.set(xlabel="c minus the right answer", ylabel="mean of the cosines", ylim=(-1.1, 1.1))
    left.legend(loc="upper left", fontsize=9)
    right.boxplot(
        list(margins.values()),
        tick_labels=[str(n) for n in margins],
        whis=(2.5, 97.5),
        showfliers=False,
        medianprops={"color": COLORS[1], "linewidth": 2},
        boxprops={"color": COLORS[0]},
        whiskerprops={"color": COLORS[0]},
        capprops={"color": COLORS[0]},
    )
    right.set(xlabel="number of random frequencies", ylabel="lead over the runner-up", ylim=(0, 1))
    return figure


def plot_two_tasks(tasks):
    """Training and test accuracy against steps of training, one panel per task, the gap of the
    first run shaded.

    tasks: {title: list of DataFrames (step, train, test)}; the first of a list is drawn thick.
    """
    figure, axes = plt.subplots(
        len(tasks), 1, figsize=(6, 2.6 * len(tasks)), sharey=True, layout="constrained"
    )
    for ax, (title, histories) in zip(axes, tasks.items()):
        for i, history in enumerate(histories):
            look = {"linewidth": 2 if i == 0 else 0.8, "alpha": 1 if i == 0 else 0.5}
            ax.plot(
                history["step"],
                history["train"],
                "--",
                color=COLORS[1],
                label="training" if i == 0 else None,
                **look,
            )
            ax.plot(
                history["step"],
                history["test"],
                "-",
                color=COLORS[0],
                label="test" if i == 0 else None,
                **look,
            )
        gap = histories[0]
        ax.fill_between(
            gap["step"],
            gap["test"],
            gap["train"],
            color=COLORS[4],
            alpha=0.35,
            linewidth=0,
            label="gap",
        )
        ax.set(xscale="log", ylabel="right answers", ylim=(-0.03, 1.05))
        ax.set_title(title, loc="left", fontsize=10)
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    axes[-1].set_xlabel("steps of training")
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def plot_spectra(spectra, limits, keys):
    """Shares by frequency, one small panel per epoch, with the permutation limit as a line and the
    key frequencies marked.

    spectra: {epoch: (K,) shares}; limits: {epoch: share}; keys: list of k.
    """
    columns = min(2, len(spectra))
    rows = -(-len(spectra) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(6.4, 2 * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat[len(spectra) :]:
        ax.axis("off")
    for ax, (epoch, share) in zip(axes.flat, spectra.items()):
        k = np.arange(1, len(share) + 1)
        chosen = np.isin(k, keys)
        ax.vlines(
            k[~chosen],
            1e-4,
            share[~chosen],
            color="#888888",
            linewidth=2,
            label="other frequencies",
        )
        ax.vlines(
            k[chosen], 1e-4, share[chosen], color=COLORS[1], linewidth=3.5, label="key frequencies"
        )
        ax.axhline(
            limits[epoch],
            color=COLORS[0],
            linestyle="--",
            linewidth=1.2,
            label="5 % limit, rows permuted",
        )
        ax.set(title=f"epoch {epoch:,}", yscale="log", ylim=(1e-3, 0.5))
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    for ax in axes[-1]:
        ax.set_xlabel("frequency k")
    for ax in axes[:, 0]:
        ax.set_ylabel("share")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def plot_circle(planes, k, marked=(0, 1, 2, 3, 4)):
    """Numbers in the plane of one frequency, one panel per model. planes: {title: (p, 2)}; marked:
    numbers written beside."""
    figure, axes = plt.subplots(
        1, len(planes), figsize=(3.2 * len(planes), 3.3), squeeze=False, layout="constrained"
    )
    for ax, (title, points) in zip(axes[0], planes.items()):
        p = len(points)
        ax.scatter(
            *points.T,
            c=np.arange(p) * k % p,
            cmap="twilight",
            s=16,
            edgecolors="#666666",
            linewidths=0.3,
        )
        reach = np.abs(points).max() * 1.25 or 1.0
        for x in marked:
            ax.plot(
                *points[x],
                "o",
                markersize=7,
                markerfacecolor="none",
                markeredgecolor=COLORS[1],
                markeredgewidth=1.6,
            )
            ax.annotate(
                str(x),
                points[x],
                textcoords="offset points",
                xytext=(6, 4),
                color=COLORS[6],
                fontsize=10,
                fontweight="bold",
            )
        ax.set(
            title=title,
            aspect="equal",
            xlim=(-reach, reach),
            ylim=(-reach, reach),
            xlabel="cos direction",
        )
    axes[0, 0].set_ylabel("sin direction")
    return figure


def plot_inside(pictures):
    """Quantities over all pairs as heat maps. pictures: {title: ((p, p) over a and b, k)}.

    Numbers stand in the order of k x mod p, so that a wave of frequency k goes round once along
    each axis.
    """
    figure, axes = plt.subplots(
        1, len(pictures), figsize=(6.8, 3.2), squeeze=False, layout="constrained"
    )
    for ax, (title, (grid, k)) in zip(axes[0], pictures.items()):
        grid = np.asarray(grid)
        p = len(grid)
        order = np.argsort(np.arange(p) * k % p)
        image = ax.imshow(
            grid[np.ix_(order, order)].T, origin="lower", cmap="viridis", interpolation="nearest"
        )
        ax.set(title=title, xlabel=f"{k} a mod {p}", ylabel=f"{k} b mod {p}")
        ax.grid(False)
        figure.colorbar(image, ax=ax, shrink=0.85)
    return figure


def plot_neurons(fractions, history, limit):
    """Above: how many neurons are explained by one frequency how far. Below: over training, the
    share above `limit` and the median."""
    figure, (left, right) = plt.subplots(2, 1, figsize=(6, 5), layout="constrained")
    left.hist(fractions, bins=np.linspace(0, 1, 41), color=COLORS[0])
    left.axvline(limit, color=COLORS[1], linestyle="--", linewidth=1.5)
    left.set(xlabel="variance explained by the best frequency", ylabel="neurons")
    left.xaxis.set_major_formatter(PercentFormatter(1))
    right.plot(
        history["epoch"],
        history["neuron_fraction"],
        color=COLORS[0],
        linewidth=2,
        label="median neuron",
    )
    right.plot(
        history["epoch"],
        history["neurons_explained"],
        "--",
        color=COLORS[1],
        linewidth=2,
        label=f"share of neurons above {limit:.0%}",
    )
    right.set(xlabel="epoch", ylim=(-0.03, 1.03))
    right.xaxis.set_major_formatter("{x:,.0f}")
    right.yaxis.set_major_formatter(PercentFormatter(1))
    right.legend(loc="upper left")
    return figure


def plot_lags(means, formula):
    """Mean centred logit against c minus the right answer, measured and by the formula. Both (p,),
    index d = 0..p-1."""
    p = len(means)
    figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
    d = np.arange(p) - p // 2
    ax.plot(
        d,
        np.roll(means, p // 2),
        "-",
        color=COLORS[0],
        linewidth=2.4,
        label="network, mean over pairs",
    )
    ax.plot(
        d, np.roll(formula, p // 2), "--", color=COLORS[1], linewidth=1.4, label="sum of cosines"
    )
    ax.set(xlabel="c minus the right answer", ylabel="logit")
    ax.legend(loc="upper right")
    return figure


def plot_progress(history, chance, landmarks):
    """Above: train, test, restricted and excluded loss, on a logarithmic scale. Below: squared
    weights, and both Gini coefficients.

    landmarks: {name: epoch or None}, drawn as vertical lines.
    """
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(6.2, 7), sharex=True, height_ratios=(3, 2), layout="constrained"
    )
    shown = history[history["epoch"] > 0]
    for i, (name, label) in enumerate(
        {
            "train_loss": "training",
            "test_loss": "test",
            "restricted_loss": "restricted (all pairs)",
            "excluded_loss": "excluded (training pairs)",
        }.items()
    ):
        above.plot(
            shown["epoch"],
            shown[name].clip(lower=1e-7),
            color=COLORS[i],
            linestyle=LINES[i],
            linewidth=1.8,
            label=label,
        )
    above.axhline(chance, color="#888888", linewidth=0.9)
    above.text(shown["epoch"].iloc[-1] * 0.2, chance * 1.15, "chance", fontsize=9, color="#555555")
    above.set(yscale="log", ylim=(0.6e-7, 100), ylabel="loss (nats)")
    above.legend(loc="upper center", bbox_to_anchor=(0.5, -0.04), ncols=2, fontsize=9)
    below.plot(
        shown["epoch"],
        shown["weight_norm"] / shown["weight_norm"].max(),
        color=COLORS[6],
        linewidth=1.8,
        label="squared weights (of their highest)",
    )
    below.plot(
        shown["epoch"],
        shown["embedding_gini"],
        "--",
        color=COLORS[0],
        linewidth=1.8,
        label="Gini, embedding",
    )
    below.plot(
        shown["epoch"],
        shown["logit_map_gini"],
        "-.",
        color=COLORS[1],
        linewidth=1.8,
        label="Gini, neuron-logit map",
    )
    below.set(xlabel="epoch", ylim=(0, 1.04))
    below.xaxis.set_major_formatter("{x:,.0f}")
    below.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=9)
    for i, (name, epoch) in enumerate(
        (name, epoch) for name, epoch in landmarks.items() if epoch is not None
    ):
        for ax in (above, below):
            ax.axvline(epoch, color="#555555", linestyle=":", linewidth=1)
        above.text(
            epoch,
            100 * 1.3 ** (1 + 3 * (i % 2)),
            name,
            rotation=0,
            ha="center",
            fontsize=8.5,
            clip_on=False,
        )
    return figure


def plot_emergence(table, keys, grokked):
    """Which frequencies stand out of the permuted embedding, by checkpoint: dots. table: DataFrame
    (epoch, frequency)."""
    figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    final = table["frequency"].isin(keys)
    order = sorted(set(table["frequency"]) | set(keys))
    row = {k: i for i, k in enumerate(order)}
    ax.plot(
        table.loc[final, "epoch"],
        table.loc[final, "frequency"].map(row),
        "o",
        color=COLORS[1],
        markersize=6,
        label="key at the end",
    )
    ax.plot(
        table.loc[~final, "epoch"],
        table.loc[~final, "frequency"].map(row),
        "x",
        color="#666666",
        markersize=6,
        label="not key at the end",
    )
    if grokked is not None:
        ax.axvline(grokked, color=COLORS[0], linestyle="--", linewidth=1.4, label="grokked")
    ax.set(xlabel="epoch", ylabel="frequency", yticks=range(len(order)))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_yticklabels(order)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def plot_replicas(histories, table):
    """Above: test accuracy of every run. Below: for every run, from where on the restricted loss,
    then the test loss, is below chance, and where 99 % of the test pairs are right.

    histories: {label: DataFrame (epoch, test_accuracy)}; table: a DataFrame indexed by the same
    labels with the columns circuit, whole and grokked in epochs (nan: never), drawn in its order
    from the top.
    """
    figure, (left, right) = plt.subplots(
        2, 1, figsize=(6, 0.26 * len(table) + 4.4), layout="constrained"
    )
    for history in histories.values():
        left.plot(
            history["epoch"], history["test_accuracy"], color=COLORS[0], linewidth=1.1, alpha=0.7
        )
    left.set(xlabel="epoch", ylabel="test pairs right", ylim=(-0.03, 1.05))
    left.xaxis.set_major_formatter("{x:,.0f}")
    left.yaxis.set_major_formatter(PercentFormatter(1))
    rows = np.arange(len(table))
    right.hlines(rows, table["circuit"], table["whole"], color="#888888", linewidth=2, zorder=1)
    for name, marker, color, label in (
        ("circuit", "o", COLORS[0], "restricted loss below chance"),
        ("whole", "s", COLORS[1], "test loss below chance"),
        ("grokked", "^", COLORS[2], "99 % of the test pairs"),
    ):
        right.scatter(table[name], rows, marker=marker, s=34, color=color, label=label, zorder=2)
    right.set_yticks(rows, [str(label) for label in table.index])
    right.set(xlabel="epoch", ylim=(len(table) - 0.5, -0.5))
    right.xaxis.set_major_formatter("{x:,.0f}")
    right.set_xlim(left=0)
    right.set_ylabel("seed")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=1)
    return figure


def plot_early(groups, xlabel, limit):
    """An early measure against the time to grok, one panel per group of runs.

    groups: {title: (values, times, censored)}; limit: the epoch at which observation ended
    (censored runs are open points).
    """
    figure, axes = plt.subplots(
        len(groups),
        1,
        figsize=(6, 2.6 * len(groups)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, (title, (values, times, censored)) in zip(axes[:, 0], groups.items()):
        for mask, face, label in (
            (~censored, COLORS[0], "grokked"),
            (censored, "none", "not in this run"),
        ):
            if mask.any():
                ax.scatter(
                    np.asarray(values)[mask],
                    times[mask],
                    s=34,
                    facecolors=face,
                    edgecolors=COLORS[0],
                    label=label,
                )
        ax.set(ylim=(0, limit), ylabel="epoch of grokking")
        ax.set_title(title, loc="left", fontsize=10)
        ax.yaxis.set_major_formatter("{x:,.0f}")
    axes[-1, 0].set_xlabel(xlabel)
    if any(censored.any() for _, _, censored in groups.values()):
        handles = {
            label: handle
            for ax in axes[:, 0]
            for handle, label in zip(*ax.get_legend_handles_labels())
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    return figure


def plot_spectra_and_circles(tables):
    """What stands in the place of the laboratory: the spectrum of each embedding, and below it the
    numbers in the plane of its largest frequency. tables: {name: (p, d_model) tensor}."""
    figure, axes = plt.subplots(
        2,
        len(tables),
        figsize=(2.9 * len(tables), 4.2),
        squeeze=False,
        layout="constrained",
        height_ratios=(1, 2),
    )
    for (upper, lower), (name, table) in zip(axes.T, tables.items()):
        spectrum = shares(frequency_norms(component_norms(table)))
        largest = 1 + int(np.argmax(spectrum))
        upper.bar(np.arange(1, len(spectrum) + 1), spectrum, color=COLORS[0])
        upper.set_title(name, loc="left", fontsize=10)
        upper.set(xlabel="frequency", ylabel="share" if upper is axes[0, 0] else None)
        upper.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        lower.plot(*plane(table, largest).T, "o", color=COLORS[0], markersize=3)
        lower.set_title(f"in the plane of {largest}", loc="left", fontsize=10)
        lower.set(aspect="equal", xticks=[], yticks=[])
    return figure
