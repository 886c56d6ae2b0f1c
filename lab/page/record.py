"""What a chapter leaves behind: its claims, its printed numbers, its exported figures, its list of
runs, and the files it used.

All of it goes into one file per chapter, `_record/<chapter>.json`, rewritten after each event. A
chapter whose results are frozen does not run again, and its record stays; the appendix "How this
book was computed" reads them all.
"""

import functools
import hashlib
import json
import os
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
from filelock import FileLock
from IPython import get_ipython
from IPython.display import Markdown, display
from matplotlib.cm import ScalarMappable

from lab import ROOT
from lab.find_or_make import building_chapter, used_results
from lab.page.pictures import show_pictures
from lab.page.printed import Printed
from lab.page.qmd import COLOUR_SCALE, claim_id, inline_markdown, read_chapter

RECORDS = ROOT / "_record"
FIGURES = ROOT / "figures"

# the record being written: a dictionary, or None outside a chapter (notebook, test)
_chapter = None
_printed = Printed()  # what the page has printed so far
_prose = []  # the chapter's prose that has inline expressions and is still to come
_sentences = {}  # the claims' sentences as the chapter's source has them, by identifier
_scaled = set()  # labels of the figures whose cells say that their colours are a scale
_verdicts = {}  # did the claims checked so far hold? by identifier
_opened = set()  # files under data/ and chapters/ that were opened since the chapter was
_watching = False  # an audit hook cannot be taken away again: one is enough


class ClaimContradicted(AssertionError):
    """The book's own results contradict a sentence of the book."""


class ClaimCannotFail(AssertionError):
    """A claim held on its counter-example too: it says nothing."""


def _watch(event, args):
    """An audit hook: notes which data files and chapters are opened, so that the build knows when a
    chapter is out of date."""
    if event == "open" and isinstance(args[0], (str, os.PathLike)):
        path = Path(os.fsdecode(args[0]))
        path = path if path.is_absolute() else Path.cwd() / path
        watched = any(path.is_relative_to(ROOT / folder) for folder in ("data", "chapters"))
        if (
            watched
            and not path.name.startswith(".")
            and not path.is_relative_to(ROOT / "data" / "yours")
        ):
            _opened.add(path)


def open_chapter(name):
    """Start the record of a chapter: call it in the chapter's first cell with the file's name
    without suffix."""
    global _chapter, _printed, _watching
    sources = [ROOT / place / f"{name}.qmd" for place in (".", "chapters")]
    source = next((path for path in sources if path.exists()), None)
    if source is None:
        raise ValueError(
            f"there is no chapter {name!r}: give the name of a .qmd file without its suffix"
        )
    building_chapter(name)
    _read_sentences(source)
    if not _watching:
        sys.addaudithook(_watch)
        _watching = True
    _chapter = {
        "chapter": name,
        "claims": [],
        "figures": [],
        "runs": [],
        "numbers": [],
        "depends_on": {},
        "settings": _settings(),
    }
    shell, _printed = get_ipython(), Printed()
    if shell is not None:  # also note what is used after the last claim, figure or run
        _printed.watch(shell, on_change=_write, claimed=_note_sentences)
        shell.events.register("post_run_cell", lambda result: _write())
        show_pictures(shell)
    _write()


def _read_sentences(source):
    """Learn the claims' sentences from the chapter's own source, which does not by that become one
    of the files it depends on: a change of prose runs nothing again."""
    known = source in _opened
    chapter = read_chapter(source)
    parts = chapter.prose
    if not known:
        _opened.discard(source)
    _prose[:] = [part for part in parts if part.expressions]
    _sentences.clear()
    _sentences.update({each.identifier: each for part in parts for each in part.sentences})
    _scaled.clear()
    _scaled.update(
        label
        for cell in chapter.cells
        if cell.options.get("classes") == COLOUR_SCALE
        for label in re.findall(r"""["']((?:fig|lab)-[a-z0-9-]+)["']""", cell.code)
    )


