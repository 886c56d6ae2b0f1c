"""Read a chapter source (.qmd) as a sequence of prose and cells.

One reader for everybody who looks at the sources: the linter, the pandoc build and the freshness
guard. Positions are 1-based line numbers, so that every message can say `file:line`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

FENCE = re.compile(r"^(?P<fence>`{3,}|~{3,})\s*(?P<info>.*?)\s*$")
# The same pattern as Quarto's own (src/core/execute-inline.ts), so that both builds see the same
# expressions.
INLINE_EXPRESSION = re.compile(r"(?<!`)`\{python\}[ \t]([^`]+)`")
CLAIM = re.compile(
    r"^(?P<colons>:{3,}) *\{\.claim #(?P<id>clm-[a-z0-9-]+)\} *\n(?P<text>.*?)^(?P=colons) *$",
    re.MULTILINE | re.DOTALL,
)
EDITIONS = ("reader", "instructor")
COLOUR_SCALE = "colour-scale"  # the class of a cell whose figure has colours that stand for numbers
DISPLAY_ORDER = [
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "text/plain",
]


def closes(line: str, fence: str) -> bool:
    """Does a line end the code block that `fence` has begun? It may be longer than that."""
    text = line.rstrip()
    return len(text) >= len(fence) and set(text) == {fence[0]}


class SourceError(ValueError):
    """A chapter source that cannot be read; the message starts with `file:line:`."""


def claim_id(label: str) -> str:
    """The identifier of the sentence that a claim's check belongs to: "whole digits" checks
    `::: {.claim #clm-whole-digits}`."""
    return "clm-" + re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


@dataclass(frozen=True)
class Sentence:
    """What stands in a `::: {.claim #clm-x}` block. `first`: which of its prose's inline
    expressions is the sentence's first, from 0."""

    identifier: str
    text: str
    first: int
    line: int

    @property
    def expressions(self) -> list[str]:
        return [match.group(1).strip() for match in INLINE_EXPRESSION.finditer(self.text)]

    def filled(self, values: list[str]) -> str:
        """The sentence in one line of Markdown, with `values` in place of its expressions."""
        remaining = iter(values)
        return " ".join(INLINE_EXPRESSION.sub(lambda match: next(remaining), self.text).split())


@dataclass(frozen=True)
class Prose:
    """Markdown between two cells, plain code blocks included."""

    line: int
    text: str

    @property
    def sentences(self) -> list[Sentence]:
        """The claims that stand here, in order."""
        text = self.without_code_blocks()
        return [
            Sentence(
                match["id"],
                match["text"].strip(),
                len(INLINE_EXPRESSION.findall(text[: match.start("text")])),
                self.line + text.count("\n", 0, match.start()),
            )
            for match in CLAIM.finditer(text)
        ]

    @property
    def expressions(self) -> list[str]:
        """The inline `{python}` expressions, in order; those in plain code blocks are not
        expressions."""
        return [
            match.group(1).strip()
            for match in INLINE_EXPRESSION.finditer(self.without_code_blocks())
        ]

    def replace_expressions(self, values: list[str]) -> str:
        """The text with its expressions replaced by `values`, one for each, in order."""
        remaining = iter(values)
        lines, outside = [], []
        for line, in_code in _mark_code(self.text.split("\n")):
            if in_code:
                lines += self._replaced(outside, remaining) + [line]
                outside = []
            else:
                outside.append(line)
        return "\n".join(lines + self._replaced(outside, remaining))

    def without_code_blocks(self) -> str:
        return "\n".join(
            "```" if in_code else line for line, in_code in _mark_code(self.text.split("\n"))
        )

    @staticmethod
    def _replaced(lines: list[str], values) -> list[str]:
        return (
            [INLINE_EXPRESSION.sub(lambda match: next(values), "\n".join(lines))] if lines else []
        )


@dataclass(frozen=True)
class Cell:
    """An executed cell: its code without the `#|` lines, and those as `options`."""

    line: int  # of the opening fence
    code: str
    options: dict
    first_code_line: int
    option_lines: dict = field(default_factory=dict)  # option name -> line

    @property
    def source(self) -> str:
        """What the kernel is asked to run: as Quarto does, with the label, by which the page's
        numbers are noted; nothing for `eval: false`."""
        if self.options.get("eval", True) is False:
            return ""
        label = self.options.get("label")
        return f"#| label: {label}\n{self.code}" if label else self.code


@dataclass(frozen=True)
class Chapter:
    """A source file: its YAML front matter and its parts in document order."""

    path: Path
    front_matter: dict
    parts: tuple[Prose | Cell, ...]

    @property
    def cells(self) -> list[Cell]:
        return [part for part in self.parts if isinstance(part, Cell)]

    @property
    def prose(self) -> list[Prose]:
        return [part for part in self.parts if isinstance(part, Prose)]

    @property
    def runs_code(self) -> bool:
        return any(isinstance(part, Cell) or part.expressions for part in self.parts)

    @property
    def is_frozen(self) -> bool:
        """False for the appendices, which say `execute: freeze: false`."""
        return (self.front_matter.get("execute") or {}).get("freeze", "auto") is not False


def choose_display(data: dict) -> str | None:
    """The richest form of a Jupyter output that a page can show, in Quarto's order of
    preference."""
    return next((kind for kind in DISPLAY_ORDER if kind in data), None)


