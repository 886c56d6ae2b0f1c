"""The 763 and the 777: counts, forward and gradients against the plain module, fleets, second
passes, export."""

import dataclasses
import itertools
import math

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from agreement import assert_the_same_training

from _common import attention_weights, generate
from lab.adders.counting import board_count, count_table, strict_count
from lab.adders.formats import DIGITS, FORMATS, LARGEST, answer_pairs
from lab.adders.gradients.small_transformer_step import loss_and_gradients, predicted_tokens
from lab.adders.models.micro_adder import MICRO_ADDERS
from lab.adders.models.small_transformer import SMALL_TRANSFORMERS, SmallTransformerConfig
from lab.adders.studies import second_pass
from lab.adders.ten_digits import uniform_pairs
from lab.adders.training import sweeps
from lab.adders.training.fleets import Examples, Fleet
from lab.adders.training.recipes import FleetConfig
from lab.adders.training.stacked import StackedModels, right_answers
from lab.adders.verification import smallest_margin
from tools import benchmark, export, verify

PLAIN, NAMES = FORMATS["plain"], list(SMALL_TRANSFORMERS)
ROWS = {"answers": slice(21, 33), "all": slice(0, 33)}
pytestmark = pytest.mark.usefixtures("one_thread")


def short(name, **changes):
    config = sweeps.preset(name)
    settings = (
        dict(
            steps=60,
            batch_size=16,
            warmup_steps=10,
            digit_stages=((3, 20), (6, 40)),
            evaluate_every=30,
        )
        | changes
    )
    return dataclasses.replace(config, recipe=dataclasses.replace(config.recipe, **settings))


