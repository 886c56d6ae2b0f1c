"""Write the chapters as notebooks: `python -m tools.notebooks`.

notebooks/<chapter>.ipynb is for readers: starters of the exercises, no solutions.
notebooks/solutions/<chapter>.ipynb is for instructors. Both come from the chapter's source alone,
so numbers and references are those of the book, and a paragraph with computed numbers is a folded
code cell that shows the paragraph when it runs.

A notebook in which a reader has worked is never overwritten: it stays while its chapter stays the
same, and moves to notebooks/yours/ when the chapter has changed.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import html
import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lab import ROOT
from lab.page.qmd import (
    CLAIM,
    EDITIONS,
    Cell,
    Prose,
    list_pages,
    profile_of,
    read_chapter,
    read_config,
)
from tools.pandoc_book import run_pandoc
from tools.pandoc_tree import (
    BookError,
    Draft,
    Numbering,
    plain_text,
    raw,
    resolve_references,
    string,
    walk,
)

FOLDERS = {"reader": ".", "instructor": "solutions"}  # edition -> its folder in notebooks/
HAS_NOTEBOOK = re.compile(r"^\d\d-")  # numbered chapters; as in tools/chapter.lua
WRITER = "commonmark+pipe_tables+tex_math_dollars"
CUT = "<!-- cell {} -->"
CELL_KINDS = {  # class of a code block -> kind
    "executed-cell": "code",
    "exercise-cell": "exercise",
    "laboratory-cell": "laboratory",
}
OPEN_LABORATORY = """\
from lab.page.laboratories import show_laboratory

show_laboratory("{}")  # it opens below and runs in your browser"""
LIST_GOES_ON = re.compile(r" +|[-*+] |\d+[.)] ")
STARTS_CELL = re.compile(r"^<!-- cell (\w+) -->\n?", re.M)

FIND_BOOK = """\
# Run this cell first: it finds the book's folder, wherever this notebook was opened from.
import os
import sys
from pathlib import Path

start = Path(os.environ.get("BOOK_ROOT") or Path.cwd()).resolve()
book = next((folder for folder in [start, *start.parents]
             if (folder / "_common.py").is_file() and (folder / "lab").is_dir()), None)
if book is None:
    raise FileNotFoundError(
        f"The book's folder (with _common.py and lab/) is neither {start} nor above. "
        "Open this notebook inside the book's folder, or set the variable BOOK_ROOT to it.")
os.chdir(book)
sys.path.insert(0, str(book))

from IPython.display import Markdown
from lab.exercises import check
from lab.page.record import verdict_of"""

HOW_TO_RUN = (
    "*Run the cells from top to bottom (Run ▸ Run All Cells). Paragraphs with computed numbers are"
    " folded code cells: they show their text when they run. Exercises start from a `...`, which is"
    " yours to replace.*"
)


# -- From a chapter to cells
# ---------------------------------------------------------------------------------------


