"""Is a model right as often as it is sure? Reliability tables and calibration errors.

A table of confidences is an array (K, 3): per bin the number of cases, how many were right, and the
sum of their confidences, as `lab.addition.censuses.Census.confidence` holds them.
"""

import numpy as np
import pandas as pd

from _checks import whole_number
from lab.stats import exact_interval

__all__ = (
    "merge_bins reliability accuracy mean_confidence expected_calibration_error calibrated_errors"
).split()


def merge_bins(table, n_bins):
    """The same cases in fewer, wider bins: (K, 3) -> (n_bins, 3). Raises ValueError unless n_bins
    divides K."""
    table, n_bins = np.asarray(table, dtype=float), whole_number("n_bins", n_bins, 1)
    if table.ndim != 2 or table.shape[1] != 3 or len(table) % n_bins:
        raise ValueError(
            f"a table of confidences has the shape (K, 3) with K a multiple of {n_bins}, not"
            f" {table.shape}"
        )
    return table.reshape(n_bins, -1, 3).sum(1)


def reliability(table, n_bins=10, level=0.95):
    """What a reliability plot shows: a DataFrame (confidence, right, low, high, cases), one row per
    bin that is not empty.

    confidence: mean confidence of the bin's cases; right: the share that was right, with its exact
    interval.
    """
    rows = []
    for cases, right, confidence in merge_bins(table, n_bins):
        if cases:
            low, high = exact_interval(round(right), round(cases), level)
            rows.append(
                {
                    "confidence": confidence / cases,
                    "right": right / cases,
                    "low": low,
                    "high": high,
                    "cases": round(cases),
                }
            )
    return pd.DataFrame(rows, columns=["confidence", "right", "low", "high", "cases"])


def accuracy(table):
    """The share of all cases that was right."""
    return float(table[:, 1].sum() / table[:, 0].sum())


def mean_confidence(table):
    """The mean confidence of all cases. Minus `accuracy`: overconfidence, if positive."""
    return float(table[:, 2].sum() / table[:, 0].sum())


def expected_calibration_error(table, n_bins=10):
    """Mean distance of share right and mean confidence over bins, weighted by cases (Naeini et al.,
    2015; Guo et al., 2017).

    It depends on the bins: wider ones let errors cancel, and with few cases narrower ones count
    noise as error.
    """
    merged = merge_bins(table, n_bins)
    return float(np.abs(merged[:, 1] - merged[:, 2]).sum() / merged[:, 0].sum())


def calibrated_errors(table, n, repeats, rng, n_bins=10):
    """The expected calibration error that `n` random cases of a *perfectly* calibrated model would
    show. (repeats,)

    Cases are drawn with the confidences of the table, each right with exactly the probability that
    it says.
    """
    filled = table[table[:, 0] > 0]
    share, sure = filled[:, 0] / filled[:, 0].sum(), filled[:, 2] / filled[:, 0]
    bins = np.flatnonzero(table[:, 0])
    errors = []
    for _ in range(repeats):
        drawn = rng.multinomial(n, share)
        made = np.zeros_like(table, dtype=float)
        made[bins] = np.stack(
            [drawn, rng.binomial(drawn, np.clip(sure, 0, 1)), drawn * sure], axis=1
        )
        errors.append(expected_calibration_error(made, n_bins))
    return np.array(errors)
