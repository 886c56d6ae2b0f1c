"""Checks that only this package needs: settings of frozen dataclasses, lists of seeds, shares.

The checks of single values, one of each kind, stand in `_checks.py`.
"""

import functools

import numpy as np

from _checks import LARGEST_SEED, real_number, seed_number, whole_numbers

__all__ = "share seed_numbers seeded_rng check_settings".split()

share = functools.partial(real_number, low=0, high=1)


def seed_numbers(values, high=LARGEST_SEED):
    """A list, a range or a one-dimensional array of seeds as a list of ints. Raises as
    `whole_numbers`; ValueError for an empty list or a seed that stands in it twice."""
    seeds = whole_numbers("a seed", values, 0, high)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"at least one seed is needed, and each once, not {seeds}")
    return seeds


def seeded_rng(seed):
    """Numpy's random numbers from a seed. Raises as `seed_number`."""
    return np.random.default_rng(seed_number("seed", seed))


def check_settings(settings, **checks):
    """Put what its check makes of each setting into a frozen dataclass: name=check. Raises as the
    checks."""
    for name, check in checks.items():
        object.__setattr__(settings, name, check(name, getattr(settings, name)))
