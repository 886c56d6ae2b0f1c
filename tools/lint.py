"""Refuse what the book's two builds do not both understand: `python -m tools.lint`.

`--shares` prints how much of its work each chapter shows (tools/shares.py).

The chapters use a closed list of Markdown constructs (tools/lint_list.py); tools/lint_source.py
reads one source. Every complaint is `file:line: what is wrong, what is allowed`. Labels,
references, links, exercises, claims and words of the glossary are held against the whole book here.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pypandoc

from lab import ROOT
from lab.page.qmd import (
    SourceError,
    claim_id,
    list_pages,
    read_chapter,
    read_config,
)
from tools.lint_list import CROSS_REFERENCE, GLOSSARY, LIST, OTHER_NODES
from tools.lint_source import Found, SourceLinter
from tools.shares import FLAG, shares_of, shares_table


def lint_book(root: Path = ROOT) -> list[str]:
    """Every complaint about the sources that `_quarto.yml` lists, in reading order; an empty list
    is a clean book."""
    try:
        pages = list_pages(root, read_config(root))
        found = [SourceLinter(root, page).found for page in pages]
    except SourceError as error:
        return [str(error).replace(f"{root}/", "")]
    check_labels(found)
    check_references(root, found)
    check_terms(found)
    for each in found:
        check_exercises(each)
        check_minutes(each)
        check_claims(each)
        check_shares(each)
        check_syntax_tree(each)
    return [
        f"{each.page.source}:{line}: {text}"
        for each in found
        for line, text in sorted(each.complaints)
    ]


def stray_files(root: Path = ROOT) -> list[str]:
    """Files in chapters/ that the book does not read, each with a sentence: copies, side files of a
    file manager."""
    listed = {root / page.source for page in list_pages(root, read_config(root))}
    return [
        f"{path.relative_to(root).as_posix()}: not listed in _quarto.yml, so the book does not"
        " read it"
        for path in sorted((root / "chapters").glob("*.qmd"))
        if path not in listed
    ]


def check_labels(found: list[Found]) -> None:
    first: dict[str, str] = {}
    for each in found:
        for label, line in each.labels:
            if label in first:
                each.complain(line, f"the label {label} is given twice, first in {first[label]}")
            first.setdefault(label, f"{each.page.source}:{line}")


def check_references(root: Path, found: list[Found]) -> None:
    labels = {label for each in found for label, _ in each.labels + each.claims}
    without_number = set().union(*(each.without_number for each in found))
    bibliography = root / read_config(root)["bibliography"]
    entries = re.findall(
        r"^\s*@\w+\s*\{\s*([^,\s]+)\s*,", bibliography.read_text(encoding="utf-8"), re.MULTILINE
    )
    sources = {each.page.source for each in found}
    for each in found:
        for name, line in each.references:
            if CROSS_REFERENCE.match(name):
                if name in without_number:
                    each.complain(
                        line,
                        f"@{name}: that heading has no number to refer to; write a link"
                        f" [...](page.qmd#{name})",
                    )
                elif name not in labels:
                    near = sorted(
                        label for label in labels if label.startswith(name.split("-")[0] + "-")
                    )
                    each.complain(
                        line,
                        f"@{name} refers to nothing; labels of that kind:"
                        f" {', '.join(near) or 'none'}",
                    )
            elif name not in entries:
                each.complain(
                    line, f"@{name} is neither a label nor an entry of {bibliography.name}"
                )
        for url, line in each.links:
            check_link(root, each, url, line, labels, sources)


def check_link(root: Path, each: Found, url: str, line: int, labels: set, sources: set) -> None:
    if re.match(r"(https?|mailto):", url):
        return
    path, _, fragment = url.partition("#")
    target = (root / each.page.source).parent / path if path else root / each.page.source
    name = (
        Path(target).resolve().relative_to(root.resolve()).as_posix() if path else each.page.source
    )
    if path.endswith(".qmd") and name not in sources:
        each.complain(line, f"the link to {url}: {name} is not in the book")
    elif path and not path.endswith((".qmd", ".ipynb")):
        each.complain(
            line,
            f"the link to {url}; allowed are https://..., a page of the book (.qmd) and #label",
        )
    elif fragment and fragment not in labels:
        each.complain(line, f"the link to {url}: there is no label {fragment}")


def check_terms(found: list[Found]) -> None:
    """Each marked word has an entry in the glossary, and each entry a page that uses it: by a mark,
    by its name in bold, or by one of its words."""
    entries = {
        entry.identifier.removeprefix("trm-"): (each, entry)
        for each in found
        for entry in each.entries
    }
    names = {plain_words(entry.name): name for name, (_, entry) in entries.items()}
    used = set()
    for each in found:
        for mark, line in each.terms:
            text = plain_words(mark["text"])
            name = mark["of"] or names.get(text) or text.replace(" ", "-")
            if name in entries:
                used.add(name)
            else:
                each.complain(
                    line,
                    f"{mark[0]}: the glossary has no entry trm-{name}; give the entry's name:"
                    ' [...]{.term of="carry"}',
                )
    texts = [
        " ".join("\n".join(prose.without_code_blocks() for prose in each.chapter.prose).split())
        for each in found
        if each.page.stem != GLOSSARY
    ]
    for name, (each, entry) in entries.items():
        words = [rf"(?<!\w){re.escape(word)}(?!\w)" for word in entry.words]
        by_word = "|".join([rf"\*\*{re.escape(entry.name)}[.:]?\*\*", *words])
        if name not in used and not any(re.search(by_word, text, re.I) for text in texts):
            each.complain(
                entry.line, f"no page uses the entry trm-{name}: mark a word, or drop the entry"
            )


def plain_words(text: str) -> str:
    """A word as the glossary compares it: small letters, nothing around it."""
    return text.lower().strip(" .,:;*")


def check_exercises(each: Found) -> None:
    """Each exercise has a starter, a folded hint, a check and a solution; no check or solution is
    without its exercise."""
    for role, exercise, line in each.owned:
        if exercise not in each.exercises:
            each.complain(
                line,
                f"this .{role} is for the exercise {exercise!r}, and this chapter has: "
                + (", ".join(each.exercises) or "none"),
            )
        elif role in each.exercises[exercise]:
            each.complain(line, f"the exercise {exercise!r} has two .{role} blocks")
        else:
            each.exercises[exercise][role] = line
    for name, has in each.exercises.items():
        for what, form in (
            ("starter", "```{.python .starter}"),
            ("hint", '::: {.callout-tip title="Hint" collapse="true"}'),
            ("check", f'```{{.python .check exercise="{name}"}}'),
            ("solution", f'```{{.python .solution exercise="{name}"}}'),
        ):
            if what not in has:
                each.complain(has["line"], f"the exercise {name!r} has no {what}: {form}")
        if f"sol-{name}" not in [label for label, _ in each.labels]:
            each.complain(has["line"], f"the exercise {name!r} has no ::: {{#sol-{name}}}")


def check_minutes(each: Found) -> None:
    """The minutes that a chapter says its exercises take are the sum of theirs."""
    lines = [
        (number, line)
        for part in each.chapter.prose
        for number, line in enumerate(part.text.splitlines(), part.line)
    ]
    minutes = sum(int(n) for _, line in lines for n in re.findall(r'^:::.* minutes="(\d+)"', line))
    for number, line in lines:
        for said in re.findall(r"the exercises about ([^.]+)\.", line):
            if said != str(minutes):
                each.complain(number, f"the exercises take {minutes} minutes, not about {said}")


def check_claims(each: Found) -> None:
    """Each claim is checked once, above its one sentence."""
    sentences, checks = dict(reversed(each.claims)), {}
    for label, line in each.checks:
        identifier = claim_id(label)
        if identifier in checks:
            each.complain(line, f"the claim {label!r} is checked twice")
        checks[identifier] = line
        if identifier not in sentences:
            each.complain(
                line, f"the claim {label!r} has no sentence: ::: {{.claim #{identifier}}}"
            )
    for position, (identifier, line) in enumerate(each.claims):
        if identifier in [other for other, _ in each.claims[:position]]:
            each.complain(line, f"the label {identifier} is given twice in this chapter")
        if identifier not in checks:
            each.complain(
                line,
                f"the sentence {identifier} is not checked: a cell above calls"
                f' check_claim("{identifier.removeprefix("clm-")}", holds=..., given=...,'
                " counterexample=...)",
            )
        elif checks[identifier] > line:
            each.complain(line, f"the sentence {identifier} stands above the cell that checks it")


def check_shares(each: Found) -> None:
    """What a chapter that shows its work must have."""
    if not each.chapter.front_matter.get(FLAG):
        return
    for text in shares_of(each.chapter).beyond():
        each.complain(1, f"this chapter shows its work: {text}")
    if each.blocks.count("question") != 5:
        each.complain(1, f"a chapter ends with five questions, not {each.blocks.count('question')}")
    if "try" not in each.blocks:
        each.complain(1, "a chapter has something to run: ::: {.try title}")
    if not re.search(r"^## Recap\b", "\n".join(p.text for p in each.chapter.prose), re.MULTILINE):
        each.complain(1, "a chapter has a section `## Recap`")


def check_syntax_tree(each: Found) -> None:
    """The backstop: whatever pandoc reads in the source that is not on the list."""
    source = each.chapter.path.read_text(encoding="utf-8")
    lines = source.split("\n")
    for cell in each.chapter.cells:
        for position in range(cell.line - 1, len(lines)):
            fence = position > cell.line - 1 and lines[position].startswith("```")
            lines[position] = ""
            if fence:
                break
    done = subprocess.run(
        [pypandoc.get_pandoc_path(), "-f", "markdown", "-t", "json"],
        input="\n".join(lines),
        capture_output=True,
        encoding="utf-8",
    )
    if done.returncode or "[WARNING]" in done.stderr:
        each.complain(1, f"pandoc says: {done.stderr.strip()}")
        return
    seen = set()
    questions = [n for n, line in enumerate(lines, 1) if re.match(r":{3,} \{\.question\}", line)]

    def visit(node) -> None:
        if isinstance(node, list):
            for item in node:
                visit(item)
        elif isinstance(node, dict):
            kind = node.get("t")
            if kind in OTHER_NODES and kind not in seen:
                seen.add(kind)
                each.complain(
                    find_line(lines, node), f"{OTHER_NODES[kind]} is not on the list: {LIST}"
                )
            if kind == "Div" and "question" in node["c"][0][1]:
                line = questions.pop(0)
                if has_link(node["c"][1][:1]):
                    each.complain(
                        line, "a question works like a button: no link, reference or note in it"
                    )
            for value in node.values():
                visit(value)

    visit(json.loads(done.stdout)["blocks"])


def has_link(node) -> bool:
    """Whether something in pandoc's tree becomes a link on a page."""
    if isinstance(node, dict):
        return node.get("t") in ("Cite", "Link", "Note") or has_link(list(node.values()))
    return isinstance(node, list) and any(map(has_link, node))


