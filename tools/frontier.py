"""Train the sweeps of chapter 10 into data/fleets, and follow some seeds: `python -m tools.frontier [LABEL ...] [--jobs 2]`.

The list is lab/frontier.py; without labels all of it, some four hours of one core. Interrupt it as you like: it goes on.
"""
import argparse

from lab.frontier import BOOK_TRAJECTORIES, ENTRIES, FOLLOWED, store_followed
from lab.sweeps import BOOK_FLEETS, sweep, sweep_name


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", nargs="*", metavar="LABEL", help=f"one or more of: {'; '.join(ENTRIES)}")
    parser.add_argument("--jobs", type=int, default=2, help="fleets side by side, one thread each (default 2)")
    parser.add_argument("--folder", default=BOOK_FLEETS, help="where sweeps are stored (default data/fleets)")
    options = parser.parse_args(arguments)
    unknown = [label for label in options.labels if label not in ENTRIES]
    if unknown:
        parser.error(f"unknown label {unknown[0]!r}: it may be one of {'; '.join(ENTRIES)}")
    for label in options.labels or ENTRIES:
        entry = ENTRIES[label]
        found = sweep(entry.config, list(entry.seeds), n_jobs=options.jobs, folder=options.folder, progress=False)
        print(f"{label}: {int(found.successes.sum())} of {len(found.outcomes)} seeds add", flush=True)
        if label in FOLLOWED and not (BOOK_TRAJECTORIES / sweep_name(entry.config)).exists():
            print(store_followed(label, BOOK_TRAJECTORIES), flush=True)


if __name__ == "__main__":
    main()
