"""Two other adders set by hand, which do not carry from digit to digit: one right, one published as
right that is not.

PrefixAdder, after fblissjr's 33: one layer, three heads. A head with the weights of place value
sums all lower columns to
    P_i = sum_{j<i} s_j 10^(j-i), s_j = X_j + Y_j; the carry into column i is the whole part of P_i.
    No digit already written is used: its embedding is taken off by a head of its own.
WholeSumAdder, after Litzenberger's 36: two layers, leading digit first. The first layer multiplies
each digit by its
    place; the second sums everything to what is left of a + b after the digits already written, and
    compares it with the ten multiples 0.5, 1.5, ... 9.5 of the place. The nearest is the digit. (On
    the board as 100 %; see `sum_nines_pairs` in lab/ten_digits.)
Both need float64: the answer is one part in 10^10. Sources: AdderBoard (Papailiopoulos 2026) and
its entries; the code, and the count of the first, are this book's own. Letters: B sequences, T
tokens, N sums.
"""

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from _checks import true_or_false, whole_number
from _common import EOS, EQUALS, PLUS, own_defaults
from lab.adders.formats import DIGITS
from lab.adders.models.micro_adder import check_tokens
from lab.checks import check_settings

__all__ = "PrefixConfig PrefixAdder WholeSumConfig WholeSumAdder FALSIFIED".split()

# found by a fork of the board: the published model writes 7000000000
FALSIFIED = (5193798811, 1806201129)
DOUBLE = torch.float64


def _numbers(module, counted=(), frozen=()):
    """Give a module its numbers, in float64: lists of (name, value)."""
    for name, value in counted:
        module.register_parameter(name, nn.Parameter(torch.tensor(value, dtype=DOUBLE)))
    for name, value in frozen:
        module.register_buffer(name, torch.tensor(value, dtype=DOUBLE))


@dataclass(frozen=True)
class PrefixConfig:
    """window: how many lower columns the prefix head sees. With fewer than ten the adder is wrong
    exactly where a carry ripples through as many columns as it sees, or more: a window of 4 passes
    the board's test with 10,007 of 10,010."""

    window: int = DIGITS

    format = "digits only"

    def __post_init__(self):
        check_settings(self, window=functools.partial(whole_number, low=1, high=DIGITS))

    @property
    def label(self):
        return "prefix" if self.window == DIGITS else f"prefix-window-{self.window}"


class PrefixAdder(nn.Module):
    """Token ids in, logits of the next token out: (B, T) int64 -> (B, T, 10), T up to 33. Made with
    its weights.

    A token d enters as (d, 0). Three heads with fixed scores, as in ALiBi: queries and keys are
    zero, what a head looks at depends on the distance alone, or on the place of the key. (i)
    `pair`: the tokens 10 and 21 back, X_i and Y_i; half of each, so the value is doubled. (ii)
    `prefix`: all lower columns with weights 10^(j-i), and `=` with the score `anchor`, so large
    that the softmax divides by e^anchor as good as exactly; its value is multiplied by that again.
    (iii) `cancel`: the row itself. Four hinges make two steps, [P >= 1] and [s + P >= 10], and the
    head is a parabola.
    """

    max_seq_len, vocab_size = 33, 10

    @own_defaults()
    def __init__(self, config=PrefixConfig()):
        super().__init__()
        self.config = config
        _numbers(
            self,
            [
                ("pair", [2.0]),
                ("slope", [math.log(10)]),
                ("anchor", [80.0]),
                ("cancel", [-1.0]),
                ("carry", [1 - 4e-11, 1 - 2e-11]),  # P of at most 1 - 1e-10, or at least 1
                ("overflow", [10 - 4e-11, 10 - 2e-11]),
                ("size", [5e10, -5e11]),
                ("parabola", [2.0, -1.0]),
            ],
            [("lags", [10.0, 21.0]), ("ones", [0.0, 11.0]), ("equals", [21.0])],
        )

    def scores(self, T):
        """The fixed scores of the three heads: (3, T, T), -inf where a row may not look."""
        t = torch.arange(T, device=self.slope.device, dtype=DOUBLE)
        lag = t[:, None] - t  # (T, T)
        column = t[:, None] - self.equals  # i of the row that predicts Z_i
        nowhere = torch.full_like(lag, -math.inf)
        itself = torch.where(lag == 0, 0.0, nowhere)
        pair = torch.where((lag == self.lags[0]) | (lag == self.lags[1]), 0.0, nowhere)
        prefix = nowhere.clone()
        for first in self.ones:  # X_j stands at j, Y_j at 11 + j
            below = t - first - column  # j - i
            seen = (
                (t >= first) & (t < first + DIGITS) & (below < 0) & (below >= -self.config.window)
            )
            prefix = torch.where(seen, self.slope * below, prefix)
        prefix = torch.where(t == self.equals, self.anchor, prefix).masked_fill(lag < 0, -math.inf)
        heads = torch.stack([pair, prefix, itself])
        return torch.where(
            heads.isneginf().all(-1, keepdim=True), itself, heads
        )  # rows before `=` have to look somewhere

    def trace(self, tokens):
        """(s_i, P_i, y) of every row and its logits: three (B, T) and (B, T, 10)."""
        check_tokens(tokens, self.vocab_size, self.max_seq_len)
        d = tokens.to(DOUBLE)  # (B, T)
        pair, prefix, itself = (d @ w.mT for w in self.scores(tokens.shape[1]).softmax(-1))
        s = d + self.pair * pair + self.cancel * itself  # (B, T)
        P = self.anchor.exp() * prefix
        carry, overflow = (
            F.relu(x[..., None] - at) for x, at in ((P, self.carry), (s + P, self.overflow))
        )
        steps = torch.stack(
            [carry[..., 0] - carry[..., 1], overflow[..., 0] - overflow[..., 1]], dim=-1
        )
        y = s + steps @ self.size  # (B, T): s + c - 10 [s + c >= 10]
        digits = torch.arange(10, device=d.device, dtype=DOUBLE)
        return s, P, y, self.parabola[0] * y[..., None] * digits + self.parabola[1] * digits**2

    def forward(self, tokens):  # (B, T)
        return self.trace(tokens)[-1]  # (B, T, 10)


