"""The compression frontier: the sweeps that chapter 10 shows, how often each design succeeds, and
what its models do.

A success has all 10,010 of the board's pairs right at its final step. Published recipes are trained
with seeds 0 to 39, and on to 99 where none of these succeeds. Designs of this book's own were
chosen with seeds 0 to 15 and the validation stream; their rates are those of seeds 100 to 139,
which nothing was chosen with.
"""

import dataclasses
import math
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from scipy.stats import binomtest
from torch.func import functional_call
from tqdm.auto import tqdm

from _common import own_defaults
from lab import store
from lab.adders.counting import board_count, strict_count
from lab.adders.formats import DIGITS, FORMATS
from lab.adders.training.fleets import CHUNK, Fleet
from lab.adders.training.sweeps import (
    CODE,
    SUCCESS,
    TINY,
    changed,
    finished_sweep,
    preset,
    sweep_name,
)
from lab.find_or_make import Wanted, find_or_make, python_command
from lab.scale import at_most, few
from lab.stats import exact_interval

__all__ = (
    "ENTRIES Entry board_record success_table by_seed compare_seeds first_perfect"
    " attention_pattern log_ratios followed LogRatioProfile".split()
)

PUBLISHED_SEEDS, MORE_SEEDS, OWN_SEEDS = range(40), range(100), range(100, 140)


@dataclass(frozen=True)
class Entry:
    """A sweep of the chapter: a preset of lab.adders.training.sweeps, what is changed in it, and
    which seeds."""

    model: str
    changes: tuple = ()  # ((name as in tools.train --set, value), ...)
    seeds: range = OWN_SEEDS

    @property
    def config(self):
        """What fleets train: a FleetConfig."""
        return at_most(changed(preset(self.model), dict(self.changes)), TINY)

    def sweep(self, progress=True):
        """The finished sweep: see lab.adders.training.sweeps.finished_sweep."""
        text = ", ".join([self.model, *(f"{name}={value}" for name, value in self.changes)])
        return finished_sweep(self.config, few(self.seeds), text, progress)


_RANDOM = (("model.start", "random"),)
# that of the published 57, with other examples
PUBLISHED_START = (("model.random_start", "published"), ("weights_seed", 777))
ENTRIES = {
    "67": Entry("67", seeds=PUBLISHED_SEEDS),
    "57": Entry("57", seeds=MORE_SEEDS),
    "54": Entry("54", seeds=MORE_SEEDS),
    "57, published start": Entry("57", PUBLISHED_START, range(16)),
    "54, published start": Entry("54", PUBLISHED_START, range(16)),
    "21": Entry("r21-step"),
    "16": Entry("r16-step-two-dimensions"),
    "12": Entry("r12-step-one-way-two-dimensions"),
    "10": Entry("r10-step-diagonal"),
    "9": Entry("r9-step-diagonal"),
    "8": Entry("r8-step-diagonal-centred"),
    "12, random start": Entry("r12-step-one-way-two-dimensions", _RANDOM),
    "12, best of 16 random starts": Entry(
        "r12-step-one-way-two-dimensions", (*_RANDOM, ("tries", 16))
    ),
    "9, random start": Entry("r9-step-diagonal", _RANDOM),
    "9, known signs only": Entry("r9-step-diagonal", (("model.start", "signs"),)),
}

FOLLOWED = {
    "8": few(range(100, 108)),
    "12, random start": few(range(100, 108)),
}  # the first eight, whatever became of them
LOOK = at_most(250, 50)  # steps


# --------------------------------------------------------------------------------------------------
# The board, and rates
# --------------------------------------------------------------------------------------------------


def board_record():
    """The board's entries as known: a DataFrame, the columns of data/adderboard.csv and `date`.

    submitted, listed, until: days on which an entry was handed in, first stood in the board's
    table, and last did (NaT: not known, never, or still there in the version of 25 March 2026).
    date: the first of the two that is known.
    """
    days = ["submitted", "listed", "until"]
    table = pd.read_csv(store.ROOT / "data" / "adderboard.csv", dtype=dict.fromkeys(days, str))
    table[days] = table[days].apply(pd.to_datetime, format="%Y-%m-%d")
    return table.assign(date=table["submitted"].fillna(table["listed"]))


