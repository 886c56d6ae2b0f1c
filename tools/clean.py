"""Remove what builds made: `python tools/clean.py`.

Keeps .venv, the stored runs, the reader's own runs (data/yours) and notebooks/, where readers work.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MADE_BY_BUILDS = [
    "_book*",
    "_cache",
    "_freeze",
    "_record",
    ".quarto",
    "site_libs",
    "chapters/*_files",
    "index_files",
    "*.html",  # what an interrupted `quarto render` leaves beside the sources
    "chapters/*.html",
    "downloads",
    "**/*.quarto_ipynb",
]


def made_by_builds(root):
    """The folders and files that a build made under `root`, exported figures included."""
    found = [
        path
        for pattern in MADE_BY_BUILDS
        for path in root.glob(pattern)
        if ".venv" not in path.parts
    ]
    figures = [path for path in root.glob("figures/*/") if path.is_dir() and path.name != "theme"]
    return sorted(found + figures)


def main():
    for path in made_by_builds(ROOT):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        print("removed", path.relative_to(ROOT))


if __name__ == "__main__":
    main()
