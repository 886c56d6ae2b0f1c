"""What is allowed: one check of each kind of argument, and the table of those of `_common.py`.

A check takes a name and a value and gives the value as Python's own, or raises a TypeError or
ValueError that says what was given and what is allowed. Nothing here computes or imports anything
of the book.
"""

import functools
import inspect
import math
import numbers

import numpy as np
import torch
import torch.nn as nn

# --------------------------------------------------------------------------------------------------


LARGEST_SEED = 2**64 - 1  # of PyTorch's generators


def _plain(value):
    """A single number of numpy's or PyTorch's as Python's; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def whole_number(name, value, low=None, high=None):
    """`value` as an int: Python's, numpy's or a tensor without axes, of any width.

    Raises TypeError if it is not a whole number, ValueError outside [low, high].
    """
    number = _plain(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{name} must be a whole number, not {number!r} ({type(value).__name__})")
    if (low is not None and number < low) or (high is not None and number > high):
        allowed = (
            f"at least {low}"
            if high is None
            else f"at most {high}"
            if low is None
            else f"between {low} and {high}"
        )
        raise ValueError(f"{name} must be {allowed}, not {number}")
    return number


def whole_numbers(name, values, low=None, high=None):
    """A list, a range or a one-dimensional array or tensor of whole numbers as a list of ints;
    `name`: of each of them.

    Raises TypeError for anything else, and as `whole_number` for each.
    """
    if (
        not hasattr(values, "__iter__")
        or getattr(values, "ndim", 1) != 1
        or isinstance(values, (dict, set))
    ):
        raise TypeError(
            f"a list of whole numbers is needed, {name} each, not {values!r}"
            f" ({type(values).__name__})"
        )
    return [whole_number(name, value, low, high) for value in values]


def seed_number(name, value):
    """`value` as a seed: an int from 0 to 2^64 - 1. Raises as `whole_number`."""
    return whole_number(name, value, 0, LARGEST_SEED)


def real_number(name, value, low=None, high=None, above=None, below=None):
    """`value` as a finite float: Python's, numpy's or a tensor without axes.

    Raises TypeError if it is not a real number, ValueError outside [low, high] or (above, below) or
    if it is not finite.
    """
    number = _plain(value)
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise TypeError(f"{name} must be a number, not {number!r} ({type(value).__name__})")
    number = float(number)
    bounds = [
        ("at least", low, low is None or number >= low),
        ("above", above, above is None or number > above),
        ("at most", high, high is None or number <= high),
        ("below", below, below is None or number < below),
    ]
    if not math.isfinite(number) or not all(kept for _, _, kept in bounds):
        allowed = (
            f"between {low:g} and {high:g}"
            if None not in (low, high)
            else " and ".join(
                f"{words} {bound:g}" for words, bound, _ in bounds if bound is not None
            )
        )
        raise ValueError(f"{name} must be {allowed or 'finite'}, not {number:g}")
    return number


def true_or_false(name, value):
    """`value` as a bool, numpy's and PyTorch's included. Raises TypeError for anything else,
    numbers too."""
    truth = _plain(value)
    if not isinstance(truth, bool):
        raise TypeError(f"{name} must be True or False, not {truth!r} ({type(value).__name__})")
    return truth


def one_of(name, value, allowed):
    """The one of `allowed` that `value` is. Raises ValueError for any other."""
    number = _plain(value)
    for each in allowed:
        if type(number) is not bool and isinstance(number, type(each)) and number == each:
            return each
    raise ValueError(f"unknown {name} {value!r}: it may be one of {', '.join(map(str, allowed))}")


# The kinds that are needed most: functions of a name and a value.
positive_whole = functools.partial(whole_number, low=1)
whole_from_zero = functools.partial(whole_number, low=0)
positive = functools.partial(real_number, above=0)
not_negative = functools.partial(real_number, low=0)


def word(*allowed):
    """The check that a value is one of `allowed`."""
    return lambda name, value: one_of(name, value, allowed)


def or_none(check):
    """The same check for a value that may be None."""
    return lambda name, value: None if value is None else check(name, value)


def check_gradients(parameters=None):
    """Raise ValueError where training could change nothing: gradients switched off, or no weight
    that takes them."""
    if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
        off = (
            "torch.inference_mode()"
            if torch.is_inference_mode_enabled()
            else "torch.set_grad_enabled(False) or torch.no_grad()"
        )
        raise ValueError(
            f"gradients are switched off here, by {off}: training needs them,"
            " torch.set_grad_enabled(True)"
        )
    if parameters is None:
        return
    parameters = list(parameters)
    if not any(p.requires_grad for p in parameters):
        raise ValueError(
            f"all {len(parameters)} tensors of weights are frozen: training needs some with"
            " requires_grad=True"
        )
    if any(p.is_inference() for p in parameters):
        raise ValueError(
            "the model was made inside torch.inference_mode(): its weights cannot be trained, make"
            " it outside"
        )


def check_model(model):
    """Raise TypeError for anything but a torch module that reads token ids."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            "model must be a torch module, such as AdditionTransformer(), not"
            f" {type(model).__name__}"
        )
    lacking = [name for name in ("vocab_size", "max_seq_len") if not hasattr(model, name)]
    if lacking or next(model.parameters(), None) is None:
        raise TypeError(
            f"model must read token ids, as AdditionTransformer() does: {type(model).__name__} has"
            f" no {' and no '.join(lacking or ['weights'])}"
        )


