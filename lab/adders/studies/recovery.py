"""From set by hand to trained: starts near the hand-set circuits, and whether training finds the
way back from there.

Every learned number of a circuit is multiplied by 1 + noise * N(0, 1), drawn from the seed
(lab.adders.models.trainable_by_hand.near), and the whole is trained for 300 steps. The circuits are
the same function, with 12, 10 or 8 free numbers: what is tied in the 8 can come apart in the 12.
Learning rates are shares of the size of the tensor they move: of its root mean square ("quick",
"careful"), or of its smallest number ("even"). It matters where a tensor holds numbers of different
sizes: c = 1000 and eps = 0.001 are one tensor in the 12 and the 10. "quick" and "careful" were
chosen on seeds 0 to 3 and the validation stream, "even" was added after their results; the sweep's
seeds are others. Stored in data/fleets by `python -m tools.train "recovery"`. Success: all 10,010
of the board's pairs right at the final step. Training magnifies the last bits, in which processors
differ, so all arms were trained once more with other seeds on a processor of another kind:
`python -m tools.train "recovery, other seeds and processor"`. What was expected of these is in
data/predictions.
"""

import functools
from dataclasses import dataclass

import pandas as pd

from lab.adders.fragility import passes
from lab.adders.models.trainable_by_hand import NearHandSet
from lab.adders.ten_digits import board_pairs
from lab.adders.training.recipes import FleetConfig, Recipe
from lab.adders.training.sweeps import SUCCESS, finished_sweep
from lab.scale import few
from lab.stats import out_of

__all__ = "RATES SEEDS SECOND_SEEDS Arm ArmCounts arms recovery recovery_table".split()

STEPS = 300
SEEDS = few(range(100, 116))
SECOND_SEEDS = few(range(300, 332))  # trained later, on a processor of another kind
RATES = {"quick": 3e-3, "careful": 1e-4, "even": 3e-3}
LEVELS = {
    (8, "quick"): (0.01, 0.03, 0.1, 0.3),
    (10, "quick"): (0.01,),
    (12, "quick"): (0.0, 0.01),
    (12, "careful"): (0.0, 0.001, 0.01),
    (10, "even"): (0.01,),
    (12, "even"): (0.01,),
}  # (free numbers, rate): noise


@dataclass(frozen=True)
class Arm:
    """One circuit, one rate, one size of noise."""

    counted: int  # free numbers: 12, 10 or 8
    rate: str  # "quick", "careful" or "even"
    noise: float  # relative, per number

    @property
    def config(self):
        """What fleets train: a FleetConfig."""
        model = NearHandSet(f"circuit-{self.counted}-relu-sharp", self.noise)
        recipe = Recipe(
            steps=STEPS,
            batch_size=64,
            lr=RATES[self.rate],
            final_lr=0.0,
            warmup_steps=20,
            weight_decay=0.0,
            digit_stages=(),
            carry_share=0.2,
            carry_floor=0.2,
            evaluate_every=STEPS // 3,
            stop_after_perfect=None,
            lr_relative_to="smallest number" if self.rate == "even" else "root mean square",
        )
        return FleetConfig(model, recipe)


def arms():
    """All arms, in the order of LEVELS."""
    return [
        Arm(counted, rate, noise) for (counted, rate), levels in LEVELS.items() for noise in levels
    ]


def recovery(arm, progress=True, seeds=SEEDS):
    """The finished sweep of an arm: see lab.adders.training.sweeps.finished_sweep."""
    return finished_sweep(
        arm.config,
        seeds,
        f"circuit of {arm.counted}, noise {arm.noise:g}, {arm.rate} rate",
        progress,
    )


@functools.cache
def _adds(model, seed):
    """Does a start add all of the board's sums as it is? Arms share their starts; without noise all
    seeds do."""
    return passes(model.build(seed), *board_pairs())


def recovery_table(progress=True, seeds=SEEDS):
    """One row per arm and seed: a DataFrame (counted, rate, noise, seed, adds_before, adds_after,
    right_after, ripple_wrong). adds, right: of the board's 10,010 pairs; `before`: the same start,
    not trained."""
    rows = []
    for arm in arms():
        found = recovery(arm, progress, seeds)
        for row in found.outcomes.itertuples():
            before = _adds(arm.config.model, row.seed if arm.noise else 0)
            rows.append(
                (
                    arm.counted,
                    arm.rate,
                    arm.noise,
                    row.seed,
                    before,
                    row.board_right == SUCCESS,
                    row.board_right / SUCCESS,
                    row.ripple_wrong,
                )
            )
    return pd.DataFrame(
        rows,
        columns=[
            "counted",
            "rate",
            "noise",
            "seed",
            "adds_before",
            "adds_after",
            "right_after",
            "ripple_wrong",
        ],
    )


class ArmCounts:
    """How many starts of each arm add: made from the table of `recovery_table`.

    table: one row per arm, by (counted, rate, noise): n starts; how many add before and after
    training; right, the median share of the board's pairs after it; clean, the starts without an
    error on the stratified pairs.
    """

    def __init__(self, runs):
        self.table = runs.groupby(["counted", "rate", "noise"]).agg(
            n=("seed", "size"),
            before=("adds_before", "sum"),
            after=("adds_after", "sum"),
            right=("right_after", "median"),
            clean=("ripple_wrong", lambda wrong: int((wrong == 0).sum())),
        )

    def cell(self, counted, rate, noise, when="after"):
        """(starts that add, starts) of one arm. when: "before" training or "after". Raises KeyError
        for an arm that there is not."""
        found = self.table.loc[(counted, rate, noise)]
        return int(found[when]), int(found["n"])

    def tally(self, *arm):
        """The same as text: "12 of 16"."""
        return "{} of {}".format(*self.cell(*arm))

    def said(self, *arm):
        """The same with its exact interval: "12 of 16 (47 % to 93 %)"."""
        return out_of(*self.cell(*arm), decimals=0)
