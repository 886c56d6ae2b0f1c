"""Intervals, survival curves and tests: one home for the statistics of every chapter. The work is
scipy's.

Shares lie in 0..1. Times are in whatever unit the caller counts (here: epochs). A time is
*right-censored* where the run ended before the event: all that is known is that the event would
have come later.
"""

import math
import warnings
from itertools import combinations, permutations
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy import stats

from _checks import real_number, whole_number
from lab.checks import seeded_rng

__all__ = """
    exact_interval one_sided_lower paired_margin rule_of_three mean_interval jackknife_interval
    kaplan_meier median_time median_interval prediction_interval logrank logrank_permutation
    friedman_exact paired_bootstrap rank_correlation fisher_interval cluster_interval holm percent
    percent_interval out_of spread percent_spread
""".split()


# --------------------------------------------------------------------------------------------------
# One share, one mean
# --------------------------------------------------------------------------------------------------


def _counts(successes, n):
    n = whole_number("n (a count, not a share)", n, 1)
    return whole_number("successes (a count, not a share)", successes, 0, n), n


def _level(level):
    return real_number("level (0.95 for 95 %)", level, above=0, below=1)


def exact_interval(successes, n, level=0.95):
    """The exact two-sided interval of a share (Clopper and Pearson, 1934): (low, high) in 0..1.

    It contains the true share with a probability of at least `level`, whatever the share and n.
    Raises TypeError for counts that are not whole numbers, ValueError for impossible counts or
    levels.
    """
    successes, n = _counts(successes, n)
    interval = stats.binomtest(successes, n).proportion_ci(_level(level), method="exact")
    return float(interval.low), float(interval.high)


def one_sided_lower(successes, n, level=0.95):
    """The exact lower bound of a share: with confidence `level` the true share is at least this.
    Errors as above."""
    successes, n = _counts(successes, n)
    return float(
        stats.binomtest(successes, n, alternative="greater")
        .proportion_ci(_level(level), method="exact")
        .low
    )


def paired_margin(only_first, only_second, n, level=0.95):
    """Within which margin two success rates on the same n units are equivalent, as far as these
    show: a share.

    only_first, only_second: units on which only one of the two succeeds. The difference of the
    rates is the difference of the two shares, so it is below the exact one-sided upper limit of
    each: two one-sided tests, of size 1 - level each. Conservative. Raises as `exact_interval`, and
    ValueError where both together are more than n.
    """
    n, only_first, only_second = (
        whole_number(name, value, 0)
        for name, value in (("n", n), ("only_first", only_first), ("only_second", only_second))
    )
    if only_first + only_second > n:
        raise ValueError(
            f"{only_first} and {only_second} units with one success each are more than n = {n}"
        )
    return max(1 - one_sided_lower(n - only, n, level) for only in (only_first, only_second))


def rule_of_three(n):
    """The quick upper bound 3/n of a share of which n trials showed not one case (about 95 %
    one-sided)."""
    return min(1.0, 3 / _counts(0, n)[1])


