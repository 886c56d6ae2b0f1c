"""The runs of chapters 1 to 7: give `finished_run` a full configuration, get the finished run.

It comes from `data/runs`, from your own runs, or is trained now: see lab/find_or_make.py.
"""

import dataclasses
import functools
import time
from dataclasses import dataclass, field, fields
from pathlib import Path

import joblib
import pandas as pd
import torch

from _checks import (
    not_negative,
    or_none,
    positive,
    positive_whole,
    seed_number,
    true_or_false,
    whole_from_zero,
    whole_number,
    word,
)
from _common import (
    DEVICE,
    DIGIT_ORDERS,
    MAX_DIGITS,
    OPTIMIZERS,
    VOCAB_SIZE,
    AdditionTransformer,
    addition_floor,
    count_parameters,
    make_addition_dataset,
    make_disjoint_addition_split,
    make_reversal_dataset,
    own_defaults,
    reversal_floor,
    train_model,
)
from lab import store
from lab.addition import other_architectures, two_tasks
from lab.checks import check_settings
from lab.find_or_make import Wanted, building_chapter, find_or_make, note_use, python_command
from lab.scale import at_most

CODE = store.code_hash([store.ROOT / "_common.py", Path(__file__)])  # what decides a run's numbers

TINY = {
    "n_train": 2_000,
    "n_test": 500,
    "d_model": 8,
    "d_ff": 8,
    "epochs": 4,
    "stop_at": 2,
    "eval_every": 1,
}  # see lab/scale.py


