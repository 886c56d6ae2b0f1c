"""Learning curves of many runs: bands, column times, lapses, the definition of grokking, and
intervals for the next run."""

import math
from dataclasses import dataclass, field
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lab.addition.curves import (
    after_learning,
    as_censored,
    band,
    before_learning,
    carried,
    closest_pairs,
    column_times,
    lapse_counts,
)
from lab.addition.memorising import OUTCOMES, Thresholds, milestones, outcome, outcome_table
from lab.experiments import MAP_SEEDS, TRIAL, configs_of, map_config, times_to
from lab.figures.curves import (
    draw_the_next_runs,
    plot_changes,
    plot_gaps,
    plot_lapses,
    plot_map,
    plot_map_curves,
    plot_orders,
    plot_twenty,
    plot_waiting,
)
from lab.runs import RunConfig, datasets, finished_runs, new_model
from lab.stats import (
    cluster_interval,
    friedman_exact,
    kaplan_meier,
    logrank,
    logrank_permutation,
    median_interval,
    prediction_interval,
)
from lab.store import BOOK_RUNS, run_name


@dataclass
class Curve:
    """A run as far as these functions look at it."""

    history: pd.DataFrame
    config: RunConfig = field(default_factory=RunConfig)
    name: str = "curve"

    def epochs_to(self, level=0.999, column="accuracy"):
        reached = self.history.loc[self.history[column] >= level, "epoch"]
        return int(reached.iloc[0]) if len(reached) else None


def curve(accuracy, seed=1, **columns):
    return Curve(
        pd.DataFrame({"epoch": range(1, len(accuracy) + 1), "accuracy": accuracy, **columns}),
        RunConfig(seed=seed),
    )


# -- Bands and times
# -----------------------------------------------------------------------------------------------


def test_a_run_that_ended_keeps_its_last_value():
    assert carried([curve([0.1, 0.2, 1.0]), curve([0.0, 0.3])], "accuracy", 4).tolist() == [
        [0.1, 0.2, 1.0, 1.0],
        [0.0, 0.3, 0.3, 0.3],
    ]
    assert carried([curve([0.1, 0.2, 1.0])], "accuracy", 2).tolist() == [[0.1, 0.2]]


def test_a_run_with_gaps_has_no_band():
    run = curve([0.1, 0.2])
    run.history["epoch"] = [2, 4]
    with pytest.raises(ValueError, match="every epoch"):
        carried([run], "accuracy", 4)


def test_a_band_leaves_out_a_tenth_at_each_end_and_invents_no_value():
    runs = [curve([i / 20] * (1 + i)) for i in range(20)]  # 20 constant curves, ended one by one
    table = band(runs, "accuracy", 3)
    assert (
        table["low"].tolist() == [1 / 20] * 3 and table["high"].tolist() == [17 / 20] * 3
    )  # the 2nd and the 18th
    assert table["median"].tolist() == [9 / 20] * 3
    assert table["observed"].tolist() == [20, 19, 18]
    apart = band([curve([0.0]), curve([1.0])], "accuracy", 1)
    assert apart["median"].tolist() == [0.0]  # not 0.5, which no run had


def test_column_times_stop_at_the_limit():
    runs = [curve([0, 0, 0], column_1=[0.2, 0.99, 1.0], column_2=[0.1, 0.2, 0.995])]
    assert column_times(runs, ["column_1", "column_2"], 3).tolist() == [[2, 3]]
    assert column_times(runs, ["column_1", "column_2"], 2).tolist() == [[2, math.inf]]
    times, censored = as_censored([2, math.inf], 60)
    assert times.tolist() == [2, 60] and censored.tolist() == [False, True]


@pytest.mark.parametrize(
    "row, pair",
    [
        ((17, 18, 18), (1, 2)),
        ((5, 7, 7), (1, 2)),
        ((3, 4, 9), (0, 1)),
        ((3, 9, 4), (0, 2)),
        ((23, 23, 23), None),
        ((1, 3, 5), None),
        ((math.inf, 21, 22), (1, 2)),
        ((math.inf, math.inf, 3), None),
        ((math.inf,) * 3, None),
    ],
)
def test_closest_pairs(row, pair):
    assert closest_pairs([row]) == [pair]


