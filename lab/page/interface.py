"""A module's public interface as a page: signatures and docstrings, nothing written twice."""

import inspect

from IPython.display import Markdown

__all__ = "interface".split()


def interface(module):
    """The functions and classes that a module defines and names in `__all__`, in the order of its
    source, as Markdown: a heading, the signature and the docstring each. Names of other modules and
    constants are left out. Raises ValueError for a function or class without a docstring.
    """
    named = [(name, getattr(module, name)) for name in module.__all__]
    own = [
        (name, value)
        for name, value in named
        if (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    ]
    own.sort(key=lambda pair: inspect.getsourcelines(pair[1])[1])
    return Markdown("\n\n".join(_entry(name, value) for name, value in own))


def _entry(name, value):
    text = inspect.getdoc(value) if value.__doc__ else ""
    if not text:
        raise ValueError(f"{name} has no docstring, and a reader will ask what it does")
    signature = f"{name}{inspect.signature(value)}" if not _is_error(value) else name
    heading = f"### `{name}` {{.unnumbered .unlisted}}"
    return f"{heading}\n\n```{{.python}}\n{signature}\n```\n\n{_prose(text)}"


def _is_error(value):
    return inspect.isclass(value) and issubclass(value, BaseException)


def _prose(text):
    """A docstring's paragraphs; what is indented, or set as a table, stays as it is."""
    blocks = []
    for block in text.split("\n\n"):
        lines = block.split("\n")
        laid_out = any(line.startswith("    ") or "  " in line.strip() for line in lines)
        blocks.append(f"```{{.text}}\n{block}\n```" if laid_out else _escaped(block))
    return "\n\n".join(blocks)


def _escaped(text):
    """Markdown's own signs as themselves, outside `code`."""
    parts = text.split("`")
    for i in range(0, len(parts), 2):
        for sign in "\\*_$<>[]^~@":
            parts[i] = parts[i].replace(sign, "\\" + sign)
    return "`".join(parts)
