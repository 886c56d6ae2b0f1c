"""Run the chapters' cells and inline expressions through Jupyter, and keep the outputs until
something changes.

The kernel is set up as Quarto sets it up (figure size and format), one kernel per chapter, working
directory = the project root. Inline expressions are evaluated where they stand, through the
kernel's own `user_expressions`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from lab.page.qmd import Cell, Chapter, inline_markdown
from tools.environment import kernel_environment
from tools.freshness import pandoc_result, take_snapshot, write_atomically

CHAPTERS_AT_ONCE = 2
# a local socket's address has at most 103 bytes on macOS, and ends in "-1" to "-5"
LONGEST_SOCKET = 95
SET_UP = """
import matplotlib.pyplot as plt
from matplotlib_inline.backend_inline import set_matplotlib_formats
plt.rcParams.update({"figure.figsize": (7, 5), "figure.dpi": 96, "savefig.dpi": "figure"})
set_matplotlib_formats("retina")
del plt, set_matplotlib_formats
"""


class ChapterError(RuntimeError):
    """A cell or an inline expression that failed; the message starts with `file:line:`."""


def execute_chapters(root: Path, chapters: list[Chapter]) -> dict[Path, list[list[dict]]]:
    """Outputs per chapter path: one list for each part, a cell's outputs or its prose's inline
    values.

    Chapters that are never frozen (the appendices) run after all the others, for they report on
    them. Raises ChapterError.
    """
    outputs = {}
    for is_frozen in (True, False):
        group = [chapter for chapter in chapters if chapter.is_frozen == is_frozen]
        outputs.update(asyncio.run(_execute_group(root, group)))
    return outputs


async def _execute_group(root: Path, chapters: list[Chapter]) -> dict[Path, list[list[dict]]]:
    places = asyncio.Semaphore(CHAPTERS_AT_ONCE)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler = _leave_signals_alone

    async def one(chapter: Chapter):
        async with places:
            return chapter.path, await _execute_or_reuse(root, chapter)

    try:
        results = await asyncio.gather(
            *(one(chapter) for chapter in chapters if chapter.runs_code), return_exceptions=True
        )
    except asyncio.CancelledError:  # Ctrl-C: that nbclient misses its kernels is no news
        loop.set_exception_handler(lambda loop, context: None)
        raise
    for error in results:
        if isinstance(error, BaseException) and not isinstance(error, ChapterError):
            raise error
    failures = [str(error) for error in results if isinstance(error, ChapterError)]
    if failures:  # the chapters that went well have kept their outputs by now
        raise ChapterError("\n\n".join(failures))
    return dict(results)


def _leave_signals_alone(*_):
    """In place of an event loop's `add_signal_handler`. nbclient would answer Ctrl-C by closing the
    kernel that began last, and the others would go on; without its handler the build stops."""
    raise RuntimeError("this build handles signals itself")  # which nbclient takes for an answer


async def run_notebook(
    notebook: nbformat.NotebookNode, folder: Path, timeout: int | None = None
) -> None:
    """Execute a notebook in place, in a kernel of its own that works in `folder`. Raises nbclient's
    errors.

    The kernel is that of this Python, whatever kernels a user has installed under its name. Where
    the system has them, kernels talk through local sockets: two that start at once can pick the
    same TCP port.
    """
    with tempfile.TemporaryDirectory(prefix="k-", dir=short_temporary_folder()) as sockets:
        connection = os.path.join(sockets, "k.json")
        local = os.name != "nt" and len(connection) <= LONGEST_SOCKET
        manager = AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
            transport="ipc" if local else "tcp",
            connection_file=connection,
        )
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=timeout,
            resources={"metadata": {"path": str(folder)}},
            shutdown_kernel="immediate",  # one asked to end takes a second, and has nothing to do
            extra_arguments=["--log-level=50"],  # else the kernel warns of its local sockets
        )
        await client.async_execute(cleanup_kc=True, env=kernel_environment(sockets))


def short_temporary_folder() -> str | None:
    """Where kernels' sockets may stand: the usual temporary folder (None) unless its path is too
    long for them, as on many clusters; else a system's short one that can be written to."""
    if len(os.path.join(tempfile.gettempdir(), "k-12345678", "k.json")) <= LONGEST_SOCKET:
        return None
    return next(
        (
            place
            for place in ("/tmp", "/var/tmp", "/dev/shm")
            if os.access(place, os.W_OK | os.X_OK)
        ),
        None,
    )


