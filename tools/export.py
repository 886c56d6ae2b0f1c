"""Write a model as one file that needs only torch: `python -m tools.export NAME FILE.py`.

NAME is `<model>:<seed>` for a seed of a stored sweep (`57:12`, or the folder's name,
`57-1a2b3c4d:12`), or the name of a model whose weights were set by hand (`circuit-12-swiglu`; a
wrong name lists them all). The file has `build_model()` and `add(model, a, b)`, as the board asks,
and the same source as the project: the definitions are copied, less what only training needs.
"""

import argparse
import ast
import dataclasses
import graphlib
import inspect
import re
import sys
import textwrap
from pathlib import Path

import torch

from lab.adders import formats
from lab.adders.counting import board_count, strict_count
from lab.adders.models import (
    other_circuits,
    trainable_by_hand,
)
from lab.adders.training.sweeps import BOOK_FLEETS, preset, read_sweep, read_sweep_folder
from lab.store import DamagedRun, place_of

IMPORTS = {  # what a file may need from elsewhere: name -> its line
    "math": "import math",
    "dataclass": "from dataclasses import dataclass",
    "NamedTuple": "from typing import NamedTuple",
    "torch": "import torch",
    "nn": "import torch.nn as nn",
    "F": "import torch.nn.functional as F",
}
# Settings that are written into a file have passed their checks.
LEFT_OUT = {"__post_init__"}
HAND_SET = {
    model.config.label: model
    for model in [
        other_circuits.PrefixAdder(),
        other_circuits.PrefixAdder(other_circuits.PrefixConfig(window=4)),
        other_circuits.WholeSumAdder(),
        other_circuits.WholeSumAdder(other_circuits.WholeSumConfig(residual=False)),
    ]
}
HAND_SET |= {
    name if name.startswith("circuit") else f"{name}-by-hand": trainable_by_hand.by_hand(name)
    for name in trainable_by_hand.HAND_SET_CONFIGS
}


@dataclasses.dataclass
class Sources:
    """What a file must define: functions and classes, constants, and lines of imports."""

    definitions: dict = dataclasses.field(default_factory=dict)  # object -> its source
    constants: dict = dataclasses.field(default_factory=dict)  # name -> value
    imports: set = dataclasses.field(default_factory=set)


def sources_of(*roots):
    """Everything that these classes need when they are used, and nothing else: a Sources.

    Methods that nothing calls (only training does) are left out, so the search is repeated until
    no further method is named. Raises TypeError for something that cannot be copied.
    """
    called, before = {"forward", "answer_pairs"}, None  # the file's own functions call these
    while called != before:
        before, sources, todo = set(called), Sources(), list(roots)
        while todo:
            definition = inspect.unwrap(todo.pop())
            if definition in sources.definitions:
                continue
            source = _source_of(definition, called)
            sources.definitions[definition] = source
            nodes = list(ast.walk(ast.parse(source)))
            called |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
            known = vars(sys.modules[definition.__module__])
            for name in sorted({node.id for node in nodes if isinstance(node, ast.Name)}):
                if name in known:
                    _add(sources, name, known[name], todo)
    return sources


def _add(sources, name, value, todo):
    """Note what a name of a module stands for; its definition, if it is ours, is to be read."""
    module = getattr(value, "__module__", "") or ""
    if name in IMPORTS:
        sources.imports.add(IMPORTS[name])
    elif callable(value) and module.split(".")[0] in ("_checks", "_common", "lab"):
        todo.append(value)
    elif isinstance(value, (bool, int, float, str, tuple, torch.dtype)):
        sources.constants[name] = value
    else:
        raise TypeError(f"{name} of {module or type(value).__name__} cannot be written into a file")


def _source_of(definition, called):
    """The source of a function or class, less the methods that nothing calls."""
    text = textwrap.dedent(inspect.getsource(definition))
    text = re.sub(r"^ *@own_defaults\(\)\n", "", text, flags=re.MULTILINE)
    lines, node = text.splitlines(), ast.parse(text).body[0]
    methods = [m for m in getattr(node, "body", []) if isinstance(m, ast.FunctionDef)]
    for method in reversed(methods if isinstance(node, ast.ClassDef) else []):
        special = method.name.startswith("__") and method.name.endswith("__")
        if method.name in LEFT_OUT or not (special or method.name in called):
            first = min([method.lineno, *(d.lineno for d in method.decorator_list)])
            del lines[first - 1 : method.end_lineno]
            while first - 1 < len(lines) and not lines[first - 1].strip():
                del lines[first - 1]  # and the blank line after it
    return "\n".join(lines).rstrip()


