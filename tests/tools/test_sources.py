"""Reading the sources: cells, expressions, claims, with their lines."""

import json

import pytest
from small_book import page, words

from lab.page.qmd import SourceError, claim_id, read_chapter
from tools.execute import inline_values


def test_cells_and_expressions_are_found_with_their_lines(small_book):
    chapter = read_chapter(small_book / "chapters/01-first.qmd")
    lines = chapter.path.read_text().split("\n")
    assert [lines[cell.line - 1] for cell in chapter.cells] == ["```{python}"] * len(chapter.cells)
    assert chapter.cells[1].options["label"] == "fig-line"
    assert lines[chapter.cells[1].first_code_line - 1].startswith("import matplotlib")
    assert [
        e for part in chapter.parts if hasattr(part, "expressions") for e in part.expressions
    ] == ['f"{17760:,}"', "used_module.COUNT", "1 + 2", *"first last first last first".split()]


@pytest.mark.parametrize(
    "text, message",
    [
        ("```{python}\n1\n", ":1: this code block is never closed"),
        ("x\n```{python}\n#| label: [\n```\n", ":3: this is not YAML"),
        ("---\nx: 1\n", ":1: the front matter is not closed"),
    ],
)
def test_unreadable_sources_are_named(tmp_path, text, message):
    (tmp_path / "a.qmd").write_text(text)
    with pytest.raises(SourceError, match=message):
        read_chapter(tmp_path / "a.qmd")


def test_text_values_are_escaped_and_markdown_is_not():
    class Output(dict):
        output_type = "display_data"

    values = {
        "0": {"data": {"text/plain": "'a*b'"}},
        "1": {"data": {"text/plain": "0.5"}},
        "2": {"data": {"text/plain": "<Markdown>", "text/markdown": "*b*"}},
    }
    bar = Output(data={"text/plain": "100%"})  # of an expression that trains
    assert inline_values([bar, Output(data={"application/json": values})]) == [
        r"a\*b",
        "0.5",
        "*b*",
    ]


def test_a_claims_sentence_knows_its_expressions(small_book):
    prose = [p for p in read_chapter(small_book / "chapters/01-first.qmd").prose if p.sentences]
    [sentence] = [each for part in prose for each in part.sentences]
    assert sentence.identifier == claim_id("fall of both") == "clm-fall-of-both"
    lines = (small_book / "chapters/01-first.qmd").read_text().split("\n")
    assert lines[sentence.line - 1] == "::: {.claim #clm-fall-of-both}"
    own = range(sentence.first, sentence.first + len(sentence.expressions))
    assert [prose[0].expressions[i] for i in own] == sentence.expressions == ["last", "first"]
    assert sentence.filled(["2", "1"]) == "From the last, 2, they fall to 1, a number below 3."


def test_claims_are_recorded_with_the_numbers_of_their_page(small_book):
    record = json.loads((small_book / "_record/01-first.json").read_text())
    assert {c["label"]: (c["sentence"], c["holds"]) for c in record["claims"]} == {
        "order": ("The numbers rise from 1 to 2, see @fig-line.", True),
        "fall of both": (r"From the last, 2\.00, they fall to 1, a number below 3.", True),
    }
    printed = dict(record["numbers"])
    assert printed["claim fall of both"] == "2.00 1 3"
    assert printed["inline first"] == printed["inline first (2)"] == "1"
    assert "inline first (3)" not in printed, "the claim's numbers are the claim's alone"
    claims = page(small_book / "_book", "chapters/01-first.html").select(".claim")
    assert [(claim["id"], words(claim)) for claim in claims] == [
        ("clm-order", "The numbers rise from 1 to 2, see Figure 1.1."),
        ("clm-fall-of-both", "From the last, 2.00, they fall to 1, a number below 3."),
    ]
