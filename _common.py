"""What every chapter imports: the tokens, the datasets, the transformer, the training loop, the
measurements, the plots.

It reads top to bottom in the order of the book. Letters used for shapes in the trailing comments:
B sequences in a batch, T tokens in a sequence, V tokens in the vocabulary, D the width `d_model`, H
heads, N examples.

    from _common import *
"""

import contextlib
import functools
import math
import os
import random  # noqa: F401 - chapters have it from here
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn as nn
import torch.nn.functional as F
from tqdm.auto import tqdm

__all__ = """
    DEVICE VOCAB VOCAB_INV VOCAB_SIZE DIGIT_ORDERS EDGE_CASES torch nn F np pd plt random math
    choose_device encode_addition decode_tokens encode_reversal addition_floor reversal_floor
    digits_at_chance make_addition_dataset make_reversal_dataset make_disjoint_addition_split
    pair_overlap AdditionTransformer Attention FeedForward Block Reader count_parameters
    component_table learning_rate_at train_model TrainingDiverged predict_answers exact_match
    column_accuracy generate autoregressive_accuracy add_with_model test_addition census
    attention_weights get_attention_maps get_reversal_attention COLORS plot_training
    plot_attention
""".split()


# --------------------------------------------------------------------------------------------------
# The machine: its device, its defaults, its random numbers
# --------------------------------------------------------------------------------------------------


