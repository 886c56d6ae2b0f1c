"""lab/page/interface.py: every public function of _common with its signature and its words."""

import types

import pytest

import _common
from lab.page.interface import interface


def test_every_function_and_class_of_common_is_there_once():
    text = interface(_common).data
    shown = [line.split("`")[1] for line in text.split("\n") if line.startswith("### ")]
    own = [
        name
        for name in _common.__all__
        if getattr(getattr(_common, name), "__module__", "") == "_common"
        and callable(getattr(_common, name))
    ]
    assert sorted(shown) == sorted(own) and len(shown) > 30
    assert "train_model(" in text and "AdditionTransformer(vocab_size=14" in text


def test_signs_of_markdown_stay_what_they_are():
    module = types.ModuleType("m")
    exec('def f(x):\n    """a*b and `c_d` and 2^n."""\n', module.__dict__)
    module.f.__module__, module.__all__ = "m", ["f"]
    import lab.page.interface as page

    assert "a\\*b and `c_d` and 2\\^n." in page._entry("f", module.f)


def test_a_function_without_words_is_refused():
    module = types.ModuleType("m")
    module.f, module.__all__ = (lambda x: x), ["f"]
    module.f.__module__ = "m"
    with pytest.raises(ValueError, match="f has no docstring"):
        interface(module)
