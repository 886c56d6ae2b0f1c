"""The model of _common.py against formulas and loops written out independently of it."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from known_models import attention_by_loops, seeded, tokens_of
from scipy.special import erf

from _common import (
    AdditionTransformer,
    Attention,
    FeedForward,
    component_table,
    count_parameters,
    make_addition_dataset,
)


@pytest.mark.parametrize(
    "n_heads, causal", [(1, True), (1, False), (2, True), (4, True), (4, False), (8, True)]
)
def test_attention_equals_explicit_loops(n_heads, causal):
    torch.manual_seed(n_heads)
    attn, x = Attention(8, n_heads, causal), torch.randn(2, 5, 8)
    caught = []
    attn.pattern.register_forward_hook(lambda module, args, output: caught.append(output))
    result = attn(x)
    for i in range(2):
        expected, patterns = attention_by_loops(attn, x[i])
        np.testing.assert_allclose(result[i].detach(), expected, atol=1e-6)
        np.testing.assert_allclose(caught[0][i].detach(), patterns, atol=1e-6)
    assert sum(p.numel() for p in attn.parameters()) == 4 * 8 * 8  # no biases


@pytest.mark.parametrize("n_heads", [1, 4])
def test_attention_equals_pytorchs_own(n_heads):
    attn, x = Attention(32, n_heads), torch.randn(3, 7, 32)
    q, k, v = (m(x).unflatten(-1, (n_heads, -1)).transpose(1, 2) for m in (attn.q, attn.k, attn.v))
    expected = attn.out(
        F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
    )
    torch.testing.assert_close(attn(x), expected, atol=1e-6, rtol=1e-5)


def test_feed_forward_is_gelu_between_two_linear_maps():
    torch.manual_seed(0)
    ffn, x = FeedForward(6, 10), torch.randn(2, 3, 6)
    up, b1, down, b2 = (
        p.detach().double().numpy()
        for p in (ffn.up.weight, ffn.up.bias, ffn.down.weight, ffn.down.bias)
    )
    inner = x.double().numpy() @ up.T + b1
    gelu = inner * (1 + erf(inner / math.sqrt(2))) / 2  # x times the normal distribution function
    np.testing.assert_allclose(ffn(x).detach(), gelu @ down.T + b2, atol=1e-6)


def layer_norm_by_formula(norm, x):
    """x (..., D): each row to mean 0 and variance 1 (dividing by D), then its own scale and
    shift."""
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(
        variance + 1e-5
    ) * norm.weight.detach().double().numpy() + norm.bias.detach().double().numpy()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_heads": 4},
        {"causal": False},
        {"positions": False},
        {"ffn": False},
        {"n_layers": 1},
        {"norm": False},
        {"d_model": 12, "d_ff": 20, "n_layers": 3, "n_heads": 3, "max_seq_len": 12},
    ],
    ids=str,
)
def test_the_whole_model_equals_its_formula(settings):
    """The forward pass in numpy, in double precision, from the weights alone."""
    model = seeded(**settings).double()
    X, _ = make_addition_dataset(3)
    emb = model.token_emb.weight.detach().double().numpy()
    normalise = layer_norm_by_formula if settings.get("norm", True) else (lambda norm, x: x)
    for row, logits in zip(X, model(X)):
        x = emb[row]
        if settings.get("positions", True):
            x = x + model.pos_emb.weight.detach().double().numpy()[:12]
        for block in model.blocks:
            x = x + attention_by_loops(block.attn, torch.from_numpy(normalise(block.ln1, x)))[0]
            if settings.get("ffn", True):
                up, down = block.ffn.up, block.ffn.down
                inner = (
                    normalise(block.ln2, x) @ up.weight.detach().double().numpy().T
                    + up.bias.detach().double().numpy()
                )
                gelu = inner * (1 + erf(inner / math.sqrt(2))) / 2
                x = (
                    x
                    + gelu @ down.weight.detach().double().numpy().T
                    + down.bias.detach().double().numpy()
                )
        expected = normalise(model.ln_f, x) @ emb.T
        np.testing.assert_allclose(logits.detach(), expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("position", range(1, 12))
def test_a_causal_model_does_not_see_later_tokens(position):
    model = seeded(n_heads=4)
    X, _ = make_addition_dataset(8)
    changed = X.clone()
    changed[:, position] = (X[:, position] + 3) % 14
    before, after = model(X), model(changed)
    assert torch.equal(before[:, :position], after[:, :position])
    assert not torch.allclose(before[:, position:], after[:, position:])


def test_without_the_mask_a_model_sees_later_tokens():
    model = seeded(causal=False)
    X, _ = make_addition_dataset(8)
    changed = X.clone()
    changed[:, 11] = (X[:, 11] + 3) % 14
    assert not torch.allclose(model(X)[:, 0], model(changed)[:, 0])


def test_without_positions_one_layer_cannot_tell_the_order_of_earlier_tokens():
    X = torch.tensor([tokens_of("123+456="), tokens_of("321+654=")])
    blind, sighted = seeded(positions=False, n_layers=1), seeded(n_layers=1)
    torch.testing.assert_close(blind(X)[0, -1], blind(X)[1, -1])
    assert not torch.allclose(sighted(X)[0, -1], sighted(X)[1, -1])
    two = seeded(positions=False, n_layers=2)  # two causal layers can
    assert not torch.allclose(two(X)[0, -1], two(X)[1, -1])


def test_sequences_of_a_batch_do_not_mix():
    model = seeded()
    X, _ = make_addition_dataset(6)
    torch.testing.assert_close(
        model(X), torch.cat([model(x[None]) for x in X]), atol=1e-4, rtol=1e-4
    )


# -- Parameter counts
# ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "V, D, W, L, T", list(itertools.product([10, 14], [8, 32], [16, 64], [1, 2, 4], [7, 13]))
)
@pytest.mark.parametrize("positions, ffn, norm", list(itertools.product([True, False], repeat=3)))
def test_parameter_counts_by_hand(V, D, W, L, T, positions, ffn, norm):
    attention, feed_forward, one_norm = 4 * D * D, (D * W + W) + (W * D + D), 2 * D
    block = attention + (feed_forward if ffn else 0) + (one_norm * (2 if ffn else 1) if norm else 0)
    by_hand = V * D + (T * D if positions else 0) + L * block + (one_norm if norm else 0)
    model = AdditionTransformer(V, D, W, L, T, positions=positions, ffn=ffn, norm=norm)
    assert count_parameters(model) == by_hand == component_table(model)["parameters"].sum()


def test_the_reference_component_table():
    table = component_table(AdditionTransformer())
    assert list(table.itertuples(index=False, name=None)) == [
        ("token embedding (and tied head)", 448),
        ("position embedding", 416),
        ("layer 1: attention", 4096),
        ("layer 1: feed-forward", 4192),
        ("layer 1: norms", 128),
        ("layer 2: attention", 4096),
        ("layer 2: feed-forward", 4192),
        ("layer 2: norms", 128),
        ("final norm", 64),
    ]
    assert count_parameters(AdditionTransformer()) == 17_760


@pytest.mark.parametrize("n_heads", [1, 2, 4, 8, 16, 32])
def test_heads_cost_nothing(n_heads):
    assert count_parameters(AdditionTransformer(n_heads=n_heads)) == 17_760


def test_frozen_parameters_do_not_count():
    model = AdditionTransformer()
    model.pos_emb.weight.requires_grad_(False)
    assert count_parameters(model) == 17_760 - 13 * 32


def test_the_head_is_the_embedding():
    model = seeded()
    X, _ = make_addition_dataset(4)
    before = model(X)
    with torch.no_grad():
        model.token_emb.weight[12] *= 2  # <PAD> is no input here: only the head changes
    after = model(X)
    assert torch.equal(before[..., :12], after[..., :12]) and torch.equal(
        before[..., 13], after[..., 13]
    )
    torch.testing.assert_close(after[..., 12], 2 * before[..., 12])
