"""Runs of modular addition: trained with a history of every measure, resumable, stored small, read
back.

One folder per run, `data/modular/modular-seed<seed>-<8 hex digits>` (see lab/store.py):
    config.json, history.csv          one row per measured epoch; epoch e is after e steps, 0 is
    untrained
    result.json                       how the run ended, its key frequencies (the final ones), and
    `final_measures`
    spectra.safetensors               norms by frequency of W_E and of W_L at each measured epoch,
    float16
    weights.safetensors               the final weights, float16
    checkpoints.safetensors           the embedding at some 30 epochs, all weights at eight of them,
                                      float16
    provenance.json
How much is kept is the caller's choice: see KEEP. The measures are taken on the float32 weights
while they train. The key frequencies are known at the end only, so the weights of every measured
epoch lie in `.partial` until restricted and excluded loss have been taken from them; an interrupted
run goes on from there, to the same bits.
"""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import load_file, save_file
from safetensors.torch import save as tensors_to_bytes
from tqdm.auto import tqdm

from _checks import check_gradients, one_of, whole_number
from _common import own_defaults
from lab import store
from lab.find_or_make import Wanted, find_or_make, note_use, python_command
from lab.modular.fourier import (
    key_frequencies,
)
from lab.modular.measures import LEARNED, final_measures, measure, progress_measures, time_to_grok
from lab.modular.model import (
    ModularConfig,
    all_pairs,
    make_optimizer,
    modular_split,
    new_model,
    train_step,
)
from lab.scale import at_most, few

BOOK_MODULAR = store.ROOT / "data" / "modular"
YOUR_MODULAR = store.YOUR_RUNS / "modular"
KEEP = ("history", "spectra", "weights", "checkpoints")  # each keeps what the ones before it keep
EARLY_CHECKPOINTS = (0, 100, 200, 500)
WHOLE_CHECKPOINTS = (0, 200, 1_000, 5_000, 10_000, 15_000, 18_000)  # and the last
TINY = {"epochs": 6, "measure_every": 2}  # see lab/scale.py
CODE = store.code_hash(
    [Path(__file__).with_name(f"{name}.py") for name in ("model", "runs", "measures", "fourier")]
)


@dataclass(frozen=True)
class ModularRun:
    """A finished run. `weights` is None, `checkpoints` and `embeddings` empty where not kept."""

    config: ModularConfig
    history: pd.DataFrame  # one row per measured epoch
    result: (
        dict  # ended: "finished", "learned" or "diverged ..."; key_frequencies: list of k; final
    )
    spectra: dict  # "embedding", "logit_map": (rows of history, (p + 1) / 2) float32; or empty
    weights: dict
    checkpoints: dict  # epoch -> weights
    embeddings: dict  # epoch -> W_E, (p + 1, d_model) float32; at more epochs than `checkpoints`
    provenance: dict
    origin: str  # "book" or "yours"

    @property
    def name(self):
        return store.run_name(self.config)

    @property
    def differs(self):
        """What sets this run apart from the reference run, as text."""
        return self.config.differs

    @property
    def key_frequencies(self):
        return self.result["key_frequencies"]

    @property
    def final(self):
        """`final_measures` of the trained model: those taken at the end of training, else those of
        the kept weights."""
        return self.result.get("final") or final_measures(self.model(), self.key_frequencies)

    def model(self, epoch=None):
        """The trained model, or that of a checkpoint. Raises ValueError where its weights were not
        kept."""
        weights = self.weights if epoch is None else self.checkpoints.get(epoch)
        if weights is None:
            kept = (
                f"checkpoints: {', '.join(map(str, self.checkpoints))}"
                if self.checkpoints
                else "no checkpoints were kept"
            )
            raise ValueError(
                f"run {self.name} keeps no weights of"
                f" {'the end' if epoch is None else f'epoch {epoch}'}; {kept}"
            )
        model = new_model(self.config)
        model.load_state_dict({name: value.float() for name, value in weights.items()})
        return model.eval().requires_grad_(False)

    def times(self, train_level=LEARNED, test_level=LEARNED):
        """When it memorised and when it grokked: see `time_to_grok`."""
        return time_to_grok(self.history, train_level, test_level)