class NotebookNumbering(Numbering):
    """Numbers like the book's pages, but writes what plain Jupyter shows well: no divisions, no
    attributes."""

    def visit_header(self, element: dict) -> list:
        level, (identifier, classes, attributes), inlines = element["c"]
        numbered = super().visit_header(element)
        if level == 1:
            number = f"{self.draft.page.number} " if self.draft.page.number else ""
            return [cut("text"), header(1, [string(number), *inlines]), cut("text")]
        return [cut("text"), header(level, numbered[0]["c"][2])]

    def visit_div(self, element: dict) -> list | None:
        classes = element["c"][0][1]
        if "aside" in classes:
            return walk(element["c"][1], self.visit)
        if "laboratory" in classes:
            code = OPEN_LABORATORY.format(element["c"][0][0].removeprefix("lab-"))
            opens = {"t": "CodeBlock", "c": [["", ["laboratory-cell"], []], code]}
            return [*walk(element["c"][1], self.visit), opens]
        if "claim" in classes:
            return [{"t": "BlockQuote", "c": flat(walk(element["c"][1], self.visit))}]
        return super().visit_div(element)

    def float(self, identifier: str, blocks: list) -> dict:
        said = self.caption_of(identifier, blocks)
        label = self.label(identifier, self.next_number(identifier[:3]))
        caption = paragraph([strong([string(f"{label}.")]), {"t": "Space"}, *said])
        body = walk(blocks[:-1], self.visit)
        return group([caption, *body] if identifier.startswith("tbl-") else [*body, caption])

    def theorem(self, identifier: str, blocks: list) -> dict:
        is_exercise = identifier.startswith("exr-")
        label = self.label(identifier, self.next_number(identifier[:3]))
        title = []
        if blocks and blocks[0]["t"] == "Header":
            title, blocks = [string(": "), *blocks[0]["c"][2]], blocks[1:]
        heading = (
            header(3, [string(label), *title])
            if is_exercise
            else paragraph([strong([string(label), *title])])
        )
        return group([cut("text"), heading, *walk(blocks, self.visit)])

    def callout(self, kind: str, attributes: dict, blocks: list) -> list:
        title = [string(attributes.get("title", kind.removeprefix("callout-").capitalize()))]
        if "title" not in attributes and blocks and blocks[0]["t"] == "Header":
            title, blocks = blocks[0]["c"][2], blocks[1:]
        body = walk(blocks, self.visit)
        if any(
            block["t"] == "RawBlock"
            and STARTS_CELL.match(block["c"][1] + "\n")
            or block["t"] == "CodeBlock"
            and CELL_KINDS.keys() & set(block["c"][0][1])
            for block in flat(body)
        ):
            return [paragraph([strong(title)]), *body]  # it holds cells, which no quotation can
        if attributes.get("collapse") == "true":
            return [
                raw(f"<details><summary><b>{html.escape(plain_text(title))}</b></summary>"),
                *body,
                raw("</details>"),
            ]
        return [{"t": "BlockQuote", "c": [paragraph([strong(title)]), *flat(body)]}]

    def visit_codeblock(self, element: dict) -> list:
        (identifier, classes, attributes), code = element["c"]
        if "check" in classes:
            return []
        if "starter" in classes or "solution" in classes:
            return [{"t": "CodeBlock", "c": [["", ["exercise-cell"], []], code]}]
        return [
            {
                "t": "CodeBlock",
                "c": [["", [name for name in classes if name != "cell-code"][:1], []], code],
            }
        ]

    def visit_para(self, element: dict) -> list | None:
        numbered = super().visit_para(element)
        return [walk(numbered, undecorated)[0]] if numbered else None


def header(level: int, inlines: list) -> dict:
    return {"t": "Header", "c": [level, ["", [], []], inlines]}


def paragraph(inlines: list) -> dict:
    return {"t": "Para", "c": inlines}


def strong(inlines: list) -> dict:
    return {"t": "Strong", "c": inlines}


def group(blocks: list) -> dict:
    return {"t": "Div", "c": [["", [], []], blocks]}


def cut(kind: str) -> dict:
    return raw(CUT.format(kind))


def flat(blocks: list) -> list:
    """The blocks, with those inside divisions in their place."""
    return [
        inner
        for block in blocks
        for inner in (flat(block["c"][1]) if block["t"] == "Div" else [block])
    ]


def undecorated(element: dict) -> list | None:
    """Spans without their wrapping, references without their links: what plain Markdown can say."""
    if element["t"] == "Span":
        (_, classes, _), inlines = element["c"]
        inner = walk(inlines, undecorated)
        return [string("("), *inner, string(")")] if "aside" in classes else inner
    if element["t"] == "Link":
        (_, classes, _), inlines, (url, _) = element["c"]
        if "quarto-xref" in classes or url.startswith("#") or (".html" in url and "://" not in url):
            return walk(inlines, undecorated)
    return None


def with_notes_at_end(blocks: list) -> list:
    """Footnotes as numbers in the text and a list at the end: Jupyter knows no footnotes, least of
    all across cells."""
    notes = []

    def visit(element: dict) -> list | None:
        if element["t"] != "Note":
            return None
        notes.append(element["c"])
        return [{"t": "RawInline", "c": ["html", f"<sup>{len(notes)}</sup>"]}]

    blocks = walk(blocks, visit)
    style = [1, {"t": "Decimal"}, {"t": "Period"}]
    return blocks + (
        [cut("text"), header(2, [string("Notes")]), {"t": "OrderedList", "c": [style, notes]}]
        if notes
        else []
    )


