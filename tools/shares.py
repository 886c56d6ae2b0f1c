"""How much of its work each chapter shows: `python -m tools.lint --shares`.

A chapter whose front matter says `shows-its-work: true` must keep within LIMITS; the others are
only counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from lab.page.qmd import FENCE, INLINE_EXPRESSION, Cell, Chapter, closes

WIDTH = 88  # characters of code that a page shows without scrolling sideways
LONGEST_INLINE = 60  # characters of an inline expression that is still a name or one short call
FLAG = "shows-its-work"
LIMITS = {"hidden": 0.25, "too_wide": 0, "long_inline": 0, "words": 4_500}
NOT_READ = re.compile(r"\{(?:#exr-|#sol-|#lab-|\.content-hidden|\.content-visible)")


@dataclass(frozen=True)
class Shares:
    """What a chapter shows. code: its lines of code in cells, blank ones left out; hidden: the
    share of them in cells with `echo: false` (folded code is there to be read, so it counts as
    shown); too_wide: lines shown of more than WIDTH characters; long_inline: inline expressions of
    more than LONGEST_INLINE; words: of its text and captions, exercises left out, and what
    only stands in the place of a laboratory.
    """

    code: int
    hidden: float
    too_wide: int
    long_inline: int
    words: int

    def beyond(self) -> list[str]:
        """A sentence for each limit that is passed."""
        said = {
            "hidden": f"{self.hidden:.0%} of its code lines hidden, at most {LIMITS['hidden']:.0%}",
            "too_wide": f"{self.too_wide} shown lines of code over {WIDTH} characters, none",
            "long_inline": f"{self.long_inline} inline expressions over {LONGEST_INLINE}"
            " characters, none",
            "words": f"{self.words:,} words, at most {LIMITS['words']:,}",
        }
        return [text for name, text in said.items() if getattr(self, name) > LIMITS[name]]


def is_shown(cell: Cell) -> bool:
    return cell.options.get("echo", True) is not False


def shares_of(chapter: Chapter) -> Shares:
    lines = {True: [], False: []}  # shown, hidden
    for cell in chapter.cells:
        lines[is_shown(cell)] += [line for line in cell.code.split("\n") if line.strip()]
    total = len(lines[True]) + len(lines[False])
    expressions = [text for prose in chapter.prose for text in prose.expressions]
    return Shares(
        code=total,
        hidden=len(lines[False]) / total if total else 0.0,
        too_wide=sum(len(line) > WIDTH for line in lines[True]),
        long_inline=sum(len(text) > LONGEST_INLINE for text in expressions),
        words=count_words(chapter),
    )


def count_words(chapter: Chapter) -> int:
    """Words of what a page says: an inline expression is one; code and formulas are none."""
    captions = [
        str(cell.options[name])
        for cell in chapter.cells
        for name in ("fig-cap", "tbl-cap")
        if name in cell.options
    ]
    texts, left_out, fence = captions, [], None
    for line in "\n".join(prose.text for prose in chapter.prose).split("\n"):
        match = FENCE.match(line)
        if fence:
            fence = None if closes(line, fence) else fence
        elif match:
            fence = match["fence"]
        elif re.match(r":{3,} *\{", line):
            left_out.append(bool(NOT_READ.search(line)))
        elif re.fullmatch(r":{3,} *", line) and left_out:
            left_out.pop()
        elif not any(left_out):
            texts.append(line)
    text = INLINE_EXPRESSION.sub("value", "\n".join(texts))
    text = re.sub(r"\$\$.*?\$\$|\{[#.][^}]*\}", " ", text, flags=re.DOTALL)
    return sum(bool(re.search(r"[^\W_]", word)) for word in text.split())


def shares_table(chapters: dict[str, Chapter]) -> pd.DataFrame:
    """One row per chapter. chapters: name -> Chapter."""
    rows = []
    for name, chapter in chapters.items():
        shares = shares_of(chapter)
        rows.append(
            {
                "chapter": name,
                "code lines": shares.code,
                "hidden": f"{shares.hidden:.0%}",
                f"over {WIDTH} characters": shares.too_wide,
                f"inline over {LONGEST_INLINE}": shares.long_inline,
                "words": shares.words,
                "enforced": "yes" if chapter.front_matter.get(FLAG) else "not yet",
                "beyond": len(shares.beyond()),
            }
        )
    return pd.DataFrame(rows)
