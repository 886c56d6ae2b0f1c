"""The linter: each thing that it must refuse, with file and line; and a clean book."""

import re

import pytest
from small_book import write_small_book

from lab.page.qmd import read_chapter
from tools.lint import lint_book, stray_files
from tools.shares import Shares, shares_of


@pytest.fixture
def book(tmp_path):
    return write_small_book(tmp_path / "book")


def test_the_small_book_is_clean(book):
    assert lint_book(book) == []


ADDED = [  # (text at the end of chapter 2, message about its first line)
    ("![alt](x.png)", "an image"),
    ("<div>x</div>", "raw HTML"),
    ("<!-- a comment -->", "raw HTML"),
    ("text with <br> in it", "raw HTML"),
    ("{{< video x >}}", "a shortcode"),
    ("[small]{.smallcaps}", r"only \{\.aside\}"),
    ("`code`{.python}", "an attribute after `code`"),
    ("::: {.panel-tabset}\n:::", r"::: \{\.panel-tabset\} is not on the list"),
    ("::: {.column-margin}\nx\n:::", r"\.column-margin\} is not on the list"),
    ('::: {.callout-note title="A $x$"}\nx\n:::', "callout-note title"),
    ("::: {.callout-caution}\nx\n:::", r"callout-caution\} is not on the list"),
    ("::: {#thm-x}\nx\n:::", r"#thm-x\} is not on the list"),
    ("::: {.callout-note}\nx", r"this ::: block \(callout\) is never closed"),
    (":::", "closes nothing"),
    ("```{mermaid}\nx\n```", r"a code block ```\{mermaid\}"),
    ("```{=html}\nx\n```", r"a code block ```\{=html\}"),
    ("```{ojs}\nx\n```", r"a code block ```\{ojs\}"),
    ("```python\n`{python} 1`\n```", "an inline expression in a code block", 1),
    ("# Another title", "one heading `# Title`"),
    ("##### Too deep", "headings go down to ####"),
    ("## Section {.big}", r"allowed are \{#sec-x\} and \{\.unnumbered\}"),
    ("## Section {#part-x}", r"allowed are \{#sec-x\}"),
    (
        "## Section {#sec-second}",
        "the label sec-second is given twice, first in chapters/02-second.qmd:1",
    ),
    (
        "## Section {#sec-label}",
        "the label sec-label is given twice, first in chapters/01-first.qmd",
    ),
    ("Text {#fig-x}", "stands on nothing"),
    ("$$ x $$ {#formula}", "the label 'formula'; allowed here is eq-name"),
    (
        "| a |\n|---|\n| 1 |\n\n: Caption {#table-x}",
        "the label 'table-x'; allowed here is tbl-name",
        4,
    ),
    (
        "See @fig-nothing.",
        "@fig-nothing refers to nothing; labels of that kind: fig-computed, fig-line, fig-second",
    ),
    ("::: {.question}\nWhere is *it, @fig-line*?\n\nThere.\n:::", "like a button: no link"),
    ("See @sec-nothing.", "@sec-nothing refers to nothing"),
    ("See @exr-nothing.", "@exr-nothing refers to nothing"),
    ("See -@fig-line.", "write @fig-line"),
    ("As [@nobody1999] says.", "@nobody1999 is neither a label nor an entry of references.bib"),
    ("A [link](03-third.qmd).", "chapters/03-third.qmd is not in the book"),
    ("A [link](01-first.qmd#sec-none).", "there is no label sec-none"),
    ("A [link](#sec-none).", "there is no label sec-none"),
    ("A [link](picture.pdf).", "allowed are https"),
    ("Term\n:   Definition", "a definition list"),
    ("text\n\n* * *\n\ntext", "a horizontal rule", 2),
    ("| line\n| block", "a line block"),
    ("~~gone~~", "struck out"),
    (r"\newpage", "raw HTML or TeX"),
    ("An `{python} expression\nover lines`.", "an inline expression stands on one line"),
    ("```{python}\n#| fig-width: 3\nx = 1\n```", "the cell option fig-width; allowed are label", 1),
    (
        "```{python}\nx = 1\nclaim(x)\ny = 2\n```",
        r"claim\(\.\.\.\) is not the last statement of its cell",
        2,
    ),
    ("```{python}\npd.DataFrame({'a': [1]}).T\n```", "shows a bare DataFrame", 1),
    (
        "```{python}\ncosts = edge_costs()\ncosts.assign(b=1).round(2)\n```",
        "shows a bare DataFrame",
        2,
    ),
    (
        "```{python}\ntable = pd.read_csv('x')\ntable[table['a'] > 1].head()\n```",
        "shows a bare DataFrame",
        2,
    ),
    (
        "```{python}\n#| code-fold: true\nx = '" + 84 * "x" + "'\n```",
        "visible code of 90 characters; 88 fit on a page",
        2,
    ),
    ("```{python}\n#| echo: nope\nx = 1\n```", "echo: 'nope'; allowed is true or false", 1),
    ("```{python}\n#| code-fold: maybe\nx = 1\n```", "allowed is true, false or show", 1),
    (
        "```{python}\n#| label: fig-new\n#| fig-alt: a\nx = 1\n```",
        r"the figure fig-new has no #\| fig-cap",
        1,
    ),
    (
        "```{python}\n#| label: fig-new\n#| fig-cap: a\nx = 1\n```",
        r"the figure fig-new has no #\| fig-alt",
        1,
    ),
    (
        "```{python}\n#| label: fig-new\n#| fig-cap: a\n#| fig-alt: ''\nx = 1\n```",
        r"has no #\| fig-alt",
        1,
    ),
    (
        "```{python}\n#| label: fig-new\n#| fig-cap: a\n#| fig-alt: 80 % of b\nx = 1\n```",
        "a % in fig-alt: write percent",
        3,
    ),
    ("```{python}\n#| label: tbl-new\nx = 1\n```", r"the table tbl-new has no #\| tbl-cap", 1),
    (
        "```{python}\n#| label: cell-new\nx = 1\n```",
        "the label 'cell-new'; allowed here is fig-name",
        1,
    ),
    (
        "```{python}\n#| tbl-cap: a\nx = 1\n```",
        r"tbl-cap belongs to a cell with #\| label: tbl-x",
        1,
    ),
    ("```{python}\nplt.show()\n```", "this cell makes a figure"),
    ("```{python}\n#| classes: wide\nx = 1\n```", "classes: allowed is colour-scale", 1),
    (
        "::: {#lab-adder .laboratory}\n\n```{python}\nshow_figure(f, 'lab-adder')\n```\n:::",
        r"the cell in ::: \{#lab-adder\} has a #\| fig-alt and no label",
        2,
    ),
    (
        "::: {#lab-adder .laboratory}\n\n```{python}\n#| fig-alt: a\nshow_figure(f, 'fig-b')\n```"
        "\n:::",
        r'show_figure\(..., "fig-b"\) stands in lab-adder; the names are the same',
        2,
    ),
    ("```{python}\nshow_figure(plt.gcf(), 'fig-new')\n```", "this cell makes a figure"),
    (
        (
            "```{python}\n#| label: fig-new\n#| fig-cap: a\n#| fig-alt: b\nshow_figure(f(x),"
            " 'fig-old')\n```"
        ),
        "stands in fig-new; the names are the same",
    ),
    (
        "::: {#fig-new}\n\n```{python}\nshow_figure(f, 'fig-new')\n```\n\nCaption.\n:::",
        r"has no #\| fig-alt",
        2,
    ),
    ("::: {#fig-new}\n\n```{python}\n#| fig-alt: a\nx = 1\n```\n:::", "fig-new has no caption", 6),
    ("```{python}\nopen_chapter('03-third')\n```", 'it is "02-second"'),
    (
        '::: {#exr-new difficulty="4" minutes="5"}\n:::',
        r"exr-new difficulty=\"4\" minutes=\"5\"\} is not on the list",
    ),
    ("::: {#exr-new}\n:::", r"::: \{#exr-new\} is not on the list"),
    ("Reading takes long, the exercises about an hour.", r"take \d+ minutes, not about an hour"),
    ('::: {#exr-new difficulty="1" minutes="5"}\nx\n:::', "the exercise 'new' has no starter"),
    ('::: {#exr-new difficulty="1" minutes="5"}\nx\n:::', "the exercise 'new' has no hint"),
    ('::: {#exr-new difficulty="1" minutes="5"}\nx\n:::', "the exercise 'new' has no check"),
    ('::: {#exr-new difficulty="1" minutes="5"}\nx\n:::', "the exercise 'new' has no solution"),
    (
        '::: {#exr-new difficulty="1" minutes="5"}\nx\n:::',
        r"the exercise 'new' has no ::: \{#sol-new\}",
    ),
    ('```{.python .check exercise="count"}\nx\n```', "a .check block stands in a"),
    (
        '```{.python .check exercise="none"}\nx\n```',
        "for the exercise 'none', and this chapter has: none",
    ),
    ('```{.python .solution exercise="count"}\nx\n```', "a .solution block stands in a"),
    ("```{.python .starter}\nx\n```", "a starter stands in a"),
    ("::: {#sol-new}\nx\n:::", "a solution stands in a"),
    ("::: {.claim}\nx\n:::", r"::: \{\.claim\} is not on the list"),
    ("::: {.claim #clm-new}\nx\n:::", "the sentence clm-new is not checked"),
    (
        "::: {.claim #clm-new}\nx\n:::\n\n```{python}\ncheck_claim('new', holds=bool)\n```",
        "the sentence clm-new stands above the cell",
    ),
    (
        "```{python}\ncheck_claim('new one', holds=bool)\n```",
        r"the claim 'new one' has no sentence: ::: \{\.claim #clm-new-one\}",
        1,
    ),
    ("```{python}\nx = [check_claim(label)]\n```", "gives its label as plain text", 1),
    (
        "```{python}\ncheck_claim('a')\ncheck_claim('a')\n```\n\n::: {.claim #clm-a}\nx\n:::",
        "the claim 'a' is checked twice",
        2,
    ),
    (
        "```{python}\ncheck_claim('a')\n```\n\n::: {.claim #clm-a}\n```{python}\nx\n```\n:::",
        "a claim is a sentence",
        4,
    ),
    ("::: {.predict #prd-new}\nx\n:::", "a prediction holds one"),
    ("::: {.predict}\nx\n:::", r"::: \{\.predict\} is not on the list"),
    ("::: {.answer}\nx\n:::", r"stands in a ::: \{\.predict #prd-x\} block"),
    ("::: {.try}\nx\n:::", r"::: \{\.try\} is not on the list"),
    ('::: {.try title="A"}\nx\n:::', "holds one open cell"),
    (
        '::: {.try title="A"}\n```{python}\n' + 16 * "x = 1\n" + "```\n:::",
        "a cell to try has at most 15 lines",
        1,
    ),
    ("```{python}\n#| eval: false\nx = 1\n```", "only a cell in a ::: {.try} block is not run"),
]


