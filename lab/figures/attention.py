"""Figures of chapter 6: maps beside interventions, patches, probes, embeddings. Each helper returns
its figure."""

import matplotlib.pyplot as plt
import numpy as np

from _common import COLORS
from lab.addition.interventions import DIGITS, LABELS
from lab.figures.style import MARKERS

__all__ = "plot_answer_rows plot_agreement plot_patches plot_probes plot_embeddings".split()


def plot_answer_rows(weights=None, effects=None):
    """Heat maps of the rows that predict the four digits, a column per layer. Above: attention
    weights; below: nats lost.

    weights, effects: (layers, 4, 11); leave one out for a figure of the other alone. Raises
    ValueError without either.
    """
    kinds = [
        (what, np.asarray(values))
        for what, values in (("weight", weights), ("nats lost when cut", effects))
        if values is not None
    ]
    if not kinds:
        raise ValueError("give weights, effects or both: there is nothing to draw")
    future = np.arange(11) > np.arange(7, 11)[:, None]  # (4, 11)
    figure, axes = plt.subplots(
        len(kinds),
        len(kinds[0][1]),
        figsize=(8.2, 2.2 * len(kinds)),
        squeeze=False,
        layout="constrained",
    )
    for row, (what, values) in zip(axes, kinds):
        top = max(float(np.abs(values[:, ~future]).max()), 1e-3)
        limits, cmap = ((0, 1), "viridis") if what == "weight" else ((-top, top), "RdBu_r")
        for layer, ax in enumerate(row):
            image = ax.imshow(
                np.ma.masked_where(future, values[layer]),
                vmin=limits[0],
                vmax=limits[1],
                cmap=cmap,
                aspect="auto",
            )
            ax.set_facecolor("#c4c4c4")
            ax.set_xticks(range(11), LABELS[:11])
            ax.set_yticks(
                range(4),
                [f"{LABELS[7 + j]} → {DIGITS[j]}" for j in range(4)] if layer == 0 else [""] * 4,
            )
            ax.set_title(f"layer {layer + 1}: {what}", fontsize=10)
            ax.grid(False)
        figure.colorbar(image, ax=row.tolist(), shrink=0.9)
    return figure


def plot_agreement(table):
    """Weight against nats lost, one panel per layer, one point per edge of an answer row and seed.

    table: DataFrame (seed, layer, weight, effect).
    """
    layers = sorted(table["layer"].unique())
    figure, axes = plt.subplots(
        1, len(layers), figsize=(8, 3.2), squeeze=False, layout="constrained"
    )
    for ax, layer in zip(axes[0], layers):
        for i, (seed, mine) in enumerate(table[table["layer"] == layer].groupby("seed")):
            ax.plot(
                mine["weight"],
                mine["effect"],
                MARKERS[i % 7],
                color=COLORS[i % 7],
                markersize=4.5,
                alpha=0.8,
                label=f"seed {seed}",
            )
        ax.set(xlabel="mean attention weight", title=f"layer {layer + 1}", xlim=(-0.03, 1.03))
    axes[0, 0].set_ylabel("nats lost when cut")
    axes[0, -1].legend(fontsize=8)
    return figure


def plot_patches(table):
    """Share of the way to the source's digit, by position patched: panels carry and digit, filled
    marks for the source, hollow ones for a random direction; circles before layer 1, squares after
    it.

    table: DataFrame (seed, kind, what, depth, position, effect), averaged over classes.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), sharey=True, layout="constrained")
    styles = [(depth, what) for what in ("source", "random") for depth in (0, 1)]
    for ax, kind, title in zip(  # noqa: B007 - the query reads it
        axes,
        ("carry", "digit"),
        ("sums that differ in a carry", "sums that differ in a tens digit"),
    ):
        for depth, what in styles:
            mine = table.query("kind == @kind and depth == @depth and what == @what")
            shift = (-0.27, 0.09)[depth] + 0.18 * (what == "random")
            ax.plot(
                mine["position"] + shift,
                mine["effect"],
                "os"[depth],
                color=COLORS[depth],
                markersize=4.5,
                alpha=0.85,
                markerfacecolor=COLORS[depth] if what == "source" else "none",
                label=(
                    f"{'after' if depth else 'before'} layer 1,"
                    f" {'from the source' if what == 'source' else 'random direction'}"
                ),
            )
        ax.set_xticks(range(9), LABELS[:9])
        ax.set(title=title, xlabel="position patched")
    axes[0].set_ylabel("share of the way\nto the other digit")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8.5
    )
    return figure


def plot_probes(table):
    """Held-out accuracy of the carry by position, one panel per depth: dots per seed, and the
    control task as crosses.

    table: DataFrame (seed, depth, position, accuracy, control).
    """
    depths = sorted(table["depth"].unique())
    figure, axes = plt.subplots(
        1, len(depths), figsize=(9.4, 3.2), sharey=True, layout="constrained"
    )
    for ax, depth in zip(axes, depths):
        for i, (_seed, mine) in enumerate(table[table["depth"] == depth].groupby("seed")):
            ax.plot(
                mine["position"] - 0.2,
                mine["accuracy"],
                MARKERS[i % 7],
                color=COLORS[0],
                markersize=4,
                alpha=0.8,
                label="carry" if i == 0 else None,
            )
            ax.plot(
                mine["position"] + 0.2,
                mine["control"],
                "x",
                color=COLORS[1],
                markersize=4,
                label="control task" if i == 0 else None,
            )
        ax.axhline(0.5, color="#888888", linestyle="--", linewidth=0.8)
        ax.set_xticks(range(11), LABELS[:11])
        ax.set(
            title=(
                ["before layer 1", "after layer 1", "after layer 2"][depth]
                if depth < 3
                else f"depth {depth}"
            ),
            xlabel="position",
        )
    axes[0].yaxis.set_major_formatter("{x:.0%}")
    axes[0].set_ylabel("held-out accuracy")
    axes[0].legend(fontsize=8, loc="upper right")
    return figure


def plot_embeddings(similarity, scores, shares):
    """Left: cosine similarity of the ten digits (10, 10). Right: scores (10, 2+) on two principal
    components, in order."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    image = left.imshow(
        np.where(np.eye(10, dtype=bool), np.nan, similarity), cmap="RdBu_r", vmin=-0.6, vmax=0.6
    )
    left.set_xticks(range(10))
    left.set_yticks(range(10))
    left.grid(False)
    left.set(title="mean cosine similarity", xlabel="digit", ylabel="digit")
    figure.colorbar(image, ax=left, shrink=0.85)
    right.plot(scores[:, 0], scores[:, 1], color="#bbbbbb", linewidth=1)
    for digit, point in enumerate(scores[:, :2]):
        right.text(
            *point,
            str(digit),
            ha="center",
            va="center",
            fontsize=11,
            color=COLORS[0],
            fontweight="bold",
        )
    right.margins(0.12)
    right.set(
        title="principal components, first seed",
        xlabel=f"first ({shares[0]:.0%} of the variance)",
        ylabel=f"second ({shares[1]:.0%})",
    )
    return figure
