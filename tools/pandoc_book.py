"""Build the book with parts that come from PyPI: cells run through Jupyter, pages made by pandoc.

The second way beside Quarto, for the closed list of Markdown constructs that `tools/lint.py`
enforces. Each chapter is read into pandoc's syntax tree (JSON), numbered, and its references
resolved over the whole book; then pandoc writes the page. File names, identifiers, classes and
numbers are those Quarto gives.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pypandoc
from bs4 import BeautifulSoup

from lab.page.qmd import Cell, choose_display, list_pages, profile_of, read_chapter, read_config
from tools.execute import (
    ChapterError,
    execute_chapters,
    inline_values,
    warn_of_hidden_output,
)
from tools.pandoc_tree import (
    BookError,
    Draft,
    Numbering,
    div,
    plain_text,
    raw,
    resolve_references,
)

THEME = Path("figures/theme")


def build_book(root: Path, edition: str, output: Path) -> None:
    """Execute and write every page of `edition` ("reader" or "instructor") into the empty folder
    `output`."""
    config = read_config(root, edition)
    drafts = [Draft(page, read_chapter(root / page.source)) for page in list_pages(root, config)]
    outputs = execute_chapters(root, [draft.chapter for draft in drafts])
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def read(draft):
            text = compose_markdown(draft, outputs.get(draft.chapter.path), config, output)
            draft.tree = run_pandoc(
                root,
                [
                    "-f",
                    "markdown",
                    "-t",
                    "json",
                    "--lua-filter",
                    root / "tools/chapter.lua",
                    "-M",
                    f"book-chapter={draft.page.source}",
                ],
                text,
                draft.page.source,
                {"QUARTO_PROFILE": profile_of(edition)},
            )
            draft.tree = json.loads(draft.tree)
            Numbering(draft, edition).apply()

        list(pool.map(read, drafts))
        resolve_references(drafts)
        pages = list(
            pool.map(lambda draft: write_page(root, draft, drafts, config, edition, output), drafts)
        )
    write_search_index(drafts, pages, output)
    (output / "assets").mkdir()
    for asset in ("shared.css", "pages.css", "book.js"):
        shutil.copyfile(root / THEME / asset, output / "assets" / asset)
    for asset in (config["book"]["favicon"], config["book"]["cover-image"]):
        (output / asset).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / asset, output / asset)


def run_pandoc(
    root: Path, arguments: list, text: str, name: str, environment: dict | None = None
) -> str:
    """pandoc's output; its warnings (a formula it cannot convert, an unknown citation) are errors
    here."""
    done = subprocess.run(
        [pypandoc.get_pandoc_path(), *map(str, arguments)],
        input=text,
        capture_output=True,
        encoding="utf-8",
        cwd=root,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode or "[WARNING]" in done.stderr:
        raise BookError(f"{name}: pandoc says: {done.stderr.strip()}")
    return done.stdout


# -- Markdown with the outputs in it
# -------------------------------------------------------------------------------


def compose_markdown(draft: Draft, outputs: list | None, config: dict, output: Path) -> str:
    """The chapter's Markdown with inline values, cells and their outputs in place; images are
    written as files."""
    parts = []
    for number, part in enumerate(draft.chapter.parts):
        part_outputs = outputs[number] if outputs else []
        if isinstance(part, Cell):
            parts.append(
                cell_markdown(draft, part, part_outputs, number, config["format"]["html"], output)
            )
        else:
            parts.append(part.replace_expressions(inline_values(part_outputs)))
    return "\n\n".join(parts)


def cell_markdown(
    draft: Draft, cell: Cell, outputs: list, number: int, defaults: dict, output: Path
) -> str:
    options, label = cell.options, str(cell.options.get("label", ""))
    blocks = []
    if options.get("echo", True) and cell.code:
        blocks.append(
            folded_code(
                cell.code,
                options.get("code-fold", defaults.get("code-fold", False)),
                options.get("code-summary", "Code"),
            )
        )
    if options.get("output", True):
        shown = [
            output_markdown(
                draft, cell, result, f"{label or f'cell-{number}'}-output-{index}", output
            )
            for index, result in enumerate(outputs, start=1)
        ]
        shown = [text for text in shown if text]
        caption = options.get("fig-cap" if label.startswith("fig-") else "tbl-cap")
        if caption and label:
            shown = [f"::: {{#{label}}}", *shown, str(caption), ":::"]
        blocks += shown
    classes = " ".join(f".{name}" for name in ["cell", *str(options.get("classes", "")).split()])
    return "\n\n".join([f"::::::::: {{{classes}}}", *blocks, ":::::::::"]) if blocks else ""


def folded_code(code: str, fold, summary: str) -> str:
    block = fenced(code, "{.python .cell-code}")
    if fold is False:
        return block
    is_open = " open" if fold == "show" else ""
    opening = f'<details class="code-fold"{is_open}><summary>{html.escape(summary)}</summary>'
    return f"{fenced(opening, '{=html}')}\n\n{block}\n\n{fenced('</details>', '{=html}')}"


def fenced(text: str, attributes: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{attributes}\n{text}\n{fence}"


def output_markdown(draft: Draft, cell: Cell, result: dict, name: str, output: Path) -> str:
    """Markdown for one Jupyter output, or "" for what no page shows."""
    source = draft.page.source
    if result.output_type == "stream":
        if result.name == "stderr":
            warn_of_hidden_output(f"{source}:{cell.line}", result.text)
            return ""
        return (
            ":::: {.cell-output"
            f" .cell-output-stdout}}\n{fenced(result.text.rstrip(), '{.text}')}\n::::"
        )
    if result.output_type == "error":
        raise ChapterError(f"{source}:{cell.line}: {result.ename}: {result.evalue}")
    if "text/html" in result.data:
        raise BookError(
            f"{source}:{cell.line}: this cell shows HTML, for which Quarto loads scripts from"
            " elsewhere; allowed are Markdown, images and text: write Markdown(....to_markdown())"
            " or print(...)"
        )
    kind = choose_display(result.data)
    if kind is None:
        raise BookError(
            f"{source}:{cell.line}: this cell shows {sorted(result.data)}, which no page can show; "
            "allowed are Markdown, images and text"
        )
    value = result.data[kind]
    if kind == "text/plain" and re.fullmatch(r"<.* object at 0x[0-9a-f]+>|<Figure size .*>", value):
        return ""
    if kind.startswith("image/"):
        value = image_html(draft, cell, kind, value, result.metadata.get(kind, {}), name, output)
    block = {"text/plain": lambda: fenced(value, "{.text}"), "text/markdown": lambda: value}.get(
        kind, lambda: fenced(value, "{=html}")
    )()
    return f":::: {{.cell-output .cell-output-display}}\n{block}\n::::"


def image_html(
    draft: Draft, cell: Cell, kind: str, value: str, size: dict, name: str, output: Path
) -> str:
    extension = {"image/png": "png", "image/jpeg": "jpeg", "image/svg+xml": "svg"}[kind]
    folder = Path(draft.page.output.removesuffix(".html") + "_files") / "figure-html"
    file = output / folder / f"{name}.{extension}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(value.encode() if kind == "image/svg+xml" else base64.b64decode(value))
    dimensions = "".join(f' {side}="{size[side]}"' for side in ("width", "height") if side in size)
    return (
        f'<p><img src="{draft.to_root}{file.relative_to(output).as_posix()}"'
        f' alt="{html.escape(str(cell.options.get("fig-alt", "")))}"{dimensions}'
        ' class="figure-img" loading="lazy"></p>'
    )


# -- Pages
# --------------------------------------------------------------------------------------------------


def write_page(
    root: Path, draft: Draft, drafts: list[Draft], config: dict, edition: str, output: Path
) -> str:
    """Write the page of `draft` and return its HTML."""
    is_references = draft.page.stem == "references"
    cited = sorted({key for each in drafts for key in each.citations})
    description = draft.tree["meta"].get("description-meta", {}).get("c", "")
    description = description if isinstance(description, str) else plain_text(description)
    meta = {
        "title": {"t": "MetaInlines", "c": draft.title},
        "link-citations": {"t": "MetaBool", "c": True},
    }
    if is_references:
        citations = [
            {
                "citationId": key,
                "citationPrefix": [],
                "citationSuffix": [],
                "citationNoteNum": 0,
                "citationMode": {"t": "NormalCitation"},
                "citationHash": 0,
            }
            for key in cited
        ]
        meta["nocite"] = {"t": "MetaInlines", "c": [{"t": "Cite", "c": [citations, []]}]}
    # citeproc links only to entries on the same page: let it write them, and cut them out below
    else:
        draft.tree["blocks"] += [raw("<!--entries-->"), div([], "refs"), raw("<!--/entries-->")]
    draft.tree["meta"] = meta
    position = drafts.index(draft)
    book = config["book"]
    variables = {
        "lang": config.get("lang", "en"),
        "to-root": draft.to_root,
        "book-title": html.escape(book["title"]),
        "subtitle": html.escape(book.get("subtitle", "")) if position == 0 else "",
        "title-id": draft.title_id,
        "number": draft.page.number or "",
        "label": "Appendix " if draft.page.is_appendix else "Chapter ",
        "plain-title": html.escape(plain_text(draft.title)),
        "edition": edition,
        "sidebar": sidebar(draft, drafts),
        "toc-title": config["format"]["html"].get("toc-title", "Contents"),
        "previous": neighbour(draft, drafts, position - 1, "prev"),
        "next": neighbour(draft, drafts, position + 1, "next"),
        "description": html.escape(book["description"].strip() if position == 0 else description),
        "favicon": book["favicon"],
        "cover": book["cover-image"],
        "cover-alt": html.escape(book["cover-image-alt"]),
        "author": html.escape(book["author"]),
        "book-description": html.escape(book["description"]) if position == 0 else "",
        "canonical": (
            f"{book['site-url'].rstrip('/')}/{draft.page.output}" if "site-url" in book else ""
        ),
        **{f"footer-{side}": footer_html(root, text) for side, text in book["page-footer"].items()},
    }
    arguments = [
        item for name, value in variables.items() if value for item in ("-V", f"{name}={value}")
    ]
    scripts = [
        item
        for name in config["format"]["html"]["include-after-body"]
        for item in ("--include-after-body", root / name)
    ]
    page = run_pandoc(
        root,
        [
            "-f",
            "json",
            "-t",
            "html5",
            "--template",
            root / THEME / "page.html",
            *scripts,
            "--citeproc",
            "--bibliography",
            root / config["bibliography"],
            "--csl",
            root / config["csl"],
            "--mathml",
            "--section-divs",
            "--toc",
            "--toc-depth=3",
            "--wrap=none",
            *arguments,
        ],
        json.dumps(draft.tree),
        draft.page.source,
    )
    page = space_function_names(page)
    if not is_references:
        page = re.sub("<!--entries-->.*<!--/entries-->", "", page, flags=re.DOTALL)
        page = page.replace('href="#ref-', f'href="{draft.to_root}references.html#ref-')
    target = output / draft.page.output
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8", newline="\n")
    return page


def footer_html(root: Path, text: str) -> str:
    """A side of the `page-footer` in _quarto.yml as HTML."""
    text = text.replace("{{< meta built >}}", date.today().isoformat())
    return re.sub(
        r"</?p>",
        "",
        run_pandoc(root, ["-f", "markdown", "-t", "html5", "--wrap=none"], text, "_quarto.yml"),
    ).strip()


def space_function_names(page: str) -> str:
    """Thin spaces around `ln`, `log`, ...: the MathML of newer pandoc has none, and "5 ln 10" would
    read "5ln10". A page that has them stays as it is."""
    space, name = (
        '<mspace width="0.167em"></mspace>',
        '<mrow><mi mathvariant="normal">[^<]+</mi><mo>(?:&#8289;|\u2061)</mo></mrow>',
    )
    page = re.sub(rf'({name})(?!<mo [^>]*form="prefix"|<mspace)', rf"\1{space}", page)
    return re.sub(rf"(</m(?:n|i|sub|sup|frac)>)({name})", rf"\1{space}\2", page)


def sidebar(here: Draft, drafts: list[Draft]) -> str:
    items, in_appendices = [], False
    for draft in drafts:
        if draft.page.is_appendix and not in_appendices:
            items.append('<li class="sidebar-part">Appendices</li>')
            in_appendices = True
        number = (
            f'<span class="chapter-number">{draft.page.number}</span> ' if draft.page.number else ""
        )
        current = ' aria-current="page"' if draft is here else ""
        items.append(
            f'<li><a href="{here.to_root}{draft.page.output}"{current}>{number}'
            f'<span class="chapter-title">{html.escape(plain_text(draft.title))}</span></a></li>'
        )
    return "\n".join(items)


def neighbour(here: Draft, drafts: list[Draft], position: int, relation: str) -> str:
    if not 0 <= position < len(drafts):
        return ""
    there = drafts[position]
    number = f"{there.page.number} " if there.page.number else ""
    return (
        f'<a rel="{relation}" href="{here.to_root}{there.page.output}">'
        f"{number}{html.escape(plain_text(there.title))}</a>"
    )


def write_search_index(drafts: list[Draft], pages: list[str], output: Path) -> None:
    """One entry per section, as a plain script: a page opened from disk may load that, but not
    fetch JSON."""
    entries = []
    for draft, page in zip(drafts, pages):
        title = (f"{draft.page.number} " if draft.page.number else "") + plain_text(draft.title)
        main = BeautifulSoup(page, "html.parser").select_one("main")
        for unwanted in main.select("nav, header, annotation, .sourceCode a"):
            unwanted.unwrap() if unwanted.name == "a" else unwanted.decompose()
        sections = [
            (section, section.get("id"), section.find(["h2", "h3", "h4", "h5"]))
            for section in reversed(main.select("section[id]"))
        ]
        found = []
        for (
            section,
            identifier,
            heading,
        ) in sections:  # innermost last sections first, so that none is told twice
            name = " ".join(heading.get_text(" ").split()) if heading else ""
            found.append(
                [
                    title,
                    name,
                    f"{draft.page.output}#{identifier}",
                    " ".join(section.get_text(" ").split()),
                ]
            )
            section.extract()
        entries.append([title, "", draft.page.output, " ".join(main.get_text(" ").split())])
        entries += reversed(found)
    (output / "search-index.js").write_text(
        f"window.bookSearchIndex = {json.dumps(entries, ensure_ascii=False)};\n",
        encoding="utf-8",
        newline="\n",
    )
