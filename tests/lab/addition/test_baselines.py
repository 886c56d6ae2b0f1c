"""lab/addition/baselines.py and lab/addition/carries.py against loops, school arithmetic and what
must come out by reasoning."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from _common import (
    DIGIT_ORDERS,
    VOCAB_SIZE,
    addition_floor,
    encode_addition,
    make_addition_dataset,
    make_reversal_dataset,
    pair_overlap,
)
from lab.addition.baselines import (
    answer_tokens,
    answers_of_nearest_neighbour,
    bigram_probabilities,
    comparison_table,
    digits_by_bigram,
    digits_by_logistic,
    digits_by_regression,
    digits_per_operand,
    fit_all_baselines,
    loss_per_target,
    operand_digits,
    oracle_probabilities,
    sum_by_regression,
)
from lab.addition.carries import all_pairs, best_guess, carries, full_ripple, local_accuracy


def sums(pairs, n_digits=3):
    """X and Y of chosen sums."""
    rows = torch.tensor([sum(encode_addition(int(a), int(b), n_digits), []) for a, b in pairs])
    return rows[:, :-1], rows[:, 1:]


@pytest.fixture(scope="module")
def data():
    return (*make_addition_dataset(4000, seed=1), *make_addition_dataset(1500, seed=2))


@pytest.fixture(scope="module")
def every_two_digit_sum():
    return sums(zip(*all_pairs(2)), n_digits=2)


def share_right(rule, Y):
    return (rule.answers == answer_tokens(Y)).mean(0)


# --------------------------------------------------------------------------------------------------
# Parts of a sequence
# --------------------------------------------------------------------------------------------------


def test_digits_and_answers_are_read_from_the_right_places():
    X, Y = sums([(654, 114), (12, 999)])
    assert operand_digits(X).tolist() == [[6, 5, 4, 1, 1, 4], [0, 1, 2, 9, 9, 9]]
    assert answer_tokens(Y).tolist() == [[8, 6, 7, 0, 13], [1, 1, 0, 1, 13]]
    X, Y = sums([(7, 5)], n_digits=1)
    assert (digits_per_operand(X), operand_digits(X).tolist(), answer_tokens(Y).tolist()) == (
        1,
        [[7, 5]],
        [[2, 1, 13]],
    )


def test_sequences_that_are_no_sums_are_refused():
    with pytest.raises(ValueError, match=r"\(N, 3 n \+ 3\), not \(2, 11\)"):
        operand_digits(make_reversal_dataset(2)[0])
    with pytest.raises(ValueError, match="where they should be"):
        operand_digits(torch.zeros(2, 12, dtype=torch.int64))
    with pytest.raises(ValueError, match="n_digits must be between 1 and 3"):
        all_pairs(4)
    with pytest.raises(ValueError, match="unknown digit_order 'tens_first'"):
        local_accuracy(1, "tens_first")


# --------------------------------------------------------------------------------------------------
# The rules
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_labels", [False, True])
def test_regression_of_the_sum_is_exact_and_needs_the_right_answers(data, as_labels):
    train_X, train_Y, test_X, test_Y = data
    rule = sum_by_regression(train_X, train_Y, test_X, as_labels)
    assert (rule.answers == answer_tokens(test_Y)).all()
    assert rule.numbers == (6 * 9 + 1 if as_labels else 7)
    shuffled = train_Y[torch.randperm(len(train_Y), generator=torch.Generator().manual_seed(0))]
    assert (
        sum_by_regression(train_X, shuffled, test_X, as_labels).answers == answer_tokens(test_Y)
    ).all(1).mean() < 0.01


def test_regression_per_digit_by_the_normal_equations(data):
    train_X, train_Y, test_X, _ = data
    design = np.c_[np.ones(len(train_X)), operand_digits(train_X)]
    coefficients = np.linalg.solve(design.T @ design, design.T @ answer_tokens(train_Y)[:, :4])
    by_hand = np.rint(np.c_[np.ones(len(test_X)), operand_digits(test_X)] @ coefficients).clip(0, 9)
    rule = digits_by_regression(train_X, train_Y, test_X)
    assert (rule.answers[:, :4] == by_hand).mean() > 0.9999  # a tie at .5 may round either way
    assert rule.numbers == coefficients.size


def test_logit_without_pairs_sees_the_leading_digit_and_little_else(data):
    rule = digits_by_logistic(*data[:3])
    ones, tens, hundreds, thousands, end = share_right(rule, data[3])
    assert max(ones, tens, hundreds) < 0.2 and thousands > 0.97 and end == 1
    assert rule.numbers == 3 * (6 * 9 + 1) * 9 + (6 * 9 + 1)


def test_paired_logit_on_all_two_digit_sums_bets_on_no_carry(every_two_digit_sum):
    X, Y = every_two_digit_sum
    right = digits_by_logistic(X, Y, X, pairs=True).answers == answer_tokens(Y)
    a, b = all_pairs(2)
    carry = a % 10 + b % 10 >= 10
    assert right[:, 0].all()
    assert right[~carry, 1].all() and not right[carry, 1].any()


def test_bigram_counts_by_a_loop(data):
    train_X, train_Y, test_X, _ = data
    counts = Counter(zip(train_X.flatten().tolist(), train_Y.flatten().tolist()))
    table = bigram_probabilities(train_X, train_Y)
    for (now, following), count in counts.items():
        total = sum(c for (token, _), c in counts.items() if token == now)
        assert table[now, following] == pytest.approx(count / total)
    assert np.allclose(table.sum(1), 1) and np.allclose(
        table[12], 1 / VOCAB_SIZE
    )  # <PAD> never occurs
    rule = digits_by_bigram(train_X, train_Y, test_X)
    for row in range(20):
        for column in range(5):
            present = int(test_X[row, 7 + column])
            options = {following: c for (token, following), c in counts.items() if token == present}
            assert options[rule.answers[row, column]] == max(options.values())


def test_nearest_neighbour_by_a_loop(data):
    train_X, train_Y, test_X, _ = data
    train, test = operand_digits(train_X), operand_digits(test_X[:30])
    rule = answers_of_nearest_neighbour(train_X, train_Y, test_X[:30], batch_size=7)
    for row, digits in enumerate(test):
        distances = [sum(x != y for x, y in zip(digits, other)) for other in train]
        assert (
            rule.answers[row].tolist()
            == answer_tokens(train_Y)[distances.index(min(distances))].tolist()
        )
    assert rule.numbers == 4000 * (6 + 4)


def test_nearest_neighbour_remembers_its_training_sums(data):
    train_X, train_Y, _, _ = data
    assert (
        answers_of_nearest_neighbour(train_X, train_Y, train_X[:200]).answers
        == answer_tokens(train_Y[:200])
    ).all()


def test_the_table_has_every_rule_and_its_interval(data):
    rules = fit_all_baselines(*data[:3])
    table = comparison_table(rules, data[3])
    assert len(table) == 7 and len(set(zip(table["rule"], table["inputs"]))) == 7
    assert ((table["low"] <= table["exact_match"]) & (table["exact_match"] <= table["high"])).all()
    for rule, (_, row) in zip(rules, table.iterrows()):
        right = sum(a == b for a, b in zip(rule.answers.tolist(), answer_tokens(data[3]).tolist()))
        assert row["exact_match"] == pytest.approx(right / 1500)
        assert [row[f"column_{i}"] for i in range(1, 6)] == pytest.approx(
            share_right(rule, data[3]).tolist()
        )


# --------------------------------------------------------------------------------------------------
# The floor
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_digits", [1, 2, 3, 5])
def test_the_oracle_attains_the_floor_on_every_sum(n_digits):
    X, Y = make_addition_dataset(300, n_digits, seed=5)
    probabilities = oracle_probabilities(X, Y)
    assert np.allclose(probabilities.sum(-1), 1)
    losses = loss_per_target(probabilities, Y)
    assert np.allclose(losses.mean(1), addition_floor(n_digits))
    assert (losses > 0).sum(1).tolist() == [2 * n_digits - 1] * 300


def test_loss_by_its_definition_and_infinite_where_the_truth_was_ruled_out():
    Y = np.array([[0, 1]])
    probabilities = np.full((1, 2, VOCAB_SIZE), 0.05)
    probabilities[0, 1, 1] = 0.0
    assert loss_per_target(probabilities, Y)[0].tolist() == [
        pytest.approx(-math.log(0.05)),
        math.inf,
    ]


# --------------------------------------------------------------------------------------------------
# Carries
# --------------------------------------------------------------------------------------------------


def test_carries_by_school_arithmetic():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 1000, (2, 500))
    for x, y, row, ripples in zip(a, b, carries(a, b), full_ripple(a, b)):
        carry, expected, column_sums = 0, [], []
        for place in range(3):
            column_sums.append(x // 10**place % 10 + y // 10**place % 10)
            carry = int(column_sums[-1] + carry >= 10)
            expected.append(bool(carry))
        assert row.tolist() == expected
        assert ripples == (column_sums[0] >= 10 and column_sums[1:] == [9, 9])
    assert carries([999, 500], [1, 499]).tolist() == [[True] * 3, [False] * 3]
    assert full_ripple([999, 999, 899], [1, 999, 1]).tolist() == [True, False, False]


def test_shares_of_carries_over_all_sums_by_reasoning():
    carried = carries(*all_pairs())
    # P(x + y >= m) for x, y uniform on 0 .. m - 1 is (m - 1) / 2 m.
    assert carried.mean(0).tolist() == pytest.approx([0.45, 0.495, 0.4995])
    assert full_ripple(*all_pairs()).mean() == pytest.approx(0.45 * 0.1 * 0.1)


def test_best_guess_is_the_most_frequent_answer():
    answer, seen = np.array([3, 3, 5, 7, 7]), np.array([0, 0, 0, 1, 1])
    assert best_guess(answer, seen).tolist() == [3, 3, 3, 7, 7]
    assert best_guess(np.array([3, 3, 5])).tolist() == [3, 3, 3]  # seeing nothing


def test_local_views_are_enough_ones_first_only():
    assert local_accuracy() == ([1, 1, 1, 1], 1)
    shares, whole = local_accuracy(digit_order="most_significant_first")
    # The first digit is a carry out of the hundreds: unknown where they sum to 9 (one in ten), and
    # then there is one in
    # 0.495: the best guess is none.
    assert shares[0] == pytest.approx(1 - 0.1 * 0.495)
    assert shares[2:] == [1, 1] and 0.9 < whole < shares[0]


@pytest.mark.parametrize("n_digits", [1, 2])
def test_local_accuracy_is_a_share_of_all_sums(n_digits):
    for order in DIGIT_ORDERS:
        shares, whole = local_accuracy(n_digits, order)
        assert len(shares) == n_digits + 1 and 0 <= whole <= min(shares) <= 1


def test_the_overlap_used_in_the_text_is_the_modules_own(data):
    codes = [operand_digits(X) @ 10 ** np.arange(5, -1, -1) for X in (data[0], data[2])]
    assert np.isin(codes[1], codes[0]).mean() == pytest.approx(pair_overlap(data[0], data[2]))
