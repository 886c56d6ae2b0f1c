"""The chapters in formats that are no pages (docx, EPUB, typst, LaTeX): pandoc, with the book's
filter, makes them here.

Quarto takes the same filter for `quarto render --to docx` and the like.
"""

import os
import re
import subprocess

import pypandoc
import pytest
from small_book import ROOT

from lab.page.qmd import Prose, list_pages, read_chapter, read_config
from tools.check_pages import list_secrets, squeeze

FORMATS = ["docx", "epub", "typst", "latex", "html"]


def text_of(root, source, format, folder, profile):
    """The text of the chapter in `format`: pandoc writes it, and reads it back."""
    prose = "\n\n".join(
        part.text for part in read_chapter(root / source).parts if isinstance(part, Prose)
    )
    pandoc = [pypandoc.get_pandoc_path(), "--metadata", "title=A chapter"]
    made = folder / f"chapter.{format}"
    subprocess.run(
        [
            *pandoc,
            "-f",
            "markdown",
            "-t",
            format,
            "-s",
            "--lua-filter",
            ROOT / "tools/chapter.lua",
            "--syntax-highlighting=none",
            "-o",
            made,
        ],
        input=prose,
        encoding="utf-8",
        check=True,
        env={**os.environ, "QUARTO_PROFILE": profile},
    )
    return subprocess.run(
        [*pandoc, "-f", format, "-t", "plain", "--wrap=none", made],
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout


def secrets_of(root, source):
    """Lines that belong to checks, and lines that belong to solutions."""
    lines = (root / source).read_text(encoding="utf-8").split("\n")
    of_checks, of_solutions = [], []
    for origin, line in list_secrets(root):
        if origin.startswith(f"{source}:"):
            before = "\n".join(lines[: int(origin.rsplit(":", 1)[1])])
            is_check = before.rfind("content-hidden") > before.rfind("content-visible")
            (of_checks if is_check else of_solutions).append(line)
    return of_checks, of_solutions


def told(lines, text):
    squeezed = squeeze(text)
    return [line for line in lines if squeeze(line) in squeezed]


@pytest.mark.parametrize("format", FORMATS)
def test_answers_are_told_in_no_format(small_book, tmp_path, format):
    of_checks, of_solutions = secrets_of(small_book, "chapters/01-first.qmd")
    assert of_checks == ["right_answer_of_the_check = 17760"] and len(of_solutions) == 2
    for profile in ("", "other"):
        text = text_of(small_book, "chapters/01-first.qmd", format, tmp_path, profile)
        assert "How many has the model?" in text and "Look at the shapes" in text, (
            "the exercise itself is there"
        )
        assert told(of_checks + of_solutions, text) == []
    for profile in ("instructor", "draft,instructor"):
        text = text_of(small_book, "chapters/01-first.qmd", format, tmp_path, profile)
        assert told(of_solutions, text) == of_solutions and told(of_checks, text) == []


@pytest.mark.parametrize("format", FORMATS)
def test_what_pages_fold_is_told_in_full_in_every_format(small_book, tmp_path, format):
    """Question before answer; a heading that only a page can show would leave the answer alone."""
    text = squeeze(text_of(small_book, "chapters/01-first.qmd", format, tmp_path, ""))
    places = [
        text.find(squeeze(part))
        for part in (
            "Which of the two is larger?",
            "What happened, and what the author had guessed",
            "The author had guessed the first.",
            "below 9 are there",
            "Two:",
        )
    ]
    assert places == sorted(places) and places[0] > 0, places


@pytest.mark.parametrize(
    "source",
    [
        page.source
        for page in list_pages(ROOT, read_config(ROOT))
        if re.match(r"chapters/\d", page.source)
    ],
)
def test_no_chapter_tells_its_answers(tmp_path, source):
    of_checks, of_solutions = secrets_of(ROOT, source)
    assert len(of_checks) > 5 and len(of_solutions) > 5
    for format in ("docx", "epub"):
        text = text_of(ROOT, source, format, tmp_path, "")
        assert len(text) > 5_000 and told(of_checks + of_solutions, text) == []


def test_pages_are_linked_by_their_labels():
    """In EPUB and docx, which are one file, a link to another source would lead nowhere."""
    for page in list_pages(ROOT, read_config(ROOT)):
        links = re.findall(r"\]\([^)]*\.qmd", (ROOT / page.source).read_text(encoding="utf-8"))
        assert links == [], page.source


def test_a_page_is_described_by_its_takeaway(small_book):
    done = subprocess.run(
        [
            pypandoc.get_pandoc_path(),
            "-f",
            "markdown",
            "-t",
            "html",
            "-s",
            "--lua-filter",
            ROOT / "tools/chapter.lua",
            "--metadata",
            "title=A chapter",
        ],
        capture_output=True,
        encoding="utf-8",
        check=True,
        input='::: {.callout-note title="Takeaway"}\nOf `5` runs, 3.5 % learn. And more.\n:::\n',
    )
    assert '<meta name="description" content="Of 5 runs, 3.5 % learn."' in done.stdout


def test_a_number_keeps_its_sign_of_per_cent():
    """On one line, in prose and in tables; a % after a word may begin a line."""
    text = "From 1.5 % to 20.4 %.\n\n| a | b |\n|---|---|\n| 97 % | in % |\n"
    filtered = [pypandoc.get_pandoc_path(), "-f", "markdown", "-t", "plain", "--wrap=none"]
    filtered += ["--lua-filter", ROOT / "tools/chapter.lua"]
    done = subprocess.run(filtered, input=text, capture_output=True, encoding="utf-8", check=True)
    assert "From 1.5\xa0% to 20.4\xa0%." in done.stdout
    assert "97\xa0%" in done.stdout and "in %" in done.stdout
