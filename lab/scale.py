"""How large the experiments are: as the book has them, or tiny.

BOOK_SCALE=tiny makes every training so short and every set of seeds so small that nothing is
learned. With BOOK_RUNS=fresh a build then goes through everything it ever does, all trainings
included, in some minutes: for whoever works on the build. What comes out has other settings and so
another name in the store: it is never taken for a result of the book.
"""

import dataclasses
import os

__all__ = "SCALES scale at_most few".split()

SCALES = ("book", "tiny")


def scale():
    """ "book" or "tiny", from the environment variable BOOK_SCALE. Raises ValueError for anything
    else."""
    chosen = os.environ.get("BOOK_SCALE") or "book"
    if chosen not in SCALES:
        raise ValueError(f"BOOK_SCALE may be {' or '.join(SCALES)}, not {chosen!r}")
    return chosen


def at_most(value, limit):
    """A number, or a configuration with some of its settings, no larger than `limit` at tiny scale;
    else as it is.

    limit: a number; for a configuration {setting: limit}. A setting that is None stays None.
    """
    if scale() == "book" or value is None:
        return value
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(
            value, **{name: at_most(getattr(value, name), each) for name, each in limit.items()}
        )
    return min(value, limit)


def few(things, n=2):
    """A list of seeds or the like: at tiny scale the first n of them, else all."""
    return list(things)[:n] if scale() == "tiny" else list(things)
