"""Carries, column by column, and how much of the sum can be seen from a few columns. Exact: over
all sums there are."""

import numpy as np

from _checks import one_of, whole_number
from _common import DIGIT_ORDERS

__all__ = (
    "all_pairs carries full_ripple longest_chain best_guess local_views local_accuracy".split()
)


def all_pairs(n_digits=3):
    """Every ordered pair of operands: two integer arrays of 10**(2 n). Raises ValueError above 3
    digits."""
    side = 10 ** whole_number(
        "n_digits", n_digits, 1, 3
    )  # of longer sums there are too many to list
    codes = np.arange(side * side)
    return codes // side, codes % side


def _places(numbers, n_places):
    """Digits, ones first: (N,) -> (N, n_places)."""
    return np.asarray(numbers, dtype=np.int64)[:, None] // 10 ** np.arange(n_places) % 10


def carries(a, b, n_digits=3):
    """Is there a carry out of each column? Two (N,) arrays of operands -> (N, n) booleans, ones
    first."""
    powers = 10 ** np.arange(1, n_digits + 1)
    a, b = np.asarray(a, dtype=np.int64)[:, None], np.asarray(b, dtype=np.int64)[:, None]
    return a % powers + b % powers >= powers


def full_ripple(a, b, n_digits=3):
    """Does a carry born in the ones column run through every other one? There each column must sum
    to 9. (N,) booleans."""
    column_sums = _places(a, n_digits) + _places(b, n_digits)
    return (column_sums[:, 0] >= 10) & (column_sums[:, 1:] == 9).all(1)


def longest_chain(a, b, n_digits=3):
    """The longest carry chain: 0 without a carry, 1 where every carry ends in the next column, 2
    where one runs on through a column of nine, 3 where through two. Two (N,) arrays of operands ->
    (N,) whole numbers."""
    column_sums = _places(a, n_digits) + _places(b, n_digits)  # (N, n), ones first
    running = longest = np.zeros(len(column_sums), dtype=int)
    for column in column_sums.T:
        running = np.where(column >= 10, 1, np.where((column == 9) & (running > 0), running + 1, 0))
        longest = np.maximum(longest, running)
    return longest


def best_guess(answer, *seen):
    """For each row the most frequent answer among the rows that look the same: (N,) digits, and
    (N,) digits per thing seen -> (N,) digits. No rule that sees only this can be right more often.
    Of equally frequent ones, the smallest."""
    code = np.zeros(len(answer), dtype=np.int64)
    for digits in seen:
        code = 10 * code + digits
    counts = np.bincount(10 * code + answer, minlength=10 ** (len(seen) + 1)).reshape(-1, 10)
    return counts.argmax(1)[code]


def local_views(a, b, n_digits=3, digit_order="ones_first"):
    """What a local rule sees before it writes each answer digit, in the order written: a list of
    (answer, seen).

    Seen are the operand digits of the digit's own column and of the next lower one, and the answer
    digit just written.
    """
    digit_order, n_digits = (
        one_of("digit_order", digit_order, DIGIT_ORDERS),
        whole_number("n_digits", n_digits, 1),
    )
    # smaller kinds would overflow in the sum
    a, b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    places_a, places_b, total = (
        _places(a, n_digits),
        _places(b, n_digits),
        _places(a + b, n_digits + 1),
    )
    order = (
        list(range(n_digits + 1)) if digit_order == "ones_first" else list(range(n_digits, -1, -1))
    )
    views = []
    for i, place in enumerate(order):
        columns = [column for column in (place, place - 1) if 0 <= column < n_digits]
        seen = [digits[:, column] for column in columns for digits in (places_a, places_b)]
        views.append((total[:, place], seen + ([total[:, order[i - 1]]] if i else [])))
    return views


def local_accuracy(n_digits=3, digit_order="ones_first"):
    """How often the best local rule is right, over all sums: (share per answer digit, in the order
    written; share of whole answers). Each digit is judged with the right digit written before
    it."""
    views = local_views(*all_pairs(n_digits), n_digits, digit_order)
    right = np.stack(
        [best_guess(answer, *seen) == answer for answer, seen in views], axis=1
    )  # (N, n + 1)
    return right.mean(0).tolist(), float(right.all(1).mean())
