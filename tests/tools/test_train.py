"""tools/train.py, lab/registry.py: all that is stored is accounted for, and a command makes it."""

import functools
import json
import shutil

import joblib
import pandas as pd
import pytest

from lab import registry
from lab.adders.training import sweeps
from lab.experiments import HISTORY_ONLY
from lab.modular.runs import modular_table
from tools import train

SHORT = ["steps=10", "evaluate_every=10", "batch_size=4", "warmup_steps=2"]
SMALL_TABLE = ["p=7", "epochs=20", "measure_every=10", "fraction=0.5", "d_model=16", "d_mlp=16"]


def arguments(name, settings, *more):
    return [name, "--jobs", "1", *more, *(part for text in settings for part in ("--set", text))]


def test_every_stored_result_is_accounted_for_and_every_name_is_unique():
    names = [each.name for each in registry.experiments()]
    assert len(names) == len(set(names))
    assert registry.unaccounted() == []


def test_the_book_keeps_the_weights_of_the_models_that_its_pages_look_into():
    folder = registry.FOLDERS["runs"][0]
    kept = {place.parent.name for place in folder.glob("*/weights.safetensors")}
    for each in registry.experiments():
        if each.kind == "runs":
            names = {result.name for result in each.results()}
            assert kept & names == (set() if each.name in HISTORY_ONLY else names), each.name


def test_the_data_stay_small():
    sizes = [
        p.stat().st_size
        for p in registry.store.ROOT.joinpath("data").rglob("*")
        if p.is_file() and "yours" not in p.parts
    ]
    assert sum(sizes) < 30e6 and max(sizes) < 10e6


def test_a_stray_result_is_noticed(monkeypatch, tmp_path):
    (tmp_path / "57-00000000").mkdir()
    monkeypatch.setitem(registry.FOLDERS, "fleets", (tmp_path, tmp_path))
    assert registry.unaccounted() == [("fleets", "57-00000000")]
    assert "no experiment: fleets/57-00000000" in train.listing(registry)


def test_a_sweep_is_found_by_its_hash_whatever_words_stand_before_it(monkeypatch, tmp_path):
    config = registry.find_experiment("9").results()[0].config
    stored = sweeps.read_sweep(config)
    assert stored.path.name == registry.readable_names()[stored.name]
    assert stored.path.name.startswith("9-") and stored.name.startswith("r9-step-diagonal-")
    shutil.copytree(stored.path, tmp_path / stored.name)
    monkeypatch.setitem(registry.FOLDERS, "fleets", (tmp_path, tmp_path))
    registry.name_folders()
    assert [place.name for place in tmp_path.iterdir()] == [stored.path.name]
    again = sweeps.read_sweep(config, tmp_path)
    assert again.outcomes.equals(stored.outcomes)
    stored_elsewhere = tmp_path / f"9-{'0' * 8}"
    again.path.rename(stored_elsewhere)
    assert sweeps.read_sweep(config, tmp_path) is None
    with pytest.raises(registry.store.DamagedRun, match="describes r9-step-diagonal-"):
        sweeps.read_sweep_folder(stored_elsewhere)


@pytest.mark.parametrize("kind", registry.FOLDERS)
def test_the_index_is_that_of_the_folder(kind):
    folder = registry.FOLDERS[kind][0]
    stored = pd.read_csv(folder / "index.csv", dtype={"seeds": str, "chapters": str})
    made = registry.index_of(kind)
    assert stored["folder"].tolist() == [
        p.name for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")
    ]
    columns = ["folder", "experiments", "chapters", "command"]
    pd.testing.assert_frame_equal(stored[columns], made[columns], check_dtype=False)


def test_a_census_made_with_other_weights_is_taken_again(tmp_path):
    book = registry.FOLDERS["censuses"][0]
    result = registry.find_experiment("censuses").results()[0]
    assert result.is_complete(book) and not result.is_complete(tmp_path)
    place = tmp_path / result.name
    shutil.copytree(book / result.name, place)
    assert result.is_complete(tmp_path)
    provenance = json.loads((place / "provenance.json").read_text())
    (place / "provenance.json").write_text(json.dumps(provenance | {"weights": "others"}))
    assert not result.is_complete(tmp_path)


