"""The build: what the pages hold, and that they say what Quarto says."""

import json
import os
import re
import subprocess
import sys

import pytest
import quarto_pages
import yaml
from bs4 import BeautifulSoup
from small_book import change, page, words

from lab import ROOT
from lab.page.qmd import list_pages, read_config
from tools import build as build_module
from tools.build import build, find_quarto
from tools.pandoc_book import build_book

pytestmark = pytest.mark.usefixtures("forked_kernels")
needs_quarto = pytest.mark.skipif(find_quarto() is None, reason="Quarto is not installed")

# -- The same as Quarto: its own output of the same source, kept in tests/data
# ------------------------------------


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    """(Quarto's <main>, our <main>) of one source that has every construct."""
    from small_book import write_small_book

    root = write_small_book(tmp_path_factory.mktemp("sampler") / "book")
    (root / "chapters/01-first.qmd").write_text(
        (ROOT / "tests/data/quarto-sampler.qmd").read_text()
    )
    change(
        root / "chapters/02-second.qmd", "[the first chapter](01-first.qmd#sec-label)", "no more"
    )
    output = root / "_book"
    output.mkdir()
    build_book(root, "reader", output)
    quarto = BeautifulSoup(
        (ROOT / "tests/data/quarto-sampler.html").read_text(encoding="utf-8"), "html.parser"
    )
    return quarto.main, page(output, "chapters/01-first.html").main


def label_places(main):
    """The book's labels in document order, with the kind of element."""
    return [tag["id"] for tag in main.find_all(id=re.compile(r"^(sec|fig|tbl|eq|exr)-[a-z]+$"))]


@pytest.mark.parametrize(
    "what",
    [
        label_places,
        lambda main: [(a["href"], words(a)) for a in main.select("a.quarto-xref")],
        lambda main: [words(caption) for caption in main.find_all("figcaption")],
        lambda main: [words(title) for title in main.select(".callout-title-container")],
        lambda main: [
            [c for c in tag["class"] if re.fullmatch(r"callout-(note|tip|warning|important)", c)]
            for tag in main.select(".callout")
        ],
        lambda main: [words(tag) for tag in main.select(".header-section-number")],
        lambda main: [words(tag) for tag in main.select("h2")],
        lambda main: words(main.select_one("h1 .chapter-title")),
        lambda main: [
            (words(tag.summary), tag.has_attr("open")) for tag in main.select("details.code-fold")
        ],
        lambda main: [
            [words(cell) for cell in table.find_all(["th", "td"])]
            for table in main.find_all("table")
        ],
        lambda main: [words(tag).strip() for tag in main.find_all("annotation")],
        lambda main: [words(tag) for tag in main.select(".theorem-title")],
        lambda main: [words(tag) for tag in main.select(".cell-output-stdout")],
        lambda main: [(tag["data-cites"], words(tag)) for tag in main.select(".citation")],
        lambda main: [
            (round(int(img["width"]), -1), round(int(img["height"]), -1))
            for img in main.find_all("img")
        ],
        lambda main: [words(code) for code in main.select("code.sourceCode.python")],
        lambda main: [words(note) for note in main.select("#footnotes li")],
    ],
    ids=[
        "labels",
        "references",
        "captions",
        "callout titles",
        "callout kinds",
        "section numbers",
        "sections",
        "title",
        "code folding",
        "tables",
        "formulas",
        "exercises",
        "printed output",
        "citations",
        "figure sizes",
        "code",
        "footnotes",
    ],
)
def test_pages_say_what_quarto_says(sampler, what):
    quarto, ours = map(what, sampler)
    assert ours == quarto
    assert ours, "nothing was compared"


def test_citations_lead_to_the_references_page(small_book):
    links = page(small_book / "_book", "chapters/01-first.html").select(".citation a")
    assert {link["href"] for link in links} == {"../references.html#ref-nanda2023progress"}
    assert page(small_book / "_book", "references.html").find(id="ref-nanda2023progress")


def test_appendices_and_other_chapters_are_referred_to_by_name(small_book):
    found = {
        words(a): a["href"]
        for a in page(small_book / "_book", "chapters/02-second.html").select("a.quarto-xref")
    }
    assert found == {
        "Chapter 1": "../chapters/01-first.html#sec-sampler",
        "Figure 1.1": "../chapters/01-first.html#fig-line",
        "Equation 1.1": "../chapters/01-first.html#eq-floor",
        "Appendix A": "../chapters/how-computed.html#sec-how-computed",
    }


def test_function_names_stand_apart_in_formulas(small_book):
    mathml = str(page(small_book / "_book", "chapters/01-first.html").select_one("#eq-floor math"))
    space = '<mspace width="0.167em"></mspace>'
    assert re.search(rf"<mn>5</mn>{space}<mrow>.*ln</mi>.*?</mrow>{space}<mn>10</mn>", mathml)


