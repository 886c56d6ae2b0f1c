"""What the 763 and the 777 have learned: where they err, where they look, and what an eleventh
digit does to them.

Their sequence is X9..X0 + Y9..Y0 = Z0..Z10: the row that writes Z_i stands at place 21 + i, X_i at
9 - i and Y_i at 20 - i. So there is no fixed distance between a row and its column, as there is
where the operands come ones first.
"""

import numpy as np
import pandas as pd
import torch

from _checks import whole_number, whole_numbers
from _common import EQUALS, PLUS, attention_weights, generate, own_defaults, seeded_generator
from lab.adders.formats import DIGITS, FORMATS, digits_of
from lab.adders.fragility import right_sums, wrong_digits
from lab.adders.studies.frontier import Entry
from lab.adders.ten_digits import _ripples, column_patterns, uniform_pairs
from lab.addition.interventions import ablate_edges, edge_means, hooks

__all__ = """
    FIRST_PASSES KINDS PLACES column_kinds errors_by_kind column_table best_and_last
    look_to_look mean_attention fixed_attention fixed_and_free given_places attention_shares
    edge_costs right_at_length
""".split()

FIRST_PASSES = {"763": Entry("763", seeds=range(4)), "777": Entry("777", seeds=range(10))}
KINDS = ("none", "stopped", "generated", "rippled")
PLACES = ("own_x", "own_y", "before_x", "before_y", "last")
PLAIN = FORMATS["plain"]


# --------------------------------------------------------------------------------------------------
# Errors
# --------------------------------------------------------------------------------------------------


def column_kinds(a, b):
    """What the column before says about the carry into columns 1..10: (N, 10) int64, an index of
    KINDS.

    none: its digits add to 8 or less; stopped: to 9, and no carry came in; generated: to 10 or
    more; rippled: to 9, and a carry came in. Only for a digit sum of 9 does one have to know more
    than the column's own two digits.
    """
    generates, propagates = column_patterns(a, b)  # (N, 10) each
    return torch.where(generates, 2, torch.where(propagates, 1 + 2 * (_ripples(a, b) > 0), 0))


def errors_by_kind(model, a, b):
    """How often a digit is wrong, by what the column before says: a DataFrame
    (kind, column, digits, wrong), columns 1..10."""
    wrong, kinds = wrong_digits(model, a, b)[:, 1:], column_kinds(a, b)
    return pd.DataFrame(
        [
            (kind, column + 1, int(here.sum()), int(wrong[:, column][here].sum()))
            for k, kind in enumerate(KINDS)
            for column in range(DIGITS)
            for here in [kinds[:, column] == k]
        ],
        columns=["kind", "column", "digits", "wrong"],
    )


def look_to_look(history, start, end):
    """By how much the share of validation sums right changes from one look to the next, later than
    step `start` up to step `end`: the median of its absolute values over all looks and seeds. NaN
    where there are no two looks."""
    part = history[(history["step"] > start) & (history["step"] <= end)].sort_values("step")
    return float(part.groupby("seed")["exact"].diff().abs().median())


