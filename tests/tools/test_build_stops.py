"""What stops the build, and what a bad setting says."""

import os
import signal
import subprocess
import sys
import time

import pytest
from small_book import change

from lab import ROOT
from tools import build as build_module
from tools.build import BuildError, build, choose_edition, choose_engine


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, old, new, message",
    [
        (
            "02-second",
            "plt.plot([2, 1])",
            "\nplt.no_such_thing()",
            r"02-second\.qmd:22: AttributeError",
        ),
        (
            "01-first",
            "used_module.COUNT`",
            "used_module.MISSING`",
            r"01-first\.qmd:\d+: .*AttributeError",
        ),
        ("01-first", "@fig-line,", "@fig-lien,", r"01-first\.qmd:\d+: @fig-lien refers to nothing"),
        (
            "02-second",
            '#| fig-alt: "A falling line."\n',
            "",
            r"02-second\.qmd:\d+: the figure fig-second has no #\| fig-alt",
        ),
        (
            "02-second",
            "01-first.qmd#sec-label",
            "01-firts.qmd",
            r"02-second\.qmd:\d+: the link to 01-firts\.qmd",
        ),
        (
            "02-second",
            "print(pd",
            (
                "from IPython.display import display, Markdown\ndisplay(Markdown('see"
                " @fig-none'))\nprint(pd"
            ),
            r"@fig-none refers to nothing",
        ),
        (
            "02-second",
            "print(pd",
            (
                "from IPython.display import display,"
                " Markdown\ndisplay(Markdown('![](no.png)'))\nprint(pd"
            ),
            r"has no alt text",
        ),
        (
            "02-second",
            "print(pd",
            (
                "from IPython.display import display,"
                " Markdown\ndisplay(Markdown('[x](no.html)'))\nprint(pd"
            ),
            r"no\.html leads nowhere",
        ),
        (
            "02-second",
            "print(pd",
            "from IPython.display import display\ndisplay(pd.DataFrame({'a': [1]}))\nprint(pd",
            r"02-second\.qmd:\d+: this cell shows HTML",
        ),
        ("02-second", "Beware", r"$\undefinedmacro{$ Beware", r"pandoc says"),
    ],
    ids=[
        "cell",
        "inline expression",
        "reference",
        "alt text",
        "link",
        "computed reference",
        "computed image",
        "computed link",
        "computed HTML",
        "formula",
    ],
)
def test_a_fault_stops_the_build(own_small_book, name, old, new, message):
    change(own_small_book / f"chapters/{name}.qmd", old, new)
    with pytest.raises(BuildError, match=message):
        build(own_small_book, "pandoc", "reader")


@pytest.mark.slow
def test_a_failed_build_leaves_the_last_good_one(own_small_book):
    before = (own_small_book / "_book/index.html").read_bytes()
    change(
        own_small_book / "chapters/02-second.qmd", "print(pd", "raise ValueError('no')\nprint(pd"
    )
    with pytest.raises(BuildError, match="ValueError: no"):
        build(own_small_book, "pandoc", "reader")
    assert (own_small_book / "_book/index.html").read_bytes() == before
    assert not list(own_small_book.glob("_book-partial-*"))


@pytest.mark.parametrize(
    "variable, value, call, message",
    [
        ("BOOK_ENGINE", "latex", choose_engine, "'latex'; allowed are: quarto, pandoc"),
        ("QUARTO_PROFILE", "teacher", choose_edition, "'teacher'; allowed are: reader, instructor"),
    ],
)
def test_a_bad_setting_lists_the_choices(monkeypatch, variable, value, call, message):
    monkeypatch.setenv(variable, value)
    with pytest.raises(BuildError, match=message):
        call(None)


def test_asking_for_quarto_without_it_is_said(monkeypatch):
    monkeypatch.setattr(build_module, "find_quarto", lambda: None)
    monkeypatch.setenv("BOOK_ENGINE", "quarto")
    with pytest.raises(BuildError, match="no `quarto` on the PATH"):
        choose_engine(None)
    monkeypatch.delenv("BOOK_ENGINE")
    assert choose_engine(None) == "pandoc"


def test_the_command_ends_with_an_error_status():
    done = subprocess.run(
        [sys.executable, "-m", "tools.build"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "BOOK_ENGINE": "latex"},
    )
    assert done.returncode == 1 and "allowed are: quarto, pandoc" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one program")
def test_an_interrupted_build_ends_at_once_and_leaves_no_kernel(own_small_book):
    before = (own_small_book / "_book/index.html").read_bytes()
    begun = [own_small_book / name for name in ("begun-1", "begun-2")]
    for name, file, old in [("01-first", begun[0], "import used_module\n")] + [
        ("02-second", begun[1], "print(pd")
    ]:
        sleep = f"import pathlib, time\npathlib.Path({file.name!r}).touch()\ntime.sleep(300)\n"
        change(own_small_book / f"chapters/{name}.qmd", old, sleep + old)
    running = subprocess.Popen(
        [sys.executable, "-m", "tools.build", "--engine", "pandoc"],
        cwd=own_small_book,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background jobs are deaf to SIGINT, and hand that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.time() + 120
    while not all(file.exists() for file in begun) and time.time() < deadline:
        time.sleep(0.2)
    assert all(file.exists() for file in begun)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does, to the kernels too
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130 and "Stopped." in said and "Traceback" not in said, said
    assert (own_small_book / "_book/index.html").read_bytes() == before
    assert not list(own_small_book.glob("_book-partial-*"))
    with pytest.raises(ProcessLookupError):  # nobody of the group is left
        os.killpg(running.pid, 0)
