"""The micro-adders: against an independent scalar implementation, counts by hand, the published
weights, bad input."""

import dataclasses
import math

import pytest
import torch
import torch.nn as nn

from _common import generate
from lab import store
from lab.adders.formats import FORMATS, answer_pairs
from lab.adders.models.micro_adder import (
    MICRO_ADDERS,
    MicroAdder,
    MicroAdderConfig,
    load_published_57,
    micro_adder,
)
from lab.adders.ten_digits import board_pairs, stratified_pairs, uniform_pairs

PUBLISHED = store.ROOT.parent / "shared" / "reference" / "microadder-57-weights.json"
SPLIT_COUNTS = {  # by hand, from the sheet's table and the ladder's steps
    "54": 3 + 3 + 12 + 1 + 10 + 10 + 10 + 5,
    "57": 3 + 6 + 12 + 1 + 10 + 10 + 10 + 5,
    "67": 3 + 6 + 12 + 1 + 10 + 10 + 10 + 10 + 5,
    "74": 3 + 4 + 6 + 15 + 1 + 10 + 10 + 10 + 10 + 5,
    "75": 74 + 1,
    "78": 75 + 3,
    "80": 78 + 2,
    "90": 80 + 10,
    "100": 90 + 10,
    "133": 100 + 16 + 10 + 7,
    "170": 28 + 4 + 2 + 12 + 24 + 2 + 12 + 24 + 18 + 32 + 12,
    "187": 170 + 14 - 3 - 6 + 6 + 6,
    "203": 187 + 18 - 2,
    "214": 203 + 8 + 3,
    "226": 214 + 12,
    "242": 42 + 30 + 12 + 3 * 18 + 36 + 18 + 32 + 18,
}


@pytest.mark.parametrize("name", MICRO_ADDERS)
def test_counts(name):
    assert sum(p.numel() for p in micro_adder(name).parameters()) == int(name) == SPLIT_COUNTS[name]


def scalar_forward(model, tokens):
    """The forward pass of the 57, 67 and 74, written out with Python numbers: logits of the last
    token."""
    w = {
        name: value.tolist() for name, value in [*model.named_parameters(), *model.named_buffers()]
    }
    A, start, stride = w["arc"]
    arc = [(A * math.cos(start + d * stride), A * math.sin(start + d * stride)) for d in range(10)]
    a, phi, beta, o = w["spiral"]
    slots = [
        (
            a * math.cos(2 * math.pi * i / 10 + phi),
            a * math.sin(2 * math.pi * i / 10 + phi),
            beta * i + o,
        )
        for i in range(10)
    ]
    positions = slots + [(0, 0, 0)] + slots + [tuple(w["equals"])] + slots + [tuple(w["z_hi"])]

    def norm(x):
        scale = math.sqrt(sum(v * v for v in x) / len(x) + w["eps"])
        return [v / scale * g for v, g in zip(x, w["w"])]

    def times(matrix, vector):
        return [sum(m * v for m, v in zip(row, vector)) for row in matrix]

    x = [list(arc[d]) + list(positions[t]) for t, d in enumerate(tokens)]
    h = [norm(row) for row in x]
    keys = [times(w["W_q"], row[2:]) for row in h]
    k, c, s = keys[-1], math.cos(w["theta"][0]), math.sin(w["theta"][0])
    q = [k[0] * c - k[1] * s, k[0] * s + k[1] * c, k[2] * c - k[3] * s, k[2] * s + k[3] * c] + k[4:]
    scores = [sum(a * b for a, b in zip(q, key)) / math.sqrt(len(q)) for key in keys]
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]
    mixed = 0.0
    for weight, row in zip(weights, h):
        v = [sum(row[i] * w["H"][i][j] for i in range(2)) for j in range(5)]
        mixed += weight / sum(weights) * sum(v[j] * w["A_o"][j][0] for j in range(5))
    x1 = [value + mixed * w["B_o"][0][j] for j, value in enumerate(x[-1])]
    hidden = [u * 0.5 * (1 + math.erf(u / math.sqrt(2))) for u in times(w["W_1"], norm(x1))]
    out = w.get("W_2", w["H"])
    x2 = [value + sum(hidden[f] * out[f][j] for f in range(2)) for j, value in enumerate(x1)]
    head = times(w["H"], norm(x2))
    return [head[0] * point[0] + head[1] * point[1] for point in arc]


