"""Figures of chapter 6: maps beside interventions, patches, probes, embeddings. Each helper returns
its figure."""

import matplotlib.pyplot as plt
import numpy as np

from _common import COLORS
from lab.addition.interventions import DIGITS, LABELS
from lab.figures.style import MARKERS

__all__ = """
    draw_edge plot_answer_rows plot_agreement plot_patches plot_probes plot_embeddings
""".split()
GREY = "#666666"


def draw_edge(row, key):
    """Every edge of attention into one row, as lines from the positions that it can see, and one
    of them drawn thick and cut.

    row: 7 to 10, which predicts the ones, tens, hundreds or thousands; key: at most row. Raises
    ValueError for others.
    """
    if row not in range(7, 11) or key not in range(row + 1):
        raise ValueError(f"row must be 7 to 10 and key 0 to row, not {row} and {key}")
    figure, ax = plt.subplots(figsize=(6.4, 2.7), layout="constrained")
    for i, label in enumerate(LABELS):
        seen = i <= row
        ax.text(i, 0, label, ha="center", va="center", color="black" if seen else "#bbbbbb")
        if seen:
            chosen = i == key
            ax.plot(
                [i, row],
                [0.16, 0.84],
                color=COLORS[1] if chosen else "#aaaaaa",
                linewidth=2.4 if chosen else 0.9,
            )
    middle = (key + row) / 2
    ax.plot(middle, 0.5, "x", color="black", markersize=12, markeredgewidth=2.4)
    ax.annotate(
        f"the edge {LABELS[row]} → {LABELS[key]}, cut",
        (middle - 0.35, 0.56),
        (-0.45, 0.78),
        color=COLORS[1],
        va="center",
    )
    ax.text(row, 1, LABELS[row], ha="center", va="center", fontweight="bold")
    ax.text(row + 0.45, 1, f"predicts the {DIGITS[row - 7]}", va="center", color=GREY)
    ax.text(row + 1.1, 0.42, "cannot be seen yet", color=GREY, fontsize=8.5)
    ax.text(-0.5, 1, "the row that asks", va="center", color=GREY)
    ax.text(-0.5, -0.22, "the positions that it can ask", va="center", color=GREY)
    ax.set(xlim=(-0.6, 12.2), ylim=(-0.35, 1.15))
    ax.axis("off")
    return figure


def plot_answer_rows(weights=None, effects=None):
    """Heat maps of the rows that predict the four digits, a layer below the other: attention
    weights and, under those of the same layer, nats lost.

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
    panels = [(layer, *kind) for layer in range(len(kinds[0][1])) for kind in kinds]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(5.6, 1.75 * len(panels)), squeeze=False, layout="constrained"
    )
    for ax, (layer, what, values) in zip(axes[:, 0], panels):
        top = max(float(np.abs(values[:, ~future]).max()), 1e-3)
        limits, cmap = ((0, 1), "viridis") if what == "weight" else ((-top, top), "RdBu_r")
        image = ax.imshow(
            np.ma.masked_where(future, values[layer]),
            vmin=limits[0],
            vmax=limits[1],
            cmap=cmap,
            aspect="auto",
        )
        ax.set_facecolor("#c4c4c4")
        ax.set_xticks(range(11), LABELS[:11])
        ax.set_yticks(range(4), [f"{LABELS[7 + j]} → {DIGITS[j]}" for j in range(4)])
        ax.set_title(f"layer {layer + 1}: {what}", fontsize=10, loc="left")
        ax.grid(False)
        figure.colorbar(image, ax=ax)
    return figure


def plot_agreement(table):
    """Weight against nats lost, one panel per layer, one point per edge of an answer row and seed.

    table: DataFrame (seed, layer, weight, effect).
    """
    layers = sorted(table["layer"].unique())
    figure, axes = plt.subplots(
        len(layers),
        1,
        figsize=(5.6, 2.5 * len(layers)),
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    for ax, layer in zip(axes[:, 0], layers):
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
        ax.set(ylabel="nats lost when cut", xlim=(-0.03, 1.03))
        ax.set_title(f"layer {layer + 1}", loc="left", fontsize=10)
    ax.set_xlabel("mean attention weight")
    axes[0, 0].legend(fontsize=8.5)
    return figure


def plot_patches(table):
    """Share of the way to the source's digit, by position patched: panels carry and digit, filled
    marks for the source, hollow ones for a random direction; circles before layer 1, squares after
    it.

    table: DataFrame (seed, kind, what, depth, position, effect), averaged over classes.
    """
    figure, axes = plt.subplots(
        2, 1, figsize=(5.6, 5.4), sharex=True, sharey=True, layout="constrained"
    )
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
        ax.set_title(title, loc="left", fontsize=10)
        ax.set_ylabel("share of the way\nto the other digit")
    ax.set_xlabel("position patched")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8
    )
    return figure


def plot_probes(table, baseline):
    """Held-out accuracy of the carry by position, a panel for each depth: dots per seed, and the
    control task as crosses; dashed what needs no probe.

    table: DataFrame (seed, depth, position, accuracy, control). baseline: share of sums that the
    more frequent answer gets right.
    """
    depths = sorted(table["depth"].unique())
    figure, axes = plt.subplots(
        len(depths),
        1,
        figsize=(5.6, 2.1 * len(depths) + 0.3),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, depth in zip(axes[:, 0], depths):
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
        ax.axhline(baseline, color="#888888", linestyle="--", linewidth=0.8)
        ax.set_xticks(range(11), LABELS[:11])
        names = ["before layer 1", "after layer 1", "after layer 2"]
        ax.set_title(names[depth] if depth < 3 else f"depth {depth}", loc="left", fontsize=10)
        ax.set_ylabel("new sums read right")
        ax.yaxis.set_major_formatter("{x:.0%}")
    ax.set_xlabel("position")
    axes[0, 0].legend(fontsize=8.5, loc="upper right", ncols=2)
    return figure


def plot_embeddings(similarity, scores, shares):
    """Above: cosine similarity of the ten digits (10, 10). Below: scores (10, 2+) on two principal
    components, in order."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(4.6, 7), layout="constrained")
    image = above.imshow(
        np.where(np.eye(10, dtype=bool), np.nan, similarity), cmap="RdBu_r", vmin=-0.6, vmax=0.6
    )
    above.set_xticks(range(10))
    above.set_yticks(range(10))
    above.grid(False)
    above.set(title="mean cosine similarity", xlabel="digit", ylabel="digit")
    figure.colorbar(image, ax=above, shrink=0.9)
    below.plot(scores[:, 0], scores[:, 1], color="#bbbbbb", linewidth=1)
    for digit, point in enumerate(scores[:, :2]):
        below.text(
            *point,
            str(digit),
            ha="center",
            va="center",
            fontsize=11,
            color=COLORS[0],
            fontweight="bold",
        )
    below.margins(0.12)
    below.set(
        title="principal components, first seed",
        xlabel=f"first ({shares[0]:.0%} of the variance)",
        ylabel=f"second ({shares[1]:.0%})",
    )
    return figure
