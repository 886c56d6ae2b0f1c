"""The second pass taken apart: a factorial over what changed when a stuck 763 was trained on.

The replication's first pass ended near 85 %; a second one, from its weights, reached 99.6 % after
8,000 steps, with a fresh schedule, a smaller weight decay, a larger batch and, says its README,
ten-digit problems only, all at once. Here each of these is a factor, and each arm starts from the
same stored weights, seed by seed, with a fresh AdamW.

Its code differs from its README in two ways that the levels keep apart: it draws operands of 1 to
10 digits as before, and it takes the first 8,000 steps of a schedule of 200,000, 4,000 of them
warm-up: the rate stood near its peak when the run was stopped, at the first evaluation (500 sums,
every 1,000 steps) of 99 % or more.
"""

import itertools

import numpy as np
import pandas as pd

from _checks import one_of, whole_number
from lab.adders.training.recipes import FleetConfig, Recipe
from lab.adders.training.sweeps import BOOK_FLEETS, finished_sweep, read_sweep, read_sweep_folder
from lab.store import place_of

__all__ = """
    SCHEDULES FACTORS AS_PUBLISHED STEPS second_pass second_passes factorial_and_published
    read_second_passes finished_second_passes outcomes_of main_effects
""".split()

STEPS = 8_000
SCHEDULES = ("flat", "cosine", "published")
FACTORS = {
    "schedule": ("flat", "cosine"),
    "weight_decay": (0.1, 0.01),
    "batch_size": (128, 256),
    "digits": ("one to ten", "ten"),
}  # first in each: as the first pass ended
AS_PUBLISHED = {
    "schedule": "published",
    "weight_decay": 0.01,
    "batch_size": 256,
    "digits": "one to ten",
}  # as its code has it


def second_pass(
    start_from,
    model,
    schedule="flat",
    weight_decay=0.1,
    batch_size=128,
    digits="one to ten",
    steps=STEPS,
):
    """One arm: a FleetConfig that goes on from the stored sweep `start_from`. The defaults change
    nothing: the control.

    schedule: "flat", the 0.002 that the first pass ended with; "cosine", 0.005 to 0.0001 within
    `steps`, 2 % warm-up; "published", the first `steps` of such a schedule of 200,000 steps.
    digits: both operands below 10^n, n uniform on 1..10, or n = 10. Raises ValueError for other
    levels.
    """
    schedule, digits, steps = (
        one_of("schedule", schedule, SCHEDULES),
        one_of("digits", digits, FACTORS["digits"]),
        whole_number("steps", steps, 1),
    )
    whole = 200_000 if schedule == "published" else steps
    rates = (
        dict(lr=0.002, final_lr=0.002, warmup_steps=0)
        if schedule == "flat"
        else dict(
            lr=0.005,
            final_lr=0.0001,
            warmup_steps=whole // 50,
            schedule_steps=None if whole == steps else whole,
        )
    )
    recipe = Recipe(
        steps=steps,
        batch_size=batch_size,
        weight_decay=weight_decay,
        digit_stages=(),
        carry_share=0.0,
        digit_counts="shared" if digits == "one to ten" else "largest",
        evaluate_every=min(500, steps),
        stop_after_perfect=None,
        **rates,
    )
    return FleetConfig(model, recipe, start_from=start_from)


def second_passes(start_from, folder=BOOK_FLEETS, steps=STEPS, schedules=FACTORS["schedule"]):
    """All arms from a stored sweep: [(levels, FleetConfig), ...], 8 for each schedule. Raises
    store.DamagedRun."""
    model = read_sweep_folder(place_of(folder, start_from)).config.model
    return _factorial(start_from, model, steps, schedules)


def factorial_and_published(start_from, model, steps=STEPS):
    """The arms of the factorial and last the published one: [(levels, FleetConfig), ...].

    start_from: the name of a stored sweep; model: the configuration of its models.
    """
    published = second_pass(start_from, model, **AS_PUBLISHED, steps=steps)
    return [*_factorial(start_from, model, steps), (AS_PUBLISHED, published)]


def _factorial(start_from, model, steps, schedules=FACTORS["schedule"]):
    factors = FACTORS | {"schedule": tuple(schedules)}
    arms = [dict(zip(factors, levels)) for levels in itertools.product(*factors.values())]
    return [(levels, second_pass(start_from, model, **levels, steps=steps)) for levels in arms]


def read_second_passes(start_from, folder=BOOK_FLEETS, steps=STEPS, schedules=FACTORS["schedule"]):
    """What is stored of the arms: a DataFrame, one row per arm and seed: levels, `board_before`,
    outcomes, sweep name."""
    before = read_sweep_folder(place_of(folder, start_from))
    arms = [
        (levels, read_sweep(config, folder))
        for levels, config in second_passes(start_from, folder, steps, schedules)
    ]
    return outcomes_of(before, [(levels, done) for levels, done in arms if done is not None])


def finished_second_passes(first, progress=True):
    """All arms from a first pass (a Sweep), and last the published one, each the book's, else your
    own, else trained now: [(levels, Sweep), ...]."""
    seeds = first.outcomes["seed"].tolist()
    return [
        (
            levels,
            finished_sweep(
                config, seeds, f"second pass: {', '.join(map(str, levels.values()))}", progress
            ),
        )
        for levels, config in factorial_and_published(first.name, first.config.model)
    ]


def outcomes_of(first, arms):
    """One row per arm and seed: a DataFrame (levels, seed, board_before, outcomes ..., sweep).
    arms: [(levels, Sweep), ...]."""
    before = first.outcomes.set_index("seed")["board_right"]
    tables = [
        done.outcomes.assign(
            **levels, sweep=done.name, board_before=done.outcomes["seed"].map(before)
        )
        for levels, done in arms
    ]
    columns = [*FACTORS, "seed", "board_before"]
    if not tables:
        return pd.DataFrame(columns=[*columns, "board_right"])
    whole = pd.concat(tables, ignore_index=True)
    return whole[columns + [name for name in whole if name not in columns]]


def main_effects(table, outcome):
    """What each level of each factor does, seed by seed: a DataFrame (factor, level, instead_of,
    seed, effect).

    effect: the mean of `outcome` over all arms of the seed with this level, less that over those
    with the factor's first level. Every combination of the other factors is in both, once. Raises
    ValueError for a table that lacks one.
    """
    full = int(np.prod([len(levels) for levels in FACTORS.values()]))
    if (
        not (table.groupby("seed").size() == full).all()
        or table.duplicated([*FACTORS, "seed"]).any()
    ):
        raise ValueError(f"main effects need all {full} arms of every seed, each once")
    rows = []
    for factor, levels in FACTORS.items():
        means = table.groupby(["seed", factor])[outcome].mean().unstack()
        for level in levels[1:]:
            rows += [
                (factor, level, levels[0], seed, effect)
                for seed, effect in (means[level] - means[levels[0]]).items()
            ]
    return pd.DataFrame(rows, columns=["factor", "level", "instead_of", "seed", "effect"])