class ChapterParts:
    """A chapter's Markdown with placeholders for its cells and inline expressions, and what they
    stand for."""

    def __init__(self, draft: Draft):
        self.cells: dict[str, Cell] = {}
        self.expressions: dict[str, str] = {}
        texts = []
        for part in draft.chapter.parts:
            if isinstance(part, Prose):
                names = [
                    self._name("expression", self.expressions, source)
                    for source in part.expressions
                ]
                texts.append(self._with_verdicts(part.replace_expressions(names)))
            else:
                texts.append(self._cell_markdown(part))
        self.markdown = "\n\n".join(texts)

    def _with_verdicts(self, text: str) -> str:
        """The text with the mark of its check before each claim, as an inline expression."""

        def with_verdict(match):
            name = self._name("expression", self.expressions, f'verdict_of("{match["id"]}")')
            start = match.start("text") - match.start()
            return f"{match[0][:start]}\n{name} {match[0][start:].lstrip()}"

        return CLAIM.sub(with_verdict, text)

    @staticmethod
    def _name(kind: str, names: dict, value) -> str:
        name = f"x{kind}{len(names)}x"
        names[name] = value
        return name

    def _cell_markdown(self, cell: Cell) -> str:
        """The cell as a code block; in a captioned division where its options caption a figure or
        table."""
        block = f"``` {{.executed-cell}}\n{self._name('cell', self.cells, cell)}\n```"
        label = str(cell.options.get("label", ""))
        caption = cell.options.get({"fig-": "fig-cap", "tbl-": "tbl-cap"}.get(label[:4], ""))
        return f":::::::: {{#{label}}}\n{block}\n\n{caption}\n::::::::" if caption else block


def mark_cells(blocks: list) -> list:
    """The blocks without divisions, and with a comment before each that begins a notebook cell of
    another kind."""
    marked = []
    for block in flat(blocks):
        classes = block["c"][0][1] if block["t"] == "CodeBlock" else []
        kind = next((CELL_KINDS[name] for name in classes if name in CELL_KINDS), None)
        if kind:
            marked += [cut(kind), block, cut("text")]
        else:
            marked.append(block)
    return marked


def read_drafts(root: Path, edition: str) -> list[tuple[Draft, ChapterParts]]:
    """Every page of the book as a numbered syntax tree with its references resolved, and its
    parts."""
    config = read_config(root, edition)
    drafts = [Draft(page, read_chapter(root / page.source)) for page in list_pages(root, config)]
    parts = [ChapterParts(draft) for draft in drafts]

    def read(draft, part):
        tree = run_pandoc(
            root,
            ["-f", "markdown", "-t", "json", "--lua-filter", root / "tools/chapter.lua"],
            part.markdown,
            draft.page.source,
            {"QUARTO_PROFILE": profile_of(edition)},
        )
        draft.tree = json.loads(tree)
        NotebookNumbering(draft, edition).apply()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(read, drafts, parts))
    resolve_references(drafts)
    return list(zip(drafts, parts))


def chapter_markdown(root: Path, draft: Draft, config: dict) -> str:
    """The chapter as CommonMark, with a comment line where a cell begins; citations read "Author
    (year)"."""
    heading = {"t": "MetaInlines", "c": [string("References")]}
    tree = {**draft.tree, "meta": {"reference-section-title": heading} if draft.citations else {}}
    tree = json.loads(
        run_pandoc(
            root,
            [
                "-f",
                "json",
                "-t",
                "json",
                "--citeproc",
                "--bibliography",
                root / config["bibliography"],
                "--csl",
                root / config["csl"],
            ],
            json.dumps(tree),
            draft.page.source,
        )
    )
    blocks = with_notes_at_end(flat(walk(tree["blocks"], undecorated)))
    tree["blocks"] = mark_cells(
        [
            (
                header(2, block["c"][2])
                if block["t"] == "Header" and plain_text(block["c"][2]) == "References"
                else block
            )
            for block in blocks
        ]
    )
    markdown = run_pandoc(
        root, ["-f", "json", "-t", WRITER, "--wrap=none"], json.dumps(tree), draft.page.source
    )
    markdown = markdown.replace("\xa0%", " %")  # who edits a cell sees one kind of space
    return re.sub(r"^(`{3,}) (?=\w+$)", r"\1", markdown, flags=re.M)


