"""A newcomer's chapter: a model of a new family, an experiment with it and a page about that, added
as CONTRIBUTING.md says. Six files are written; everything else finds them by itself."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from small_book import change, copy_book, page, words

from tools.build import build
from tools.lint import lint_book

pytestmark = pytest.mark.usefixtures("forked_kernels")
MODEL = '''"""A bigram model: the next token by the last one alone."""

from dataclasses import dataclass

import torch
import torch.nn as nn

from _checks import check_ids, positive
from _common import VOCAB_SIZE, seeded_generator
from lab.checks import check_settings


@dataclass(frozen=True)
class BigramConfig:
    """How it starts."""

    std: float = 0.02  # of every number

    label, format, n_targets, position_only = "bigram", "plain", 12, False

    def __post_init__(self):
        check_settings(self, std=positive)

    def build(self, seed):
        """An untrained model."""
        return Bigram(self, seed)


class Bigram(nn.Module):
    """A table of V x V logits: (B, T) int64 token ids -> (B, T, V)."""

    max_seq_len = 35

    def __init__(self, config, seed):
        super().__init__()
        self.config = config
        start = torch.randn(VOCAB_SIZE, VOCAB_SIZE, generator=seeded_generator(seed))
        self.table = nn.Parameter(config.std * start)

    def forward(self, tokens):  # (B, T)
        check_ids("tokens", tokens, VOCAB_SIZE)
        return self.table[tokens]  # (B, T, V)
'''
STUDY = '''"""Does a model that sees one token add? It is the null of every other one."""

from lab.adders.studies.frontier import Entry

BIGRAM = {"bigram": Entry("bigram", seeds=range(16))}
'''
CHAPTER = (
    """---
shows-its-work: true
---

# The last token alone {#sec-last-token}

How well does a model add that sees only the token before?

```{python}
from _common import *
from lab.adders.studies.bigram import BIGRAM
from lab.page.record import check_claim, open_chapter
from lab.stats import out_of
open_chapter("12-bigram")
sweep = BIGRAM["bigram"].sweep()
successes, n = int(sweep.successes.sum()), len(sweep.outcomes)
```

```{python}
#| echo: false
rate = out_of(successes, n)
check_claim("no-sum", holds=lambda k: k == 0, given=successes, counterexample=1)
```

::: {.claim #clm-no-sum}
No seed adds: `{python} rate`.
:::

::: {.try title="another start"}
Change the seed.

```{python}
#| eval: false
seed = 3
model = BIGRAM["bigram"].config.model.build(seed)
print(model(torch.tensor([[1, 2]])).shape)
```
:::

## Recap

One token does not tell the sum.

"""
    + 5
    * """::: {.question}
What does it see?

One token.
:::

"""
    + """::: {#exr-entries difficulty="1" minutes="2"}
## Count
How many numbers has it?

```{.python .starter}
answer = ...
check("entries", answer)
```

::: {.callout-tip title="Hint" collapse="true"}
Every token has a row.
:::
:::

::: {.content-hidden when-format="html"}
```{.python .check exercise="entries"}
judge = number(196, wrong={
    "a row": (14, "That is a row. Every token has one."),
})
```
:::

::: {.content-visible when-profile="instructor"}
::: {#sol-entries}
A row for each token.

```{.python .solution exercise="entries"}
answer = VOCAB_SIZE**2
```
:::
:::
"""
)


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The real book's sources with the six files; its stored results stay behind."""
    root = copy_book(tmp_path_factory.mktemp("adding") / "book", "data")
    (root / "data").mkdir()
    # 1 the model, 2 its name and recipe, 3 the question, 4 its place in the list of experiments,
    # 5 the page, 6 its place in the table of contents
    (root / "lab/adders/models/bigram.py").write_text(MODEL, encoding="utf-8")
    sweeps = root / "lab/adders/training/sweeps.py"
    change(
        sweeps,
        "from lab.adders.models.m",
        "from lab.adders.models.bigram import BigramConfig\nfrom lab.adders.models.m",
    )
    change(sweeps, "for cls in (", "for cls in (BigramConfig, ")
    change(
        sweeps,
        "PRESETS = {\n",
        'PRESETS = {\n    "bigram": FleetConfig(BigramConfig(), Recipe()),\n',
    )
    (root / "lab/adders/studies/bigram.py").write_text(STUDY, encoding="utf-8")
    registry = root / "lab/registry.py"
    change(
        registry,
        "from lab.adders.studies.crossed",
        "from lab.adders.studies.bigram import BIGRAM\nfrom lab.adders.studies.crossed",
    )
    change(registry, '*_of_entries("9"', '*_of_entries("12", BIGRAM),\n        *_of_entries("9"')
    (root / "chapters/12-bigram.qmd").write_text(CHAPTER, encoding="utf-8")
    change(root / "_quarto.yml", "  appendices:", "    - chapters/12-bigram.qmd\n  appendices:")
    return root


def run(root, *command):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=root,
        env={**os.environ, "BOOK_SCALE": "tiny"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_linter_takes_it(book):
    assert "\n".join(lint_book(book)) == ""


@pytest.mark.slow
def test_it_is_trained_indexed_and_shown(book, monkeypatch):
    trained = ("bigram", "--scale", "tiny", "--jobs", "1", "--folder", "data")
    assert "0 of 2 seeds right" in run(book, "-m", "tools.train", *trained)
    index = "from lab import registry; print(registry.index_of('fleets').to_csv(index=False))"
    assert ",bigram,12,0-1," in run(book, "-c", index)
    config = yaml.safe_load((book / "_quarto.yml").read_text(encoding="utf-8"))
    config["book"] |= {
        "chapters": ["index.qmd", "chapters/12-bigram.qmd", "references.qmd"],
        "appendices": [],
    }
    (book / "_quarto.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (book / "index.qmd").write_text("# Preface {.unnumbered}\n\nSee @sec-last-token.\n")
    (book / "chapters/glossary.qmd").unlink()  # its words lead to the other chapters
    monkeypatch.setenv("BOOK_SCALE", "tiny")
    pages = build(book, "pandoc", "reader")
    claim = page(pages, "chapters/12-bigram.html").select_one("#clm-no-sum")
    assert "No seed adds: 0 of 2" in words(claim)
    record = json.loads((book / "_record/12-bigram.json").read_text(encoding="utf-8"))
    assert [each["label"] for each in record["claims"]] == ["no-sum"]