def checkpoint_epochs(measured, n=25):
    """Which of the measured epochs are kept: (epochs of which the embedding is, those of them of
    which all weights are). A few early ones, about n evenly spaced, and the last; an embedding has
    a fifteenth of the size, and what is said of many epochs is said of it."""
    last = measured[-1]

    def nearest(wanted):
        wanted = [epoch for epoch in wanted if epoch <= last]
        return {min(measured, key=lambda epoch: abs(epoch - want)) for want in wanted}

    whole = nearest({*WHOLE_CHECKPOINTS, last})
    evenly = nearest({*EARLY_CHECKPOINTS, *(last * i // n for i in range(1, n + 1))})
    return sorted(evenly | whole), sorted(whole)


# -- training


class ModularTraining:
    """A run in training, in the folder `partial`: `run()` goes on from whatever lies there."""

    @own_defaults()
    def __init__(self, config, partial):
        self.config, self.partial = config, Path(partial)
        self.model, self.split = new_model(config), modular_split(config)
        self.optimizer = make_optimizer(self.model, config)
        a, b = all_pairs(config.p)
        self.pairs = a[self.split[0]], b[self.split[0]], ((a + b) % config.p)[self.split[0]]
        self.epoch, self.seconds, self.ended = 0, 0.0, None
        self.history, self.spectra = [], []
        self.partial.mkdir(parents=True, exist_ok=True)
        if (self.partial / "state.safetensors").exists():
            self._load()

    @own_defaults()
    def run(self, progress=True, stop_at=None):
        """Train to the end, or leave off at the measured epoch `stop_at`; returns self."""
        stop_at = None if stop_at is None else whole_number("stop_at", stop_at, 0)
        check_gradients(self.model.parameters())
        bar = tqdm(
            total=self.config.epochs,
            initial=self.epoch,
            unit="epoch",
            disable=not progress,
            leave=False,
            desc=store.run_name(self.config),
        )
        flush = torch.set_flush_denormal(True)  # denormal numbers cost a hundredfold
        try:
            if not self.history:
                self._measure(0.0)
            while self.ended is None and (stop_at is None or self.epoch < stop_at):
                started, before = time.perf_counter(), self.epoch
                loss = self._train_to_next_measurement()
                self._measure(time.perf_counter() - started, loss)
                bar.update(self.epoch - before)
                bar.set_postfix(
                    train=f"{self.history[-1]['train_loss']:.2g}",
                    test=f"{self.history[-1]['test_loss']:.2g}",
                )
        finally:
            bar.close()
            if flush:
                torch.set_flush_denormal(False)
        return self

    def _train_to_next_measurement(self):
        while True:
            loss = train_step(self.model, self.optimizer, *self.pairs)
            self.epoch += 1
            if self.config.is_measured(self.epoch) or not loss < float("inf"):
                return loss

    def _measure(self, seconds, loss=0.0):
        self.seconds += seconds
        finite = loss < float("inf") and all(w.isfinite().all() for w in self.model.parameters())
        if not finite:
            self.ended = (  # its history ends with the measurement before
                f"diverged at epoch {self.epoch}"
            )
            return self._save()
        row, spectra = measure(self.model, self.split)
        self.history.append({"epoch": self.epoch, **row, "seconds": round(self.seconds, 3)})
        self.spectra.append({name: norms.float() for name, norms in spectra.items()})
        learned = next((r["epoch"] for r in self.history if r["test_accuracy"] >= LEARNED), None)
        if self.epoch >= self.config.epochs:
            self.ended = "finished"
        elif (
            learned is not None
            and self.config.extra_epochs is not None
            and self.epoch >= learned + self.config.extra_epochs
        ):
            self.ended = "learned"
        self._write(self._snapshot(self.epoch), self.model.state_dict())
        self._save()

    def _snapshot(self, epoch):
        return self.partial / f"epoch-{epoch:06d}.safetensors"

    @staticmethod
    def _write(path, tensors, about=None):
        part = path.with_name(path.name + ".part")
        save_file(
            {name: value.detach().contiguous() for name, value in tensors.items()},
            part,
            about and {"about": json.dumps(about)},
        )
        part.replace(path)

    def _save(self):
        state = dict(self.model.state_dict())
        for name, w in self.model.named_parameters():
            state |= {
                f"{moment}.{name}": value for moment, value in self.optimizer.state[w].items()
            }
        state |= {
            f"spectra.{name}": torch.stack([s[name] for s in self.spectra])
            for name in self.spectra[0]
        }
        self._write(
            self.partial / "state.safetensors",
            state,
            {
                "config": store.settings_of(self.config),
                "epoch": self.epoch,
                "seconds": self.seconds,
                "ended": self.ended,
                "history": self.history,
            },
        )

    def _load(self):
        with safe_open(self.partial / "state.safetensors", framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            state = {name: file.get_tensor(name) for name in file.keys()}
        if about["config"] != store.settings_of(self.config):
            raise ValueError(f"{self.partial} holds another configuration")
        self.epoch, self.seconds, self.ended, self.history = (
            about[name] for name in ("epoch", "seconds", "ended", "history")
        )
        spectra = {name: state.pop(f"spectra.{name}") for name in ("embedding", "logit_map")}
        self.spectra = [dict(zip(spectra, rows)) for rows in zip(*spectra.values())]
        self.model.load_state_dict({name: state[name] for name in self.model.state_dict()})
        for name, w in self.model.named_parameters():
            moments = {
                key.removesuffix("." + name): value
                for key, value in state.items()
                if "." in key and key.split(".", 1)[1] == name
            }
            if moments:
                self.optimizer.state[w] = moments

    @own_defaults()
    def finish(self, keep="weights"):
        """Take restricted and excluded loss at every measured epoch: the files to store, {name:
        bytes}."""
        level, model = KEEP.index(one_of("keep", keep, KEEP)), new_model(self.config)
        keys = key_frequencies(self.spectra[-1]["logit_map"])
        measured = [row["epoch"] for row in self.history]
        for row in self.history:
            model.load_state_dict(load_file(self._snapshot(row["epoch"])))
            row |= progress_measures(
                model, keys, self.split[0]
            )  # after the last row: the trained model
        files = {
            "config.json": (json.dumps(store.settings_of(self.config), indent=1) + "\n").encode(),
            "history.csv": (
                pd.DataFrame(self.history)
                .to_csv(index=False, lineterminator="\n", float_format="%.6g")
                .encode()
            ),
            "result.json": (
                (
                    json.dumps(
                        {
                            "ended": self.ended,
                            "key_frequencies": keys,
                            "final": final_measures(model, keys),
                        }
                    )
                    + "\n"
                ).encode()
            ),
        }
        if level >= 1:
            files["spectra.safetensors"] = tensors_to_bytes(
                {
                    name: torch.stack([s[name] for s in self.spectra]).half()
                    for name in self.spectra[0]
                }
            )
        if level >= 2:
            files["weights.safetensors"] = tensors_to_bytes(
                _half(load_file(self._snapshot(measured[-1])))
            )
        if level >= 3:
            epochs, whole = checkpoint_epochs(measured)
            files["checkpoints.safetensors"] = tensors_to_bytes(
                {
                    f"{epoch:06d}.{name}": value
                    for epoch in epochs
                    for name, value in _half(load_file(self._snapshot(epoch))).items()
                    if epoch in whole or name == "W_E"
                }
            )
        return files


def _half(weights):
    return {name: value.half().contiguous() for name, value in weights.items()}


def train_and_store(config, folder, keep="weights", progress=True, replace=False):
    """Train a configuration on the CPU, or go on with it, and store it in `folder`; returns the
    path. A stored run of the configuration stays as it is, unless `replace`. Whatever interrupts it
    leaves its partial state for the next call."""
    folder, keep = Path(folder), one_of("keep", keep, KEEP)
    partial = folder / ".partial" / store.run_name(config)
    place = folder / store.run_name(config)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{place.name}.lock"):  # two processes, one training
        if place.exists() and not replace:
            return place
        training = ModularTraining(config, partial).run(progress)
        provenance = store.provenance_of(torch.device("cpu"), training.seconds, CODE)
        place = store.write_folder(place, training.finish(keep), provenance, replace)
        shutil.rmtree(partial)
    return place


# -- stored runs


def read_modular(place, origin="book"):
    """Read and check one stored run. Raises store.DamagedRun where a file is missing or altered."""
    place = Path(place)
    files, provenance = store.read_folder(place, ("config.json", "history.csv", "result.json"))
    more, _ = store.read_folder(
        place, [name for name in provenance["files"] if name.endswith(".safetensors")]
    )
    try:
        config = ModularConfig(**json.loads(files["config.json"]))
    except (TypeError, ValueError) as error:
        raise store.DamagedRun(
            f"stored run {place.name}: config.json is not understood: {error}"
        ) from None
    if store.run_name(config) != place.name:
        raise store.DamagedRun(
            f"stored run {place.name}: config.json describes {store.run_name(config)}."
            f" {store.remedy_for(place)}"
        )
    tensors = {
        name.split(".")[0]: {key: value.float() for key, value in load_tensors(data).items()}
        for name, data in more.items()
    }
    kept = {}
    for key, value in sorted(tensors.get("checkpoints", {}).items()):
        epoch, name = key.split(".", 1)
        kept.setdefault(int(epoch), {})[name] = value
    return ModularRun(
        config,
        store.read_table(files["history.csv"]),
        json.loads(files["result.json"]),
        tensors.get("spectra", {}),
        tensors.get("weights"),
        {epoch: weights for epoch, weights in kept.items() if len(weights) > 1},
        {epoch: weights["W_E"] for epoch, weights in kept.items()},
        provenance,
        origin,
    )


def finished_modular(config, keep="weights", progress=True):
    """The finished run of a configuration, from the book, from your own runs, or trained now: see
    lab/find_or_make.py.

    keep: what the caller needs; the book's run is taken whatever it keeps, an own one is trained
    again if it keeps less. Raises NotStored; store.DamagedRun; TypeError for anything but a
    ModularConfig.
    """
    if not isinstance(config, ModularConfig):
        raise TypeError(f"finished_modular needs a ModularConfig, not {config!r}")
    config, keep = at_most(config, TINY), one_of("keep", keep, KEEP)
    name = store.run_name(config)

    def find(folder):
        place, origin = folder / name, "book" if folder == BOOK_MODULAR else "yours"
        run = read_modular(place, origin) if place.exists() else None
        return run if run is not None and (origin == "book" or _keeps(run, keep)) else None

    command = python_command("lab.modular.runs", "finished_modular", config, keep)
    run, _ = find_or_make(
        Wanted(
            "run of modular addition", name, config.differs or "the reference run", command, config
        ),
        BOOK_MODULAR,
        YOUR_MODULAR,
        find,
        current=lambda own: own.provenance["code"] == CODE,
        make=lambda folder: train_and_store(config, folder, keep, progress, replace=True),
    )
    note_use(run)
    return run


def _keeps(run, keep):
    """Does a stored run have all that `keep` asks for?"""
    files = {"history": "history.csv"} | {name: f"{name}.safetensors" for name in KEEP[1:]}
    return files[keep] in run.provenance["files"]


# -- the book's runs: what each question needs

SMALL = {
    "p": 59,
    "d_model": 64,
    "d_mlp": 256,
    "fraction": 0.45,
    "epochs": 10_000,
}  # minutes become seconds
OFTEN = {"measure_every": 50, "extra_epochs": 1_000}  # of the runs whose times are compared
# by weight decay: what grokked late took long
MAP_FRACTIONS, MAP_SEEDS = (0.3, 0.4, 0.5, 0.6), {3.0: 3, 1.0: 3, 0.3: 2, 0.0: 2}


def replica(seed, **settings):
    """A replica: its own initial weights, and its own training pairs (data seed = seed)."""
    return ModularConfig(**{"seed": seed, "data_seed": seed, **settings})


def book_arms():
    """The configurations of each arm with what is kept of it, the most needed first: {arm: (list of
    configurations, keep)}."""
    return {
        "reference": ([ModularConfig()], "checkpoints"),
        "replicas": ([replica(seed, extra_epochs=2_000) for seed in range(7)], "weights"),
        "small prime": ([replica(seed, **SMALL, **OFTEN) for seed in few(range(30), 6)], "spectra"),
        "map": (
            [
                replica(
                    seed, **SMALL | {"fraction": fraction, "weight_decay": decay}, extra_epochs=500
                )
                for decay, seeds in MAP_SEEDS.items()
                for fraction in reversed(MAP_FRACTIONS)
                for seed in few(range(seeds), 1)
            ],
            "history",
        ),
        "small prime, mlp": (
            [replica(seed, **SMALL, **OFTEN, architecture="mlp") for seed in few(range(10), 6)],
            "weights",
        ),
    }


def runs_of_arm(arm):
    """The finished runs of one arm. Raises ValueError for an unknown one."""
    arms = book_arms()
    if arm not in arms:
        raise ValueError(f"unknown arm {arm!r}: it may be one of {', '.join(arms)}")
    configs, keep = arms[arm]
    return [finished_modular(config, keep) for config in configs]


def modular_table(folder=BOOK_MODULAR):
    """One row per stored run: name, settings, how it ended, final measures, time to memorise and to
    grok."""
    rows = []
    for place in store.stored_places(folder):
        run = read_modular(place)
        last = run.history.iloc[-1].drop(["epoch", "seconds"]).add_prefix("final_")
        rows.append(
            {
                "run": run.name,
                **store.settings_of(run.config),
                "ended": run.result["ended"],
                **run.times(),
                "key_frequencies": " ".join(map(str, run.key_frequencies)),
                **last,
                **{
                    name: run.provenance[name]
                    for name in ("seconds", "device_name", "threads", "torch", "date", "code")
                },
            }
        )
    return pd.DataFrame(rows)
