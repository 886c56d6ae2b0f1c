"""Prompts that are no sums: each kind is what its name says, and the answers are the model's
own."""

import pytest
import torch

from _common import (
    VOCAB_INV,
    VOCAB_SIZE,
    AdditionTransformer,
    decode_tokens,
    encode_addition,
    generate,
)
from lab.addition.malformed import PROMPT_KINDS, answer_with_confidence, make_prompts


@pytest.mark.parametrize("kind", PROMPT_KINDS)
def test_each_kind_looks_like_its_example(kind):
    """Symbol by symbol: a digit where the example has a digit, the same sign where it has a
    sign."""
    prompts = make_prompts(kind, 300, seed=5)
    assert prompts.dtype == torch.int64 and torch.equal(prompts, make_prompts(kind, 300, seed=5))
    if kind == "random symbols":
        assert prompts.shape == (300, 8) and prompts.unique().tolist() == list(range(VOCAB_SIZE))
        return
    shape = [c if c in "+=" else "digit" for c in PROMPT_KINDS[kind][0]]
    for row in prompts.tolist():
        assert [VOCAB_INV[t] if t >= 10 else "digit" for t in row] == shape


def test_well_formed_prompts_are_those_of_encode_addition():
    for row in make_prompts("well formed", 20).tolist():
        a, b = int(decode_tokens(row[:3])), int(decode_tokens(row[4:7]))
        assert row == encode_addition(a, b)[0]


def test_answers_are_those_of_generate_and_confidences_are_probabilities():
    torch.manual_seed(0)
    model = AdditionTransformer(d_model=8, d_ff=8)
    prompts = make_prompts("two plus signs", 6)
    tokens, sure = answer_with_confidence(model, prompts, 5)
    whole = generate(model, prompts, 5)
    assert torch.equal(tokens, whole[:, 8:])
    p = model(whole[:, :-1]).double().softmax(-1)[:, 7:]
    assert torch.allclose(sure, p.gather(-1, tokens[..., None])[..., 0], atol=1e-6)


def test_unknown_kinds_and_too_long_prompts_are_refused():
    with pytest.raises(ValueError, match="four digits"):
        make_prompts("five digits", 3)
    with pytest.raises(ValueError, match="need a context of 14"):
        answer_with_confidence(AdditionTransformer(), make_prompts("four digits", 2), 5)
