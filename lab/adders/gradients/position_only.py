"""The loss of many small adders at once, for models whose attention depends on position only:
forward and backward.

Where every digit's embedding has one length, the norm before attention is a function of position,
and queries and keys never see a digit. Then each model has one fixed attention pattern, and what a
row receives is a single number, sum_t mix[row, t] * value[digit_t], written along one direction. So
the pattern is computed once per step instead of once per example (by ordinary autograd, from
`PositionOnlyParts`), and the rest is a narrow chain of elementwise operations whose gradient is
written out below. tests/lab/adders/training/test_fleets.py holds it against autograd through the
model's own forward.

Letters: S seeds, R rows that predict, B examples, T = 33 tokens, or 34, D width, F hidden units, V
= 10 digits.
"""

import math
from typing import NamedTuple

import torch

ACTIVATIONS = ("gelu", "tanh")


def answer_rows(T, n):
    """The first n rows that predict an answer, Z0's first, of a model that reads at most T tokens:
    the last 12 do."""
    return slice(T - 12, T - 12 + n)


class PositionOnlyParts(NamedTuple):
    """What such a model amounts to, with a leading axis of seeds. Token half first in every width
    D."""

    embedding: torch.Tensor  # (S, V, 2) on a circle around 0
    value: torch.Tensor  # (S, V) what a digit contributes
    mix: torch.Tensor  # (S, R, T) how much of it each row receives
    write: torch.Tensor  # (S, D) the direction in which it is written
    position: torch.Tensor  # (S, R, D - 2) the position half of the rows that predict
    up: torch.Tensor  # (S, F, D) the FFN's way in, norm weight included
    down: torch.Tensor  # (S, F, D) its way out
    head: torch.Tensor  # (S, 2, D) to the two dimensions of the embedding, norm weight included
    eps: torch.Tensor  # (), of the norms


class _Wiring(NamedTuple):
    """The small matrices of a step, put together once for all seeds."""

    linear: torch.Tensor  # (S, F + 1, D): the FFN's way in, and 2 * write, for |x|^2 before the FFN
    into: torch.Tensor  # (S, F + 1, 3): the same on (e0, e1, received)
    constant: torch.Tensor  # (S, F + 1, R): and on the positions
    start: torch.Tensor  # (S, R): |x|^2 where nothing was received
    out: torch.Tensor  # (S, D, 3 + F): from (e0, e1, received, hidden units) to the residual stream


def _wire(parts):
    S, F, D = parts.up.shape
    linear = torch.cat([parts.up, 2 * parts.write[:, None]], dim=1)
    into = torch.cat([linear[:, :, :2], linear @ parts.write[:, :, None]], dim=2)
    into[:, F, 2] *= 0.5  # |x0 + r w|^2 = |x0|^2 + r (2 x0 . w + r |w|^2)
    token = torch.eye(D, 2, dtype=into.dtype, device=into.device).expand(S, D, 2)
    return _Wiring(
        linear,
        into,
        linear[:, :, 2:] @ parts.position.mT,
        parts.embedding[:, 0].square().sum(1)[:, None] + parts.position.square().sum(2),
        torch.cat([token, parts.write[:, :, None], parts.down.mT], dim=2),
    )


def _select(parts, group):
    return type(parts)(*(part[group] if part.dim() else part for part in parts))


