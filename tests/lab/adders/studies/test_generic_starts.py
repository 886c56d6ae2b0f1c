"""Starts as a factorial: what is drawn and from where, what stays as it was, and that no stored
sweep lost its name."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from lab.adders.counting import board_count
from lab.adders.models.rotary_adder import RotaryAdderConfig
from lab.adders.studies.frontier import ENTRIES, Entry
from lab.adders.studies.generic_starts import (
    DESIGNS,
    FACTORIAL,
    FLAT,
    MIDDLES,
    PIECES,
    STARTS,
    cost_per_success,
    cost_ratio,
    costs_of_pieces,
    factorial_label,
    middle_off_axis,
)
from lab.adders.studies.reported_failures import FAILURES
from lab.adders.training.sweeps import SUCCESS, Sweep, preset, sweep_name
from tools import export, verify

CONFIGS = {label: entry.config for label, entry in STARTS.items()}


def starts(model_config, n=400):
    """{tensor name: (n, numbers)} of n untrained models."""
    models = [dict(model_config.build(seed).named_parameters()) for seed in range(n)]
    return {
        name: torch.stack([model[name].detach().flatten() for model in models])
        for name in models[0]
    }


def drawn_from(values, low, high):
    """The p-value of a Kolmogorov-Smirnov test of a uniform distribution."""
    assert low <= values.min() and values.max() <= high
    return stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue


def test_the_list():
    names = [sweep_name(config) for config in CONFIGS.values()]
    assert len(set(names)) == len(names) == 28 + 14 + 2 + 1
    assert {
        label: entry.seeds for label, entry in STARTS.items() if entry.seeds != range(100, 140)
    } == {"6, flat, best of 16": range(100, 116), **dict.fromkeys(MIDDLES, range(140, 180))}
    assert set(names).isdisjoint(sweep_name(entry.config) for entry in ENTRIES.values())


@pytest.mark.parametrize("design", [8, 9, 12, 21])
def test_wide_weights(design):
    """Every number: signs even, sizes log-uniform over two orders of magnitude, independent of one
    another."""
    wide = starts(CONFIGS[factorial_label(design, ("weights",))].model)
    own = [name for name in ("value", "write", "W_1", "W_2", "H") if name in wide]
    numbers = torch.cat([wide[name] for name in own], dim=1)  # (n, numbers)
    assert numbers.shape[1] == {8: 5, 9: 5, 12: 8, 21: 17}[design]
    for column in numbers.T:
        assert stats.binomtest(int((column > 0).sum()), len(column)).pvalue > 1e-4
        assert drawn_from(column.abs().log10(), -1, 1) > 1e-4
    for values in (numbers.sign(), numbers.abs().log()):
        correlations = torch.corrcoef(values.T) - torch.eye(numbers.shape[1])
        assert correlations.abs().max() < 5 / math.sqrt(len(numbers))


@pytest.mark.parametrize("design", [8, 9, 21])
def test_wide_arc_and_wave(design):
    wide = starts(CONFIGS[factorial_label(design, ("arc", "wave"))].model)
    assert drawn_from(wide["arc"][:, -1], -math.pi / 5, math.pi / 5) > 1e-4
    if design != 8:  # its first angle follows from its stride
        assert drawn_from(wide["arc"][:, 0], -math.pi, math.pi) > 1e-4
    assert drawn_from(wide["phi"][:, 0], 0, 11) > 1e-4 and drawn_from(wide["S"][:, 0], 0, 60) > 1e-4
    numbers = torch.cat([wide[name] for name in ("arc", "phi", "S")], dim=1).T
    assert (torch.corrcoef(numbers) - torch.eye(len(numbers))).abs().max() < 0.2


@pytest.mark.parametrize("design", [8, 9, 12, 21])
def test_a_piece_that_is_drawn_leaves_the_others_as_they_were(design):
    """A factorial: a seed's start differs from the cell beside it in one piece only."""
    of_piece = {
        "weights": {"value", "write", "W_1", "W_2", "H"},
        "arc": {"arc"},
        "wave": {"S", "phi"},
    }

    def start(drawn):
        entry = FACTORIAL[factorial_label(design, drawn)] if drawn else ENTRIES[str(design)]
        return dict(entry.config.model.build(107).named_parameters())

    for piece in PIECES:
        others = [other for other in PIECES if other != piece]
        for drawn in ((), (others[0],), tuple(others)):
            before, after = start(drawn), start(tuple(p for p in PIECES if p in (*drawn, piece)))
            assert {
                name for name in before if not torch.equal(before[name], after[name])
            } == of_piece[piece] & set(before)


