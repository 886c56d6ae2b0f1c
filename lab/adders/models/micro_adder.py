"""The split-subspace micro-adder: one configurable class for the ladder from 242 learned numbers
down to 54.

Source: Zarechnev's MicroAdder (2026) and, for 242, JackCai's split-subspace adder; the architecture
is theirs, the code is not. The residual stream is two halves side by side: what token stands here,
and where. Attention asks and is asked in the position half only, and carries the token half.
Sequence (see lab/adders/formats.py): `X0..X9 + Y0..Y9 = Z0..Z10`, ones first. Letters: B
sequences, T tokens, V tokens in the vocabulary, D = token_dim + position_dim, H heads, K = qk_dim.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from _checks import check_ids, positive_whole, real_number, true_or_false, whole_from_zero, word
from _common import own_defaults, seeded_generator
from lab.adders.gradients.position_only import PositionOnlyParts, answer_rows, received_scale
from lab.checks import check_settings

__all__ = "MicroAdderConfig MicroAdder MICRO_ADDERS micro_adder load_published_57".split()

CONTEXT = 33  # X0..X9 + Y0..Y9 = Z0..Z10: everything but <EOS> is an input
SPECIALS = ("plus", "equals", "z_hi", "eos")
CHOICES = {
    "tokens": ("arc", "ellipse", "table"),
    "slots": ("frozen", "spiral", "line", "offsets", "table"),
    "value": ("head", "own"),
    "ffn_out": ("head", "own"),
    "norm": ("shared", "separate", "scalar", "ones"),
    "random_start": ("own", "published"),
}


@dataclass(frozen=True)
class MicroAdderConfig:
    """Which pieces a micro-adder has. The defaults are the 57; stored runs are found by what
    differs from them."""

    # 10: the digits, and + = are told from 0 by position; 14: + = <EOS> <PAD> are tokens
    vocab_size: int = 10
    token_dim: int = 2
    position_dim: int = 3
    tokens: str = "arc"  # arc: a circle's arc, 3 numbers; ellipse: 4 numbers; table: V x token_dim
    # positions of the ten digit slots: a spiral frozen or learned (4), times a line (+ 2) or a
    # factor per slot (+ 10); or a table, 10 x position_dim
    slots: str = "frozen"
    # amplitude, phase, slope, offset: where the spiral starts or is frozen
    spiral: tuple = (3.5, 0.0, 0.15, 0.0)
    # + = Z10 <EOS> have no digit slot: a learned position, else zero
    learned_specials: tuple = ("equals", "z_hi")
    n_heads: int = 1
    qk_dim: int = 4  # per head
    v_dim: int = 5  # per head
    tied_qk: bool = True  # q is k turned by one angle per head, else it has a matrix of its own
    softmax_plus_one: bool = False  # 1 + sum of exp in the denominator: a head may look nowhere
    value: str = "head"  # the value map is the output head's matrix, or its own
    output_rank: int = 1  # rank of the attention output; 0: a full matrix
    d_ff: int = 2
    ffn_bias: bool = False
    ffn_out: str = "head"  # the way out of the FFN is the output head's matrix, or its own
    norm: str = "shared"  # one RMSNorm vector for all three sites, one each, one number, or ones
    predicts_eos: bool = True  # is the row of Z10 trained to say <EOS>?
    # which weights a seed stands for: this class's, or the published trainer's (`_published_start`)
    random_start: str = "own"

    def __post_init__(self):
        sizes = "token_dim position_dim n_heads qk_dim v_dim d_ff".split()
        switches = "tied_qk softmax_plus_one ffn_bias predicts_eos".split()
        check_settings(
            self,
            **{name: word(*allowed) for name, allowed in CHOICES.items()},
            **dict.fromkeys(sizes, positive_whole),
            **dict.fromkeys(switches, true_or_false),
            vocab_size=word(10, 14),
            output_rank=whole_from_zero,
        )
        if self.tokens != "table" and (self.vocab_size, self.token_dim) not in [(10, 1), (10, 2)]:
            raise ValueError(
                f"tokens={self.tokens!r} needs vocab_size 10 and token_dim 1 or 2, "
                f"not {self.vocab_size} and {self.token_dim}"
            )
        # JSON has no tuples
        object.__setattr__(self, "learned_specials", tuple(self.learned_specials))
        object.__setattr__(
            self,
            "spiral",
            tuple(real_number("a number of spiral", number) for number in self.spiral),
        )
        if not set(self.learned_specials) <= set(SPECIALS):
            raise ValueError(
                f"learned_specials may hold {', '.join(SPECIALS)}, not {self.learned_specials}"
            )
        if len(self.spiral) != 4 or self.position_dim < 2:
            raise ValueError("spiral needs 4 numbers, and position_dim must be at least 2")
        if self.value == "head" and (self.n_heads, self.v_dim) != (1, self.d_model):
            raise ValueError(
                f"a value tied to the head needs one head of v_dim {self.d_model}, "
                f"not {self.n_heads} of {self.v_dim}"
            )
        if self.random_start == "published" and not (
            self.position_only
            and (self.value, self.tied_qk) == ("head", True)
            and (self.slots, self.norm) == ("frozen", "shared")
        ):
            raise ValueError("random_start='published' is known for models like 67, 57 and 54 only")
        if self.ffn_out == "head" and self.d_ff != self.token_dim:
            raise ValueError(
                f"an FFN tied to the head needs d_ff = token_dim = {self.token_dim}, not"
                f" {self.d_ff}"
            )

    def build(self, seed=0):
        """An untrained MicroAdder of this configuration."""
        return MicroAdder(self, seed)

    @property
    def label(self):
        """Its name in MICRO_ADDERS, or "micro-adder" for any other."""
        own = replace(self, random_start="own")
        return next((name for name, config in MICRO_ADDERS.items() if config == own), "micro-adder")

    @property
    def format(self):
        """The name in lab.adders.formats.FORMATS of the sequences it reads."""
        return "digits only" if self.vocab_size == 10 else "reversed"

    @property
    def n_targets(self):
        """Answer tokens that training asks for: Z0..Z10, and <EOS>."""
        return 11 + self.predicts_eos

    @property
    def position_only(self):
        """Can lab.adders.gradients.position_only train it?"""
        return not self.attention_sees_digits and (
            self.output_rank,
            self.n_heads,
            self.ffn_bias,
        ) == (1, 1, False)

    @property
    def d_model(self):
        return self.token_dim + self.position_dim

    @property
    def attention_sees_digits(self):
        """False where every digit's embedding has one length: then the norm, and so attention,
        depends on position only."""
        return self.tokens != "arc" or self.token_dim != 2


_74 = MicroAdderConfig(slots="spiral", spiral=(1.0, 0.0, 1 / 9, 0.0), qk_dim=5, ffn_out="own")
_78 = replace(_74, tokens="ellipse", learned_specials=("plus", "equals", "z_hi"))
_133 = replace(
    _78, tokens="table", slots="line", norm="separate", value="own", output_rank=2, ffn_bias=True
)
_170 = replace(_133, vocab_size=14, position_dim=4, n_heads=2, qk_dim=3, v_dim=3)
_203 = replace(_170, token_dim=3, position_dim=3, tied_qk=False)
_214 = replace(_203, slots="offsets", learned_specials=SPECIALS)
MICRO_ADDERS = {
    "242": replace(_214, slots="table", output_rank=0),
    "226": replace(_214, output_rank=0),
    "214": _214,
    "203": _203,
    "187": replace(_203, tied_qk=True),
    "170": _170,
    "133": _133,
    "100": replace(_133, tokens="ellipse", output_rank=1, ffn_bias=False),
    "90": replace(_78, slots="line", value="own"),
    "80": replace(_78, slots="line"),
    "78": _78,
    "75": replace(_78, learned_specials=("equals", "z_hi")),
    "74": _74,
    "67": MicroAdderConfig(ffn_out="own"),
    "57": MicroAdderConfig(),
    "54": MicroAdderConfig(learned_specials=("equals",), predicts_eos=False),
}


def micro_adder(name, seed=0):
    """The untrained micro-adder of a name in MICRO_ADDERS; the seed fixes its weights. Raises
    ValueError for others."""
    if name not in MICRO_ADDERS:
        raise ValueError(
            f"unknown micro-adder {name!r}: it may be one of {', '.join(MICRO_ADDERS)}"
        )
    return MicroAdder(MICRO_ADDERS[name], seed)


class MicroAdder(nn.Module):
    """Token ids in, logits of the next token out: (B, T) int64 -> (B, T, V), T up to 33 (34 where
    <EOS> has a position).

    h = N([e ; p]); x1 = [e ; p] + attention(h); x2 = x1 + FFN(N(x1)); logits = (N(x2) H^T) E^T, E
    the token embeddings. Weights start as the ladder's author started them (table in `_start`);
    `seed` fixes the random ones. Frozen numbers are buffers, so that a strict count finds them.
    Raises as AdditionTransformer does for wrong tokens.
    """

    @own_defaults()
    def __init__(self, config=MicroAdderConfig(), seed=0):
        super().__init__()
        self.config, self.vocab_size = config, config.vocab_size
        self.max_seq_len = CONTEXT + ("eos" in config.learned_specials)
        c, D = config, config.d_model
        sizes = {
            "arc": {"arc": 3},
            "ellipse": {"arc": 4},
            "table": {"token_table": (c.vocab_size, c.token_dim)},
        }[c.tokens]
        sizes |= {
            "frozen": {},
            "spiral": {"spiral": 4},
            "line": {"spiral": 4, "slot_line": 2},
            "offsets": {"spiral": 4, "slot_factors": 10},
            "table": {"slot_table": (10, c.position_dim)},
        }[c.slots]
        sizes |= {name: c.position_dim for name in c.learned_specials}
        sizes["W_q"] = (c.n_heads * c.qk_dim, c.position_dim)
        sizes |= (
            {"theta": c.n_heads} if c.tied_qk else {"W_k": (c.n_heads * c.qk_dim, c.position_dim)}
        )
        sizes |= {"W_v": (c.n_heads * c.v_dim, c.token_dim)} if c.value == "own" else {}
        values = c.n_heads * c.v_dim
        sizes |= (
            {"A_o": (values, c.output_rank), "B_o": (c.output_rank, D)}
            if c.output_rank
            else {"W_o": (D, values)}
        )
        sizes["W_1"] = (c.d_ff, D)
        sizes |= {"W_2": (c.d_ff, D)} if c.ffn_out == "own" else {}
        sizes |= {"b_1": c.d_ff, "b_2": D} if c.ffn_bias else {}
        sizes["H"] = (c.token_dim, D)
        sizes |= {
            "shared": {"w": D},
            "scalar": {"w": 1},
            "ones": {},
            "separate": {"w": D, "w_ffn": D, "w_head": D},
        }[c.norm]
        generator = seeded_generator(seed)
        published = _published_start(c, generator) if c.random_start == "published" else {}
        for name, size in sizes.items():
            size = (size,) if isinstance(size, int) else size
            first = published[name] if name in published else _start(name, size, c, generator)
            self.register_parameter(name, nn.Parameter(first))
        if c.slots == "frozen":
            self.register_buffer("spiral", torch.tensor(c.spiral), persistent=False)
        for name in sorted(set(SPECIALS[:3]) - set(c.learned_specials)):
            self.register_buffer(name, torch.zeros(c.position_dim), persistent=False)
        self.register_buffer("eps", torch.tensor(1e-5), persistent=False)

    # -- embeddings. A fleet gives every learned tensor a leading axis of seeds: hence the ... in
    # what does not see tokens.

    def token_embeddings(self):
        """The embedding of every token: (..., V, token_dim)."""
        if self.config.tokens == "table":
            return self.token_table
        angles = self.arc[..., -2:-1] + self.arc[..., -1:] * torch.arange(
            10, device=self.arc.device, dtype=self.arc.dtype
        )
        points = [self.arc[..., :1] * angles.cos(), self.arc[..., -3:-2] * angles.sin()]
        return torch.stack(points[: self.config.token_dim], dim=-1)

    def slot_positions(self):
        """The position of each digit slot, shared by X_i, Y_i and Z_i: (..., 10, position_dim)."""
        c = self.config
        if c.slots == "table":
            return self.slot_table
        amplitude, phase, slope, offset = self.spiral.split(1, dim=-1)  # (..., 1) each
        i = torch.arange(10, device=self.spiral.device, dtype=self.spiral.dtype)
        angle = 2 * math.pi * i / 10 + phase  # (..., 10)
        columns = [amplitude * angle.cos(), amplitude * angle.sin()]
        columns += [slope * i + offset] if c.position_dim > 2 else []
        columns += [torch.zeros_like(angle)] * (c.position_dim - 3)
        spiral = torch.stack(columns, dim=-1)
        if c.slots == "line":
            spiral = spiral * (1 + self.slot_line[..., :1] + self.slot_line[..., 1:] * i)[..., None]
        if c.slots == "offsets":
            spiral = spiral * (1 + self.slot_factors)[..., None]
        return spiral

    def positions(self):
        """The position half of the residual stream: (..., max_seq_len, position_dim)."""
        rows = [self.slot_positions()] * 3
        specials = [
            getattr(self, name)[..., None, :]
            for name in SPECIALS[: 3 + ("eos" in self.config.learned_specials)]
        ]
        rows = [rows[0], specials[0], rows[1], specials[1], rows[2], *specials[2:]]
        seeds = self.H.shape[:-2]  # frozen rows have no axis of seeds: lend them one
        return torch.cat([row.expand(*seeds, *row.shape[-2:]) for row in rows], dim=-2)

    # -- the layer

    def norm_weight(self, site):
        """The RMSNorm weight of a site, "attention", "ffn" or "head": (..., D), or (..., 1) where
        one serves all D."""
        if self.config.norm == "ones":
            return torch.ones(1, dtype=self.H.dtype, device=self.H.device)
        return (
            {"ffn": self.w_ffn, "head": self.w_head}.get(site, self.w)
            if self.config.norm == "separate"
            else self.w
        )

    def normalise(self, x, site):
        return (
            x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.norm_weight(site)
        )

    def attention_weights(self, h_position):
        """Where each row looks: normalised positions (..., T, position_dim) -> (..., H, T, T), rows
        summing to 1."""
        c = self.config
        T = h_position.shape[-2]

        def heads(x):  # (..., T, H K) -> (..., H, T, K)
            return x.unflatten(-1, (c.n_heads, c.qk_dim)).transpose(-3, -2)

        q = heads(h_position @ self.W_q.mT)
        if c.tied_qk:
            k, q = q, rotate_pairs(q, self.theta)
        else:
            k = heads(h_position @ self.W_k.mT)
        scores = q @ k.transpose(-2, -1) / math.sqrt(c.qk_dim)  # (..., H, T, T)
        future = torch.ones(T, T, dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(future, -math.inf)
        if c.softmax_plus_one:  # a key of score 0 whose value is zero
            return F.pad(scores, (0, 1)).softmax(-1)[..., :-1]
        return scores.softmax(-1)

    def value_map(self):
        """The linear map from the token half to the values: (..., H v_dim, token_dim)."""
        return self.H.mT if self.config.value == "head" else self.W_v

    def output_map(self):
        """The linear map from the values to the residual stream: (..., H v_dim, D)."""
        return self.A_o @ self.B_o if self.config.output_rank else self.W_o.mT

    def attend(self, h):  # (B, T, D)
        c = self.config
        weights = self.attention_weights(h[..., c.token_dim :])  # (B, H, T, T)
        v = (
            (h[..., : c.token_dim] @ self.value_map().T)
            .unflatten(-1, (c.n_heads, c.v_dim))
            .transpose(-3, -2)
        )
        mixed = (weights @ v).transpose(-3, -2).flatten(-2)  # (B, T, H v_dim)
        return mixed @ self.output_map()  # (B, T, D)

    def feed_forward(self, h):  # (B, T, D)
        bias, bias_out = (self.b_1, self.b_2) if self.config.ffn_bias else (0, 0)
        return (
            F.gelu(h @ self.W_1.T + bias) @ (self.H if self.config.ffn_out == "head" else self.W_2)
            + bias_out
        )

    def position_only_parts(self):
        """The model as `lab.adders.gradients.position_only` computes it, where attention sees no
        digits and its output has rank one.

        Every learned tensor must have a leading axis of seeds. Raises ValueError for another
        configuration.
        """
        c = self.config
        if not c.position_only:
            raise ValueError(
                "only micro-adders with an arc, one head, rank-one output and no FFN bias have such"
                " parts"
            )
        table, positions = self.token_embeddings(), self.positions()[:, :CONTEXT]
        rows = answer_rows(CONTEXT, c.n_targets)
        scale = received_scale(positions, self.eps, table)  # (S, T)
        w, w_ffn, w_head = (
            self.norm_weight(site).expand(len(table), c.d_model)
            for site in ("attention", "ffn", "head")
        )
        pattern = self.attention_weights(positions * scale[..., None] * w[:, None, c.token_dim :])[
            :, 0
        ]
        direction = (self.A_o.mT @ self.value_map())[:, 0] * w[:, : c.token_dim]  # (S, token_dim)
        return PositionOnlyParts(
            embedding=table,
            value=(table @ direction[..., None])[..., 0],
            mix=pattern[:, rows] * scale[:, None],
            write=self.B_o[:, 0],
            position=positions[:, rows],
            up=self.W_1 * w_ffn[:, None],
            down=self.H if c.ffn_out == "head" else self.W_2,
            head=self.H * w_head[:, None],
            eps=self.eps,
        )

    def logits(self, tokens):
        """`forward` without looking at the tokens' values (which would wait for a GPU, and vmap
        cannot)."""
        table = self.token_embeddings()
        positions = self.positions()[: tokens.shape[1]]
        x = torch.cat(
            [table[tokens], positions.expand(tokens.shape[0], -1, -1)], dim=-1
        )  # (B, T, D)
        x = x + self.attend(self.normalise(x, "attention"))
        x = x + self.feed_forward(self.normalise(x, "ffn"))
        return self.normalise(x, "head") @ self.H.T @ table.T  # (B, T, V)

    def forward(self, tokens):  # (B, T)
        check_tokens(tokens, self.vocab_size, self.max_seq_len)
        return self.logits(tokens)


def rotate_pairs(x, theta):
    """Turn the coordinate pairs (0, 1), (2, 3), ... of (..., H, T, K) by one angle per head; an odd
    last one stays."""
    c, s = theta.cos()[..., None], theta.sin()[..., None]  # (..., H, 1)
    columns = list(x.unbind(-1))
    for i in range(0, len(columns) - 1, 2):
        a, b = columns[i], columns[i + 1]
        columns[i], columns[i + 1] = a * c - b * s, a * s + b * c
    return torch.stack(columns, dim=-1)


def check_tokens(tokens, vocab_size, max_seq_len):
    """Raise TypeError/ValueError unless tokens are (batch, time) int64 ids that fit vocabulary and
    context."""
    if not isinstance(tokens, torch.Tensor) or tokens.dtype != torch.int64:
        given = tokens.dtype if isinstance(tokens, torch.Tensor) else type(tokens).__name__
        raise TypeError(f"tokens must be a tensor of int64 token ids, not {given}")
    if tokens.dim() != 2 or not 1 <= tokens.shape[1] <= max_seq_len:
        raise ValueError(
            f"tokens must have the shape (batch, time) with 1 to {max_seq_len} tokens, not"
            f" {tuple(tokens.shape)}"
        )
    if tokens.device.type == "cpu":
        check_ids("token ids", tokens, vocab_size)


def _start(name, size, config, generator):
    """The first value of a tensor. Only matrices and special positions are random."""
    if name == "arc":
        return torch.tensor([2.5, -1.2, 0.29] if size == (3,) else [2.5, 2.5, -1.2, 0.29])
    if name == "token_table":  # digits on a spiral, other tokens in four corners
        d = torch.arange(10.0)
        spiral = torch.stack(
            [(2 * math.pi * d / 10).cos(), (2 * math.pi * d / 10).sin(), d / 9], dim=1
        )
        corners = torch.tensor([[2.0, 0, -1], [0, 2, -1], [-2, 0, -1], [0, -2, -1]])
        return torch.cat([spiral, corners])[: size[0], : size[1]].clone()
    if name == "spiral":
        return torch.tensor(config.spiral)
    if name in ("slot_line", "slot_factors", "theta", "b_1", "b_2", "B_o"):
        return torch.zeros(size)
    if name in ("w", "w_ffn", "w_head"):
        return torch.ones(size)
    if name in SPECIALS or name == "slot_table":
        return 0.02 * torch.randn(size, generator=generator)
    rows, columns = size
    # else Xavier's
    bound = 1 / math.sqrt(columns) if name == "A_o" else math.sqrt(6 / (rows + columns))
    return torch.empty(size).uniform_(-bound, bound, generator=generator)


def _published_start(config, generator):
    """The random weights that a seed of the published trainer stands for: its numbers, drawn in its
    order: {name: tensor}.

    It draws matrices when it makes them, then draws them again. z_hi is drawn whether the model has
    one or not, so that the same seed gives a 57 and a 54 the same start.
    """
    D = config.d_model
    sizes = {
        "W_q": (config.qk_dim, config.position_dim),
        "W_1": (config.d_ff, D),
        "W_2": (config.d_ff, D),
        "H": (config.token_dim, D),
    }
    if config.ffn_out == "head":
        del sizes["W_2"]
    torch.empty(sizes["W_q"]).uniform_(generator=generator)
    first = {"A_o": torch.empty(config.v_dim, 1).uniform_(-1, 1, generator=generator)}
    for name in list(sizes)[1:]:
        torch.empty(sizes[name]).uniform_(generator=generator)
    for name in ("z_hi", "equals"):
        first[name] = torch.empty(config.position_dim).normal_(std=0.02, generator=generator)
    for name, (rows, columns) in sizes.items():
        bound = math.sqrt(6 / (rows + columns))
        drawn = torch.empty(rows * columns).uniform_(-bound, bound, generator=generator)
        first[name] = (
            drawn.view(columns, rows).T.contiguous() if name == "W_2" else drawn.view(rows, columns)
        )  # it stores W_2^T
    return first


PUBLISHED_NAMES = {
    "special_pos_equals": "equals",
    "z_hi_pos": "z_hi",
    "q_proj.weight": "W_q",
    "q_phase_angle": "theta",
    "out_proj.A": "A_o",
    "out_proj.B": "B_o",
    "fc1.weight": "W_1",
    "head_proj.weight": "H",
    "norm1.weight": "w",
}


@own_defaults()
def load_published_57(path):
    """The 57 with its author's published weights, from a JSON file with the keys of his checkpoint
    under "weights"."""
    weights = json.loads(Path(path).read_text())["weights"]
    state = {ours: torch.tensor(weights[theirs]) for theirs, ours in PUBLISHED_NAMES.items()}
    state["arc"] = torch.tensor([weights[f"tok_arc_{part}"] for part in ("A", "start", "stride")])
    model = micro_adder("57")
    model.load_state_dict(
        {name: state[name].view_as(old) for name, old in model.state_dict().items()}
    )
    return model.eval()