def find_line(lines: list[str], node: dict) -> int:
    """The line with the first word of `node`, as near as can be told (pandoc keeps no positions);
    else 1."""
    words = re.findall(r'"([^"\\]{3,})"', json.dumps(node.get("c", ""), ensure_ascii=False))
    for word in words:
        for number, text in enumerate(lines, start=1):
            if word in text:
                return number
    if node.get("t") == "HorizontalRule":
        return next(
            (
                n
                for n, text in enumerate(lines, 1)
                if re.fullmatch(r"\s*([-*_]\s*){3,}", text) and n > 1
            ),
            1,
        )
    return 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.lint", description="Check the sources.")
    parser.add_argument(
        "--shares", action="store_true", help="print how much of its work each chapter shows"
    )
    if parser.parse_args(arguments).shares:
        chapters = {
            page.stem: read_chapter(ROOT / page.source)
            for page in list_pages(ROOT, read_config(ROOT))
        }
        table = shares_table(
            {
                stem: c
                for stem, c in chapters.items()
                if stem[0].isdigit() or c.front_matter.get(FLAG)
            }
        )
        print(table.to_markdown(index=False, intfmt=","))
        return 0
    complaints = lint_book(ROOT)
    for complaint in complaints:
        print(complaint)
    for note in stray_files(ROOT):
        print("note:", note)
    print(f"{len(complaints)} thing(s) to mend" if complaints else "the sources are clean")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
