"""The crossed experiments of chapter 10: starts with streams of examples, and the two aids of the
published recipe.

A start and a stream fix a run: training is deterministic. So what neither of them explains is how
the two go together; there is no noise beside it.
"""

import numpy as np
import pandas as pd
from scipy import stats

from lab.adders.studies.frontier import PUBLISHED_START, Entry
from lab.checks import seeded_rng
from lab.scale import few

__all__ = (
    "AIDS CARRY_SHARES CROSSED_STARTS aids_label grid_of difference_pvalue variance_shares".split()
)

STREAMS = range(100, 112)
CROSSED_STARTS = {
    start: Entry("r9-step-diagonal", (("model.start", "signs"), ("weights_seed", start)), STREAMS)
    for start in few(range(12))
}

CARRY_SHARES = (0.0, 0.8)


def aids_label(carry_share, curriculum):
    """What an arm is called: "80 % carries, no curriculum"."""
    return f"{100 * carry_share:.0f} % carries, {'curriculum' if curriculum else 'no curriculum'}"


def _aids(carry_share, curriculum):
    changes = (("carry_share", carry_share),) + (() if curriculum else (("digit_stages", ()),))
    return Entry("57", PUBLISHED_START + changes, range(16))


# The last share with the curriculum is the recipe as published: the sweep "57, published start" of
# lab.adders.studies.frontier.
AIDS = {
    aids_label(share, curriculum): _aids(share, curriculum)
    for curriculum in (True, False)
    for share in CARRY_SHARES
}


def grid_of(sweeps):
    """Success by start and stream: a DataFrame of booleans. sweeps: {start: Sweep}, of the same
    seeds each, which are the streams."""
    return pd.DataFrame(
        {start: sweep.successes.set_axis(sweep.outcomes["seed"]) for start, sweep in sweeps.items()}
    ).T.astype(bool)


def variance_shares(table):
    """What share of a table's variance its rows carry, its columns, and their combination: three
    numbers that sum to one.

    Variance components of a two-way table without repeats, both ways random, by the method of
    moments (Searle 1971); one that comes out below zero counts as zero. Three zeros where all
    values are alike. Raises ValueError below 2 x 2.
    """
    y = np.asarray(table, dtype=float)
    if y.ndim != 2 or min(y.shape) < 2:
        raise ValueError(f"a table of at least 2 x 2 is needed, not of shape {y.shape}")
    n_rows, n_columns = y.shape
    rows, columns = y.mean(1, keepdims=True) - y.mean(), y.mean(0, keepdims=True) - y.mean()
    both = ((y - rows - columns - y.mean()) ** 2).sum() / (
        (n_rows - 1) * (n_columns - 1)
    )  # its mean square
    components = np.array(
        [
            (n_columns * (rows**2).sum() / (n_rows - 1) - both) / n_columns,
            (n_rows * (columns**2).sum() / (n_columns - 1) - both) / n_rows,
            both,
        ]
    )
    # what floating point leaves of a zero is none
    components = np.maximum(0.0, components.round(12)) + 0.0
    return tuple((components / (components.sum() or 1.0)).tolist())


def difference_pvalue(table, draws=9_999, seed=0):
    """Do the rows of a table differ? A permutation test: within each column every order of the
    values is equally likely if not.

    The statistic is the variance of the row means (for successes and failures this is Cochran's Q).
    Give it the transposed table to ask about columns.
    """
    rows = np.asarray(table, dtype=float)

    def spread(*rows, axis):
        return np.var([row.mean(axis=axis) for row in rows], axis=0)

    return float(
        stats.permutation_test(
            tuple(rows),
            spread,
            permutation_type="samples",
            n_resamples=draws,
            alternative="greater",
            vectorized=True,
            rng=seeded_rng(seed),
        ).pvalue
    )
