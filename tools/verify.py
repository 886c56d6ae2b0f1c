"""Test a submission file: `python -m tools.verify FILE.py`. Any file with `build_model()` and
`add(model, a, b)`.

The file is run, in its own folder: verify only files that you trust. What it imports may stand
beside it. Where it also offers `add_many(model, a, b)` on lists, the tests beyond the board's use
that, because it is faster; the board's own test always goes through `add`.
"""

import argparse
import contextlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import torch

from lab.adders.ten_digits import board_pairs
from lab.adders.verification import one_by_one, verify

INSTALLED = [
    Path(sysconfig.get_path(name)).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
]


def _stands_in(folder, module):
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    return any(Path(place).resolve().is_relative_to(folder) for place in places if place)


def _is_installed(module):
    """Is a module of Python itself or of an installed package?"""
    return getattr(module, "__name__", "") in sys.stdlib_module_names or any(
        _stands_in(home, module) for home in INSTALLED
    )


@contextlib.contextmanager
def _at_home(folder):
    """Inside, modules and files beside a submission are found as if it were run in its folder,
    before this project's own modules of the same names (but not before installed ones). Whatever it
    sets for the whole session is set back afterwards."""
    before = dict(sys.modules), list(sys.path), os.getcwd(), torch.get_default_dtype()
    beside = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    for name, module in before[0].items():
        if (
            name.partition(".")[0] in beside
            and not _stands_in(folder, module)
            and not _is_installed(module)
        ):
            del sys.modules[name]
    sys.path[:] = [str(folder), *(place or before[2] for place in sys.path)]
    os.chdir(folder)
    try:
        yield
    finally:
        for name in [
            name
            for name, module in sys.modules.items()
            if module is not before[0].get(name) and _stands_in(folder, module)
        ]:
            del sys.modules[name]
        sys.modules.update(
            {name: module for name, module in before[0].items() if name not in sys.modules}
        )
        sys.path[:] = before[1]
        os.chdir(before[2])
        torch.set_default_dtype(before[3])
        torch.set_default_device(None)


def _in_words(error, path):
    """What stopped a submission's own code: the exception, and the last line of the file that it
    passed through."""
    line, trace = None, error.__traceback__
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(path) else line
        trace = trace.tb_next
    what = f"{type(error).__name__}: {error}".strip().removesuffix(":").splitlines()[0]
    return what + (f" (line {line})" if line else "")


def _run(path, what, function, *arguments):
    """A call into a submission's code. Raises ValueError that says in a sentence what stopped
    it."""
    try:
        return function(*arguments)
    except SyntaxError as error:
        raise ValueError(
            f"{path.name} is no Python that can be read: {error.msg}"
            + (
                f", line {error.lineno} of {Path(error.filename or path).name}"
                if error.lineno
                else ""
            )
        ) from None
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{what} imports {error.name!r}, which is neither installed nor stands beside the file"
        ) from None
    except FileNotFoundError as error:
        raise ValueError(
            f"{what} needs a file that is not there: {error.filename or error}. Paths count from"
            " its folder"
        ) from None
    except ImportError as error:
        hint = (
            ". A submission is no package: write `import model`, not `from . import model`"
            if "relative import" in str(error)
            else ""
        )
        raise ValueError(f"{what} could not import: {error}{hint}") from None
    except (Exception, SystemExit) as error:
        raise ValueError(f"{what} stopped with {_in_words(error, path)}") from None


def load_submission(path):
    """The module of a submission file. Raises ValueError where it is missing, cannot be run, or
    lacks one of the two functions."""
    path = _file_of_python(path)
    with _at_home(path.parent):
        return _load(path)


def _file_of_python(path):
    path = Path(path).resolve()
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix != ".py":
        raise ValueError(f"{path.name} is no .py file: a submission is a file of Python")
    if b"\0" in path.read_bytes():  # before Python 3.12 no SyntaxError, but a ValueError
        raise ValueError(f"{path.name} is no Python that can be read: it holds null bytes")
    return path


def _load(path):
    taken = (
        path.stem in sys.modules
        or path.stem in sys.stdlib_module_names
        or not path.stem.isidentifier()
    )
    spec = importlib.util.spec_from_file_location("submission" if taken else path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    _run(path, path.name, spec.loader.exec_module, module)
    for name in ("build_model", "add"):
        if not callable(getattr(module, name, None)):
            raise ValueError(
                f"{path.name} has no function {name}: a submission defines build_model() and"
                " add(model, a, b)"
            )
    if not callable(getattr(module, "add_many", len)):
        raise ValueError(f"add_many in {path.name} is no function")
    return module


def verify_file(path, progress=False, per_ripple=1000, per_pattern=8):
    """(metadata, Verification) of a submission file. Raises ValueError, in a sentence, for a file
    that is no submission."""
    path = _file_of_python(path)
    with _at_home(path.parent), torch.no_grad():
        module = _load(path)
        built = _run(path, f"build_model() of {path.name}", module.build_model)
        if not isinstance(built, (tuple, list)) or len(built) != 2:
            raise ValueError(
                f"build_model() of {path.name} must return a pair, (model, metadata), not"
                f" {_kind(built)}"
            )
        model, metadata = built
        if not isinstance(metadata, Mapping):
            raise ValueError(
                f"the metadata that build_model() of {path.name} returns must be a dictionary, such"
                f" as {{'name': 'mine', 'params': 57}}, not {_kind(metadata)}"
            )
        board, slow = len(board_pairs()[0]), one_by_one(module.add, model, progress)

        def adder(a, b):
            if hasattr(module, "add_many") and len(a) != board:
                return _run(
                    path, f"add_many() of {path.name}", lambda: list(module.add_many(model, a, b))
                )
            return slow(a, b)

        return metadata, verify(adder, per_ripple, per_pattern)


def _kind(value):
    return (
        f"{len(value)} values"
        if isinstance(value, (tuple, list))
        else f"one {type(value).__name__}"
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument(
        "--per-ripple",
        type=int,
        default=1000,
        help="pairs per longest ripple and order (default 1,000)",
    )
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
