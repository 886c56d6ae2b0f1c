"""The figures of chapter 3 show what they are given."""

import numpy as np
import pandas as pd

from _common import AdditionTransformer, digits_at_chance, learning_rate_at
from lab.experiments import LIVE
from lab.figures.training import draw_model, plot_descents, plot_live, plot_schedule
from lab.runs import Run


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_models_shapes_are_those_that_flowed():
    model = AdditionTransformer(d_model=6, d_ff=8, n_layers=3)
    shown = texts(draw_model(model, 12, 34))
    assert sum("layer" in text for text in shown) == 3
    assert shown.count("1 × 12 × 6") == 5 and shown.count("1 × 12 × 14") == 1
    assert "1 × 12" in shown
    assert not any(part._forward_hooks for part in model.modules()), "no hook is left behind"


def test_descents_are_drawn_from_start_to_end():
    paths = {"a": np.array([[-9.0, 1.0], [-3.0, 0.5], [0.0, 0.0]]), "b": np.ones((2, 2))}
    figure = plot_descents(paths, steepness=100)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "a: after 2 steps",
        "b: after 1 steps",
    ]
    for ax, path in zip(figure.axes, paths.values()):
        np.testing.assert_array_equal(ax.lines[0].get_xydata(), path)


def test_the_schedule_is_that_of_training():
    steps, rates = plot_schedule(0.02, 10, 40).axes[0].lines[0].get_data()
    assert list(rates) == [learning_rate_at(int(step), 0.02, 10, 40) for step in steps]
    assert len(steps) == 40


def test_your_run_lies_over_the_stored_ones():
    losses = [pd.DataFrame({"epoch": [1, 2], "loss": [2.0, x]}) for x in (1.5, 1.2)]
    runs = [Run(LIVE, history, {}, {}, "book") for history in losses]
    mine = {"epoch": [1, 2], "loss": [1.9, 1.4]}
    lines = plot_live(runs, mine).axes[0].lines
    for line, loss in zip(lines, ([2.0, 1.5], [2.0, 1.2], [1.9, 1.4]), strict=True):
        np.testing.assert_allclose(
            line.get_ydata(), digits_at_chance(loss, LIVE.floor, n_targets=9)
        )
    assert len(plot_live(runs).axes[0].lines) == 2