def choose_device(name=None):
    """The device to compute on: CUDA if there is one, else Apple's MPS, else the CPU.

    name: "cuda", "mps" or "cpu" forces one ("" or None: choose). The environment variable
    BOOK_DEVICE is passed here. Raises ValueError for any other name, or for a device that this
    machine does not have.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if not name:
        name = next(device for device, here in present.items() if here)
    if not isinstance(name, str) or name not in present:
        raise ValueError(f"unknown device {name!r}: BOOK_DEVICE may be one of {', '.join(present)}")
    if not present[name]:
        here = ", ".join(device for device, here in present.items() if here)
        raise ValueError(f"this machine has no device {name!r}: it has {here}")
    return torch.device(name)


DEVICE = choose_device(os.environ.get("BOOK_DEVICE"))


@contextlib.contextmanager
def own_defaults():
    """Inside, new tensors are float32 and on the CPU where nothing else is said, whatever a user
    has set for the session.

    Also a decorator of functions: `@own_defaults()`.
    """
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    torch.set_default_dtype(torch.float32)
    try:
        with contextlib.nullcontext() if device.type == "cpu" else torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


def seeded_generator(seed):
    """PyTorch's random numbers from a seed, 0 to 2^64 - 1, made on the CPU: they are the same for
    every device."""
    return torch.Generator("cpu").manual_seed(seed)


# --------------------------------------------------------------------------------------------------
# Tokens: a sum written as a sequence of symbols
# --------------------------------------------------------------------------------------------------


SYMBOLS = [*"0123456789", "+", "=", "<PAD>", "<EOS>"]
VOCAB = {symbol: token for token, symbol in enumerate(SYMBOLS)}  # "7" -> 7, "+" -> 10, ...
VOCAB_INV = dict(enumerate(SYMBOLS))  # 7 -> "7", 10 -> "+", ...
VOCAB_SIZE = len(SYMBOLS)
PLUS, EQUALS, EOS = VOCAB["+"], VOCAB["="], VOCAB["<EOS>"]

# how the sum is written; operands never change
DIGIT_ORDERS = ("ones_first", "most_significant_first")
MAX_DIGITS = 17  # the largest sum still fits a 64-bit integer
EDGE_CASES = [(123, 456), (999, 1), (0, 0), (999, 999), (500, 500), (111, 222)]


def encode_addition(a, b, n_digits=3, digit_order="ones_first"):
    """One sum as (prompt_ids, answer_ids), two lists of token ids.

    With 3 digits 12 + 999 is the prompt `012+999=` and the answer `1101<EOS>`: operands zero-padded
    and written as usual, the sum with one digit more and its ones first (1011 read backwards),
    unless `digit_order` says "most_significant_first". Raises TypeError for an operand that is not
    a whole number, ValueError for one outside 0 .. 10**n_digits - 1.
    """
    a, b = torch.tensor([[a], [b]], device="cpu")
    row = _addition_sequences(a, b, n_digits, digit_order)[0].tolist()
    return row[: 2 * n_digits + 2], row[2 * n_digits + 2 :]


def encode_reversal(seq):
    """A list of digits as (prompt_ids, answer_ids): [1, 2, 3] is the prompt `123=` and the answer
    `321<EOS>`.

    Raises TypeError for an element that is not a whole number, ValueError for an empty list or a
    digit outside 0..9.
    """
    return seq + [EQUALS], seq[::-1] + [EOS]


def decode_tokens(ids):
    """Token ids as the text they stand for: [1, 10, 2] is "1+2". Raises ValueError for an id
    outside the vocabulary."""
    return "".join(VOCAB_INV[token] for token in ids)


# --------------------------------------------------------------------------------------------------
# Datasets: many sums as two integer arrays, the inputs X and the next tokens Y
# --------------------------------------------------------------------------------------------------


def _digits_of(numbers, width):
    """Digits of non-negative integers, most significant first: (N,) -> (N, width)."""
    powers = 10 ** torch.arange(width - 1, -1, -1, device=numbers.device)  # (width,)
    return numbers[:, None] // powers % 10  # (N, width)


def _addition_sequences(a, b, n_digits, digit_order):
    """Whole sequences `aaa+bbb=ssss<EOS>`: two (N,) tensors of operands -> (N, 3 n_digits + 4)
    token ids."""
    total = _digits_of(a + b, n_digits + 1)  # (N, n + 1)
    if digit_order == "ones_first":
        total = total.flip(1)
    column = torch.ones(len(a), 1, dtype=torch.int64, device=a.device)  # (N, 1)
    return torch.cat(
        [
            _digits_of(a, n_digits),
            PLUS * column,
            _digits_of(b, n_digits),
            EQUALS * column,
            total,
            EOS * column,
        ],
        dim=1,
    )


def _inputs_and_targets(sequences, device):
    return sequences[:, :-1].to(device), sequences[:, 1:].to(device)  # (N, T), (N, T)


def _draw_operands(n, n_digits, generator):
    return torch.randint(0, 10**n_digits, (2, n), generator=generator, device="cpu")  # (2, N)


def make_addition_dataset(n, n_digits=3, seed=42, digit_order="ones_first", device="cpu"):
    """n random sums as (X, Y), two int64 tensors (n, 3 n_digits + 3): the sequence without its last
    / first token.

    Operands are independent and uniform on 0 .. 10**n_digits - 1. The draw is made on the CPU, so
    that a seed gives the same sums on every device. Raises ValueError/TypeError for sizes that are
    not positive whole numbers.
    """
    a, b = _draw_operands(n, n_digits, seeded_generator(seed))
    return _inputs_and_targets(_addition_sequences(a, b, n_digits, digit_order), device)


def make_reversal_dataset(n, seq_len=5, seed=42, device="cpu"):
    """n random digit strings and their reversals as (X, Y), two int64 tensors (n, 2 seq_len + 1).

    Raises ValueError/TypeError for sizes that are not positive whole numbers.
    """
    generator = seeded_generator(seed)
    digits = torch.randint(0, 10, (n, seq_len), generator=generator, device="cpu")  # (N, seq_len)
    column = torch.ones(n, 1, dtype=torch.int64, device="cpu")
    return _inputs_and_targets(
        torch.cat([digits, EQUALS * column, digits.flip(1), EOS * column], dim=1), device
    )


def _pair_codes(X, n_digits):
    """One whole number per row that identifies its ordered pair of operands: (N, T) -> (N,)."""
    powers = 10 ** torch.arange(2 * n_digits - 1, -1, -1, device=X.device)
    operands = torch.cat([X[:, :n_digits], X[:, n_digits + 1 : 2 * n_digits + 1]], dim=1)
    return (operands * powers).sum(1).cpu()


def pair_overlap(train_X, test_X, n_digits=3):
    """The share of test rows whose ordered pair of operands also stands in the training rows
    (0..1).

    train_X, test_X: inputs as the dataset functions give them, (N, 3 n_digits + 3). Raises
    ValueError for another width.
    """
    seen = torch.isin(_pair_codes(test_X, n_digits), _pair_codes(train_X, n_digits))  # (N,)
    return seen.double().mean().item()


def make_disjoint_addition_split(
    n_train, n_test, n_digits=3, seed=42, digit_order="ones_first", device="cpu"
):
    """(train_X, train_Y, test_X, test_Y) in which no test pair occurs in training.

    The test pairs are drawn first and are distinct; the training pairs are drawn, with repetition,
    from all others. Raises ValueError where n_test leaves fewer than half of all pairs to train on.
    """
    generator = seeded_generator(seed)

    def draw(n, forbidden, distinct):
        kept = torch.empty(0, dtype=torch.int64, device="cpu")
        while len(kept) < n:
            a, b = _draw_operands(2 * n, n_digits, generator)
            codes = a * 10**n_digits + b
            codes = torch.cat([kept, codes[~torch.isin(codes, forbidden)]])
            if distinct:  # keep the first of each, in the order drawn
                first = np.sort(np.unique(codes.numpy(), return_index=True)[1])
                codes = codes[torch.from_numpy(first)]
            kept = codes
        return kept[:n]

    test = draw(n_test, torch.empty(0, dtype=torch.int64, device="cpu"), distinct=True)
    train = draw(n_train, test, distinct=False)
    halves = []
    for codes in (train, test):
        a, b = codes // 10**n_digits, codes % 10**n_digits
        sequences = _addition_sequences(a, b, n_digits, digit_order)
        halves.extend(_inputs_and_targets(sequences, device))
    return tuple(halves)


def addition_floor(n_digits=3):
    """The lowest possible expected loss in nats per target token, for sums of uniform operands.

    Of the 3 n + 3 targets, 2 n - 1 are operand digits that nothing predicts (the first digit is an
    input, never a target); every other target is determined by what stands before it.
    """
    return (2 * n_digits - 1) * math.log(10) / (3 * n_digits + 3)


def reversal_floor(seq_len=5):
    """The same floor for reversal: seq_len - 1 of the 2 seq_len + 1 targets are random digits."""
    return (seq_len - 1) * math.log(10) / (2 * seq_len + 1)


def as_array(values):
    """Numbers as an array: a tensor of any kind (numpy has no bfloat16: float32 then), or whatever
    numpy can take."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    return np.asarray(values)


