"""Fleets: gradients against autograd, steps against torch's AdamW, seeds against single runs,
resuming, bad seeds, storage."""

import dataclasses
import math
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from agreement import assert_the_same_training

from _common import generate
from lab import store
from lab.adders.formats import FORMATS, answer_pairs
from lab.adders.gradients.position_only import loss_and_gradients
from lab.adders.models.micro_adder import MICRO_ADDERS, micro_adder
from lab.adders.ten_digits import uniform_pairs
from lab.adders.training import fleets, sweeps
from lab.adders.training.fleets import Examples, Fleet
from lab.adders.training.recipes import FleetConfig, Recipe
from lab.adders.training.stacked import StackedModels, right_answers
from tools.train import settings_of

SHORT = Recipe(
    steps=120,
    batch_size=16,
    warmup_steps=10,
    digit_stages=((3, 30), (6, 60)),
    carry_fade=(40, 100),
    evaluate_every=60,
    stop_after_perfect=None,
)
ROOT = store.ROOT
pytestmark = pytest.mark.usefixtures("one_thread")


def short(name, **changes):
    return FleetConfig(MICRO_ADDERS[name], dataclasses.replace(SHORT, **changes))


def shaken(config, seeds, dtype=torch.float64):
    """Stacked models away from their start, where some tensors are zero."""
    models = StackedModels.untrained(config, seeds, torch.device("cpu"))
    models.model.to(dtype), models.alone.to(dtype)
    noise = torch.randn(
        models.flat.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    models.bind((models.flat.double() + 0.2 * noise).to(dtype))
    return models


@pytest.mark.parametrize("name", ["54", "57", "67", "74"])
@pytest.mark.parametrize("groups", [[slice(0, 3)], [slice(0, 2), slice(2, 3)]])
def test_the_written_out_gradient_is_autograds(name, groups):
    config = MICRO_ADDERS[name]
    models, generator = shaken(config, range(3)), torch.Generator().manual_seed(3)
    sequences = torch.stack(
        [FORMATS["digits only"].sequences(*uniform_pairs(8, generator)) for _ in range(3)]
    )
    parts = models.model.position_only_parts()
    loss, gradients = loss_and_gradients(parts, sequences.mT.contiguous(), groups)
    torch.autograd.backward(
        [p for p in parts if p.requires_grad],
        [g for p, g in zip(parts, gradients) if p.requires_grad],
    )
    for s in range(3):
        alone = micro_adder(name).double()
        alone.load_state_dict({key: value[s] for key, value in models.named().items()})
        rows = slice(21, 21 + config.n_targets)
        targets = sequences[s][:, 22 : 22 + config.n_targets]
        expected = F.cross_entropy(alone(sequences[s][:, :33])[:, rows].transpose(1, 2), targets)
        expected.backward()
        assert float(loss[s]) == pytest.approx(float(expected.detach()), rel=1e-10)
        for key, p in alone.named_parameters():
            torch.testing.assert_close(
                models.model.get_parameter(key).grad[s], p.grad, rtol=1e-8, atol=1e-10
            )


@pytest.mark.parametrize("name", ["57", "133"])
def test_steps_are_those_of_torch(name):
    """Six seed-steps by torch's own model, clipping and AdamW, on the same examples, give the same
    weights."""
    config = short(name)
    fleet = Fleet(config, [4, 5])
    stream, model = Examples(config, 5, torch.device("cpu")), config.model.build(5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=SHORT.weight_decay)
    chunk, first = stream.draw(0, 6).long(), 21
    fleets_chunk = torch.stack([e.draw(0, 6) for e in fleet.examples]).long()
    for step in range(6):
        for group in optimizer.param_groups:
            group["lr"] = SHORT.lr_at(step)
        tokens = chunk[step].T
        logits = model(tokens[:, :33])[:, first : first + config.model.n_targets]
        loss = F.cross_entropy(
            logits.transpose(1, 2), tokens[:, first + 1 : first + 1 + config.model.n_targets]
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), SHORT.clip)
        optimizer.step()
        assert float(fleet._train_step(fleets_chunk[:, step])[1]) == pytest.approx(
            float(loss.detach()), rel=1e-4
        )
    for key, p in model.named_parameters():
        torch.testing.assert_close(fleet.models.named()[key][1], p.detach(), rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("name, others", [("57", range(10)), ("74", range(3)), ("100", range(2))])
def test_a_seed_in_a_fleet_is_the_seed_alone(quick, name, others):
    together = Fleet(short(name), others).run(progress=False)
    for seed in (others[1], others[-1]):
        alone = Fleet(short(name), [seed]).run(progress=False)
        assert_the_same_training(together, alone, seed)
        again = Fleet(short(name), [seed]).run(
            progress=False
        )  # the same call twice: to the last bit
        assert torch.equal(again.final, alone.final) and again.history == alone.history


def test_a_fleet_resumes_to_the_same_bits(quick, tmp_path):
    whole = Fleet(short("57"), range(3)).run(progress=False)
    first = Fleet(short("57"), range(3)).run(
        tmp_path / "half.safetensors", progress=False, stop_at=60
    )
    assert first.step == 60 and first.active == [0, 1, 2]
    second = Fleet.load(tmp_path / "half.safetensors", short("57"), range(3)).run(progress=False)
    assert torch.equal(second.final, whole.final) and second.history == whole.history
    with pytest.raises(ValueError, match="another configuration or other seeds"):
        Fleet.load(tmp_path / "half.safetensors", short("57", lr=0.01), range(3))


def test_a_killed_sweep_resumes_to_the_same_bits(tmp_path):
    settings = [
        "steps=400",
        "batch_size=16",
        "evaluate_every=50",
        "warmup_steps=10",
        "stop_after_perfect=None",
    ]
    command = [
        sys.executable,
        "-m",
        "tools.train",
        "57",
        "--seeds",
        "0:2",
        "--jobs",
        "1",
    ]
    command += ["--folder", str(tmp_path / "killed")]
    command += [part for setting in settings for part in ("--set", setting)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while (
        not list((tmp_path / "killed").glob("fleets/.partial/*/*.safetensors"))
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    config = sweeps.changed(sweeps.preset("57"), settings_of(settings))
    folder = tmp_path / "killed" / "fleets"
    assert sweeps.read_sweep(config, folder) is None, "it was killed too late to test anything"
    begun = sweeps.blocks_to_do(config, range(2), 1, folder)
    assert begun == [[0, 1]]  # as it was begun, whatever the fleet size now
    resumed = sweeps.sweep(config, range(2), 1, folder=folder, progress=False)
    whole = sweeps.sweep(config, range(2), 2, folder=tmp_path / "whole", progress=False)
    for name, value in whole.weights.items():
        assert torch.equal(resumed.weights[name], value)
    pd.testing.assert_frame_equal(resumed.history, whole.history, check_exact=True)
    assert not list((tmp_path / "killed").glob("fleets/.partial/*/*.safetensors"))


def test_a_seed_that_diverges_is_recorded_and_harms_no_other(quick):
    fleet, sound = Fleet(short("57"), range(3)), Fleet(short("57"), [0, 2]).run(progress=False)
    fleet.models.flat[1, 3] = math.inf
    fleet.run(progress=False)
    assert fleet.ended[1] == ["diverged", 1] and fleet.ended[0] == ["finished", 120]
    assert torch.equal(fleet.final[[0, 2]], sound.final)
    outcomes = fleet.outcomes().set_index("seed")
    assert outcomes.loc[1, "ended"] == "diverged" and outcomes.loc[1, "board_right"] == 0


def test_a_seed_stops_when_it_has_long_been_perfect(quick, monkeypatch):
    """Seed 8 is perfect from step 20 on but for step 40; patience is 30."""
    fleet = Fleet(short("57", evaluate_every=10, stop_after_perfect=30), [7, 8])

    def scores(models, *validation):
        perfect = [
            0.0 if fleet.seeds[i] == 7 or fleet.step in (10, 40) else 1.0 for i in fleet.active
        ]
        return perfect, perfect, perfect

    monkeypatch.setattr(fleets, "score", scores)
    fleet.run(progress=False)
    assert fleet.ended == {8: ["perfect", 80], 7: ["finished", 120]} and fleet.perfect_since == {
        8: 50
    }


def test_adaptive_decay(quick, monkeypatch):
    fleet = Fleet(short("74", evaluate_every=10, adaptive_decay=True), range(4))
    monkeypatch.setattr(
        fleets, "score", lambda *args: ([0.01, 0.05, 0.3, 0.3], [0.9, 0.7, 0.9, 0.6], [0.0] * 4)
    )
    fleet.run(progress=False, stop_at=10)
    assert fleet.decay[:, 0].tolist() == pytest.approx([0.01, 0.001, 0.0001, 0.01])


def test_the_recipe_of_the_57():
    recipe = Recipe()
    assert (recipe.lr_at(0), recipe.lr_at(999), recipe.lr_at(1000)) == pytest.approx(
        (2e-5, 0.02, 0.02)
    )
    assert recipe.lr_at(30_500) == pytest.approx(0.011) and recipe.lr_at(59_999) == pytest.approx(
        0.002, rel=1e-4
    )
    assert [recipe.digits_at(s) for s in (0, 1999, 2000, 6999, 7000, 59_999)] == [
        3,
        3,
        6,
        6,
        10,
        10,
    ]
    assert [recipe.carry_share_at(s) for s in (0, 15_000, 30_000, 45_000, 59_999)] == pytest.approx(
        [0.8, 0.8, 0.4, 0, 0]
    )


def test_examples_follow_the_curriculum():
    stream = Examples(short("57", carry_share=0.0), 3, torch.device("cpu"))
    first, later = stream.draw(0, 30), stream.draw(60, 30)
    assert first.shape == (30, 34, 16) and not first[:, 3:10].any() and later[:, 9].any()
    again = Examples(short("57", carry_share=0.0), 3, torch.device("cpu"))
    assert torch.equal(again.draw(0, 30), first)
    crossed = Examples(
        dataclasses.replace(short("57", carry_share=0.0), data_seed=3), 9, torch.device("cpu")
    )
    assert torch.equal(crossed.draw(0, 30), first)


@pytest.mark.parametrize("name", ["57", "170"])
def test_teacher_forced_answers_are_the_generated_ones(name):
    """Given as the right sequence what it writes itself, a model finds every digit right; given
    another, not."""
    models = shaken(MICRO_ADDERS[name], [1, 2], torch.float32)
    format = FORMATS[models.config.format]
    prompts = format.sequences(*uniform_pairs(40, torch.Generator().manual_seed(0)))[:, :22]
    for s in range(2):
        alone = models.config.build()
        alone.load_state_dict({key: value[s] for key, value in models.named().items()})
        written = generate(alone, prompts, 11)  # (40, 33)
        columns = torch.cat([written, written[:, :1]], dim=1).T.to(torch.uint8)
        assert right_answers(models, columns)[s].all()
        columns[30] = (columns[30] + 1) % 10
        assert not right_answers(models, columns)[s].any()
        a, b = uniform_pairs(40, torch.Generator().manual_seed(0))
        assert torch.equal(
            answer_pairs(alone, a, b) == a + b, right_answers(models, format.columns(a, b))[s]
        )


def test_a_sweep_is_stored_extended_and_read_back(quick, tmp_path):
    config = short("54")
    one = sweeps.sweep(config, [3, 1], fleet_size=2, folder=tmp_path, progress=False)
    both = sweeps.sweep(config, range(4), fleet_size=2, folder=tmp_path, progress=False)
    assert both.outcomes["seed"].tolist() == [0, 1, 2, 3] and len(both.provenance["blocks"]) == 2
    assert both.config == config and set(both.history["step"]) == {60, 120}
    pd.testing.assert_frame_equal(
        both.outcomes[both.outcomes["seed"].isin([1, 3])].reset_index(drop=True), one.outcomes
    )
    alone = Fleet(config, [2]).run(progress=False)
    assert torch.equal(both.model(2).W_q, alone.weights()["W_q"][0])
    with pytest.raises(ValueError, match="seed 9 is not in 54-[0-9a-f]{8}: it holds 0-3"):
        both.model(9)
    (both.path / "outcomes.csv").write_text("seed\n")
    with pytest.raises(store.DamagedRun, match="outcomes.csv was truncated or altered"):
        sweeps.read_sweep(config, tmp_path)


def test_bad_input():
    with pytest.raises(ValueError, match="each once"):
        Fleet(short("57"), [1, 1])
    with pytest.raises(ValueError, match="multiple of evaluate_every"):
        Recipe(steps=100, evaluate_every=60)
    with pytest.raises(ValueError, match="lr_factors names"):
        Fleet(short("57", lr_factors=(("S", 10),)), [0])
    with pytest.raises(ValueError, match="still in training"):
        Fleet(short("57"), [0]).weights()
    with pytest.raises(ValueError, match="seeds are written like"):
        sweeps.parse_seeds("1-5")
    assert sweeps.parse_seeds("3,5,7:9") == [3, 5, 7, 8] and sweeps.seeds_text([7, 8, 3]) == "3,7-8"


def test_a_fleet_with_one_start_and_many_streams_of_examples():
    config = dataclasses.replace(FleetConfig(), weights_seed=7)
    fleet, own = Fleet(config, [3, 4]), Fleet(FleetConfig(), [3, 7])
    assert torch.equal(fleet.models.flat, own.models.flat[[1, 1]])
    assert torch.equal(fleet.examples[0].draw(0, 2), own.examples[0].draw(0, 2))
    assert not torch.equal(fleet.examples[1].draw(0, 2), own.examples[1].draw(0, 2))
    assert sweeps.changed(FleetConfig(), {"weights_seed": 7}) == config
    with pytest.raises(ValueError, match="weights_seed = 7"):
        sweeps.changed(FleetConfig(), {"weights_seed": 7, "tries": 4, "try_steps": 2_000})


def test_a_block_that_was_stored_meanwhile_is_not_trained_again(quick, tmp_path, monkeypatch):
    config = FleetConfig(recipe=SHORT)
    first = sweeps.train_block(config, [5, 6], tmp_path, progress=False)
    monkeypatch.setattr(sweeps, "Fleet", None)
    again = sweeps.train_block(config, [6], tmp_path, progress=False)
    assert again["board_right"].tolist() == first.loc[first["seed"] == 6, "board_right"].tolist()