def success_table(sweeps):
    """One row per sweep of {label: Sweep}: a DataFrame (label, board, strict, seeds, successes,
    low, high, near, clean, diverged).

    board, strict: the two counts. low, high: the exact 95 % interval of the success rate. near:
    seeds with at least 99 % of the board's pairs; clean: successes without an error on the 20,000
    stratified ones.
    """
    rows = []
    for label, sweep in sweeps.items():
        model, outcomes, n = sweep.config.model.build(0), sweep.outcomes, len(sweep.outcomes)
        successes = int(sweep.successes.sum())
        rows.append(
            (
                label,
                board_count(model),
                strict_count(model),
                n,
                successes,
                *exact_interval(successes, n),
                int((outcomes["board_right"] >= 0.99 * SUCCESS).sum()),
                int((sweep.successes & (outcomes["ripple_wrong"] == 0)).sum()),
                int((outcomes["ended"] == "diverged").sum()),
            )
        )
    return pd.DataFrame(
        rows, columns="label board strict seeds successes low high near clean diverged".split()
    )


def by_seed(sweeps):
    """The share of some sweeps in which a seed succeeds: a Series by seed, of those seeds that all
    of them have. sweeps: a list of Sweep."""
    return pd.concat(
        [sweep.successes.set_axis(sweep.outcomes["seed"]) for sweep in sweeps], axis=1, join="inner"
    ).mean(axis=1)


def compare_seeds(first, second):
    """Of the seeds that two Series have: how many have more in the first, how many in the second,
    and the sign test's p-value, two-sided (1 where no seed differs)."""
    both = pd.concat([first, second], axis=1, join="inner", keys=[0, 1])
    more, fewer = int((both[0] > both[1]).sum()), int((both[0] < both[1]).sum())
    return more, fewer, float(binomtest(more, max(1, more + fewer)).pvalue)


def first_perfect(sweep):
    """When each seed's evaluations on the validation stream were all perfect from then on, as
    survival data: (steps, censored).

    A seed whose last evaluation was not perfect is right-censored at its last step.
    """
    steps, censored = [], []
    for _, history in sweep.history.sort_values("step").groupby("seed"):
        perfect = (history[["exact", "ripple_exact"]].min(axis=1) == 1).to_numpy()
        # after the last that was not
        after = len(perfect) - np.argmin(perfect[::-1]) if not perfect.all() else 0
        late = after == len(perfect)
        steps.append(history["step"].iloc[-1 if late else after])
        censored.append(late)
    return np.array(steps, dtype=float), np.array(censored)


# --------------------------------------------------------------------------------------------------
# What the models do
# --------------------------------------------------------------------------------------------------


@torch.no_grad()
def attention_pattern(model):
    """Where each row of a model looks whose attention depends on position only: (T, T), rows
    summing to one.

    Raises ValueError for a model whose attention sees digits, or that has more than one head.
    """
    if not getattr(model.config, "position_only", False):
        raise ValueError(
            f"{type(model).__name__} of this configuration has no fixed attention pattern"
        )
    if hasattr(model, "phi"):  # a rotary adder
        return model.attention_weights(model.max_seq_len)
    positions = model.positions()
    x = torch.cat(
        [model.token_embeddings()[:1].expand(len(positions), -1), positions], dim=1
    )  # every digit has this length
    return model.attention_weights(model.normalise(x, "attention")[:, model.config.token_dim :])[0]