def chapter_cells(markdown: str, parts: ChapterParts) -> list:
    """Notebook cells, without ids, from the Markdown of `chapter_markdown`."""
    pieces = STARTS_CELL.split("<!-- cell text -->\n" + markdown)[1:]
    cells = []
    for kind, text in zip(pieces[::2], pieces[1::2]):
        if kind == "text":
            cells += text_cells(text.strip(), parts.expressions)
        elif kind in ("exercise", "laboratory"):
            metadata = {"tags": ["exercise"]} if kind == "exercise" else {}
            cells.append(new_code_cell(fenced_code(text), metadata=metadata))
        else:
            cell = parts.cells[fenced_code(text).strip()]
            cells.append(new_code_cell(without_record(cell.code), metadata=cell_metadata(cell)))
    return [cell for cell in cells if cell.source.strip()]


def text_cells(text: str, expressions: dict[str, str]) -> list:
    """Markdown cells, and a folded code cell for each stretch of blocks that hold computed
    values."""
    placeholder = re.compile(
        "|".join(map(re.escape, sorted(expressions, key=len, reverse=True))) or r"(?!)"
    )
    stretches: list[tuple[bool, list[str]]] = []
    for block in split_blocks(text):
        is_computed = bool(placeholder.search(block))
        if not stretches or stretches[-1][0] != is_computed:
            stretches.append((is_computed, []))
        stretches[-1][1].append(block)
    return [
        (
            computed_cell("\n\n".join(blocks), placeholder, expressions)
            if is_computed
            else new_markdown_cell("\n\n".join(blocks))
        )
        for is_computed, blocks in stretches
    ]


def split_blocks(text: str) -> list[str]:
    """Markdown at its blank lines, but a list, a fence, and what is between <details> and
    </details> in one piece."""
    blocks, depth, fence = [], 0, None
    for piece in re.split(r"\n{2,}", text):
        if (
            depth
            or fence
            or (
                blocks
                and LIST_GOES_ON.match(piece)
                and (piece[0] == " " or LIST_GOES_ON.match(blocks[-1]))
            )
        ):
            blocks[-1] += "\n\n" + piece
        elif piece:
            blocks.append(piece)
        depth += piece.count("<details") - piece.count("</details>")
        for line in piece.split("\n"):
            if fence is None and line.startswith("```"):
                fence = re.match("`+", line).group(0)
            elif fence is not None and line.rstrip() == fence:
                fence = None
    return blocks


def computed_cell(text: str, placeholder: re.Pattern, expressions: dict[str, str]):
    """A code cell that shows `text` with the values of its expressions: Markdown(... % (...))."""
    if '"""' in text:
        raise BookError(f'a paragraph with computed values cannot hold """: {text[:60]!r}')
    values = [expressions[match.group(0)] for match in placeholder.finditer(text)]
    template = placeholder.sub("%s", text.replace("%", "%%"))
    arguments = ",\n    ".join(values)
    source = f'Markdown(r"""{template}\n""" % (\n    {arguments},\n))'
    return new_code_cell(
        source, metadata={"jupyter": {"source_hidden": True}, "tags": ["computed-text"]}
    )


def fenced_code(text: str) -> str:
    """The code inside the first fence of `text`, or its indented code."""
    fenced = re.match(r"\s*(?P<fence>`{3,})[^\n]*\n(?P<code>.*?)\n?(?P=fence)\s*$", text, re.S)
    if fenced:
        return fenced["code"].rstrip()
    return "\n".join(line.removeprefix("    ") for line in text.strip("\n").split("\n")).rstrip()


def without_record(code: str) -> str:
    """A notebook leaves no record for the appendix: that is the build's business, and cells are run
    twice here."""
    return "\n".join(line for line in code.split("\n") if not line.startswith("open_chapter("))