def check_ids(name, tokens, vocab_size):
    """Raise ValueError where one of the token ids is outside a vocabulary."""
    if tokens.numel() and not 0 <= tokens.min() <= tokens.max() < vocab_size:
        raise ValueError(
            f"{name} must be between 0 and {vocab_size - 1}, "
            f"not {tokens.min().item()} to {tokens.max().item()}"
        )


def check_tokens(model, tokens):
    """Raise TypeError or ValueError where `tokens` is no batch that a model can read."""
    if not isinstance(tokens, torch.Tensor) or tokens.dtype != torch.int64:
        given = tokens.dtype if isinstance(tokens, torch.Tensor) else type(tokens).__name__
        raise TypeError(f"tokens must be a tensor of int64 token ids, not {given}")
    if tokens.dim() != 2:
        raise ValueError(f"tokens must have the shape (batch, time), not {tuple(tokens.shape)}")
    if tokens.shape[1] > model.max_seq_len:
        raise ValueError(
            f"the sequence has {tokens.shape[1]} tokens, the model's context is {model.max_seq_len}"
        )
    # On CUDA and MPS this look at the values would wait for the device at every step: there the
    # embedding itself (CUDA: an assertion) is the judge.
    if tokens.device.type == "cpu":
        check_ids("token ids", tokens, model.vocab_size)


def _check_examples(model, X, Y, answer_start, what):
    check_model(model)
    if not isinstance(X, torch.Tensor) or not isinstance(Y, torch.Tensor):
        raise TypeError(
            f"{what}_X and {what}_Y must be tensors, not {type(X).__name__} and {type(Y).__name__}"
        )
    if X.dim() != 2 or X.shape != Y.shape or not len(X):
        raise ValueError(
            f"{what}_X and {what}_Y must be two arrays of one shape (examples, time), "
            f"not {tuple(X.shape)} and {tuple(Y.shape)}"
        )
    if X.shape[1] > model.max_seq_len:
        raise ValueError(
            f"{what}_X has sequences of {X.shape[1]} tokens, the model's context is"
            f" {model.max_seq_len}"
        )
    for name, tokens in (("X", X), ("Y", Y)):
        if tokens.dtype != torch.int64:
            raise TypeError(f"{what}_{name} must hold int64 token ids, not {tokens.dtype}")
        check_ids(f"token ids in {what}_{name}", tokens, model.vocab_size)
    return whole_number("answer_start", answer_start, 0, X.shape[1] - 1)


# What is asked of several arguments at once: functions of all arguments of a call, by name.


def _operands_fit(given):
    for name in ("a", "b"):
        largest = 10 ** given["n_digits"] - 1
        given[name] = whole_number(f"operand {name}", given[name], 0, largest)


def _test_pairs_fit(given):
    half, n_test = 10 ** (2 * given["n_digits"]) // 2, given["n_test"]
    if n_test > half:
        raise ValueError(f"n_test must be at most half of the {2 * half:,} pairs, not {n_test:,}")


def _pairs_are_sums(given):
    width = 3 * given["n_digits"] + 3
    for name in ("train_X", "test_X"):
        X = given[name]
        if not isinstance(X, torch.Tensor):
            raise TypeError(f"{name} must be a tensor, not {type(X).__name__}")
        if X.dim() != 2 or not len(X) or X.shape[1] != width:
            raise ValueError(
                f"{name} must have the shape (examples, {width}) for {given['n_digits']}-digit"
                f" sums, not {tuple(X.shape)}"
            )
        if X.dtype != torch.int64:
            raise TypeError(f"{name} must hold int64 token ids, not {X.dtype}")


