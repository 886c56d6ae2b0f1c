"""Guard against stale results: drop what was computed from something that has changed since, and
nothing else.

Quarto's `freeze: auto` looks at a chapter's own source only (quarto-cli #6793): a change in
`_common.py`, in a module of `lab/` or in a data file would not re-run the chapter. Every chapter
leaves `_record/<stem>.json` with the files it used (`depends_on`: path -> SHA-256) and the settings
it ran under. After a run this is kept as a *snapshot* beside the result it belongs to; before a
build the guard compares the snapshot with the files as they are now.

Quarto calls it before and after a render (tools/render_hooks.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """What one engine keeps of an executed chapter."""

    stem: str
    file: Path  # the stored outputs; without them the chapter runs again
    snapshot: Path


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict | None:
    """The object in `path`; None when it is missing, unreadable or not an object (the chapter then
    runs again)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def pandoc_result(root: Path, stem: str) -> Result:
    file = root / "_cache" / "pandoc" / f"{stem}.ipynb"
    return Result(stem, file, file.with_suffix(".json"))


def quarto_result(root: Path, file: Path) -> Result:
    """`file` is `_freeze/<path of the chapter>/execute-results/<format>.json`: Quarto executes a
    chapter for each format."""
    stem = file.parent.parent.name
    return Result(stem, file, root / "_cache" / "quarto" / f"{stem}.{file.stem}.json")


def frozen_results(root: Path) -> list[Result]:
    return [
        quarto_result(root, file)
        for file in sorted((root / "_freeze").glob("**/execute-results/*.json"))
    ]


def list_results(root: Path) -> list[Result]:
    results = [
        pandoc_result(root, path.stem)
        for path in sorted((root / "_cache" / "pandoc").glob("*.ipynb"))
    ]
    return results + frozen_results(root)


def take_snapshot(root: Path, result: Result) -> None:
    """Keep the chapter's record, as it is now, beside the result that it describes."""
    record = read_json(root / "_record" / f"{result.stem}.json") or {}
    snapshot = {
        "result": sha256_of(result.file),
        "depends_on": record.get("depends_on"),
        "settings": record.get("settings"),
    }
    write_atomically(result.snapshot, json.dumps(snapshot, indent=1, sort_keys=True))


def why_stale(root: Path, result: Result) -> str | None:
    """The reason why `result` must not be used again, or None when everything is as it was."""
    record = read_json(root / "_record" / f"{result.stem}.json")
    if record is None:
        return "it has left no record of what it used"
    for name in record.get("figures", []):
        if not (root / name).is_file():
            return f"the figure it exported, {name}, is gone"
    snapshot = read_json(result.snapshot)
    if snapshot is None or snapshot.get("result") != sha256_of(result.file):
        return "its stored outputs are not those of its last recorded run"
    if not isinstance(snapshot.get("depends_on"), dict) or not isinstance(
        snapshot.get("settings"), dict
    ):
        return "its record does not say what it used"
    for name, recorded in sorted(snapshot["depends_on"].items()):
        path = root / name
        if not path.is_file():
            return f"{name} is gone"
        if sha256_of(path) != recorded:
            return f"{name} has changed"
    for name, recorded in sorted(snapshot["settings"].items()):
        if os.environ.get(name, "") != (recorded or ""):
            return f"{name} is {os.environ.get(name, '')!r}, it was {recorded or ''!r}"
    return None


def drop_stale_results(root: Path) -> list[str]:
    """Remove every stale result, of either engine; returns the stems of the chapters that will run
    again."""
    dropped = []
    for result in list_results(root):
        reason = why_stale(root, result)
        if reason:
            print(f"{result.stem} runs again: {reason}")
            result.file.unlink()
            result.snapshot.unlink(missing_ok=True)
            dropped.append(result.stem)
    return dropped


def stamp_frozen_results(root: Path) -> None:
    """After a Quarto render: give each new frozen result its snapshot; the old ones keep theirs."""
    for result in frozen_results(root):
        snapshot = read_json(result.snapshot)
        if snapshot is None or snapshot.get("result") != sha256_of(result.file):
            take_snapshot(root, result)
