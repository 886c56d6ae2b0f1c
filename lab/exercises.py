"""The exercises: read from the chapters, and checked without telling the answer.

    from lab.exercises import check
    check("count-tied", 17_760)

An exercise lives in its chapter, once. Its hidden `.check` block defines `judge`, usually made by
one of the four makers below: `number`, `choice`, `array`, `function`. Each knows the right answer
and at least two wrong ones that come from named misconceptions, and says something of its own to
each of these.
"""

import copy
import math
import numbers
import random
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import yaml

import _common
from lab import ROOT

__all__ = [
    "Exercise",
    "Judge",
    "Verdict",
    "array",
    "check",
    "choice",
    "function",
    "number",
    "read_exercises",
]


# --------------------------------------------------------------------------------------------------
# Reading exercises from the chapters
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exercise:
    """One exercise of a chapter. `label` is without the `exr-`; code is "" where the chapter has no
    such block."""

    label: str
    title: str
    difficulty: int  # 1, 2 or 3
    minutes: int
    path: Path  # of its chapter
    line: int  # of its opening fence, from 1
    starter: str
    check: str
    check_line: int  # of the first line of `check`, so that a traceback points into the chapter
    solution: str


OPENING = re.compile(
    r"^:{3,} *\{#exr-(?P<label>[\w-]+)(?P<attributes>[^}\n]*)\} *\n+(?:#+ +(?P<title>.+?) *$)?",
    re.M,
)
BLOCK = re.compile(
    r"^(?P<fence>`{3,}) *\{\.python +\.(?P<kind>starter|check|solution)"
    r'(?: +exercise="(?P<label>[^"\n]*)")? *\} *\n(?P<code>.*?)^(?P=fence) *$',
    re.M | re.S,
)


def read_exercises(root=ROOT):
    """All exercises of the chapters that `root`/_quarto.yml lists, in reading order: a dict label
    -> Exercise. Also tools/ reads them here. What else lies in chapters/ (copies, side files of a
    file manager) is not read.

    Raises ValueError, with file and line, for a label given twice, a missing difficulty, minutes or
    title, a block that belongs to no exercise, or a second block of the same kind. That a block is
    missing is for the linter to say.
    """
    exercises = {}
    book = yaml.safe_load((Path(root) / "_quarto.yml").read_text(encoding="utf-8"))["book"]
    for path in [
        Path(root) / source for source in [*book["chapters"], *book.get("appendices", [])]
    ]:
        for exercise in _exercises_of(path, path.stat().st_mtime_ns):
            if exercise.label in exercises:
                there = exercises[exercise.label]
                raise ValueError(
                    f"{path}:{exercise.line}: the exercise {exercise.label!r} already stands in "
                    f"{there.path}:{there.line}"
                )
            exercises[exercise.label] = exercise
    return exercises


@lru_cache(maxsize=64)
def _exercises_of(path, _modified):
    text = path.read_text(encoding="utf-8")

    def line_at(position):
        return text.count("\n", 0, position) + 1

    found, opened_at = {}, []
    for opening in OPENING.finditer(text):
        where = f"{path}:{line_at(opening.start())}: exercise {opening['label']!r}"
        sizes = {
            name: re.search(rf'\b{name}="?(\d+)"?', opening["attributes"])
            for name in ("difficulty", "minutes")
        }
        for name, size in sizes.items():
            if not size:
                raise ValueError(
                    f'{where} has no {name}: write {{#exr-{opening["label"]} difficulty="1"'
                    ' minutes="5"}'
                )
        if not opening["title"]:
            raise ValueError(f"{where} has no title: its first line is `## Title`")
        if opening["label"] in found:
            raise ValueError(f"{where} stands in this chapter twice")
        found[opening["label"]] = dict(
            label=opening["label"],
            title=opening["title"],
            difficulty=int(sizes["difficulty"][1]),
            minutes=int(sizes["minutes"][1]),
            path=path,
            line=line_at(opening.start()),
            starter="",
            check="",
            check_line=0,
            solution="",
        )
        opened_at.append((opening.start(), opening["label"]))
    for block in BLOCK.finditer(text):
        where, kind = f"{path}:{line_at(block.start())}", block["kind"]
        before = [label for start, label in opened_at if start < block.start()]
        label = (
            block["label"]
            if block["label"] is not None
            else before[-1]
            if before and kind == "starter"
            else None
        )
        if label not in found:
            raise ValueError(
                f"{where}: this .{kind} block belongs to no exercise of its chapter: write "
                f'{{.python .{kind} exercise="LABEL"}} with one of {", ".join(found) or "(none)"}'
            )
        if found[label][kind]:
            raise ValueError(f"{where}: the exercise {label!r} has a second .{kind} block")
        found[label][kind] = block["code"]
        if kind == "check":
            found[label]["check_line"] = line_at(block.start("code"))
    return tuple(Exercise(**parts) for parts in found.values())


