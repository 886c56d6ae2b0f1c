"""Compare the numbers that the last build printed with those of the book's own: `python -m
tools.numbers [--write]`.

--write makes data/numbers.csv anew from the last build: do so after a change that is meant to
change numbers, and read the difference before you commit it.
"""

import argparse
import os
import sys

from lab.page.printed import NUMBERS, compare, numbers_table, read_numbers
from lab.page.record import RECORDS, read_records


def report(comparison):
    """What a Comparison says, line by line: a list of texts."""
    lines = [
        f"{row.chapter}: {row.place}: {row.stored} in the book's own build, {row.here} here"
        for row in comparison.differences.itertuples()
    ]
    lines += [
        f"{chapter}: no numbers at {place!r} any more" for chapter, place in comparison.missing
    ]
    lines += [f"{chapter}: {place!r} is new" for chapter, place in comparison.new]
    return lines + [
        f"{comparison.compared:,} numbers compared: {len(comparison.differences)} differ, "
        f"{len(comparison.beyond_rounding)} by more than the last digit printed"
    ]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write", action="store_true", help="make the last build's numbers those of the book"
    )
    options = parser.parse_args(arguments)
    here = numbers_table(read_records())
    if here.empty:
        print(
            f"there is no build to read: {RECORDS.name} is empty. Build the book first.",
            file=sys.stderr,
        )
        return 2
    comparison = compare(read_numbers() if NUMBERS.exists() else here.iloc[:0], here)
    print("\n".join(report(comparison)))
    if options.write:
        part = NUMBERS.with_name(f".{NUMBERS.name}.part")
        here.to_csv(part, index=False, lineterminator="\n")
        os.replace(part, NUMBERS)
        print(f"wrote {NUMBERS.name}: {len(here):,} places")
        return 0
    return 1 if len(comparison.beyond_rounding) or comparison.missing or comparison.new else 0


if __name__ == "__main__":
    sys.exit(main())