@own_defaults()
def column_table(sweep, n=2_000, seed=1):
    """Every column of every seed of a sweep, on n uniform sums: a DataFrame
    (seed, column, right, own, log_ratio).

    right: the share of digits that are right, the right ones standing before them; own: mean
    attention on the column's own two digits; log_ratio: log of the mean attention on a digit of the
    own column over that on the same operand's digit of the column before, mean of both operands.
    NaN where there are no such digits (columns 0 and 10).
    """
    a, b = uniform_pairs(n, seeded_generator(seed))
    tables = []
    for each in sweep.outcomes["seed"]:
        model = sweep.model(each)
        shares = attention_shares(mean_attention(model, a, b))
        ratios = [
            np.log(shares[f"own_{operand}"] / shares[f"before_{operand}"]) for operand in "xy"
        ]
        tables.append(
            pd.DataFrame(
                {
                    "seed": each,
                    "column": shares["column"],
                    "right": 1 - wrong_digits(model, a, b).double().mean(0).numpy(),
                    "own": shares["own_x"] + shares["own_y"],
                    "log_ratio": sum(ratios) / 2,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def best_and_last(history, after):
    """Each seed's highest share of validation sums right from a step on, and its last: a DataFrame
    (best, last) by seed.

    Of a training that ended before that step, all of it counts."""
    late = history[history["step"] > min(after, history["step"].max() - 1)].sort_values("step")
    return late.groupby("seed")["exact"].agg(best="max", last="last")


# --------------------------------------------------------------------------------------------------
# Attention
# --------------------------------------------------------------------------------------------------


def places_of(column):
    """Where the digits stand that the row writing Z_column may need: {name of PLACES: place},
    without those there are none of."""
    places = {"last": 21 + column}
    if column < DIGITS:
        places |= {"own_x": 9 - column, "own_y": 20 - column}
    if column > 0:
        places |= {"before_x": 10 - column, "before_y": 21 - column}
    return places


def mean_attention(model, a, b):
    """The attention weights of the only layer, averaged over sums: (33, 33), rows adding to one."""
    return attention_weights(model, PLAIN.sequences(a, b)[:, :-1])[0].mean((0, 1))


def fixed_attention(model, pattern):
    """A context manager in which the model attends as `pattern` (T, T) says, whatever it reads."""
    return hooks(
        model.blocks[0].attn.pattern.register_forward_hook(
            lambda module, args, weights: pattern[
                : weights.shape[-2], : weights.shape[-1]
            ].expand_as(weights)
        )
    )


def fixed_and_free(model, a, b):
    """The share of sums that a model has right with its attention fixed at the mean over these
    sums, and with its own: two floats."""
    free = right_sums(model, a, b).double().mean().item()
    with fixed_attention(model, mean_attention(model, a, b)):
        return right_sums(model, a, b).double().mean().item(), free


def given_places(model, columns):
    """A context manager in which the rows that write these columns (0..9) look where they should,
    ten to one: X_i and Y_i with a weight of 10, X_(i-1) and Y_(i-1) with 1, nothing else. All other
    rows attend as they did. Raises ValueError for column 10."""
    columns = whole_numbers("a column", columns, 0, DIGITS - 1)

    def replaced(module, args, weights):  # (B, 1, T, T)
        weights = weights.clone()
        for column in columns:
            row = torch.zeros(weights.shape[-1], dtype=weights.dtype, device=weights.device)
            for name, place in places_of(column).items():
                row[place] = 0 if name == "last" else 10 if name.startswith("own") else 1
            weights[:, :, 21 + column] = row / row.sum()
        return weights

    return hooks(model.blocks[0].attn.pattern.register_forward_hook(replaced))


def attention_shares(pattern):
    """Where the rows that write Z0..Z10 look: a DataFrame, one row per column. pattern: (33, 33),
    as from mean_attention.

    Columns: own_x, own_y (X_i and Y_i), before_x, before_y (X_(i-1) and Y_(i-1)), last (the row's
    own place, where the digit just written stands), rest. NaN where there is no such digit.
    """
    shares = [
        {name: float(pattern[21 + i, place]) for name, place in places_of(i).items()}
        for i in range(DIGITS + 1)
    ]
    return pd.DataFrame(
        [{"column": i, **row, "rest": 1 - sum(row.values())} for i, row in enumerate(shares)]
    )[["column", *PLACES, "rest"]]


def edge_costs(model, a, b):
    """What each place is worth to the rows that write Z1..Z9: a DataFrame (cut, digits, wrong).

    cut: "nothing", one of PLACES, "rest" or "all": in each of these rows, what it receives from
    there is replaced by its mean over the sums. With one layer a row's digit depends on no other
    row's attention, so all rows are cut at once. The right digits stand before each digit. "last"
    cuts attention to the row's own place only; the residual stream still brings its token.
    """
    means = edge_means(model, PLAIN.sequences(a, b)[:, :-1])[0]
    rows = range(1, DIGITS)
    at = {name: [(21 + i, places_of(i)[name]) for i in rows] for name in PLACES}
    at["all"] = [(21 + i, key) for i in rows for key in range(22 + i)]
    at["rest"] = [edge for edge in at["all"] if not any(edge in at[name] for name in PLACES)]
    wrong = {"nothing": wrong_digits(model, a, b)}
    for name, edges in at.items():
        with ablate_edges(model, 0, edges, means):
            wrong[name] = wrong_digits(model, a, b)
    return pd.DataFrame(
        [
            (name, each[:, 1:DIGITS].numel(), int(each[:, 1:DIGITS].sum()))
            for name, each in wrong.items()
        ],
        columns=["cut", "digits", "wrong"],
    )


# --------------------------------------------------------------------------------------------------
# Length
# --------------------------------------------------------------------------------------------------


@own_defaults()
def right_at_length(model, a, b, n_digits):
    """Sums with operands written with n_digits digits in place of ten: which digits are right,
    (N, n_digits + 1) booleans.

    Raises ValueError for operands that do not fit, and where the sum would not: 35 places hold
    operands of 1 to 11 digits.
    """
    n_digits = whole_number(
        "n_digits", n_digits, 1, DIGITS + 1
    )  # the model's 35 places hold no more
    if min(int(a.min()), int(b.min())) < 0 or max(int(a.max()), int(b.max())) >= 10**n_digits:
        raise ValueError(f"the operands must have at most {n_digits} digits")
    plus, equals = (torch.full((len(a), 1), mark) for mark in (PLUS, EQUALS))
    prompts = torch.cat(
        [digits_of(a, n_digits).flip(1), plus, digits_of(b, n_digits).flip(1), equals], dim=1
    )  # (N, 2n + 2)
    written = generate(model, prompts, n_digits + 1)[:, prompts.shape[1] :]
    return written == digits_of(a + b, n_digits + 1)