def _setting(default, meaning):
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run. The defaults are the book's reference run (seed 42) and must
    never change: stored runs are found by what differs from them. New settings are added with a
    default that means "as before".
    """

    task: str = _setting(
        "addition", "addition, reversal or both (one model, a task token in front)"
    )
    seed: int = _setting(42, "fixes the initial weights and the order of the examples")
    # the data
    n_digits: int = _setting(3, "digits per operand; for reversal, digits in the string")
    digit_order: str = _setting(
        "ones_first", "how the sum is written: ones_first or most_significant_first"
    )
    n_train: int = _setting(50_000, "training examples")
    n_test: int = _setting(10_000, "test examples")
    train_seed: int = _setting(42, "seed of the training draw")
    test_seed: int = _setting(123, "seed of the test draw")
    split: str = _setting(
        "independent", "independent draws, or disjoint: no test pair occurs in training"
    )
    # the model
    d_model: int = _setting(32, "width of the residual stream")
    d_ff: int = _setting(64, "hidden width of the feed-forward layers")
    n_layers: int = _setting(2, "layers")
    n_heads: int = _setting(1, "attention heads per layer")
    positions: bool = _setting(True, "learned absolute positions")
    causal: bool = _setting(True, "causal mask: no position sees later ones")
    ffn: bool = _setting(True, "feed-forward layers")
    norm: bool = _setting(True, "layer norms")
    architecture: str = _setting(
        "transformer", "transformer, convolution or gru (lab/addition/other_architectures.py)"
    )
    start_from: str = _setting(
        "random",
        "random weights, or those of the finished reference run of the same seed on addition or"
        " reversal",
    )
    # the training
    epochs: int = _setting(150, "epochs of the learning-rate schedule")
    batch_size: int = _setting(512, "examples per step")
    lr: float = _setting(0.01, "peak learning rate")
    warmup_steps: int = _setting(200, "steps of linear warm-up")
    weight_decay: float = _setting(0.01, "weight decay")
    clip: float = _setting(1.0, "largest gradient norm (None: no clipping)")
    optimizer: str = _setting("adamw", "adamw, adam or sgd (momentum 0.9)")
    extra_epochs: int = _setting(
        None, "end this many epochs after 99.9 % test exact match (None: go on to the end)"
    )
    stop_at: int = _setting(None, "end after this epoch (None: go on to the end)")
    fit_factor: int = _setting(
        None, "end at so many times the epoch that fitted 99 % of the training rows (None: go on)"
    )
    eval_every: int = _setting(1, "epochs from one evaluation to the next")

    def __post_init__(self):
        sizes = "n_train n_test d_model d_ff n_layers n_heads epochs batch_size eval_every".split()
        seeds, switches = (
            ("seed", "train_seed", "test_seed"),
            ("positions", "causal", "ffn", "norm"),
        )
        check_settings(
            self,
            **dict.fromkeys(sizes, positive_whole),
            **dict.fromkeys(seeds, seed_number),
            **dict.fromkeys(switches, true_or_false),
            task=word("addition", "reversal", "both"),
            split=word("independent", "disjoint"),
            digit_order=word(*DIGIT_ORDERS),
            n_digits=functools.partial(whole_number, low=1, high=MAX_DIGITS),
            warmup_steps=whole_from_zero,
            architecture=word("transformer", "convolution", "gru"),
            start_from=word("random", "addition", "reversal"),
            lr=positive,
            weight_decay=not_negative,
            clip=or_none(positive),
            optimizer=word(*OPTIMIZERS),
            extra_epochs=or_none(whole_from_zero),
            fit_factor=or_none(positive_whole),
            stop_at=or_none(positive_whole),
        )
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads must divide d_model = {self.d_model}, not {self.n_heads}")
        if self.stop_at is not None and self.stop_at > self.epochs:
            raise ValueError(f"stop_at must be at most epochs = {self.epochs}, not {self.stop_at}")
        if self.start_from == self.task or (self.start_from != "random" and self.task == "both"):
            raise ValueError(
                f"start_from={self.start_from!r} needs the other task, not task={self.task!r}"
            )

    @property
    def answer_start(self):
        """The first target column that belongs to the answer."""
        if self.task == "both":
            return two_tasks.ANSWER_START
        return 2 * self.n_digits + 1 if self.task == "addition" else self.n_digits

    @property
    def max_seq_len(self):
        if self.task == "both":
            return two_tasks.LENGTH
        return 3 * self.n_digits + 4 if self.task == "addition" else 2 * self.n_digits + 2

    @property
    def floor(self):
        """The lowest expected loss, in nats per target."""
        if self.task == "both":
            return two_tasks.joint_floor()
        return (
            addition_floor(self.n_digits)
            if self.task == "addition"
            else reversal_floor(self.n_digits)
        )


def differences(config):
    """What sets a configuration apart from the reference recipe, as text; the seed, and when to
    stop, left aside."""
    settings = [(f.name, getattr(config, f.name), f.default) for f in fields(config)]
    return ", ".join(
        f"{name} {value}"
        for name, value, default in settings
        if value != default
        and name not in ("seed", "extra_epochs", "stop_at", "fit_factor", "eval_every")
    )


@dataclass(frozen=True)
class Run:
    """A finished run: its configuration, its history (one row per epoch), and its trained model.

    weights: None where the book keeps only the history (`HISTORY_ONLY` in lab/experiments.py).
    origin: "book" (stored with the book) or "yours" (trained here, now or earlier).
    """

    config: RunConfig
    history: pd.DataFrame
    weights: dict | None
    provenance: dict
    origin: str

    @property
    def name(self):
        return store.run_name(self.config)

    @property
    def differs(self):
        """What sets this run apart from the reference recipe, as text: see `differences`."""
        return differences(self.config)

    def model(self, device=DEVICE):
        """The trained AdditionTransformer, in evaluation mode. Raises ValueError where its weights
        are not kept."""
        if self.weights is None:
            command = python_command("lab.runs", "finished_run", self.config)
            raise ValueError(
                f"of the run {self.name} the book keeps the history, not the weights; with"
                f" BOOK_RUNS=fresh this trains it again and keeps them: {command}"
            )
        model = new_model(self.config)
        model.load_state_dict(self.weights)
        return model.to(device).eval()

    def epochs_to(self, level=0.999, column="accuracy"):
        """The first epoch at which `column` of the history reaches `level`; None if it never does
        (censored)."""
        reached = self.history.loc[self.history[column] >= level, "epoch"]
        return int(reached.iloc[0]) if len(reached) else None


@own_defaults()
def new_model(config):
    """The untrained model of a configuration; its seed fixes the initial weights (made on the
    CPU)."""
    with torch.random.fork_rng(devices=[]):  # leave the caller's random numbers as they are
        torch.manual_seed(config.seed)
        if config.architecture != "transformer":
            return other_architectures.build(config.architecture, config.max_seq_len)
        vocab_size = two_tasks.VOCAB_SIZE if config.task == "both" else VOCAB_SIZE
        model = AdditionTransformer(
            vocab_size,
            config.d_model,
            config.d_ff,
            config.n_layers,
            config.max_seq_len,
            config.n_heads,
            config.positions,
            config.causal,
            config.ffn,
            config.norm,
        )
    if config.start_from != "random":
        two_tasks.start_from(
            model,
            finished_run(
                RunConfig(seed=config.seed, **REFERENCE[config.start_from]), progress=False
            ).weights,
        )
    return model


REVERSAL = {"task": "reversal", "n_digits": 5, "epochs": 80}
REFERENCE = {
    "addition": {},
    "reversal": REVERSAL,
}  # the reference recipe of each task: what a transfer starts from


def datasets(config):
    """(train_X, train_Y, test_X, test_Y) of a configuration. For both tasks: half of the rows each,
    addition first."""
    if config.task == "both":
        return (
            *two_tasks.make_dataset(config.n_train, config.train_seed),
            *two_tasks.make_dataset(config.n_test, config.test_seed),
        )
    if config.task == "reversal":
        if config.split == "disjoint":
            raise ValueError("reversal has independent draws only: split='independent'")
        return (
            *make_reversal_dataset(config.n_train, config.n_digits, config.train_seed),
            *make_reversal_dataset(config.n_test, config.n_digits, config.test_seed),
        )
    if config.split == "disjoint":
        return make_disjoint_addition_split(
            config.n_train, config.n_test, config.n_digits, config.train_seed, config.digit_order
        )
    return (
        *make_addition_dataset(
            config.n_train, config.n_digits, config.train_seed, config.digit_order
        ),
        *make_addition_dataset(
            config.n_test, config.n_digits, config.test_seed, config.digit_order
        ),
    )


def history_table(history):
    """The history of `train_model` as a table: one row per epoch, one column per answer column
    (column_1 = first written)."""
    table = pd.DataFrame(
        {name: history[name] for name in ("epoch", "loss", "accuracy", "train_accuracy")}
    )
    for i, values in enumerate(zip(*history["column_accuracy"]), start=1):
        table[f"column_{i}"] = values
    for name in ("addition_accuracy", "reversal_accuracy"):  # runs on both tasks have these
        if name in history:
            table[name] = history[name]
    return table.assign(lr=history["lr"], seconds=[round(s, 3) for s in history["seconds"]])


def train(config, device=DEVICE, progress=True, epochs_only=None, measure=None):
    """Train a configuration from scratch: (model, history table, ended). `epochs_only`: just the
    first so many epochs; `measure`: as in `train_model` (for both tasks: accuracy by task)."""
    model, data = new_model(config).to(device), datasets(config)
    if config.task == "both":
        measure = two_tasks.accuracy_by_task(*data[2:], config.answer_start)
    history = train_model(
        model,
        *data,
        answer_start=config.answer_start,
        epochs=config.epochs,
        batch_size=config.batch_size,
        lr=config.lr,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        clip=config.clip,
        optimizer=config.optimizer,
        seed=config.seed,
        log_every=0,
        extra_epochs=config.extra_epochs,
        stop_at=epochs_only or config.stop_at,
        fit_factor=config.fit_factor,
        eval_every=config.eval_every,
        measure=measure,
        progress=progress,
    )
    return model, history_table(history), history["ended"]


def train_and_store(config, folder, device=DEVICE, progress=True, replace=False, keep_weights=True):
    """Train a configuration and store it in `folder`, with or without its weights. An interrupted
    training raises KeyboardInterrupt, and stores nothing."""
    started = time.perf_counter()
    model, history, ended = train(config, device, progress)
    if ended == "interrupted":
        raise KeyboardInterrupt(
            f"training of {store.run_name(config)} was interrupted after {len(history)} epochs"
        )
    provenance = store.provenance_of(device, time.perf_counter() - started, CODE)
    weights = model.state_dict() if keep_weights else None
    return store.save_run(config, history, weights, provenance, folder, replace)


def finished_run(config, progress=True):
    """The finished run of a configuration, from disk or by training it now: see
    lab/find_or_make.py.

    Raises NotStored; store.DamagedRun where a stored run was truncated or altered; TypeError for
    anything but a RunConfig.
    """
    if not isinstance(config, RunConfig):
        raise TypeError(f"finished_run needs a RunConfig, not {config!r}")
    config = at_most(config, TINY)
    name = store.run_name(config)
    wanted = Wanted(
        "run",
        name,
        differences(config) or "the reference recipe",
        python_command("lab.runs", "finished_run", config),
        config,
    )
    stored, origin = find_or_make(
        wanted,
        store.BOOK_RUNS,
        store.YOUR_RUNS,
        find=lambda folder: store.load_run(config, folder),
        make=lambda folder: train_and_store(config, folder, DEVICE, progress, replace=True),
        current=lambda own: (
            (own.provenance["device"], own.provenance["code"]) == (DEVICE.type, CODE)
        ),
    )
    run = Run(stored.config, stored.history, stored.weights, stored.provenance, origin)
    note_use(run)
    return run


def finished_runs(configs, n_jobs=1):
    """The finished runs of several configurations, in order. `n_jobs` trains missing ones side by
    side (joblib)."""
    configs = list(configs)
    if n_jobs != 1 and building_chapter() is None:
        joblib.Parallel(n_jobs=n_jobs)(
            joblib.delayed(finished_run)(config, progress=False) for config in configs
        )
    return [finished_run(config) for config in configs]


def runs_table(folder=store.BOOK_RUNS):
    """One row per stored run in `folder`: its name, its settings, its outcome, where it came from.
    See `codebook`."""
    rows = []
    for place in store.stored_places(folder):
        stored = store.read_run(place, RunConfig)
        run = Run(stored.config, stored.history, stored.weights, stored.provenance, "book")
        last = run.history.iloc[-1]
        untrained = new_model(dataclasses.replace(run.config, start_from="random"))
        rows.append(
            {
                "run": run.name,
                **store.settings_of(run.config),
                "parameters": count_parameters(untrained),
                "epochs_run": len(run.history),
                "final_loss": last["loss"],
                "final_accuracy": last["accuracy"],
                "final_train_accuracy": last["train_accuracy"],
                "epochs_to_999": run.epochs_to(0.999),
                **{
                    name: run.provenance[name]
                    for name in ("seconds", "device_name", "threads", "torch", "date", "code")
                },
            }
        )
    table = pd.DataFrame(rows)
    return table.astype({"epochs_to_999": "Int64"}) if rows else table


def codebook():
    """What each column of `runs_table` means: a DataFrame (column, meaning)."""
    outcome = {
        "parameters": "numbers that training may change",
        "epochs_run": "epochs actually trained",
        "final_loss": "training loss of the last epoch (nats per target)",
        "final_accuracy": "test exact match after the last epoch (0..1)",
        "final_train_accuracy": (
            "exact match on the first 5,000 training rows after the last epoch (0..1)"
        ),
        "epochs_to_999": (
            "first epoch with at least 99.9 % test exact match (empty: not reached, censored)"
        ),
        "seconds": "wall-clock seconds of the whole training",
        "device_name": "what the device calls itself",
        "threads": "CPU threads of PyTorch",
        "torch": "version of PyTorch",
        "date": "end of the training (UTC)",
        "code": (
            "first 16 hex digits of the SHA-256 of _common.py and lab/runs.py when it was trained"
        ),
    }
    rows = [("run", "name of the folder in data/runs")]
    rows += [(f.name, f.metadata["meaning"]) for f in fields(RunConfig)] + list(outcome.items())
    return pd.DataFrame(rows, columns=["column", "meaning"])
