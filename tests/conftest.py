"""What the tests of the build share: a small book, the real book, a browser."""
import os
import shutil
from pathlib import Path

import pytest
from small_book import ROOT, write_small_book

BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
            "/Applications/Chromium.app/Contents/MacOS/Chromium"]


def pytest_collection_modifyitems(items):
    """Fast ones first: what takes long, or needs a browser, comes last."""
    items.sort(key=lambda item: bool(item.get_closest_marker("slow")) + 2 * bool(item.get_closest_marker("browser")))


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
    from lab import fleets
    from lab.ten_digits import stratified_pairs
    validation = fleets._validation
    monkeypatch.setattr(fleets, "_validation", lambda format, device: validation(format, device, 200, 5))
    monkeypatch.setattr(fleets, "board_pairs", lambda: tuple(torch.arange(2 * 30).view(2, 30)))
    monkeypatch.setattr(fleets, "stratified_pairs", lambda n, seed: stratified_pairs(3, seed))


@pytest.fixture(scope="session")
def small_book(tmp_path_factory):
    """The small book, built the pandoc way. Shared: tests that change it copy it first."""
    from tools.build import build
    root = write_small_book(tmp_path_factory.mktemp("small") / "book")
    build(root, "pandoc", "reader")
    return root


@pytest.fixture
def own_small_book(small_book, tmp_path):
    """A copy of the built small book that a test may change."""
    return Path(shutil.copytree(small_book, tmp_path / "book"))


@pytest.fixture(scope="session")
def built_book(tmp_path_factory):
    """The real book's readers' edition, built the pandoc way into a folder of its own; returns that folder."""
    from tools.build import build
    return build(ROOT, "pandoc", "reader", tmp_path_factory.mktemp("book") / "_book")


def find_browser():
    """Path of an installed Chromium or Chrome, or None."""
    return next((found for found in map(shutil.which, BROWSERS) if found), None)


@pytest.fixture(scope="session")
def browser(small_book, built_book):
    """Headless Chromium: the installed one, else Playwright's own. In CI a missing browser is a failure. The books come
    first: while Playwright runs, no notebook can be executed in this process."""
    from playwright.sync_api import Error, sync_playwright
    with sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(
                executable_path=find_browser(), args=["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else [])
        except Error as error:
            reason = ("no browser: install Chromium or Chrome, or run `python -m playwright install chromium` "
                      f"({str(error).splitlines()[0]})")
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        yield opened
        opened.close()
