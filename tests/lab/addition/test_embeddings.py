"""Tests for order and groups on embeddings that have them, and on embeddings that do not."""

import numpy as np
import pytest

from lab.addition.embeddings import (
    best_split,
    column_test,
    cosine,
    order_test,
    principal_components,
    split_test,
)


def test_cosine_is_one_with_itself_and_zero_at_right_angles():
    assert np.allclose(cosine(np.diag([1.0, 2, 3])), np.eye(3))


def test_a_line_has_one_component_and_an_order():
    line = np.outer(np.arange(10.0), [1.0, 2, 3])
    assert principal_components(line)[1][0] == pytest.approx(1)
    circle = np.c_[np.cos(np.arange(10) / 4), np.sin(np.arange(10) / 4)]
    statistic, p, null = order_test(circle, draws=500)
    assert statistic > 0.9 and p < 0.01 and abs(null.mean()) < 0.05


def test_the_order_test_keeps_its_level():
    rng = np.random.default_rng(0)
    p = [order_test(rng.normal(size=(10, 32)), draws=200, seed=i)[1] for i in range(200)]
    assert np.mean(np.array(p) <= 0.05) < 0.11


def test_two_groups_are_found_and_their_share_is_the_anova_one():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(10, 4))
    x[[0, 3, 5]] += 8
    share, group = best_split(x)
    total, within = x - x.mean(0), x.copy()
    for rows in ([0, 3, 5], [1, 2, 4, 6, 7, 8, 9]):
        within[rows] -= x[rows].mean(0)
    assert group == [0, 3, 5] and share == pytest.approx(1 - (within**2).sum() / (total**2).sum())
    assert split_test(x, draws=99)[1] == pytest.approx(0.01)
    assert best_split(np.stack([x, 2 * x]))[1] == pytest.approx(share)


def test_columns_alike_have_the_smallest_p_value_that_six_matchings_can_give():
    three = np.eye(3)
    assert column_test(np.vstack([three, three])) == (pytest.approx(1), pytest.approx(1 / 6))
    assert column_test(np.vstack([three, three[[1, 2, 0]]]))[1] > 1 / 6
