"""Learning curves of many runs: bands, the epochs in which columns are learned, and lapses of runs
that had learned."""

import math
from itertools import combinations

import numpy as np
import pandas as pd

__all__ = (
    "LEARNED FAILED carried band column_times as_censored closest_pairs before_learning"
    " after_learning lapse_counts".split()
)

# test exact match at which a run counts as learned, and below which as failed
LEARNED, FAILED = 0.999, 0.99


def carried(runs, column, last_epoch):
    """One column of the histories for epochs 1 .. last_epoch: an array (runs, last_epoch).

    A run that ended earlier keeps its last value. Raises ValueError for a run that was not
    evaluated in every epoch.
    """
    rows = []
    for run in runs:
        epochs = run.history["epoch"].to_numpy()
        if not np.array_equal(epochs, np.arange(1, len(epochs) + 1)):
            raise ValueError(
                f"run {run.name} was not evaluated in every epoch from 1: a band needs that"
            )
        values = run.history[column].to_numpy(dtype=float)[:last_epoch]
        rows.append(np.r_[values, np.full(last_epoch - len(values), values[-1])])
    return np.stack(rows)


def band(runs, column, last_epoch, low=0.1, high=0.9):
    """The spread of many curves, epoch by epoch: a DataFrame (epoch, low, median, high, observed).

    Each bound is a value that one of the runs had (no averaging of two runs); `observed`: runs not
    ended before this epoch. It is pointwise: what a share of the runs did in this epoch, and not a
    tube that holds whole curves.
    """
    values = carried(runs, column, last_epoch)
    bounds = np.quantile(values, [low, 0.5, high], axis=0, method="inverted_cdf")
    lengths = np.array([len(run.history) for run in runs])
    epochs = np.arange(1, last_epoch + 1)
    return pd.DataFrame(
        {
            "epoch": epochs,
            "low": bounds[0],
            "median": bounds[1],
            "high": bounds[2],
            "observed": (lengths[:, None] >= epochs).sum(0),
        }
    )


def column_times(runs, columns, limit, level=0.99):
    """The first epoch, up to `limit`, at which each run had each column right in a share `level` of
    the test sums.

    Returns an array (runs, columns); infinity where it had not by then.
    """

    def first(history, column):
        reached = history.loc[(history[column] >= level) & (history["epoch"] <= limit), "epoch"]
        return float(reached.iloc[0]) if len(reached) else math.inf

    return np.array([[first(run.history, column) for column in columns] for run in runs])


def as_censored(times, limit):
    """Epochs with infinity for "not by `limit`", as survival data: (times, censored)."""
    times = np.asarray(times, dtype=float)
    return np.where(np.isinf(times), limit, times), np.isinf(times)


def closest_pairs(times):
    """Which two of three things happened closest together, run by run: a list of pairs of column
    numbers, or None.

    times: (runs, 3), infinity where a thing was not seen. None where two gaps are equally small or
    two things were not seen. If every order of a run's three times is equally likely, each pair is
    the closest with probability 1/3.
    """
    pairs, found = list(combinations(range(3), 2)), []
    for row in np.asarray(times, dtype=float):
        if np.isinf(row).sum() > 1:
            found.append(None)
            continue
        gaps = [abs(row[i] - row[j]) for i, j in pairs]
        closest = [pair for pair, gap in zip(pairs, gaps) if gap == min(gaps)]
        found.append(closest[0] if len(closest) == 1 else None)
    return found


def before_learning(runs):
    """All epochs of all runs before the first with 99 % test exact match, in one table with a
    column `seed`."""
    parts = []
    for run in runs:
        end = run.epochs_to(FAILED) or math.inf
        parts.append(run.history[run.history["epoch"] < end].assign(seed=run.config.seed))
    return pd.concat(parts, ignore_index=True)


def after_learning(runs, window=None):
    """All epochs after the first with 99.9 % test exact match: the histories' rows, with `seed`,
    `since` (epochs since that first one, from 1) and `failed` (below 99 %). window: only the first
    so many of them."""
    parts = []
    for run in runs:
        learned = run.epochs_to(LEARNED)
        rows = run.history[run.history["epoch"] > (math.inf if learned is None else learned)]
        rows = rows.assign(
            seed=run.config.seed,
            since=rows["epoch"] - (learned or 0),
            failed=rows["accuracy"] < FAILED,
        )
        parts.append(rows[rows["since"] <= (window or math.inf)])
    return pd.concat(parts, ignore_index=True)


def lapse_counts(after):
    """Per run the number of epochs in which it failed, and of how many: two arrays. `after`: from
    `after_learning`."""
    by_seed = after.groupby("seed")["failed"].agg(["sum", "count"])
    return by_seed["sum"].to_numpy(dtype=int), by_seed["count"].to_numpy(dtype=int)
