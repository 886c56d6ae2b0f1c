"""data/predictions: the table says what the files say, and is scored against the stored sweeps."""

import re
from collections import Counter

from lab import store
from lab.adders.studies import expected
from lab.adders.studies.expected import read_expected, scored
from lab.adders.training.sweeps import SUCCESS, read_sweep

FOLDER = store.ROOT / "data" / "predictions"


def test_every_number_stands_in_its_file():
    """As often as the table has it: a number that is changed in one of the two is noticed."""
    for name, rows in read_expected().groupby("file"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert f"({name[:10]})" in text.splitlines()[0] and set(rows["date"]) == {name[:10]}
        written = Counter(int(number) for number in re.findall(r"(?<![\w.])\d+(?![\w.]*\w)", text))
        assert not Counter(rows["expected"]) - written, name


def test_no_sweep_is_predicted_twice_and_all_are_known():
    table = read_expected()
    assert not table.duplicated(["experiment", "arm"]).any()
    for row in table.to_dict("records"):
        config, seeds, _ = expected._sweep_of(row)
        assert config is not None and len(seeds) in (row["of"], 16)
        assert row["outcome"] in expected.OUTCOMES


def test_a_number_that_was_lowered_when_seeds_had_ended_is_not_scored():
    """Of the 8's first rule 38 was written at first, and 30 when 16 of its seeds had ended."""
    table = read_expected().set_index("experiment")
    row = table.loc["8, flat, best of 16 by all steps"]
    assert (row["expected"], row["commit"]) == (38, "30f2216")


def test_scores_are_those_of_the_sweeps():
    table = scored()
    known = table.dropna(subset=["count"])
    assert len(known) >= 24
    row = known[known["experiment"] == "8, flat, best of 16"].iloc[0]
    config, seeds, _ = expected._sweep_of(row)
    outcomes = read_sweep(config).outcomes
    right = outcomes.loc[outcomes["seed"].isin(seeds), "board_right"]
    assert row["count"] == (right == SUCCESS).sum() and row["trained"] == len(right) == 40
    assert row["low"] < row["share"] < row["high"] and bool(row["inside"])


def test_what_is_not_trained_has_no_score(monkeypatch, tmp_path):
    monkeypatch.setattr(expected, "BOOK_FLEETS", tmp_path)
    assert scored()["count"].isna().all()
