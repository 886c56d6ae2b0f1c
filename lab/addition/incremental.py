"""The transformer one token at a time: keys and values of earlier tokens are kept, so that nothing
is computed twice.

This is how language models are served ("KV cache"). Here it makes a census cheap: sums share their
first tokens. The numbers are those of `AdditionTransformer.forward` up to rounding
(tests/lab/addition/test_censuses.py compares them).
"""

import math

import torch
import torch.nn.functional as F

from _common import AdditionTransformer, whole_number


class Reader:
    """A batch of B sequences of one length, read by a model token by token.

        reader = Reader(model, rows=1)
        logits = reader.read(torch.tensor([3]))          # (1,) token ids -> (1, V) logits of the
        next token
        many = reader.take(torch.zeros(10).long())       # ten copies of row 0, to go on differently

    Raises TypeError for anything but an AdditionTransformer, ValueError for one without causal mask
    (its earlier positions would have to be computed anew with each token) and for a sequence longer
    than the model's context.
    """

    def __init__(self, model, rows):
        if not isinstance(model, AdditionTransformer):
            raise TypeError(f"a Reader needs an AdditionTransformer, not {type(model).__name__}")
        if not all(block.attn.causal for block in model.blocks):
            raise ValueError(
                "a Reader needs a model with causal mask: without it, earlier positions change with"
                " each new token"
            )
        self.model, self.length = model, 0
        weight, size = (
            model.token_emb.weight,
            (model.max_seq_len, whole_number("rows", rows, 1), model.token_emb.embedding_dim),
        )
        self.keys, self.values = (
            [torch.empty(size, device=weight.device, dtype=weight.dtype) for _ in model.blocks]
            for _ in range(2)
        )  # (T, B, D)

    @torch.no_grad()
    def read(self, tokens):
        """Append one token to each sequence: (B,) int64 -> (B, V) logits of the token after it."""
        model = self.model
        if self.length == model.max_seq_len:
            raise ValueError(f"the model's context of {model.max_seq_len} tokens is full")
        x = model.token_emb(tokens)  # (B, D)
        if model.pos_emb is not None:
            x = x + model.pos_emb.weight[self.length]
        for i, block in enumerate(model.blocks):
            x = x + self._attend(i, block.attn, block.ln1(x))
            if block.has_ffn:
                x = x + block.ffn(block.ln2(x))
        self.length += 1
        return model.ln_f(x) @ model.token_emb.weight.T  # (B, V)

    def _attend(self, i, attn, x):  # (B, D)
        # Sums of products instead of matrix products: a row has a single query, and a batch of tiny
        # matrices is slow.
        now, heads = self.length, (*x.shape[:1], attn.n_heads, -1)
        self.keys[i][now], self.values[i][now] = attn.k(x), attn.v(x)
        keys, values = (
            cache[i][: now + 1].unflatten(-1, (attn.n_heads, -1))
            for cache in (self.keys, self.values)
        )  # (T, B, H, D/H)
        scores = (keys * attn.q(x).view(heads)).sum(-1) / math.sqrt(keys.shape[-1])  # (T, B, H)
        return attn.out((scores.softmax(0)[..., None] * values).sum(0).flatten(1))  # (B, D)

    def take(self, rows):
        """A new Reader with copies of these rows ((M,) int64, repetitions allowed), at the same
        point."""
        other = object.__new__(Reader)
        other.model, other.length = self.model, self.length
        other.keys, other.values = (
            [k.index_select(1, rows) for k in self.keys],
            [v.index_select(1, rows) for v in self.values],
        )
        return other


def probabilities(logits):
    """Logits (B, V) as probabilities (B, V), in 64 bit, so that confidences close to 1 can be told
    apart."""
    return F.softmax(logits.double(), dim=-1)
