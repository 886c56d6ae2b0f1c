"""Check built pages, of either engine: `python -m tools.check_pages [folder]`.

Links and fragments resolve, images are there and have alt texts, no reference is left unresolved,
nothing is loaded from elsewhere, identifiers are unique, each page has a title and one h1, shows
every claim that its chapter checked, and the readers' edition holds no solution.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lab import ROOT
from lab.page.qmd import EDITIONS, FENCE, Page, claim_id, closes, list_pages, read_config

UNRESOLVED = re.compile(
    r"\?(fig|tbl|eq|sec|exr|sol|@)-?\w*|\?\?|(?<![\w.])@(fig|tbl|eq|sec|exr|sol)-\w+|\{#\w+-[\w-]+\}"
    r"|`?\{python\}|\bnp\.(?:int|float|bool|str)\w*\(|\\x[0-9a-f]{2}|\\u[0-9a-f]{4}"
)
BOOK_TITLE = "title-block-header"  # the id that Quarto gives the title above a page
VOID = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "track",
    "wbr",
}
NOT_TEXT = {"script", "style", "template", "annotation"}
LOADING_LINKS = {
    "stylesheet",
    "icon",
    "shortcut",
    "preload",
    "modulepreload",
    "prefetch",
    "preconnect",
    "manifest",
}


@dataclass
class PageContent:
    """What one page says about itself."""

    identifiers: list[str] = field(default_factory=list)
    links: list[tuple[str, int]] = field(default_factory=list)
    images: list[tuple[str, str | None, int]] = field(default_factory=list)  # src, alt, line
    loads: list[tuple[str, int]] = field(default_factory=list)
    headings: Counter = field(
        default_factory=Counter
    )  # h1 headings, in Quarto's title block and elsewhere
    title: str = ""
    text: list[tuple[str, int]] = field(default_factory=list)  # running text, code left out
    all_text: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.content, self.open_tags, self.open_ids = PageContent(), [], []

    def handle_starttag(self, tag, attributes):
        given, line, content = dict(attributes), self.getpos()[0], self.content
        if tag not in VOID:
            self.open_tags.append(tag)
            self.open_ids.append(given.get("id"))
        if (
            given.get("id") and tag != "link"
        ):  # Quarto names the light and the dark stylesheet alike
            content.identifiers.append(given["id"])
        if tag == "a" and given.get("href"):
            content.links.append((given["href"], line))
        if tag == "img":
            content.images.append((given.get("src", ""), given.get("alt"), line))
        if tag in ("script", "iframe", "source", "video", "audio", "embed") and given.get("src"):
            content.loads.append((given["src"], line))
        if given.get("data-script"):  # a laboratory's, loaded once a reader comes near
            content.loads.append((given["data-script"], line))
        if (
            tag == "link"
            and given.get("href")
            and LOADING_LINKS & set((given.get("rel") or "").split())
        ):
            content.loads.append((given["href"], line))
        if tag == "h1":
            content.headings[BOOK_TITLE if BOOK_TITLE in self.open_ids else "page"] += 1

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag in self.open_tags:
            while self.open_tags.pop() != tag:
                self.open_ids.pop()
            self.open_ids.pop()

    def handle_data(self, data):
        if self.open_tags and self.open_tags[-1] == "title" and "svg" not in self.open_tags:
            self.content.title += data
        if NOT_TEXT & set(self.open_tags):
            return
        self.content.all_text.append(data)
        if not {"code", "pre", "math"} & set(self.open_tags):
            self.content.text.append((data, self.getpos()[0]))


def read_page(path: Path) -> PageContent:
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    return reader.content


def check_pages(root: Path, folder: Path, edition: str) -> list[str]:
    """Every complaint about the pages in `folder`: `file:line: what is wrong`."""
    files = sorted(
        path for path in folder.rglob("*.html") if "site_libs" not in path.relative_to(folder).parts
    )
    pages = {path.resolve(): read_page(path) for path in files}
    complaints = []
    for page in list_pages(root, read_config(root, edition)):
        content = pages.get((folder / page.output).resolve())
        if content is None:
            complaints.append(f"{folder.name}/{page.output}: the page is missing")
        else:
            complaints += _find_unshown_claims(root, f"{folder.name}/{page.output}", page, content)
    for path, content in pages.items():
        name = f"{folder.name}/{path.relative_to(folder.resolve()).as_posix()}"
        complaints += [
            f"{name}:{line}: {text}" for line, text in _check_page(path, content, pages, folder)
        ]
    for path in sorted((*folder.rglob("*.css"), *folder.rglob("*.html"))):
        if "site_libs" in path.parts:  # Quarto's own, which its pages do not use these parts of
            continue
        for url in re.findall(
            r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)",
            path.read_text(encoding="utf-8"),
        ):
            complaints.append(
                f"{path.relative_to(folder.parent).as_posix()}: a style loads {url} from elsewhere"
            )
    if edition == "reader":
        complaints += _find_solutions(root, folder)
    return complaints


def _check_page(path: Path, content: PageContent, pages: dict, folder: Path):
    if not content.title.strip():
        yield 1, "the page has no <title>"
    headings = content.headings["page"] + content.headings[BOOK_TITLE]
    if (
        path.name == "index.html" and headings == 2
    ):  # Quarto sets the book's title above that of the preface
        headings -= content.headings[BOOK_TITLE]
    if headings != 1:
        yield 1, f"the page has {headings} h1 headings, not one"
    for identifier in sorted(
        {name for name in content.identifiers if content.identifiers.count(name) > 1}
    ):
        yield 1, f"the id {identifier!r} is given twice"
    for url, line in content.loads:
        if urlsplit(url).scheme not in ("", "data") or url.startswith("//"):
            yield line, f"the page loads {url} from elsewhere"
        elif not urlsplit(url).scheme and not (path.parent / unquote(urlsplit(url).path)).exists():
            yield line, f"the page loads {url}, which is not there"
    for source, alternative, line in content.images:
        if not (alternative or "").strip():
            yield line, f"the image {source[:80]} has no alt text"
        if source.startswith("data:"):
            continue
        if urlsplit(source).scheme or source.startswith("//"):
            yield line, f"the image {source} is loaded from elsewhere"
        elif not (path.parent / unquote(urlsplit(source).path)).is_file():
            yield line, f"the image {source} is not there"
    for url, line in content.links:
        yield from _check_link(path, url, line, pages)
    for text, line in content.text:
        for match in UNRESOLVED.finditer(text):
            yield line, f"unresolved: {match.group(0)!r} in {' '.join(text.split())[:80]!r}"


def _check_link(path: Path, url: str, line: int, pages: dict):
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target = target / "index.html"
    if not target.exists():
        yield line, f"the link {url} leads nowhere"
    elif (
        parts.fragment
        and target in pages
        and unquote(parts.fragment) not in pages[target].identifiers
    ):
        yield line, f"the link {url}: there is no {parts.fragment!r} on that page"


def _find_unshown_claims(root: Path, name: str, page: Page, content: PageContent):
    """Claims in the chapter's record whose sentence the page does not show."""
    record = root / "_record" / f"{page.stem}.json"
    claims = json.loads(record.read_text(encoding="utf-8"))["claims"] if record.exists() else []
    for claim in claims:
        label, identifier = claim["label"], claim_id(claim["label"])
        if identifier not in content.identifiers:
            yield f"{name}:1: the claim {label!r} was checked, and #{identifier} is not here"
        elif not claim["sentence"]:
            yield f"{name}:1: the record has no sentence for the claim {label!r}"


