"""lab/stats.py against definitions: binomial tail sums, a Kaplan-Meier table worked by hand,
permutations counted out."""

import math
from itertools import combinations
from math import comb

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.stats import (
    exact_interval,
    fisher_interval,
    holm,
    jackknife_interval,
    kaplan_meier,
    logrank,
    logrank_permutation,
    mean_interval,
    median_time,
    one_sided_lower,
    out_of,
    paired_margin,
    percent,
    percent_interval,
    percent_spread,
    rank_correlation,
    rule_of_three,
    spread,
)


def binomial_tail(n, p, low, high):
    """P(low <= X <= high) for X binomial(n, p), summed term by term."""
    return math.fsum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(low, high + 1))


counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(max_examples=40, deadline=None)
@given(counts, st.sampled_from([0.8, 0.95, 0.99]))
def test_exact_interval_puts_half_the_error_in_each_tail(count, level):
    k, n = count
    low, high = exact_interval(k, n, level)
    assert 0 <= low <= k / n <= high <= 1
    assert (
        low == 0
        if k == 0
        else binomial_tail(n, low, k, n) == pytest.approx((1 - level) / 2, rel=1e-6)
    )
    assert (
        high == 1
        if k == n
        else binomial_tail(n, high, 0, k) == pytest.approx((1 - level) / 2, rel=1e-6)
    )


@settings(max_examples=40, deadline=None)
@given(counts)
def test_one_sided_lower_puts_all_the_error_in_one_tail(count):
    k, n = count
    bound = one_sided_lower(k, n)
    assert bound == 0 if k == 0 else binomial_tail(n, bound, k, n) == pytest.approx(0.05, rel=1e-6)


def test_two_hundred_of_two_hundred():
    assert one_sided_lower(200, 200) == pytest.approx(0.05 ** (1 / 200))
    assert exact_interval(200, 200)[0] == pytest.approx(0.025 ** (1 / 200))


def test_exact_interval_covers_at_least_its_level():
    n, share = 25, 0.3
    covered = math.fsum(
        comb(n, k) * share**k * (1 - share) ** (n - k)
        for k in range(n + 1)
        if exact_interval(k, n)[0] <= share <= exact_interval(k, n)[1]
    )
    assert 0.95 <= covered < 0.99


def test_rule_of_three_is_close_to_the_exact_bound():
    for n in (30, 100, 1000):
        assert rule_of_three(n) == 3 / n
        exact = 1 - 0.05 ** (1 / n)
        assert exact < rule_of_three(n) < 1.06 * exact
    assert rule_of_three(2) == 1


def test_mean_interval_on_a_textbook_table():
    # t with 4 degrees of freedom: 2.776 (any printed table)
    low, high = mean_interval([1, 2, 3, 4, 5])
    half = 2.776 * math.sqrt(2.5) / math.sqrt(5)
    assert (low, high) == (pytest.approx(3 - half, abs=1e-3), pytest.approx(3 + half, abs=1e-3))


# Freireich et al. (1963), 6-MP arm: remission times in weeks of 21 children, the standard textbook
# example.
REMISSION = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
STILL_IN_REMISSION = [c == "+" for c in "---+-+-++--+++--+++++"]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def test_kaplan_meier_on_the_6mp_trial():
    curve = kaplan_meier(REMISSION, STILL_IN_REMISSION).set_index("time")["survival"]
    by_hand = {0: 1.0, 6: 18 / 21, 7: 18 / 21 * 16 / 17, 10: 18 / 21 * 16 / 17 * 14 / 15}
    by_hand[13] = by_hand[10] * 11 / 12
    by_hand[16] = by_hand[13] * 10 / 11
    by_hand[22] = by_hand[16] * 6 / 7
    by_hand[23] = by_hand[22] * 5 / 6
    for time, survival in by_hand.items():
        assert curve[time] == pytest.approx(survival), time
    assert curve[35] == curve[23]  # censored times do not lower the curve
    assert median_time(REMISSION, STILL_IN_REMISSION) == 23
    assert median_time(PLACEBO, [False] * 21) == 8


