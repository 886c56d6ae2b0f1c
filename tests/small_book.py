"""A small book with every construct of the list, for the tests of the build: two chapters, preface,
appendix."""

import re
import shutil
from pathlib import Path

import yaml
from bs4 import BeautifulSoup

from lab import ROOT
from tools.clean import made_by_builds

BIBLIOGRAPHY = """
@inproceedings{nanda2023progress,
  title = {Progress Measures for Grokking via Mechanistic Interpretability},
  author = {Nanda, Neel and Chan, Lawrence and Lieberum, Tom and Smith, Jess and Steinhardt, Jacob},
  booktitle = {ICLR}, year = {2023}}
@misc{wide2024,
  title = {A Page with a Long Address}, author = {Wide, Ann and Broad, Bo and Long, Cy and Far, Di}, year = {2024},
  url = {https://example.org/a_long_address_without_any_place_to_break_it/0123456789/0123456789/0123456789}}
"""

PREFACE = """---
google-scholar: true
---

# Preface {.unnumbered}

Welcome. Begin with @sec-sampler, and end with @sec-how-computed.
"""

FIRST = """# Every construct once {#sec-sampler}

```{python}
from lab.page.record import open_chapter
from pathlib import Path
import used_module
open_chapter("01-first")
```

A citation [@nanda2023progress], in text @nanda2023progress, a footnote,^[A footnote.] inline mathematics $\\ln 10$, an
inline result: `{python} f"{17760:,}"` parameters; a count: `{python} used_module.COUNT`.

## A section with a label {#sec-label}

::: {.callout-note title="Takeaway"}
The first sentence says it.
:::

::: {.callout-tip title="Predict before you look" collapse="true"}
A folded hint.
:::

```{python}
#| label: fig-line
#| fig-cap: "A line that rises."
#| fig-alt: "A straight line from one to two."
import matplotlib.pyplot as plt
plt.figure(figsize=(3, 2)); plt.plot([1, 2]); plt.show()
```

::: {#fig-computed}

```{python}
#| echo: false
#| fig-alt: "A straight line from two to one."
plt.figure(figsize=(3, 2)); plt.plot([2, 1]); plt.show()
```

A caption with a computed number: `{python} 1 + 2`.
:::

```{python}
#| label: tbl-small
#| tbl-cap: "A small table."
import pandas as pd
from IPython.display import Markdown
Markdown(pd.DataFrame({"model": [57, 54], "seeds": [40, 40]}).to_markdown(index=False))
```

| a | b |
|---|---|
| 1 | 2 |

: A Markdown table {#tbl-md}

$$ L^{*} = \\frac{5 \\ln 10}{12} $$ {#eq-floor}

See @fig-line, @fig-computed, @tbl-small, @tbl-md, @eq-floor, @sec-label and @exr-count.

::: {#exr-count difficulty="2" minutes="5"}
## Count the parameters
How many has the model?

```{.python .starter}
answer = ...
check("count", answer)
```

::: {.callout-tip title="Hint" collapse="true"}
Look at the shapes.
:::
:::

::: {.content-hidden when-format="html"}
```{.python .check exercise="count"}
right_answer_of_the_check = 17760
```
:::

::: {.content-visible when-profile="instructor"}
::: {#sol-count}
Seventeen thousand seven hundred and sixty, by adding the shapes.

```{.python .solution exercise="count"}
answer = sum([448, 416, 16896])
```
:::
:::

```{python}
#| code-fold: true
#| code-summary: "Show the code"
numbers = [int(number) for number in Path("data/numbers.csv").read_text().split(",")]
print("folded", numbers)
```

```{python}
#| echo: false
from lab.page.record import claim
claim("order", f"The numbers rise from {numbers[0]} to {numbers[-1]}, see @fig-line.", lambda n: n[0] < n[-1],
      given=numbers, counterexample=numbers[::-1])
```

```{python}
#| echo: false
from lab.page.record import check_claim
check_claim("fall of both", holds=lambda n: n[0] < n[-1], given=numbers, counterexample=[2, 1])
first, last = numbers[0], f"{numbers[-1]:.2f}"
```

It is `{python} first` here too.

::: {.claim #clm-fall-of-both}
From the last, `{python} last`, they fall
to `{python} first`, a number below 3.
:::

::: {.predict #prd-order}
Which of the two is larger?

- the first
- the last

::: {.answer}
The last, `{python} last`. The author had guessed the first.
:::
:::

::: {.predict #prd-size}
How large is the last?

::: {.answer}
It is 2.
:::
:::

::: {.try title="A larger number"}
Change the number.

```{python}
#| eval: false
number = 3
print("tried", number)
```

```{python}
#| code-fold: true
print("stored", numbers)
```
:::

::: {.question}
How many *numbers* below $9$ are there?

Two: `{python} first` and another, see @fig-line.
:::

Margin: [a side note]{.aside}.
"""

