"""What the tests of the build share: a small book, the real book, a browser."""

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock
from forked_kernels import nursery
from small_book import ROOT, copy_book, write_small_book

pytest_plugins = ["unchanged"]
PATTERN = int(os.environ.get("BOOK_DISTURBANCE") or 0)  # the seed of how arithmetic is disturbed
IN_KERNELS = f"""
import sys
sys.path.append({str(ROOT / "tests")!r})
import disturbed, notebook_apart
disturbed.disturb(("11-weights-by-hand", "by-hand-details"), {PATTERN})
notebook_apart.stand_apart()
sys.path.remove({str(ROOT / "tests")!r})
del sys, disturbed, notebook_apart
"""
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch: workers side by side with more threads each wait for each other

DESK = {"width": 1280, "height": 900}  # the window in which pages open
BROWSERS = [
    "chromium-headless-shell",  # the same pages in half the time: it draws no window around them
    "chrome-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
]


def pytest_configure(config):
    if hasattr(config.option, "loadscopereorder"):
        # xdist's own order; the next hook makes a better one
        config.option.loadscopereorder = False


@pytest.hookimpl(tryfirst=True)  # before `-m` selects, and before xdist reads the groups
def pytest_collection_modifyitems(config, items):
    """Which tests go together into one worker (`-n 2 --dist loadgroup`), and in which order.

    All that need the built book are one group, for it is built once; each other slow test is one by
    itself; the rest of a file is one. In one process the fast ones come first. Workers begin with
    the slow ones: what is given out last should be short, or one worker waits for the other.
    """

    def weight(item):
        return (
            2 if "built_book" in item.fixturenames else 1 if item.get_closest_marker("slow") else 0
        )

    for item in items:
        if weight(item) == 2:
            item.add_marker(pytest.mark.slow)
        if weight(item) != 1:
            item.add_marker(
                pytest.mark.xdist_group(
                    "built book" if weight(item) else item.nodeid.partition("::")[0]
                )
            )
    items.sort(key=weight, reverse=hasattr(config, "workerinput"))


def pytest_collection_finish(session):
    """Refuse a pytest-xdist that takes groups apart: every worker would build the book, unsaid."""
    grouped = getattr(session.config.option, "loadgroup", False)
    if grouped and session.items and not any("@" in item.nodeid for item in session.items):
        raise pytest.UsageError("this pytest-xdist does not keep groups of this pytest together")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """The readers' edition, whatever the shell says."""
    monkeypatch.delenv("QUARTO_PROFILE", raising=False)


@pytest.fixture
def one_thread():
    """For tests of bitwise equality: sums may be taken in another order with more threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def quick(monkeypatch):
    """Fleets with small validation and test sets: for tests of the machinery, not of the models."""
    import torch

    from lab.adders.ten_digits import stratified_pairs
    from lab.adders.training import fleets

    validation = fleets._validation
    monkeypatch.setattr(
        fleets, "_validation", lambda format, device: validation(format, device, 200, 5)
    )
    monkeypatch.setattr(fleets, "board_pairs", lambda: tuple(torch.arange(2 * 30).view(2, 30)))
    monkeypatch.setattr(fleets, "stratified_pairs", lambda n, seed: stratified_pairs(3, seed))


@pytest.fixture(scope="session")
def kernel_nursery(tmp_path_factory):
    """What starts a kernel in no time, or None."""
    with nursery(tmp_path_factory.mktemp("profile")) as start:
        yield start


@contextmanager
def _forking(start):
    """Where kernels can be forked, those that this process starts are."""
    with pytest.MonkeyPatch.context() as patch:
        if start:
            patch.setattr("jupyter_client.provisioning.local_provisioner.launch_kernel", start)
        yield patch


@pytest.fixture(scope="module")
def forked_kernels(kernel_nursery):
    """The kernels of a module's tests begin as tests/forked_kernels.py says."""
    with _forking(kernel_nursery):
        yield


@pytest.fixture(scope="session")
def small_book(tmp_path_factory, kernel_nursery):
    """The small book, built the pandoc way. Shared: tests that change it copy it first."""
    from tools.build import build

    root = write_small_book(tmp_path_factory.mktemp("small") / "book")
    with _forking(kernel_nursery):
        build(root, "pandoc", "reader")
    return root


