"""Small models with known weights, and slow formulas, for the tests of _common.py."""

import math

import numpy as np
import torch
import torch.nn as nn

from _common import (
    VOCAB,
    VOCAB_SIZE,
    AdditionTransformer,
    decode_tokens,
    encode_addition,
)

ORDERS = ("ones_first", "most_significant_first")


def seeded(seed=0, **settings):
    """An AdditionTransformer with known weights; every weight, norms and biases included, is moved
    off its start."""
    torch.manual_seed(seed)
    model = AdditionTransformer(**settings)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def tokens_of(text):
    return [VOCAB[symbol] for symbol in text]


def pairs_of(X, n_digits):
    return [
        (
            int(decode_tokens(row[:n_digits])),
            int(decode_tokens(row[n_digits + 1 : 2 * n_digits + 1])),
        )
        for row in X.tolist()
    ]


def attention_by_loops(attn, x):
    """Multi-head attention for one sequence (T, D), one number at a time, in double precision."""
    q, k, v, out = (
        (m.weight.detach().double().numpy()) for m in (attn.q, attn.k, attn.v, attn.out)
    )
    x = x.detach().double().numpy()
    T, D = x.shape
    size = D // attn.n_heads
    mixed, patterns = np.zeros((T, D)), np.zeros((attn.n_heads, T, T))
    for head in range(attn.n_heads):
        rows = range(head * size, (head + 1) * size)
        for i in range(T):
            visible = range(i + 1) if attn.causal else range(T)
            scores = []
            for j in visible:
                score = 0.0
                for r in rows:
                    score += sum(q[r, d] * x[i, d] for d in range(D)) * sum(
                        k[r, d] * x[j, d] for d in range(D)
                    )
                scores.append(score / math.sqrt(size))
            total = sum(math.exp(score - max(scores)) for score in scores)
            for j, score in zip(visible, scores):
                patterns[head, i, j] = math.exp(score - max(scores)) / total
                for r in rows:
                    mixed[i, r] += patterns[head, i, j] * sum(v[r, d] * x[j, d] for d in range(D))
    return mixed @ out.T, patterns


class Oracle(nn.Module):
    """Knows the sum and the format: sure of what is determined, even-handed where it is not. A
    model that cannot learn."""

    def __init__(self, n_digits):
        super().__init__()
        self.n_digits, self.max_seq_len, self.vocab_size = n_digits, 3 * n_digits + 3, VOCAB_SIZE
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, X):  # (B, T) -> (B, T, V)
        n = self.n_digits
        logits = torch.full((*X.shape, VOCAB_SIZE), -1e4, dtype=torch.float64)
        logits[:, :, :10] = 0.0  # some digit, nobody knows which
        for i, pair in enumerate(pairs_of(X, n)):
            prompt, answer = encode_addition(*pair, n)
            known = {
                n - 1: VOCAB["+"],
                2 * n: VOCAB["="],
                **{2 * n + 1 + j: t for j, t in enumerate(answer)},
            }
            for position, token in known.items():
                if position < X.shape[1]:
                    logits[i, position] = -1e4
                    logits[i, position, token] = 0.0
        return logits + self.unused
