"""The pages of the book as pandoc's syntax trees: numbered, with their references resolved.

What Quarto does between reading and writing a page, for the closed list of constructs that
`tools/lint.py` enforces. Identifiers, classes and numbers are those that Quarto gives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lab.page.qmd import Chapter, Page

REFERENCE_KINDS = {
    "sec": "Section",
    "fig": "Figure",
    "tbl": "Table",
    "eq": "Equation",
    "exr": "Exercise",
    "sol": "Solution",
}
REFERENCE = re.compile(rf"^({'|'.join(REFERENCE_KINDS)})-")
CALLOUTS = {
    "callout-note": "Note",
    "callout-tip": "Tip",
    "callout-warning": "Warning",
    "callout-important": "Important",
}


class BookError(RuntimeError):
    """Something in the sources that stops the build; the message says where."""


@dataclass
class Draft:
    """A page on its way: its syntax tree, and what the rest of the book needs to know about it."""

    page: Page
    chapter: Chapter
    tree: dict = field(default_factory=dict)
    title: list = field(default_factory=list)
    title_id: str = ""
    labels: dict[str, str] = field(default_factory=dict)  # identifier -> text of a reference to it
    citations: list[str] = field(default_factory=list)

    @property
    def to_root(self) -> str:
        return "../" * self.page.output.count("/")


def walk(node, visit):
    """Rebuild a pandoc tree: `visit(element)` returns None to descend, or the list that takes the
    element's place."""
    if isinstance(node, list):
        rebuilt = []
        for item in node:
            replacement = visit(item) if isinstance(item, dict) and "t" in item else None
            rebuilt += [walk(item, visit)] if replacement is None else replacement
        return rebuilt
    if isinstance(node, dict):
        return {key: walk(value, visit) for key, value in node.items()}
    return node


def plain_text(inlines: list) -> str:
    texts = []

    def visit(element):
        kind = element["t"]
        texts.append(
            {"Space": " ", "SoftBreak": " "}.get(kind)
            or (
                element["c"]
                if kind == "Str"
                else element["c"][1]
                if kind in ("Code", "Math")
                else ""
            )
        )

    walk(inlines, visit)
    return "".join(texts)


def string(text: str) -> dict:
    return {"t": "Str", "c": text}


def span(inlines: list, identifier: str = "", classes: tuple = ()) -> dict:
    return {"t": "Span", "c": [[identifier, list(classes), []], inlines]}


def div(blocks: list, identifier: str = "", classes: tuple = ()) -> dict:
    return {"t": "Div", "c": [[identifier, list(classes), []], blocks]}


def raw(text: str) -> dict:
    return {"t": "RawBlock", "c": ["html", text]}


