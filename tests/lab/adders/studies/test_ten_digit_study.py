"""What chapter 9 measures on the 763 and the 777, against slow formulas and on models whose answer
is known."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from _common import VOCAB_SIZE, attention_weights
from lab.adders.formats import DIGITS, FORMATS, answer_pairs, digits_of
from lab.adders.fragility import right_sums, wrong_digits
from lab.adders.models.small_transformer import SMALL_TRANSFORMERS
from lab.adders.studies.ten_digit_study import (
    KINDS,
    PLACES,
    attention_shares,
    best_and_last,
    column_kinds,
    column_table,
    edge_costs,
    errors_by_kind,
    fixed_and_free,
    fixed_attention,
    given_places,
    look_to_look,
    mean_attention,
    right_at_length,
)
from lab.adders.ten_digits import stratified_pairs, uniform_pairs
from lab.addition.interventions import hooks

pytestmark = pytest.mark.usefixtures("one_thread")


class Scripted(nn.Module):
    """Adds as it is told to: writes the digits of `total(a, b)` after operands of any width, in the
    763's format."""

    def __init__(self, total):
        super().__init__()
        self.total, self.max_seq_len, self.vocab_size, self.config = (
            total,
            35,
            VOCAB_SIZE,
            SMALL_TRANSFORMERS["763"],
        )
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, tokens):
        n = int((tokens[0] == 10).nonzero()[0])  # where the plus sign stands
        powers = 10 ** torch.arange(n - 1, -1, -1)
        a, b = (tokens[:, :n] * powers).sum(1), (tokens[:, n + 1 : 2 * n + 1] * powers).sum(1)
        digits = digits_of(self.total(a, b), n + 1)
        logits = torch.zeros(*tokens.shape, VOCAB_SIZE)
        for row in range(2 * n + 1, min(tokens.shape[1], 3 * n + 2)):
            logits[torch.arange(len(a)), row, digits[:, row - 2 * n - 1]] = 1
        return logits


def without_ripples(a, b):
    """The sum of somebody who carries out of columns of 10 or more, and never through a column of
    9."""
    x, y = digits_of(a, 11), digits_of(b, 11)
    carry = torch.cat(
        [torch.zeros(len(a), 1, dtype=torch.int64), (x + y >= 10).long()[:, :-1]], dim=1
    )
    return ((x + y + carry) % 10 * 10 ** torch.arange(11)).sum(1)


def some_pairs(n=400):
    return uniform_pairs(n, torch.Generator().manual_seed(5))


def test_column_kinds_against_schoolbook_addition():
    a, b, _ = stratified_pairs(20, 3)
    kinds = column_kinds(a, b)
    for x, y, row in zip(a.tolist(), b.tolist(), kinds.tolist()):
        carry = 0
        for i, kind in enumerate(row):
            total = x // 10**i % 10 + y // 10**i % 10
            assert KINDS[kind] == (
                "none"
                if total < 9
                else "generated"
                if total > 9
                else "rippled"
                if carry
                else "stopped"
            )
            carry = int(total + carry > 9)


def test_errors_by_kind_find_what_is_wrong():
    a, b, _ = stratified_pairs(20, 3)
    assert errors_by_kind(Scripted(lambda a, b: a + b), a, b)["wrong"].sum() == 0
    table = errors_by_kind(Scripted(without_ripples), a, b)
    rippled = table["kind"] == "rippled"
    assert (
        table.loc[rippled, "wrong"].equals(table.loc[rippled, "digits"])
        and table.loc[~rippled, "wrong"].sum() == 0
    )
    assert table["digits"].sum() == DIGITS * len(a)


