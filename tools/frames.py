"""Which expressions of a cell give a pandas DataFrame, as far as its code tells.

A cell that ends with one shows its HTML, for which Quarto's pages load scripts from elsewhere: the
linter refuses it (tools/lint_source.py).
"""

from __future__ import annotations

import ast

PANDAS_MAKES_FRAMES = {"DataFrame", "concat", "crosstab", "merge", "pivot_table", "read_csv"}
GIVES_FRAME = {
    "assign",
    "describe",
    "groupby",
    "melt",
    "merge",
    "pivot",
    "pivot_table",
    "query",
    "reset_index",
    "set_index",
    "to_frame",
    "unstack",
}
KEEPS_FRAME = {
    "T",
    "abs",
    "agg",
    "astype",
    "copy",
    "drop",
    "dropna",
    "fillna",
    "head",
    "loc",
    "iloc",
    "mean",
    "max",
    "median",
    "min",
    "rename",
    "round",
    "sample",
    "sort_index",
    "sort_values",
    "sum",
    "tail",
    "transpose",
}


def is_frame(value: ast.expr, frames: set[str]) -> bool:
    """Does the expression give a pandas DataFrame, as far as its last method and the names in
    `frames` tell?"""
    if isinstance(value, ast.Name):
        return value.id in frames
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        receiver, name = value.func.value, value.func.attr
        if isinstance(receiver, ast.Name) and receiver.id == "pd":
            return name in PANDAS_MAKES_FRAMES
        return name in GIVES_FRAME or name in KEEPS_FRAME and is_frame(receiver, frames)
    if isinstance(value, ast.Attribute):
        return value.attr in KEEPS_FRAME and is_frame(value.value, frames)
    if isinstance(value, ast.Subscript):  # frame.loc[...], frame[[...]], frame[frame["x"] > 1]
        rows = not isinstance(value.slice, ast.Constant)
        return rows and (
            is_frame(value.value, frames)
            or isinstance(value.value, ast.Attribute)
            and is_frame(value.value.value, frames)
        )
    return False


def frames_after(statements: list[ast.stmt], frames: set[str]) -> set[str]:
    """The names that stand for data frames after these statements, if `frames` did before."""
    for each in statements:
        if isinstance(each, ast.Assign):
            names = {target.id for target in each.targets if isinstance(target, ast.Name)}
            frames = frames | names if is_frame(each.value, frames) else frames - names
    return frames
