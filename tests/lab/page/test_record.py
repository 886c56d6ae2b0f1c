"""Claims can fail, and a chapter's record keeps what the chapter leaves behind."""

import hashlib
import json
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lab import find_or_make
from lab.page import record

SOURCE = """# X

::: {.claim #clm-big}
It is big, `{python} n` of 5.
:::

Then `{python} n`, and

::: {.claim #clm-very-big}
it stays
so: `{python} text`.
:::

```{python}
#| classes: colour-scale
show_figure(plot(), "fig-scale")
```

::: {.claim #clm-plain}
One of \\$5.
:::
"""


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "x.qmd").write_text(SOURCE)
    for name, place in (("ROOT", "."), ("RECORDS", "_record"), ("FIGURES", "figures")):
        monkeypatch.setattr(record, name, tmp_path / place)
    monkeypatch.setattr(record, "_opened", set())
    monkeypatch.setattr(find_or_make, "_used", [])
    monkeypatch.setattr(find_or_make, "_chapter", None)  # what follows may train again
    record.open_chapter("x")
    yield lambda: json.loads((tmp_path / "_record" / "x.json").read_text())
    monkeypatch.setattr(record, "_chapter", None)


def run_of(origin):
    return SimpleNamespace(
        name=f"run-{origin}",
        origin=origin,
        config=SimpleNamespace(seed=1),
        differs="lr 0.1",
        provenance=dict(seconds=1.0, device_name="cpu", threads=1, torch="2", date="now"),
    )


def test_a_claim_that_holds_is_shown_and_kept(chapter):
    shown = record.claim("big", "It is big: 5.", holds=lambda x: x > 3, given=5, counterexample=1)
    assert ".claim #clm-big}" in shown.data and "It is big: 5." in shown.data
    assert chapter()["claims"] == [
        {
            "label": "big",
            "sentence": "It is big: 5.",
            "holds": True,
            "counterexample_holds": False,
            "own_runs": False,
        }
    ]


def test_a_contradicted_claim_stops_the_build(chapter):
    with pytest.raises(record.ClaimContradicted, match="'big'.*It is big"):
        record.claim("big", "It is big.", holds=lambda x: x > 3, given=2, counterexample=1)


def test_with_a_readers_own_runs_it_is_shown_as_contradicted(chapter):
    find_or_make.note_use(run_of("book"))
    find_or_make.note_use(run_of("yours"))
    shown = record.claim("big", "It is big.", holds=lambda x: x > 3, given=2, counterexample=1)
    assert ".claim-contradicted" in shown.data and "Contradicted by your runs" in shown.data
    assert chapter()["claims"][0]["holds"] is False and chapter()["claims"][0]["own_runs"] is True


def test_a_claim_that_cannot_fail_is_refused(chapter):
    with pytest.raises(record.ClaimCannotFail, match="cannot fail"):
        record.claim("empty", "Something.", holds=lambda x: True, given=5, counterexample=1)


def test_two_claims_of_one_label_are_refused(chapter):
    record.claim("a", "A.", holds=bool, given=1, counterexample=0)
    with pytest.raises(ValueError, match="two claims with the label 'a'"):
        record.claim("a", "A.", holds=bool, given=1, counterexample=0)


def test_a_checked_sentence_is_kept_with_its_values(chapter):
    for label in ("big", "very big", "plain"):
        shown = record.check_claim(label, holds=bool, given=1, counterexample=0)
        assert shown is None
    assert [c["sentence"] for c in chapter()["claims"]] == ["", "", r"One of \$5."]
    values = [{"data": {"text/plain": text}} for text in ("3", "3", "'1.5*'")]
    assert record._note_sentences(["n", "n", "text"], values) == {0, 2}
    record._write()
    assert [(c["label"], c["sentence"]) for c in chapter()["claims"]] == [
        ("big", "It is big, 3 of 5."),
        ("very big", r"it stays so: 1\.5\*."),
        ("plain", r"One of \$5."),
    ]
    assert dict(chapter()["numbers"]) == {
        "claim big": "3 5",
        "claim very big": "1.5",
        "claim plain": "5",
    }
    assert record._note_sentences(["n", "n", "text"], values) == set(), "told once"


def test_reading_its_sentences_makes_no_chapter_depend_on_its_prose(chapter):
    find_or_make.note_use(run_of("book"))
    assert "chapters/x.qmd" not in chapter()["depends_on"]


def test_a_check_without_a_sentence_is_refused(chapter):
    with pytest.raises(ValueError, match=r"claim 'small' has no sentence: .*#clm-small"):
        record.check_claim("small", holds=bool, given=1, counterexample=0)


