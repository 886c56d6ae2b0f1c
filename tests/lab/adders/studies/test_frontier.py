"""Chapter 10: its sweeps, their rates, what attention does, and the profile of its log ratio."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from lab import store
from lab.adders.formats import FORMATS
from lab.adders.models.micro_adder import micro_adder
from lab.adders.models.rotary_adder import ROTARY_ADDERS
from lab.adders.models.trainable_by_hand import by_hand
from lab.adders.studies import frontier
from lab.adders.studies.crossed import AIDS
from lab.adders.studies.frontier import (
    ENTRIES,
    LogRatioProfile,
    attention_pattern,
    board_record,
    compare_seeds,
    first_perfect,
    log_ratios,
    success_table,
    trajectories,
)
from lab.adders.studies.generic_starts import STARTS
from lab.adders.studies.reported_failures import FAILURES
from lab.adders.studies.ten_digit_study import FIRST_PASSES
from lab.adders.ten_digits import uniform_pairs
from lab.adders.training.fleets import Fleet
from lab.adders.training.sweeps import Sweep, changed, preset, read_sweep, sweep_name
from lab.stats import exact_interval

ALL = FIRST_PASSES | ENTRIES | AIDS | STARTS | FAILURES
STORED = [label for label, entry in ALL.items() if read_sweep(entry.config) is not None]


def test_the_list():
    names = [sweep_name(entry.config) for entry in ENTRIES.values()]
    assert len(set(names)) == len(names)
    assert {
        label: len(entry.seeds) for label, entry in ENTRIES.items() if len(entry.seeds) != 40
    } == {"57": 100, "54": 100, "57, published start": 16, "54, published start": 16}
    crossed = ENTRIES["57, published start"]
    assert crossed.config.weights_seed == 777 and set(crossed.seeds) < set(
        ENTRIES["57"].seeds
    )  # the same examples
    own = [entry for entry in ENTRIES.values() if entry.model in ROTARY_ADDERS]
    assert all(
        set(entry.seeds).isdisjoint(range(16)) for entry in own
    )  # those that the designs were chosen with
    assert ENTRIES["9, known signs only"].config.model.start == "signs"
    assert ENTRIES["12, best of 16 random starts"].config.recipe.tries == 16


@pytest.mark.parametrize("label", STORED)
def test_what_is_stored_is_whole(label):
    stored = read_sweep(ALL[label].config)
    assert stored.outcomes["seed"].tolist() == list(ALL[label].seeds)
    row = success_table({label: stored}).iloc[0]
    n = len(ALL[label].seeds)
    assert row["seeds"] == n and row["clean"] <= row["successes"] <= row["near"] <= n
    assert (row["low"], row["high"]) == exact_interval(int(row["successes"]), n)
    wins = stored.outcomes.loc[stored.successes, "seed"].tolist()
    for seed in wins[:1]:  # the stored weights are those that were scored
        a, b = uniform_pairs(500, torch.Generator().manual_seed(1))
        model = stored.model(seed)
        assert torch.equal(FORMATS[model.config.format].answer_pairs(model, a, b), a + b)


def test_the_board_by_date():
    """Days only; nobody is listed before handing in; the 763 was never handed in; one 40 left the
    table again."""
    board = board_record().set_index(["category", "parameters"])
    early, late = board["listed"] < board["submitted"], board["until"] < board["listed"]
    assert not early.any() and not late.any()
    assert board.loc["trained"].loc[763, ["submitted", "listed", "date"]].isna().all()
    forty = board.loc["hand-set"].loc[40]
    assert (forty["date"], forty["until"]) == (
        pd.Timestamp("2026-02-26"),
        pd.Timestamp("2026-03-03"),
    )
    assert board.loc["trained"].loc[67, "date"] == pd.Timestamp(
        "2026-03-03"
    )  # listed; submission not known
    assert board["source"].notna().all() and not board.reset_index().duplicated().any()
    assert (
        len(board[board["listed"].notna() & board["until"].isna()]) == 52
    )  # the table of 25 March 2026


def test_first_perfect_is_censored_where_the_end_is_not():
    history = pd.DataFrame(
        [
            (seed, step, exact, 1.0)
            for seed, values in {1: (0, 1, 1), 2: (1, 0, 1), 3: (1, 1, 0), 4: (1, 1, 1)}.items()
            for step, exact in zip((10, 20, 30), values)
        ],
        columns=["seed", "step", "exact", "ripple_exact"],
    )
    steps, censored = first_perfect(Sweep(None, None, history, {}, {}, None))
    assert steps.tolist() == [20, 30, 30, 10] and censored.tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    "model",
    [
        micro_adder("67", 3),
        micro_adder("54", 4),
        ROTARY_ADDERS["r25"].build(1),
        ROTARY_ADDERS["r8-step-diagonal-centred"].build(2),
    ],
    ids=["67", "54", "25", "8"],
)
def test_the_pattern_is_what_the_model_attends_to(model):
    """Held against what a digit does: change one token's value, and the change at a row is weight
    times change of value."""
    pattern = attention_pattern(model)
    assert (
        torch.allclose(pattern.sum(1), torch.ones(len(pattern)), atol=1e-5)
        and not pattern.triu(1).any()
    )
    format = FORMATS[model.config.format]
    x = format.prompt - 22
    ratios = log_ratios(model)
    assert ratios.shape == (9, 2)
    i = 4
    assert ratios[i - 1, 1] == pytest.approx(
        math.log(
            pattern[format.prompt - 1 + i, x + 11 + i] / pattern[format.prompt - 1 + i, x + 10 + i]
        )
    )
    a, b = torch.tensor([0]), torch.tensor([7 * 10**i])
    assert format.sequences(a, b)[0, x + 11 + i] == 7  # that is where Y_i stands


def test_a_hand_set_micro_adder_has_ln_ten():
    assert log_ratios(by_hand("67")).mean() == pytest.approx(math.log(10), abs=0.05)
    with pytest.raises(ValueError, match="no fixed attention pattern"):
        attention_pattern(micro_adder("100"))


def test_trajectories_are_the_training_itself():
    config = changed(
        preset("r8-step-diagonal-centred"), {"steps": 100, "evaluate_every": 100, "batch_size": 8}
    )
    table = trajectories(config, [3, 4], 50, progress=False)
    assert table["seed"].tolist() == [3, 3, 3, 4, 4, 4] and table["step"].tolist() == 2 * [
        0,
        50,
        100,
    ]
    assert table["exact"].isna().tolist() == 2 * [True, False, False]
    fleet = Fleet(config, [3, 4]).run(progress=False)
    last, weights = table[table["step"] == 100], fleet.weights()
    assert (
        last["S"].tolist() == weights["S"][:, 0].tolist()
        and last["H[1]"].tolist() == weights["H"][:, 1].tolist()
    )
    assert table.loc[0, "phi"] == config.model.build(3).phi.item()
    with pytest.raises(ValueError, match="every must be a multiple of 50, not 10"):
        trajectories(config, [3], 10)


def test_a_readers_own_trajectories_are_kept(tmp_path, monkeypatch):
    config = changed(
        preset("r8-step-diagonal-centred"), {"steps": 50, "evaluate_every": 50, "batch_size": 4}
    )
    monkeypatch.setattr(store, "YOUR_TRAJECTORIES", tmp_path)
    monkeypatch.setattr(frontier, "LOOK", 50)
    monkeypatch.setattr(frontier, "FOLLOWED", {"x": [1]})
    monkeypatch.setitem(frontier.ENTRIES, "x", type("Short", (), {"config": config}))
    monkeypatch.setenv("BOOK_RUNS", "fresh")
    table = frontier.followed("x", progress=False)
    assert table["step"].tolist() == [0, 50] and len(list(tmp_path.glob("*/trajectories.csv"))) == 1
    assert frontier.followed("x", progress=False).equals(table)


@pytest.mark.parametrize("label", frontier.FOLLOWED)
def test_the_book_followed_what_it_stored(label):
    """The last look at each seed is the stored sweep's final weights, to the digits that are
    written."""
    if not (store.BOOK_TRAJECTORIES / sweep_name(ENTRIES[label].config)).exists():
        pytest.fail(f"python -m tools.train has not made '{label}, followed'")
    table, stored = frontier.followed(label), read_sweep(ENTRIES[label].config)
    last = table[table["step"] == stored.config.recipe.steps].set_index("seed")
    assert last.index.tolist() == list(frontier.FOLLOWED[label])
    for seed, row in last.iterrows():
        model = stored.model(seed)
        assert row["S"] == pytest.approx(model.S.item(), rel=1e-4) and row["phi"] == pytest.approx(
            model.phi.item(), rel=1e-4
        )
        assert row["log_ratio"] == pytest.approx(float(log_ratios(model).mean()), rel=1e-4)


def test_a_profile_is_a_minimum():
    """At the ratio that a model has its profile is no higher than its own loss, and no other
    numbers tried are better."""
    stored = read_sweep(ENTRIES["8"].config)
    a, b = uniform_pairs(100, torch.Generator().manual_seed(4))
    profile = LogRatioProfile(stored.model(100), a, b)
    assert profile.trained == pytest.approx(float(log_ratios(stored.model(100)).mean()), abs=1e-4)
    ones = np.ones(6)
    own, gradient = profile._loss(ones, profile.trained)
    before, smallest, after = profile.smallest(
        [profile.trained - 0.1, profile.trained, profile.trained + 0.1]
    )
    assert smallest <= own and smallest < min(before, after)
    disturbed = LogRatioProfile(
        stored.model(100), a.flip(0), b.flip(0)
    )  # the same sums, added in another order
    assert disturbed.smallest([profile.trained]) == pytest.approx([smallest], rel=1e-3)
    rng = np.random.default_rng(0)
    assert all(
        smallest < profile._loss(ones * (1 + 0.02 * rng.standard_normal(6)), profile.trained)[0]
        for _ in range(5)
    )
    step = 1e-6 * np.eye(6)
    slopes = [
        (profile._loss(ones + e, profile.trained)[0] - profile._loss(ones - e, profile.trained)[0])
        / 2e-6
        for e in step
    ]
    assert gradient == pytest.approx(slopes, rel=1e-4, abs=1e-7)
    with pytest.raises(ValueError, match="diagonal head"):
        LogRatioProfile(ROTARY_ADDERS["r16-step-two-dimensions"].build(0), a, b)


def test_seeds_are_compared_by_the_sign_test():
    """Four seeds for the first, one for the second, one alike, and one that only one of them has:
    2 (5 + 1) / 32."""
    first = pd.Series([1, 1, 1, 1, 0, 1, 1.0], index=range(7))
    second = pd.Series([0, 0, 0, 0, 1, 1.0], index=range(6))
    more, fewer, p = compare_seeds(first, second)
    assert (more, fewer) == (4, 1) and math.isclose(p, 12 / 32)
    assert compare_seeds(second, first)[:2] == (1, 4)
    assert compare_seeds(first, first) == (0, 0, 1.0)
