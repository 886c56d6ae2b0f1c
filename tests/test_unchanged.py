"""The tests leave the checkout as it was, or their run fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LEAVING_THINGS = """
from pathlib import Path
def test_new(): Path("_record").mkdir(); Path("_record", "x.json").write_text("{}")
def test_changed(): Path("kept.txt").write_text("longer")
def test_gone(): Path("gone.txt").unlink()
"""


def run_tests(checkout, text, *options):
    """Run pytest, with the plugin, in the folder `checkout` that holds a file of tests with this
    text."""
    for name, content in {
        "pytest.ini": "[pytest]\n",
        "kept.txt": "short",
        "gone.txt": "short",
        "test_it.py": text,
    }.items():
        (checkout / name).write_text(content)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "unchanged", *options],
        cwd=checkout,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_what_tests_leave_behind_fails_their_run(tmp_path, options):
    done = run_tests(tmp_path, LEAVING_THINGS, *options)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED and "3 passed" in done.stdout, (
        done.stdout + done.stderr
    )
    told = [
        line
        for line in done.stdout.splitlines()
        if line.startswith(("new: ", "gone: ", "changed: "))
    ]
    assert told == ["new: _record/x.json", "gone: gone.txt", "changed: kept.txt"]


def test_temporary_files_and_the_tools_own_do_not(tmp_path):
    done = run_tests(tmp_path, "def test_it(tmp_path): (tmp_path / 'x').write_text('')")
    assert done.returncode == pytest.ExitCode.OK and (tmp_path / ".pytest_cache").exists(), (
        done.stdout + done.stderr
    )
    assert "not as it was" not in done.stdout
