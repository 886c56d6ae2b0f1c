"""Train on from a stored sweep of the 763, in every arm of the factorial: `python -m
tools.second_pass 763-1a2b3c4d`.

16 arms of 8,000 steps and the published one (lab/adders/studies/second_pass.py), each from the same
final weights. Interrupt it as you like: it goes on.
"""

import argparse
from pathlib import Path

import joblib

from lab.adders.studies.second_pass import (
    FACTORS,
    STEPS,
    factorial_and_published,
    read_second_passes,
    second_passes,
)
from lab.adders.training.sweeps import BOOK_FLEETS, parse_seeds, read_sweep_folder, sweep
from lab.store import DamagedRun


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("start", help="the folder name of a stored sweep, for example 763-1a2b3c4d")
    parser.add_argument("--seeds", help="0:8, or 3,5,7:9 (default: all that the sweep holds)")
    parser.add_argument(
        "--schedules", nargs="+", choices=FACTORS["schedule"], help="only the arms with these"
    )
    parser.add_argument(
        "--steps", type=int, default=STEPS, help=f"steps of each arm (default {STEPS:,})"
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="fleets side by side, one thread each (default 2)"
    )
    parser.add_argument("--fleet", type=int, default=4, help="seeds per fleet (default 4)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument(
        "--folder", default=BOOK_FLEETS, help="where sweeps are stored (default data/fleets)"
    )
    options = parser.parse_args(arguments)
    try:
        stored = read_sweep_folder(Path(options.folder) / options.start).outcomes["seed"].tolist()
        seeds = parse_seeds(options.seeds) if options.seeds else stored
        if not set(seeds) <= set(stored):
            raise ValueError(f"{options.start} lacks seeds {sorted(set(seeds) - set(stored))}")
        schedules = options.schedules or FACTORS["schedule"]
        arms = (
            second_passes(options.start, options.folder, options.steps, schedules)
            if options.schedules
            else factorial_and_published(options.start, options.folder, options.steps)
        )
    except (ValueError, DamagedRun) as error:
        parser.error(str(error))
    with joblib.parallel_config(backend="loky"):
        for _levels, config in arms:
            sweep(config, seeds, options.fleet, options.jobs, options.folder, options.device)
    table = read_second_passes(options.start, options.folder, options.steps, schedules)
    table = table[table["seed"].isin(seeds)]
    print(table.groupby(list(FACTORS))[["board_before", "board_right"]].median().to_string())


if __name__ == "__main__":
    main()
