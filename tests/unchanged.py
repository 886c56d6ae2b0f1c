"""A run of the tests fails when it leaves the checkout other than it was: tests write into
temporary folders.

A pytest plugin. What the tools keep for themselves (byte code, caches of pytest and hypothesis,
.venv) does not count.
"""

import os
from pathlib import Path

import pytest

OF_THE_TOOLS = {".git", ".venv", "__pycache__", ".pytest_cache", ".hypothesis"}

files_before = pytest.StashKey()
changes = pytest.StashKey()


def list_files(root: Path) -> dict[str, tuple[int, int]]:
    """Path below `root` -> (size, time of the last change in ns) of every file but the tools'
    own."""
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in OF_THE_TOOLS]
        for name in set(names) - OF_THE_TOOLS:
            path = Path(folder, name)
            status = path.lstat()
            found[path.relative_to(root).as_posix()] = status.st_size, status.st_mtime_ns
    return found


def list_changes(before: dict, after: dict) -> list[str]:
    """One line for each file that is new, gone or changed, in the order of the paths."""
    kinds = {
        path: "new" if path not in before else "gone" if path not in after else "changed"
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
    }
    return [f"{kinds[path]}: {path}" for path in sorted(kinds)]


def pytest_sessionstart(session):
    if not hasattr(
        session.config, "workerinput"
    ):  # with xdist: in the process that leads, not in the workers
        session.config.stash[files_before] = list_files(session.config.rootpath)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    before = session.config.stash.get(files_before, None)
    if before is None:
        return
    session.config.stash[changes] = list_changes(before, list_files(session.config.rootpath))
    if session.config.stash[changes] and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    lines = config.stash.get(changes, [])
    if lines:
        terminalreporter.section(
            "FAILED: the checkout is not as it was before the tests", red=True, bold=True
        )
        for line in lines:
            terminalreporter.line(line)
        terminalreporter.line(
            "A test, or something beside the tests, has written there while they ran."
        )
