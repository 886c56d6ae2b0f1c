"""Stored runs: written whole or not at all, found by configuration, checked at reading, never
overwritten by a reader."""

import dataclasses
import json
import multiprocessing
import os
import signal
import time

import pandas as pd
import pytest
import torch

from lab import runs, store
from lab.runs import RunConfig

TINY = RunConfig(
    n_digits=1,
    n_train=200,
    n_test=50,
    epochs=3,
    batch_size=50,
    warmup_steps=2,
    d_model=8,
    d_ff=8,
    n_layers=1,
)
CPU = torch.device("cpu")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "BOOK_RUNS", tmp_path / "runs")
    monkeypatch.setattr(store, "YOUR_RUNS", tmp_path / "yours")
    monkeypatch.delenv("BOOK_RUNS", raising=False)
    return tmp_path


@pytest.fixture
def stored(folders):
    return runs.train_and_store(TINY, store.BOOK_RUNS, CPU, progress=False)


def test_a_run_comes_back_as_it_was_written(stored):
    back = store.read_run(stored, RunConfig)
    model, history, ended = runs.train(TINY, CPU, progress=False)
    assert back.config == TINY and ended == "finished"
    pd.testing.assert_frame_equal(
        back.history.drop(columns="seconds"), history.drop(columns="seconds"), check_exact=True
    )
    for name, weight in model.state_dict().items():
        assert torch.equal(back.weights[name], weight)
    assert {
        "date",
        "device_name",
        "torch",
        "threads",
        "seconds",
        "code",
        "files",
    } <= back.provenance.keys()


def test_history_and_configuration_are_plain_text(stored):
    assert (
        (stored / "history.csv")
        .read_text()
        .startswith("epoch,loss,accuracy,train_accuracy,column_1")
    )
    assert json.loads((stored / "config.json").read_text())["n_train"] == 200


def test_finished_run_takes_the_books_run_without_training(stored, monkeypatch):
    monkeypatch.setattr(runs, "train", lambda *args, **kwargs: pytest.fail("it trained"))
    run = runs.finished_run(TINY)
    assert run.origin == "book" and len(run.history) == 3
    assert run.model(CPU)(torch.zeros(1, 2, dtype=torch.int64)).shape == (1, 2, 14)


def test_a_run_whose_weights_are_not_kept_has_a_history_and_says_how_to_get_a_model(folders):
    place = runs.train_and_store(TINY, store.BOOK_RUNS, CPU, progress=False, keep_weights=False)
    assert not (place / "weights.safetensors").exists()
    run = runs.finished_run(TINY)
    assert run.origin == "book" and run.weights is None and len(run.history) == 3
    with pytest.raises(ValueError, match="keeps the history, not the weights.*BOOK_RUNS=fresh"):
        run.model(CPU)
    [row] = runs.runs_table(store.BOOK_RUNS).to_dict("records")
    assert row["parameters"] == sum(p.numel() for p in runs.new_model(TINY).parameters())


def test_another_configuration_is_another_run(stored):
    other = dataclasses.replace(TINY, seed=43)
    assert store.run_name(other) != store.run_name(TINY)
    assert store.load_run(other, store.BOOK_RUNS) is None
    run = runs.finished_run(other, progress=False)
    assert run.origin == "yours" and (store.YOUR_RUNS / run.name).exists()
    assert not (store.BOOK_RUNS / run.name).exists()


def test_fresh_mode_trains_and_leaves_the_books_run_alone(stored, monkeypatch):
    before = {p.name: p.read_bytes() for p in stored.iterdir()}
    monkeypatch.setenv("BOOK_RUNS", "fresh")
    run = runs.finished_run(TINY, progress=False)
    assert run.origin == "yours" and (store.YOUR_RUNS / run.name).exists()
    assert {p.name: p.read_bytes() for p in stored.iterdir()} == before


def test_fresh_mode_trains_a_configuration_once(folders, monkeypatch):
    monkeypatch.setenv("BOOK_RUNS", "fresh")
    runs.finished_run(TINY, progress=False)
    monkeypatch.setattr(runs, "train", lambda *args, **kwargs: pytest.fail("it trained again"))
    runs.finished_run(TINY, progress=False)


def test_fresh_mode_does_not_trust_a_run_of_other_code(folders, monkeypatch):
    monkeypatch.setenv("BOOK_RUNS", "fresh")
    old = runs.finished_run(TINY, progress=False)
    monkeypatch.setattr(runs, "CODE", "another code")
    assert (
        runs.finished_run(TINY, progress=False).provenance["code"]
        == "another code"
        != old.provenance["code"]
    )


def test_unknown_mode_lists_the_choices(monkeypatch):
    monkeypatch.setenv("BOOK_RUNS", "maybe")
    with pytest.raises(ValueError, match="stored or fresh, not 'maybe'"):
        runs.finished_run(TINY)


def test_a_stored_run_is_not_replaced_unless_asked(stored):
    weights = store.read_run(stored, RunConfig).weights
    other = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    history, provenance = pd.DataFrame({"epoch": [1]}), {"date": "now"}
    store.save_run(TINY, history, other, provenance, store.BOOK_RUNS)
    assert torch.equal(
        store.read_run(stored, RunConfig).weights["token_emb.weight"], weights["token_emb.weight"]
    )
    store.save_run(TINY, history, other, provenance, store.BOOK_RUNS, replace=True)
    assert store.read_run(stored, RunConfig).weights["token_emb.weight"].abs().sum() == 0
    assert [p.name for p in store.stored_places(store.BOOK_RUNS)] == [stored.name]