# --------------------------------------------------------------------------------------------------
# Verdicts
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Verdict:
    """What `check` says. True in an `if` exactly when the answer is right; Jupyter shows it as
    Markdown."""

    label: str
    right: bool
    message: str

    def __bool__(self):
        return self.right

    def __repr__(self):
        return f"{self.label}: {'right' if self.right else 'not yet'}. {self.message}".rstrip()

    def _repr_markdown_(self):
        return f"> {'✔ **Right.**' if self.right else '✘ **Not yet.**'} {self.message}".rstrip()


@dataclass(frozen=True)
class Judge:
    """Decides about answers: call it with one to get a Verdict.

    decide: answer -> (right, message). misconceptions: name -> a wrong answer that somebody with
    that misconception gives. A `.check` block may build its own where the four makers do not fit.
    """

    decide: Callable
    misconceptions: dict

    def __call__(self, answer):
        if _is_unanswered(answer):
            return Verdict("", False, "There is no answer yet: put yours in place of the `...`.")
        right, message = self.decide(answer)
        return Verdict("", bool(right), message)


def check(label, answer, root=ROOT):
    """Is `answer` right for the exercise with this label? Returns a Verdict, also for answers of
    the wrong type.

    Raises ValueError for a label that no chapter has (and lists those there are), or an exercise
    without a check.
    """
    exercises = read_exercises(root)
    name = label.removeprefix("exr-") if isinstance(label, str) else label
    if name not in exercises:
        raise ValueError(
            f"there is no exercise {label!r}: the labels are {', '.join(exercises) or '(none yet)'}"
        )
    judge = judge_of(exercises[name])
    try:
        verdict = judge(answer)
    except Exception as error:  # whatever an answer is, a reader gets a sentence, not a traceback
        verdict = Verdict(
            "", False, f"This answer cannot be judged: {type(error).__name__}: {error}"
        )
    return replace(verdict, label=name)


@lru_cache(maxsize=64)
def judge_of(exercise):
    """The `judge` that an exercise's `.check` block defines. It sees all of `_common` and of this
    module.

    Raises ValueError where there is no such block, or it defines no judge with at least two
    misconceptions.
    """
    where = f"{exercise.path}:{exercise.line}: the exercise {exercise.label!r}"
    if not exercise.check:
        raise ValueError(f"{where} has no .check block")
    names = {name: getattr(_common, name) for name in _common.__all__}
    names.update({name: globals()[name] for name in __all__}, __name__=f"check of {exercise.label}")
    lines_before = "\n" * (exercise.check_line - 1)
    exec(compile(lines_before + exercise.check, str(exercise.path), "exec"), names)
    judge = names.get("judge")
    if not callable(judge) or len(getattr(judge, "misconceptions", ())) < 2:
        raise ValueError(
            f"{where}: its .check block must define `judge`, with at least two misconceptions"
        )
    return judge


# --------------------------------------------------------------------------------------------------
# Makers of judges. `wrong` is always {name of the misconception: (wrong answer, what to say to it)}
# --------------------------------------------------------------------------------------------------


