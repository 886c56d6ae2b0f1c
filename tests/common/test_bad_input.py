"""Wrong input to every public function of _common.py: the error says what was given and what is
allowed."""

import math

import numpy as np
import pytest
import torch
import torch.nn as nn

import _common
from _common import (
    AdditionTransformer,
    Attention,
    Block,
    add_with_model,
    addition_floor,
    attention_weights,
    autoregressive_accuracy,
    census,
    choose_device,
    column_accuracy,
    component_table,
    count_parameters,
    decode_tokens,
    digits_at_chance,
    encode_addition,
    encode_reversal,
    exact_match,
    generate,
    get_attention_maps,
    get_reversal_attention,
    learning_rate_at,
    make_addition_dataset,
    make_disjoint_addition_split,
    make_optimizer,
    make_reversal_dataset,
    pair_overlap,
    plot_attention,
    plot_training,
    predict_answers,
    reversal_floor,
    test_addition,
    train_model,
)

MODEL = AdditionTransformer()
X, Y = make_addition_dataset(4)
SHORT_X, SHORT_Y = make_addition_dataset(4, n_digits=2)
LONG_X, LONG_Y = make_addition_dataset(4, n_digits=5)
FOREIGN = X.clone()
FOREIGN[0, 0] = 14
PROMPT = X[:, :8]


def train(model=MODEL, train_X=X, train_Y=Y, test_X=X, test_Y=Y, **options):
    return train_model(
        model,
        train_X,
        train_Y,
        test_X,
        test_Y,
        **{"epochs": 1, "log_every": 0, "progress": False} | options,
    )


