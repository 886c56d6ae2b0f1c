"""The laboratories: what runs inside a page, made from the book's stored results.

A chapter says `::: {#lab-adder .laboratory}` and, inside, the sentence that stands there without
JavaScript. The build writes one script a laboratory, `downloads/laboratories/adder.js`: core.js,
the laboratory's own file, and its data. It needs no server and no network. In a notebook the same
laboratory opens in a frame (`show_laboratory`).
"""

import base64
import html
import json
import os
import re
from pathlib import Path

import numpy as np
from IPython.display import HTML

from lab import ROOT

__all__ = """LABORATORIES laboratories_of laboratory_page model_data show_laboratory
write_laboratories""".split()

HERE = Path(__file__).parent
OPEN_EPOCHS = 6  # of the replayed run, shown before a guess: in them its loss comes to three digits
PARTS = ("arc", "S", "phi", "write", "W_1", "W_2", "H")  # a rotary adder's numbers, as in eight.js
FIFTY_SEVEN = (  # a micro-adder's numbers, in its own order and as eight.js reads them
    ("the arc of the digits", ["size", "first angle", "stride"]),
    ("position of =", ["1", "2", "3"]),
    ("position of the last digit", ["1", "2", "3"]),
    ("queries and keys", [f"{i + 1} from {j + 1}" for i in range(4) for j in range(3)]),
    ("turn between query and key", ["angle"]),
    ("what attention reads", list("12345")),
    ("what attention writes", list("12345")),
    ("feed-forward, way in", [f"{i + 1} from {j + 1}" for i in range(2) for j in range(5)]),
    (
        "head, and feed-forward's way out",
        [f"{i + 1} from {j + 1}" for i in range(2) for j in range(5)],
    ),
    ("norm", list("12345")),
)
USED = re.compile(r"^:{3,} *\{#lab-([a-z]+) \.laboratory\}", re.M)


def laboratories_of(sources):
    """The laboratories in the texts of chapters, each once, in order. Raises ValueError for one
    that does not exist."""
    names = list(dict.fromkeys(name for source in sources for name in USED.findall(source)))
    for name in names:
        if name not in LABORATORIES:
            raise ValueError(f"no laboratory {name!r}: there are {', '.join(LABORATORIES)}")
    return names


def model_data(model, dtype="<f4"):
    """An AdditionTransformer as core.js reads it: (config, tensors, weights).

    tensors: {name: [offset, size]} in numbers; weights: all of them as `dtype`, little-endian
    float32 or float16 ("<f2"), in base64.
    """
    state = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
    tensors, offset = {}, 0
    for name, value in state.items():
        tensors[name] = [offset, value.size]
        offset += value.size
    weights = np.concatenate([value.ravel() for value in state.values()])
    config = {
        "d_model": model.token_emb.embedding_dim,
        "n_layers": len(model.blocks),
        "n_heads": model.blocks[0].attn.n_heads,
    }
    return config, tensors, _base64(weights, dtype)