def _forward(parts, wiring, sequences, activation):
    """Forward to the logits; S is a group of seeds here. Everything is (S, channels, R * B)."""
    S, R, T = parts.mix.shape
    B, F, D = sequences.shape[-1], parts.up.shape[1], parts.up.shape[2]
    N = R * B
    tokens, rows = sequences[:, :T].reshape(S, T * B), sequences[:, answer_rows(T, R)].reshape(S, N)
    seen = parts.value.gather(1, tokens).view(S, T, B)
    f = torch.empty(
        S, 3 + F, N, dtype=seen.dtype, device=seen.device
    )  # e0, e1, received, hidden units
    for i in range(2):
        f[:, i] = parts.embedding[:, :, i].gather(1, rows)
    f[:, 2] = torch.bmm(parts.mix, seen).view(S, N)
    raw = torch.bmm(wiring.into, f[:, :3])  # (S, F + 1, N)
    raw.view(S, F + 1, R, B).add_(wiring.constant[..., None])
    size = torch.addcmul(
        wiring.start[..., None], f[:, 2].view(S, R, B), raw[:, F].view(S, R, B)
    ).view(S, N)
    scale = size.div_(D).add_(parts.eps).rsqrt_()  # (S, N)
    hidden = raw[:, :F] * scale[:, None]
    if activation == "gelu":
        # the normal distribution function
        below = torch.erf(hidden * math.sqrt(0.5)).add_(1).mul_(0.5)
        torch.mul(hidden, below, out=f[:, 3:])
    else:
        below = f[:, 3:] = hidden.tanh()
    x = torch.bmm(wiring.out, f)  # (S, D, N)
    x[:, 2:].view(S, D - 2, R, B).add_(parts.position.mT[..., None])
    head_scale = x.square().sum(1).div_(D).add_(parts.eps).rsqrt_()  # (S, N)
    head_raw = torch.bmm(parts.head, x)  # (S, 2, N)
    head = head_raw * head_scale[:, None]
    logits = torch.bmm(parts.embedding, head)  # (S, V, N)
    return logits, head, head_raw, head_scale, x, below, hidden, scale, raw, f, seen, rows, tokens


@torch.no_grad()
def predicted_digits(parts, sequences, group=slice(None), activation="gelu"):
    """The digit each row finds most probable: the parts of a group of seeds, (S, 34, B) ->
    (S, R, B) int64."""
    parts = _select(parts, group)
    logits = _forward(parts, _wire(parts), sequences, activation)[0]
    return logits.argmax(1).view(len(logits), parts.mix.shape[1], -1)


@torch.no_grad()
def loss_and_gradients(parts, sequences, groups=(slice(None),), activation="gelu"):
    """Mean cross-entropy per seed over its rows and examples, and its gradient in every part.

    sequences: (S, T + 1, B) int64 token ids, the examples along the last axis. The seeds are done
    in groups (slices). activation: of the hidden units, "gelu" or "tanh". Returns ((S,),
    PositionOnlyParts).
    """
    wiring = _wire(parts)
    done = [
        _backward(_select(parts, group), _select(wiring, group), sequences[group], activation)
        for group in groups
    ]
    loss, d_embedding, d_value, d_mix, d_position, d_head, d_into, d_constant, d_start, d_out = (
        torch.cat(pieces) if len(pieces) > 1 else pieces[0] for pieces in zip(*done)
    )
    F, linear, write = parts.up.shape[1], wiring.linear, parts.write
    d_embedding[:, 0] += 2 * d_start.sum(1)[:, None] * parts.embedding[:, 0]
    d_into[:, F, 2] *= 0.5
    d_linear = (
        torch.cat([d_into[:, :, :2], d_constant @ parts.position], dim=2)
        + d_into[:, :, 2:] * write[:, None]
    )
    d_write = d_out[:, :, 2] + (d_into[:, :, 2:].mT @ linear)[:, 0] + 2 * d_linear[:, F]
    d_position = (
        d_position + d_constant.mT @ linear[:, :, 2:] + 2 * d_start[..., None] * parts.position
    )
    return loss, PositionOnlyParts(
        d_embedding,
        d_value,
        d_mix,
        d_write,
        d_position,
        d_linear[:, :F],
        d_out[:, :, 3:].mT,
        d_head,
        torch.zeros_like(parts.eps),
    )


