"""Change something inside a model while it computes, and measure what becomes of the right digit.

Everything goes through PyTorch's hooks on the model's own modules, so there is no second version of
the forward pass. Letters for shapes: B sequences, T tokens (inputs), D the width, H heads, N pairs.

Where things stand in the 12 inputs of `aaa+bbb=ssss`: the operands' hundreds, tens, ones at 0, 1, 2
and 4, 5, 6, `=` at 7, the answer's ones, tens, hundreds, thousands at 8, 9, 10, 11. The row that
*predicts* answer digit j (0: the ones) is 7 + j.
"""

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from _checks import one_of, seed_number, whole_number
from _common import (
    _addition_sequences,
    attention_weights,
    generate,
    own_defaults,
    predict_answers,
    seeded_generator,
)
from lab import store
from lab.addition.carries import carries
from lab.checks import seeded_rng
from lab.find_or_make import Call, Wanted, find_or_make, python_command
from lab.scale import at_most

__all__ = """
    LABELS ROWS DIGITS Sums sums_by_carries pairs_differing hooks ablate_edges edge_means
    ablate_part part_means streams patch scores edge_effects part_effects patch_effects
    interventions_of carry_maps agreement right_by_class
""".split()

LABELS = [
    "a₂",
    "a₁",
    "a₀",
    "+",
    "b₂",
    "b₁",
    "b₀",
    "=",
    "s₀",
    "s₁",
    "s₂",
    "s₃",
]  # 0: ones, 1: tens, 2: hundreds
DIGITS = ["ones", "tens", "hundreds", "thousands"]
ROWS = [7, 8, 9, 10]  # the row that predicts each of them
CLASSES = 4  # sums with 0, 1, 2, 3 carries
PER_CLASS = at_most(1_000, 20)
BOOK_INTERVENTIONS = store.ROOT / "data" / "interventions"
YOUR_INTERVENTIONS = store.YOUR_RUNS / ".interventions"
CODE = store.code_hash([store.ROOT / "_common.py", Path(__file__)])


# --------------------------------------------------------------------------------------------------
# Sums to intervene on
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sums:
    """N sums: operands a, b (N,) arrays, tokens (N, 12) model inputs with the right answer, answer
    (N, 5) the right tokens of the answer, n_carries (N,) the number of columns that carry."""

    a: np.ndarray
    b: np.ndarray

    @property
    def sequences(self):
        a, b = torch.as_tensor(np.stack([self.a, self.b]), dtype=torch.int64, device="cpu")
        return _addition_sequences(a, b, 3, "ones_first")  # (N, 13)

    @property
    def tokens(self):
        return self.sequences[:, :-1]

    @property
    def answer(self):
        return self.sequences[:, 8:]

    @property
    def n_carries(self):
        return carries(self.a, self.b).sum(1)

    def __len__(self):
        return len(self.a)


def sums_by_carries(per_class, seed, allowed=None):
    """`per_class` sums with 0, 1, 2 and 3 carries each, in this order: Sums of 4 * per_class,
    uniform given the class.

    allowed: a function (a, b) -> (N,) booleans that narrows the draw. Raises ValueError where a
    class cannot be filled.
    """
    rng, per_class = seeded_rng(seed), whole_number("per_class", per_class, 1)
    a, b = rng.integers(1000, size=(2, 60 * per_class + 1000))
    if allowed is not None:
        keep = allowed(a, b)
        a, b = a[keep], b[keep]
    n_carries = carries(a, b).sum(1)
    chosen = [np.flatnonzero(n_carries == k)[:per_class] for k in range(CLASSES)]
    if min(map(len, chosen)) < per_class:
        raise ValueError(
            f"too few sums of some class are allowed: {[len(c) for c in chosen]} of {per_class}"
        )
    chosen = np.concatenate(chosen)
    return Sums(a[chosen], b[chosen])


