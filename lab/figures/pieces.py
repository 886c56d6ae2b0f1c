"""Figures of the single pieces."""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.patches import FancyBboxPatch, Rectangle

from _common import COLORS, VOCAB_SIZE, own_defaults

__all__ = (
    "plot_softmax plot_descent plot_kernel_and_attention plot_mask plot_gelu draw_block draw_pieces"
    " draw_attention_row"
).split()


def plot_softmax(n_symbols=VOCAB_SIZE):
    """Above: probability of one symbol as its score rises above the others' 0. Below: what its
    coming true costs in nats."""
    scores = np.linspace(-4, 9, 300)
    probability = np.exp(scores) / (np.exp(scores) + n_symbols - 1)
    figure, (left, right) = plt.subplots(2, 1, figsize=(5.2, 5), layout="constrained")
    left.plot(scores, probability, linewidth=2)
    left.plot(0, 1 / n_symbols, "o", color=COLORS[1])
    left.annotate(
        f"all equal: 1/{n_symbols}",
        (0, 1 / n_symbols),
        (-3.6, 0.24),
        color=COLORS[1],
        arrowprops={"arrowstyle": "-", "color": COLORS[1]},
    )
    left.set(
        xlabel=f"score of one symbol (the other {n_symbols - 1}: 0)",
        ylabel="its probability",
        ylim=(-0.02, 1.02),
    )
    chances = np.geomspace(0.01, 1, 300)
    right.plot(chances, -np.log(chances), linewidth=2)
    for p, text, height in (
        (1 / 10, "one of ten digits guessed: ln 10", 2.75),
        (1 / n_symbols, f"one of {n_symbols} symbols guessed: ln {n_symbols}", 3.6),
    ):
        right.plot(p, -math.log(p), "o", color=COLORS[1])
        right.annotate(
            text,
            (p, -math.log(p)),
            (0.26, height),
            color=COLORS[1],
            va="center",
            arrowprops={"arrowstyle": "-", "color": COLORS[1]},
        )
    right.set(
        xlabel="probability given to what came", ylabel="cross-entropy (nats)", ylim=(-0.1, 4.7)
    )
    return figure


def plot_descent(losses, optimum):
    """Loss against step above, its distance from the closed-form optimum on two logarithmic scales
    below."""
    figure, (left, right) = plt.subplots(2, 1, figsize=(5.2, 4.8), layout="constrained")
    steps = np.arange(len(losses))
    left.plot(steps, losses, linewidth=2, label="gradient descent")
    left.axhline(
        optimum, color="#444444", linestyle="--", linewidth=1, label="table of relative frequencies"
    )
    left.set(xlabel="step", ylabel="loss (nats per target)")
    left.legend()
    right.loglog(steps[1:], np.asarray(losses)[1:] - optimum, linewidth=2)
    right.set(xlabel="step", ylabel="above the optimum (nats)")
    return figure


