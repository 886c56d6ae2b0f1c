"""Adders whose attention is one wave of period 11: at most 25 learned numbers.

In `X0..X9 + Y0..Y9 = Z0..Z10` the row that predicts Z_i finds Y_i ten tokens back and X_i 21 = 10 +
11 back; the previous column and the digit just written stand at lags that differ from 11 and 22 by
nothing. So queries and keys that are one learned vector and one fixed vector, each turned by 2 pi /
11 per position, give the whole pattern with two numbers: an amplitude S and a lag phi, score S
cos(2 pi (lag - phi) / 11). Positions enter nowhere else. One layer, one head.

Prior knowledge that is put in, and disclosed: the period, and where S and phi start. The designs
whose names say "step" get more of it: one tanh unit, which is a step, in place of two GELUs; what
attention and FFN write goes to the last dimension; every row sees the last 23 tokens of a sequence
with a zero in front, so that all rows are alike; and each number starts with the sign that it has
in a working circuit (`_signed_start`).
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn as nn
import torch.nn.functional as F

from _checks import or_none, positive, positive_whole, real_number, seed_number, word
from _common import own_defaults, seeded_generator
from lab.adders.gradients.position_only import PositionOnlyParts, answer_rows
from lab.adders.models.micro_adder import CONTEXT, check_tokens
from lab.checks import check_settings

__all__ = "RotaryAdderConfig RotaryAdder ROTARY_ADDERS".split()

CHOICES = {
    "value": ("own", "write", "head", "second"),
    "write": ("own", "scratch", "last"),
    "ffn_in": ("own", "head", "last", "write"),
    "ffn_out": ("head", "own", "last", "last of head"),
    "head": ("own", "diagonal"),
    "norm": ("shared", "scalar", "ones"),
    "amplitude": ("learned", "frozen"),
    "arc": ("free", "centred"),
    "stream": ("amplitude", "unit"),
    "activation": ("gelu", "tanh"),
    "format": ("digits only", "leading zero"),
    "start": ("random", "signs", "signed", "wide"),
}
WIDE_SIZES = (0.1, 10.0)  # of the numbers that start "wide"


def _of_length(name, value, length):
    if not isinstance(value, (list, tuple)) or len(value) != length:  # JSON has no tuples
        raise ValueError(f"{name} must be a list of {length}, not {value!r}")
    return value


def _range(name, value):
    numbers = tuple(real_number(f"a number of {name}", number) for number in value)
    if len(numbers) != 2 or numbers[0] > numbers[1]:
        raise ValueError(
            f"{name}: a number starts uniform between a lower and an upper one, not between"
            f" {numbers}"
        )
    return numbers


def _start(name, value):
    """Where a number starts: a number, or a pair of which it is drawn between."""
    return _range(name, value) if isinstance(value, (list, tuple)) else real_number(name, value)


@dataclass(frozen=True)
class RotaryAdderConfig:
    """Which pieces a rotary adder has. The defaults are the 25; stored runs are found by what
    differs from them."""

    scratch: int = 1  # dimensions beside the two of the arc: d_model is 2 + scratch
    # the direction read: two numbers of its own, those of `write`, the head's first row, or the
    # embedding's second coordinate
    value: str = "own"
    # the direction written: its own, the scratch dimension (a fixed unit vector), or one number in
    # the last dimension
    write: str = "own"
    # d_ff x D, the head's matrix, or one number per unit, for the last dimension; "write": one
    # unit, which reads against what attention writes, minus `write`
    ffn_in: str = "own"
    # the head's matrix, d_ff x D, or one number per unit, in the last dimension; "last of head":
    # one unit, with the number of the diagonal head for the last dimension
    ffn_out: str = "head"
    head: str = "own"  # 2 x D, or two numbers: for the first dimension and for the last
    norm: str = "shared"  # one RMSNorm vector for all three sites, one number, or ones
    amplitude: str = "learned"  # of the arc, else frozen where it starts
    # the residual stream holds the arc, or the arc with rms 1: then the amplitude only sizes the
    # logits
    stream: str = "amplitude"
    activation: str = "gelu"  # two GELU units, or one tanh
    # first angle and stride, or the stride only, the first angle being -4.5 strides
    arc: str = "free"
    # where amplitude, first angle and stride start; each a number, or a pair: uniform between these
    arc_start: tuple = (2.5, -1.2, 0.29)
    # of lab.adders.formats; with a leading zero the first answer row sees what others see
    format: str = "digits only"
    window: int = None  # a row attends to at most so many tokens, its own among them
    # "signs": random sizes, known signs; "signed": sizes too, see _signed_start; "wide": random
    # signs, and sizes over two orders of magnitude, see _wide_start
    start: str = "random"
    period: float = 11.0
    S_start: float = 25.0  # a number, or a pair: uniform between these
    phi_start: tuple = (9.0, 11.0)  # phi starts uniform between these

    n_targets = 11  # Z0..Z10; <EOS> is not asked for
    position_only = True

    def __post_init__(self):
        check_settings(
            self,
            **{name: word(*allowed) for name, allowed in CHOICES.items()},
            scratch=word(0, 1, 2),
            window=or_none(positive_whole),
            period=positive,
            S_start=_start,
            phi_start=lambda name, value: _range(name, _of_length(name, value, 2)),
            arc_start=lambda name, value: tuple(
                _start(name, start) for start in _of_length(name, value, 3)
            ),
        )
        if self.write == "scratch" and not self.scratch:
            raise ValueError("scratch must be at least 1 where it is written to, not 0")
        if self.d_ff != 2 and "head" in (self.ffn_in, self.ffn_out):
            raise ValueError("an FFN tied to the head has two units: activation must be 'gelu'")
        if self.ffn_in == "write" and (self.d_ff != 1 or self.write == "scratch"):
            raise ValueError(
                "one unit can read against what attention writes, if that is learned: ffn_in"
                " 'write' needs activation 'tanh' and write 'own' or 'last'"
            )
        if self.ffn_out == "last of head" and (self.d_ff != 1 or self.head != "diagonal"):
            raise ValueError(
                "ffn_out 'last of head' needs one unit, activation 'tanh', and a diagonal head"
            )
        if self.start == "signed" and "head" in (self.ffn_in, self.ffn_out):
            raise ValueError(
                "a signed start is known for an FFN that is not tied to the head: ffn_in and"
                " ffn_out may not be 'head'"
            )
        if self.start == "signs" and (self.write, self.ffn_in, self.ffn_out, self.head) != (
            "last",
            "last",
            "last",
            "diagonal",
        ):
            raise ValueError(
                "a start with known signs and random sizes is for write, ffn_in and ffn_out 'last'"
                " and a diagonal head"
            )

    @property
    def d_model(self):
        return 2 + self.scratch

    @property
    def d_ff(self):
        return 2 if self.activation == "gelu" else 1

    @property
    def label(self):
        """Its name in ROTARY_ADDERS, or "rotary" for any other."""
        return next((name for name, config in ROTARY_ADDERS.items() if config == self), "rotary")

    def build(self, seed=0):
        """An untrained RotaryAdder of this configuration."""
        return RotaryAdder(self, seed)


_STEP = RotaryAdderConfig(
    ffn_out="own",
    norm="ones",
    amplitude="frozen",
    stream="unit",
    activation="tanh",
    arc_start=(20.0, -0.45, 0.1),
    format="leading zero",
    window=23,
    start="signed",
    S_start=30.0,
    phi_start=(9.5, 10.5),
)
_ONE_WAY = replace(_STEP, value="second", write="last", ffn_out="last")
_DIAGONAL = replace(_ONE_WAY, scratch=0, head="diagonal")
ROTARY_ADDERS = {  # the number is the count by the board's rule
    "r25": RotaryAdderConfig(),
    "r24-frozen-amplitude": RotaryAdderConfig(amplitude="frozen"),
    "r23-value-is-write": RotaryAdderConfig(value="write"),
    "r23-scalar-norm": RotaryAdderConfig(norm="scalar"),
    "r22-fixed-norm": RotaryAdderConfig(norm="ones"),
    "r22-fixed-write": RotaryAdderConfig(write="scratch"),
    "r20-fixed-write-scalar-norm": RotaryAdderConfig(write="scratch", norm="scalar"),
    "r20-value-is-write-fixed-norm": RotaryAdderConfig(value="write", norm="ones"),
    "r19-fixed-write-fixed-norm": RotaryAdderConfig(write="scratch", norm="ones"),
    "r19-two-dimensions": RotaryAdderConfig(scratch=0),
    "r19-ffn-in-is-head": RotaryAdderConfig(ffn_in="head"),
    "r17-value-is-head-fixed-write-fixed-norm": RotaryAdderConfig(
        value="head", write="scratch", norm="ones"
    ),
    "r21-step": _STEP,
    "r20-two-gelus-two-dimensions": replace(_STEP, scratch=0, activation="gelu"),
    "r16-step-two-dimensions": replace(_STEP, scratch=0),
    "r15-step-one-way": _ONE_WAY,
    "r12-step-one-way-two-dimensions": replace(_ONE_WAY, scratch=0),
    "r15-two-gelus-one-way-two-dimensions": replace(_ONE_WAY, scratch=0, activation="gelu"),
    "r10-step-diagonal": _DIAGONAL,
    "r9-step-diagonal": replace(_DIAGONAL, ffn_in="last"),
    "r8-step-diagonal-centred": replace(_DIAGONAL, ffn_in="last", arc="centred"),
    "r7-step-diagonal-centred": replace(_DIAGONAL, ffn_in="write", arc="centred"),
    "r6-step-diagonal-centred": replace(
        _DIAGONAL, ffn_in="write", ffn_out="last of head", arc="centred"
    ),
}


class RotaryAdder(nn.Module):
    """Token ids in, logits of the next token out: (B, T) int64 -> (B, T, 10), T up to 33.

    x0 = [e ; 0]; x1 = x0 + (attention-weighted sum of N(x0) . value) write; x2 = x1 + FFN(N(x1));
    logits = (N(x2) H^T) E^T, E the arc. `seed` fixes the random start: phi uniform near 10, value
    uniform, matrices Xavier's, write zero (as in the micro-adders). Frozen numbers are buffers.
    Raises as AdditionTransformer for wrong tokens.
    """

    vocab_size = 10

    @own_defaults()
    def __init__(self, config=RotaryAdderConfig(), seed=0):
        super().__init__()
        self.config = c = config
        seed = seed_number("seed", seed)
        D, generator = c.d_model, seeded_generator(seed)
        wide = seeded_generator(
            2**31 + seed
        )  # of its own: the other numbers start as they do without it
        self.max_seq_len = CONTEXT + (c.format == "leading zero")

        def uniform(*size, low=-1.0, high=1.0):
            return nn.Parameter(torch.empty(size).uniform_(low, high, generator=generator))

        def matrix(rows=2):
            bound = math.sqrt(6 / (2 + D))
            return uniform(rows, D, low=-bound, high=bound)

        def start_of(number):
            drawn = torch.rand(
                (), generator=wide
            )  # drawn in any case: so a seed has one place in every range
            return (
                float(number[0] + (number[1] - number[0]) * drawn)
                if isinstance(number, tuple)
                else number
            )

        A, first, stride, S = map(start_of, (*c.arc_start, c.S_start))
        self.arc = nn.Parameter(torch.tensor([first, stride] if c.arc == "free" else [stride]))
        amplitude = torch.tensor([A])
        if c.amplitude == "learned":
            self.A = nn.Parameter(amplitude)
        else:
            self.register_buffer("A", amplitude, persistent=False)
        self.S = nn.Parameter(torch.tensor([S]))
        self.phi = uniform(1, low=c.phi_start[0], high=c.phi_start[1])
        if c.value == "own":
            self.value = uniform(2)
        if c.write == "own":
            # zero would stay zero
            self.write = nn.Parameter(torch.zeros(D)) if c.value != "write" else uniform(D)
        elif c.write == "last":
            self.write = uniform(1)
        else:
            self.register_buffer("write", torch.eye(D)[2], persistent=False)
        if c.ffn_in == "own":
            self.W_1 = matrix(c.d_ff)
        elif c.ffn_in == "last":
            self.W_1 = uniform(c.d_ff, 1)
        if c.ffn_out == "own":
            self.W_2 = matrix(c.d_ff)
        elif c.ffn_out == "last":
            self.W_2 = uniform(c.d_ff, 1)
        self.H = matrix() if c.head == "own" else uniform(2)
        if c.norm != "ones":
            self.w = nn.Parameter(torch.ones(D if c.norm == "shared" else 1))
        for name, value in (("key", [1.0, 0.0]), ("period", c.period), ("eps", 1e-5)):
            self.register_buffer(name, torch.tensor(value), persistent=False)
        for name, dimension in (("first", 0), ("last", D - 1)):
            if c.head == "diagonal" or (
                name == "last" and "last" in (c.write, c.ffn_in, c.ffn_out)
            ):
                self.register_buffer(f"{name}_dimension", torch.eye(D)[dimension], persistent=False)
        if c.value == "second":
            self.register_buffer("value", torch.eye(2)[1], persistent=False)
        if c.start == "signed":
            self._signed_start(generator)
        if c.start == "wide":
            self._wide_start(generator)
        if c.start == "signs":
            with torch.no_grad():
                for p, signs in (
                    (self.write, [-1]),
                    (self.W_1, [1]),
                    (self.W_2, [-1]),
                    (self.H, [1, -1]),
                ):
                    p.copy_((p.abs().flatten() * torch.tensor(signs)).view_as(p))

    @torch.no_grad()
    def _signed_start(self, generator):
        """The signs of a working circuit; sizes uniform from ranges whose upper end is at most two
        and a half times the lower (the head's first number is 1), all that such a circuit does not
        need uniform within +-0.3. Training takes the unit's W_1 and the head far beyond these
        ranges: chapter 10 says how far.

        The stream's last dimension holds the digit just written (where D = 2) less the sum that
        attention brings: value +, write -. The unit is a step where that changes its sign: W_1 +;
        it writes against it: W_2 -. The head turns the whole round: - there, + on the first
        dimension, where the arc is nearly constant. Two GELUs make a step together where they start
        alike, the second later and with its sign turned round.
        """
        c, D = self.config, self.config.d_model

        def size(low, high):
            return torch.empty(1).uniform_(low, high, generator=generator)

        def off(*shape):
            return torch.empty(shape).uniform_(-0.3, 0.3, generator=generator)

        last = torch.eye(D)[-1]
        if c.value == "own":
            self.value.copy_(torch.tensor([0.0, 1.0]) + off(2))
        if c.write != "scratch":
            self.write.copy_(-size(6, 10) * last + off(D) if c.write == "own" else -size(6, 10))
        up, down = size(2, 5), -size(2, 4)
        if c.ffn_in != "write":
            self.W_1.copy_(up * last + off(c.d_ff, D) if c.ffn_in == "own" else up)
        if c.activation == "gelu":
            if c.ffn_in == "own":
                self.W_1[:, 0] += torch.tensor([0.5, -0.5])
            down = down * torch.tensor([[1.0], [-1.0]])  # (2, 1)
        if c.ffn_out != "last of head":
            self.W_2.copy_(
                down * last + off(c.d_ff, D) if c.ffn_out == "own" else down.view_as(self.W_2)
            )
        if c.head == "own":
            self.H.copy_(torch.stack([torch.eye(D)[0], -size(0.4, 1.0) * last]) + off(2, D))
        else:
            self.H.copy_(torch.cat([torch.ones(1), -size(0.4, 1.0)]))

    @torch.no_grad()
    def _wide_start(self, generator):
        """Every learned number of value, write, unit and head: its sign by a fair coin, its size
        log-uniform in WIDE_SIZES."""
        low, high = WIDE_SIZES
        for name in ("value", "write", "W_1", "W_2", "H"):
            p = getattr(self, name, None)
            if isinstance(p, nn.Parameter):
                size = low * (high / low) ** torch.rand(p.shape, generator=generator)
                p.copy_(torch.where(torch.rand(p.shape, generator=generator) < 0.5, -size, size))

    # A fleet gives every learned tensor a leading axis of seeds: hence the ... in what does not see
    # tokens.

    def token_embeddings(self):
        """The ten points of the arc: (..., 10, 2)."""
        digits = torch.arange(10, device=self.arc.device, dtype=self.arc.dtype)
        if self.config.arc == "centred":
            angles = self.arc * (digits - 4.5)
        else:
            angles = self.arc[..., :1] + self.arc[..., 1:] * digits
        return self.A[..., None] * torch.stack([angles.cos(), angles.sin()], dim=-1)

    def stream_embeddings(self):
        """What the residual stream holds of them: the same, or with rms 1 in its D dimensions:
        (..., 10, 2)."""
        table = self.token_embeddings()
        return (
            table * (math.sqrt(self.config.d_model) / self.A[..., None])
            if self.config.stream == "unit"
            else table
        )

    def norm_weight(self):
        """(..., D)"""
        ones = torch.ones(
            *self.arc.shape[:-1], self.config.d_model, dtype=self.arc.dtype, device=self.arc.device
        )
        return ones if self.config.norm == "ones" else self.w * ones

    def normalise(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.norm_weight()

    def attention_weights(self, T):
        """Where each row looks: (..., T, T). Queries are (S, lag phi), keys the fixed vector, both
        turned by position."""
        step = 2 * math.pi / self.period
        t = torch.arange(T, device=self.S.device, dtype=self.S.dtype)
        turn = (t - self.phi) * step  # (..., T)
        q = self.S[..., None] * torch.stack([turn.cos(), turn.sin()], dim=-1)  # (..., T, 2)
        c, s = (t * step).cos(), (t * step).sin()
        k = torch.stack(
            [self.key[0] * c - self.key[1] * s, self.key[0] * s + self.key[1] * c], dim=-1
        )
        scores = q @ k.mT  # (..., T, T): S cos(step (lag - phi))
        hidden = torch.ones(T, T, dtype=torch.bool, device=scores.device).triu(1)  # the future
        if self.config.window is not None:
            hidden = hidden | torch.ones_like(hidden).tril(
                -self.config.window
            )  # and what is too far back
        return scores.masked_fill(hidden, -math.inf).softmax(-1)

    def value_direction(self):
        """What attention reads of a normalised token: (..., 2)."""
        return {
            "own": lambda: self.value,
            "second": lambda: self.value,
            "write": lambda: self.write[..., :2],
            "head": lambda: self.head()[..., 0, :2],
        }[self.config.value]()

    def write_direction(self):
        """(..., D)"""
        return self.write * self.last_dimension if self.config.write == "last" else self.write

    def head(self):
        """(..., 2, D)"""
        if self.config.head == "own":
            return self.H
        return torch.stack(
            [self.H[..., :1] * self.first_dimension, self.H[..., 1:] * self.last_dimension], dim=-2
        )

    def ffn_in(self):
        """(..., d_ff, D)"""
        return {
            "own": lambda: self.W_1,
            "last": lambda: self.W_1 * self.last_dimension,
            "write": lambda: -self.write_direction()[..., None, :],
            "head": self.head,
        }[self.config.ffn_in]()

    def ffn_out(self):
        """(..., d_ff, D)"""
        return {
            "own": lambda: self.W_2,
            "last": lambda: self.W_2 * self.last_dimension,
            "last of head": lambda: self.head()[..., 1:, :],
            "head": self.head,
        }[self.config.ffn_out]()

    def position_only_parts(self):
        """The model as `lab.adders.gradients.position_only` computes it; every learned tensor must
        have a leading axis of seeds."""
        table, w = self.stream_embeddings(), self.norm_weight()  # (S, 10, 2), (S, D)
        seeds, D = w.shape
        rows = answer_rows(self.max_seq_len, self.config.n_targets)
        # logits see all of the arc
        size = 1.0 if self.config.stream == "amplitude" else (self.A / math.sqrt(D))[..., None]
        scale = torch.rsqrt(table[:, 0].square().sum(1) / D + self.eps)  # (S,): 1 / rms of any x0
        position = torch.zeros(
            seeds, self.config.n_targets, D - 2, dtype=table.dtype, device=table.device
        )
        return PositionOnlyParts(
            embedding=table,
            value=(table @ (self.value_direction() * w[:, :2])[..., None])[..., 0],
            mix=self.attention_weights(self.max_seq_len)[:, rows] * scale[:, None, None],
            write=self.write_direction().expand(seeds, D),
            position=position,
            up=self.ffn_in() * w[:, None],
            down=self.ffn_out(),
            head=self.head() * w[:, None] * size,
            eps=self.eps,
        )

    def forward(self, tokens):  # (B, T)
        check_tokens(tokens, self.vocab_size, self.max_seq_len)
        x = F.pad(self.stream_embeddings()[tokens], (0, self.config.scratch))  # (B, T, D)
        read = self.normalise(x)[..., :2] @ self.value_direction()  # (B, T)
        x = (
            x
            + (read @ self.attention_weights(tokens.shape[1]).mT)[..., None]
            * self.write_direction()
        )
        activation = {"gelu": F.gelu, "tanh": torch.tanh}[self.config.activation]
        x = x + activation(self.normalise(x) @ self.ffn_in().T) @ self.ffn_out()
        return self.normalise(x) @ self.head().T @ self.token_embeddings().T  # (B, T, 10)