def digits_at_chance(loss, floor, n_targets):
    """The excess of a mean loss over its floor, in whole digits guessed at random: ln 10 nats each.

    loss: nats per target token, a number or an array; n_targets: target tokens per sequence (12 for
    three digits).
    """
    return (as_array(loss) - floor) * n_targets / math.log(10)


# --------------------------------------------------------------------------------------------------
# The model: a decoder-only transformer, pre-norm, with learned positions and a tied output head
# --------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Causal multi-head self-attention without biases: 4 D^2 parameters.

    `self.pattern` is an identity that the attention weights (B, H, T, T) pass through: a forward
    hook on it can read them, or return others in their place. There is no second code path for
    looking inside.
    """

    def __init__(self, d_model, n_heads=1, causal=True):
        super().__init__()
        self.n_heads, self.causal = n_heads, causal
        self.q, self.k, self.v, self.out = (
            nn.Linear(d_model, d_model, bias=False) for _ in range(4)
        )
        self.pattern = nn.Identity()

    def forward(self, x):  # (B, T, D)
        B, T, D = x.shape
        q, k, v = (
            proj(x).view(B, T, self.n_heads, -1).transpose(1, 2)
            for proj in (self.q, self.k, self.v)
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(D // self.n_heads)  # (B, H, T, T)
        if self.causal:
            future = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(future, -math.inf)
        weights = self.pattern(scores.softmax(dim=-1))  # (B, H, T, T), rows sum to 1
        mixed = (weights @ v).transpose(1, 2).reshape(B, T, D)
        return self.out(mixed)  # (B, T, D)


class FeedForward(nn.Module):
    """Two linear maps with a GELU between them, applied to each position on its own."""

    def __init__(self, d_model, d_ff):
        super().__init__()
        self.up, self.down = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)

    def forward(self, x):  # (B, T, D)
        return self.down(F.gelu(self.up(x)))  # (B, T, d_ff) -> (B, T, D)


class Block(nn.Module):
    """One layer: attention, then feed-forward, each added to what came in (the residual stream)."""

    def __init__(self, d_model, d_ff, n_heads=1, causal=True, ffn=True, norm=True):
        super().__init__()
        self.ln1 = nn.LayerNorm(d_model) if norm else nn.Identity()
        self.attn = Attention(d_model, n_heads, causal)
        if ffn:
            self.ln2 = nn.LayerNorm(d_model) if norm else nn.Identity()
            self.ffn = FeedForward(d_model, d_ff)
        self.has_ffn = ffn

    def forward(self, x):  # (B, T, D)
        x = x + self.attn(self.ln1(x))
        if self.has_ffn:
            x = x + self.ffn(self.ln2(x))
        return x


class AdditionTransformer(nn.Module):
    """Token ids in, logits of the next token out: (B, T) int64 -> (B, T, V).

    The defaults are the book's reference setting: 17,760 parameters. The switches take pieces away:
    `positions` (learned absolute positions), `causal` (no looking ahead), `ffn` (the feed-forward
    halves), `norm` (all LayerNorms). Weights start as PyTorch starts them: embeddings N(0, 1),
    linear maps uniform with bound 1/sqrt(inputs). Raises ValueError/TypeError for sizes that are
    not positive whole numbers or heads that do not divide d_model; `forward` for a wrong dtype or
    shape, a sequence longer than max_seq_len, a token outside the vocabulary.
    """

    def __init__(
        self,
        vocab_size=VOCAB_SIZE,
        d_model=32,
        d_ff=64,
        n_layers=2,
        max_seq_len=13,
        n_heads=1,
        positions=True,
        causal=True,
        ffn=True,
        norm=True,
    ):
        super().__init__()
        self.vocab_size, self.max_seq_len = vocab_size, max_seq_len
        self.token_emb = nn.Embedding(vocab_size, d_model)
        self.pos_emb = nn.Embedding(max_seq_len, d_model) if positions else None
        self.blocks = nn.ModuleList(
            Block(d_model, d_ff, n_heads, causal, ffn, norm) for _ in range(n_layers)
        )
        self.ln_f = nn.LayerNorm(d_model) if norm else nn.Identity()

    def forward(self, tokens):  # (B, T)
        x = self.token_emb(tokens)  # (B, T, D)
        if self.pos_emb is not None:
            x = x + self.pos_emb(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.ln_f(x) @ self.token_emb.weight.T  # (B, T, V): the head is tied


def _device_of(model):
    return next(model.parameters()).device


def count_parameters(model):
    """How many numbers training may change. A shared (tied) tensor counts once. Raises TypeError
    for a non-module."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def component_table(model):
    """Where an AdditionTransformer's parameters sit: a DataFrame (component, parameters) that sums
    to the whole.

    Raises TypeError for any other model.
    """

    def size(*modules):
        return sum(
            p.numel() for module in modules if module is not None for p in module.parameters()
        )

    rows = [
        ("token embedding (and tied head)", size(model.token_emb)),
        ("position embedding", size(model.pos_emb)),
    ]
    for i, block in enumerate(model.blocks, start=1):
        rows += [
            (f"layer {i}: attention", size(block.attn)),
            (f"layer {i}: feed-forward", size(block.ffn) if block.has_ffn else 0),
            (f"layer {i}: norms", size(block.ln1, block.ln2 if block.has_ffn else None)),
        ]
    return pd.DataFrame(
        rows + [("final norm", size(model.ln_f))], columns=["component", "parameters"]
    )


