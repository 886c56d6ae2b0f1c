"""Everything that the book trains or measures: one list of experiments, and what each needs.

`python -m tools.train --list` prints it, `python -m tools.train` makes what is missing. An
experiment is a question; its results are what is stored for it, one folder each. What depends on
other results (`after`) is made when these are there.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from lab import store
from lab.adders.studies import frontier, recovery, second_pass
from lab.adders.studies.crossed import AIDS, CROSSED_STARTS
from lab.adders.studies.generic_starts import STARTS
from lab.adders.studies.reported_failures import FAILURES
from lab.adders.studies.ten_digit_study import FIRST_PASSES
from lab.adders.training import sweeps
from lab.addition import censuses, interventions, replay
from lab.experiments import ARMS, BESIDE_ARMS, HISTORY_ONLY, book_configs, runs_of
from lab.modular import runs as modular
from lab.runs import TINY, finished_run, train_and_store
from lab.scale import at_most, few, scale
from lab.stats import exact_interval, percent_interval

__all__ = """
    Experiment Result FOLDERS experiments find_experiment changed_results summary_of index_of
    readable_names name_folders unaccounted
""".split()

FOLDERS = {  # kind: (the book's folder, the reader's)
    "runs": (store.BOOK_RUNS, store.YOUR_RUNS),
    "censuses": (censuses.BOOK_CENSUSES, censuses.YOUR_CENSUSES),
    "interventions": (interventions.BOOK_INTERVENTIONS, interventions.YOUR_INTERVENTIONS),
    "modular": (modular.BOOK_MODULAR, modular.YOUR_MODULAR),
    "fleets": (sweeps.BOOK_FLEETS, sweeps.YOUR_FLEETS),
    "trajectories": (store.BOOK_TRAJECTORIES, store.YOUR_TRAJECTORIES),
}


@dataclass(frozen=True)
class Result:
    """One stored thing: a folder `name` among those of its kind.

    jobs(folder): what is left to do for it there, a list of functions without arguments that a
    process can be sent. config: its settings, None where it has none of its own.
    """

    name: str
    jobs: Callable
    config: object = None
    seeds: tuple = ()

    def is_complete(self, folder):
        """Is there nothing left to do for it in `folder`?"""
        return not self.jobs(folder)

    def seconds(self, folder):
        """How long it took, as recorded, in seconds of one core; None where it is not stored."""
        place = store.place_of(folder, self.name) / "provenance.json"
        if not place.exists():
            return None
        provenance = json.loads(place.read_text(encoding="utf-8"))
        return sum(block["seconds"] for block in provenance.get("blocks", [provenance]))


@dataclass(frozen=True)
class Experiment:
    """A question of the book: `results()` are the stored things that answer it."""

    name: str
    chapter: str
    kind: str
    results: Callable
    after: tuple = ()


# -- Results of each kind


def _once(name, config, make):
    """A result that is made in one go, by make(folder)."""

    def jobs(folder):
        return [] if (Path(folder) / name).exists() else [functools.partial(make, folder)]

    return Result(name, jobs, config)


def _run_result(config, keep_weights=True):
    config = at_most(config, TINY)
    make = functools.partial(_train_run, config, keep_weights)
    return _once(store.run_name(config), config, make)


def _train_run(config, keep_weights, folder):
    device = torch.device("cpu")
    return train_and_store(config, folder, device, progress=False, keep_weights=keep_weights)


def _arm_results(arm):
    return [_run_result(config, arm not in HISTORY_ONLY) for config in book_configs([arm])]


def _modular_result(config, keep="weights"):
    config = at_most(config, modular.TINY)
    make = functools.partial(_train_modular, config, keep)
    return _once(store.run_name(config), config, make)


def _train_modular(config, keep, folder):
    return modular.train_and_store(config, folder, keep, progress=False)


def sweep_result(config, seeds, fleet_size=16, device="cpu"):
    """A sweep as a Result: fleets of up to `fleet_size` seeds, each a job of its own."""
    config = at_most(config, sweeps.TINY)

    def jobs(folder):
        return [
            functools.partial(sweeps.train_block, config, block, folder, device, False)
            for block in sweeps.blocks_to_do(config, seeds, fleet_size, folder)
        ]

    return Result(sweeps.sweep_name(config), jobs, config, tuple(seeds))


def _entry_results(entry):
    return [sweep_result(entry.config, few(entry.seeds))]


def _measured(run, take, stored):
    """What take(run, folder) finds in a run's model; stored(run, folder) is None where it is not
    there, or was made with other weights."""

    def jobs(folder):
        if stored(run, folder) is not None:
            return []
        return [functools.partial(_take, take, run.config, folder)]

    return Result(run.name, jobs)


def _take(take, config, folder):
    return take(finished_run(config), folder)


def _census_results():
    return [
        _measured(run, censuses.store_census, censuses.stored_census)
        for runs in censuses.subjects().values()
        for run in runs
    ]


def _intervention_results():
    take, stored = interventions.store_interventions, interventions.stored_interventions
    return [_measured(run, take, stored) for run in few(runs_of("reference"))]


def _replay_results():
    config = at_most(replay.REPLAYED, TINY)
    return [_once(store.run_name(config), None, _train_replay)]


def _train_replay(folder):
    return replay.store_replay(folder, device=torch.device("cpu"))


def _followed_result(label):
    name = sweeps.sweep_name(frontier.ENTRIES[label].config)
    return _once(name, None, functools.partial(_follow, label))


def _follow(label, folder):
    return frontier.store_followed(label, Path(folder), progress=False)


def _second_pass_results():
    first = FIRST_PASSES["763"]
    start, seeds = sweeps.sweep_name(first.config), few(first.seeds)
    arms = second_pass.factorial_and_published(start, first.config.model)
    return [sweep_result(config, seeds, fleet_size=4) for _, config in arms]


# -- The list

CHAPTER_OF_ARM = {
    "reference": "1 to 7",
    "most significant first": "1",
    "reference, until learned": "1, 4",
    "reference, followed to the end": "4",
    "batches of 128": "4",
    "map": "4",
    "half-trained": "5",
    "one layer": "5, 6",
}


def _chapter_of(arm):
    if arm in CHAPTER_OF_ARM:
        return CHAPTER_OF_ARM[arm]
    if ARMS[arm].get("stop_at") == 40:  # a piece taken away or multiplied
        return "6"
    words = ("reversal", "both tasks", "convolution", "GRU")
    return "7" if any(word in arm for word in words) else "3"


def _of_entries(chapter, entries):
    return [
        Experiment(label, chapter, "fleets", functools.partial(_entry_results, entry))
        for label, entry in entries.items()
    ]


def experiments():
    """All experiments of the book, the most needed first: a list of Experiment, names unique."""
    addition = [
        Experiment(
            arm,
            _chapter_of(arm),
            "runs",
            functools.partial(_arm_results, arm),
        )
        for arm in (*ARMS, *BESIDE_ARMS)
    ]
    needed = tuple(each.name for each in addition)
    measured = [
        Experiment("censuses", "5", "censuses", _census_results, needed),
        Experiment("interventions", "6", "interventions", _intervention_results, ("reference",)),
        Experiment("reference, replayed", "4", "trajectories", _replay_results),
    ]
    of_modular = [
        Experiment(
            f"modular, {arm}",
            "8",
            "modular",
            functools.partial(
                lambda configs, keep: [_modular_result(c, keep) for c in configs], configs, keep
            ),
        )
        for arm, (configs, keep) in modular.book_arms().items()
    ]
    crossed = {f"9 with known signs, start {start}": e for start, e in CROSSED_STARTS.items()}
    adders = [
        *_of_entries("9", FIRST_PASSES),
        Experiment("763, second passes", "9", "fleets", _second_pass_results, ("763",)),
        *_of_entries("10", frontier.ENTRIES | AIDS | crossed),
        *_of_entries("10", STARTS | FAILURES),
        *[
            Experiment(
                f"{label}, followed",
                "10",
                "trajectories",
                functools.partial(lambda label: [_followed_result(label)], label),
            )
            for label in frontier.FOLLOWED
        ],
        Experiment(
            "recovery", "11", "fleets", functools.partial(_recovery_results, recovery.SEEDS)
        ),
        Experiment(
            "recovery, other seeds and processor",
            "11",
            "fleets",
            functools.partial(_recovery_results, recovery.SECOND_SEEDS),
        ),
    ]
    return [*addition, *measured, *of_modular, *adders]


def _recovery_results(seeds):
    return [sweep_result(arm.config, seeds) for arm in recovery.arms()]


def changed_results(experiment, changes, seeds=None):
    """An experiment's results with some settings or seeds changed: a list of Result, each once.

    changes: {setting: value}, in a sweep "model.start" for one of the model's. seeds: a list of
    ints, None to keep them. Raises ValueError for an unknown setting, and for an experiment that
    has no settings of its own.
    """
    if experiment.kind not in ("runs", "modular", "fleets"):
        raise ValueError(
            f"{experiment.name!r} measures stored results: it has no settings to change"
        )
    results = experiment.results()
    if experiment.kind == "fleets":
        return [
            sweep_result(sweeps.changed(each.config, changes), seeds or list(each.seeds))
            for each in results
        ]
    known = {f.name for f in dataclasses.fields(results[0].config)}
    if not set(changes) <= known:
        unknown = sorted(set(changes) - known)[0]
        raise ValueError(
            f"unknown setting {unknown!r}: it may be one of {', '.join(sorted(known))}"
        )
    configs = [dataclasses.replace(each.config, **changes) for each in results]
    if seeds is not None:
        configs = [dataclasses.replace(config, seed=seed) for config in configs for seed in seeds]
    make = _run_result if experiment.kind == "runs" else _modular_result
    return [make(config) for config in dict.fromkeys(configs)]


def find_experiment(name):
    """The experiment of this name, or one of a preset's that the book does not train, with 40 seeds
    and no chapter. Raises ValueError for an unknown name, with the nearest ones."""
    known = {each.name: each for each in experiments()}
    if name in known:
        return known[name]
    if name in sweeps.PRESETS:  # a design that the book does not train: a reader's own experiment
        entry = frontier.Entry(name, seeds=range(40))
        return Experiment(name, "", "fleets", functools.partial(_entry_results, entry))
    near = [each for each in known if name.lower() in each.lower()][:8]
    raise ValueError(
        f"there is no experiment {name!r}"
        + (f"; names with that in them: {'; '.join(near)}" if near else "")
        + ". `python -m tools.train --list` shows all"
    )


def index_of(kind):
    """What the book's folder of a kind holds: a DataFrame, one row per folder.

    folder, experiments: names of those that ask for it; chapters; seeds: of a sweep; minutes: of
    one core, as recorded; bytes: of its files; command: what makes it again.
    """
    asked, book = {}, FOLDERS[kind][0]
    for experiment in experiments():
        if experiment.kind == kind:
            for result in experiment.results():
                asked.setdefault(result.name, []).append((experiment, result))
    rows = []
    for name, pairs in sorted(asked.items()):
        place = store.place_of(book, name)
        if not place.exists():
            continue
        chapters = {c for experiment, _ in pairs for c in experiment.chapter.split(", ")}
        rows.append(
            {
                "folder": place.name,
                "experiments": "; ".join(experiment.name for experiment, _ in pairs),
                "chapters": ", ".join(sorted(chapters, key=lambda c: int(c.split()[0]))),
                "seeds": sweeps.seeds_text({s for _, result in pairs for s in result.seeds}),
                "minutes": round(pairs[0][1].seconds(book) / 60, 1),
                "bytes": sum(p.stat().st_size for p in place.rglob("*") if p.is_file()),
                "command": f'python -m tools.train "{pairs[0][0].name}"',
            }
        )
    return pd.DataFrame(sorted(rows, key=lambda row: row["folder"]))


def readable_names():
    """Words for the folders of sweeps, for a stranger who looks through data/fleets: {name: words
    and hash}. A sweep is called by its experiment; one of an experiment with several keeps its
    model's label."""
    words = {}
    for experiment in experiments():
        results = experiment.results() if experiment.kind == "fleets" else []
        if len(results) == 1:
            text = re.sub("[^a-z0-9]+", "-", experiment.name.lower()).strip("-")
            words.setdefault(results[0].name, f"{text}-{store.hash_in(results[0].name)}")
    return words


