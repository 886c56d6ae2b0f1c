"""Sweeps: fleets over many seeds of one configuration, side by side, resumable, stored small.

One folder per configuration, `data/fleets/<words>-<8 hex digits>`. The hash is the configuration's;
the words are the model's label (`sweep_name`), or the name of the book's experiment:
    config.json           the model's and the recipe's settings
    outcomes.csv          one row per seed: how it ended, its scores on the test sets
    history.csv           one row per seed and evaluation on the validation stream
    weights.safetensors   the final weights of all seeds, stacked in the order of outcomes.csv
    provenance.json       of each block of seeds: date, device, versions, seconds, code; and the
                          SHA-256 of the other files
A block in training keeps its whole state in
`data/fleets/.partial/<configuration>/<seeds>.safetensors`.
"""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import joblib
import pandas as pd
import torch
from filelock import FileLock
from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensors_to_bytes
from tqdm.auto import tqdm

from _checks import check_gradients, whole_number, whole_numbers
from _common import own_defaults
from lab import store
from lab.adders.models.micro_adder import MICRO_ADDERS, MicroAdderConfig
from lab.adders.models.rotary_adder import ROTARY_ADDERS, RotaryAdderConfig
from lab.adders.models.small_transformer import SMALL_TRANSFORMERS, SmallTransformerConfig
from lab.adders.models.trainable_by_hand import NearHandSet
from lab.adders.training.fleets import Fleet
from lab.adders.training.recipes import FleetConfig, Recipe
from lab.checks import seed_numbers
from lab.find_or_make import Wanted, find_or_make, note_use, python_command, runs_mode
from lab.scale import at_most

BOOK_FLEETS = store.ROOT / "data" / "fleets"
YOUR_FLEETS = store.YOUR_RUNS / "fleets"
MODEL_CONFIGS = {  # a stored sweep names the class of its model's settings
    cls.__name__: cls
    for cls in (MicroAdderConfig, RotaryAdderConfig, SmallTransformerConfig, NearHandSet)
}
CODE = store.code_hash(
    [
        store.ROOT / "lab" / "adders" / f"{name}.py"
        for name in (
            "training/recipes",
            "training/stacked",
            "training/fleets",
            "gradients/position_only",
            "models/micro_adder",
            "models/rotary_adder",
            "models/small_transformer",
            "gradients/small_transformer_step",
            "formats",
            "ten_digits",
        )
    ]
)
# settings of a FleetConfig beside its model and its recipe
SEEDS_OF_ALL = ("data_seed", "weights_seed")
SUCCESS = 10_010  # right answers on the board's test
TINY = {
    "recipe": {"steps": 50, "evaluate_every": 50, "warmup_steps": 10, "tries": 2, "try_steps": 50}
}  # see lab/scale.py


@dataclass(frozen=True)
class Sweep:
    """What is stored of a configuration. `outcomes` has one row per seed, `history` one per seed
    and evaluation."""

    config: FleetConfig
    outcomes: pd.DataFrame
    history: pd.DataFrame
    weights: dict  # tensor name -> (seeds, ...), in the order of outcomes
    provenance: dict
    path: Path

    @property
    def name(self):
        """What it is called whatever words its folder bears: see `sweep_name`."""
        return sweep_name(self.config)

    @property
    def successes(self):
        """One boolean per row of outcomes: all 10,010 of the board's pairs right at the final
        step."""
        return self.outcomes["board_right"] == SUCCESS

    def only(self, seeds):
        """The same with these seeds only, in this order. Raises ValueError for a seed that is not
        stored."""
        seeds = whole_numbers("a seed", seeds)
        rows = {seed: row for row, seed in enumerate(self.outcomes["seed"])}
        missing = [seed for seed in seeds if seed not in rows]
        if missing:
            raise ValueError(
                f"seeds {seeds_text(missing)} are not in {self.path.name}: it holds"
                f" {seeds_text(rows)}"
            )
        chosen = [rows[seed] for seed in seeds]
        return dataclasses.replace(
            self,
            outcomes=self.outcomes.iloc[chosen].reset_index(drop=True),
            history=self.history[self.history["seed"].isin(seeds)].reset_index(drop=True),
            weights={name: value[chosen] for name, value in self.weights.items()},
        )

    def model(self, seed):
        """The trained model of a seed, in evaluation mode. Raises ValueError for a seed that is not
        stored."""
        seed = whole_number("seed", seed)
        rows = self.outcomes.index[self.outcomes["seed"] == seed]
        if not len(rows):
            raise ValueError(
                f"seed {seed} is not in {self.path.name}: it holds"
                f" {seeds_text(self.outcomes['seed'])}"
            )
        model = self.config.model.build(seed)
        learned = {name: value[rows[0]] for name, value in self.weights.items()}
        model.load_state_dict(
            model.state_dict() | learned
        )  # a hand-set circuit's state has frozen numbers too
        return model.eval()


