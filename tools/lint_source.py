"""Read one source of the book: what it defines and refers to, and what in it is not on the list.

The list is in tools/lint_list.py. What needs the whole book, such as labels that are given twice,
is in tools/lint.py.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

from lab.page.laboratories import LABORATORIES
from lab.page.qmd import COLOUR_SCALE, FENCE, Cell, Chapter, Page, closes, read_chapter
from tools.frames import frames_after, is_frame
from tools.lint_list import (
    CELL_OPTIONS,
    CODE_BLOCK,
    CROSS_REFERENCE,
    DIVISION_FORMS,
    DIVISIONS,
    FORBIDDEN,
    GLOSSARY,
    LABEL,
    LIST,
    LONGEST_TRY,
    OLD_TITLES,
    REFERENCE,
    TERM,
)
from tools.shares import FLAG, WIDTH, is_shown


@dataclass
class Entry:
    """A word of the glossary: its name, and the other words that are found in the text."""

    identifier: str
    line: int
    words: list[str]
    name: str = ""


@dataclass
class Found:
    """What one source defines and refers to, with lines."""

    chapter: Chapter
    page: Page
    labels: list[tuple[str, int]] = field(default_factory=list)
    references: list[tuple[str, int]] = field(default_factory=list)
    links: list[tuple[str, int]] = field(default_factory=list)
    without_number: set[str] = field(
        default_factory=set
    )  # labels of unnumbered headings: for links, not for @references
    exercises: dict[str, dict[str, int]] = field(
        default_factory=dict
    )  # exr name -> what it has -> line
    owned: list[tuple[str, str, int]] = field(
        default_factory=list
    )  # (check or solution, exercise, line)
    checks: list[tuple[str, int]] = field(default_factory=list)  # check_claim's labels
    claims: list[tuple[str, int]] = field(default_factory=list)  # identifiers of sentences
    blocks: list[str] = field(default_factory=list)  # kinds of ::: blocks, in order
    terms: list[tuple[re.Match, int]] = field(default_factory=list)  # marked words
    entries: list[Entry] = field(default_factory=list)  # of the glossary
    complaints: list[tuple[int, str]] = field(default_factory=list)

    def complain(self, line: int, text: str) -> None:
        self.complaints.append((line, text))


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


class SourceLinter:
    """One pass over the lines of a source; the result is in `found`."""

    def __init__(self, root: Path, page: Page):
        self.found = Found(read_chapter(root / page.source), page)
        self.complain = self.found.complain
        self.open_divisions: list[tuple[str, str, int]] = []  # kind, identifier, line
        self.holds: dict[int, list[str]] = {}  # line of an open block -> what stands in it
        self.must_show = bool(self.found.chapter.front_matter.get(FLAG))
        self.caption_follows = False
        self.opens_record = False
        self.frames: set[str] = set()  # names that stand for data frames, as far as the code tells
        self.headings = 0
        self._check_front_matter()
        for part in self.found.chapter.parts:
            (
                self._check_cell(part)
                if isinstance(part, Cell)
                else self._check_prose(part.line, part.text.split("\n"))
            )
        for kind, _, line in self.open_divisions:
            self.complain(line, f"this ::: block ({kind}) is never closed")
        if not self.headings:
            self.complain(1, "a page begins with a heading `# Title {#sec-x}`")
        if self.found.chapter.runs_code and not self.opens_record:
            self.complain(
                1,
                f'a page that runs code says open_chapter("{page.stem}") in its first cell, so that'
                " the build knows what it used",
            )

    def _check_front_matter(self) -> None:
        allowed = (
            [{"google-scholar": True}]
            if self.found.page.stem == "index"
            else [{"execute": {"freeze": False}}, {FLAG: True}]
        )
        if self.found.chapter.front_matter not in ({}, *allowed):
            self.complain(1, f"front matter here is only {' or '.join(map(str, allowed))}")

    # -- prose

    def _check_prose(self, line: int, lines: list[str]) -> None:
        position = 0
        in_formula = False
        while position < len(lines):
            text, number = lines[position], line + position
            fence = FENCE.match(text)
            if fence:
                end = position + 1
                while not closes(lines[end], fence.group("fence")):
                    end += 1
                self._check_code_block(number, fence.group("info"), lines[position + 1 : end])
                position = end + 1
                continue
            if text.count("$$") % 2:
                in_formula = not in_formula
                self._check_equation_label(number, text)
            elif text.startswith(":::"):
                self._check_division(number, text.lstrip(":").strip())
            elif not in_formula:
                self._check_line(number, text)
            position += 1
        if in_formula:
            self.complain(line + len(lines) - 1, "a $$ formula is not closed before the next cell")

    def _check_equation_label(self, number: int, text: str) -> None:
        for label in LABEL.findall(text):
            self._label(number, label, ("eq",))

    def _check_code_block(self, number: int, info: str, lines: list[str]) -> None:
        match = CODE_BLOCK.fullmatch(info)
        if not match:
            self.complain(
                number,
                f"a code block ```{info}; allowed are ```{{python}} (executed), ```language, and"
                ' {.python .starter}, {.python .check exercise="x"}, {.python .solution'
                ' exercise="x"}',
            )
        elif match.group("owned"):
            role, exercise = match.group("owned"), match.group("exercise")
            self.found.owned.append((role, exercise, number))
            place = "hidden" if role == "check" else "solution"
            if role == "solution":
                self._check_width(number + 1, lines)
            if place not in [kind for kind, _, _ in self.open_divisions]:
                self.complain(
                    number,
                    f"a .{role} block stands in a "
                    + {
                        "hidden": '::: {.content-hidden when-format="html"} block',
                        "solution": "::: {#sol-x} block",
                    }[place],
                )
        elif match.group("role"):
            self._exercise_has("starter", number)
            self._check_width(number + 1, lines)
        for offset, text in enumerate(lines, start=1):
            if "`{python}" in text:
                self.complain(
                    number + offset,
                    "an inline expression in a code block; Quarto would run it, move it out",
                )

    def _check_division(self, number: int, attributes: str) -> None:
        if not attributes:
            if not self.open_divisions:
                self.complain(number, "this ::: closes nothing")
                return
            kind, identifier, opened = self.open_divisions.pop()
            self._check_block(kind, opened)
            if kind == "figure" and not self.caption_follows:
                self.complain(
                    number,
                    f"{identifier} has no caption: the last paragraph in its ::: block is the"
                    " caption",
                )
            return
        for kind, pattern in DIVISIONS.items():  # noqa: B007 - the kind of the match is used below
            match = pattern.fullmatch(attributes)
            if match:
                break
        else:
            self.complain(
                number,
                f"::: {attributes} is not on the list; allowed are " + ", ".join(DIVISION_FORMS),
            )
            kind = re.sub(r"[^a-z]", "", attributes)[:12] or "unknown"
            identifier = re.search(r"#((?:exr|fig|tbl|sol)-[a-z0-9-]+)", attributes)
            if identifier:
                self.found.labels.append((identifier.group(1), number))
            self.open_divisions.append((kind, identifier.group(1) if identifier else "", number))
            self.holds[number] = []
            return
        identifier = match.groupdict().get("id") or ""
        if kind == "solution" and "instructor" not in [kind for kind, _, _ in self.open_divisions]:
            self.complain(
                number,
                'a solution stands in a ::: {.content-visible when-profile="instructor"} block',
            )
        if kind == "references" and self.found.page.stem != "references":
            self.complain(number, "::: {#refs} stands in references.qmd only")
        if kind == "callout" and match.group("title") == ' title="Hint"':
            self._exercise_has("hint", number)
        for _, _, outer in self.open_divisions:
            self.holds[outer].append(kind)
        if self.must_show and kind == "callout":
            title = (match.group("title") or "").removeprefix(' title="').removesuffix('"')
            if title in OLD_TITLES:
                self.complain(number, f"the callout {title!r} has become {OLD_TITLES[title]}")
        if kind == "answer" and "predict" not in [kind for kind, _, _ in self.open_divisions]:
            self.complain(number, "::: {.answer} stands in a ::: {.predict #prd-x} block")
        if kind == "laboratory" and match.group("laboratory") not in LABORATORIES:
            self.complain(number, f"there is no such laboratory: {', '.join(LABORATORIES)}")
        if kind == "entry":
            words = (match.group("words") or "").removeprefix(' words="').removesuffix('"')
            words = [word for word in words.split(", ") if word]
            self.found.entries.append(Entry(identifier, number, words))
            if self.found.page.stem != GLOSSARY:
                self.complain(number, f"::: {{.entry}} stands in {GLOSSARY}.qmd only")
        if kind == "claim":
            self.found.claims.append((identifier, number))
        elif identifier:
            self._label(number, identifier, (identifier[:3],))
        self.found.blocks.append(kind)
        self.holds[number] = []
        if kind == "exercise":
            self.found.exercises[identifier.removeprefix("exr-")] = {"line": number}
        name = identifier or match.groupdict().get("lab") or ""
        self.open_divisions.append((kind, name, number))
        self.caption_follows = False

    def _check_block(self, kind: str, line: int) -> None:
        holds = self.holds.pop(line)
        if kind == "predict" and holds.count("answer") != 1:
            self.complain(line, "a prediction holds one ::: {.answer} block: what happened")
        if kind == "claim" and holds:
            self.complain(line, "a claim is a sentence: no cells and no blocks stand in it")
        if kind == "entry" and (holds or not self.found.entries[-1].name):
            self.complain(line, "an entry is a paragraph that begins with its name: **Carry.** ...")
        if kind == "try" and holds.count("open cell") != 1:
            self.complain(line, "a ::: {.try} block holds one open cell, others are folded")

    def _exercise_has(self, what: str, number: int) -> None:
        names = [identifier for kind, identifier, _ in self.open_divisions if kind == "exercise"]
        if names:
            self.found.exercises[names[-1].removeprefix("exr-")][what] = number
        else:
            self.complain(number, f"a {what} stands in a ::: {{#exr-x}} block")

    def _check_line(self, number: int, text: str) -> None:
        bare = re.sub(
            r"(`+)(?!`).*?(?<!`)\1(?!`)", lambda m: "`" * len(m.group(0)), text
        )  # code spans say nothing
        if "`{python}" in text and not re.search(r"(?<!`)`\{python\}[ \t][^`]+`", text):
            self.complain(number, "an inline expression stands on one line: `{python} expr`")
        if re.search(r"`\{", bare):
            self.complain(number, "an attribute after `code`; it has no meaning here")
        bare = re.sub(
            r"\$\$.*?\$\$|(?<![\\$])\$(?=\S)[^$]*?(?<=[^\s\\])\$(?!\d)",
            lambda m: "$" * len(m.group(0)),
            bare,
        )
        if bare.strip():
            self.caption_follows = True
        heading = re.match(r"(#{1,6})\s+(.*)", bare)
        if heading:
            self._check_heading(number, heading.group(1), heading.group(2))
        else:
            for label in LABEL.findall(bare):
                if re.match(r"\s*: ", bare):
                    self._label(number, label, ("tbl",))
                elif "$$" in bare:
                    self._label(number, label, ("eq",))
                else:
                    self.complain(
                        number,
                        f"the label {{#{label}}} stands on nothing; labels stand on headings, $$"
                        " formulas, table captions and ::: blocks",
                    )
        for pattern, what in FORBIDDEN:
            if pattern.search(bare):
                self.complain(number, f"{what} is not on the list: {LIST}")
        self.found.terms += [(mark, number) for mark in TERM.finditer(bare)]
        in_entry = self.open_divisions and self.open_divisions[-1][0] == "entry"
        if in_entry and (name := re.match(r"\*\*([^*]+)\.\*\* ", bare)):
            self.found.entries[-1].name = name.group(1)
        self._references(number, bare)
        for url in re.findall(r"\]\(([^)\s]+)[^)]*\)", bare):
            self.found.links.append((url, number))

    def _check_heading(self, number: int, marks: str, text: str) -> None:
        in_exercise = any(
            kind in ("exercise", "solution", "callout") for kind, _, _ in self.open_divisions
        )
        attributes = re.search(r"\{([^}]*)\}\s*$", text)
        if attributes:
            given = attributes.group(1).split()
            labels = [name[1:] for name in given if re.fullmatch(r"#sec-[a-z0-9-]+", name)]
            if (
                len(given) != len(set(given))
                or len(labels) + (".unnumbered" in given) != len(given)
                or len(labels) > 1
            ):
                self.complain(
                    number,
                    f"a heading with {{{attributes.group(1)}}}; allowed are {{#sec-x}} and"
                    " {.unnumbered}",
                )
            for label in labels:
                self._label(number, label, ("sec",))
                if ".unnumbered" in given or self.found.page.number is None:
                    self.found.without_number.add(label)
        if in_exercise:
            return
        self.headings += 1
        if (len(marks) == 1) != (self.headings == 1):
            self.complain(
                number, "a page has one heading `# Title`, its first; sections are ##, ### and ####"
            )
        if len(marks) > 4:
            self.complain(number, "headings go down to ####")

    def _references(self, number: int, text: str) -> None:
        for match in REFERENCE.finditer(text):
            if "-@" in match.group(0) and CROSS_REFERENCE.match(match.group(1)):
                self.complain(number, f"-@{match.group(1)}; write @{match.group(1)}")
            self.found.references.append((match.group(1), number))

    def _label(self, number: int, label: str, kinds: tuple) -> None:
        if not re.fullmatch(rf"({'|'.join(kinds)})-[a-z0-9-]+", label):
            self.complain(
                number,
                f"the label {label!r}; allowed here is {kinds[0]}-name, with small letters, digits"
                " and -",
            )
        self.found.labels.append((label, number))

    # -- cells

    def _check_cell(self, cell: Cell) -> None:
        opened = re.search(r"""\bopen_chapter\(["']([^"']*)["']\)""", cell.code)
        if opened:
            self.opens_record = True
            if opened.group(1) != self.found.page.stem:
                self.complain(
                    cell.line,
                    f'open_chapter("{opened.group(1)}") in {self.found.page.source}; '
                    f'it is "{self.found.page.stem}"',
                )
        self._check_shown(cell)
        self._check_in_blocks(cell)
        for name, value in cell.options.items():
            line = cell.option_lines.get(name, cell.line)
            if name not in CELL_OPTIONS:
                self.complain(
                    line, f"the cell option {name}; allowed are {', '.join(CELL_OPTIONS)}"
                )
            elif (
                not isinstance(value, CELL_OPTIONS[name])
                or name == "code-fold"
                and value not in (True, False, "show")
            ):
                self.complain(
                    line,
                    f"{name}: {value!r}; allowed is "
                    + {bool: "true or false", str: "text"}.get(
                        CELL_OPTIONS[name], "true, false or show"
                    ),
                )
        if cell.options.get("classes", COLOUR_SCALE) != COLOUR_SCALE:
            self.complain(
                cell.option_lines["classes"],
                f"classes: allowed is {COLOUR_SCALE}, for a figure whose colours stand for numbers",
            )
        if cell.options.get("echo", True) is True:
            self._check_width(cell.first_code_line, cell.code.split("\n"))
        self._check_cell_label(cell)
        self.caption_follows = False

    def _check_shown(self, cell: Cell) -> None:
        try:
            statements = ast.parse(cell.code).body
        except SyntaxError:  # a %magic; or the run will say it better
            return
        self.frames = frames_after(statements, self.frames)
        for call in [node for each in statements for node in ast.walk(each)]:
            if not isinstance(call, ast.Call):
                continue
            name, line = getattr(call.func, "id", None), cell.first_code_line + call.lineno - 1
            given = call.args[0].value if call.args and is_text(call.args[0]) else None
            if name == "check_claim" and given is None:
                self.complain(line, 'check_claim("label", ...) gives its label as plain text')
            elif name == "check_claim":
                self.found.checks.append((given, line))
            elif name == "claim" and self.must_show:
                self.complain(
                    line, "claim(...) has become check_claim(...) and ::: {.claim #clm-x}"
                )
        last = statements[-1] if statements else None
        if (
            isinstance(last, ast.Expr)
            and is_frame(last.value, self.frames)
            and not cell.code.rstrip().endswith(";")
        ):
            self.complain(
                cell.first_code_line + last.lineno - 1,
                "this cell shows a bare DataFrame; for its HTML Quarto loads "
                "scripts from elsewhere. Write Markdown(....to_markdown()) or print(...)",
            )
        for each in statements[:-1]:  # Jupyter shows what the last statement of a cell gives
            if (
                isinstance(each, ast.Expr)
                and isinstance(each.value, ast.Call)
                and getattr(each.value.func, "id", None) == "claim"
            ):
                self.complain(
                    cell.first_code_line + each.lineno - 1,
                    "claim(...) is not the last statement of its cell, so that "
                    "the page does not show it",
                )

    def _check_in_blocks(self, cell: Cell) -> None:
        kinds = [kind for kind, _, _ in self.open_divisions]
        is_open = is_shown(cell) and cell.options.get("code-fold") is not True
        for _, _, line in self.open_divisions:
            self.holds[line].append("open cell" if is_open else "cell")
        if "try" in kinds and is_open and len(cell.code.split("\n")) > LONGEST_TRY:
            self.complain(cell.line, f"a cell to try has at most {LONGEST_TRY} lines")
        if cell.options.get("eval") is False and "try" not in kinds:
            self.complain(cell.line, "eval: false; only a cell in a ::: {.try} block is not run")
        label = str(cell.options.get("label", ""))
        if self.must_show and not is_shown(cell) and (label or "figure" in kinds):
            self.complain(
                cell.line, "a figure's or table's code is folded (code-fold: true), not hidden"
            )

    def _check_width(self, line: int, code: list[str]) -> None:
        for number, text in enumerate(code, start=line):
            if len(text) > WIDTH:
                self.complain(
                    number, f"visible code of {len(text)} characters; {WIDTH} fit on a page"
                )

    def _check_cell_label(self, cell: Cell) -> None:
        label = str(cell.options.get("label", ""))
        line = cell.option_lines.get("label", cell.line)
        figures = [identifier for kind, identifier, _ in self.open_divisions if kind == "figure"]
        laboratories = [
            identifier for kind, identifier, _ in self.open_divisions if kind == "laboratory"
        ]
        has = {
            name
            for name in ("fig-cap", "fig-alt", "tbl-cap")
            if str(cell.options.get(name) or "").strip()
        }
        if label:
            self._label(line, label, ("fig", "tbl"))
        if label.startswith("fig-") and not figures:
            for name in {"fig-cap", "fig-alt"} - has:
                self.complain(line, f"the figure {label} has no #| {name}")
        elif figures:
            if label:
                self.complain(
                    line,
                    f"the cell in ::: {{#{figures[-1]}}} has the label {label}; the ::: block has"
                    " the label",
                )
            if "fig-alt" not in has and cell.options.get("output", True):
                self.complain(cell.line, f"the cell in ::: {{#{figures[-1]}}} has no #| fig-alt")
        elif laboratories:  # what it shows has no number: most pages never show it
            if label or "fig-alt" not in has:
                self.complain(
                    cell.line,
                    f"the cell in ::: {{#{laboratories[-1]}}} has a #| fig-alt and no label",
                )
        elif re.search(r"\b(show_figure|plt\.show|plt\.gcf)\(", cell.code):
            self.complain(
                cell.line,
                "this cell makes a figure; it needs a #| label: fig-x with fig-cap and fig-alt, or "
                "stands in a ::: {#fig-x} block",
            )
        if "%" in str(cell.options.get("fig-alt", "")):
            self.complain(
                cell.option_lines["fig-alt"],
                "a % in fig-alt: write percent (Quarto takes it for the code of an address, and"
                " screen readers are of different minds)",
            )
        if label.startswith("tbl-") and "tbl-cap" not in has:
            self.complain(line, f"the table {label} has no #| tbl-cap")
        for name, prefix in (("fig-cap", "fig-"), ("tbl-cap", "tbl-")):
            if name in has and not label.startswith(prefix):
                self.complain(
                    cell.option_lines.get(name, cell.line),
                    f"{name} belongs to a cell with #| label: {prefix}x",
                )
            if name in has:
                self._references(cell.option_lines.get(name, cell.line), str(cell.options[name]))
        for name in re.findall(
            r"""\bshow_figure\((?:[^()"']|\([^()]*\))*,\s*["']([^"']*)["']""", cell.code
        ):
            places = figures or laboratories
            if name not in ([label] if label else places):
                expected = label or (places[-1] if places else "the cell's label")
                self.complain(
                    cell.line,
                    f'show_figure(..., "{name}") stands in {expected}; the names are the same',
                )