def _find_solutions(root: Path, folder: Path):
    """Text of solutions and checks, searched for in every text file of the readers' edition."""
    secrets = list_secrets(root)
    for path in sorted(folder.rglob("*")):
        if (
            path.suffix not in (".html", ".js", ".json", ".ipynb", ".txt", ".md", ".qmd")
            or "site_libs" in path.parts
        ):
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".html":
            text = "".join(read_page(path).all_text)
        elif path.suffix in (".json", ".ipynb", ".js"):
            text = text.replace('\\"', '"').replace("\\n", "\n")
        squeezed = squeeze(text)
        for origin, secret in secrets:
            if squeeze(secret) in squeezed:
                yield (
                    f"{path.relative_to(folder.parent).as_posix()}: the readers' edition holds what"
                    f" {origin} keeps for instructors: {secret.strip()[:60]!r}"
                )


def list_secrets(root: Path) -> list[tuple[str, str]]:
    """(file:line, text) of every line that only solutions and checks have, long enough to be told
    from chance."""
    secrets, public = [], set()
    for source in [page.source for page in list_pages(root, read_config(root))]:
        for number, line, is_secret in _mark_secret_lines(
            (root / source).read_text(encoding="utf-8").split("\n")
        ):
            if not is_secret:
                public.add(squeeze(line))
            elif len(squeeze(line)) >= 20 and not re.match(r"\s*(`{3}|:::|#+ )", line):
                secrets.append((f"{source}:{number}", line))
    told = "\n".join(public)
    return [(origin, line) for origin, line in secrets if squeeze(line) not in told]


def _mark_secret_lines(lines: list[str]):
    """Yield (number, line, is it inside an instructor's or a hidden ::: block?)."""
    stack, fence = [], None
    for number, line in enumerate(lines, start=1):
        match = FENCE.match(line)
        if fence:
            fence = None if closes(line, fence) else fence
        elif match:
            fence = match.group("fence")
        elif re.match(r":{3,}\s*\{", line):
            stack.append("content-visible" in line or "content-hidden" in line)
        elif re.fullmatch(r":{3,}\s*", line) and stack:
            stack.pop()
        yield number, line, any(stack)


def squeeze(text: str) -> str:
    """The text without what formats write differently: spaces, emphasis, escapes."""
    return re.sub(r"[\s*_`\\$]+", "", text)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.check_pages", description="Check the built pages."
    )
    parser.add_argument("folder", nargs="?", default="_book", help="default: _book")
    parser.add_argument("--edition", choices=EDITIONS, default="reader")
    options = parser.parse_args()
    folder = (ROOT / options.folder).resolve()
    if not folder.is_dir():
        print(f"there is no folder {options.folder}: build the book first", file=sys.stderr)
        return 2
    complaints = check_pages(ROOT, folder, options.edition)
    print(
        "\n".join(
            [
                *complaints,
                f"{len(complaints)} thing(s) wrong" if complaints else "the pages are sound",
            ]
        )
    )
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
