"""Modular addition, a + b mod p, by a one-layer transformer: the task, the model, and its training
step.

Model and setting are those of Nanda et al. (2023), "Progress measures for grokking via mechanistic
interpretability", arXiv 2301.05217. `ModularTransformer.forward`, over all three tokens `a b =`, is
the definition. Only the row of `=` is ever read, so `pair_logits` computes that row, and of it only
what differs from pair to pair:

- keys and values belong to a token at a position: 2p + 1 of them, not 3 per pair; there is one
  query per head;
- a score is a number per token, position and head, so a pair's attention is a softmax over three
  numbers looked up;
- W_O only ever meets W_in and W_U, and W_out only W_U: the small products of matrices come first.

What is left per pair is two matrix products. tests/lab/modular/test_modular.py holds logits and
gradients against `forward`.

Shapes: N pairs, p tokens (and `=`, token p), D = d_model, H heads of E = D / H, M = d_mlp neurons.
"""

import math
from dataclasses import dataclass, field, fields

import torch
import torch.nn as nn
import torch.nn.functional as F

from _checks import (
    not_negative,
    or_none,
    positive,
    positive_whole,
    real_number,
    seed_number,
    whole_from_zero,
    whole_number,
    word,
)
from _common import own_defaults, seeded_generator
from lab.checks import check_settings, share

__all__ = (
    "ModularConfig ModularTransformer ModularMLP new_model modular_split all_pairs "
    "loss_in_float64 score train_step make_optimizer gradient_symmetricity"
).split()

ARCHITECTURES = ("transformer", "mlp")


def _setting(default, meaning):
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class ModularConfig:
    """Everything that decides a run. The defaults are the reference run and must never change:
    stored runs are found by what differs from them."""

    task: str = _setting("modular", "modular: a + b mod p")
    seed: int = _setting(999, "fixes the initial weights")
    # the data
    p: int = _setting(113, "the modulus, an odd prime: operands are 0..p-1")
    fraction: float = _setting(0.3, "share of the p * p pairs that is trained on")
    data_seed: int = _setting(598, "fixes which pairs")
    # the model
    architecture: str = _setting("transformer", "transformer, or mlp: no attention, the same size")
    d_model: int = _setting(128, "width of the residual stream")
    n_heads: int = _setting(4, "attention heads")
    d_mlp: int = _setting(512, "neurons (ReLU)")
    # the training
    epochs: int = _setting(25_000, "full-batch steps")
    lr: float = _setting(1e-3, "learning rate of AdamW")
    weight_decay: float = _setting(1.0, "weight decay of AdamW")
    beta1: float = _setting(0.9, "AdamW's memory of the gradient")
    beta2: float = _setting(0.98, "AdamW's memory of the squared gradient")
    measure_every: int = _setting(
        100,
        "epochs from one measurement to the next; ten times as often in the first five such spans",
    )
    extra_epochs: int = _setting(
        None, "end this many epochs after 99 % test accuracy (None: go on to the end)"
    )

    def __post_init__(self):
        sizes = ("d_model", "n_heads", "d_mlp", "epochs", "measure_every")
        check_settings(
            self,
            task=word("modular"),
            architecture=word(*ARCHITECTURES),
            p=whole_number,
            seed=seed_number,
            data_seed=seed_number,
            **dict.fromkeys(sizes, positive_whole),
            fraction=real_number,
            lr=positive,
            weight_decay=not_negative,
            beta1=share,
            beta2=share,
            extra_epochs=or_none(whole_from_zero),
        )
        if max(self.beta1, self.beta2) == 1:
            raise ValueError(f"beta1 and beta2 must be below 1, not {self.beta1} and {self.beta2}")
        if self.p < 3 or any(self.p % d == 0 for d in range(2, math.isqrt(self.p) + 1)):
            raise ValueError(f"p must be an odd prime, not {self.p!r}")
        if not 0 < self.fraction < 1 or not 0 < self.n_train < self.p**2:
            raise ValueError(
                f"fraction must leave pairs to train on and pairs to test on, not {self.fraction!r}"
            )
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model must be a multiple of n_heads = {self.n_heads}, not {self.d_model}"
            )
        if self.epochs % self.measure_every:
            raise ValueError(
                f"epochs must be a multiple of measure_every, not {self.epochs},"
                f" {self.measure_every}"
            )

    @property
    def n_train(self):
        """How many pairs are trained on: 3,830 in the reference run."""
        return int(self.fraction * self.p**2)

    @property
    def differs(self):
        """What sets this run apart from the reference run, as text; the seeds, and when to stop,
        left aside."""
        return ", ".join(
            f"{f.name} {getattr(self, f.name)}"
            for f in fields(self)
            if getattr(self, f.name) != f.default
            and f.name not in ("seed", "data_seed", "extra_epochs")
        )

    def is_measured(self, epoch):
        """Is there a row of the history after this many epochs?"""
        often = self.measure_every // 10
        return epoch % self.measure_every == 0 or (
            epoch < 5 * self.measure_every and often > 0 and epoch % often == 0
        )


