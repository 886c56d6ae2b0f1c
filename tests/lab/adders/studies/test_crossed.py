"""Crossed experiments: what the rows and the columns of a table carry, and the lists of runs."""

from itertools import permutations, product

import numpy as np
import pytest

from lab.adders.studies.crossed import (
    AIDS,
    CARRY_SHARES,
    CROSSED_STARTS,
    STREAMS,
    aids_label,
    difference_pvalue,
    variance_shares,
)
from lab.adders.studies.frontier import ENTRIES
from lab.adders.training.sweeps import sweep_name


def test_variance_shares_are_those_that_a_table_was_made_with():
    """Averaged over many random tables; and by the textbook's sums of squares for one of them, from
    fitted group means."""
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        table = (
            3 * rng.normal(size=(12, 1)) + rng.normal(size=(1, 9)) + 2 * rng.normal(size=(12, 9))
        )
        found.append(variance_shares(table))
        assert sum(found[-1]) == pytest.approx(1)
    assert np.mean(found, axis=0) == pytest.approx([9 / 14, 1 / 14, 4 / 14], abs=0.05)

    row, column = np.indices(table.shape).reshape(2, -1)
    dummies = np.column_stack([np.eye(12)[row], np.eye(9)[column]])

    def rest(parts):
        design = np.column_stack([np.ones(table.size), *(dummies[:, part] for part in parts)])
        return (
            (table.ravel() - design @ np.linalg.lstsq(design, table.ravel(), rcond=None)[0]) ** 2
        ).sum()

    rows, columns = slice(0, 12), slice(12, 21)
    left = rest([rows, columns])
    squares = np.array([(rest([columns]) - left) / 11, (rest([rows]) - left) / 8, left / 88])
    components = [(squares[0] - squares[2]) / 9, (squares[1] - squares[2]) / 12, squares[2]]
    assert variance_shares(table) == pytest.approx(np.array(components) / np.sum(components))


def test_what_lies_in_rows_only_is_found_there():
    rows = np.repeat([[1], [0], [1], [0]], 5, axis=1)
    assert variance_shares(rows) == pytest.approx((1, 0, 0)) and variance_shares(
        rows.T
    ) == pytest.approx((0, 1, 0))
    assert variance_shares(np.ones((3, 3))) == (0, 0, 0)
    for wrong in (np.ones(4), np.ones((1, 4))):
        with pytest.raises(ValueError, match="2 x 2"):
            variance_shares(wrong)


def test_the_permutation_test_counts_all_orders():
    table = np.array([[1, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    orders = [list(permutations(column)) for column in table.T]
    spreads = [np.var(np.array(columns).mean(0)) for columns in product(*orders)]
    exact = np.mean(np.array(spreads) >= np.var(table.mean(1)) - 1e-12)
    assert difference_pvalue(table, draws=20_000) == pytest.approx(exact, abs=0.015)
    assert difference_pvalue(np.repeat([[1], [0], [1], [0]], 8, axis=1)) < 0.001
    assert difference_pvalue(np.repeat([[1], [0], [1], [0]], 8, axis=1).T) == 1


def test_the_lists():
    names = {sweep_name(entry.config) for entry in (*CROSSED_STARTS.values(), *AIDS.values())}
    assert len(names) == len(CROSSED_STARTS) + len(AIDS)
    assert [entry.config.weights_seed for entry in CROSSED_STARTS.values()] == list(CROSSED_STARTS)
    assert set(STREAMS) < set(
        ENTRIES["9, known signs only"].seeds
    )  # seen there with starts of their own
    for curriculum, share in product((True, False), CARRY_SHARES):
        recipe = AIDS[aids_label(share, curriculum)].config.recipe
        assert recipe.carry_share_at(0) == share and recipe.carry_share_at(50_000) == 0
        assert recipe.digits_at(0) == (3 if curriculum else 10)
    assert (
        AIDS[aids_label(0.8, True)].config == ENTRIES["57, published start"].config
    )  # the recipe as published