# No published recipe: the first that reached 10,010 with 25 numbers. What it adds to the 57's is
# stated prior knowledge.
ROTARY_RECIPE = Recipe(
    steps=30_000,
    final_lr=0.0,
    weight_decay=0.0,
    digit_stages=((3, 1_000), (6, 3_500)),
    carry_fade=(7_500, 22_500),
    carry_floor=0.2,
    lr_factors=(("S", 10.0),),
    nines_share=0.25,
    evaluate_every=1_000,
    stop_after_perfect=None,
)


# That of the designs with one step, which have no use for a curriculum of digits: all their rows
# are alike.
STEP_RECIPE = Recipe(
    steps=12_000,
    batch_size=64,
    final_lr=0.0,
    warmup_steps=200,
    weight_decay=0.0,
    digit_stages=(),
    carry_share=0.3,
    carry_floor=0.3,
    lr_factors=(("S", 10.0), ("H", 10.0)),
    nines_share=0.25,
    evaluate_every=1_000,
    stop_after_perfect=None,
)


# The 763's first pass, as its published code has it (its README leaves out warm-up, clipping and
# loss), and the 777's. Both take a number of digits from 1 to the most for both operands,
# uniformly.
SMALL_TRANSFORMER_RECIPES = {
    "763": Recipe(
        steps=400_000,
        batch_size=128,
        final_lr=0.002,
        warmup_steps=20_000,
        weight_decay=0.1,
        carry_share=0.0,
        digit_stages=((3, 20_000), (6, 60_000)),
        digit_counts="shared",
        stop_after_perfect=None,
    ),
    "777": Recipe(
        steps=27_000,
        batch_size=512,
        final_lr=0.002,
        warmup_steps=1_350,
        weight_decay=0.01,
        carry_share=0.0,
        digit_stages=((3, 2_000), (6, 7_000)),
        digit_counts="shared",
        evaluate_every=500,
        stop_after_perfect=None,
    ),
}


# The 74 and the 75 go on for longer, with a decay that falls away as they succeed.
ADAPTIVE_RECIPE = Recipe(
    steps=120_000, adaptive_decay=True, carry_fade=(10_000, 80_000), evaluate_every=3_000
)


# Every model that can be named, with the recipe published for it, or else the 57's (or, for the
# rotary adders, this book's).
PRESETS = {
    **{
        name: FleetConfig(model, ADAPTIVE_RECIPE if name in ("74", "75") else Recipe())
        for name, model in MICRO_ADDERS.items()
    },
    **{
        name: FleetConfig(model, STEP_RECIPE if model.window else ROTARY_RECIPE)
        for name, model in ROTARY_ADDERS.items()
    },
    **{
        name: FleetConfig(model, SMALL_TRANSFORMER_RECIPES[name])
        for name, model in SMALL_TRANSFORMERS.items()
    },
}


def preset(name):
    """The configuration of a model by its name in PRESETS. Raises ValueError."""
    if name not in PRESETS:
        raise ValueError(f"unknown model {name!r}: it may be one of {', '.join(PRESETS)}")
    return PRESETS[name]