@pytest.mark.parametrize(
    "case",
    ADDED,
    ids=[
        re.sub(r"[^\w{}#@.:=-]+", " ", case[0])[:40].strip() + f" {i}"
        for i, case in enumerate(ADDED)
    ],
)
def test_refused(book, case):
    text, message, offset = (*case, 0)[:3]
    source = book / "chapters/02-second.qmd"
    before = source.read_text()
    source.write_text(f"{before}\n{text}\n")
    line = before.count("\n") + 2 + offset
    complaints = lint_book(book)
    assert [
        c
        for c in complaints
        if re.match(rf"chapters/02-second\.qmd:{line}: ", c) and re.search(message, c)
    ], complaints


ACCEPTED = [
    "A price of \\$5 and $a < b > c$.",
    "`<br>` and `@nobody` and `![x](y)` in code.",
    "An address: <https://example.org>.",
    "A list:\n\n- one\n- two\n\n1. three",
    "> A quotation.",
    "Mail to someone@example.org.",
    "```text\n<br> @nobody {{< x >}}\n```",
    "```text\n<br>\n````\n\nA fence may close longer than it opened.",
    "A [link](https://example.org) and [a section](01-first.qmd#sec-label).",
    "**Bold**, *italic*, x^2^, H~2~O.",
    "$$\n\\begin{aligned}\na &= b @ c \\\\\n&< d\n\\end{aligned}\n$$ {#eq-long}\n\nSee @eq-long.",
    "A sum: `{python} 1 + 1`.",
    "A [margin note with @fig-line]{.aside}.",
    "[@nanda2023progress, p. 3]",
    "::: {.question}\nWhere *is* it?\n\nIn @fig-line.\n:::",
    '::: {.callout-important title="Statistical view"}\nText.\n:::',
    "#### A small heading",
    "```{python}\nMarkdown(pd.DataFrame({'a': [1]}).to_markdown())\n```",
    "```{python}\npd.DataFrame({'a': [1]})['a'].sum()\n```",
    "```{python}\ntable = pd.DataFrame({'a': [1]})\ntable = len(table)\ntable\n```",
]