def test_the_list_tells_what_is_stored():
    lines = train.listing(registry).splitlines()
    assert lines[-1] == "Every stored result is accounted for."
    assert any(line.split()[:1] == ["reference"] and "5 of 5" in line for line in lines)


def test_a_variation_of_a_sweep(tmp_path, capsys):
    command = arguments("57", SHORT, "--seeds", "0:2", "--folder", str(tmp_path))
    assert train.main(command) == 0
    shown = capsys.readouterr().out
    assert "0 of 2 seeds right on all 10,010 pairs (0 % to 84.2 %)" in shown
    [place] = [p for p in (tmp_path / "fleets").iterdir() if p.name.startswith("57-")]
    assert json.loads((place / "config.json").read_text())["recipe"]["steps"] == 10
    assert train.main(command) == 0 and "57: all is there" in capsys.readouterr().out


def test_a_variation_of_modular_addition(tmp_path, capsys):
    settings = [*SMALL_TABLE, "architecture=mlp"]
    command = arguments("modular, reference", settings, "--seeds", "3:5", "--folder", str(tmp_path))
    assert train.main(command) == 0
    assert capsys.readouterr().out.count("finished at epoch 20") == 2
    table = modular_table(tmp_path / "modular")
    assert table["seed"].tolist() == [3, 4] and set(table["architecture"]) == {"mlp"}


def test_a_variation_is_the_readers_own():
    options = train.read_options(arguments("57", SHORT))
    [(_, results, folder)] = train.chosen(registry, options)
    assert folder == sweeps.YOUR_FLEETS and results()[0].config.recipe.steps == 10
    [(_, _, folder)] = train.chosen(registry, train.read_options(["57"]))
    assert folder == sweeps.BOOK_FLEETS
    [(_, _, folder)] = train.chosen(registry, train.read_options(["74"]))
    assert folder == sweeps.YOUR_FLEETS  # a design without an experiment of the book


def test_what_needs_other_results_comes_last():
    names = [each.name for each, _, _ in train.chosen(registry, train.read_options([]))]
    assert names.index("763") < names.index("763, second passes")
    assert names.index("reference") < names.index("interventions")


@pytest.mark.parametrize(
    "command, message",
    [
        (["99 percent"], "there is no experiment '99 percent'"),
        (["modular"], "modular, reference"),
        (["--seeds", "0:2"], "name it"),
        (["57", "--seeds", "0-2"], "seeds are written like"),
        (["57", "--set", "speed=3"], r"57 has no setting \['speed'\]"),
        (["57", "--set", "lr"], "--set takes NAME=VALUE"),
        (["modular, reference", "--set", "prime=7"], "unknown setting 'prime'"),
        (["modular, reference", "--set", "p=8"], "odd prime"),
        (["censuses", "--set", "p=7"], "it has no settings to change"),
    ],
)
def test_bad_command_lines(command, message):
    options = train.read_options(command)
    with pytest.raises(ValueError, match=message):
        for _, results, _ in train.chosen(registry, options):
            results()
    assert train.main(command) == 2


@pytest.mark.parametrize("asked", ["--list", "--index"])
def test_what_the_book_holds_is_not_told_at_tiny_scale(asked, capsys):
    """To list what depends on other results, these would be trained."""
    with pytest.raises(SystemExit):
        train.read_options([asked, "--scale", "tiny"])
    assert "they have no tiny scale" in capsys.readouterr().err


@pytest.mark.slow
def test_a_cluster_makes_the_same_results(tmp_path):
    """Jobs on a local Dask cluster end as on this process, to the same bits: same machine, same
    number of threads."""
    distributed = pytest.importorskip("dask.distributed")
    experiment = registry.find_experiment("57")
    settings = train.settings_of(SHORT)
    results = functools.partial(registry.changed_results, experiment, settings, [0, 1])
    train.carry_out("57", results, tmp_path / "here", 1)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as some,
        distributed.Client(some),
        joblib.parallel_config(backend="dask"),
    ):
        train.carry_out("57", results, tmp_path / "cluster", 2)
    [config] = [result.config for result in results()]
    here, there = (sweeps.read_sweep(config, tmp_path / name) for name in ("here", "cluster"))
    assert all((value == there.weights[name]).all() for name, value in here.weights.items())
    pd.testing.assert_frame_equal(here.history, there.history, check_exact=True)