# -- the task


@own_defaults()
def all_pairs(p):
    """Both operands of all p * p pairs, a-major: two (p * p,) int64."""
    index = torch.arange(p * p)
    return index // p, index % p


@own_defaults()
def modular_split(config):
    """Which of the pairs (in the order of `all_pairs`) are trained on and which are not: two sorted
    (n,) int64."""
    order = torch.randperm(config.p**2, generator=seeded_generator(config.data_seed))
    return order[: config.n_train].sort().values, order[config.n_train :].sort().values


def loss_in_float64(logits, answers):
    """Mean cross-entropy in nats, taken in float64: once the training pairs are memorised, float32
    rounds 1 - probability to 0."""
    return F.cross_entropy(logits.double(), answers)


def score(logits, answers):
    """(loss, accuracy) of logits (N, p) on answers (N,), two floats."""
    return float(loss_in_float64(logits, answers)), float(
        (logits.argmax(-1) == answers).double().mean()
    )


# -- the models


class ModularTransformer(nn.Module):
    """One layer, ReLU neurons, no norms, no biases, untied unembedding: 226,048 learned numbers at
    the defaults.

    Tensors have TransformerLens's shapes; all start as N(0, (0.8 / sqrt(d_model))^2), which is its
    default.
    """

    @own_defaults()
    def __init__(self, p=113, d_model=128, n_heads=4, d_mlp=512, seed=999):
        super().__init__()
        self.p, d_head = p, d_model // n_heads
        generator = seeded_generator(seed)

        def normal(*shape):
            return nn.Parameter(torch.randn(*shape, generator=generator) * 0.8 / math.sqrt(d_model))

        self.W_E, self.W_pos = normal(p + 1, d_model), normal(3, d_model)
        self.W_Q, self.W_K, self.W_V = (normal(n_heads, d_model, d_head) for _ in range(3))
        self.W_O = normal(n_heads, d_head, d_model)
        self.W_in, self.W_out = normal(d_model, d_mlp), normal(d_mlp, d_model)
        self.W_U = normal(d_model, p)

    def tokens(self, a, b):
        """The sequences `a b =` of pairs (N,): (N, 3) int64."""
        return torch.stack([a, b, torch.full_like(a, self.p)], 1)

    def embed(self, tokens):
        """Token embedding plus position embedding: (N, 3) -> (N, 3, D)."""
        return self.W_E[tokens] + self.W_pos

    def forward(self, tokens):
        """Logits after every token: (N, 3) int64 -> (N, 3, p). Those after `=`, [:, -1], are the
        answer's."""
        return self.from_embedded(self.embed(tokens))

    def from_embedded(self, x):
        """Logits from the residual stream before attention: (N, 3, D) -> (N, 3, p)."""
        q, k, v = (torch.einsum("ntd,hde->nhte", x, W) for W in (self.W_Q, self.W_K, self.W_V))
        scores = q @ k.mT / math.sqrt(q.shape[-1])  # (N, H, 3, 3)
        later = torch.ones(3, 3, dtype=torch.bool, device=x.device).triu(1)
        mixed = scores.masked_fill(later, -torch.inf).softmax(-1) @ v  # (N, H, 3, E)
        x = x + torch.einsum("nhte,hed->ntd", mixed, self.W_O)
        x = x + (x @ self.W_in).relu() @ self.W_out
        return x @ self.W_U

    def attention(self, a, b):
        """How much `=` attends to a, to b and to itself in each head: (N,), (N,) -> (3, N, H)."""
        return self._attention(a, b)[0]

    def _attention(self, a, b):
        """(3, N, H) attention of `=`, (2p + 1, H, E) values by token and position, (D,) residual
        stream at `=`."""
        p, (n_heads, d_model, d_head) = self.p, self.W_V.shape
        last = self.W_E[p] + self.W_pos[2]  # (D,)
        stream = torch.cat(
            [self.W_E[:p] + self.W_pos[0], self.W_E[:p] + self.W_pos[1], last[None]]
        )  # (2p + 1, D)
        query = torch.einsum("d,hde->he", last, self.W_Q) / math.sqrt(d_head)
        scores = stream @ torch.einsum("hde,he->dh", self.W_K, query)  # (2p + 1, H)
        values = stream @ self.W_V.transpose(0, 1).reshape(d_model, -1)  # (2p + 1, H * E)
        pattern = torch.stack(
            [
                F.embedding(a, scores[:p]),
                F.embedding(b, scores[p : 2 * p]),
                scores[2 * p].expand(len(a), n_heads),
            ]
        ).softmax(0)
        return pattern, values, last

    def neurons_and_logits(self, a, b):
        """Neurons (after ReLU) and logits at `=`, by the short way: (N,), (N,) int64 -> (N, M),
        (N, p)."""
        p, (n_heads, d_head, _) = self.p, self.W_O.shape
        pattern, values, last = self._attention(a, b)
        to_a, to_b, to_itself = pattern[..., None]  # (N, H, 1) each
        mixed = (
            to_a * F.embedding(a, values[:p]).view(-1, n_heads, d_head)
            + to_b * F.embedding(b, values[p : 2 * p]).view(-1, n_heads, d_head)
            + to_itself * values[2 * p].view(n_heads, d_head)
        ).flatten(1)  # (N, H * E)
        W_O = self.W_O.flatten(0, 1)  # (H * E, D)
        neurons = torch.addmm(last @ self.W_in, mixed, W_O @ self.W_in).relu()  # (N, M)
        logits = torch.addmm(
            torch.addmm(last @ self.W_U, mixed, W_O @ self.W_U), neurons, self.neuron_logit_map()
        )
        return neurons, logits

    def pair_logits(self, a, b):
        """The answer's logits: (N,), (N,) int64 -> (N, p)."""
        return self.neurons_and_logits(a, b)[1]

    def neuron_logit_map(self):
        """W_L = W_out W_U, what each neuron adds to each logit: (M, p)."""
        return self.W_out @ self.W_U

    # -- the same weights in TransformerLens

    @own_defaults()
    def to_transformer_lens(self):
        """The weights under TransformerLens's names, biases (zero) included: for
        `HookedTransformer.load_state_dict(..., strict=False)` (TransformerLens 1 to 3; 4.0 dropped
        that class) of a model with n_layers 1, n_ctx 3, act_fn "relu", normalization_type None,
        d_vocab p + 1, d_vocab_out p."""
        state = {lens: getattr(self, own).detach().clone() for own, lens in LENS_NAMES.items()}
        (n_heads, d_model, d_head), (_, d_mlp) = self.W_Q.shape, self.W_in.shape
        shapes = {
            **dict.fromkeys(("attn.b_Q", "attn.b_K", "attn.b_V"), (n_heads, d_head)),
            "attn.b_O": (d_model,),
            "mlp.b_in": (d_mlp,),
            "mlp.b_out": (d_model,),
        }
        state |= {f"blocks.0.{name}": torch.zeros(shape) for name, shape in shapes.items()}
        return state | {"unembed.b_U": torch.zeros(self.p)}

    @classmethod
    def from_transformer_lens(cls, state):
        """The model with the weights of a TransformerLens state dictionary. Raises ValueError where
        a tensor is missing, has another shape, or a bias is not zero: this model has none."""
        missing = [name for name in LENS_NAMES.values() if name not in state]
        if missing:
            raise ValueError(f"the state dictionary lacks {', '.join(missing)}")
        unknown = [
            name
            for name in state
            if name not in LENS_NAMES.values()
            and name.split(".")[-1] not in ("mask", "IGNORE")
            and (".b_" not in name or state[name].any())
        ]
        if unknown:
            raise ValueError(f"this model has no {', '.join(unknown)} (a bias must be zero)")
        d_model, p = state["unembed.W_U"].shape
        model = cls(
            p, d_model, len(state["blocks.0.attn.W_Q"]), state["blocks.0.mlp.W_in"].shape[1]
        )
        for own, lens in LENS_NAMES.items():
            if state[lens].shape != getattr(model, own).shape:
                raise ValueError(
                    f"{lens} must have shape {tuple(getattr(model, own).shape)}, not"
                    f" {tuple(state[lens].shape)}"
                )
        model.load_state_dict({own: state[lens].float() for own, lens in LENS_NAMES.items()})
        return model


