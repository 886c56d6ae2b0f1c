"""Many runs of modular addition compared: on histories whose answers are known."""

import dataclasses
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from lab.figures.modular import plot_early, plot_replicas
from lab.modular.model import ModularConfig
from lab.modular.replicas import (
    below_for_good,
    early_measures,
    early_ranks,
    grok_map,
    grok_times,
    held_out_pvalue,
    null_table,
    overlap_null,
    replica_table,
)
from lab.modular.runs import ModularRun, replica

FINAL = {
    "accuracy": 1.0,
    "without_keys": 0.01,
    "only_keys": 1.0,
    "r2": 0.9,
    "distance_irrelevance": 0.8,
    "gradient_symmetricity": 0.4,
}


def made_up(seed, circuit=300, whole=600, grokked=700, gini=0.5, **settings):
    """A run measured every 100 epochs to 1,000 that memorised at 200; None: never."""
    config = replica(seed, p=11, epochs=1_000, **settings)
    epoch, chance = np.arange(0, 1_001, 100), math.log(config.p)

    def loss(below):
        return np.where(epoch < (math.inf if below is None else below), 2 * chance, 0.01)

    history = pd.DataFrame(
        {
            "epoch": epoch,
            "train_loss": np.where(epoch < 200, chance, 1e-6),
            "train_accuracy": np.where(epoch < 200, 0.1, 1.0),
            "test_loss": loss(whole),
            "test_accuracy": np.where(epoch < (math.inf if grokked is None else grokked), 0.1, 1.0),
            "restricted_loss": loss(circuit),
            "restricted_others": 2 * chance,
            "excluded_loss": 1.0 + epoch / 1_000,
            "weight_norm": 100.0 - epoch / 20,
            "embedding_gini": gini,
            "logit_map_gini": 0.4,
            "neurons_explained": epoch / 2_000,
            "neuron_fraction": 0.3,
            "neurons_alive": 1.0,
        }
    )
    norms = torch.ones(len(epoch), 6)
    norms[:, 2] = 2.0
    result = {"ended": "finished", "key_frequencies": [2, 5], "final": FINAL}
    return ModularRun(
        config, history, result, {"embedding": norms, "logit_map": norms}, None, {}, {}, {}, "book"
    )


def test_below_for_good_starts_after_the_last_time_above_and_after_memorising():
    history = pd.DataFrame(
        {"epoch": [0, 1, 2, 3, 4], "train_accuracy": [0, 0, 1, 1, 1], "loss": [1, 1, 3, 1, 1]}
    )
    assert below_for_good(history, "loss", 2) == 3
    assert (
        below_for_good(history.assign(loss=[1, 1, 1, 1, 1]), "loss", 2) == 2
    )  # not while nothing was memorised
    assert below_for_good(history.assign(loss=[1, 1, 1, 1, 3]), "loss", 2) is None
    assert below_for_good(history.assign(train_accuracy=0), "loss", 2) is None


def test_a_replica_table_says_when_and_how_much():
    table = replica_table([made_up(3), made_up(4, circuit=400, whole=None, grokked=None)])
    assert table.index.tolist() == [3, 4] and table.loc[
        3, ["memorised", "circuit", "whole", "lead", "grokked"]
    ].tolist() == [200, 300, 600, 300, 700]
    assert (
        table.loc[4, "circuit"] == 400 and table.loc[4, ["whole", "lead", "grokked"]].isna().all()
    )
    assert (
        table.loc[3, "keys"] == (2, 5)
        and table.loc[3, "explained"] == 0.5
        and table.loc[3, "only_keys"] == 1.0
    )
    assert (
        table.loc[3, "worst"] == pytest.approx(2 * math.log(11)) and table.loc[3, "last"] == 1_000
    )


def test_the_null_of_the_restricted_loss_is_beside_it_where_it_was_kept():
    run, chance = made_up(5), math.log(11)
    old = dataclasses.replace(
        made_up(6), history=made_up(6).history.drop(columns="restricted_others")
    )
    assert null_table([run, old]).index.tolist() == [5]
    assert null_table([run]).loc[5, ["ahead", "whole"]].tolist() == [300, 600] and math.isnan(
        null_table([run]).loc[5, "others"]
    )
    by_heart = run.history.assign(
        restricted_others=[2 * chance, 2 * chance, 3.0 * chance] + [0.5 * chance] * 8,
        restricted_loss=[chance] * 5 + [0.1] * 6,
    )
    assert null_table([dataclasses.replace(run, history=by_heart)]).loc[5].tolist() == [
        300,
        500,
        600,
    ]
    assert null_table([old]).empty


