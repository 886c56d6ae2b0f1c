"""Starts near the hand-set circuits: the design, the sharpened circuits, and what a reader's own
sweeps make of it."""

import pandas as pd
import pytest
import torch

from lab import find_or_make
from lab.adders.formats import FORMATS
from lab.adders.fragility import passes
from lab.adders.models.by_hand import CircuitConfig, hand_set
from lab.adders.models.trainable_by_hand import by_hand, near
from lab.adders.studies import recovery
from lab.adders.ten_digits import board_pairs, stratified_pairs
from lab.adders.training import sweeps
from lab.adders.training.recipes import tensor_sizes


def test_sharp_circuits_are_the_same_function():
    """Thirty times the differences of the logits, so the same digits; and the loss is near zero
    instead of 1.5 nats."""
    a, b, _ = stratified_pairs(10, 4)
    sequences = FORMATS["padded"].sequences(a, b)
    for counted in (12, 10, 8):
        soft, sharp = (
            hand_set(counted, "relu").double(),
            by_hand(f"circuit-{counted}-relu-sharp").double(),
        )
        assert sharp.config.label == f"circuit-{counted}-relu-sharp" and passes(
            by_hand(sharp.config.label), *board_pairs()
        )
        with torch.no_grad():
            lead = [model(sequences[:, :-1]) for model in (soft, sharp)]
        lead = [logits - logits[..., :1] for logits in lead]
        assert torch.allclose(30 * lead[0], lead[1], rtol=1e-5, atol=1e-3)
        loss = [
            torch.nn.functional.cross_entropy(
                logits[:, 30:].transpose(1, 2), sequences[:, 31:]
            ).item()
            for logits in lead
        ]
        assert loss[0] > 1 and loss[1] < 0.2
    assert CircuitConfig(8, "relu", True) != CircuitConfig(8, "relu")


def test_the_design():
    arms = recovery.arms()
    assert len({(arm.counted, arm.rate, arm.noise) for arm in arms}) == len(arms) == 12
    assert set(recovery.SEEDS).isdisjoint(range(4))  # those that the rates were chosen with
    assert {arm.config.recipe.lr for arm in arms} == set(recovery.RATES.values())
    even = next(arm for arm in arms if arm.rate == "even").config
    assert tensor_sizes(even.model.exact(), even.recipe.lr_relative_to)[
        "embedding"
    ] == pytest.approx(0.001)
    assert {arm.config.model.name for arm in arms} == {
        f"circuit-{n}-relu-sharp" for n in (12, 10, 8)
    }
    assert (
        len({repr(arm.config.recipe) for arm in arms if arm.counted == 8}) == 1
    )  # they differ in noise only


def test_a_readers_own_sweep(tmp_path, monkeypatch):
    """With BOOK_RUNS=fresh every arm is trained anew and kept; the table compares it with the same
    start, not trained."""
    monkeypatch.setattr(sweeps, "YOUR_FLEETS", tmp_path)
    monkeypatch.setattr(recovery, "STEPS", 3)
    monkeypatch.setattr(recovery, "LEVELS", {(8, "quick"): (0.0, 0.3)})
    monkeypatch.setattr(find_or_make, "_used", [])
    monkeypatch.setenv("BOOK_RUNS", "fresh")
    table = recovery.recovery_table(progress=False, seeds=[100, 101])
    assert (
        table["seed"].tolist() == [100, 101, 100, 101]
        and len(list(tmp_path.glob("near-circuit-8-*"))) == 2
    )
    assert (
        table["adds_before"].tolist() == [True, True, False, False]
        and table["right_after"].between(0, 1).all()
    )
    noted = [run for run in find_or_make.used_results() if run["run"].startswith("near-circuit-8")]
    assert (
        [run["origin"] for run in noted] == ["yours"] * 2
        and noted[0]["seed"] == "100-101"
        and noted[0]["seconds"] > 0
    )
    start = near(by_hand("circuit-8-relu-sharp"), 0.3, 100)
    assert not passes(start, *board_pairs())


@pytest.mark.parametrize(
    "arm", recovery.arms(), ids=lambda arm: f"{arm.counted}-{arm.rate}-{arm.noise:g}"
)
def test_the_book_holds_every_arm(arm):
    stored = sweeps.read_sweep(arm.config)
    asked = [*recovery.SEEDS, *recovery.SECOND_SEEDS]
    assert stored is not None and stored.outcomes["seed"].tolist() == asked
    assert (stored.outcomes["steps"] == recovery.STEPS).all()
    assert passes(stored.model(recovery.SEEDS[0]), *board_pairs()) == bool(stored.successes[0])


def test_arms_are_counted():
    columns = "counted rate noise seed adds_before adds_after right_after ripple_wrong".split()
    rows = [(8, "quick", 0.1, seed, False, seed > 1, seed / 4, 4 - seed) for seed in range(5)]
    rows += [(12, "even", 0.0, seed, True, True, 1.0, 0) for seed in range(2)]
    counts = recovery.ArmCounts(pd.DataFrame(rows, columns=columns))
    assert counts.cell(8, "quick", 0.1) == (3, 5) and counts.cell(8, "quick", 0.1, "before") == (
        0,
        5,
    )
    assert counts.tally(12, "even", 0.0, "before") == "2 of 2"
    assert counts.said(8, "quick", 0.1) == "3 of 5 (14 % to 95 %)"
    assert counts.table.loc[(8, "quick", 0.1), ["right", "clean"]].tolist() == [0.5, 1]
    with pytest.raises(KeyError):
        counts.cell(10, "quick", 0.1)
