"""Fourier analysis over Z_p: spectra of weights, waves in neurons and logits, and the progress
measures of grokking.

A function of x in Z_p is a sum of a constant and waves cos(w_k x), sin(w_k x), with w_k = 2 pi k /
p and k = 1..(p-1)/2. A network that adds on the circle has logits that are sums of cos(w_k (a + b -
c)) over a few key frequencies k. The progress measures are those of Nanda et al. (2023), arXiv
2301.05217.

Everything here takes plain tensors. A grid is a tensor (p, p, m) over a, b and m outputs. The waves
of frequency k that matter on a grid are eight: cos and sin of w_k a, w_k b, w_k (a + b) and w_k (a
- b). They are orthogonal to each other and to all others, and what a grid has of each is read from
its means over the pairs that agree in a, in b, in a + b, in a - b.
"""

import math

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from _common import own_defaults
from lab.checks import seeded_rng

__all__ = (
    "fourier_basis component_names component_norms frequency_norms gini key_frequencies "
    "grid_means frequency_fractions varies neuron_table keep_sum_frequencies restricted_loss "
    "excluded_logits excluded_loss ablation_table keep_in_embedding draw_others "
    "others_restricted cosine_fit cosine_logits distance_irrelevance"
).split()

KEY_TIMES = 2.0  # a key frequency carries at least so many times an even share of the squared norm
KINDS = ("a", "b", "a + b", "a - b")


def _odd(p):
    if p < 3 or p % 2 == 0:
        raise ValueError(f"the Fourier basis is written out for odd p of at least 3, not {p}")