def _note_sentences(expressions, values):
    """Complete the claims whose inline expressions have just been evaluated. expressions: texts, in
    order; values: what Jupyter says of each. Returns the positions that belong to claims."""
    position = next((i for i, part in enumerate(_prose) if part.expressions == expressions), None)
    if _chapter is None or position is None:
        return set()
    part, claimed = _prose[position], set()
    del _prose[: position + 1]
    for sentence in part.sentences:
        own = range(sentence.first, sentence.first + len(sentence.expressions))
        if own:
            _complete(sentence, [inline_markdown(values[i]["data"]) for i in own])
            claimed.update(own)
    return claimed


def _complete(sentence, values=()):
    """Keep the sentence of a claim with its numbers."""
    for entry in _chapter["claims"]:
        if claim_id(entry["label"]) == sentence.identifier:
            entry["sentence"] = sentence.filled(list(values))
            plain = re.sub(r"\\([^\w\s])", r"\1", entry["sentence"])
            _printed.add(f"claim {entry['label']}", plain)


def _settings():
    return {name: os.environ.get(name, "") for name in ("BOOK_RUNS", "BOOK_SCALE", "BOOK_DEVICE")}


def _used_files():
    """The project's modules that are loaded and the data files that were read."""
    files = {
        getattr(m, "__file__", None) or "" for m in list(sys.modules.values())
    }  # thousands: strings first
    modules = {Path(file) for file in files if file.startswith(str(ROOT)) and file.endswith(".py")}
    code = {p for p in modules if p.is_relative_to(ROOT) and ".venv" not in p.parts}
    return sorted(p for p in code | _opened if p.is_file())


@functools.cache
def _sha256(path, modified, size):
    """A file's hash, taken again only when it has changed: the record is written after every
    cell."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write():
    if _chapter is None:
        return
    _chapter["runs"], _chapter["numbers"] = used_results(), _printed.rows()
    stats = {p: p.stat() for p in _used_files()}
    _chapter["depends_on"] = {
        p.relative_to(ROOT).as_posix(): _sha256(p, stat.st_mtime_ns, stat.st_size)
        for p, stat in stats.items()
    }
    RECORDS.mkdir(exist_ok=True)
    place = RECORDS / f"{_chapter['chapter']}.json"
    with FileLock(RECORDS / f".{_chapter['chapter']}.lock"):
        temporary = place.with_suffix(".json.part")
        temporary.write_text(json.dumps(_chapter, indent=1) + "\n")
        os.replace(temporary, place)


def _write_soon():
    """In a kernel the record is written after the cell, also of one that fails, and not for each of
    its runs and claims."""
    if get_ipython() is None:
        _write()


def run_list():
    """Every run that the chapter has used so far, as a Markdown table: what it was, where it came
    from, how long it took."""
    where = {"book": "stored with the book", "yours": "trained by you"}
    lines = [
        "| run | differs from the reference | came from | device | minutes |",
        "|:--|:--|:--|:--|--:|",
    ]
    lines += [
        f"| `{run['run']}` | {run['differs'] or 'nothing'} | {where[run['origin']]} |"
        f" {run['device_name']} | {run['seconds'] / 60:.1f} |"
        for run in used_results()
    ]
    return Markdown("\n".join(lines))


def show_figure(figure, label):
    """Export a figure as figures/<chapter>/<label>.svg and .png, for slides, and return it for the
    page to show.

    Where its parts stand is decided once. Each of three drawings would decide it anew, for a
    quarter of the time that they take together. Raises ValueError where its colours stand for
    numbers and its cell does not say `#| classes: colour-scale`, or the other way round: a dark
    page turns figures over, but for these.
    """
    if _chapter is not None:
        if has_colour_scale(figure) != (label in _scaled):
            do, needs = ("do not stand", "has no") if label in _scaled else ("stand", "needs")
            raise ValueError(
                f"the colours of {label} {do} for numbers: its cell {needs}"
                f" `#| classes: {COLOUR_SCALE}`"
            )
        folder = FIGURES / _chapter["chapter"]
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, options in ((".png", {"dpi": 200}), (".svg", {"metadata": {"Date": None}})):
            figure.savefig(folder / (label + suffix), **options)
            figure.set_layout_engine("none")
            place = f"figures/{_chapter['chapter']}/{label}{suffix}"
            if place not in _chapter["figures"]:
                _chapter["figures"].append(place)
        _write_soon()
    plt.close(figure)  # else Jupyter shows it a second time, when it clears up after the cell
    return figure


def has_colour_scale(figure):
    """Does a colour of `figure` stand for a number, as in a heat map?"""
    return any(
        artist.get_array() is not None
        and artist.get_array().ndim <= 2  # a picture in RGB has 3
        and getattr(artist, "colors", None) is None  # contours in one colour
        for artist in figure.findobj(lambda artist: isinstance(artist, ScalarMappable))
    )


def only_book_runs():
    """True while every run that this process has used is one of the book's own."""
    return all(run["origin"] == "book" for run in used_results())


