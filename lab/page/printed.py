"""The numbers that a page prints: noted while it is computed, kept with the data, compared at every
build.

A *place* is what prints: a claim, a table or other output of a cell, an inline expression. Its
numbers are kept as they are printed, in reading order; `data/numbers.csv` holds those of the book's
own build (`python -m tools.numbers --write`). Two printings of a number agree where they differ by
no more than one unit in the last digit printed: a machine that adds in another order may round the
other way.
"""

import re
import sys
from dataclasses import dataclass
from decimal import Decimal

import pandas as pd
from IPython.display import Markdown

from lab import ROOT

__all__ = "NUMBERS Comparison Printed numbers_in compare read_numbers numbers_table".split()

NUMBERS = ROOT / "data" / "numbers.csv"
ABOUT_THE_BUILD = (  # the page that lists runs, times and versions: they differ from build to build
    "how-computed"
)
COLUMNS = ["chapter", "place", "numbers"]
NUMBER = re.compile(r"(?<![\w.])[-−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
ADDRESS = re.compile(
    r" at 0x[0-9a-f]+"
)  # a repr that says where an object lies, which says nothing


def numbers_in(text):
    """The numbers of a text as printed, in order: a list of texts. Digits within words (`seed042`,
    `W_1`) are none."""
    return [number.replace("−", "-") for number in NUMBER.findall(text)]


class Printed:
    """What the cells of one page print: {place: text}, in order. `watch` a shell to fill it."""

    def __init__(self):
        self.places = {}
        self._stdout = []

    def add(self, place, text):
        """Note a text. A place that is there already gets a number: "inline f(x)", "inline f(x)
        (2)"."""
        if not numbers_in(text) or ADDRESS.search(text):
            return
        count = 1 + sum(
            name == place or re.fullmatch(re.escape(place) + r" \(\d+\)", name) is not None
            for name in self.places
        )
        self.places[place if count == 1 else f"{place} ({count})"] = text

    def watch(self, shell, on_change=lambda: None, claimed=lambda expressions, values: ()):
        """Note what an IPython shell prints from now on: results and output of cells, values of
        inline expressions.

        claimed: is told the expressions and their values, and returns the positions of those that
        belong to claims, which have a place of their own.
        """
        evaluate = shell.user_expressions

        def user_expressions(expressions):
            values = evaluate(expressions)
            texts = list(expressions.values())
            failed = any("data" not in value for value in values.values())
            elsewhere = () if failed else claimed(texts, [values[key] for key in expressions])
            for position, (key, expression) in enumerate(expressions.items()):
                if position in elsewhere:
                    continue
                data = values[key].get("data", {})
                self.add(
                    f"inline {_short(expression)}",
                    data.get("text/markdown") or data.get("text/plain", ""),
                )
            if expressions:  # a cell comes with none
                on_change()
            return values

        shell.user_expressions = user_expressions
        shell.events.register("pre_run_cell", self._note_printed)
        shell.events.register("post_run_cell", self._after_cell)

    def _note_printed(self, info):
        """Note what the cell that begins now prints. IPython 9 puts a `write` of its own into
        sys.stdout for every cell and takes it out again, with whatever was put in meanwhile: so
        this is done anew before each."""
        self._stdout.clear()
        write = sys.stdout.write
        if getattr(write, "notes", None) is self:
            return

        def noted(text):
            self._stdout.append(text)
            return write(text)

        noted.notes = self
        sys.stdout.write = noted

    def _after_cell(self, result):
        code = result.info.raw_cell
        label = re.search(r"^#\|\s*label:\s*(\S+)", code, re.MULTILINE)
        lines = [line for line in code.splitlines() if line.strip() and not line.startswith("#")]
        place = label.group(1) if label else f"output of {_short(lines[-1])}" if lines else "output"
        self.add(place, "".join(self._stdout))
        if isinstance(result.result, Markdown):
            if not result.result.data.startswith(
                ("::: {.claim", "> ✓", "> ✗")
            ):  # claims have a place of their own
                self.add(place, result.result.data)
        elif result.result is not None and not hasattr(result.result, "savefig"):
            self.add(place, repr(result.result))

    def rows(self):
        """[(place, numbers joined by blanks), ...]."""
        return [(place, " ".join(numbers_in(text))) for place, text in self.places.items()]


def _short(code):
    text = " ".join(code.split())
    return text if len(text) <= 80 else text[:77] + "..."


def numbers_table(records):
    """The printed numbers of chapters' records as a DataFrame (chapter, place, numbers), without
    those about the build itself."""
    return pd.DataFrame(
        [
            (record["chapter"], place, numbers)
            for record in records
            if record["chapter"] != ABOUT_THE_BUILD
            for place, numbers in record.get("numbers", [])
        ],
        columns=COLUMNS,
    )


def read_numbers(path=NUMBERS):
    """The numbers that the book's own build printed: a DataFrame (chapter, place, numbers)."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@dataclass(frozen=True)
class Comparison:
    """Two printings of the same pages. compared: how many numbers stand in both.

    differences: DataFrame (chapter, place, stored, here, units), one row per number that is not
    printed alike; units: by how many units of the last digit printed (NaN where one place has more
    numbers than the other). missing, new: places in one of the two only, lists of (chapter, place).
    """

    compared: int
    differences: pd.DataFrame
    missing: list
    new: list

    @property
    def beyond_rounding(self):
        """Differences of more than one unit in the last digit printed."""
        return self.differences[~(self.differences["units"] <= 1)]


def compare(stored, here):
    """Compare two tables of `numbers_table`, chapter by chapter of `here`: a Comparison."""
    stored = stored[stored["chapter"].isin(set(here["chapter"]))]
    before, now = [
        {(row.chapter, row.place): row.numbers.split() for row in table.itertuples()}
        for table in (stored, here)
    ]
    rows, compared = [], 0
    for key in [key for key in before if key in now]:
        old, new = before[key], now[key]
        if len(old) != len(new):
            rows.append((*key, " ".join(old), " ".join(new), float("nan")))
            continue
        compared += len(old)
        rows += [(*key, a, b, _units(a, b)) for a, b in zip(old, new) if a != b]
    return Comparison(
        compared,
        pd.DataFrame(rows, columns=["chapter", "place", "stored", "here", "units"]).astype(
            {"units": float}
        ),
        [key for key in before if key not in now],
        [key for key in now if key not in before],
    )


def _units(a, b):
    """By how many units of the last digit two printed numbers differ, the coarser printing
    deciding."""
    a, b = (Decimal(number.replace(",", "")) for number in (a, b))
    unit = max(Decimal(1).scaleb(number.as_tuple().exponent) for number in (a, b))
    return float(abs(a - b) / unit)
