"""Interventions against independent computations: changing nothing, cutting everything, and sums of
parts."""

import numpy as np
import pytest
import torch

from _common import AdditionTransformer, F, generate
from lab.addition.carries import carries
from lab.addition.interventions import (
    BOOK_INTERVENTIONS,
    ROWS,
    Sums,
    ablate_edges,
    ablate_part,
    agreement,
    edge_effects,
    edge_means,
    pairs_differing,
    part_effects,
    part_means,
    patch,
    patch_effects,
    right_by_class,
    scores,
    stored_interventions,
    streams,
    sums_by_carries,
)
from lab.experiments import runs_of


@pytest.fixture(params=[(2, 1), (1, 1), (2, 2)], ids=["two layers", "one layer", "two heads"])
def model(request):
    torch.manual_seed(1)
    return (
        AdditionTransformer(n_layers=request.param[0], n_heads=request.param[1], d_model=8, d_ff=16)
        .double()
        .eval()
    )


SUMS = sums_by_carries(5, seed=0)
EVERY_EDGE = [(row, key) for row in range(12) for key in range(row + 1)]


@torch.no_grad()
def without_attention(model, layer, mean=0.0):
    """The forward pass written out, with the attention of one layer replaced by a constant."""
    tokens = SUMS.tokens
    x = model.token_emb(tokens) + model.pos_emb(torch.arange(12))
    for i, block in enumerate(model.blocks):
        x = x + (mean if i == layer else block.attn(block.ln1(x)))
        x = x + block.ffn(block.ln2(x))
    return F.linear(model.ln_f(x), model.token_emb.weight)


@torch.no_grad()
def test_cutting_every_edge_is_a_layer_without_attention(model):
    with ablate_edges(model, 0, EVERY_EDGE):
        cut = model(SUMS.tokens)
    assert torch.allclose(cut, without_attention(model, 0))
    with ablate_part(model, 0, "attention"):
        assert torch.allclose(model(SUMS.tokens), cut)
    assert not torch.allclose(model(SUMS.tokens), cut)  # and the hooks are gone


@torch.no_grad()
def test_the_means_of_all_edges_add_up_to_the_mean_of_attention(model):
    means = edge_means(model, SUMS.tokens)[0]
    mean = model.blocks[0].attn(model.blocks[0].ln1(streams(model, SUMS.tokens)[0])).mean(0)
    assert torch.allclose(means.sum(1), mean) and torch.allclose(
        part_means(model, 0, "attention", SUMS.tokens), mean
    )
    for context in (
        ablate_edges(model, 0, EVERY_EDGE, means),
        ablate_part(model, 0, "attention", mean),
    ):
        with context:
            assert torch.allclose(model(SUMS.tokens), without_attention(model, 0, mean))


@torch.no_grad()
def test_a_layer_that_adds_nothing_passes_its_input_on(model):
    with ablate_part(model, len(model.blocks) - 1, "layer"):
        before, after = streams(model, SUMS.tokens)[-2:]
    assert torch.equal(before, after)


@torch.no_grad()
def test_patching_a_model_with_itself_changes_nothing_and_with_another_everything(model):
    other = Sums(SUMS.a[::-1].copy(), SUMS.b[::-1].copy())
    clean = model(SUMS.tokens)
    own, foreign = streams(model, SUMS.tokens), streams(model, other.tokens)
    for depth in range(len(model.blocks) + 1):
        with patch(model, depth, 2, own[depth][:, 2]):
            assert torch.equal(model(SUMS.tokens), clean)
        with patch(model, depth, 0, foreign[depth][:, 0]):  # row 0 sees nothing but itself
            assert torch.allclose(model(SUMS.tokens)[:, 0], model(other.tokens)[:, 0])


@torch.no_grad()
def test_edges_cut_together_in_the_last_layer_are_edges_cut_one_by_one(model):
    """The table of the last layer comes from passes that cut one edge in every row."""
    reference, last = Sums(SUMS.b, SUMS.a), len(model.blocks) - 1
    table = edge_effects(model, SUMS, reference, per_class=5)
    clean, means = (
        scores(model, SUMS.tokens[:, :11], SUMS.answer)[0],
        edge_means(model, reference.tokens[:, :11])[last],
    )
    for digit, key in [(0, 3), (2, 9), (3, 10)]:
        for how, mean in (("zero", None), ("mean", means)):  # noqa: B007 - the query reads it
            with ablate_edges(model, last, [(ROWS[digit], key)], mean):
                effect = (
                    (clean - scores(model, SUMS.tokens[:, :11], SUMS.answer)[0])[:, digit]
                    .view(4, 5)
                    .mean(1)
                )
            rows = table.query(
                "how == @how and layer == @last and row == @ROWS[@digit] and key == @key and digit"
                " == @digit"
            )
            assert np.allclose(rows["effect"], effect)