@own_defaults()
def log_ratios(model):
    """Log of the attention on a digit of the own column over that on the same operand's previous
    column, in the rows that write Z1 .. Z9, for both operands: (9, 2). In base ten one expects ln
    10."""
    pattern, format = attention_pattern(model), FORMATS[model.config.format]
    # where X0 stands, and the row that writes Z0
    x, row = format.prompt - 2 * DIGITS - 2, format.prompt - 1
    ratios = [
        [
            (pattern[row + i, at + i] / pattern[row + i, at + i - 1]).log()
            for at in (x, x + DIGITS + 1)
        ]
        for i in range(1, DIGITS)
    ]
    return torch.tensor(ratios)


def trajectories(config, seeds, every, progress=True):
    """Seeds trained once more, looked at `every` so many steps: a DataFrame, one row per seed and
    look.

    Columns: seed, step, log_ratio (mean of `log_ratios`), one per learned number, and the scores on
    the validation stream (not at step 0): loss, exact, ripple_exact. Raises ValueError unless
    `every` divides the recipe's steps and is a multiple of 50: examples are drawn for 50 steps at
    once, and only so are they those of a sweep. A seed that diverges has no more rows.
    """
    if every % CHUNK:
        raise ValueError(f"every must be a multiple of {CHUNK}, not {every}")
    recipe = dataclasses.replace(config.recipe, evaluate_every=every, stop_after_perfect=None)
    fleet, model, rows = (
        Fleet(dataclasses.replace(config, recipe=recipe), seeds),
        config.model.build(0),
        [],
    )
    with tqdm(
        total=recipe.steps, unit="step", disable=not progress, leave=False, desc="following"
    ) as bar:
        while True:
            ended = not fleet.active
            stacked = fleet.weights() if ended else fleet.models.named()
            for row, i in enumerate(range(len(fleet.seeds)) if ended else fleet.active):
                if ended and fleet.ended[fleet.seeds[i]][0] == "diverged":
                    continue
                with torch.no_grad():
                    for name, p in model.named_parameters():
                        p.copy_(stacked[name][row])
                numbers = {
                    name if p.numel() == 1 else f"{name}[{k}]": float(v)
                    for name, p in model.named_parameters()
                    for k, v in enumerate(p.detach().flatten())
                }
                rows.append(
                    {
                        "seed": fleet.seeds[i],
                        "step": fleet.step,
                        "log_ratio": float(log_ratios(model).mean()),
                        **numbers,
                    }
                )
            if ended:
                break
            fleet.run(progress=False, stop_at=fleet.step + every)
            bar.update(every)
    scores = pd.DataFrame(fleet.history)[["seed", "step", "loss", "exact", "ripple_exact"]]
    return (
        pd.DataFrame(rows)
        .merge(scores, on=["seed", "step"], how="left")
        .sort_values(["seed", "step"], ignore_index=True)
    )


def followed(label, progress=True):
    """The trajectories of some of an entry's seeds, those of FOLLOWED and no others: see
    lab/find_or_make.py.

    Raises NotStored; store.DamagedRun where a stored file was altered.
    """
    name = sweep_name(ENTRIES[label].config)

    def find(folder):
        if not (folder / name).exists():
            return None
        files, provenance = store.read_folder(folder / name, ("trajectories.csv",))
        table = store.read_table(files["trajectories.csv"])
        return (table, provenance) if set(table["seed"]) == set(FOLLOWED[label]) else None

    wanted = Wanted(
        "record of seeds followed through training",
        name,
        label,
        python_command("lab.adders.studies.frontier", "followed", label),
    )
    (table, _), _ = find_or_make(
        wanted,
        store.BOOK_TRAJECTORIES,
        store.YOUR_TRAJECTORIES,
        find,
        current=lambda own: own[1]["code"] == CODE,
        make=lambda folder: store_followed(label, folder, progress),
    )
    return table


def store_followed(label, folder, progress=True):
    """Train the seeds of FOLLOWED once more, look at them every LOOK steps, and store that in
    `folder`; returns the place."""
    config, started = ENTRIES[label].config, time.perf_counter()
    table = trajectories(config, FOLLOWED[label], LOOK, progress)
    files = {
        "trajectories.csv": (
            table.to_csv(index=False, lineterminator="\n", float_format="%.6g").encode()
        )
    }
    provenance = store.provenance_of(torch.device("cpu"), time.perf_counter() - started, CODE)
    return store.write_folder(folder / sweep_name(config), files, provenance, replace=True)


