"""One run of the reference recipe with its weights at some of its epochs: what chapter 4's
laboratory replays.

It is a run of its own, with a history of its own: on another processor the same seed soon goes
another way, so its weights may not be laid under the history of a reference run.
"""

import time

import torch

from _common import DEVICE, AdditionTransformer
from lab import store
from lab.find_or_make import Wanted, find_or_make, python_command
from lab.runs import CODE, TINY, RunConfig, new_model, train
from lab.scale import at_most

__all__ = "REPLAYED KEPT replay store_replay model_at kept_epochs".split()

REPLAYED = RunConfig(seed=44, stop_at=40)
KEPT = (0, 1, 3, 6, 7, 8, 9, 12, 19, 20, 21, 22, 23, 39, 40)  # 0: before the first step


def store_replay(folder, config=REPLAYED, kept=KEPT, device=DEVICE):
    """Train `config` and store it in `folder`, with all weights at the epochs `kept`, as float16
    (tensors "epoch/name"); returns the place. Raises KeyboardInterrupt, and stores nothing, where
    it is interrupted."""
    config, started = at_most(config, TINY), time.perf_counter()
    weights, epoch = {}, 0

    def keep(state):
        weights.update({f"{epoch}/{name}": value.cpu().half() for name, value in state.items()})

    def look(model):
        nonlocal epoch
        epoch += 1
        if epoch in kept:
            keep(model.state_dict())
        return {}

    if 0 in kept:
        keep(new_model(config).state_dict())
    _, history, ended = train(config, device, progress=False, measure=look)
    if ended == "interrupted":
        raise KeyboardInterrupt(f"the run was interrupted after {len(history)} epochs")
    provenance = store.provenance_of(device, time.perf_counter() - started, CODE)
    return store.save_run(config, history, weights, provenance, folder, replace=True)


def replay(config=REPLAYED):
    """The run, from disk or trained now: a store.StoredRun whose `weights` are those of
    `store_replay`. Raises NotStored while a page is built without it."""
    config = at_most(config, TINY)
    wanted = Wanted(
        "trajectory",
        store.run_name(config),
        "the reference recipe, with its weights by epoch",
        python_command("lab.addition.replay", "replay", config),
    )
    return find_or_make(
        wanted,
        store.BOOK_TRAJECTORIES,
        store.YOUR_TRAJECTORIES,
        find=lambda folder: store.load_run(config, folder),
        make=lambda folder: store_replay(folder, config),
    )[0]


def kept_epochs(run):
    """The epochs whose weights a replayed run has, in order."""
    return sorted({int(name.split("/")[0]) for name in run.weights})


def model_at(run, epoch):
    """The AdditionTransformer of one kept epoch, in evaluation mode, on the CPU. Raises ValueError
    for an epoch that was not kept."""
    prefix = f"{epoch}/"
    state = {
        name.removeprefix(prefix): value.float()
        for name, value in run.weights.items()
        if name.startswith(prefix)
    }
    if not state:
        raise ValueError(
            f"no weights of epoch {epoch}: there are {', '.join(map(str, kept_epochs(run)))}"
        )
    model: AdditionTransformer = new_model(run.config)
    model.load_state_dict(state)
    return model.to(torch.device("cpu")).eval()