def _base64(values, dtype):
    """An array as text: its numbers in order, as `dtype`."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()


def _hashes(runs, what="The weights are those of the stored runs"):
    """Which weights these are: the first digits of the checksums of the stored files."""
    marks = [run.provenance["files"]["weights.safetensors"].split(":")[-1][:8] for run in runs]
    return f"{what} (checksums {', '.join(marks)})."


def _three_digit_models(models, dtype="<f4"):
    """Models of one shape: what they share, as core.js reads it, and the weights of each."""
    from _common import EOS, EQUALS, PLUS, decode_tokens

    config, tensors, _ = model_data(models[0])
    shared = {
        "config": config,
        "tensors": tensors,
        "tokens": {"plus": PLUS, "equals": EQUALS, "eos": EOS},
        "symbols": [decode_tokens([token]) for token in range(models[0].vocab_size)],
    }
    return shared, [model_data(model, dtype)[2] for model in models]


def _stored_cuts(run):
    """Chapter 6's counts of right digits after a cut, with zero in the place of what is cut:
    {"edge,layer,row,key" or "part,layer,digit": one count a class of carries}, and of how many."""
    from lab.addition.interventions import ROWS, interventions_of

    tables, counts, of = interventions_of(run), {}, set()
    for name in ("edges", "parts"):
        table = tables[name].query("how == 'zero'").sort_values("carries")
        if name == "edges":  # of a row, the digit that it predicts
            table = table[table["row"] == table["digit"].map(dict(enumerate(ROWS)))]
            keys = "edge," + table[["layer", "row", "key"]].astype(str).agg(",".join, axis=1)
        else:
            keys = table["part"] + "," + table[["layer", "digit"]].astype(str).agg(",".join, axis=1)
        right = (table["right"] * table["n"]).round().astype(int)
        counts |= right.groupby(keys).agg(list).to_dict()
        of |= set(table["n"])
    [n] = of
    return {"n": int(n), "counts": counts}


def adder_data():
    """Five seeds of the reference model, with chapter 6's counts of what cuts do to them, and an
    early state of one of them."""
    from lab.experiments import half_trained, runs_of

    runs = [*runs_of("reference"), half_trained()[0]]
    shared, weights = _three_digit_models([run.model() for run in runs])
    names = [f"seed {run.config.seed}" for run in runs[:-1]]
    names.append(f"seed {runs[-1].config.seed}, half trained")
    return {
        **shared,
        "models": [
            {"name": name, "weights": each, "cuts": cuts}
            for name, each, cuts in zip(names, weights, [*map(_stored_cuts, runs[:-1]), None])
        ],
        "note": _hashes(runs),
    }


def replay_data():
    """Chapter 4's replayed run: its own history and its weights by epoch, in half precision, as
    they are stored; of the stored reference runs the loss only, for they are other runs."""
    from _common import digits_at_chance
    from lab.addition.curves import LEARNED
    from lab.addition.replay import kept_epochs, model_at, replay
    from lab.experiments import runs_of

    def excess(run):
        loss = run.history["loss"][: len(history)]
        return digits_at_chance(loss, run.config.floor, n_targets=12).round(3).tolist()

    run, first = replay(), runs_of("reference")
    history, kept = run.history, kept_epochs(run)
    shared, weights = _three_digit_models([model_at(run, epoch) for epoch in kept], "<f2")
    columns = history[[f"column_{k}" for k in range(1, 5)]].to_numpy().tolist()
    reference = [*first, *runs_of("reference, until learned")]
    curves = [{"seed": other.config.seed, "excess": excess(other)} for other in reference]
    return {
        **shared,
        "epochs": [{"epoch": epoch, "weights": each} for epoch, each in zip(kept, weights)],
        "history": [
            {"excess": e, "accuracy": a, "columns": c}
            for e, a, c in zip(excess(run), history["accuracy"].tolist(), columns)
        ],
        "others": [
            {"name": f"the first {len(first)} reference runs", "runs": curves[: len(first)]},
            {"name": f"all {len(curves)} reference runs", "runs": curves},
        ],
        "learned": LEARNED,
        "tested": run.config.n_test,
        "open": OPEN_EPOCHS,
        "note": "This run is an illustration: it and its epochs were picked by looking, and no"
        " prediction was written before. It was made on another processor than the reference runs,"
        f" where the same seed goes another way: it is not the reference run of seed"
        f" {run.config.seed}, and has a history of its own."
        f" {_hashes([run])} They have half precision.",
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
            else {"bits": _base64(np.packbits(wrong), np.uint8)}
        )
        models.append({"name": f"{kind}, seed {run.config.seed}", **answers})
    return {"models": models, "note": _hashes(runs.values())}


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
            "weights": _base64(fitted.coef_, "<f8"),
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
                    "weights": _base64(weights, "<f8"),
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


def _learned(model):
    """The learned numbers of a rotary adder, in the order of eight.js: {"phi" or "H[0]": value}."""
    numbers, parts = {}, dict(model.named_parameters())
    for part in PARTS:
        values = parts[part].detach().flatten().tolist()
        names = [part] if len(values) == 1 else [f"{part}[{i}]" for i in range(len(values))]
        numbers.update(zip(names, values))
    return numbers


def _numbers(model):
    return list(_learned(model).values())


def _ranges(presets, n):
    """Where the sliders of the designs with n numbers end: half the largest size beyond all
    presets."""
    values = np.array([p["numbers"] for p in presets if len(p["numbers"]) == n])
    reach = 0.5 * np.abs(values).max(0)
    return np.stack([values.min(0) - reach, values.max(0) + reach], 1).tolist()


def eight_data():
    """The designs of 8, 9 and 57 numbers: starts and ends of stored seeds, sums to try, the recipe
    of the 8."""
    import torch

    from lab.adders.fragility import demanding_pairs, fragility
    from lab.adders.studies.frontier import ENTRIES, first_perfect
    from lab.adders.studies.generic_starts import GENERIC
    from lab.adders.ten_digits import VALIDATION_SEEDS, stratified_pairs

    entries = {
        "8, known start": ENTRIES["8"],
        "8, random start": GENERIC["8, flat"],
        "9, known start": ENTRIES["9"],
        "9, random start": ENTRIES["9, random start"],
    }
    sweeps = {name: entry.sweep() for name, entry in entries.items()}
    hard = demanding_pairs(100, seed=3)
    presets, seed = [], 100
    for name, sweep in sweeps.items():
        trained, intervals = sweep.model(seed), None
        if sweep.successes[list(sweep.outcomes["seed"]).index(seed)]:
            table = fragility(trained, *hard, names=list(_learned(trained))).set_index("name")
            ends = table.loc[list(_learned(trained)), ["low", "high"]]
            intervals = ends.astype(object).where(np.isfinite(ends), None).to_numpy().tolist()
        untrained = _numbers(sweep.config.model.build(seed))
        presets += [
            {"name": f"{name}, trained", "numbers": _numbers(trained), "intervals": intervals},
            {"name": f"{name}, untrained", "numbers": untrained, "intervals": None},
        ]
    a, b, ripple = stratified_pairs(10, VALIDATION_SEEDS["ripple"])
    pairs = np.stack([a.numpy(), b.numpy()], 1)
    model, recipe = sweeps["8, known start"].model(seed), sweeps["8, known start"].config.recipe
    factors = dict(recipe.lr_factors)
    names = [
        "first angle (radians)",
        "stride of the arc (radians a digit)",
        "size of the wave",
        "crest of the wave (tokens back)",
        "what attention writes",
        "steepness of the step",
        "height of the step",
        "head, first dimension",
        "head, last dimension",
    ]
    designs = {
        8: {"names": names[1:], "groups": [], "ranges": _ranges(presets, 8)},
        9: {"names": names, "groups": [], "ranges": _ranges(presets, 9)},
    }
    large = ENTRIES["57"].sweep()
    working = large.outcomes["seed"][large.successes].tolist()
    for state, found in (
        ("trained", large.model(working[0])),
        ("untrained", large.config.model.build(working[0])),
    ):
        values = torch.cat([p.detach().flatten() for p in found.parameters()]).tolist()
        presets.append({"name": f"57, {state}", "numbers": values, "intervals": None})
    designs[57] = {
        "names": [name for _, group in FIFTY_SEVEN for name in group],
        "groups": [[what, len(group)] for what, group in FIFTY_SEVEN],
        "ranges": _ranges(presets, 57),
    }
    own_seeds = range(200, 300)
    return {
        "presets": presets,
        "designs": designs,
        "spiral": large.config.model.spiral,
        "strata": [{"ripple": k, "pairs": pairs[ripple.numpy() == k].tolist()} for k in range(10)],
        "demanding": np.stack([x.numpy() for x in hard], 1).tolist(),
        "seeds": [own_seeds[0], own_seeds[-1]],
        "starts": [
            {
                "name": name,
                "numbers": [_numbers(entries[name].config.model.build(s)) for s in own_seeds],
                "times": [[int(t), bool(c)] for t, c in zip(*first_perfect(sweeps[name]))],
            }
            for name in ("8, known start", "8, random start")
        ],
        "lags": [
            {"lag": 10, "what": "the second number's own column"},
            {"lag": 11, "what": "its previous column"},
            {"lag": 21, "what": "the first number's own column"},
            {"lag": 22, "what": "its previous column"},
            {"lag": 0, "what": "the digit just written"},
        ],
        "recipe": {
            key: getattr(recipe, key)
            for key in (
                "steps batch_size lr final_lr warmup_steps clip carry_share nines_share"
                " nines_chance evaluate_every"
            ).split()
        },
        "factors": [factors.get(name, 1.0) for name in (*PARTS, "H")],
        "window": model.config.window,
        "period": float(model.period),
        "eps": float(model.eps),
        "radius": float(model.A),
        "note": f"Of the 57's {len(large.outcomes)} seeds {len(working)} came to add: it is seed"
        f" {working[0]} here. "
        + _hashes(
            [*sweeps.values(), large],
            f"The other numbers are those of seed {seed} of the stored sweeps",
        ),
    }


def circle_data():
    """Chapter 8's run by epoch, and the spectra of its replicas at the same epochs; the network has
    half precision, as it is stored, and the embeddings before its end 8 bits a number."""
    import torch

    from lab.modular.fourier import fourier_basis
    from lab.modular.runs import runs_of_arm

    def coarse(table):
        scale = float(table.abs().max()) / 127
        return {"scale": scale, "numbers": _base64((table / scale).round(), "i1")}

    def spectrum(norms):
        power = np.asarray(norms[1:], dtype=float) ** 2
        return _base64((65535 * power / power.sum()).round(), "<u2")

    def replica(other):
        """Its spectra at the run's epochs, or its last before them, and its numbers at its end in
        the plane of its largest frequency."""
        measured = other.history["epoch"].to_numpy()
        rows = np.searchsorted(measured, epochs, side="right") - 1
        spectra = other.spectra["embedding"]
        k = 1 + int(spectra[-1][1:].argmax())
        table = other.weights["W_E"][: other.config.p].double()  # (p, d_model)
        axes = fourier_basis(other.config.p)[2 * k - 1 : 2 * k + 1] @ table  # cosine, sine
        plane = table @ torch.nn.functional.normalize(axes, dim=1).T  # (p, 2)
        return {
            "name": f"seed {other.config.seed}",
            "ended": int(measured[-1]),
            "spectra": [spectrum(spectra[row]) for row in rows],
            "k": k,
            "circle": plane.T.numpy().round(4).tolist(),
        }

    [run], replicas = runs_of_arm("reference"), runs_of_arm("replicas")
    config, epochs = run.config, sorted(run.embeddings)
    return {
        "config": {name: getattr(config, name) for name in ("p", "d_model", "n_heads", "d_mlp")},
        "name": f"seed {config.seed}",
        "keys": run.key_frequencies,
        "epochs": epochs,
        "embeddings": [coarse(run.embeddings[epoch][: config.p]) for epoch in epochs[:-1]],
        "others": [replica(other) for other in replicas],
        "weights": {name: _base64(value.numpy(), "<f2") for name, value in run.weights.items()},
        "note": f"{_hashes([run, *replicas])} The network has half precision, and an embedding"
        " before its end 8 bits a number.",
    }


LABORATORIES = {
    "adder": adder_data,
    "replay": replay_data,
    "census": census_data,
    "regression": regression_data,
    "eight": eight_data,
    "circle": circle_data,
}


def _script(name):
    """All of a laboratory's JavaScript: what they share, its own, and its data."""
    sources = [(HERE / file).read_text(encoding="utf-8") for file in ("core.js", f"{name}.js")]
    data = json.dumps(LABORATORIES[name](), separators=(",", ":"))
    return "\n".join(
        [*sources, f'bookLaboratories.start("{name}", bookLaboratories.{name}, {data});\n']
    )


