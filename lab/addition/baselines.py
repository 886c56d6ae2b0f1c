"""What a statistician would try before a transformer, fitted and measured on the very same sums.

Every rule takes the training sums and the test inputs as `make_addition_dataset` gives them (ones
first) and returns a `FittedRule`: the answers it writes on the test sums, and how many numbers were
fitted for that. `n` is the number of digits per operand, read off the width 3 n + 3 of the inputs.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import OneHotEncoder

from _common import EOS, EQUALS, PLUS, VOCAB_SIZE
from lab.stats import exact_interval

__all__ = """
    FittedRule digits_per_operand operand_digits answer_tokens regression_of_sum
    regression_of_digits logits_of_digits sum_by_regression
    digits_by_regression digits_by_logistic digits_by_bigram answers_of_nearest_neighbour
    fit_all_baselines comparison_table bigram_probabilities oracle_probabilities loss_per_target
""".split()


@dataclass(frozen=True)
class FittedRule:
    """A rule after fitting. answers: (N, n + 2) token ids on the test sums; numbers: how many free
    parameters were fitted (for the nearest neighbour: how many digits it stores)."""

    name: str
    inputs: (
        str  # what the operand digits are to it: "numbers" or "labels"; the bigram model sees none
    )
    output: str  # what it predicts: "the sum" as one number, "a digit" as a number, "a label"
    numbers: int
    answers: np.ndarray


# --------------------------------------------------------------------------------------------------
# Parts of a sequence
# --------------------------------------------------------------------------------------------------


def digits_per_operand(X):
    """n, from inputs of shape (N, 3 n + 3). Raises ValueError for any other shape."""
    if getattr(X, "ndim", 0) != 2 or X.shape[1] < 6 or X.shape[1] % 3:
        raise ValueError(
            f"inputs must have the shape (N, 3 n + 3), not {tuple(getattr(X, 'shape', ()))}"
        )
    return X.shape[1] // 3 - 1


def operand_digits(X):
    """The digits of both operands, most significant first: (N, 3 n + 3) -> (N, 2 n) integers."""
    n, X = digits_per_operand(X), np.asarray(X)
    if (X[:, n] != PLUS).any() or (X[:, 2 * n + 1] != EQUALS).any():
        raise ValueError("inputs must be sums: `+` and `=` are not where they should be")
    return np.hstack([X[:, :n], X[:, n + 1 : 2 * n + 1]])


def answer_tokens(Y):
    """The answer with its <EOS>: targets (N, 3 n + 3) -> (N, n + 2) integers."""
    return np.asarray(Y)[:, 2 * digits_per_operand(Y) + 1 :]


def _with_end(digits):
    return np.hstack([digits, np.full((len(digits), 1), EOS)]).astype(np.int64)


def _indicators(labels, train_labels):
    """One 0/1 column per label and position, as a sparse matrix; the labels are those of the
    training sums."""
    return _encoder(train_labels).transform(labels)


def _encoder(labels):
    return OneHotEncoder(handle_unknown="ignore", dtype=np.float64).fit(labels)


def _column_pairs(digits):
    """Both digits of a column as one label out of 100: (N, 2 n) -> (N, n)."""
    n = digits.shape[1] // 2
    return 10 * digits[:, :n] + digits[:, n:]


# --------------------------------------------------------------------------------------------------
# The rules
# --------------------------------------------------------------------------------------------------


def _sums(Y):
    """The sum of each row, one number: targets (N, 3 n + 3) -> (N,)."""
    n = digits_per_operand(Y)
    return answer_tokens(Y)[:, : n + 1] @ 10 ** np.arange(n + 1)  # ones first


def regression_of_sum(X, Y):
    """Least squares of the sum, one number, on the operand digits as numbers: the fitted model."""
    return LinearRegression().fit(operand_digits(X), _sums(Y))


def regression_of_digits(X, Y):
    """Least squares of each answer digit, as a number, on the operand digits as numbers: the fitted
    model, with n + 1 outputs, ones first."""
    return LinearRegression().fit(
        operand_digits(X), answer_tokens(Y)[:, : digits_per_operand(X) + 1]
    )


def logits_of_digits(X, Y, pairs=False):
    """A multinomial logit of each answer digit, see `digits_by_logistic`: (encoder, models).

    encoder: operand digits, or pairs of them, to indicator columns; models: n + 1 of them, ones
    first.
    """
    digits = operand_digits(X)
    labels = _column_pairs(digits) if pairs else digits
    encoder = _encoder(labels)
    features = encoder.transform(labels)
    answers = answer_tokens(Y)[:, : digits_per_operand(X) + 1]
    return encoder, [LogisticRegression(max_iter=500).fit(features, each) for each in answers.T]


def sum_by_regression(train_X, train_Y, test_X, as_labels=False):
    """Least squares of the sum, one number, on the operand digits as numbers, or as labels
    (indicator columns).

    The prediction is rounded, kept within the sums there are, and written in digits.
    """
    n = digits_per_operand(train_X)
    train, test = operand_digits(train_X), operand_digits(test_X)
    if as_labels:
        numbers = 2 * n * 9 + 1  # one level of each digit is the baseline
        fitted = LinearRegression().fit(_indicators(train, train), _sums(train_Y))
        test = _indicators(test, train)
    else:
        numbers, fitted = 2 * n + 1, regression_of_sum(train_X, train_Y)
    sums = np.rint(fitted.predict(test)).clip(0, 2 * (10**n - 1)).astype(np.int64)
    digits = sums[:, None] // 10 ** np.arange(n + 1) % 10
    return FittedRule(
        "linear regression",
        "labels" if as_labels else "numbers",
        "the sum",
        numbers,
        _with_end(digits),
    )


def digits_by_regression(train_X, train_Y, test_X):
    """Least squares of each answer digit, as a number, on the operand digits as numbers; rounded to
    0..9."""
    n = digits_per_operand(train_X)
    fitted = regression_of_digits(train_X, train_Y)
    digits = np.rint(fitted.predict(operand_digits(test_X))).clip(0, 9)
    return FittedRule(
        "linear regression per digit",
        "numbers",
        "a digit",
        (2 * n + 1) * (n + 1),
        _with_end(digits),
    )


def digits_by_logistic(train_X, train_Y, test_X, pairs=False):
    """Multinomial logistic regression of each answer digit, as a label, on the operand digits as
    labels.

    pairs: the two digits of a column together are one label out of 100, so that they may interact.
    A slight ridge penalty (scikit-learn's C = 1) keeps the coefficients finite where a digit is
    determined.
    """
    n = digits_per_operand(train_X)
    encoder, models = logits_of_digits(train_X, train_Y, pairs)
    test = operand_digits(test_X)
    features = encoder.transform(_column_pairs(test) if pairs else test)
    columns = [fitted.predict(features) for fitted in models]
    # Free ones: one level of each factor, and one class, is the baseline.
    free = features.shape[1] - (n if pairs else 2 * n) + 1
    numbers = sum(free * (len(fitted.classes_) - 1) for fitted in models)
    name = "logistic per digit, column pairs" if pairs else "logistic per digit"
    return FittedRule(name, "labels", "a label", numbers, _with_end(np.stack(columns, axis=1)))


def bigram_probabilities(X, Y):
    """The share of each next token after each token: (V, V), rows sum to 1 (a token never seen: a
    uniform row)."""
    counts = np.zeros((VOCAB_SIZE, VOCAB_SIZE))
    np.add.at(counts, (np.asarray(X).ravel(), np.asarray(Y).ravel()), 1)
    totals = counts.sum(1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), 1 / VOCAB_SIZE)


def digits_by_bigram(train_X, train_Y, test_X):
    """The most frequent next token after the last one, given the right tokens so far (teacher
    forcing)."""
    best = bigram_probabilities(train_X, train_Y).argmax(1)
    n = digits_per_operand(test_X)
    return FittedRule(
        "bigram",
        "last token",
        "a label",
        VOCAB_SIZE * (VOCAB_SIZE - 1),
        best[np.asarray(test_X)[:, 2 * n + 1 :]],
    )


def answers_of_nearest_neighbour(train_X, train_Y, test_X, batch_size=500):
    """The answer of the training sum that agrees in most operand digits (Hamming distance); of
    several, the first."""
    train, test = operand_digits(train_X), operand_digits(test_X)
    features = _indicators(train, train).toarray().astype(np.float32).T  # (20 n, N_train)
    test_features = _indicators(test, train).toarray().astype(np.float32)
    nearest = np.concatenate(
        [
            (test_features[start : start + batch_size] @ features).argmax(
                1
            )  # agreements, first maximum
            for start in range(0, len(test), batch_size)
        ]
    )
    answers = answer_tokens(train_Y)
    return FittedRule(
        "nearest neighbour",
        "labels",
        "a label",
        train.size + answers[:, :-1].size,
        answers[nearest],
    )


def fit_all_baselines(train_X, train_Y, test_X):
    """Every rule of this file on one training set: a list of FittedRule, in the order of the
    chapter."""
    data = train_X, train_Y, test_X
    return [
        sum_by_regression(*data),
        sum_by_regression(*data, as_labels=True),
        digits_by_regression(*data),
        digits_by_logistic(*data),
        digits_by_logistic(*data, pairs=True),
        digits_by_bigram(*data),
        answers_of_nearest_neighbour(*data),
    ]


def comparison_table(rules, test_Y):
    """One row per rule: what it sees and predicts, fitted numbers, exact match with its exact 95 %
    interval, and the share right in each answer column (column_1: the ones). Shares are 0..1."""
    wanted = answer_tokens(test_Y)
    rows = []
    for rule in rules:
        right = rule.answers == wanted  # (N, n + 2)
        low, high = exact_interval(right.all(1).sum(), len(right))
        rows.append(
            {
                "rule": rule.name,
                "inputs": rule.inputs,
                "output": rule.output,
                "numbers": rule.numbers,
                "exact_match": right.all(1).mean(),
                "low": low,
                "high": high,
                **{f"column_{i}": share for i, share in enumerate(right.mean(0), start=1)},
            }
        )
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------------------------------
# Probabilities, and what they cost
# --------------------------------------------------------------------------------------------------


def oracle_probabilities(X, Y):
    """What somebody who knows addition, and the whole prompt once it is there, would say:
    (N, T, V).

    A tenth for each digit where an operand digit comes next; certainty everywhere else.
    """
    n, Y = digits_per_operand(X), np.asarray(Y)
    certain = np.eye(VOCAB_SIZE)[Y]  # (N, T, V)
    # Targets 0 .. n - 2 and n .. 2 n - 1 are operand digits; n - 1 is `+`, 2 n is `=`.
    operands = np.r_[0 : n - 1, n : 2 * n]
    certain[:, operands] = np.r_[np.full(10, 0.1), np.zeros(VOCAB_SIZE - 10)]
    return certain


def loss_per_target(probabilities, Y):
    """The cross-entropy -log p(right token) of each target, in nats: (N, T, V) or (T, V)-like ->
    (N, T)."""
    Y = np.asarray(Y)
    chosen = np.take_along_axis(
        np.broadcast_to(probabilities, (*Y.shape, VOCAB_SIZE)), Y[..., None], axis=-1
    )[..., 0]
    with np.errstate(divide="ignore"):
        return -np.log(chosen)
