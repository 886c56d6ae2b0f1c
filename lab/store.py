"""Stored runs on disk: one folder per finished run, written whole or not at all, checked whenever
it is read.

A folder holds
    config.json           every setting of the run
    history.csv           one row per epoch, as plain text
    weights.safetensors   the final weights (no pickle), where they are kept
    provenance.json       date, device, versions, threads, seconds, hash of the code; and the
                          SHA-256 of the other files
The folder's name is computed from the configuration alone: see `run_name`.
"""

import dataclasses
import datetime
import hashlib
import io
import json
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock
from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensors_to_bytes

from lab import ROOT

BOOK_RUNS = ROOT / "data" / "runs"  # committed; written by tools/train.py only
YOUR_RUNS = ROOT / "data" / "yours"  # git-ignored; whatever a reader trains
BOOK_TRAJECTORIES = ROOT / "data" / "trajectories"  # runs with weights at many steps
YOUR_TRAJECTORIES = YOUR_RUNS / "trajectories"


class DamagedRun(RuntimeError):
    """A stored run whose files are missing, truncated or altered. The message names the file."""


@dataclass(frozen=True)
class StoredRun:
    """A finished run as read from disk."""

    config: object
    history: pd.DataFrame  # one row per epoch
    weights: dict | None  # tensor name -> tensor, on the CPU; None where they are not kept
    provenance: dict
    path: Path


def settings_of(config):
    """The configuration as a plain dictionary. Raises TypeError unless it is a dataclass
    instance."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"a run's configuration must be a dataclass instance, not {config!r}")
    return dataclasses.asdict(config)


def run_name(config):
    """The folder name of a configuration: `<task>-seed<seed>-<8 hex digits>`.

    The hash covers the settings that differ from the dataclass's defaults. So a new option with a
    default that keeps the old behaviour voids no stored run; a changed default would, and must
    never be made.
    """
    changed = settings_hash(config)
    return f"{config.task}-seed{config.seed:03d}-{changed}"


def settings_hash(config):
    """8 hex digits that say which settings differ from the defaults; a setting may be a dataclass
    itself."""
    return hashlib.sha256(json.dumps(_changed(config), sort_keys=True).encode()).hexdigest()[:8]


def _changed(config):
    settings_of(config)
    values = {f.name: (getattr(config, f.name), f.default) for f in dataclasses.fields(config)}
    return [
        type(config).__name__,
        {
            name: _changed(value) if dataclasses.is_dataclass(value) else value
            for name, (value, default) in values.items()
            if value != default
        },
    ]


def hash_in(name):
    """The hash at the end of a result's name: what stands before it is for people."""
    return name.rpartition("-")[2]


def place_of(folder, name):
    """Where `folder` holds a result, or would: a Path. It may stand there with other words before
    its hash than in `name`, those of the experiment it belongs to."""
    place = Path(folder) / name
    if place.exists():
        return place
    return min(Path(folder).glob(f"[!.]*-{hash_in(name)}"), default=place)


def sha256(data):
    """Hex digest of bytes, or of a file's content."""
    return hashlib.sha256(data if isinstance(data, bytes) else Path(data).read_bytes()).hexdigest()


def device_name(device):
    """What the device calls itself, for example "NVIDIA H200" or "Intel(R) Xeon(R) Processor @
    2.80GHz"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return f"Apple MPS ({cpu})" if device.type == "mps" else cpu


def code_hash(files):
    """The first 16 hex digits of the SHA-256 of some source files: take it when they are imported,
    not after a run."""
    return sha256(b"".join(Path(f).read_bytes() for f in files))[:16]


def provenance_of(device, seconds, code):
    """Where and how a run was made, as a dictionary. `code`: the hash of the code that made it."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "device": device.type,
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "seconds": round(seconds, 1),
        "code": code,
    }


