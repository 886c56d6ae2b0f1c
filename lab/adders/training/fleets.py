"""Fleets: many seeds of one configuration trained together, each as if it were alone.

Every learned tensor, moment and random stream has a leading axis of seeds: one operation does a
step's work for all of them. A seed fixes its initial weights and its stream of examples. The same
call on the same machine with the same threads gives the same bits. On the CPU seed s of a fleet is
the seed s trained alone but for rounding, since more seeds at once may be added up in another
order: over the 60 to 120 steps of the tests losses agree to 1e-4 and the median weight to 1e-5,
with the same digits right. Over tens of thousands of steps rounding can grow; what became of each
seed is what is stored. A seed whose loss is no longer finite is recorded and leaves the fleet; so
does one whose evaluations have been perfect for long enough. Sweeps over many seeds and their
storage: lab/adders/training/sweeps.py.
"""

import functools
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch.func import functional_call
from tqdm.auto import tqdm

from _common import (
    check_gradients,
    not_negative,
    or_none,
    own_defaults,
    positive,
    positive_whole,
    seed_number,
    seeded_generator,
    true_or_false,
    whole_from_zero,
    whole_number,
    whole_numbers,
    word,
)
from lab.adders.formats import DIGITS, FORMATS
from lab.adders.gradients import small_transformer_step
from lab.adders.gradients.position_only import loss_and_gradients, predicted_digits
from lab.adders.models.micro_adder import MicroAdderConfig
from lab.adders.models.small_transformer import SmallTransformerConfig
from lab.adders.ten_digits import (
    LCM,
    TEST_SEEDS,
    VALIDATION_SEEDS,
    board_pairs,
    mixed_pairs,
    stratified_pairs,
    uniform_pairs,
    with_nines,
)
from lab.checks import check_settings, seed_numbers, share

CHUNK = 50  # steps whose examples are drawn together
DATA_SEED_OFFSET = (
    1_000_000  # seeds are below this: no stream of examples is a validation or a test stream
)
SEEDS_AT_ONCE = 8  # on the CPU, so that a step's tensors stay in the cache
SMALL_TRANSFORMERS_AT_ONCE = 1  # theirs are larger


# Sizes of a tensor of float64. What a recipe names is the rule: its result hangs on the last bits,
# and would be another key.
SIZES = {
    "root mean square": lambda p: p.square().mean().sqrt(),
    "smallest number": lambda p: p.abs().min(),
}


def tensor_sizes(model, rule):
    """The size of each learned tensor of a model, by a rule of SIZES, 1 where it is 0: {name:
    float}."""
    return {
        name: float(SIZES[rule](p.detach().double())) or 1.0 for name, p in model.named_parameters()
    }


def _pairs(name, value, first, second):
    """Pairs as a tuple of tuples (JSON has lists only), each part checked."""
    if not isinstance(value, (tuple, list)) or not all(
        isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in value
    ):
        raise TypeError(f"{name} must be a list of pairs, not {value!r}")
    return tuple(
        (first(f"the first of {name}", a), second(f"the second of {name}", b)) for a, b in value
    )


def _digit_stages(name, value):
    return _pairs(name, value, functools.partial(whole_number, low=1, high=DIGITS), whole_from_zero)


def _factors(name, value):
    def tensor_name(name, value):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be the name of a tensor, not {value!r}")
        return value

    return _pairs(name, value, tensor_name, not_negative)


def _steps_from_to(name, value):
    steps = whole_numbers(f"a step of {name}", value, 0)
    if len(steps) != 2:
        raise ValueError(f"{name} must be two steps, from and to, not {value!r}")
    return tuple(steps)