# --------------------------------------------------------------------------------------------------
# Training
# --------------------------------------------------------------------------------------------------


class TrainingDiverged(RuntimeError):
    """The loss became infinite or not a number: says at which step of which epoch."""


def learning_rate_at(step, lr, warmup_steps, total_steps):
    """The learning rate of step 0, 1, ..., total_steps - 1: a straight line up to lr, then half a
    cosine down to zero.

    Raises ValueError/TypeError for a step outside these, sizes that are not whole numbers, or an lr
    that is no number.
    """
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    progress = (step + 1 - warmup_steps) / max(1, total_steps - warmup_steps)
    return lr * (1 + math.cos(math.pi * min(1.0, progress))) / 2


OPTIMIZERS = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": functools.partial(torch.optim.SGD, lr=0.0, momentum=0.9),
}


def make_optimizer(model, optimizer, weight_decay):
    """AdamW, Adam (decay as an L2 penalty in the gradient) or SGD with momentum 0.9, over all
    parameters."""
    return OPTIMIZERS[optimizer](model.parameters(), weight_decay=weight_decay)


def train_epoch(model, opt, X, Y, batches, rates, clip=1.0):
    """Train with each batch of rows once: the loss of each step in nats per target, (steps,).

    X, Y: int64 (N, T); batches: tensors of row numbers; rates: the learning rate of each step;
    clip: the largest norm of the gradient (None: any).
    """
    model.train()
    losses = torch.empty(len(batches), device=X.device)
    for i, (rows, rate) in enumerate(zip(batches, rates)):
        for group in opt.param_groups:
            group["lr"] = rate
        logits = model(X[rows])  # (B, T, V)
        loss = F.cross_entropy(logits.transpose(1, 2), Y[rows])  # (B, V, T), (B, T)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        opt.step()
        losses[i] = loss.detach()
    return losses


