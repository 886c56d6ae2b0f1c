"""Figures of the censuses: error by kind of sum, sampling distributions, reliability. Each helper
returns its figure."""

import matplotlib.pyplot as plt
import numpy as np

from _common import COLORS
from lab.calibration import reliability
from lab.figures.style import LINES, MARKERS
from lab.sampling import miss_probability
from lab.stats import exact_interval

__all__ = """
    draw_population plot_error_by_kind plot_miss plot_designs plot_reliability
    plot_confidence_by_kind plot_intervals
""".split()


def draw_population(cases, n, seed, side=1000):
    """All pairs of operands as a square, with hand-picked cases as stars and n random ones as dots.

    cases: pairs of operands; side: operands go from 0 to side - 1.
    """
    drawn = np.random.default_rng(seed).integers(side, size=(n, 2))
    figure, ax = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    ax.plot(*drawn.T, ".", color=COLORS[0], markersize=4, label=f"{n} at random")
    ax.plot(
        *np.transpose(cases),
        "*",
        color=COLORS[1],
        markersize=13,
        clip_on=False,
        zorder=3,
        label=f"{len(cases)} picked by hand",
    )
    ax.set(xlim=(0, side - 1), ylim=(0, side - 1), aspect="equal")
    ax.set(xlabel="first operand", ylabel="second operand")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.yaxis.set_major_formatter("{x:,.0f}")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def plot_error_by_kind(rates, titles):
    """Share wrong by kind of sum, one panel per way to sort the sums, one below the other; a thin
    line per run, a thick one for their mean.

    rates: {way: {group of runs: (runs, kinds)}}; titles: {way: label of the horizontal axis}.
    """
    figure, axes = plt.subplots(
        len(rates), 1, figsize=(5.2, 2.6 * len(rates) + 0.5), layout="constrained"
    )
    for ax, (way, groups) in zip(axes, rates.items()):
        for i, (group, table) in enumerate(groups.items()):
            kinds = np.arange(table.shape[1])
            ax.plot(kinds, table.T, color=COLORS[i], linewidth=0.7, alpha=0.5)
            ax.plot(
                kinds,
                table.mean(0),
                linestyle=LINES[i],
                marker=MARKERS[i],
                color=COLORS[i],
                linewidth=2.2,
                label=group,
            )
        ax.set(xlabel=titles[way], ylabel="share wrong", xticks=kinds, ylim=(-0.03, 1.03))
        ax.yaxis.set_major_formatter("{x:.0%}")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(groups)
    )
    return figure


def plot_miss(sizes, marks, largest=2000):
    """The probability that n random cases show no error, against n, for several error rates. sizes:
    n to mark; marks: {error rate: label}."""
    figure, ax = plt.subplots(figsize=(5.6, 3.2), layout="constrained")
    n = np.unique(np.geomspace(1, largest, 300).round())
    for i, (rate, label) in enumerate(marks.items()):
        ax.semilogx(
            n,
            miss_probability(rate, n),
            color=COLORS[i],
            linestyle=LINES[i],
            linewidth=2,
        )
        low = np.log(0.2) / np.log1p(-rate) if rate else np.inf  # where the curve is at a fifth
        if low < largest:
            ax.text(low, 0.2, f"  {label}", color=COLORS[i], va="bottom", fontsize=9)
        else:  # it stays near one
            ax.text(largest, 0.93, f"{label} ", color=COLORS[i], ha="right", va="top", fontsize=9)
    for size in sizes:
        ax.axvline(size, color="#888888", linewidth=0.8)
        ax.text(size, 1.03, f"{size} cases", ha="center", fontsize=9)
    ax.set(
        xlabel="random cases",
        ylabel="probability to see no error",
        ylim=(0, 1.0),
        xlim=(1, largest),
    )
    ax.xaxis.set_major_formatter("{x:,.0f}")
    return figure


def plot_designs(estimates, truth, n):
    """Sampling distributions of several designs, one below the other on one axis, with the truth as
    a line.

    estimates: {design: (repeats,) shares}; truth: the census; n: cases per estimate.
    """
    figure, axes = plt.subplots(
        len(estimates),
        1,
        figsize=(6.2, 1.25 * len(estimates) + 0.6),
        sharex=True,
        layout="constrained",
    )
    top = max(np.quantile(values, 0.995) for values in estimates.values())
    bins = np.linspace(0, max(top, 2 * truth, 1e-6), 61)
    for i, (ax, (design, values)) in enumerate(zip(axes, estimates.items())):
        ax.hist(
            np.minimum(values, bins[-1]),
            bins,
            color=COLORS[i],
            weights=np.full(len(values), 1 / len(values)),
        )
        ax.axvline(truth, color="#000000", linestyle="--", linewidth=1.2)
        ax.set_title(design, loc="right", fontsize=10)
        ax.set_ylabel("probability")
        ax.grid(axis="y", visible=False)
    axes[-1].set_xlabel(f"error rate estimated from {n} cases (last bar: all beyond)")
    axes[-1].xaxis.set_major_formatter(lambda value, position: f"{100 * value:.1f} %")
    return figure


