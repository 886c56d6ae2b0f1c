"""Adders whose attention is one wave of period 11: at most 25 learned numbers.

In `X0..X9 + Y0..Y9 = Z0..Z10` the row that predicts Z_i finds Y_i ten tokens back and X_i 21 = 10 + 11 back; the previous
column and the digit just written stand at lags that differ from 11 and 22 by nothing. So queries and keys that are one
learned vector and one fixed vector, each turned by 2 pi / 11 per position, give the whole pattern with two numbers: an
amplitude S and a lag phi, score S cos(2 pi (lag - phi) / 11). Positions enter nowhere else. One layer, one head.

Prior knowledge that is put in, and disclosed: the period, and where S and phi start.
"""
import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from lab.micro_adder import CONTEXT, check_tokens
from lab.position_only import ANSWER, PositionOnlyParts

__all__ = "RotaryAdderConfig RotaryAdder ROTARY_ADDERS".split()

CHOICES = {"value": ("own", "write", "head"), "write": ("own", "scratch"), "ffn_in": ("own", "head"), "ffn_out": ("head", "own"),
           "norm": ("shared", "scalar", "ones"), "amplitude": ("learned", "frozen")}


@dataclass(frozen=True)
class RotaryAdderConfig:
    """Which pieces a rotary adder has. The defaults are the 25; stored runs are found by what differs from them."""
    scratch: int = 1                    # dimensions beside the two of the arc: d_model is 2 + scratch
    value: str = "own"                  # the direction read: two numbers of its own, those of `write`, or the head's first row
    write: str = "own"                  # the direction written: its own, or the scratch dimension (a fixed unit vector)
    ffn_in: str = "own"                 # 2 x D, or the head's matrix
    ffn_out: str = "head"               # the head's matrix, or 2 x D
    norm: str = "shared"                # one RMSNorm vector for all three sites, one number, or ones
    amplitude: str = "learned"          # of the arc, else frozen where it starts
    period: float = 11.0
    S_start: float = 25.0
    phi_start: tuple = (9.0, 11.0)      # phi starts uniform between these

    format = "digits only"
    n_targets = 11                      # Z0..Z10; <EOS> is not asked for
    position_only = True

    def __post_init__(self):
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} may be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        object.__setattr__(self, "phi_start", tuple(self.phi_start))
        if self.scratch not in (0, 1, 2) or (self.write == "scratch" and not self.scratch):
            raise ValueError(f"scratch may be 0, 1 or 2, and at least 1 where it is written to, not {self.scratch}")

    @property
    def d_model(self):
        return 2 + self.scratch

    @property
    def label(self):
        """Its name in ROTARY_ADDERS, or "rotary" for any other."""
        return next((name for name, config in ROTARY_ADDERS.items() if config == self), "rotary")

    def build(self, seed=0):
        """An untrained RotaryAdder of this configuration."""
        return RotaryAdder(self, seed)


ROTARY_ADDERS = {                       # the number is the count by the board's rule
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
    "r17-value-is-head-fixed-write-fixed-norm": RotaryAdderConfig(value="head", write="scratch", norm="ones"),
}


