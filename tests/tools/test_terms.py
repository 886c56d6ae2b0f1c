"""Words of the glossary: what the filter links on a page, and what the linter refuses."""

import re
import subprocess

import pypandoc
import pytest
import yaml
from bs4 import BeautifulSoup
from small_book import ROOT, write_small_book

from tools.lint import lint_book
from tools.notebooks import make_notebooks

GLOSSARY = """# Glossary {#sec-glossary}

::: {.entry #trm-carry words="carry"}
**Carry.** The one that goes on ("to the next").
@sec-second.
:::

::: {.entry #trm-carry-chain words="carry chain, carry chains"}
**Carry chain.** How far it runs.
@sec-second.
:::

::: {.entry #trm-run}
**Run.** One training.
@sec-second.
:::
"""


@pytest.fixture
def book(tmp_path):
    """The small book with a glossary, which its second chapter uses."""
    root = write_small_book(tmp_path / "book")
    (root / "chapters/glossary.qmd").write_text(GLOSSARY)
    config = yaml.safe_load((root / "_quarto.yml").read_text())
    config["book"]["appendices"].insert(0, "chapters/glossary.qmd")
    (root / "_quarto.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    add(root, "A **run** has a carry chain, and a carry.")
    return root


def add(root, text):
    chapter = root / "chapters/02-second.qmd"
    chapter.write_text(chapter.read_text() + "\n" + text + "\n")


def linked(root, text, source="chapters/02-second.qmd", to="html"):
    """What the filter makes of a text on that page: [(word, address, note)]."""
    command = [pypandoc.get_pandoc_path(), "-f", "markdown", "-t", to]
    command += ["--lua-filter", ROOT / "tools/chapter.lua", "-M", f"book-chapter={source}"]
    page = subprocess.run(
        command, input=text, capture_output=True, encoding="utf-8", cwd=root, check=True
    ).stdout
    links = BeautifulSoup(page, "html.parser").select("a.term")
    return [(" ".join(a.text.split()), a["href"], a["data-note"]) for a in links]


def words(root, text):
    return [word for word, _, _ in linked(root, text)]


def test_the_first_use_is_linked_with_its_meaning_as_a_note(book):
    assert linked(book, "(Carry), then a carry.") == [
        ("Carry", "glossary.qmd#trm-carry", "The one that goes on (“to the next”).")
    ]
    assert linked(book, "a carry", "index.qmd")[0][1] == "chapters/glossary.qmd#trm-carry"
    assert not linked(book, "a carry", "chapters/glossary.qmd")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Carries carry.", ["carry"]),
        ("A carry\nchain and a carry.", ["carry chain", "carry"]),
        ("Two carry chains, one carry-over, one carry chain.", ["carry chains"]),
        ("The run, and then **runs**.", []),
        ("The run, and then **Run.** More.", ["Run."]),
        ('A [training]{.term of="run"} is a **run**.', ["training"]),
        ("A [run]{.term} is a [run]{.term}.", ["run"]),
        ("Here a carry, there the [carry]{.term} that was meant.", ["carry"]),
        ("**A carry chain.** It is long.", ["carry chain"]),
        ("**Carry chains.** They are long.", ["Carry chains."]),
        ('**[Training]{.term of="run"}** is a run.', ["Training"]),
        ("- one carry\n- another", ["carry"]),
        ('::: {.callout-note title="x"}\na carry\n:::', ["carry"]),
        ("# A carry\n\n`a carry`, $carry$ and [a carry](#x)", []),
        ("| a carry |\n|---|\n| carry |", []),
        (
            "::: {.predict #prd-x}\na carry\n\n::: {.answer}\ncarry\n:::\n:::\n\nThe carry.",
            ["carry"],
        ),
        ("::: {.question}\nWhy a carry?\n\ncarry\n:::", []),
        ("::: {#exr-x}\na carry\n:::", []),
    ],
)
def test_where_a_use_is_found(book, text, expected):
    assert words(book, text) == expected


def test_elsewhere_all_is_one_file_or_plain_words(book):
    add(book, 'Here [it]{.term of="carry"} is marked.')
    notebook = make_notebooks(book, "reader")["02-second"]
    text = "\n".join(cell.source for cell in notebook.cells)
    assert "Here it is marked." in text and "has a carry chain, and a carry." in text
    assert "glossary" not in text and "data-note" not in text


def test_a_book_with_a_glossary_is_clean_and_one_without_has_no_links(book):
    assert lint_book(book) == []
    (book / "chapters/glossary.qmd").unlink()
    assert not linked(book, "a carry")


@pytest.mark.parametrize(
    "file, old, new, message",
    [
        ("02-second", "a carry.", "[one]{.term}.", r"no entry trm-one; .*of=\"carry\""),
        ("02-second", "a carry.", '[one]{.term of="one"}.', "no entry trm-one"),
        ("02-second", "a carry.", '[one]{.term of="One"}.', "an attribute after"),
        ("02-second", "**run**", "run", "no page uses the entry trm-run"),
        ("02-second", "carry chain", "carry", "no page uses the entry trm-carry-chain"),
        ("glossary", "**Run.** ", "", "begins with its name"),
        ("glossary", "#trm-run}", "#run}", r"is not on the list"),
        ("glossary", "#trm-run}", "#trm-carry}", "the label trm-carry is given twice"),
        ("glossary", 'words="carry"', 'words=""', "is not on the list"),
    ],
)
def test_what_the_linter_refuses(book, file, old, new, message):
    path = book / f"chapters/{file}.qmd"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    complaints = lint_book(book)
    assert any(re.search(message, complaint) for complaint in complaints), complaints


def test_an_entry_stands_in_the_glossary_only(book):
    add(book, "::: {.entry #trm-x}\n**X.** Something, **x**.\n:::")
    assert any("stands in glossary.qmd only" in complaint for complaint in lint_book(book))


def test_every_entry_of_the_book_is_read_by_the_filter():
    source = (ROOT / "chapters/glossary.qmd").read_text(encoding="utf-8")
    entries = re.findall(r"^::: \{\.entry #trm-([a-z0-9-]+)", source, re.M)
    text = " and ".join(f'[x{i}]{{.term of="{name}"}}' for i, name in enumerate(entries))
    found = linked(ROOT, text)
    assert [address.split("#trm-")[1] for _, address, _ in found] == entries
    assert all(len(note) > 15 for _, _, note in found)