def cell_metadata(cell: Cell) -> dict:
    """What of a cell's options helps in Jupyter: code that the page hides is folded here, an
    unwanted output too."""
    folded = cell.options.get("echo", True) is False or cell.options.get("code-fold") in (
        True,
        "true",
    )
    jupyter = {
        **({"source_hidden": True} if folded else {}),
        **({"outputs_hidden": True} if cell.options.get("output", True) is False else {}),
    }
    return {"jupyter": jupyter} if jupyter else {}


# -- Notebooks
# --------------------------------------------------------------------------------------------------


def make_notebooks(root: Path, edition: str) -> dict[str, nbformat.NotebookNode]:
    """A valid notebook for every numbered chapter: stem -> notebook. Nothing is executed and
    nothing written."""
    config = read_config(root, edition)
    notebooks = {}
    for draft, parts in read_drafts(root, edition):
        if not HAS_NOTEBOOK.match(draft.page.stem):
            continue
        cells = chapter_cells(chapter_markdown(root, draft, config), parts)
        cells[1:1] = [new_markdown_cell(HOW_TO_RUN), new_code_cell(FIND_BOOK)]
        for position, cell in enumerate(cells):
            cell["id"] = f"cell-{position:03d}"
        book = {"chapter": draft.page.stem, "edition": edition, "sources": hash_of_sources(cells)}
        notebook = new_notebook(
            cells=cells,
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                "language_info": {"name": "python"},
                "book": book,
            },
        )
        nbformat.validate(notebook)
        notebooks[draft.page.stem] = notebook
    return notebooks


def hash_of_sources(cells: list) -> str:
    return hashlib.sha256(
        json.dumps([[cell.cell_type, cell.source] for cell in cells]).encode()
    ).hexdigest()


def keep_readers_work(path: Path, new: nbformat.NotebookNode, yours: Path) -> bool:
    """Is what lies at `path` to be replaced by `new`?

    A reader's work on a chapter that has changed moves to `yours`; so does a file that is no
    notebook any more (empty, half-written, in conflict after a merge): it may hold work that can be
    saved by hand.
    """
    if not path.exists():
        return True
    try:
        old = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        nbformat.validate(old)
        made_from = old.metadata.get("book", {}).get("sources")
        is_untouched = hash_of_sources(old.cells) == made_from
    except (ValueError, AttributeError, nbformat.ValidationError) as error:
        reason = str(error).strip().split("\n")[0][:80] or "it is empty"
        set_aside(path, yours, f"{path.name} cannot be read as a notebook ({reason})")
        return True
    if made_from == new.metadata.book.sources:
        return False  # up to date, with or without a reader's work in it
    if not is_untouched:
        set_aside(path, yours, f"the chapter of {path.name} has changed")
    return True


def set_aside(path: Path, yours: Path, why: str) -> None:
    """Move a file to `yours`, under a name that is free there, and say so."""
    yours.mkdir(parents=True, exist_ok=True)
    names = (yours / f"{path.stem}-{n}{path.suffix}" for n in range(1, 10_000))
    place = next(name for name in names if not name.exists())
    os.replace(path, place)
    print(f"{why}: what was there is now {yours.name}/{place.name}")


def write_notebooks(root: Path = ROOT, folder: Path | None = None, editions=EDITIONS) -> list[Path]:
    """Write the notebooks of the editions into `folder` (default `root`/notebooks); returns their
    paths."""
    folder = folder or root / "notebooks"
    written = []
    for edition in editions:
        for stem, notebook in make_notebooks(root, edition).items():
            path = folder / FOLDERS[edition] / f"{stem}.ipynb"
            if keep_readers_work(path, notebook, folder / "yours"):
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_name(f".{path.name}.part")
                part.write_text(
                    nbformat.writes(copy.deepcopy(notebook)) + "\n", encoding="utf-8", newline="\n"
                )
                os.replace(part, path)
            written.append(path)
    return written


def publish_notebooks(root: Path, folder: Path, edition: str) -> None:
    """The notebooks that the pages of `edition` link, made anew in `folder`: what a reader did in
    his own is not published."""
    shutil.rmtree(folder, ignore_errors=True)
    write_notebooks(root, folder, EDITIONS if edition == "instructor" else [edition])


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for path in write_notebooks():
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
