"""The numbers of a page: found in its text, noted while it is computed, compared in units of the
last digit printed."""

import ast

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import Markdown
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from small_book import ROOT

from lab.page.printed import Printed, compare, numbers_in


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("15 of 16 (70 to 100 %), p = 6e-05.", ["15", "16", "70", "100", "6e-05"]),
        ("10,010 sums, 0.9594 nats; from −0.5 to -1.", ["10,010", "0.9594", "-0.5", "-1"]),
        ("seed042-63d60a07, W_1, Z0 and 3.5.", ["3.5"]),
        ("| 12 | 99.96 |", ["12", "99.96"]),
        ("none", []),
    ],
)
def test_numbers_of_a_text(text, numbers):
    assert numbers_in(text) == numbers


def table(*rows):
    return pd.DataFrame(rows, columns=["chapter", "place", "numbers"])


def test_differences_are_in_units_of_the_last_digit():
    stored = table(
        ("a", "claim x", "10,010 0.96 3"),
        ("a", "gone", "1"),
        ("b", "claim y", "6e-05"),
        ("c", "not built", "1"),
    )
    here = table(("a", "claim x", "10,011 0.98 3"), ("a", "new", "1"), ("b", "claim y", "6e-05"))
    found = compare(stored, here)
    assert found.compared == 4 and found.missing == [("a", "gone")] and found.new == [("a", "new")]
    assert found.differences[["stored", "here", "units"]].values.tolist() == [
        ["10,010", "10,011", 1.0],
        ["0.96", "0.98", 2.0],
    ]
    assert found.beyond_rounding["here"].tolist() == ["0.98"]
    assert compare(
        stored, table(("a", "claim x", "1 2"), ("b", "claim y", "7e-05"))
    ).beyond_rounding["stored"].tolist() == ["10,010 0.96 3"]


def test_what_a_page_prints_is_noted(monkeypatch):
    """Results, tables, output and inline values are noted, claims not twice, and nothing that holds
    no number."""
    shell, changes = InteractiveShell(), []
    page = Printed()
    page.watch(shell, on_change=lambda: changes.append(1))
    shell.push({"Markdown": Markdown})
    for name in (
        "write_output_prompt",
        "write_format_data",
        "finish_displayhook",
    ):  # a kernel sends results, it prints none
        monkeypatch.setattr(type(shell.displayhook), name, lambda self, *about: None)
    for code in (
        "#| label: tbl-a\nMarkdown('| 1 | 2.5 |')",
        "x = 41 + 1",
        "x + 1",
        "print('seven 7')",
        "object()",
        "'none'",
        "Markdown('::: {.claim}\\nfive 5\\n:::')",
    ):
        shell.run_cell(code)
    shell.user_expressions({"0": "f'{x / 8:.2f}'", "1": "x"})
    shell.user_expressions({"0": "x"})
    page.add("claim five", "five 5")
    assert page.rows() == [
        ("tbl-a", "1 2.5"),
        ("output of x + 1", "43"),
        ("output of print('seven 7')", "7"),
        ("inline f'{x / 8:.2f}'", "5.25"),
        ("inline x", "42"),
        ("inline x (2)", "42"),
        ("claim five", "5"),
    ]
    assert len(changes) == 2


def test_what_a_cell_of_a_kernel_prints_is_noted():
    """In a kernel, whose shell handles standard output otherwise than a bare one: IPython 9 undoes
    after each cell what was put into it."""
    codes = [
        "from lab.page.printed import Printed\nprinted = Printed()\nprinted.watch(get_ipython())",
        'print("a half:", 0.5)',
        'print("and")\nprint("a quarter:", 0.25)',
        "print(printed.rows())",
    ]
    notebook = new_notebook(cells=[new_code_cell(code) for code in codes])
    NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": ROOT}}
    ).execute()
    assert [cell.outputs[0].text for cell in notebook.cells[1:3]] == [
        "a half: 0.5\n",
        "and\na quarter: 0.25\n",
    ]
    assert ast.literal_eval(notebook.cells[3].outputs[0].text) == [
        ('output of print("a half:", 0.5)', "0.5"),
        ('output of print("a quarter:", 0.25)', "0.25"),
    ]