class RotaryAdder(nn.Module):
    """Token ids in, logits of the next token out: (B, T) int64 -> (B, T, 10), T up to 33.

    x0 = [e ; 0]; x1 = x0 + (attention-weighted sum of N(x0) . value) write; x2 = x1 + FFN(N(x1)); logits =
    (N(x2) H^T) E^T, E the arc. `seed` fixes the random start: phi uniform near 10, value uniform, matrices Xavier's,
    write zero (as in the micro-adders). Frozen numbers are buffers. Raises as AdditionTransformer for wrong tokens.
    """

    max_seq_len, vocab_size = CONTEXT, 10

    def __init__(self, config=RotaryAdderConfig(), seed=0):
        super().__init__()
        self.config = c = config
        D, generator = c.d_model, torch.Generator().manual_seed(seed)

        def uniform(*size, low=-1.0, high=1.0):
            return nn.Parameter(torch.empty(size).uniform_(low, high, generator=generator))

        def matrix():
            bound = math.sqrt(6 / (2 + D))
            return uniform(2, D, low=-bound, high=bound)

        self.arc = nn.Parameter(torch.tensor([-1.2, 0.29]))                        # start, stride
        amplitude = torch.tensor([2.5])
        if c.amplitude == "learned":
            self.A = nn.Parameter(amplitude)
        else:
            self.register_buffer("A", amplitude, persistent=False)
        self.S = nn.Parameter(torch.tensor([c.S_start]))
        self.phi = uniform(1, low=c.phi_start[0], high=c.phi_start[1])
        if c.value == "own":
            self.value = uniform(2)
        if c.write == "own":
            self.write = nn.Parameter(torch.zeros(D)) if c.value != "write" else uniform(D)     # zero would stay zero
        else:
            self.register_buffer("write", torch.eye(D)[2], persistent=False)
        if c.ffn_in == "own":
            self.W_1 = matrix()
        if c.ffn_out == "own":
            self.W_2 = matrix()
        self.H = matrix()
        if c.norm != "ones":
            self.w = nn.Parameter(torch.ones(D if c.norm == "shared" else 1))
        for name, value in (("key", [1.0, 0.0]), ("period", c.period), ("eps", 1e-5)):
            self.register_buffer(name, torch.tensor(value), persistent=False)

    # A fleet gives every learned tensor a leading axis of seeds: hence the ... in what does not see tokens.

    def token_embeddings(self):
        """The ten points of the arc: (..., 10, 2)."""
        angles = self.arc[..., :1] + self.arc[..., 1:] * torch.arange(10, device=self.arc.device, dtype=self.arc.dtype)
        return self.A[..., None] * torch.stack([angles.cos(), angles.sin()], dim=-1)

    def norm_weight(self):
        """(..., D)"""
        ones = torch.ones(*self.H.shape[:-2], self.config.d_model, dtype=self.H.dtype, device=self.H.device)
        return ones if self.config.norm == "ones" else self.w * ones

    def normalise(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.norm_weight()

    def attention_weights(self, T):
        """Where each row looks: (..., T, T). Queries are (S, lag phi), keys the fixed vector, both turned by position."""
        step = 2 * math.pi / self.period
        t = torch.arange(T, device=self.S.device, dtype=self.S.dtype)
        turn = (t - self.phi) * step                                               # (..., T)
        q = self.S[..., None] * torch.stack([turn.cos(), turn.sin()], dim=-1)      # (..., T, 2)
        c, s = (t * step).cos(), (t * step).sin()
        k = torch.stack([self.key[0] * c - self.key[1] * s, self.key[0] * s + self.key[1] * c], dim=-1)
        scores = q @ k.mT                                                          # (..., T, T): S cos(step (lag - phi))
        future = torch.ones(T, T, dtype=torch.bool, device=scores.device).triu(1)
        return scores.masked_fill(future, -math.inf).softmax(-1)

    def value_direction(self):
        """What attention reads of a normalised token: (..., 2)."""
        return {"own": lambda: self.value, "write": lambda: self.write[..., :2],
                "head": lambda: self.H[..., 0, :2]}[self.config.value]()

    def ffn_in(self):
        return self.W_1 if self.config.ffn_in == "own" else self.H

    def ffn_out(self):
        return self.W_2 if self.config.ffn_out == "own" else self.H

    def position_only_parts(self):
        """The model as `lab.position_only` computes it; every learned tensor must have a leading axis of seeds."""
        table, w = self.token_embeddings(), self.norm_weight()                     # (S, 10, 2), (S, D)
        seeds, D = w.shape
        rows = slice(ANSWER.start, ANSWER.start + self.config.n_targets)
        scale = torch.rsqrt(table[:, 0].square().sum(1) / D + self.eps)            # (S,): 1 / rms of any x0
        position = torch.zeros(seeds, self.config.n_targets, D - 2, dtype=table.dtype, device=table.device)
        return PositionOnlyParts(
            embedding=table, value=(table @ (self.value_direction() * w[:, :2])[..., None])[..., 0],
            mix=self.attention_weights(CONTEXT)[:, rows] * scale[:, None, None], write=self.write.expand(seeds, D),
            position=position, up=self.ffn_in() * w[:, None], down=self.ffn_out(), head=self.H * w[:, None], eps=self.eps)

    def forward(self, tokens):                                                     # (B, T)
        check_tokens(tokens, self.vocab_size, self.max_seq_len)
        table = self.token_embeddings()
        x = F.pad(table[tokens], (0, self.config.scratch))                         # (B, T, D)
        read = self.normalise(x)[..., :2] @ self.value_direction()                 # (B, T)
        x = x + (read @ self.attention_weights(tokens.shape[1]).mT)[..., None] * self.write
        x = x + F.gelu(self.normalise(x) @ self.ffn_in().T) @ self.ffn_out()
        return self.normalise(x) @ self.H.T @ table.T                              # (B, T, 10)