def _in_order(definitions):
    """Definitions file by file, a file after those that it needs, each in the order of its own."""
    needs = {}
    for definition in definitions:
        module = sys.modules[definition.__module__]
        named = (getattr(value, "__module__", None) for value in vars(module).values())
        needs.setdefault(module.__name__, set()).update(n for n in named if n != module.__name__)
    files = {module: needs[module] & set(needs) for module in needs}
    order = list(graphlib.TopologicalSorter(files).static_order())
    return sorted(
        definitions,
        key=lambda d: (order.index(d.__module__), inspect.getsourcelines(d)[1]),
    )


def submission(model, architecture, tricks=(), author=""):
    """The text of a stand-alone file with this model and its weights. Raises TypeError for a model
    of another class."""
    config = getattr(model, "config", None)
    if getattr(config, "format", None) not in formats.FORMATS:
        raise TypeError(
            f"only models of ten-digit sums can be exported (lab/adders/models), not"
            f" {type(model).__name__}"
        )
    sources = sources_of(type(model), type(config), type(formats.FORMATS[config.format]))
    settings = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    weights = {name: value.tolist() for name, value in model.state_dict().items()}
    metadata = {
        "name": f"{type(model).__name__} {board_count(model)}",
        "author": author,
        "params": board_count(model),
        "strict_params": strict_count(model),
        "architecture": architecture,
        "tricks": list(tricks),
    }
    constants = [f"{name} = {value!r}" for name, value in sorted(sources.constants.items())]
    build = [
        f"SETTINGS = {settings!r}",
        f"FORMAT = {formats.FORMATS[config.format]!r}",
        f"METADATA = {metadata!r}",
        "WEIGHTS = {\n"
        + "".join(f"    {name!r}: {value!r},\n" for name, value in weights.items())
        + "}",
    ]
    functions = f'''
def build_model():
    """The model with its weights, and what is said of it: (model, metadata)."""
    model = {type(model).__name__}({type(config).__name__}(**SETTINGS))
    weights = {{name: torch.tensor(v, dtype=torch.float64) for name, v in WEIGHTS.items()}}
    model.load_state_dict(weights)
    return model.eval(), METADATA


def add_many(model, a, b):
    """The sums of two lists of whole numbers from 0 to 9,999,999,999; -1 for no number."""
    with torch.no_grad():
        return FORMAT.answer_pairs(model, torch.tensor(a), torch.tensor(b)).tolist()


def add(model, a: int, b: int) -> int:
    """One sum, as the model writes it, digit by digit."""
    return add_many(model, [a], [b])[0]
'''
    head = (
        f'"""{metadata["name"]}: an adder of two ten-digit numbers. Written by tools/export.py;'
        ' needs only torch."""'
    )
    first, then = (
        [line for line in IMPORTS.values() if line in sources.imports and ("torch" in line) == ours]
        for ours in (False, True)
    )
    definitions = [sources.definitions[d] for d in _in_order(sources.definitions)]
    return "\n".join(
        [head, *first, "", *then, "", *constants, "\n", "\n\n\n".join(definitions), "\n"]
        + [*build, functions]
    )


def model_of(name, folder=BOOK_FLEETS):
    """The model that a NAME means, and a description of it. Raises ValueError for a name that means
    none."""
    if name in HAND_SET:
        return HAND_SET[name], "set by hand"
    key, separator, seed = name.rpartition(":")
    if not separator or not seed.isdecimal():
        raise ValueError(
            "a model's name is written <model>:<seed>, for example 57:12, or is one of "
            f"{', '.join(HAND_SET)}, not {name!r}"
        )
    place = place_of(folder, key)
    sweep = read_sweep_folder(place) if place.is_dir() else read_sweep(preset(key), folder)
    if sweep is None:
        raise ValueError(f"no sweep of {key} is stored in {folder}")
    return (
        sweep.model(int(seed)),
        f"one layer, d_model {sweep.config.model.d_model}; {sweep.path.name}, seed {seed}",
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("file", type=Path)
    parser.add_argument("--folder", default=BOOK_FLEETS)
    options = parser.parse_args(arguments)
    try:
        model, description = model_of(options.name, options.folder)
    except (ValueError, DamagedRun) as error:
        parser.error(str(error))
    options.file.write_text(submission(model, description))
    print(
        f"{options.file}: {board_count(model)} numbers by the board's rule, {strict_count(model)}"
        " strictly"
    )


if __name__ == "__main__":
    sys.exit(main())
