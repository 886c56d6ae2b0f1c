"""Build the book: lint the sources, drop stale results, run the engine, check the pages.

    python -m tools.build [--engine quarto|pandoc] [--edition reader|instructor]

Without `--engine`, BOOK_ENGINE decides; without that, Quarto is used where it is installed and
pandoc elsewhere. QUARTO_PROFILE=instructor is the same as `--edition instructor`.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

from lab import ROOT
from lab.page.qmd import EDITIONS, SourceError, profile_of, read_config
from tools.check_pages import check_pages
from tools.environment import kernel_environment
from tools.execute import ChapterError
from tools.freshness import drop_stale_results
from tools.laboratories import publish_laboratories
from tools.lint import lint_book
from tools.notebooks import publish_notebooks
from tools.pandoc_book import build_book
from tools.pandoc_tree import BookError

ENGINES = ("quarto", "pandoc")


SYSTEM_SAYS_NO = {
    errno.ENOSPC: (
        "The disk is full: make room and build again; the pages of the last build are as they were."
    ),
    errno.EDQUOT: "Your quota of disk space is used up: make room and build again.",
    errno.EROFS: "This folder cannot be written to: copy or clone the book to a place of your own.",
    errno.EACCES: (
        "This folder cannot be written to: copy or clone the book to a place of your own."
    ),
}


class BuildError(RuntimeError):
    """The build cannot go on; the message is for the person who typed the command."""


def find_quarto() -> str | None:
    """Quarto on the PATH, or where pip put it: beside this Python."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return shutil.which("quarto", path=beside)


def choose_engine(given: str | None) -> str:
    """The engine asked for on the command line or in BOOK_ENGINE, else the best one that is
    installed."""
    wanted = given or os.environ.get("BOOK_ENGINE") or ("quarto" if find_quarto() else "pandoc")
    if wanted not in ENGINES:
        raise BuildError(f"BOOK_ENGINE is {wanted!r}; allowed are: {', '.join(ENGINES)}")
    if wanted == "quarto" and not find_quarto():
        raise BuildError(
            "Quarto was asked for, but there is no `quarto` on the PATH. Install it from quarto.org"
            " or with `pip install quarto-cli`, or build with BOOK_ENGINE=pandoc."
        )
    return wanted


def choose_edition(given: str | None) -> str:
    """The edition asked for on the command line or by QUARTO_PROFILE, else the readers'."""
    wanted = given or os.environ.get("QUARTO_PROFILE") or "reader"
    if wanted not in EDITIONS:
        raise BuildError(
            f"the edition is {wanted!r}; allowed are: {', '.join(EDITIONS)}"
            " (QUARTO_PROFILE=instructor)"
        )
    return wanted


@contextlib.contextmanager
def one_build_at_a_time(root: Path):
    """Wait while another process builds this book: both would write the same records, caches and
    pages."""
    (root / "_cache").mkdir(exist_ok=True)
    lock = FileLock(root / "_cache" / ".build.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(
            "another build of this book is running; this one waits until it has ended ...",
            flush=True,
        )
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def build(root: Path, engine: str, edition: str) -> Path:
    """Build `edition` with `engine`; returns the folder of the pages. Raises BuildError with
    everything wrong."""
    complaints = lint_book(root)
    if complaints:
        raise BuildError(
            "\n".join(
                [
                    *complaints,
                    f"{len(complaints)} thing(s) to mend in the sources; nothing was built",
                ]
            )
        )
    output = root / read_config(root, edition)["project"].get("output-dir", "_book")
    if engine == "quarto":
        render_with_quarto(root, edition)
    else:
        build_with_pandoc(root, edition, output)
    complaints = check_pages(root, output, edition)
    if complaints:
        raise BuildError(
            "\n".join(
                [*complaints, f"{len(complaints)} thing(s) wrong in the pages of {output.name}/"]
            )
        )
    return output


def build_with_pandoc(root: Path, edition: str, output: Path) -> None:
    """The pages are made aside and put in place when all are there, so that a failed build leaves
    the last good one."""
    drop_stale_results(root)
    aside = Path(tempfile.mkdtemp(dir=output.parent, prefix=f"{output.name}-partial-"))
    try:
        build_book(root, edition, aside)
        publish_notebooks(root, aside / "downloads", edition)
        publish_laboratories(root, aside / "downloads" / "laboratories")
        aside.chmod(0o755)
        if output.exists():
            output.rename(aside.with_name(aside.name + "-old"))
        aside.rename(output)
    except (BookError, ChapterError) as error:
        raise BuildError(str(error)) from None
    finally:
        for rest in (aside, aside.with_name(aside.name + "-old")):
            shutil.rmtree(rest, ignore_errors=True)


def render_with_quarto(root: Path, edition: str) -> None:
    """`quarto render`; a warning about a reference or a citation is an error."""
    warnings = []
    with tempfile.TemporaryDirectory(prefix="profile-") as profile:
        environment = {
            **kernel_environment(profile),
            "QUARTO_PYTHON": sys.executable,
            "QUARTO_PROFILE": profile_of(edition),
        }
        with subprocess.Popen(
            [find_quarto(), "render"],
            cwd=root,
            env=environment,
            text=True,
            encoding="utf-8",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            for line in process.stdout:
                print(line, end="", flush=True)
                if (
                    "Unable to resolve crossref" in line
                    or "Unable to resolve link" in line
                    or "citation" in line
                    and "WARN" in line
                ):
                    warnings.append(line.strip())
    if process.returncode:
        raise BuildError(
            f"quarto render ended with status {process.returncode}; its messages are above"
        )
    if warnings:
        raise BuildError("\n".join(warnings))


def note_on_own_runs(root: Path) -> str:
    """What to tell a reader whose own results the pages show; "" where all are the book's."""
    records = [json.loads(path.read_text()) for path in sorted((root / "_record").glob("*.json"))]
    own = {run["run"]: record["chapter"] for record in records for run in record["runs"]
           if run["origin"] == "yours"}  # fmt: skip
    if not own:
        return ""
    return (
        f"{len(own)} of the results on these pages are your own, from data/yours: what they"
        f" contradict is marked on the page and stops nothing. Chapters:"
        f" {', '.join(sorted(set(own.values())))}."
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.build", description="Build the book.")
    parser.add_argument(
        "--engine", choices=ENGINES, help="default: BOOK_ENGINE, else Quarto where it is installed"
    )
    parser.add_argument(
        "--edition", choices=EDITIONS, help="default: QUARTO_PROFILE, else the readers' edition"
    )
    options = parser.parse_args(arguments)
    started = time.time()
    try:
        engine, edition = choose_engine(options.engine), choose_edition(options.edition)
        os.environ["QUARTO_PROFILE"] = profile_of(edition)
        print(f"building the {edition} edition with {engine}", flush=True)
        with one_build_at_a_time(ROOT):
            output = build(ROOT, engine, edition)
    except (BuildError, SourceError) as error:
        print(f"\nThe book was not built.\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nStopped. Chapters that had been executed need not run again; the pages are those of"
            " the last build.",
            file=sys.stderr,
        )
        return 130  # what a shell expects of a program that was interrupted
    except OSError as error:
        if error.errno not in SYSTEM_SAYS_NO:
            raise
        print(
            f"\nThe book was not built.\n{SYSTEM_SAYS_NO[error.errno]} ({error})", file=sys.stderr
        )
        return 1
    print(
        f"The book is in {(output / 'index.html').relative_to(ROOT)}"
        f" ({time.time() - started:.0f} s)."
    )
    if note := note_on_own_runs(ROOT):
        print(note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
