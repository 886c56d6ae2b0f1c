"""Sampling designs for estimating an error rate when the whole population is known, so that their
error can be seen.

The population is a list of N pairs, `wrong` an (N,) array of truth values that a tester would not
know. Each design draws `n` pairs with replacement (n is tiny against N = 10^6) and returns one
estimate of the share wrong; it is repeated `repeats` times, so that the sampling distribution can
be drawn. Source of the formulas: Cochran (1977), ch. 2, 5, 9A.
"""

import math

import numpy as np
from scipy import stats

from _checks import real_number, whole_number
from lab.stats import exact_interval

__all__ = """
    miss_probability cases_needed simple_estimates stratified_estimates importance_estimates
    simple_error stratified_error importance_error proportional_allocation neyman_allocation
    exact_coverage
""".split()


# --------------------------------------------------------------------------------------------------
# How much a few cases can tell
# --------------------------------------------------------------------------------------------------


def miss_probability(rate, n):
    """The probability that n random cases show no error, when a share `rate` of all cases is wrong.
    n may be an array."""
    return (1 - real_number("rate", rate, 0, 1)) ** np.asarray(n)


def cases_needed(rate, power=0.95):
    """The fewest random cases that show at least one error with a probability of at least `power`.

    Raises ValueError unless 0 < rate <= 1 and 0 < power < 1.
    """
    rate, power = (
        real_number("rate", rate, above=0, high=1),
        real_number("power", power, above=0, below=1),
    )
    return 1 if rate == 1 else math.ceil(math.log1p(-power) / math.log1p(-rate) - 1e-12)


def exact_coverage(rate, n, level=0.95):
    """The probability that the exact interval of n random cases contains the rate: a sum over all
    possible counts."""
    n = whole_number("n", n, 1)
    counts = np.arange(n + 1)
    counts = counts[
        stats.binom.pmf(counts, n, real_number("rate", rate, 0, 1)) > 1e-15
    ]  # the others are never seen
    intervals = np.array([exact_interval(int(k), n, level) for k in counts])  # (n + 1, 2)
    hit = (intervals[:, 0] <= rate) & (rate <= intervals[:, 1])
    return float(stats.binom.pmf(counts, n, rate)[hit].sum())


# --------------------------------------------------------------------------------------------------
# Three designs
# --------------------------------------------------------------------------------------------------


def simple_estimates(wrong, n, repeats, rng):
    """Simple random sampling: n pairs, each as likely as any other; the share wrong among them.
    (repeats,)"""
    wrong, n, repeats = (
        np.asarray(wrong, dtype=bool),
        whole_number("n", n, 1),
        whole_number("repeats", repeats, 1),
    )
    return wrong[rng.integers(len(wrong), size=(repeats, n))].mean(1)


def simple_error(wrong, n):
    """The standard error of `simple_estimates`: sqrt(p (1 - p) / n)."""
    p = float(np.mean(wrong))
    return math.sqrt(p * (1 - p) / whole_number("n", n, 1))


def _strata(wrong, strata, allocation):
    """Per stratum its share of the population and its share wrong: two (H,) arrays."""
    wrong, strata, allocation = (
        np.asarray(wrong, dtype=bool),
        np.asarray(strata),
        np.asarray(allocation),
    )
    if wrong.shape != strata.shape or strata.min() < 0:
        raise ValueError("wrong and strata must be of one length, strata numbered 0, 1, ...")
    sizes = np.bincount(strata)
    if len(sizes) != len(allocation) or (allocation[sizes > 0] < 1).any():
        raise ValueError(
            f"every one of the {len(sizes)} strata needs at least one case, the allocation is"
            f" {allocation.tolist()}"
        )
    return sizes / len(wrong), np.bincount(strata, wrong) / np.maximum(sizes, 1)


def proportional_allocation(n, strata):
    """n cases shared out in proportion to the sizes of the strata, at least one each; sums to n.
    (H,)"""
    sizes = np.bincount(strata)
    return _share_out(n, sizes / sizes.sum())


def neyman_allocation(n, strata, rates):
    """n cases shared out in proportion to size times standard deviation (Neyman, 1934), at least
    one each; sums to n.

    rates: (H,) the share wrong that is expected in each stratum. With the true rates no other
    allocation has a smaller standard error; rates that are believed to be 0 or 1 get one case only,
    right or not.
    """
    sizes, rates = np.bincount(strata), np.asarray(rates, dtype=float)
    wanted = sizes * np.sqrt(rates * (1 - rates))
    return _share_out(n, wanted / wanted.sum() if wanted.sum() else sizes / sizes.sum())


def _share_out(n, shares):
    """Whole numbers, at least one each, that sum to n and lie near n * shares (largest
    remainders)."""
    n = whole_number("n", n, 1)
    if n < len(shares):
        raise ValueError(f"{n} cases are too few for {len(shares)} strata")
    spare = n - len(shares)
    counts = np.floor(spare * shares).astype(int)
    counts[np.argsort(counts - spare * shares, kind="stable")[: spare - counts.sum()]] += 1
    return counts + 1


def stratified_estimates(wrong, strata, allocation, repeats, rng):
    """Stratified sampling: allocation[h] random pairs from each stratum h; shares wrong, weighted
    by size. (repeats,)

    Drawing from a stratum with replacement and counting the wrong ones is one binomial draw.
    """
    weights, rates = _strata(wrong, strata, allocation)
    repeats = whole_number("repeats", repeats, 1)
    counts = rng.binomial(allocation, rates, size=(repeats, len(rates)))  # (R, H)
    return (counts / allocation) @ weights


def stratified_error(wrong, strata, allocation):
    """The standard error of `stratified_estimates`."""
    weights, rates = _strata(wrong, strata, allocation)
    return math.sqrt((weights**2 * rates * (1 - rates) / allocation).sum())


def importance_estimates(wrong, weights, n, repeats, rng):
    """Importance sampling: n pairs drawn with probability q proportional to `weights` (N,), each
    wrong one counted 1 / (N q) times (Hansen and Hurwitz, 1943); the mean. (repeats,) Unbiased if
    no wrong pair has the weight 0."""
    wrong, q = _drawing(wrong, weights)
    n, repeats = whole_number("n", n, 1), whole_number("repeats", repeats, 1)
    ends = np.cumsum(q)
    drawn = np.minimum(
        np.searchsorted(ends / ends[-1], rng.random((repeats, n)), side="right"), len(q) - 1
    )
    return (wrong[drawn] / (len(q) * q[drawn])).mean(1)


def importance_error(wrong, weights, n):
    """The standard error of `importance_estimates`."""
    wrong, q = _drawing(wrong, weights)
    second = (wrong[wrong] / (len(q) ** 2 * q[wrong])).sum()
    return math.sqrt(max(0.0, second - wrong.mean() ** 2) / whole_number("n", n, 1))


def _drawing(wrong, weights):
    wrong, weights = np.asarray(wrong, dtype=bool), np.asarray(weights, dtype=float)
    if wrong.shape != weights.shape or (weights < 0).any() or not weights.sum() > 0:
        raise ValueError(
            "weights must be as many as there are pairs, not negative and not all zero"
        )
    if (weights[wrong] == 0).any():
        raise ValueError(
            "a wrong pair has the weight 0: it can never be drawn, and the estimate would be biased"
        )
    return wrong, weights / weights.sum()
