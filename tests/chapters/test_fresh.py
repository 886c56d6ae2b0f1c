"""A reader's own runs may come out otherwise: the book must say so, and must not fail."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from small_book import ROOT, copy_book


@pytest.mark.slow
def test_runs_that_learn_nothing_are_shown_as_contradicting_the_book(tmp_path):
    """The whole book with BOOK_RUNS=fresh, where nothing is stored, at a scale too small for
    anything to be learned."""
    book = copy_book(tmp_path / "book", "data")
    (book / "data").mkdir()
    for name in ("adderboard.csv", "numbers.csv"):  # what others did, and what the book printed
        shutil.copy(ROOT / "data" / name, book / "data")
    done = subprocess.run(
        [sys.executable, "-m", "tools.build", "--engine", "pandoc"],
        cwd=book,
        capture_output=True,
        text=True,
        env={**os.environ, "BOOK_RUNS": "fresh", "BOOK_SCALE": "tiny", "BOOK_DEVICE": "cpu"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    page = (book / "_book" / "chapters" / "03-assembly-and-training.html").read_text(
        encoding="utf-8"
    )
    assert "Contradicted by your runs" in page and "trained by you" in page
    record = json.loads((book / "_record" / "03-assembly-and-training.json").read_text())
    assert {run["origin"] for run in record["runs"]} == {"yours"}
    assert {c["label"] for c in record["claims"] if not c["holds"]} >= {
        "whole digits",
        "lapses",
        "census",
    }
    assert "contradicted" in (book / "_book" / "chapters" / "how-computed.html").read_text(
        encoding="utf-8"
    )
