"""How much of a small adder's start has to be known: starts as a factorial, and recipes that know
nothing.

A start has three pieces: signs and sizes of what attention writes, of the unit and of the head
("weights"); where the digits stand ("arc"); and where attention looks ("wave"). Each is as the
book's designs start, or drawn from a wide distribution that was fixed before the runs:

    weights   every number's sign by a fair coin, its size log-uniform from 0.1 to 10
              (lab.adders.models.rotary_adder.WIDE_SIZES)
    arc       the first angle anywhere on the circle, the stride uniform up to a tenth of a turn
              either way: from ten digits in one point to ten around the whole circle
    wave      the crest anywhere in its period of 11 tokens, the size uniform from 0 to 60, twice
              what it is known to become
    flat      the crest likewise, the size 1: attention that hardly prefers one token to another, as
              in models that start with small queries and keys

Rates are those of seeds 100 to 139; what was tried before was tried with seeds 0 to 15 and the
validation stream. What was expected of them is in data/predictions.
"""

import dataclasses
import math

import numpy as np

from lab.adders.studies.frontier import Entry
from lab.stats import paired_bootstrap

__all__ = """
    FACTORIAL GENERIC MIDDLES PIECES STARTS TIED cost_per_success cost_ratio costs_of_pieces
    factorial_label generic_label middle_off_axis
""".split()

DESIGNS = {
    6: "r6-step-diagonal-centred",
    7: "r7-step-diagonal-centred",
    8: "r8-step-diagonal-centred",
    9: "r9-step-diagonal",
    12: "r12-step-one-way-two-dimensions",
    21: "r21-step",
}
WEIGHTS = (("model.start", "wide"),)
ARC = (("model.arc_start", (20.0, (-math.pi, math.pi), (-math.pi / 5, math.pi / 5))),)
ANY_CREST = (("model.phi_start", (0.0, 11.0)),)
WAVE = (*ANY_CREST, ("model.S_start", (0.0, 60.0)))
FLAT = (*ANY_CREST, ("model.S_start", 1.0))
# Starts are tried for 1,000 steps and chosen by their loss over the last 250 of these: the first
# steps tell of the head's size.
LATE = ("evaluate_every", 250)
PIECES = {"weights": WEIGHTS, "arc": ARC, "wave": WAVE}


def factorial_label(design, drawn):
    """What a cell is called: "9, drawn: arc, wave", or "9" where all is known."""
    return f"{design}, drawn: {', '.join(drawn)}" if drawn else str(design)


def generic_label(design, tries):
    """What a sweep of a recipe is called that knows nothing of where a solution lies: "9, flat,
    best of 64"."""
    return f"{design}, flat" + (f", best of {tries}" if tries > 1 else "")


def _generic(design, tries):
    return Entry(
        DESIGNS[design], WEIGHTS + ARC + FLAT + ((("tries", tries), LATE) if tries > 1 else ())
    )


def cost_per_success(sweep):
    """What a success costs, all seeds and tries paid for: (seconds, training examples), infinite
    without a success."""
    successes = int(sweep.successes.sum())
    return tuple(
        cost / successes if successes else math.inf
        for cost in (float(sweep.outcomes["seconds"].sum()), int(_examples(sweep).sum()))
    )


def _examples(sweep):
    """The training examples of each seed, those of its tries included: (seeds,)."""
    recipe = sweep.config.recipe
    tried = recipe.tries * recipe.try_steps if recipe.tries > 1 else 0
    return (sweep.outcomes["steps"].to_numpy() + tried) * recipe.batch_size


def cost_ratio(sweep, other, level=0.95, draws=20_000, seed=0):
    """How many times the examples of `other` a success of `sweep` costs: (ratio, low, high), a
    percentile bootstrap over seeds, which both have in common and which are drawn together; no
    numbers (NaN) where one of the two has no success. Raises ValueError where the seeds differ.
    """
    if list(sweep.outcomes["seed"]) != list(other.outcomes["seed"]):
        raise ValueError("a ratio of costs needs two sweeps with the same seeds")
    if not (sweep.successes.any() and other.successes.any()):
        return math.nan, math.nan, math.nan

    def ratio(costs, wins, other_costs, other_wins, axis=-1):
        with np.errstate(divide="ignore"):  # a draw without a success: its cost has no bound
            cost, other_cost = (
                spent.sum(axis=axis) / won.sum(axis=axis)
                for spent, won in ((costs, wins), (other_costs, other_wins))
            )
        return cost / other_cost

    samples = [
        np.asarray(values, dtype=float)
        for each in (sweep, other)
        for values in (_examples(each), each.successes)
    ]
    ends = paired_bootstrap(samples, ratio, "percentile", level, draws, seed)
    return float(ratio(*samples)), *ends


