"""Loss and gradient of many small transformers at once (lab/adders/models/small_transformer.py),
forward and backward written out.

What makes it fast:
- Before attention a row is one of 14 x 33 pairs (token, position), whatever the example: norm,
  keys, values and queries are computed once per pair, a table, and looked up. Their gradients are
  collected in the same table.
- Only the rows whose next token counts in the loss ask and are carried on: 12 of 33 where the loss
  is on the answer.
- A column of ones beside the values makes the softmax's sum come out of the same product as the
  mixture, and its gradient too. After attention channels come before examples: a norm's mean is a
  sum of 7 long vectors.
The table is made for all seeds together, the rest in groups of seeds (on the CPU one by one: that
stays in the cache). tests/lab/adders/models/test_small_transformer.py holds it against autograd
through the model's own forward.

Letters: S seeds (G in a group), B examples, T = 33 tokens that go in, R rows that predict, N = B R,
V = 14, D = 7.
"""

import functools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from _common import VOCAB_SIZE as V

# of a row of `told`: 7 numbers and a zero, 7 numbers and a one
KEYS, VALUES = slice(0, 8), slice(8, 16)
SMALLEST = -80.0  # of a score, less the row's largest: exp is slow where it underflows


class _Wired(NamedTuple):
    """The weights as a step uses them, with a leading axis of seeds."""

    asked: torch.Tensor  # (S, R V, 16) scaled queries and a zero, token and position and a zero
    told: torch.Tensor  # (S, T V, 16) keys and a zero, values and a one
    out: torch.Tensor  # (S, 8, 8) attention's way out; the last channel hands the softmax's sum on
    up: torch.Tensor  # (S, F, D) norm weight included
    up_bias: torch.Tensor  # (S, F, 1) norm bias times the matrix
    down: torch.Tensor  # (S, D, F)
    head: torch.Tensor  # (S, V, D) final norm's weight included
    head_bias: torch.Tensor  # (S, V, 1)


@functools.cache
def _centring(D, dtype, device):
    """The matrix that takes its mean from a vector: (1, D, D)."""
    return torch.eye(D, dtype=dtype, device=device)[None] - 1 / D


def _normalise(x, eps):
    """(G, D, N) -> x less its mean, over its spread, along D; and 1 / spread (G, 1, N)."""
    G, D, _ = x.shape
    x = torch.bmm(_centring(D, x.dtype, x.device).expand(G, D, D), x)
    scale = x.square().sum(1, keepdim=True).mul_(1 / D).add_(eps).rsqrt_()
    return x.mul_(scale), scale


def _normalise_back(gradient, x, scale):
    """The gradient before `_normalise`, which gave (x, scale), from the one behind it."""
    G, D, _ = x.shape
    along = (gradient * x).sum(1, keepdim=True).mul_(-1 / D)
    centred = torch.bmm(_centring(D, x.dtype, x.device).expand(G, D, D), gradient)
    return centred.addcmul_(x, along).mul_(scale)


def _gelu(x, kind):
    """GELU or its approximation by tanh, and the slope: two tensors like x."""
    if kind == "exact":
        below = torch.erf(x * math.sqrt(0.5)).add_(1).mul_(0.5)  # the normal distribution function
        density = x.square().mul_(-0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))
        return x * below, below.addcmul_(x, density)
    a, square = math.sqrt(2 / math.pi), x.square()
    t = torch.tanh(x * (a + a * 0.044715 * square))
    # x / 2 times the slope inside tanh
    inner = square.mul_(3 * a * 0.044715).add_(a).mul_(x).mul_(0.5)
    below = (t + 1).mul_(0.5)
    return x * below, below.addcmul_(inner, 1 - t.square())


def _wire(weights, config, rows):
    """The weights {name: (S, ...)} wired for some rows (a slice), and what their gradients will
    need."""
    w = weights
    embedding, positions = w["token_emb.weight"], w["pos_emb.weight"]
    S, D, T = len(embedding), config.d_model, rows.stop
    x = (positions.mT[:, :, :T, None] + embedding.mT[:, :, None]).reshape(S, D, T * V)
    normal, scale = _normalise(x, config.norm_eps)  # (S, D, T V)
    h = normal * w["blocks.0.ln1.weight"][..., None] + w["blocks.0.ln1.bias"][..., None]
    tell = embedding.new_zeros(S, D, 16)
    tell[:, :, :D], tell[:, :, 8 : 8 + D] = (
        w["blocks.0.attn.k.weight"].mT,
        w["blocks.0.attn.v.weight"].mT,
    )
    told = h.mT @ tell  # (S, T V, 16)
    told[:, :, 15] = 1
    ask = w["blocks.0.attn.q.weight"].mT / math.sqrt(D)  # (S, D, D)
    asked = embedding.new_zeros(S, (rows.stop - rows.start) * V, 16)
    asked[:, :, :D] = h[:, :, rows.start * V :].mT @ ask
    asked[:, :, 8 : 8 + D] = x[:, :, rows.start * V :].mT
    out = F.pad(w["blocks.0.attn.out.weight"], (0, 1, 0, 1))
    out[:, D, D] = 1
    up, head, head_bias = w["blocks.0.up.weight"], embedding, embedding.new_zeros(S, V, 1)
    if config.final_norm:
        head, head_bias = (
            embedding * w["ln_f.weight"][:, None],
            embedding @ w["ln_f.bias"][..., None],
        )
    wired = _Wired(
        asked,
        told,
        out,
        up * w["blocks.0.ln2.weight"][:, None],
        up @ w["blocks.0.ln2.bias"][..., None],
        w["blocks.0.down.weight"],
        head,
        head_bias,
    )
    return wired, (normal, scale, h, tell, ask)


