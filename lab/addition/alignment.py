"""How much of its attention a model puts where the task asks for: one number per layer, and what
chance would give.

Reversal of n digits needs, at the row that predicts answer digit j, the digit at n - 1 - j: on the
map an anti-diagonal. Addition needs, at the row that predicts answer digit j, the two operand
digits of column j: two anti-diagonals. (Ones first. The digit of the last carry has no column of
its own and is left out; that a carry needs more is left out too.)
"""

from itertools import combinations

import numpy as np

from _checks import one_of, whole_number
from _common import attention_weights

__all__ = (
    "needed_positions mean_maps alignment row_alignment uniform_alignment chance_alignments"
    " share_at_least".split()
)


def needed_positions(task, n_digits):
    """What each answer digit needs: {row that predicts it: positions of the question it depends
    on}, positions from 0.

    Addition of 3 digits: {7: (2, 6), 8: (1, 5), 9: (0, 4)}; reversal of 5: {5: (4,), ..., 9: (0,)}.
    Raises ValueError for another task or a size below 1.
    """
    n_digits = whole_number("n_digits", n_digits, 1)
    if one_of("task", task, ("addition", "reversal")) == "addition":
        return {2 * n_digits + 1 + j: (n_digits - 1 - j, 2 * n_digits - j) for j in range(n_digits)}
    return {n_digits + j: (n_digits - 1 - j,) for j in range(n_digits)}


def mean_maps(model, X):
    """Attention weights averaged over the inputs X (N, T) and over heads: an array (layers, T, T).
    Rows sum to 1."""
    return np.stack(
        [weights.double().mean((0, 1)).numpy() for weights in attention_weights(model, X)]
    )


def row_alignment(maps, needed):
    """The attention weight that each row of `needed` puts on its positions: (..., T, T) -> (...,
    rows)."""
    maps = np.asarray(maps)
    if maps.ndim < 2 or maps.shape[-1] != maps.shape[-2] or maps.shape[-1] <= max(needed):
        raise ValueError(
            f"maps must have the shape (..., T, T) with T above {max(needed)}, not {maps.shape}"
        )
    return np.stack(
        [maps[..., row, list(positions)].sum(-1) for row, positions in needed.items()], axis=-1
    )


def alignment(maps, needed):
    """The mean of `row_alignment` over rows, 0..1: anti-diagonalness for reversal, column alignment
    for addition."""
    return row_alignment(maps, needed).mean(-1)


def uniform_alignment(needed):
    """The alignment of a map that spreads each row evenly over the row + 1 positions it can see."""
    return float(np.mean([len(positions) / (row + 1) for row, positions in needed.items()]))


def chance_alignments(attention, needed):
    """The alignment of one map (T, T) with every other choice of as many visible positions per row,
    the needed one included: a sorted array. Its mean is `uniform_alignment`; it is what the score
    would be if the positions were drawn.

    For three-digit sums 45,360 values, for strings of five digits 30,240. Raises ValueError above a
    million.
    """
    row_alignment(attention, needed)  # refuses maps of the wrong shape
    sums, n = np.zeros(1), 1
    for row, positions in needed.items():
        weights = [
            attention[row, list(chosen)].sum()
            for chosen in combinations(range(row + 1), len(positions))
        ]
        n *= len(weights)
        if n > 1_000_000:
            raise ValueError(
                f"more than 1,000,000 choices for {len(needed)} rows: too many to list"
            )
        sums = np.add.outer(sums, weights).ravel()
    return np.sort(sums / len(needed))


def share_at_least(values, limit):
    """The share of `values` that are at least `limit`, rounding errors forgiven: an exact p-value
    where values list all cases."""
    return float((np.asarray(values) >= limit - 1e-9).mean())
