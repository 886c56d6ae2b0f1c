"""Is an adder right? The board's protocol, and what it cannot see: long ripples, rare patterns of
carries, sums of nines.

An adder is any function of two lists of whole numbers that returns the list of their sums (or
whatever it makes of them; an exception for a pair is a wrong answer). Nothing here is ever used to
train or to choose a model.
"""

import math
import numbers
from dataclasses import dataclass

import pandas as pd
import torch
from tqdm.auto import tqdm

from _checks import whole_number
from lab.adders.formats import DIGITS, FORMATS
from lab.adders.fragility import right_sums
from lab.adders.ten_digits import (
    TEST_SEEDS,
    board_pairs,
    pattern_pairs,
    stratified_pairs,
    sum_nines_pairs,
    uniform_weights,
)
from lab.stats import one_sided_lower

__all__ = "Verification verify one_by_one adder_of read_off smallest_margin".split()

THRESHOLD = 0.99  # of the board


@dataclass(frozen=True)
class Verification:
    """The result of `verify`. `ripples`: one row per longest ripple (ripple, pairs, wrong, weight
    among uniform pairs); `patterns`: the same per number of columns that carry out, over all 1,024
    patterns; `nines`: the same per longest run of nines in the sum (nines, pairs, wrong); `wrong`:
    up to ten wrong sums."""

    board_right: int
    board_pairs: int
    ripples: pd.DataFrame
    patterns: pd.DataFrame
    nines: pd.DataFrame
    error_rate: float  # under uniform pairs, from the ripple strata
    error_bound: float  # and a bound that holds with 95 % confidence
    wrong: list

    @property
    def passes_board(self):
        return self.board_right >= THRESHOLD * self.board_pairs

    @property
    def passes_strata(self):
        """No error on the stratified set, nor on the patterns of carries, nor on runs of nines."""
        return not any(table["wrong"].any() for table in (self.ripples, self.patterns, self.nines))

    def report(self):
        """The result as text."""
        lines = [
            (
                f"board's test: {self.board_right:,} of {self.board_pairs:,} right"
                f" ({'passed' if self.passes_board else 'not passed'}: at least {THRESHOLD:.0%} is"
                " asked)"
            ),
            "by longest ripple (both orders of the operands):",
            self.ripples.to_string(index=False),
            (
                f"patterns of carries: {self.patterns['wrong'].sum()} wrong of"
                f" {self.patterns['pairs'].sum():,} pairs, all {2**DIGITS:,} patterns"
            ),
            "by longest run of nines in the sum (both orders):",
            self.nines.to_string(index=False),
            (
                f"error rate under uniform pairs: {self.error_rate:.2g}, below"
                f" {self.error_bound:.2g} with 95 % confidence"
            ),
            f"stratified test: {'passed' if self.passes_strata else 'NOT passed'}",
        ]
        return "\n".join(
            lines + [f"  wrong: {a} + {b} = {a + b}, not {c}" for a, b, c in self.wrong]
        )


