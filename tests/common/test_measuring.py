"""Generating, measuring, looking inside and plotting, against naive loops."""

import copy
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from known_models import ORDERS, Oracle, attention_by_loops, seeded

import _common
from _common import (
    VOCAB,
    AdditionTransformer,
    add_with_model,
    attention_weights,
    autoregressive_accuracy,
    census,
    encode_addition,
    exact_match,
    generate,
    get_attention_maps,
    get_reversal_attention,
    make_addition_dataset,
    plot_attention,
    plot_training,
    predict_answers,
    train_model,
)


@pytest.fixture(scope="module")
def half_trained():
    """One-digit sums, stopped while it gets some right and some wrong: (model, history, X, Y)."""
    torch.manual_seed(1)
    X, Y = make_addition_dataset(2000, n_digits=1, seed=3)
    model = AdditionTransformer(max_seq_len=7)
    history = train_model(
        model,
        X,
        Y,
        X[:500],
        Y[:500],
        answer_start=3,
        epochs=10,
        batch_size=128,
        warmup_steps=20,
        stop_at=6,
        log_every=0,
        progress=False,
    )
    return model, history, X, Y


def generate_naively(model, prompt, n):
    tokens = list(prompt)
    for _ in range(n):
        logits = model(torch.tensor([tokens]))[0, -1].tolist()
        tokens.append(logits.index(max(logits)))
    return tokens


def test_generate_equals_a_naive_loop(half_trained):
    model, _, X, _ = half_trained
    prompts = X[:100, :4]
    assert generate(model, prompts, 3).tolist() == [
        generate_naively(model, p, 3) for p in prompts.tolist()
    ]


def test_generate_knows_nothing_of_addition():
    model = seeded()
    prompt = torch.tensor([[11, 0], [13, 12]])
    out = generate(model, prompt, 12)
    assert out.shape == (2, 14) and torch.equal(out[:, :2], prompt)
    assert torch.equal(generate(model, prompt, 0), prompt)


def test_the_half_trained_model_is_half_trained(half_trained):
    model, history, X, Y = half_trained
    assert 0.05 < exact_match(model, X, Y, 3) < 0.95


def test_teacher_forcing_equals_generation_for_exact_match(half_trained):
    """With a causal mask a whole answer is right in the one exactly when it is right in the other,
    row by row."""
    model, _, X, Y = half_trained
    forced = (predict_answers(model, X, 3) == Y[:, 3:]).all(1)
    free = (generate(model, X[:, :4], 3)[:, 4:] == Y[:, 3:]).all(1)
    assert torch.equal(forced, free)
    assert (
        exact_match(model, X, Y, 3)
        == autoregressive_accuracy(model, X, Y, 3)
        == forced.double().mean().item()
    )


def test_teacher_forcing_is_not_generation_without_the_mask():
    """A model that sees ahead copies the answer it is shown, and has nothing to copy when it must
    write."""
    torch.manual_seed(0)
    X, Y = make_addition_dataset(2000, n_digits=1)
    model = AdditionTransformer(max_seq_len=7, causal=False)
    train_model(
        model,
        X,
        Y,
        X[:200],
        Y[:200],
        answer_start=3,
        epochs=8,
        batch_size=128,
        warmup_steps=20,
        log_every=0,
        progress=False,
    )
    assert exact_match(model, X, Y, 3) > autoregressive_accuracy(model, X, Y, 3) + 0.3


def test_predict_answers_in_small_batches(half_trained):
    model, _, X, _ = half_trained
    assert torch.equal(
        predict_answers(model, X[:50], 3, batch_size=7), predict_answers(model, X[:50], 3)
    )


@pytest.mark.parametrize("order", ORDERS)
def test_census_equals_brute_force(half_trained, order):
    model = half_trained[0]
    found = census(model, n_digits=1, digit_order=order, batch_size=33)
    assert found.shape == (10, 10) and found.dtype == np.int64
    for a, b in itertools.product(range(10), repeat=2):
        written = generate_naively(model, encode_addition(a, b, 1)[0], 3)[4:]
        digits = written[:2][::-1] if order == "ones_first" else written[:2]
        is_number = max(digits) < 10 and written[2] == VOCAB["<EOS>"]
        assert found[a, b] == (10 * digits[0] + digits[1] if is_number else -1)
        assert found[a, b] == add_with_model(model, a, b, 1, order)


