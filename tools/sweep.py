"""Train many seeds of a small adder into data/fleets: `python -m tools.sweep --model 57 --seeds
0:100 [--jobs 2]`.

Interrupt it as you like: what was begun goes on at the next call, to the same bits. --set changes a
setting of the recipe, for example `--set carry_share=0.3`, or with "model." in front one of the
model: `--set "model.start='random'"`. `--set weights_seed=7` gives all seeds the initial weights of
seed 7, `--set data_seed=7` its examples.
"""

import argparse
import ast

import joblib

from lab.adders.training.sweeps import BOOK_FLEETS, SUCCESS, changed, parse_seeds, preset, sweep
from lab.stats import exact_interval, percent_interval


def configuration(model, settings):
    """The preset of a model with settings of recipe or model changed: ["lr=0.01",
    "model.window=None"].

    Raises ValueError for unknown ones."""
    changes = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator:
            raise ValueError(f"--set takes name=value, not {setting!r}")
        changes[name] = ast.literal_eval(value)
    return changed(preset(model), changes)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a name such as 57, 54, 67, r25, 763, 777")
    parser.add_argument("--seeds", default="0:40", help="0:100, or 3,5,7:9 (default 0:40)")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="NAME=VALUE")
    parser.add_argument(
        "--jobs", type=int, default=2, help="fleets side by side, one thread each (default 2)"
    )
    parser.add_argument("--fleet", type=int, default=16, help="seeds per fleet (default 16)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument(
        "--folder", default=BOOK_FLEETS, help="where sweeps are stored (default data/fleets)"
    )
    parser.add_argument(
        "--backend", default="loky", help="joblib's: loky, or dask or ray with a cluster at hand"
    )
    options = parser.parse_args(arguments)
    try:
        config, seeds = configuration(options.model, options.settings), parse_seeds(options.seeds)
    except (ValueError, SyntaxError, TypeError) as error:
        parser.error(str(error))
    with joblib.parallel_config(backend=options.backend):
        done = sweep(config, seeds, options.fleet, options.jobs, options.folder, options.device)
    these = done.outcomes[done.outcomes["seed"].isin(seeds)]
    successes = int((these["board_right"] == SUCCESS).sum())
    print(
        f"{done.path.name}: {successes} of {len(these)} seeds right on all {SUCCESS:,} pairs "
        f"({percent_interval(*exact_interval(successes, len(these)))}); "
        f"{int((these['ended'] == 'diverged').sum())} diverged; "
        f"{int((these['ripple_wrong'] == 0).sum())} without an error on the stratified set"
    )


if __name__ == "__main__":
    main()
