"""Train from starts near the hand-set circuits into data/fleets: `python -m tools.recover [--jobs
2]`.

The design is lab/adders/studies/recovery.py: 12 arms of 16 seeds, about 50 minutes of one core.
Interrupt it as you like: it goes on.
"""

import argparse

from lab.adders.studies.recovery import SEEDS, arms
from lab.adders.training.sweeps import BOOK_FLEETS, sweep


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--jobs", type=int, default=2, help="fleets side by side, one thread each (default 2)"
    )
    parser.add_argument(
        "--folder", default=BOOK_FLEETS, help="where sweeps are stored (default data/fleets)"
    )
    options = parser.parse_args(arguments)
    for arm in arms():
        found = sweep(
            arm.config,
            SEEDS,
            len(SEEDS) // options.jobs,
            options.jobs,
            options.folder,
            progress=False,
        )
        print(
            f"circuit of {arm.counted}, {arm.rate} rate, noise {arm.noise:g}:"
            f" {int(found.successes.sum())} of {len(found.outcomes)} seeds add",
            flush=True,
        )


if __name__ == "__main__":
    main()