@pytest.mark.parametrize("name", ["54", "57", "67", "74"])
def test_against_an_independent_implementation(name):
    model = micro_adder(name, seed=3).double()
    with torch.no_grad():
        for p in model.parameters():  # away from the start, where B_o and theta are zero
            p.add_(
                0.3
                * torch.randn(
                    p.shape, generator=torch.Generator().manual_seed(p.numel()), dtype=p.dtype
                )
            )
    tokens = FORMATS["digits only"].sequences(*uniform_pairs(3, torch.Generator().manual_seed(1)))[
        :, :33
    ]
    logits = model(tokens)
    for row in range(3):
        for t in (0, 10, 21, 25, 32):
            expected = scalar_forward(model, tokens[row, : t + 1].tolist())
            assert logits[row, t].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", ["67", "57", "54"])
def test_the_published_start_draws_as_the_published_trainer_does(name):
    torch.manual_seed(777)  # its calls, in its order; a Linear draws its weights when made
    W_q = nn.Linear(3, 4, bias=False)
    A_o = torch.empty(5, 1)
    nn.init.kaiming_uniform_(A_o, a=math.sqrt(5))
    W_1 = nn.Linear(5, 2, bias=False)
    W_2 = [nn.Linear(2, 5, bias=False)] if name == "67" else []
    H = nn.Linear(5, 2, bias=False)
    z_hi, equals = torch.empty(1, 3), torch.empty(1, 3)
    for position in (z_hi, equals):
        nn.init.normal_(position, std=0.02)
    for layer in (W_q, W_1, *W_2, H):
        nn.init.xavier_uniform_(layer.weight)
    theirs = {
        "W_q": W_q.weight,
        "A_o": A_o,
        "W_1": W_1.weight,
        "H": H.weight,
        "z_hi": z_hi[0],
        "equals": equals[0],
    }
    theirs |= {"W_2": W_2[0].weight.T} if W_2 else {}

    ours = dict(
        dataclasses.replace(MICRO_ADDERS[name], random_start="published")
        .build(777)
        .named_parameters()
    )
    plain = dict(micro_adder(name, 777).named_parameters())
    for tensor in set(theirs) & set(ours):
        torch.testing.assert_close(ours[tensor], theirs[tensor], rtol=0, atol=0)
        assert not torch.equal(ours[tensor], plain[tensor])
    for tensor in set(ours) - set(theirs):
        assert torch.equal(ours[tensor], plain[tensor])


def test_the_published_start_is_refused_where_it_is_not_known():
    with pytest.raises(ValueError, match="67, 57 and 54"):
        dataclasses.replace(MICRO_ADDERS["74"], random_start="published")


@pytest.mark.skipif(
    not PUBLISHED.exists(), reason="the published weights are not part of the project"
)
def test_the_published_57_scores_10010_of_10010():
    model = load_published_57(PUBLISHED)
    a, b = board_pairs()
    assert int((answer_pairs(model, a, b) == a + b).sum()) == 10_010
    a, b, _ = stratified_pairs(100, 12)
    assert torch.equal(answer_pairs(model, a, b), a + b)
    assert model.config == MICRO_ADDERS["57"]


