"""The train loop of _common.py: what it repeats, when it ends, what it measures."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import _common
from _common import (
    AdditionTransformer,
    TrainingDiverged,
    column_accuracy,
    exact_match,
    learning_rate_at,
    make_addition_dataset,
    make_reversal_dataset,
    train_model,
)


def test_learning_rate_endpoints():
    rate = [learning_rate_at(step, 0.01, 200, 14_700) for step in range(14_700)]
    assert rate[0] == pytest.approx(0.01 / 200) and rate[199] == pytest.approx(0.01)
    assert rate[-1] == pytest.approx(0, abs=1e-15) and min(rate[:-1]) > 0
    assert max(rate) == pytest.approx(0.01) and int(np.argmax(rate)) in (199, 200)
    middle = 200 + (14_700 - 200) // 2 - 1
    assert rate[middle] == pytest.approx(0.005)
    assert np.all(np.diff(rate[:200]) > 0) and np.all(np.diff(rate[200:]) < 0)


@pytest.mark.parametrize("warmup, total", [(0, 1), (0, 10), (10, 10), (20, 10), (3, 4)])
def test_learning_rate_of_odd_schedules_stays_in_range(warmup, total):
    assert all(0 <= learning_rate_at(step, 0.5, warmup, total) <= 0.5 for step in range(total))


def short_run(**changes):
    torch.manual_seed(5)
    model = AdditionTransformer()
    X, Y = make_addition_dataset(1500)
    test_X, test_Y = make_addition_dataset(300, seed=123)
    options = (
        dict(epochs=4, batch_size=256, warmup_steps=5, log_every=0, progress=False, seed=9)
        | changes
    )
    return train_model(model, X, Y, test_X, test_Y, **options), model


def test_two_runs_are_the_same_to_the_last_bit():
    (first, model), (second, again) = short_run(), short_run()
    for name in ("epoch", "loss", "accuracy", "train_accuracy", "column_accuracy", "lr", "ended"):
        assert first[name] == second[name]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
    other, _ = short_run(seed=10)
    assert other["loss"] != first["loss"]


def test_stopping_early_changes_nothing_before():
    whole, part = short_run()[0], short_run(stop_at=2)[0]
    assert part["loss"] == whole["loss"][:2] and part["lr"] == whole["lr"][:2]
    assert whole["ended"] == "finished" and part["ended"] == "early"
    assert whole["lr"][-1] == pytest.approx(0, abs=1e-15) and whole["epoch"] == [1, 2, 3, 4]


def test_extra_epochs_ends_a_run_after_it_has_learned():
    torch.manual_seed(0)
    X, Y = make_reversal_dataset(3000, 2)
    model = AdditionTransformer(max_seq_len=5)
    history = train_model(
        model,
        X,
        Y,
        X[:500],
        Y[:500],
        answer_start=2,
        epochs=40,
        batch_size=128,
        warmup_steps=20,
        extra_epochs=2,
        log_every=0,
        progress=False,
    )
    reached = next(
        e for e, accuracy in zip(history["epoch"], history["accuracy"]) if accuracy >= 0.999
    )
    assert history["ended"] == "early" and history["epoch"][-1] == reached + 2


def test_history_agrees_with_the_measurements():
    history, model = short_run()
    test_X, test_Y = make_addition_dataset(300, seed=123)
    X, Y = make_addition_dataset(1500)
    assert history["accuracy"][-1] == exact_match(model, test_X, test_Y, 7)
    assert history["train_accuracy"][-1] == exact_match(model, X, Y, 7)
    assert history["column_accuracy"][-1] == pytest.approx(
        column_accuracy(model, test_X, test_Y, 7)
    )
    assert len(history["column_accuracy"][-1]) == 5 and len(history["seconds"]) == 4
    assert history["loss"][-1] < history["loss"][0]


def test_a_loss_that_is_not_finite_stops_the_training():
    model = AdditionTransformer()
    with torch.no_grad():
        model.ln_f.weight[0] = math.nan
    X, Y = make_addition_dataset(10)
    with pytest.raises(TrainingDiverged, match="step 1 of epoch 1.*smaller lr than 0.01"):
        train_model(model, X, Y, X, Y, epochs=1, log_every=0, progress=False)


def test_an_interrupt_keeps_the_history_so_far(monkeypatch):
    real, calls = _common.exact_match, []

    def interrupting(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(_common, "exact_match", interrupting)
    history, _ = short_run()
    assert history["ended"] == "interrupted" and history["epoch"] == [1, 2]
    assert {len(values) for values in history.values() if isinstance(values, list)} == {
        2
    }  # no half-written epoch


def test_fit_factor_and_eval_every_and_measure():
    """A small set is fitted, training ends at that multiple of the fitting epoch, and only every
    third epoch is written."""
    X, Y = make_reversal_dataset(60, 1, seed=1)
    torch.manual_seed(1)
    model = AdditionTransformer(d_model=16, d_ff=16, n_layers=1, max_seq_len=4)
    seen = []
    history = train_model(
        model,
        X,
        Y,
        X[:20],
        Y[:20],
        answer_start=1,
        epochs=400,
        batch_size=30,
        lr=0.01,
        warmup_steps=10,
        fit_factor=2,
        eval_every=3,
        log_every=0,
        progress=False,
        measure=lambda model: seen.append(1) or {"evaluations": len(seen)},
    )
    table = pd.DataFrame(
        {name: history[name] for name in ("epoch", "train_accuracy", "evaluations")}
    )
    fitted = table.loc[table["train_accuracy"] >= 0.99, "epoch"].iloc[0]
    assert (table["epoch"] % 3 == 0).all() and table["evaluations"].tolist() == list(
        range(1, len(table) + 1)
    )
    assert (
        table["epoch"].iloc[-1] == next(e for e in table["epoch"] if e >= 2 * fitted)
        and history["ended"] == "early"
    )
    assert len(history["seconds"]) == len(table)