def test_wrong_digits_are_those_of_greedy_decoding_where_the_first_is():
    model = SMALL_TRANSFORMERS["777"].build(2)
    a, b = some_pairs(50)
    wrong = wrong_digits(model, a, b)
    assert torch.equal(~wrong.any(1), right_sums(model, a, b)) and wrong.shape == (50, 11)
    written = digits_of(answer_pairs(Scripted(without_ripples), a, b), 11) != digits_of(a + b, 11)
    read = wrong_digits(Scripted(without_ripples), a, b)
    for row in range(50):
        assert written[row].any() == read[row].any()
        assert not written[row].any() or written[row].long().argmax() == read[row].long().argmax()


def test_attention_is_replaced_and_put_back():
    model, (a, b) = SMALL_TRANSFORMERS["763"].build(1), some_pairs(60)
    tokens = FORMATS["plain"].sequences(a, b)[:, :-1]
    pattern = mean_attention(model, a, b)
    assert pattern.shape == (33, 33) and torch.allclose(pattern.sum(1), torch.ones(33), atol=1e-5)
    before = model(tokens)
    with fixed_attention(model, pattern):
        assert torch.equal(attention_weights(model, tokens)[0][7, 0], pattern)
        assert torch.equal(attention_weights(model, tokens[:, :30])[0][3, 0], pattern[:30, :30])
        assert not torch.equal(model(tokens), before)
    assert torch.equal(model(tokens), before)
    fixed, free = fixed_and_free(model, a, b)
    assert free == float(right_sums(model, a, b).double().mean())
    with fixed_attention(model, pattern):
        assert fixed == float(right_sums(model, a, b).double().mean())


def test_rows_are_given_their_places_and_no_others():
    model, (a, b) = SMALL_TRANSFORMERS["777"].build(4), some_pairs(30)
    tokens = FORMATS["plain"].sequences(a, b)[:, :-1]
    own = attention_weights(model, tokens)[0]
    with given_places(model, [0, 4]):
        given = attention_weights(model, tokens)[0]
    others = [row for row in range(33) if row not in (21, 25)]
    assert torch.equal(given[:, :, others], own[:, :, others])
    shares = attention_shares(given[3, 0])
    assert shares.loc[4, ["own_x", "own_y", "before_x", "before_y"]].tolist() == pytest.approx(
        [10 / 22, 10 / 22, 1 / 22, 1 / 22]
    )
    assert (
        shares.loc[0, ["own_x", "own_y"]].tolist() == [0.5, 0.5]
        and shares.loc[[0, 4], "rest"].abs().max() < 1e-6
    )
    with pytest.raises(ValueError, match="a column must be between 0 and 9, not 10"):
        given_places(model, [10, 3])


