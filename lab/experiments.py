"""The book's experiments: which runs each question needs. Chapters read them here,
`python -m tools.train` trains them.

An arm differs from the reference recipe in what its dictionary says and in nothing else. Control
runs go on to the end; the runs of the other arms end 5 epochs after they have learned, or at epoch
60 or 40 (right-censored there).
"""

import numpy as np

from _checks import positive, whole_number
from lab.checks import seed_numbers
from lab.runs import REVERSAL, RunConfig, finished_runs
from lab.scale import few

SEEDS = range(42, 47)  # five seeds an arm
MORE_SEEDS = range(47, 62)  # fifteen more of the reference recipe
TRIAL = {"extra_epochs": 5, "stop_at": 60}
ABLATION = {"extra_epochs": 5, "stop_at": 40}

# Two digits and small batches: what chapter 3 trains before the reader's eyes, within a minute.
LIVE_SETTINGS = {
    "n_digits": 2,
    "n_train": 5_000,
    "n_test": 2_000,
    "batch_size": 64,
    "epochs": 25,
    "warmup_steps": 100,
}
LIVE = RunConfig(**LIVE_SETTINGS)

ARMS = {
    "reference": {},
    "most significant first": {"digit_order": "most_significant_first", **TRIAL},
    "learning rate 0.001": {"lr": 0.001, **TRIAL},
    "no weight decay": {"weight_decay": 0.0, **TRIAL},
    "no warm-up": {"warmup_steps": 0, **TRIAL},
    "SGD with momentum": {"optimizer": "sgd", **TRIAL},
    # more of the reference, chapter 4: until 15 epochs after they have learned, or epoch 60; one is
    # followed to the end
    "reference, until learned": {"extra_epochs": 15, "stop_at": 60},
    "reference, followed to the end": {"extra_epochs": 15},
    "batches of 128": {"batch_size": 128, **TRIAL},
    # pieces taken away or multiplied, chapters 5 and 6
    "one layer": {"n_layers": 1, **ABLATION},
    "no feed-forward": {"ffn": False, **ABLATION},
    "no norms": {"norm": False, **ABLATION},
    "no mask": {"causal": False, **ABLATION},
    "two heads": {"n_heads": 2, **ABLATION},
    "four heads": {"n_heads": 4, **ABLATION},
    "no positions": {"positions": False, **ABLATION},
    "no positions, one layer": {"positions": False, "n_layers": 1, **ABLATION},
    "no positions, three layers": {"positions": False, "n_layers": 3, **ABLATION},
    # two tasks, chapter 7
    "reversal": REVERSAL,
    "reversal, until learned": {**REVERSAL, "extra_epochs": 5},
    "both tasks": {"task": "both", "n_train": 100_000, "n_test": 20_000, **TRIAL},
    "reversal after addition": {**REVERSAL, "start_from": "addition", "extra_epochs": 5},
    "addition after reversal": {"start_from": "reversal", **TRIAL},
    "convolution on addition": {"architecture": "convolution", **TRIAL},
    "convolution on reversal": {**REVERSAL, "architecture": "convolution", **TRIAL},
    "GRU on addition": {"architecture": "gru", **TRIAL},
    "GRU on reversal": {**REVERSAL, "architecture": "gru", **TRIAL},
    # trained live, chapter 3
    "two digits, live": LIVE_SETTINGS,
}
# The seeds of an arm, where they are not SEEDS. At tiny scale an arm has the first two of these,
# but for those that pages go through one by one.
ARM_SEEDS = {
    "reference, until learned": MORE_SEEDS,
    "reference, followed to the end": [47],
    "reversal, until learned": range(47, 52),
    "two digits, live": range(42, 62),
}
WHOLE_AT_TINY = (
    "reference",
    "reference, until learned",
    "reference, followed to the end",
    "reversal, until learned",
)

