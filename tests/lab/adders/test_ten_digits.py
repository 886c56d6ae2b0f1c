"""Ten-digit sums: the board's protocol, the formats, carries and ripples against a column-by-column
reference, samplers."""

import random

import pytest
import torch

from _common import decode_tokens
from lab.adders.formats import DIGITS, FORMATS, LARGEST
from lab.adders.ten_digits import (
    TEST_SEEDS,
    VALIDATION_SEEDS,
    board_pairs,
    carry_pairs,
    column_patterns,
    longest_ripple,
    mixed_pairs,
    pattern_pairs,
    stratified_pairs,
    uniform_pairs,
    uniform_weights,
)


def add_by_hand(a, b):
    """Columns added one by one: (carry out of each column, longest ripple)."""
    carry, run, longest, carries = 0, 0, 0, []
    for i in range(DIGITS):
        total = a // 10**i % 10 + b // 10**i % 10
        run = run + 1 if total == 9 and carry else 0
        longest = max(longest, run)
        carry = int(total + carry >= 10)
        carries.append(carry)
    return carries, longest


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_boards_pairs():
    a, b = board_pairs()
    assert len(a) == 10_010 and (int(a[10]), int(b[10])) == (2395527356, 9334186774)
    assert (int(a[0]), int(b[0]), int(a[9]), int(b[9])) == (0, 0, 1, LARGEST)
    ripples = torch.bincount(longest_ripple(a[10:], b[10:]), minlength=10).tolist()
    assert ripples[:4] == [6477, 3198, 292, 33] and not any(ripples[4:])
    assert int((longest_ripple(a[:10], b[:10]) == 9).sum()) == 3


def test_formats():
    a, b = torch.tensor([42]), torch.tensor([7])
    assert (
        decode_tokens(FORMATS["plain"].sequences(a, b)[0])
        == "0000000042+0000000007=94000000000<EOS>"
    )
    assert (
        decode_tokens(FORMATS["reversed"].sequences(a, b)[0])
        == "2400000000+7000000000=94000000000<EOS>"
    )
    row = FORMATS["digits only"].sequences(a, b)[0].tolist()
    assert row == [int(c) for c in "2400000000070000000000940000000000"]
    with pytest.raises(ValueError, match="operand b must lie between 0 and 9999999999"):
        FORMATS["plain"].sequences(a, torch.tensor([10**10]))


@pytest.mark.parametrize("name", FORMATS)
def test_columns_are_the_sequences_turned(name):
    a, b = (
        torch.cat(x)
        for x in zip(
            uniform_pairs(2000, generator()), carry_pairs(2000, generator()), board_pairs(0)
        )
    )
    assert torch.equal(FORMATS[name].columns(a, b).T.long(), FORMATS[name].sequences(a, b))