def plot_reliability(tables, n_bins=10, fewest=1000):
    """Share right against confidence, one panel per thing that one may be sure of, one below the
    other; the diagonal is perfect calibration.

    tables: {panel: {group: tables of confidences, one per model}}. One line per model: models
    pooled in one bin would make the line jump where the next bin has other models in it. The area
    of a point grows with the model's share of cases in its bin; bins with fewer cases than `fewest`
    are left out, and a line does not cross them.
    """
    figure, axes = plt.subplots(
        len(tables), 1, figsize=(4.8, 3.3 * len(tables) + 0.6), layout="constrained"
    )
    for ax, (panel, groups) in zip(axes, tables.items()):
        ax.plot([0, 1], [0, 1], color="#888888", linewidth=1)
        for i, (group, models) in enumerate(groups.items()):
            for j, table in enumerate(models):
                rows = reliability(table, n_bins).query("cases >= @fewest")
                bins = np.minimum((rows["confidence"] * n_bins).astype(int), n_bins - 1)
                line = rows.set_index(bins).reindex(range(n_bins))  # an empty bin breaks the line
                ax.plot(
                    line["confidence"],
                    line["right"],
                    color=COLORS[i],
                    linestyle=LINES[i],
                    linewidth=1.1,
                )
                ax.scatter(
                    rows["confidence"],
                    rows["right"],
                    s=12 + 100 * rows["cases"] / max(1, rows["cases"].sum()),
                    marker=MARKERS[i],
                    color=COLORS[i],
                    linewidths=0,
                    alpha=0.75,
                    label=None if j else group,
                    zorder=3,
                )
        ax.set(xlim=(-0.02, 1.05), ylim=(-0.03, 1.05), ylabel=f"{panel}: share right")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter("{x:.0%}")
    axes[-1].set_xlabel("confidence")
    legend = figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(groups)
    )
    for handle in legend.legend_handles:
        handle.set_sizes([50])
    return figure


def plot_confidence_by_kind(confidences):
    """The spread of confidence for several kinds of prompt: quartiles as a box, the middle 90 % as
    a line.

    confidences: {kind: values in 0..1}, drawn from the top down.
    """
    figure, ax = plt.subplots(figsize=(6.2, 0.42 * len(confidences) + 0.9), layout="constrained")
    ax.boxplot(
        list(confidences.values())[::-1],
        orientation="horizontal",
        tick_labels=list(confidences)[::-1],
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        widths=0.55,
        boxprops={"facecolor": COLORS[5], "edgecolor": "#333333"},
        medianprops={"color": "#000000", "linewidth": 2},
        whiskerprops={"color": "#333333"},
        capprops={"color": "#333333"},
    )
    ax.set(xlabel="confidence of the first four tokens written", xlim=(-0.02, 1.02))
    ax.xaxis.set_major_formatter("{x:.0%}")
    return figure


def plot_intervals(wrong, n, repeats, seed):
    """The exact intervals of simple random samples from a census, one line each, and its rate: what
    the laboratory draws, in whose place this stands. A cross marks one that misses.

    wrong: which answers are wrong, one boolean for each sum; n: sums in a sample.
    """
    wrong, rng = np.asarray(wrong), np.random.default_rng(seed)
    rate = wrong.mean()
    figure, ax = plt.subplots(figsize=(5.6, 0.075 * repeats + 0.9), layout="constrained")
    for i in range(repeats):
        k = int(wrong[rng.integers(len(wrong), size=n)].sum())
        low, high = exact_interval(k, n)
        holds = low <= rate <= high
        color = COLORS[0] if holds else COLORS[1]
        ax.plot([low, high], [i, i], color=color, linewidth=1.2)
        ax.plot(k / n, i, "o" if holds else "x", color=color, markersize=3 if holds else 7)
    ax.axvline(rate, color="#000000", linewidth=1.5)
    ax.set(xlabel=f"share of sums wrong; the line: {rate:.1%}, the census", yticks=[])
    ax.set(ylabel="samples", xlim=(0, None))
    ax.xaxis.set_major_formatter("{x:.0%}")
    return figure