@dataclass(frozen=True)
class WholeSumConfig:
    """residual: does the second feed-forward layer add to the residual stream (as published) or
    replace it?"""

    residual: bool = True

    format = "leading first"

    def __post_init__(self):
        check_settings(self, residual=true_or_false)

    @property
    def label(self):
        return "whole-sum" if self.residual else "whole-sum-repaired"


class WholeSumAdder(nn.Module):
    """Token ids in, logits of the next digit out: (B, T) int64 -> (B, T, 10), T up to 33. Made with
    its 36 numbers.

    Coordinates: is it `=`, is it <bos>, + or =, 10 x digit, place, share; then ten candidates and
    the digit times its place. Softmaxes have a 1 in the denominator. The last layer's logits
    overwrite the first ten coordinates, by adding: so the candidates 0..4 stay in the logits of
    5..9, a millionth of what is added. That moves the borders between the digits by up to 5e-7 of
    their distance, and a sum whose next digits are 9999999... falls on the wrong side.
    """

    max_seq_len, vocab_size = 33, 14

    @own_defaults()
    def __init__(self, config=WholeSumConfig()):
        super().__init__()
        self.config = config
        score = -40.0
        size = math.exp(score - math.log(10))
        _numbers(
            self,
            [
                ("digits", [10.0 * d for d in range(1, 10)]),
                ("flags", [1.0] * 4),  # `=` twice, <bos>, +
                ("query", [1.0]),
                ("key", [score + 1000, -1000.0]),
                ("values", [0.1 / size, -1.1 / size, 1.0]),
                ("gate", [1.0]),
                ("up", [(d + 0.5) * 1e12 for d in range(10)] + [1e10]),
                ("total", [100.0, 15.0]),
                ("fold", [1e4, -1e4, 100.0]),
            ],
            [("slope", math.log(10))],
        )

    def token_embeddings(self):
        """(14, 3): is it `=`, is it a mark, 10 x digit."""
        table = torch.zeros(self.vocab_size, 3, dtype=DOUBLE, device=self.flags.device)
        table[1:10, 2] = self.digits
        table[EQUALS, 0], table[EQUALS, 1], table[EOS, 1], table[PLUS, 1] = self.flags
        return table

    def candidates(self, tokens):
        """What is left of a + b, less each of the ten multiples of the row's place: (B, T, 10), in
        units of the layer."""
        x = self.token_embeddings()[tokens]  # (B, T, 3)
        T = tokens.shape[1]
        t = torch.arange(T, device=x.device, dtype=DOUBLE)
        future = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
        lag = (t[:, None] - t).masked_fill(future, math.inf)
        # (B, T, T)
        scores = self.query * (x[..., 1] * self.key[0] + self.key[1])[:, None] - self.slope * lag
        place = (
            _softmax1(scores) @ (x[..., 1] * self.values[0] + x[..., 0] * self.values[1])[..., None]
        )[..., 0]
        uniform = _softmax1(torch.zeros_like(lag).masked_fill(future, -math.inf))  # (T, T)
        share = (x[..., 0] * self.values[2]) @ uniform.mT  # (B, T): 1 / (t + 2) from `=` on
        place = place[..., None]  # (B, T, 1)
        # negative: places of the answer are
        multiples = F.relu(share * self.gate)[..., None] * place * self.up[:10]
        worth = F.relu(x[..., 2]) * place[..., 0] * self.up[10]  # (B, T)
        left = (worth * self.total[0] + self.total[1]) @ uniform.mT  # (B, T)
        return multiples, left

    def forward(self, tokens):  # (B, T)
        check_tokens(tokens, self.vocab_size, self.max_seq_len)
        multiples, left = self.candidates(tokens)
        distance = multiples + left[..., None]  # (B, T, 10)
        folded = (F.relu(distance * self.fold[0]) + F.relu(distance * self.fold[1])) * self.fold[2]
        if not self.config.residual:
            return -folded
        stream = F.pad(
            distance[..., :5], (5, 0)
        )  # the first five, flags and sums, favour no digit ...
        stream[..., :5] = left[..., None]  # ... but for what they share with the others
        return -(stream + folded)  # nearest: highest


def _softmax1(scores):
    """Softmax over the last axis with 1 more in the denominator: a head may look nowhere."""
    weights = scores.exp()
    return weights / (1 + weights.sum(-1, keepdim=True))
