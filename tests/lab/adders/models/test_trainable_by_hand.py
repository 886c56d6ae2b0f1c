"""Hand-set weights in the families that training finds: they add, attention is as wanted, fleets
can start from them."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linprog

from lab.adders.counting import board_count
from lab.adders.formats import FORMATS
from lab.adders.fragility import passes, right_sums
from lab.adders.models.by_hand import hand_set
from lab.adders.models.trainable_by_hand import (
    HAND_SET_CONFIGS,
    POSITIONS,
    NearHandSet,
    by_hand,
    near,
    solve_positions,
    wanted_attention,
)
from lab.adders.ten_digits import board_pairs, stratified_pairs, uniform_pairs
from lab.adders.training.fleets import Fleet
from lab.adders.training.recipes import FleetConfig, Recipe
from lab.adders.training.stacked import StackedModels
from lab.adders.training.sweeps import read_sweep_folder, store_fleet
from tools import export
from tools import verify as verify_tool

TRAINABLE = [name for name in HAND_SET_CONFIGS if not name.startswith("circuit")]


@pytest.mark.parametrize("name", TRAINABLE)
def test_it_adds_and_has_the_count_of_its_name(name):
    model = by_hand(name)
    assert board_count(model) == int(name.lstrip("r").split("-")[0])
    assert passes(model, *stratified_pairs(50, 3)[:2])
    if name in ("r19-fixed-write-fixed-norm", "54", "67"):
        assert passes(model, *board_pairs())


def best_borders(W):
    """(slack, spacing): the widest straight borders B(d) = B + spacing d (+ step where h overflows)
    between the digits that a rotary adder can have, for what its rows receive: h = W s + 10 c - c',
    and in the first column (2 W + 3) / (2 W + 2) W s."""
    values = {v: [] for v in range(20)}
    for s in range(19):
        values[s].append(W * s * (2 * W + 3) / (2 * W + 2))
        for c in (0, 1):
            values[s + c] += [W * s + 10 * c - before for before in (0, 1)]
    rows, bounds = [], []
    for v in [*range(9), *range(10, 19)]:
        digit, over = v % 10, float(v >= 10)
        rows += [[-1, -digit, -over, 1], [1, digit, over, 1]]
        bounds += [-max(values[v]), min(values[v + 1])]
    found = linprog([0, 0, 0, -1], A_ub=rows, b_ub=bounds, bounds=[(None, None)] * 4)
    return found.x[3], found.x[1]


def test_what_the_missing_token_leaves_of_the_borders():
    """At W = 10: a slack of 9/22 of a spacing of 230/22, 4 %. Below about W = 8.6 no rotary adder
    of this format can add."""
    slack, spacing = best_borders(10.0)
    assert (slack, spacing) == (pytest.approx(9 / 22), pytest.approx(230 / 22))
    assert best_borders(8.5)[0] < 0 < best_borders(9.0)[0]


def test_the_attention_of_the_micro_adders():
    model = by_hand("54").double()
    tokens = FORMATS["digits only"].sequences(*board_pairs(3))[:, :32]
    x = torch.cat(
        [model.token_embeddings()[tokens], model.positions()[:32].expand(len(tokens), -1, -1)], -1
    )
    with torch.no_grad():
        pattern = model.attention_weights(model.normalise(x, "attention")[..., 2:])[
            :, 0, 21:
        ]  # (B, 11, 32)
    pattern[..., 10] += pattern[..., 21]  # + and `=` share
    pattern[..., 21] = 0
    assert (pattern - wanted_attention()).abs().max() < 3e-4
    assert wanted_attention().sum(1).tolist() == pytest.approx([1] * 11)


def test_the_sixteen_numbers_solve_their_problem():
    """They are a minimum, near zero, and the solver finds back to one from nearby."""
    numbers, there = solve_positions(POSITIONS, iterations=3)
    assert there < 1.2e-6
    away = [value * (1 + 0.002 * (-1) ** i) for i, value in enumerate(POSITIONS)]
    before, after = solve_positions(away, iterations=0)[1], solve_positions(away, iterations=60)[1]
    assert before > 1e-3 and after < before / 10


def test_near():
    model = by_hand("r25")
    same, one, two, other = (
        near(model, 0, 1),
        near(model, 0.01, 1),
        near(model, 0.01, 1),
        near(model, 0.01, 2),
    )
    assert all(torch.equal(p, q) for p, q in zip(same.parameters(), model.parameters()))
    assert torch.equal(one.H, two.H) and not torch.equal(one.H, other.H)
    assert 0.001 < float((one.H / model.H - 1).detach().square().mean().sqrt()) < 0.03
    assert one.write[0].item() == 0  # zeros stay
    with pytest.raises(ValueError, match="noise must be at least 0"):
        near(model, -1, 0)
    with pytest.raises(ValueError, match="unknown name .*: it may be one of r25"):
        NearHandSet("57-by-hand", 0.1)
    with pytest.raises(ValueError, match="no weights set by hand for '74'"):
        by_hand("74")


@pytest.mark.parametrize("name", ["r31", "54", "circuit-8-relu"])
def test_a_fleet_starts_there(name):
    """Its start is the hand-set model, and its loss that of the model's own forward pass."""
    config = NearHandSet(name, 0.0)
    models = StackedModels.untrained(config, [0, 1], torch.device("cpu"))
    a, b = uniform_pairs(6, torch.Generator().manual_seed(1))
    format = FORMATS[config.format]
    columns = format.columns(a, b)
    assert torch.equal(columns.T.long(), format.sequences(a, b))
    loss, gradient = models.gradients(columns.long().expand(2, -1, -1))
    alone, first = by_hand(name), format.prompt - 1
    expected = F.cross_entropy(
        alone(columns.T.long()[:, : first + 11])[:, first : first + 11].transpose(1, 2),
        columns.T.long()[:, first + 1 : first + 12],
    )
    assert (
        loss.tolist() == pytest.approx([float(expected.detach())] * 2, rel=2e-3, abs=1e-3)
        and gradient.isfinite().all()
    )