def test_every_edge_that_can_reach_a_digit_is_in_the_table(model):
    table = edge_effects(model, SUMS, SUMS, per_class=5)
    edges = table.query("how == 'zero' and carries == 0").groupby("layer").size()
    if len(model.blocks) == 2:
        assert edges[0] == sum((row + 1) * sum(r >= row for r in ROWS) for row in range(11))
    assert edges[len(model.blocks) - 1] == 8 + 9 + 10 + 11
    assert set(part_effects(model, SUMS, SUMS, 5)["part"]) == {"attention", "feed-forward", "layer"}


def test_sums_come_in_classes():
    assert np.array_equal(SUMS.n_carries, np.repeat(range(4), 5))
    numbers = SUMS.answer[:, :4] @ torch.tensor([1, 10, 100, 1000])
    assert np.array_equal(numbers, SUMS.a + SUMS.b)
    with pytest.raises(ValueError, match="too few"):
        sums_by_carries(5, 0, allowed=lambda a, b: carries(a, b).sum(1) < 3)


@pytest.mark.parametrize("kind", ["carry", "digit"])
def test_pairs_differ_in_one_digit_and_as_said(kind):
    base, source = pairs_differing(kind, 50, seed=3)
    assert (base.tokens[:, :7] != source.tokens[:, :7]).sum(1).eq(1).all() and np.array_equal(
        base.b, source.b
    )
    before, after = carries(base.a, base.b), carries(source.a, source.b)
    assert (base.answer[:, 1] != source.answer[:, 1]).all()
    if kind == "carry":
        assert (before[:, 0] != after[:, 0]).all() and np.array_equal(base.a // 10, source.a // 10)
    else:
        assert np.array_equal(before, after) and np.array_equal(base.a % 10, source.a % 10)
    with pytest.raises(ValueError, match="kind"):
        pairs_differing("ones", 5, 0)


def test_patching_everything_that_differs_goes_all_the_way():
    """With one layer and a digit in one position, the embedding there is all that differs: patching
    it is the source."""
    torch.manual_seed(2)
    model = AdditionTransformer(n_layers=1, d_model=8, d_ff=16).eval()
    table = patch_effects(model, "digit", 10, seed=0).query("what == 'source' and depth == 0")
    base, source = pairs_differing("digit", 10, 0)
    both = set((base.tokens[:, :9] != source.tokens[:, :9]).any(0).nonzero()[:, 0].tolist())
    assert both == {1}  # nothing else that stands before the tens
    assert np.allclose(table.query("position == 1")["effect"], 1, atol=1e-4)
    assert np.allclose(table.query("position != 1")["effect"], 0, atol=1e-6)


def test_agreement_is_pearson_and_its_null_stays_within_rows():
    rng = np.random.default_rng(0)
    weights, rows = rng.random(20), np.repeat([0, 1], 10)
    effects = weights + rng.normal(size=20)
    r, null = agreement(weights, effects, rows, draws=3000)
    assert r == pytest.approx(np.corrcoef(weights, effects)[0, 1]) and abs(null.mean()) < 0.1
    between = np.r_[
        np.zeros(10), np.ones(10)
    ]  # all agreement lies between rows: the null has it too
    r, null = agreement(between, between, rows, draws=10)
    assert r == pytest.approx(1) and np.allclose(null, 1)
    assert agreement(np.ones(20), effects, rows, draws=5)[0] == 0


@pytest.mark.parametrize("causal", [True, False])
def test_shares_right_by_class_are_those_of_generation(causal):
    torch.manual_seed(0)
    model, sums = (
        AdditionTransformer(d_model=8, d_ff=8, causal=causal).eval(),
        sums_by_carries(3, 0),
    )
    table = right_by_class(model, sums)
    written = (
        (generate(model, sums.tokens[:, :8], 5)[:, 8:] == sums.answer)
        .all(1)
        .view(4, 3)
        .double()
        .mean(1)
    )
    assert np.allclose(table["written"], written) and (table["n"] == 3).all()


@pytest.mark.slow
def test_the_stored_effects_are_those_of_the_stored_models():
    """One class of one seed anew: the parts, which cost least."""
    run = runs_of("reference", seeds=[42])[0]
    tables, model = stored_interventions(run, BOOK_INTERVENTIONS), run.model("cpu")
    again = part_effects(
        model,
        sums_by_carries(1000, 6),
        Sums(*np.random.default_rng(7).integers(1000, size=(2, 4_000))),
        1000,
    )
    assert np.allclose(tables["parts"]["effect"], again["effect"], rtol=1e-3, atol=1e-3)
