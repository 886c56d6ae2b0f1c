"""Calibration against cases small enough to work out by hand, and against models whose calibration
is known."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from lab.calibration import (
    accuracy,
    calibrated_errors,
    expected_calibration_error,
    mean_confidence,
    merge_bins,
    reliability,
)
from lab.stats import exact_interval


def table_of(confidence, right, n_bins):
    """A table of confidences made case by case."""
    table = np.zeros((n_bins, 3))
    for sure, hit in zip(confidence, right):
        table[min(int(sure * n_bins), n_bins - 1)] += [1, hit, sure]
    return table


@pytest.fixture
def cases():
    rng = np.random.default_rng(3)
    confidence = rng.beta(4, 1, 5_000)
    return confidence, rng.random(5_000) < confidence**2  # overconfident


def test_four_cases_by_hand():
    """Bins 0.5-0.75: 0.6 right, 0.7 wrong: |1/2 - 0.65| = 0.15. Bin 0.75-1: 0.8 and 1.0, both
    right: |1 - 0.9| = 0.1."""
    table = table_of([0.6, 0.7, 0.8, 1.0], [1, 0, 1, 1], 4)
    assert expected_calibration_error(table, 4) == pytest.approx((2 * 0.15 + 2 * 0.1) / 4)
    assert expected_calibration_error(table, 1) == pytest.approx(abs(3 / 4 - 3.1 / 4))
    assert accuracy(table) == 0.75 and mean_confidence(table) == pytest.approx(0.775)


def test_reliability_is_what_scikit_learn_finds(cases):
    confidence, right = cases
    table = reliability(table_of(confidence, right, 100), 10)
    share, sure = calibration_curve(right, confidence, n_bins=10)
    assert table["right"].to_numpy() == pytest.approx(share) and table[
        "confidence"
    ].to_numpy() == pytest.approx(sure)
    assert table["cases"].sum() == len(confidence)
    row = table.iloc[-1]
    assert (row["low"], row["high"]) == exact_interval(
        round(row["right"] * row["cases"]), int(row["cases"])
    )


def test_wider_bins_never_show_more_error(cases):
    table = table_of(*cases, 1000)
    errors = [expected_calibration_error(table, bins) for bins in (1000, 100, 20, 10, 1)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == pytest.approx(abs(accuracy(table) - mean_confidence(table)))


def test_a_calibrated_model_shows_an_error_that_falls_with_the_number_of_cases(cases):
    table = table_of(*cases, 1000)
    few, many = (
        calibrated_errors(table, n, 200, np.random.default_rng(0)).mean() for n in (200, 20_000)
    )
    assert few == pytest.approx(10 * many, rel=0.25)  # noise falls with the square root of n
    assert expected_calibration_error(table) > 5 * many  # and this table is not calibrated


def test_bad_tables_are_refused():
    with pytest.raises(ValueError, match="multiple of 10"):
        merge_bins(np.zeros((15, 3)), 10)
    with pytest.raises(ValueError, match="shape"):
        expected_calibration_error(np.zeros((10, 2)))
    assert not len(reliability(np.zeros((10, 3))))
