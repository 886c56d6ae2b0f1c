"""The figures of chapter 8 show what they are given."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lab.figures.modular import draw_dials, plot_grok_live


@pytest.mark.parametrize("a, b", [(7, 6), (2, 3), (10, 10)])
def test_both_turns_end_at_the_sum_on_every_dial(a, b):
    for ax, k in zip(draw_dials(11, a, b, frequencies=(1, 3)).axes, (1, 3)):
        place = {t.get_text(): np.array(t.get_position()) / 1.18 for t in ax.texts}
        turns = [line.get_xydata() for line in ax.lines if len(line.get_xydata()) == 100]
        assert len(turns) == 2
        for turn, radius, number in ((turns[0], 0.8, a), (turns[1], 0.6, (a + b) % 11)):
            assert np.allclose(turn[-1] / radius, place[str(number)], atol=1e-9), (k, number)
        assert np.allclose(turns[0][0] / 0.8, place["0"])


def test_your_own_run_is_the_thick_one():
    history = pd.DataFrame(
        {"epoch": [0, 10, 2_000], "train_accuracy": [0.0, 1.0, 1.0], "test_accuracy": [0.0, 0.2, 1]}
    )
    run = SimpleNamespace(history=history)
    [ax] = plot_grok_live([run, run]).axes
    assert len(ax.lines) == 4 and all(line.get_xdata().tolist() == [10] for line in ax.lines)
    [ax] = plot_grok_live([run], history.assign(test_accuracy=0.5)).axes
    thick = [line for line in ax.lines if line.get_linewidth() > 2]
    assert len(thick) == 2 and thick[0].get_ydata().tolist() == [0.5]
