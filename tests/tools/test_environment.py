"""What a user's environment holds does not change a page, keep it from being made, or lead pip past
`.venv`."""

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock

from lab import ROOT
from tools import build, execute, serve
from tools.environment import kernel_environment, pip_environment, program_environment

HOSTILE = {
    "PYTHONSTARTUP": "/nowhere/start.py",
    "PYTHONHOME": "/nowhere",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "2",
    "PYTHONSAFEPATH": "1",
    "JUPYTER_PREFER_ENV_PATH": "0",
    "MPLBACKEND": "agg",
    "VIRTUAL_ENV": "/nowhere",
    "CONDA_PREFIX": "/nowhere",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "LANG": "C",
    "LC_ALL": "C",
}
LOOK = """
import os, sys, matplotlib, lab
import matplotlib.pyplot as plt
assert sys.executable == EXECUTABLE and lab.__file__.startswith(ROOT) and __debug__
assert plt.rcParams["lines.linewidth"] == 1.5 and "started" not in globals()
assert sys.getfilesystemencoding() == "utf-8"
print("as ever: ä", matplotlib.get_backend())
"""


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A shell in which about everything is set that could lead a kernel astray."""
    home = tmp_path / "home"
    for place, text in {
        "elsewhere/lab/__init__.py": "raise ImportError('another lab')",
        "style/matplotlibrc": "lines.linewidth: 9",
        "home/.config/matplotlib/matplotlibrc": "lines.linewidth: 9",
        "ipython/profile_default/startup/00-start.py": "started = True",
        "jupyter/kernels/python3/kernel.json": json.dumps(
            {"argv": ["/bin/false"], "language": "python", "display_name": "Python 3"}
        ),
    }.items():
        path = tmp_path / place
        path.parent.mkdir(parents=True)
        path.write_text(text)
    home.chmod(0o500)
    for name, value in {
        **HOSTILE,
        "PYTHONPATH": str(tmp_path / "elsewhere"),
        "MATPLOTLIBRC": str(tmp_path / "style"),
        "HOME": str(home),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_PATH": str(tmp_path / "jupyter"),
    }.items():
        monkeypatch.setenv(name, value)
    yield tmp_path
    home.chmod(0o700)


def run(code, folder=ROOT):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    asyncio.run(execute.run_notebook(notebook, Path(folder)))
    return notebook.cells[0].outputs[0].text


@pytest.mark.slow
def test_a_kernel_computes_the_same_whatever_a_shell_says(hostile):
    code = LOOK.replace("EXECUTABLE", repr(sys.executable)).replace("ROOT", repr(str(ROOT)))
    assert run(code).startswith("as ever: ä ") and "inline" in run(code)


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "/nowhere/at all"])
def test_no_home_is_needed(home, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    if home:
        monkeypatch.setenv("HOME", home)
    assert run("import matplotlib.pyplot, torch; print(1 + 1)") == "2\n"


@pytest.mark.slow
@pytest.mark.parametrize("length", [20, 150])
def test_kernels_talk_where_the_temporary_folder_is_deep(tmp_path, monkeypatch, length):
    deep = tmp_path / ("scratch-" + "x" * length)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    monkeypatch.setattr(execute.tempfile, "tempdir", None)
    assert run("print(1 + 1)") == "2\n"
    monkeypatch.setattr(
        execute, "short_temporary_folder", lambda: str(deep)
    )  # where a system has no short one: TCP
    assert run("print(1 + 1)") == "2\n"


@pytest.mark.slow
def test_a_folder_with_blanks_and_letters(tmp_path):
    folder = tmp_path / "Jörg's büch [1] & co"
    folder.mkdir()
    assert run("import os; print(os.getcwd())", folder).strip() == str(folder)


def test_pip_installs_into_the_environment_from_wherever_it_takes_packages():
    given = {
        "PIP_USER": "1",
        "PIP_TARGET": "/tmp/x",
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "PYTHONPATH": "/x",
        "PATH": "/bin",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "BOOK_TORCH": "cpu",
    }
    assert pip_environment(given) == {
        "PIP_INDEX_URL": given["PIP_INDEX_URL"],
        "PATH": "/bin",
        "BOOK_TORCH": "cpu",
        "PYTHONUTF8": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def test_threads_and_devices_stay_the_users():
    given = {
        "OMP_NUM_THREADS": "2",
        "BOOK_DEVICE": "cpu",
        "BOOK_RUNS": "fresh",
        "CUDA_VISIBLE_DEVICES": "",
        "ATEN_CPU_CAPABILITY": "avx2",
    }
    assert (
        kernel_environment("p", given).items() >= given.items()
        and program_environment(given).items() >= given.items()
    )
    assert kernel_environment("p", {})["OMP_NUM_THREADS"] == "1"


@pytest.mark.skipif(os.name == "nt", reason="make and its shell")
def test_make_does_not_pass_a_shells_settings_of_python_on(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text() + "\nlook:\n\t@env\n")
    done = subprocess.run(
        ["make", "look"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, **HOSTILE},
    )
    assert (
        done.returncode == 0
        and "PYTHONOPTIMIZE" not in done.stdout
        and "PYTHONWARNINGS" not in done.stdout
    )


# -- Builds side by side, and what the system refuses
# ---------------------------------------------------------------


def test_a_second_build_waits_for_the_first(tmp_path, capsys):
    order = []
    (tmp_path / "_cache").mkdir()
    first = FileLock(tmp_path / "_cache" / ".build.lock")
    first.acquire()

    def second():
        with build.one_build_at_a_time(tmp_path):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.3)
    order.append("first")
    first.release()
    thread.join(timeout=20)
    assert (
        order == ["first", "second"]
        and "another build of this book is running" in capsys.readouterr().out
    )


def test_pages_are_put_in_place_at_once_and_a_failed_build_leaves_the_old_ones(
    tmp_path, monkeypatch
):
    output = tmp_path / "_book"
    monkeypatch.setattr(
        build, "build_book", lambda root, edition, aside: (aside / "index.html").write_text("new")
    )
    for publish in ("publish_notebooks", "publish_laboratories"):
        monkeypatch.setattr(build, publish, lambda *arguments: None)
    for _ in range(2):
        build.build_with_pandoc(tmp_path, "reader", output)
        assert [path.name for path in tmp_path.iterdir()] == ["_book"] and (
            output / "index.html"
        ).read_text() == "new"

    def full(root, edition, aside):
        (aside / "index.html").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(build, "build_book", full)
    with pytest.raises(OSError):
        build.build_with_pandoc(tmp_path, "reader", output)
    assert [path.name for path in tmp_path.iterdir()] == ["_book"] and (
        output / "index.html"
    ).read_text() == "new"


@pytest.mark.parametrize(
    "number, says",
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EROFS, "cannot be written to"),
        (errno.EACCES, "cannot be written to"),
    ],
)
def test_what_the_system_refuses_is_said_in_a_sentence(number, says, monkeypatch, tmp_path, capsys):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number), "_book")

    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "build", refuse)
    assert build.main(["--engine", "pandoc"]) == 1
    said = capsys.readouterr().err
    assert "The book was not built." in said and says in said and "Traceback" not in said


def test_a_port_that_is_taken_is_named(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert serve.main([str(port)]) == 1
    assert f"port {port} is taken" in capsys.readouterr().err
    assert serve.main(["0"]) == serve.main(["eight"]) == 1