class WithoutThisDevice:
    """choose_device on a machine that has only a CPU."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


CASES = [
    # tokens
    (
        "operand too large",
        lambda: encode_addition(1000, 1),
        ValueError,
        "operand a must be between 0 and 999, not 1000",
    ),
    (
        "operand negative",
        lambda: encode_addition(1, -1),
        ValueError,
        "operand b must be between 0 and 999, not -1",
    ),
    (
        "operand a float",
        lambda: encode_addition(1.0, 1),
        TypeError,
        "operand a must be a whole number, not 1.0 (float)",
    ),
    (
        "operand a truth value",
        lambda: encode_addition(True, 1),
        TypeError,
        "operand a must be a whole number, not True",
    ),
    (
        "operand a text",
        lambda: encode_addition(1, "2"),
        TypeError,
        "operand b must be a whole number, not '2' (str)",
    ),
    (
        "operand missing",
        lambda: encode_addition(1, None),
        TypeError,
        "operand b must be a whole number, not None",
    ),
    (
        "too many digits",
        lambda: encode_addition(1, 1, 18),
        ValueError,
        "n_digits must be between 1 and 17, not 18",
    ),
    (
        "no digits",
        lambda: encode_addition(0, 0, 0),
        ValueError,
        "n_digits must be between 1 and 17, not 0",
    ),
    (
        "digit order unknown",
        lambda: encode_addition(1, 1, 3, "backwards"),
        ValueError,
        "unknown digit_order 'backwards': it may be one of ones_first, most_significant_first",
    ),
    ("reversal of nothing", lambda: encode_reversal([]), ValueError, "seq is empty"),
    (
        "reversal of a number above 9",
        lambda: encode_reversal([1, 10]),
        ValueError,
        "between 0 and 9, not 10",
    ),
    (
        "reversal of text",
        lambda: encode_reversal("12"),
        TypeError,
        "a digit of seq must be a whole number, not '1'",
    ),
    (
        "decoding an unknown token",
        lambda: decode_tokens([1, 14]),
        ValueError,
        "a token id must be between 0 and 13, not 14",
    ),
    (
        "decoding a negative token",
        lambda: decode_tokens([-1]),
        ValueError,
        "a token id must be between 0 and 13, not -1",
    ),
    (
        "decoding text",
        lambda: decode_tokens("1+1"),
        TypeError,
        "a token id must be a whole number, not '1'",
    ),
    (
        "decoding a float tensor",
        lambda: decode_tokens(torch.tensor([1.0])),
        TypeError,
        "whole number, not 1.0",
    ),
    # datasets
    ("no examples", lambda: make_addition_dataset(0), ValueError, "n must be at least 1, not 0"),
    (
        "half an example",
        lambda: make_addition_dataset(1.5),
        TypeError,
        "n must be a whole number, not 1.5",
    ),
    (
        "a negative seed",
        lambda: make_addition_dataset(5, seed=-1),
        ValueError,
        "seed must be between 0 and 18446744073709551615, not -1",
    ),
    (
        "a dataset of too wide sums",
        lambda: make_addition_dataset(5, n_digits=18),
        ValueError,
        "between 1 and 17, not 18",
    ),
    (
        "a dataset of unknown order",
        lambda: make_addition_dataset(5, digit_order="lsb"),
        ValueError,
        "ones_first",
    ),
    ("no reversals", lambda: make_reversal_dataset(0), ValueError, "n must be at least 1, not 0"),
    (
        "reversal of empty strings",
        lambda: make_reversal_dataset(5, seq_len=0),
        ValueError,
        "seq_len must be at least 1",
    ),
    (
        "reversal with a text for a length",
        lambda: make_reversal_dataset(5, "5"),
        TypeError,
        "seq_len must be a whole number",
    ),
    (
        "test set above half of all pairs",
        lambda: make_disjoint_addition_split(10, 51, n_digits=1),
        ValueError,
        "n_test must be at most half of the 100 pairs, not 51",
    ),
    (
        "empty training half",
        lambda: make_disjoint_addition_split(0, 10),
        ValueError,
        "n_train must be at least 1, not 0",
    ),
    (
        "overlap of other widths",
        lambda: pair_overlap(X, SHORT_X),
        ValueError,
        "test_X must have the shape (examples, 12)",
    ),
    (
        "overlap of lists",
        lambda: pair_overlap([[1]], X),
        TypeError,
        "train_X must be a tensor, not list",
    ),
    (
        "a floor of no digits",
        lambda: addition_floor(0),
        ValueError,
        "n_digits must be at least 1, not 0",
    ),
    (
        "a floor of half digits",
        lambda: addition_floor(2.5),
        TypeError,
        "n_digits must be a whole number, not 2.5",
    ),
    (
        "a floor of empty strings",
        lambda: reversal_floor(0),
        ValueError,
        "seq_len must be at least 1, not 0",
    ),
    (
        "digits at chance of no targets",
        lambda: digits_at_chance(1.0, 0.9, 0),
        ValueError,
        "n_targets must be at least 1",
    ),
    # the device
    (
        "unknown device",
        lambda: choose_device("tpu"),
        ValueError,
        "unknown device 'tpu': BOOK_DEVICE may be one of cuda, mps, cpu",
    ),
    # the model
    (
        "no width",
        lambda: AdditionTransformer(d_model=0),
        ValueError,
        "d_model must be at least 1, not 0",
    ),
    (
        "a width of text",
        lambda: AdditionTransformer(d_model="32"),
        TypeError,
        "d_model must be a whole number, not '32'",
    ),
    (
        "a negative hidden width",
        lambda: AdditionTransformer(d_ff=-1),
        ValueError,
        "d_ff must be at least 1, not -1",
    ),
    (
        "no layers",
        lambda: AdditionTransformer(n_layers=0),
        ValueError,
        "n_layers must be at least 1, not 0",
    ),
    (
        "half a layer",
        lambda: AdditionTransformer(n_layers=1.5),
        TypeError,
        "n_layers must be a whole number, not 1.5",
    ),
    (
        "no vocabulary",
        lambda: AdditionTransformer(vocab_size=0),
        ValueError,
        "vocab_size must be at least 1, not 0",
    ),
    (
        "no context",
        lambda: AdditionTransformer(max_seq_len=0),
        ValueError,
        "max_seq_len must be at least 1, not 0",
    ),
    (
        "heads that do not divide",
        lambda: AdditionTransformer(n_heads=5),
        ValueError,
        "n_heads must divide d_model = 32, not 5",
    ),
    (
        "no heads",
        lambda: AdditionTransformer(n_heads=0),
        ValueError,
        "n_heads must be at least 1, not 0",
    ),
    (
        "heads that do not divide, in a piece",
        lambda: Attention(8, 3),
        ValueError,
        "n_heads must divide d_model = 8, not 3",
    ),
    (
        "heads that do not divide, in a block",
        lambda: Block(8, 8, 3),
        ValueError,
        "n_heads must divide d_model = 8, not 3",
    ),
    (
        "tokens as a list",
        lambda: MODEL([[1, 2]]),
        TypeError,
        "tokens must be a tensor of int64 token ids, not list",
    ),
    (
        "tokens as floats",
        lambda: MODEL(X.float()),
        TypeError,
        "tokens must be a tensor of int64 token ids, not torch.float32",
    ),
    (
        "tokens without a batch",
        lambda: MODEL(X[0]),
        ValueError,
        "tokens must have the shape (batch, time), not (12,)",
    ),
    (
        "too long a sequence",
        lambda: MODEL(LONG_X),
        ValueError,
        "the sequence has 18 tokens, the model's context is 13",
    ),
    (
        "a token outside the vocabulary",
        lambda: MODEL(FOREIGN),
        ValueError,
        "token ids must be between 0 and 13, not 0 to 14",
    ),
    (
        "counting what is no model",
        lambda: count_parameters("model"),
        TypeError,
        "needs a torch module, not str",
    ),
    (
        "a table of another model",
        lambda: component_table(nn.Linear(2, 2)),
        TypeError,
        "needs an AdditionTransformer, not Linear",
    ),
    # training
    (
        "a step before the first",
        lambda: learning_rate_at(-1, 0.1, 2, 10),
        ValueError,
        "step must be between 0 and 9, not -1",
    ),
    (
        "a step after the last",
        lambda: learning_rate_at(10, 0.1, 2, 10),
        ValueError,
        "step must be between 0 and 9, not 10",
    ),
    (
        "a schedule of no steps",
        lambda: learning_rate_at(0, 0.1, 0, 0),
        ValueError,
        "total_steps must be at least 1, not 0",
    ),
    (
        "half a warm-up step",
        lambda: learning_rate_at(0, 0.1, 0.5, 9),
        TypeError,
        "warmup_steps must be a whole number",
    ),
    (
        "an unknown optimizer",
        lambda: make_optimizer(MODEL, "adamax", 0.0),
        ValueError,
        "unknown optimizer 'adamax': it may be one of adamw, adam, sgd",
    ),
    (
        "training with an unknown optimizer",
        lambda: train(optimizer="lbfgs"),
        ValueError,
        "unknown optimizer 'lbfgs'",
    ),
    (
        "training what is no model",
        lambda: train(model=len),
        TypeError,
        "model must be a torch module",
    ),
    (
        "training on lists",
        lambda: train(train_X=X.tolist()),
        TypeError,
        "train_X and train_Y must be tensors, not list and Tensor",
    ),
    (
        "training on mismatched shapes",
        lambda: train(train_Y=Y[:3]),
        ValueError,
        "one shape (examples, time), not (4, 12) and (3, 12)",
    ),
    (
        "training on nothing",
        lambda: train(train_X=X[:0], train_Y=Y[:0]),
        ValueError,
        "not (0, 12) and (0, 12)",
    ),
    (
        "training on too long sequences",
        lambda: train(train_X=LONG_X, train_Y=LONG_Y),
        ValueError,
        "train_X has sequences of 18 tokens, the model's context is 13",
    ),
    (
        "testing on mismatched shapes",
        lambda: train(test_X=SHORT_X),
        ValueError,
        "test_X and test_Y must be two arrays of one shape",
    ),
    (
        "training on foreign tokens",
        lambda: train(train_X=FOREIGN),
        ValueError,
        "token ids in train_X must be between 0 and 13, not 0 to 14",
    ),
    (
        "training towards foreign tokens",
        lambda: train(train_Y=FOREIGN),
        ValueError,
        "token ids in train_Y must be between 0 and 13",
    ),
    (
        "training towards floats",
        lambda: train(train_Y=Y.float()),
        TypeError,
        "train_Y must hold int64 token ids, not torch.float32",
    ),
    (
        "an answer that starts after the end",
        lambda: train(answer_start=12),
        ValueError,
        "answer_start must be between 0 and 11, not 12",
    ),
    ("no epochs", lambda: train(epochs=0), ValueError, "epochs must be at least 1, not 0"),
    (
        "half an epoch",
        lambda: train(epochs=0.5),
        TypeError,
        "epochs must be a whole number, not 0.5",
    ),
    (
        "an empty batch",
        lambda: train(batch_size=0),
        ValueError,
        "batch_size must be at least 1, not 0",
    ),
    (
        "negative warm-up",
        lambda: train(warmup_steps=-1),
        ValueError,
        "warmup_steps must be at least 0, not -1",
    ),
    (
        "a negative seed of training",
        lambda: train(seed=-3),
        ValueError,
        "seed must be between 0 and 18446744073709551615, not -3",
    ),
    (
        "stopping after the end",
        lambda: train(stop_at=2),
        ValueError,
        "stop_at must be between 1 and 1, not 2",
    ),
    (
        "negative extra epochs",
        lambda: train(extra_epochs=-1),
        ValueError,
        "extra_epochs must be at least 0, not -1",
    ),
    ("no learning rate", lambda: train(lr=0.0), ValueError, "lr must be above 0, not 0"),
    (
        "a learning rate that is no number",
        lambda: train(lr=math.nan),
        ValueError,
        "lr must be above 0, not nan",
    ),
    (
        "negative weight decay",
        lambda: train(weight_decay=-0.1),
        ValueError,
        "weight_decay must be at least 0, not -0.1",
    ),
    (
        "weight decay that is no number",
        lambda: train(weight_decay=math.nan),
        ValueError,
        "weight_decay must be at least 0, not nan",
    ),
    ("a clip of zero", lambda: train(clip=0.0), ValueError, "clip must be above 0, not 0"),
    # measuring
    (
        "predicting with what is no model",
        lambda: predict_answers(None, X, 7),
        TypeError,
        "model must be a torch module",
    ),
    (
        "predicting from one row",
        lambda: predict_answers(MODEL, X[0], 7),
        ValueError,
        "one shape (examples, time), not (12,)",
    ),
    (
        "column accuracy of mismatched shapes",
        lambda: column_accuracy(MODEL, X, Y[:, :5], 7),
        ValueError,
        "not (4, 12) and (4, 5)",
    ),
    (
        "exact match of too long sequences",
        lambda: exact_match(MODEL, LONG_X, LONG_Y, 7),
        ValueError,
        "the model's context is 13",
    ),
    (
        "exact match with a negative start",
        lambda: exact_match(MODEL, X, Y, -1),
        ValueError,
        "answer_start must be between 0 and 11, not -1",
    ),
    (
        "generating from a list",
        lambda: generate(MODEL, [[1]], 1),
        TypeError,
        "prompt must be a tensor of int64 token ids",
    ),
    (
        "generating from floats",
        lambda: generate(MODEL, PROMPT.float(), 1),
        TypeError,
        "prompt must be a tensor of int64 token ids",
    ),
    (
        "generating from one row",
        lambda: generate(MODEL, PROMPT[0], 1),
        ValueError,
        "(batch, time) with at least one token, not (8,)",
    ),
    (
        "generating from nothing",
        lambda: generate(MODEL, PROMPT[:, :0], 1),
        ValueError,
        "at least one token, not (4, 0)",
    ),
    (
        "generating beyond the context",
        lambda: generate(MODEL, PROMPT, 7),
        ValueError,
        "8 prompt tokens and 7 new ones need a context of 14, the model's is 13",
    ),
    (
        "generating less than nothing",
        lambda: generate(MODEL, PROMPT, -1),
        ValueError,
        "n must be at least 0, not -1",
    ),
    (
        "generating with what is no model",
        lambda: generate("gpt", PROMPT, 1),
        TypeError,
        "model must be a torch module",
    ),
    (
        "autoregressive accuracy of lists",
        lambda: autoregressive_accuracy(MODEL, X.tolist(), Y, 7),
        TypeError,
        "must be tensors",
    ),
    (
        "asking for too large a sum",
        lambda: add_with_model(MODEL, 1000, 0),
        ValueError,
        "operand a must be between 0 and 999",
    ),
    (
        "asking for wider sums than the context",
        lambda: add_with_model(MODEL, 1, 1, n_digits=5),
        ValueError,
        "the model's is 13",
    ),
    (
        "printing half a sum",
        lambda: test_addition(MODEL, 1, 2.5),
        TypeError,
        "operand b must be a whole number, not 2.5",
    ),
    (
        "a census of too many sums",
        lambda: census(MODEL, n_digits=5),
        ValueError,
        "n_digits must be between 1 and 4, not 5",
    ),
    (
        "a census in no order",
        lambda: census(MODEL, n_digits=1, digit_order="random"),
        ValueError,
        "unknown digit_order 'random'",
    ),
    (
        "a census of what is no model",
        lambda: census(None, n_digits=1),
        TypeError,
        "model must be a torch module",
    ),
    (
        "a census beyond the context",
        lambda: census(AdditionTransformer(max_seq_len=5), 1),
        ValueError,
        "the model's context is 5",
    ),
    # looking inside
    (
        "attention on a list",
        lambda: attention_weights(MODEL, [[1, 2]]),
        TypeError,
        "tokens must be a tensor",
    ),
    (
        "attention of what is no model",
        lambda: attention_weights(None, X),
        TypeError,
        "model must be a torch module",
    ),
    (
        "attention on foreign tokens",
        lambda: attention_weights(MODEL, FOREIGN),
        ValueError,
        "between 0 and 13, not 0 to 14",
    ),
    (
        "maps of too large a sum",
        lambda: get_attention_maps(MODEL, 1000, 0, 3),
        ValueError,
        "operand a must be between 0 and 999",
    ),
    (
        "maps beyond the context",
        lambda: get_attention_maps(MODEL, 1, 1, 5),
        ValueError,
        "the model's context is 13",
    ),
    (
        "maps of a wrong reversal",
        lambda: get_reversal_attention(MODEL, [1, 20]),
        ValueError,
        "between 0 and 9, not 20",
    ),
    (
        "plotting an empty history",
        lambda: plot_training({"epoch": []}),
        ValueError,
        "this history holds no epoch",
    ),
    (
        "plotting maps with too few labels",
        lambda: plot_attention([np.eye(3)], ["a", "b"]),
        ValueError,
        "maps must be a list of (2, 2) arrays, one row and column per label, not [(3, 3)]",
    ),
    (
        "plotting no maps",
        lambda: plot_attention([], ["a"]),
        ValueError,
        "maps must be a list of (1, 1) arrays",
    ),
]


@pytest.mark.parametrize(
    "call, error, fragment", [pytest.param(*case[1:], id=case[0]) for case in CASES]
)
def test_wrong_input_is_refused_in_words(call, error, fragment):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert fragment in str(caught.value)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    WithoutThisDevice(monkeypatch)
    for name in ("cuda", "mps"):
        with pytest.raises(ValueError, match=f"this machine has no device '{name}': it has cpu"):
            choose_device(name)
    assert choose_device() == choose_device("") == choose_device("cpu") == torch.device("cpu")


def test_a_wrong_book_device_stops_the_import(tmp_path):
    import os
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", "import _common"],
        cwd=_common.__file__.rpartition(os.sep)[0],
        env={**os.environ, "BOOK_DEVICE": "abacus"},
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode != 0
        and "unknown device 'abacus': BOOK_DEVICE may be one of cuda, mps, cpu" in done.stderr
    )


def test_a_reader_says_what_it_needs():
    with pytest.raises(TypeError, match="needs an AdditionTransformer, not Linear"):
        _common.Reader(torch.nn.Linear(2, 2), rows=1)
    with pytest.raises(ValueError, match="a Reader needs a model with causal mask"):
        _common.Reader(AdditionTransformer(causal=False), rows=1)
    with pytest.raises(ValueError, match="rows"):
        _common.Reader(MODEL, rows=0)
    reader = _common.Reader(MODEL, rows=1)
    for _ in range(MODEL.max_seq_len):
        reader.read(torch.tensor([3]))
    with pytest.raises(ValueError, match=f"context of {MODEL.max_seq_len} tokens is full"):
        reader.read(torch.tensor([3]))


def test_every_public_function_meets_wrong_input():
    """No function of the module's list is forgotten above."""
    import inspect

    source = inspect.getsource(inspect.getmodule(train))
    unchecked = {"TrainingDiverged", "FeedForward"}
    public = [
        name
        for name in _common.__all__
        if name not in unchecked
        and getattr(getattr(_common, name), "__module__", "") == "_common"
        and callable(getattr(_common, name))
    ]
    assert len(public) >= 30
    assert [name for name in public if f"{name}(" not in source] == []


def test_wrong_input_leaves_the_model_as_it_was():
    before = {name: value.clone() for name, value in MODEL.state_dict().items()}
    for arguments in ({"train_X": FOREIGN}, {"optimizer": "lbfgs"}, {"lr": -1.0}):
        with pytest.raises(ValueError):
            train(**arguments)
    assert all(torch.equal(before[name], value) for name, value in MODEL.state_dict().items())