def save_run(config, history, weights, provenance, folder, replace=False):
    """Write a finished run into `folder` and return its path. A reader never sees half of it.

    weights: tensor name -> tensor; None: they are not kept. Everything is written to a temporary
    folder beside the place and moved there in one step. An existing run of the same configuration
    stays as it is, unless `replace`.
    """
    files = {
        "config.json": (json.dumps(settings_of(config), indent=1) + "\n").encode(),
        "history.csv": history.to_csv(index=False, lineterminator="\n").encode(),
    }
    if weights is not None:
        files["weights.safetensors"] = tensors_to_bytes(
            {k: v.detach().cpu().contiguous() for k, v in weights.items()}
        )
    return write_folder(Path(folder) / run_name(config), files, provenance, replace)


def write_folder(place, files, provenance, replace=False):
    """Write files (name -> bytes) and their provenance as one folder, whole or not at all; returns
    its path.

    An existing folder stays as it is, unless `replace`.
    """
    place = Path(place)
    folder = place.parent
    folder.mkdir(parents=True, exist_ok=True)
    provenance = dict(provenance, files={name: sha256(data) for name, data in files.items()})
    files = dict(files) | {"provenance.json": (json.dumps(provenance, indent=1) + "\n").encode()}
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        for name, data in files.items():
            with open(temporary / name, "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
        temporary.chmod(0o755)
        with FileLock(folder / ".lock"):
            if place.exists() and replace:
                old = temporary.with_name(temporary.name + "-old")
                os.replace(place, old)
                os.replace(temporary, place)
                shutil.rmtree(old)
            elif not place.exists():
                os.replace(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return place


def load_run(config, folder):
    """The stored run of this configuration in `folder`, or None if there is none. Raises
    DamagedRun."""
    place = Path(folder) / run_name(config)
    return read_run(place, type(config)) if place.exists() else None


def read_run(place, config_class):
    """Read and check one run's folder. Raises DamagedRun with the name of the file that is missing
    or altered."""
    place, remedy = Path(place), remedy_for(place)
    contents, provenance = read_folder(place, ("config.json", "history.csv"))
    if "weights.safetensors" in provenance["files"]:
        contents |= read_folder(place, ("weights.safetensors",))[0]
    weights = contents.get("weights.safetensors")
    settings = json.loads(contents["config.json"])
    try:
        config = config_class(**settings)
    except TypeError as error:
        raise DamagedRun(
            f"stored run {place.name}: config.json does not fit {config_class.__name__}: {error}"
        ) from None
    if run_name(config) != place.name:
        raise DamagedRun(
            f"stored run {place.name}: config.json describes {run_name(config)}. {remedy}"
        )
    return StoredRun(
        config,
        read_table(contents["history.csv"]),
        None if weights is None else load_tensors(weights),
        provenance,
        place,
    )


def read_table(data):
    """The stored bytes of a CSV file as a DataFrame, its numbers to the last digit.

    Before pandas 3 that had to be asked for, and since then to ask for it is deprecated.
    """
    asked = {"float_precision": "round_trip"} if int(pd.__version__.split(".")[0]) < 3 else {}
    return pd.read_csv(io.BytesIO(data), **asked)


def remedy_for(place):
    """What to do about a damaged folder."""
    return (
        f"Restore it (`git checkout -- {Path(place).name}` in its folder) or delete the folder to"
        " train it again."
    )


def read_folder(place, names):
    """The files of a folder, checked against their checksums: ({name: bytes}, provenance). Raises
    DamagedRun."""
    place, remedy = Path(place), remedy_for(place)
    try:
        provenance = json.loads((place / "provenance.json").read_text())
        expected = dict(provenance["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedRun(
            f"stored run {place.name}: provenance.json is missing or unreadable ({error}). {remedy}"
        ) from None
    contents = {}
    for name in names:
        try:
            contents[name] = (place / name).read_bytes()
        except OSError:
            raise DamagedRun(f"stored run {place.name}: {name} is missing. {remedy}") from None
        if sha256(contents[name]) != expected.get(name):
            raise DamagedRun(
                f"stored run {place.name}: {name} was truncated or altered after it was written "
                f"({len(contents[name]):,} bytes). {remedy}"
            )
    return contents, provenance


def stored_places(folder):
    """The folders of all runs stored in `folder`, in order of name."""
    folder = Path(folder)
    return (
        sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        if folder.exists()
        else []
    )
