"""Write a model as one file that needs only torch: `python -m tools.export NAME FILE.py`.

NAME is `<model>:<seed>` for a seed of a stored sweep (`57:12`, or the folder's name,
`57-1a2b3c4d:12`), or the name of a model whose weights were set by hand (`circuit-12-swiglu`; a
wrong name lists them all). The file has `build_model()` and `add(model, a, b)`, as the board asks,
and the same source as the project: the definitions are copied, less what only training needs.
"""

import argparse
import ast
import dataclasses
import inspect
import re
import sys
import textwrap
from pathlib import Path

import _common
from lab.adders import formats
from lab.adders.counting import board_count, strict_count
from lab.adders.models import (
    by_hand,
    micro_adder,
    other_circuits,
    rotary_adder,
    small_transformer,
    trainable_by_hand,
)
from lab.adders.training.sweeps import BOOK_FLEETS, preset, read_sweep, read_sweep_folder
from lab.store import DamagedRun

LEFT_OUT = {
    "build",
    "label",
    "n_targets",
    "position_only",
    "position_only_parts",
    "columns",  # only training uses them
    "__post_init__",
}  # the settings that are written have passed it
SHARED = [
    _common._plain,
    _common.whole_number,
    _common.seed_number,
    _common.true_or_false,
    _common.seeded_generator,
    _common._device_of,
    _common.generate,
    formats.digits_of,
    formats.Format,
]
DEFINITIONS = {
    micro_adder.MicroAdder: [
        micro_adder.MicroAdderConfig,
        micro_adder.MicroAdder,
        micro_adder.rotate_pairs,
        micro_adder.check_tokens,
        micro_adder._start,
    ],
    rotary_adder.RotaryAdder: [
        rotary_adder.RotaryAdderConfig,
        rotary_adder.RotaryAdder,
        micro_adder.check_tokens,
    ],
    by_hand.HandSetCircuit: [
        formats.PaddedFormat,
        by_hand.CircuitConfig,
        by_hand.Trace,
        by_hand.HandSetCircuit,
        micro_adder.check_tokens,
    ],
    other_circuits.PrefixAdder: [
        other_circuits.PrefixConfig,
        other_circuits.PrefixAdder,
        other_circuits._numbers,
        micro_adder.check_tokens,
    ],
    other_circuits.WholeSumAdder: [
        formats.LeadingFirstFormat,
        other_circuits.WholeSumConfig,
        other_circuits.WholeSumAdder,
        other_circuits._numbers,
        other_circuits._softmax1,
        micro_adder.check_tokens,
    ],
    small_transformer.SmallTransformer: [
        small_transformer.SmallTransformerConfig,
        micro_adder.check_tokens,
        _common.Attention,
        small_transformer.SmallBlock,
        small_transformer.SmallTransformer,
    ],
}
CONSTANTS = {
    _common: ("VOCAB_SIZE", "PLUS", "EQUALS", "EOS", "LARGEST_SEED"),
    formats: ("DIGITS", "LARGEST"),
    micro_adder: ("CONTEXT", "SPECIALS"),
    by_hand: ("PADDED_CONTEXT", "SHARPENED"),
    other_circuits: ("DOUBLE",),
    rotary_adder: ("WIDE_SIZES",),
    small_transformer: ("BY_WIDTH",),
}
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


def source_of(definition):
    """The source of a function or class, less the methods that only training uses."""
    text = re.sub(
        r"^ *@own_defaults\(\)\n",
        "",
        textwrap.dedent(inspect.getsource(definition)),
        flags=re.MULTILINE,
    )
    lines, node = text.splitlines(), ast.parse(text).body[0]
    for method in reversed(getattr(node, "body", [])):
        if isinstance(node, ast.ClassDef) and getattr(method, "name", None) in LEFT_OUT:
            first = min([method.lineno, *(d.lineno for d in method.decorator_list)])
            del lines[first - 1 : method.end_lineno]
            while (
                first - 1 < len(lines) and not lines[first - 1].strip()
            ):  # and the blank line after it
                del lines[first - 1]
    return "\n".join(lines).rstrip()


def submission(model, architecture, tricks=(), author=""):
    """The text of a stand-alone file with this model and its weights. Raises TypeError for a model
    of another class."""
    if type(model) not in DEFINITIONS:
        raise TypeError(
            f"only {', '.join(c.__name__ for c in DEFINITIONS)} can be exported, not"
            f" {type(model).__name__}"
        )
    config = model.config
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
    constants = [
        f"{name} = {getattr(module, name)!r}"
        for module, names in CONSTANTS.items()
        for name in names
    ]
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
    imports = (
        "import math\nfrom dataclasses import dataclass\nfrom typing import NamedTuple\n\n"
        "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
    )
    definitions = [source_of(d) for d in SHARED + DEFINITIONS[type(model)]]
    return "\n".join(
        [head, imports, *constants, "\n", "\n\n\n".join(definitions), "\n", *build, functions]
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
    place = Path(folder) / key
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