@dataclass(frozen=True)
class Recipe:
    """How a fleet is trained. The defaults are the published recipe of the 57 and must never
    change."""

    steps: int = 60_000
    batch_size: int = 256
    lr: float = 0.02
    final_lr: float = 0.002  # the cosine ends here, at the last step
    warmup_steps: int = 1_000
    weight_decay: float = 0.01  # of AdamW (0.9, 0.999, 1e-8), on every tensor
    adaptive_decay: bool = (
        False  # x 0.1 while the last evaluation has exact >= 2 % and tokens >= 70 %, x 0.01 at 20 %
    )
    clip: float = 1.0  # largest gradient norm, per seed
    digit_stages: tuple = (
        (3, 2_000),
        (6, 7_000),
    )  # operands of at most 3 digits to step 2,000, ...; then ten
    carry_share: float = 0.8  # of the examples, from the carry sampler
    carry_fade: tuple = (
        15_000,
        45_000,
    )  # the share falls in a straight line to carry_floor between these
    carry_floor: float = 0.0
    lr_factors: tuple = ()  # ((tensor name, factor), ...)
    # the rate is a share of this size of each tensor: see `tensor_sizes` (None: it is not)
    lr_relative_to: str = None
    nines_share: float = 0.0  # in this share of the examples each column becomes 9 + 9 ...
    nines_chance: float = 0.2  # ... with this probability
    evaluate_every: int = 2_000
    stop_after_perfect: int = (
        10_000  # a seed ends when every evaluation of this many steps was perfect (None: never)
    )
    loss_on: str = "answers"  # the model's targets only, or "all" tokens that follow another
    digit_counts: str = (
        "largest"  # operands below 10^most; "shared": both below 10^n, n uniform from 1 to most
    )
    tries: int = 1  # random starts of a seed, of which it takes the best: see `chosen_starts`
    try_steps: int = 1_000  # for how long each is tried
    schedule_steps: int = (
        None  # length of the learning-rate schedule, where training ends before it does
    )

    def __post_init__(self):
        shares = "carry_share carry_floor nines_share nines_chance".split()
        sizes = "steps batch_size evaluate_every tries try_steps".split()
        check_settings(
            self,
            **dict.fromkeys(sizes, positive_whole),
            **dict.fromkeys(shares, share),
            lr=not_negative,
            final_lr=not_negative,
            warmup_steps=whole_from_zero,
            weight_decay=not_negative,
            adaptive_decay=true_or_false,
            clip=or_none(positive),
            stop_after_perfect=or_none(whole_from_zero),
            schedule_steps=or_none(positive_whole),
            loss_on=word("answers", "all"),
            digit_counts=word("largest", "shared"),
            lr_relative_to=word(None, *SIZES),
            digit_stages=_digit_stages,
            carry_fade=_steps_from_to,
            lr_factors=_factors,
        )
        if self.steps % self.evaluate_every:
            raise ValueError(
                f"steps must be a multiple of evaluate_every = {self.evaluate_every}, not"
                f" {self.steps}"
            )
        if self.lr_relative_to and self.lr_factors:
            raise ValueError(
                f"lr_relative_to = {self.lr_relative_to!r} sets the factors itself: lr_factors must"
                f" be empty, not {self.lr_factors}"
            )
        if self.schedule_steps is not None and self.schedule_steps < self.steps:
            raise ValueError(
                f"schedule_steps must be at least steps = {self.steps}, not {self.schedule_steps}"
            )
        if self.tries > 1 and self.try_steps % self.evaluate_every:
            raise ValueError(
                f"try_steps must be a multiple of evaluate_every = {self.evaluate_every}, not"
                f" {self.try_steps}"
            )
        if self.carry_floor > self.carry_share:
            raise ValueError(
                f"carry_floor must be at most carry_share = {self.carry_share}, not"
                f" {self.carry_floor}"
            )

    def lr_at(self, step):
        """The learning rate of step 0, 1, ..., as the ladder's author writes it."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(
            1, (self.schedule_steps or self.steps) - self.warmup_steps
        )
        return self.final_lr + (self.lr - self.final_lr) * (1 + math.cos(math.pi * progress)) / 2

    def digits_at(self, step):
        """The most digits an operand may have at a step."""
        return next((digits for digits, end in self.digit_stages if step < end), DIGITS)

    def carry_share_at(self, step):
        """The share of examples from the carry sampler at a step."""
        start, end = self.carry_fade
        faded = min(1.0, max(0.0, (step - start) / max(1, end - start)))
        return self.carry_share + (self.carry_floor - self.carry_share) * faded


@dataclass(frozen=True)
class FleetConfig:
    """A model and a recipe: everything but the seed. `data_seed`: every seed sees this one's
    examples (None: its own); `weights_seed`: every seed starts with this one's random weights
    (None: its own). `start_from`: the name of a stored sweep, from whose final weights each seed
    starts (None: from its random start)."""

    model: object = MicroAdderConfig()
    recipe: Recipe = Recipe()
    data_seed: int = None
    start_from: str = None
    weights_seed: int = None

    def __post_init__(self):
        if not all(
            hasattr(self.model, name) for name in ("build", "label", "format")
        ) or isinstance(self.model, type):
            raise TypeError(
                f"model must be a configuration such as MicroAdderConfig(), not {self.model!r}"
            )
        if not isinstance(self.recipe, Recipe):
            raise TypeError(f"recipe must be a Recipe, not {self.recipe!r}")
        if self.start_from is not None and not isinstance(self.start_from, str):
            raise TypeError(
                f"start_from must be the name of a stored sweep, not {self.start_from!r}"
            )
        check_settings(
            self,
            weights_seed=or_none(seed_number),
            data_seed=or_none(functools.partial(whole_number, low=0, high=DATA_SEED_OFFSET - 1)),
        )
        if self.weights_seed is not None and (self.start_from is not None or self.recipe.tries > 1):
            raise ValueError(
                f"weights_seed = {self.weights_seed} is a random start: it goes with neither"
                f" start_from = {self.start_from!r} nor tries = {self.recipe.tries} of them"
            )

    def weights_seeds(self, seeds):
        """Whose random weights these seeds start with: a list."""
        return [seed if self.weights_seed is None else self.weights_seed for seed in seeds]


class Examples:
    """The stream of training examples of one seed: `draw(step, n)` gives the next n steps, (n, T +
    1, B) uint8."""

    def __init__(self, config, seed, device):
        self.recipe, self.format = config.recipe, FORMATS[config.model.format]
        self.generator = torch.Generator(device=device)
        offset = DATA_SEED_OFFSET * (
            1 if config.start_from is None else 2
        )  # a second pass sees other examples
        self.generator.manual_seed(
            offset + (seed if config.data_seed is None else config.data_seed)
        )

    @own_defaults()
    def draw(self, step, n):
        recipe, device = self.recipe, self.generator.device

        def per_example(values):
            return torch.tensor(values).repeat_interleave(recipe.batch_size)

        steps = range(step, step + n)
        digits = per_example([recipe.digits_at(s) for s in steps]).to(device)
        if recipe.digit_counts == "shared":
            digits = (
                1
                + torch.randint(0, LCM, digits.shape, generator=self.generator, device=device)
                % digits
            )
        share = per_example([recipe.carry_share_at(s) for s in steps])
        a, b = mixed_pairs(n * recipe.batch_size, self.generator, digits, share)
        if recipe.nines_share:
            a, b = with_nines(a, b, self.generator, digits, recipe.nines_share, recipe.nines_chance)
        return self.format.columns(a, b).view(-1, n, recipe.batch_size).transpose(0, 1)


class StackedModels:
    """The learned numbers of S models of one configuration, as one (S, P) tensor with named
    (S, ...) views."""

    @own_defaults()
    def __init__(self, config, flat, device):
        self.config, self.model = config, config.build(0).to(device)
        self.shapes = {name: p.shape for name, p in self.model.named_parameters()}
        self.alone = config.build(0).to(device)  # one model, for what is done seed by seed
        self.bind(flat)

    @classmethod
    def untrained(cls, config, seeds, device):
        flat = [
            torch.cat([p.detach().flatten() for p in config.build(seed).parameters()])
            for seed in seeds
        ]
        return cls(config, torch.stack(flat).to(device), device)

    def bind(self, flat):
        """Make `flat` (S, P) the learned numbers; the model's parameters are views of it."""
        self.flat, start = flat, 0
        for name, p in self.model.named_parameters():
            size = self.shapes[name].numel()
            p.data = flat[:, start : start + size].view(len(flat), *self.shapes[name])
            p.grad = None
            start += size

    def named(self):
        return {name: p.detach() for name, p in self.model.named_parameters()}

    def _groups(self):
        on_cpu = SMALL_TRANSFORMERS_AT_ONCE if self._is_small_transformer() else SEEDS_AT_ONCE
        at_once = on_cpu if self.flat.device.type == "cpu" else len(self.flat)
        return [slice(start, start + at_once) for start in range(0, len(self.flat), at_once)]

    def _is_small_transformer(self):
        return isinstance(self.config, SmallTransformerConfig)

    def rows(self, loss_on="answers"):
        """The rows whose next token is asked for, as a slice of 0..33."""
        first = FORMATS[self.config.format].prompt - 1
        return slice(0 if loss_on == "all" else first, first + self.config.n_targets)

    def gradients(self, sequences, loss_on="answers"):
        """Mean cross-entropy of each seed on its own examples, (S, T + 1, B) int64: (loss (S,),
        gradient (S, P))."""
        if self.config.position_only and loss_on == "answers":
            return self._position_only(sequences)
        if self._is_small_transformer():
            loss, gradient = small_transformer_step.loss_and_gradients(
                self.named(), self.config, sequences, self.rows(loss_on), self._groups()
            )
            return loss, torch.cat([gradient[name].flatten(1) for name in self.shapes], dim=1)
        return self._one_by_one(sequences, self.rows(loss_on))

    def _position_only(self, sequences):
        parts = self.model.position_only_parts()
        loss, grads = loss_and_gradients(parts, sequences, self._groups(), self._activation())
        learned = [(part, g) for part, g in zip(parts, grads) if part.requires_grad]
        gradient = torch.autograd.grad(
            [part for part, _ in learned],
            list(self.model.parameters()),
            [g for _, g in learned],
            allow_unused=True,
        )
        return loss, _flatten(gradient, self.model.parameters())

    def _activation(self):
        return getattr(self.config, "activation", "gelu")

    def _one_by_one(self, sequences, rows):
        losses, gradients = [], []
        for s in range(len(self.flat)):
            weights = {name: value[s].requires_grad_() for name, value in self.named().items()}
            tokens = sequences[s].T
            logits = functional_call(self.alone, weights, (tokens[:, :-1],))[:, rows]
            loss = F.cross_entropy(
                logits.transpose(1, 2), tokens[:, rows.start + 1 : rows.stop + 1]
            )
            gradient = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            losses.append(loss.detach())
            gradients.append(
                torch.cat(
                    [
                        torch.zeros_like(w).flatten() if g is None else g.flatten()
                        for g, w in zip(gradient, weights.values())
                    ]
                )
            )
        return torch.stack(losses), torch.stack(gradients)

    @torch.no_grad()
    def digits(self, sequences, batch_size=1024):
        """The digit each seed finds most probable for each target, with the right digits before it.

        sequences: (T + 1, N) int64, the same examples for all seeds -> (S, n_targets, N) int64. A
        whole answer is right here exactly if greedy decoding writes it: the two part only after a
        first wrong digit.
        """
        rows, out = self.rows(), []
        parts = self.model.position_only_parts() if self.config.position_only else None
        for part in sequences.split(batch_size, dim=1):
            if parts is not None:
                everyone = part.expand(len(self.flat), *part.shape)
                out.append(
                    torch.cat(
                        [
                            predicted_digits(parts, everyone[group], group, self._activation())
                            for group in self._groups()
                        ]
                    )
                )
            elif self._is_small_transformer():
                everyone = part.expand(len(self.flat), *part.shape)
                out.append(
                    small_transformer_step.predicted_tokens(
                        self.named(), self.config, everyone, rows, self._groups()
                    )
                )
            else:
                out.append(
                    torch.stack(
                        [
                            functional_call(
                                self.alone,
                                {name: value[s] for name, value in self.named().items()},
                                (part.T[:, :-1],),
                            )[:, rows]
                            .argmax(-1)
                            .T
                            for s in range(len(self.flat))
                        ]
                    )
                )
        return torch.cat(out, dim=2)