def shaken(name, seeds, dtype):
    """Stacked models far from their start: attention is sharp, norms have weights."""
    models = StackedModels.untrained(SMALL_TRANSFORMERS[name], seeds, torch.device("cpu"))
    models.model.to(dtype), models.alone.to(dtype)
    noise = torch.randn(
        models.flat.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    models.bind((models.flat.double() + 0.5 * noise).to(dtype))
    return models


def one_of(models, s):
    model = models.config.build().to(models.flat.dtype)
    model.load_state_dict({name: value[s] for name, value in models.named().items()})
    return model


def some_sequences(seeds, n):
    generator = torch.Generator().manual_seed(3)
    return torch.stack(
        [PLAIN.sequences(*uniform_pairs(n, generator)) for _ in range(seeds)]
    )  # (S, n, 34)


def test_counts():
    """By hand: 98 + 245 for tokens and positions, 4 x 49 for attention, 2 x 98 for the FFN, 14 a
    norm."""
    for name, norms in (("763", 2), ("777", 3)):
        model = SMALL_TRANSFORMERS[name].build()
        assert (
            board_count(model)
            == 98 + 245 + 4 * 49 + 2 * 98 + 14 * norms
            == int(name)
            == strict_count(model) - 1
        )
        assert not any(
            "bias" in tensor for tensor in count_table(model)["tensor"] if "ln" not in tensor
        )


def test_the_starts():
    """763: as its published code; 777: as Flax does. LeCun's variance is 1 / inputs in both."""
    for name, embedding in (("763", 0.02), ("777", 1 / math.sqrt(7))):
        draws = [
            dict(SMALL_TRANSFORMERS[name].build(seed).named_parameters()) for seed in range(40)
        ]
        for tensor, expected in (
            ("pos_emb.weight", embedding),
            ("blocks.0.up.weight", 1 / math.sqrt(7)),
            ("blocks.0.down.weight", 1 / math.sqrt(14)),
        ):
            values = torch.stack([d[tensor].detach() for d in draws])
            assert float(values.std()) == pytest.approx(expected, rel=0.05)
            cut = float(values.abs().max() / values.std())
            assert (cut < 2.4) == (name == "777" and "emb" not in tensor)
        assert (draws[0]["blocks.0.ln1.weight"] == 1).all() and not draws[0][
            "blocks.0.ln2.bias"
        ].any()
    state, same = torch.random.get_rng_state(), SMALL_TRANSFORMERS["763"].build(4)
    assert torch.equal(same.pos_emb.weight, SMALL_TRANSFORMERS["763"].build(4).pos_emb.weight)
    assert not torch.equal(same.pos_emb.weight, SMALL_TRANSFORMERS["763"].build(5).pos_emb.weight)
    assert torch.equal(state, torch.random.get_rng_state())  # nobody else's stream is touched


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loss_on", ROWS)
@pytest.mark.parametrize("groups", [[slice(0, 3)], [slice(0, 1), slice(1, 3)]])
def test_the_written_out_gradient_is_autograds(name, loss_on, groups):
    models, sequences, rows = (
        shaken(name, range(3), torch.float64),
        some_sequences(3, 8),
        ROWS[loss_on],
    )
    loss, gradients = loss_and_gradients(
        models.named(), models.config, sequences.mT.contiguous(), rows, groups
    )
    for s in range(3):
        alone = one_of(models, s)
        targets = sequences[s][:, rows.start + 1 : 34]
        expected = F.cross_entropy(alone(sequences[s][:, :33])[:, rows].transpose(1, 2), targets)
        expected.backward()
        assert float(loss[s]) == pytest.approx(expected.item(), rel=1e-10)
        assert set(gradients) == set(dict(alone.named_parameters()))
        for key, p in alone.named_parameters():
            torch.testing.assert_close(gradients[key][s], p.grad, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_fast_and_plain_agree_in_single_precision(name):
    models, sequences = shaken(name, range(2), torch.float32), some_sequences(2, 40)
    loss, gradients = loss_and_gradients(
        models.named(), models.config, sequences.mT.contiguous(), ROWS["answers"]
    )
    guesses = predicted_tokens(
        models.named(), models.config, sequences.mT.contiguous(), ROWS["answers"]
    )
    for s in range(2):
        alone = one_of(models, s)
        logits = alone(sequences[s][:, :33])[:, 21:]
        expected = F.cross_entropy(logits.transpose(1, 2), sequences[s][:, 22:])
        expected.backward()
        assert float(loss[s]) == pytest.approx(expected.item(), rel=1e-5)
        for key, p in alone.named_parameters():
            assert float((gradients[key][s] - p.grad).abs().max()) <= 1e-5 * max(
                1.0, float(p.grad.abs().max())
            )
        assert torch.equal(guesses[s].T, logits.argmax(-1))


def test_attention_as_sharp_as_can_be():
    """Scores hundreds apart: the row's softmax underflows, nothing else does."""
    models, sequences = shaken("763", [0], torch.float32), some_sequences(1, 20)
    models.flat *= 4
    loss, gradients = loss_and_gradients(
        models.named(), models.config, sequences.mT.contiguous(), ROWS["answers"]
    )
    alone = one_of(models, 0)
    weights = attention_weights(alone, sequences[0][:, :33])[0]
    assert (weights[:, 0, 21:, :22] == 0).double().mean() > 0.3
    expected = F.cross_entropy(
        alone(sequences[0][:, :33])[:, 21:].transpose(1, 2), sequences[0][:, 22:]
    )
    assert float(loss[0]) == pytest.approx(expected.item(), rel=1e-5)
    assert all(g.isfinite().all() for g in gradients.values())


def test_teacher_forced_answers_are_the_generated_ones():
    models = shaken("763", [1, 2], torch.float32)
    a, b = uniform_pairs(40, torch.Generator().manual_seed(0))
    for s in range(2):
        alone = one_of(models, s)
        written = generate(alone, PLAIN.sequences(a, b)[:, :22], 11)  # (40, 33)
        columns = torch.cat([written, written[:, :1]], dim=1).T.to(torch.uint8)
        assert right_answers(models, columns)[s].all()
        columns[30] = (columns[30] + 1) % 10
        assert not right_answers(models, columns)[s].any()
        assert torch.equal(
            answer_pairs(alone, a, b) == a + b, right_answers(models, PLAIN.columns(a, b))[s]
        )
        assert smallest_margin(alone, a, b) < 0


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_torch(name):
    """Four steps by torch's own module, clipping and AdamW, on the same examples, give the same
    weights."""
    config = short(name, warmup_steps=1)
    fleet = Fleet(config, [4, 5])
    stream, model = Examples(config, 5, torch.device("cpu")), config.model.build(5)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=config.recipe.weight_decay)
    chunk = stream.draw(0, 4).long()
    fleets_chunk = torch.stack([e.draw(0, 4) for e in fleet.examples]).long()
    for step in range(4):
        for group in optimizer.param_groups:
            group["lr"] = config.recipe.lr_at(step)
        tokens = chunk[step].T
        loss = F.cross_entropy(model(tokens[:, :33])[:, 21:].transpose(1, 2), tokens[:, 22:])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.recipe.clip)
        optimizer.step()
        assert float(fleet._train_step(fleets_chunk[:, step])[1]) == pytest.approx(
            loss.item(), rel=1e-4
        )
    used = torch.ones(35, dtype=torch.bool)
    used[33:] = False
    for key, p in model.named_parameters():
        rows = used if key == "pos_emb.weight" else slice(None)
        far = (fleet.models.named()[key][1] - p.detach()).abs()[rows]
        assert float(far.median()) < 1e-5 and float(far.max()) < 5e-3, (
            key
        )  # Adam enlarges the noise of tiny gradients