def costs_of_pieces(sweeps):
    """What it costs to draw a piece, whatever is known of the others: {piece: successes}.

    sweeps: those of all eight cells of a design's factorial, its seeds the same in each. A piece's
    cost is the number of successes in the four cells where it is known, less that in the four where
    it is drawn. Raises ValueError where a cell is missing or another sweep is among them.
    """
    drawn = [_drawn_in(sweep.config.model) for sweep in sweeps]
    if sorted(drawn) != sorted([(), *SUBSETS]):
        raise ValueError(f"the factorial has eight cells, each once, not {drawn}")
    return {
        piece: sum(
            int(sweep.successes.sum()) * (-1 if piece in pieces else 1)
            for sweep, pieces in zip(sweeps, drawn)
        )
        for piece in PIECES
    }


def middle_off_axis(model):
    """How far the middle of the digits' arc stands from the axis on which a centred design holds
    it: radians, 0 to pi / 2.

    Half a turn of all digits changes no logit, for they are read and written on the same arc; so
    the nearer end of the axis counts.
    """
    arc = model.arc.tolist()  # first angle and stride; the stride alone where it is centred
    return abs(math.remainder(arc[0] + 4.5 * arc[1], math.pi)) if len(arc) == 2 else 0.0


def _drawn_in(model):
    """The pieces that a model's settings draw, as in SUBSETS."""
    return tuple(
        piece
        for piece, settings in PIECES.items()
        if all(getattr(model, name.removeprefix("model.")) == value for name, value in settings)
    )


SUBSETS = [
    tuple(piece for bit, piece in enumerate(PIECES) if bits >> bit & 1) for bits in range(1, 8)
]
# Where nothing is drawn the cell is a sweep of lab.adders.studies.frontier.ENTRIES.
FACTORIAL = {
    factorial_label(design, drawn): Entry(
        DESIGNS[design], sum((PIECES[piece] for piece in drawn), ())
    )
    for design in (8, 9, 12, 21)
    for drawn in SUBSETS
}
TRIES = {6: 16, 7: 16, 8: 16, 9: 64, 12: 64, 21: 16}
GENERIC = {
    generic_label(design, tries): _generic(design, tries)
    for design in DESIGNS
    for tries in (1, TRIES[design])
}
# The first choice of a rule: by the mean loss of all 1,000 steps that a start is tried for, as
# chapter 10's.
GENERIC["8, flat, best of 16 by all steps"] = Entry(
    DESIGNS[8], WEIGHTS + ARC + FLAT + (("tries", 16),)
)
# The 8 with numbers tied: the unit reads against what attention writes (7), and writes with the
# head's last number (6). Then the step's height holds the head's size, and a circle of 20 makes
# logits too small: none of the first 16 seeds succeeds, all stop at the same place. With a circle
# of 150, frozen as before, the logits get their size from there.
GENERIC["6, flat, best of 16"] = dataclasses.replace(
    GENERIC["6, flat, best of 16"], seeds=range(100, 116)
)
del GENERIC["6, flat"]
LARGE = (("model.arc_start", (150.0, *ARC[0][1][1:])),)
GENERIC |= {
    f"6, circle of 150, flat{'' if tries == 1 else ', best of 16'}": Entry(
        DESIGNS[6], WEIGHTS + LARGE + FLAT + (() if tries == 1 else (("tries", tries), LATE))
    )
    for tries in (1, 16)
}
TIED = {
    "7": Entry(DESIGNS[7]),
    "6, circle of 150": Entry(DESIGNS[6], (("model.arc_start", (150.0, -0.45, 0.1)),)),
}
# The 8's drawn arc keeps its middle, which a centred design cannot move; the 9's does not. Here
# nothing but the middle is drawn, with seeds that no rule was found on.
MIDDLES = {
    "9, drawn: middle of the arc": Entry(
        DESIGNS[9], (("model.arc_start", (20.0, (-math.pi, math.pi), 0.1)),), range(140, 180)
    )
}
STARTS = FACTORIAL | GENERIC | TIED | MIDDLES
