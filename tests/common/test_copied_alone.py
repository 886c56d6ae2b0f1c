"""_common.py as a reader copies it: one file, without the book's checks of arguments."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import _common
from _common import AdditionTransformer, census, make_disjoint_addition_split, train_model

EXPERIMENT = """
torch.manual_seed(0)
data = make_disjoint_addition_split(64, 16, n_digits=1)
model = AdditionTransformer(d_model=8, d_ff=8)
history = train_model(model, *data, answer_start=3, epochs=2, log_every=0, progress=False)
answers = census(model, n_digits=1)
"""


def test_a_copy_of_the_file_alone_computes_the_same(tmp_path):
    (tmp_path / "_common.py").write_bytes(Path(_common.__file__).read_bytes())
    code = (
        f"from _common import *\n{EXPERIMENT}\nimport json, sys\nassert '_checks' not in"
        " sys.modules\nprint(json.dumps([history['loss'], answers.tolist()]))"
    )
    alone = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert alone.returncode == 0, alone.stderr
    here = dict(
        torch=torch,
        AdditionTransformer=AdditionTransformer,
        census=census,
        make_disjoint_addition_split=make_disjoint_addition_split,
        train_model=train_model,
    )
    exec(EXPERIMENT, here)
    losses, answers = json.loads(alone.stdout)
    assert losses == pytest.approx(here["history"]["loss"], rel=1e-5)
    assert answers == here["answers"].tolist()
