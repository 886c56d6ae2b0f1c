"""How a fleet is trained, as settings: every number that decides it, and what each may be.

`Recipe` is the training, `FleetConfig` the training and the model: everything but the seed. Both
are parts of a stored sweep's key, so defaults never change.
"""

import functools
import math
from dataclasses import dataclass

from _checks import (
    not_negative,
    or_none,
    positive,
    positive_whole,
    seed_number,
    true_or_false,
    whole_from_zero,
    whole_number,
    whole_numbers,
    word,
)
from lab.adders.formats import DIGITS
from lab.adders.models.micro_adder import MicroAdderConfig
from lab.checks import check_settings, share

__all__ = "DATA_SEED_OFFSET SIZES tensor_sizes Recipe FleetConfig".split()

# seeds are below this: no stream of examples is a validation or a test stream
DATA_SEED_OFFSET = 1_000_000

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
    # x 0.1 while the last evaluation has exact >= 2 % and tokens >= 70 %, x 0.01 at 20 %
    adaptive_decay: bool = False
    clip: float = 1.0  # largest gradient norm, per seed
    # operands of at most 3 digits to step 2,000, ...; then ten
    digit_stages: tuple = ((3, 2_000), (6, 7_000))
    carry_share: float = 0.8  # of the examples, from the carry sampler
    # the share falls in a straight line to carry_floor between these
    carry_fade: tuple = (15_000, 45_000)
    carry_floor: float = 0.0
    lr_factors: tuple = ()  # ((tensor name, factor), ...)
    # the rate is a share of this size of each tensor: see `tensor_sizes` (None: it is not)
    lr_relative_to: str = None
    nines_share: float = 0.0  # in this share of the examples each column becomes 9 + 9 ...
    nines_chance: float = 0.2  # ... with this probability
    evaluate_every: int = 2_000
    # a seed ends when every evaluation of this many steps was perfect (None: never)
    stop_after_perfect: int = 10_000
    loss_on: str = "answers"  # the model's targets only, or "all" tokens that follow another
    # operands below 10^most; "shared": both below 10^n, n uniform from 1 to most
    digit_counts: str = "largest"
    tries: int = 1  # random starts of a seed, of which it takes the best: see `chosen_starts`
    try_steps: int = 1_000  # for how long each is tried
    # length of the learning-rate schedule, where training ends before it does
    schedule_steps: int = None

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
