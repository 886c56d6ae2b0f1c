"""Scores of attention maps: against closed forms, a Monte-Carlo draw, and maps that are perfect by
construction."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from _common import (
    AdditionTransformer,
    encode_addition,
    encode_reversal,
    get_attention_maps,
    make_reversal_dataset,
)
from lab.addition.alignment import (
    alignment,
    chance_alignments,
    mean_maps,
    needed_positions,
    row_alignment,
    share_at_least,
    uniform_alignment,
)


def random_map(T, seed):
    weights = np.tril(np.random.default_rng(seed).exponential(size=(T, T)))
    return weights / weights.sum(1, keepdims=True)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_reversal_needs_the_digit_that_comes_next(digits):
    prompt, answer = encode_reversal(digits)
    whole = prompt + answer
    for row, (position,) in needed_positions("reversal", len(digits)).items():
        assert (
            position < row and whole[row + 1] == whole[position]
        )  # the row predicts the token after it


@settings(max_examples=50)
@given(st.integers(0, 999), st.integers(0, 999))
def test_addition_needs_the_two_digits_of_the_column_it_predicts(a, b):
    prompt, answer = encode_addition(a, b)
    whole, carry = prompt + answer, 0
    for row, (first, second) in needed_positions("addition", 3).items():
        total = whole[first] + whole[second] + carry
        assert whole[row + 1] == total % 10
        carry = total // 10
    assert whole[11] == carry  # the thousands: no column of its own


def test_a_perfect_map_scores_one_and_the_opposite_zero():
    for task, n, T in (("reversal", 5, 11), ("addition", 3, 12)):
        needed = needed_positions(task, n)
        perfect = np.eye(T)
        for row, positions in needed.items():
            perfect[row] = 0
            perfect[row, list(positions)] = 1 / len(positions)
        assert alignment(perfect, needed) == pytest.approx(1)
        assert alignment(np.eye(T), needed) == 0  # every row looks at itself
        assert alignment(np.stack([perfect, np.eye(T)]), needed) == pytest.approx([1, 0])


def test_one_row_at_a_time():
    needed, attention = needed_positions("reversal", 2), random_map(5, 0)
    assert row_alignment(attention, needed) == pytest.approx([attention[2, 1], attention[3, 0]])
    assert alignment(attention, needed) == pytest.approx((attention[2, 1] + attention[3, 0]) / 2)


def test_even_rows():
    even = np.tril(np.ones((12, 12))) / np.arange(1, 13)[:, None]
    for task, n in (("reversal", 5), ("addition", 3)):
        needed = needed_positions(task, n)
        assert uniform_alignment(needed) == pytest.approx(alignment(even, needed))
    assert uniform_alignment(needed_positions("reversal", 5)) == pytest.approx(
        sum(1 / k for k in range(6, 11)) / 5
    )
    assert uniform_alignment(needed_positions("addition", 3)) == pytest.approx(
        (2 / 8 + 2 / 9 + 2 / 10) / 3
    )


@pytest.mark.parametrize(
    "task, n, T, size",
    [
        ("reversal", 5, 11, 6 * 7 * 8 * 9 * 10),
        ("addition", 3, 12, math.comb(8, 2) * math.comb(9, 2) * math.comb(10, 2)),
    ],
)
def test_chance_lists_every_choice(task, n, T, size):
    needed, attention = needed_positions(task, n), random_map(T, 1)
    values = chance_alignments(attention, needed)
    assert len(values) == size and (np.diff(values) >= 0).all()
    assert values.mean() == pytest.approx(
        uniform_alignment(needed)
    )  # rows sum to 1, so any choice is worth its share
    assert np.isclose(
        values, alignment(attention, needed)
    ).any()  # the needed choice is one of them
    rng = np.random.default_rng(2)
    drawn = [
        np.mean(
            [
                attention[row, rng.permutation(row + 1)[: len(positions)]].sum()
                for row, positions in needed.items()
            ]
        )
        for _ in range(4000)
    ]
    for q in (0.1, 0.5, 0.9):
        assert np.quantile(drawn, q) == pytest.approx(np.quantile(values, q), abs=0.02)


def test_share_at_least_is_an_exact_p_value():
    needed = needed_positions("reversal", 2)
    attention = np.tril(np.ones((5, 5)))
    attention[2], attention[3] = [0, 1, 0, 0, 0], [1, 0, 0, 0, 0]
    values = chance_alignments(
        attention, needed
    )  # 3 * 4 choices, of which one is right in both rows
    assert share_at_least(values, alignment(attention, needed)) == pytest.approx(1 / 12)
    assert share_at_least(values, 0) == 1
    assert share_at_least([0.1 + 0.2], 0.3) == 1  # rounding errors are forgiven


def test_mean_maps_average_single_maps():
    torch.manual_seed(0)
    model = AdditionTransformer(n_heads=2)
    sums = [(123, 456), (999, 1), (7, 70)]
    X = torch.tensor([(lambda p, a: (p + a)[:-1])(*encode_addition(a, b)) for a, b in sums])
    maps = mean_maps(model, X)
    single = np.mean([get_attention_maps(model, a, b)[0] for a, b in sums], axis=0)
    assert maps.shape == (2, 12, 12) and np.allclose(maps, single, atol=1e-6)
    assert np.allclose(maps.sum(-1), 1)


def test_untrained_models_lie_at_the_even_value():
    needed, X = needed_positions("reversal", 5), make_reversal_dataset(50, 5)[0]
    scores = []
    for seed in range(20):
        torch.manual_seed(seed)
        scores.append(alignment(mean_maps(AdditionTransformer(), X), needed))
    assert np.mean(scores) == pytest.approx(uniform_alignment(needed), abs=0.015)


def test_bad_input():
    with pytest.raises(ValueError, match="one of addition, reversal"):
        needed_positions("sorting", 5)
    with pytest.raises(ValueError, match="at least 1"):
        needed_positions("reversal", 0)
    with pytest.raises(ValueError, match="must have the shape"):
        alignment(np.ones((5, 5)), needed_positions("reversal", 5))
    with pytest.raises(ValueError, match="must have the shape"):
        alignment(np.ones((12, 11)), needed_positions("reversal", 5))
    with pytest.raises(ValueError, match="too many"):
        chance_alignments(random_map(25, 0), needed_positions("addition", 6))
