"""Train what the book shows: `python -m tools.train [NAME ...]`.

Without a name, all that is missing from data/ is made; with names, these experiments. `--list`
shows them all, with what is stored and the minutes it took. What was interrupted goes on where it
was, and nothing that is stored is made again: to make a result anew, give another folder
(`--folder again`) and compare.

    python -m tools.train "57" --seeds 0:4 --set carry_share=0.3
    python -m tools.train "modular, reference" --seeds 0:5 --set p=97 --set fraction=0.4

trains a variation of your own: it is kept in data/yours, where chapters and notebooks find it.
`--scale tiny` makes everything so small that it takes minutes and learns nothing: a rehearsal.
"""

import argparse
import ast
import os
import sys
from pathlib import Path

import joblib


def main(arguments=None):
    options = read_options(arguments)
    os.environ["BOOK_SCALE"] = options.scale  # before lab is imported: its lists depend on it
    from lab import registry

    if options.list:
        print(listing(registry))
        return 0
    if options.index:
        write_indexes(registry)
        return 0
    try:
        todo = chosen(registry, options)
    except (ValueError, TypeError) as error:
        print(f"Train: {error}", file=sys.stderr)
        return 2
    with joblib.parallel_config(backend=options.backend):
        for experiment, results, folder in todo:
            carry_out(experiment.name, results, folder, options.jobs)
            for result in results():
                print(f"    {result.name}: {registry.summary_of(experiment.kind, result, folder)}")
    return 0


def read_options(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="an experiment (default: all)")
    parser.add_argument("--list", action="store_true", help="show all experiments, train nothing")
    parser.add_argument(
        "--index", action="store_true", help="write data/*/index.csv and data/runs.csv anew"
    )
    parser.add_argument("--seeds", help="0:100, or 3,5,7:9 (default: the experiment's)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="change a setting; of a sweep's model: model.NAME=VALUE",
    )
    parser.add_argument("--jobs", type=int, default=2, help="side by side, one thread each (2)")
    parser.add_argument(
        "--backend", default="loky", help="joblib's: loky, or dask or ray with a cluster at hand"
    )
    parser.add_argument("--folder", type=Path, help="keep results in FOLDER/<kind>, not in data")
    parser.add_argument("--scale", choices=("book", "tiny"), default="book", help="tiny: rehearse")
    options = parser.parse_args(arguments)
    if options.scale == "tiny" and (options.list or options.index):
        parser.error("--list and --index tell of what the book holds: they have no tiny scale")
    return options


def settings_of(texts):
    """["p=97", "architecture=mlp"] as a dictionary; what is no Python value is a word. Raises
    ValueError for a text without `=`."""
    settings = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"--set takes NAME=VALUE, not {text!r}")
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[name] = value
    return settings


def chosen(registry, options):
    """What a command line asks for: a list of (experiment, results, folder), what others need
    first. Raises ValueError for unknown names, settings and seeds."""
    from lab.adders.training.sweeps import parse_seeds

    named = [registry.find_experiment(name) for name in options.names]
    changes = settings_of(options.settings)
    seeds = parse_seeds(options.seeds) if options.seeds else None
    if (changes or seeds) and not named:
        raise ValueError("--set and --seeds change an experiment: name it")
    todo = []
    for experiment in sorted(named or registry.experiments(), key=lambda each: bool(each.after)):
        book, yours = registry.FOLDERS[experiment.kind]
        own = changes or seeds or options.scale == "tiny" or not experiment.chapter
        folder = options.folder / book.name if options.folder else yours if own else book
        if changes or seeds:
            results = registry.changed_results(experiment, changes, seeds)
            todo.append((experiment, lambda results=results: results, folder))
        else:
            todo.append((experiment, experiment.results, folder))
    return todo


def carry_out(name, results, folder, n_jobs):
    """Make what `folder` lacks of an experiment, and say what was made. results: a function, since
    what an experiment needs may depend on what was made before it."""
    jobs = [job for result in results() for job in result.jobs(folder)]
    if not jobs:
        print(f"{name}: all is there", flush=True)
        return
    done = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
        joblib.delayed(_on_one_thread)(job) for job in jobs
    )
    for count, _ in enumerate(done, start=1):
        print(f"{name}: {count} of {len(jobs)} made in {folder}", flush=True)


def _on_one_thread(job):
    """A run uses one thread, so that its history does not depend on how many cores there are."""
    import torch

    torch.set_num_threads(1)
    job()


def listing(registry):
    """All experiments as text, and at the end whatever is stored that none of them asks for."""
    lines = [f"{'experiment':<40}{'chapter':<10}{'kind':<15}{'stored':>12}{'minutes':>10}"]
    for experiment in registry.experiments():
        folder, results = registry.FOLDERS[experiment.kind][0], experiment.results()
        there = sum(result.is_complete(folder) for result in results)
        seconds = [s for result in results if (s := result.seconds(folder)) is not None]
        minutes = f"{sum(seconds) / 60:,.1f}" if seconds else "?"
        lines.append(
            f"{experiment.name:<40}{experiment.chapter:<10}{experiment.kind:<15}"
            f"{f'{there} of {len(results)}':>12}{minutes:>10}"
        )
    stray = registry.unaccounted()
    lines += [f"stored, and asked for by no experiment: {kind}/{name}" for kind, name in stray]
    return "\n".join(lines if stray else [*lines, "Every stored result is accounted for."])


def write_indexes(registry):
    """Give sweeps the names of their experiments, and write the index of every kind's folder, and
    the table of all runs with its codebook."""
    from lab import store
    from lab.runs import codebook, runs_table

    registry.name_folders()
    tables = {
        folder / "index.csv": registry.index_of(kind)
        for kind, (folder, _) in registry.FOLDERS.items()
    }
    tables |= {store.BOOK_RUNS.parent / "runs.csv": runs_table()}
    tables |= {store.BOOK_RUNS.parent / "runs-codebook.csv": codebook()}
    for place, table in tables.items():
        part = place.with_name(f".{place.name}.part")
        table.to_csv(part, index=False, lineterminator="\n")
        os.replace(part, place)


if __name__ == "__main__":
    sys.exit(main())