@pytest.fixture
def own_small_book(small_book, forked_kernels, tmp_path):
    """A copy of the built small book that a test may change, and build again in this process."""
    return Path(shutil.copytree(small_book, tmp_path / "book"))


@pytest.fixture(scope="session")
def notebooks(tmp_path_factory):
    """The chapters' notebooks: edition -> stem -> notebook. Tests that change one copy it first.
    They are made by one worker, for it takes twenty seconds, and read by the others."""
    from tools.notebooks import make_notebooks

    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder  # which they share
    made = folder / "notebooks.json"
    with FileLock(folder / "notebooks.lock"):
        if not made.exists():
            both = {edition: make_notebooks(ROOT, edition) for edition in ("reader", "instructor")}
            made.write_text(json.dumps(both), encoding="utf-8")
    both = json.loads(made.read_text(encoding="utf-8"))
    return {
        edition: {stem: nbformat.from_dict(notebook) for stem, notebook in chapters.items()}
        for edition, chapters in both.items()
    }


@pytest.fixture(scope="session")
def built_book(tmp_path_factory, notebooks, kernel_nursery):
    """The real book's readers' edition, built the pandoc way in a copy of the checkout; returns the
    folder of the pages. The records of the chapters are in `_record` beside it.

    Its chapters are executed as on another machine, with disturbed arithmetic (tests/disturbed.py):
    what holds for these pages holds for those of `make book`, and the numbers on them are to be the
    same. BOOK_DISTURBANCE, a whole number, makes it yet another machine.

    Their kernels also run what only the notebooks hold (tests/notebook_along.py): its outputs are
    in `_cache/pandoc` beside the pages, and not on them."""
    from notebook_along import add_notebook, is_own

    from tools import execute
    from tools.build import build

    notebook_of, outputs_of = execute._notebook_of, execute._outputs_of

    def with_notebook(chapter):
        both = [notebooks[edition].get(chapter.path.stem) for edition in ("reader", "instructor")]
        built = notebook_of(chapter)
        return add_notebook(built, chapter, *both) if all(both) else built

    def outputs_of_the_page(notebook):
        cells = [cell for cell in notebook.cells if not is_own(cell)]
        return outputs_of(nbformat.v4.new_notebook(cells=cells))

    with _forking(kernel_nursery) as patch:
        patch.setattr(execute, "SET_UP", execute.SET_UP + IN_KERNELS)
        patch.setattr(execute, "_notebook_of", with_notebook)
        patch.setattr(execute, "_outputs_of", outputs_of_the_page)
        return build(copy_book(tmp_path_factory.mktemp("book") / "book"), "pandoc", "reader")


def find_browser():
    """Path of an installed Chromium or Chrome, or None."""
    return next((found for found in map(shutil.which, BROWSERS) if found), None)


@pytest.fixture(scope="module")
def bare_browser():
    """Headless Chromium: the installed one, else Playwright's own. In CI a missing browser is a
    failure."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(
                executable_path=find_browser(),
                args=["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else [],
            )
        except Error as error:
            reason = (
                "no browser: install Chromium or Chrome, or run `python -m playwright install"
                f" chromium` ({str(error).splitlines()[0]})"
            )
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def browser(small_book, built_book, bare_browser):
    """The browser when the books are built: while Playwright runs, no notebook can be executed in
    this process (and none later: so it ends with the module)."""
    return bare_browser


@pytest.fixture
def open_page(browser):
    """Open addresses in a fresh profile and a window of a desk's size, unless told another;
    whatever goes wrong in them fails the test at its end."""
    contexts, faults = [], []

    def open_(address, viewport=None, context=None, **options):
        if context is None:
            context = browser.new_context(viewport=viewport or DESK, **options)
            contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda message: message.type in ("error", "warning") and faults.append(message.text),
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        # what a page was still loading when the next one was opened is aborted, and nobody's fault
        page.on(
            "requestfailed",
            lambda request: (
                request.failure == "net::ERR_ABORTED"
                or faults.append(f"failed: {request.url} ({request.failure})")
            ),
        )
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("file:", "data:", "http://127.0.0.1"))
                or faults.append(f"left the machine: {request.url}")
            ),
        )
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not faults
