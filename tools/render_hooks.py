"""What Quarto runs before and after a render (`pre-render` and `post-render` in _quarto.yml).

before: stale results go, and the notebooks that pages link and the scripts of the laboratories are
made. A link to a file that is not there while pages are made is a warning, and each render empties
the folder of the pages; so these files lie in downloads/, and `resources` has Quarto copy them
beside the pages. after: the results that are new get their snapshots, and the new pages' formulas
their spaces.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # in place of tools/, whose names are not those of the standard library

from tools.freshness import drop_stale_results, stamp_frozen_results  # noqa: E402
from tools.laboratories import publish_laboratories  # noqa: E402
from tools.notebooks import publish_notebooks  # noqa: E402
from tools.pandoc_book import space_function_names  # noqa: E402


def before() -> None:
    drop_stale_results(ROOT)
    downloads = ROOT / "downloads"
    if (
        os.environ.get("QUARTO_PROJECT_RENDER_ALL") or not downloads.is_dir()
    ):  # not for each chapter that is previewed
        profiles = os.environ.get("QUARTO_PROFILE", "").split(",")
        publish_notebooks(ROOT, downloads, "instructor" if "instructor" in profiles else "reader")
        publish_laboratories(ROOT, downloads / "laboratories")


def after() -> None:
    stamp_frozen_results(ROOT)
    for name in os.environ.get("QUARTO_PROJECT_OUTPUT_FILES", "").splitlines():
        page = ROOT / name
        if page.suffix == ".html" and page.is_file():
            made = page.read_text(encoding="utf-8")
            spaced = space_function_names(made)
            if spaced != made:
                page.write_text(spaced, encoding="utf-8")


def main(arguments: list[str]) -> int:
    if arguments == ["before"]:
        before()
    elif arguments == ["after"]:
        after()
    else:
        print(f"render_hooks: given {arguments}, allowed: before, after", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
