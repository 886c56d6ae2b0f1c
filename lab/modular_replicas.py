"""Many runs of modular addition compared: when each grokked, whether the restricted loss led, and what told the time early.

Times are epochs; a run that had not grokked when it ended is censored there.
"""
import math

import numpy as np
import pandas as pd

from lab.memorising import outcome
from lab.modular_runs import LEARNED
from lab.modular_spectra import phases, shares
from lab.stats import rank_correlation

__all__ = "below_for_good replica_table grok_times early_measures early_ranks grok_map".split()


def below_for_good(history, column, level):
    """From which measured epoch on, after the training pairs were memorised, a column stays below a level; None if never."""
    memorised = history.loc[history["train_accuracy"] >= LEARNED, "epoch"]
    if not len(memorised):
        return None
    high = history.loc[history[column] >= level, "epoch"]
    after = history.loc[(history["epoch"] >= memorised.iloc[0]) & (history["epoch"] > (high.max() if len(high) else -1)), "epoch"]
    return int(after.iloc[0]) if len(after) else None


def replica_table(runs):
    """One row per run: a DataFrame indexed by seed.

    memorised, formed, grokked, settled: see `phases`. circuit, whole: from where on the restricted and the test loss are below
    chance for good; lead: how many epochs apart; nan where either never came. worst: the highest test loss. keys: the key
    frequencies, as a tuple. explained: share of neurons with 85 % of their variance in one frequency. And the final measures.
    """
    rows = []
    for run in runs:
        history, chance = run.history, math.log(run.config.p)
        circuit, whole = (below_for_good(history, f"{name}_loss", chance) for name in ("restricted", "test"))
        rows.append({"seed": run.config.seed, **phases(history, run.config.p), "circuit": circuit, "whole": whole,
                     "lead": None if None in (circuit, whole) else whole - circuit, "worst": history["test_loss"].max(),
                     "keys": tuple(run.key_frequencies), "explained": history["neurons_explained"].iloc[-1],
                     "last": int(history["epoch"].iloc[-1]), **run.final})
    numbers = ("memorised", "turn", "formed", "above chance", "grokked", "settled", "circuit", "whole", "lead")
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, float)).set_index("seed")


def grok_times(runs):
    """When each run first had 99 % of the test pairs right, as survival data: (times, censored)."""
    found = [run.times() for run in runs]
    return (np.array([t["censored_at"] if t["grokked"] is None else t["grokked"] for t in found], dtype=float),
            np.array([t["grokked"] is None for t in found]))


def early_measures(runs, epoch):
    """What can be seen of each run at one epoch without knowing how it ends: a DataFrame, one row per run.

    Losses, the sum of squared weights, sparseness of embedding and map, the median neuron's best share; `largest share` is that
    of the embedding's strongest frequency. Raises ValueError where a run was not measured at this epoch.
    """
    rows = []
    for run in runs:
        [at] = np.flatnonzero(run.history["epoch"] == epoch)[:1] if (run.history["epoch"] == epoch).any() else [None]
        if at is None:
            raise ValueError(f"run {run.name} was not measured at epoch {epoch}")
        row = run.history.iloc[at]
        rows.append({"train loss": row["train_loss"], "test loss": row["test_loss"], "test accuracy": row["test_accuracy"],
                     "squared weights": row["weight_norm"], "Gini of the embedding": row["embedding_gini"],
                     "Gini of the map": row["logit_map_gini"], "median neuron": row["neuron_fraction"],
                     "largest share": float(shares(run.spectra["embedding"][at]).max())})
    return pd.DataFrame(rows)


def early_ranks(measures, times, censored):
    """Spearman's rank correlation of each early measure with the time to grok, and its interval: a DataFrame, strongest first.

    Columns: measure, correlation, low, high (see `rank_correlation`). A censored time ranks after all seen ones; censored ones
    tie. nan where a measure, or the time, is the same for all runs.
    """
    late = np.where(censored, np.inf, times)
    varied = [name for name in measures if measures[name].nunique() > 1 and len(np.unique(late)) > 1]
    rows = [(name, *(rank_correlation(measures[name], late) if name in varied else [math.nan] * 3)) for name in measures]
    table = pd.DataFrame(rows, columns=["measure", "correlation", "low", "high"])
    return table.sort_values("correlation", key=abs, ascending=False, ignore_index=True)


def grok_map(runs):
    """One row per run: a DataFrame (fraction, decay, seed, outcome, memorised, grokked, train, test).

    outcome: by the thresholds of lab.memorising; train, test: accuracies at the end."""
    return pd.DataFrame([{"fraction": run.config.fraction, "decay": run.config.weight_decay, "seed": run.config.seed,
                          "outcome": outcome(run.history.rename(columns={"test_accuracy": "accuracy"})),
                          "memorised": run.times()["memorised"],
                          "grokked": run.times()["grokked"], "train": run.history["train_accuracy"].iloc[-1],
                          "test": run.history["test_accuracy"].iloc[-1]} for run in runs])
