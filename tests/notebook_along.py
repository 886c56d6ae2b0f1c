"""A chapter's notebook, run along with the chapter in the kernel that builds its page.

A notebook holds every cell of its chapter, and cells of its own: paragraphs with computed numbers,
what exercises start from, their solutions, cells to try. To run it whole is to compute the chapter
a second time. So the kernel that executes the chapter for its page also gets the notebook's own
cells, each at its place, the solutions at the end. While one of them runs no page is being built,
and what it prints is not the page's (tests/notebook_apart.py). Cells to try, and a solution
that trains, run without the disturbance of arithmetic (tests/disturbed.py), under which a step
takes several times as long.
"""

import os
from collections import defaultdict

from nbformat.v4 import new_code_cell
from notebook_apart import OWN, PLAIN

from lab.page.qmd import Cell
from tools.notebooks import without_record


def code_of(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def solutions_of(reader, instructor):
    """The code that only the instructors' notebook of a chapter has: a list of texts. Raises
    AssertionError where the rest is not the readers', in their order."""
    everybodys = code_of(reader)
    assert everybodys == [code for code in code_of(instructor) if code in everybodys]
    return [code for code in code_of(instructor) if code not in everybodys]


def add_notebook(built, chapter, reader, instructor):
    """Put the notebook's own cells into what a kernel is asked to run for a chapter's page.

    built: the cells of the page (tools.execute: one that sets up, then one for each part of
    `chapter`); reader, instructor: the chapter's notebooks. Raises AssertionError where the
    notebook lacks a cell of its chapter.

    Cells to try train for up to twenty seconds each, and laboratories were made for the pages:
    BOOK_TESTS=all runs them here, and every day only those of the notebooks that run whole
    (tests/tools/test_notebooks.py).
    """
    codes = [without_record(part.code) if isinstance(part, Cell) else "" for part in chapter.parts]
    expected = [position for position, code in enumerate(codes) if code.strip()]
    before, waiting = defaultdict(list), []  # position of a part -> (kind, code) that stand before
    for code in code_of(reader):
        if not expected or code != codes[expected[0]]:
            if "show_laboratory(" not in code or os.environ.get("BOOK_TESTS") == "all":
                waiting.append(("reader", OWN + code))
            continue
        position = expected.pop(0)
        before[position], waiting = waiting, []
        only_shown = not chapter.parts[position].source
        if only_shown and os.environ.get("BOOK_TESTS") == "all":
            waiting.append(("to try", PLAIN + code))
    assert not expected, f"{chapter.path.name}: the notebook lacks {codes[expected[0]]!r}"
    for code in solutions_of(reader, instructor):
        waiting.append(("instructor", (PLAIN if "train_model(" in code else OWN) + code))

    cells, line = [], 1
    for position, cell in enumerate(built.cells[1:]):
        line = cell.metadata.book_line
        cells += [*_own_cells(before[position], line), cell]
    built.cells[1:] = [*cells, *_own_cells(waiting, line)]
    return built


def _own_cells(codes, line):
    return [
        new_code_cell(code, metadata={"book_line": line, "notebook": kind}) for kind, code in codes
    ]


def is_own(cell):
    """Is it one of the cells that `add_notebook` has added?"""
    return "notebook" in cell.metadata