@pytest.mark.parametrize("text", ACCEPTED, ids=range(len(ACCEPTED)))
def test_accepted(book, text):
    source = book / "chapters/02-second.qmd"
    source.write_text(f"{source.read_text()}\n{text}\n")
    assert lint_book(book) == []


SHOWS = "---\nshows-its-work: true\n---\n\n"
ASKED = "::: {.question}\nWhat?\n\nThat.\n:::\n\n"
TRIED = '::: {.try title="A"}\n```{python}\nx = 1\n```\n:::\n\n'
WHOLE = f"{TRIED}## Recap\n\nDone.\n\n{5 * ASKED}"


@pytest.mark.parametrize(
    "text, line, message",
    [
        (WHOLE.replace("## Recap", "## End"), 1, "has a section `## Recap`"),
        (WHOLE + ASKED, 1, "ends with five questions, not 6"),
        (WHOLE.replace(TRIED, ""), 1, "has something to run"),
        (WHOLE + 4500 * "word ", 1, r"4,5\d\d words, at most 4,500"),
        (WHOLE + "`{python} " + 61 * "x" + "`", 1, "1 inline expressions over 60 characters"),
        (
            WHOLE + "```{python}\n#| echo: false\n" + 30 * "x = 1\n" + "```",
            1,
            r"\d\d% of its code lines hidden, at most 25%",
        ),
        (
            "```{python}\n#| echo: false\n#| label: tbl-new\n#| tbl-cap: a\nx = 1\n```\n" + WHOLE,
            17,
            "is folded .* not hidden",
        ),
        ('::: {.callout-note title="Takeaway"}\nx\n:::\n' + WHOLE, 17, "has become a recap"),
        ("```{python}\nclaim('a', 'b')\n```\n" + WHOLE, 18, "has become check_claim"),
    ],
    ids=range(9),
)
def test_a_chapter_that_shows_its_work_is_held_to_it(book, text, line, message):
    source = book / "chapters/02-second.qmd"
    start = "# Title {#sec-second}\n\n```{python}\nopen_chapter('02-second')\n"
    start += 6 * "x = 1\n" + "```\n\n"
    source.write_text(SHOWS + start + WHOLE)
    assert lint_book(book) == []
    source.write_text(SHOWS + start + text)
    assert [
        c
        for c in lint_book(book)
        if c.startswith(f"chapters/02-second.qmd:{line}: ") and re.search(message, c)
    ], lint_book(book)
    source.write_text(start + text)
    assert not [c for c in lint_book(book) if re.search(message, c)], "others are only counted"


