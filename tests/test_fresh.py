"""A reader's own runs may come out otherwise: the book must say so, and must not fail."""
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from lab.record import ROOT

TOO_LITTLE = {"n_train: int = _setting(50_000": "n_train: int = _setting(2_000", "n_test: int = _setting(10_000": "n_test: int = _setting(500",
              "epochs: int = _setting(150": "epochs: int = _setting(4", "d_model: int = _setting(32": "d_model: int = _setting(8",
              "d_ff: int = _setting(64": "d_ff: int = _setting(8"}


@pytest.mark.slow
def test_runs_that_learn_nothing_are_shown_as_contradicting_the_book(tmp_path):
    """The whole book with BOOK_RUNS=fresh, in a copy whose recipe is too short for anything to be learned."""
    book = tmp_path / "book"
    shutil.copytree(ROOT, book, ignore=shutil.ignore_patterns(
        ".git", ".venv", "_book*", "_cache", "_record", "_freeze", "data", "notebooks", "tests", "__pycache__"))
    runs, experiments = book / "lab" / "runs.py", book / "lab" / "experiments.py"
    text = runs.read_text(encoding="utf-8")
    for old, new in TOO_LITTLE.items():
        assert old in text
        text = text.replace(old, new)
    runs.write_text(text, encoding="utf-8")
    text, n = re.subn(r'"stop_at": \d+', '"stop_at": 3', experiments.read_text(encoding="utf-8"))
    assert n == 1
    experiments.write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "tools.build", "--engine", "pandoc"], cwd=book, capture_output=True, text=True,
                          env={**os.environ, "BOOK_RUNS": "fresh", "BOOK_DEVICE": "cpu"})
    assert done.returncode == 0, done.stderr[-3000:]
    page = (book / "_book" / "chapters" / "03-assembly-and-training.html").read_text(encoding="utf-8")
    assert "Contradicted by your runs" in page and "trained by you" in page
    record = json.loads((book / "_record" / "03-assembly-and-training.json").read_text())
    assert {run["origin"] for run in record["runs"]} == {"yours"}
    assert {c["label"] for c in record["claims"] if not c["holds"]} >= {"whole digits", "lapses", "census"}
    assert "contradicted" in (book / "_book" / "chapters" / "how-computed.html").read_text(encoding="utf-8")
