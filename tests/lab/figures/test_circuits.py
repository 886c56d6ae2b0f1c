"""The diagrams of chapters 10 and 11 show what they are given."""

from lab.adders.models.by_hand import hand_set, worked_sum
from lab.adders.models.rotary_adder import ROTARY_ADDERS
from lab.figures.circuits import draw_column, draw_prompt
from lab.figures.frontier import draw_wave


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_a_prompt_is_drawn_up_to_its_row_with_distances():
    digits = list(range(9)) + [7, 7]  # the last one is not read yet
    shown = texts(draw_prompt(digits, 9, {2: "x", 5: "y"}, "z").axes[0])
    assert shown.count("7") == 3  # the digit, the row's digit, and 7 tokens back
    assert {"x", "y", "z", "4", "writes next"} <= set(shown)


def test_a_column_has_the_circuits_numbers():
    table = worked_sum(hand_set(12, "ideal").double(), 4958, 5047)
    own = table["a"] + table["b"]
    rows = list(table.assign(own=own, before=own.shift(1, fill_value=0)).itertuples())
    shown = texts(draw_column(rows[1]).axes[0])
    assert "what attention brings: 10 × 9 + 15" in shown
    assert [text for text in shown if text[:1].isdigit() and len(text) < 7] == [
        "105.00",
        "100.00",
        "0.00",
        "0",
    ]
    assert any("no hinge" in text for text in texts(draw_column(rows[4]).axes[0]))


def test_the_wave_stands_over_the_digits_that_it_finds():
    """What each panel says is read off by the lags of the format, and adds up for any sum."""
    model = ROTARY_ADDERS["r8-step-diagonal-centred"].build(0)
    figure = draw_wave(model, 4958, 5047, (1, 4))
    assert "own column 5 + 4; the one before 8 + 7 = 15, written 5: a carry of 1" in texts(
        figure.axes[0]
    )
    assert "own column 0 + 0; the one before 4 + 5 = 9, written 0: a carry of 1" in texts(
        figure.axes[1]
    )
    assert "$X_{4}$" in texts(figure.axes[1]) and "$Z_{3}$" in texts(figure.axes[1])
    assert figure.axes[0].get_title(loc="left") == "the row that writes $Z_{1}$"
