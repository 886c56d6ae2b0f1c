"""The mathematics of _common.py against formulas written out independently of it."""

import copy
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, log_softmax

import _common
from _common import (
    VOCAB,
    VOCAB_SIZE,
    AdditionTransformer,
    Attention,
    FeedForward,
    TrainingDiverged,
    add_with_model,
    addition_floor,
    attention_weights,
    autoregressive_accuracy,
    census,
    column_accuracy,
    component_table,
    count_parameters,
    decode_tokens,
    digits_at_chance,
    encode_addition,
    encode_reversal,
    exact_match,
    generate,
    get_attention_maps,
    get_reversal_attention,
    learning_rate_at,
    make_addition_dataset,
    make_disjoint_addition_split,
    make_reversal_dataset,
    pair_overlap,
    plot_attention,
    plot_training,
    predict_answers,
    reversal_floor,
    train_model,
)

ORDERS = ("ones_first", "most_significant_first")


def seeded(seed=0, **settings):
    """An AdditionTransformer with known weights; every weight, norms and biases included, is moved
    off its start."""
    torch.manual_seed(seed)
    model = AdditionTransformer(**settings)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def tokens_of(text):
    return [VOCAB[symbol] for symbol in text]


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


# -- Tokens and datasets
# ---------------------------------------------------------------------------------------------


def test_the_vocabulary_is_the_books():
    assert VOCAB_SIZE == 14 and _common.VOCAB_INV == {i: s for s, i in VOCAB.items()}
    assert [VOCAB[s] for s in [*"0123456789", "+", "=", "<PAD>", "<EOS>"]] == list(range(14))


@pytest.mark.parametrize(
    "a, b, order, text",
    [
        (12, 999, "ones_first", "012+999=1101<EOS>"),
        (654, 114, "ones_first", "654+114=8670<EOS>"),
        (0, 0, "ones_first", "000+000=0000<EOS>"),
        (12, 999, "most_significant_first", "012+999=1011<EOS>"),
        (1, 2, "most_significant_first", "001+002=0003<EOS>"),
    ],
)
def test_encode_addition_writes_these_sums(a, b, order, text):
    prompt, answer = encode_addition(a, b, digit_order=order)
    assert decode_tokens(prompt + answer) == text
    assert len(prompt) == 8 and len(answer) == 5 and type(prompt[0]) is int


@settings(max_examples=200, deadline=None)
@given(data=st.data(), n_digits=st.integers(1, 17), order=st.sampled_from(ORDERS))
def test_encode_addition_agrees_with_pythons_integers(data, n_digits, order):
    a, b = (data.draw(st.integers(0, 10**n_digits - 1)) for _ in range(2))
    prompt, answer = encode_addition(a, b, n_digits, order)
    written = str(a + b).zfill(n_digits + 1)
    written = written[::-1] if order == "ones_first" else written
    assert decode_tokens(prompt) == f"{a:0{n_digits}d}+{b:0{n_digits}d}="
    assert decode_tokens(answer) == written + "<EOS>"


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 60),
    n_digits=st.integers(1, 17),
    seed=st.integers(0, 2**31),
    order=st.sampled_from(ORDERS),
)
def test_datasets_hold_right_sums(n, n_digits, seed, order):
    X, Y = make_addition_dataset(n, n_digits, seed, order)
    assert X.shape == Y.shape == (n, 3 * n_digits + 3) and X.dtype == Y.dtype == torch.int64
    assert torch.equal(X[:, 1:], Y[:, :-1])
    for x, y in zip(X.tolist(), Y.tolist()):
        text = decode_tokens(x + y[-1:])
        left, right = text.removesuffix("<EOS>").split("=")
        a, b = left.split("+")
        assert len(a) == len(b) == n_digits and len(right) == n_digits + 1
        assert int(a) + int(b) == int(right[::-1] if order == "ones_first" else right)
    again = make_addition_dataset(n, n_digits, seed, order)
    assert torch.equal(X, again[0]) and torch.equal(Y, again[1])


def test_a_digit_order_changes_the_answers_and_nothing_else():
    ones, most = (
        torch.cat(
            [Y[:, :7], Y[:, 7:11].flip(1) if order == "ones_first" else Y[:, 7:11], Y[:, 11:]], 1
        )
        for order in ORDERS
        for Y in [make_addition_dataset(300, digit_order=order)[1]]
    )
    assert torch.equal(ones, most)


def test_operands_are_uniform():
    X, _ = make_addition_dataset(50_000)
    for column in (0, 1, 2, 4, 5, 6):
        counts = torch.bincount(X[:, column], minlength=10).double()
        statistic = ((counts - 5000) ** 2 / 5000).sum().item()  # chi-squared, 9 degrees of freedom
        assert len(counts) == 10 and statistic < 33.7  # its 99.99 % point