@own_defaults()
def fourier_basis(p):
    """The orthonormal Fourier basis over Z_p: (p, p) float64, rows constant, cos 1, sin 1, cos 2,
    sin 2, ...; columns x."""
    _odd(p)
    # ((p-1)/2, p)
    angle = 2 * math.pi * torch.outer(torch.arange(1, (p + 1) // 2), torch.arange(p)).double() / p
    waves = torch.stack([angle.cos(), angle.sin()], 1).reshape(p - 1, p) * math.sqrt(2 / p)
    return torch.cat([torch.full((1, p), 1 / math.sqrt(p), dtype=torch.float64), waves])


def component_names(p):
    """The names of the basis' rows: constant, cos 1, sin 1, ..."""
    return ["constant"] + [f"{wave} {k}" for k in range(1, (p + 1) // 2) for wave in ("cos", "sin")]


def component_norms(table):
    """The norm of each Fourier component of a table (p, m) whose rows are numbers 0..p-1: (p,)
    float64.

    For the embedding give W_E[:p]; for the neuron-logit map W_L (M, p) its transpose.
    """
    return (fourier_basis(len(table)) @ table.detach().double()).norm(dim=1)


def frequency_norms(norms):
    """From norms by component (p,) to norms by frequency ((p + 1) / 2,): index 0 is the constant,
    index k has cos and sin."""
    return torch.cat([norms[:1], norms[1:].view(-1, 2).norm(dim=1)])


def gini(values):
    """The Gini coefficient of non-negative values: 0 when all are equal, (n - 1) / n when one has
    everything.

    Raises ValueError for negative values; NaN where all are zero.
    """
    x = np.sort(np.asarray(values, dtype=float))
    if len(x) == 0 or x[0] < 0:
        raise ValueError("the Gini coefficient needs values, none of them negative")
    n = len(x)
    return (
        float(((2 * np.arange(1, n + 1) - n - 1) * x).sum() / (n * x.sum()))
        if x.sum() > 0
        else math.nan
    )


def key_frequencies(norms, times=KEY_TIMES):
    """The key frequencies, a sorted list of k: the rule of this book.

    norms: by frequency, constant first, ((p + 1) / 2,), of the neuron-logit map. A frequency is key
    if it carries at least `times` an even share of the squared norm that is not constant. White
    noise through 128 dimensions gives shares that differ from even by about 9 %: it has no key
    frequency. At p = 113 an even share is 1/56, so a key frequency has 3.6 % or more.
    """
    power = np.asarray(norms, dtype=float)[1:] ** 2
    return (
        [int(k) + 1 for k in np.flatnonzero(power >= times * power.mean())]
        if power.sum() > 0
        else []
    )


# -- waves on a grid


@own_defaults()
def grid_means(grid):
    """Means of a grid (p, p, m) over the pairs that agree in a, in b, in a + b mod p, in a - b mod
    p: (4, p, m) float64."""
    a = torch.arange(len(grid))
    return torch.stack(
        [
            grid.mean(1).double(),
            grid.mean(0).double(),
            _means_by(grid, a[:, None] + a),
            _means_by(grid, a[:, None] - a),
        ]
    )


@own_defaults()
def _means_by(grid, group):
    """Means of a grid (p, p, m) over the pairs of one group mod p, p pairs each: group (p, p) ->
    (p, m) float64."""
    p = len(grid)
    sums = torch.zeros(p, grid.shape[2], dtype=grid.dtype).index_add_(
        0, (group % p).flatten(), grid.flatten(0, 1)
    )
    return sums.double() / p


def frequency_fractions(grid):
    """The share of each output's variance over the grid that each wave explains: (p, p, m) -> (4,
    (p - 1) / 2, m) float64.

    First axis: waves (cos and sin together) of a, b, a + b, a - b. Summed over it: what one
    frequency explains. An output that does not vary has zeros.
    """
    p = len(grid)
    waves = fourier_basis(p)[1:]
    power = p * (waves @ grid_means(grid)).square().unflatten(1, (-1, 2)).sum(2)  # (4, (p-1)/2, m)
    total = p**2 * grid.flatten(0, 1).var(0, correction=0).double()  # (m,)
    return torch.where(varies(grid), power / total, 0.0)


def varies(grid):
    """Which outputs of a grid (p, p, m) vary over it, by more than rounding: (m,) booleans. A dead
    neuron does not."""
    grid = grid.flatten(0, 1)
    return grid.amax(0) - grid.amin(0) > 1e-6 * grid.abs().amax(0)


@own_defaults()
def neuron_table(neurons):
    """What each neuron computes: activations over the grid (p, p, M) -> a DataFrame, one row per
    neuron.

    frequency: the one that explains most of its variance; fraction: how much; share_a, share_b,
    share_sum, share_difference: the four kinds of waves of which that consists; phase_sum: phi of
    its cos(w_k (a + b) + phi), in radians; alive: it varies.
    """
    fractions = frequency_fractions(neurons)  # (4, K, M)
    best = fractions.sum(0).argmax(0)  # (M,)
    columns = torch.arange(neurons.shape[2])
    shares = fractions[:, best, columns]  # (4, M)
    waves = fourier_basis(len(neurons))[1:] @ _means_by(
        neurons, _sums(len(neurons))
    )  # (p - 1, M): cos, sin of a + b
    cos, sin = waves[2 * best, columns], waves[2 * best + 1, columns]
    return pd.DataFrame(
        {
            "neuron": columns,
            "frequency": best + 1,
            "fraction": shares.sum(0),
            **{
                name: share
                for name, share in zip(
                    ("share_a", "share_b", "share_sum", "share_difference"), shares
                )
            },
            "phase_sum": torch.atan2(-sin, cos),
            "alive": varies(neurons),
        }
    )


# -- progress measures: the logits (p, p, p) over a, b and the answer c


def _sum_waves(logits, frequencies):
    """The part of the logits that is a wave cos/sin w_k (a + b) of these frequencies, by sum s:
    (p, p) float64 over s, c."""
    return _waves_of(_means_by(logits, _sums(len(logits))), frequencies)


def _waves_of(by_sum, frequencies):
    p = len(by_sum)
    unknown = [k for k in frequencies if not 1 <= k <= (p - 1) // 2]
    if unknown:
        raise ValueError(f"frequencies are 1..{(p - 1) // 2} for p = {p}, not {unknown}")
    rows = [r for k in frequencies for r in (2 * k - 1, 2 * k)]
    basis = fourier_basis(p)[rows]
    return basis.T @ (basis @ by_sum)


@own_defaults()
def _sums(p):
    a = torch.arange(p)
    return (a[:, None] + a) % p  # (p, p)


def keep_sum_frequencies(logits, frequencies):
    """Of the logits (p, p, p) only the constant and the waves of a + b of these frequencies. What
    is left depends on s = a + b mod p alone: (p, p) float64 over s and c."""
    return logits.double().mean((0, 1)) + _sum_waves(logits, frequencies)


@own_defaults()
def restricted_loss(logits, frequencies):
    """Loss on all pairs with only the constant and the key frequencies' waves of a + b left in the
    logits (nats)."""
    kept = keep_sum_frequencies(logits, frequencies)
    return float(F.cross_entropy(kept, torch.arange(len(kept))))  # all sums occur equally often


def draw_others(frequencies, p, rng):
    """As many frequencies as given (or as there are), drawn without replacement from all others: a
    sorted list."""
    others = [k for k in range(1, (p + 1) // 2) if k not in frequencies]
    return (
        sorted(rng.choice(others, min(len(frequencies), len(others)), replace=False).tolist())
        if others
        else []
    )


@own_defaults()
def others_restricted(logits, frequencies, draws=10, seed=0):
    """Restricted loss with as many other frequencies in place of the key ones, its null: (draws,)
    numpy, in nats.

    A table of the training pairs learned by heart has waves of a + b at every frequency: its mean
    over the pairs of one sum points at the right answer. So a restricted loss below chance is no
    sign of a circuit unless other frequencies are above it.
    """
    rng, by_sum = seeded_rng(seed), _means_by(logits, _sums(len(logits)))
    constant, sums = by_sum.mean(0), torch.arange(len(logits))
    chosen = [draw_others(frequencies, len(logits), rng) for _ in range(draws)]
    return np.array(
        [float(F.cross_entropy(constant + _waves_of(by_sum, others), sums)) for others in chosen]
    )


def excluded_logits(logits, frequencies):
    """The logits (p, p, p) without these frequencies' waves of a + b, in the logits' dtype."""
    return logits - _sum_waves(logits, frequencies).to(logits.dtype)[_sums(len(logits))]


def excluded_loss(logits, frequencies, train):
    """Loss on the training pairs (indices a * p + b) without the key frequencies' waves of a + b
    (nats)."""
    p = len(logits)
    return float(
        F.cross_entropy(
            excluded_logits(logits, frequencies).flatten(0, 1)[train].double(),
            _sums(p).flatten()[train],
        )
    )


def ablation_table(logits, frequencies, test):
    """What the answer owes to each key frequency: a DataFrame with one row per ablation of the
    logits (p, p, p).

    kept: "all"; "all but k" for each key frequency; "all but the key frequencies"; "only k" for
    each; "only the key frequencies" (and the constant). loss, accuracy: on all pairs; test_loss,
    test_accuracy: on the pairs `test` (indices a p + b).
    """
    p, frequencies = len(logits), list(frequencies)
    sums = _sums(p).flatten()
    cases = [("all", logits)] + [
        (f"all but {k}", excluded_logits(logits, [k])) for k in frequencies
    ]
    cases += [("all but the key frequencies", excluded_logits(logits, frequencies))]
    cases += [(f"only {k}", keep_sum_frequencies(logits, [k])[_sums(p)]) for k in frequencies]
    cases += [("only the key frequencies", keep_sum_frequencies(logits, frequencies)[_sums(p)])]
    rows = []
    for kept, changed in cases:
        losses = F.cross_entropy(changed.flatten(0, 1).double(), sums, reduction="none")
        right = (changed.flatten(0, 1).argmax(1) == sums).double()
        rows.append(
            {
                "kept": kept,
                "loss": float(losses.mean()),
                "accuracy": float(right.mean()),
                "test_loss": float(losses[test].mean()),
                "test_accuracy": float(right[test].mean()),
            }
        )
    return pd.DataFrame(rows)


def keep_in_embedding(embedding, frequencies, keep=True):
    """An embedding (p, D) with only the constant and the waves of these frequencies left
    (or, keep=False, without them)."""
    basis = fourier_basis(len(embedding)).to(embedding.dtype)
    part = basis[[r for k in frequencies for r in (2 * k - 1, 2 * k)]]
    waves = part.T @ (part @ embedding)
    return embedding.mean(0) + waves if keep else embedding - waves


# -- the logits as a formula


@own_defaults()
def cosine_fit(logits, frequencies):
    """Harmonic regression of the logits on cos(w_k (a + b - c)), one number per frequency:
    (DataFrame, share explained).

    The logits (p, p, p) are centred for each pair first, which changes no probability. The
    regressors are orthogonal, so each row (frequency, amplitude, share of variance explained)
    stands by itself and the shares add up.
    """
    p = len(logits)
    by_sum = _means_by(logits, _sums(p))
    by_sum = by_sum - by_sum.mean(1, keepdim=True)  # (p, p) over s, c
    flat = logits.double()
    total = float((flat - flat.mean(2, keepdim=True)).square().sum())
    lag = (torch.arange(p)[:, None] - torch.arange(p)).double()  # s - c
    amplitudes = [
        float((by_sum * torch.cos(2 * math.pi * k * lag / p)).sum() * 2 / p**2) for k in frequencies
    ]
    table = pd.DataFrame({"frequency": list(frequencies), "amplitude": amplitudes})
    table["share"] = table["amplitude"] ** 2 * p**3 / 2 / total if total > 0 else 0.0
    return table, float(table["share"].sum())


@own_defaults()
def cosine_logits(p, frequencies, amplitudes):
    """The formula itself: logits (p, p, p) float64, sum over k of amplitude_k cos(2 pi k (a + b -
    c) / p)."""
    x = torch.arange(p)
    lag = x[:, None, None] + x[None, :, None] - x
    return sum(
        (
            amplitude * torch.cos(2 * math.pi * k * lag.double() / p)
            for k, amplitude in zip(frequencies, amplitudes)
        ),
        torch.zeros(p, p, p, dtype=torch.float64),
    )


@own_defaults()
def distance_irrelevance(logits):
    """How little the right answer's logit depends on a - b: near 1 for a "clock", near 0 for a
    "pizza".

    Its standard deviation among pairs of one a - b, averaged, over that among all pairs: Zhong et
    al. (2023), arXiv 2306.17844, section 4.2. NaN where the right logit never varies.
    """
    p = len(logits)
    right = logits.double().flatten(0, 1).gather(1, _sums(p).view(-1, 1)).view(p, p)  # over a, b
    a, d = torch.arange(p)[None, :], torch.arange(p)[:, None]
    by_distance = right[a, (a - d) % p]  # (p, p) over d, a
    overall = float(right.std(correction=0))
    return (
        float(by_distance.std(1, correction=0).mean()) / overall
        if overall > 1e-12 * float(right.abs().max())
        else math.nan
    )