def mean_interval(values, level=0.95):
    """Student's interval of a mean: (low, high). Raises ValueError for fewer than two values or for
    one not finite."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"mean_interval needs a list of at least two finite numbers, not {values!r}"
        )
    half = stats.t.ppf((1 + _level(level)) / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def jackknife_interval(statistic, n, level=0.95):
    """Tukey's jackknife interval of a statistic of n independent units: (low, high), Student's
    interval of the pseudo-values.

    statistic: a function of the units kept, an array of numbers 0..n-1, with a finite number as its
    value; it is called with all of them and with each one left out. For a mean this is
    `mean_interval`. It is meant for smooth statistics, on a scale without ends (take the logit of a
    share). Raises ValueError for fewer than three units or a value not finite.
    """
    n = whole_number("n (the jackknife's units)", n, 3)
    units = np.arange(n)
    whole = statistic(units)
    return mean_interval(
        [n * whole - (n - 1) * statistic(np.delete(units, i)) for i in range(n)], level
    )


# --------------------------------------------------------------------------------------------------
# Times to an event, some of them censored
# --------------------------------------------------------------------------------------------------


def _censored_data(times, censored, name=""):
    times, censored = np.asarray(times, dtype=float), np.asarray(censored)
    if times.ndim != 1 or not len(times) or times.shape != censored.shape:
        raise ValueError(
            f"times{name} and censored{name} must be two lists of one length, at least 1, "
            f"not of shapes {times.shape} and {censored.shape}"
        )
    if censored.dtype != bool:
        raise TypeError(
            f"censored{name} must hold True (the event was not seen) or False, not {censored.dtype}"
        )
    if not np.isfinite(times).all() or (times < 0).any():
        raise ValueError(
            f"times{name} must be finite and not negative: a censored time is the last one observed"
        )
    return stats.CensoredData.right_censored(times, censored)


def kaplan_meier(times, censored, level=0.95):
    """The Kaplan-Meier estimate of the share still without the event: a DataFrame
    (time, survival, low, high).

    times: time of the event, or the last time observed where `censored` is True. One row per
    distinct time, and a first row at time 0 where the survival is 1. low and high: pointwise
    log-log interval (nan where there is none: before the first event, and once nobody is left).
    Raises ValueError/TypeError for lists that do not match, times that are not finite, `censored`
    that is not boolean.
    """
    curve = stats.ecdf(_censored_data(times, censored)).sf
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="The confidence interval is undefined"
        )  # those are the nans
        interval = curve.confidence_interval(_level(level), method="log-log")
    table = pd.DataFrame(
        {
            "time": curve.quantiles,
            "survival": curve.probabilities,
            "low": interval.low.probabilities,
            "high": interval.high.probabilities,
        }
    ).astype(float)
    return pd.concat(
        [pd.DataFrame([{"time": 0.0, "survival": 1.0, "low": math.nan, "high": math.nan}]), table],
        ignore_index=True,
    )


def median_time(times, censored):
    """The median time to the event after Kaplan and Meier; infinity where the event stayed rarer
    than one in two."""
    curve = kaplan_meier(times, censored)
    reached = curve.loc[curve["survival"] <= 0.5 + 1e-12, "time"]
    return float(reached.iloc[0]) if len(reached) else math.inf


def logrank(times_a, censored_a, times_b, censored_b):
    """The log-rank test of two groups: an object with `statistic` (Z; positive where events come
    earlier in a) and `pvalue` (two-sided). The p-value is a large-sample one; for a handful of runs
    take `logrank_permutation`.

    Where neither group has an event nothing speaks for a difference: 0 and 1. Raises as
    `kaplan_meier`.
    """
    a, b = _censored_data(times_a, censored_a, "_a"), _censored_data(times_b, censored_b, "_b")
    if np.all(censored_a) and np.all(censored_b):
        return SimpleNamespace(statistic=0.0, pvalue=1.0)
    return stats.logrank(x=a, y=b)


def logrank_permutation(times_a, censored_a, times_b, censored_b, draws=None, seed=0):
    """The two-sided p-value of the log-rank statistic over every way to split the runs into groups
    of these sizes.

    Exact under the hypothesis that the group makes no difference, however few the runs; the
    smallest p-value that 5 against 5 can give is 2/252, and 1 where no run of either group had the
    event. Where the splits are too many to list, `draws` of them are drawn at random and the
    observed one is counted as one more: valid too, and never below 1 / (1 + draws). Raises as
    `kaplan_meier`, and ValueError above 100,000 splits without `draws` (5 against 20 have 53,130).
    """
    if np.all(censored_a) and np.all(censored_b):
        return 1.0
    observed = abs(logrank(times_a, censored_a, times_b, censored_b).statistic)
    n_a = len(times_a)
    times, censored = (
        np.r_[times_a, times_b].astype(float),
        np.r_[censored_a, censored_b].astype(bool),
    )
    if draws is not None:
        rng, draws = seeded_rng(seed), whole_number("draws", draws, 1)
        chosen = rng.permuted(np.tile(np.arange(len(times)), (draws, 1)), axis=1)[:, :n_a]
    elif math.comb(len(times), n_a) > 100_000:
        raise ValueError(
            f"{math.comb(len(times), n_a):,} splits are too many to enumerate; say how many `draws`"
            " to take of them"
        )
    else:
        chosen = np.array(
            list(combinations(range(len(times)), n_a))
        )  # (S, n_a): each split's group a
    in_a = np.zeros((len(chosen), len(times)))  # (S, N)
    np.put_along_axis(in_a, chosen, 1.0, axis=1)
    at = np.unique(times[~censored])  # (K,) distinct event times
    at_risk, event = times[:, None] >= at, (times[:, None] == at) & ~censored[:, None]  # (N, K)
    # (K,), (K,), (S, K), (S, K)
    n, d, n_in_a, d_in_a = at_risk.sum(0), event.sum(0), in_a @ at_risk, in_a @ event
    excess = (d_in_a - d * n_in_a / n).sum(1)  # (S,) observed minus expected
    variance = (d * (n_in_a / n) * (1 - n_in_a / n) * (n - d) / np.maximum(n - 1, 1)).sum(1)
    z = np.divide(np.abs(excess), np.sqrt(variance), out=np.zeros(len(excess)), where=variance > 0)
    extreme = z >= (observed if math.isfinite(observed) else 0.0) - 1e-9
    return float(extreme.mean()) if draws is None else float((1 + extreme.sum()) / (1 + draws))


def median_interval(times, censored, level=0.95):
    """An interval of the median time from order statistics: (low, high); high is infinity where it
    is censored.

    All censored times must lie beyond all seen ones (everything was watched up to one limit). Then
    the two order statistics that a fair coin would enclose half of the sample with hold the median
    with a probability of at least `level`, whatever the distribution. Raises as `kaplan_meier`;
    ValueError for other kinds of censoring, or where the sample is too small for the level (6 for
    95 %).
    """
    ordered = _ordered(times, censored)
    n = len(ordered)
    rank = int(
        stats.binom.ppf((1 - _level(level)) / 2, n, 0.5)
    )  # P(fewer than `rank` below the median) <= alpha / 2
    if rank < 1:
        raise ValueError(f"{n} times are too few for an interval of the median at {level:.0%}")
    return ordered[rank - 1], ordered[n - rank]


def prediction_interval(times, censored, level=0.95):
    """Where the time of one more run will lie, from order statistics: (low, high); high may be
    infinity.

    If the new run is exchangeable with the n runs given, it comes before the r-th fastest of them
    with a probability of at most r / (n + 1), whatever the distribution. So with r = (n + 1)(1 -
    level) / 2 whole places left at each end the interval holds the new time with a probability of
    at least `level`. Where n is too small for two ends, the fast end alone is cut off and `high` is
    infinity, which means: later than all, or never. Censoring as in `median_interval`. Raises
    ValueError where n is too small for one end too (19 for 95 %).
    """
    ordered = _ordered(times, censored)
    places = (len(ordered) + 1) * (1 - _level(level)) + 1e-9
    if places >= 2:
        return ordered[int(places / 2) - 1], ordered[len(ordered) - int(places / 2)]
    if places < 1:
        raise ValueError(
            f"{len(ordered)} times are too few for a prediction interval at {level:.0%}: "
            f"{math.ceil(1 / (1 - level) - 1e-9) - 1} are needed"
        )
    return ordered[int(places) - 1], math.inf


def _ordered(times, censored):
    """The times in order, infinity for censored ones. Raises unless all of these come last."""
    _censored_data(times, censored)
    times, censored = np.asarray(times, dtype=float), np.asarray(censored)
    if censored.any() and (~censored).any() and times[censored].min() < times[~censored].max():
        raise ValueError("order statistics need every censored time to lie beyond every seen one")
    return [float(time) for time in np.sort(np.where(censored, math.inf, times))]


# --------------------------------------------------------------------------------------------------
# Ranks within runs; shares counted over runs
# --------------------------------------------------------------------------------------------------


def friedman_exact(values):
    """Friedman's test of no difference between columns, exact, with ties: (mean ranks, p-value).

    values: (runs, k) times or scores, infinity allowed; each run ranks its own k values, ties share
    a rank. The p-value is the probability of rank sums that lie as far apart, if in every run each
    order of its ranks is equally likely. Exact for any number of runs: the distribution of the rank
    sums is added up run by run. It sees differences in mean rank only. Raises ValueError for
    anything but a table of 2 or 3 columns (of more there are too many rank sums) without nan.
    """
    values = np.asarray(values, dtype=float)
    if (
        values.ndim != 2
        or not len(values)
        or values.shape[1] not in (2, 3)
        or np.isnan(values).any()
    ):
        raise ValueError(
            "values must be a table (runs, 2 or 3 columns) without nan, not of shape"
            f" {values.shape}"
        )
    doubled = np.rint(2 * stats.rankdata(values, axis=1)).astype(int)  # (R, k), whole numbers
    total = {(0,) * values.shape[1]: 1.0}
    for ranks in doubled:
        orders, counts = np.unique(list(permutations(ranks.tolist())), axis=0, return_counts=True)
        following = {}
        for sums, probability in total.items():
            for order, count in zip(orders.tolist(), (counts / counts.sum()).tolist()):
                place = tuple(a + b for a, b in zip(sums, order))
                following[place] = following.get(place, 0.0) + probability * count
        total = following

    def spread(sums):
        return float(np.var(sums))

    observed = spread(doubled.sum(0))
    p = sum(probability for sums, probability in total.items() if spread(sums) >= observed - 1e-9)
    return doubled.mean(0) / 2, min(1.0, p)


def paired_bootstrap(samples, statistic, method, level=0.95, draws=20_000, seed=0):
    """A bootstrap interval of a statistic of several lists whose i-th values belong together, and
    are drawn together: (low, high).

    statistic(*samples, axis): vectorized. method: "BCa" or "percentile". Ends are NaN where too
    many draws have no value.
    """
    interval = stats.bootstrap(
        samples,
        statistic,
        paired=True,
        vectorized=True,
        method=method,
        n_resamples=whole_number("draws", draws, 1),
        confidence_level=_level(level),
        rng=seeded_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def rank_correlation(x, y, level=0.95, draws=4_000, seed=0):
    """Spearman's rank correlation of pairs and a bootstrap interval (BCa, pairs drawn with
    replacement): (rho, low, high).

    Ties share their mean rank; infinite values may stand for "after all others". Raises ValueError
    unless x and y are two lists of one length, at least 5, neither of them constant.
    """
    # an infinity becomes a rank
    x, y = (stats.rankdata(np.asarray(values, dtype=float)) for values in (x, y))
    if x.shape != y.shape or len(x) < 5 or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError(
            "rank_correlation needs two lists of one length, at least 5, that are not constant,"
            f" not {len(x)} and {len(y)} values"
        )

    def spearman(x, y, axis):
        x, y = (stats.zscore(stats.rankdata(values, axis=axis), axis=axis) for values in (x, y))
        return (x * y).mean(axis=axis)

    return float(spearman(x, y, 0)), *paired_bootstrap((x, y), spearman, "BCa", level, draws, seed)


def fisher_interval(correlations, level=0.95):
    """The mean of several correlations and Student's interval of it: (mean, low, high).

    All three are computed on Fisher's scale, the inverse hyperbolic tangent, on which correlations
    near 1 vary about as much as others, and turned back. Raises as `mean_interval`.
    """
    z = np.arctanh(np.clip(correlations, -0.999, 0.999))
    interval = mean_interval(z, level)
    return tuple(math.tanh(value) for value in (z.mean(), *interval))


def cluster_interval(hits, counts, level=0.95, draws=20_000, seed=0):
    """A bootstrap interval of a share whose trials come in clusters: (low, high), percentile
    method.

    hits, counts: per cluster (run), how many of its trials (epochs) hit, of how many. Whole
    clusters are drawn with replacement, so trials of one cluster may depend on each other in any
    way. With few clusters it is too narrow. Raises ValueError for lists that do not match, fewer
    than two clusters, or impossible counts.
    """
    hits, counts = np.asarray(hits), np.asarray(counts)
    if (
        hits.ndim != 1
        or hits.shape != counts.shape
        or len(hits) < 2
        or (hits < 0).any()
        or (hits > counts).any()
        or (counts < 1).any()
    ):
        raise ValueError(
            "hits and counts must be two lists of one length, at least 2, with 0 <= hits <= counts"
            " and counts >= 1"
        )
    drawn = seeded_rng(seed).integers(len(hits), size=(whole_number("draws", draws, 1), len(hits)))
    shares = hits[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(shares, [(1 - _level(level)) / 2, (1 + level) / 2])
    return float(low), float(high)


# --------------------------------------------------------------------------------------------------
# Several tests at once; words for numbers
# --------------------------------------------------------------------------------------------------


def holm(pvalues):
    """P-values adjusted for several tests after Holm (1979), in the order given: an array.

    Rejecting where the adjusted value is at most alpha keeps the chance of even one false rejection
    below alpha, whatever the dependence of the tests. Raises ValueError for values outside 0..1 or
    none at all.
    """
    p = np.asarray(pvalues, dtype=float)
    if p.ndim != 1 or not len(p) or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"pvalues must be a list of numbers between 0 and 1, not {pvalues!r}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def percent(share, decimals=1):
    """A share as text: 0.0412 is "4.1 %". Rounds towards the middle of 0..1, so that 0.99996 never
    reads "100.0 %"."""
    share, decimals = real_number("a share", share, 0, 1), whole_number("decimals", decimals, 0)
    text = f"{100 * share:.{decimals}f}"
    step = 10.0**-decimals
    if share < 1 and float(text) >= 100:
        text = f"{100 - step:.{decimals}f}"
    elif share > 0 and float(text) == 0:
        text = f"{step:.{decimals}f}"
    return f"{text} %"


def percent_interval(low, high, decimals=1):
    """An interval of shares as text: (0.981, 1.0) is "98.1 % to 100 %". Bounds are rounded
    outwards."""
    low = real_number("the lower end of an interval of shares", low, 0, 1)
    high, decimals = (
        real_number("the upper end of an interval of shares", high, low, 1),
        whole_number("decimals", decimals, 0),
    )
    scale = 10**decimals
    down, up = (
        math.floor(100 * low * scale + 1e-9) / scale,
        math.ceil(100 * high * scale - 1e-9) / scale,
    )
    return " to ".join(
        f"{bound:.{0 if bound in (0, 100) else decimals}f} %" for bound in (down, up)
    )


def out_of(successes, n, decimals=1):
    """A share with its exact 95 % interval as text: (15, 16) is "15 of 16 (69.7 % to 99.9 %)". One
    decimal more where the lower end would else read 0 %, though it lies above."""
    low, high = exact_interval(successes, n)
    if 0 < low < 10.0 ** (-2 - decimals):
        decimals += 1
    return f"{successes} of {n} ({percent_interval(low, high, decimals)})"


def spread(values, form="{:.2f}"):
    """The lowest and highest of several numbers as text: [0.5, 0.25, 1] is "0.25 to 1.00"; one
    number where both read alike, "none" for no values."""
    values = list(values)
    if not values:
        return "none"
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"


def percent_spread(values, decimals=0):
    """The same for shares, in per cent: [0.05, 0.19] is "5 to 19 %". A sum of weights may exceed 1
    by a rounding error. Raises as `percent`."""
    values = list(values)
    if not values:
        return "none"
    low, high = (
        percent(1.0 if 1 < value < 1 + 1e-6 else value, decimals)
        for value in (min(values), max(values))
    )
    return low if low == high else f"{low.removesuffix(' %')} to {high}"
