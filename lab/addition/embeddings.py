"""Similarity of embeddings, and permutation tests for an order or for groups in them."""

from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F

from _common import own_defaults
from lab.checks import seeded_rng

__all__ = "cosine principal_components order_test best_split split_test column_test".split()


@own_defaults()
def cosine(vectors):
    """Cosine similarity of each pair of rows: (N, D) -> (N, N)."""
    unit = F.normalize(torch.as_tensor(vectors, dtype=torch.float64), dim=1)
    return (unit @ unit.T).numpy()


def principal_components(vectors):
    """Scores of the rows on the principal components (N, K), and each component's share of the
    variance (K,)."""
    centred = np.asarray(vectors, dtype=float) - np.mean(vectors, axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    return u * s, s**2 / (s**2).sum()


def order_test(vectors, draws=4_000, seed=0):
    """Are neighbours alike? Mantel's test: (statistic, p-value, null values (draws,)).

    statistic: minus the correlation, over pairs of rows, of cosine similarity with distance in
    rank; 1 would be a straight line. Under the null the ranks are permuted. One-sided; the observed
    order counts as one of the draws.
    """
    similarity, n = cosine(vectors), len(vectors)
    first, second = np.triu_indices(n, 1)
    rng = seeded_rng(seed)
    orders = np.vstack(
        [np.arange(n), rng.permuted(np.tile(np.arange(n), (draws, 1)), axis=1)]
    )  # (1 + draws, n)
    distance = np.abs(orders[:, first] - orders[:, second]).astype(float)  # (1 + draws, pairs)
    distance -= distance.mean(1, keepdims=True)
    values = similarity[first, second] - similarity[first, second].mean()
    statistic = -distance @ values / (np.linalg.norm(distance, axis=1) * np.linalg.norm(values))
    return float(statistic[0]), float((statistic >= statistic[0] - 1e-12).mean()), statistic[1:]


def best_split(vectors):
    """The best division of the rows into two groups: (share of the variance that lies between them,
    the group of row 0).

    Every division is tried. vectors: (N, D), or many such (S, N, D), which gives a list of shares
    (S,) and no groups.
    """
    vectors = np.asarray(vectors, dtype=float)
    n = vectors.shape[-2]
    sides = np.array(
        [[1, *bits] for bits in np.ndindex(*[2] * (n - 1))][:-1], dtype=float
    )  # (G, n), row 0 in
    sizes = sides.sum(1)
    centred = vectors - vectors.mean(-2, keepdims=True)
    sums = sides @ centred  # (..., G, D)
    between = (sums**2).sum(-1) * (1 / sizes + 1 / (n - sizes))  # (..., G)
    share = between / (centred**2).sum((-1, -2))[..., None]
    best = share.argmax(-1)
    if vectors.ndim == 3:
        return share.max(-1)
    return float(share.max()), np.flatnonzero(sides[best]).tolist()


def split_test(vectors, draws=200, seed=0):
    """Do the rows fall into two groups? (share between the best two groups, p-value, null values
    (draws,)).

    Under the null each coordinate is permuted over the rows on its own: the same values, nothing in
    common.
    """
    vectors, rng = np.asarray(vectors, dtype=float), seeded_rng(seed)
    shuffled = np.stack([rng.permuted(vectors, axis=0) for _ in range(draws)])
    observed, null = best_split(vectors)[0], best_split(shuffled)
    return observed, float((1 + (null >= observed - 1e-12).sum()) / (1 + draws)), null


def column_test(vectors):
    """Are the positions of one column (hundreds, tens, ones) of the two operands alike? (statistic,
    exact p-value).

    vectors: six, the first operand's hundreds, tens, ones and then the second's. statistic: mean
    cosine similarity of the three pairs of one column less that of the other six pairs across
    operands. Null: every matching of the two triples.
    """
    across = cosine(vectors)[:3, 3:]

    def contrast(order):
        same = sum(across[i, order[i]] for i in range(3))
        return same / 3 - (across.sum() - same) / 6

    values = [contrast(order) for order in permutations(range(3))]
    return float(values[0]), float(np.mean(np.array(values) >= values[0] - 1e-12))
