"""A reader's own runs may come out otherwise: the book must say so, and must not fail."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from small_book import ROOT, copy_book

from lab.page.qmd import read_chapter
from tools.execute import execute_chapters

# One chapter for each way to train and to measure: runs, interventions, modular addition, fleets.
ONE_OF_EACH = ["03-assembly-and-training", "06-attention-maps"]
ONE_OF_EACH += ["08-modular-addition", "10-compression-frontier"]
# Nothing is learned with this.
SETTINGS = {"BOOK_RUNS": "fresh", "BOOK_SCALE": "tiny", "BOOK_DEVICE": "cpu"}


def book_without_results(place):
    book = copy_book(place, "data")
    (book / "data").mkdir()
    for name in ("adderboard.csv", "numbers.csv"):  # what others did, and what the book printed
        shutil.copy(ROOT / "data" / name, book / "data")
    shutil.copytree(ROOT / "data" / "predictions", book / "data" / "predictions")
    return book


def record_of(book, stem):
    return json.loads((book / "_record" / f"{stem}.json").read_text())


def assert_contradicted(record):
    assert {run["origin"] for run in record["runs"]} == {"yours"}
    assert {c["label"] for c in record["claims"] if not c["holds"]} >= {
        "whole digits",
        "lapses",
        "census",
    }


@pytest.mark.slow
def test_runs_that_learn_nothing_contradict_the_book(tmp_path, forked_kernels, monkeypatch):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    book = book_without_results(tmp_path / "book")
    execute_chapters(book, [read_chapter(book / f"chapters/{stem}.qmd") for stem in ONE_OF_EACH])
    assert_contradicted(record_of(book, ONE_OF_EACH[0]))
    for stem in ONE_OF_EACH[1:]:
        record = record_of(book, stem)
        assert {run["origin"] for run in record["runs"]} == {"yours"}
        assert any(not claim["holds"] for claim in record["claims"]), stem


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("BOOK_TESTS") != "all", reason="BOOK_TESTS=all runs it: ten minutes more"
)
def test_the_whole_book_is_built_from_runs_that_learn_nothing(tmp_path):
    book = book_without_results(tmp_path / "book")
    done = subprocess.run(
        [sys.executable, "-m", "tools.build", "--engine", "pandoc"],
        cwd=book,
        capture_output=True,
        text=True,
        env={**os.environ, **SETTINGS},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    pages = {
        stem: (book / "_book" / "chapters" / f"{stem}.html").read_text(encoding="utf-8")
        for stem in (ONE_OF_EACH[0], "how-computed")
    }
    assert "Contradicted by your runs" in pages[ONE_OF_EACH[0]]
    assert "trained by you" in pages[ONE_OF_EACH[0]]
    assert_contradicted(record_of(book, ONE_OF_EACH[0]))
    assert "contradicted" in pages["how-computed"]
