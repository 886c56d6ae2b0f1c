"""lab/addition/replay.py: the weights that are kept are those of the stored history's epochs."""

import pytest

from _common import exact_match
from lab.addition.replay import KEPT, kept_epochs, model_at, replay
from lab.runs import datasets


def test_the_kept_weights_score_what_the_history_says():
    run = replay()
    assert kept_epochs(run) == list(KEPT)
    *_, X, Y = datasets(run.config)
    stored = run.history.set_index("epoch")["accuracy"]
    for epoch in (9, 23):  # float16 may change a few digits of 10,000 answers
        now = exact_match(model_at(run, epoch), X, Y, run.config.answer_start)
        assert now == pytest.approx(stored[epoch], abs=0.005)
    with pytest.raises(ValueError, match="no weights of epoch 2"):
        model_at(run, 2)
