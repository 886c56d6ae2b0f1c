"""Train the sweeps of chapters 9 and 10 into data/fleets, and follow some seeds: `python -m
tools.frontier [LABEL ...] [--jobs 2]`.

The lists are lab/adders/studies/ten_digit_study.py, lab/adders/studies/frontier.py,
lab/adders/studies/crossed.py, lab/adders/studies/generic_starts.py and
lab/adders/studies/reported_failures.py; without labels all of them, some twenty hours of one core,
and at the end the second passes of the 763 (tools/second_pass.py). Interrupt it as you like: it
goes on.
"""

import argparse

from lab.adders.studies.crossed import AIDS, CROSSED_STARTS
from lab.adders.studies.frontier import BOOK_TRAJECTORIES, ENTRIES, FOLLOWED, store_followed
from lab.adders.studies.generic_starts import FACTORIAL, GENERIC, TIED
from lab.adders.studies.reported_failures import FAILURES
from lab.adders.studies.ten_digit_study import FIRST_PASSES
from lab.adders.training.sweeps import BOOK_FLEETS, sweep, sweep_name
from tools import second_pass

ALL = (
    FIRST_PASSES
    | ENTRIES
    | AIDS
    | {f"9 with known signs, start {start}": entry for start, entry in CROSSED_STARTS.items()}
    | FACTORIAL
    | GENERIC
    | TIED
    | FAILURES
)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "labels", nargs="*", metavar="LABEL", help=f"one or more of: {'; '.join(ALL)}"
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="fleets side by side, one thread each (default 2)"
    )
    parser.add_argument(
        "--folder", default=BOOK_FLEETS, help="where sweeps are stored (default data/fleets)"
    )
    options = parser.parse_args(arguments)
    unknown = [label for label in options.labels if label not in ALL]
    if unknown:
        parser.error(f"unknown label {unknown[0]!r}: it may be one of {'; '.join(ALL)}")
    for label in options.labels or ALL:
        entry = ALL[label]
        found = sweep(
            entry.config,
            list(entry.seeds),
            n_jobs=options.jobs,
            folder=options.folder,
            progress=False,
        )
        print(
            f"{label}: {int(found.successes.sum())} of {len(found.outcomes)} seeds add", flush=True
        )
        if label in FOLLOWED and not (BOOK_TRAJECTORIES / sweep_name(entry.config)).exists():
            print(store_followed(label, BOOK_TRAJECTORIES), flush=True)
    if not options.labels:
        second_pass.main(
            [
                sweep_name(FIRST_PASSES["763"].config),
                "--folder",
                str(options.folder),
                "--jobs",
                str(options.jobs),
            ]
        )


if __name__ == "__main__":
    main()