class Numbering:
    """One walk over a page in reading order that numbers what has a number and rewrites the book's
    constructs."""

    def __init__(self, draft: Draft, edition: str):
        self.draft, self.edition = draft, edition
        self.counts = dict.fromkeys(REFERENCE_KINDS, 0)
        self.sections = [0, 0, 0, 0]

    def apply(self) -> None:
        self.draft.tree["blocks"] = walk(self.draft.tree["blocks"], self.visit)
        if not self.draft.title:
            raise BookError(f"{self.draft.page.source}:1: a page begins with a heading `# Title`")

    def next_number(self, kind: str) -> str:
        self.counts[kind] += 1
        return (
            f"{self.draft.page.number}.{self.counts[kind]}"
            if self.draft.page.number
            else str(self.counts[kind])
        )

    def label(self, identifier: str, number: str, name: str | None = None) -> str:
        kind = REFERENCE.match(identifier).group(1)
        text = f"{name or REFERENCE_KINDS[kind]}\N{NO-BREAK SPACE}{number}"
        if identifier in self.draft.labels:
            raise BookError(f"{self.draft.page.source}: the label {identifier} is given twice")
        self.draft.labels[identifier] = text
        return text

    def visit(self, element: dict) -> list | None:
        handler = getattr(self, f"visit_{element['t'].lower()}", None)
        return handler(element) if handler else None

    def visit_header(self, element: dict) -> list:
        level, (identifier, classes, attributes), inlines = element["c"]
        page = self.draft.page
        if level == 1:
            self.draft.title, self.draft.title_id = inlines, identifier
            if page.number and identifier.startswith("sec-"):
                self.label(identifier, page.number, "Appendix" if page.is_appendix else "Chapter")
            return []
        if page.number and "unnumbered" not in classes:
            self.sections[level - 2] += 1
            self.sections[level - 1 :] = [0] * len(self.sections[level - 1 :])
            number = ".".join([page.number, *map(str, self.sections[: level - 1])])
            attributes = [*attributes, ["number", number]]
            if identifier.startswith("sec-"):
                self.label(identifier, number)
            inlines = [
                span([string(number)], classes=("header-section-number",)),
                {"t": "Space"},
                *inlines,
            ]
        return [{"t": "Header", "c": [level, [identifier, classes, attributes], inlines]}]

    def visit_div(self, element: dict) -> list | None:
        (identifier, classes, attributes), blocks = element["c"]
        attributes = dict(attributes)
        if "content-hidden" in classes and attributes.get("when-format") == "html":
            return []
        if "content-visible" in classes:
            return (
                walk(blocks, self.visit) if attributes.get("when-profile") == self.edition else []
            )
        if identifier.startswith(("fig-", "tbl-")):
            return [self.float(identifier, blocks)]
        if identifier.startswith(("exr-", "sol-")):
            return [self.theorem(identifier, blocks)]
        kinds = [name for name in classes if name in CALLOUTS]
        return self.callout(kinds[0], attributes, blocks) if kinds else None

    def visit_table(self, element: dict) -> list | None:
        attributes, (_, caption) = element["c"][0], element["c"][1]
        if not attributes[0].startswith("tbl-"):
            return [div([element], classes=("table-scroll",))]
        identifier, attributes[0] = attributes[0], ""
        element["c"][1] = [None, []]
        return [self.float(identifier, [element, *caption])]

    def caption_of(self, identifier: str, blocks: list) -> list:
        """The inlines of a figure's or table's caption, its last block."""
        if not blocks or blocks[-1]["t"] not in ("Para", "Plain"):
            raise BookError(
                f"{self.draft.page.source}: {identifier} has no caption: its last paragraph is the"
                " caption"
            )
        return blocks[-1]["c"]

    def float(self, identifier: str, blocks: list) -> dict:
        """A numbered figure or table. Table captions stand above, figures' below."""
        kind, said = identifier[:3], self.caption_of(identifier, blocks)
        text = self.label(identifier, self.next_number(kind))
        content = walk(blocks[:-1], self.visit)
        caption = [
            raw("<figcaption>"),
            {"t": "Plain", "c": [string(f"{text}: "), *said]},
            raw("</figcaption>"),
        ]
        body = [*caption, *content] if kind == "tbl" else [*content, *caption]
        return div(
            [raw(f'<figure class="quarto-float-{kind} figure">'), *body, raw("</figure>")],
            identifier,
            ("quarto-float", "quarto-figure"),
        )

    def theorem(self, identifier: str, blocks: list) -> dict:
        text = self.label(identifier, self.next_number(identifier[:3]))
        title = []
        if blocks and blocks[0]["t"] == "Header":
            title, blocks = [string(" ("), *blocks[0]["c"][2], string(")")], blocks[1:]
        heading = span([{"t": "Strong", "c": [string(text), *title]}], classes=("theorem-title",))
        if not blocks or blocks[0]["t"] != "Para":
            blocks = [{"t": "Para", "c": []}, *blocks]
        first = {"t": "Para", "c": [heading, {"t": "Space"}, *blocks[0]["c"]]}
        classes = (
            ("theorem", "exercise") if identifier.startswith("exr-") else ("proof", "solution")
        )
        return div([first, *walk(blocks[1:], self.visit)], identifier, classes)

    def callout(self, kind: str, attributes: dict, blocks: list) -> list:
        title = [string(attributes.get("title", CALLOUTS[kind]).replace("'", "’"))]
        if "title" not in attributes and blocks and blocks[0]["t"] == "Header":
            title, blocks = blocks[0]["c"][2], blocks[1:]
        tag, head = ("details", "summary") if "collapse" in attributes else ("div", "div")
        is_open = " open" if attributes.get("collapse") == "false" else ""
        return [
            raw(f'<{tag} class="callout {kind}"{is_open}><{head} class="callout-header">'),
            {"t": "Plain", "c": [span(title, classes=("callout-title-container",))]},
            raw(f'</{head}><div class="callout-body">'),
            *walk(blocks, self.visit),
            raw(f"</div></{tag}>"),
        ]

    def visit_para(self, element: dict) -> list | None:
        """Number `$$ ... $$ {#eq-x}`, which pandoc reads as a formula followed by a string."""
        inlines, numbered = element["c"], []
        for inline in inlines:
            label = re.fullmatch(r"\{#(eq-[\w-]+)\}", inline["c"]) if inline["t"] == "Str" else None
            formula = next(
                (item for item in reversed(numbered) if item["t"] not in ("Space", "SoftBreak")),
                None,
            )
            if (
                label
                and formula
                and formula["t"] == "Math"
                and formula["c"][0]["t"] == "DisplayMath"
            ):
                del numbered[numbered.index(formula) :]
                number = self.next_number("eq")
                self.label(label.group(1), number)
                math = {"t": "Math", "c": [formula["c"][0], rf"{formula['c'][1]} \qquad({number})"]}
                numbered.append(span([math], label.group(1), ("equation",)))
            else:
                numbered.append(inline)
        return [{"t": "Para", "c": numbered}] if numbered != inlines else None