def test_attention_shares_look_where_the_digits_stand():
    a, b = 9876543210, 1112131415
    sequence = FORMATS["plain"].sequences(torch.tensor([a]), torch.tensor([b]))[0]
    for i in range(11):
        for name, digit in (
            ("own_x", a // 10**i % 10),
            ("own_y", b // 10**i % 10),
            ("before_x", a * 10 // 10**i % 10),
            ("before_y", b * 10 // 10**i % 10),
        ):
            shares = [
                attention_shares(torch.eye(33)[key].expand(33, 33)).loc[i, name]
                for key in range(33)
            ]
            if (name.startswith("own") and i == 10) or (name.startswith("before") and i == 0):
                assert all(share != share for share in shares)
            else:
                assert sum(shares) == 1 and sequence[shares.index(1)] == digit
        last = attention_shares(torch.eye(33))
        assert last.loc[i, "last"] == 1 and last.loc[i, "rest"] == 0


def test_cutting_all_edges_is_cutting_what_the_sum_says():
    model, (a, b) = SMALL_TRANSFORMERS["777"].build(3), some_pairs(80)
    costs = edge_costs(model, a, b).set_index("cut")["wrong"]
    assert set(costs.index) == {"nothing", "all", "rest", *PLACES}
    assert costs["nothing"] == int(wrong_digits(model, a, b)[:, 1:10].sum())
    out = []  # with every edge at its mean a row receives the mean of what it receives
    with hooks(
        model.blocks[0].attn.register_forward_hook(lambda module, args, output: out.append(output))
    ):
        model(FORMATS["plain"].sequences(a, b)[:, :-1])
    constant = out[0].mean(0)
    with hooks(
        model.blocks[0].attn.register_forward_hook(
            lambda module, args, output: constant[: output.shape[1]].expand_as(output)
        )
    ):
        assert costs["all"] == int(wrong_digits(model, a, b)[:, 1:10].sum())


def test_the_table_of_columns_reads_accuracy_and_attention():
    seeds = [3, 8]
    sweep = SimpleNamespace(
        outcomes=pd.DataFrame({"seed": seeds}),
        model=lambda seed: SMALL_TRANSFORMERS["777"].build(seed),
    )
    table, (a, b) = column_table(sweep, n=40, seed=5), some_pairs(40)
    assert len(table) == 22 and table["seed"].unique().tolist() == seeds
    model = sweep.model(8)
    sequences = FORMATS["plain"].sequences(a, b)
    weights = attention_weights(model, sequences[:, :-1])[0][:, 0].double().mean(0)  # (33, 33)
    row = table[(table["seed"] == 8) & (table["column"] == 3)].iloc[0]
    assert row["own"] == pytest.approx(float(weights[24, 6] + weights[24, 17]), rel=1e-5)
    expected = (
        math.log(weights[24, 6] / weights[24, 7]) + math.log(weights[24, 17] / weights[24, 18])
    ) / 2
    assert row["log_ratio"] == pytest.approx(expected, rel=1e-4)
    with torch.no_grad():
        written = model(sequences[:, :-1])[:, 24].argmax(-1)
    assert row["right"] == float((written == digits_of(a + b, 11)[:, 3]).double().mean())
    assert (
        table.loc[table["column"] == 0, "log_ratio"].isna().all()
        and table.loc[table["column"] == 10, "own"].isna().all()
    )


def test_look_to_look():
    history = pd.DataFrame(
        {
            "seed": [1, 1, 1, 2, 2, 2],
            "step": [30, 10, 20] * 2,
            "exact": [0.2, 0.9, 0.5, 0.7, 0.0, 0.1],
        }
    )
    assert look_to_look(history, 0, 30) == pytest.approx((0.3 + 0.4) / 2) and look_to_look(
        history, 0, 20
    ) == pytest.approx(0.25)
    assert math.isnan(look_to_look(history, 20, 30))


def test_best_and_last():
    history = pd.DataFrame(
        {
            "seed": [1, 1, 1, 2, 2, 2],
            "step": [30, 10, 20] * 2,
            "exact": [0.2, 0.9, 0.5, 0.7, 0.0, 0.1],
        }
    )
    assert best_and_last(history, 10).to_dict("index") == {
        1: {"best": 0.5, "last": 0.2},
        2: {"best": 0.7, "last": 0.7},
    }
    assert (
        best_and_last(history, 5).loc[1, "best"] == 0.9
        and best_and_last(history, 99).loc[1, "best"] == 0.2
    )


def test_length():
    a, b = some_pairs(30)
    right = Scripted(lambda a, b: a + b)
    assert right_at_length(right, a, b, 10).all() and right_at_length(
        right, 10 * a + 3, 10 * b + 9, 11
    ).shape == (30, 12)
    assert (
        right_at_length(right, 10 * a + 3, 10 * b + 9, 11).all()
        and right_at_length(right, a % 10, b % 10, 1).all()
    )
    model = SMALL_TRANSFORMERS["777"].build(2)
    assert torch.equal(right_at_length(model, a, b, 10).all(1), answer_pairs(model, a, b) == a + b)
    with pytest.raises(ValueError, match="n_digits must be between 1 and 11, not 12"):
        right_at_length(model, a, b, 12)
    with pytest.raises(ValueError, match="at most 9 digits"):
        right_at_length(model, a, b, 9)
