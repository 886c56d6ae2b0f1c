"""Quarto's own pages of the small book, served and looked at: where Quarto is."""

import functools
import http.server
import itertools
import threading

import pytest
from page_faults import CONTRAST, CUT_OFF, OPEN_FOLDED, SIDEWAYS, axe

from tools.build import build, find_quarto

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(find_quarto() is None, reason="Quarto is not installed"),
]


@pytest.fixture(scope="module")
def browser(small_book, bare_browser):
    """No chapter of the whole book is wanted here, which takes minutes to build."""
    return bare_browser


@pytest.fixture
def served(own_small_book):
    """(the folder of Quarto's pages, the address at which they are served)."""
    folder = build(own_small_book, "quarto", "reader")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_quartos_pages_open_and_can_be_read(served, open_page):
    folder, address = served
    pages = [path for path in sorted(folder.rglob("*.html")) if "site_libs" not in path.parts]
    for scheme, width in itertools.product(("light", "dark"), (1400, 768, 390)):
        page = open_page("about:blank", {"width": width, "height": 900}, color_scheme=scheme)
        for path in pages:
            page.goto(f"{address}/{path.relative_to(folder).as_posix()}")
            page.wait_for_load_state("networkidle")
            page.evaluate(OPEN_FOLDED)
            page.wait_for_timeout(300)  # what folds moves
            faults = [page.evaluate(script) for script in (CONTRAST, SIDEWAYS, CUT_OFF)]
            faults += [axe(page, contrast=False)]
            assert faults == [[], [], [], []], f"{path.name}, {scheme}, {width} px"
