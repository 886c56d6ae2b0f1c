"""An adder whose weights were set by hand: two dimensions, one attention head, at most 12 counted
numbers.

Source: the AdderBoard family of hand-set adders with a rotary period of 19 (lokimorty 12 and 10,
kswain98 8, zcbtrak 6; Papailiopoulos 2026). The circuit and its constants are theirs; the code, the
ideal hinges and the accounts are not.

The sequence, 31 tokens and then the sum, ones first, all of them digits: `0 X0..X9 000000000 Y0..Y9
0 | Z0..Z10`. The row that predicts Z_i is 30 + i. It finds Y_i 10 tokens back and X_i 29 = 10 + 19
tokens back, so a wave of period 19 sees both in the same phase; the previous column stands one
token further back, and the row's own token is Z_{i-1}, the digit just written. With s_i = X_i +
Y_i, c_i the carry into column i, the circuit is four steps:
    1. a digit d is the point (c - eps d^2, -d) of a flat parabola;
    2. attention, with log-odds of ln 10 between a column and the previous one, adds 10 s_i +
       s_{i-1} to a residual stream that holds -Z_{i-1}. As s_{i-1} - Z_{i-1} = 10 c_i - c_{i-1},
       this leaves h = 10 (s_i + c_i) - c_{i-1};
    3. two hinges, one unit apart, make a step that takes 100 off where h > 94: y = 10 Z_i -
       c_{i-1};
    4. the output head, the parabola again, scores digit d with d y / 50 - d^2 / 10: highest at the
       digit nearest y / 10.
Letters: B sequences, T tokens, N sums.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import torch
import torch.nn as nn
import torch.nn.functional as F

from _checks import true_or_false, word
from _common import own_defaults
from lab.adders.formats import DIGITS, FORMATS, digits_of
from lab.adders.models.micro_adder import check_tokens
from lab.checks import check_settings

__all__ = ("CircuitConfig HandSetCircuit Trace hand_set numbers_of worked_sum SHARPENED").split()

PADDED_CONTEXT = 41  # 31 tokens of the prompt and Z0..Z9: everything that is ever an input
CHOICES = {"counted": (12, 10, 8, 6), "hinge": ("swiglu", "relu", "ideal")}
SHARPENED = 30.0  # with it the smallest margin is about 2 logits instead of 0.07


@dataclass(frozen=True)
class CircuitConfig:
    """Which of the circuit's numbers are counted, and what its hinges are made of.

    counted  numbers that the board counts (parameters); all others are frozen (buffers) or follow
             from these
        12   embedding c, eps; query direction, 2; value; two hinges of 2; size of the step; final
             norm, 2
        10   the second hinge follows: the same slope, one unit of h later
        8    eps = 1 / c, and the query direction is one angle
        6    as the 10, but the query direction and the final norm are frozen: "hard-coded"
    hinge    ideal: a ReLU on the residual stream itself; relu: a ReLU behind the usual norm;
             swiglu: behind the norm, a SiLU gate times the normalised first coordinate, as
             published
    sharp    logits SHARPENED times as large: no arg-max changes, but the loss is near zero. Only
             training notices
    """

    counted: int = 12
    hinge: str = "swiglu"
    sharp: bool = False

    format = "padded"
    n_targets = 11  # Z0..Z10
    # lab.adders.gradients.position_only knows arcs only: fleets train it seed by seed
    position_only = False
    d_model = 2

    def __post_init__(self):
        check_settings(
            self, **{name: word(*allowed) for name, allowed in CHOICES.items()}, sharp=true_or_false
        )

    def build(self, seed=0):
        """The hand-set circuit: the seed has nothing to do."""
        return HandSetCircuit(self)

    @property
    def label(self):
        """Its name for tools.export."""
        return f"circuit-{self.counted}-{self.hinge}" + ("-sharp" if self.sharp else "")


class Trace(NamedTuple):
    """What the circuit computes on the way, for (B, T) tokens."""

    embedded: torch.Tensor  # (B, T, 2) the points of the parabola
    attention: torch.Tensor  # (B, T, T) weights; row t sums to 1 over the keys up to t
    received: torch.Tensor  # (B, T) what attention adds: 10 s_i + s_{i-1}
    h: torch.Tensor  # (B, T) with the residual: 10 (s_i + c_i) - c_{i-1}
    hinges: torch.Tensor  # (B, T, 2)
    step: torch.Tensor  # (B, T) what the two hinges add: 0, or near -100
    y: torch.Tensor  # (B, T) 10 Z_i - c_{i-1}, and what the step lacks of 100
    logits: torch.Tensor  # (B, T, 10)


class HandSetCircuit(nn.Module):
    """Token ids in, logits of the next token out: (B, T) int64 -> (B, T, 10), T up to 41.

    It is made with its weights; `config` says which of them are parameters. Raises as
    AdditionTransformer for wrong tokens. Frozen whatever the config: `gain`, the size of queries
    times keys (it makes the log-odds ln 10), the rotary `period`, the norms' `eps_norm`. Not stored
    as numbers, because they are structure: zeros, signs, ties, d -> d and d^2.
    """

    max_seq_len, vocab_size = PADDED_CONTEXT, 10

    @own_defaults()
    def __init__(self, config=CircuitConfig()):
        super().__init__()
        self.config, n = config, config.counted
        period, peak, c = 19.0, 10.3, 1000.0
        omega = 2 * math.pi / period
        # `unit`: a normalised coordinate of 1 is this much
        phi, unit = peak * omega, c / math.sqrt(2)
        slope, step = {
            "ideal": (1.0, 100.0),
            "relu": (unit, 100.0),
            "swiglu": (256 / math.sqrt(2) * unit, 100 / 256),
        }[config.hinge]
        threshold = -94 * slope / c

        def number(name, values, counted=True):
            tensor = torch.tensor(values)
            (
                self.register_parameter(name, nn.Parameter(tensor))
                if counted
                else self.register_buffer(name, tensor)
            )

        number("embedding", [c, 0.001] if n != 8 else [c])
        number("query", [math.cos(phi), -math.sin(phi)] if n != 8 else [phi], n != 6)
        number("value", [-22 * unit])
        number(
            "hinge",
            [[threshold, slope], [threshold - slope / c, slope]] if n == 12 else [threshold, slope],
        )
        number("step", [step])
        number(
            "norm",
            [size * SHARPENED if config.sharp else size for size in (0.1 * unit, -unit / 50)],
            n != 6,
        )
        number("gain", math.log(10) / (math.cos(0.3 * omega) - math.cos(0.7 * omega)), False)
        number("period", period, False)
        number("eps_norm", 1e-6, False)

    def token_embeddings(self):
        """The ten points of the parabola: (10, 2)."""
        c, eps = (
            self.embedding
            if len(self.embedding) == 2
            else (self.embedding[0], 1 / self.embedding[0])
        )
        d = torch.arange(10, device=c.device, dtype=c.dtype)
        return torch.stack([c - eps * d * d, -d], dim=-1)

    def query_direction(self):
        """(2,)"""
        return (
            self.query if len(self.query) == 2 else torch.cat([self.query.cos(), -self.query.sin()])
        )

    def hinge_weights(self):
        """One row per hinge, (2, 2): what it multiplies the two coordinates by."""
        if self.hinge.dim() == 2:
            return self.hinge
        later = torch.stack([self.hinge[0] - self.hinge[1] / self.embedding[0], self.hinge[1]])
        return torch.stack([self.hinge, later])

    def normalise(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps_norm)

    def rotate(self, x):
        """Turn the pairs (B, T, 2) by 2 pi / period per position."""
        turn = torch.arange(x.shape[1], device=x.device, dtype=x.dtype) * (
            2 * math.pi / self.period
        )
        c, s = turn.cos(), turn.sin()
        return torch.stack([x[..., 0] * c - x[..., 1] * s, x[..., 0] * s + x[..., 1] * c], dim=-1)

    def attention_weights(self, n):
        """Where each row looks: normalised points (B, T, 2) -> (B, T, T). Score: gain cos(2 pi lag
        / period - phi)."""
        first = n[..., :1]  # queries and keys read it alone
        q = self.rotate(self.normalise(first * self.query_direction()))
        k = self.rotate(self.normalise(F.pad(first, (0, 1))))
        scores = q @ k.mT * (self.gain / 2)  # |q| = |k| = sqrt(2)
        future = torch.ones(n.shape[1], n.shape[1], dtype=torch.bool, device=n.device).triu(1)
        return scores.masked_fill(future, -math.inf).softmax(-1)

    def hinges(self, x):
        """(B, T, 2) -> (B, T, 2): both rise with h from their thresholds on, the second one unit
        later."""
        n = x if self.config.hinge == "ideal" else self.normalise(x)
        gates = n @ self.hinge_weights().T
        return F.silu(gates) * n[..., :1] if self.config.hinge == "swiglu" else F.relu(gates)

    def trace(self, tokens):
        """Everything on the way: (B, T) int64 -> Trace."""
        check_tokens(tokens, self.vocab_size, self.max_seq_len)
        table = self.token_embeddings()
        embedded = table[tokens]  # (B, T, 2)
        n = self.normalise(embedded)
        # Queries and keys are normalised after all but the sign of the first coordinate is lost:
        # one pattern serves all.
        alike = bool((table[:, 0] > 0).all())
        attention = self.attention_weights(n[:1] if alike else n)  # (1 or B, T, T)
        values = n[..., 1] * self.value  # (B, T)
        received = values @ attention[0].T if alike else (attention @ values[..., None])[..., 0]
        attention = attention.expand(len(n), -1, -1)
        constant, h = embedded[..., 0], embedded[..., 1] + received
        hinges = self.hinges(torch.stack([constant, h], dim=-1))
        step = self.step * (hinges[..., 1] - hinges[..., 0])
        y = h + step
        logits = self.normalise(torch.stack([constant, y], dim=-1)) * self.norm @ table.T
        return Trace(embedded, attention, received, h, hinges, step, y, logits)

    def forward(self, tokens):  # (B, T)
        return self.trace(tokens).logits  # (B, T, 10)


def hand_set(counted=12, hinge="swiglu"):
    """The circuit, ready to add. Raises ValueError for a variant that does not exist."""
    return HandSetCircuit(CircuitConfig(counted, hinge)).eval()


def numbers_of(model):
    """Every number of a model, one row each: a DataFrame (name, value, kind), kind "counted" or
    "frozen"."""
    rows = [
        (name, "counted" if p.requires_grad else "frozen", p)
        for name, p in model.named_parameters()
    ]
    rows += [(name, "frozen", b) for name, b in model.named_buffers() if b.is_floating_point()]
    return pd.DataFrame(
        [
            (name if t.numel() == 1 else f"{name}[{i}]", value, kind)
            for name, kind, t in rows
            for i, value in enumerate(t.detach().flatten().tolist())
        ],
        columns=["name", "value", "kind"],
    )


@own_defaults()
@torch.no_grad()
def worked_sum(model, a, b):
    """One sum, column by column, as arithmetic wants it and as the circuit has it: a DataFrame with
    the rows of Z0..Z10.

    a_i, b_i, carry (into the column), previous (Z_{i-1}); h_wanted = 10 (s_i + c_i) - c_{i-1} and
    h; y_wanted = 10 Z_i - c_{i-1} and y; wanted and written digit; margin, the lead in logits of
    the wanted digit over the best other one. The right digits stand before each row. a, b: whole
    numbers from 0 to 10^10 - 1.
    """
    format = FORMATS[model.config.format]
    sequence = format.sequences(torch.tensor([a]), torch.tensor([b]))
    rows = slice(format.prompt - 1, format.prompt - 1 + format.answer)
    trace = model.trace(sequence[:, :-1])
    x, y = (digits_of(torch.tensor([n]), DIGITS + 1)[0] for n in (a, b))  # (11,)
    z, tens = sequence[0, format.prompt :], 10 ** torch.arange(DIGITS + 1)
    carry = (a % tens + b % tens) // tens  # (11,) into each column
    before = F.pad(carry, (1, 0))[:-1]
    logits = trace.logits[0, rows]  # (11, 10)
    best_other = logits.scatter(1, z[:, None], -math.inf).amax(1)
    return pd.DataFrame(
        {
            "column": range(DIGITS + 1),
            "a": x,
            "b": y,
            "carry": carry,
            "previous": F.pad(z, (1, 0))[:-1],
            "h_wanted": 10 * (x + y + carry) - before,
            "h": trace.h[0, rows],
            "y_wanted": 10 * z - before,
            "y": trace.y[0, rows],
            "wanted": z,
            "written": logits.argmax(1),
            "margin": logits.gather(1, z[:, None])[:, 0] - best_other,
        }
    )