@pytest.mark.parametrize(
    "name", ["config.json", "history.csv", "weights.safetensors", "provenance.json"]
)
@pytest.mark.parametrize("harm", ["truncate", "alter", "delete"])
def test_damage_is_detected_and_named(stored, name, harm):
    path, data = stored / name, (stored / name).read_bytes()
    if harm == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "alter":
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 1
        path.write_bytes(bytes(flipped))
    else:
        path.unlink()
    if (name, harm) == ("provenance.json", "alter"):
        # One flipped bit may leave valid JSON with the same hashes; then nothing that is used has
        # changed.
        path.write_bytes(data.replace(b'"history.csv": "', b'"history.csv": "0'))
        name = "history.csv"
    with pytest.raises(store.DamagedRun, match=name):
        runs.finished_run(TINY)


def test_a_run_in_the_wrong_folder_is_refused(stored):
    wrong = stored.with_name(store.run_name(dataclasses.replace(TINY, seed=7)))
    stored.rename(wrong)
    with pytest.raises(store.DamagedRun, match="config.json describes"):
        runs.finished_run(dataclasses.replace(TINY, seed=7))


def _write_forever(folder):
    history, weights = pd.DataFrame({"epoch": range(2000)}), {"w": torch.zeros(200_000)}
    for seed in range(10**6):
        store.save_run(
            dataclasses.replace(TINY, seed=seed), history, weights, {"date": "now"}, folder
        )


def test_a_killed_writer_leaves_only_whole_runs(tmp_path):
    context = multiprocessing.get_context("spawn")
    writer = context.Process(target=_write_forever, args=(tmp_path,))
    writer.start()
    deadline = time.time() + 60
    while len(store.stored_places(tmp_path)) < 20 and time.time() < deadline:
        time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    writer.join()
    places = store.stored_places(tmp_path)
    assert len(places) >= 20
    for place in places:
        assert len(store.read_run(place, RunConfig).history) == 2000


def test_an_interrupted_training_stores_nothing(folders, monkeypatch):
    model, history, _ = runs.train(TINY, CPU, progress=False)
    monkeypatch.setattr(runs, "train", lambda *args, **kwargs: (model, history, "interrupted"))
    with pytest.raises(KeyboardInterrupt):
        runs.finished_run(TINY)
    assert store.stored_places(store.YOUR_RUNS) == []


def test_a_new_setting_with_its_old_behaviour_as_default_voids_nothing():
    wider = dataclasses.make_dataclass(
        "RunConfig",
        [("dropout", float, dataclasses.field(default=0.0))],
        bases=(RunConfig,),
        frozen=True,
    )
    assert store.run_name(wider(seed=43, lr=0.001)) == store.run_name(RunConfig(seed=43, lr=0.001))
    assert store.run_name(wider(seed=43, dropout=0.1)) != store.run_name(RunConfig(seed=43))


def test_bad_configurations_are_refused():
    with pytest.raises(TypeError, match="needs a RunConfig"):
        runs.finished_run({"seed": 42})
    with pytest.raises(ValueError, match="it may be one of addition, reversal, both"):
        RunConfig(task="division")
    with pytest.raises(ValueError, match="it may be one of independent, disjoint"):
        RunConfig(split="leaky")
    with pytest.raises(TypeError, match="dataclass"):
        store.run_name({"seed": 42})


# The runs the book really holds
# -------------------------------------------------------------------------------------


def test_every_run_of_the_book_reads_and_is_in_the_table():
    table = runs.runs_table()
    assert len(table) >= 1
    written = store.read_table((store.ROOT / "data" / "runs.csv").read_bytes())
    assert written["run"].tolist() == table["run"].tolist()
    assert written["final_loss"].tolist() == pytest.approx(table["final_loss"].tolist(), abs=0)
    assert written.columns.tolist() == runs.codebook()["column"].tolist()
    assert pd.read_csv(store.ROOT / "data" / "runs-codebook.csv").equals(runs.codebook())


def test_every_run_the_chapters_ask_for_is_stored():
    from lab.experiments import ARMS, BESIDE_ARMS, NOT_YET, book_configs

    stored_arms = [arm for arm in (*ARMS, *BESIDE_ARMS) if arm not in NOT_YET]
    missing = [
        store.run_name(c)
        for c in book_configs(stored_arms)
        if not (store.BOOK_RUNS / store.run_name(c)).exists()
    ]
    assert missing == []


def test_a_stored_run_is_still_what_the_code_makes():
    """The first epochs of the reference run, trained again: nearly equal on a machine of the same
    name, else closely.

    (Two processors of one name may add in different orders; that one machine repeats itself to the
    last bit is tested in test_train_model.py.)
    """
    stored = store.load_run(RunConfig(), store.BOOK_RUNS)
    threads = torch.get_num_threads()
    torch.set_num_threads(stored.provenance["threads"])
    try:
        _, again, _ = runs.train(RunConfig(), CPU, progress=False, epochs_only=2)
    finally:
        torch.set_num_threads(threads)
    same_machine = (stored.provenance["device_name"], stored.provenance["torch"]) == (
        store.device_name(CPU),
        torch.__version__,
    )
    for columns, tolerance in (
        (["loss", "lr"], {"rtol": 1e-4 if same_machine else 0.02, "atol": 0}),
        (
            ["accuracy", "train_accuracy", "column_1", "column_4"],
            {"rtol": 0, "atol": 0.002 if same_machine else 0.02},
        ),
    ):
        pd.testing.assert_frame_equal(
            stored.history.loc[:1, columns], again[columns], check_exact=False, **tolerance
        )


def test_the_repository_stays_small():
    sizes = [
        p.stat().st_size
        for p in (store.ROOT / "data").rglob("*")
        if p.is_file() and "yours" not in p.parts
    ]
    assert (
        sum(sizes) < 60e6 and max(sizes) < 15e6
    )  # the largest: the checkpoints that chapter 8 looks at