def _backward(parts, wiring, sequences, activation):
    """Loss of a group of seeds, and its gradients in embedding, value, mix, position, head and the
    wiring."""
    S, R, T = parts.mix.shape
    B, F, D = sequences.shape[-1], parts.up.shape[1], parts.up.shape[2]
    N = R * B
    logits, head, head_raw, head_scale, x, below, hidden, scale, raw, f, seen, rows, tokens = (
        _forward(parts, wiring, sequences, activation)
    )
    targets = sequences[:, answer_rows(T + 1, R)].reshape(S, 1, N)
    logits.sub_(logits.amax(1, keepdim=True))
    right = logits.gather(1, targets)  # (S, 1, N)
    p = logits.exp_()
    total = p.sum(1, keepdim=True)
    loss = (total.log() - right).sum((1, 2)) / N
    p.mul_(total.mul_(N).reciprocal_())
    p.scatter_add_(1, targets, p.new_full((1,), -1 / N).expand(S, 1, N))  # d loss / d logits
    # the head
    d_embedding = torch.bmm(p, head.mT)  # (S, V, 2)
    d_head_out = torch.bmm(parts.embedding.mT, p)  # (S, 2, N)
    inner = (d_head_out * head_raw).sum(1)  # (S, N)
    d_raw = d_head_out.mul_(head_scale[:, None])
    d_head = torch.bmm(d_raw, x.mT)  # (S, 2, D)
    pull = inner.mul_(head_scale.pow_(3)).div_(-D)
    d_x = torch.bmm(parts.head.mT, d_raw).addcmul_(x, pull[:, None])  # (S, D, N)
    d_position = d_x[:, 2:].reshape(S, D - 2, R, B).sum(3).mT  # (S, R, D - 2)
    d_out = torch.bmm(d_x, f.mT)  # (S, D, 3 + F)
    d_f = torch.bmm(wiring.out.mT, d_x)  # (S, 3 + F, N)
    d_linear = torch.empty_like(raw)  # (S, F + 1, N)
    if (
        activation == "gelu"
    ):  # its slope is the normal distribution function plus u times the density
        density = hidden.square().mul_(-0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))
        d_hidden = below.addcmul_(hidden, density).mul_(d_f[:, 3:])  # (S, F, N)
    else:
        d_hidden = (1 - below.square()).mul_(d_f[:, 3:])
    d_size = (d_hidden * raw[:, :F]).sum(1).mul_(scale.pow(3)).div_(-2 * D)  # (S, N)
    torch.mul(d_hidden, scale[:, None], out=d_linear[:, :F])
    torch.mul(d_size, f[:, 2], out=d_linear[:, F])
    d_into = torch.bmm(d_linear, f[:, :3].mT)  # (S, F + 1, 3)
    d_f3 = torch.bmm(wiring.into.mT, d_linear).add_(d_f[:, :3])  # (S, 3, N)
    d_constant = d_linear.view(S, F + 1, R, B).sum(3)  # (S, F + 1, R)
    d_start = d_size.view(S, R, B).sum(2)  # (S, R)
    d_received = d_f3[:, 2].addcmul_(d_size, raw[:, F]).view(S, R, B)
    # what attention carried, and the embeddings
    d_mix = torch.bmm(d_received, seen.mT)  # (S, R, T)
    d_seen = torch.bmm(parts.mix.mT, d_received).view(S, T * B)
    d_value = torch.zeros_like(parts.value).scatter_add_(1, tokens, d_seen)
    for i in range(2):
        d_embedding[:, :, i].scatter_add_(1, rows, d_f3[:, i])
    return loss, d_embedding, d_value, d_mix, d_position, d_head, d_into, d_constant, d_start, d_out


def received_scale(position, eps, embedding):
    """1 / rms of [e ; p] at every position: (S, T, D - 2), (), (S, V, 2) -> (S, T)."""
    size = embedding[:, 0].square().sum(1)[:, None] + position.square().sum(2)
    return torch.rsqrt(size / (position.shape[2] + 2) + eps)
