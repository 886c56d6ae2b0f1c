"""The build: what the pages hold, what stops it, what runs again."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import quarto_pages
import yaml
from bs4 import BeautifulSoup

from lab.page.qmd import SourceError, claim_id, list_pages, read_chapter, read_config
from tools import build as build_module
from tools.build import BuildError, build, choose_edition, choose_engine, find_quarto
from tools.execute import inline_values
from tools.freshness import drop_stale_results, list_results
from tools.pandoc_book import build_book

ROOT = Path(__file__).resolve().parents[2]
needs_quarto = pytest.mark.skipif(find_quarto() is None, reason="Quarto is not installed")


def page(folder, name):
    return BeautifulSoup((folder / name).read_text(encoding="utf-8"), "html.parser")


def words(element):
    return " ".join(element.get_text().split())


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text, f"the test expects {old!r} in {path.name}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def build_quietly(root, capsys, edition="reader"):
    """Build; returns the chapters that were executed."""
    capsys.readouterr()
    build(root, "pandoc", edition)
    return re.findall(r"^running (\S+)", capsys.readouterr().out, re.MULTILINE)


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


# -- What stops the build
# ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, old, new, message",
    [
        (
            "02-second",
            "plt.plot([2, 1])",
            "\nplt.no_such_thing()",
            r"02-second\.qmd:22: AttributeError",
        ),
        (
            "01-first",
            "used_module.COUNT`",
            "used_module.MISSING`",
            r"01-first\.qmd:\d+: .*AttributeError",
        ),
        ("01-first", "@fig-line,", "@fig-lien,", r"01-first\.qmd:\d+: @fig-lien refers to nothing"),
        (
            "02-second",
            '#| fig-alt: "A falling line."\n',
            "",
            r"02-second\.qmd:\d+: the figure fig-second has no #\| fig-alt",
        ),
        (
            "02-second",
            "01-first.qmd#sec-label",
            "01-firts.qmd",
            r"02-second\.qmd:\d+: the link to 01-firts\.qmd",
        ),
        (
            "02-second",
            "print(pd",
            (
                "from IPython.display import display, Markdown\ndisplay(Markdown('see"
                " @fig-none'))\nprint(pd"
            ),
            r"@fig-none refers to nothing",
        ),
        (
            "02-second",
            "print(pd",
            (
                "from IPython.display import display,"
                " Markdown\ndisplay(Markdown('![](no.png)'))\nprint(pd"
            ),
            r"has no alt text",
        ),
        (
            "02-second",
            "print(pd",
            (
                "from IPython.display import display,"
                " Markdown\ndisplay(Markdown('[x](no.html)'))\nprint(pd"
            ),
            r"no\.html leads nowhere",
        ),
        (
            "02-second",
            "print(pd",
            "from IPython.display import display\ndisplay(pd.DataFrame({'a': [1]}))\nprint(pd",
            r"02-second\.qmd:\d+: this cell shows HTML",
        ),
        ("02-second", "Beware", r"$\undefinedmacro{$ Beware", r"pandoc says"),
    ],
    ids=[
        "cell",
        "inline expression",
        "reference",
        "alt text",
        "link",
        "computed reference",
        "computed image",
        "computed link",
        "computed HTML",
        "formula",
    ],
)
def test_a_fault_stops_the_build(own_small_book, name, old, new, message):
    change(own_small_book / f"chapters/{name}.qmd", old, new)
    with pytest.raises(BuildError, match=message):
        build(own_small_book, "pandoc", "reader")


@pytest.mark.slow
def test_a_failed_build_leaves_the_last_good_one(own_small_book):
    before = (own_small_book / "_book/index.html").read_bytes()
    change(
        own_small_book / "chapters/02-second.qmd", "print(pd", "raise ValueError('no')\nprint(pd"
    )
    with pytest.raises(BuildError, match="ValueError: no"):
        build(own_small_book, "pandoc", "reader")
    assert (own_small_book / "_book/index.html").read_bytes() == before
    assert not list(own_small_book.glob("_book-partial-*"))


@pytest.mark.parametrize(
    "variable, value, call, message",
    [
        ("BOOK_ENGINE", "latex", choose_engine, "'latex'; allowed are: quarto, pandoc"),
        ("QUARTO_PROFILE", "teacher", choose_edition, "'teacher'; allowed are: reader, instructor"),
    ],
)
def test_a_bad_setting_lists_the_choices(monkeypatch, variable, value, call, message):
    monkeypatch.setenv(variable, value)
    with pytest.raises(BuildError, match=message):
        call(None)


def test_asking_for_quarto_without_it_is_said(monkeypatch):
    monkeypatch.setattr(build_module, "find_quarto", lambda: None)
    monkeypatch.setenv("BOOK_ENGINE", "quarto")
    with pytest.raises(BuildError, match="no `quarto` on the PATH"):
        choose_engine(None)
    monkeypatch.delenv("BOOK_ENGINE")
    assert choose_engine(None) == "pandoc"


def test_the_command_ends_with_an_error_status():
    done = subprocess.run(
        [sys.executable, "-m", "tools.build"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "BOOK_ENGINE": "latex"},
    )
    assert done.returncode == 1 and "allowed are: quarto, pandoc" in done.stderr


# -- What runs again
# -----------------------------------------------------------------------------------------------

BOTH = ["chapters/01-first.qmd", "chapters/02-second.qmd"]
APPENDIX = ["chapters/how-computed.qmd"]  # never frozen


@pytest.mark.slow
def test_prose_and_what_a_chapter_does_not_use_run_nothing(own_small_book, capsys):
    change(
        own_small_book / "chapters/01-first.qmd",
        "The first sentence says it.",
        "The first sentence says more.",
    )
    change(own_small_book / "chapters/01-first.qmd", "A line that rises.", "A line that climbs.")
    change(own_small_book / "unrelated_module.py", "8", "9")
    change(own_small_book / "data/unrelated.csv", "3", "4")
    assert build_quietly(own_small_book, capsys) == APPENDIX
    text = words(page(own_small_book / "_book", "chapters/01-first.html").main)
    assert "says more" in text and "A line that climbs" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    "path, old, new, again, shown",
    [
        ("used_module.py", "7", "11", BOTH[:1], "a count: 11."),
        (
            "data/numbers.csv",
            "1,2",
            "1,3",
            BOTH[:1],
            "The numbers rise from 1 to 3, see Figure 1.1.",
        ),
        ("lab/page/record.py", '"""', '"""About. ', BOTH, "a count: 7."),
        ("chapters/02-second.qmd", "[2, 1]", "[3, 1]", BOTH[1:], "a count: 7."),
        (
            "chapters/01-first.qmd",
            "`{python} 1 + 2`",
            "`{python} 1 + 3`",
            BOTH[:1],
            "a computed number: 4.",
        ),
    ],
    ids=["module", "data", "recorder", "cell", "inline expression"],
)
def test_what_changed_runs_again_and_nothing_else(
    own_small_book, capsys, path, old, new, again, shown
):
    change(own_small_book / path, old, new)
    assert sorted(build_quietly(own_small_book, capsys)) == sorted(again + APPENDIX)
    assert shown in words(page(own_small_book / "_book", "chapters/01-first.html").main)


@pytest.mark.slow
def test_what_ran_again_does_not_run_a_third_time(own_small_book, capsys):
    change(own_small_book / "used_module.py", "7", "11")
    assert [build_quietly(own_small_book, capsys) for _ in range(2)] == [
        BOTH[:1] + APPENDIX,
        APPENDIX,
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [
        lambda root: (root / "_record/01-first.json").unlink(),
        lambda root: (root / "_record/01-first.json").write_text('{"chapter": '),
        lambda root: (root / "_cache/pandoc/01-first.json").unlink(),
        lambda root: change(root / "_cache/pandoc/01-first.ipynb", "folded [1", "forged [1"),
        lambda root: os.environ.__setitem__("BOOK_RUNS", "fresh"),
    ],
    ids=["no record", "truncated record", "no snapshot", "altered outputs", "other setting"],
)
def test_a_result_without_a_sound_record_is_not_used(own_small_book, capsys, monkeypatch, spoil):
    monkeypatch.setenv("BOOK_RUNS", "")
    spoil(own_small_book)
    assert "chapters/01-first.qmd" in build_quietly(own_small_book, capsys)


@pytest.mark.slow
def test_a_chapter_whose_exported_figure_is_gone_runs_again(own_small_book, capsys):
    exported = own_small_book / "figures/02-second/fig-second.svg"
    exported.unlink()
    assert sorted(build_quietly(own_small_book, capsys)) == sorted(BOTH[1:] + APPENDIX)
    assert exported.exists()


def test_the_guard_drops_quartos_frozen_results_too(own_small_book):
    frozen = {}
    for stem, format in (("01-first", "html"), ("01-first", "epub"), ("02-second", "html")):
        frozen[stem] = own_small_book / f"_freeze/chapters/{stem}/execute-results/{format}.json"
        frozen[stem].parent.mkdir(parents=True, exist_ok=True)
        frozen[stem].write_text('{"hash": "x"}')
    subprocess.run(
        [sys.executable, "tools/render_hooks.py", "after"], cwd=own_small_book, check=True
    )
    assert drop_stale_results(own_small_book) == []
    change(own_small_book / "used_module.py", "7", "11")
    done = subprocess.run(
        [sys.executable, "tools/render_hooks.py", "before"],
        cwd=own_small_book,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "01-first runs again: used_module.py has changed" in done.stdout
    assert not list(frozen["01-first"].parent.iterdir()) and frozen["02-second"].exists()
    assert {result.stem for result in list_results(own_small_book)} == {"02-second"}


def test_a_second_build_takes_seconds(own_small_book):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import tools.build"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "torch" not in done.stderr, "the build itself needs no torch: importing it costs seconds"


# -- Reading sources
# -----------------------------------------------------------------------------------------------


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


@pytest.mark.slow
def test_a_changed_sentence_is_recorded_anew(own_small_book, capsys):
    change(own_small_book / "chapters/01-first.qmd", "From the last", "Out of the last")
    assert build_quietly(own_small_book, capsys) == BOTH[:1] + APPENDIX
    record = json.loads((own_small_book / "_record/01-first.json").read_text())
    assert record["claims"][1]["sentence"].startswith("Out of the last")


@pytest.mark.slow
def test_a_claim_that_own_runs_contradict_is_marked(own_small_book):
    change(
        own_small_book / "chapters/01-first.qmd",
        'check_claim("fall',
        'from lab.page import record\nrecord.only_book_runs = lambda: False\ncheck_claim("fall',
    )
    change(
        own_small_book / "chapters/01-first.qmd",
        "lambda n: n[0] < n[-1], given=numbers, counterexample=[2, 1]",
        "lambda n: n[0] > n[-1], given=numbers, counterexample=[1, 2]",
    )
    folder = build(own_small_book, "pandoc", "reader")
    soup = page(folder, "chapters/01-first.html")
    [marked] = soup.select(".claim-contradicted")
    assert marked["id"] == "clm-fall-of-both" and "Contradicted by your runs." in words(marked)
    assert not soup.select(".contradicted") and soup.select_one(".claim")["id"] == "clm-order"


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


@needs_quarto
def test_quarto_builds_the_same_book(own_small_book, small_book, capsys):
    folder = build(own_small_book, "quarto", "reader")
    told = capsys.readouterr().out
    assert not re.findall("WARN(?!ING . Kernel is running over TCP).*", told)
    for name in ("chapters/01-first.html", "chapters/02-second.html", "chapters/how-computed.html"):
        assert_same_text(page(folder, name).main, page(small_book / "_book", name).main)


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
