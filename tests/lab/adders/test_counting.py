"""Counts by hand: ties count once, frozen numbers strictly only."""

import pytest
import torch

from _common import AdditionTransformer, count_parameters
from lab.adders.counting import board_count, count_table, strict_count
from lab.adders.models.micro_adder import MICRO_ADDERS, micro_adder


@pytest.mark.parametrize(
    "name, strict",
    [
        ("57", 57 + 4 + 3 + 1),
        ("54", 54 + 4 + 3 + 3 + 1),
        ("67", 67 + 4 + 3 + 1),
        ("74", 74 + 3 + 1),
        ("78", 78 + 1),
        ("242", 242 + 1),
    ],
)
def test_counts_by_hand(name, strict):
    """Frozen: the spiral's four numbers, the positions of + and Z10 where they are zero, the eps of
    the norm."""
    assert (board_count(micro_adder(name)), strict_count(micro_adder(name))) == (int(name), strict)


def test_the_table_adds_up_for_every_model():
    for name in MICRO_ADDERS:
        table = count_table(micro_adder(name))
        assert table["board"].sum() == int(name) and not table["tensor"].duplicated().any()
        assert (table["strict"] >= table["board"]).all()


def test_a_tied_tensor_counts_once():
    model = torch.nn.Module()
    model.a = torch.nn.Parameter(torch.zeros(2, 3))
    model.b = model.a
    model.c = torch.nn.Parameter(torch.zeros(4), requires_grad=False)
    model.register_buffer("constant", torch.zeros(5))
    model.register_buffer("index", torch.zeros(6, dtype=torch.int64))
    assert (board_count(model), strict_count(model)) == (6, 15)
    assert board_count(AdditionTransformer()) == count_parameters(AdditionTransformer()) == 17_760


def test_bad_input():
    with pytest.raises(TypeError, match="needs a torch module, not str"):
        board_count("57")
