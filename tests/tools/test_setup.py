"""The set-up's decisions, the Makefile and what the README says of it. Nothing is installed
here."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import clean
from tools import setup_environment as setup

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))


def never():
    raise AssertionError("pip was asked although nothing depends on its answer")


# -- Which PyTorch
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice, installed, system, card, pip_finds_cpu, plan",
    [
        (
            None,
            None,
            "Linux",
            False,
            True,
            "tested",
        ),  # a mirror or a folder of wheels holds a CPU build
        (None, None, "Linux", False, False, "cpu-index"),  # plain PyPI would bring CUDA
        (None, None, "Windows", False, True, "tested"),
        (None, None, "Linux", True, None, "plain"),
        (None, None, "Darwin", False, None, "plain"),
        (None, "cpu", "Linux", False, None, "keep"),
        (None, "cpu", "Linux", True, None, "keep"),
        (None, "cuda", "Linux", False, None, "keep"),
        ("cpu", None, "Linux", True, False, "cpu-index"),
        ("cpu", None, "Linux", True, True, "tested"),
        ("cpu", "cpu", "Linux", True, None, "keep"),
        ("cpu", "cuda", "Linux", True, False, "cpu-index"),
        ("cuda", None, "Linux", False, None, "plain"),
        ("cuda", "cpu", "Linux", True, None, "plain"),
        ("cuda", "cuda", "Linux", True, None, "keep"),
        ("cuda", "cpu", "Darwin", False, None, "keep"),  # a Mac has one build only
        ("skip", None, "Linux", False, None, "skip"),
        ("skip", "cuda", "Linux", True, None, "skip"),
    ],
)
def test_which_pytorch(choice, installed, system, card, pip_finds_cpu, plan):
    ask = never if pip_finds_cpu is None else lambda: pip_finds_cpu
    assert setup.plan_torch(choice, installed, system, card, ask) == plan


@pytest.mark.parametrize(
    "packages, cuda",
    [
        ([("torch", "2.13.0+cpu"), ("sympy", "1.14.0")], False),
        ([("torch", "2.13.0"), ("numpy", "2.4")], False),
        ([("torch", "2.13.0"), ("nvidia-cublas-cu12", "12.8")], True),
        ([("torch", "2.13.0"), ("nvidia_nccl_cu13", "2")], True),
        ([("torch", "2.13.0"), ("triton", "3.9.0")], True),
        ([("torch", "2.13.0"), ("cuda-bindings", "13.5")], True),
        ([("torch", "2.13.0+cu128")], True),
        ([("torch", "2.13.0"), ("Triton", "3")], True),
        ([("torch", "2.13.0"), ("tritonclient", "2.0")], False),
    ],
)
def test_cuda_packages_are_recognised_in_pips_report(packages, cuda):
    report = {
        "install": [{"metadata": {"name": name, "version": version}} for name, version in packages]
    }
    assert setup.brings_cuda(report) == cuda


def test_the_cpu_index_that_cannot_be_reached_is_a_clear_error(monkeypatch):
    def failing_pip(python, arguments, **options):
        assert setup.TORCH_CPU_INDEX in arguments and "--timeout" in arguments
        raise subprocess.CalledProcessError(1, ["pip"])

    monkeypatch.setattr(setup, "pip", failing_pip)
    monkeypatch.setattr(setup.subprocess, "call", lambda *arguments, **options: 0)
    with pytest.raises(setup.SetUpError, match="BOOK_TORCH=skip.*BOOK_TORCH=cuda"):
        setup.install_torch("python", "cpu-index", "torch>=2.13")


@pytest.mark.parametrize("plan", ["keep", "skip"])
def test_keep_and_skip_touch_nothing(monkeypatch, plan):
    monkeypatch.setattr(setup, "pip", lambda *arguments, **options: never())
    monkeypatch.setattr(setup.subprocess, "call", lambda *arguments, **options: never())
    setup.install_torch("python", plan, "torch>=2.13")


# -- Choices and versions
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variable, choices",
    [("BOOK_TORCH", setup.TORCH_CHOICES), ("BOOK_QUARTO", setup.QUARTO_CHOICES)],
)
def test_a_bad_choice_lists_the_choices(monkeypatch, capsys, variable, choices):
    monkeypatch.setenv(variable, "gpu")
    monkeypatch.setattr(setup, "set_up", lambda *arguments: never())
    assert setup.main([]) == 1
    message = capsys.readouterr().err
    assert f"{variable}=gpu" in message and all(choice in message for choice in choices)


@pytest.mark.parametrize("value", [None, ""])
def test_no_choice_is_no_choice(monkeypatch, value):
    monkeypatch.delenv("BOOK_TORCH", raising=False)
    if value is not None:
        monkeypatch.setenv("BOOK_TORCH", value)
    assert setup.read_choice("BOOK_TORCH", setup.TORCH_CHOICES) is None


@pytest.mark.parametrize(
    "version, fits",
    [((3, 9, 18), False), ((3, 10, 0), True), ((3, 14, 1), True), ((2, 7, 18), False)],
)
def test_an_old_python_is_refused_with_its_version(version, fits):
    if fits:
        setup.check_python(version)
    else:
        with pytest.raises(
            setup.SetUpError, match=rf"3\.10 or later, and this is {version[0]}\.{version[1]}"
        ):
            setup.check_python(version)


# -- Running it again
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stamp, choice, ready",
    [
        ({}, None, False),
        ({"files": {"requirements.txt": "a"}}, None, True),
        ({"files": {"requirements.txt": "b"}}, None, False),
        (
            {"files": {"requirements.txt": "a", "requirements-test.txt": "t"}, "torch": None},
            None,
            True,
        ),
        ({"files": {"requirements.txt": "a"}, "torch": None}, "cuda", False),
        ({"files": {"requirements.txt": "a"}, "torch": "cuda"}, "cuda", True),
    ],
)
def test_up_to_date(stamp, choice, ready):
    assert setup.is_up_to_date(stamp, {"requirements.txt": "a"}, choice) == ready


def test_the_second_time_is_a_no_op(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("BOOK_TORCH", raising=False)
    monkeypatch.setattr(setup, "STAMP", str(tmp_path / "stamp.json"))
    monkeypatch.setattr(setup, "venv_program", lambda name: sys.executable)
    monkeypatch.setattr(setup.subprocess, "run", lambda *arguments, **options: never())
    setup.write_stamp(
        {"files": setup.hash_files(["requirements.txt", "requirements-test.txt"]), "torch": None}
    )
    assert setup.main([]) == setup.main(["--tests"]) == 0
    assert capsys.readouterr().out.count("ready") == 2


def test_a_damaged_stamp_means_setting_up_again(monkeypatch, tmp_path):
    monkeypatch.setattr(setup, "STAMP", str(tmp_path / "stamp.json"))
    monkeypatch.setattr(setup, "venv_program", lambda name: sys.executable)
    assert setup.read_stamp() == {}
    (tmp_path / "stamp.json").write_text('{"files": ')
    assert setup.read_stamp() == {}


def test_kernels_of_the_environment_warn_of_nothing(monkeypatch, tmp_path):
    from ipykernel.kernelapp import IPKernelApp
    from IPython.core.application import ENV_CONFIG_DIRS

    assert os.path.join(sys.prefix, "etc", "ipython") in ENV_CONFIG_DIRS
    monkeypatch.setattr(setup, "VENV", str(tmp_path))
    setup.quieten_kernels()
    kernel = IPKernelApp()
    assert kernel.log_level != logging.ERROR
    kernel.config_file_name = "ipython_kernel_config.py"
    kernel.config_file_paths = [str(tmp_path / "etc/ipython")]
    kernel.load_config_file()
    assert kernel.log_level == logging.ERROR


def test_quarto_that_cannot_be_fetched_is_one_line_and_no_error(monkeypatch, capsys):
    def no_way(request, timeout):
        assert timeout <= 10
        raise setup.urllib.error.URLError("no way out")

    monkeypatch.setattr(setup.urllib.request, "urlopen", no_way)
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    monkeypatch.setattr(setup, "venv_program", lambda name: "/nowhere/" + name)
    monkeypatch.setattr(setup.subprocess, "call", lambda *arguments, **options: 0)
    setup.add_quarto("python", None)
    assert capsys.readouterr().out.count("\n") == 1
    monkeypatch.setattr(setup.urllib.request, "urlopen", lambda *arguments, **options: never())
    setup.add_quarto("python", "skip")


def test_the_self_test_names_what_works_and_what_does_not(capfd):
    assert setup.self_test(sys.executable, ["numpy", "pyyaml"])
    assert not setup.self_test(sys.executable, ["numpy", "no-such-package"])
    lines = capfd.readouterr().out.splitlines()
    assert re.fullmatch(r"\[OK\] numpy \d[\d.]*", lines[0]) and lines[1].startswith("[OK] pyyaml")
    assert lines[3].startswith("[FAIL] no-such-package: ")


def test_the_self_test_knows_what_every_required_package_is_imported_as(capfd):
    files = ["requirements.txt", "requirements-test.txt"]
    lines = [line for name in files for line in setup.read_requirements(ROOT / name)]
    names = [setup.requirement_name(line) for line in lines]
    assert setup.self_test(sys.executable, names), capfd.readouterr().out
    assert capfd.readouterr().out.count("[OK]") == len(names) > 20


# -- The files
# --------------------------------------------------------------------------------------------------


def test_requirements_are_ranges_with_a_lower_bound_and_the_books_have_no_upper_one():
    lines = setup.read_requirements(ROOT / "requirements.txt")
    assert len(lines) > 15
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9_-]+>=\d[\d.]*", line), line
    for line in (ROOT / "requirements-test.txt").read_text().splitlines()[1:]:
        with_reason = re.fullmatch(r"[A-Za-z0-9_-]+>=\d[\d.]*,<\d[\d.]*  # .{20,}", line)
        assert with_reason or re.fullmatch(r"[A-Za-z0-9_-]+>=\d[\d.]*", line), line
    torch_line = next(line for line in lines if line.startswith("torch"))
    from packaging.requirements import Requirement

    assert Requirement(torch_line).specifier.contains(setup.TESTED_TORCH)


def test_make_help_lists_the_targets():
    assert {
        "book",
        "test",
        "live",
        "serve",
        "notebooks",
        "retrain",
        "instructor",
        "clean",
        "help",
    } <= TARGETS
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.split()[1] for line in shown.stdout.splitlines()} == TARGETS


def test_the_readme_tells_each_targets_plain_command():
    readme = (ROOT / "README.md").read_text()
    for target in TARGETS - {"help"}:
        assert f"make {target}" in readme, target
    for command in re.findall(r"^\t@?\$\((?:BOOK_)?PYTHON\) (.*)$", MAKEFILE, re.MULTILINE):
        assert command.replace(" $(PORT)", "") in readme, command
    for variable in (
        "BOOK_TORCH",
        "BOOK_QUARTO",
        "BOOK_ENGINE",
        "BOOK_DEVICE",
        "BOOK_RUNS",
        "BOOK_SCALE",
    ):
        assert variable in readme, variable


def test_ci_runs_make_test_last_and_is_executable():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("run make test")
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_clean_keeps_what_is_the_readers(tmp_path):
    for name in (
        "_book",
        "_book-instructor",
        "_cache",
        "_record",
        "figures/01-a",
        "figures/theme",
        "notebooks",
        "data/yours",
        ".venv/_cache",
        "chapters/01-a_files",
        "chapters/01-a.html",  # a page that an interrupted render left there
        "index.html",
    ):
        (tmp_path / name).mkdir(parents=True)
    removed = {path.relative_to(tmp_path).as_posix() for path in clean.made_by_builds(tmp_path)}
    assert removed == {
        "_book",
        "_book-instructor",
        "_cache",
        "_record",
        "figures/01-a",
        "chapters/01-a_files",
        "chapters/01-a.html",
        "index.html",
    }


def test_nothing_made_is_tracked_by_git():
    ignored = [
        "_book/index.html",
        "_book-instructor/x",
        ".venv/x",
        "_cache/x",
        "_freeze/x",
        "_record/x.json",
        "notebooks/a.ipynb",
        "data/yours/r/run.json",
        "figures/03-a/fig.svg",
        "a/__pycache__/b.pyc",
        "data/censuses/.lock",
        "data/trajectories/.lock",
        "index.html",
        "chapters/01-a.html",
    ]
    kept = ["figures/theme/shared.css", "data/runs/r/weights.safetensors", "chapters/01-a.qmd"]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=ROOT,
        input="\n".join(ignored + kept),
        capture_output=True,
        text=True,
    )
    if done.returncode == 128:
        pytest.skip("this copy of the book is no git repository")
    assert done.stdout.split() == ignored


def test_the_stamp_is_plain_text(monkeypatch, tmp_path):
    monkeypatch.setattr(setup, "STAMP", str(tmp_path / "stamp.json"))
    setup.write_stamp({"files": {}, "torch": "cpu"})
    assert (
        json.loads((tmp_path / "stamp.json").read_text())["torch"] == "cpu"
        and len(list(tmp_path.iterdir())) == 1
    )
