"""Tokens and datasets of _common.py against sums written out by hand and by Python's integers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_models import ORDERS, pairs_of

import _common
from _common import (
    VOCAB,
    VOCAB_SIZE,
    decode_tokens,
    encode_addition,
    encode_reversal,
    make_addition_dataset,
    make_disjoint_addition_split,
    make_reversal_dataset,
    pair_overlap,
)


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
