"""What the 763 and the 777 have learned: where they err, where they look, and what an eleventh digit does to them.

Their sequence is X9..X0 + Y9..Y0 = Z0..Z10: the row that writes Z_i stands at place 21 + i, X_i at 9 - i and Y_i at 20 - i.
So there is no fixed distance between a row and its column, as there is where the operands come ones first.
"""
import pandas as pd
import torch

from _common import EQUALS, PLUS, attention_weights, generate
from lab.fragility import wrong_digits
from lab.frontier import Entry
from lab.interventions import hooks
from lab.ten_digits import DIGITS, FORMATS, column_patterns, digits_of

__all__ = "FIRST_PASSES KINDS column_kinds errors_by_kind mean_attention fixed_attention attention_shares right_at_length".split()

FIRST_PASSES = {"763": Entry("763", seeds=range(4)), "777": Entry("777", seeds=range(10))}
KINDS = ("none", "stopped", "generated", "rippled")
PLAIN = FORMATS["plain"]


# ---------------------------------------------------------------------------------------------------------------------
# Errors
# ---------------------------------------------------------------------------------------------------------------------

def column_kinds(a, b):
    """What the column before says about the carry into columns 1..10: (N, 10) int64, an index of KINDS.

    none: its digits add to 8 or less; stopped: to 9, and no carry came in; generated: to 10 or more; rippled: to 9, and a
    carry came in. Only for a digit sum of 9 does one have to know more than the column's own two digits.
    """
    generates, propagates = column_patterns(a, b)                                  # (N, 10) each
    carries = digits_of(a + b, DIGITS + 1) != digits_of(_without_carries(a, b), DIGITS + 1)        # into columns 0..10
    return torch.where(generates, 2, torch.where(propagates, 1 + 2 * carries[:, :DIGITS], 0))


def _without_carries(a, b):
    """The sum with every carry dropped."""
    return ((digits_of(a, DIGITS) + digits_of(b, DIGITS)) % 10 * 10 ** torch.arange(DIGITS)).sum(1)


def errors_by_kind(model, a, b):
    """How often a digit is wrong, by what the column before says: a DataFrame (kind, column, digits, wrong), columns 1..10."""
    wrong, kinds = wrong_digits(model, a, b)[:, 1:], column_kinds(a, b)
    return pd.DataFrame([(kind, column + 1, int(here.sum()), int(wrong[:, column][here].sum())) for k, kind in enumerate(KINDS)
                         for column in range(DIGITS) for here in [kinds[:, column] == k]],
                        columns=["kind", "column", "digits", "wrong"])


# ---------------------------------------------------------------------------------------------------------------------
# Attention
# ---------------------------------------------------------------------------------------------------------------------

def mean_attention(model, a, b):
    """The attention weights of the only layer, averaged over sums: (33, 33), rows adding to one."""
    return attention_weights(model, PLAIN.sequences(a, b)[:, :-1])[0].mean((0, 1))


def fixed_attention(model, pattern):
    """A context manager in which the model attends as `pattern` (T, T) says, whatever it reads."""
    return hooks(model.blocks[0].attn.pattern.register_forward_hook(
        lambda module, args, weights: pattern[:weights.shape[-2], :weights.shape[-1]].expand_as(weights)))


def attention_shares(pattern):
    """Where the rows that write Z0..Z10 look: a DataFrame, one row per column. pattern: (33, 33), as from mean_attention.

    Columns: own_x, own_y (X_i and Y_i), before_x, before_y (X_(i-1) and Y_(i-1)), last (the row's own place, where the digit
    just written stands), rest. NaN where there is no such digit.
    """
    rows = []
    for i in range(DIGITS + 1):
        row, at = pattern[21 + i], {"last": 21 + i}
        if i < DIGITS:
            at |= {"own_x": 9 - i, "own_y": 20 - i}
        if i > 0:
            at |= {"before_x": 10 - i, "before_y": 21 - i}
        shares = {name: float(row[place]) for name, place in at.items()}
        rows.append({"column": i, **shares, "rest": 1 - sum(shares.values())})
    return pd.DataFrame(rows)[["column", "own_x", "own_y", "before_x", "before_y", "last", "rest"]]


# ---------------------------------------------------------------------------------------------------------------------
# Length
# ---------------------------------------------------------------------------------------------------------------------

def right_at_length(model, a, b, n_digits):
    """Sums with operands written with n_digits digits in place of ten: which digits are right, (N, n_digits + 1) booleans.

    Raises ValueError for operands that do not fit, and where the sum would not: 35 places hold operands of 1 to 11 digits.
    """
    if not 1 <= n_digits <= DIGITS + 1:
        raise ValueError(f"n_digits may be 1 to {DIGITS + 1}: {model.max_seq_len} places hold no more, not {n_digits}")
    if min(int(a.min()), int(b.min())) < 0 or max(int(a.max()), int(b.max())) >= 10**n_digits:
        raise ValueError(f"the operands must have at most {n_digits} digits")
    plus, equals = (torch.full((len(a), 1), mark) for mark in (PLUS, EQUALS))
    prompts = torch.cat([digits_of(a, n_digits).flip(1), plus, digits_of(b, n_digits).flip(1), equals], dim=1)      # (N, 2n + 2)
    written = generate(model, prompts, n_digits + 1)[:, prompts.shape[1]:]
    return written == digits_of(a + b, n_digits + 1)
