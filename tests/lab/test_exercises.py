"""Exercises: reading them, judging answers, and every exercise of the book against its own
misconceptions."""

import math
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab import ROOT
from lab.exercises import (
    Judge,
    Verdict,
    array,
    check,
    choice,
    function,
    judge_of,
    number,
    read_exercises,
)

EXERCISES = read_exercises(ROOT)

CHAPTER = """# A chapter {#sec-a}

::: {#exr-count-tied difficulty="1" minutes="5"}
## Count the tied head
Statement.

```{.python .starter}
answer = ...
check("count-tied", answer)
```
:::

::: {.content-hidden when-format="html"}
```{.python .check exercise="count-tied"}
right = count_parameters(AdditionTransformer())
judge = number(right, wrong={
    "counted the head again": (right + 14 * 32, "That counts the output head twice."),
    "left out positions": (right - 13 * 32, "The positions have parameters too."),
})
```
:::

::: {.content-visible when-profile="instructor"}
::: {#sol-count-tied}
```{.python .solution exercise="count-tied"}
answer = 17_760
check("count-tied", answer)
```
:::
:::
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters/01-a.qmd").write_text(CHAPTER)
    (tmp_path / "_quarto.yml").write_text("book: {chapters: [chapters/01-a.qmd]}")
    return tmp_path


# -- Reading
# --------------------------------------------------------------------------------------------------


def test_an_exercise_is_read_with_all_its_parts(project):
    exercise = read_exercises(project)["count-tied"]
    assert (exercise.title, exercise.difficulty, exercise.minutes, exercise.line) == (
        "Count the tied head",
        1,
        5,
        3,
    )
    assert exercise.starter == 'answer = ...\ncheck("count-tied", answer)\n'
    assert exercise.solution.startswith("answer = 17_760\n")
    lines = CHAPTER.splitlines()
    assert lines[exercise.check_line - 1] == exercise.check.splitlines()[0]


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('difficulty="1" ', "", r"01-a.qmd:3: exercise 'count-tied' has no difficulty"),
        (' minutes="5"', "", r"has no minutes"),
        ("## Count the tied head\n", "", r"has no title"),
        (
            '.check exercise="count-tied"',
            '.check exercise="other"',
            r"01-a.qmd:14: this .check block belongs to no exercise",
        ),
        ('.check exercise="count-tied"', ".check", r"this .check block belongs to no exercise"),
        (".solution ", ".check ", r"second .check block"),
    ],
)
def test_a_fault_is_told_with_file_and_line(project, old, new, message):
    (project / "chapters/01-a.qmd").write_text(CHAPTER.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_exercises(project)


def test_a_label_given_twice_is_refused(project):
    (project / "chapters/02-b.qmd").write_text(CHAPTER)
    (project / "_quarto.yml").write_text("book: {chapters: [chapters/01-a.qmd, chapters/02-b.qmd]}")
    with pytest.raises(ValueError, match="02-b.qmd:3: .*already stands in .*01-a.qmd:3"):
        read_exercises(project)
    (project / "_quarto.yml").write_text("book: {chapters: [chapters/01-a.qmd]}")
    (project / "chapters/01-a.qmd").write_text(CHAPTER + CHAPTER)
    with pytest.raises(ValueError, match="twice"):
        read_exercises(project)


# -- check
# --------------------------------------------------------------------------------------------------


def test_check_says_right_and_what_kind_of_wrong(project):
    assert check("count-tied", 17_760, project) == Verdict("count-tied", True, "")
    assert check("exr-count-tied", 17_760, project).right
    assert check("count-tied", 18_208, project).message == "That counts the output head twice."
    assert not check("count-tied", 3, project)
    assert (
        not check("count-tied", ..., project)
        and "no answer yet" in check("count-tied", None, project).message
    )


def test_a_verdict_shows_itself(project):
    assert repr(check("count-tied", 17_760, project)) == "count-tied: right."
    assert (
        repr(check("count-tied", 18_208, project))
        == "count-tied: not yet. That counts the output head twice."
    )
    assert check("count-tied", 17_760, project)._repr_markdown_().startswith("> ✔ **Right.**")
    assert check("count-tied", 1, project)._repr_markdown_().startswith("> ✘ **Not yet.**")


@pytest.mark.parametrize("label", ["count", "", None, 3])
def test_an_unknown_label_lists_those_there_are(project, label):
    with pytest.raises(ValueError, match="count-tied"):
        check(label, 1, project)


class Hostile:
    @property
    def shape(self):
        raise RuntimeError("this object has no shape to tell")


@pytest.mark.parametrize(
    "answer",
    [
        "seventeen",
        [1, 2],
        {},
        True,
        1j,
        object(),
        Hostile,
        print,
        torch.zeros(2, 3),
        np.nan,
        pd.DataFrame({"a": [1]}),
        math.inf,
        float,
        b"",
        Hostile(),
    ],
)
def test_no_answer_makes_check_raise(project, answer):
    verdict = check("count-tied", answer, project)
    assert not verdict.right and verdict.message


@pytest.mark.parametrize(
    "code, message",
    [
        ("judge = 3\n", "must define `judge`"),
        ("x = 1\n", "must define `judge`"),
        ('judge = number(1, wrong={"a": (2, "b")})\n', "at least two misconceptions"),
    ],
)
def test_a_check_block_without_a_judge_is_refused(project, code, message):
    start, end = CHAPTER.index("right = count"), CHAPTER.index("```\n:::\n\n::: {.content-visible")
    (project / "chapters/01-a.qmd").write_text(CHAPTER[:start] + code + CHAPTER[end:])
    with pytest.raises(ValueError, match=message):
        check("count-tied", 1, project)


def test_an_error_in_a_check_block_points_into_the_chapter(project):
    (project / "chapters/01-a.qmd").write_text(
        CHAPTER.replace("right = count_parameters", "right = count_parametres")
    )
    with pytest.raises(NameError) as caught:
        check("count-tied", 1, project)
    last = caught.traceback[-1]
    assert Path(last.path).name == "01-a.qmd" and last.lineno + 1 == 15


# -- number
# --------------------------------------------------------------------------------------------------

SHARE = number(
    0.5,
    wrong={"percent": (50, "A share, not percent."), "complement": (0.4, "The other share.")},
    tolerance=0.01,
    hint="Divide.",
)


@pytest.mark.parametrize(
    "answer",
    [0.5, 0.495, np.float32(0.5), torch.tensor(0.5), torch.tensor([[0.5]]), np.array(0.505)],
)
def test_number_accepts(answer):
    assert SHARE(answer).right


@pytest.mark.parametrize(
    "answer, message",
    [
        (50, "A share, not percent."),
        (0.405, "The other share."),
        (0.52, "Divide."),
        (-1, "Divide."),
        (True, "A number is wanted"),
        ("a half", "A number is wanted"),
        ("1/0", "A number is wanted"),
        ("1.2.3", "A number is wanted"),
        (torch.zeros(2), "A number is wanted"),
        (math.nan, "`nan`"),
        (..., "no answer yet"),
        ((..., 1), "no answer yet"),
    ],
)
def test_number_says_what_is_wrong(answer, message):
    verdict = SHARE(answer)
    assert not verdict.right and message in verdict.message


@pytest.mark.parametrize(
    "right, answer",
    [(2 / 7, "2/7"), (0.45, "45 %"), (0.45, "45%"), (14_700, "14,700"), (-3.5, " -3.5 ")],
)
def test_number_takes_what_a_person_writes(right, answer):
    judge = number(right, wrong={"a": (1, "x"), "b": (2, "y")})
    assert judge(answer).right and not judge("3/7").right


def test_a_share_in_per_cent_is_told_so():
    judge = number(0.45, wrong={"a": (1, "x"), "b": (2, "y")})
    assert "per cent" in judge(45).message and "per cent" not in judge(46).message


def test_number_without_hint_says_too_large_or_too_small():
    judge = number(10, wrong={"a": (1, "x"), "b": (2, "y")})
    assert judge(11).message == "11 is too large." and judge(-3).message == "-3 is too small."


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_without_tolerance_only_the_number_itself_is_right(right, answer):
    judge = number(
        right, wrong={"next": (right + 2 * 10**10, "a"), "before": (right - 2 * 10**10, "b")}
    )
    if abs(right - answer) > 2:  # integers closer than that may be equal to nine digits
        assert not judge(answer).right
    assert judge(right).right and judge(float(right)).right


# -- choice, array, function
# ---------------------------------------------------------------------------------------

PICK = choice("query", wrong={"axes": ("key", "Rows ask."), "mixed": ("value", "That is mixed.")})


@pytest.mark.parametrize(
    "answer, right, message",
    [
        ("query", True, ""),
        (" Query ", True, ""),
        ("KEY", False, "Rows ask."),
        ("value", False, "That is mixed."),
        ("token", False, "not among the answers: 'key', 'query', 'value'"),
        (3, False, "not among"),
        (["query"], False, "One of"),
    ],
)
def test_choice(answer, right, message):
    assert PICK(answer).right == right and message in PICK(answer).message


def test_choice_does_not_take_one_for_true():
    judge = choice(True, wrong={"no": (False, "It does."), "maybe": ("maybe", "Decide.")})
    assert judge(True).right and not judge(1).right and judge(False).message == "It does."


MATRIX = np.arange(6.0).reshape(2, 3)
TABLE = array(
    MATRIX, wrong={"transposed": (MATRIX.T, "Transpose."), "from one": (MATRIX + 1, "Start at 0.")}
)


@pytest.mark.parametrize(
    "answer, right, message",
    [
        (MATRIX, True, ""),
        (MATRIX.tolist(), True, ""),
        (torch.tensor(MATRIX, requires_grad=True), True, ""),
        ([torch.tensor(row) for row in MATRIX], True, ""),
        (pd.DataFrame(MATRIX), True, ""),
        (MATRIX.T, False, "Transpose."),
        (MATRIX + 1, False, "Start at 0."),
        (MATRIX.ravel(), False, "shape (2, 3) is wanted"),
        (MATRIX * np.nan, False, "`nan`"),
        (MATRIX + [[0, 0, 0], [0, 0, 9]], False, "1 of 6 numbers"),
        (MATRIX + [[0, 0, 0], [0, 2, 9]], False, "The first that differs is [1, 1]: 6."),
        ("text", False, "An array of numbers"),
        ([[1], [2, 3]], False, "An array of numbers"),
        (3, False, "shape"),
    ],
)
def test_array(answer, right, message):
    assert TABLE(answer).right == right and message in TABLE(answer).message


def add_columns(a, b):
    return (a + b) % 10, (a + b) // 10


ADDER = function(
    add_columns,
    cases=[(1, 2), (9, 9), (5, 5)],
    wrong={
        "no carry": (lambda a, b: ((a + b) % 10, 0), "You drop the carry."),
        "off by one": (lambda a, b: ((a + b) % 10, int(a + b > 10)), "Ten carries too."),
        "divides": (lambda a, b: 1 / 0, "You divide by zero."),
    },
)


@pytest.mark.parametrize(
    "answer, right, message",
    [
        (lambda a, b: list(divmod(a + b, 10))[::-1], True, ""),
        (lambda a, b: ((a + b) % 10, 0), False, "You drop the carry."),
        (lambda x, y: ((x + y) % 10, 1 if x + y > 10 else 0), False, "Ten carries too."),
        (lambda a, b: 1 // 0, False, "You divide by zero."),
        (lambda a: a, False, "(1, 2)` stops with `TypeError"),
        (lambda a, b: (0, 0), False, "(1, 2)` gives (0, 0), and should give (3, 0)"),
        (lambda a, b: None, False, "returns nothing yet"),
        (lambda a, b: ..., False, "returns nothing yet"),
        (add_columns(1, 2), False, "A function is wanted"),
        ("add_columns", False, "A function is wanted"),
    ],
)
def test_function_is_judged_by_what_it_does(answer, right, message):
    assert ADDER(answer).right == right and message in ADDER(answer).message


def test_function_shows_the_first_differing_entry_of_a_large_result():
    judge = function(
        lambda n: torch.arange(n * n).view(n, n),
        cases=[4],
        wrong={"a": (lambda n: 1, "x"), "b": (lambda n: 2, "y")},
    )

    def wrong_corner(n):
        table = torch.arange(n * n).view(n, n)
        table[-1, -1] = 0
        return table

    assert "[3, 3]: 0, not 15." in judge(wrong_corner).message
    assert judge(lambda n: torch.arange(n * n).view(n, n)).right


def test_function_may_not_change_what_others_see():
    def sort_in_place(values):
        values.sort()
        return values

    judge = function(
        sorted,
        cases=[[3, 1, 2], [2, 1]],
        wrong={
            "reversed": (lambda v: sorted(v)[::-1], "The other way."),
            "nothing": (lambda v: v, "Unsorted."),
        },
    )
    assert judge(sort_in_place).right and judge(lambda v: v).message == "Unsorted."


def test_functions_that_draw_see_the_same_random_numbers_and_leave_no_trace():
    judge = function(
        lambda n: (torch.rand(n), np.random.rand(n), random.random()),
        cases=[2, 3],
        wrong={"ones": (lambda n: torch.ones(n), "a"), "zeros": (lambda n: torch.zeros(n), "b")},
    )
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    assert judge(lambda n: (torch.rand(n), np.random.rand(n), random.random())).right
    assert (
        torch.equal(states[0], torch.get_rng_state())
        and (states[1] == np.random.get_state()[1]).all()
    )
    assert states[2] == random.getstate()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: number(1, wrong={"a": (1, "x"), "b": (2, "y")}), "'a' gives the right answer"),
        (
            lambda: number(1, wrong={"a": (1.05, "x"), "b": (2, "y")}, tolerance=0.1),
            "'a' gives the right answer",
        ),
        (
            lambda: number(1, wrong={"a": (3, "x"), "b": (3, "y")}),
            "'a' and 'b' give the same answer",
        ),
        (lambda: number(1, wrong={"a": (2, "x"), "b": (3, "x")}), "have the same message"),
        (lambda: number(1, wrong={"a": (2, " "), "b": (3, "x")}), "has no message"),
        (lambda: number(1, wrong={"a": ("2", "x"), "b": (3, "y")}), "wrong type"),
        (lambda: choice("a", wrong={"x": (" A", "m"), "y": ("b", "n")}), "gives the right answer"),
        (
            lambda: array([1, 2], wrong={"x": ([1, 2], "m"), "y": ([2, 1], "n")}),
            "gives the right answer",
        ),
        (
            lambda: function(abs, [1, 2], {"x": (lambda n: n, "m"), "y": (lambda n: -n, "n")}),
            "gives the right answer",
        ),
        (
            lambda: function(lambda n: 1 / n, [1, 0], {"x": (abs, "m"), "y": (round, "n")}),
            "the reference function fails",
        ),
    ],
)
def test_ambiguous_checks_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_lies_beside_the_chapters_is_not_read(project):
    """Side files of macOS are no text at all, and a copy would give every exercise twice."""
    (project / "chapters/._01-a.qmd").write_bytes(b"\x00\x05\x16\x07\xb0\xff\xfe")
    (project / "chapters/01-a - Copy.qmd").write_text(CHAPTER)
    assert {exercise.path.name for exercise in read_exercises(project).values()} == {"01-a.qmd"}


def test_a_judge_of_ones_own():
    judge = Judge(lambda answer: (answer > 3, "More."), {"too few": 2, "none": 0})
    assert judge(4).right and not judge(2).right and not judge(...).right


# -- The book's exercises
# ------------------------------------------------------------------------------------------


def test_every_chapter_has_four_to_eight_exercises_of_graded_difficulty():
    """Those of a laboratory stand beside it, whatever their grade, and are counted apart."""
    for path in {exercise.path for exercise in EXERCISES.values()}:
        mine = {label: each for label, each in EXERCISES.items() if each.path == path}
        levels = [each.difficulty for label, each in mine.items() if not label.startswith("lab-")]
        assert len(mine) - len(levels) <= 2, path.name
        assert 4 <= len(levels) <= 8 and levels == sorted(levels) and len(set(levels)) >= 2, (
            path.name
        )


@pytest.mark.parametrize("label", EXERCISES)
def test_each_misconception_is_told_what_it_is(label):
    misconceptions = judge_of(EXERCISES[label]).misconceptions
    verdicts = {name: check(label, answer) for name, answer in misconceptions.items()}
    assert len(verdicts) >= 2
    assert not any(verdict.right for verdict in verdicts.values())
    messages = [verdict.message for verdict in verdicts.values()]
    assert len(set(messages)) == len(messages) and all(messages)
    unrecognised = [
        name for name, verdict in verdicts.items() if "cannot be judged" in verdict.message
    ]
    assert not unrecognised


@pytest.mark.parametrize("label", EXERCISES)
def test_each_exercise_asks_check_for_its_own_label(label):
    exercise = EXERCISES[label]
    for code in (exercise.starter, exercise.solution):
        compile(code, str(exercise.path), "exec")
        assert f'check("{label}"' in code
    assert "..." in exercise.starter and "..." not in exercise.solution