def test_kaplan_meier_log_log_interval_by_its_formula():
    row = kaplan_meier(REMISSION, STILL_IN_REMISSION).set_index("time").loc[7]
    s = row["survival"]
    greenwood = 3 / (21 * 18) + 1 / (17 * 16)
    theta = 1.959964 * math.sqrt(greenwood) / math.log(s)
    assert sorted([s ** math.exp(theta), s ** math.exp(-theta)]) == [
        pytest.approx(row["low"], abs=1e-6),
        pytest.approx(row["high"], abs=1e-6),
    ]


def test_median_is_infinite_where_most_are_censored():
    assert median_time([3, 60, 60], [False, True, True]) == math.inf
    assert median_time([3, 9, 60, 60], [False, False, True, True]) == 9


def logrank_by_hand(times_a, censored_a, times_b, censored_b):
    """Z of the log-rank test, from observed minus expected events of group a at each event time."""
    observed_minus_expected = variance = 0.0
    events = [t for t, c in [*zip(times_a, censored_a), *zip(times_b, censored_b)] if not c]
    for time in sorted(set(events)):
        at_risk_a, at_risk = (
            sum(t >= time for t in times_a),
            sum(t >= time for t in [*times_a, *times_b]),
        )
        d_a, d = sum(t == time and not c for t, c in zip(times_a, censored_a)), events.count(time)
        observed_minus_expected += d_a - d * at_risk_a / at_risk
        if at_risk > 1:
            variance += (
                d
                * (at_risk_a / at_risk)
                * (1 - at_risk_a / at_risk)
                * (at_risk - d)
                / (at_risk - 1)
            )
    return observed_minus_expected / math.sqrt(variance)


def test_logrank_on_the_6mp_trial():
    result = logrank(PLACEBO, [False] * 21, REMISSION, STILL_IN_REMISSION)
    assert result.statistic**2 == pytest.approx(
        16.79, abs=0.005
    )  # the figure every textbook prints
    assert result.statistic == pytest.approx(
        logrank_by_hand(PLACEBO, [False] * 21, REMISSION, STILL_IN_REMISSION)
    )
    assert result.statistic > 0 and result.pvalue < 1e-4


def test_logrank_permutation_counts_the_splits():
    separated = ([10, 11, 12, 13, 14], [False] * 5, [20, 21, 22, 23, 60], [False] * 4 + [True])
    assert logrank_permutation(*separated) == pytest.approx(2 / 252)
    mixed = ([10, 21, 12], [False] * 3, [20, 11, 60], [False, False, True])
    times, censored = np.r_[mixed[0], mixed[2]], np.r_[mixed[1], mixed[3]]
    observed, extreme, splits = abs(logrank_by_hand(*mixed)), 0, 0
    for chosen in combinations(range(6), 3):
        a = list(chosen)
        b = [i for i in range(6) if i not in chosen]
        extreme += (
            abs(logrank_by_hand(times[a], censored[a], times[b], censored[b])) >= observed - 1e-9
        )
        splits += 1
    assert logrank_permutation(*mixed) == pytest.approx(extreme / splits)
    assert logrank_permutation(*mixed) > 0.2


def test_drawn_splits_come_near_all_splits_and_count_the_observed_one():
    mixed = (
        [10, 21, 12, 15, 30],
        [False] * 5,
        [20, 11, 60, 14, 60, 25, 33],
        [False, False, True, False, True, False, False],
    )
    exact, draws = logrank_permutation(*mixed), 20_000
    assert abs(logrank_permutation(*mixed, draws=draws) - exact) < 4 * math.sqrt(
        exact * (1 - exact) / draws
    )
    ten, twenty = (list(range(1, 11)), [False] * 10), (list(range(20, 40)), [False] * 20)
    assert logrank_permutation(*ten, *twenty, draws=999) == pytest.approx(
        1 / 1000
    )  # one split in 30 million is as extreme


