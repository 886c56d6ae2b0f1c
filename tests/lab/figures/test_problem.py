"""The figures of chapter 1 show what they are given."""

from matplotlib.colors import to_hex

from _common import COLORS
from lab.figures.problem import draw_circle, draw_targets, plot_rows


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_five_of_twelve_targets_are_drawn_as_chance():
    figure = draw_targets(654, 114)
    shown = [text for text in texts(figure) if len(text) == 1 or text == "EOS"]
    assert "".join(shown[::2]) == "654+114=8670" and "".join(shown[1::2]) == "54+114=8670EOS"
    frames = [to_hex(patch.get_edgecolor()).upper() for patch in figure.axes[0].patches]
    by_chance = [i for i, color in enumerate(frames[1::2]) if color == COLORS[1]]
    assert by_chance == [0, 1, 3, 4, 5]


def test_the_circle_goes_through_every_digit_and_back():
    figure = draw_circle(4)
    assert [text for text in texts(figure) if text.isdigit()] == list("0123456789")
    assert sum(text == "" for text in texts(figure)) == 10, "one arrow from each"
    assert "a carry lifts 5\nabove 4" in texts(figure)


def test_rows_stand_where_their_values_are():
    figure = plot_rows({"a": 1, "b": 100}, log=True, intervals=[None, (50, 200)], text=str)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in dots] == [(1, 0), (100, 1)]
    assert any(list(line.get_xdata()) == [50, 200] for line in figure.axes[0].lines)
    assert {"a", "b", "1", "100"} <= set(texts(figure))