def name_folders():
    """Give the book's sweeps their readable names, where they still have others."""
    folder = FOLDERS["fleets"][0]
    for name, wanted in readable_names().items():
        place = store.place_of(folder, name)
        if place.exists() and place.name != wanted:
            place.rename(folder / wanted)


def summary_of(kind, result, folder):
    """How a stored result came out, as a short text."""
    place = store.place_of(folder, result.name)
    if kind == "fleets":
        outcomes = sweeps.read_sweep(result.config, folder).outcomes
        successes, n = int((outcomes["board_right"] == sweeps.SUCCESS).sum()), len(outcomes)
        return (
            f"{successes} of {n} seeds right on all {sweeps.SUCCESS:,} pairs"
            f" ({percent_interval(*exact_interval(successes, n))}),"
            f" {int((outcomes['ripple_wrong'] == 0).sum())} without an error on the stratified set"
        )
    if kind == "runs":
        history = store.read_run(place, type(result.config)).history
        return f"{len(history)} epochs, exact match {history['accuracy'].iloc[-1]:.4f}"
    if kind == "modular":
        run = modular.read_modular(place)
        last, times = run.history.iloc[-1], run.times()
        return (
            f"{run.result['ended']} at epoch {times['censored_at']:,}: memorised"
            f" {times['memorised']}, grokked {times['grokked']},"
            f" test accuracy {last['test_accuracy']:.4f}"
        )
    return "measured"


def unaccounted():
    """Stored results of the book that no experiment asks for: a list of (kind, folder name)."""
    if scale() != "book":
        raise ValueError("the book's stored results are accounted for at the book's scale only")
    asked = {kind: set() for kind in FOLDERS}
    for experiment in experiments():
        folder = FOLDERS[experiment.kind][0]
        names = [result.name for result in experiment.results()]
        asked[experiment.kind] |= {store.place_of(folder, name).name for name in names}
    return [
        (kind, place.name)
        for kind, (folder, _) in FOLDERS.items()
        for place in store.stored_places(folder)
        if place.name not in asked[kind]
    ]
