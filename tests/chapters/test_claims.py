"""What the built book claims: every statement held, and none held on the results that should
contradict it."""

import json
import re

import pytest

from lab.adders.training.sweeps import BOOK_FLEETS
from lab.modular.runs import BOOK_MODULAR
from lab.page.qmd import list_pages, read_config
from lab.page.record import ROOT
from lab.store import BOOK_RUNS, stored_places

PAGES = list_pages(ROOT, read_config(ROOT))
CHAPTERS = [page.stem for page in PAGES if page.stem[0].isdigit()]
CLAIMING = CHAPTERS + [  # and the appendices to which claims have moved
    page.stem
    for page in PAGES
    if page.is_appendix and "check_claim(" in (ROOT / page.source).read_text()
]


@pytest.fixture(scope="module")
def records(built_book):
    return {
        stem: json.loads((built_book.parent / "_record" / f"{stem}.json").read_text())
        for stem in CLAIMING
    }


@pytest.mark.parametrize("stem", CLAIMING)
def test_every_claim_holds_and_its_counterexample_does_not(records, stem):
    claims = records[stem]["claims"]
    assert len(claims) >= (5 if stem in CHAPTERS else 1)
    assert [c["label"] for c in claims if not c["holds"]] == []
    assert [c["label"] for c in claims if c["counterexample_holds"]] == []
    assert not any(c["own_runs"] for c in claims)


@pytest.mark.parametrize("stem", CLAIMING)
def test_every_claim_of_the_source_was_made(records, stem):
    source = (ROOT / "chapters" / f"{stem}.qmd").read_text(encoding="utf-8")
    assert re.findall(r'^(?:check_)?claim\(\s*"([^"]+)"', source, re.M) == [
        c["label"] for c in records[stem]["claims"]
    ]


@pytest.mark.parametrize("stem", CLAIMING)
def test_every_statement_carries_a_number_it_was_checked_with(records, stem):
    """A claim whose sentence holds no figure cannot be read against the results. Words for small
    numbers count."""
    words = r"\d|\bno\b|\bnone\b|\bevery\b|\bboth\b|\bone\b|\btwo\b|\bthree\b|\bnothing\b"
    assert [
        c["label"] for c in records[stem]["claims"] if not re.search(words, c["sentence"], re.I)
    ] == []


def test_every_run_that_the_book_uses_is_stored_with_it(records, built_book):
    used = {run["run"] for record in records.values() for run in record["runs"]}
    assert used and used <= {
        place.name
        for folder in (BOOK_RUNS, BOOK_MODULAR, BOOK_FLEETS)
        for place in stored_places(folder)
    }


def test_the_appendix_lists_every_claim(records, built_book):
    page = (built_book / "chapters" / "how-computed.html").read_text(encoding="utf-8")
    for record in records.values():
        for claim in record["claims"]:
            assert claim["label"] in page