def _flatten(gradient, parameters):
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).flatten(1)
            for g, p in zip(gradient, parameters)
        ],
        dim=1,
    )


@own_defaults()
def chosen_starts(config, seeds, device="cpu"):
    """The random starts that seeds take where their recipe says `tries`: (seeds, P).

    Each of a seed's starts (its own first) is trained for `try_steps` on the seed's examples, by
    the same recipe. The one whose training loss was lowest, over the last `evaluate_every` of these
    steps, is taken as it was at first.
    """
    chosen = []
    for seed in seeds:
        starts = StackedModels.untrained(
            config.model, [seed + i * DATA_SEED_OFFSET for i in range(config.recipe.tries)], device
        )
        trial = replace(
            config,
            recipe=replace(config.recipe, tries=1),
            data_seed=seed if config.data_seed is None else config.data_seed,
        )
        fleet = Fleet(trial, range(config.recipe.tries), device)
        fleet.models.bind(starts.flat.clone())
        fleet.run(progress=False, stop_at=config.recipe.try_steps)
        last = [
            row for row in fleet.history if row["step"] == fleet.step
        ]  # those that diverged are not in it
        chosen.append(starts.flat[min(last, key=lambda row: row["loss"])["seed"] if last else 0])
    return torch.stack(chosen)


