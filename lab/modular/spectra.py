"""Nulls and landmarks for a run of modular addition: which frequencies stand out of noise, and when
which phase ends.

lab/modular/fourier.py measures spectra and takes waves out; here is what a measurement is compared
with: rows permuted, other frequencies instead of the key ones, and sums of cosines with random
frequencies.
"""

import math

import numpy as np
import pandas as pd
import torch

from _common import own_defaults
from lab.checks import seeded_rng
from lab.modular.fourier import (
    component_norms,
    draw_others,
    excluded_logits,
    fourier_basis,
    frequency_norms,
    keep_sum_frequencies,
)
from lab.modular.measures import LEARNED

__all__ = (
    "shares permuted_maxima standing_out second_harmonic other_frequencies margin "
    "random_margins plane mirrored phases"
).split()

FORMED = 0.1  # nats of restricted loss: the key frequencies alone would nearly do
SETTLED = 0.05  # the squared weights are within this share of their last value


def shares(norms):
    """The share of the squared norm that is not constant, by frequency: ((p + 1) / 2,) norms,
    constant first -> ((p - 1) / 2,) numpy. Index 0 is frequency 1. All zeros where nothing
    varies."""
    power = np.asarray(norms, dtype=float)[1:] ** 2
    return power / power.sum() if power.sum() > 0 else power


def permuted_maxima(table, draws=200, seed=0):
    """The largest share of any frequency when the rows of a table (p, m) change places at random:
    (draws,) numpy, unsorted.

    Under the null that the order of the numbers means nothing to the table, its own largest share
    is one more such draw. The maximum over frequencies takes care of looking at all of them.
    """
    p, rng = len(table), seeded_rng(seed)
    table = table.detach().double().numpy()
    gram = (table - table.mean(0)) @ (table - table.mean(0)).T  # (p, p)
    total = np.trace(gram)
    if total <= 0:
        return np.zeros(draws)
    waves = fourier_basis(p)[1:].numpy()  # (p - 1, p)
    maxima = []
    for _ in range(draws):
        shuffled = waves[:, rng.permutation(p)]  # the waves change places instead of the rows
        power = ((shuffled @ gram) * shuffled).sum(1)  # squared norm of each component
        maxima.append(power.reshape(-1, 2).sum(1).max() / total)
    return np.array(maxima)


def standing_out(table, draws=200, level=0.05, seed=0):
    """The frequencies whose share in a table (p, m) is larger than the null allows: (sorted list of
    k, the limit).

    The limit is the upper `level` quantile of `permuted_maxima`, so that a table without order
    names any frequency with a probability of about `level`. Raises ValueError for fewer draws than
    the level needs.
    """
    if draws < 1 / level:
        raise ValueError(
            f"a level of {level} needs at least {math.ceil(1 / level)} draws, not {draws}"
        )
    limit = float(np.quantile(permuted_maxima(table, draws, seed), 1 - level, method="higher"))
    found = shares(frequency_norms(component_norms(table)))
    return [int(k) + 1 for k in np.flatnonzero(found > limit)], limit


def second_harmonic(k, p):
    """The frequency 1..(p - 1) / 2 that cos(2 w_k x) has over Z_p: 2 k, or p - 2 k where that is
    larger than (p - 1) / 2."""
    if not 1 <= k <= (p - 1) // 2:
        raise ValueError(f"frequencies are 1..{(p - 1) // 2} for p = {p}, not {k}")
    return min(2 * k, p - 2 * k)


@own_defaults()
def other_frequencies(logits, frequencies, draws=40, seed=0):
    """The null of an ablation: the same number of other frequencies, removed and kept. A DataFrame
    (frequencies, removed, kept) with the accuracies over all pairs of logits (p, p, p), one row per
    draw."""
    p, rng = len(logits), seeded_rng(seed)
    a = torch.arange(p)
    answers = (a[:, None] + a) % p  # (p, p)
    rows = []
    for _ in range(draws):
        chosen = draw_others(frequencies, p, rng)
        rows.append(
            {
                "frequencies": chosen,
                "removed": float(
                    (excluded_logits(logits, chosen).argmax(2) == answers).double().mean()
                ),
                "kept": float(
                    (keep_sum_frequencies(logits, chosen).argmax(1) == a).double().mean()
                ),
            }
        )
    return pd.DataFrame(rows)