def test_what_a_chapter_shows_is_counted(book):
    source = book / "chapters/02-second.qmd"
    source.write_text(
        "# Two words\n\n```{python}\n#| echo: false\na = 1\n\nb = 2\n```\n\n"
        "And **four** `{python} a + b` more, $x$.\n\n"
        "```{python}\n#| code-fold: true\n#| tbl-cap: A caption\n"
        + f"c = '{90 * 'x'}'\nd = 4\n```\n\n"
        "```text\nnot counted\n```\n\n::: {#exr-a}\nNor this.\n:::\n\nThe end.\n"
    )
    assert shares_of(read_chapter(source)) == Shares(4, 0.5, 1, 0, 2 + 5 + 2 + 2)


def test_an_unnumbered_heading_is_linked_to_and_not_referred_to_by_number(book):
    (book / "index.qmd").write_text(
        "# Preface {.unnumbered #sec-preface}\n\nSee [above](#sec-preface).\n"
    )
    assert lint_book(book) == []
    (book / "index.qmd").write_text("# Preface {.unnumbered #sec-preface}\n\nSee @sec-preface.\n")
    assert [
        c
        for c in lint_book(book)
        if c.startswith("index.qmd:3: @sec-preface: that heading has no number")
    ]


def test_a_missing_chapter_is_named(book):
    (book / "chapters/02-second.qmd").unlink()
    assert lint_book(book) == ["_quarto.yml: the chapter chapters/02-second.qmd does not exist"]


def test_files_that_the_book_does_not_read_are_mentioned(book):
    (book / "chapters/._01-first.qmd").write_bytes(b"\x00\x05\x16\x07\xb0\xff\xfe")
    (book / "chapters/01-first - Copy.qmd").write_text("# Copy")
    assert lint_book(book) == [] and [note.split(":")[0] for note in stray_files(book)] == [
        "chapters/._01-first.qmd",
        "chapters/01-first - Copy.qmd",
    ]


def test_code_without_a_record_is_refused(book):
    (book / "index.qmd").write_text("# Preface {.unnumbered}\n\nText `{python} 1`.\n")
    assert [
        c
        for c in lint_book(book)
        if c.startswith('index.qmd:1: a page that runs code says open_chapter("index")')
    ]