def verify(adder, per_ripple=1000, per_pattern=8, per_nines=200):
    """Test an adder: a function of two lists of whole numbers that returns a list. See
    Verification.

    per_ripple, per_pattern, per_nines: pairs per stratum. Raises ValueError for another number of
    answers than of sums.
    """
    wrong_sums = []
    per_ripple, per_pattern, per_nines = (
        whole_number(name, value, 1)
        for name, value in (
            ("per_ripple", per_ripple),
            ("per_pattern", per_pattern),
            ("per_nines", per_nines),
        )
    )

    def wrong(a, b):
        a, b = a.tolist(), b.tolist()
        answers = list(
            adder(list(a), list(b))
        )  # its own lists: what it does to them changes no question
        if len(answers) != len(a):
            raise ValueError(f"the adder gave {len(answers)} answers to {len(a)} sums")
        failed = [not _says(z, x + y) for x, y, z in zip(a, b, answers)]
        wrong_sums.extend(
            (x, y, _in_short(z))
            for x, y, z, bad in zip(a, b, answers, failed)
            if bad and len(wrong_sums) < 10
        )
        return torch.tensor(failed, device="cpu")

    a, b = board_pairs()
    board_wrong = wrong(a, b)
    a, b, ripple = stratified_pairs(per_ripple, TEST_SEEDS["ripple"])
    failed = wrong(a, b)
    weights = uniform_weights("ripple").tolist()
    ripples = pd.DataFrame(
        [
            {
                "ripple": r,
                "pairs": int((ripple == r).sum()),
                "wrong": int(failed[ripple == r].sum()),
                "weight": weights[r],
            }
            for r in range(DIGITS)
        ]
    )
    a, b, pattern = pattern_pairs(per_pattern, TEST_SEEDS["patterns"])
    failed, carries = wrong(a, b), sum(pattern >> i & 1 for i in range(DIGITS))
    patterns = pd.DataFrame(
        [
            {
                "columns that carry": k,
                "patterns": math.comb(DIGITS, k),
                "pairs": int((carries == k).sum()),
                "wrong": int(failed[carries == k].sum()),
            }
            for k in range(DIGITS + 1)
        ]
    )
    a, b, run = sum_nines_pairs(per_nines, TEST_SEEDS["nines"])
    failed = wrong(a, b)
    nines = pd.DataFrame(
        [
            {"nines": r, "pairs": int((run == r).sum()), "wrong": int(failed[run == r].sum())}
            for r in range(DIGITS + 1)
        ]
    )
    # A pair and its exchange are one independent case; each stratum's bound at 1 - 0.05 / 10 makes
    # the sum hold at 95 %.
    upper = [
        1
        - one_sided_lower(
            row.pairs // 2 - math.ceil(row.wrong / 2), row.pairs // 2, 1 - 0.05 / DIGITS
        )
        for row in ripples.itertuples()
    ]
    rate = float((ripples["weight"] * ripples["wrong"] / ripples["pairs"]).sum())
    return Verification(
        len(board_wrong) - int(board_wrong.sum()),
        len(board_wrong),
        ripples,
        patterns,
        nines,
        rate,
        float(sum(u * w for u, w in zip(upper, weights))),
        wrong_sums,
    )


def _says(answer, total):
    """Is an answer, whatever it is, this number? A number of numpy's or a tensor of one number will
    do."""
    try:
        value = answer.item() if hasattr(answer, "item") else answer
    except Exception:  # more numbers than one, or none
        return False
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value == total


def _in_short(answer):
    """An answer as it can be shown: numbers as they are, anything else as a short text."""
    if isinstance(answer, (int, float)):
        return answer
    try:
        text = " ".join(str(answer).split())
    except Exception as error:
        text = f"a {type(answer).__name__} that cannot be shown ({type(error).__name__})"
    return text if len(text) <= 80 else text[:77] + "..."


def one_by_one(add, model, progress=False):
    """The adder of a submission file: its `add(model, a, b)`, asked pair by pair; an exception is a
    wrong answer."""

    def adder(a, b):
        answers = []
        for x, y in tqdm(zip(a, b), total=len(a), unit="sum", disable=not progress, leave=False):
            try:
                answers.append(add(model, x, y))
            except (Exception, SystemExit) as error:  # the board's rule
                answers.append(f"{type(error).__name__}: {error}")
        return answers

    return adder


def adder_of(model):
    """The adder that a model of this project is: greedy decoding in batches."""
    return lambda a, b: (
        FORMATS[model.config.format]
        .answer_pairs(model, *torch.tensor([a, b], device="cpu"))
        .tolist()
    )


def read_off(model):
    """The same adder, an order of magnitude faster: each sum is read off once, with the right
    digits before each digit, and only what is wrong there is written anew, token by token. Greedy
    decoding parts from that after a first wrong digit only, if no row of the model sees what stands
    after it."""

    def adder(a, b, batch_size=2048):
        a, b = torch.tensor([a, b], device="cpu")
        answers = a + b
        for part in torch.arange(len(a), device="cpu").split(batch_size):
            wrong = part[~right_sums(model, a[part], b[part])]
            if len(wrong):
                answers[wrong] = FORMATS[model.config.format].answer_pairs(
                    model, a[wrong], b[wrong]
                )
        return answers.tolist()

    return adder


@torch.no_grad()
def smallest_margin(model, a, b, batch_size=4096):
    """The smallest lead, in logits, of the right digit over the best other one, over all sums and
    digits of a and b.

    a, b: (N,) int64. Negative where a digit is wrong. The right digits stand before it (teacher
    forcing).
    """
    format, lead = FORMATS[model.config.format], math.inf
    for x, y in zip(a.split(batch_size), b.split(batch_size)):
        sequences = format.sequences(x, y)
        logits = model(sequences[:, :-1])[
            :, format.prompt - 1 : format.prompt - 1 + format.answer
        ]  # (B, 11, V)
        targets = sequences[:, format.prompt : format.prompt + format.answer, None]
        right = logits.gather(2, targets)[..., 0]
        lead = min(lead, (right - logits.scatter(2, targets, -math.inf).amax(2)).min().item())
    return lead
