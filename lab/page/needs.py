"""Which chapters a chapter needs, as it says itself under "What you need to have read"."""

import re

from lab.page.qmd import list_pages, read_config
from lab.store import ROOT

SAID = re.compile(r"\*\*What you need to have read\.\*\*(.*?)\n\n\*\*", re.S)
SENTENCE = re.compile(r"[^.]+\.?")


def chapters_needed(root=ROOT):
    """{number: (name, numbers)} of the numbered chapters: for each the earlier ones that it names.

    A sentence with "nothing" in it names none. Raises ValueError for a chapter that does not say.
    """
    pages = [p for p in list_pages(root, read_config(root)) if (p.number or "").isdigit()]
    texts = {int(p.number): (root / p.source).read_text(encoding="utf-8") for p in pages}
    home = {
        label: number
        for number, text in texts.items()
        for label in re.findall(r"\{#(sec-[\w-]+)", text)
    }
    needed = {}
    for page in pages:
        number = int(page.number)
        said = SAID.search(texts[number])
        if said is None:
            raise ValueError(f'{page.source} does not say "What you need to have read."')
        sentences = [s for s in SENTENCE.findall(said[1]) if "othing" not in s]
        named = {home[label] for s in sentences for label in re.findall(r"@(sec-[\w-]+)", s)}
        title = re.search(r"^# (.*?) *(?:\{|$)", texts[number], re.M)[1]
        needed[number] = title, sorted(each for each in named if each < number)
    return needed


def direct(needed):
    """`chapters_needed` without what follows from the rest: a chapter that another needed one needs
    already is left out. {number: numbers}."""

    def behind(number):
        """All that a chapter needs, directly or not."""
        return {n for each in needed[number][1] for n in {each, *behind(each)}}

    return {
        number: [each for each in named if not any(each in behind(n) for n in named)]
        for number, (_, named) in needed.items()
    }
