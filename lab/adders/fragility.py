"""How exact must each number of a model be? Intervals in which it still adds, and the shortest
numbers inside them.

Any model of this project will do whose sums have a format in lab.adders.formats.FORMATS; the
hand-set ones are small enough for it to take seconds. "Passes" means: every digit of every given
pair is right, with the right digits before it, which is the same as: greedy decoding writes every
sum.
"""

import copy
import math

import pandas as pd
import torch

from _checks import whole_number
from _common import own_defaults, seeded_generator
from lab.adders.formats import DIGITS, FORMATS
from lab.adders.models.by_hand import numbers_of
from lab.adders.ten_digits import stratified_pairs

__all__ = (
    "wrong_digits right_sums passes passing_interval fragility shortest_number shortened"
    " demanding_pairs".split()
)

# times the number's own size: a number that may change by more is called free
LARGEST_CHANGE = 2.0**10


@own_defaults()
def demanding_pairs(n, seed):
    """n pairs that ask much of a circuit: two fifths by ripple, of every length; the others with
    digits 0, 4, 5 and 9 only, whose columns are the smallest and the largest that do and do not
    carry. Two int64 tensors. n: a multiple of 50."""
    n = whole_number("n", n)
    if n < 50 or n % 50:
        raise ValueError(f"n must be a positive multiple of 50, not {n}")
    a, b, _ = stratified_pairs(n // 50, seed)  # 20 of each
    generator = seeded_generator(seed)
    digits = torch.tensor([0, 4, 5, 9])[
        torch.randint(4, (2, n - len(a), DIGITS), generator=generator)
    ]
    c, d = (digits * 10 ** torch.arange(DIGITS)).sum(-1)
    return torch.cat([a, c]), torch.cat([b, d])


@torch.no_grad()
def wrong_digits(model, a, b):
    """Which digits of each sum a model gets wrong, the right ones standing before them: two (N,)
    int64 -> (N, 11) booleans."""
    format = FORMATS[model.config.format]
    sequences = format.sequences(a, b)
    rows = slice(format.prompt - 1, format.prompt - 1 + format.answer)
    written = model(sequences[:, : format.prompt - 1 + format.answer])[:, rows].argmax(-1)
    return written != sequences[:, format.prompt : format.prompt + format.answer]


def right_sums(model, a, b):
    """Which sums a model writes right: two (N,) int64 tensors -> (N,) booleans."""
    return ~wrong_digits(model, a, b).any(1)


def passes(model, a, b, batch_size=512):
    """Are all sums right? Stops at the first batch with a wrong one."""
    return all(
        bool(right_sums(model, x, y).all())
        for x, y in zip(a.split(batch_size), b.split(batch_size))
    )


def _place(model, name):
    """The flattened tensor and the index that a name of numbers_of means. Raises ValueError for
    others."""
    tensor, _, index = name.partition("[")
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if tensor not in tensors or name not in set(numbers_of(model)["name"]):
        raise ValueError(
            f"the model has no number {name!r}: it has {', '.join(numbers_of(model)['name'])}"
        )
    return tensors[tensor].data.view(-1), int(index.rstrip("]") or 0)


def passing_interval(model, name, a, b, steps=10):
    """The interval around a number in which the model passes, the others as they are: (low, high).

    From the number outwards in steps that grow fourfold, then `steps` bisections: the ends are
    inside, and exact to 2^-steps of the last step. Infinite where no bound was found. Raises
    ValueError where the model does not pass as it is.
    """
    if not passes(model, a, b):
        raise ValueError("the model does not pass as it is")
    numbers, index = _place(model, name)
    value = float(numbers[index])
    unit = abs(value) or 1.0

    def good(change):
        numbers[index] = value + change
        try:
            return passes(model, a, b)
        finally:
            numbers[index] = value

    ends = []
    for sign in (-1, 1):
        inside, step = 0.0, unit * 2.0**-20
        while step <= unit * LARGEST_CHANGE and good(sign * step):
            inside, step = step, 4 * step
        if step > unit * LARGEST_CHANGE:
            ends.append(sign * math.inf)
            continue
        outside = step
        for _ in range(steps):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if good(sign * middle) else (inside, middle)
        ends.append(value + sign * inside)
    return tuple(ends)


def fragility(model, a, b, names=None):
    """One row per number: a DataFrame (name, value, kind, low, high, slack).

    low, high: see passing_interval. slack: how far the number may move towards the nearer end, as a
    share of its size.
    """
    table = numbers_of(model)
    table = table if names is None else table[table["name"].isin(names)].reset_index(drop=True)
    ends = [passing_interval(model, name, a, b) for name in table["name"]]
    low, high = (pd.Series(end, dtype=float) for end in zip(*ends))
    near = pd.concat([table["value"] - low, high - table["value"]], axis=1).min(axis=1)
    return table.assign(
        low=low, high=high, slack=near / table["value"].abs().where(table["value"] != 0, 1.0)
    )


def shortest_number(low, high, value, base=2):
    """The number in [low, high] with the fewest significant digits to a base, the one nearest to
    `value` among those.

    Returns (number, digits, exponent): an integer of `digits` digits times base^exponent; (0, 0, 0)
    where 0 is inside.
    """
    if low <= 0 <= high:
        return 0.0, 0, 0
    if not low <= value <= high:
        raise ValueError(f"value must lie in [{low}, {high}], not at {value}")
    sign, low, high, value = (1, low, high, value) if low > 0 else (-1, -high, -low, -value)
    # a power of the base is always so near
    low, high = max(low, value / base**2), min(high, value * base**2)
    powers = range(math.floor(math.log(low, base)) - 1, math.ceil(math.log(high, base)) + 1)
    for digits in range(1, 60):
        found = []
        for exponent in (power - digits + 1 for power in powers):
            unit = float(base) ** exponent
            for m in {round(value / unit), math.ceil(low / unit), math.floor(high / unit)}:
                if base ** (digits - 1) <= m < base**digits and low <= m * unit <= high:
                    found.append((abs(m * unit - value), sign * m * unit, exponent))
        if found:
            _, number, exponent = min(found)
            return number, digits, exponent
    raise ValueError(f"no short number in [{low}, {high}]")


def shortened(model, a, b, order=None, caution=0.1):
    """A copy of a model with every number as short as it can be, and what that costs:
    (model, DataFrame).

    Number after number, in the given order of their names (the model's own if None), is replaced by
    the shortest inside its interval, given those before; from each end of the interval a share
    `caution` is left out. Best: the tightest first, as sorting `fragility` by slack gives them. The
    table has value, low, high, shortest, bits (of the significand), exponent_bits and decimals
    (significant decimal digits that would do in its place). A number's cost in bits is its
    significand, its exponent and a sign: a rough description length, in this form. What marks where
    a number ends is left out.
    """
    model = copy.deepcopy(model)
    table = numbers_of(model)
    if order is not None:
        table = table.set_index("name", drop=False).loc[list(order)]
    rows = []
    for row in table.itertuples():
        low, high = passing_interval(model, row.name, a, b)
        low, high = (row.value + (1 - caution) * (end - row.value) for end in (low, high))
        number, bits, exponent = shortest_number(low, high, row.value)
        _, decimals, _ = shortest_number(low, high, row.value, base=10)
        numbers, index = _place(model, row.name)
        numbers[index] = number
        rows.append(
            (
                row.name,
                row.value,
                row.kind,
                low,
                high,
                number,
                bits,
                1 + math.ceil(math.log2(abs(exponent) + 1)) if bits else 0,
                decimals,
            )
        )
    table = pd.DataFrame(
        rows,
        columns=[
            "name",
            "value",
            "kind",
            "low",
            "high",
            "shortest",
            "bits",
            "exponent_bits",
            "decimals",
        ],
    )
    return model, table.assign(cost=table["bits"] + table["exponent_bits"] + (table["bits"] > 0))