def number(right, wrong, tolerance=0.0, hint=None):
    """A judge of one number. `tolerance` is absolute; rounding errors of floats are forgiven
    anyway.

        judge = number(17_760, wrong={"head twice": (18_208, "That counts the output head a second
        time."), ...})

    hint: what to say to any other number. An answer may also be a text that a person would write
    for a number: "2/7", "45 %", "14,700". Raises ValueError where a wrong answer is within
    tolerance of the right one or of another wrong one, or two have the same message.
    """

    def same(given, wanted):
        return abs(given - wanted) <= tolerance or math.isclose(given, wanted, rel_tol=1e-9)

    right = _as_number(right)
    known = {name: (_as_number(value), message) for name, (value, message) in wrong.items()}
    _refuse_ambiguous(right, known, same)

    def decide(answer):
        given = _number_in(answer) if isinstance(answer, str) else _as_number(answer)
        if given is None:
            return False, f"A number is wanted; yours is {_type_of(answer)}."
        if math.isnan(given):
            return (
                False,
                (
                    "Your number is `nan`: somewhere a calculation has no result, such as 0/0 or"
                    " log(0) * 0."
                ),
            )
        if same(given, right):
            return True, ""
        near = [name for name in known if same(given, known[name][0])]
        if near:
            return False, known[min(near, key=lambda name: abs(given - known[name][0]))][1]
        if 0 < right < 1 and same(given / 100, right):
            return False, f"A share is wanted, between 0 and 1; {_short(answer)} is in per cent."
        return False, hint or f"{_short(answer)} is too {'large' if given > right else 'small'}."

    return Judge(decide, {name: value for name, (value, message) in wrong.items()})


def choice(right, wrong, hint=None):
    """A judge of a pick among few answers: texts (letter case and outer blanks do not count),
    numbers, True or False.

    judge = choice("query", wrong={"mixed up the axes": ("key", "Rows ask, columns are looked at."),
    ...})
    """

    def tidy(value):
        return value.strip().lower() if isinstance(value, str) else value

    def same(given, wanted):
        given, wanted = tidy(given), tidy(wanted)
        return given == wanted and isinstance(given, bool) == isinstance(wanted, bool)

    _refuse_ambiguous(right, wrong, same)
    options = sorted([right, *(value for value, message in wrong.values())], key=str)

    def decide(answer):
        if isinstance(answer, (list, tuple, dict, set, torch.Tensor, np.ndarray)):
            return (
                False,
                f"One of {', '.join(map(repr, options))} is wanted; yours is {_type_of(answer)}.",
            )
        if same(answer, right):
            return True, ""
        for value, message in wrong.values():
            if same(answer, value):
                return False, message
        return (
            False,
            hint or f"{_short(answer)} is not among the answers: {', '.join(map(repr, options))}.",
        )

    return Judge(decide, {name: value for name, (value, message) in wrong.items()})


def array(right, wrong, tolerance=1e-6, hint=None):
    """A judge of an array of numbers: a list, numpy array, tensor or pandas column, of the right
    shape and values.

        judge = array(weights.T, wrong={"not transposed": (weights, "Rows ask: transpose."), ...},
        tolerance=1e-4)

    tolerance is relative and absolute, per element.
    """

    def same(given, wanted):
        return given.shape == wanted.shape and bool(
            np.allclose(given, wanted, tolerance, tolerance, equal_nan=False)
        )

    right = _as_array(right)
    known = {name: (_as_array(value), message) for name, (value, message) in wrong.items()}
    _refuse_ambiguous(right, known, same)

    def decide(answer):
        given = _as_array(answer)
        if given is None:
            return False, f"An array of numbers is wanted; yours is {_type_of(answer)}."
        if same(given, right):
            return True, ""
        for value, message in known.values():
            if same(given, value):
                return False, message
        if given.shape != right.shape:
            return False, f"The shape {right.shape} is wanted; yours is {given.shape}." + (
                f" {hint}" if hint else ""
            )
        if not np.isfinite(given).all():
            return False, "Some of your numbers are `nan` or infinite."
        off = int((~np.isclose(given, right, tolerance, tolerance)).sum())
        return False, hint or (
            f"The shape is right, {off} of {right.size} numbers are not."
            f" {_first_difference(given, right, tolerance, tell=False)}"
        )

    return Judge(decide, {name: value for name, (value, message) in wrong.items()})