@pytest.mark.parametrize("name", MICRO_ADDERS)
def test_every_model_is_causal_and_every_number_is_used(name):
    """A later token changes no earlier logits, and each learned number has a gradient, but the two
    inert positions."""
    model = micro_adder(name, seed=1).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(
                0.1
                * torch.randn(p.shape, generator=torch.Generator().manual_seed(5), dtype=p.dtype)
            )
    sequences = FORMATS["digits only" if model.vocab_size == 10 else "reversed"].sequences(
        *uniform_pairs(50, torch.Generator().manual_seed(2))
    )
    logits = model(sequences[:, :33])
    changed = sequences[:, :33].clone()
    changed[:, 28:] = (changed[:, 28:] + 1) % 10
    assert torch.equal(model(changed)[:, :28], logits[:, :28]) and not torch.equal(
        model(changed)[:, 28], logits[:, 28]
    )
    torch.nn.functional.cross_entropy(
        logits[:, 21:32].flatten(0, 1), sequences[:, 22:33].flatten()
    ).backward()
    idle = {
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    }
    assert idle <= {"z_hi", "eos"}  # Z10's row predicts <EOS>, which is no digit of the answer


def test_attention_of_an_arc_depends_on_position_only():
    a, b = (
        FORMATS["digits only"].sequences(*uniform_pairs(1, torch.Generator().manual_seed(s)))[
            :, :33
        ]
        for s in (1, 2)
    )
    for name, config in MICRO_ADDERS.items():
        if config.vocab_size == 10:
            model = micro_adder(name, seed=4).double()

            def pattern(tokens):
                x = torch.cat(
                    [model.token_embeddings()[tokens], model.positions()[:33].expand(1, -1, -1)], -1
                )
                return model.attention_weights(
                    model.normalise(x, "attention")[..., config.token_dim :]
                )

            same = torch.allclose(pattern(a), pattern(b), rtol=0, atol=1e-12)
            assert same or config.attention_sees_digits
            assert torch.allclose(pattern(a).sum(-1), torch.ones(1, dtype=torch.float64))


def test_variants():
    wide = MicroAdder(MicroAdderConfig(norm="scalar", softmax_plus_one=True, qk_dim=2))
    assert sum(p.numel() for p in wide.parameters()) == 57 - 4 - 6
    x = torch.randn(1, 33, 3, generator=torch.Generator().manual_seed(0))
    assert (wide.attention_weights(x).sum(-1) < 1).all()
    assert sum(p.numel() for p in MicroAdder(MicroAdderConfig(norm="ones")).parameters()) == 52
    thin = MicroAdder(MicroAdderConfig(position_dim=2, v_dim=4))  # d_model 4
    assert thin(torch.zeros(1, 33, dtype=torch.int64)).shape == (1, 33, 10)


def test_seeds_and_generic_decoding():
    assert torch.equal(micro_adder("57", 1).W_q, micro_adder("57", 1).W_q)
    assert not torch.equal(micro_adder("57", 1).W_q, micro_adder("57", 2).W_q)
    prompt = FORMATS["digits only"].sequences(torch.tensor([5]), torch.tensor([7]))[:, :22]
    assert generate(micro_adder("57"), prompt, 12).shape == (1, 34)


def test_bad_input():
    with pytest.raises(ValueError, match="unknown micro-adder '58'"):
        micro_adder("58")
    with pytest.raises(
        ValueError, match="unknown norm 'batch': it may be one of shared, separate, scalar, ones"
    ):
        MicroAdderConfig(norm="batch")
    with pytest.raises(ValueError, match="tied to the head needs one head of v_dim 5"):
        MicroAdderConfig(v_dim=4)
    with pytest.raises(ValueError, match="learned_specials may hold"):
        dataclasses.replace(MicroAdderConfig(), learned_specials=("minus",))
    model = micro_adder("57")
    with pytest.raises(ValueError, match="between 0 and 9, not 0 to 10"):
        model(torch.tensor([[0, 10]]))
    with pytest.raises(TypeError, match="int64"):
        model(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="1 to 33 tokens"):
        model(torch.zeros(1, 34, dtype=torch.int64))
