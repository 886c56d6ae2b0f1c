"""The censuses: the quick reader against the model's own forward pass, the stored ones against a
new look."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

from _common import AdditionTransformer, Reader, generate, predict_answers
from lab import store
from lab.addition import censuses
from lab.addition.censuses import (
    BINS,
    BOOK_CENSUSES,
    CLASS_EDGES,
    NEARLY_RIGHT,
    PAIRS,
    WORST,
    Census,
    census_from_bytes,
    census_to_bytes,
    closest_columns,
    encode_addition,
    end_scores,
    margins,
    nearly_right,
    probabilities,
    read_block,
    store_census,
    stored_census,
    subjects,
    take_census,
)
from lab.experiments import half_trained, runs_of
from lab.runs import RunConfig


def book_run(which):
    return {
        "reference": lambda: runs_of("reference", [43])[0],
        "half-trained": lambda: half_trained()[0],
        "one layer": lambda: runs_of("one layer", [43])[0],
    }[which]()


def sequences(a, b):
    return torch.tensor([sum(encode_addition(x, y), []) for x, y in zip(a, b)])  # (N, 13)


@pytest.mark.parametrize(
    "settings",
    [{}, {"n_heads": 4}, {"n_layers": 1}, {"positions": False}, {"ffn": False}, {"norm": False}],
)
def test_token_by_token_gives_the_logits_of_the_whole_pass(settings):
    torch.manual_seed(1)
    model = AdditionTransformer(**settings).eval()
    tokens = torch.randint(0, 14, (7, 12))
    reader = Reader(model, rows=7)
    logits = torch.stack([reader.read(tokens[:, t]) for t in range(12)], dim=1)
    assert torch.allclose(logits, model(tokens), atol=1e-4)


def test_branches_of_one_prefix_do_not_disturb_each_other():
    torch.manual_seed(2)
    model = AdditionTransformer().eval()
    reader = Reader(model, rows=1)
    for token in (1, 2, 3):
        reader.read(torch.tensor([token]))
    left, right = reader.take(torch.tensor([0, 0])), reader.take(torch.tensor([0]))
    left.read(torch.tensor([4, 5]))
    assert torch.allclose(
        right.read(torch.tensor([6])), model(torch.tensor([[1, 2, 3, 6]]))[:, -1], atol=1e-4
    )


def test_operands_read_together_are_read_as_alone():
    model = book_run("half-trained").model("cpu").eval()
    together, alone = read_block(model, 40, n=3), read_block(model, 41)
    for many, one in zip(together, alone):
        assert torch.allclose(many[1000:2000].double(), one.double(), atol=1e-4)


def test_readers_refuse_what_they_cannot_read():
    with pytest.raises(ValueError, match="causal"):
        Reader(AdditionTransformer(causal=False), rows=1)
    with pytest.raises(TypeError, match="not Linear"):
        Reader(torch.nn.Linear(2, 2), rows=1)
    reader = Reader(AdditionTransformer(max_seq_len=2), rows=1)
    reader.read(torch.tensor([1])), reader.read(torch.tensor([1]))
    with pytest.raises(ValueError, match="2 tokens is full"):
        reader.read(torch.tensor([1]))
    with pytest.raises(ValueError, match="context of 12"):
        take_census(AdditionTransformer(max_seq_len=10))


@pytest.mark.parametrize("which", ["reference", "half-trained", "one layer"])
def test_a_block_is_what_the_plain_functions_find(which):
    model = book_run(which).model("cpu")
    forced, top, chosen, answer, written, sure = read_block(model, 957)
    rows = sequences([957] * 1000, range(1000))
    assert torch.equal(answer, rows[:, 8:])
    assert torch.equal(chosen, predict_answers(model, rows[:, :-1], 7))
    assert torch.equal(written, generate(model, rows[:, :8], 5)[:, 8:])
    with torch.no_grad():
        own = probabilities(
            model(torch.cat([rows[:, :8], written[:, :4]], dim=1))[:, 7:].flatten(0, 1)
        ).view(1000, 5, -1)
    assert torch.allclose(sure, own.gather(-1, written[..., None])[..., 0].prod(1), atol=1e-4)
    gap = margins(forced, answer)
    assert torch.equal((gap < 0).any(1), (chosen != answer).any(1))


@pytest.mark.parametrize("which", ["reference", "half-trained", "one layer"])
def test_stored_censuses_are_what_the_stored_weights_do(which):
    """30,000 of the 10^6 pairs, looked at anew through the plain forward pass."""
    run = book_run(which)
    stored, model = stored_census(run, BOOK_CENSUSES), run.model("cpu")
    for a in range(7, 1000, 34):
        rows = sequences([a] * 1000, range(1000))
        forced = (predict_answers(model, rows[:, :-1], 7) == rows[:, 8:]).numpy()
        here = slice(1000 * a, 1000 * (a + 1))
        assert (
            forced != stored.forced_right[here]
        ).sum() <= 1  # a tie may fall either way after rounding
        wrong = np.flatnonzero(~forced.all(1))[:50]
        if len(wrong):
            written = (generate(model, rows[wrong, :8], 5)[:, 8:] == rows[wrong, 8:]).numpy()
            assert (written != stored.written_right[here][wrong]).sum() <= 4
    assert (
        closest_columns(model, stored.worst["pair"]) != stored.worst["column"]
    ).sum() <= 2  # ties, as above
    for row in stored.worst.iloc[::100].itertuples():
        rows = sequences([row.pair // 1000], [row.pair % 1000])
        with torch.no_grad():
            gap = margins(model(rows[:, :-1])[:, 7:], rows[:, 8:])[0]
        assert (
            gap.min().item() == pytest.approx(row.margin, abs=1e-3) and gap[row.column] == gap.min()
        )


def test_the_parts_of_each_stored_census_agree():
    for run in [run for group in subjects().values() for run in group]:
        census = stored_census(run, BOOK_CENSUSES)
        assert (census.forced_right.all(1) == census.written_right.all(1)).all()
        assert census.confidence[:, :, 0].sum(1).tolist() == [PAIRS] * 6
        assert census.confidence[:5, :, 1].sum(1).tolist() == census.forced_right.sum(0).tolist()
        assert census.confidence[5, :, 1].sum() == PAIRS - census.wrong.sum()
        edges = np.round(np.array([0, *CLASS_EDGES[:3], 1]) * BINS).astype(
            int
        )  # the last edge lies inside a bin
        in_class = np.bincount(np.minimum(census.confidence_class, 3), minlength=4)
        assert in_class.tolist() == [
            census.confidence[5, low:high, 0].sum() for low, high in zip(edges, edges[1:])
        ]
        assert census.off_by["pairs"].sum() == census.wrong.sum()
        negative = census.worst[census.worst["margin"] < 0]
        assert (
            len(negative) == min(WORST, census.wrong.sum()) and census.wrong[negative["pair"]].all()
        )
        assert census.worst["margin"].is_monotonic_increasing


def test_the_nearly_right_models_are_those_of_the_rule():
    scores = end_scores()
    assert len(scores) == 20 and nearly_right(scores) == NEARLY_RIGHT
    assert nearly_right(
        {("a", 1): 0.99, ("a", 2): 1.0, ("b", 1): 0.9899, ("b", 2): 0.9999, ("b", 3): 0.995}
    ) == [("a", 1), ("b", 3), ("b", 2)]


@pytest.fixture
def small_census():
    rng = np.random.default_rng(0)
    return Census(
        rng.random((PAIRS, 5)) < 0.9,
        rng.random((PAIRS, 5)) < 0.8,
        pd.DataFrame(
            {"pair": np.arange(3), "margin": np.float32([-1, 0.5, 2]), "column": np.int8([0, 1, 4])}
        ),
        rng.random((6, BINS, 3)),
        rng.integers(5, size=PAIRS).astype(np.uint8),
        pd.DataFrame({"off_by": [-10.0, math.nan], "pairs": [3, 4]}),
    )


def test_a_census_survives_writing_and_reading(small_census):
    again = census_from_bytes(census_to_bytes(small_census))
    for field in dataclasses.fields(Census):
        one, other = getattr(small_census, field.name), getattr(again, field.name)
        assert one.equals(other) if isinstance(one, pd.DataFrame) else np.array_equal(one, other)


def test_a_census_made_with_other_weights_or_damaged_is_not_used(
    small_census, tmp_path, monkeypatch
):
    run = book_run("reference")
    monkeypatch.setattr(censuses, "take_census", lambda model, progress: small_census)
    place = store_census(run, tmp_path)
    assert np.array_equal(stored_census(run, tmp_path).wrong, small_census.wrong)
    other = dataclasses.replace(
        run, provenance={**run.provenance, "files": {"weights.safetensors": "0" * 64}}
    )
    assert stored_census(other, tmp_path) is None
    (place / "census.npz").write_bytes((place / "census.npz").read_bytes()[:-1])
    with pytest.raises(store.DamagedRun, match="census.npz was truncated"):
        stored_census(run, tmp_path)


def test_censuses_are_of_three_digit_sums(tmp_path):
    run = dataclasses.replace(book_run("reference"), config=RunConfig(n_digits=2))
    with pytest.raises(ValueError, match="2-digit addition"):
        store_census(run, tmp_path)
