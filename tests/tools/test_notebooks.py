"""The notebooks: what they say, that nothing of a solution is in the readers', and that they run
from anywhere."""

import asyncio
import copy
import os
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from notebook_along import code_of, is_own, solutions_of
from small_book import write_small_book

from lab import ROOT
from lab.exercises import read_exercises
from lab.page.qmd import read_chapter
from tools.execute import run_notebook
from tools.notebooks import (
    FIND_BOOK,
    HOW_TO_RUN,
    make_notebooks,
    split_blocks,
    without_record,
    write_notebooks,
)

pytestmark = pytest.mark.usefixtures("forked_kernels")
EXERCISES = read_exercises(ROOT)
WHOLE_NOTEBOOKS = ["02-the-pieces", "04-learning-curves"]  # every day
CHAPTERS = sorted({exercise.path.stem for exercise in EXERCISES.values()})


@pytest.fixture
def project(tmp_path):
    """The sources of the small book; nothing is built."""
    return write_small_book(tmp_path / "book")


@pytest.fixture
def first(project):
    return make_notebooks(project, "reader")["01-first"]


def all_text(notebook):
    return "\n".join(cell.source for cell in notebook.cells)


def shown(cell):
    """What a computed paragraph shows: the Markdown of its last expression."""
    names = {"first": 1, "last": "2.00", "verdict_of": lambda identifier: f"✓ ({identifier})"}
    exec(
        "from IPython.display import Markdown\nimport types\nused_module ="
        f" types.SimpleNamespace(COUNT=7)\nshown = {cell.source}",
        names,
    )
    return names["shown"].data


# -- What they say
# -------------------------------------------------------------------------------------------------


def test_a_notebook_for_each_numbered_chapter_and_no_other(project):
    assert list(make_notebooks(project, "reader")) == ["01-first", "02-second"]


@pytest.mark.parametrize(
    "expected",
    [
        "# 1 Every construct once",
        "## 1.1 A section with a label",
        "> **Takeaway**\n>\n> The first sentence says it.",
        (
            "<details><summary><b>Predict before you look</b></summary>\n\nA folded"
            " hint.\n\n</details>"
        ),
        "**Figure 1.1.** A line that rises.",
        "**Table 1.1.** A small table.",
        "**Table 1.2.** A Markdown table",
        "### Exercise 1.1: Count the parameters",
        "about 5 minutes",
        "(a side note)",
        "Figure 1.1, Figure 1.2, Table 1.1, Table 1.2, Equation 1.1, Section 1.1 and Exercise 1.1",
        r"L^{*} = \frac{5 \ln 10}{12}",
        "## References",
        "“Progress Measures for Grokking",
        "## Notes\n\n1.  A footnote.",
    ],
)
def test_everything_reads_well_in_plain_jupyter(first, expected):
    assert expected in all_text(first).replace("\N{NO-BREAK SPACE}", " ")


def test_no_markup_of_the_sources_is_left(first):
    text = "\n".join(
        cell.source
        for cell in first.cells
        if cell.cell_type == "markdown" or "computed-text" in cell.metadata.get("tags", [])
    )
    for leftover in (
        ":::",
        "{#",
        "{.",
        "@fig",
        "@sec",
        "@nanda",
        "{python}",
        "^[",
        "[^",
        "xcell",
        "xexpression",
        "<!--",
    ):
        assert leftover not in text
    assert "#|" not in all_text(first) and "open_chapter(" not in all_text(first)


def test_computed_paragraphs_show_their_values(first):
    computed = [cell for cell in first.cells if "computed-text" in cell.metadata.get("tags", [])]
    texts = [shown(cell) for cell in computed]
    assert "an inline result: 17,760 parameters; a count: 7." in " ".join(texts[0].split())
    assert "Nanda et al. (2023), a footnote,<sup>1</sup>" in texts[0] and r"$\ln 10$" in texts[0]
    assert (
        texts[1].strip().replace("\N{NO-BREAK SPACE}", " ")
        == "**Figure 1.2.** A caption with a computed number: 3."
    )
    claim = next(text for text in texts if "they fall" in text)
    assert "> ✓ (clm-fall-of-both) From the last, 2.00, they fall to 1, a number below 3." in claim
    assert all(cell.metadata.jupyter.source_hidden for cell in computed)


