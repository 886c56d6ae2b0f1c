"""The book prints the same numbers on every machine."""

import json
import re

from lab.page.printed import compare, numbers_table, read_numbers


def test_disturbed_arithmetic_prints_the_same_numbers(built_book):
    """`built_book` is computed with every reduction moved by some units in the last place: see
    conftest.py. Each of its numbers is the one that the book's own build printed, to one unit in
    the last digit printed (which may round the other way)."""
    records = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((built_book.parent / "_record").glob("*.json"))
    ]
    comparison = compare(read_numbers(), numbers_table(records))
    print(
        f"{comparison.compared:,} numbers compared, {len(comparison.differences)} printed otherwise"
    )
    write = "`python -m tools.numbers --write` after `make book`, if that is meant"
    assert not comparison.missing and not comparison.new, (
        f"places on one side only: {comparison.missing} {comparison.new}; {write}"
    )
    assert comparison.beyond_rounding.empty, f"{comparison.beyond_rounding.to_string()}\n{write}"
    assert (
        len(comparison.differences) <= 0.001 * comparison.compared and comparison.compared > 5_000
    )


def test_no_number_is_a_rounding_error():
    """What is nothing but the last bits of some sums (1.1e-16) is another number on the next
    machine, also where no reduction is disturbed: a page says that it is below a bound."""
    table = read_numbers()
    printed = [
        (row.chapter, row.place, float(number))
        for row in table.itertuples()
        for number in re.findall(r"\d(?:\.\d+)?e-\d+", row.numbers)
    ]
    assert len(printed) > 10  # p-values and the like
    assert [each for each in printed if each[2] < 1e-13] == []
