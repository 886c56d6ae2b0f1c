"""What Quarto makes of the small book, kept in tests/data/quarto-pages: the text of its pages, and
the links to the pages before and after.

`python tests/quarto_pages.py` makes them anew, where Quarto is.
"""

import sys
import tempfile
from pathlib import Path

from bs4 import BeautifulSoup

if __name__ == "__main__":  # before tests/, whose folders bear the names of what they test
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from small_book import ROOT, write_small_book

SAVED = ROOT / "tests/data/quarto-pages"
NAMES = ["chapters/01-first.html", "chapters/02-second.html", "references.html"]


def saved(name: str) -> BeautifulSoup:
    """The kept text of the page `name` of the small book."""
    text = (SAVED / Path(name).name).read_text(encoding="utf-8")
    return BeautifulSoup(text, "html.parser")


def save(output: Path) -> None:
    """Keep the text of the pages in `output`."""
    for name in NAMES:
        page = BeautifulSoup((output / name).read_text(encoding="utf-8"), "html.parser")
        text = f"{page.main}\n{page.select_one('nav.page-navigation')}\n"
        (SAVED / Path(name).name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    from tools.build import build

    with tempfile.TemporaryDirectory() as folder:
        save(build(write_small_book(Path(folder) / "book"), "quarto", "reader"))