class LogRatioProfile:
    """The profile of a rotary adder's loss over the log ratio of its attention: for each given
    ratio the smallest loss on some sums, all other numbers being free but the head's first, which
    sets the size of the logits and would grow without end.

    model: a trained rotary adder with a diagonal head; a, b: (N,) int64 operands. Raises ValueError
    for other models.
    """

    def __init__(self, model, a, b):
        if getattr(model.config, "head", None) != "diagonal":
            raise ValueError("the profile is made for rotary adders with a diagonal head")
        self.model, format = model.double(), FORMATS[model.config.format]
        self.rows = slice(format.prompt - 1, format.prompt - 1 + format.answer)
        sequences = format.sequences(a, b)
        self.tokens, self.targets = (
            sequences[:, : self.rows.stop],
            sequences[:, self.rows.start + 1 : self.rows.stop + 1],
        )
        self.start = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.fixed, self.free = (
            self.start["H"][:1],
            {name: p for name, p in self.start.items() if name != "S"} | {"H": self.start["H"][1:]},
        )
        self.trained = float(self.start["S"] * self._fall(self.start["phi"]))

    def _fall(self, phi):
        """By how much the wave of amplitude 1 is lower at the previous column than at the own
        one."""
        turn = 2 * math.pi / self.model.config.period
        return (turn * (10 - phi)).cos() - (turn * (11 - phi)).cos()

    @own_defaults()
    def _loss(self, values, ratio):
        """Loss and its gradient at the free numbers, each given as a multiple of where it
        started."""
        values = torch.tensor(values, requires_grad=True)
        parts = values.split([p.numel() for p in self.free.values()])
        numbers = {name: part.view_as(p) * p for part, (name, p) in zip(parts, self.free.items())}
        numbers |= {
            "S": ratio / self._fall(numbers["phi"]),
            "H": torch.cat([self.fixed, numbers["H"]]),
        }
        logits = functional_call(self.model, numbers, (self.tokens,))[:, self.rows]  # (N, 11, 10)
        loss = F.cross_entropy(logits.transpose(1, 2), self.targets)
        (gradient,) = torch.autograd.grad(loss, values)
        return loss.item(), gradient.numpy()

    def smallest(self, ratios, iterations=500):
        """The smallest loss at each of some log ratios, in nats per digit: an array.

        Each minimum is looked for from where its neighbour's was found, outwards from the ratio
        nearest to the trained one, and again from where the search ended until it falls no further:
        so it does not hang on the last bits where a search stops.
        """
        iterations = at_most(iterations, 5)
        ratios, order = np.asarray(ratios, dtype=float), np.argsort(ratios)
        losses, middle = np.empty(len(ratios)), int(np.argmin(np.abs(ratios[order] - self.trained)))
        ones = np.ones(sum(p.numel() for p in self.free.values()))
        losses[order[middle]], at_middle = self._minimum(ratios[order[middle]], ones, iterations)
        for side in (order[middle + 1 :], order[:middle][::-1]):
            at = at_middle
            for i in side:
                losses[i], at = self._minimum(ratios[i], at, iterations)
        return losses

    def _minimum(self, ratio, start, iterations):
        smallest = math.inf
        while True:
            found = minimize(
                self._loss,
                start,
                args=(ratio,),
                jac=True,
                method="L-BFGS-B",
                options={
                    "maxiter": iterations,
                    "maxfun": 4 * iterations,
                    "maxcor": 30,
                    "ftol": 1e-9,  # finer than any printed digit: the restart decides, not this
                    "gtol": 1e-6,
                },
            )
            if not found.fun < smallest * (1 - 1e-4):
                return min(float(found.fun), smallest), found.x
            smallest, start = float(found.fun), found.x