def changed(config, changes):
    """A configuration with other settings: {name: value}. A name is one of the recipe's, "model."
    and one of the model's, or "data_seed" or "weights_seed".

    Raises ValueError for an unknown name."""
    known = {
        *SEEDS_OF_ALL,
        *(f.name for f in dataclasses.fields(config.recipe)),
        *(f"model.{f.name}" for f in dataclasses.fields(config.model)),
    }
    if not set(changes) <= known:
        raise ValueError(
            f"{config.model.label} has no setting {sorted(set(changes) - known)}: it has"
            f" {', '.join(sorted(known))}"
        )
    of_model = {
        name.removeprefix("model."): value
        for name, value in changes.items()
        if name.startswith("model.")
    }
    of_all = {name: value for name, value in changes.items() if name in SEEDS_OF_ALL}
    of_recipe = {
        name: value
        for name, value in changes.items()
        if not name.startswith("model.") and name not in of_all
    }
    return dataclasses.replace(
        config,
        **of_all,
        model=dataclasses.replace(config.model, **of_model),
        recipe=dataclasses.replace(config.recipe, **of_recipe),
    )


def sweep_name(config):
    """The name of a configuration: its model's label and its hash."""
    return f"{config.model.label}-{store.settings_hash(config)}"


def seeds_text(seeds):
    """Seeds as text: [0, 1, 2, 7] is "0-2,7"."""
    runs = []
    for seed in sorted(seeds):
        if runs and runs[-1][1] == seed - 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _settings(config):
    return {"model_class": type(config.model).__name__, **dataclasses.asdict(config)}


def _config_of(settings):
    settings = dict(settings)
    model_class = MODEL_CONFIGS[settings.pop("model_class")]
    return FleetConfig(
        **settings
        | {
            "model": model_class(**settings["model"]),
            "recipe": Recipe(**settings["recipe"]),
        }
    )


def read_sweep(config, folder=BOOK_FLEETS):
    """What `folder` holds of a configuration, or None. Raises store.DamagedRun where a file was
    altered."""
    place = store.place_of(folder, sweep_name(config))
    return read_sweep_folder(place) if place.exists() else None


def read_sweep_folder(place):
    """Read and check one sweep's folder. Raises store.DamagedRun."""
    place = Path(place)
    files, provenance = store.read_folder(
        place, ("config.json", "outcomes.csv", "history.csv", "weights.safetensors")
    )
    try:
        config = _config_of(json.loads(files["config.json"]))
    except (KeyError, TypeError, ValueError) as error:
        raise store.DamagedRun(
            f"stored sweep {place.name}: config.json is not understood: {error}"
        ) from None
    if store.hash_in(sweep_name(config)) != store.hash_in(place.name):
        raise store.DamagedRun(
            f"stored sweep {place.name}: config.json describes {sweep_name(config)}. "
            f"{store.remedy_for(place)}"
        )
    tables = [store.read_table(files[name]) for name in ("outcomes.csv", "history.csv")]
    return Sweep(config, *tables, load_tensors(files["weights.safetensors"]), provenance, place)


@own_defaults()
def store_fleet(fleet, folder=BOOK_FLEETS):
    """Add a finished fleet's seeds to the stored sweep of its configuration; returns the folder.
    Stored seeds stay."""
    config, folder = fleet.config, Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = sweep_name(config)
    outcomes = fleet.outcomes().assign(
        seconds=round(fleet.seconds / len(fleet.seeds), 2), code=CODE
    )
    history, weights = pd.DataFrame(fleet.history), fleet.weights()
    block = {
        "seeds": seeds_text(fleet.seeds),
        **store.provenance_of(fleet.device, fleet.seconds, CODE),
    }
    with FileLock(folder / f".{name}.lock"):
        old = read_sweep(config, folder)
        blocks = [block]
        if old is not None:
            new = ~outcomes["seed"].isin(old.outcomes["seed"])
            fresh = torch.tensor(new.tolist())
            history = pd.concat([old.history, history[~history["seed"].isin(old.outcomes["seed"])]])
            weights = {
                key: torch.cat([old.weights[key], value[fresh]]) for key, value in weights.items()
            }
            outcomes = pd.concat([old.outcomes, outcomes[new]], ignore_index=True)
            blocks = old.provenance["blocks"] + blocks
        order = outcomes["seed"].argsort(kind="stable").tolist()
        weights = {key: value[order].contiguous() for key, value in weights.items()}
        files = {
            "config.json": (json.dumps(_settings(config), indent=1) + "\n").encode(),
            "outcomes.csv": outcomes.iloc[order].to_csv(index=False, lineterminator="\n").encode(),
            "history.csv": (
                history.sort_values(["seed", "step"])
                .to_csv(index=False, lineterminator="\n", float_format="%.6g")
                .encode()
            ),
            "weights.safetensors": tensors_to_bytes(weights),
        }
        place = store.place_of(folder, name)
        return store.write_folder(place, files, {"blocks": blocks}, replace=True)