def function(reference, cases, wrong, tolerance=1e-6, hint=None):
    """A judge of a function, by what it does on `cases`: a list of argument tuples (one that is no
    tuple is one argument).

        def exact(a, b): return a + b
        judge = function(exact, cases=[(1, 2), (9, 9)], wrong={"no carry": (lambda a, b: (a + b) %
        10, "..."), ...})

    Results may be numbers, texts, tensors, arrays, and lists, tuples and dicts of these. A
    misconception is recognised where the function does on every case what the wrong function does,
    errors included. Every call sees its own copy of the arguments and the same random state. Raises
    ValueError where the cases do not tell two functions apart.
    """
    cases = [case if isinstance(case, tuple) else (case,) for case in cases]

    def same(given, wanted):
        return all(_same_outcome(g, w, tolerance) for g, w in zip(given, wanted, strict=True))

    right = _outcomes(reference, cases)
    stopped = [
        (case, outcome) for case, outcome in zip(cases, right) if isinstance(outcome, Exception)
    ]
    if stopped:
        raise ValueError(f"the reference function fails on {stopped[0][0]}: {stopped[0][1]!r}")
    known = {name: (_outcomes(value, cases), message) for name, (value, message) in wrong.items()}
    _refuse_ambiguous(right, known, same)

    def decide(answer):
        if not callable(answer):
            return (
                False,
                (
                    f"A function is wanted; yours is {_type_of(answer)}. Give its name without"
                    " brackets."
                ),
            )
        given = _outcomes(answer, cases)
        if all(
            _is_unanswered(outcome) or isinstance(outcome, NotImplementedError) for outcome in given
        ):
            return (
                False,
                "Your function returns nothing yet: replace its `...`, and end with `return`.",
            )
        if same(given, right):
            return True, ""
        for outcomes, message in known.values():
            if same(given, outcomes):
                return False, message
        case, got, wanted = next(
            (case, g, w)
            for case, g, w in zip(cases, given, right)
            if not _same_outcome(g, w, tolerance)
        )
        call = f"`{getattr(answer, '__name__', 'f')}({', '.join(map(_short, case))})`"
        if isinstance(got, Exception):
            return False, f"{call} stops with `{type(got).__name__}: {got}`."
        said = f"gives {_short(got)}, and should give {_short(wanted)}."
        got_array, wanted_array = _as_array(got), _as_array(wanted)
        if wanted_array is not None and wanted_array.size > 12 and got_array is not None:
            if got_array.shape == wanted_array.shape:
                said = f"is wrong. {_first_difference(got_array, wanted_array, tolerance)}"
        return False, f"{call} {said}" + (f" {hint}" if hint else "")

    return Judge(decide, {name: value for name, (value, message) in wrong.items()})


# --------------------------------------------------------------------------------------------------
# Helpers
# --------------------------------------------------------------------------------------------------


def _refuse_ambiguous(right, wrong, same):
    """A misconception that is right, or that another one hides, would give a reader the wrong
    message."""
    seen = {}
    for name, (value, message) in wrong.items():
        if value is None or right is None:
            raise ValueError(
                f"the right answer or that of the misconception {name!r} is of the wrong type"
            )
        if not message or not message.strip():
            raise ValueError(f"the misconception {name!r} has no message")
        if same(value, right):
            raise ValueError(f"the misconception {name!r} gives the right answer")
        for other, (other_value, other_message) in seen.items():
            if same(value, other_value):
                raise ValueError(f"the misconceptions {other!r} and {name!r} give the same answer")
            if message == other_message:
                raise ValueError(f"the misconceptions {other!r} and {name!r} have the same message")
        seen[name] = (value, message)