def _select(wired, group):
    return _Wired(*(part[group] for part in wired))


@functools.cache
def _places(G, start, stop, dtype, device):
    """Where each seed's rows begin in the flattened tables (told, asked), and the causal mask of
    rows start..stop."""
    seed, t = torch.arange(G, device=device)[:, None, None], torch.arange(stop, device=device) * V
    future = torch.full((stop - start, stop), -math.inf, dtype=dtype, device=device).triu(1 + start)
    return t + seed * (stop * V), t[: stop - start] + seed * ((stop - start) * V), future


def _forward(wired, config, sequences, rows):
    """Forward to the logits (G, V, N) of a group of seeds: sequences (G, 34, B) int64."""
    G, _, B = sequences.shape
    T, R, D = rows.stop, rows.stop - rows.start, config.d_model
    tokens = sequences.mT[:, :, :T]  # (G, B, T)
    place, row_place, future = _places(G, rows.start, rows.stop, wired.told.dtype, sequences.device)
    k_v = wired.told.view(-1, 16).index_select(0, (tokens + place).flatten()).view(G * B, T, 16)
    asking = wired.asked.view(-1, 16).index_select(
        0, (tokens[:, :, rows] + row_place).flatten()
    )  # (G N, 16)
    q = asking[:, :8].view(G * B, R, 8)
    e = torch.baddbmm(future, q, k_v[:, :, KEYS].mT)  # (G B, R, T) scores
    e.sub_(e.amax(2, keepdim=True)).clamp_(min=SMALLEST).exp_()
    mixed = torch.bmm(e, k_v[:, :, VALUES]).view(G, B * R, 8)  # mixtures, and the softmax's sum
    read = torch.bmm(wired.out, mixed.mT)  # (G, 8, N)
    total = read[:, D:].reciprocal()  # (G, 1, N)
    read = read[:, :D] * total
    x = asking.view(G, B * R, 16)[:, :, 8 : 8 + D].mT + read  # (G, D, N)
    normal, scale = _normalise(x, config.norm_eps)
    active, slope = _gelu(torch.baddbmm(wired.up_bias, wired.up, normal), config.gelu)  # (G, F, N)
    x = torch.baddbmm(x, wired.down, active)
    final = _normalise(x, config.norm_eps) if config.final_norm else (x, None)
    logits = torch.baddbmm(wired.head_bias, wired.head, final[0])  # (G, V, N)
    return logits, (q, k_v, e, mixed, total, read, normal, scale, slope, active, final)


@torch.no_grad()
def predicted_tokens(weights, config, sequences, rows, groups=(slice(None),)):
    """The token each row finds most probable, with the right tokens before it: (S, 34, B) ->
    (S, R, B) int64."""
    wired, _ = _wire(weights, config, rows)
    guesses = [
        _forward(_select(wired, group), config, sequences[group], rows)[0].argmax(1)
        for group in groups
    ]
    return torch.cat(guesses).view(len(sequences), sequences.shape[2], -1).mT