def _heads_divide(given):
    if given["d_model"] % given["n_heads"]:
        raise ValueError(
            f"n_heads must divide d_model = {given['d_model']}, not {given['n_heads']}"
        )


def _step_is_one(given):
    given["step"] = whole_number("step", given["step"], 0, given["total_steps"] - 1)


def _rows_are_examples(given):
    model, X, Y = given["model"], given["X"], given.get("Y", given["X"])
    given["answer_start"] = _check_examples(model, X, Y, given["answer_start"], "test")


def _can_train(given):
    for what in ("train", "test"):
        X, Y = given[f"{what}_X"], given[f"{what}_Y"]
        given["answer_start"] = _check_examples(given["model"], X, Y, given["answer_start"], what)
    if given["stop_at"] is not None:
        given["stop_at"] = whole_number("stop_at", given["stop_at"], 1, given["epochs"])
    measure = given["measure"]
    if measure is not None and not callable(measure):
        raise TypeError(
            f"measure must be a function of the model, not {measure!r} ({type(measure).__name__})"
        )
    check_gradients(given["model"].parameters())


def _prompt_fits(given):
    model, prompt, n = given["model"], given["prompt"], given["n"]
    check_model(model)
    if not isinstance(prompt, torch.Tensor) or prompt.dtype != torch.int64:
        raise TypeError("prompt must be a tensor of int64 token ids")
    if prompt.dim() != 2 or not prompt.shape[1]:
        raise ValueError(
            "prompt must have the shape (batch, time) with at least one token, not"
            f" {tuple(prompt.shape)}"
        )
    if prompt.shape[1] + n - 1 > model.max_seq_len:
        raise ValueError(
            f"{prompt.shape[1]} prompt tokens and {n} new ones need a context of "
            f"{prompt.shape[1] + n - 1}, the model's is {model.max_seq_len}"
        )


def _can_be_read(given):
    if not all(block.attn.causal for block in given["model"].blocks):
        raise ValueError(
            "a Reader needs a model with causal mask: without it, earlier positions change with"
            " each new token"
        )


def _has_attention(given):
    model, tokens = given["model"], given["tokens"]
    if not isinstance(tokens, torch.Tensor):
        raise TypeError(f"tokens must be a tensor of int64 token ids, not {type(tokens).__name__}")
    check_model(model)
    blocks = getattr(model, "blocks", [None])
    if not all(hasattr(getattr(block, "attn", None), "pattern") for block in blocks):
        raise TypeError(
            "model must have layers with attention, as AdditionTransformer() has:"
            f" {type(model).__name__} has none"
        )


def _has_epochs(given):
    if not len(given["history"]["epoch"]):
        raise ValueError("this history holds no epoch: nothing to plot")


def _maps_fit(given):
    maps, size, titles = given["maps"], len(given["labels"]), given["titles"]
    given["maps"] = maps = list(maps)
    shapes = [tuple(np.shape(weights)) for weights in maps]
    if not maps or any(shape != (size, size) for shape in shapes):
        raise ValueError(
            f"maps must be a list of ({size}, {size}) arrays, one row and column per label, not"
            f" {shapes}"
        )
    if isinstance(titles, str) or (titles is not None and len(titles) != len(maps)):
        raise ValueError(f"titles must be a list of {len(maps)}, one per map, not {titles!r}")


def _reads_ids(given):
    check_model(given["model"])


def _instance_of(kind, text, of):
    """The check that a value is of a class: `of` needs `text`."""

    def check(name, value):
        if not isinstance(value, kind):
            raise TypeError(f"{of} needs {text}, not {type(value).__name__}")
        return value

    return check


def _digits_to_reverse(name, value):
    digits = whole_numbers(f"a digit of {name}", value, 0, 9)
    if not digits:
        raise ValueError(f"{name} is empty: give at least one digit")
    return digits


