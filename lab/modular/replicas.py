"""Many runs of modular addition compared: when each grokked, whether the restricted loss led, and
what told the time early.

Times are epochs; a run that had not grokked when it ended is censored there.
"""

import math

import numpy as np
import pandas as pd
from scipy import stats

from lab.addition.memorising import outcome
from lab.checks import seeded_rng
from lab.modular.measures import LEARNED
from lab.modular.spectra import phases, shares
from lab.stats import rank_correlation

__all__ = (
    "below_for_good replica_table null_table grok_times early_measures early_ranks held_out_pvalue"
    " overlap_null grok_map".split()
)


def below_for_good(history, column, level):
    """From which measured epoch on, after the training pairs were memorised, a column stays below a
    level; None if never."""
    memorised = history.loc[history["train_accuracy"] >= LEARNED, "epoch"]
    if not len(memorised):
        return None
    high = history.loc[history[column] >= level, "epoch"]
    after = history.loc[
        (history["epoch"] >= memorised.iloc[0])
        & (history["epoch"] > (high.max() if len(high) else -1)),
        "epoch",
    ]
    return int(after.iloc[0]) if len(after) else None


def replica_table(runs):
    """One row per run: a DataFrame indexed by seed.

    memorised, formed, grokked, settled: see `phases`. circuit, whole: from where on the restricted
    and the test loss are below chance for good; lead: how many epochs apart; nan where either never
    came. worst: the highest test loss. keys: the key frequencies, as a tuple. explained: share of
    neurons with 85 % of their variance in one frequency. And the final measures.
    """
    rows = []
    for run in runs:
        history, chance = run.history, math.log(run.config.p)
        circuit, whole = (
            below_for_good(history, f"{name}_loss", chance) for name in ("restricted", "test")
        )
        rows.append(
            {
                "seed": run.config.seed,
                **phases(history, run.config.p),
                "circuit": circuit,
                "whole": whole,
                "lead": None if None in (circuit, whole) else whole - circuit,
                "worst": history["test_loss"].max(),
                "keys": tuple(run.key_frequencies),
                "explained": history["neurons_explained"].iloc[-1],
                "last": int(history["epoch"].iloc[-1]),
                **run.final,
            }
        )
    numbers = (
        "memorised",
        "turn",
        "formed",
        "above chance",
        "grokked",
        "settled",
        "circuit",
        "whole",
        "lead",
    )
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, float)).set_index("seed")


def null_table(runs):
    """The restricted loss beside its null, for the runs that kept it: a DataFrame indexed by seed,
    in epochs (nan: never).

    others: the first measured epoch at which some draw of other frequencies is below chance too.
    ahead: from where on the key frequencies' restricted loss is below the lowest of these draws for
    good. whole: the test loss below chance for good.
    """
    rows = []
    for run in runs:
        if "restricted_others" not in run.history:
            continue
        history, chance = run.history, math.log(run.config.p)
        below = history.loc[history["restricted_others"] < chance, "epoch"]
        gap = history.assign(gap=history["restricted_loss"] - history["restricted_others"])
        rows.append(
            {
                "seed": run.config.seed,
                "others": below.iloc[0] if len(below) else None,
                "ahead": below_for_good(gap, "gap", 0.0),
                "whole": below_for_good(history, "test_loss", chance),
            }
        )
    return (
        pd.DataFrame(rows, columns=["seed", "others", "ahead", "whole"])
        .astype(float)
        .set_index("seed")
    )


def grok_times(runs):
    """When each run first had 99 % of the test pairs right, as survival data: (times, censored)."""
    found = [run.times() for run in runs]
    return (
        np.array(
            [t["censored_at"] if t["grokked"] is None else t["grokked"] for t in found], dtype=float
        ),
        np.array([t["grokked"] is None for t in found]),
    )