@pytest.mark.parametrize("edition", ["reader", "instructor"])
@pytest.mark.parametrize("stem", CHAPTERS)
def test_every_cell_of_the_chapter_is_in_its_notebook(notebooks, stem, edition):
    """In the chapter's order, also where a cell stands in a box."""
    codes = iter(code_of(notebooks[edition][stem]))
    for cell in read_chapter(ROOT / "chapters" / f"{stem}.qmd").cells:
        code = without_record(cell.code)
        assert not code.strip() or code in codes, f"line {cell.line}"
    assert "executed-cell" not in all_text(notebooks[edition][stem])


def test_a_cell_in_a_box_stays_a_cell(project):
    path = project / "chapters/02-second.qmd"
    box = '::: {.callout-note title="A box"}\nBefore.\n\n```{python}\n1 + 1\n```\n\nAfter.\n:::\n'
    path.write_text(path.read_text() + "\n" + box)
    cells = make_notebooks(project, "reader")["02-second"].cells
    kinds = [(cell.cell_type, cell.source) for cell in cells]
    at = kinds.index(("code", "1 + 1"))
    assert kinds[at - 1][1].endswith("**A box**\n\nBefore.") and kinds[at + 1][1][:6] == "After."


def test_a_cell_to_try_is_one_to_run(first):
    [cell] = [cell for cell in first.cells if "tried" in cell.source]
    assert cell.cell_type == "code" and "jupyter" not in cell.metadata


def test_percent_signs_braces_and_backslashes_survive(project):
    chapter = project / "chapters/02-second.qmd"
    chapter.write_text(
        chapter.read_text()
        + '\nA share of `{python} f"{1:.0%}"` is 100 % of $\\{x\\}$ in {braces}.\n'
    )
    [cell] = [
        cell
        for cell in make_notebooks(project, "reader")["02-second"].cells
        if "A share of" in cell.source
    ]
    assert shown(cell).strip() == "A share of 100% is 100 % of $\\{x\\}$ in {braces}."


def test_lists_fences_and_folds_stay_in_one_piece():
    text = (
        "Before.\n\n- one\n\n- two\n\n   "
        " more\n\n```\na\n\nb\n```\n\n<details>\n\nc\n\n</details>\n\nAfter."
    )
    assert split_blocks(text) == [
        "Before.",
        "- one\n\n- two\n\n    more",
        "```\na\n\nb\n```",
        "<details>\n\nc\n\n</details>",
        "After.",
    ]


def test_hidden_code_is_folded(first):
    cell = next(
        cell
        for cell in first.cells
        if cell.source.startswith('print("folded"') or "numbers = [" in cell.source
    )
    assert cell.metadata.jupyter.source_hidden


def test_code_that_only_serves_the_build_is_dropped():
    assert without_record('from x import y\nopen_chapter("a")\nz = 1') == "from x import y\nz = 1"


def test_the_same_source_gives_the_same_bytes(project):
    again = [nbformat.writes(make_notebooks(project, "reader")["01-first"]) for _ in range(2)]
    assert again[0] == again[1]


# -- Solutions
# --------------------------------------------------------------------------------------------------


def test_small_book_readers_get_starters_and_instructors_solutions(project):
    reader, instructor = (
        make_notebooks(project, edition)["01-first"] for edition in ("reader", "instructor")
    )
    for notebook in (reader, instructor):
        nbformat.validate(notebook)
        assert 'answer = ...\ncheck("count", answer)' in [cell.source for cell in notebook.cells]
        assert "right_answer_of_the_check" not in all_text(notebook)
    assert "16896" not in all_text(reader) and "Seventeen thousand" not in all_text(reader)
    assert "answer = sum([448, 416, 16896])" in [cell.source for cell in instructor.cells]
    assert "Seventeen thousand" in all_text(instructor)