def with_checks(function, also=None, **checks):
    """The function, with each named argument replaced by what its check makes of it: name=check.

    also: a function of the dictionary of all arguments, for what is asked of several at once.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args, **kwargs):
        try:
            call = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python says it better
        call.apply_defaults()
        given = call.arguments
        for name, check in checks.items():
            given[name] = check(name, given[name])
        if also is not None:
            also(given)
        return function(*call.args, **call.kwargs)

    return checked


def put_before(common):
    """Put its checks before each function and class of `_common.py`: the table of what is allowed.

    common: the module, when all of it is defined. Gradients, shapes and results stay as they are.
    """
    digits = functools.partial(whole_number, low=1, high=common.MAX_DIGITS)
    few_digits = functools.partial(whole_number, low=1, high=9)
    order = word(*common.DIGIT_ORDERS)
    sums = dict(n_digits=digits, digit_order=order)
    sizes = dict.fromkeys(("d_model", "d_ff", "n_heads"), positive_whole)
    switches = dict.fromkeys(("causal", "ffn", "norm", "positions"), true_or_false)

    def the_model_of(asker):
        text = "an AdditionTransformer"
        return _instance_of(common.AdditionTransformer, text, of=asker)

    def part(checks, *names, **more):
        return {name: checks[name] for name in names} | more

    functions = {
        "seeded_generator": dict(seed=seed_number),
        "encode_addition": dict(**sums, also=_operands_fit),
        "encode_reversal": dict(seq=_digits_to_reverse),
        "decode_tokens": dict(
            ids=lambda _, ids: whole_numbers("a token id", ids, 0, common.VOCAB_SIZE - 1)
        ),
        "make_addition_dataset": dict(n=positive_whole, **sums),
        "make_reversal_dataset": dict(n=positive_whole, seq_len=positive_whole),
        "pair_overlap": dict(n_digits=few_digits, also=_pairs_are_sums),
        "make_disjoint_addition_split": dict(
            n_train=positive_whole,
            n_test=positive_whole,
            n_digits=few_digits,
            digit_order=order,
            also=_test_pairs_fit,
        ),
        "addition_floor": dict(n_digits=positive_whole),
        "reversal_floor": dict(seq_len=positive_whole),
        "digits_at_chance": dict(floor=real_number, n_targets=positive_whole),
        "count_parameters": dict(
            model=_instance_of(nn.Module, "a torch module", of="count_parameters")
        ),
        "component_table": dict(model=the_model_of("component_table")),
        "learning_rate_at": dict(
            lr=not_negative,
            warmup_steps=whole_from_zero,
            total_steps=positive_whole,
            also=_step_is_one,
        ),
        "make_optimizer": dict(optimizer=word(*common.OPTIMIZERS), weight_decay=not_negative),
        "train_model": dict(
            **dict.fromkeys(("epochs", "batch_size", "eval_every"), positive_whole),
            **dict.fromkeys(("warmup_steps", "log_every"), whole_from_zero),
            lr=positive,
            clip=or_none(positive),
            seed=seed_number,
            extra_epochs=or_none(whole_from_zero),
            fit_factor=or_none(functools.partial(real_number, low=1)),
            also=_can_train,
        ),
        "predict_answers": dict(batch_size=positive_whole, also=_rows_are_examples),
        "column_accuracy": dict(also=_rows_are_examples),
        "exact_match": dict(also=_rows_are_examples),
        "generate": dict(n=whole_from_zero, also=_prompt_fits),
        "autoregressive_accuracy": dict(batch_size=positive_whole, also=_rows_are_examples),
        "census": dict(
            n_digits=functools.partial(whole_number, low=1, high=4),
            digit_order=order,
            batch_size=positive_whole,
            also=_reads_ids,
        ),
        "attention_weights": dict(also=_has_attention),
        "plot_training": dict(floor=or_none(not_negative), also=_has_epochs),
        "plot_attention": dict(also=_maps_fit),
    }
    classes = {
        common.Attention: part(
            sizes | switches, "d_model", "n_heads", "causal", also=_heads_divide
        ),
        common.FeedForward: part(sizes, "d_model", "d_ff"),
        common.Block: part(sizes | switches, "d_model", "ffn", "norm"),
        common.AdditionTransformer: dict(
            **sizes,
            **dict.fromkeys(("vocab_size", "n_layers", "max_seq_len"), positive_whole),
            **switches,
            also=_heads_divide,
        ),
        common.Reader: dict(model=the_model_of("a Reader"), rows=positive_whole, also=_can_be_read),
    }
    for name, checks in functions.items():
        setattr(common, name, with_checks(getattr(common, name), **checks))
    for each, checks in classes.items():
        each.__init__ = with_checks(each.__init__, **checks)
    common.AdditionTransformer.forward = _of_tokens(common.AdditionTransformer.forward)


def _of_tokens(forward):
    """A model's forward pass that looks at its token ids first; called at every step, so without
    `with_checks`."""

    @functools.wraps(forward)
    def checked(self, tokens):
        check_tokens(self, tokens)
        return forward(self, tokens)

    return checked