def starting_weights(config, seeds, folder=BOOK_FLEETS):
    """What seeds start from where their configuration says `start_from`: (seeds, P), else None.
    Raises ValueError."""
    if config.start_from is None:
        return None
    folders = dict.fromkeys([Path(folder), BOOK_FLEETS])
    places = [store.place_of(each, config.start_from) for each in folders]
    place = next((each for each in places if each.is_dir()), None)
    if place is None:
        raise ValueError(f"there is no sweep {config.start_from!r} in {folder} to start from")
    earlier = read_sweep_folder(place)
    if earlier.config.model != config.model:
        raise ValueError(
            f"{config.start_from} holds models of another configuration: {earlier.config.model}"
        )
    return torch.stack(
        [
            torch.cat([p.detach().flatten() for p in earlier.model(seed).parameters()])
            for seed in seeds
        ]
    )


def train_block(config, seeds, folder=BOOK_FLEETS, device="cpu", progress=True, threads=1):
    """Train a block of seeds from its last checkpoint, or from the start, and store it; returns its
    outcomes. What another process has stored meanwhile is not trained again."""
    seeds, stored = seed_numbers(seeds), read_sweep(config, folder)
    if stored is not None and set(seeds) <= set(stored.outcomes["seed"]):
        return stored.outcomes[stored.outcomes["seed"].isin(seeds)]
    if torch.device(device).type == "cpu":
        torch.set_num_threads(threads)
    checkpoint = Path(folder) / ".partial" / sweep_name(config) / f"{seeds_text(seeds)}.safetensors"
    fleet = (
        Fleet.load(checkpoint, config, seeds, device)
        if checkpoint.exists()
        else Fleet(config, seeds, device, starting_weights(config, seeds, folder))
    )
    fleet.run(checkpoint, progress)
    store_fleet(fleet, folder)
    checkpoint.unlink(missing_ok=True)
    outcomes = read_sweep(
        config, folder
    ).outcomes  # as stored: measuring them a second time takes as long again
    return outcomes[outcomes["seed"].isin(seeds)]


def blocks_to_do(config, seeds, fleet_size, folder=BOOK_FLEETS):
    """The seeds that are not stored, in blocks: those that were begun first, as they were begun."""
    stored = read_sweep(config, folder)
    missing = [s for s in seeds if stored is None or s not in set(stored.outcomes["seed"])]
    blocks = []
    for path in sorted((Path(folder) / ".partial" / sweep_name(config)).glob("*.safetensors")):
        begun = parse_seeds(path.stem.replace("-", ":"), inclusive=True)
        if set(begun) <= set(missing):
            blocks.append(begun)
            missing = [s for s in missing if s not in begun]
    return blocks + [missing[i : i + fleet_size] for i in range(0, len(missing), fleet_size)]


def parse_seeds(text, inclusive=False):
    """ "0:100" is the seeds 0 to 99; "3,5,7:9" are 3, 5, 7 and 8. Raises ValueError for anything
    else."""
    seeds = []
    for part in text.split(","):
        numbers = part.split(":")
        if not all(n.isdecimal() for n in numbers) or len(numbers) > 2:
            raise ValueError(f"seeds are written like 0:100 or 3,5,7:9, not {text!r}")
        first = int(numbers[0])
        seeds += range(first, int(numbers[-1]) + (inclusive or len(numbers) == 1))
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds are written like 0:100 or 3,5,7:9, each once, not {text!r}")
    return seeds


