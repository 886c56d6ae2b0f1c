"""One rule for stored results: a build never makes any, and says what is missing; a reader's own
are made and kept."""

import dataclasses
import subprocess
import sys

import pytest

from lab import find_or_make as finding
from lab import store
from lab.adders.training import sweeps
from lab.adders.training.recipes import FleetConfig, Recipe
from lab.adders.training.sweeps import (
    changed,
    finished_sweep,
    preset,
    read_sweep,
    store_fleet,
    sweep_name,
)
from lab.find_or_make import NotStored, Wanted, find_or_make, nearest_stored, python_command
from lab.runs import RunConfig, finished_run


@pytest.fixture
def building(monkeypatch):
    """As in a kernel that executes a page."""
    monkeypatch.setattr(finding, "_chapter", "05-edge-cases")


@pytest.fixture
def empty_places(tmp_path, monkeypatch):
    """No own results but those that a test makes."""
    monkeypatch.setattr(store, "YOUR_RUNS", tmp_path / "yours")
    monkeypatch.setattr(sweeps, "YOUR_FLEETS", tmp_path / "yours" / "fleets")
    monkeypatch.setattr(finding, "_used", [])
    return tmp_path


def find_number(folder):
    path = folder / "number.txt"
    return int(path.read_text()) if path.exists() else None


def test_the_books_then_your_own_then_made(tmp_path, monkeypatch, capsys):
    book, yours, made = tmp_path / "book", tmp_path / "yours", []
    book.mkdir()
    (book / "number.txt").write_text("1")

    def make(folder):
        made.append(folder)
        (folder / "number.txt").write_text("2")

    wanted = Wanted("number", "number", "the first", "seq 1", minutes=3)
    assert find_or_make(wanted, book, yours, find_number, make) == (1, "book") and not made
    monkeypatch.setenv("BOOK_RUNS", "fresh")
    assert find_or_make(wanted, book, yours, find_number, make) == (2, "yours") and made == [yours]
    assert "about 3.0 minutes" in capsys.readouterr().out
    assert find_or_make(wanted, book, yours, find_number, make) == (2, "yours") and len(made) == 1
    find_or_make(wanted, book, yours, find_number, make, current=lambda result: False)
    assert len(made) == 2  # an own result of other code is made again
    monkeypatch.setenv("BOOK_RUNS", "stored")
    assert find_or_make(wanted, book, yours, find_number, make, current=lambda result: False) == (
        1,
        "book",
    )
    (book / "number.txt").unlink()
    assert (
        find_or_make(wanted, book, yours, find_number, make, current=lambda result: False)
        == (2, "yours")
        and len(made) == 2
    )


def test_a_build_stops_with_what_is_missing(building, empty_places):
    config = RunConfig(seed=42, n_layers=3, lr=0.02)
    with pytest.raises(NotStored) as error:
        finished_run(config)
    text = str(error.value)
    assert (
        "'05-edge-cases' asks for a run that is not stored: addition-seed042" in text
        and "(n_layers 3, lr 0.02)" in text
    )
    near = text[text.index("The nearest") :]
    assert (
        "n_layers: 3 here, 2 there" in near
        and "lr: 0.02 here, 0.01 there" in near
        and near.count(" here, ") == 2
    )
    assert (
        'python -c "from lab.runs import RunConfig; from lab.runs import finished_run; '
        'finished_run(RunConfig(n_layers=3, lr=0.02))"'
        in text
        and "in about " in text
    )
    assert not (empty_places / "yours" / store.run_name(config)).exists()


def test_the_command_makes_it(tmp_path):
    """What NotStored tells to type is a program: here for the settings of a sweep, which it only
    rebuilds."""
    config = changed(preset("57"), {"steps": 4, "evaluate_every": 2, "weights_seed": 3})
    command = python_command("lab.adders.training.sweeps", "sweep_name", config)
    program = command.removeprefix('python -c "').removesuffix('"')
    done = subprocess.run(
        [sys.executable, "-c", program.replace("sweep_name(", "print(sweep_name(", 1) + ")"],
        capture_output=True,
        text=True,
        cwd=store.ROOT,
    )
    assert '"' not in program and done.stdout.strip() == sweep_name(config), done.stderr


def test_a_build_wants_the_seeds_that_it_asks_for(building, empty_places):
    config = preset("57")
    assert finished_sweep(config, [3, 1], "57").outcomes["seed"].tolist() == [
        3,
        1,
    ]  # the book holds 100 of them
    with pytest.raises(NotStored, match="seeds 99-100"):
        finished_sweep(config, [99, 100], "57")


def test_seeds_that_the_book_lacks_are_trained_and_joined(empty_places, monkeypatch, quick):
    """The book's seeds stay the book's: only what is missing is trained; none that was not asked
    for is counted in."""
    book = empty_places / "book"
    monkeypatch.setattr(sweeps, "BOOK_FLEETS", book)
    config = FleetConfig(preset("57").model, Recipe(steps=4, evaluate_every=2, batch_size=4))
    store_fleet(sweeps.Fleet(config, [0, 1, 2]).run(progress=False), book)
    whole = read_sweep(config, book)
    found = finished_sweep(config, [1, 4, 0], "short", progress=False)
    assert (
        found.outcomes["seed"].tolist() == [1, 4, 0]
        and finding.used_results()[-1]["origin"] == "yours"
    )
    assert read_sweep(config, sweeps.YOUR_FLEETS).outcomes["seed"].tolist() == [4]
    assert set(found.history["seed"]) == {0, 1, 4} and len(found.history) == 6
    for name, value in found.weights.items():
        assert value[0].equal(whole.weights[name][1]) and value[2].equal(whole.weights[name][0])
    few = finished_sweep(config, [2], "short")
    assert (
        few.outcomes["seed"].tolist() == [2] == few.history["seed"].unique().tolist()
        and finding.used_results()[-1]["origin"] == "book"
    )
    monkeypatch.setenv("BOOK_RUNS", "fresh")
    assert finding.used_results()[-1]["differs"] == "short; 1 seeds"
    assert (
        finished_sweep(config, [2], "short", progress=False).provenance["blocks"][-1]["seeds"]
        == "2"
    )
    assert finding.used_results()[-1]["origin"] == "yours"


def test_only_seeds_that_are_there():
    held = read_sweep(preset("57"))
    with pytest.raises(ValueError, match="seeds 100 are not in 57-.*: it holds 0-99"):
        held.only([5, 100])


def test_the_nearest_by_number_of_settings(tmp_path):
    assert nearest_stored(RunConfig(), tmp_path) is None
    for name, config in (
        ("far", RunConfig(seed=1, n_layers=1, lr=1.0)),
        ("near", RunConfig(seed=1)),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(store.json.dumps(dataclasses.asdict(config)))
    assert nearest_stored(RunConfig(seed=2), tmp_path) == ("near", {"seed": (2, 1)})
    (tmp_path / "near" / "config.json").write_text("{")  # damaged: who reads it complains
    assert nearest_stored(RunConfig(seed=2), tmp_path)[0] == "far"