def resolve_references(drafts: list[Draft]) -> None:
    """Turn `@fig-x` and links to sources into links to pages, over the whole book."""
    targets: dict[str, tuple[Draft, str]] = {}
    for draft in drafts:
        for identifier, text in draft.labels.items():
            if identifier in targets:
                raise BookError(
                    f"{draft.page.source}: the label {identifier} is also in "
                    f"{targets[identifier][0].page.source}; labels are unique over the book"
                )
            targets[identifier] = (draft, text)
    for draft in drafts:
        draft.tree["blocks"] = walk(
            draft.tree["blocks"], lambda element, here=draft: _resolve(element, here, targets)
        )


def chapter_name(draft: Draft) -> str:
    number = (
        f"Appendix {draft.page.number} —"
        if draft.page.is_appendix
        else f"{draft.page.number}\N{NO-BREAK SPACE}"
    )
    return f"{number} {plain_text(draft.title)}"


def _resolve(element: dict, here: Draft, targets: dict) -> list | None:
    if element["t"] == "Link":
        attributes, inlines, (url, title) = element["c"]
        path, _, fragment = url.partition("#")
        if path.endswith(".qmd") and "://" not in path:
            url = path.removesuffix(".qmd") + ".html" + (f"#{fragment}" if fragment else "")
            return [{"t": "Link", "c": [attributes, inlines, [url, title]]}]
    if element["t"] != "Cite":
        return None
    identifiers = [citation["citationId"] for citation in element["c"][0]]
    if not REFERENCE.match(identifiers[0]):
        here.citations += identifiers
        return None
    links = []
    for identifier in identifiers:
        if identifier not in targets:
            raise BookError(
                f"{here.page.source}: @{identifier} refers to nothing: no label of that name in the"
                " book"
            )
        there, text = targets[identifier]
        if (
            here.page.number is None and identifier == there.title_id
        ):  # as Quarto: a page without a number names the chapter
            text = chapter_name(there)
        url = ("" if there is here else here.to_root + there.page.output) + "#" + identifier
        links += [string(", ")] * bool(links)
        links.append({"t": "Link", "c": [["", ["quarto-xref"], []], [string(text)], [url, ""]]})
    return links
