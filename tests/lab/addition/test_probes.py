"""Probes on data whose answer is known, and on vectors that hold nothing."""

import numpy as np
import pytest
import torch

from _common import AdditionTransformer
from lab.addition.interventions import streams, sums_by_carries
from lab.addition.probes import (
    _steps,
    carry_probes,
    control_labels,
    fit_probe,
    ones_types,
    overwrite,
    random_sums,
    read_digits,
    tens_digit_probes,
)


def test_a_probe_of_two_gaussians_is_the_linear_discriminant():
    rng = np.random.default_rng(0)
    labels = rng.random(20_000) < 0.3
    root = np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 2]])
    gap = np.array([1.0, -0.5, 0.7])
    x = rng.normal(size=(20_000, 3)) @ root + np.outer(labels, gap)
    direction = np.linalg.solve(root.T @ root, gap)
    probe = fit_probe(x, labels, ridge=0)
    assert (
        probe.weight @ direction / np.linalg.norm(probe.weight) / np.linalg.norm(direction) > 0.999
    )
    assert abs(probe.read((x[labels].mean(0) + x[~labels].mean(0)) / 2)) < 1e-9


def test_a_probe_finds_what_is_there_and_nothing_where_nothing_is():
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(4000, 8)), rng.random(4000) < 0.5
    assert abs(fit_probe(x[:2000], labels[:2000]).accuracy(x[2000:], labels[2000:]) - 0.5) < 0.04
    x[:, 3] += 10 * labels
    assert fit_probe(x[:2000], labels[:2000]).accuracy(x[2000:], labels[2000:]) == 1


@pytest.mark.parametrize(
    "x, labels",
    [
        (np.zeros((3, 2)), np.ones(3, bool)),
        (np.zeros(3), np.ones(3, bool)),
        (np.zeros((3, 2)), np.ones(3)),
    ],
)
def test_bad_input_is_refused(x, labels):
    with pytest.raises(ValueError):
        fit_probe(x, labels)


def test_a_control_label_is_the_same_wherever_the_type_occurs():
    types = ones_types(random_sums(2000, 0))
    labels = control_labels(types, 0.45, seed=3)
    assert all(len(set(labels[types == t])) == 1 for t in set(types))
    assert control_labels(np.arange(100), 0.45, 3).sum() == 45


@torch.no_grad()
def test_the_embedding_of_one_ones_digit_says_as_much_as_arithmetic_allows():
    """From one of two digits the best guess of the carry is right in 75 % (digits 5 to 9: carry),
    exactly."""
    torch.manual_seed(0)
    table = carry_probes(AdditionTransformer(n_layers=1).eval())
    at = table.query("depth == 0").set_index("position")["accuracy"]
    assert abs(at[2] - 0.75) < 0.03 and abs(at[6] - 0.75) < 0.03 and abs(at[0] - 0.5) < 0.04


def test_digits_are_read_where_they_are_and_guessed_where_they_are_not():
    rng = np.random.default_rng(4)
    digits, vectors = rng.integers(10, size=4000), rng.normal(size=(10, 16))
    x = vectors[digits] + 0.01 * rng.normal(size=(4000, 16))
    assert (read_digits(x[:2000], digits[:2000], x[2000:]) == digits[2000:]).all()
    noise = rng.normal(size=(4000, 16))
    assert (
        abs((read_digits(noise[:2000], digits[:2000], noise[2000:]) == digits[2000:]).mean() - 0.1)
        < 0.03
    )
    one_column = np.column_stack(
        [digits, np.ones(4000)]
    )  # a constant beside the digit does no harm
    ends = np.isin(digits, (0, 9))[2000:]
    assert (read_digits(one_column[:2000], digits[:2000], one_column[2000:]) == digits[2000:])[
        ends
    ].all()
    with pytest.raises(ValueError, match="N digits"):
        read_digits(x, digits[:5], x)


@torch.no_grad()
def test_the_token_of_the_ones_says_nothing_about_the_tens():
    torch.manual_seed(0)
    model = AdditionTransformer(n_layers=1).eval()
    assert tens_digit_probes(model, depth=0, position=8).mean().between(0.08, 0.12).all()


@torch.no_grad()
def test_the_three_outcomes_differ_by_their_carry(monkeypatch):
    """Where a vector holds the answer's tens digit and nothing else, the others are right where
    their carry is the true one."""

    def answer_only(model, tokens):
        """The token of the answer's tens digit at position 9, one coordinate a digit."""
        return [torch.eye(14)[tokens[:, 9]][:, None].expand(-1, 11, -1)]

    monkeypatch.setattr("lab.addition.probes.streams", answer_only)
    table = tens_digit_probes(torch.nn.Identity(), depth=0, position=8)
    assert (
        table["answer"].all() and abs(table["column"].mean() - 0.55) < 0.03
    )  # no carry out of the ones in 55 %
    assert 0.35 < table["control"].mean() < 0.65


def test_a_mirrored_vector_reads_as_the_other_carry_just_as_surely():
    rng = np.random.default_rng(2)
    carry = rng.random(500) < 0.45
    x = rng.normal(size=(500, 6)) + 2 * carry[:, None]
    steps = _steps(x, carry, torch.tensor(x), carry, torch.Generator().manual_seed(0))
    probe = fit_probe(x, carry)
    assert np.allclose(probe.read(x + steps["probe"].numpy()), -probe.read(x))
    for name in ("probe", "means"):
        assert np.allclose(steps[name].norm(dim=1), steps[f"{name}, random"].norm(dim=1))


@torch.no_grad()
def test_overwriting_counts_every_sum_in_its_class():
    torch.manual_seed(0)
    model, sums = AdditionTransformer(d_model=8, d_ff=8).eval(), sums_by_carries(10, 0)
    table = overwrite(model, sums, 1, {"=": (7,), "both": (7, 8)})
    assert len(table) == 2 * 4 * 4 and (table["n"] == 10).all()
    assert (table["flipped"] + table["kept"] <= 1).all()
    assert len(streams(model, sums.tokens)) == 3
