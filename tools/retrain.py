"""Train the book's runs into data/runs and write the table of all runs: `python -m tools.retrain
[--all] [--jobs 2] [--arms ...]`.

Without --all only the runs that data/runs lacks. Each run uses one thread, so that its history does
not depend on how many cores there are; --jobs of them go side by side.
"""

import argparse
import os

import joblib

from lab import store
from lab.experiments import book_configs
from lab.runs import codebook, runs_table, train_and_store


def train_one(config):
    """Train one of the book's runs on one CPU thread, and say how it went."""
    import torch

    torch.set_num_threads(1)
    place = train_and_store(
        config, store.BOOK_RUNS, torch.device("cpu"), progress=False, replace=True
    )
    stored = store.read_run(place, type(config))
    last = stored.history.iloc[-1]
    print(
        f"{place.name}: {len(stored.history)} epochs, exact match {last['accuracy']:.4f}, "
        f"{stored.provenance['seconds']:.0f} s",
        flush=True,
    )


def write_tables():
    """Write data/runs.csv and its codebook anew, atomically."""
    for name, table in (("runs.csv", runs_table()), ("runs-codebook.csv", codebook())):
        part = store.ROOT / "data" / f".{name}.part"
        table.to_csv(part, index=False, lineterminator="\n")
        os.replace(part, store.ROOT / "data" / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--all", action="store_true", help="train again what is stored, and replace it"
    )
    parser.add_argument(
        "--table", action="store_true", help="only write the table of the runs that are stored"
    )
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side (default 2)")
    parser.add_argument(
        "--arms", nargs="+", help="only these arms of lab/experiments.py, in this order"
    )
    options = parser.parse_args()
    todo = (
        []
        if options.table
        else [
            c
            for c in book_configs(options.arms)
            if options.all or not (store.BOOK_RUNS / store.run_name(c)).exists()
        ]
    )
    print(f"{len(todo)} runs to train")
    joblib.Parallel(n_jobs=options.jobs)(joblib.delayed(train_one)(config) for config in todo)
    write_tables()


if __name__ == "__main__":
    main()
