"""Linear probes: can something be read off a hidden vector by a line, is it more than the probe's
own skill, is it used?

A probe is a least-squares regression of a label of -1 or 1 on the vector (for two classes: linear
discriminant analysis). The control task, after Hewitt and Liang (2019), gives each *type* of input
a random label: a probe that learns this as well has memorised types, so its accuracy on the real
label says little.
"""

import copy
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from _common import own_defaults, seeded_generator
from lab.addition.carries import carries
from lab.addition.interventions import Sums, patch, streams
from lab.checks import seeded_rng

__all__ = (
    "Probe fit_probe ones_types control_labels carry_probes read_digits tens_digit_probes overwrite"
).split()


@dataclass(frozen=True)
class Probe:
    """weight: (D,), offset: a number. `read(x)` of vectors (N, D) is positive where the probe says
    "carry"."""

    weight: np.ndarray
    offset: float

    def read(self, x):
        return x @ self.weight + self.offset

    def accuracy(self, x, labels):
        """Share of vectors (N, D) whose boolean label (N,) is read off right."""
        return float(((self.read(x) > 0) == labels).mean())


def fit_probe(x, labels, ridge=1e-3):
    """The probe of vectors (N, D) for boolean labels (N,). `ridge`: as a share of the mean variance
    of a coordinate.

    Both classes weigh the same. Raises ValueError for shapes that do not match or labels of one
    class only.
    """
    x, labels = np.asarray(x, dtype=float), np.asarray(labels)
    if x.ndim != 2 or labels.shape != (len(x),) or labels.dtype != bool:
        raise ValueError(
            f"a probe needs vectors (N, D) and N booleans, not {x.shape} and {labels.dtype}"
            f" {labels.shape}"
        )
    if labels.all() or not labels.any():
        raise ValueError("a probe needs examples of both classes")
    middle = (x[labels].mean(0) + x[~labels].mean(0)) / 2
    centred = x - middle
    target, weights = (
        np.where(labels, 1.0, -1.0),
        np.where(labels, 0.5 / labels.mean(), 0.5 / (~labels).mean()),
    )
    gram = (centred * weights[:, None]).T @ centred / len(x)
    penalty = ridge * np.trace(gram) / x.shape[1] + 1e-12
    weight = np.linalg.solve(
        gram + penalty * np.eye(x.shape[1]), (centred * (weights * target)[:, None]).mean(0)
    )
    return Probe(weight, float(-middle @ weight))


def ones_types(sums):
    """The pair of ones digits of each sum as one number 0..99: (N,)."""
    return sums.a % 10 * 10 + sums.b % 10


def control_labels(types, share, seed):
    """A random label for each of the 100 types, the same wherever the type occurs: (N,) types ->
    (N,) booleans.

    `share` of the types are True, as many as carry in truth.
    """
    table = np.zeros(100, dtype=bool)
    table[seeded_rng(seed).permutation(100)[: round(100 * share)]] = True
    return table[types]


def random_sums(n, seed):
    """n uniform sums."""
    return Sums(*seeded_rng(seed).integers(1000, size=(2, n)))


def carry_probes(model, n_train=4_000, n_test=4_000, seed=60, n_controls=3):
    """Probes for the carry out of the ones column at each depth and position: DataFrame
    (depth, position, accuracy, control, n). Accuracy on held-out sums; control: mean accuracy on
    `n_controls` control tasks, on the same sums."""
    train, test = random_sums(n_train, seed), random_sums(n_test, seed + 1)
    truth = [carries(s.a, s.b)[:, 0] for s in (train, test)]
    types = [ones_types(s) for s in (train, test)]
    controls = [[control_labels(t, 0.45, seed + i) for t in types] for i in range(n_controls)]
    # a sum at a probe's border is read alike on every machine
    rows, exact = [], copy.deepcopy(model).double()
    for depth, (x_train, x_test) in enumerate(
        zip(streams(exact, train.tokens[:, :11]), streams(exact, test.tokens[:, :11]))
    ):
        x_train, x_test = x_train.numpy(), x_test.numpy()  # (N, 11, D)
        for position in range(11):
            a, b = x_train[:, position], x_test[:, position]
            accuracies = [
                fit_probe(a, labels).accuracy(b, held_out)
                for labels, held_out in [truth, *controls]
            ]
            rows.append((depth, position, accuracies[0], float(np.mean(accuracies[1:])), n_test))
    return pd.DataFrame(rows, columns=["depth", "position", "accuracy", "control", "n"])


