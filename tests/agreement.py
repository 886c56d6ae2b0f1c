"""When two trainings of the same seed count as the same: a seed in a fleet, and the seed trained
alone."""

import pytest


def assert_the_same_training(together, alone, seed):
    """The seed of two fleets (`lab.adders.training.fleets.Fleet`) that have run: within rounding,
    over the few hundred steps of a test.

    A library may add in another order where a tensor holds more seeds, so equal to the last bit
    they need not be; on some processors they are. AdamW divides by the size of the gradient, so
    that where a gradient is nearly zero rounding can move a weight by a good part of the learning
    rate: hence the bound on the largest difference, and the strict one on the median. The loss, and
    which digits come out right, hardly see it.
    """
    difference = (
        together.final[together.seeds.index(seed)] - alone.final[alone.seeds.index(seed)]
    ).abs()
    assert float(difference.median()) < 1e-5 and float(difference.max()) < 5e-3
    first, second = [
        [row for row in fleet.history if row["seed"] == seed] for fleet in (together, alone)
    ]
    assert [row["step"] for row in first] == [row["step"] for row in second] and len(first) > 0
    for a, b in zip(first, second):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert [a[name] for name in ("exact", "tokens")] == pytest.approx(
            [b[name] for name in ("exact", "tokens")], abs=5e-3
        )
    assert together.ended[seed] == alone.ended[seed]
