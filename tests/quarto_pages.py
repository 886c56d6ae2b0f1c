"""What Quarto makes of the small book, kept in tests/data/quarto-pages: its pages, cut down to what
a reader sees, and layout.css, the rules of Quarto's stylesheet that they use, without its colours.

Beside the small book's own pages there is one with the laboratories, and a glossary that it uses.
`python tests/quarto_pages.py` makes them anew, where Quarto is.
"""

import functools
import http.server
import re
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Comment

if __name__ == "__main__":  # before tests/, whose folders bear the names of what they test
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from page_faults import OPEN_FOLDED
from small_book import ROOT, write_small_book

from lab.page.laboratories import LABORATORIES

SAVED = ROOT / "tests/data/quarto-pages"
NAMES = ["chapters/01-first.html", "chapters/02-second.html", "references.html"]
MORE = ["index.html", "chapters/03-more.html", "chapters/glossary.html"]

GLOSSARY = """# Glossary {#sec-glossary}

::: {.entry #trm-carry words="carry, carries"}
**Carry.** The one that a column of ten or more sends to the next, and what becomes of it there.
@sec-second.
:::

| a word | another word of twenty letters | what stands beside them on a wide screen |
|---|---|---|
| unconstitutionality | uncharacteristically | a table that has no number and is not made by a cell |
"""

THIRD = """# A third chapter, whose title is longer than a telephone is wide {#sec-more}

```{python}
#| echo: false
from lab.page.record import open_chapter
open_chapter("03-more")
```

A **carry** is a word of the glossary; see @sec-second, [@nanda2023progress] and @wide2024.

::: {.callout-note title="Statistical view" collapse="true"}
A folded note with a citation [@wide2024] and a wide formula:

$$ a_{1} + a_{2} + a_{3} + a_{4} + a_{5} + a_{6} + a_{7} + a_{8} + a_{9} = b_{1} + b_{2} + b_{3} + b_{4} + b_{5} $$ {#eq-folded}
:::

| unconstitutionality | uncharacteristically | antidisestablishmentarianism |
|---|---|---|
| written | out | by hand |

: A wide table with a number {#tbl-more}

```python
a_line_of_code_that_is_as_long_as_a_line_of_code_may_be = "and so it is wider than a telephone"
```

LABORATORIES"""


def saved(name: str) -> BeautifulSoup:
    """The kept page `name` of the small book."""
    text = (SAVED / Path(name).name).read_text(encoding="utf-8")
    return BeautifulSoup(text, "html.parser")