def inline_markdown(data: dict) -> str:
    """The Markdown that an inline expression's value becomes: text is escaped as Quarto escapes
    it."""
    kind = choose_display(data)
    text = data[kind]
    if kind == "text/html":
        return f"`{text}`{{=html}}"
    if kind == "text/plain" and len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(r"([\\`*_{}\[\]()>#+\-.,!])", r"\\\1", text[1:-1])
    return text


def read_chapter(path: str | Path) -> Chapter:
    """Read `path`; raises SourceError for an unclosed fence or options that are not YAML."""
    path = Path(path)
    lines = path.read_text(encoding="utf-8").split("\n")
    front_matter, start = _read_front_matter(path, lines)
    parts, prose, prose_line = [], [], start + 1
    position = start
    while position < len(lines):
        opening = FENCE.match(lines[position])
        if not opening:
            prose.append(lines[position])
            position += 1
            continue
        closing = _closing_fence(path, lines, position, opening.group("fence"))
        if opening.group("info").replace(" ", "") == "{python}":
            parts.append(Prose(prose_line, "\n".join(prose)))
            parts.append(_read_cell(path, position + 1, lines[position + 1 : closing]))
            prose, prose_line = [], closing + 2
        else:
            prose += lines[position : closing + 1]
        position = closing + 1
    parts.append(Prose(prose_line, "\n".join(prose)))
    return Chapter(path, front_matter, tuple(parts))


def _read_front_matter(path: Path, lines: list[str]) -> tuple[dict, int]:
    if lines[0].rstrip() != "---":
        return {}, 0
    for end, line in enumerate(lines[1:], start=1):
        if line.rstrip() in ("---", "..."):
            return _yaml(path, 1, "\n".join(lines[1:end])), end + 1
    raise SourceError(f"{path}:1: the front matter is not closed with ---")


def _closing_fence(path: Path, lines: list[str], position: int, fence: str) -> int:
    for candidate in range(position + 1, len(lines)):
        if closes(lines[candidate], fence):
            return candidate
    raise SourceError(f"{path}:{position + 1}: this code block is never closed with {fence}")


def _read_cell(path: Path, fence_line: int, lines: list[str]) -> Cell:
    count = 0
    while count < len(lines) and lines[count].startswith("#|"):
        count += 1
    options = _yaml(
        path, fence_line + 1, "\n".join(line[2:].removeprefix(" ") for line in lines[:count])
    )
    option_lines = {}
    for offset, line in enumerate(lines[:count]):
        name = re.match(r"#\|\s?([\w-]+):", line)
        if name:
            option_lines[name.group(1)] = fence_line + 1 + offset
    return Cell(
        fence_line,
        "\n".join(lines[count:]).strip("\n"),
        options,
        fence_line + 1 + count,
        option_lines,
    )


def _yaml(path: Path, line: int, text: str) -> dict:
    try:
        value = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise SourceError(
            f"{path}:{line}: this is not YAML: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(value, dict):
        raise SourceError(f"{path}:{line}: expected `name: value` lines, not {value!r}")
    return value


def _mark_code(lines: list[str]):
    """Yield (line, is it in a plain code block?) for lines whose blocks are closed."""
    fence = None
    for line in lines:
        match = FENCE.match(line)
        if fence is None and match:
            fence = match.group("fence")
            yield line, True
        elif fence is not None:
            yield line, True
            fence = None if closes(line, fence) else fence
        else:
            yield line, False


@dataclass(frozen=True)
class Page:
    """One entry of the table of contents in `_quarto.yml`."""

    source: str  # relative to the root, with forward slashes
    number: str | None  # "1", "A", or None for unnumbered pages
    is_appendix: bool = False

    @property
    def stem(self) -> str:
        return Path(self.source).stem

    @property
    def output(self) -> str:
        return self.source.removesuffix(".qmd") + ".html"


def profile_of(edition: str) -> str:
    """What QUARTO_PROFILE says for an edition: nothing for the readers', which needs no
    `_quarto-reader.yml`."""
    return "" if edition == "reader" else edition


def read_config(root: Path, edition: str = "reader") -> dict:
    """`_quarto.yml` as a dict, the instructor's overrides merged in for that edition."""
    config = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))
    override = root / f"_quarto-{edition}.yml"
    if override.exists():
        config = _merge(config, yaml.safe_load(override.read_text(encoding="utf-8")) or {})
    return config


def _merge(base, extra):
    if isinstance(base, dict) and isinstance(extra, dict):
        return {
            key: (
                _merge(base[key], extra[key])
                if key in base and key in extra
                else base.get(key, extra.get(key))
            )
            for key in [*base, *(key for key in extra if key not in base)]
        }
    return base + extra if isinstance(base, list) and isinstance(extra, list) else extra


def list_pages(root: Path, config: dict) -> list[Page]:
    """Pages in reading order. A first heading with `{.unnumbered}` takes no number, as in
    Quarto."""
    pages, chapter, appendix = [], 0, 0
    book = config["book"]
    for is_appendix, sources in ((False, book["chapters"]), (True, book.get("appendices", []))):
        for source in sources:
            path = root / source
            if not path.exists():
                raise SourceError(f"_quarto.yml: the chapter {source} does not exist")
            heading = re.search(r"^# .*$", path.read_text(encoding="utf-8"), re.MULTILINE)
            if heading and (".unnumbered" in heading.group(0) or "{-}" in heading.group(0)):
                number = None
            elif is_appendix:
                appendix += 1
                number = chr(ord("A") + appendix - 1)
            else:
                chapter += 1
                number = str(chapter)
            pages.append(Page(source, number, is_appendix))
    return pages
