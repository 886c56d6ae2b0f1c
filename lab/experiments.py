"""The book's experiments: which runs each question needs. Chapters read them here, `make retrain` trains them.

An arm differs from the reference recipe in what its dictionary says and in nothing else. Control runs go on to the
end; the runs of the other arms end 5 epochs after they have learned, or at epoch 60 (right-censored there).
"""
import numpy as np

from lab.runs import RunConfig, finished_runs

SEEDS = range(42, 47)
TRIAL = {"extra_epochs": 5, "stop_at": 60}

ARMS = {
    "reference": {},
    "most significant first": {"digit_order": "most_significant_first", **TRIAL},
    "learning rate 0.001": {"lr": 0.001, **TRIAL},
    "no weight decay": {"weight_decay": 0.0, **TRIAL},
    "no warm-up": {"warmup_steps": 0, **TRIAL},
    "SGD with momentum": {"optimizer": "sgd", **TRIAL},
}


def configs_of(arm, seeds=SEEDS):
    """The configurations of one arm, a list with one per seed. Raises ValueError for an unknown arm."""
    if arm not in ARMS:
        raise ValueError(f"unknown arm {arm!r}: it may be one of {', '.join(ARMS)}")
    return [RunConfig(seed=seed, **ARMS[arm]) for seed in seeds]


def runs_of(arm, seeds=SEEDS):
    """The finished runs of one arm, in order of seed."""
    return finished_runs(configs_of(arm, seeds))


def times_to(runs, limit, level=0.999):
    """When each run first reached `level` test exact match, as survival data: (times, censored), two arrays.

    A run that had not by epoch `limit` is right-censored there: time `limit`, censored True.
    """
    reached = [run.epochs_to(level) for run in runs]
    censored = np.array([time is None or time > limit for time in reached])
    return np.where(censored, limit, [time or limit for time in reached]), censored


def book_configs():
    """Every configuration the book shows, without repetition, the most needed first."""
    return list(dict.fromkeys(config for arm in ARMS for config in configs_of(arm)))
