"""Ten-digit sums: the board's protocol, and data made by vectorised code
on any device.

Source of protocol and records: AdderBoard (Papailiopoulos, 2026); of the carry sampler: MicroAdder
(Zarechnev, 2026). Operands are int64 tensors. Columns are counted from the ones, 0..9. Letters: N
pairs, T tokens. The validation stream and the test stream never share a seed: `VALIDATION_SEEDS`
and `TEST_SEEDS` are all there are.
"""

import functools
import math
import random

import torch

from _checks import one_of, whole_number
from _common import own_defaults, seeded_generator
from lab.adders.formats import DIGITS, LARGEST, digits_of

__all__ = """
    board_pairs column_patterns longest_ripple longest_nines
    stratified_pairs pattern_pairs sum_nines_pairs uniform_weights uniform_pairs
    carry_pairs mixed_pairs with_nines VALIDATION_SEEDS TEST_SEEDS
""".split()

EDGE_PAIRS = [
    (0, 0),
    (0, 1),
    (LARGEST, 0),
    (LARGEST, 1),
    (LARGEST, LARGEST),
    (5 * 10**9, 5 * 10**9),
    (1111111111, 8888888889),
    (1234567890, 9876543210),
    (LARGEST, LARGEST),
    (1, LARGEST),
]
TEST_SEEDS = {"ripple": 9_000_001, "patterns": 9_000_002, "nines": 9_000_003}
VALIDATION_SEEDS = {"ripple": 7_000_001, "uniform": 7_000_002}


# --------------------------------------------------------------------------------------------------
# The board's own test
# --------------------------------------------------------------------------------------------------


@own_defaults()
def board_pairs(n=10_000):
    """The board's test set: ten edge cases and n pairs of random.Random(2025), as two int64 tensors
    (10 + n,)."""
    n = whole_number("n", n, 0)
    rng = random.Random(2025)
    pairs = EDGE_PAIRS + [(rng.randint(0, LARGEST), rng.randint(0, LARGEST)) for _ in range(n)]
    return tuple(torch.tensor(pairs).T.contiguous())


# --------------------------------------------------------------------------------------------------
# Carries and ripples
# --------------------------------------------------------------------------------------------------


def column_patterns(a, b):
    """Which columns generate a carry (digit sum >= 10) and which propagate one (digit sum 9): two
    (N, 10) booleans."""
    sums = digits_of(a, DIGITS) + digits_of(b, DIGITS)
    return sums >= 10, sums == 9


def _ripples(a, b):
    """How many columns of digit sum 9 the carry that leaves each column has just passed through:
    (N, 10) int64."""
    generates, propagates = column_patterns(a, b)
    run, carry = (
        torch.zeros(len(a), dtype=torch.int64, device=a.device),
        torch.zeros_like(generates[:, 0]),
    )
    runs = []
    for i in range(DIGITS):
        run = torch.where(propagates[:, i] & carry, run + 1, 0)
        carry = generates[:, i] | (propagates[:, i] & carry)
        runs.append(run)
    return torch.stack(runs, dim=1)


def longest_ripple(a, b):
    """The most consecutive columns of digit sum 9 that a carry passes through, 0..9: (N,) int64."""
    return _ripples(a, b).amax(1)


def _pairs_with(kinds, generator):
    """Pairs whose columns are of given kinds, digits uniform given them: (N, 10) with 0 neither, 1
    propagates, 2 generates -> two (N,) operands."""
    choices = [
        torch.tensor([(x, y) for x in range(10) for y in range(10) if kind(x + y)])
        for kind in (lambda s: s < 9, lambda s: s == 9, lambda s: s > 9)
    ]  # 45, 10 and 45 digit pairs
    digits = torch.zeros(*kinds.shape, 2, dtype=torch.int64)
    for kind, pairs in enumerate(choices):
        here = kinds == kind
        digits[here] = pairs[torch.randint(len(pairs), (int(here.sum()),), generator=generator)]
    return tuple((digits * 10 ** torch.arange(DIGITS)[:, None]).sum(1).T.contiguous())