LENS_NAMES = {
    "W_E": "embed.W_E",
    "W_pos": "pos_embed.W_pos",
    "W_U": "unembed.W_U",
    **{name: f"blocks.0.attn.{name}" for name in ("W_Q", "W_K", "W_V", "W_O")},
    **{name: f"blocks.0.mlp.{name}" for name in ("W_in", "W_out")},
}


class ModularMLP(nn.Module):
    """No attention: the embeddings of a and b, each through a matrix of its own, straight into the
    ReLU neurons.

    225,536 learned numbers at the defaults, 512 fewer than the transformer; started in the same
    way.
    """

    @own_defaults()
    def __init__(self, p=113, d_model=128, d_mlp=512, seed=999):
        super().__init__()
        self.p = p
        generator = seeded_generator(seed)

        def normal(*shape):
            return nn.Parameter(torch.randn(*shape, generator=generator) * 0.8 / math.sqrt(d_model))

        self.W_E = normal(p, d_model)
        self.W_a, self.W_b = normal(d_model, d_mlp), normal(d_model, d_mlp)
        self.W_out, self.W_U = normal(d_mlp, d_model), normal(d_model, p)

    def tokens(self, a, b):
        """The pairs (N,) as (N, 2) int64."""
        return torch.stack([a, b], 1)

    def embed(self, tokens):
        """(N, 2) -> (N, 2, D)."""
        return self.W_E[tokens]

    def from_embedded(self, x):
        """Logits from the embedded pairs, as if at one position: (N, 2, D) -> (N, 1, p)."""
        neurons = (x[:, 0] @ self.W_a + x[:, 1] @ self.W_b).relu()
        return (neurons @ self.W_out @ self.W_U)[:, None]

    def forward(self, tokens):
        """(N, 2) int64 -> (N, 1, p): logits in the transformer's layout."""
        return self.from_embedded(self.embed(tokens))

    def neurons_and_logits(self, a, b):
        """Neurons (after ReLU) and logits, through tables by token: (N,), (N,) int64 -> (N, M),
        (N, p)."""
        neurons = (F.embedding(a, self.W_E @ self.W_a) + F.embedding(b, self.W_E @ self.W_b)).relu()
        return neurons, neurons @ self.neuron_logit_map()

    def pair_logits(self, a, b):
        """The answer's logits: (N,), (N,) int64 -> (N, p)."""
        return self.neurons_and_logits(a, b)[1]

    def neuron_logit_map(self):
        """W_L = W_out W_U, what each neuron adds to each logit: (M, p)."""
        return self.W_out @ self.W_U