def pairs_differing(kind, per_class, seed):
    """Two Sums, base and source, pair by pair, that differ in one digit of the first operand.

    kind "carry": its ones digit differs, so that just one of the two sums carries out of the ones
    column. The tens digit
        of the answer then differs by one, and no digit that is added there does.
    kind "digit": its tens digit differs, and every column carries as before; so does the tens digit
    of the answer. The bases are `per_class` of each number of carries. Raises ValueError for
    another kind.
    """
    rng = seeded_rng(seed_number("seed", seed) + 1)
    place = {"carry": 0, "digit": 1}[one_of("kind", kind, ("carry", "digit"))]

    def valid(a, b):
        """(N, 10): may the digit of `a` become 0, ..., 9?"""
        own = a // 10**place % 10
        changed = a[:, None] + (np.arange(10) - own[:, None]) * 10**place  # (N, 10)
        before, after = (
            carries(a, b)[:, None],
            carries(changed.ravel(), np.repeat(b, 10)).reshape(len(a), 10, 3),
        )
        if kind == "carry":
            return before[..., 0] != after[..., 0]
        return (before == after).all(-1) & (np.arange(10) != own[:, None])

    base = sums_by_carries(per_class, seed, allowed=lambda a, b: valid(a, b).any(1))
    new = np.where(valid(base.a, base.b), rng.random((len(base), 10)), -1).argmax(1)
    return base, Sums(base.a + (new - base.a // 10**place % 10) * 10**place, base.b)


# --------------------------------------------------------------------------------------------------
# Hooks: edges of attention, parts of a layer, the residual stream
# --------------------------------------------------------------------------------------------------


@contextmanager
def hooks(*handles):
    """Remove these handles of hooks at the end, whatever happens."""
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


def ablate_edges(model, layer, edges, means=None):
    """Cut edges of attention in one layer (from 0), in all its heads: a context manager.

    An **edge** (query row, key position) is what the row receives from the position: weight times
    value, through the output matrix. Without `means` it is set to zero, and no other weight
    changes. With `means`, (T, T, D) from `edge_means`, its mean stands in its place: the row then
    still receives what it receives on average, and nothing of this sum.
    """
    attn = model.blocks[layer].attn
    rows, keys = (list(side) for side in zip(*edges))

    def cut(module, args, weights):  # (B, H, T, T)
        weights = weights.clone()
        weights[:, :, rows, keys] = 0
        return weights

    def refill(module, args, output):  # (B, T, D)
        return output.index_add(
            1,
            torch.tensor(rows, device=output.device),
            means[rows, keys].expand(len(output), -1, -1),
        )

    handles = [attn.pattern.register_forward_hook(cut)]
    return hooks(*handles, *([attn.register_forward_hook(refill)] if means is not None else []))


@torch.no_grad()
def edge_means(model, tokens):
    """The mean of each edge over sequences (B, T): per layer a tensor (T, T, D), row, key, what the
    row receives."""
    caught = []
    handles = [
        module.register_forward_hook(lambda module, args, output: caught.append(output))
        for block in model.blocks
        for module in (block.attn.v, block.attn.pattern)
    ]
    with hooks(*handles):
        model(tokens)
    means = []
    for block, values, weights in zip(model.blocks, caught[::2], caught[1::2]):
        B, H, T, _ = weights.shape
        values = values.view(B, T, H, -1).transpose(1, 2)  # (B, H, T, D / H)
        mixed = torch.einsum("bhqk,bhkd->qkhd", weights, values) / B  # (T, T, H, D / H)
        means.append(mixed.reshape(T, T, -1) @ block.attn.out.weight.T)
    return means


def _module(model, layer, part):
    block = model.blocks[layer]
    part = one_of("part", part, ("attention", "feed-forward", "layer"))
    return block if part == "layer" else block.attn if part == "attention" else block.ffn


def _added(module, part, args, output):
    """What a part adds to the residual stream. A whole layer passes its input on; attention and
    feed-forward do not."""
    return output - args[0] if part == "layer" else output


def ablate_part(model, layer, part, means=None):
    """Let "attention", "feed-forward" or the whole "layer" add nothing, or its mean (T, D): a
    context manager."""

    def replace(module, args, output):
        nothing = args[0] if part == "layer" else torch.zeros_like(output)
        return nothing if means is None else nothing + means

    return hooks(_module(model, layer, part).register_forward_hook(replace))


@torch.no_grad()
def part_means(model, layer, part, tokens):
    """The mean of what a part adds to each position, over sequences (B, T): (T, D)."""
    caught = []
    handle = _module(model, layer, part).register_forward_hook(
        lambda module, args, output: caught.append(_added(module, part, args, output))
    )
    with hooks(handle):
        model(tokens)
    return caught[0].mean(0)


@torch.no_grad()
def streams(model, tokens):
    """The residual stream before each layer and after the last: a list of n_layers + 1 tensors
    (B, T, D)."""
    caught = []
    handles = [
        block.register_forward_pre_hook(lambda module, args: caught.append(args[0]))
        for block in model.blocks
    ]
    handles.append(
        model.blocks[-1].register_forward_hook(lambda module, args, output: caught.append(output))
    )
    with hooks(*handles):
        model(tokens)
    return caught


def patch(model, depth, position, vectors):
    """Put `vectors` (B, D) in the place of the residual stream at one position: a context manager.

    depth: 0 before the first layer, 1 after it, and so on to n_layers.
    """

    def change(stream):
        stream = stream.clone()
        stream[:, position] = vectors
        return stream

    if depth == len(model.blocks):
        return hooks(
            model.blocks[-1].register_forward_hook(lambda module, args, output: change(output))
        )
    return hooks(
        model.blocks[depth].register_forward_pre_hook(lambda module, args: (change(args[0]),))
    )


# --------------------------------------------------------------------------------------------------
# Effects
# --------------------------------------------------------------------------------------------------


@torch.no_grad()
def scores(model, tokens, answer):
    """The logit of the right digit, less the mean logit of the ten digits, and whether the model's
    choice is right.

    tokens: (B, T), T >= 11; answer: (B, 5) -> two tensors (B, 4), ones first. The mean is
    subtracted because a constant added to all logits changes no probability.
    """
    logits = model(tokens)[:, ROWS]  # (B, 4, V)
    wanted = answer[:, :4, None]
    right = logits.gather(-1, wanted)[..., 0]
    return right - logits[..., :10].mean(-1), logits.argmax(-1) == wanted[..., 0]


def _compare(model, sums, contexts, per_class):
    """Clean scores less scores under each intervention: yields (label, digits it can reach, effects
    (C, per_class, 4), right)."""
    tokens, answer = sums.tokens[:, :11], sums.answer
    parts = list(zip(tokens.split(per_class), answer.split(per_class)))
    clean = [scores(model, *part)[0] for part in parts]
    for label, digits, make in contexts:
        with make():
            changed = [scores(model, *part) for part in parts]
        yield (
            label,
            digits,
            torch.stack([c - s for c, (s, _) in zip(clean, changed)]),
            torch.stack([r for _, r in changed]),
        )


def _table(results, names):
    """Mean and standard deviation of the effects and the share right, per class and digit."""
    rows = []
    for label, digits, effects, right in results:
        mean, sd, share = effects.mean(1), effects.std(1), right.double().mean(1)  # (C, 4)
        for k in range(len(effects)):
            rows += [
                (
                    *label,
                    k,
                    j,
                    mean[k, j].item(),
                    sd[k, j].item(),
                    share[k, j].item(),
                    effects.shape[1],
                )
                for j in digits
            ]
    return pd.DataFrame(rows, columns=[*names, "carries", "digit", "effect", "sd", "right", "n"])


def edge_effects(model, sums, reference, per_class):
    """What cutting each edge does: DataFrame (how, layer, row, key, carries, digit, effect, sd,
    right, n).

    effect: how far the score of the right digit falls, in nats, mean over the n sums of a class;
    how: "zero" or "mean", the mean being that over the sums `reference`. Row 7 + j and earlier can
    reach digit j. In the last layer an edge reaches the digit of its own row only, so there one
    pass cuts one edge in each row.
    """
    means = edge_means(model, reference.tokens[:, :11])
    last, frames = len(model.blocks) - 1, []
    for how in ("zero", "mean"):
        for layer in range(last):

            def cut(row, key, layer=layer):
                return lambda: ablate_edges(
                    model, layer, [(row, key)], means[layer] if how == "mean" else None
                )

            contexts = [
                ((how, layer, row, key), [j for j in range(4) if ROWS[j] >= row], cut(row, key))
                for row in range(11)
                for key in range(row + 1)
            ]
            frames.append(
                _table(_compare(model, sums, contexts, per_class), ["how", "layer", "row", "key"])
            )

        def cut_all(key):
            edges = [(row, key) for row in ROWS if row >= key]
            return lambda: ablate_edges(model, last, edges, means[last] if how == "mean" else None)

        contexts = [
            ((how, last, key), [j for j in range(4) if ROWS[j] >= key], cut_all(key))
            for key in range(11)
        ]
        table = _table(_compare(model, sums, contexts, per_class), ["how", "layer", "key"])
        table.insert(2, "row", table["digit"] + ROWS[0])
        frames.append(table)
    return pd.concat(frames, ignore_index=True)


def part_effects(model, sums, reference, per_class):
    """The same for attention, feed-forward and whole layers: DataFrame (how, layer, part, carries,
    digit, effect, ...)."""
    contexts = []
    for layer, block in enumerate(model.blocks):
        for part in ["attention", "layer", *(["feed-forward"] if block.has_ffn else [])]:
            means = part_means(model, layer, part, reference.tokens[:, :11])
            for how, value in (("zero", None), ("mean", means)):
                contexts.append(
                    (
                        (how, layer, part),
                        range(4),
                        lambda layer=layer, part=part, value=value: ablate_part(
                            model, layer, part, value
                        ),
                    )
                )
    return _table(_compare(model, sums, contexts, per_class), ["how", "layer", "part"])


@own_defaults()
@torch.no_grad()
def patch_effects(model, kind, per_class, seed):
    """Activation patching between `pairs_differing`: DataFrame (kind, what, depth, position,
    carries, effect, sd, flipped, n).

    The stream of the base is replaced at one depth and position, by that of the source ("source"),
    or moved by a random vector as long as the difference of the two ("random"). effect: the share
    of the way from the base's tens digit to the source's, measured on the difference of their two
    logits at the row that predicts the tens: 0 nothing happened, 1 as in the source. Mean over
    pairs: the mean shift over the mean distance. flipped: share of pairs in which the model now
    chooses the source's digit.
    """
    base, source = pairs_differing(kind, per_class, seed)
    generator = seeded_generator(seed)
    rows = []
    for k in range(CLASSES):
        part = slice(k * per_class, (k + 1) * per_class)
        x, y = base.tokens[part, :9], source.tokens[part, :9]
        own, other = base.answer[part, 1:2], source.answer[part, 1:2]  # (B, 1) tens digits

        def towards(tokens):
            logits = model(tokens)[:, 8]  # (B, V)
            return (logits.gather(1, other) - logits.gather(1, own))[:, 0], logits.argmax(
                1
            ) == other[:, 0]

        (start, _), (end, _) = towards(x), towards(y)
        distance = (end - start).mean()
        for depth, (here, there) in enumerate(zip(streams(model, x)[:-1], streams(model, y)[:-1])):
            for position in range(9):
                difference = there[:, position] - here[:, position]  # (B, D)
                noise = F.normalize(
                    torch.randn(difference.shape, generator=generator)
                ) * difference.norm(dim=1, keepdim=True)
                for what, move in (("source", difference), ("random", noise)):
                    with patch(model, depth, position, here[:, position] + move):
                        now, flipped = towards(x)
                    shift = (now - start) / distance
                    rows.append(
                        (
                            kind,
                            what,
                            depth,
                            position,
                            k,
                            shift.mean().item(),
                            shift.std().item(),
                            flipped.double().mean().item(),
                            per_class,
                        )
                    )
    return pd.DataFrame(
        rows,
        columns=["kind", "what", "depth", "position", "carries", "effect", "sd", "flipped", "n"],
    )


@own_defaults()
@torch.no_grad()
def carry_maps(model, sums):
    """Attention weights averaged by class: (4 classes, layers, H, 12, 12), and their standard
    deviation within classes."""
    weights = torch.stack(attention_weights(model, sums.tokens))  # (L, N, H, T, T)
    by_class = [weights[:, torch.as_tensor(sums.n_carries == k)] for k in range(CLASSES)]
    return torch.stack([w.mean(1) for w in by_class]), torch.stack([w.std(1) for w in by_class])


def agreement(weights, effects, rows, draws=2_000, seed=0):
    """Pearson correlation of edges' weights (E,) with their effects (E,), and under the null: (r,
    null values (draws,)).

    Null: the weights are permuted among the edges of the same row. 0 where either side does not
    vary.
    """
    weights, effects, rows = (np.asarray(v, dtype=float) for v in (weights, effects, rows))
    y = effects - effects.mean()

    def correlation(x):  # (..., E)
        x = x - x.mean(-1, keepdims=True)
        size = np.linalg.norm(x, axis=-1) * np.linalg.norm(y)
        return np.where(size > 1e-12, x @ y / np.maximum(size, 1e-12), 0.0)

    rng, shuffled = seeded_rng(seed), np.tile(weights, (draws, 1))
    for row in np.unique(rows):
        shuffled[:, rows == row] = rng.permuted(shuffled[:, rows == row], axis=1)
    return float(correlation(weights)), correlation(shuffled)


@torch.no_grad()
def right_by_class(model, sums):
    """Whole answers right, teacher-forced and autoregressively: DataFrame (carries, forced,
    written, n), shares.

    With a causal mask both are the same: up to its first error a model reads the same tokens either
    way. Only a model without a mask is asked to write.
    """
    truth = sums.answer
    forced = (predict_answers(model, sums.tokens, 7) == truth).all(1).cpu().numpy()
    written = (
        forced
        if model.blocks[0].attn.causal
        else (generate(model, sums.tokens[:, :8], 5)[:, 8:] == truth).all(1).cpu().numpy()
    )
    table = pd.DataFrame({"carries": sums.n_carries, "forced": forced, "written": written})
    return (
        table.groupby("carries")
        .agg(forced=("forced", "mean"), written=("written", "mean"), n=("forced", "size"))
        .reset_index()
    )


# --------------------------------------------------------------------------------------------------
# On disk
# --------------------------------------------------------------------------------------------------

TABLES = ("edges", "parts", "patches")


def intervene(model, per_class=PER_CLASS, seed=6):
    """All of the above for one model: {"edges": ..., "parts": ..., "patches": ...}, DataFrames.
    About half a minute a model."""
    model.eval()
    seed = seed_number("seed", seed)
    sums, reference = (
        sums_by_carries(per_class, seed),
        Sums(*seeded_rng(seed + 1).integers(1000, size=(2, 4_000))),
    )
    return {
        "edges": edge_effects(model, sums, reference, per_class),
        "parts": part_effects(model, sums, reference, per_class),
        "patches": pd.concat(
            [patch_effects(model, kind, per_class, seed) for kind in ("carry", "digit")],
            ignore_index=True,
        ),
    }


def interventions_of(run):
    """The tables of `intervene` for a finished run, made with just these weights: see
    lab/find_or_make.py.

    Raises NotStored; store.DamagedRun."""
    wanted = Wanted(
        "set of interventions",
        run.name,
        f"in the run {run.name}",
        python_command(
            "lab.addition.interventions",
            "interventions_of",
            Call("lab.runs", "finished_run", run.config),
        ),
        minutes=0.5,
    )
    return find_or_make(
        wanted,
        BOOK_INTERVENTIONS,
        YOUR_INTERVENTIONS,
        find=lambda folder: stored_interventions(run, folder),
        make=lambda folder: store_interventions(run, folder),
    )[0]


def stored_interventions(run, folder):
    """The tables of a run as stored in `folder`; None if there are none, or if they were made with
    other weights."""
    place = Path(folder) / run.name
    if not place.exists():
        return None
    contents, provenance = store.read_folder(place, tuple(f"{name}.csv" for name in TABLES))
    if provenance.get("weights") != run.provenance["files"]["weights.safetensors"]:
        return None
    return {name: store.read_table(contents[f"{name}.csv"]) for name in TABLES}


def store_interventions(run, folder):
    """Intervene in a run's model and write the tables into `folder`, whole or not at all; returns
    their path."""
    started = time.perf_counter()
    tables = intervene(run.model("cpu"))
    provenance = {
        **store.provenance_of(torch.device("cpu"), time.perf_counter() - started, CODE),
        "weights": run.provenance["files"]["weights.safetensors"],
    }
    files = {
        f"{name}.csv": table.to_csv(index=False, float_format="%.5g").encode()
        for name, table in tables.items()
    }
    return store.write_folder(Path(folder) / run.name, files, provenance, replace=True)