@own_defaults()
def stratified_pairs(per_ripple, seed):
    """Pairs by longest ripple: (a, b, ripple), `per_ripple` for each of 0..9, each also with its
    operands exchanged.

    Within a stratum the pairs are uniform given their longest ripple. They are made, not waited
    for: a uniform pair is given a ripple of that length in a uniformly drawn place, and kept if
    that is its longest, with probability 1 / k where it has k ripples of that length (it could have
    been made in k ways). Returns int64 tensors of 20 * per_ripple.
    """
    per_ripple, generator = whole_number("per_ripple", per_ripple, 1), seeded_generator(seed)
    strata = []
    for ripple in range(DIGITS):
        kept_a = kept_b = torch.empty(0, dtype=torch.int64)
        while len(kept_a) < per_ripple:
            n = 4 * per_ripple
            a, b = (torch.randint(0, 10**DIGITS, (n,), generator=generator) for _ in range(2))
            if ripple:
                generates, propagates = column_patterns(a, b)
                kinds = propagates.long() + 2 * generates.long()  # (n, 10)
                start = torch.randint(
                    0, DIGITS - ripple, (n, 1), generator=generator
                )  # the column that generates
                column = torch.arange(DIGITS)
                kinds = torch.where(column == start, 2, kinds)
                kinds = torch.where((column > start) & (column <= start + ripple), 1, kinds)
                a, b = _pairs_with(kinds, generator)
            runs = _ripples(a, b)
            ways = (runs == ripple).sum(1) if ripple else torch.ones(n)
            right = (runs.amax(1) == ripple) & (torch.rand(n, generator=generator) * ways < 1)
            kept_a, kept_b = torch.cat([kept_a, a[right]]), torch.cat([kept_b, b[right]])
        strata.append((kept_a[:per_ripple], kept_b[:per_ripple]))
    a, b = (torch.cat(operands) for operands in zip(*strata))
    a, b = torch.cat([a, b]), torch.cat([b, a])
    return a, b, longest_ripple(a, b)


@own_defaults()
def pattern_pairs(per_pattern, seed):
    """Every pattern of carries: (a, b, pattern). A pattern says of each of the ten columns whether
    a carry leaves it; all 1,024 occur, `per_pattern` times each. How a carry arises (generated or
    propagated) and the digits are drawn so that the pairs are uniform given their pattern. Returns
    int64 tensors of 1,024 * per_pattern; bit i: column i.
    """
    per_pattern, generator = whole_number("per_pattern", per_pattern, 1), seeded_generator(seed)
    patterns = torch.arange(2**DIGITS).repeat_interleave(per_pattern)
    out = patterns[:, None] >> torch.arange(DIGITS) & 1  # carry out of each column
    into = torch.cat([torch.zeros(len(out), 1, dtype=torch.int64), out[:, :-1]], dim=1)
    # Of 55 digit pairs that carry when one comes in, 10 propagate; likewise of 55 that do not when
    # none comes in.
    propagates = (torch.rand(out.shape, generator=generator) < 10 / 55) & (into == out)
    kinds = torch.where(propagates, 1, 2 * out)
    a, b = _pairs_with(kinds, generator)
    return a, b, patterns


def longest_nines(numbers):
    """The longest run of nines in the eleven digits of each number: (N,) int64 -> (N,) int64,
    0..10."""
    run = longest = torch.zeros_like(numbers)
    for digit in digits_of(numbers, DIGITS + 1).T:
        run = torch.where(digit == 9, run + 1, 0)
        longest = torch.maximum(longest, run)
    return longest


@own_defaults()
def sum_nines_pairs(per_run, seed):
    """Pairs by the longest run of nines in their sum: (a, b, run), `per_run` for each of 0..10, and
    their exchanges.

    A ripple leaves zeros in the sum, nines are where a carry stops short: a test by ripples does
    not see them. A uniform pair's sum is given a run in a uniformly drawn place, what b lacks is
    added to it, and the pair is kept if it is one. Returns int64 tensors of 22 * per_run.
    """
    per_run, generator, strata = whole_number("per_run", per_run, 1), seeded_generator(seed), []
    for run in range(DIGITS + 1):
        kept = torch.empty(2, 0, dtype=torch.int64)
        while kept.shape[1] < per_run:
            a, b = torch.randint(0, LARGEST + 1, (2, 4 * per_run), generator=generator)
            start = torch.randint(0, DIGITS + 1 - run, (len(a),), generator=generator)
            low, high = 10**start, 10 ** (start + run)
            total = a + b
            b = total // high * high + (high - low) + total % low - a
            right = (b >= 0) & (b <= LARGEST)
            right &= longest_nines(a + b.clamp(0, LARGEST)) == run
            kept = torch.cat([kept, torch.stack([a, b])[:, right]], dim=1)
        strata.append(kept[:, :per_run])
    a, b = torch.cat(strata, dim=1)
    a, b = torch.cat([a, b]), torch.cat([b, a])
    return a, b, longest_nines(a + b)


@own_defaults()
def uniform_weights(strata):
    """How often each stratum comes among uniform pairs. "ripple": probabilities of longest ripples
    0..9, (10,) float64; "patterns": of the 1,024 patterns of carries, (1024,) float64. Exact, by a
    Markov chain over the columns."""
    if one_of("strata", strata, ("ripple", "patterns")) == "patterns":
        out = torch.arange(2**DIGITS)[:, None] >> torch.arange(DIGITS) & 1
        into = torch.cat([torch.zeros(len(out), 1, dtype=torch.int64), out[:, :-1]], dim=1)
        return torch.where(into == out, 0.55, 0.45).double().prod(1)

    def at_most(limit):  # states: no carry; a carry that has run 0..limit columns
        state = [1.0] + [0.0] * (limit + 1)
        for _ in range(DIGITS):
            carry = state[1:]
            state = [0.55 * state[0] + 0.45 * sum(carry), 0.45 * sum(state)] + [
                0.1 * p for p in carry[:-1]
            ]
        return sum(state)

    below = torch.tensor([0.0] + [at_most(limit) for limit in range(DIGITS)], dtype=torch.float64)
    return below.diff()


