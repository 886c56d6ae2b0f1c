"""The rotary adders: against a scalar implementation, counts by hand, the fleet's gradient, the
columns 9 + 9."""

import dataclasses
import math
import re

import pytest
import torch
import torch.nn.functional as F

from _common import generate
from lab.adders.counting import board_count, strict_count
from lab.adders.formats import FORMATS, digits_of
from lab.adders.models.rotary_adder import ROTARY_ADDERS, RotaryAdder, RotaryAdderConfig
from lab.adders.ten_digits import uniform_pairs, with_nines
from lab.adders.training.stacked import StackedModels
from lab.adders.training.sweeps import preset
from tools import export, verify


def shaken(config, seeds):
    models = StackedModels.untrained(config, seeds, torch.device("cpu"))
    models.model.double(), models.alone.double()
    noise = torch.randn(
        models.flat.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    models.bind(models.flat.double() + 0.2 * noise)
    return models


@pytest.mark.parametrize("name", ROTARY_ADDERS)
def test_counts(name):
    assert board_count(RotaryAdder(ROTARY_ADDERS[name])) == int(re.match(r"r(\d+)", name)[1])


def test_counts_by_hand():
    model = RotaryAdder()
    assert (
        board_count(model) == 3 + 2 + 2 + 3 + 6 + 6 + 3 and strict_count(model) == 25 + 2 + 1 + 1
    )  # key, period, eps
    assert strict_count(RotaryAdder(ROTARY_ADDERS["r22-fixed-write"])) == 22 + 3 + 4


def test_against_a_scalar_implementation():
    models = shaken(RotaryAdderConfig(), [3])
    w = {name: value[0].tolist() for name, value in models.named().items()}
    tokens = (
        FORMATS["digits only"]
        .sequences(*uniform_pairs(1, torch.Generator().manual_seed(5)))[0, :33]
        .tolist()
    )
    A, S, phi, (start, stride), eps = (
        w["A"][0],
        w["S"][0],
        w["phi"][0],
        w["arc"],
        float(models.model.eps),
    )
    arc = [(A * math.cos(start + d * stride), A * math.sin(start + d * stride)) for d in range(10)]

    def norm(x):
        scale = math.sqrt(sum(v * v for v in x) / len(x) + eps)
        return [v / scale * g for v, g in zip(x, w["w"])]

    for row in (21, 27, 31):
        scores = [S * math.cos(2 * math.pi * (row - t - phi) / 11) for t in range(row + 1)]
        weights = [math.exp(score - max(scores)) for score in scores]
        read = sum(
            a / sum(weights) * sum(h * v for h, v in zip(norm([*arc[d], 0.0]), w["value"]))
            for a, d in zip(weights, tokens)
        )
        x = [v + read * b for v, b in zip([*arc[tokens[row]], 0.0], w["write"])]
        hidden = [sum(a * b for a, b in zip(line, norm(x))) for line in w["W_1"]]
        hidden = [u * 0.5 * (1 + math.erf(u / math.sqrt(2))) for u in hidden]
        x = [v + sum(h * line[j] for h, line in zip(hidden, w["H"])) for j, v in enumerate(x)]
        head = [sum(a * b for a, b in zip(line, norm(x))) for line in w["H"]]
        models.alone.load_state_dict({name: value[0] for name, value in models.named().items()})
        logits = models.alone(torch.tensor([tokens[: row + 1]]))[0, -1]
        assert logits.tolist() == pytest.approx(
            [head[0] * x + head[1] * y for x, y in arc], rel=1e-9, abs=1e-9
        )


@pytest.mark.parametrize("name", ROTARY_ADDERS)
def test_the_fleets_gradient_is_autograds(name):
    config, generator = ROTARY_ADDERS[name], torch.Generator().manual_seed(3)
    models = shaken(config, range(3))
    sequences = torch.stack(
        [FORMATS[config.format].sequences(*uniform_pairs(8, generator)) for _ in range(3)]
    )
    first = FORMATS[config.format].prompt
    loss, gradient = models.gradients(sequences.mT.contiguous())
    for s in range(3):
        models.alone.load_state_dict({key: value[s] for key, value in models.named().items()})
        models.alone.zero_grad()
        logits = models.alone(sequences[s][:, :-1])[:, first - 1 : first + 10]
        expected = F.cross_entropy(logits.transpose(1, 2), sequences[s][:, first : first + 11])
        expected.backward()
        assert float(loss[s]) == pytest.approx(float(expected.detach()), rel=1e-10)
        flat = torch.cat([p.grad.flatten() for p in models.alone.parameters()])
        torch.testing.assert_close(gradient[s], flat, rtol=1e-8, atol=1e-10)


def test_the_wave_has_its_peaks_where_the_operands_are():
    model = RotaryAdder(RotaryAdderConfig(S_start=30.0, phi_start=(10.3, 10.3)))
    pattern = model.attention_weights(33)
    for i in range(1, 10):
        row = 21 + i
        assert set(pattern[row].topk(2).indices.tolist()) == {i, 11 + i}  # X_i and Y_i
        assert torch.allclose(pattern[row, i], pattern[row, 11 + i], rtol=1e-4)
    assert torch.allclose(pattern.sum(-1), torch.ones(33))


def test_with_a_leading_zero_and_a_window_all_answer_rows_are_alike():
    """Row by row the same weights at the same lags, and none beyond; without either, the first row
    or the last differs."""

    def lags(**changes):
        model = dataclasses.replace(
            ROTARY_ADDERS["r12-step-one-way-two-dimensions"], phi_start=(10.3, 10.3), **changes
        ).build()
        pattern, T = model.attention_weights(model.max_seq_len).detach(), model.max_seq_len
        return torch.stack(
            [
                F.pad(pattern[row, : row + 1].flip(0), (0, T - row - 1))
                for row in range(T - 12, T - 1)
            ]
        )

    alike = lags()
    assert alike.shape == (11, 34) and torch.allclose(alike, alike[:1], atol=1e-6)
    assert not alike[:, 23:].any() and torch.allclose(alike.sum(1), torch.ones(11))
    for changes, row in ({"format": "digits only"}, 0), ({"window": None}, 10):
        other = lags(**changes)
        assert (other[row] - other[5]).abs().max() > 0.01


def test_a_signed_start_has_the_signs_of_the_circuit():
    """Every seed: what attention brings is subtracted, the step goes against it, the head turns it
    round."""
    for name in (
        "r21-step",
        "r16-step-two-dimensions",
        "r12-step-one-way-two-dimensions",
        "r8-step-diagonal-centred",
        "r20-two-gelus-two-dimensions",
    ):
        for seed in range(20):
            model = ROTARY_ADDERS[name].build(seed)
            assert model.value_direction()[1] > 0 > model.write_direction()[-1]
            assert (model.ffn_in()[:, -1] > 0).all() and model.ffn_out()[0, -1] < 0
            assert model.head()[0, 0] > 0 > model.head()[1, -1]
        assert not torch.equal(model.ffn_in(), ROTARY_ADDERS[name].build(0).ffn_in())
    random = dataclasses.replace(ROTARY_ADDERS["r12-step-one-way-two-dimensions"], start="random")
    assert len({bool(random.build(seed).write > 0) for seed in range(20)}) == 2


def test_an_amplitude_that_only_sizes_the_logits():
    config = ROTARY_ADDERS["r12-step-one-way-two-dimensions"]
    model, other = (
        config.build(3),
        dataclasses.replace(config, arc_start=(40.0, -0.45, 0.1)).build(3),
    )
    tokens = FORMATS["leading zero"].sequences(*uniform_pairs(4, torch.Generator().manual_seed(1)))[
        :, :34
    ]
    assert torch.allclose(
        other(tokens), 4 * model(tokens) / 2, rtol=1e-4
    )  # head and embedding: 2 x 2 / 2


def test_wrong_settings_of_the_smallest_designs():
    for wrong in (
        {"activation": "relu"},
        {"activation": "tanh"},
        {"start": "signed"},
        {"window": 0},
        {"head": "none"},
        {"format": "plain"},
    ):
        with pytest.raises(ValueError):
            RotaryAdderConfig(**wrong)


def test_columns_of_nines():
    generator = torch.Generator().manual_seed(0)
    a, b = uniform_pairs(20_000, generator, 6)
    c, d = with_nines(a, b, generator, 6, 0.25, 0.2)
    nines = (digits_of(c, 10) == 9) & (digits_of(d, 10) == 9)
    assert not nines[:, 6:].any()
    assert nines[:, :6].double().mean().item() == pytest.approx(0.01 + 0.25 * 0.2 * 0.99, abs=0.005)
    untouched = (c == a) & (d == b)
    assert untouched.double().mean().item() == pytest.approx(0.75 + 0.25 * 0.8**6, abs=0.02)


def test_one_decoding_loop_and_one_export_for_all(tmp_path):
    model = RotaryAdder(RotaryAdderConfig(), seed=4).eval()
    a, b = uniform_pairs(5, torch.Generator().manual_seed(2))
    prompt = FORMATS["digits only"].sequences(a, b)[:, :22]
    assert generate(model, prompt, 11).shape == (5, 33)
    (tmp_path / "r25.py").write_text(export.submission(model, "as made"))
    module = verify.load_submission(tmp_path / "r25.py")
    exported, metadata = module.build_model()
    assert metadata["params"] == 25 and metadata["strict_params"] == 29
    assert torch.equal(generate(exported, prompt, 11), generate(model, prompt, 11))
    small = ROTARY_ADDERS["r8-step-diagonal-centred"].build(2).eval()
    (tmp_path / "r8.py").write_text(export.submission(small, "as made"))
    exported, metadata = verify.load_submission(tmp_path / "r8.py").build_model()
    prompt = FORMATS["leading zero"].sequences(a, b)[:, :23]
    assert metadata["params"] == 8 and torch.equal(
        generate(exported, prompt, 11), generate(small, prompt, 11)
    )
    assert preset("r25").recipe.nines_share == 0.25 and preset("r25").model.label == "r25"


def test_bad_input():
    with pytest.raises(ValueError, match="unknown value 'tied': it may be one of own, write, head"):
        RotaryAdderConfig(value="tied")
    with pytest.raises(ValueError, match="scratch must be at least 1 where it is written to"):
        RotaryAdderConfig(scratch=0, write="scratch")


def test_known_signs_leave_the_sizes_random():
    config = dataclasses.replace(ROTARY_ADDERS["r9-step-diagonal"], start="random")
    wild, known = config.build(5), dataclasses.replace(config, start="signs").build(5)
    for name, signs in (("write", [-1]), ("W_1", [1]), ("W_2", [-1]), ("H", [1, -1])):
        before, after = (getattr(model, name).detach().flatten() for model in (wild, known))
        assert torch.equal(before.abs(), after.abs()) and after.sign().tolist() == signs
    assert torch.equal(wild.phi, known.phi) and torch.equal(wild.arc, known.arc)
    with pytest.raises(ValueError, match="diagonal head"):
        dataclasses.replace(ROTARY_ADDERS["r16-step-two-dimensions"], start="signs")