SECOND = """# The second chapter {#sec-second}

```{python}
#| echo: false
from lab.page.record import open_chapter
open_chapter("02-second")
```

See @sec-sampler, @fig-line, @eq-floor, @sec-how-computed and [the first chapter](01-first.qmd#sec-label).

::: {.callout-warning}
Beware of pangolins.
:::

```{python}
#| label: fig-second
#| fig-cap: "A line that falls."
#| fig-alt: "A falling line."
import matplotlib.pyplot as plt
from lab.page.record import show_figure
fig = plt.figure(figsize=(3, 2)); plt.plot([2, 1])
show_figure(fig, "fig-second")
```

What is wide: a figure, a formula, a table, an address [@wide2024].

```{python}
#| label: fig-wide
#| fig-cap: "A wide figure."
#| fig-alt: "A wide figure of two lines."
fig = plt.figure(figsize=(12, 3)); plt.plot([1, 2])
show_figure(fig, "fig-wide")
```

$$ a_{1} + a_{2} + a_{3} + a_{4} + a_{5} + a_{6} + a_{7} + a_{8} + a_{9} = b_{1} + b_{2} + b_{3} + b_{4} + b_{5} $$ {#eq-wide}

The same without a number:

$$ b_{1} + b_{2} + b_{3} + b_{4} + b_{5} + b_{6} + b_{7} + b_{8} + b_{9} = a_{1} + a_{2} + a_{3} + a_{4} + a_{5} $$

```{python}
#| label: tbl-wide
#| tbl-cap: "A wide table."
import pandas as pd
from IPython.display import Markdown
wide = {f"column {i}": [1_000_000 * i] for i in range(9)}
Markdown(pd.DataFrame(wide).to_markdown(index=False))
```

```{python}
#| echo: false
from lab.page.record import claim
claim("wide", "Nine columns are many.", lambda n: n > 5, given=9, counterexample=3)
```

A paragraph after a claim, with `code` in it.

```{python}
print(pd.DataFrame({"a": [1, 2]}))
```
"""

APPENDIX = """---
execute:
  freeze: false
---

# How it was computed {#sec-how-computed}

```{python}
#| echo: false
from lab.page.record import open_chapter
open_chapter("how-computed")
```

## A table

Records: `{python} len(list(__import__("pathlib").Path("_record").glob("*.json")))`.
"""

REFERENCES = """# References {.unnumbered}

::: {#refs}
:::
"""


def copy_book(place: Path, *without: str) -> Path:
    """Copy the real book's sources and stored results to `place`, without what builds and readers
    have made here, and without the paths `without`."""
    kept_here = (
        ".git",
        ".venv",
        ".pytest_cache",
        ".hypothesis",
        "tests",
        "notebooks",
        "data/yours",
        *without,
    )
    left_out = {*made_by_builds(ROOT), *(ROOT / name for name in kept_here)}
    return Path(
        shutil.copytree(
            ROOT,
            place,
            ignore=lambda folder, names: [
                name for name in names if Path(folder, name) in left_out or name == "__pycache__"
            ],
        )
    )


def small_config() -> dict:
    """The book's own settings, with the small book's title and chapters."""
    config = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))
    config["book"] |= {
        "title": "A small book",
        "subtitle": "For tests",
        "appendices": ["chapters/how-computed.qmd"],
        "chapters": [
            "index.qmd",
            "chapters/01-first.qmd",
            "chapters/02-second.qmd",
            "references.qmd",
        ],
    }
    return config


def write_small_book(root: Path) -> Path:
    """Write the book into the empty folder `root`, with this project's tools, theme and
    recorder."""
    (root / "chapters").mkdir(parents=True)
    (root / "data").mkdir()
    for name, text in {
        "_quarto.yml": yaml.safe_dump(small_config()),
        "references.bib": BIBLIOGRAPHY,
        "index.qmd": PREFACE,
        "references.qmd": REFERENCES,
        "chapters/01-first.qmd": FIRST,
        "chapters/02-second.qmd": SECOND,
        "chapters/how-computed.qmd": APPENDIX,
        "used_module.py": "COUNT = 7\n",
        "unrelated_module.py": "COUNT = 8\n",
        "data/numbers.csv": "1,2\n",
        "data/unrelated.csv": "3\n",
    }.items():
        (root / name).write_text(text, encoding="utf-8")
    shutil.copyfile(ROOT / "_quarto-instructor.yml", root / "_quarto-instructor.yml")
    for folder in ("tools", "lab", "figures/theme"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def page(folder, name):
    return BeautifulSoup((folder / name).read_text(encoding="utf-8"), "html.parser")


def words(element):
    return " ".join(element.get_text().split())


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text, f"the test expects {old!r} in {path.name}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def chapters_run(capsys):
    """The chapters that a build, since the last call, has said it runs."""
    return re.findall(r"^running (\S+)", capsys.readouterr().out, re.MULTILINE)


def build_quietly(root, capsys):
    """Build; returns the chapters that were executed."""
    from tools.build import build

    capsys.readouterr()
    build(root, "pandoc", "reader")
    return chapters_run(capsys)