def test_census_of_an_oracle_and_of_an_untrained_model():
    assert np.array_equal(census(Oracle(1), n_digits=1), np.add.outer(np.arange(10), np.arange(10)))
    untrained = census(seeded(max_seq_len=7), n_digits=1)
    assert (untrained != np.add.outer(np.arange(10), np.arange(10))).mean() > 0.7


@pytest.mark.parametrize("order", ORDERS)
def test_census_of_a_model_that_knows_nothing_token_by_token_and_in_whole_passes(order):
    """With a hook on it, a model is read by its own forward pass; both ways write the same."""
    model = seeded(max_seq_len=9)
    quick = census(model, 2, order)
    calls = []
    model.blocks[0].attn.pattern.register_forward_hook(lambda *args: calls.append(1))
    slow = census(model, 2, order)
    assert calls and (quick == slow).mean() >= 0.999  # a tie may go the other way by rounding
    assert (quick != np.add.outer(np.arange(100), np.arange(100))).mean() > 0.9


def test_census_sees_what_a_hook_changes(half_trained):
    model = copy.deepcopy(half_trained[0])
    before = census(model, 1)
    for block in model.blocks:
        block.register_forward_hook(lambda block, args, output: output * 0)
    assert len(np.unique(census(model, 1))) == 1 < len(np.unique(before))


def test_test_addition_prints_its_verdict(capsys):
    assert _common.test_addition(Oracle(3), 999, 1) is True
    assert (
        capsys.readouterr().out.strip()
        == "999 + 1 = 1000   output 0001<EOS>   expected 0001<EOS>   right"
    )
    assert _common.test_addition(seeded(), 999, 1) is False
    assert capsys.readouterr().out.strip().endswith("wrong")


def test_attention_weights_are_the_models_own():
    model = seeded(n_heads=4)
    X, _ = make_addition_dataset(3)
    maps = attention_weights(model, X)
    assert len(maps) == 2 and maps[0].shape == (3, 4, 12, 12)
    for weights in maps:
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 12))
        assert (weights.triu(1) == 0).all() and (weights >= 0).all()
    x = model.token_emb(X) + model.pos_emb.weight[:12]
    for i in range(3):
        expected = attention_by_loops(model.blocks[0].attn, model.blocks[0].ln1(x)[i])[1]
        np.testing.assert_allclose(maps[0][i].numpy(), expected, atol=1e-5)
    assert not any(
        block.attn.pattern._forward_hooks for block in model.blocks
    )  # it tidies up after itself


def test_a_hook_on_the_pattern_replaces_the_weights():
    """Uniform weights instead of the model's own: each position then gets the plain mean of the
    values."""
    model = seeded(n_layers=1, ffn=False, norm=False, causal=False)
    X, _ = make_addition_dataset(2)
    before = model(X)
    hook = model.blocks[0].attn.pattern.register_forward_hook(
        lambda module, args, out: torch.full_like(out, 1 / 12)
    )
    after = model(X)
    hook.remove()
    attn, x = model.blocks[0].attn, model.token_emb(X) + model.pos_emb.weight[:12]
    expected = (x + attn.out(attn.v(x).mean(1, keepdim=True))) @ model.token_emb.weight.T
    torch.testing.assert_close(after, expected, atol=1e-3, rtol=1e-4)
    assert not torch.allclose(before, after) and torch.equal(before, model(X))


def test_attention_maps_have_the_readers_form():
    maps, labels = get_attention_maps(seeded(n_heads=2), 123, 456, 3)
    assert [m.shape for m in maps] == [(12, 12)] * 2 and isinstance(maps[0], np.ndarray)
    assert labels == list("123+456=9750")
    maps, labels = get_reversal_attention(seeded(), [1, 2, 3, 4, 5])
    assert [m.shape for m in maps] == [(11, 11)] * 2 and labels == list("12345=54321")


def test_plots_return_figures_that_show_the_data():

    history = {
        "epoch": [1, 2, 3],
        "loss": [3.0, 2.0, 1.0],
        "accuracy": [None, 0.5, 1.0],
        "train_accuracy": [0.1, 0.6, 1.0],
    }
    for form in (history, pd.DataFrame(history).astype({"accuracy": object})):
        left, right = plot_training(form, floor=0.96).axes
        assert (
            left.lines[0].get_ydata().tolist() == [3.0, 2.0, 1.0]
            and left.lines[1].get_ydata()[0] == 0.96
        )
        assert [len(line.get_xdata()) for line in right.lines][0] == 3
    maps, labels = get_attention_maps(seeded(), 1, 2, 3)
    figure = plot_attention(maps, labels)
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), maps[1])
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == labels
    _common.plt.close("all")
