"""Find a finished result or make it: one rule for runs, sweeps, censuses, interventions and
whatever else is stored.

A result is the book's if the book holds exactly what is asked for, else your own of an earlier
time, else it is made now and kept with your own. While a page is built nothing is ever made: a page
shows what is stored, or the build stops and says what is missing (`NotStored`). With
BOOK_RUNS=fresh the book's results are left aside and all is made on the device at hand.
"""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

__all__ = (
    "NotStored Wanted find_or_make runs_mode building_chapter python_command Call flat_settings"
    " nearest_stored".split()
)

_used = []  # the results that this process has used, each once
_chapter = None  # the page that is being built: see lab/page/record.py


class NotStored(LookupError):
    """A page asks for a result that is not stored. The message says which, what is near to it, and
    how to make it."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for, in words and in settings.

    kind: "run", "sweep", ...; name: its folder's; text: what it is; command: what makes it; config:
    its settings (None: it has none of its own); minutes: how long it took, or the nearest of its
    kind (None: not known).
    """

    kind: str
    name: str
    text: str
    command: str
    config: object = None
    minutes: float = None


def building_chapter(name=None):
    """The page that is being built, or None: in notebooks and programs results may be made. With a
    name: from now on, that."""
    global _chapter
    _chapter = name or _chapter
    return _chapter


def note_use(run):
    """Add a run to the list of what this process has used: what it was, where it came from, how
    long it took. A page shows the list."""
    entry = {
        "run": run.name,
        "origin": run.origin,
        "seed": run.config.seed,
        "differs": run.differs,
        **{k: run.provenance[k] for k in ("seconds", "device_name", "threads", "torch", "date")},
    }
    if entry not in _used:
        _used.append(entry)


def used_results():
    """The results that this process has used so far: a list of dictionaries, as `note_use` keeps
    them."""
    return list(_used)


def runs_mode():
    """ "stored" or "fresh", from the environment variable BOOK_RUNS. Raises ValueError for anything
    else."""
    mode = os.environ.get("BOOK_RUNS") or "stored"
    if mode not in ("stored", "fresh"):
        raise ValueError(f"BOOK_RUNS may be stored or fresh, not {mode!r}")
    return mode


def find_or_make(wanted, book, yours, find, make, current=lambda result: True):
    """The finished result and where it came from: (result, "book" or "yours").

    book, yours: folders. find(folder): what a folder holds of it, all of it or None. make(folder):
    make it and store it there. current(result): may one of your own stand for a fresh one (same
    code, same device)? Raises NotStored while a page is built, and whatever `find` raises for a
    damaged folder.
    """
    fresh = runs_mode() == "fresh"
    found = None if fresh else find(book)
    if found is not None:
        return found, "book"
    yours = Path(yours)
    yours.mkdir(parents=True, exist_ok=True)
    with FileLock(yours / f".{wanted.name}.making.lock"):  # two notebooks, one training
        found = find(yours)
        if found is None or (fresh and not current(found)):
            if _chapter is not None and not fresh:
                raise NotStored(_not_stored(wanted, book))
            if _chapter is None:
                print(_announcement(wanted, book, yours), flush=True)
            make(yours)
            found = find(yours)
    return found, "yours"


def _announcement(wanted, book, yours):
    minutes = _minutes(wanted, book)
    time = (
        "how long that takes is not known"
        if minutes is None
        else f"about {minutes:,.1f} minutes as recorded for it or the nearest one"
    )
    return (
        f"The {wanted.kind} {wanted.name} ({wanted.text}) is not stored. Making it now: {time}. It"
        f" is kept in {yours.name}."
    )


def _minutes(wanted, book):
    if wanted.minutes is not None or wanted.config is None:
        return wanted.minutes
    near = nearest_stored(wanted.config, book)
    return near and _recorded_minutes(Path(book) / near[0])


def _recorded_minutes(place):
    provenance = json.loads((place / "provenance.json").read_text(encoding="utf-8"))
    blocks = provenance.get("blocks", [provenance])
    return sum(block["seconds"] for block in blocks) / 60


def _not_stored(wanted, book):
    lines = [
        f"the page {_chapter!r} asks for a {wanted.kind} that is not stored: {wanted.name}"
        f" ({wanted.text}). A build never trains."
    ]
    near = nearest_stored(wanted.config, book) if wanted.config is not None else None
    if near is not None:
        name, differences = near
        lines.append(
            f"The nearest stored one is {name}"
            + (", which differs in:" if differences else " (the same settings).")
        )
        lines += [
            f"    {setting}: {here!r} here, {there!r} there"
            for setting, (here, there) in differences.items()
        ]
    minutes = _minutes(wanted, book)
    lines.append(
        f"This makes it{f', in about {minutes:,.1f} minutes' if minutes is not None else ''}, and"
        " keeps it with your own:"
    )
    lines += [f"    {wanted.command}", "BOOK_RUNS=fresh makes everything anew, in hours."]
    return "\n".join(lines)


# --------------------------------------------------------------------------------------------------
# Settings as text
# --------------------------------------------------------------------------------------------------


def flat_settings(settings, prefix=""):
    """Nested settings as one dictionary: {"recipe.lr": 0.02, ...}. Lists and tuples count as the
    same."""
    flat = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= flat_settings(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = json.loads(json.dumps(value))
    return flat


def nearest_stored(config, folder):
    """The stored result whose settings differ least from a configuration's: (name, {setting:
    (here, there)}), or None.

    A setting that is younger than the stored result has its default there; one of another kind of
    model counts as None.
    """
    here, best = flat_settings(dataclasses.asdict(config)), None
    defaults = flat_settings(_defaults(config))
    for file in sorted(Path(folder).glob("*/config.json")):
        try:
            there = flat_settings(json.loads(file.read_text(encoding="utf-8")))
        except ValueError:  # damaged: whoever reads it says so
            continue
        there = defaults | {name: value for name, value in there.items() if name != "model_class"}
        differences = {
            name: (here.get(name), there.get(name))
            for name in [*here, *(set(there) - set(here))]
            if here.get(name) != there.get(name)
        }
        if best is None or len(differences) < len(best[1]):
            best = file.parent.name, differences
    return best


def _defaults(config):
    return {
        f.name: (
            _defaults(value)
            if dataclasses.is_dataclass(value := getattr(config, f.name))
            else f.default
        )
        for f in dataclasses.fields(config)
    }


def python_command(module, call, *arguments):
    """A shell line that calls a function of a module: `python -c "from ... import ...; call(...)"`,
    for any shell. Of configurations among the arguments it writes what differs from their
    defaults."""
    imports = {(module, call)}
    text = ", ".join(_expression(argument, imports) for argument in arguments)
    lines = [f"from {name} import {what}" for name, what in sorted(imports)]
    program = "; ".join([*lines, f"{call}({text})"])
    return f'python -c "{program}"'


@dataclass(frozen=True)
class Call:
    """A call as an argument of another, for `python_command`."""

    module: str
    function: str
    argument: object


def _expression(value, imports):
    if isinstance(value, Call):
        imports.add((value.module, value.function))
        return f"{value.function}({_expression(value.argument, imports)})"
    if not dataclasses.is_dataclass(value):
        return repr(value)
    imports.add((type(value).__module__, type(value).__name__))
    changed = [
        (f.name, getattr(value, f.name))
        for f in dataclasses.fields(value)
        if getattr(value, f.name) != f.default
    ]
    settings = ", ".join(f"{name}={_expression(each, imports)}" for name, each in changed)
    return f"{type(value).__name__}({settings})"