def code_key(chapter: Chapter) -> str:
    """Hash of what the kernel is asked to run, and of the claims' sentences, which go into the
    record; other prose and captions are not part of it."""
    parts = [part.source if isinstance(part, Cell) else part.expressions for part in chapter.parts]
    claims = [sentence.text for prose in chapter.prose for sentence in prose.sentences]
    return hashlib.sha256(json.dumps([SET_UP, parts, claims]).encode()).hexdigest()


async def _execute_or_reuse(root: Path, chapter: Chapter) -> list[list[dict]]:
    result = pandoc_result(root, chapter.path.stem)
    if chapter.is_frozen and result.file.exists():
        notebook = nbformat.read(result.file, as_version=4)
        if notebook.metadata.get("book_key") == code_key(chapter):
            return _outputs_of(notebook)
    name = chapter.path.relative_to(root).as_posix()
    print(f"running {name} ...", flush=True)
    started = time.time()
    notebook = _notebook_of(chapter)
    try:
        await run_notebook(notebook, root)
    except (CellExecutionError, DeadKernelError) as error:
        raise ChapterError(_explain(name, notebook, error)) from None
    _raise_for_expressions(name, notebook)
    print(f"ran {name} in {time.time() - started:.0f} s", flush=True)
    if chapter.is_frozen:
        write_atomically(result.file, nbformat.writes(notebook))
        record = root / "_record" / f"{chapter.path.stem}.json"
        if (
            record.exists() and record.stat().st_mtime >= started - 2
        ):  # else the record is not of this run
            take_snapshot(root, result)
    return _outputs_of(notebook)


def _notebook_of(chapter: Chapter) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell(SET_UP, id="set-up", metadata={"book_line": 1})]
    for number, part in enumerate(chapter.parts):
        if isinstance(part, Cell):
            has_label = part.source.startswith("#| label:")
            source, line = part.source, part.first_code_line - has_label
        else:
            expressions = {str(index): text for index, text in enumerate(part.expressions)}
            source, line = "", part.line
            if expressions:
                source = (
                    "get_ipython().display_pub.publish({'application/json': "
                    f"get_ipython().user_expressions({expressions!r})}})"
                )
        cells.append(
            nbformat.v4.new_code_cell(source, id=f"part-{number}", metadata={"book_line": line})
        )
    return nbformat.v4.new_notebook(cells=cells, metadata={"book_key": code_key(chapter)})


def _outputs_of(notebook) -> list[list[dict]]:
    return [cell.outputs for cell in notebook.cells[1:]]


def _explain(name: str, notebook, error) -> str:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback))
                within = re.findall(r"Cell In\[\d+\], line (\d+)", trace)
                line = cell.metadata.book_line + (int(within[0]) - 1 if within else 0)
                return f"{name}:{line}: {output.ename}: {output.evalue}\n{trace}"
    return f"{name}: {error}"


def _raise_for_expressions(name: str, notebook) -> None:
    for cell in notebook.cells:
        for output in cell.outputs:
            for value in output.get("data", {}).get("application/json", {}).values():
                if value.get("status") == "error":
                    raise ChapterError(
                        f"{name}:{cell.metadata.book_line}: in the text after this line, an inline "
                        f"expression failed: {value['ename']}: {value['evalue']}"
                    )


def inline_values(outputs: list[dict]) -> list[str]:
    """Markdown for each inline expression of a piece of prose, escaped as Quarto escapes it."""
    shown = [
        output["data"] for output in outputs if output.output_type == "display_data"
    ]  # a progress bar is, too
    values = next((data["application/json"] for data in shown if "application/json" in data), {})
    return [inline_markdown(values[key]["data"]) for key in sorted(values, key=int)]


def warn_of_hidden_output(name: str, text: str) -> None:
    """Warnings do not belong on a page, and must not be lost either."""
    print(f"{name}: on standard error:\n{text}", file=sys.stderr, flush=True)
