"""The source on the page is the module's own."""

import ast
import inspect
import textwrap

import pytest

from _common import Attention, Block, FeedForward, learning_rate_at
from lab.page.source import show_source


@pytest.mark.parametrize("shown", [(Attention.forward,), (FeedForward.forward, Block.forward)])
def test_the_source_shown_is_the_source(shown):
    text = show_source(*shown).data
    assert text.startswith("```python\n") and text.endswith("\n```")
    code = text.removeprefix("```python\n").removesuffix("```")
    original = "\n".join(textwrap.dedent(inspect.getsource(f)) for f in shown)
    assert ast.dump(ast.parse(code)) == ast.dump(ast.parse(original))
    assert original.count("# ") == code.count("# ")


def test_folded_source_says_where_it_stands():
    text = show_source(learning_rate_at, Attention.forward, fold=True).data
    names = ["_common.learning_rate_at", "_common.Attention.forward"]
    assert all(f"<code>{name}</code>" in text.split("</summary>")[0] for name in names)
    assert show_source(learning_rate_at, Attention.forward).data in text


def test_what_has_no_source_is_refused():
    with pytest.raises(TypeError):
        show_source(3)