@torch.no_grad()
def loss_and_gradients(weights, config, sequences, rows, groups=(slice(None),)):
    """Mean cross-entropy per seed over its rows (a slice) and examples, and its gradient in every
    weight.

    weights: {name: (S, ...)} as SmallTransformer names them; sequences: (S, 34, B) int64 token ids,
    examples last. The seeds are done in groups (slices). Returns ((S,), {name: (S, ...)}).
    """
    wired, (normal, scale, h, tell, ask) = _wire(weights, config, rows)
    done = [_backward(_select(wired, group), config, sequences[group], rows) for group in groups]
    loss, d_asked, d_told, d_out, d_up, d_up_bias, d_down, d_head, d_head_bias = (
        torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*done)
    )
    w, D, first = weights, config.d_model, rows.start * V
    d_asked, d_x = d_asked[:, :, :D], d_asked[:, :, 8 : 8 + D]  # (S, R V, D) each
    d_ask, d_tell = h[:, :, first:] @ d_asked, h @ d_told  # (S, D, D), (S, D, 16)
    d_h = tell @ d_told.mT  # (S, D, T V)
    d_h[:, :, first:] += ask @ d_asked.mT
    gradients = {
        "blocks.0.ln1.weight": (d_h * normal).sum(2),
        "blocks.0.ln1.bias": d_h.sum(2),
        "blocks.0.ln2.weight": (d_up * w["blocks.0.up.weight"]).sum(1),
        "blocks.0.ln2.bias": (w["blocks.0.up.weight"].mT @ d_up_bias)[..., 0],
        "blocks.0.attn.q.weight": d_ask.mT / math.sqrt(D),
        "blocks.0.attn.k.weight": d_tell[:, :, :D].mT,
        "blocks.0.attn.v.weight": d_tell[:, :, 8 : 8 + D].mT,
        "blocks.0.attn.out.weight": d_out[:, :D, :D],
        "blocks.0.up.weight": (
            d_up * w["blocks.0.ln2.weight"][:, None] + d_up_bias * w["blocks.0.ln2.bias"][:, None]
        ),
        "blocks.0.down.weight": d_down,
    }
    if config.final_norm:
        embedding = w["token_emb.weight"]
        gradients["ln_f.weight"] = (d_head * embedding).sum(1)
        gradients["ln_f.bias"] = (embedding.mT @ d_head_bias)[..., 0]
        d_head = d_head * w["ln_f.weight"][:, None] + d_head_bias * w["ln_f.bias"][:, None]
    d_pair = _normalise_back(d_h.mul_(w["blocks.0.ln1.weight"][..., None]), normal, scale)
    d_pair[:, :, first:] += d_x.mT
    d_pair = d_pair.view(len(loss), D, rows.stop, V)
    gradients["token_emb.weight"] = d_pair.sum(2).mT + d_head
    gradients["pos_emb.weight"] = F.pad(d_pair.sum(3).mT, (0, 0, 0, config.max_seq_len - rows.stop))
    return loss, gradients


def _backward(wired, config, sequences, rows):
    """Loss of a group of seeds, and its gradients in the parts of `wired`, in their order."""
    G, _, B = sequences.shape
    T, R, D = rows.stop, rows.stop - rows.start, config.d_model
    N = B * R
    logits, (q, k_v, e, mixed, total, read, normal, scale, slope, active, final) = _forward(
        wired, config, sequences, rows
    )
    targets = sequences.mT[:, :, rows.start + 1 : rows.stop + 1].reshape(G, 1, N)
    logits.sub_(logits.amax(1, keepdim=True))
    right = logits.gather(1, targets)  # (G, 1, N)
    p = logits.exp_()
    partition = p.sum(1, keepdim=True)
    loss = (partition.log() - right).view(G, N).sum(1) / N
    p.mul_(partition.mul_(N).reciprocal_())
    p.scatter_add_(1, targets, p.new_full((1,), -1 / N).expand(G, 1, N))  # d loss / d logits
    d_head, d_head_bias = torch.bmm(p, final[0].mT), p.sum(2, keepdim=True)
    d_x = torch.bmm(wired.head.mT, p)  # (G, D, N)
    if config.final_norm:
        d_x = _normalise_back(d_x, *final)
    d_down = torch.bmm(d_x, active.mT)
    d_hidden = torch.bmm(wired.down.mT, d_x).mul_(slope)  # (G, F, N)
    d_up, d_up_bias = torch.bmm(d_hidden, normal.mT), d_hidden.sum(2, keepdim=True)
    d_x.add_(_normalise_back(torch.bmm(wired.up.mT, d_hidden), normal, scale))
    # attention: read = (out mixed) / sum
    d_read = d_x.new_empty(G, 8, N)
    torch.mul(d_x, total, out=d_read[:, :D])
    torch.sum(d_read[:, :D] * read, 1, out=d_read[:, D]).neg_()
    d_out = torch.bmm(d_read, mixed)  # (G, 8, 8)
    d_mixed = torch.bmm(d_read.mT, wired.out).view(G * B, R, 8)
    d_scores = torch.bmm(d_mixed, k_v[:, :, VALUES].mT).mul_(e)  # (G B, R, T)
    d_k_v = torch.cat([torch.bmm(d_scores.mT, q), torch.bmm(e.mT, d_mixed)], dim=2)  # (G B, T, 16)
    d_asking = torch.cat(
        [torch.bmm(d_scores, k_v[:, :, KEYS]).view(G, N, 8), F.pad(d_x.mT, (0, 1))], dim=2
    )  # (G, N, 16)
    # collected by position and token
    here = e.new_zeros(G, T, V, B).scatter_(2, sequences[:, :T, None], 1.0)
    d_told = here @ d_k_v.view(G, B, T, 16).transpose(1, 2)  # (G, T, V, 16)
    d_asked = here[:, rows] @ d_asking.view(G, B, R, 16).transpose(1, 2)  # (G, R, V, 16)
    return (
        loss,
        d_asked.flatten(1, 2),
        d_told.flatten(1, 2),
        d_out,
        d_up,
        d_up_bias,
        d_down,
        d_head,
        d_head_bias,
    )