def new_model(config):
    """The untrained model of a configuration; its seed fixes the initial weights."""
    if config.architecture == "mlp":
        return ModularMLP(config.p, config.d_model, config.d_mlp, config.seed)
    return ModularTransformer(config.p, config.d_model, config.n_heads, config.d_mlp, config.seed)


# -- training


def make_optimizer(model, config):
    """AdamW on every tensor. `fused` does the same arithmetic in one pass over each tensor."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )


def train_step(model, optimizer, a, b, answers):
    """One epoch: a step on all training pairs (n,). Returns the loss before it, a float."""
    loss = loss_in_float64(model.pair_logits(a, b), answers)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@own_defaults()
def gradient_symmetricity(model, n=2_000, seed=0):
    """Mean cosine between the gradients of one logit by the two embedded operands: (1 pair and
    answer) x n, a float.

    Near 1 for a "pizza", clearly lower for a "clock": Zhong et al. (2023), arXiv 2306.17844,
    section 4.1. Their average is over all pairs and answers, this one over `n` drawn with a fixed
    seed.
    """
    generator = seeded_generator(seed)
    a, b, c = torch.randint(model.p, (3, n), generator=generator)
    x = model.embed(model.tokens(a, b)).detach().requires_grad_()
    logits = model.from_embedded(x)[:, -1].gather(1, c[:, None])
    (gradient,) = torch.autograd.grad(logits.sum(), x)  # (n, 3, D)
    return float(F.cosine_similarity(gradient[:, 0], gradient[:, 1], dim=-1).mean())
