"""The figures of chapter 9 show what they are given."""

import pandas as pd

from lab.figures.ten_digits import draw_places, plot_fixed, plot_second_passes


def test_places_and_digits_of_a_sum():
    [ax] = draw_places(3_141_592_653, 2_718_281_828, columns=(0, 7)).axes
    at = {}
    for text in ax.texts:
        at.setdefault(text.get_text(), []).append(text.get_position())
    assert all(len(at[str(place)]) >= 1 for place in [*range(21), *range(22, 33)] if place != 10)
    assert {"$Z_0$", "$Z_7$"} <= set(at)
    row = sorted((x, text) for text, places in at.items() for x, y in places if y == 0.0)
    assert "".join(text for _, text in row) == "=18447895850"  # 5,859,874,481, ones first
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert len(arrows) == 2 * 2 + 1


def test_every_model_has_a_row():
    table = pd.DataFrame(
        {"recipe": ["x", "y"], "seed": [3, 4], "free": [1.0, 0.9], "fixed": [0.2, 0.9]}
    )
    [ax] = plot_fixed(table).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x, seed 3", "y, seed 4"]
    assert ax.lines[0].get_xdata().tolist() == [1.0, 0.9]
    assert ax.lines[1].get_xdata().tolist() == [0.2, 0.9]


def test_your_own_second_pass_is_drawn_on_its_panel_only():
    stored = pd.DataFrame({"sweep": "s", "seed": 0, "step": [1, 2], "exact": [0.9, 1.0]})
    own = pd.DataFrame({"step": [1, 2], "exact": [0.8, 0.7]})
    first, second = plot_second_passes({"a": stored, "b": stored}, {0: 0.5}, {"b": own}).axes
    assert len(first.lines) == 1 and len(second.lines) == 2
    assert second.lines[1].get_ydata().tolist() == [0.8, 0.7]
    assert first.lines[0].get_ydata().tolist() == [0.5, 0.9, 1.0]
