"""Take the censuses that chapter 5 shows and keep them in data/censuses: `python -m tools.censuses
[--all]`.

Without --all only those that are missing or were made with other weights. About half a minute each
on one thread.
"""

import argparse

import torch

from lab.addition.censuses import BOOK_CENSUSES, store_census, stored_census, subjects


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="take every census anew")
    every = parser.parse_args().all
    torch.set_num_threads(1)
    for run in [run for runs in subjects().values() for run in runs]:
        if every or stored_census(run, BOOK_CENSUSES) is None:
            census = stored_census(run, store_census(run, BOOK_CENSUSES).parent)
            print(f"{run.name}: {census.wrong.sum():,} of {len(census.wrong):,} wrong", flush=True)


if __name__ == "__main__":
    main()
