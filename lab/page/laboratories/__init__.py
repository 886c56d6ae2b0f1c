"""The laboratories: what runs inside a page, made from the book's stored results.

A chapter says `::: {#lab-adder .laboratory}` and, inside, the sentence that stands there without
JavaScript. The build writes one script a laboratory, `downloads/laboratories/adder.js`: core.js,
the laboratory's own file, and its data. It needs no server and no network.
"""

import base64
import json
import os
import re
from pathlib import Path

import numpy as np

__all__ = "LABORATORIES laboratories_of model_data write_laboratories".split()

HERE = Path(__file__).parent
USED = re.compile(r"^:{3,} *\{#lab-([a-z]+) \.laboratory\}", re.M)


def laboratories_of(sources):
    """The laboratories in the texts of chapters, each once, in order. Raises ValueError for one
    that does not exist."""
    names = list(dict.fromkeys(name for source in sources for name in USED.findall(source)))
    for name in names:
        if name not in LABORATORIES:
            raise ValueError(f"no laboratory {name!r}: there are {', '.join(LABORATORIES)}")
    return names


def model_data(model):
    """An AdditionTransformer as core.js reads it: (config, tensors, weights).

    tensors: {name: [offset, size]} in numbers; weights: all of them as float32, little-endian, in
    base64.
    """
    state = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
    tensors, offset = {}, 0
    for name, value in state.items():
        tensors[name] = [offset, value.size]
        offset += value.size
    weights = np.concatenate([value.ravel() for value in state.values()]).astype("<f4")
    config = {
        "d_model": model.token_emb.embedding_dim,
        "n_layers": len(model.blocks),
        "n_heads": model.blocks[0].attn.n_heads,
    }
    return config, tensors, base64.b64encode(weights.tobytes()).decode()


def _hashes(runs):
    """Which weights these are: the first digits of the checksums of the stored files."""
    marks = [run.provenance["files"]["weights.safetensors"].split(":")[-1][:8] for run in runs]
    return f"The weights are those of the stored runs (checksums {', '.join(marks)})."


def adder_data():
    """Five seeds of the reference model and an early state of one of them."""
    from _common import EOS, EQUALS, PLUS, decode_tokens
    from lab.experiments import half_trained, runs_of

    runs = [*runs_of("reference"), half_trained()[0]]
    models = [run.model() for run in runs]
    config, tensors, _ = model_data(models[0])
    names = [f"seed {run.config.seed}" for run in runs[:-1]]
    names.append(f"seed {runs[-1].config.seed}, half trained")
    return {
        "config": config,
        "tensors": tensors,
        "models": [
            {"name": name, "weights": model_data(model)[2]} for name, model in zip(names, models)
        ],
        "tokens": {"plus": PLUS, "equals": EQUALS, "eos": EOS},
        "symbols": [decode_tokens([token]) for token in range(models[0].vocab_size)],
        "note": _hashes(runs),
    }


def census_data():
    """All answers of three models: which of the million sums each gets wrong."""
    from lab.addition.censuses import census_of, subjects

    groups = subjects()
    runs = {
        "well trained": groups["well trained"][0],
        "half trained": groups["half trained"][0],
        "one layer": groups["one layer"][0],
        "nearly right": groups["nearly right"][0],
    }
    models = []
    for kind, run in runs.items():
        wrong = census_of(run, progress=False).wrong  # (10^6,)
        few = np.flatnonzero(wrong)
        answers = (
            {"wrong": few.tolist()}
            if len(few) < 20_000
            else {"bits": base64.b64encode(np.packbits(wrong).tobytes()).decode()}
        )
        models.append({"name": f"{kind}, seed {run.config.seed}", **answers})
    return {"models": models, "note": _hashes(runs.values())}


def _numbers(values):
    """Float64 numbers, little-endian, in base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode()


def regression_data():
    """The rules of chapter 1, fitted to its 50,000 training sums."""
    from _common import EOS, EQUALS, PLUS, addition_floor, make_addition_dataset
    from lab.addition.baselines import (
        bigram_probabilities,
        logits_of_digits,
        regression_of_digits,
        regression_of_sum,
    )

    X, Y = make_addition_dataset(50_000, seed=42)

    def straight(fitted):
        return {
            "weights": _numbers(np.atleast_2d(fitted.coef_)),
            "intercept": np.atleast_1d(fitted.intercept_).tolist(),
        }

    def columns(pairs):
        encoder, models = logits_of_digits(X, Y, pairs)
        width = 100 if pairs else 10  # every level stands in its place, so that pages need no table
        where = np.concatenate(
            [width * k + levels.astype(int) for k, levels in enumerate(encoder.categories_)]
        )
        made = []
        for fitted in models:
            weights = np.zeros((len(fitted.coef_), width * len(encoder.categories_)))
            weights[:, where] = fitted.coef_
            made.append(
                {
                    "weights": _numbers(weights),
                    "intercept": fitted.intercept_.tolist(),
                    "classes": fitted.classes_.tolist(),
                }
            )
        return made

    return {
        "sum": straight(regression_of_sum(X, Y)),
        "digits": straight(regression_of_digits(X, Y)),
        "logit": columns(pairs=False),
        "pairs": columns(pairs=True),
        "bigram": bigram_probabilities(X, Y).tolist(),
        "floor": addition_floor(),
        "tokens": {"plus": PLUS, "equals": EQUALS, "eos": EOS},
        "note": f"The rules are those of the chapter, fitted to its {len(X):,} training sums.",
    }


LABORATORIES = {"adder": adder_data, "census": census_data, "regression": regression_data}


def write_laboratories(names, folder):
    """Write the script of each laboratory into `folder`; returns their paths."""
    folder = Path(folder)
    if names:
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in names:
        sources = [(HERE / file).read_text(encoding="utf-8") for file in ("core.js", f"{name}.js")]
        data = json.dumps(LABORATORIES[name](), separators=(",", ":"))
        path = folder / f"{name}.js"
        part = path.with_name(f".{path.name}.part")
        text = "\n".join(
            [*sources, f'bookLaboratories.start("{name}", bookLaboratories.{name}, {data});\n']
        )
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, path)
        written.append(path)
    return written