def test_a_sweep_from_there_is_stored(tmp_path):
    config = NearHandSet("r31", 0.0)
    a, b = uniform_pairs(50, torch.Generator().manual_seed(1))
    recipe = Recipe(
        steps=4,
        batch_size=4,
        lr=1e-6,
        final_lr=0.0,
        warmup_steps=1,
        weight_decay=0.0,
        digit_stages=(),
        carry_share=0.0,
        evaluate_every=4,
        lr_relative_to="root mean square",
    )
    fleet = Fleet(FleetConfig(dataclasses.replace(config, noise=1e-6), recipe), [0, 1]).run(
        progress=False
    )
    sweep = read_sweep_folder(store_fleet(fleet, tmp_path))
    assert sweep.config.model == NearHandSet("r31", 1e-6) and sweep.path.name.startswith(
        "near-r31-"
    )
    assert right_sums(sweep.model(1), a, b).all()


@pytest.mark.parametrize("name", ["r19-fixed-write-fixed-norm-by-hand", "57-by-hand"])
def test_exported_models_are_the_same(tmp_path, name):
    path = tmp_path / "adder.py"
    export.main([name, str(path)])
    exported = verify_tool.load_submission(path).build_model()[0]
    a, b = board_pairs(40)
    tokens = FORMATS["digits only"].sequences(a, b)[:, :33]
    assert torch.equal(exported(tokens), export.HAND_SET[name](tokens))


def test_noise_breaks_the_circuit_gradually():
    a, b, _ = stratified_pairs(10, 5)
    share = {
        noise: (
            sum(
                right_sums(near(hand_set(8, "relu"), noise, s), a, b).double().mean().item()
                for s in range(5)
            )
            / 5
        )
        for noise in (0.001, 0.01, 0.1)
    }
    assert share[0.001] == 1 > share[0.01] > share[0.1]