class Fleet:
    """Seeds of one configuration in training. `run()` trains to the end; see `save` and `load` for
    interruptions."""

    @own_defaults()
    def __init__(self, config, seeds, device="cpu", start=None):
        """`start`: the weights that seeds with `config.start_from` or several tries start from,
        (seeds, P)."""
        self.config, self.recipe, self.device = config, config.recipe, torch.device(device)
        self.seeds = seed_numbers(seeds, DATA_SEED_OFFSET - 1)
        check_gradients()
        started, tries = time.perf_counter(), config.recipe.tries > 1
        if tries and config.start_from is not None:
            raise ValueError(f"tries are random starts, but start_from is {config.start_from!r}")
        if start is None and tries:
            start = chosen_starts(config, self.seeds, self.device)
        if (start is None) != (config.start_from is None and not tries):
            raise ValueError(
                f"start_from is {config.start_from!r}, but the weights to start from are "
                f"{'missing' if start is None else 'given'}"
            )
        self.models = (
            StackedModels.untrained(config.model, config.weights_seeds(self.seeds), self.device)
            if start is None
            else StackedModels(config.model, start.detach().clone().to(self.device), self.device)
        )
        self.moment, self.square = (
            torch.zeros_like(self.models.flat),
            torch.zeros_like(self.models.flat),
        )
        self.examples = [Examples(config, seed, self.device) for seed in self.seeds]
        self.active = list(
            range(len(self.seeds))
        )  # rows of the tensors above -> index in self.seeds
        self.step, self.seconds = 0, time.perf_counter() - started if tries else 0.0
        self.decay = torch.full((len(self.seeds), 1), self.recipe.weight_decay, device=self.device)
        self.perfect_since = {}  # seed -> step of the first evaluation of a perfect row
        self.ended = {}  # seed -> how, at which step
        self.final = torch.zeros_like(self.models.flat)  # the weights of seeds that have ended
        self.history = []  # one dictionary per seed and evaluation
        self.loss_sum = torch.zeros(
            len(self.seeds), dtype=torch.float64
        )  # on the CPU: MPS has no float64
        factors = dict(self.recipe.lr_factors)
        if self.recipe.lr_relative_to:
            if not hasattr(config.model, "exact"):
                raise ValueError(
                    "lr_relative_to needs a model with an exact circuit to start near, and"
                    f" {config.model.label} has none"
                )
            factors = tensor_sizes(config.model.exact(), self.recipe.lr_relative_to)
        if not set(factors) <= set(self.models.shapes):
            raise ValueError(
                f"lr_factors names {sorted(set(factors) - set(self.models.shapes))}: "
                f"the tensors are {', '.join(self.models.shapes)}"
            )
        self.lr_factor = (
            torch.cat(
                [
                    torch.full((shape.numel(),), float(factors.get(name, 1)), device=self.device)
                    for name, shape in self.models.shapes.items()
                ]
            )
            if factors
            else None
        )
        self.validation = _validation(FORMATS[config.model.format], self.device)

    # -- training

    @own_defaults()
    def run(self, checkpoint=None, progress=True, stop_at=None):
        """Train every seed to its end; returns self. `checkpoint`: a path, written after each
        evaluation. `stop_at`: leave off after this step (a later `run` goes on)."""
        stop_at = self.recipe.steps if stop_at is None else whole_number("stop_at", stop_at, 0)
        check_gradients()
        bar = tqdm(
            total=self.recipe.steps,
            initial=self.step,
            unit="step",
            disable=not progress,
            leave=False,
            desc=f"{self.config.model.label}, seeds {self.seeds[0]}-{self.seeds[-1]}",
        )
        flush = self.device.type == "cpu" and torch.set_flush_denormal(
            True
        )  # denormal numbers cost a hundredfold
        try:
            while self.active and self.step < stop_at:
                started, before = time.perf_counter(), self.step
                self._train_to(self.step + self.recipe.evaluate_every)
                self._evaluate()
                self.seconds += time.perf_counter() - started
                if checkpoint is not None:
                    self.save(checkpoint)
                bar.update(self.step - before)
                bar.set_postfix(self.summary())
        finally:
            bar.close()
            if flush:
                torch.set_flush_denormal(False)
        return self

    def summary(self):
        """How the fleet stands: seeds that are perfect on the validation stream, in training,
        diverged."""
        ended = [how for how, _ in self.ended.values()]
        return {
            "perfect": len(self.perfect_since),
            "training": len(self.active),
            "diverged": ended.count("diverged"),
        }

    def _train_to(self, end):
        while self.step < end and self.active:
            n = min(CHUNK, end - self.step)
            chunk = torch.stack(
                [self.examples[i].draw(self.step, n) for i in self.active]
            )  # (S, n, T + 1, B)
            losses = torch.empty(n, len(self.active), device=self.device)
            for i in range(n):
                losses[i] = self._train_step(chunk[:, i].long())
            self.loss_sum += losses.cpu().double().sum(0)
            sound = (losses.isfinite().all(0) & self.models.flat.isfinite().all(1)).cpu()
            if not sound.all():  # looked at once a chunk: a look waits for a GPU
                for row in (~sound).nonzero()[:, 0].tolist():
                    bad = (~losses[:, row].isfinite()).nonzero()
                    at = self.step - n + (int(bad[0]) + 1 if len(bad) else n)
                    self._end(row, "diverged", at)
                self._keep(sound)

    def _train_step(self, sequences):
        recipe, flat = self.recipe, self.models.flat
        loss, g = self.models.gradients(sequences, recipe.loss_on)
        lr = recipe.lr_at(self.step)
        self.step += 1
        if recipe.clip is not None:
            g.mul_((recipe.clip / (g.square().sum(1, keepdim=True).sqrt_() + 1e-6)).clamp_(max=1.0))
        flat.mul_(
            1 - self.decay * lr * self.lr_factor
            if self.lr_factor is not None
            else 1 - self.decay * lr
        )
        self.moment.lerp_(g, 0.1)
        self.square.mul_(0.999).addcmul_(g, g, value=0.001)
        spread = self.square.sqrt().div_(math.sqrt(1 - 0.999**self.step)).add_(1e-8)
        size = lr / (1 - 0.9**self.step)
        flat.addcdiv_(
            self.moment if self.lr_factor is None else self.moment * self.lr_factor,
            spread,
            value=-size,
        )
        return loss

    def _evaluate(self):
        if not self.active:
            return
        scores = score(self.models, *self.validation)
        loss = (self.loss_sum / self.recipe.evaluate_every).tolist()
        self.loss_sum.zero_()
        going_on = torch.ones(len(self.active), dtype=torch.bool)
        for row, i in enumerate(self.active):
            seed, exact, tokens, ripple = self.seeds[i], *(values[row] for values in scores)
            self.history.append(
                {
                    "seed": seed,
                    "step": self.step,
                    "loss": loss[row],
                    "exact": exact,
                    "tokens": tokens,
                    "ripple_exact": ripple,
                }
            )
            if min(exact, ripple) < 1:
                self.perfect_since.pop(seed, None)
            since = (
                self.perfect_since.setdefault(seed, self.step) if min(exact, ripple) == 1 else None
            )
            if self.recipe.adaptive_decay:
                factor = 1.0 if exact < 0.02 or tokens < 0.7 else 0.1 if exact < 0.2 else 0.01
                self.decay[row] = self.recipe.weight_decay * factor
            patience = self.recipe.stop_after_perfect
            if self.step >= self.recipe.steps:
                self._end(row, "finished", self.step)
                going_on[row] = False
            elif since is not None and patience is not None and self.step - since >= patience:
                self._end(row, "perfect", self.step)
                going_on[row] = False
        self._keep(going_on)

    def _end(self, row, how, step):
        self.ended[self.seeds[self.active[row]]] = [how, step]
        self.final[self.active[row]] = self.models.flat[row]

    def _keep(self, rows):
        if rows.all():
            return
        self.active = [i for i, kept in zip(self.active, rows.tolist()) if kept]
        self.loss_sum, rows = self.loss_sum[rows], rows.to(self.device)
        self.models.bind(self.models.flat[rows].contiguous())
        self.moment, self.square, self.decay = (
            x[rows].contiguous() for x in (self.moment, self.square, self.decay)
        )

    # -- results

    def weights(self):
        """Every seed's final weights: {tensor name: (seeds, ...)}, on the CPU. Raises ValueError
        before the end."""
        if self.active:
            raise ValueError(f"{len(self.active)} seeds are still in training at step {self.step}")
        return {
            name: value.cpu().contiguous()
            for name, value in (
                StackedModels(self.config.model, self.final, self.device).named().items()
            )
        }

    @own_defaults()
    def outcomes(self):
        """One row per seed: how and when it ended, and its scores on the test sets, taken once, at
        its final step."""
        if self.active:
            raise ValueError(f"{len(self.active)} seeds are still in training at step {self.step}")
        models = StackedModels(self.config.model, self.final, self.device)
        format = FORMATS[self.config.model.format]
        a, b = board_pairs()
        board = right_answers(models, format.columns(a, b).to(self.device)).sum(1).tolist()
        a, b, ripple = stratified_pairs(1000, TEST_SEEDS["ripple"])
        wrong = ~right_answers(models, format.columns(a, b).to(self.device)).cpu()  # (S, 20,000)
        table = pd.DataFrame(
            {
                "seed": self.seeds,
                "ended": [self.ended[s][0] for s in self.seeds],
                "steps": [self.ended[s][1] for s in self.seeds],
                "board_right": board,
                "ripple_wrong": wrong.sum(1).tolist(),
            }
        )
        for length in range(DIGITS):
            table[f"wrong_{length}"] = wrong[:, ripple == length].sum(1).tolist()
        return table

    # -- interruption

    def save(self, path):
        """Write the whole state to one file, atomically: a fleet loaded from it goes on to the same
        bits."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "flat": self.models.flat,
            "moment": self.moment,
            "square": self.square,
            "decay": self.decay,
            "loss_sum": self.loss_sum,
            "final": self.final,
            **{f"generator.{i}": self.examples[i].generator.get_state() for i in self.active},
        }
        about = {
            "seeds": self.seeds,
            "active": self.active,
            "step": self.step,
            "seconds": self.seconds,
            "perfect_since": self.perfect_since,
            "ended": self.ended,
            "history": self.history,
            "config": asdict(self.config),
        }
        part = path.with_name(path.name + ".part")
        save_file(
            {name: value.cpu().contiguous() for name, value in state.items()},
            part,
            {"about": json.dumps(about)},
        )
        part.replace(path)

    @classmethod
    def load(cls, path, config, seeds, device="cpu"):
        """The fleet that `save` wrote. Raises ValueError where it is of another configuration or
        other seeds."""
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            state = {name: file.get_tensor(name) for name in file.keys()}
        random = config.start_from is None and config.recipe.tries == 1
        fleet = cls(config, seeds, device, None if random else state["final"])
        if (
            about["config"] != json.loads(json.dumps(asdict(config)))
            or about["seeds"] != fleet.seeds
        ):
            raise ValueError(
                f"{path} is of another configuration or other seeds ({about['seeds']})"
            )
        fleet.models.bind(state["flat"].to(fleet.device))
        fleet.moment, fleet.square, fleet.decay, fleet.final = (
            state[name].to(fleet.device) for name in ("moment", "square", "decay", "final")
        )
        fleet.loss_sum = state["loss_sum"]
        fleet.active, fleet.step, fleet.seconds, fleet.history = (
            about[name] for name in ("active", "step", "seconds", "history")
        )
        fleet.perfect_since, fleet.ended = (
            {int(seed): value for seed, value in about[name].items()}
            for name in ("perfect_since", "ended")
        )
        for i in fleet.active:
            fleet.examples[i].generator.set_state(state[f"generator.{i}"])
        return fleet


def right_answers(models, columns):
    """Which whole sums (their 11 digits, <EOS> aside) each seed gets right: (T + 1, N) uint8 ->
    (S, N) booleans."""
    first = FORMATS[models.config.format].prompt
    sequences = columns.long()
    return (models.digits(sequences)[:, : DIGITS + 1] == sequences[first : first + DIGITS + 1]).all(
        1
    )


def score(models, uniform, stratified):
    """Each seed's scores on a uniform and a stratified set of columns (T + 1, N): three lists of S
    shares, exact (all targets right) and tokens (of all targets) on the uniform set, exact on the
    stratified one."""
    first = FORMATS[models.config.format].prompt
    right = [
        models.digits(c.long()) == c.long()[first : first + models.config.n_targets]
        for c in (uniform, stratified)
    ]
    exact, ripple = (r.all(1).cpu().double().mean(1).tolist() for r in right)
    return exact, right[0].cpu().double().mean((1, 2)).tolist(), ripple


@own_defaults()
def _validation(format, device, n_uniform=3_000, per_ripple=100):
    """The validation stream, the same for all fleets: columns of uniform pairs and of stratified
    ones."""
    a, b = uniform_pairs(n_uniform, seeded_generator(VALIDATION_SEEDS["uniform"]))
    c, d, _ = stratified_pairs(per_ripple, VALIDATION_SEEDS["ripple"])
    return format.columns(a, b).to(device), format.columns(c, d).to(device)
