"""Prompts that are no three-digit sums, and what a model writes after them when nothing stands in
its way."""

import numpy as np
import torch

from _checks import one_of, whole_number
from _common import PLUS, VOCAB_SIZE, encode_addition
from lab.checks import seeded_rng

__all__ = "PROMPT_KINDS make_prompts answer_with_confidence".split()

# kind -> (an example, a function of a generator and a number n that returns (n, T) token ids)
PROMPT_KINDS = {
    "well formed": ("123+456=", lambda rng, n: _sums(rng, n, 3)),
    "unpadded": ("12+34=", lambda rng, n: _sums(rng, n, 2)),
    "four digits": ("1234+5678=", lambda rng, n: _sums(rng, n, 4, smallest=1000)),
    "two plus signs": ("12++456=", lambda rng, n: _with(_sums(rng, n, 3), 2, PLUS)),
    "no plus sign": (
        "1237456=",
        lambda rng, n: _with(_sums(rng, n, 3), 3, rng.integers(10, size=n)),
    ),
    "no equals sign": (
        "123+4567",
        lambda rng, n: _with(_sums(rng, n, 3), 7, rng.integers(10, size=n)),
    ),
    "equals sign first": ("=123+456", lambda rng, n: np.roll(_sums(rng, n, 3), 1, axis=1)),
    "random symbols": ("+=4<EOS>7+<PAD>2", lambda rng, n: rng.integers(VOCAB_SIZE, size=(n, 8))),
}


def _sums(rng, n, n_digits, smallest=0):
    pairs = rng.integers(smallest, 10**n_digits, size=(n, 2))
    return np.array([encode_addition(a, b, n_digits)[0] for a, b in pairs])  # (n, 2 n_digits + 2)


def _with(prompts, position, token):
    prompts[:, position] = token
    return prompts


def make_prompts(kind, n, seed=0):
    """n random prompts of one kind: int64 (n, T). Raises ValueError for a kind that is not in
    PROMPT_KINDS."""
    draw = PROMPT_KINDS[one_of("kind of prompt", kind, PROMPT_KINDS)][1]
    return torch.from_numpy(np.asarray(draw(seeded_rng(seed), whole_number("n", n, 1))))


@torch.no_grad()
def answer_with_confidence(model, prompts, n):
    """What a model writes after prompts of any form, and how sure it is: (tokens (B, n),
    confidences (B, n)).

    prompts: (B, T) token ids, which need be no sum. The confidence of a token is the probability
    that the model gives to it. Raises ValueError where T + n - 1 exceeds the model's context.
    """
    n = whole_number("n", n, 1)
    if prompts.shape[1] + n - 1 > model.max_seq_len:
        raise ValueError(
            f"{prompts.shape[1]} prompt tokens and {n} new ones need a context of"
            f" {prompts.shape[1] + n - 1}, the model's is {model.max_seq_len}"
        )
    model.eval()
    tokens, sure = prompts.to(next(model.parameters()).device), []
    for _ in range(n):
        best, token = model(tokens)[:, -1].double().cpu().softmax(-1).max(-1)
        tokens, sure = torch.cat([tokens, token[:, None].to(tokens.device)], dim=1), [*sure, best]
    return tokens[:, prompts.shape[1] :].cpu(), torch.stack(sure, dim=1)
