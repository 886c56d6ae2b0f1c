"""Train the runs of modular addition into data/modular: `python -m tools.modular reference
[replicas ...] [--jobs 2]`.

An arm is one of lab/modular/runs.py's (reference, replicas, "small prime", map, mlp, ...), or
`one`: a single configuration per seed, with --set (for example `one --set p=97 --set fraction=0.4
--seeds 0:5`). What is stored is left alone; what was begun goes on where it was. `--status` says
how far everything is. For the background, let your shell do it: `nohup python -m tools.modular
reference &`.
"""

import argparse
import ast
import dataclasses
import json

import joblib
from safetensors import safe_open

from lab.adders.training.sweeps import parse_seeds
from lab.modular.model import ModularConfig
from lab.modular.runs import BOOK_MODULAR, KEEP, book_arms, read_modular, replica, train_and_store
from lab.store import run_name


def changed_settings(texts):
    """["p=97", "fraction=0.4"] as a dictionary. Raises ValueError for an unknown setting."""
    known, settings = {f.name for f in dataclasses.fields(ModularConfig)}, {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or name not in known:
            raise ValueError(
                f"--set takes name=value with a name of {', '.join(sorted(known))}, not {text!r}"
            )
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[name] = value  # a word, such as mlp
    return settings


def chosen(arms, settings, seeds, same_data, keep):
    """The (configuration, keep) pairs of a command line, each once. Raises ValueError for an
    unknown arm."""
    book, todo = book_arms(), {}
    for arm in arms:
        if arm == "one":
            fixed = {"data_seed": ModularConfig.data_seed} if same_data else {}
            configs, arm_keep = [replica(seed, **fixed | settings) for seed in seeds], "weights"
        elif arm in book:
            configs, arm_keep = book[arm]
            configs = [dataclasses.replace(config, **settings) for config in configs]
        else:
            raise ValueError(f"an arm is one of {', '.join([*book, 'one'])}, not {arm!r}")
        for config in configs:
            todo.setdefault(config, keep or arm_keep)
    return list(todo.items())


def status_of(config, folder):
    """How far a run is, as text."""
    place, partial = (
        folder / run_name(config),
        folder / ".partial" / run_name(config) / "state.safetensors",
    )
    if place.exists():
        return f"stored, {_summary(read_modular(place))}"
    if not partial.exists():
        return "not begun"
    with safe_open(partial, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    last = about["history"][-1]
    return (
        f"at epoch {about['epoch']:,} of {config.epochs:,}: train accuracy"
        f" {last['train_accuracy']:.4f}, test accuracy {last['test_accuracy']:.4f},"
        f" {1e3 * about['seconds'] / max(1, about['epoch']):.1f} ms per epoch"
    )


def _summary(run):
    times, last = run.times(), run.history.iloc[-1]
    return (
        f"{run.result['ended']} at epoch {times['censored_at']:,}: memorised {times['memorised']},"
        f" grokked {times['grokked']}, test accuracy {last['test_accuracy']:.4f}, key frequencies"
        f" {run.key_frequencies}, {run.provenance['seconds']:.0f} s"
    )


def train_one(config, keep, folder, threads, progress):
    """Train one run and say how it went."""
    import torch

    torch.set_num_threads(threads)
    run = read_modular(train_and_store(config, folder, keep, progress))
    print(f"{run.name} ({run.differs or 'reference'}): {_summary(run)}", flush=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "arms", nargs="*", help=f"{', '.join(book_arms())}, or one (default: all of the book's)"
    )
    parser.add_argument("--seeds", default="0:1", help="of `one`: 0:10, or 3,5,7:9")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="change a setting of every run",
    )
    parser.add_argument(
        "--same-data",
        action="store_true",
        help="of `one`: train all seeds on the reference run's pairs",
    )
    parser.add_argument("--keep", choices=KEEP, help="what is stored (default: the arm's)")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side (default 2)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads per run (default 1)")
    parser.add_argument(
        "--folder", default=BOOK_MODULAR, type=type(BOOK_MODULAR), help="default data/modular"
    )
    parser.add_argument("--status", action="store_true", help="only say how far each run is")
    options = parser.parse_args(arguments)
    try:
        todo = chosen(
            options.arms or book_arms(),
            changed_settings(options.settings),
            parse_seeds(options.seeds),
            options.same_data,
            options.keep,
        )
    except (ValueError, TypeError) as error:
        parser.error(str(error))
    if options.status:
        for config, _ in todo:
            print(
                f"{run_name(config)} ({config.differs or 'reference'}):"
                f" {status_of(config, options.folder)}"
            )
        return
    joblib.Parallel(n_jobs=options.jobs)(
        joblib.delayed(train_one)(config, keep, options.folder, options.threads, options.jobs == 1)
        for config, keep in todo
    )


if __name__ == "__main__":
    main()
