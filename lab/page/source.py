"""The project's own source as a page shows it."""

import inspect
import re
import textwrap

from IPython.display import Markdown

__all__ = ["show_source"]


def show_source(*objects, fold=False):
    """The source text of functions, methods or classes of this project, as one block of code on
    the page; with `fold`, behind a line that names them with their modules.

    Comments at the end of a line move up to the code, since a page is narrower than an editor.
    Raises TypeError for what has no source.
    """
    source = "\n".join(textwrap.dedent(inspect.getsource(o)) for o in objects)
    block = "```python\n" + re.sub(r"(?<=\S) {2,}# ", "  # ", source) + "```"
    if not fold:
        return Markdown(block)
    names = ", ".join(f"<code>{o.__module__}.{o.__qualname__}</code>" for o in objects)
    return Markdown(
        f'<details class="source"><summary>Source of {names}</summary>\n\n{block}\n\n</details>'
    )