def test_closest_pairs_of_shuffled_times_are_equally_frequent():
    for row in ((3, 4, 9), (2, 2, 7), (5, 11, 12)):
        pairs = closest_pairs(list(permutations(row)))
        assert {pair: pairs.count(pair) for pair in set(pairs)} == {(0, 1): 2, (0, 2): 2, (1, 2): 2}


# -- Lapses
# --------------------------------------------------------------------------------------------------


def test_lapses_are_counted_after_learning_only():
    runs = [
        curve([0.5, 0.1, 1.0, 0.98, 1.0, 0.5], seed=1),
        curve([0.2, 0.999, 0.995], seed=2),
        curve([0.3] * 9, seed=3),
    ]
    after = after_learning(runs)
    assert after["since"].tolist() == [1, 2, 3, 1]
    hits, counts = lapse_counts(after)
    assert (hits.tolist(), counts.tolist()) == ([2, 0], [3, 1])
    assert lapse_counts(after_learning(runs, window=1))[0].tolist() == [1, 0]
    assert before_learning(runs)["seed"].value_counts().to_dict() == {1: 2, 2: 1, 3: 9}


def test_no_run_that_learned_is_no_lapse():
    hits, counts = lapse_counts(after_learning([curve([0.3] * 4)]))
    assert len(hits) == len(counts) == 0


# -- What grokking means
# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "train, test, says",
    [
        ([0.1, 0.5], [0.1, 0.2], "neither"),
        ([0.5, 1.0, 1.0, 1.0], [0.1, 0.2, 0.2, 0.98], "memorises"),
        ([0.99, 1.0, 1.0, 1.0], [0.1, 0.2, 0.2, 0.99], "memorises, then generalises"),
        ([0.5, 0.99, 1.0, 1.0], [0.1, 0.499, 0.9, 0.99], "memorises, then generalises"),
        (
            [0.5, 0.99, 1.0, 1.0],
            [0.1, 0.5, 0.9, 0.99],
            "generalises",
        ),  # half of the test sums right when it fitted
        ([0.5, 0.99, 1.0], [0.1, 0.2, 0.99], "generalises"),  # not twice as late
        (
            [0.5, 0.98, 0.99],
            [0.1, 0.99, 0.2],
            "generalises",
        ),  # before it fitted, by the sample of training sums
        ([0.5, 1.0, 0.2], [0.1, 1.0, 0.2], "generalises"),  # a lapse at the end changes nothing
    ],
)
def test_outcome(train, test, says):
    assert (
        outcome(
            pd.DataFrame(
                {"epoch": range(1, len(train) + 1), "train_accuracy": train, "accuracy": test}
            )
        )
        == says
    )
    assert says in OUTCOMES


def test_other_thresholds_give_other_counts():
    history = pd.DataFrame(
        {"epoch": [10, 20, 30], "train_accuracy": [0.96, 0.99, 1.0], "accuracy": [0.3, 0.6, 0.99]}
    )
    assert outcome(history) == "generalises"
    assert outcome(history, Thresholds(fitted=0.95)) == "memorises, then generalises"
    assert (
        milestones(history).fit == 20
        and milestones(history).test_at_fit == 0.6
        and milestones(history).generalise == 30
    )


@pytest.mark.parametrize(
    "bad", [{"unready": 0.99}, {"fitted": 0}, {"delay": 0.5}, {"generalised": 1.2}]
)
def test_impossible_thresholds_are_refused(bad):
    with pytest.raises(ValueError, match="thresholds need"):
        Thresholds(**bad)


