"""The figures of the chapter on assembly and training. Each helper returns its figure."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import FancyBboxPatch

from _common import (
    COLORS,
    as_array,
    decode_tokens,
    digits_at_chance,
    encode_addition,
    get_attention_maps,
    learning_rate_at,
)
from lab.addition.interventions import streams

__all__ = "draw_model plot_descents plot_live plot_opened plot_schedule".split()
GREY = "#666666"


@torch.no_grad()
def draw_model(model, a, b):
    """The model as a column of boxes, and the shape of what flows between them when it reads the
    sum a + b: measured on the way, not written down.

    model: an AdditionTransformer for three-digit sums.
    """
    prompt, answer = encode_addition(a, b)
    tokens = torch.tensor([(prompt + answer)[:-1]])
    device = next(model.parameters()).device
    shapes, hooks = {}, []

    def note(name):
        def hook(module, given, output):
            shapes[name] = tuple(output.shape)

        return hook

    parts = {"embeddings": model.token_emb, "final norm": model.ln_f}
    parts |= {f"layer {i}": block for i, block in enumerate(model.blocks, start=1)}
    for name, module in parts.items():
        hooks.append(module.register_forward_hook(note(name)))
    try:
        logits = model(tokens.to(device))
    finally:
        for hook in hooks:
            hook.remove()
    layers = [f"layer {i}" for i in range(1, len(model.blocks) + 1)]
    rows = [
        (" ".join(decode_tokens(tokens[0].tolist())), tuple(tokens.shape), None),
        ("token + position embedding", shapes["embeddings"], COLORS[0]),
        *((f"{name}: attention, feed-forward", shapes[name], COLORS[2]) for name in layers),
        ("final norm", shapes["final norm"], COLORS[4]),
        ("head (token embedding again)", tuple(logits.shape), COLORS[0]),
    ]
    figure, ax = plt.subplots(figsize=(5.2, 0.72 * len(rows) + 0.3), layout="constrained")
    for i, (text, shape, color) in enumerate(rows):
        y = -i
        if color is None:
            ax.text(0, y, text, ha="center", va="center", family="monospace")
        else:
            ax.add_patch(
                FancyBboxPatch(
                    (-1.45, y - 0.22),
                    2.9,
                    0.44,
                    boxstyle="round,pad=0.04",
                    facecolor="white",
                    edgecolor=color,
                    linewidth=1.6,
                )
            )
            ax.text(0, y, text, ha="center", va="center", fontsize=9.5)
            ax.annotate(
                "",
                (0, y + 0.28),
                (0, y + 0.74),
                arrowprops={"arrowstyle": "->", "color": GREY},
            )
        ax.text(1.62, y, " × ".join(map(str, shape)), va="center", color=GREY, fontsize=9.5)
    ax.set(xlim=(-1.6, 2.6), ylim=(-len(rows) + 0.6, 0.4))
    ax.axis("off")
    return figure


def plot_descents(paths, steepness):
    """Where optimizers went on the valley (w1² + steepness · w2²) / 2, over its contours.

    paths: {label: (steps, 2) array or tensor}, each from its start.
    """
    figure, axes = plt.subplots(
        len(paths), 1, figsize=(6, 1.7 * len(paths) + 0.5), sharex=True, layout="constrained"
    )
    paths = {label: as_array(path) for label, path in paths.items()}
    every = np.concatenate(list(paths.values()))
    w1 = np.linspace(every[:, 0].min() - 0.5, max(every[:, 0].max(), 0) + 1, 200)
    w2 = np.linspace(every[:, 1].min() - 0.2, every[:, 1].max() + 0.2, 200)
    height = (w1[None] ** 2 + steepness * w2[:, None] ** 2) / 2
    for ax, (label, path), color in zip(np.atleast_1d(axes), paths.items(), COLORS):
        ax.contour(
            w1, w2, height, levels=np.geomspace(0.3, 60, 8), colors="#bbbbbb", linewidths=0.7
        )
        ax.plot(*path.T, "o-", color=color, markersize=2.5, linewidth=1)
        ax.plot(0, 0, "*", color="black", markersize=9)
        ax.set_title(f"{label}: after {len(path) - 1} steps", loc="left", fontsize=10)
        ax.set(ylabel="$w_2$")
        ax.grid(False)
    ax.set(xlabel="$w_1$")
    return figure


def plot_schedule(lr, warmup_steps, total_steps):
    """The learning rate at every step of a run: the warm-up, then half a cosine."""
    figure, ax = plt.subplots(figsize=(6, 2.2), layout="constrained")
    steps = np.arange(total_steps)
    ax.plot(steps, [learning_rate_at(int(s), lr, warmup_steps, total_steps) for s in steps])
    ax.axvline(warmup_steps, color=GREY, linestyle=":", linewidth=1)
    ax.annotate(
        "end of the warm-up", (warmup_steps, lr / 2), (8, 0), textcoords="offset points", color=GREY
    )
    ax.set(xlabel="step", ylabel="learning rate", ylim=(0, 1.08 * lr))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    return figure


def plot_live(runs, mine=None):
    """The excess loss of stored runs as thin lines, in digits at chance, and your own run thick.

    runs: finished runs on sums, of one number of digits; mine: what `train_model` returns (None:
    only the stored ones).
    """
    config = runs[0].config
    n_targets = config.max_seq_len - 1  # every token but the first

    def excess(loss):
        return digits_at_chance(loss, config.floor, n_targets)

    figure, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
    last = max(run.history["epoch"].max() for run in runs)
    ax.hlines(range(config.n_digits + 1), 1, last, color="#888888", linestyle=":", linewidth=0.8)
    for i, run in enumerate(runs):
        ax.plot(
            run.history["epoch"],
            excess(run.history["loss"]),
            color=COLORS[0],
            linewidth=0.7,
            alpha=0.6,
            label=f"{len(runs)} stored runs" if i == 0 else None,
        )
    if mine is not None:
        ax.plot(
            mine["epoch"], excess(mine["loss"]), color=COLORS[1], linewidth=2.2, label="your run"
        )
    ax.set(
        xlabel="epoch",
        ylabel="excess loss (digits at chance)",
        ylim=(-0.15, config.n_digits + 1.2),
    )
    ax.legend(loc="upper right")
    return figure


@torch.no_grad()
def plot_opened(model, a, b):
    """One step of writing a + b, opened: where the row of the equals sign looks in each layer, and
    what the head would read there after it. It stands in the place of the laboratory.

    model: an AdditionTransformer for three-digit sums.
    """
    maps, labels = get_attention_maps(model, a, b)
    row = labels.index("=")
    tokens = torch.tensor([sum(encode_addition(a, b), [])[: row + 1]])
    figure, axes = plt.subplots(
        len(maps), 1, figsize=(5.4, 1.7 * len(maps)), sharex=True, layout="constrained"
    )
    for layer, (ax, weights) in enumerate(zip(np.atleast_1d(axes), maps)):
        ax.bar(range(row + 1), weights[row, : row + 1], color=COLORS[0])
        stream = model.ln_f(streams(model, tokens)[layer + 1][0, row])
        p = torch.softmax(stream @ model.token_emb.weight.T, dim=-1)
        read = f"{decode_tokens([int(p.argmax())])} with {float(p.max()):.0%}"
        ax.set_title(f"layer {layer + 1}; after it the head reads {read}", loc="left", fontsize=10)
        ax.set(ylabel="weight", ylim=(0, 1))
        ax.grid(axis="x", visible=False)
    ax.set_xticks(range(row + 1), labels[: row + 1])
    ax.set_xlabel("looked at")
    return figure
