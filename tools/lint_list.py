"""The closed list of constructs that chapters may use, and what each looks like.

Both builds understand what is on it. tools/lint_source.py holds the lines of one source against it,
tools/lint.py what pandoc reads and the book as a whole.
"""

from __future__ import annotations

import re

LIST = (
    "headings {#sec-x}, citations, footnotes ^[...], $math$ and $$math$$ {#eq-x}, inline `{python}"
    " expr`, callouts (note, tip, warning, important), cells ```{python}, ::: {#fig-x}, tables with"
    " `: caption {#tbl-x}`, @references, exercises ::: {#exr-x difficulty minutes}, solutions,"
    " claims ::: {.claim #clm-x}, ::: {.predict #prd-x} with ::: {.answer}, ::: {.try title},"
    " ::: {.question}, ::: {#lab-x .laboratory}, [margin notes]{.aside}, [words]{.term} of the"
    " glossary, its ::: {.entry #trm-x} blocks, plain code blocks, lists, links"
)
OLD_TITLES = {
    "Takeaway": "a recap at the end, under `## Recap`",
    "Predict before you look": "::: {.predict #prd-x}, with ::: {.answer} in it",
}
LONGEST_TRY = 15  # lines
CELL_OPTIONS = {
    "label": str,
    "fig-cap": str,
    "fig-alt": str,
    "tbl-cap": str,
    "echo": bool,
    "code-fold": (bool, str),
    "code-summary": str,
    "output": bool,
    "eval": bool,
    "classes": str,
}
DIVISIONS = {
    "figure": re.compile(r"\{#(?P<id>fig-[a-z0-9-]+)\}"),
    "exercise": re.compile(r'\{#(?P<id>exr-[a-z0-9-]+) difficulty="[123]" minutes="[1-9]\d*"\}'),
    "solution": re.compile(r"\{#(?P<id>sol-[a-z0-9-]+)\}"),
    "callout": re.compile(
        r'\{\.callout-(note|tip|warning|important)(?P<title> title="[^"$*`_\\\\]+")?('
        r' collapse="(true|false)")?\}'
    ),
    "instructor": re.compile(r'\{\.content-visible when-profile="instructor"\}'),
    "hidden": re.compile(r'\{\.content-hidden when-format="html"\}'),
    "references": re.compile(r"\{#refs\}"),
    "claim": re.compile(r"\{\.claim #(?P<id>clm-[a-z0-9-]+)\}"),
    "predict": re.compile(r"\{\.predict #(?P<id>prd-[a-z0-9-]+)\}"),
    "answer": re.compile(r"\{\.answer\}"),
    "try": re.compile(r'\{\.try title="[^"$*`_\\]+"\}'),
    "question": re.compile(r"\{\.question\}"),
    "laboratory": re.compile(r"\{#(?P<lab>lab-(?P<laboratory>[a-z]+)) \.laboratory\}"),
    "entry": re.compile(
        r'\{\.entry #(?P<id>trm-[a-z0-9-]+)(?P<words> words="[^",]+(, [^",]+)*")?\}'
    ),
}
DIVISION_FORMS = (  # as complaints show them
    "{#fig-x}",
    '{#exr-x difficulty="1" minutes="5"} (difficulty 1-3)',
    "{#sol-x}",
    '{.callout-note title="..." collapse="true"} (note, tip, warning, important)',
    '{.content-visible when-profile="instructor"}',
    '{.content-hidden when-format="html"}',
    "{.claim #clm-x}",
    "{.predict #prd-x}",
    "{.answer}",
    '{.try title="..."}',
    "{.question}",
    "{#lab-x .laboratory}",
    '{.entry #trm-x words="..."}',
)
CODE_BLOCK = re.compile(
    r"[\w+-]*|\{\.python \.(?P<role>starter)\}"
    r'|\{\.python \.(?P<owned>check|solution) exercise="(?P<exercise>[a-z0-9-]+)"\}'
)
TERM = re.compile(r'\[(?P<text>[^][]+)\]\{\.term(?: of="(?P<of>[a-z0-9-]+)")?\}')
GLOSSARY = "glossary"  # the page with the entries; tools/chapter.lua reads it too
LABEL = re.compile(r"\{#([^}\s]+)\}")
REFERENCE = re.compile(r"(?<![\w@\\/.])-?@\{?([A-Za-z0-9_](?:[\w:.#$%&+?~/-]*[\w/])?)")
CROSS_REFERENCE = re.compile(r"(sec|fig|tbl|eq|exr|sol)-")
FORBIDDEN = [
    (re.compile(r"!\["), "an image; images are only ever made by cells"),
    (re.compile(r"\{\{<"), "a shortcode"),
    (re.compile(r"<!--|</?(?!https?:|mailto:)[A-Za-z][A-Za-z0-9-]*(\s[^>]*)?/?>"), "raw HTML"),
    (re.compile(r"(?<!\\)\\[A-Za-z]+"), "raw HTML or TeX outside $math$"),
    (
        re.compile(r"\](?=\{)(?!\{\.aside\}|\{\.term( of=\"[a-z0-9-]+\")?\})"),
        "an attribute after [...]; only {.aside} (a margin note) and {.term} (a word of the"
        " glossary) may stand there",
    ),
    (re.compile(r"^\|\s+(?!.*\|\s*$)"), "a line block"),
]

OTHER_NODES = {
    "RawBlock": "raw HTML or TeX",
    "RawInline": "raw HTML or TeX",
    "Image": "an image",
    "Figure": "an image",
    "LineBlock": "a line block",
    "DefinitionList": "a definition list",
    "HorizontalRule": "a horizontal rule",
    "Strikeout": "~~struck out~~ text",
    "SmallCaps": "small capitals",
    "Underline": "underlined text",
}