@pytest.mark.parametrize("name, changes", [("763", {}), ("777", {}), ("763", {"loss_on": "all"})])
def test_a_seed_in_a_fleet_is_the_seed_alone(quick, name, changes):
    config = short(name, **changes)
    together = Fleet(config, range(8)).run(progress=False)
    for seed in (0, 3, 7):
        alone = Fleet(config, [seed]).run(progress=False)
        assert_the_same_training(together, alone, seed)
    assert len({row["loss"] for row in together.history}) == len(together.history)


def test_a_fleet_resumes_to_the_same_bits(quick, tmp_path):
    whole = Fleet(short("763"), range(2)).run(progress=False)
    Fleet(short("763"), range(2)).run(tmp_path / "half.safetensors", progress=False, stop_at=30)
    second = Fleet.load(tmp_path / "half.safetensors", short("763"), range(2)).run(progress=False)
    assert torch.equal(second.final, whole.final) and second.history == whole.history


def test_the_loss_mask_of_other_models():
    models = StackedModels.untrained(MICRO_ADDERS["57"], [1, 2], torch.device("cpu"))
    sequences = torch.stack(
        [
            FORMATS["digits only"].sequences(*uniform_pairs(8, torch.Generator().manual_seed(s)))
            for s in range(2)
        ]
    )
    loss, _ = models.gradients(sequences.mT.contiguous(), "all")
    for s in range(2):
        expected = F.cross_entropy(
            one_of(models, s)(sequences[s][:, :33]).transpose(1, 2), sequences[s][:, 1:]
        )
        assert float(loss[s]) == pytest.approx(expected.item(), rel=1e-6)


def test_the_benchmark_times_three_ways():
    try:
        measured = benchmark.measure("763", seeds=2, steps=10, jobs=1, repeats=1)
    finally:
        torch.set_flush_denormal(False)
    assert set(measured) == set(benchmark.WAYS) and all(
        0 < x for [pair] in measured.values() for x in pair
    )


def test_the_loss_falls_and_the_loss_mask_matters(quick):
    """Answers of sums of at most three digits end in zeros: learnt at once. Digits of operands
    cannot be guessed."""
    losses = {
        on: (
            Fleet(
                short("763", steps=300, evaluate_every=100, digit_stages=((3, 300),), loss_on=on),
                [0],
            )
            .run(progress=False)
            .history[-1]["loss"]
        )
        for on in ROWS
    }
    assert losses["answers"] < 1.2 < math.log(14)
    answers, operands = 12 / 33, 20 / 33  # of the 33 targets
    assert losses["all"] != losses["answers"] and losses["all"] < answers * losses[
        "answers"
    ] + operands * math.log(14)


def test_recipes():
    recipe = sweeps.preset("763").recipe
    assert [recipe.digits_at(s) for s in (0, 19_999, 20_000, 59_999, 60_000, 399_999)] == [
        3,
        3,
        6,
        6,
        10,
        10,
    ]
    assert recipe.lr_at(20_000) == pytest.approx(0.02) and recipe.lr_at(399_999) == pytest.approx(
        0.002, rel=1e-4
    )
    assert (
        recipe.lr_at(210_000) == pytest.approx(0.011)
        and recipe.weight_decay == 0.1
        and recipe.batch_size == 128
    )
    recipe = sweeps.preset("777").recipe
    assert [recipe.digits_at(s) for s in (1_999, 2_000, 6_999, 7_000)] == [
        3,
        6,
        6,
        10,
    ] and recipe.steps == 27_000
    assert recipe.lr_at(1_350) == pytest.approx(0.02) and recipe.lr_at(26_999) == pytest.approx(
        0.002, rel=1e-4
    )
    longer = dataclasses.replace(recipe, schedule_steps=200_000)
    assert longer.lr_at(26_999) > 0.019 and longer.steps == 27_000


