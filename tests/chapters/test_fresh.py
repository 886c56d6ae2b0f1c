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
              "d_ff: int = _setting(64": "d_ff: int = _setting(8", '"epochs": 80': '"epochs": 4'}

TOO_SHORT = {r'"stop_at": \d+': '"stop_at": 3', r'"n_train": 100_000, "n_test": 20_000': '"n_train": 2_000, "n_test": 500',
             r"HALF_TRAINED = \{.*\}": "HALF_TRAINED = {42: 2, 43: 2, 44: 1, 45: 1, 46: 2}", r"MAP_SIZES, (.*) = \(.*\), \(":
             r"MAP_SIZES, \1 = (100, 200, 300), (", r"30_000\n": "300\n"}

# Chapters 5 and 6 look at each model for half a minute, chapter 8 trains one for half an hour: less will do here.
TOO_FEW = {"censuses.py": {'runs_of("reference")': 'runs_of("reference", [42, 43, 44])', "half_trained(),": "half_trained()[:2],",
                           'runs_of("one layer")': 'runs_of("one layer", [42, 43])'},
           "interventions.py": {"PER_CLASS = 1_000": "PER_CLASS = 20"},
           "modular.py": {"epochs: int = _setting(25_000": "epochs: int = _setting(6", "measure_every: int = _setting(100": "measure_every: int = _setting(2"},
           "modular_runs.py": {'"epochs": 10_000': '"epochs": 6', '"measure_every": 50': '"measure_every": 2', "range(30)": "range(6)", "range(10)": "range(6)", "{3.0: 3, 1.0: 3, 0.3: 2, 0.0: 2}": "{3.0: 1, 1.0: 1, 0.0: 1}"},
           "frontier.py": {"range(40), range(100), range(100, 140)": "range(2), range(2), range(100, 102)", "PUBLISHED_START, range(16)": "PUBLISHED_START, range(2)", '"8": range(100, 108), "12, random start": range(100, 108)': '"8": [100], "12, random start": [100]',
                           "LOOK = 250": "LOOK = 50", '("tries", 16)': '("tries", 2), ("try_steps", 100)'},
           "crossed.py": {"range(100, 112)": "range(100, 103)", "for start in range(12)": "for start in range(3)", "changes, range(16)": "changes, range(2)"},
           "fleets.py": {"steps: int = 60_000": "steps: int = 100", "evaluate_every: int = 2_000": "evaluate_every: int = 100"},
           "sweeps.py": {"Recipe(steps=12_000,": "Recipe(steps=100,", "evaluate_every=1_000, stop_after_perfect=None)\n\n\n# The 763": "evaluate_every=100, stop_after_perfect=None)\n\n\n# The 763",
                         "Recipe(steps=400_000,": "Recipe(steps=100,", "Recipe(steps=27_000,": "Recipe(steps=100,", "evaluate_every=500,\n": "evaluate_every=100,\n",
                         "warmup_steps=20_000": "warmup_steps=10", "warmup_steps=1_350": "warmup_steps=10"},
           "ten_digit_study.py": {"seeds=range(4)": "seeds=range(2)", "seeds=range(10)": "seeds=range(2)"},
           "second_pass.py": {"STEPS = 8_000": "STEPS = 100"},
           "recovery.py": {"STEPS = 300": "STEPS = 3", "range(100, 116)": "range(100, 102)"}}


@pytest.mark.slow
def test_runs_that_learn_nothing_are_shown_as_contradicting_the_book(tmp_path):
    """The whole book with BOOK_RUNS=fresh, in a copy whose recipe is too short for anything to be learned."""
    book = tmp_path / "book"
    shutil.copytree(ROOT, book, ignore=shutil.ignore_patterns(
        ".git", ".venv", "_book*", "_cache", "_record", "_freeze", "data", "notebooks", "downloads", "tests", "__pycache__"))
    (book / "data").mkdir()
    shutil.copy(ROOT / "data" / "adderboard.csv", book / "data")                   # what others did is no run
    runs, experiments = book / "lab" / "runs.py", book / "lab" / "experiments.py"
    text = runs.read_text(encoding="utf-8")
    for old, new in TOO_LITTLE.items():
        assert old in text
        text = text.replace(old, new)
    runs.write_text(text, encoding="utf-8")
    text = experiments.read_text(encoding="utf-8")
    for pattern, replacement in TOO_SHORT.items():
        text, n = re.subn(pattern, replacement, text)
        assert n, pattern
    experiments.write_text(text, encoding="utf-8")
    for name, changes in TOO_FEW.items():
        text = (book / "lab" / name).read_text(encoding="utf-8")
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (book / "lab" / name).write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "tools.build", "--engine", "pandoc"], cwd=book, capture_output=True, text=True,
                          env={**os.environ, "BOOK_RUNS": "fresh", "BOOK_DEVICE": "cpu"})
    assert done.returncode == 0, done.stderr[-3000:]
    page = (book / "_book" / "chapters" / "03-assembly-and-training.html").read_text(encoding="utf-8")
    assert "Contradicted by your runs" in page and "trained by you" in page
    record = json.loads((book / "_record" / "03-assembly-and-training.json").read_text())
    assert {run["origin"] for run in record["runs"]} == {"yours"}
    assert {c["label"] for c in record["claims"] if not c["holds"]} >= {"whole digits", "lapses", "census"}
    assert "contradicted" in (book / "_book" / "chapters" / "how-computed.html").read_text(encoding="utf-8")