def test_another_seed_gives_other_sums():
    assert not torch.equal(
        make_addition_dataset(100, seed=1)[0], make_addition_dataset(100, seed=2)[0]
    )


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 40), seq_len=st.integers(1, 20), seed=st.integers(0, 1000))
def test_reversal_dataset_holds_reversed_strings(n, seq_len, seed):
    X, Y = make_reversal_dataset(n, seq_len, seed)
    assert X.shape == Y.shape == (n, 2 * seq_len + 1) and torch.equal(X[:, 1:], Y[:, :-1])
    for row in torch.cat([X, Y[:, -1:]], 1).tolist():
        prompt, answer = encode_reversal(row[:seq_len])
        assert row == prompt + answer
        assert (
            decode_tokens(row)
            == decode_tokens(row[:seq_len]) + "=" + decode_tokens(row[:seq_len])[::-1] + "<EOS>"
        )


def pairs_of(X, n_digits):
    return [
        (
            int(decode_tokens(row[:n_digits])),
            int(decode_tokens(row[n_digits + 1 : 2 * n_digits + 1])),
        )
        for row in X.tolist()
    ]


@pytest.mark.parametrize(
    "n_train, n_test, n_digits, seed", [(5000, 2000, 3, 42), (300, 50, 1, 0), (20_000, 5000, 2, 7)]
)
def test_the_disjoint_split_is_disjoint(n_train, n_test, n_digits, seed):
    train_X, train_Y, test_X, test_Y = make_disjoint_addition_split(n_train, n_test, n_digits, seed)
    train, test = pairs_of(train_X, n_digits), pairs_of(test_X, n_digits)
    assert len(train) == n_train and len(set(test)) == n_test  # test pairs are distinct
    assert not set(train) & set(test)
    assert pair_overlap(train_X, test_X, n_digits) == 0
    assert torch.equal(test_X[:, 1:], test_Y[:, :-1]) and torch.equal(
        train_X[:, 1:], train_Y[:, :-1]
    )
    if n_digits == 1:  # every other pair is drawn sooner or later
        assert set(train) | set(test) >= {
            (a, b) for a in range(10) for b in range(10) if (a, b) not in test
        }


def test_pair_overlap_counts_ordered_pairs():
    train_X, _ = make_addition_dataset(3000, n_digits=2, seed=1)
    test_X, _ = make_addition_dataset(800, n_digits=2, seed=2)
    seen = set(pairs_of(train_X, 2))
    by_hand = sum(pair in seen for pair in pairs_of(test_X, 2)) / 800
    assert 0 < by_hand < 1 and pair_overlap(train_X, test_X, 2) == pytest.approx(by_hand)
    one = torch.tensor([encode_addition(12, 34, 2)[0] + encode_addition(12, 34, 2)[1]])[:, :-1]
    turned = torch.tensor([encode_addition(34, 12, 2)[0] + encode_addition(34, 12, 2)[1]])[:, :-1]
    assert pair_overlap(one, one, 2) == 1 and pair_overlap(one, turned, 2) == 0


# -- The pieces
# --------------------------------------------------------------------------------------------------


def attention_by_loops(attn, x):
    """Multi-head attention for one sequence (T, D), one number at a time, in double precision."""
    q, k, v, out = (
        (m.weight.detach().double().numpy()) for m in (attn.q, attn.k, attn.v, attn.out)
    )
    x = x.detach().double().numpy()
    T, D = x.shape
    size = D // attn.n_heads
    mixed, patterns = np.zeros((T, D)), np.zeros((attn.n_heads, T, T))
    for head in range(attn.n_heads):
        rows = range(head * size, (head + 1) * size)
        for i in range(T):
            visible = range(i + 1) if attn.causal else range(T)
            scores = []
            for j in visible:
                score = 0.0
                for r in rows:
                    score += sum(q[r, d] * x[i, d] for d in range(D)) * sum(
                        k[r, d] * x[j, d] for d in range(D)
                    )
                scores.append(score / math.sqrt(size))
            total = sum(math.exp(score - max(scores)) for score in scores)
            for j, score in zip(visible, scores):
                patterns[head, i, j] = math.exp(score - max(scores)) / total
                for r in rows:
                    mixed[i, r] += patterns[head, i, j] * sum(v[r, d] * x[j, d] for d in range(D))
    return mixed @ out.T, patterns


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


# -- Loss and floors
# -------------------------------------------------------------------------------------------------