@own_defaults()
def train_model(
    model,
    train_X,
    train_Y,
    test_X,
    test_Y,
    answer_start=7,
    epochs=150,
    batch_size=512,
    lr=0.01,
    warmup_steps=200,
    weight_decay=0.01,
    clip=1.0,
    optimizer="adamw",
    seed=42,
    log_every=10,
    extra_epochs=None,
    stop_at=None,
    fit_factor=None,
    eval_every=1,
    measure=None,
    progress=True,
):
    """Train by next-token cross-entropy over all positions and return the history, one entry per
    epoch.

    train_X, train_Y, test_X, test_Y: int64 (N, T), moved to the model's device; answer_start: the
    first target column that belongs to the answer (2 n + 1 for sums, seq_len for reversal). The
    learning rate climbs for `warmup_steps` steps and then follows a cosine to zero at the last
    step; `clip` bounds the gradient's norm (None: no bound); `seed` fixes the order of the examples
    (the model's own start is fixed where the model is made). `log_every=k` prints a line at epoch 1
    and every k epochs (0: none). Three ways to end a run before `epochs` without changing its
    learning-rate schedule: `stop_at=e` after epoch e; `extra_epochs=k` k epochs after test exact
    match first reached 99.9 %; `fit_factor=k` at k times the epoch in which the training rows were
    first fitted (99 % exact match). `eval_every=k` evaluates, and writes the history, every k
    epochs and at the end only (an epoch of a small training set is short); `measure`, a function of
    the model that returns a dictionary of numbers, adds them to the history.

    The history holds the lists `epoch` (1, 2, ...), `loss` (nats per target, mean over the epoch's
    examples while they trained), `accuracy` (test exact match), `train_accuracy` (exact match on
    the first 5,000 training rows), `column_accuracy` (test accuracy of each answer column, in the
    order written), `lr` (of the epoch's last step), `seconds` (of the epoch), and the text `ended`:
    "finished", "early" or "interrupted" (Ctrl-C keeps what there is). Same seeds, same CPU and same
    number of threads: same history, to the last bit, but for seconds.

    Raises TrainingDiverged at a loss that is not finite; ValueError/TypeError for bad arguments,
    and where gradients are switched off or all weights frozen.
    """
    device = _device_of(model)
    train_X, train_Y, test_X, test_Y = (t.to(device) for t in (train_X, train_Y, test_X, test_Y))
    sample_X, sample_Y = train_X[:5000], train_Y[:5000]
    last_epoch = epochs if stop_at is None else stop_at
    n_steps = math.ceil(len(train_X) / batch_size)  # of an epoch
    opt, order = make_optimizer(model, optimizer, weight_decay), seeded_generator(seed)
    history = {name: [] for name in HISTORY} | {"ended": None}
    bar = tqdm(total=last_epoch, unit="epoch", disable=not progress, leave=False)
    try:
        for epoch in range(1, last_epoch + 1):
            started = time.perf_counter()
            batches = torch.randperm(len(train_X), generator=order).to(device).split(batch_size)
            steps = range((epoch - 1) * n_steps, epoch * n_steps)
            rates = [learning_rate_at(i, lr, warmup_steps, epochs * n_steps) for i in steps]
            losses = train_epoch(model, opt, train_X, train_Y, batches, rates, clip)
            if not losses.isfinite().all():  # looked at once an epoch: a look waits for a GPU
                bad = int((~losses.isfinite()).nonzero()[0])
                raise TrainingDiverged(
                    f"the loss is {losses[bad].item()} at step {bad + 1} of epoch {epoch}: "
                    f"try a smaller lr than {lr} or more warmup_steps than {warmup_steps}"
                )
            bar.update()
            if epoch % eval_every and epoch != last_epoch:
                continue
            sizes = torch.tensor([len(rows) for rows in batches], device=device)
            guesses = predict_answers(model, test_X, answer_start)
            right = guesses == test_Y[:, answer_start:]  # (N, answer columns)
            history["epoch"].append(epoch)
            history["loss"].append(((losses * sizes).sum() / sizes.sum()).item())
            history["accuracy"].append(right.all(1).double().mean().item())
            history["train_accuracy"].append(exact_match(model, sample_X, sample_Y, answer_start))
            history["column_accuracy"].append(right.double().mean(0).tolist())
            for name, value in (measure(model) if measure else {}).items():
                history.setdefault(name, []).append(value)
            history["lr"].append(rates[-1])
            history["seconds"].append(time.perf_counter() - started)
            loss, exact = history["loss"][-1], history["accuracy"][-1]
            bar.set_postfix(loss=f"{loss:.4f}", exact=f"{exact:.1%}")
            if log_every and (epoch == 1 or epoch % log_every == 0):
                tqdm.write(f"epoch {epoch:4d}   loss {loss:.4f}   exact match {exact:.1%}")
            if _is_over(history, extra_epochs, fit_factor):
                break
        history["ended"] = "finished" if epoch == epochs else "early"
    except KeyboardInterrupt:
        history["ended"] = "interrupted"
        whole = len(history["seconds"])  # the list that an epoch adds to last
        for values in history.values():
            if isinstance(values, list):
                del values[whole:]
    finally:
        bar.close()
    return history


HISTORY = ("epoch", "loss", "accuracy", "train_accuracy", "column_accuracy", "lr", "seconds")


def _is_over(history, extra_epochs, fit_factor):
    """Has a run met one of the two rules of `train_model` that end it early?"""

    def first(name, level):
        reached = (e for e, value in zip(history["epoch"], history[name]) if value >= level)
        return next(reached, math.inf)

    learned, fitted = first("accuracy", 0.999), first("train_accuracy", 0.99)
    return history["epoch"][-1] >= min(
        math.inf if extra_epochs is None else learned + extra_epochs,
        math.inf if fit_factor is None else fit_factor * fitted,
    )


