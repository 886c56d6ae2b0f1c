"""Figures of the single pieces."""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.patches import FancyBboxPatch, Rectangle

from _common import COLORS, VOCAB_SIZE, own_defaults

__all__ = (
    "plot_softmax plot_descent plot_kernel_and_attention plot_mask plot_gelu draw_block"
).split()


def plot_softmax(n_symbols=VOCAB_SIZE):
    """Left: probability of one symbol as its score rises above the others' 0. Right: what its
    coming true costs in nats."""
    scores = np.linspace(-4, 9, 300)
    probability = np.exp(scores) / (np.exp(scores) + n_symbols - 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
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
    """Loss against step on the left, its distance from the closed-form optimum on two logarithmic
    scales on the right."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    steps = np.arange(len(losses))
    left.plot(steps, losses, linewidth=2, label="gradient descent")
    left.axhline(
        optimum, color="#444444", linestyle="--", linewidth=1, label="table of relative frequencies"
    )
    left.set(xlabel="step", ylabel="loss (nats per target)")
    left.legend()
    right.loglog(steps[1:], np.asarray(losses)[1:] - optimum, linewidth=2)
    right.set(xlabel="step", ylabel="loss above the optimum (nats)")
    return figure


def plot_kernel_and_attention(x, y, at, bandwidth, truth, attention_row, labels, query):
    """Left: a kernel smoother, and the weights it gives each observation at one point. Right: one
    row of attention weights.

    x, y: observations (N,); at: the point asked about; bandwidth: of the Gaussian kernel; truth:
    (grid, values) of the regression function; attention_row: weights (T,) of the position `query`
    on the tokens `labels`.
    """

    def kernel(point):
        weights = np.exp(-(((x - point) / bandwidth) ** 2) / 2)
        return weights / weights.sum()

    figure, axes = plt.subplot_mosaic(
        [["data", "tokens"], ["weights", "tokens"]],
        figsize=(9, 4.6),
        height_ratios=[2, 1],
        width_ratios=[1.4, 1],
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
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.8), layout="constrained")
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


def draw_block():
    """The residual stream of one layer as a road, with its two branches. A drawing, not data."""
    figure, ax = plt.subplots(figsize=(8.4, 2.5), layout="constrained")
    ax.set(xlim=(0, 12.6), ylim=(-0.6, 3.2))
    ax.axis("off")

    def box(x, width, text, color):
        ax.add_patch(
            FancyBboxPatch(
                (x, 1.75),
                width,
                0.9,
                boxstyle="round,pad=0.06",
                facecolor="white",
                edgecolor=color,
                linewidth=1.8,
            )
        )
        ax.text(x + width / 2, 2.2, text, ha="center", va="center", fontsize=10)

    def arrow(start, end, color="#333333"):
        ax.annotate(
            "", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1.8}
        )

    arrow((0.4, 0.5), (12.3, 0.5))
    ax.text(0.4, 0.05, "x, one vector per position", fontsize=9)
    for left, name, color in ((1.0, "attention", COLORS[0]), (6.9, "feed-forward", COLORS[1])):
        ax.plot([left, left], [0.5, 2.2], color=color, linewidth=1.8)
        arrow((left, 2.2), (left + 0.45, 2.2), color)
        box(left + 0.5, 0.95, "norm", color)
        arrow((left + 1.5, 2.2), (left + 1.95, 2.2), color)
        box(left + 2.0, 1.75, name, color)
        ax.plot([left + 3.8, left + 4.3], [2.2, 2.2], color=color, linewidth=1.8)
        arrow((left + 4.3, 2.2), (left + 4.3, 0.72), color)
        ax.plot(left + 4.3, 0.5, "o", color="white", markeredgecolor="#333333", markersize=16)
        ax.text(left + 4.3, 0.47, "+", ha="center", va="center", fontsize=13)
    ax.text(
        3.0, 2.95, "moves information between positions", ha="center", fontsize=8.5, color=COLORS[0]
    )
    ax.text(8.9, 2.95, "works on each position alone", ha="center", fontsize=8.5, color=COLORS[1])
    ax.text(12.3, 0.05, "x, for the next layer", ha="right", fontsize=9)
    return figure