class Oracle(nn.Module):
    """Knows the sum and the format: sure of what is determined, even-handed where it is not. A
    model that cannot learn."""

    def __init__(self, n_digits):
        super().__init__()
        self.n_digits, self.max_seq_len, self.vocab_size = n_digits, 3 * n_digits + 3, VOCAB_SIZE
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, X):  # (B, T) -> (B, T, V)
        n = self.n_digits
        logits = torch.full((*X.shape, VOCAB_SIZE), -1e4, dtype=torch.float64)
        logits[:, :, :10] = 0.0  # some digit, nobody knows which
        for i, pair in enumerate(pairs_of(X, n)):
            prompt, answer = encode_addition(*pair, n)
            known = {
                n - 1: VOCAB["+"],
                2 * n: VOCAB["="],
                **{2 * n + 1 + j: t for j, t in enumerate(answer)},
            }
            for position, token in known.items():
                if position < X.shape[1]:
                    logits[i, position] = -1e4
                    logits[i, position, token] = 0.0
        return logits + self.unused


@pytest.mark.parametrize("n_digits", [1, 2, 3])
def test_the_floor_is_what_an_oracle_attains(n_digits):
    X, Y = make_addition_dataset(200, n_digits)
    oracle = Oracle(n_digits)
    loss = F.cross_entropy(oracle(X).transpose(1, 2), Y).item()
    assert loss == pytest.approx(addition_floor(n_digits), rel=1e-12)
    assert exact_match(oracle, X, Y, 2 * n_digits + 1) == 1


def test_floors_of_the_book():
    assert addition_floor() == pytest.approx(
        0.9594, abs=5e-5
    ) and reversal_floor() == pytest.approx(0.8373, abs=5e-5)


def test_reversal_floor_by_enumeration():
    """Three digits: the mean of -log P(next | before) over all 1000 strings, from counts of
    prefixes alone."""
    rows = [
        encode_reversal([a, b, c])[0] + encode_reversal([a, b, c])[1]
        for a, b, c in itertools.product(range(10), repeat=3)
    ]
    total = 0.0
    for row in rows:
        for t in range(1, len(row)):
            before = sum(other[:t] == row[:t] for other in rows)
            total -= math.log(sum(other[: t + 1] == row[: t + 1] for other in rows) / before)
    assert total / len(rows) / 7 == pytest.approx(reversal_floor(3))


def test_addition_floor_by_enumeration():
    rows = [sum(encode_addition(a, b, 1), []) for a in range(10) for b in range(10)]
    total = 0.0
    for row in rows:
        for t in range(1, len(row)):
            before = sum(other[:t] == row[:t] for other in rows)
            total -= math.log(sum(other[: t + 1] == row[: t + 1] for other in rows) / before)
    assert total / len(rows) / 6 == pytest.approx(addition_floor(1))


def test_digits_at_chance_counts_whole_digits():
    floor = addition_floor()
    losses = [floor, floor + math.log(10) / 12, floor + 3 * math.log(10) / 12]
    np.testing.assert_allclose(digits_at_chance(losses, floor, 12), [0, 1, 3], atol=1e-12)
    np.testing.assert_allclose(
        digits_at_chance([1.5362, 1.3450, 1.1524, 0.9603], floor, 12), [3, 2, 1, 0], atol=0.02
    )


def test_the_training_loss_is_the_mean_cross_entropy_of_all_targets():
    """With a learning rate too small to move anything, the first epoch's loss is that of the
    untrained model."""
    model = seeded()
    X, Y = make_addition_dataset(300)
    logits = model(X).detach().double().numpy()
    by_hand = -np.take_along_axis(log_softmax(logits, -1), Y.numpy()[..., None], -1).mean()
    history = train_model(
        model,
        X,
        Y,
        X,
        Y,
        epochs=1,
        batch_size=128,
        lr=1e-12,
        weight_decay=0,
        log_every=0,
        progress=False,
    )
    assert history["loss"][0] == pytest.approx(
        by_hand, rel=1e-5
    )  # batches of 128, 128, 44 are weighted by size


# -- Training
# --------------------------------------------------------------------------------------------------


def test_learning_rate_endpoints():
    rate = [learning_rate_at(step, 0.01, 200, 14_700) for step in range(14_700)]
    assert rate[0] == pytest.approx(0.01 / 200) and rate[199] == pytest.approx(0.01)
    assert rate[-1] == pytest.approx(0, abs=1e-15) and min(rate[:-1]) > 0
    assert max(rate) == pytest.approx(0.01) and int(np.argmax(rate)) in (199, 200)
    middle = 200 + (14_700 - 200) // 2 - 1
    assert rate[middle] == pytest.approx(0.005)
    assert np.all(np.diff(rate[:200]) > 0) and np.all(np.diff(rate[200:]) < 0)


@pytest.mark.parametrize("warmup, total", [(0, 1), (0, 10), (10, 10), (20, 10), (3, 4)])
def test_learning_rate_of_odd_schedules_stays_in_range(warmup, total):
    assert all(0 <= learning_rate_at(step, 0.5, warmup, total) <= 0.5 for step in range(total))