def margin(p, frequencies, amplitudes=None):
    """How far the right answer leads in a sum of cosines: 1 - the largest weighted mean of cos(2 pi
    k d / p) over d = 1..p-1.

    amplitudes: one per frequency, equal if not given. In units of the sum of amplitudes; 0 without
    frequencies.
    """
    weights = (
        np.ones(len(frequencies)) if amplitudes is None else np.asarray(amplitudes, dtype=float)
    )
    if len(weights) != len(frequencies):
        raise ValueError(
            f"margin needs one amplitude per frequency, not {len(weights)} for {len(frequencies)}"
        )
    if not len(weights) or weights.sum() == 0:
        return 0.0
    d = np.arange(1, p)
    waves = np.cos(2 * math.pi * np.outer(frequencies, d) / p)  # (K, p - 1)
    return float(1 - (weights @ waves).max() / weights.sum())


def random_margins(p, n, draws=300, seed=0):
    """`margin` of n frequencies drawn without replacement, draws times: (draws,) numpy."""
    rng = seeded_rng(seed)
    return np.array(
        [margin(p, rng.choice(np.arange(1, (p + 1) // 2), n, replace=False)) for _ in range(draws)]
    )


def plane(table, k):
    """Where the rows of a table (p, m) lie in the plane of its waves of frequency k: (p, 2) numpy,
    in the table's units.

    The plane is spanned by the table's cos and sin components of k. Rows on a circle, in the order
    of k x mod p, are what addition on the circle needs.
    """
    table = table.detach().double()
    table = table - table.mean(0)
    directions = torch.linalg.qr(
        (fourier_basis(len(table))[[2 * k - 1, 2 * k]] @ table).T
    ).Q  # (m, 2)
    return (table @ directions).numpy()


@own_defaults()
def mirrored(train, p):
    """For each of the p * p pairs (a, b), a-major: is (b, a) among the training pairs? train:
    indices a p + b -> (p * p,) booleans."""
    index = torch.arange(p * p)
    return torch.isin(index % p * p + index // p, train)


def phases(history, p, formed=FORMED, settled=SETTLED):
    """The landmarks of a run, each by a rule, in epochs (None: never): a dictionary.

    memorised: the first measured epoch with 99 % of the training pairs right. turn: from there on,
    where the excluded loss is lowest: after it the training pairs lean more and more on the key
    frequencies. formed: the restricted loss falls below `formed` for good. above chance: after
    memorising, the test loss falls below ln p for good. grokked: 99 % of the test pairs right.
    settled: the sum of squared weights stays within `settled` of its last value.
    """
    history = history.sort_values("epoch")

    def first(holds):
        return int(history.loc[holds, "epoch"].iloc[0]) if holds.any() else None

    def for_good(holds):
        after = np.flatnonzero(~holds)  # the last measured epoch at which it did not hold
        start = after[-1] + 1 if len(after) else 0
        return int(history["epoch"].iloc[start]) if start < len(holds) else None

    memorised = first(history["train_accuracy"] >= LEARNED)
    since = history[history["epoch"] >= memorised] if memorised is not None else history.iloc[:0]
    norm, final = history["weight_norm"].to_numpy(), history["weight_norm"].iloc[-1]
    return {
        "memorised": memorised,
        "turn": int(since.loc[since["excluded_loss"].idxmin(), "epoch"]) if len(since) else None,
        "formed": for_good((history["restricted_loss"] < formed).to_numpy()),
        "above chance": (
            for_good((history["test_loss"] < math.log(p)).to_numpy())
            if memorised is not None
            else None
        ),
        "grokked": first(history["test_accuracy"] >= LEARNED),
        "settled": for_good(np.abs(norm - final) <= settled * final),
    }
