"""Memorising, generalising, and one after the other: the words defined by thresholds, so that runs
can be counted.

A run *fits* at its first evaluation with `fitted` of the training sums right, and *generalises* at
its first with `generalised` of the test sums right. It *grokked* (Power et al., 2022:
generalisation well after overfitting) if it generalised, at least `delay` times as late as it
fitted, and had less than `unready` of the test sums right when it fitted.
"""

from dataclasses import dataclass

import pandas as pd

from _checks import real_number
from lab.checks import check_settings

__all__ = "OUTCOMES Thresholds THRESHOLDS Milestones milestones outcome outcome_table".split()

OUTCOMES = ("neither", "memorises", "memorises, then generalises", "generalises")


@dataclass(frozen=True)
class Thresholds:
    fitted: float = 0.99  # share of the training sums
    generalised: float = 0.99  # share of the test sums
    unready: float = 0.5  # share of the test sums, at the fit
    delay: float = 2.0  # epochs to generalise, in units of the epochs to fit

    def __post_init__(self):
        check_settings(
            self, **dict.fromkeys(("fitted", "generalised", "unready", "delay"), real_number)
        )
        if not (
            0 < self.unready < self.generalised <= 1 and 0 < self.fitted <= 1 and self.delay >= 1
        ):
            raise ValueError(
                "thresholds need 0 < unready < generalised <= 1, 0 < fitted <= 1 and delay >= 1,"
                f" not {self}"
            )


THRESHOLDS = Thresholds()  # written down before any run of the map was looked at


@dataclass(frozen=True)
class Milestones:
    """Epochs (None: never in this run), and the test exact match at the evaluation at which the run
    fitted."""

    fit: int
    test_at_fit: float
    generalise: int


def milestones(history, thresholds=THRESHOLDS):
    """When a run fitted and when it generalised. history: with epoch, train_accuracy, accuracy.
    Raises ValueError if empty."""
    if not len(history):
        raise ValueError("a history without epochs has no milestones")

    def first(column, level):
        rows = history[history[column] >= level]
        return rows.iloc[0] if len(rows) else None

    fit, generalise = (
        first("train_accuracy", thresholds.fitted),
        first("accuracy", thresholds.generalised),
    )
    return Milestones(
        None if fit is None else int(fit["epoch"]),
        None if fit is None else float(fit["accuracy"]),
        None if generalise is None else int(generalise["epoch"]),
    )


def outcome(history, thresholds=THRESHOLDS):
    """One of OUTCOMES, for a run's history."""
    found = milestones(history, thresholds)
    if found.generalise is None:
        return "neither" if found.fit is None else "memorises"
    delayed = (
        found.fit is not None
        and found.generalise >= thresholds.delay * found.fit
        and found.test_at_fit < thresholds.unready
    )
    return "memorises, then generalises" if delayed else "generalises"


def outcome_table(runs, thresholds=THRESHOLDS):
    """One row per run: size of its training set, weight decay, seed, outcome, and its milestones in
    steps of training.

    Columns: size, decay, seed, outcome, fit, generalise (steps; nan: never), test_at_fit,
    last_train, last_test, steps.
    """
    rows = []
    for run in runs:
        found, last = milestones(run.history, thresholds), run.history.iloc[-1]
        batches = -(-run.config.n_train // run.config.batch_size)
        rows.append(
            {
                "size": run.config.n_train,
                "decay": run.config.weight_decay,
                "seed": run.config.seed,
                "outcome": outcome(run.history, thresholds),
                "fit": found.fit and found.fit * batches,
                "generalise": found.generalise and found.generalise * batches,
                "test_at_fit": found.test_at_fit,
                "last_train": last["train_accuracy"],
                "last_test": last["accuracy"],
                "steps": int(last["epoch"]) * batches,
            }
        )
    columns = [
        "size",
        "decay",
        "seed",
        "outcome",
        "fit",
        "generalise",
        "test_at_fit",
        "last_train",
        "last_test",
        "steps",
    ]
    return pd.DataFrame(rows, columns=columns).astype(
        {"fit": float, "generalise": float, "test_at_fit": float}
    )