def write_laboratories(names, folder):
    """Write the script of each laboratory into `folder`; returns their paths."""
    folder = Path(folder)
    if names:
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in names:
        path = folder / f"{name}.js"
        part = path.with_name(f".{path.name}.part")
        part.write_text(_script(name), encoding="utf-8", newline="\n")
        os.replace(part, path)
        written.append(path)
    return written


def laboratory_page(name, script, theme="light"):
    """A page with one laboratory and nothing else: HTML. script: the element that brings its
    script; theme: "light" or "dark"."""
    styles = (ROOT / "figures/theme/shared.css").read_text(encoding="utf-8")
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{name}</title>"
        "<meta name='viewport' content='width=device-width'>"
        f"<style>{styles} body {{ background: var(--paper); color: var(--ink); }}</style>"
        f"<body class='quarto-{theme}'><main><div class='laboratory' id='lab-{name}'>"
        f"<p>Without JavaScript.</p></div></main>{script}</body></html>"
    )


def show_laboratory(name):
    """A laboratory for a notebook's output: a frame that holds all it needs and is as high as what
    it shows. Raises ValueError for one that does not exist."""
    if name not in LABORATORIES:
        raise ValueError(f"no laboratory {name!r}: there are {', '.join(LABORATORIES)}")
    as_high = (
        "new ResizeObserver(() => { if (frameElement) frameElement.style.height ="
        " `${document.documentElement.scrollHeight}px`; }).observe(document.body);"
    )
    page = laboratory_page(name, f"<script>{_script(name)}{as_high}</script>")
    return HTML(
        f'<div><iframe title="laboratory: {name}" srcdoc="{html.escape(page)}"'
        ' style="width: 100%; height: 60em; border: 0"></iframe></div>'
    )