@pytest.mark.parametrize("stem", CHAPTERS)
def test_no_solution_is_in_a_readers_notebook(notebooks, stem):
    reader, instructor = (notebooks[edition][stem] for edition in ("reader", "instructor"))
    for notebook in (reader, instructor):
        nbformat.validate(notebook)
    mine = [exercise for exercise in EXERCISES.values() if exercise.path.stem == stem]
    assert mine
    for exercise in mine:
        starters = [
            cell.source for cell in reader.cells if "exercise" in cell.metadata.get("tags", [])
        ]
        assert exercise.starter.strip() in starters
        assert exercise.solution.strip() in [cell.source for cell in instructor.cells]
        for hidden in (exercise.solution, exercise.check):
            own_lines = {line.strip() for line in hidden.splitlines() if len(line.strip()) > 12}
            own_lines -= {line.strip() for line in exercise.starter.splitlines()}
            leaked = own_lines & {line.strip() for line in all_text(reader).splitlines()}
            assert not leaked, f"{exercise.label}: {leaked}"
    assert "judge =" not in all_text(reader) + all_text(instructor)


# -- A reader's work
# -----------------------------------------------------------------------------------------------


def write_and_answer(project):
    path = write_notebooks(project, project / "mine", ["reader"])[0]
    notebook = nbformat.read(path, 4)
    notebook.cells[-1].source += "\nMy own words."
    nbformat.write(notebook, path)
    return path


def test_a_readers_work_stays_while_the_chapter_stays(project):
    path = write_and_answer(project)
    write_notebooks(project, project / "mine", ["reader"])
    assert "My own words." in path.read_text() and not (project / "mine/yours").exists()


@pytest.mark.parametrize(
    "left",
    [
        "",
        '{"cells": [{"cell_type": "code", "sou',
        "<<<<<<< mine\n{}\n=======\n{}\n>>>>>>> theirs\n",
        "[]",
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": "none"}',
    ],
    ids=["empty", "half-written", "in conflict", "a list", "no cells"],
)
def test_a_file_that_is_no_notebook_is_set_aside_and_named(project, capsys, left):
    write_notebooks(project, project / "mine", ["reader"])
    path = project / "mine/01-first.ipynb"
    path.write_text(left)
    write_notebooks(project, project / "mine", ["reader"])
    assert nbformat.read(path, as_version=4).metadata.book.chapter == "01-first"
    assert (project / "mine/yours/01-first-1.ipynb").read_text() == left
    said = capsys.readouterr().out
    assert (
        "01-first.ipynb cannot be read as a notebook" in said and "yours/01-first-1.ipynb" in said
    )


def test_a_readers_work_moves_aside_when_the_chapter_changes(project, capsys):
    path = write_and_answer(project)
    chapter = project / "chapters/01-first.qmd"
    chapter.write_text(chapter.read_text().replace("A section with a label", "A better name"))
    write_notebooks(project, project / "mine", ["reader"])
    assert "A better name" in path.read_text() and "My own words." not in path.read_text()
    assert "My own words." in (project / "mine/yours/01-first-1.ipynb").read_text()
    assert "yours/01-first-1.ipynb" in capsys.readouterr().out


def test_an_untouched_notebook_is_simply_renewed(project):
    path = write_notebooks(project, project / "mine", ["reader"])[0]
    chapter = project / "chapters/01-first.qmd"
    chapter.write_text(chapter.read_text().replace("A section with a label", "A better name"))
    write_notebooks(project, project / "mine", ["reader"])
    assert "A better name" in path.read_text() and not (project / "mine/yours").exists()
    assert not list(path.parent.glob(".*.part"))


# -- Finding the book
# ----------------------------------------------------------------------------------------------


def run_first_cell(folder, **environment):
    code = FIND_BOOK + "\nprint(check.__module__, Path.cwd())"
    kept = {
        name: value for name, value in os.environ.items() if name not in ("BOOK_ROOT", "PYTHONPATH")
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
    )