def test_they_do_on_quartos_pages_too(own_small_book):
    """The MathML of Quarto 1.9: the sign for an application stands there as itself."""
    name = '<mrow><mi mathvariant="normal">ln</mi><mo>\u2061</mo></mrow>'
    page, other = own_small_book / "_book/references.html", own_small_book / "_book/index.html"
    for path in (page, other):
        path.write_text(f"<mn>5</mn>{name}<mn>10</mn>", encoding="utf-8")
    for _ in range(2):
        subprocess.run(
            [sys.executable, "tools/render_hooks.py", "after"],
            cwd=own_small_book,
            env={**os.environ, "QUARTO_PROJECT_OUTPUT_FILES": "_book/references.html\n_book/none"},
            check=True,
        )
        space = '<mspace width="0.167em"></mspace>'
        assert page.read_text(encoding="utf-8") == f"<mn>5</mn>{space}{name}{space}<mn>10</mn>"
    assert "mspace" not in other.read_text(encoding="utf-8")


def test_every_page_has_navigation(small_book):
    for name, previous, following in [
        ("index.html", None, "chapters/01-first.html"),
        ("chapters/01-first.html", "../index.html", "../chapters/02-second.html"),
        ("chapters/how-computed.html", "../references.html", None),
    ]:
        soup = page(small_book / "_book", name)
        assert len(soup.select(".chapters a")) == 5
        assert [a.get("aria-current") for a in soup.select(".chapters a")].count("page") == 1
        links = {a["rel"][0]: a["href"] for a in soup.select(".page-navigation a")}
        assert links == {
            key: value for key, value in (("prev", previous), ("next", following)) if value
        }


def test_difficulty_and_minutes_are_shown(small_book):
    assert (
        words(page(small_book / "_book", "chapters/01-first.html").select_one("#exr-count .effort"))
        == "★★☆ middling, about 5 minutes"
    )


def test_chapters_link_their_notebooks(small_book, own_small_book):
    def links(folder):
        return [
            a["href"] for a in page(folder, "chapters/01-first.html").select(".notebook-link a")
        ]

    assert links(small_book / "_book") == ["../downloads/01-first.ipynb"]
    assert not (small_book / "_book/downloads/solutions").exists()
    folder = build(own_small_book, "pandoc", "instructor")
    assert links(folder) == ["../downloads/01-first.ipynb", "../downloads/solutions/01-first.ipynb"]
    assert (folder / "downloads/solutions/01-first.ipynb").exists()


def test_only_the_instructor_edition_shows_solutions(small_book, own_small_book):
    secret = "Seventeen thousand seven hundred and sixty"
    reader = (small_book / "_book/chapters/01-first.html").read_text()
    assert (
        secret not in reader and "right_answer_of_the_check" not in reader and "Exercise" in reader
    )
    folder = build(own_small_book, "pandoc", "instructor")
    text = (folder / "chapters/01-first.html").read_text()
    assert secret in text and "right_answer_of_the_check" not in text


def test_search_index_is_a_plain_script_with_every_section(small_book):
    text = (small_book / "_book/search-index.js").read_text(encoding="utf-8")
    entries = json.loads(text.removeprefix("window.bookSearchIndex = ").rstrip().rstrip(";"))
    places = [place for _, _, place, _ in entries]
    assert "chapters/01-first.html#sec-label" in places and "index.html" in places
    assert [place for _, _, place, body in entries if "pangolins" in body] == [
        "chapters/02-second.html"
    ]


def test_the_book_is_cited_as_it_calls_itself():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    book = read_config(ROOT)["book"]
    assert cited["title"] == f"{book['title']}: {book['subtitle']}"
    assert [author["name"] for author in cited["authors"]] == [book["author"]]
    assert f"Version {cited['version']}," in book["page-footer"]["right"]


def test_pages_say_what_they_are(small_book):
    front, chapter = (
        page(small_book / "_book", name) for name in ("index.html", "chapters/01-first.html")
    )
    book = read_config(small_book)["book"]
    assert front.select_one("meta[name=description]")["content"] == book["description"].strip()
    assert chapter.select_one("meta[name=description]")["content"] == "The first sentence says it."
    for each, to_root in ((front, ""), (chapter, "../")):
        assert (
            each.html["lang"] == "en"
            and each.select_one("meta[name=author]")["content"] == book["author"]
        )
        assert each.select_one("link[rel=icon]")["href"] == to_root + book["favicon"]
        assert (
            each.select_one("meta[property='og:image']")["content"] == to_root + book["cover-image"]
        )
        assert re.search(
            r"CC BY 4\.0, code MIT.*Version \S+, built 20\d\d-\d\d-\d\d", words(each.footer)
        )
        assert not each.select("link[rel=canonical]"), "no address is configured"
    assert front.select_one("img.cover")["alt"] == book["cover-image-alt"]


def test_an_address_gives_canonical_links(own_small_book):
    change(
        own_small_book / "_quarto.yml", "book:\n", "book:\n  site-url: https://example.org/book/\n"
    )
    folder = build(own_small_book, "pandoc", "reader")
    assert (
        page(folder, "chapters/01-first.html").select_one("link[rel=canonical]")["href"]
        == "https://example.org/book/chapters/01-first.html"
    )


