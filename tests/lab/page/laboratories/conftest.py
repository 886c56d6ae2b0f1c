"""What the tests of the laboratories share: pages from disk with one laboratory each."""

import json
import re

import pytest

from lab.page.laboratories import LABORATORIES, laboratory_page, write_laboratories


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Pages from disk, one a laboratory, light and dark."""
    folder = tmp_path_factory.mktemp("laboratories")
    write_laboratories(list(LABORATORIES), folder)
    for name in LABORATORIES:
        for theme in ("light", "dark"):
            (folder / f"{name}-{theme}.html").write_text(
                laboratory_page(name, f"<script src='{name}.js'></script>", theme), encoding="utf-8"
            )
    return folder


@pytest.fixture
def opened(folder, bare_browser):
    """open(name, address="", theme, width): a page; at the end nothing may have been loaded or
    complained of."""
    pages = []

    def open_page(name, address="", theme="light", width=1280, **options):
        page = bare_browser.new_page(viewport={"width": width, "height": 900}, **options)
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: said.append(r.url) if not r.url.startswith("file:") else None)
        page.goto((folder / f"{name}-{theme}.html").as_uri() + address)
        pages.append((page, said))
        return page

    yield open_page
    complaints = [text for _, said in pages for text in said]
    for page, _ in pages:
        page.close()
    assert complaints == []


@pytest.fixture
def data_of(folder):
    """data_of(name): what the build wrote into a laboratory's script."""

    def read(name):
        text = (folder / f"{name}.js").read_text(encoding="utf-8")
        return json.loads(re.search(r"bookLaboratories\.\w+, (\{.*\})\);\n$", text)[1])

    return read