# --------------------------------------------------------------------------------------------------
# Measuring: teacher-forced, autoregressive, and a census of every sum there is
# --------------------------------------------------------------------------------------------------


@torch.no_grad()
def predict_answers(model, X, answer_start, batch_size=4096):
    """The model's best guess for each answer token, given the right tokens before it (teacher
    forcing).

    X: (N, T) inputs -> (N, T - answer_start) token ids on the model's device.
    """
    device = _device_of(model)
    model.eval()
    return torch.cat(
        [model(part.to(device))[:, answer_start:].argmax(-1) for part in X.split(batch_size)]
    )


def column_accuracy(model, X, Y, answer_start):
    """The share right in each answer column, teacher-forced: a list of T - answer_start numbers in
    0..1."""
    guesses = predict_answers(model, X, answer_start)
    return (guesses == Y[:, answer_start:].to(guesses.device)).double().mean(0).tolist()


def exact_match(model, X, Y, answer_start):
    """The share of rows (0..1) whose whole answer, <EOS> included, is right, teacher-forced."""
    guesses = predict_answers(model, X, answer_start)
    return (guesses == Y[:, answer_start:].to(guesses.device)).all(1).double().mean().item()


@torch.no_grad()
def generate(model, prompt, n):
    """Greedy decoding: n times append the most probable next token. (B, T) int64 -> (B, T + n), on
    the model's device.

    Knows nothing of addition. Raises ValueError where the sequence would outgrow the model's
    context.
    """
    tokens = prompt.to(_device_of(model))
    model.eval()
    for _ in range(n):
        tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], dim=1)
    return tokens


def autoregressive_accuracy(model, X, Y, answer_start, batch_size=4096):
    """The share of rows (0..1) whose answer is right when the model must live with its own earlier
    tokens."""
    right = []
    for x, y in zip(X.split(batch_size), Y.split(batch_size)):
        written = generate(model, x[:, : answer_start + 1], y.shape[1] - answer_start)
        answer = written[:, answer_start + 1 :]  # (B, answer columns)
        right.append((answer == y[:, answer_start:].to(answer.device)).all(1))
    return torch.cat(right).double().mean().item()


def _sums_written(answers, n_digits, digit_order):
    """The numbers that rows of answer tokens (N, n + 2) stand for; -1 where a row is not n + 1
    digits and <EOS>."""
    digits = answers[:, : n_digits + 1]
    digits = digits.flip(1) if digit_order == "ones_first" else digits
    valid = (digits < 10).all(1) & (answers[:, n_digits + 1] == EOS)
    powers = 10 ** torch.arange(n_digits, -1, -1, device=answers.device)
    return torch.where(valid, (digits * powers).sum(1), -1)


def add_with_model(model, a, b, n_digits=3, digit_order="ones_first"):
    """The sum as the model writes it, token by token: an int, or -1 where what it wrote is no
    number."""
    prompt, answer = encode_addition(a, b, n_digits, digit_order)
    tokens = generate(model, torch.tensor([prompt], device="cpu"), len(answer))
    return int(_sums_written(tokens[:, len(prompt) :], n_digits, digit_order))


def test_addition(model, a, b, n_digits=3, digit_order="ones_first"):
    """Ask the model for one sum, print question, output, expected output and verdict; True if it is
    right."""
    prompt, answer = encode_addition(a, b, n_digits, digit_order)
    a, b = int(a), int(b)  # small kinds of numpy would overflow in the sum
    tokens = generate(model, torch.tensor([prompt], device="cpu"), len(answer))
    output = tokens[0, len(prompt) :].tolist()
    verdict = "right" if output == answer else "wrong"
    print(
        f"{a} + {b} = {a + b}   output {decode_tokens(output)}   expected {decode_tokens(answer)}  "
        f" {verdict}"
    )
    return output == answer


test_addition.__test__ = False  # a name of the earlier book: no test of a test runner