def check_claim(label, *, holds, given, counterexample):
    """Check a sentence of the book against the results.

    label: its name, unique in the chapter: the sentence stands in the text below, in the block
    `::: {.claim #clm-label}`; holds: a function of one argument that says whether data bear the
    sentence out; given: the results; counterexample: data of the same form for which the sentence
    is false (labels permuted, arms swapped, an untrained model).

    When the book is built from its own runs a contradicted claim raises ClaimContradicted, and one
    that its counter-example cannot contradict raises ClaimCannotFail. With a reader's own runs the
    page shows the sentence as contradicted, and things go on; so they do in notebooks, where a
    reader may have changed what stands above (see `verdict_of`).
    """
    sentence = _sentences.get(claim_id(label))
    if _chapter is not None and sentence is None:
        raise ValueError(
            f"claim {label!r} has no sentence: write ::: {{.claim #{claim_id(label)}}} below"
        )
    true = _judge(label, None if sentence is None else sentence.text, holds, given, counterexample)
    if _chapter is not None and not sentence.expressions:
        _complete(sentence)
        _write_soon()
    if _chapter is not None and not true:  # tools/chapter.lua marks the sentence
        display(Markdown(f"::: {{.contradicted claim={claim_id(label)}}}\n:::"))


def verdict_of(identifier):
    """The mark before a claim in a notebook: a tick, or a cross and a remark. identifier: as
    `clm-lapses`."""
    if identifier not in _verdicts:
        return "(not checked yet: run the cells above)"
    return "✓" if _verdicts[identifier] else "✗ **Contradicted by your results.**"


def claim(label, sentence, holds, given, counterexample):
    """The old form of a claim, for chapters that are not converted yet: as `check_claim`, with the
    sentence, Markdown with its numbers computed, printed by the cell itself."""
    true = _judge(label, sentence, holds, given, counterexample)
    if _chapter is None:
        return Markdown(
            "> " + (f"✓ {sentence}" if true else f"✗ {sentence} **Contradicted by your results.**")
        )
    _chapter["claims"][-1]["sentence"] = sentence
    _printed.add(f"claim {label}", sentence)
    _write_soon()
    if true:
        return Markdown(f"::: {{.claim #{claim_id(label)}}}\n{sentence}\n:::")
    return Markdown(
        f"::: {{.claim-contradicted #{claim_id(label)}}}\n{sentence} "
        "**Contradicted by your runs.**\n:::"
    )


def _judge(label, sentence, holds, given, counterexample):
    """Does the claim hold? Noted in the record, its sentence still empty. Raises as
    `check_claim`."""
    true, false = bool(holds(given)), bool(holds(counterexample))
    _verdicts[claim_id(label)] = true
    if _chapter is None:
        return true
    if any(claim_id(old["label"]) == claim_id(label) for old in _chapter["claims"]):
        raise ValueError(f"the chapter has two claims with the label {label!r}")
    _chapter["claims"].append(
        {
            "label": label,
            "sentence": "",
            "holds": true,
            "counterexample_holds": false,
            "own_runs": not only_book_runs(),
        }
    )
    _write_soon()
    if not true and only_book_runs():
        raise ClaimContradicted(
            f"claim {label!r} is contradicted by the book's own results: {sentence}"
        )
    if false and only_book_runs():
        raise ClaimCannotFail(
            f"claim {label!r} holds on its counter-example too, so it cannot fail: {sentence}"
        )
    return true


def read_records():
    """The records of all chapters but the one that is being written, in order of chapter name: a
    list of dictionaries."""
    own = _chapter and _chapter["chapter"]
    records = [json.loads(path.read_text()) for path in sorted(RECORDS.glob("[!.]*.json"))]
    return [record for record in records if record["chapter"] != own]