def read_digits(x_train, digits, x_test):
    """Digits read off vectors x_test (M, D) by ten least-squares regressions, one for each digit;
    the largest wins: (M,).

    Fitted on vectors x_train (N, D) with their digits (N,), 0..9. Raises ValueError for shapes that
    do not match.
    """
    x_train, x_test, digits = (
        np.asarray(x_train, dtype=float),
        np.asarray(x_test, dtype=float),
        np.asarray(digits),
    )
    if (
        x_train.ndim != 2
        or x_test.ndim != 2
        or x_train.shape[1] != x_test.shape[1]
        or digits.shape != (len(x_train),)
    ):
        raise ValueError(
            f"vectors (N, D) and (M, D) with N digits are needed, not {x_train.shape},"
            f" {x_test.shape}, {digits.shape}"
        )
    mean = x_train.mean(0)
    shares = np.eye(10)[digits]  # (N, 10)
    weights = np.linalg.lstsq(x_train - mean, shares - shares.mean(0), rcond=None)[0]  # (D, 10)
    return ((x_test - mean) @ weights + shares.mean(0)).argmax(1)


def tens_digit_probes(model, depth, position, n_train=4_000, n_test=4_000, seed=60, n_controls=3):
    """Can the tens digit of the answer be read at one place? DataFrame (answer, column, control), a
    row per held-out sum.

    answer: was the answer's tens digit read right? column: was the digit of the tens column alone,
    before any carry, read right? control: the same for that digit plus a carry that is a random
    label of the pair of ones digits, as the share of `n_controls` tasks. Raises as `streams`.
    """
    train, test = random_sums(n_train, seed), random_sums(n_test, seed + 1)
    exact = copy.deepcopy(model).double()
    x_train, x_test = (
        streams(exact, s.tokens[:, :11])[depth][:, position].numpy() for s in (train, test)
    )

    def right(digit):
        return read_digits(x_train, digit(train), x_test) == digit(test)

    def column(sums):
        return (sums.a // 10 + sums.b // 10) % 10

    controls = [
        right(lambda sums: (column(sums) + control_labels(ones_types(sums), 0.45, seed + i)) % 10)
        for i in range(n_controls)
    ]
    return pd.DataFrame(
        {
            "answer": right(lambda sums: (sums.a + sums.b) // 10 % 10),
            "column": right(column),
            "control": np.mean(controls, axis=0),
        }
    )


@own_defaults()
@torch.no_grad()
def overwrite(model, sums, depth, places, seed=60, n_train=4_000):
    """Write the other carry into the stream at positions: DataFrame (places, direction, carries,
    flipped, kept, length, n).

    places: {name: positions}, each tried on its own, all its positions at once. Directions:
    "probe", the vector is mirrored at the probe's border, so that the probe reads the other carry
    just as surely; "means", it is moved by the difference of the two classes' means; each also with
    a random direction per sum and a step of the same length ("probe, random", "means, random").
    flipped: share of sums whose tens digit becomes the one that belongs to the other carry; kept:
    share that stays right; length: mean length of the step as a share of the vector's.
    """
    train, tokens = random_sums(n_train, seed), sums.tokens[:, :9]
    has, tens = carries(sums.a, sums.b)[:, 0], sums.answer[:, 1]
    other = (tens + torch.as_tensor(np.where(has, -1, 1))) % 10
    learn, here = streams(model, train.tokens[:, :9])[depth], streams(model, tokens)[depth]
    carry, generator = carries(train.a, train.b)[:, 0], seeded_generator(seed)
    steps = {
        p: _steps(learn[:, p].double().numpy(), carry, here[:, p], has, generator)
        for p in set(sum(places.values(), ()))
    }
    rows = []
    for name, positions in places.items():
        for direction in steps[positions[0]]:
            moves = {p: steps[p][direction] for p in positions}
            with ExitStack() as stack:
                for p, move in moves.items():
                    stack.enter_context(patch(model, depth, p, here[:, p] + move))
                now = model(tokens)[:, 8].argmax(1)
            length = float(
                np.mean(
                    [
                        (move.norm(dim=1) / here[:, p].norm(dim=1)).mean()
                        for p, move in moves.items()
                    ]
                )
            )
            for k in np.unique(sums.n_carries):
                mine = torch.as_tensor(sums.n_carries == k)
                rows.append(
                    (
                        name,
                        direction,
                        int(k),
                        (now == other)[mine].double().mean().item(),
                        (now == tens)[mine].double().mean().item(),
                        length,
                        int(mine.sum()),
                    )
                )
    return pd.DataFrame(
        rows, columns=["places", "direction", "carries", "flipped", "kept", "length", "n"]
    )


def _steps(learn, carry, here, has, generator):
    """What to add to the vectors `here` (N, D): a dictionary of four (N, D), see `overwrite`."""
    probe, gap = fit_probe(learn, carry), learn[carry].mean(0) - learn[~carry].mean(0)
    mirror = (
        -2
        * probe.read(here.double().numpy())[:, None]
        * probe.weight
        / max(float(probe.weight @ probe.weight), 1e-12)
    )
    steps = {}
    for name, step in (("probe", mirror), ("means", np.where(has, -1.0, 1.0)[:, None] * gap)):
        step = torch.as_tensor(step, dtype=here.dtype)
        noise = torch.randn(step.shape, generator=generator)
        steps |= {
            name: step,
            f"{name}, random": F.normalize(noise, dim=1) * step.norm(dim=1, keepdim=True),
        }
    return steps