def test_a_contradicted_sentence_stops_the_build_or_is_marked(chapter, monkeypatch):
    with pytest.raises(record.ClaimContradicted, match="'big'.*It is big"):
        record.check_claim("big", holds=bool, given=0, counterexample=0)
    with pytest.raises(record.ClaimCannotFail, match="'plain'.*cannot fail"):
        record.check_claim("plain", holds=lambda x: True, given=0, counterexample=0)
    find_or_make.note_use(run_of("yours"))
    shown = []
    monkeypatch.setattr(record, "display", shown.append)
    record.check_claim("very big", holds=bool, given=0, counterexample=0)
    assert [each.data for each in shown] == ["::: {.contradicted claim=clm-very-big}\n:::"]


def test_old_and_new_claims_share_their_labels(chapter):
    record.claim("big", "Big.", holds=bool, given=1, counterexample=0)
    with pytest.raises(ValueError, match="two claims with the label 'big'"):
        record.check_claim("big", holds=bool, given=1, counterexample=0)


def test_in_a_notebook_a_sentence_gets_its_mark(monkeypatch):
    monkeypatch.setattr(record, "_chapter", None)
    monkeypatch.setattr(record, "_verdicts", {})
    assert "not checked yet" in record.verdict_of("clm-a-b")
    for given, mark in ((1, "✓"), (0, "✗ **Contradicted by your results.**")):
        assert record.check_claim("a b", holds=bool, given=given, counterexample=0) is None
        assert record.verdict_of("clm-a-b") == mark


def test_in_a_notebook_claims_are_shown_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RECORDS", tmp_path / "none")
    monkeypatch.setattr(record, "_chapter", None)
    assert "Contradicted" in record.claim("a", "A.", holds=bool, given=0, counterexample=0).data
    for _ in range(2):  # a cell may be run again
        assert record.claim("a", "A.", holds=bool, given=1, counterexample=0).data == "> ✓ A."
    assert not (tmp_path / "none").exists()


def test_runs_are_listed_once(chapter):
    for _ in range(3):
        find_or_make.note_use(run_of("book"))
    record.claim("a", "A.", holds=bool, given=1, counterexample=0)
    assert [run["run"] for run in chapter()["runs"]] == ["run-book"]


def test_a_chapter_says_where_its_runs_came_from(chapter):
    find_or_make.note_use(run_of("book"))
    find_or_make.note_use(run_of("yours"))
    assert "| `run-book` | lr 0.1 | stored with the book | cpu | 0.0 |" in record.run_list().data
    assert "| `run-yours` | lr 0.1 | trained by you | cpu | 0.0 |" in record.run_list().data


def test_figures_are_exported_for_slides(chapter, tmp_path):
    figure, ax = plt.subplots()
    ax.plot([1, 2])
    assert record.show_figure(figure, "fig-a") is figure
    plt.close(figure)
    assert chapter()["figures"] == ["figures/x/fig-a.png", "figures/x/fig-a.svg"]
    assert all((tmp_path / place).stat().st_size > 500 for place in chapter()["figures"])


def test_what_colours_stand_for_is_said_where_the_figure_is(chapter):
    def drawn(draw):
        figure, ax = plt.subplots()
        draw(ax)
        return figure

    for draw in (lambda ax: ax.imshow([[0, 1]]), lambda ax: ax.scatter([1, 2], [1, 2], c=[0, 1])):
        assert record.show_figure(drawn(draw), "fig-scale")
        with pytest.raises(ValueError, match="of fig-other stand for numbers: its cell needs"):
            record.show_figure(drawn(draw), "fig-other")
    for draw in (
        lambda ax: ax.plot([0, 1]),
        lambda ax: ax.scatter([1, 2], [1, 2]),
        lambda ax: ax.contour([[0, 1], [1, 0]], colors="#bbbbbb"),
        lambda ax: ax.imshow(np.zeros((2, 2, 3))),
    ):
        assert record.show_figure(drawn(draw), "fig-other")
        with pytest.raises(ValueError, match="of fig-scale do not stand for numbers: its cell has"):
            record.show_figure(drawn(draw), "fig-scale")
    plt.close("all")


def test_data_files_that_were_opened_are_noted_with_their_hash(chapter, tmp_path):
    used, unused = tmp_path / "data" / "used.csv", tmp_path / "data" / "unused.csv"
    used.parent.mkdir()
    for path in (used, unused):
        path.write_text("a\n1\n")
    record._opened.clear()
    used.read_text()
    record.claim("a", "A.", holds=bool, given=1, counterexample=0)
    assert chapter()["depends_on"]["data/used.csv"] == hashlib.sha256(b"a\n1\n").hexdigest()
    assert "data/unused.csv" not in chapter()["depends_on"]


def test_unknown_chapter_is_refused(chapter):
    with pytest.raises(ValueError, match="no chapter 'nowhere'"):
        record.open_chapter("nowhere")