def _first_difference(given, right, tolerance, tell=True):
    """A sentence on the first entry in which two arrays of one shape differ; tell: with what is
    right there."""
    near = np.isclose(given, right, tolerance, tolerance, equal_nan=True)
    place = np.unravel_index(int(near.ravel().argmin()), right.shape)
    where = ", ".join(map(str, place))
    wanted = f", not {right[place]:.6g}" if tell else ""
    return f"The first that differs is [{where}]: {given[place]:.6g}{wanted}."


def _is_unanswered(answer):
    if isinstance(answer, (list, tuple)):
        return any(_is_unanswered(part) for part in answer)
    return answer is None or answer is Ellipsis


def _as_number(value):
    """`value` as a float or int; None if it is not one real number. True and False are none."""
    if isinstance(value, (torch.Tensor, np.ndarray)) and math.prod(value.shape) == 1:
        value = value.item()
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        return None
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _number_in(text):
    """The number that a person wrote as a text: "2/7", "45 %", "14,700", "3.5"; None if it is
    none."""
    plain = re.fullmatch(r"\s*([+-]?[\d.,]+)\s*(?:/\s*([\d.,]+))?\s*(%?)\s*", text)
    if not plain:
        return None
    try:
        top, bottom = (
            float(re.sub(r",(?=\d{3}(?!\d))", "", part or "1")) for part in plain.groups()[:2]
        )
    except ValueError:
        return None
    return top / bottom / (100 if plain[3] else 1) if bottom else None


def _as_array(value):
    """`value` as a float array; None if it is not made of real numbers."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().resolve_conj().numpy() if not value.is_complex() else None
    if isinstance(value, (list, tuple)):
        value = [_as_array(part) if isinstance(part, torch.Tensor) else part for part in value]
    try:
        given = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    return given.astype(float) if given.dtype.kind in "iuf" else None


def _outcomes(answer, cases):
    """What the function returns for each case, or the Exception it stops with; random states are
    put back after."""
    states = random.getstate(), np.random.get_state()
    outcomes = []
    with torch.random.fork_rng():
        for case in cases:
            random.seed(0), np.random.seed(0), torch.manual_seed(0)
            try:
                outcomes.append(answer(*copy.deepcopy(case)))
            except Exception as error:
                outcomes.append(error)
    random.setstate(states[0]), np.random.set_state(states[1])
    return outcomes


def _same_outcome(given, wanted, tolerance):
    if isinstance(wanted, Exception) or isinstance(given, Exception):
        return type(given) is type(wanted)
    if isinstance(wanted, dict):
        return (
            isinstance(given, dict)
            and given.keys() == wanted.keys()
            and all(_same_outcome(given[key], wanted[key], tolerance) for key in wanted)
        )
    number, wanted_number = _as_number(given), _as_number(wanted)
    if wanted_number is not None and number is not None:
        return (
            math.isclose(number, wanted_number, rel_tol=tolerance, abs_tol=tolerance)
            or number == wanted_number
        )
    values, wanted_values = _as_array(given), _as_array(wanted)
    if values is not None and wanted_values is not None:
        return values.shape == wanted_values.shape and bool(
            np.allclose(values, wanted_values, tolerance, tolerance, equal_nan=True)
        )
    if isinstance(wanted, (list, tuple)):
        return (
            isinstance(given, (list, tuple))
            and len(given) == len(wanted)
            and all(_same_outcome(g, w, tolerance) for g, w in zip(given, wanted))
        )
    if isinstance(wanted, torch.Tensor):  # of truth values or complex numbers
        return (
            isinstance(given, torch.Tensor)
            and given.shape == wanted.shape
            and bool((given == wanted).all())
        )
    return bool(np.all(given == wanted))


def _type_of(answer):
    name = f"of type `{type(answer).__name__}`"
    return (
        f"{name} and shape {tuple(answer.shape)}"
        if hasattr(answer, "shape")
        else f"{_short(answer)}, {name}"
    )


def _short(value):
    if isinstance(value, torch.nn.Module):
        return type(value).__name__
    if hasattr(value, "shape") and math.prod(value.shape) > 12:
        return f"<{type(value).__name__} of shape {tuple(value.shape)}>"
    return reprlib.repr(value) if not hasattr(value, "shape") else " ".join(repr(value).split())
