"""Chapter 10: its sweeps, their rates, what attention does, and the profile of its log ratio."""
import math

import numpy as np
import pandas as pd
import pytest
import torch

from lab.frontier import (ENTRIES, LogRatioProfile, attention_pattern, board_record, first_perfect, log_ratios, success_table,
                          trajectory)
from lab.fleets import Fleet
from lab.micro_adder import micro_adder
from lab.rotary_adder import ROTARY_ADDERS
from lab.stats import exact_interval
from lab.sweeps import Sweep, changed, preset, read_sweep, sweep_name
from lab.ten_digits import FORMATS, uniform_pairs
from lab.trainable_by_hand import by_hand
from tools import frontier as frontier_tool

STORED = [label for label, entry in ENTRIES.items() if read_sweep(entry.config) is not None]


def test_the_list():
    names = [sweep_name(entry.config) for entry in ENTRIES.values()]
    assert len(set(names)) == len(names)
    assert all(len(entry.seeds) == 40 for entry in ENTRIES.values())
    own = [entry for entry in ENTRIES.values() if entry.model in ROTARY_ADDERS]
    assert all(set(entry.seeds).isdisjoint(range(16)) for entry in own)                # those that the designs were chosen with
    assert ENTRIES["9, known signs only"].config.model.start == "signs"
    assert ENTRIES["12, best of 16 random starts"].config.recipe.tries == 16


@pytest.mark.parametrize("label", STORED)
def test_what_is_stored_is_whole(label):
    stored = read_sweep(ENTRIES[label].config)
    assert stored.outcomes["seed"].tolist() == list(ENTRIES[label].seeds)
    row = success_table({label: stored}).iloc[0]
    assert row["seeds"] == 40 and row["clean"] <= row["successes"] <= row["near"] <= 40
    assert (row["low"], row["high"]) == exact_interval(int(row["successes"]), 40)
    wins = stored.outcomes.loc[stored.successes, "seed"].tolist()
    for seed in wins[:1]:                                      # the stored weights are those that were scored
        a, b = uniform_pairs(500, torch.Generator().manual_seed(1))
        model = stored.model(seed)
        assert torch.equal(FORMATS[model.config.format].answer_pairs(model, a, b), a + b)


def test_the_board_by_date():
    board = board_record()
    day = board[board["date"].str.len() == 10].iloc[0]
    month = board[board["date"] == "2026-02"].iloc[0]
    assert day["first"] == day["last"] == pd.Timestamp(day["date"])
    assert (month["first"], month["last"]) == (pd.Timestamp("2026-02-01"), pd.Timestamp("2026-02-28"))
    assert board.loc[board["date"].isna(), "first"].isna().all() and board["date"].isna().any()


def test_first_perfect_is_censored_where_the_end_is_not():
    history = pd.DataFrame([(seed, step, exact, 1.0) for seed, values in
                            {1: (0, 1, 1), 2: (1, 0, 1), 3: (1, 1, 0), 4: (1, 1, 1)}.items()
                            for step, exact in zip((10, 20, 30), values)], columns=["seed", "step", "exact", "ripple_exact"])
    steps, censored = first_perfect(Sweep(None, None, history, {}, {}, None))
    assert steps.tolist() == [20, 30, 30, 10] and censored.tolist() == [False, False, True, False]


@pytest.mark.parametrize("model", [micro_adder("67", 3), micro_adder("54", 4), ROTARY_ADDERS["r25"].build(1),
                                   ROTARY_ADDERS["r8-step-diagonal-centred"].build(2)], ids=["67", "54", "25", "8"])
def test_the_pattern_is_what_the_model_attends_to(model):
    """Held against what a digit does: change one token's value, and the change at a row is weight times change of value."""
    pattern = attention_pattern(model)
    assert torch.allclose(pattern.sum(1), torch.ones(len(pattern)), atol=1e-5) and not pattern.triu(1).any()
    format = FORMATS[model.config.format]
    x = format.prompt - 22
    ratios = log_ratios(model)
    assert ratios.shape == (9, 2)
    i = 4
    assert ratios[i - 1, 1] == pytest.approx(math.log(pattern[format.prompt - 1 + i, x + 11 + i] / pattern[format.prompt - 1 + i, x + 10 + i]))
    a, b = torch.tensor([0]), torch.tensor([7 * 10**i])
    assert format.sequences(a, b)[0, x + 11 + i] == 7                                  # that is where Y_i stands


def test_a_hand_set_micro_adder_has_ln_ten():
    assert log_ratios(by_hand("67")).mean() == pytest.approx(math.log(10), abs=0.05)
    with pytest.raises(ValueError, match="no fixed attention pattern"):
        attention_pattern(micro_adder("100"))


def test_a_trajectory_is_the_training_itself():
    config = changed(preset("r8-step-diagonal-centred"), {"steps": 100, "evaluate_every": 100, "batch_size": 8})
    table, model = trajectory(config, 3, 50)
    assert table["step"].tolist() == [0, 50, 100] and table["exact"].isna().tolist() == [True, False, False]
    alone = Fleet(config, [3]).run(progress=False).weights()
    assert all(torch.equal(p.detach(), alone[name][0]) for name, p in model.named_parameters())
    assert table["S"].iloc[-1] == float(alone["S"][0]) and table["H[1]"].iloc[-1] == float(alone["H"][0, 1])
    assert table["log_ratio"].iloc[-1] == pytest.approx(float(log_ratios(model).mean()))
    with pytest.raises(ValueError, match="every must be a multiple of 50, not 10"):
        trajectory(config, 3, 10)


def test_a_profile_is_a_minimum():
    """At the ratio that a model has its profile is no higher than its own loss, and no other numbers tried are better."""
    stored = read_sweep(ENTRIES["8"].config)
    a, b = uniform_pairs(100, torch.Generator().manual_seed(4))
    profile = LogRatioProfile(stored.model(100), a, b)
    assert profile.trained == pytest.approx(float(log_ratios(stored.model(100)).mean()), abs=1e-4)
    ones = np.ones(6)
    own, gradient = profile._loss(ones, profile.trained)
    smallest = profile.smallest(profile.trained, iterations=30)
    assert smallest <= own
    rng = np.random.default_rng(0)
    assert all(smallest < profile._loss(ones * (1 + 0.02 * rng.standard_normal(6)), profile.trained)[0] for _ in range(5))
    step = 1e-6 * np.eye(6)
    slopes = [(profile._loss(ones + e, profile.trained)[0] - profile._loss(ones - e, profile.trained)[0]) / 2e-6 for e in step]
    assert gradient == pytest.approx(slopes, rel=1e-4, abs=1e-7)
    with pytest.raises(ValueError, match="diagonal head"):
        LogRatioProfile(ROTARY_ADDERS["r16-step-two-dimensions"].build(0), a, b)


def test_the_command_refuses_unknown_labels(capsys):
    with pytest.raises(SystemExit):
        frontier_tool.main(["99"])
    assert "unknown label '99'" in capsys.readouterr().err