def write_more(root: Path) -> Path:
    """The small book with the third chapter and the glossary, under the real book's title, and
    without the rules of the theme: layout.css holds Quarto's own."""
    write_small_book(root)
    for name in ("_common.py", "_checks.py"):
        (root / name).symlink_to(ROOT / name)
    for stored in (ROOT / "data").iterdir():
        if stored.is_dir():
            (root / "data" / stored.name).symlink_to(stored)
    laboratories = "\n\n".join(
        f"::: {{#lab-{name} .laboratory}}\nIt needs JavaScript.\n:::" for name in LABORATORIES
    )
    (root / "chapters/03-more.qmd").write_text(THIRD.replace("LABORATORIES", laboratories + "\n"))
    (root / "chapters/glossary.qmd").write_text(GLOSSARY)
    config = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))
    real = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["book"]
    config["book"] |= {name: real[name] for name in ("title", "subtitle")}
    config["book"]["chapters"].insert(3, "chapters/03-more.qmd")
    config["book"]["appendices"].append("chapters/glossary.qmd")
    (root / "_quarto.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    theme = root / "figures/theme/quarto.scss"
    theme.write_text(theme.read_text(encoding="utf-8").split("/*-- scss:rules --*/")[0])
    return root


# The rules of Quarto's stylesheet that this page uses: [place, media, selectors, declarations].
RULES = r"""() => {
  const state = /::?(before|after|hover|focus-within|focus-visible|focus|active|marker|placeholder)\b/g;
  const used = (selector) => {
    try { return document.querySelector(selector.replace(state, "") || "*") !== null; }
    catch { return false; }
  };
  const found = [];
  const read = (rules, place, media) => [...rules].forEach((rule, i) => {
    if (rule instanceof CSSMediaRule) read(rule.cssRules, [...place, i], rule.conditionText);
    else if (rule instanceof CSSStyleRule) {
      const all = rule.selectorText.split(/,(?![^(]*\))/).map((one) => one.trim());
      const selectors = all.filter(used);
      if (selectors.length) found.push([[...place, i], media, selectors, rule.style.cssText]);
    }
  });
  const sheets = [...document.styleSheets].filter((sheet) => /bootstrap-(?!icons|dark)/.test(sheet.href));
  sheets.forEach((sheet, i) => read(sheet.cssRules, [i], ""));
  return found;
}"""
NO_LAYOUT = re.compile(
    r"color|background|shadow|^fill|filter|^--(?!bs)|cursor|transition|^-webkit|^content|scroll-behavior"
)


def layout(rules: dict) -> str:
    """The rules as a stylesheet, without colours and without variables that nothing uses."""
    kept = []
    for place in sorted(rules):
        media, selectors, text = rules[place]
        declarations = [d.strip() for d in re.split(r";(?![^(]*\))", text) if d.strip()]
        kept.append(
            (media, selectors, [d for d in declarations if not NO_LAYOUT.search(d.split(":")[0])])
        )
    used = set()
    while True:
        told = set(
            re.findall(
                r"var\((--[\w-]+)",
                " ".join(
                    d for _, _, ds in kept for d in ds if d.split(":")[0] in used or d[:2] != "--"
                ),
            )
        )
        if told <= used:
            break
        used |= told
    lines = []
    for media, selectors, declarations in kept:
        declarations = [d for d in declarations if d[:2] != "--" or d.split(":")[0] in used]
        if declarations:
            body = re.sub(
                r"rgba?\([^)]*\)|#[0-9a-f]{3,8}\b", "currentcolor", "; ".join(declarations)
            )
            rule = f"{', '.join(sorted(selectors))} {{ {body} }}"
            lines.append(f"@media {media} {{ {rule} }}" if media else rule)
    return "\n".join(lines) + "\n"


def cut_down(text: str, laboratories: list[str]) -> str:
    """The body of a page without its scripts, and with the laboratories as their scripts have made
    them."""
    body = BeautifulSoup(text, "html.parser").body
    for place in body.find_all(["script", "template"]):
        place.decompose()
    for comment in body.find_all(string=lambda part: isinstance(part, Comment)):
        comment.extract()
    for place, made in zip(body.select(".laboratory"), laboratories, strict=True):
        place.replace_with(BeautifulSoup(made, "html.parser"))
    return re.sub(r"\n\s*\n+", "\n", str(body)) + "\n"


def save(output: Path) -> None:
    """Keep the pages in `output`, and the rules that they use."""
    from playwright.sync_api import sync_playwright

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=output)
    rules = {}
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        sync_playwright() as playwright,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(color_scheme="light")
        for name in NAMES + MORE:
            page.goto(f"http://127.0.0.1:{server.server_port}/{name}")
            page.wait_for_load_state("networkidle")
            made = page.eval_on_selector_all(
                ".laboratory", "all => all.map((one) => one.outerHTML)"
            )
            for step in ("() => null", OPEN_FOLDED):
                page.evaluate(step)
                for place, media, selectors, text in page.evaluate(RULES):
                    kept = rules.setdefault(tuple(place), (media, set(), text))
                    kept[1].update(selectors)
            text = cut_down((output / name).read_text(encoding="utf-8"), made)
            (SAVED / Path(name).name).write_text(text, encoding="utf-8")
        server.shutdown()
    (SAVED / "layout.css").write_text(layout(rules), encoding="utf-8")


if __name__ == "__main__":
    from tools.build import build

    with tempfile.TemporaryDirectory() as folder:
        save(build(write_more(Path(folder) / "book"), "quarto", "reader"))
