"""Write the scripts of the laboratories that the chapters have: see lab/page/laboratories."""

from pathlib import Path

from lab.page.laboratories import laboratories_of, write_laboratories
from lab.page.qmd import list_pages, read_config


def publish_laboratories(root: Path, folder: Path) -> list[Path]:
    """The laboratories of the book at `root`, each as one script in `folder`; returns their
    paths."""
    pages = list_pages(root, read_config(root, "reader"))
    texts = [(root / page.source).read_text(encoding="utf-8") for page in pages]
    return write_laboratories(laboratories_of(texts), folder)
