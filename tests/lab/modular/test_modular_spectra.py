"""Nulls and landmarks of chapter 8 against tables of which the answer is known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from lab.modular.fourier import (
    component_norms,
    cosine_logits,
    draw_others,
    fourier_basis,
    frequency_norms,
    others_restricted,
    restricted_loss,
)
from lab.modular.spectra import (
    margin,
    mirrored,
    other_frequencies,
    permuted_maxima,
    phases,
    plane,
    random_margins,
    second_harmonic,
    shares,
    standing_out,
)

P = 23


def waves(*frequencies, noise=0.0, width=16, seed=0):
    """A table (P, width) that consists of these frequencies in random directions."""
    generator = torch.Generator().manual_seed(seed)
    rows = [r for k in frequencies for r in (2 * k - 1, 2 * k)]
    directions = torch.linalg.qr(
        torch.randn(width, width, generator=generator, dtype=torch.float64)
    ).Q[: len(rows)]
    return fourier_basis(P)[rows].T @ directions + noise * torch.randn(
        P, width, generator=generator, dtype=torch.float64
    )


def test_shares_leave_the_constant_out_and_add_up():
    found = shares(frequency_norms(component_norms(waves(3, 5) + 7.0)))
    assert found.sum() == pytest.approx(1) and found[[2, 4]] == pytest.approx([0.5, 0.5])
    assert not shares(torch.zeros(12)).any()


def test_permuted_maxima_are_what_permuting_the_rows_gives():
    table, rng = waves(4, noise=0.2), np.random.default_rng(5)
    expected = [
        shares(frequency_norms(component_norms(table[np.argsort(rng.permutation(P))]))).max()
        for _ in range(6)
    ]
    assert permuted_maxima(table, draws=6, seed=5) == pytest.approx(expected)
    assert not permuted_maxima(torch.ones(P, 3), draws=3).any()


def test_frequencies_stand_out_of_noise_and_noise_does_not():
    assert standing_out(waves(2, 9, noise=0.1))[0] == [2, 9]
    noise = [
        len(
            standing_out(
                torch.randn(P, 16, generator=torch.Generator().manual_seed(seed)), draws=100
            )[0]
        )
        > 0
        for seed in range(40)
    ]
    assert sum(noise) <= 6  # 5 % of 40 are 2; more than 6 has a probability of 0.3 %
    with pytest.raises(ValueError, match="at least 20 draws"):
        standing_out(waves(2), draws=10)


@pytest.mark.parametrize("k", range(1, 12))
def test_second_harmonic_is_where_the_square_of_a_wave_lies(k):
    x = torch.arange(P)
    table = torch.cos(2 * math.pi * k * x.double() / P).square()[:, None]
    assert int(shares(frequency_norms(component_norms(table))).argmax()) + 1 == second_harmonic(
        k, P
    )


def test_second_harmonic_refuses_what_is_no_frequency():
    with pytest.raises(ValueError, match="1..11"):
        second_harmonic(12, P)


def test_other_frequencies_do_nothing_to_a_sum_of_cosines():
    keys = [2, 5, 7]
    logits = cosine_logits(P, keys, [3.0, 2.0, 1.0])
    table = other_frequencies(logits, keys, draws=5)
    assert (table["removed"] == 1).all() and (table["kept"] < 0.2).all()
    assert all(len(chosen) == 3 and not set(chosen) & set(keys) for chosen in table["frequencies"])
    assert others_restricted(logits, keys, draws=3) == pytest.approx([math.log(P)] * 3)
    assert (
        other_frequencies(torch.zeros(P, P, P), [], draws=2)["removed"]
        == other_frequencies(torch.zeros(P, P, P), [], draws=2)["kept"]
    ).all()


def test_a_table_learned_by_heart_has_a_restricted_loss_below_chance_at_any_frequencies():
    generator = torch.Generator().manual_seed(0)
    a = torch.arange(P)
    known = torch.rand(P, P, generator=generator) < 0.4
    by_heart = 20.0 * torch.nn.functional.one_hot((a[:, None] + a) % P, P) * known[..., None]
    assert others_restricted(by_heart, [2, 5, 7]).max() < math.log(
        P
    )  # and not one wave of a + b was learned
    rng = np.random.default_rng(3)
    one_by_one = [restricted_loss(by_heart, draw_others([2, 5, 7], P, rng)) for _ in range(4)]
    assert others_restricted(by_heart, [2, 5, 7], draws=4, seed=3) == pytest.approx(one_by_one)


def test_drawing_others_stops_where_there_are_no_more():
    rng = np.random.default_rng(0)
    assert draw_others(list(range(1, 12)), P, rng) == []
    assert len(draw_others(list(range(1, 9)), P, rng)) == 3


def test_margin_of_one_frequency_is_the_same_for_all_and_more_frequencies_widen_it():
    one = 1 - math.cos(2 * math.pi / P)
    assert all(margin(P, [k]) == pytest.approx(one) for k in range(1, 12))
    assert margin(P, []) == 0 and margin(P, [3], [0.0]) == 0
    assert margin(P, [1, 2], [1.0, 0.0]) == pytest.approx(one)
    everything = margin(
        P, list(range(1, 12))
    )  # all 11 cosines add up to -1/2 at every lag but zero
    assert everything == pytest.approx(1 + 1 / 22)
    assert random_margins(P, 1, draws=5) == pytest.approx([one] * 5)
    assert np.median(random_margins(P, 5, draws=20)) > one
    with pytest.raises(ValueError, match="one amplitude per frequency"):
        margin(P, [1, 2], [1.0])


def test_numbers_on_a_circle_lie_on_a_circle_in_its_plane():
    for k in (4, 5):
        points = plane(waves(4, 5), k)
        assert np.hypot(*points.T) == pytest.approx(np.full(P, math.sqrt(2 / P)))
        turn = np.diff(np.unwrap(np.arctan2(points[:, 1], points[:, 0])))
        assert np.abs(turn) == pytest.approx(np.full(P - 1, 2 * math.pi * k / P))


def test_a_pair_is_mirrored_if_its_exchange_is_trained_on():
    assert mirrored(torch.tensor([1 * 5 + 2, 3 * 5 + 3]), 5).nonzero().flatten().tolist() == [
        2 * 5 + 1,
        3 * 5 + 3,
    ]


def history(**columns):
    return pd.DataFrame({"epoch": np.arange(6) * 10, **columns})


def test_phases_follow_their_rules():
    run = history(
        train_accuracy=[0, 0.99, 1, 1, 1, 1],
        test_accuracy=[0, 0, 0, 0.5, 0.99, 1],
        excluded_loss=[0.0, 2, 1, 3, 4, 5],
        restricted_loss=[5, 5, 0.01, 0.2, 0.05, 0],
        test_loss=[3, 9, 9, 9, 1, 0.1],
        weight_norm=[9, 20, 15, 11, 10.4, 10],
    )
    assert phases(run, P) == {
        "memorised": 10,
        "turn": 20,
        "formed": 40,
        "above chance": 40,
        "grokked": 40,
        "settled": 40,
    }


def test_a_run_that_learned_nothing_has_no_phases():
    flat = np.zeros(6)
    run = history(
        train_accuracy=flat,
        test_accuracy=flat,
        excluded_loss=flat + 3.2,
        restricted_loss=flat + 3.2,
        test_loss=flat + 3.2,
        weight_norm=flat + 1,
    )
    assert phases(run, P) == {
        "memorised": None,
        "turn": None,
        "formed": None,
        "above chance": None,
        "grokked": None,
        "settled": 0,
    }