def plot_kernel_and_attention(x, y, at, bandwidth, truth, attention_row, labels, query):
    """Above: a kernel smoother, and the weights it gives each observation at one point. Below: one
    row of attention weights.

    x, y: observations (N,); at: the point asked about; bandwidth: of the Gaussian kernel; truth:
    (grid, values) of the regression function; attention_row: weights (T,) of the position `query`
    on the tokens `labels`.
    """

    def kernel(point):
        weights = np.exp(-(((x - point) / bandwidth) ** 2) / 2)
        return weights / weights.sum()

    figure, axes = plt.subplot_mosaic(
        [["data"], ["weights"], ["tokens"]],
        figsize=(5.6, 6.4),
        height_ratios=[2.4, 1, 1.4],
        layout="constrained",
    )
    data, weights, bars = axes["data"], axes["weights"], axes["tokens"]
    grid = np.linspace(x.min(), x.max(), 400)
    data.plot(
        x,
        y + np.random.default_rng(0).uniform(-0.12, 0.12, len(y)),
        ".",
        color="#888888",
        markersize=4,
        label="observations (jittered)",
    )
    data.plot(*truth, color=COLORS[2], linewidth=0.8, label="true mean")
    data.plot(
        grid,
        [kernel(point) @ y for point in grid],
        color=COLORS[0],
        linewidth=2,
        label="kernel smoother",
    )
    data.plot(at, kernel(at) @ y, "D", color=COLORS[1], label=f"asked at {at}")
    data.set(ylabel="carries in the sum", title="kernel smoother")
    data.legend(fontsize=8, loc="upper left", ncols=2)
    data.set_ylim(-0.3, 4.6)
    weights.vlines(x, 0, kernel(at), color=COLORS[1], linewidth=1)
    weights.set(xlabel="first operand", ylabel=f"weight at {at}", ylim=(0, None))
    bars.bar(range(len(labels)), attention_row, color=COLORS[1])
    bars.set_xticks(range(len(labels)), labels)
    bars.grid(axis="x", visible=False)
    bars.set(
        xlabel="token looked at", ylabel=f"weight at “{query}”", title="attention", ylim=(0, None)
    )
    return figure


def plot_mask(scores, weights, labels, row):
    """Scores with the future struck out, and the weights that the softmax makes of them; `row` is
    framed. (T, T) each."""
    figure, axes = plt.subplots(2, 1, figsize=(4.4, 7.4), layout="constrained")
    future = np.triu(np.ones(scores.shape, dtype=bool), 1)
    for ax, values, title in (
        (axes[0], np.ma.masked_where(future, scores), "scores, the future struck out"),
        (axes[1], np.ma.masked_where(future, weights), "weights: softmax of each row"),
    ):
        image = ax.imshow(values)
        ax.set_xticks(range(len(labels)), labels)
        ax.set_yticks(range(len(labels)), labels)
        ax.set(xlabel="looked at (key)", ylabel="asks (query)", title=title)
        ax.grid(False)
        for i, j in zip(*np.nonzero(future)):
            ax.text(j, i, "×", ha="center", va="center", color="#999999", fontsize=8)
        ax.add_patch(
            Rectangle((-0.5, row - 0.5), row + 1, 1, fill=False, edgecolor=COLORS[1], linewidth=2.5)
        )
        figure.colorbar(image, ax=ax, shrink=0.8)
    return figure


@own_defaults()
def plot_gelu():
    """GELU beside the two straight lines it rounds off."""
    figure, ax = plt.subplots(figsize=(4.6, 2.7), layout="constrained")
    x = torch.linspace(-4, 4, 200)
    ax.plot(x, x.clamp(min=0), "--", color="#666666", label="max(0, x)")
    ax.plot(x, F.gelu(x), linewidth=2, label="GELU")
    ax.set(xlabel="x", ylabel="output")
    ax.legend()
    return figure


def _box(ax, center, size, text, color, fontsize=10):
    """A rounded box of a size (width, height) around a center."""
    (x, y), (width, height) = center, size
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0.04",
            facecolor="white",
            edgecolor=color,
            linewidth=1.8,
        )
    )
    ax.text(x, y, text, ha="center", va="center", fontsize=fontsize)


def _arrow(ax, start, end, color="#333333"):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1.6})


