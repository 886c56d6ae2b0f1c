"""The figure that opens chapter 5 shows what it is given."""

import numpy as np

from _common import EDGE_CASES
from lab.figures.censuses import draw_population


def test_the_population_has_a_star_for_each_case_and_a_dot_for_each_draw():
    figure = draw_population(EDGE_CASES, n=200, seed=7)
    dots, stars = figure.axes[0].lines
    assert np.array_equal(stars.get_xydata(), EDGE_CASES)
    assert len(dots.get_xdata()) == 200 and 0 <= dots.get_xydata().min() <= 999
    again = draw_population(EDGE_CASES, n=200, seed=7).axes[0].lines[0]
    assert np.array_equal(dots.get_xydata(), again.get_xydata())
