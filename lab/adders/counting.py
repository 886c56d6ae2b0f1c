"""How many numbers a model has: by the board's rule, and strictly.

Board: numbers that were learned (or set by hand in their place), each once however often it is
used. Strict: those and every frozen number the model computes with. Both are read off the module:
parameters are learned, floating-point buffers are frozen. Not counted by either: numbers that
follow from shapes alone (a scale of 1 / sqrt(d), a period equal to the number of slots), the format
of the input, the rounding of the machine.
"""

import pandas as pd
from torch import nn

__all__ = "count_table board_count strict_count".split()


def count_table(model):
    """One row per tensor: a DataFrame (tensor, kind, shape, numbers, board, strict), shared tensors
    once.

    kind: "learned" or "frozen". `board` and `strict` are what each rule counts of it. Raises
    TypeError for a non-module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"count_table needs a torch module, not {type(model).__name__}")
    rows = [
        (name, "learned" if p.requires_grad else "frozen", p)
        for name, p in model.named_parameters()
    ]
    rows += [(name, "frozen", b) for name, b in model.named_buffers() if b.is_floating_point()]
    table = pd.DataFrame(
        [(name, kind, "x".join(map(str, t.shape)) or "1", t.numel()) for name, kind, t in rows],
        columns=["tensor", "kind", "shape", "numbers"],
    )
    return table.assign(
        board=table["numbers"].where(table["kind"] == "learned", 0), strict=table["numbers"]
    )


def board_count(model):
    """Unique learned numbers after tying."""
    return int(count_table(model)["board"].sum())


def strict_count(model):
    """The same, and every frozen number."""
    return int(count_table(model)["strict"].sum())