def test_the_outcome_table_counts_steps():
    run = Curve(
        pd.DataFrame({"epoch": [100, 200], "train_accuracy": [0.5, 1.0], "accuracy": [0.1, 0.2]}),
        map_config(300, 0.1, 42),
    )
    row = outcome_table([run]).iloc[0]
    assert (row["fit"], row["steps"], row["outcome"]) == (
        200 * 5,
        200 * 5,
        "memorises",
    ) and math.isnan(row["generalise"])
    assert outcome_table([]).empty
    with pytest.raises(ValueError, match="no milestones"):
        milestones(run.history.iloc[:0])


# -- The statistics that this chapter added
# ------------------------------------------------------------------------


def test_friedman_against_every_order_there_is():
    table = np.array([[3, 1, 2], [2, 2, 5], [1, 7, math.inf], [4, 4, 4]])
    ranks = stats.rankdata(table, axis=1)
    observed = np.var(ranks.sum(0))
    extreme = [
        np.var(sum(map(np.array, rows))) >= observed - 1e-9
        for rows in product(*(list(permutations(row)) for row in ranks))
    ]
    means, p = friedman_exact(table)
    assert p == pytest.approx(np.mean(extreme)) and means.tolist() == pytest.approx(
        ranks.mean(0).tolist()
    )


def test_friedman_agrees_with_the_large_sample_one():
    table = np.random.default_rng(3).normal(size=(25, 3)) + [0, 0, 0.5]
    assert friedman_exact(table)[1] == pytest.approx(
        stats.friedmanchisquare(*table.T).pvalue, abs=0.02
    )


def test_friedman_is_blind_to_a_column_that_is_first_or_last():
    table = np.array([[1, 2, 2.5], [3, 2, 1.5]] * 6)
    assert friedman_exact(table)[1] == pytest.approx(1.0) and set(closest_pairs(table)) == {(1, 2)}


def test_cluster_interval_of_equal_clusters_is_a_point_and_of_unequal_ones_wider_than_binomial():
    assert cluster_interval([2] * 5, [10] * 5) == (0.2, 0.2)
    low, high = cluster_interval([10, 0] * 5, [10] * 10)
    assert low < 0.3 and high > 0.7  # 50 of 100 independent trials: 0.40 to 0.60
    assert cluster_interval([1, 2, 3], [9, 8, 7]) == cluster_interval([1, 2, 3], [9, 8, 7])


def test_median_interval_covers_as_a_fair_coin_does():
    assert median_interval(range(1, 21), [False] * 20) == (6, 15)  # the printed table for n = 20
    assert stats.binom.cdf(5, 20, 0.5) <= 0.025 < stats.binom.cdf(6, 20, 0.5)
    assert median_interval([*range(1, 11), *[60] * 10], [False] * 10 + [True] * 10) == (6, math.inf)