def test_an_unnumbered_page_refers_to_chapters_by_name(small_book):
    """As Quarto does: it numbers nothing there."""
    assert [words(a) for a in page(small_book / "_book", "index.html").select("a.quarto-xref")] == [
        "1 Every construct once",
        "Appendix A — How it was computed",
    ]


def test_what_answers_is_folded(small_book):
    soup = page(small_book / "_book", "chapters/01-first.html")
    by_list, by_words = soup.select(".predict")
    assert [words(item) for item in by_list.select("ul > li")] == ["the first", "the last"]
    for box, answer in ((by_list, "The last, 2.00."), (by_words, "It is 2.")):
        [fold] = box.select("details.answer")
        assert not fold.has_attr("open") and answer in words(fold)
        fold.extract()
        assert answer not in words(box) and words(box).startswith("Predict before you look")
    [question] = soup.select("details.question")
    assert words(question.summary).startswith("How many numbers below")
    assert question.summary.em and question.summary.math
    assert question.select_one("summary ~ p a")["href"] == "#fig-line"
    assert words(question).endswith(
        "Two: 1 and another, see Figure 1.1."
    ) and not question.has_attr("open")


def test_a_cell_to_try_is_shown_and_not_run(small_book):
    [box] = page(small_book / "_book", "chapters/01-first.html").select(".try")
    assert words(box).startswith("Try it: A larger number") and "number = 3" in box.get_text()
    assert "tried 3" not in box.get_text() and "stored [1, 2]" in box.get_text()


def test_a_cells_class_is_on_the_page(tmp_path):
    from small_book import write_small_book

    root = write_small_book(tmp_path / "book")
    change(
        root / "chapters/01-first.qmd",
        "#| label: fig-line",
        "#| label: fig-line\n#| classes: colour-scale",
    )
    output = root / "_book"
    output.mkdir()
    build_book(root, "reader", output)
    [cell] = page(output, "chapters/01-first.html").select(".colour-scale")
    assert cell["class"] == ["cell", "colour-scale"] and cell.select("#fig-line img.figure-img")


def test_the_real_table_of_contents_is_read(small_book):
    pages = list_pages(small_book, read_config(small_book))
    assert [(p.stem, p.number) for p in pages] == [
        ("index", None),
        ("01-first", "1"),
        ("02-second", "2"),
        ("references", None),
        ("how-computed", "A"),
    ]


def assert_same_text(theirs, ours):
    """Quarto's page and ours say the same where the book adds something of its own."""
    for what in (
        label_places,
        lambda m: [words(a) for a in m.select("a.quarto-xref")],
        lambda m: [words(c) for c in m.find_all("figcaption")],
        lambda m: [words(c) for c in m.select(".effort, .theorem-title")],
        lambda m: [a["href"] for a in m.select(".notebook-link a")],
        lambda m: [(c["id"], words(c)) for c in m.select(".claim")],
        lambda m: [(box["id"], words(box)) for box in m.select(".predict")],
        lambda m: [words(item) for item in m.select(".predict > ul > li")],
        lambda m: [words(c) for c in m.select(".predict > details.answer > summary + p")],
        lambda m: [words(box) for box in m.select("details.question")],
        lambda m: [words(c) for c in m.select("details.question > summary annotation")],
        lambda m: [words(box) for box in m.select(".try")],
    ):
        assert what(ours) == what(theirs)


@pytest.mark.parametrize("name", quarto_pages.NAMES)
def test_our_pages_say_what_quartos_kept_pages_say(small_book, name):
    """Fails where the small book, a filter or the pandoc way has changed since."""
    assert_same_text(quarto_pages.saved(name).main, page(small_book / "_book", name).main)


# -- With Quarto, where it is
# ---------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_quarto
def test_quarto_builds_the_same_book(own_small_book, small_book, capsys):
    folder = build(own_small_book, "quarto", "reader")
    told = capsys.readouterr().out
    assert not re.findall("WARN(?!ING . Kernel is running over TCP).*", told)
    for name in ("chapters/01-first.html", "chapters/02-second.html", "chapters/how-computed.html"):
        assert_same_text(page(folder, name).main, page(small_book / "_book", name).main)


@pytest.mark.slow
@needs_quarto
def test_quarto_runs_again_what_changed(own_small_book):
    build(own_small_book, "quarto", "reader")
    change(own_small_book / "used_module.py", "7", "11")
    folder = build(own_small_book, "quarto", "reader")
    assert "a count: 11." in words(page(folder, "chapters/01-first.html").main)


def test_a_build_that_shows_a_readers_own_runs_says_so(tmp_path):
    (tmp_path / "_record").mkdir()
    for chapter, origins in {"a": ["book"], "b": ["book", "yours"]}.items():
        runs = [{"run": f"run-{origin}", "origin": origin} for origin in origins]
        record = json.dumps({"chapter": chapter, "runs": runs})
        (tmp_path / "_record" / f"{chapter}.json").write_text(record)
    assert "1 of the results" in (note := build_module.note_on_own_runs(tmp_path))
    assert "Chapters: b." in note
    (tmp_path / "_record" / "b.json").unlink()
    assert build_module.note_on_own_runs(tmp_path) == ""