@torch.no_grad()
def census(model, n_digits=3, digit_order="ones_first", batch_size=4096, progress=False):
    """The model's answer to every sum there is: int64 array (10**n, 10**n), entry [a, b] its a + b
    (-1: no number).

    An AdditionTransformer is read token by token (`Reader`), the sums with eight values of a at
    once: a model that knows nothing costs as much as one that is always right. Other models, and
    those that somebody watches or changes by hooks, are read off teacher-forced in batches; greedy
    decoding differs from that only after a first wrong token, so only rows with one are generated
    anew.
    """
    device, side = _device_of(model), 10**n_digits
    answer_start, answered = 2 * n_digits + 1, []
    reads_ahead = _can_be_read_ahead(model, answer_start + n_digits + 2)
    codes = torch.arange(side * side, device=device)
    model.eval()
    parts = codes.split(8 * side if reads_ahead else batch_size)
    for part in tqdm(parts, unit="batch", disable=not progress, leave=False):
        a, b = part // side, part % side
        rows = _addition_sequences(a, b, n_digits, digit_order)  # (B, T + 1)
        if reads_ahead:
            output = _written_after(model, rows[:, : answer_start + 1], n_digits + 2)
        else:
            output = model(rows[:, :-1])[:, answer_start:].argmax(-1)  # (B, n + 2)
            wrong = (output != rows[:, answer_start + 1 :]).any(1)
            if wrong.any():
                prompts = rows[wrong, : answer_start + 1]
                output[wrong] = generate(model, prompts, n_digits + 2)[:, answer_start + 1 :]
        answered.append(_sums_written(output, n_digits, digit_order))
    return torch.cat(answered).view(side, side).cpu().numpy()


def _can_be_read_ahead(model, n_tokens):
    """Does a Reader compute what this model's own forward pass would?"""
    return (
        type(model) is AdditionTransformer
        and all(block.attn.causal for block in model.blocks)
        and model.max_seq_len >= n_tokens
        and not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    )


