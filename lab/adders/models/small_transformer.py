"""The smallest ordinary transformers that were trained to add ten-digit numbers: 763 learned
numbers, and 777.

One layer, one head, width 7, feed-forward width 14, a context of 35 tokens, learned positions, no
bias in any linear map, and an output head that is the token embedding; the 777 has a final
LayerNorm too. Sequence (lab/adders/formats.py, "plain"):
`0000000042+0000000007=94000000000<EOS>`.

Sources: Havinga, gpt-acc-jax (777); the 763 is its replication in PyTorch, whose published code
settles what its README leaves open (exact GELU, initialisation, 5 % warm-up, clipping at 1, loss on
the 12 answer targets). The code of the 777 leaves its start to Flax: here as Flax starts such
modules. Gradients of many seeds at once: lab/adders/gradients/small_transformer_step.py.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from _checks import positive, true_or_false, word
from _common import VOCAB_SIZE, Attention, own_defaults, seeded_generator
from lab.adders.models.micro_adder import check_tokens
from lab.checks import check_settings

__all__ = "SmallTransformerConfig SmallTransformer SMALL_TRANSFORMERS".split()

# a rule and not its result, which would be part of a stored sweep's name
BY_WIDTH = "1 / sqrt(width)"
CHOICES = {"gelu": ("exact", "tanh"), "start": ("normal", "truncated normal")}


@dataclass(frozen=True)
class SmallTransformerConfig:
    """Which of the two, and how it starts. The defaults are the 763; stored runs are found by what
    differs from them."""

    final_norm: bool = False  # a LayerNorm before the head
    gelu: str = "exact"  # or its approximation by tanh
    norm_eps: float = 1e-5
    # embeddings and positions start normal with this standard deviation, or BY_WIDTH
    embedding_std: float = 0.02
    # of the matrices, variance 1 / inputs; "truncated normal": at two standard deviations
    start: str = "normal"

    format = "plain"
    n_targets = 12  # the 11 digits of the sum and <EOS>
    position_only = False
    d_model, d_ff, max_seq_len = 7, 14, 35

    def __post_init__(self):
        check_settings(
            self,
            **{name: word(*allowed) for name, allowed in CHOICES.items()},
            final_norm=true_or_false,
            norm_eps=positive,
            embedding_std=word(BY_WIDTH) if isinstance(self.embedding_std, str) else positive,
        )

    @property
    def label(self):
        """Its name in SMALL_TRANSFORMERS, or "small" for any other."""
        return next(
            (name for name, config in SMALL_TRANSFORMERS.items() if config == self), "small"
        )

    @property
    def embedding_spread(self):
        """The standard deviation that embeddings and positions start with."""
        return 1 / math.sqrt(self.d_model) if self.embedding_std == BY_WIDTH else self.embedding_std

    def build(self, seed=0):
        """An untrained SmallTransformer of this configuration."""
        return SmallTransformer(self, seed)


SMALL_TRANSFORMERS = {  # the number is the count by the board's rule
    "763": SmallTransformerConfig(),
    "777": SmallTransformerConfig(
        final_norm=True,
        gelu="tanh",
        norm_eps=1e-6,
        embedding_std=BY_WIDTH,
        start="truncated normal",
    ),
}


class SmallBlock(nn.Module):
    """Attention, then feed-forward, each behind a LayerNorm and added to what came in; no biases
    but the norms'."""

    def __init__(self, config):
        super().__init__()
        D, eps = config.d_model, config.norm_eps
        self.ln1, self.ln2 = nn.LayerNorm(D, eps), nn.LayerNorm(D, eps)
        self.attn = Attention(D)
        self.up, self.down = (
            nn.Linear(D, config.d_ff, bias=False),
            nn.Linear(config.d_ff, D, bias=False),
        )
        self.approximate = "tanh" if config.gelu == "tanh" else "none"

    def forward(self, x):  # (B, T, D)
        x = x + self.attn(self.ln1(x))
        return x + self.down(F.gelu(self.up(self.ln2(x)), approximate=self.approximate))


class SmallTransformer(nn.Module):
    """Token ids in, logits of the next token out: (B, T) int64 -> (B, T, 14), T up to 35.

    `seed` fixes the start: norms 1 and 0, everything else random as the configuration says. The
    positions of the 34th and 35th token never see training on ten-digit sums (33 tokens go in): 14
    of the numbers only ever decay. Raises as AdditionTransformer does for wrong tokens.
    """

    @own_defaults()
    def __init__(self, config=SmallTransformerConfig(), seed=0):
        super().__init__()
        self.config, self.vocab_size, self.max_seq_len = config, VOCAB_SIZE, config.max_seq_len
        with torch.random.fork_rng(
            devices=[]
        ):  # torch's own start, replaced below, leaves no trace
            self.token_emb = nn.Embedding(VOCAB_SIZE, config.d_model)
            self.pos_emb = nn.Embedding(config.max_seq_len, config.d_model)
            self.blocks = nn.ModuleList([SmallBlock(config)])
            self.ln_f = (
                nn.LayerNorm(config.d_model, config.norm_eps)
                if config.final_norm
                else nn.Identity()
            )
        self.register_buffer(
            "eps", torch.tensor(config.norm_eps), persistent=False
        )  # for the strict count
        generator = seeded_generator(seed)
        for name, p in self.named_parameters():
            if "emb" in name:
                nn.init.normal_(p, std=config.embedding_spread, generator=generator)
            elif "ln" not in name and config.start == "normal":
                nn.init.normal_(p, std=1 / math.sqrt(p.shape[1]), generator=generator)
            elif "ln" not in name:
                # that of a normal cut at +-2: the variance is
                std = 1 / math.sqrt(p.shape[1]) / 0.87962566103423978
                nn.init.trunc_normal_(
                    p, std=std, a=-2 * std, b=2 * std, generator=generator
                )  # 1 / inputs again

    def forward(self, tokens):  # (B, T)
        check_tokens(tokens, self.vocab_size, self.max_seq_len)
        x = self.token_emb(tokens) + self.pos_emb.weight[: tokens.shape[1]]  # (B, T, D)
        for block in self.blocks:
            x = block(x)
        return self.ln_f(x) @ self.token_emb.weight.T  # (B, T, V): the head is tied