# Arms of which the book keeps the histories and not the weights: no page looks into these models.
HISTORY_ONLY = (
    "most significant first",
    "no warm-up",
    "SGD with momentum",
    "reference, followed to the end",
    "batches of 128",
    "convolution on addition",
    "convolution on reversal",
    "GRU on addition",
    "GRU on reversal",
    "two digits, live",
    "map",
)

# Arms that are planned and not (fully) stored yet: `tools.train` fills them; no chapter may ask
# for them.
NOT_YET = []

# The reference runs, ended at the first epoch with at least half of the test sums right:
# half-trained on purpose.
HALF_TRAINED = {42: 22, 43: 17, 44: 21, 45: 5, 46: 14}

# Chapter 4's map: how many two-digit sums and how much weight decay make a model memorise,
# generalise, or both in turn. Each cell gets 30,000 steps, or ten times the epochs that it needed
# to fit its training sums, or ends soon after it generalises.
MAP_SIZES, MAP_DECAYS, MAP_SEEDS, MAP_STEPS = (
    (300, 1_000, 3_000),
    (0.1, 0.0, 1.0, 0.01),
    range(42, 45),
    30_000,
)


def map_config(size, weight_decay, seed):
    """One run of the map: batches of 64, learning rate 0.003, evaluated about every 500 steps on
    2,000 unseen sums."""
    batches = -(-whole_number("size", size, 1) // 64)
    return RunConfig(
        seed=seed,
        n_digits=2,
        n_train=size,
        n_test=2_000,
        split="disjoint",
        batch_size=64,
        lr=0.003,
        weight_decay=weight_decay,
        epochs=-(-MAP_STEPS // batches),
        eval_every=max(1, 500 // batches),
        fit_factor=10,
        extra_epochs=10 * max(1, 500 // batches),
    )


def map_configs():
    """All runs of the map, decay by decay."""
    return [
        map_config(size, decay, seed)
        for decay in MAP_DECAYS
        for size in MAP_SIZES
        for seed in MAP_SEEDS
    ]


def configs_of(arm, seeds=None):
    """The configurations of one arm, a list with one per seed (None: all that the book has, at tiny
    scale two of them unless the arm is in WHOLE_AT_TINY). Raises ValueError for an unknown arm, and
    as `seed_numbers`."""
    if arm not in ARMS:
        raise ValueError(f"unknown arm {arm!r}: it may be one of {', '.join(ARMS)}")
    if seeds is None:
        seeds = ARM_SEEDS.get(arm, SEEDS)
        seeds = seeds if arm in WHOLE_AT_TINY else few(seeds)
    return [RunConfig(seed=seed, **ARMS[arm]) for seed in seed_numbers(seeds)]


def half_trained_configs():
    """The configurations of HALF_TRAINED, in order of seed."""
    return [RunConfig(seed=seed, stop_at=epoch) for seed, epoch in HALF_TRAINED.items()]


def half_trained():
    """The finished runs of HALF_TRAINED, in order of seed."""
    return finished_runs(half_trained_configs())


BESIDE_ARMS = {"half-trained": half_trained_configs, "map": map_configs}


def runs_of(arm, seeds=None):
    """The finished runs of one arm, in order of seed."""
    return finished_runs(configs_of(arm, seeds))


def times_to(runs, limit, level=0.999):
    """When each run first reached `level` test exact match, as survival data: (times, censored),
    two arrays.

    A run that had not by epoch `limit` is right-censored there: time `limit`, censored True.
    """
    reached, limit = [run.epochs_to(level) for run in runs], positive("limit", limit)
    censored = np.array([time is None or time > limit for time in reached])
    return np.where(censored, limit, [time or limit for time in reached]), censored


def book_configs(arms=None):
    """Every configuration the book shows, without repetition, the most needed first; or only those
    of `arms`, which may be of ARMS and BESIDE_ARMS."""
    configs = [
        config
        for arm in arms or [*ARMS, *BESIDE_ARMS]
        for config in (BESIDE_ARMS[arm]() if arm in BESIDE_ARMS else configs_of(arm))
    ]
    return list(dict.fromkeys(configs))
