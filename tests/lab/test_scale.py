"""The tiny scale: nothing changes without it, and nothing made with it can be taken for the
book's."""

import pytest

from lab import experiments, runs, store
from lab.adders.studies import crossed, frontier, recovery, ten_digit_study
from lab.adders.training import sweeps
from lab.modular import runs as modular_runs
from lab.runs import RunConfig
from lab.scale import at_most, few, scale

ENTRIES = [
    *frontier.ENTRIES.values(),
    *crossed.CROSSED_STARTS.values(),
    *crossed.AIDS.values(),
    *ten_digit_study.FIRST_PASSES.values(),
]
FLEETS = [each.config for each in [*ENTRIES, *recovery.arms()]]
KINDS = {
    "runs": (experiments.book_configs(), runs.TINY, store.run_name, store.BOOK_RUNS),
    "modular": (
        [config for configs, _ in modular_runs.book_arms().values() for config in configs],
        modular_runs.TINY,
        store.run_name,
        modular_runs.BOOK_MODULAR,
    ),
    "fleets": (FLEETS, sweeps.TINY, sweeps.sweep_name, sweeps.BOOK_FLEETS),
}


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setenv("BOOK_SCALE", "tiny")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_at_tiny_scale_is_not_named_as_anything_the_book_holds(tiny, kind):
    configs, limits, name_of, folder = KINDS[kind]
    books = {store.hash_in(place.name) for place in store.stored_places(folder)}
    assert {store.hash_in(name_of(config)) for config in configs} <= books
    assert not {store.hash_in(name_of(at_most(config, limits))) for config in configs} & books


@pytest.mark.parametrize("setting", [None, "", "book"])
def test_without_it_nothing_changes(monkeypatch, setting):
    monkeypatch.delenv("BOOK_SCALE", raising=False)
    if setting is not None:
        monkeypatch.setenv("BOOK_SCALE", setting)
    config = RunConfig()
    assert (
        at_most(config, runs.TINY) is config
        and at_most(7, 3) == 7
        and few(range(9), 2) == list(range(9))
    )


def test_numbers_are_cut_and_none_stays(tiny):
    assert (
        at_most(7, 3) == 3
        and at_most(2, 3) == 2
        and at_most(None, 3) is None
        and few(range(9), 2) == [0, 1]
    )
    small = at_most(RunConfig(seed=5, epochs=3), runs.TINY)
    assert (small.seed, small.epochs, small.n_train, small.stop_at) == (5, 3, 2_000, None)
    fleet = at_most(FLEETS[0], sweeps.TINY)
    assert fleet.recipe.steps == 50 and fleet.model == FLEETS[0].model


def test_another_scale_is_refused(monkeypatch):
    monkeypatch.setenv("BOOK_SCALE", "huge")
    with pytest.raises(ValueError, match="BOOK_SCALE may be book or tiny, not 'huge'"):
        scale()