def _written_after(model, prompts, n):
    """What a model writes after prompts of one length, greedily: (B, T) int64 -> (B, n). A
    beginning that prompts share is read once."""
    n_tokens = len(model.token_emb.weight)
    reader = Reader(model, rows=1)  # its rows: the beginnings that differ
    row = torch.zeros(len(prompts), dtype=torch.int64, device=prompts.device)  # of each prompt
    for tokens in prompts.T:
        before = int(row.max()) + 1
        longer, row = torch.unique(row * n_tokens + tokens, return_inverse=True)
        if len(longer) > before:
            reader = reader.take(longer // n_tokens)
        logits = reader.read(longer % n_tokens)  # (beginnings, V)
    written = [logits.argmax(-1)]
    while len(written) < n:
        written.append(reader.read(written[-1]).argmax(-1))
    return torch.stack(written, dim=1)[row]


class Reader:
    """A batch of B sequences of one length, read by a model token by token.

        reader = Reader(model, rows=1)
        logits = reader.read(torch.tensor([3]))          # (1,) ids -> (1, V) of the next token
        many = reader.take(torch.zeros(10).long())       # ten copies of row 0, to go on differently

    Keys and values of earlier tokens are kept, so that nothing is computed twice; language models
    are served this way ("KV cache"). The numbers are those of `AdditionTransformer.forward` up to
    rounding. Hooks on the model are not called.

    Raises TypeError for anything but an AdditionTransformer, ValueError for one without causal mask
    (its earlier positions would have to be computed anew with each token) and for a sequence longer
    than the model's context.
    """

    def __init__(self, model, rows):
        self.model, self.length = model, 0
        weight = model.token_emb.weight
        size = (model.max_seq_len, rows, weight.shape[1])  # (T, B, D)
        self.keys, self.values = (
            [torch.empty(size, device=weight.device, dtype=weight.dtype) for _ in model.blocks]
            for _ in range(2)
        )

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
        now, heads = self.length, (attn.n_heads, -1)
        self.keys[i][now], self.values[i][now] = attn.k(x), attn.v(x)
        keys, values = (
            cache[i][: now + 1].unflatten(-1, heads) for cache in (self.keys, self.values)
        )  # (T, B, H, D/H)
        q = attn.q(x).unflatten(-1, heads) / math.sqrt(keys.shape[-1])  # (B, H, D/H)
        weights = torch.einsum("tbhd,bhd->tbh", keys, q).softmax(0)  # (T, B, H)
        return attn.out(torch.einsum("tbh,tbhd->bhd", weights, values).flatten(1))  # (B, D)

    def take(self, rows, length=None):
        """A new Reader with copies of these rows ((M,) int64, repetitions allowed), at the same
        point, or after their first `length` tokens."""
        other = object.__new__(Reader)
        other.model, other.length = self.model, self.length if length is None else length
        other.keys, other.values = (
            [_copied(cache, other.length, rows) for cache in caches]
            for caches in (self.keys, self.values)
        )
        return other


def _copied(cache, length, rows):
    """The first `length` tokens of some rows, with room for the others: (T, B, D) -> (T, M, D)."""
    copy = cache.new_empty(len(cache), len(rows), cache.shape[2])
    torch.index_select(cache[:length], 1, rows, out=copy[:length])
    return copy


# --------------------------------------------------------------------------------------------------
# Looking inside: attention weights
# --------------------------------------------------------------------------------------------------


@torch.no_grad()
def attention_weights(model, tokens):
    """The attention weights of every layer on a batch of token ids (B, T): a list of tensors
    (B, H, T, T).

    Row q, column k: how much position q takes from position k. Read off the model's own forward
    pass by hooks.
    """
    device, caught = _device_of(model), []
    hooks = [
        block.attn.pattern.register_forward_hook(
            lambda module, args, output: caught.append(output.cpu())
        )
        for block in model.blocks
    ]
    try:
        model.eval()
        model(tokens.to(device))
    finally:
        for hook in hooks:
            hook.remove()
    return caught


def _maps_of(model, sequence):
    tokens = torch.tensor([sequence[:-1]], device="cpu")  # <EOS> is never an input
    maps = [as_array(weights[0].mean(0)) for weights in attention_weights(model, tokens)]
    return maps, [VOCAB_INV[token] for token in sequence[:-1]]


def get_attention_maps(model, a, b, n_digits=3, digit_order="ones_first"):
    """Attention on one sum with its right answer: (a list of (T, T) arrays, one per layer; the T
    labels).

    Several heads are averaged. The row that *predicts* a token is the row before it: `=` predicts
    the first digit.
    """
    prompt, answer = encode_addition(a, b, n_digits, digit_order)
    return _maps_of(model, prompt + answer)


def get_reversal_attention(model, seq):
    """The same for one digit string and its reversal."""
    prompt, answer = encode_reversal(seq)
    return _maps_of(model, prompt + answer)


# --------------------------------------------------------------------------------------------------
# Plots: each helper returns its figure
# --------------------------------------------------------------------------------------------------


COLORS = [
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
]  # Okabe and Ito (2008)
plt.rcParams.update(
    {
        "axes.prop_cycle": plt.cycler(color=COLORS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "font.size": 10,
        "legend.frameon": False,
        "svg.hashsalt": "book",
        "image.cmap": "viridis",
    }
)


def plot_training(history, floor=None):
    """Loss, and test and training exact match, against epoch. `floor`: the loss no model can beat,
    drawn as a line.

    history: what `train_model` returns, or a run's table. Raises ValueError where it holds no
    epoch.
    """
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(5.6, 4.8), sharex=True, layout="constrained"
    )
    upper.plot(history["epoch"], history["loss"])
    if floor is not None:
        upper.axhline(floor, color="#444444", linestyle="--", linewidth=1)
        upper.annotate(
            "floor", (max(history["epoch"]), floor), ha="right", va="bottom", color="#444444"
        )
    upper.set(ylabel="loss (nats per target)", yscale="log")
    upper.yaxis.set_major_locator(plt.LogLocator(subs=(1, 2, 5)))
    upper.yaxis.set_major_formatter("{x:g}")
    upper.yaxis.set_minor_formatter(plt.NullFormatter())
    for name, label, style in [
        ("train_accuracy", "training sums", "--"),
        ("accuracy", "test sums", "-"),
    ]:
        if name in history:
            known = [
                (e, value) for e, value in zip(history["epoch"], history[name]) if value is not None
            ]
            lower.plot(*zip(*known), style, label=label)
    lower.set(xlabel="epoch", ylabel="exact match", ylim=(-0.02, 1.02))
    lower.yaxis.set_major_formatter("{x:.0%}")
    lower.legend()
    return figure


def plot_attention(maps, labels, titles=None):
    """Attention maps one below the other, one panel per (T, T) array or tensor: rows ask, columns
    are looked at.

    labels: T texts; titles: one per map (None: "layer 1", ...). Raises ValueError where their
    numbers do not fit.
    """
    figure, axes = plt.subplots(
        len(maps), 1, figsize=(4.8, 3.7 * len(maps)), squeeze=False, layout="constrained"
    )
    for i, (ax, weights) in enumerate(zip(axes[:, 0], maps)):
        image = ax.imshow(as_array(weights), vmin=0, vmax=1)
        ax.set(
            xticks=range(len(labels)),
            yticks=range(len(labels)),
            xlabel="looked at (key)",
            ylabel="asks (query)",
            title=f"layer {i + 1}" if titles is None else titles[i],
        )
        ax.set_xticklabels(labels)
        ax.set_yticklabels(labels)
        ax.grid(False)
    figure.colorbar(image, ax=axes[:, 0], label="attention weight", shrink=0.5)
    return figure


# --------------------------------------------------------------------------------------------------
# Arguments: in the book, _checks.py beside this file says in a sentence what is wrong with one. A
# copy of this file on its own computes the same.
# --------------------------------------------------------------------------------------------------

if Path(__file__).with_name("_checks.py").is_file():
    import _checks

    _checks.put_before(sys.modules[__name__])
