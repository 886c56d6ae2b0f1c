"""What stands in the place of a laboratory shows what the laboratory would."""

import numpy as np
import pytest
import torch

from _common import encode_addition
from lab.adders.fragility import right_sums
from lab.adders.studies.frontier import ENTRIES
from lab.adders.ten_digits import VALIDATION_SEEDS, stratified_pairs
from lab.addition.replay import replay
from lab.experiments import runs_of
from lab.figures.censuses import plot_intervals
from lab.figures.curves import plot_replayed
from lab.figures.frontier import plot_turned
from lab.figures.modular import plot_spectra_and_circles
from lab.figures.problem import plot_right_digits
from lab.figures.training import plot_opened
from lab.modular.runs import runs_of_arm
from lab.stats import exact_interval


def test_a_rule_has_a_point_for_each_column_ones_last():
    right = np.array([[1, 0, 0, 1, 1], [1, 1, 0, 1, 1]], dtype=bool)  # ones first, then the end
    marks = plot_right_digits({"a rule": right}).axes[0].lines[0]
    assert list(marks.get_ydata()) == [1, 0, 0.5, 1]


def test_an_opened_step_says_what_the_head_reads():
    model = runs_of("reference")[0].model()
    upper, lower = plot_opened(model, 123, 989).axes
    heights = [bar.get_height() for bar in lower.patches]
    assert len(heights) == 8 and sum(heights) == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        p = model(torch.tensor([encode_addition(123, 989)[0]]))[0, -1].softmax(-1)
    said = lower.get_title(loc="left")
    assert said == f"layer 2; after it the head reads {int(p.argmax())} with {float(p.max()):.0%}"


def test_a_replayed_run_lies_over_the_others():
    run, others = replay(), runs_of("reference")
    upper, lower = plot_replayed(run, others).axes
    *behind, line = upper.lines
    assert len(behind) == len(others) and len(line.get_xdata()) == len(run.history)
    assert list(lower.lines[0].get_ydata()) == list(run.history["column_1"])


def test_a_cross_is_an_interval_that_misses():
    wrong = np.arange(1000) < 300
    ax = plot_intervals(wrong, n=50, repeats=40, seed=1).axes[0]
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert len(crosses) + len(dots) == 40
    for line in (*crosses, *dots):
        low, high = exact_interval(round(50 * line.get_xdata()[0]), 50)
        assert (low <= 0.3 <= high) == (line.get_marker() == "o")


def test_a_circle_is_drawn_in_the_plane_of_the_largest_frequency():
    [run] = runs_of_arm("reference")
    table = run.weights["W_E"][: run.config.p]
    upper, lower = plot_spectra_and_circles({"the end": table}).axes
    shares = [bar.get_height() for bar in upper.patches]
    assert sum(shares) == pytest.approx(1)
    assert lower.get_title(loc="left") == f"in the plane of {1 + int(np.argmax(shares))}"
    radii = np.hypot(*lower.lines[0].get_xydata().T)
    assert radii.std() < 0.15 * radii.mean()


def test_a_number_is_turned_and_put_back():
    model = ENTRIES["8"].sweep().model(100)
    a, b, _ = stratified_pairs(1, VALIDATION_SEEDS["ripple"])
    before = [p.detach().clone() for p in model.parameters()]
    upper, lower = plot_turned(model, a, b, {"phi[0]": "crest", "W_1[0]": "step"}, steps=5).axes
    assert list(lower.lines[0].get_ydata()) == [1] * 5
    assert list(upper.lines[0].get_ydata()) == [0, 0, 1, 0, 0]
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before))
    assert right_sums(model, a, b).all()