def early_measures(runs, epoch):
    """What can be seen of each run at one epoch without knowing how it ends: a DataFrame, one row
    per run.

    Losses, the sum of squared weights, sparseness of embedding and map, the median neuron's best
    share; `largest share` is that of the embedding's strongest frequency. Raises ValueError where a
    run was not measured at this epoch.
    """
    rows = []
    for run in runs:
        measured = np.flatnonzero(run.history["epoch"] == epoch)
        if not len(measured):
            raise ValueError(f"run {run.name} was not measured at epoch {epoch}")
        at = measured[0]
        row = run.history.iloc[at]
        rows.append(
            {
                "training loss": row["train_loss"],
                "test loss": row["test_loss"],
                "test accuracy": row["test_accuracy"],
                "squared weights": row["weight_norm"],
                "Gini of the embedding": row["embedding_gini"],
                "Gini of the map": row["logit_map_gini"],
                "median neuron": row["neuron_fraction"],
                "largest share": float(shares(run.spectra["embedding"][at]).max()),
            }
        )
    return pd.DataFrame(rows)


def early_ranks(measures, times, censored):
    """Spearman's rank correlation of each early measure with the time to grok, and its interval: a
    DataFrame, strongest first.

    Columns: measure, correlation, low, high (see `rank_correlation`). A censored time ranks after
    all seen ones; censored ones tie. nan where a measure, or the time, is the same for all runs.
    """
    late = np.where(censored, np.inf, times)
    varied = [
        name for name in measures if measures[name].nunique() > 1 and len(np.unique(late)) > 1
    ]
    rows = [
        (name, *(rank_correlation(measures[name], late) if name in varied else [math.nan] * 3))
        for name in measures
    ]
    table = pd.DataFrame(rows, columns=["measure", "correlation", "low", "high"])
    return table.sort_values("correlation", key=abs, ascending=False, ignore_index=True)


def held_out_pvalue(values, times, censored, sign, draws=10_000, seed=0):
    """One-sided permutation p-value of the rank correlation of values with times to grok; sign: the
    direction that was chosen."""
    late = np.where(censored, np.inf, times)
    found = stats.permutation_test(
        (stats.rankdata(values), stats.rankdata(late)),
        lambda x, y: sign * np.corrcoef(x, y)[0, 1],
        permutation_type="pairings",
        alternative="greater",
        n_resamples=draws,
        rng=seeded_rng(seed),
    )
    return float(found.pvalue)


def overlap_null(sets, n_frequencies, draws=10_000, seed=0):
    """Mean number of frequencies that two of the sets share, and the same for sets of these sizes
    drawn at random: (found, (draws,))."""
    rng = seeded_rng(seed)

    def shared(tables):  # tables: (..., sets, frequencies) of zeros and ones
        together = tables.sum(-2)  # in how many sets each frequency is
        return (together * (together - 1) / 2).sum(-1) / math.comb(len(sets), 2)

    own = np.zeros((len(sets), n_frequencies), dtype=int)
    for row, frequencies in zip(own, sets):
        row[[k - 1 for k in frequencies]] = 1
    drawn = rng.permuted(np.broadcast_to(own, (draws, *own.shape)), axis=-1)
    return float(shared(own)), shared(drawn)


def grok_map(runs):
    """One row per run: a DataFrame (fraction, decay, seed, outcome, memorised, grokked, train,
    test).

    outcome: by the thresholds of lab.addition.memorising; train, test: accuracies at the end."""
    return pd.DataFrame(
        [
            {
                "fraction": run.config.fraction,
                "decay": run.config.weight_decay,
                "seed": run.config.seed,
                "outcome": outcome(run.history.rename(columns={"test_accuracy": "accuracy"})),
                "memorised": run.times()["memorised"],
                "grokked": run.times()["grokked"],
                "train": run.history["train_accuracy"].iloc[-1],
                "test": run.history["test_accuracy"].iloc[-1],
            }
            for run in runs
        ]
    ).astype({"memorised": float, "grokked": float})