# --------------------------------------------------------------------------------------------------
# Training data
# --------------------------------------------------------------------------------------------------

LCM = math.lcm(*range(1, DIGITS + 1))  # 2,520: its residues modulo any number of digits are uniform


def _draw(n, generator):
    """Raw random numbers of n examples: two uniform ten-digit numbers, and one that pays for every
    other choice."""
    device = generator.device
    a, b = (
        torch.randint(0, 10**DIGITS, (n,), generator=generator, device=device) for _ in range(2)
    )
    return (
        a,
        b,
        torch.randint(0, LCM * LCM * 4 * 81 * 2**20, (n,), generator=generator, device=device),
    )


def uniform_pairs(n, generator, largest_digits=DIGITS):
    """n pairs of independent uniform operands below 10**largest_digits, on the generator's device:
    two (n,) int64."""
    return mixed_pairs(n, generator, largest_digits, 0.0)


def carry_pairs(n, generator, largest_digits=DIGITS):
    """n pairs of the carry sampler: one of four kinds, equally likely. See the sheet in the book's
    appendix.

    nd ~ U{1..largest_digits}. single: one column of two digits 5-9, all others 0-4; chain: 10^nd -
    1 plus U{1..10^min(nd,3)}; place: a random nd-digit number plus U{1..9} 10^pos; boundary: 10^p -
    U{1..10} plus U{1..20}.
    """
    return mixed_pairs(n, generator, largest_digits, 1.0)


@own_defaults()
def mixed_pairs(n, generator, largest_digits, carry_share):
    """n pairs, a share of them from the carry sampler and the others uniform: two (n,) int64.

    largest_digits and carry_share are numbers, or (n,) tensors (the shares on the CPU). Whatever
    they are, an example uses the same random numbers: so recipes that differ in them see the same
    stream where they agree.
    """
    a, b, rest = _draw(whole_number("n", n, 1), generator)
    device = a.device
    powers = 10 ** torch.arange(DIGITS + 1, device=device)
    digits = torch.as_tensor(largest_digits, device=device).expand(n)
    below = (
        (torch.as_tensor(carry_share, dtype=torch.float64) * 2**20)
        .ceil()
        .long()
        .to(device)
        .expand(n)
    )
    chosen, rest = rest % 2**20 < below, rest // 2**20
    uniform_a, uniform_b = a % powers[digits], b % powers[digits]
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return uniform_a, uniform_b
    structured = _carry_sums(a[rows], b[rows], rest[rows], digits[rows], powers)
    return uniform_a.index_copy(0, rows, structured[0]), uniform_b.index_copy(
        0, rows, structured[1]
    )


@own_defaults()
def with_nines(a, b, generator, largest_digits, share, chance):
    """The pairs with, in a share of them, each of the lowest largest_digits columns turned into 9 +
    9 by chance: two (n,).

    Uniform pairs show a column 9 + 9 once in a hundred; the smallest adders err there last.
    """
    device = a.device
    worth = 10 ** torch.arange(DIGITS, device=device)
    inside = (
        torch.arange(DIGITS, device=device)
        < torch.as_tensor(largest_digits, device=device).expand(len(a))[:, None]
    )
    draw = torch.rand(len(a), DIGITS + 1, generator=generator, device=device)
    turned = (draw[:, :DIGITS] < chance) & inside & (draw[:, DIGITS:] < share)  # (n, 10)
    return tuple(x + ((9 - digits_of(x, DIGITS)) * turned * worth).sum(1) for x in (a, b))


@functools.cache
def _halved(device):
    """Each number below 100,000 with every digit halved, rounded down: half of a uniform digit is
    uniform on 0..4."""
    return (digits_of(torch.arange(100_000), 5) // 2 * 10 ** torch.arange(5)).sum(1).to(device)


def _carry_sums(a, b, rest, digits, powers):
    """The carry sampler's operands from uniform ten-digit numbers a, b and the remaining choices:
    four kinds at once."""
    kind, rest = rest % 4, rest // 4
    leading, factor, rest = 1 + rest % 9, 1 + rest // 9 % 9, rest // 81
    nd, place = 1 + rest % LCM % digits, rest // LCM
    place = place % nd
    halved, high = _halved(a.device), 5 * powers[place]
    single = [
        (halved[x % 100_000] + 100_000 * halved[x // 100_000]) % powers[nd] + high for x in (a, b)
    ]
    chain = [powers[nd] - 1, 1 + b % powers[nd.clamp(max=3)]]
    one_place = [leading * powers[nd - 1] + a % powers[nd - 1], factor * powers[place]]
    boundary = [powers[nd] - 1 - a % 10, 1 + b % 20]
    pairs = [
        torch.stack(operands).gather(0, kind[None])[0].clamp(0, LARGEST)
        for operands in zip(single, chain, one_place, boundary)
    ]
    return pairs
