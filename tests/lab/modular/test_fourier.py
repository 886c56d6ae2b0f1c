"""Fourier measures of modular addition: on synthetic weights, neurons and logits whose answer is
known."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lab.modular import fourier
from lab.modular.measures import grids
from lab.modular.model import ModularTransformer, all_pairs

P = 13
X = torch.arange(P).double()


def w(k):
    return 2 * math.pi * k / P


def clock(amplitudes, p=P):
    return fourier.cosine_logits(p, list(amplitudes), list(amplitudes.values()))


@pytest.fixture(scope="module")
def random_model():
    return ModularTransformer(53, d_model=64, n_heads=2, d_mlp=128, seed=1)


def test_the_basis_is_orthonormal_and_made_of_waves():
    basis = fourier.fourier_basis(P)
    torch.testing.assert_close(basis @ basis.T, torch.eye(P, dtype=torch.float64))
    assert (
        fourier.component_names(P)[:4] == ["constant", "cos 1", "sin 1", "cos 2"]
        and len(fourier.component_names(P)) == P
    )
    for k in range(1, 7):
        torch.testing.assert_close(basis[2 * k - 1], torch.cos(w(k) * X) * math.sqrt(2 / P))
        torch.testing.assert_close(basis[2 * k], torch.sin(w(k) * X) * math.sqrt(2 / P))


@pytest.mark.parametrize("p", [12, 1, 2])
def test_the_basis_needs_an_odd_p(p):
    with pytest.raises(ValueError, match="odd p"):
        fourier.fourier_basis(p)


def test_norms_find_the_waves_of_a_table_and_keep_its_total():
    table = torch.stack(
        [
            3 * torch.cos(w(2) * X),
            4 * torch.sin(w(2) * X),
            5 * torch.cos(w(6) * X),
            torch.full_like(X, 7.0),
        ],
        1,
    )
    norms = fourier.component_norms(table)
    expected = torch.zeros(P, dtype=torch.float64)
    expected[0] = 7 * math.sqrt(P)
    expected[3], expected[4], expected[11] = (
        amplitude * math.sqrt(P / 2) for amplitude in (3, 4, 5)
    )
    torch.testing.assert_close(norms, expected)
    by_frequency = fourier.frequency_norms(norms)
    assert by_frequency[2].item() == pytest.approx(5 * math.sqrt(P / 2)) and by_frequency[
        1
    ].item() == pytest.approx(0, abs=1e-12)
    random = torch.randn(P, 9, dtype=torch.float64)
    assert fourier.frequency_norms(fourier.component_norms(random)).norm().item() == pytest.approx(
        random.norm().item()
    )


def test_norms_agree_with_the_fast_fourier_transform():
    table = torch.randn(P, 5, dtype=torch.float64)
    spectrum = np.abs(np.fft.rfft(table.numpy(), axis=0)) / math.sqrt(P)
    spectrum[1:] *= math.sqrt(2)
    np.testing.assert_allclose(
        fourier.frequency_norms(fourier.component_norms(table)),
        np.linalg.norm(spectrum, axis=1),
        atol=1e-12,
    )


def test_gini():
    assert fourier.gini([3, 3, 3]) == pytest.approx(0)
    assert fourier.gini([0, 0, 0, 8]) == pytest.approx(3 / 4)
    values = np.random.default_rng(0).exponential(size=200)
    pairwise = np.abs(values[:, None] - values).sum() / (
        2 * len(values) ** 2 * values.mean()
    )  # its definition
    assert fourier.gini(values) == pytest.approx(pairwise)
    assert math.isnan(fourier.gini([0, 0]))
    with pytest.raises(ValueError, match="none of them negative"):
        fourier.gini([1, -1])


def test_key_frequencies_by_the_rule():
    norms = torch.zeros(57)
    norms[[0, 9, 33, 36]] = torch.tensor([50.0, 3, 4, 5])
    assert fourier.key_frequencies(norms) == [9, 33, 36]
    assert (
        fourier.key_frequencies(torch.cat([torch.tensor([9.0]), torch.ones(56)])) == []
    )  # an even spectrum
    assert fourier.key_frequencies(torch.zeros(57)) == []
    share = np.ones(57)
    share[5] = math.sqrt(2 * 55 / 54) + 1e-6  # just twice an even share
    assert fourier.key_frequencies(share) == [5]
    share[5] -= 1e-4
    assert fourier.key_frequencies(share) == []


def test_random_weights_have_no_key_frequency(random_model):
    for seed in range(5):
        model = ModularTransformer(seed=seed)
        assert (
            fourier.key_frequencies(
                fourier.frequency_norms(fourier.component_norms(model.neuron_logit_map().T))
            )
            == []
        )


def test_the_means_of_a_grid_against_loops():
    grid = torch.randn(5, 5, 3, dtype=torch.float64)
    means = torch.zeros(4, 5, 3, dtype=torch.float64)
    for a in range(5):
        for b in range(5):
            for kind, group in enumerate((a, b, (a + b) % 5, (a - b) % 5)):
                means[kind, group] += grid[a, b] / 5
    torch.testing.assert_close(fourier.grid_means(grid), means)


def test_what_one_frequency_explains_in_a_neuron():
    a, b = X[:, None], X[None, :]
    one, k = torch.ones(P, P, dtype=torch.float64), 4
    neurons = torch.stack(
        [
            2 * torch.cos(w(k) * a + 0.3) + 0 * b,  # a wave of a alone
            torch.cos(w(k) * (a + b) + 0.7) + 5,  # of a + b, on a constant
            torch.cos(w(k) * a) * torch.cos(w(k) * b),  # half a + b, half a - b
            torch.cos(w(2) * a) * one + 2 * torch.cos(w(5) * b),  # two frequencies, 1 : 4
            torch.cos(w(2) * a) * torch.cos(w(5) * b),  # a product of two: none of one frequency
            3 * one,
        ],
        2,
    )
    fractions = fourier.frequency_fractions(neurons)
    assert fractions.shape == (4, 6, 6)
    table = fourier.neuron_table(neurons)
    assert table["frequency"].tolist()[:4] == [4, 4, 4, 5]
    np.testing.assert_allclose(table["fraction"], [1, 1, 1, 0.8, 0, 0], atol=1e-12)
    np.testing.assert_allclose(table["share_sum"][:3], [0, 1, 0.5], atol=1e-12)
    np.testing.assert_allclose(table["share_difference"][:3], [0, 0, 0.5], atol=1e-12)
    assert table["share_a"][0] == pytest.approx(1) and table["share_b"][3] == pytest.approx(0.8)
    assert table["phase_sum"][1] == pytest.approx(0.7)
    assert table["alive"].tolist() == [True, True, True, True, True, False]


def test_the_fractions_against_a_regression_on_the_eight_waves():
    neurons = torch.randn(
        P, P, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    ).relu()
    a, b = (x.double() for x in all_pairs(P))
    fractions = fourier.frequency_fractions(neurons).sum(0)
    for k in range(1, 7):
        columns = [f(w(k) * x) for x in (a, b, a + b, a - b) for f in (torch.cos, torch.sin)]
        design = torch.stack([torch.ones_like(a), *columns], 1)
        flat = neurons.flatten(0, 1)
        residual = flat - design @ torch.linalg.lstsq(design, flat).solution
        explained = 1 - residual.square().sum(0) / (flat - flat.mean(0)).square().sum(0)
        torch.testing.assert_close(fractions[k - 1], explained)


def test_random_neurons_are_explained_by_no_frequency():
    p = 53
    noise = torch.randn(p, p, 64, generator=torch.Generator().manual_seed(3))
    fractions = fourier.frequency_fractions(noise).sum(0)
    assert fractions.max() < 0.03 and fractions.mean().item() == pytest.approx(
        8 / (p * p - 1), rel=0.1
    )


def test_keeping_the_waves_of_logits_that_are_waves():
    logits = clock({2: 3.0, 5: 4.0}) + torch.randn(
        P, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    a, b = all_pairs(P)
    kept = fourier.keep_sum_frequencies(logits, [2, 5])
    torch.testing.assert_close(
        kept[(a + b) % P].view(P, P, P), logits
    )  # constant and both waves: everything
    only = fourier.keep_sum_frequencies(logits, [2])
    torch.testing.assert_close(only[(a + b) % P].view(P, P, P), logits - clock({5: 4.0}))
    torch.testing.assert_close(fourier.excluded_logits(logits, [5]), logits - clock({5: 4.0}))
    for unknown in ([0], [7], [-1]):
        with pytest.raises(ValueError, match="frequencies are 1..6"):
            fourier.keep_sum_frequencies(logits, unknown)


def test_what_depends_on_a_minus_b_is_neither_kept_nor_excluded():
    a, b = all_pairs(P)
    noise = torch.cos(w(2) * (a - b).double()).view(P, P, 1) * torch.randn(P, dtype=torch.float64)
    logits = clock({2: 6.0}) + 9 * noise
    torch.testing.assert_close(
        fourier.keep_sum_frequencies(logits, [2])[(a + b) % P].view(P, P, P), clock({2: 6.0})
    )
    torch.testing.assert_close(fourier.excluded_logits(logits, [2]), 9 * noise)


def test_restricted_and_excluded_loss_of_a_clock():
    logits = clock({2: 6.0, 5: 6.0})
    a, b = all_pairs(P)
    train = torch.arange(0, P * P, 3)
    full = F.cross_entropy(logits.flatten(0, 1), (a + b) % P).item()
    assert fourier.restricted_loss(logits, [2, 5]) == pytest.approx(full) and full < 0.05
    assert fourier.restricted_loss(logits, []) == pytest.approx(math.log(P))
    assert fourier.excluded_loss(logits, [2, 5], train) == pytest.approx(math.log(P))
    assert fourier.excluded_loss(logits, [], train) == pytest.approx(
        F.cross_entropy(logits.flatten(0, 1)[train], ((a + b) % P)[train]).item()
    )


def test_memorised_logits_are_excluded_but_not_restricted():
    """The right answer looked up on the training pairs, nothing elsewhere: what the measures are
    there to tell apart."""
    p = 29
    a, b = all_pairs(p)
    train = torch.randperm(p * p, generator=torch.Generator().manual_seed(0))[:250]
    logits = torch.zeros(p * p, p)
    logits[train, ((a + b) % p)[train]] = 20.0
    logits = logits.view(p, p, p)
    assert fourier.restricted_loss(logits, [3, 7]) > 0.7 * math.log(p)
    assert fourier.excluded_loss(logits, [3, 7], train) < 0.01


def test_ablations_of_a_clock():
    logits, test = clock({1: 20.0, 4: 20.0, 6: 20.0}), torch.arange(40)
    table = fourier.ablation_table(logits, [1, 4, 6], test).set_index("kept")
    assert table.loc["all", "accuracy"] == table.loc["only the key frequencies", "accuracy"] == 1
    assert table.loc["only the key frequencies", "loss"] == pytest.approx(table.loc["all", "loss"])
    assert table.loc["all but the key frequencies", "loss"] == pytest.approx(math.log(P))
    assert table.loc["all but the key frequencies", "test_loss"] == pytest.approx(math.log(P))
    alone = clock({4: 20.0}).flatten(0, 1)
    a, b = all_pairs(P)
    assert table.loc["only 4", "loss"] == pytest.approx(F.cross_entropy(alone, (a + b) % P).item())
    assert table.loc["all but 4", "loss"] > table.loc["all", "loss"]
    assert len(table) == 3 + 2 * 3


def test_waves_of_an_embedding():
    embedding = torch.stack([torch.cos(w(3) * X) + 1, torch.sin(w(5) * X)], 1)
    torch.testing.assert_close(fourier.keep_in_embedding(embedding, [3, 5]), embedding)
    torch.testing.assert_close(
        fourier.keep_in_embedding(embedding, [3], keep=False)[:, 0], torch.ones_like(X)
    )
    torch.testing.assert_close(
        fourier.keep_in_embedding(embedding, [3], keep=False)[:, 1], embedding[:, 1]
    )
    torch.testing.assert_close(fourier.keep_in_embedding(embedding, [3])[:, 1], torch.zeros_like(X))


def test_the_formula_is_recovered_from_logits_that_are_it():
    generator = torch.Generator().manual_seed(4)
    shift = torch.randn(P, P, 1, generator=generator, dtype=torch.float64)  # changes no probability
    table, explained = fourier.cosine_fit(clock({2: 3.0, 5: -1.5}) + shift, [2, 3, 5])
    np.testing.assert_allclose(table["amplitude"], [3, 0, -1.5], atol=1e-12)
    assert explained == pytest.approx(1)
    assert table["share"][0] == pytest.approx(9 / (9 + 2.25))
    noise = torch.randn(P, P, P, generator=generator, dtype=torch.float64)
    _, explained = fourier.cosine_fit(noise, [2, 3, 5])
    assert explained < 0.02


def test_the_formula_written_out_by_hand():
    logits = fourier.cosine_logits(7, [2], [1.5])
    assert logits[3, 6, 1].item() == pytest.approx(
        1.5 * math.cos(2 * math.pi * 2 * (3 + 6 - 1) / 7)
    )


def test_clock_and_pizza():
    a, b = all_pairs(P)
    wobble = torch.randn(P, P, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    right = torch.zeros(P, P, P, dtype=torch.float64)
    right.view(P * P, P)[torch.arange(P * P), (a + b) % P] = wobble[
        (a + b) % P, 0
    ]  # depends on a + b alone
    assert fourier.distance_irrelevance(right) == pytest.approx(1)
    pizza = clock({2: 3.0}) * torch.cos(w(2) * (a - b).double() / 2).abs().view(
        P, P, 1
    )  # Zhong et al.'s factor
    assert fourier.distance_irrelevance(pizza) == pytest.approx(0, abs=1e-6)
    assert math.isnan(
        fourier.distance_irrelevance(clock({2: 3.0}))
    )  # the right logit is the same everywhere


def test_the_measures_of_an_untrained_model(random_model):
    neurons, logits = grids(random_model)
    assert neurons.shape == (53, 53, 128) and logits.shape == (53, 53, 53)
    assert abs(fourier.restricted_loss(logits, [3, 9]) - math.log(53)) < 0.2
    fractions = fourier.frequency_fractions(neurons)
    assert (
        bool((fractions.sum((0, 1)) <= 1 + 1e-4).all())
        and float(fractions.sum(0).amax(0).median()) < 0.5
    )
