"""One model for two tasks: addition of three digits and reversal of five, told apart by a task
token in front.

Both are padded to 15 tokens so that the answer begins at the same place:

    <ADD> a a a + b b b = s s s s <EOS> <PAD>
    <REV> <PAD> <PAD> d d d d d = r r r r r <EOS>
"""

import math

import torch

import _common
from _checks import whole_number
from _common import (
    VOCAB,
    VOCAB_INV,
    exact_match,
    make_addition_dataset,
    make_reversal_dataset,
    own_defaults,
)

VOCAB_SIZE = _common.VOCAB_SIZE + 2  # the shared vocabulary and two task tokens
ADD, REV, PAD = VOCAB_SIZE - 2, VOCAB_SIZE - 1, VOCAB["<PAD>"]
SYMBOLS = {**VOCAB_INV, ADD: "<ADD>", REV: "<REV>"}
LENGTH = 15  # tokens of a whole sequence
ANSWER_START = 8  # first target column of the answer


def _whole(X, Y):
    return torch.cat([X, Y[:, -1:]], dim=1)  # (N, T) twice -> (N, T + 1)


@own_defaults()
def make_dataset(n, seed, n_addition=None):
    """n examples as (X, Y), two int64 tensors (n, 14): first the sums, half of the rows unless
    `n_addition` says, then the reversals. The draws are those of the shared datasets with the same
    seed.

    Raises ValueError where either task would get no row.
    """
    n = whole_number("n", n, 2)
    n_addition = n // 2 if n_addition is None else whole_number("n_addition", n_addition)
    if not 1 <= n_addition < n:
        raise ValueError(
            f"each task needs at least one row: {n_addition} of {n} for addition is not possible"
        )
    sums = _whole(*make_addition_dataset(n_addition, 3, seed))  # (N1, 13)
    strings = _whole(*make_reversal_dataset(n - n_addition, 5, seed))  # (N2, 12)

    def column(rows, token):
        return torch.full((len(rows), 1), token)

    sequences = torch.cat(
        [
            torch.cat([column(sums, ADD), sums, column(sums, PAD)], dim=1),
            torch.cat(
                [column(strings, REV), column(strings, PAD), column(strings, PAD), strings], dim=1
            ),
        ]
    )
    return sequences[:, :-1], sequences[:, 1:]


def joint_floor():
    """The lowest expected loss of the mixture in nats per target: 6 of 14 targets are random digits
    in a sum (the first operand digit is now a target too), 5 of 14 in a reversal."""
    return (6 + 5) / 2 * math.log(10) / (LENGTH - 1)


def accuracy_by_task(test_X, test_Y, answer_start):
    """A function for `train_model(measure=...)`: the test exact match of each task on its own
    rows."""
    parts = {"addition_accuracy": test_X[:, 0] == ADD, "reversal_accuracy": test_X[:, 0] == REV}
    rows = {name: (test_X[part], test_Y[part]) for name, part in parts.items()}
    return lambda model: {
        name: exact_match(model, X, Y, answer_start) for name, (X, Y) in rows.items()
    }


@torch.no_grad()
def start_from(model, weights):
    """Copy the weights of a model that learned another task into `model`, in place.

    The two differ in length at most: positions that both have are copied, further ones stay as they
    are. Raises ValueError where anything else does not fit.
    """
    own = model.state_dict()
    if set(own) != set(weights):
        raise ValueError(f"the weights do not fit this model: {sorted(set(own) ^ set(weights))}")
    for name, value in weights.items():
        shared = min(len(own[name]), len(value)) if name == "pos_emb.weight" else len(value)
        if own[name][:shared].shape != value[:shared].shape or (
            name != "pos_emb.weight" and own[name].shape != value.shape
        ):
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}, the model needs {tuple(own[name].shape)}"
            )
        own[name][:shared] = value[:shared]