def test_a_flat_wave_has_any_crest_and_no_size():
    config = Entry(DESIGNS[9], FLAT).config.model
    flat, wide = starts(config, 50), starts(CONFIGS[factorial_label(9, ("wave",))].model, 50)
    assert (flat["S"] == 1).all() and torch.equal(flat["phi"], wide["phi"])
    pattern = config.build(3).attention_weights(34)[-1, -23:]
    assert pattern.max() < 3 * pattern.mean()  # no token is preferred by much


def test_wrong_ranges():
    for wrong in (
        {"arc_start": (2.5, (1.0, -1.0), 0.3)},
        {"S_start": (1.0, 2.0, 3.0)},
        {"phi_start": (11.0, 9.0)},
    ):
        with pytest.raises(ValueError, match="uniform between a lower and an upper one"):
            RotaryAdderConfig(**wrong)
    read_back = RotaryAdderConfig(
        arc_start=[2.5, [-1.0, 1.0], 0.3], S_start=[0.0, 60.0]
    )  # JSON has no tuples
    assert read_back == RotaryAdderConfig(arc_start=(2.5, (-1.0, 1.0), 0.3), S_start=(0.0, 60.0))


@pytest.mark.parametrize("design, label", [(7, "7"), (6, "6, circle of 150")])
def test_a_tied_design_is_the_8_with_equal_numbers(design, label):
    """W_1 is minus what attention writes; in the 6, W_2 is the head's last number too. The start is
    that of the circuit."""
    tied, eight = STARTS[label].config.model.build(105), ENTRIES["8"].config.model.build(105)
    assert (
        tied.write < 0 < tied.ffn_in()[0, -1]
        and tied.ffn_out()[0, -1] < 0
        and tied.head()[1, -1] < 0 < tied.head()[0, 0]
    )
    with torch.no_grad():
        for name, p in tied.named_parameters():
            eight.get_parameter(name).copy_(p)
        eight.A.copy_(tied.A)
        eight.W_1.copy_(-tied.write)
        if design == 6:
            eight.W_2.copy_(tied.H[1])
    tokens = torch.randint(0, 10, (3, 30), generator=torch.Generator().manual_seed(1))
    assert torch.equal(tied(tokens), eight(tokens))
    for wrong in ({"ffn_in": "write"}, {"ffn_out": "last of head"}):
        with pytest.raises(ValueError, match="one unit"):
            RotaryAdderConfig(**wrong)


def test_each_reported_failure_is_the_67_with_one_change():
    published = ENTRIES["67"]
    counts = {label: board_count(entry.config.model.build(0)) for label, entry in FAILURES.items()}
    assert list(counts.values()) == [67, 67 - 3, 67 - 6, 67 - 10, 67 - 4, 67 - 15]
    for entry in FAILURES.values():
        assert entry.config.recipe == published.config.recipe and set(entry.seeds) < set(
            published.seeds
        )
        assert entry.config.model.position_only


def test_the_cost_of_a_success_counts_failures_and_tries():
    outcomes = pd.DataFrame(
        {
            "seed": [100, 101],
            "steps": [12_000, 12_000],
            "seconds": [10.0, 20.0],
            "board_right": [SUCCESS, 7],
        }
    )
    sweep = Sweep(CONFIGS["9, flat, best of 64"], outcomes, None, {}, {}, None)
    assert cost_per_success(sweep) == (30.0, 2 * (12_000 + 64 * 1_000) * 64)
    one = dataclasses.replace(sweep, config=CONFIGS["9, flat"])
    assert cost_per_success(one) == (30.0, 2 * 12_000 * 64)
    assert cost_per_success(dataclasses.replace(one, outcomes=outcomes.assign(board_right=0))) == (
        math.inf,
        math.inf,
    )


