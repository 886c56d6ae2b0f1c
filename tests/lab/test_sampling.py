"""The sampling designs against their closed forms, and what few cases can tell against
enumeration."""

import itertools

import numpy as np
import pytest
from scipy import stats

from lab.addition.carries import all_pairs, carries, full_ripple, longest_chain
from lab.sampling import (
    cases_needed,
    exact_coverage,
    importance_error,
    importance_estimates,
    miss_probability,
    neyman_allocation,
    proportional_allocation,
    simple_error,
    simple_estimates,
    stratified_error,
    stratified_estimates,
)
from lab.stats import exact_interval, one_sided_lower


@pytest.fixture(scope="module")
def population():
    """10,000 pairs in three strata with error rates of about 0.1 %, 2 % and 40 %:
    (wrong, strata)."""
    rng = np.random.default_rng(0)
    strata = np.repeat([0, 1, 2], [7_000, 2_500, 500])
    return rng.random(10_000) < np.array([0.001, 0.02, 0.4])[strata], strata


def test_each_design_is_unbiased_and_as_precise_as_its_formula_says(population):
    wrong, strata = population
    rng, repeats, n = np.random.default_rng(1), 4_000, 200
    weights = np.array([1.0, 3.0, 10.0])[strata]
    rates = np.bincount(strata, wrong) / np.bincount(strata)
    allocation = neyman_allocation(n, strata, rates)
    for estimates, error in [
        (simple_estimates(wrong, n, repeats, rng), simple_error(wrong, n)),
        (
            stratified_estimates(wrong, strata, allocation, repeats, rng),
            stratified_error(wrong, strata, allocation),
        ),
        (
            importance_estimates(wrong, weights, n, repeats, rng),
            importance_error(wrong, weights, n),
        ),
    ]:
        assert estimates.shape == (repeats,)
        assert abs(estimates.mean() - wrong.mean()) < 4 * error / np.sqrt(repeats)
        assert estimates.std() == pytest.approx(error, rel=0.06)


def test_equal_weights_are_simple_random_sampling(population):
    wrong, strata = population
    assert importance_error(wrong, np.full(len(wrong), 7.0), 200) == pytest.approx(
        simple_error(wrong, 200)
    )


def test_weights_proportional_to_the_errors_leave_no_error():
    wrong = np.array([True, False, True, False])
    assert importance_error(wrong, np.array([1, 1e-12, 1, 1e-12]), 50) < 1e-5


def test_no_allocation_beats_neymans(population):
    """Against every other way to share out 12 cases, each stratum with at least one."""
    wrong, strata = population
    rates = np.bincount(strata, wrong) / np.bincount(strata)
    best = stratified_error(wrong, strata, neyman_allocation(12, strata, rates))
    every = [
        stratified_error(wrong, strata, [i, j, 12 - i - j])
        for i, j in itertools.product(range(1, 11), repeat=2)
        if i + j < 12
    ]
    assert best <= min(every) * 1.02


def test_allocations_use_every_case(population):
    wrong, strata = population
    assert (
        proportional_allocation(200, strata).sum()
        == neyman_allocation(200, strata, [0.0, 0.5, 1.0]).sum()
        == 200
    )
    assert proportional_allocation(200, strata).tolist() == [139, 50, 11]
    assert neyman_allocation(200, strata, [0.0, 0.5, 1.0]).tolist() == [1, 198, 1]
    assert neyman_allocation(200, strata, [0.0, 0.0, 0.0]).tolist() == [139, 50, 11]


def test_the_probability_to_miss_an_error_is_the_binomial_one():
    assert miss_probability(0.005, 200) == pytest.approx(stats.binom.pmf(0, 200, 0.005))
    assert miss_probability(0.0, 6) == 1 and miss_probability(1.0, 6) == 0
    assert miss_probability(0.1, np.array([1, 2])).tolist() == pytest.approx([0.9, 0.81])


@pytest.mark.parametrize("rate", [0.5, 0.01, 0.001])
def test_as_many_cases_are_needed_as_an_exact_bound_needs(rate):
    n = cases_needed(rate)
    assert one_sided_lower(n, n) >= 1 - rate > one_sided_lower(n - 1, n - 1)


def test_the_coverage_of_the_exact_interval_is_what_simulation_finds():
    rng, n, rate = np.random.default_rng(2), 60, 0.07
    intervals = {k: exact_interval(k, n) for k in range(25)}
    hits = np.mean(
        [
            intervals[int(k)][0] <= rate <= intervals[int(k)][1]
            for k in rng.binomial(n, rate, 20_000)
        ]
    )
    assert exact_coverage(rate, n) == pytest.approx(hits, abs=0.006)
    assert min(exact_coverage(r, 15) for r in np.linspace(0.01, 0.99, 8)) >= 0.95


def test_impossible_designs_are_refused(population):
    wrong, strata = population
    with pytest.raises(ValueError, match="too few for 3 strata"):
        proportional_allocation(2, strata)
    with pytest.raises(ValueError, match="at least one case"):
        stratified_estimates(wrong, strata, [10, 0, 10], 5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="weight 0"):
        importance_estimates(wrong, np.where(wrong, 0.0, 1.0), 10, 5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="not negative"):
        importance_error(wrong, -np.ones(len(wrong)), 10)
    with pytest.raises(ValueError, match="between 0 and 1"):
        miss_probability(1.5, 10)
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        cases_needed(0)


# -- the longest carry chain, which the chapter stratifies by


def chain_by_hand(a, b):
    """Add as at school, and follow each carry from the column that makes it until it stops."""
    columns = [a // 10**k % 10 + b // 10**k % 10 for k in range(3)]
    best = 0
    for start in range(3):
        if columns[start] >= 10:
            length = 1
            while start + length < 3 and columns[start + length] == 9:
                length += 1
            best = max(best, length)
    return best


def test_the_longest_chain_is_what_one_follows_by_hand():
    a, b = all_pairs()
    chosen = np.r_[0:3000, 999_000:1_000_000, np.random.default_rng(0).integers(0, 10**6, 3000)]
    assert longest_chain(a[chosen], b[chosen]).tolist() == [
        chain_by_hand(x, y) for x, y in zip(a[chosen].tolist(), b[chosen].tolist())
    ]


def test_a_chain_of_three_is_a_full_ripple_and_no_chain_is_no_carry():
    a, b = all_pairs()
    chain = longest_chain(a, b)
    assert ((chain == 3) == full_ripple(a, b)).all()
    assert ((chain == 0) == ~carries(a, b).any(1)).all()
    assert longest_chain(np.array([999, 99, 995, 500]), np.array([1, 1, 6, 500])).tolist() == [
        3,
        2,
        3,
        1,
    ]