def sweep(config, seeds, fleet_size=16, n_jobs=1, folder=BOOK_FLEETS, device="cpu", progress=True):
    """Train the seeds that `folder` lacks, `n_jobs` fleets side by side, and return the stored
    sweep.

    The work goes through joblib: inside `joblib.parallel_config(backend="dask")`, or "ray", a
    cluster takes it.
    """
    seeds, fleet_size, n_jobs = (
        seed_numbers(seeds),
        whole_number("fleet_size", fleet_size, 1),
        whole_number("n_jobs", n_jobs),
    )
    check_gradients()
    blocks = blocks_to_do(config, seeds, fleet_size, folder)
    jobs = (
        joblib.delayed(train_block)(config, block, folder, device, progress) for block in blocks
    )
    done = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs)
    successes = 0
    with tqdm(
        total=sum(map(len, blocks)), unit="seed", desc=sweep_name(config), disable=not progress
    ) as bar:
        for outcomes in done:
            successes += int((outcomes["board_right"] == SUCCESS).sum())
            bar.update(len(outcomes))
            bar.set_postfix(successes=successes)
    return read_sweep(config, folder)


def _with_seeds(config, seeds, *folders):
    """The sweep with these seeds and no others, from the folders together; None where they lack
    one."""
    parts, missing = [], list(seeds)
    for folder in folders:
        stored = read_sweep(config, folder)
        if stored is not None:
            held = set(stored.outcomes["seed"])
            parts.append(stored.only([seed for seed in missing if seed in held]))
            missing = [seed for seed in missing if seed not in held]
    if missing or not parts:
        return None
    whole = (
        parts[0]
        if len(parts) == 1
        else dataclasses.replace(
            parts[0],
            outcomes=pd.concat([part.outcomes for part in parts], ignore_index=True),
            history=pd.concat([part.history for part in parts], ignore_index=True),
            weights={
                name: torch.cat([part.weights[name] for part in parts]) for name in parts[0].weights
            },
            provenance={"blocks": [block for part in parts for block in part.provenance["blocks"]]},
        )
    )
    return whole.only(list(seeds))


def finished_sweep(config, seeds, text, progress=True):
    """The finished sweep of a configuration, with these seeds and no others: see
    lab/find_or_make.py. It is noted in the chapter's list of runs, where `text` says what it is.

    Seeds that the book lacks are trained and kept with your own; the sweep is your own then. Raises
    NotStored; store.DamagedRun where a stored file was altered.
    """
    config, seeds, stored = (
        at_most(config, TINY),
        seed_numbers(seeds),
        [BOOK_FLEETS] * (runs_mode() == "stored"),
    )

    def find(folder):
        return _with_seeds(
            config, seeds, *([folder] if folder == BOOK_FLEETS else [*stored, folder])
        )

    def current(own):
        return (own.outcomes["code"] == CODE).all()

    def make(folder):
        held = [part for part in (read_sweep(config, book) for book in stored) if part is not None]
        own = read_sweep(config, folder)
        if (
            own is not None and runs_mode() == "fresh" and not current(own)
        ):  # its seeds would count as trained
            aside = own.path.with_name(f".{own.path.name}.before")
            shutil.rmtree(aside, ignore_errors=True)
            own.path.rename(aside)
        sweep(
            config,
            [
                seed
                for seed in seeds
                if not any((part.outcomes["seed"] == seed).any() for part in held)
            ],
            folder=folder,
            progress=progress,
        )

    name = sweep_name(config)
    command = python_command("lab.adders.training.sweeps", "finished_sweep", config, seeds, text)
    done, origin = find_or_make(
        Wanted("sweep", name, f"{text}; seeds {seeds_text(seeds)}", command, config),
        BOOK_FLEETS,
        YOUR_FLEETS,
        find,
        make,
        current,
    )
    blocks = done.provenance["blocks"]
    about = {key: blocks[0][key] for key in ("threads", "torch", "date")}
    about["device_name"] = " and ".join(dict.fromkeys(block["device_name"] for block in blocks))
    note_use(
        SimpleNamespace(
            name=done.path.name,
            origin=origin,
            config=SimpleNamespace(seed=seeds_text(done.outcomes["seed"])),
            differs=f"{text}; {len(done.outcomes)} seeds",
            provenance=about | {"seconds": float(done.outcomes["seconds"].sum())},
        )
    )
    return done
