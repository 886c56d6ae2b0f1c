"""Ten-digit sums as sequences of tokens: every format that a model reads, in one place.

Letters: N sums, T tokens.
"""

from dataclasses import dataclass

import torch

from _common import EOS, EQUALS, PLUS, generate

__all__ = (
    "DIGITS LARGEST FORMATS Format PaddedFormat LeadingFirstFormat digits_of answer_pairs".split()
)

DIGITS = 10
LARGEST = 10**DIGITS - 1


def digits_of(numbers, width):
    """Digits, ones first: (N,) int64 below 10**15 -> (N, width) int64."""
    powers = 10 ** torch.arange(width, device=numbers.device)
    return numbers[:, None] // powers % 10


@dataclass(frozen=True)
class Format:
    """A way to write a sum as tokens: `sequences` (N,), (N,) -> (N, T); the prompt is the first
    `prompt` tokens.

    reversed_operands: operands ones first too (the micro-adders), else as usual. The sum is always
    ones first. one_token_marks: + = and <EOS> are the token 0, told apart by position only.
    leading_zero: a token 0 stands in front.
    """

    reversed_operands: bool
    one_token_marks: bool
    prompt: int = 2 * DIGITS + 2
    answer: int = DIGITS + 1
    leading_zero: bool = False

    def sequences(self, a, b):
        """Whole sequences with <EOS>: two (N,) int64 tensors -> (N, 34) token ids, 35 with a
        leading zero.

        Raises ValueError for operands outside 0..10^10-1, TypeError for other whole numbers than
        int64."""
        for name, operand in (("a", a), ("b", b)):
            if operand.dtype != torch.int64:
                raise TypeError(
                    f"operand {name} must be a tensor of int64, not of {operand.dtype}: smaller"
                    " kinds overflow"
                )
            if operand.numel() and not 0 <= operand.min() <= operand.max() <= LARGEST:
                raise ValueError(
                    f"operand {name} must lie between 0 and {LARGEST}, "
                    f"not {operand.min().item()} to {operand.max().item()}"
                )
        plus, equals, eos = (0, 0, 0) if self.one_token_marks else (PLUS, EQUALS, EOS)
        column = torch.ones(len(a), 1, dtype=torch.int64, device=a.device)
        x, y = digits_of(a, DIGITS), digits_of(b, DIGITS)
        if not self.reversed_operands:
            x, y = x.flip(1), y.flip(1)
        front = [0 * column] if self.leading_zero else []
        return torch.cat(
            [
                *front,
                x,
                plus * column,
                y,
                equals * column,
                digits_of(a + b, DIGITS + 1),
                eos * column,
            ],
            dim=1,
        )

    def columns(self, a, b):
        """The same sequences with the examples along the last axis, made fast: (N,), (N,) -> (34 or
        35, N) uint8."""
        whole = torch.empty(
            self.leading_zero + 3 * DIGITS + 4, len(a), dtype=torch.uint8, device=a.device
        )
        whole[0], out = 0, whole[self.leading_zero :]  # `out` is a view of the rest
        # exact: see the halves below
        real = torch.float32 if a.device.type == "mps" else torch.float64
        for start, width, numbers in (
            (0, DIGITS, a),
            (DIGITS + 1, DIGITS, b),
            (2 * DIGITS + 2, DIGITS + 1, a + b),
        ):
            backwards = width == DIGITS and not self.reversed_operands
            rest = (numbers % 100_000).to(real)  # divided as small real numbers:
            for i in range(width):  # faster than whole ones, and as exact
                if i == 5:
                    rest = (numbers // 100_000).to(real)
                quotient = (rest / 10).floor_()
                out[start + (width - 1 - i if backwards else i)] = rest.sub_(quotient, alpha=10)
                rest = quotient
        for at, mark in ((DIGITS, PLUS), (2 * DIGITS + 1, EQUALS), (3 * DIGITS + 3, EOS)):
            out[at] = 0 if self.one_token_marks else mark
        return whole

    def answer_pairs(self, model, a, b, batch_size=4096):
        """The sums as the model writes them, greedily, token by token: (N,) int64, -1 where it
        wrote no number.

        `generate` knows nothing of addition; swap the weights and the same loop does another task.
        """
        device, answers = next(model.parameters()).device, []
        powers = 10 ** torch.arange(self.answer, device="cpu")
        for part_a, part_b in zip(a.split(batch_size), b.split(batch_size)):
            prompts = self.sequences(part_a, part_b)[:, : self.prompt].to(device)
            written = generate(model, prompts, self.answer)[:, self.prompt :].cpu()  # (N, 11)
            answers.append(torch.where((written < 10).all(1), (written * powers).sum(1), -1))
        return torch.cat(answers)


@dataclass(frozen=True)
class PaddedFormat(Format):
    """`0 X0..X9 000000000 Y0..Y9 0` and then `Z0..Z10`: digits only, ones first, without <EOS>. See
    the module."""

    reversed_operands: bool = True
    one_token_marks: bool = True
    prompt: int = 31

    def sequences(self, a, b):
        """Whole sequences: two (N,) int64 tensors -> (N, 42) token ids. Raises ValueError outside
        0..10^10 - 1."""
        s = super().sequences(a, b)  # (N, 34): X0..X9 0 Y0..Y9 0 Z0..Z10 0
        zeros = torch.zeros(len(a), 9, dtype=torch.int64, device=a.device)
        return torch.cat(
            [zeros[:, :1], s[:, :10], zeros, s[:, 11:21], zeros[:, :1], s[:, 22:33]], dim=1
        )

    def columns(self, a, b):
        """The same with the examples along the last axis: (N,), (N,) -> (42, N) uint8."""
        s = super().columns(a, b)
        zeros = torch.zeros_like(s[:9])
        return torch.cat([zeros[:1], s[:10], zeros, s[11:21], zeros[:1], s[22:33]])


@dataclass(frozen=True)
class LeadingFirstFormat(Format):
    """`<bos> X9..X0 + Y9..Y0 = Z10..Z0`, leading digit first throughout; <EOS> serves as <bos> and
    stands nowhere else."""

    reversed_operands: bool = False
    one_token_marks: bool = False
    prompt: int = 2 * DIGITS + 3

    def sequences(self, a, b):
        """Whole sequences: two (N,) int64 tensors -> (N, 34) token ids. Raises ValueError outside
        0..10^10 - 1."""
        s = super().sequences(a, b)  # (N, 34): X9..X0 + Y9..Y0 = Z0..Z10 <EOS>
        start = torch.full((len(a), 1), EOS, dtype=torch.int64, device=a.device)
        return torch.cat([start, s[:, :22], s[:, 22:33].flip(1)], dim=1)

    def columns(self, a, b):
        """The same sequences with the examples along the last axis: (N,), (N,) -> (34, N) uint8."""
        return self.sequences(a, b).T.to(torch.uint8)

    def answer_pairs(self, model, a, b, batch_size=4096):
        """The sums as the model writes them: (N,) int64, -1 where it wrote no number."""
        backwards = super().answer_pairs(model, a, b, batch_size)  # read as if the ones came first
        digits = digits_of(backwards.clamp(min=0), DIGITS + 1).flip(1)
        return torch.where(
            backwards < 0, -1, (digits * 10 ** torch.arange(DIGITS + 1, device="cpu")).sum(1)
        )


FORMATS = {
    # X0..X9 0 Y0..Y9 0 Z0..Z10
    "digits only": Format(reversed_operands=True, one_token_marks=True),
    # the same with + = <EOS>
    "reversed": Format(reversed_operands=True, one_token_marks=False),
    # 0 before "digits only"
    "leading zero": Format(
        reversed_operands=True, one_token_marks=True, prompt=2 * DIGITS + 3, leading_zero=True
    ),
    # 0000000042+0000000007=94000000000
    "plain": Format(reversed_operands=False, one_token_marks=False),
    "padded": PaddedFormat(),
    "leading first": LeadingFirstFormat(),
}


def answer_pairs(model, a, b):
    """The sums as a model of this project writes them: (N,) int64, -1 where it wrote no number. See
    Format."""
    return FORMATS[model.config.format].answer_pairs(model, a, b)