def test_the_jackknife_of_a_mean_is_students_interval():
    values = np.array([0.3, 1.2, -0.4, 2.2, 0.9])
    assert jackknife_interval(lambda kept: values[kept].mean(), 5) == pytest.approx(
        mean_interval(values)
    )
    assert jackknife_interval(lambda kept: values[kept].mean(), 5, level=0.8) == pytest.approx(
        mean_interval(values, 0.8)
    )


def test_the_jackknife_covers_a_share_of_variance():
    """Five groups, two thirds of the variance between them: 95 intervals of 100 should hold that, a
    few may miss."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        means, within = (
            rng.normal(size=(5, 30)) * math.sqrt(2),
            rng.normal(size=(5, 30, 20)).var(2, ddof=1),
        )

        def log_odds(kept):
            return math.log(means[kept].var(0, ddof=1).mean() / within[kept].mean())

        low, high = jackknife_interval(log_odds, 5)
        hits += low <= math.log(2) <= high
    assert 178 <= hits <= 200


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    assert holm([0.2]).tolist() == [0.2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_the_step_down_procedure_rejects(pvalues, alpha):
    rejected, order = set(), sorted(range(len(pvalues)), key=pvalues.__getitem__)
    for rank, i in enumerate(order):
        if pvalues[i] * (len(pvalues) - rank) > alpha:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(holm(pvalues)) if p <= alpha} == rejected


def test_percent_never_says_all_or_none_when_it_is_not():
    assert percent(0.0412) == "4.1 %"
    assert (percent(1.0), percent(0.99996), percent(0.00001), percent(0.0)) == (
        "100.0 %",
        "99.9 %",
        "0.1 %",
        "0.0 %",
    )
    assert percent(0.9996, 2) == "99.96 %"


def test_percent_interval_rounds_outwards():
    assert percent_interval(0.98168, 1.0) == "98.1 % to 100 %"
    assert percent_interval(0, 0.00037) == "0 % to 0.1 %"
    assert percent_interval(0.123, 0.456) == "12.3 % to 45.6 %"


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: exact_interval(5, 3), ValueError, "between 0 and 3, not 5"),
        (lambda: exact_interval(-1, 3), ValueError, "between 0 and 3, not -1"),
        (lambda: exact_interval(0, 0), ValueError, "at least 1"),
        (lambda: exact_interval(0.5, 3), TypeError, "a count, not a share"),
        (lambda: exact_interval(True, 3), TypeError, "whole number"),
        (lambda: exact_interval(1, 3, level=95), ValueError, "not 95"),
        (lambda: one_sided_lower(1, 3, level=0), ValueError, "above 0 and below 1, not 0"),
        (lambda: rule_of_three(0), ValueError, "at least 1"),
        (lambda: mean_interval([1]), ValueError, "at least two"),
        (lambda: mean_interval([1, math.nan]), ValueError, "finite"),
        (lambda: jackknife_interval(len, 2), ValueError, "units) must be at least 3, not 2"),
        (lambda: kaplan_meier([1, 2], [True]), ValueError, "(2,) and (1,)"),
        (lambda: kaplan_meier([], []), ValueError, "at least 1"),
        (lambda: kaplan_meier([1, math.inf], [False, True]), ValueError, "last one observed"),
        (lambda: kaplan_meier([1, 2], [0, 1]), TypeError, "True (the event was not seen)"),
        (lambda: logrank([1], [False], [2], [1]), TypeError, "censored_b"),
        (
            lambda: logrank_permutation(range(20), [False] * 20, range(20), [False] * 20),
            ValueError,
            "too many",
        ),
        (lambda: holm([]), ValueError, "between 0 and 1"),
        (lambda: holm([0.2, 1.2]), ValueError, "1.2"),
        (lambda: percent(41), ValueError, "not 41"),
        (lambda: percent_interval(0.5, 0.4), ValueError, "between 0.5 and 1, not 0.4"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, says):
    with pytest.raises(error) as caught:
        call()
    assert says in str(caught.value)


def test_rank_correlation_is_spearmans_and_its_interval_covers():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=20), np.r_[rng.normal(size=17), [np.inf] * 3]
    assert rank_correlation(x, y, draws=200)[0] == pytest.approx(
        scipy.stats.spearmanr(x, y).statistic
    )
    rho, covered = 0.6, 0
    truth = 6 / math.pi * math.asin(rho / 2)  # of the ranks of two normal variables
    for trial in range(200):
        x, z = rng.normal(size=(2, 20))
        _, low, high = rank_correlation(
            x, rho * x + math.sqrt(1 - rho**2) * z, draws=400, seed=trial
        )
        covered += low <= truth <= high
    assert 0.87 < covered / 200 < 0.99
    for bad in (([1, 2, 3], [1, 2, 3]), ([1] * 6, range(6)), (range(6), range(7))):
        with pytest.raises(ValueError, match="rank_correlation needs"):
            rank_correlation(*bad)


def test_the_margin_of_two_paired_rates_is_exceeded_seldom():
    assert paired_margin(0, 0, 16) == pytest.approx(1 - 0.05 ** (1 / 16))
    assert paired_margin(1, 0, 16) == paired_margin(0, 1, 16) > paired_margin(0, 0, 16)
    rng, n, wrong = np.random.default_rng(1), 20, 0
    for _ in range(
        400
    ):  # the first is better by 0.3: only it succeeds in 35 %, only the other in 5 %
        drawn = rng.multinomial(n, [0.35, 0.05, 0.6])
        wrong += paired_margin(drawn[0], drawn[1], n) < 0.3
    assert wrong / 400 <= 0.05
    with pytest.raises(ValueError, match="more than n = 3"):
        paired_margin(2, 2, 3)


def test_a_share_as_text():
    assert out_of(15, 16) == "15 of 16 (69.7 % to 99.9 %)"
    assert out_of(15, 16, decimals=0) == "15 of 16 (69 % to 100 %)"
    assert out_of(1, 100) == "1 of 100 (0.02 % to 5.45 %)"  # not from 0.0 %
    assert out_of(0, 16) == "0 of 16 (0 % to 20.6 %)"
    with pytest.raises(ValueError):
        out_of(17, 16)


def test_the_mean_of_correlations_lies_on_fishers_scale():
    mean, low, high = fisher_interval([0.5, 0.5, 0.9])
    z = np.arctanh([0.5, 0.5, 0.9])
    assert np.arctanh([mean, low, high]) == pytest.approx([z.mean(), *mean_interval(z)])
    assert -1 < low < mean < high < 1
    assert fisher_interval([1.0, 1.0]) == pytest.approx((0.999,) * 3)  # infinite on that scale
    with pytest.raises(ValueError, match="at least two"):
        fisher_interval([0.5])


def test_lowest_and_highest_in_words():
    assert spread([0.5, 0.25, 1]) == "0.25 to 1.00"
    assert spread([0.501, 0.499]) == "0.50" and spread([]) == "none"
    assert spread([1.26, 3.04], "{:.1f}") == "1.3 to 3.0"
    assert percent_spread([0.05, 0.19]) == "5 to 19 %"
    assert percent_spread([0.121, 0.124]) == "12 %" and percent_spread([]) == "none"
    assert percent_spread([0.5, 1.0000001], 1) == "50.0 to 100.0 %"
    with pytest.raises(ValueError, match="a share"):
        percent_spread([0.5, 1.1])


def test_without_events_nothing_speaks_for_a_difference():
    groups = [3, 4], [True, True], [5], [True]
    test = logrank(*groups)
    assert (test.statistic, test.pvalue, logrank_permutation(*groups)) == (0, 1, 1)