def draw_block():
    """The residual stream of one layer as a road, with its two branches. A drawing, not data."""
    figure, ax = plt.subplots(figsize=(5.2, 4.4), layout="constrained")
    ax.set(xlim=(-0.6, 6.4), ylim=(-0.7, 6.3))
    ax.axis("off")
    _arrow(ax, (0, 0), (0, 6.1))
    ax.text(0.15, -0.35, "x: one vector for each position", fontsize=9.5)
    ax.text(0.15, 5.95, "x, for the next layer", fontsize=9.5)
    for start, name, does, color in (
        (0.4, "attention", "moves information\nbetween positions", COLORS[0]),
        (3.1, "feed-forward", "works on each\nposition alone", COLORS[1]),
    ):
        out, back = start + 0.3, start + 1.9
        ax.plot([0, 1.0], [out, out], color=color, linewidth=1.6)
        _box(ax, (1.6, out), (1.0, 0.7), "norm", color)
        _arrow(ax, (2.2, out), (2.75, out), color)
        _box(ax, (4.0, out), (2.2, 0.7), name, color)
        ax.text(4.25, start + 0.85, does, va="bottom", fontsize=9.5, color=color)
        ax.plot([4.0, 4.0], [out + 0.42, back], color=color, linewidth=1.6)
        _arrow(ax, (4.0, back), (0.22, back), color)
        ax.plot(0, back, "o", color="white", markeredgecolor="#333333", markersize=15)
        ax.text(0, back - 0.03, "+", ha="center", va="center", fontsize=12)
    return figure


def draw_pieces():
    """The pieces in the order in which a token meets them, and what each is called in statistics.
    A drawing, not data."""
    rows = [
        ("embedding", "coefficients of a factor", COLORS[0]),
        ("layer norm", "standardising, by row", COLORS[4]),
        ("attention", "kernel smoother, kernel learned", COLORS[0]),
        ("feed-forward", "small non-linear regression", COLORS[1]),
        ("tied head, softmax", "multinomial logit", COLORS[2]),
        ("cross-entropy", "negative log-likelihood", COLORS[2]),
    ]
    figure, ax = plt.subplots(figsize=(5.4, 4.4), layout="constrained")
    for i, (name, known_as, color) in enumerate(rows):
        _box(ax, (0, -i), (2.5, 0.56), name, color)
        _arrow(ax, (0, -i + 0.68), (0, -i + 0.34), "#666666")
        ax.text(1.5, -i, known_as, va="center", fontsize=10, color="#444444")
    ax.text(0, 0.8, "token", ha="center", va="center", family="monospace")
    ax.text(-1.5, -2.0, "twice", ha="right", va="center", fontsize=10, color="#444444")
    ax.plot([-1.42, -1.42], [-3.3, -0.7], color="#444444", linewidth=1.2)
    ax.set(xlim=(-2.3, 4.6), ylim=(-5.5, 1.1))
    ax.axis("off")
    return figure


def draw_attention_row(labels, scores, weights, values, query):
    """One row of attention, with its numbers: for each token that is looked at its score, the
    exponential of it, its weight, and its value; below, the average.

    labels: tokens (T,); scores, weights: (T,), the weights adding up to one; values: (T,), one
    number to a token; query: the token that asks.
    """
    figure, ax = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
    names = ["score", "exp", "weight", "value", "weight × value"]
    rows = [scores, np.exp(scores), weights, values, np.asarray(weights) * values]
    for j, label in enumerate(labels):
        x = 1.2 * j
        _box(ax, (x, 0), (0.66, 0.7), label, COLORS[0], fontsize=13)
        ax.add_patch(Rectangle((x - 0.5, -3.4), weights[j], 0.8, color=COLORS[4], alpha=0.45))
        for i, row in enumerate(rows, start=1):
            ax.text(x, -i, f"{row[j]:.2f}", ha="center", va="center", fontsize=11)
    for i, name in enumerate(names, start=1):
        ax.text(-0.85, -i, name, ha="right", va="center", fontsize=10, color="#444444")
    ax.text(-0.85, 0, f"“{query}” asks", ha="right", va="center", fontsize=10, color=COLORS[1])
    end = 1.2 * len(labels) - 0.35
    for i, row, sign in ((2, rows[1], "sum"), (3, weights, "sum"), (5, rows[4], "average")):
        ax.text(end, -i, f"{sign} {np.sum(row):.2f}", va="center", fontsize=10, color=COLORS[1])
    ax.set(xlim=(-2.9, end + 1.5), ylim=(-5.5, 0.6))
    ax.axis("off")
    return figure
