"""Losses and floors of _common.py against oracles and enumerations."""

import itertools
import math

import numpy as np
import pytest
import torch.nn.functional as F
from known_models import Oracle, seeded
from scipy.special import log_softmax

from _common import (
    addition_floor,
    digits_at_chance,
    encode_addition,
    encode_reversal,
    exact_match,
    make_addition_dataset,
    reversal_floor,
    train_model,
)


@pytest.mark.parametrize("n_digits", [1, 2, 3])
def test_the_floor_is_what_an_oracle_attains(n_digits):
    X, Y = make_addition_dataset(200, n_digits)
    oracle = Oracle(n_digits)
    loss = F.cross_entropy(oracle(X).transpose(1, 2), Y).item()
    assert loss == pytest.approx(addition_floor(n_digits), rel=1e-12)
    assert exact_match(oracle, X, Y, 2 * n_digits + 1) == 1


def test_floors_of_the_book():
    assert addition_floor() == pytest.approx(
        0.9594, abs=5e-5
    ) and reversal_floor() == pytest.approx(0.8373, abs=5e-5)


def test_reversal_floor_by_enumeration():
    """Three digits: the mean of -log P(next | before) over all 1000 strings, from counts of
    prefixes alone."""
    rows = [
        encode_reversal([a, b, c])[0] + encode_reversal([a, b, c])[1]
        for a, b, c in itertools.product(range(10), repeat=3)
    ]
    total = 0.0
    for row in rows:
        for t in range(1, len(row)):
            before = sum(other[:t] == row[:t] for other in rows)
            total -= math.log(sum(other[: t + 1] == row[: t + 1] for other in rows) / before)
    assert total / len(rows) / 7 == pytest.approx(reversal_floor(3))


def test_addition_floor_by_enumeration():
    rows = [sum(encode_addition(a, b, 1), []) for a in range(10) for b in range(10)]
    total = 0.0
    for row in rows:
        for t in range(1, len(row)):
            before = sum(other[:t] == row[:t] for other in rows)
            total -= math.log(sum(other[: t + 1] == row[: t + 1] for other in rows) / before)
    assert total / len(rows) / 6 == pytest.approx(addition_floor(1))


def test_digits_at_chance_counts_whole_digits():
    floor = addition_floor()
    losses = [floor, floor + math.log(10) / 12, floor + 3 * math.log(10) / 12]
    np.testing.assert_allclose(digits_at_chance(losses, floor, 12), [0, 1, 3], atol=1e-12)
    np.testing.assert_allclose(
        digits_at_chance([1.5362, 1.3450, 1.1524, 0.9603], floor, 12), [3, 2, 1, 0], atol=0.02
    )


def test_the_training_loss_is_the_mean_cross_entropy_of_all_targets():
    """With a learning rate too small to move anything, the first epoch's loss is that of the
    untrained model."""
    model = seeded()
    X, Y = make_addition_dataset(300)
    logits = model(X).detach().double().numpy()
    by_hand = -np.take_along_axis(log_softmax(logits, -1), Y.numpy()[..., None], -1).mean()
    history = train_model(
        model,
        X,
        Y,
        X,
        Y,
        epochs=1,
        batch_size=128,
        lr=1e-12,
        weight_decay=0,
        log_every=0,
        progress=False,
    )
    assert history["loss"][0] == pytest.approx(
        by_hand, rel=1e-5
    )  # batches of 128, 128, 44 are weighted by size
