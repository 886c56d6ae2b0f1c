"""The laboratory of chapter 1: its rules are the fitted ones of the book."""

import numpy as np
import pytest
import torch

from _common import encode_addition, make_addition_dataset
from lab.addition.baselines import (
    answer_tokens,
    bigram_probabilities,
    digits_by_bigram,
    digits_by_logistic,
    digits_by_regression,
    logits_of_digits,
    loss_per_target,
    operand_digits,
    regression_of_digits,
    sum_by_regression,
)
from lab.addition.carries import all_pairs

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("laboratories")]
ASK = """(pairs) => { const ask = document.getElementById("lab-regression").predictions;
    return pairs.map(([a, b]) => ask(a, b).rules.map((rule) => [rule.answer, rule.losses])); }"""


def test_answers_and_losses_are_those_of_the_book(opened):
    """Digits equal, losses within 1e-6 nats, on 500 sums."""
    page = opened("regression")
    pairs = np.random.default_rng(3).integers(1000, size=(500, 2))
    rows = torch.tensor([sum(encode_addition(int(a), int(b)), []) for a, b in pairs])
    X, Y = rows[:, :-1], rows[:, 1:]
    train = make_addition_dataset(50_000, seed=42)
    shown = page.evaluate(ASK, pairs.tolist())
    rules = [
        None,
        sum_by_regression(*train, X),
        digits_by_regression(*train, X),
        digits_by_logistic(*train, X),
        digits_by_logistic(*train, X, pairs=True),
        digits_by_bigram(*train, X),
    ]
    for i, rule in enumerate(rules):
        wanted = answer_tokens(Y) if rule is None else rule.answers
        assert [each[i][0] for each in shown] == wanted[:, :4].tolist()
    bigrams = bigram_probabilities(*train)[np.asarray(X)]
    losses = np.array([each[5][1] for each in shown])
    assert np.allclose(losses, loss_per_target(bigrams, Y)[:, 7:], atol=1e-6)
    digits = operand_digits(X)
    for i, pairs_too in ((3, False), (4, True)):
        encoder, models = logits_of_digits(*train, pairs_too)
        labels = 10 * digits[:, :3] + digits[:, 3:] if pairs_too else digits
        for k, model in enumerate(models):
            p = model.predict_proba(encoder.transform(labels))
            right = p[np.arange(500), np.searchsorted(model.classes_, answer_tokens(Y)[:, k])]
            assert np.allclose([each[i][1][k] for each in shown], -np.log(right), atol=1e-6)


def test_per_digit_the_ones_are_four_or_five():
    a, b = all_pairs()
    fitted = regression_of_digits(*make_addition_dataset(50_000, seed=42))
    digits = np.stack([n // 10**k % 10 for n in (a, b) for k in (2, 1, 0)], axis=1)
    assert set(np.rint(fitted.predict(digits)[:, 0])) == {4, 5}


def test_by_keyboard_and_by_address(opened):
    page = opened("regression", "#lab-regression?a=123&b=456")
    status = page.locator("[role=status]")
    assert status.inner_text().startswith("123 + 456:") and page.locator("table").count() == 0
    guess = page.get_by_label("Your guess: right digits of the logit with column pairs")
    guess.focus()
    for key in ("ArrowDown", "ArrowDown", "4"):  # to go through the list is no answer
        page.keyboard.press(key)
    assert status.inner_text().startswith("123 + 456:") and page.locator("table").count() == 0
    page.get_by_role("button", name="Show").press("Enter")
    answer = page.evaluate(ASK, [[123, 456]])[0][4][0]
    right = sum(x == y for x, y in zip(answer, [9, 7, 5, 0]))
    assert status.inner_text().endswith(f"gets {right} of the four digits right. You said 4.")
    assert page.locator("table").count() == 2 and "guess=4" in page.url
    page.get_by_label("Second number, ones").press("ArrowUp")
    assert status.inner_text().startswith("123 + 457 = 580:") and "b=457" in page.url
    assert "You said" not in status.inner_text()  # of this sum nothing was said
    page.get_by_role("button", name="Another sum").press("Enter")
    assert page.locator("table").count() == 0
    page.get_by_role("button", name="Reset").press("Enter")
    assert status.inner_text().startswith("347 + 285:") and "#" not in page.url