def short_run(**changes):
    torch.manual_seed(5)
    model = AdditionTransformer()
    X, Y = make_addition_dataset(1500)
    test_X, test_Y = make_addition_dataset(300, seed=123)
    options = (
        dict(epochs=4, batch_size=256, warmup_steps=5, log_every=0, progress=False, seed=9)
        | changes
    )
    return train_model(model, X, Y, test_X, test_Y, **options), model


def test_two_runs_are_the_same_to_the_last_bit():
    (first, model), (second, again) = short_run(), short_run()
    for name in ("epoch", "loss", "accuracy", "train_accuracy", "column_accuracy", "lr", "ended"):
        assert first[name] == second[name]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
    other, _ = short_run(seed=10)
    assert other["loss"] != first["loss"]


def test_stopping_early_changes_nothing_before():
    whole, part = short_run()[0], short_run(stop_at=2)[0]
    assert part["loss"] == whole["loss"][:2] and part["lr"] == whole["lr"][:2]
    assert whole["ended"] == "finished" and part["ended"] == "early"
    assert whole["lr"][-1] == pytest.approx(0, abs=1e-15) and whole["epoch"] == [1, 2, 3, 4]


def test_extra_epochs_ends_a_run_after_it_has_learned():
    torch.manual_seed(0)
    X, Y = make_reversal_dataset(3000, 2)
    model = AdditionTransformer(max_seq_len=5)
    history = train_model(
        model,
        X,
        Y,
        X[:500],
        Y[:500],
        answer_start=2,
        epochs=40,
        batch_size=128,
        warmup_steps=20,
        extra_epochs=2,
        log_every=0,
        progress=False,
    )
    reached = next(
        e for e, accuracy in zip(history["epoch"], history["accuracy"]) if accuracy >= 0.999
    )
    assert history["ended"] == "early" and history["epoch"][-1] == reached + 2


def test_history_agrees_with_the_measurements():
    history, model = short_run()
    test_X, test_Y = make_addition_dataset(300, seed=123)
    X, Y = make_addition_dataset(1500)
    assert history["accuracy"][-1] == exact_match(model, test_X, test_Y, 7)
    assert history["train_accuracy"][-1] == exact_match(model, X, Y, 7)
    assert history["column_accuracy"][-1] == pytest.approx(
        column_accuracy(model, test_X, test_Y, 7)
    )
    assert len(history["column_accuracy"][-1]) == 5 and len(history["seconds"]) == 4
    assert history["loss"][-1] < history["loss"][0]


def test_a_loss_that_is_not_finite_stops_the_training():
    model = AdditionTransformer()
    with torch.no_grad():
        model.ln_f.weight[0] = math.nan
    X, Y = make_addition_dataset(10)
    with pytest.raises(TrainingDiverged, match="step 1 of epoch 1.*smaller lr than 0.01"):
        train_model(model, X, Y, X, Y, epochs=1, log_every=0, progress=False)


def test_an_interrupt_keeps_the_history_so_far(monkeypatch):
    real, calls = _common.exact_match, []

    def interrupting(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(_common, "exact_match", interrupting)
    history, _ = short_run()
    assert history["ended"] == "interrupted" and history["epoch"] == [1, 2]
    assert {len(values) for values in history.values() if isinstance(values, list)} == {
        2
    }  # no half-written epoch


# -- Generating and measuring
# ----------------------------------------------------------------------------------------


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


# -- Looking inside
# --------------------------------------------------------------------------------------------------


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


# -- Plots
# --------------------------------------------------------------------------------------------------


def test_plots_return_figures_that_show_the_data():
    import pandas as pd

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


def test_fit_factor_and_eval_every_and_measure():
    """A small set is fitted, training ends at that multiple of the fitting epoch, and only every
    third epoch is written."""
    X, Y = make_reversal_dataset(60, 1, seed=1)
    torch.manual_seed(1)
    model = AdditionTransformer(d_model=16, d_ff=16, n_layers=1, max_seq_len=4)
    seen = []
    history = train_model(
        model,
        X,
        Y,
        X[:20],
        Y[:20],
        answer_start=1,
        epochs=400,
        batch_size=30,
        lr=0.01,
        warmup_steps=10,
        fit_factor=2,
        eval_every=3,
        log_every=0,
        progress=False,
        measure=lambda model: seen.append(1) or {"evaluations": len(seen)},
    )
    table = pd.DataFrame(
        {name: history[name] for name in ("epoch", "train_accuracy", "evaluations")}
    )
    fitted = table.loc[table["train_accuracy"] >= 0.99, "epoch"].iloc[0]
    assert (table["epoch"] % 3 == 0).all() and table["evaluations"].tolist() == list(
        range(1, len(table) + 1)
    )
    assert (
        table["epoch"].iloc[-1] == next(e for e in table["epoch"] if e >= 2 * fitted)
        and history["ended"] == "early"
    )
    assert len(history["seconds"]) == len(table)