def test_both_operands_share_a_number_of_digits():
    chunk = Examples(short("763", digit_stages=(), batch_size=1000), 3, torch.device("cpu")).draw(
        0, 10
    )
    # (10, 1000, 10), highest digit first
    x, y = chunk[:, :10].transpose(1, 2), chunk[:, 11:21].transpose(1, 2)
    length = torch.stack([(10 - d.bool().int().argmax(-1)) * d.any(-1) for d in (x, y)])
    assert (length[0] == length[1]).double().mean() == pytest.approx(
        0.82, abs=0.02
    )  # 0.9^2 + 0.09^2 + ...
    # 0.099 to 0.1: se 0.003
    either = torch.bincount(length.max(0).values.flatten(), minlength=11)[1:] / 10_000
    assert (either - 0.1).abs().max() < 0.012
    alike = Examples(short("763", digit_stages=(), batch_size=1000), 3, torch.device("cpu")).draw(
        0, 10
    )
    assert torch.equal(alike, chunk)
    full = Examples(
        short("763", digit_stages=(), batch_size=1000, digit_counts="largest"),
        3,
        torch.device("cpu"),
    ).draw(0, 5)
    assert full[:, 0].bool().double().mean() == pytest.approx(0.9, abs=0.03)


def test_an_exported_model_computes_the_same(tmp_path):
    for name in NAMES:
        model = one_of(shaken(name, [2], torch.float32), 0).eval()
        (tmp_path / "exported.py").write_text(export.submission(model, "as made"))
        module = verify.load_submission(tmp_path / "exported.py")
        exported, metadata = module.build_model()
        tokens = torch.randint(0, 14, (20, 33), generator=torch.Generator().manual_seed(0))
        assert torch.equal(exported(tokens), model(tokens)) and metadata["params"] == int(name)
        a, b = uniform_pairs(20, torch.Generator().manual_seed(1))
        assert (
            module.add_many(exported, a.tolist(), b.tolist()) == answer_pairs(model, a, b).tolist()
        )


def test_second_passes_start_where_the_first_ended(quick, tmp_path, capsys):
    first = sweeps.sweep(short("763"), range(2), fleet_size=2, folder=tmp_path, progress=False)
    name = first.name
    arms = second_pass.second_passes(name, tmp_path, steps=20, schedules=["flat", "published"])
    assert len(arms) == 16 and len({sweeps.sweep_name(config) for _, config in arms}) == 16
    levels, control = arms[0]
    assert (control.recipe.lr_at(0), control.recipe.lr_at(19)) == (0.002, 0.002) and levels[
        "digits"
    ] == "one to ten"
    start = sweeps.starting_weights(control, [1, 0], tmp_path)
    stored = [first.weights[key][[1, 0]].flatten(1) for key, _ in first.model(0).named_parameters()]
    assert torch.equal(
        start, torch.cat(stored, dim=1)
    )  # what is stored, seed by seed, as asked for
    stuck = dataclasses.replace(
        control, recipe=dataclasses.replace(control.recipe, lr=0.0, final_lr=0.0, evaluate_every=10)
    )
    fleet = Fleet(stuck, [1, 0], start=start).run(
        tmp_path / "x.safetensors", progress=False, stop_at=10
    )
    assert torch.equal(fleet.models.flat, start)  # without steps nothing moves
    assert torch.equal(
        Fleet.load(tmp_path / "x.safetensors", stuck, [1, 0]).run(progress=False).final, start
    )
    assert not torch.equal(
        fleet.examples[0].draw(0, 1), Fleet(short("763"), [1]).examples[0].draw(0, 1)
    )
    for _, config in second_pass.second_passes(name, tmp_path, 20, ["flat"]):
        sweeps.sweep(config, [0, 1], folder=tmp_path, progress=False)
    table = second_pass.read_second_passes(name, tmp_path, steps=20, schedules=["flat"])
    assert (
        len(table) == 16
        and table["board_before"].tolist() == 8 * first.outcomes["board_right"].tolist()
    )
    alone = Fleet(control, [1], start=start[:1]).run(progress=False)
    stored = sweeps.read_sweep(control, tmp_path).model(1)
    far = (torch.cat([p.detach().flatten() for p in stored.parameters()]) - alone.final[0]).abs()
    assert float(far.median()) < 1e-5 and float(far.max()) < 5e-3  # see agreement.py


