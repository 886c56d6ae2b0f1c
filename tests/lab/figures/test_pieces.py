"""The figures of chapter 2 show what they are given."""

import numpy as np
import pytest

from lab.figures.pieces import (
    draw_attention_row,
    draw_block,
    draw_pieces,
    plot_descent,
    plot_gelu,
    plot_kernel_and_attention,
    plot_mask,
    plot_softmax,
)


def test_softmax_curves_pass_through_known_points():
    left, right = plot_softmax(14).axes
    scores, probability = left.lines[0].get_data()
    assert np.interp(0, scores, probability) == pytest.approx(1 / 14, abs=1e-3)
    assert np.interp(np.log(13), scores, probability) == pytest.approx(0.5, abs=1e-3)
    chances, costs = right.lines[0].get_data()
    np.testing.assert_allclose(np.exp(-costs), chances)


def test_the_smoother_and_the_bars_are_the_weighted_means_given():
    x, y = np.array([0.0, 10.0, 20.0, 100.0]), np.array([0.0, 1.0, 3.0, 2.0])
    figure = plot_kernel_and_attention(
        x, y, 10.0, 10.0, (x, y), np.array([0.25, 0.75]), ["a", "b"], "b"
    )
    data, bars, weights = (
        next(ax for ax in figure.axes if ax.get_ylabel().startswith(name))
        for name in ("carries", "weight at “", "weight at 10")
    )
    kernel = np.exp(-(((x - 10) / 10) ** 2) / 2)
    asked = next(line for line in data.lines if line.get_marker() == "D")
    assert asked.get_ydata()[0] == pytest.approx((kernel * y).sum() / kernel.sum())
    heights = [segment[1][1] for segment in weights.collections[0].get_segments()]
    np.testing.assert_allclose(heights, kernel / kernel.sum())
    assert [bar.get_height() for bar in bars.patches] == [0.25, 0.75]


def test_the_mask_strikes_out_the_future():
    scores = np.arange(9.0).reshape(3, 3)
    figure = plot_mask(scores, scores / 9, ["a", "b", "c"], 2)
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown.mask, np.triu(np.ones((3, 3), bool), 1))
    assert len(figure.axes[0].texts) == 3 and shown[2, 0] == 6


def test_descent_shows_the_distance_from_the_optimum():
    right = plot_descent([3.0, 2.0, 1.5], 1.0).axes[1]
    assert right.lines[0].get_ydata().tolist() == [1.0, 0.5] and right.get_yscale() == "log"


def test_the_drawings_are_there():
    assert len(plot_gelu().axes[0].lines) == 2
    assert {"attention", "feed-forward", "norm"} <= {
        text.get_text() for text in draw_block().axes[0].texts
    }
    shown = {text.get_text() for text in draw_pieces().axes[0].texts}
    assert {"attention", "kernel smoother, kernel learned", "multinomial logit"} <= shown


def test_an_attention_row_shows_its_numbers():
    scores, weights = np.array([0.0, np.log(3)]), np.array([0.25, 0.75])
    figure = draw_attention_row(["2", "4"], scores, weights, np.array([2.0, 4.0]), "=")
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert {"“=” asks", "1.10", "3.00", "0.25", "0.75", "sum 4.00", "average 3.50"} <= set(shown)
    widths = [patch.get_width() for patch in figure.axes[0].patches if hasattr(patch, "get_xy")]
    assert {0.25, 0.75} <= set(widths)
