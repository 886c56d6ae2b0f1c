"""Test a submission file: `python -m tools.verify FILE.py`. Any file with `build_model()` and `add(model, a, b)`.

The file is run: verify only files that you trust. Where it also offers `add_many(model, a, b)` on lists, the tests beyond
the board's use that, because it is faster; the board's own test always goes through `add`.
"""
import argparse
import importlib.util
import sys
from pathlib import Path

import torch

from lab.ten_digits import board_pairs
from lab.verification import one_by_one, verify


def load_submission(path):
    """The module of a submission file. Raises ValueError where it is missing or lacks one of the two functions."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location("submission", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["submission"] = module                       # dataclasses look their module up
    spec.loader.exec_module(module)
    for name in ("build_model", "add"):
        if not callable(getattr(module, name, None)):
            raise ValueError(f"{path.name} has no function {name}: a submission defines build_model() and add(model, a, b)")
    return module


def verify_file(path, progress=False, per_ripple=1000, per_pattern=8):
    """(metadata, Verification) of a submission file."""
    module = load_submission(path)
    model, metadata = module.build_model()
    board = len(board_pairs()[0])
    slow = one_by_one(module.add, model, progress)

    def adder(a, b):
        if hasattr(module, "add_many") and len(a) != board:
            return module.add_many(model, a, b)
        return slow(a, b)

    with torch.no_grad():
        return metadata, verify(adder, per_ripple, per_pattern)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--per-ripple", type=int, default=1000, help="pairs per longest ripple and order (default 1,000)")
    options = parser.parse_args(arguments)
    try:
        metadata, result = verify_file(options.file, True, options.per_ripple)
    except ValueError as error:
        parser.error(str(error))
    for key, value in metadata.items():
        print(f"{key}: {value}")
    print(result.report())
    return 0 if result.passes_board and result.passes_strata else 1


if __name__ == "__main__":
    sys.exit(main())