def test_the_ratio_of_two_costs_is_that_of_the_rates_where_all_seeds_cost_the_same():
    """10 and 30 of 40, nested: three times the cost. Held against the bootstrap written out."""

    def with_wins(label, wins):
        right = np.where(np.arange(40) < wins, SUCCESS, 0)
        table = {"seed": range(100, 140), "steps": 12_000, "board_right": right}
        return Sweep(CONFIGS[label], pd.DataFrame(table), None, {}, {}, None)

    few, many = with_wins("9, flat", 10), with_wins("9, flat", 30)
    ratio, low, high = cost_ratio(few, many)
    assert ratio == pytest.approx(3)
    drawn = np.random.default_rng(1).integers(0, 40, (20_000, 40))
    by_hand = np.quantile((drawn < 30).sum(1) / (drawn < 10).sum(1), [0.025, 0.975])
    assert (low, high) == pytest.approx(by_hand, rel=0.05)
    assert cost_ratio(many, few)[0] == pytest.approx(1 / 3)
    dear = with_wins("9, flat, best of 64", 30)
    assert cost_ratio(dear, many)[0] == pytest.approx((12 + 64) / 12)
    assert np.isnan(cost_ratio(few, with_wins("9, flat", 0))).all()
    with pytest.raises(ValueError, match="the same seeds"):
        cost_ratio(few, dataclasses.replace(many, outcomes=many.outcomes.assign(seed=range(40))))


def test_what_a_piece_costs_is_a_contrast_of_eight_cells():
    """Against a table of 2 x 2 x 2: the sum where a piece is known, less that where it is drawn."""
    counts = np.random.default_rng(0).integers(0, 41, (2, 2, 2))  # weights, arc, wave drawn?
    sweeps = []
    for drawn in np.ndindex(2, 2, 2):
        label = factorial_label(8, [piece for piece, yes in zip(PIECES, drawn) if yes])
        config = CONFIGS[label] if any(drawn) else preset("r8-step-diagonal-centred")
        right = np.where(np.arange(40) < counts[drawn], SUCCESS, 0)
        sweeps.append(Sweep(config, pd.DataFrame({"board_right": right}), None, {}, {}, None))
    costs = costs_of_pieces(sweeps)
    assert list(costs) == ["weights", "arc", "wave"]
    for axis, cost in enumerate(costs.values()):
        assert cost == -np.diff(counts.sum(axis=tuple({0, 1, 2} - {axis})))[0]
    with pytest.raises(ValueError, match="eight cells, each once"):
        costs_of_pieces(sweeps[:-1])
    with pytest.raises(ValueError, match="eight cells, each once"):
        costs_of_pieces([*sweeps[:-1], sweeps[0]])


def test_half_a_turn_of_all_digits_changes_no_logit():
    """So where an arc's middle stands is measured to the nearer end of its axis."""
    model = CONFIGS["9, drawn: arc"].model.build(100).eval()
    tokens = torch.randint(0, 10, (5, 30), generator=torch.Generator().manual_seed(2))
    before, off = model(tokens), middle_off_axis(model)
    first, stride = CONFIGS["9, drawn: arc"].model.build(100).arc.tolist()
    assert off == pytest.approx(abs((first + 4.5 * stride) - math.pi))  # of seed 100
    with torch.no_grad():
        model.arc[0] += math.pi
        assert torch.allclose(model(tokens), before, atol=1e-2)  # of logits up to 20
        assert middle_off_axis(model) == pytest.approx(off, abs=1e-6)
        model.arc[0] += math.pi / 4
        assert not torch.allclose(model(tokens), before, atol=1)
    assert middle_off_axis(CONFIGS["8, drawn: arc"].model.build(100)) == 0
    middles = [
        middle_off_axis(CONFIGS["9, drawn: middle of the arc"].model.build(s)) for s in range(400)
    ]
    assert stats.kstest(middles, stats.uniform(0, math.pi / 2).cdf).pvalue > 0.01


def test_a_model_with_a_drawn_start_can_be_exported(tmp_path):
    model = dataclasses.replace(CONFIGS["9, flat"].model).build(4).eval()
    (tmp_path / "r9.py").write_text(export.submission(model, "as made"))
    exported, _ = verify.load_submission(tmp_path / "r9.py").build_model()
    tokens = torch.randint(0, 10, (3, 30), generator=torch.Generator().manual_seed(1))
    assert torch.equal(exported(tokens), model(tokens))