def test_ripples_against_columns_added_one_by_one():
    a, b = (
        torch.cat(x)
        for x in zip(
            uniform_pairs(300, generator()),
            carry_pairs(300, generator(1)),
            stratified_pairs(10, 5)[:2],
        )
    )
    for x, y, ripple, patterns in zip(
        a.tolist(),
        b.tolist(),
        longest_ripple(a, b).tolist(),
        zip(*(p.tolist() for p in column_patterns(a, b))),
    ):
        assert add_by_hand(x, y)[1] == ripple
        sums = [x // 10**i % 10 + y // 10**i % 10 for i in range(DIGITS)]
        assert [s >= 10 for s in sums] == patterns[0] and [s == 9 for s in sums] == patterns[1]


def test_stratified_pairs_hold_every_ripple_in_both_orders():
    a, b, ripple = stratified_pairs(1000, TEST_SEEDS["ripple"])
    assert torch.bincount(ripple).tolist() == [2000] * 10
    n = len(a) // 2
    assert torch.equal(a[:n], b[n:]) and torch.equal(b[:n], a[n:])
    again = stratified_pairs(1000, TEST_SEEDS["ripple"])
    assert torch.equal(a, again[0]) and not torch.equal(
        a, stratified_pairs(1000, VALIDATION_SEEDS["ripple"])[0]
    )


def test_a_stratum_is_uniform_given_its_ripple():
    """Ripple 3 made, against ripple 3 found among uniform pairs: the same share of sums that
    overflow, of carries."""
    a, b, ripple = stratified_pairs(5_000, 3)
    made = ripple == 3
    found_a, found_b = uniform_pairs(1_000_000, generator(4))
    found = longest_ripple(found_a, found_b) == 3
    for statistic in (
        lambda x, y: (x + y > LARGEST).double(),
        lambda x, y: column_patterns(x, y)[0].double().mean(1),
        lambda x, y: x.double() / 1e10,
    ):
        one, other = statistic(a[made], b[made]), statistic(found_a[found], found_b[found])
        error = (
            one.var() / (len(one) / 2) + other.var() / len(other)
        ).sqrt()  # each pair is there twice
        assert abs(one.mean() - other.mean()) < 4 * error


def test_every_pattern_of_carries():
    a, b, pattern = pattern_pairs(3, TEST_SEEDS["patterns"])
    assert torch.bincount(pattern).tolist() == [3] * 1024
    for x, y, p in zip(a.tolist(), b.tolist(), pattern.tolist()):
        assert add_by_hand(x, y)[0] == [p >> i & 1 for i in range(DIGITS)]


def test_uniform_weights_are_the_frequencies_of_uniform_pairs():
    n = 400_000
    a, b = uniform_pairs(n, generator(7))
    for strata, index in (
        ("ripple", longest_ripple(a, b)),
        (
            "patterns",
            (
                torch.tensor([0])
                + sum(
                    ((a % 10 ** (i + 1) + b % 10 ** (i + 1)) >= 10 ** (i + 1)).long() << i
                    for i in range(DIGITS)
                )
            ),
        ),
    ):
        weights = uniform_weights(strata)
        assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
        observed = torch.bincount(index, minlength=len(weights))
        assert ((observed - n * weights).abs() < 5 * (n * weights).sqrt() + 5).all()
    with pytest.raises(ValueError, match="one of ripple, patterns"):
        uniform_weights("carries")


def test_weights_of_short_ripples_by_hand():
    weights = uniform_weights("ripple")
    assert float(weights[9]) == pytest.approx(
        0.45 * 0.1**9
    )  # generated in the ones, then nine nines
    assert float(weights[8]) == pytest.approx(
        0.45 * 0.1**8 * (0.9 + 1.0)
    )  # starts in column 0 (then not 9) or 1


def test_uniform_pairs_respect_the_number_of_digits():
    a, b = uniform_pairs(20_000, generator(), 3)
    assert (
        990 < int(a.max()) <= 999
        and int(a.min()) < 10
        and abs(float(b.double().mean()) - 499.5) < 10
    )
    lengths = torch.arange(1, 11).repeat(500)
    a, b = mixed_pairs(5000, generator(), lengths, 0.8)
    assert (a < 10**10).all() and (a >= 0).all() and (b >= 0).all()


def kinds_of(a, b, largest):
    """Which of the four kinds a pair of the carry sampler may be."""
    kinds = set()
    for nd in range(1, largest + 1):
        x, y = ([n // 10**i % 10 for i in range(nd)] for n in (a, b))
        if a < 10**nd and b < 10**nd:
            high = [i for i in range(nd) if x[i] >= 5 or y[i] >= 5]
            if len(high) == 1 and x[high[0]] >= 5 and y[high[0]] >= 5:
                kinds.add("single")
        if a == 10**nd - 1 and 1 <= b <= 10 ** min(nd, 3):
            kinds.add("chain")
        if (
            10 ** (nd - 1) <= a < 10**nd
            and len(str(b)) <= nd
            and str(b).strip("0") in list("123456789")
        ):
            kinds.add("place")
        if 0 <= a <= 10**nd - 1 and a >= 10**nd - 10 and 1 <= b <= 20:
            kinds.add("boundary")
    return kinds


@pytest.mark.parametrize("largest", [1, 3, 10])
def test_carry_pairs_are_of_the_four_kinds(largest):
    a, b = carry_pairs(4000, generator(largest), largest)
    found = [kinds_of(x, y, largest) for x, y in zip(a.tolist(), b.tolist())]
    assert all(found)
    if largest == 10:
        # A quarter each, and what looks like another kind by chance: b of a boundary has one digit
        # that is not 0 in 11 of 20.
        for kind, expected in (
            ("single", 0.275),
            ("chain", 0.275),
            ("place", 0.25 + 0.25 * 0.55 + 0.06),
            ("boundary", 0.34),
        ):
            assert abs(sum(kind in kinds for kinds in found) / 4000 - expected) < 0.03
        long = (longest_ripple(*carry_pairs(100_000, generator(9))) >= 4).double().mean()
        assert 0.19 < float(long) < 0.23  # the sheet's 21 %


def test_recipes_that_differ_later_see_the_same_stream_before():
    share = torch.tensor([0.8] * 100 + [0.3] * 100)
    one, other = mixed_pairs(200, generator(2), 10, share), mixed_pairs(200, generator(2), 10, 0.8)
    assert torch.equal(one[0][:100], other[0][:100]) and not torch.equal(
        one[0][100:], other[0][100:]
    )


def test_streams_have_their_own_seeds():
    assert not set(TEST_SEEDS.values()) & set(VALIDATION_SEEDS.values())
    assert random.Random(2025).randint(0, LARGEST) == 2395527356