def test_the_published_second_pass():
    """Its code: warm-up to step 4,000 of 200,000, a cosine from 0.005 to 2 % of it. At step 8,000
    it has hardly begun."""
    recipe = second_pass.second_pass(
        "763-00000000", SMALL_TRANSFORMERS["763"], **second_pass.AS_PUBLISHED
    ).recipe
    assert recipe.steps == 8_000 and recipe.lr_at(3_999) == pytest.approx(0.005)
    expected = 0.0001 + 0.0049 * (1 + math.cos(math.pi * 4_000 / 196_000)) / 2
    assert recipe.lr_at(8_000) == pytest.approx(expected) and expected > 0.00499
    recipe = second_pass.second_pass(
        "763-00000000", SMALL_TRANSFORMERS["763"], "cosine", 0.01, 256, "ten"
    ).recipe
    assert (recipe.lr_at(159), recipe.lr_at(8_000)) == pytest.approx(
        (0.005, 0.0001)
    ) and recipe.digit_counts == "largest"
    with pytest.raises(
        ValueError, match="unknown schedule 'steep': it may be one of flat, cosine, published"
    ):
        second_pass.second_pass("763-00000000", SMALL_TRANSFORMERS["763"], "steep")


def test_main_effects_are_found_seed_by_seed():
    """A table in which the cosine adds 10, ten digits take 2 away from odd seeds only, and nothing
    else matters."""
    arms = [
        dict(zip(second_pass.FACTORS, levels))
        for levels in itertools.product(*second_pass.FACTORS.values())
    ]
    table = pd.DataFrame(
        [
            {
                **arm,
                "seed": seed,
                "right": (
                    50 * seed
                    + 10 * (arm["schedule"] == "cosine")
                    - 2 * (arm["digits"] == "ten") * (seed % 2)
                ),
            }
            for arm in arms
            for seed in (0, 1, 2)
        ]
    )
    effects = second_pass.main_effects(table.sample(frac=1, random_state=1), "right").set_index(
        ["level", "seed"]
    )["effect"]
    assert (
        len(effects) == 4 * 3
        and (effects["cosine"] == 10).all()
        and effects["ten"].tolist() == [0, -2, 0]
    )
    assert (effects[[0.01]] == 0).all() and (effects[[256]] == 0).all()
    with pytest.raises(ValueError, match="need all 16 arms of every seed"):
        second_pass.main_effects(table.iloc[1:], "right")


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="unknown gelu 'relu': it may be one of exact, tanh"):
        SmallTransformerConfig(gelu="relu")
    with pytest.raises(ValueError, match="must be above 0"):
        SmallTransformerConfig(norm_eps=0.0)
    with pytest.raises(ValueError, match="unknown loss_on .*: it may be one of answers, all"):
        short("763", loss_on="digits")
    with pytest.raises(ValueError, match="schedule_steps must be at least steps"):
        short("763", schedule_steps=10)
    with pytest.raises(ValueError, match="tokens must have the shape"):
        SMALL_TRANSFORMERS["763"].build()(torch.zeros(1, 36, dtype=torch.int64))
    with pytest.raises(ValueError, match="the weights to start from are missing"):
        Fleet(dataclasses.replace(short("763"), start_from="763-00000000"), [0])
    with pytest.raises(ValueError, match="there is no sweep '763-00000000'"):
        sweeps.starting_weights(
            dataclasses.replace(short("763"), start_from="763-00000000"), [0], tmp_path
        )
    assert LARGEST == 10**DIGITS - 1 and FleetConfig().start_from is None
