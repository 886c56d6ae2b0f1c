"""What runs again after a change, and what does not."""

import json
import os
import subprocess
import sys

import pytest
from nbclient.exceptions import DeadKernelError
from small_book import build_quietly, change, chapters_run, page, words

from lab import ROOT
from tools import execute
from tools.build import BuildError, build
from tools.freshness import drop_stale_results, list_results

BOTH = ["chapters/01-first.qmd", "chapters/02-second.qmd"]
APPENDIX = ["chapters/how-computed.qmd"]  # never frozen


@pytest.mark.slow
def test_prose_and_what_a_chapter_does_not_use_run_nothing(own_small_book, capsys):
    change(
        own_small_book / "chapters/01-first.qmd",
        "The first sentence says it.",
        "The first sentence says more.",
    )
    change(own_small_book / "chapters/01-first.qmd", "A line that rises.", "A line that climbs.")
    change(own_small_book / "unrelated_module.py", "8", "9")
    change(own_small_book / "data/unrelated.csv", "3", "4")
    assert build_quietly(own_small_book, capsys) == APPENDIX
    text = words(page(own_small_book / "_book", "chapters/01-first.html").main)
    assert "says more" in text and "A line that climbs" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    "path, old, new, again, shown",
    [
        (
            "data/numbers.csv",
            "1,2",
            "1,3",
            BOTH[:1],
            "The numbers rise from 1 to 3, see Figure 1.1.",
        ),
        ("lab/page/record.py", '"""', '"""About. ', BOTH, "a count: 7."),
        ("chapters/02-second.qmd", "[2, 1]", "[3, 1]", BOTH[1:], "a count: 7."),
        (
            "chapters/01-first.qmd",
            "`{python} 1 + 2`",
            "`{python} 1 + 3`",
            BOTH[:1],
            "a computed number: 4.",
        ),
    ],
    ids=["data", "recorder", "cell", "inline expression"],
)
def test_what_changed_runs_again_and_nothing_else(
    own_small_book, capsys, path, old, new, again, shown
):
    change(own_small_book / path, old, new)
    assert sorted(build_quietly(own_small_book, capsys)) == sorted(again + APPENDIX)
    assert shown in words(page(own_small_book / "_book", "chapters/01-first.html").main)


@pytest.mark.slow
def test_what_ran_again_does_not_run_a_third_time(own_small_book, capsys):
    change(own_small_book / "used_module.py", "7", "11")
    assert build_quietly(own_small_book, capsys) == BOTH[:1] + APPENDIX
    assert build_quietly(own_small_book, capsys) == APPENDIX
    assert "a count: 11." in words(page(own_small_book / "_book", "chapters/01-first.html").main)


@pytest.mark.parametrize(
    "spoil, again",
    [
        (lambda root: None, APPENDIX),
        (lambda root: (root / "_record/01-first.json").unlink(), BOTH[:1]),
        (lambda root: (root / "_record/01-first.json").write_text('{"chapter": '), BOTH[:1]),
        (lambda root: (root / "_cache/pandoc/01-first.json").unlink(), BOTH[:1]),
        (
            lambda root: change(root / "_cache/pandoc/01-first.ipynb", "folded [1", "forged [1"),
            BOTH[:1],
        ),
        (lambda root: os.environ.__setitem__("BOOK_RUNS", "fresh"), BOTH),
    ],
    ids=["sound", "no record", "cut off", "no snapshot", "altered outputs", "other setting"],
)
def test_a_result_without_a_sound_record_is_not_used(
    own_small_book, capsys, monkeypatch, spoil, again
):
    """What is given to a kernel says so; none is started, so the build ends there."""

    async def no_kernel(notebook, folder, timeout=None):
        raise DeadKernelError("no kernel here")

    monkeypatch.setattr(execute, "run_notebook", no_kernel)
    monkeypatch.setenv("BOOK_RUNS", "")
    spoil(own_small_book)
    capsys.readouterr()
    with pytest.raises(BuildError, match="no kernel here"):
        build(own_small_book, "pandoc", "reader")
    assert sorted(chapters_run(capsys)) == again


@pytest.mark.slow
def test_a_chapter_whose_exported_figure_is_gone_runs_again(own_small_book, capsys):
    exported = own_small_book / "figures/02-second/fig-second.svg"
    exported.unlink()
    assert sorted(build_quietly(own_small_book, capsys)) == sorted(BOTH[1:] + APPENDIX)
    assert exported.exists()


def test_the_guard_drops_quartos_frozen_results_too(own_small_book):
    frozen = {}
    for stem, format in (("01-first", "html"), ("01-first", "epub"), ("02-second", "html")):
        frozen[stem] = own_small_book / f"_freeze/chapters/{stem}/execute-results/{format}.json"
        frozen[stem].parent.mkdir(parents=True, exist_ok=True)
        frozen[stem].write_text('{"hash": "x"}')
    subprocess.run(
        [sys.executable, "tools/render_hooks.py", "after"], cwd=own_small_book, check=True
    )
    assert drop_stale_results(own_small_book) == []
    change(own_small_book / "used_module.py", "7", "11")
    done = subprocess.run(
        [sys.executable, "tools/render_hooks.py", "before"],
        cwd=own_small_book,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "01-first runs again: used_module.py has changed" in done.stdout
    assert not list(frozen["01-first"].parent.iterdir()) and frozen["02-second"].exists()
    assert {result.stem for result in list_results(own_small_book)} == {"02-second"}


def test_a_second_build_takes_seconds(own_small_book):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import tools.build"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "torch" not in done.stderr, "the build itself needs no torch: importing it costs seconds"


@pytest.mark.slow
def test_a_changed_sentence_is_recorded_anew(own_small_book, capsys):
    change(own_small_book / "chapters/01-first.qmd", "From the last", "Out of the last")
    assert build_quietly(own_small_book, capsys) == BOTH[:1] + APPENDIX
    record = json.loads((own_small_book / "_record/01-first.json").read_text())
    assert record["claims"][1]["sentence"].startswith("Out of the last")


@pytest.mark.slow
def test_a_claim_that_own_runs_contradict_is_marked(own_small_book):
    change(
        own_small_book / "chapters/01-first.qmd",
        'check_claim("fall',
        'from lab.page import record\nrecord.only_book_runs = lambda: False\ncheck_claim("fall',
    )
    change(
        own_small_book / "chapters/01-first.qmd",
        "lambda n: n[0] < n[-1], given=numbers, counterexample=[2, 1]",
        "lambda n: n[0] > n[-1], given=numbers, counterexample=[1, 2]",
    )
    folder = build(own_small_book, "pandoc", "reader")
    soup = page(folder, "chapters/01-first.html")
    [marked] = soup.select(".claim-contradicted")
    assert marked["id"] == "clm-fall-of-both" and "Contradicted by your runs." in words(marked)
    assert not soup.select(".contradicted") and soup.select_one(".claim")["id"] == "clm-order"