def test_the_first_cell_finds_the_book_from_a_folder_inside_it():
    done = run_first_cell(ROOT / "chapters")
    assert done.stdout.split() == ["lab.exercises", str(ROOT)], done.stderr


def test_the_first_cell_finds_the_book_by_environment_variable(tmp_path):
    done = run_first_cell(tmp_path, BOOK_ROOT=str(ROOT))
    assert done.stdout.split() == ["lab.exercises", str(ROOT)], done.stderr


def test_the_first_cell_says_what_to_do_when_there_is_no_book(tmp_path):
    done = run_first_cell(tmp_path)
    assert done.returncode and "BOOK_ROOT" in done.stderr and str(tmp_path.resolve()) in done.stderr


# -- They run
# --------------------------------------------------------------------------------------------------


def verdicts_of(cells):
    """label -> does the last verdict shown say right? From the outputs, as a reader sees them."""
    verdicts = {}
    for cell in cells:
        for output in cell.get("outputs", []):
            text = output.get("data", {}).get("text/plain", "")
            label, colon, verdict = text.partition(": ")
            if colon and label in EXERCISES and "text/markdown" in output.data:
                verdicts[label] = verdict.startswith("right.")
    return verdicts


def warnings_of(cells):
    """What cells have written to standard error of warnings: a list of texts."""
    return [
        output.text
        for cell in cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr" and "Warning" in output.text
    ]


def assert_judged(stem, starters, solutions):
    """Of each exercise of the chapter, what it starts from is not right yet, and its solution
    is."""
    mine = [label for label, exercise in EXERCISES.items() if exercise.path.stem == stem]
    assert verdicts_of(starters) == dict.fromkeys(mine, False)
    assert verdicts_of(solutions) == dict.fromkeys(mine, True)


@pytest.mark.parametrize("stem", CHAPTERS)
def test_what_only_the_notebook_has_runs_where_it_stands(built_book, stem):
    """Exercises, their solutions, cells to try and computed paragraphs, between the cells of their
    chapter: run in the kernel that built its page (tests/notebook_along.py), where an error would
    have stopped the build. The arithmetic is another machine's: checks bear that too."""
    path = built_book.parent / "_cache" / "pandoc" / f"{stem}.ipynb"
    own = [cell for cell in nbformat.read(path, as_version=4).cells if is_own(cell)]
    reader, instructor = (
        [cell for cell in own if cell.metadata.notebook == edition]
        for edition in ("reader", "instructor")
    )
    assert_judged(stem, reader, instructor)
    assert not warnings_of(own)


@pytest.mark.slow
@pytest.mark.parametrize("stem", CHAPTERS)
def test_the_notebook_runs_from_another_folder(notebooks, stem, tmp_path, monkeypatch):
    """The readers' from top to bottom, then in the same kernel what only the instructors' has, for
    that takes half the time. A failing cell raises here."""
    if stem not in WHOLE_NOTEBOOKS and os.environ.get("BOOK_TESTS") != "all":
        pytest.skip("BOOK_TESTS=all runs the whole notebook")
    monkeypatch.setenv("BOOK_ROOT", str(ROOT))
    reader, instructor = (notebooks[edition][stem] for edition in ("reader", "instructor"))
    notebook, starters = copy.deepcopy(reader), len(reader.cells)
    notebook.cells += [new_code_cell(code) for code in solutions_of(reader, instructor)]
    record = ROOT / "_record" / f"{stem}.json"
    before = record.read_bytes() if record.exists() else None
    asyncio.run(run_notebook(notebook, tmp_path, timeout=600))
    assert (record.read_bytes() if record.exists() else None) == before, (
        "a notebook must leave no record"
    )
    assert_judged(stem, notebook.cells[:starters], notebook.cells[starters:])
    assert not warnings_of(notebook.cells)


def test_readers_are_told_how_to_run(first):
    assert [cell.source for cell in first.cells[1:3]] == [HOW_TO_RUN, FIND_BOOK]
