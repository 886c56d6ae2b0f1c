"""The name of every stored result is the same on every machine: no last bit is part of it."""

import json
import math
import subprocess
import sys

from lab.store import ROOT, hash_in

# In a process of its own: arithmetic is disturbed before the first module of the book is imported.
ALL_NAMES = """
import json, sys
sys.path.insert(0, "tests")
import torch
torch.set_default_dtype(torch.float64)
from disturbed import disturb, pause, resume
numbers = torch.rand(10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
before = numbers.sum(), numbers.round().sum()
disturb()
assert numbers.sum() != before[0] and numbers.round().sum() == before[1]
pause()
assert numbers.sum() == before[0]
resume()
assert numbers.sum() != before[0]
from lab.adders.studies.generic_starts import STARTS
from lab.adders.studies.reported_failures import FAILURES
from lab.registry import FOLDERS, experiments
planned = STARTS | FAILURES
names = [{kind: [] for kind in FOLDERS}, {kind: [] for kind in FOLDERS}]
for each in experiments():
    names[each.name in planned][each.kind] += [result.name for result in each.results()]
print(json.dumps(names))
"""


def test_every_name_is_found_where_arithmetic_differs():
    done = subprocess.run(
        [sys.executable, "-c", ALL_NAMES], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    asked, planned = json.loads(done.stdout)
    for kind, names in asked.items():
        if kind == "fleets":  # the hash is the name, the words before it are for people
            names, planned[kind] = map(hash_in, names), map(hash_in, planned[kind])
        names = set(names)
        stored = {
            hash_in(path.name) if kind == "fleets" else path.name
            for path in (ROOT / "data" / kind).iterdir()
            if path.is_dir() and not path.name.startswith(".")
        }
        missing, extra = names - stored, stored - names - set(planned.get(kind, []))
        assert names and not missing and not extra, (
            f"{kind}: not stored: {missing}; stored, and nothing asks for it: {extra}"
        )


def test_no_setting_is_the_result_of_a_computation():
    """A float in a stored configuration is a short decimal, or one of them times pi: what a person
    wrote, not what a machine added up."""
    for file in (ROOT / "data").glob("*/*/config.json"):

        def check(value):
            if isinstance(value, float):
                assert any(
                    len(f"{each!r}".replace("-", "").replace(".", "").strip("0")) <= 6
                    for each in (value, value / math.pi)
                ), f"{file.parent.name}: {value!r}"
            for each in (
                value.values()
                if isinstance(value, dict)
                else value
                if isinstance(value, list)
                else ()
            ):
                check(each)

        check(json.loads(file.read_text()))