def test_prediction_interval_by_ranks():
    times = np.arange(1.0, 40.0)
    assert prediction_interval(times, [False] * 39) == (1, 39)  # two ends, 1/40 each
    assert prediction_interval(times[:20], [False] * 20) == (1, math.inf)  # one end, 1/21
    assert prediction_interval(times[:20], [False] * 20, level=0.9) == (1, 20)
    assert prediction_interval([8] + [60] * 19, [False] + [True] * 19) == (8, math.inf)


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 10**6))
def test_prediction_interval_covers_as_often_as_it_says(seed):
    draws = np.random.default_rng(seed).exponential(20, size=(2000, 21))
    times, censored = np.minimum(draws, 60), draws > 60
    inside = [
        low <= draw <= high
        for (draw, *_), t, c in zip(draws, times, censored)
        for low, high in [prediction_interval(t[1:], c[1:])]
    ]
    assert 20 / 21 - 0.025 < np.mean(inside) < 20 / 21 + 0.025  # 5 standard errors


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: prediction_interval(range(1, 19), [False] * 18), "19 are needed"),
        (lambda: median_interval(range(1, 6), [False] * 5), "too few"),
        (
            lambda: median_interval([3, 9, 20] * 3, [False, True, False] * 3),
            "beyond every seen one",
        ),
        (lambda: friedman_exact([[1, 2, 3, 4]]), "2 or 3 columns"),
        (lambda: friedman_exact([[1, math.nan, 3]]), "without nan"),
        (lambda: cluster_interval([1], [2]), "at least 2"),
        (lambda: cluster_interval([3, 1], [2, 2]), "hits <= counts"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_logrank_permutation_goes_through_all_53130_splits():
    rng = np.random.default_rng(2)
    a, b = (
        (rng.integers(5, 60, 5).astype(float), np.zeros(5, bool)),
        (np.full(20, 60.0), np.array([True] * 20)),
    )
    assert logrank_permutation(*a, *b) == pytest.approx(
        1 / math.comb(25, 5)
    )  # nothing is as extreme as five of five against none
    b = (rng.integers(5, 60, 20).astype(float), rng.random(20) < 0.3)
    assert logrank_permutation(*a, *b) == pytest.approx(logrank(*a, *b).pvalue, abs=0.05)


# -- Figures
# --------------------------------------------------------------------------------------------------


def test_the_lapse_figure_marks_every_lapse():
    runs = [curve([0.5, 1.0, 0.98, 1.0, 0.5], seed=1), curve([0.3] * 4, seed=2)]
    panels = plot_lapses(runs).axes
    marks = [ax.lines[-1].get_xdata().tolist() for ax in panels]
    assert marks == [[3, 5], []]  # only the run that learned has marks
    assert [ax.get_ylabel() for ax in panels] == ["seed 1", "seed 2"]


def test_what_is_known_before_the_other_runs():
    ax = draw_the_next_runs(np.array([8.0, 15.0]), 3, 60).axes[0]
    texts = [text.get_text() for text in ax.texts]
    assert texts.count("?") == 3 and {"8", "15", "2 known", "3 to come"} <= set(texts)


def test_every_run_is_a_line_of_its_own_length():
    runs = [curve([0.1, 0.5, 1.0], excess=[3.0, 2.0, 0.0]), curve([0.2] * 5, excess=[3.0] * 5)]
    for ax, name in zip(plot_twenty(runs, runs[0], 4).axes, ("excess", "accuracy")):
        for line, run in zip(ax.lines, runs):
            assert line.get_ydata().tolist() == run.history[name][:4].tolist()


def test_the_heat_map_says_how_many_seeds_did_what():
    columns = ["size", "decay", "outcome", "test_at_fit", "last_test"]
    rows = [
        (300, 0.1, "memorises", 0.1, 0.2),
        (300, 0.1, "memorises", 0.3, 0.4),
        (300, 1.0, "neither", math.nan, 0.9996),
    ]
    ax = plot_map(pd.DataFrame(rows, columns=columns), OUTCOMES).axes[0]
    assert [text.get_text() for text in ax.texts] == [
        "20 % → 30 %\nmemorises: 2",
        "no fit, 99 %\nneither: 1",  # nothing is rounded up to all
    ]


def test_a_run_is_drawn_until_it_has_learned():
    learns, never = curve([0.5] * 9 + [1.0] * 71), curve([0.5] * 80)
    ax = plot_orders({"one": [learns], "two": [never]}, 0.9).axes[0]
    lengths = [len(line.get_xdata()) for line in ax.lines]
    assert lengths == [10, 1, 60, 2]  # a line and its mark, a line without, the local rule


def test_the_gap_is_training_minus_unseen():
    stored = curve([0.1, 0.2, 0.3], train_accuracy=[0.1, 0.7, 1.0])
    mine = {"epoch": [1, 2], "train_accuracy": [0.5, 1.0], "accuracy": [0.5, 0.1]}
    lines = plot_gaps([stored], mine, last=2).axes[0].lines
    assert lines[0].get_ydata().tolist() == [0.0, 0.7 - 0.2]
    assert lines[1].get_ydata().tolist() == [0.0, 0.9]


def test_each_change_lies_over_the_reference():
    late = (np.array([5.0, 60]), np.array([False, True]))
    none = (np.array([60.0, 60]), np.array([True, True]))
    figure = plot_changes({"reference": late, "a": none, "b": none, "c": none}, 60)
    drawn = [ax for ax in figure.axes if ax.lines]
    assert [ax.get_title(loc="left") for ax in drawn] == ["a", "b", "c"]
    for ax in drawn:
        assert [line.get_ydata()[-1] for line in ax.lines] == [0.5, 1.0]


def test_the_map_figure_has_a_panel_for_each_cell_and_counts_steps():
    run = Curve(
        pd.DataFrame({"epoch": [100, 200], "train_accuracy": [0.5, 1.0], "accuracy": [0.1, 0.2]}),
        map_config(300, 0.1, 42),
    )
    figure = plot_map_curves({str(i): [run, run] for i in range(4)})
    drawn = [ax for ax in figure.axes if ax.lines]
    assert len(drawn) == 4 and all(len(ax.lines) == 4 for ax in drawn)
    assert drawn[0].lines[0].get_xdata().tolist() == [500, 1000]  # 5 batches in an epoch


def test_the_survival_figure_ends_at_the_share_left():
    late = (np.array([5.0, 60, 60, 9]), np.array([False, True, True, False]))
    left, right = plot_waiting({"all": late}, {"ones": late, "tens": late}, 60, ["a", "b"]).axes
    for line in [*left.lines, *right.lines]:
        assert (line.get_xdata()[-1], line.get_ydata()[-1]) == (60, 0.5)


# -- The book's own runs
# -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twenty():
    configs = configs_of("reference") + configs_of("reference, until learned")
    assert [
        config.seed for config in configs if not (BOOK_RUNS / run_name(config)).exists()
    ] == []  # else they would be trained
    return finished_runs(configs)


def test_kaplan_meier_ends_at_the_share_that_had_not_learned(twenty):
    times, censored = times_to(twenty, TRIAL["stop_at"])
    assert kaplan_meier(times, censored)["survival"].iloc[-1] == pytest.approx(
        censored.mean()
    )  # one limit for all


def test_each_run_left_out_is_inside_the_interval_of_the_others_but_for_the_fastest(twenty):
    """What 95 % means here, run by run: with 19 others one run of 20 may fall outside, and it is
    the fastest of all."""
    times, censored = times_to(twenty, TRIAL["stop_at"])
    exact = np.where(censored, math.inf, times)
    keep = ~np.eye(len(times), dtype=bool)
    outside = [
        i
        for i in range(len(times))
        if exact[i] < prediction_interval(times[keep[i]], censored[keep[i]])[0]
    ]
    assert len(outside) <= 1 and all(exact[i] == exact.min() for i in outside)


@pytest.mark.slow
def test_a_new_run_falls_inside_the_prediction_interval(twenty):
    """A re-run with a seed that the book never used, from the chapter's own recipe. The interval is
    open at the slow end, so a run is outside only if it has learned before the fastest of the
    twenty had: training it up to there decides."""
    from lab.runs import train

    low, high = prediction_interval(*times_to(twenty, TRIAL["stop_at"]))
    assert high == math.inf and low > 1
    _, history, _ = train(
        RunConfig(seed=1000), torch.device("cpu"), progress=False, epochs_only=int(low) - 1
    )
    assert len(history) == low - 1 and (
        history["loss"].iloc[0] > 2 * history["loss"].iloc[-1]
    )  # it did train
    assert history["accuracy"].max() < 0.999


def test_the_maps_training_and_test_sums_are_disjoint():
    for size in (300, 3_000):
        train_X, _, test_X, _ = datasets(map_config(size, 0.1, MAP_SEEDS[0]))
        rows = {tuple(row) for row in train_X[:, :5].tolist()}
        assert len(train_X) == size and not rows & {tuple(row) for row in test_X[:, :5].tolist()}
    assert new_model(map_config(300, 0.1, MAP_SEEDS[0])).max_seq_len == 10