def test_the_held_out_pvalue_goes_with_the_sign_that_was_chosen():
    times, censored = np.arange(12.0), np.zeros(12, dtype=bool)
    assert (
        held_out_pvalue(-times, times, censored, -1, draws=500)
        < 0.01
        < 0.9
        < held_out_pvalue(-times, times, censored, 1, draws=500)
    )
    rng = np.random.default_rng(0)
    null = [
        held_out_pvalue(rng.normal(size=12), times, censored, 1, draws=200, seed=i)
        for i in range(100)
    ]
    assert 0.4 < np.mean(null) < 0.6


def test_the_overlap_of_sets_drawn_at_random_is_what_counting_gives():
    found, drawn = overlap_null([(1, 2, 3), (2, 3, 4), (5, 6)], 20, draws=4_000)
    assert found == pytest.approx(2 / 3)  # one pair of three shares two
    assert drawn.mean() == pytest.approx((9 + 6 + 6) / 20 / 3, abs=0.03)


def test_a_run_that_never_grokked_is_censored_at_its_end():
    times, censored = grok_times([made_up(0, grokked=500), made_up(1, grokked=None)])
    assert (
        times.tolist() == [500, 1_000]
        and censored.tolist() == [False, True]
        and censored.dtype == bool
    )


def test_early_measures_see_one_epoch_and_no_future():
    first, other = made_up(0), made_up(0, circuit=900, whole=None, grokked=None)
    assert early_measures([first], 200).equals(early_measures([other], 200))
    row = early_measures([first], 200).iloc[0]
    assert row["largest share"] == pytest.approx(
        4 / 8
    )  # frequency 2 has twice the norm of the four others
    assert (
        row["squared weights"] == 90
        and row["Gini of the embedding"] == 0.5
        and row["test accuracy"] == 0.1
    )
    with pytest.raises(ValueError, match="was not measured at epoch 250"):
        early_measures([first], 250)


def test_the_measure_that_tells_the_time_comes_first():
    runs = [
        made_up(seed, grokked=300 + 100 * i, gini=0.9 - 0.1 * i) for i, seed in enumerate(range(6))
    ]
    runs.append(made_up(6, grokked=None, gini=0.1))  # the latest of all, and censored
    ranks = early_ranks(early_measures(runs, 200), *grok_times(runs)).set_index("measure")
    assert ranks.index[0] == "Gini of the embedding" and ranks["correlation"].iloc[
        0
    ] == pytest.approx(-1)
    assert ranks.loc["test loss"].isna().all()  # the same for all runs
    never = [made_up(seed, grokked=None, gini=0.1 * seed) for seed in range(6)]
    assert early_ranks(early_measures(never, 200), *grok_times(never))["correlation"].isna().all()


def test_a_map_has_one_row_per_run_and_the_outcomes_of_chapter_4():
    runs = [
        made_up(0, fraction=0.5, weight_decay=1.0),
        made_up(1, grokked=None),
        made_up(2, grokked=200),
    ]
    table = grok_map(runs)
    assert table["outcome"].tolist() == ["memorises, then generalises", "memorises", "generalises"]
    assert table.loc[
        0, ["fraction", "decay", "memorised", "grokked", "train", "test"]
    ].tolist() == [0.5, 1.0, 200, 700, 1.0, 1.0]
    assert table["grokked"].isna().tolist() == [False, True, False]


def test_the_figures_draw_runs_that_grokked_and_runs_that_did_not():
    runs = [made_up(0), made_up(1, circuit=None, whole=None, grokked=None)]
    times, censored = grok_times(runs)
    for figure in (
        plot_replicas({run.config.seed: run.history for run in runs}, replica_table(runs)),
        plot_early(
            {"one": ([0.1, 0.2], times, censored), "two": ([0.1, 0.2], times, ~censored)},
            "measure",
            1_100,
        ),
    ):
        figure.canvas.draw()
        plt.close(figure)


def test_a_replica_has_weights_and_pairs_of_its_own():
    assert (replica(3).seed, replica(3).data_seed) == (3, 3) and replica(3, p=59).p == 59
    assert ModularConfig().data_seed != ModularConfig().seed
