"""Make `.venv` and install what the book needs: `python3 tools/setup_environment.py [--tests]`.

Runs with any Python 3.10 or later and nothing installed. Running it again is a no-op until the
requirements change.

Two environment variables choose:
    BOOK_TORCH   cpu | cuda | skip   which PyTorch (default: CUDA where nvidia-smi finds a card, on
                                     macOS the usual build, else a CPU build: the usual Linux build
                                     brings gigabytes of CUDA libraries)
    BOOK_QUARTO  install | skip      whether to try `pip install quarto-cli` where there is no
                                     Quarto (default: install); without Quarto the book is built by
                                     pandoc
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

OLDEST_PYTHON = (3, 10)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "book-environment.json")

TESTED_TORCH = "2.13.0"  # what the stored runs were trained with
TORCH_CPU_INDEX = (  # documented on https://pytorch.org/get-started/locally
    "https://download.pytorch.org/whl/cpu"
)
CUDA_PACKAGES = re.compile(r"^(nvidia|cuda|triton|pytorch-triton)(-|_|$)", re.IGNORECASE)
QUARTO_ARCHIVES = "https://github.com/quarto-dev/quarto-cli/releases"
TORCH_CHOICES = ("cpu", "cuda", "skip")
QUARTO_CHOICES = ("install", "skip")
IMPORT_NAMES = {
    "pyyaml": "yaml",
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "pypandoc_binary": "pypandoc",
    "beautifulsoup4": "bs4",
    "pytest-xdist": "xdist",
    "libsass": "sass",
}


class SetUpError(Exception):
    """The environment cannot be made; the message says why and what to do."""


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", action="store_true", help="also install what the tests need")
    with_tests = parser.parse_args(arguments).tests
    try:
        check_python(sys.version_info)
        use_own_environment()
        torch_choice = read_choice("BOOK_TORCH", TORCH_CHOICES)
        quarto_choice = read_choice("BOOK_QUARTO", QUARTO_CHOICES)
        files = ["requirements.txt"] + ["requirements-test.txt"] * with_tests
        if is_up_to_date(read_stamp(), hash_files(files), torch_choice):
            print("The environment in .venv is ready.")
            return 0
        set_up(files, torch_choice, quarto_choice)
    except SetUpError as error:
        print("Set-up: %s" % error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(
            "Set-up: this command failed with status %d: %s"
            % (error.returncode, " ".join(map(str, error.cmd))),
            file=sys.stderr,
        )
        return 1
    return 0


def set_up(files, torch_choice, quarto_choice):
    """Make the environment, install into it, test it and leave a stamp that says what was
    installed."""
    python = make_venv()
    if os.path.exists(STAMP):
        os.remove(STAMP)
    lines = [line for name in files for line in read_requirements(os.path.join(ROOT, name))]
    torch_line = next(line for line in lines if requirement_name(line) == "torch")
    plan = plan_torch(
        torch_choice,
        installed_torch(python, torch_line),
        platform.system(),
        has_nvidia_card(),
        lambda: resolves_without_cuda(python, "torch==" + TESTED_TORCH),
    )
    install_torch(python, plan, torch_line)
    pip(
        python,
        ["install", "--quiet"] + [line for line in lines if requirement_name(line) != "torch"],
    )
    quieten_kernels()
    add_quarto(python, quarto_choice)
    if not self_test(python, [requirement_name(line) for line in lines]):
        hint = (
            " With BOOK_TORCH=skip you install PyTorch into .venv yourself."
            if torch_choice == "skip"
            else ""
        )
        raise SetUpError("a package does not work, see [FAIL] above." + hint)
    write_stamp({"files": hash_files(files), "torch": torch_choice})


# -- Small decisions, each testable on its own
# ---------------------------------------------------------------------


def check_python(version):
    if tuple(version[:2]) < OLDEST_PYTHON:
        raise SetUpError(
            "the book needs Python %d.%d or later, and this is %d.%d. Install a later one and name"
            " it: make PYTHON=python3.12 book" % (OLDEST_PYTHON + tuple(version[:2]))
        )


def use_own_environment():
    """From here on, for this process and those it starts: no setting of the user's that leads pip
    past `.venv`."""
    sys.path.insert(0, ROOT)
    from tools.environment import pip_environment

    wanted = pip_environment()
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)


def read_choice(variable, choices):
    """The value of an environment variable, None if it is not set or empty; SetUpError if it is not
    a choice."""
    value = os.environ.get(variable) or None
    if value is not None and value not in choices:
        raise SetUpError(
            "unknown %s=%s: it may be one of %s" % (variable, value, ", ".join(choices))
        )
    return value


def read_requirements(path):
    with open(path, encoding="utf-8") as file:
        lines = [line.split("#")[0].strip() for line in file]
    return [line for line in lines if line]


def requirement_name(line):
    return re.match(r"[A-Za-z0-9._-]+", line).group(0)


def plan_torch(choice, installed, system, has_card, resolves_to_cpu):
    """How to come by PyTorch: "skip", "keep", "tested" (that version, as pip finds it), "cpu-index"
    or "plain".

    choice: BOOK_TORCH or None; installed: None, "cpu" or "cuda"; resolves_to_cpu(): would pip, as
    it is configured here, install the tested version without CUDA packages? It is only asked where
    that decides.
    """
    if choice == "skip":
        return "skip"
    if installed and choice in (None, installed):
        return "keep"
    if system == "Darwin" or choice == "cuda" or (choice is None and has_card):
        return "keep" if installed and system == "Darwin" else "plain"
    if installed == "cpu":
        return "keep"
    return "tested" if resolves_to_cpu() else "cpu-index"


def brings_cuda(report):
    """Does a `pip install --report` list a package of the CUDA family, or a torch built for it?"""
    for item in report["install"]:
        name, version = item["metadata"]["name"], item["metadata"]["version"]
        if CUDA_PACKAGES.match(name) or (name == "torch" and "+cu" in version):
            return True
    return False


def hash_files(names):
    hashes = {}
    for name in names:
        with open(os.path.join(ROOT, name), "rb") as file:
            hashes[name] = hashlib.sha256(file.read()).hexdigest()
    return hashes


def is_up_to_date(stamp, hashes, torch_choice):
    """Does the stamp say that these requirement files were installed, with the PyTorch that is
    asked for now?"""
    same_files = all(stamp.get("files", {}).get(name) == value for name, value in hashes.items())
    return same_files and torch_choice in (None, stamp.get("torch"))


# -- The environment
# -----------------------------------------------------------------------------------------------


def venv_program(name):
    folder, suffix = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")
    return os.path.join(VENV, folder, name + suffix)


def make_venv():
    """The path of the environment's Python; makes the environment, or makes it anew where it does
    not work."""
    python = venv_program("python")
    works = (
        os.path.exists(python)
        and subprocess.call(
            [python, "-c", "import sys, pip; sys.exit(sys.version_info < %r)" % (OLDEST_PYTHON,)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        == 0
    )
    if not works:
        print("Making the environment in .venv", flush=True)
        try:
            subprocess.run(
                [sys.executable, "-m", "venv", "--clear", VENV], check=True, stdout=subprocess.PIPE
            )
        except subprocess.CalledProcessError as error:
            raise SetUpError(
                "this Python cannot make a virtual environment (%s). On Debian and Ubuntu: "
                "apt-get install python3-venv" % error.stdout.decode(errors="replace").strip()[:200]
            )
    has_report = [
        python,
        "-c",
        "import pip; raise SystemExit(tuple(map(int, pip.__version__.split('.')[:2])) < (22, 2))",
    ]
    if subprocess.call(has_report) != 0:  # `install --report` came with pip 22.2
        pip(python, ["install", "--quiet", "--upgrade", "pip"])
    return python


def pip(python, arguments, **options):
    command = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"] + arguments
    print("+ pip " + " ".join(arguments), flush=True)
    return subprocess.run(command, check=True, **options)


def has_nvidia_card():
    try:
        return (
            subprocess.call(
                ["nvidia-smi", "-L"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            == 0
        )
    except OSError:
        return False


def installed_torch(python, torch_line):
    """ "cpu" or "cuda" for the PyTorch in the environment; None where there is none that the
    requirement accepts."""
    test = (
        "import sys, torch; from pip._vendor.packaging.requirements import Requirement\nwanted ="
        " Requirement(sys.argv[1]).specifier.contains(torch.__version__,"
        " prereleases=True)\nprint(('cuda' if torch.version.cuda else 'cpu') if wanted else '')"
    )
    shown = subprocess.run(
        [python, "-c", test, torch_line], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return shown.stdout.decode().strip() or None


def resolves_without_cuda(python, requirement):
    """Would pip, as it is configured on this machine, install this PyTorch without a CUDA package?
    Installs nothing."""
    done = subprocess.run(
        [
            python,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--dry-run",
            "--quiet",
            "--ignore-installed",
            "--only-binary",
            ":all:",
            "--timeout",
            "15",
            "--retries",
            "1",
            "--report",
            "-",
            requirement,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return done.returncode == 0 and not brings_cuda(json.loads(done.stdout.decode()))


def install_torch(python, plan, torch_line):
    """Carry out what plan_torch decided; SetUpError where there is no CPU build to be had."""
    if plan in ("skip", "keep"):
        return
    # pip takes one build of a version for as good as another, so a build of the wrong kind has to
    # go first.
    subprocess.call(
        [python, "-m", "pip", "uninstall", "--yes", "--quiet", "torch"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if plan == "tested":
        pip(python, ["install", "--quiet", "torch==" + TESTED_TORCH])
    elif plan == "plain":
        pip(python, ["install", "--quiet", torch_line])
    elif plan == "cpu-index":
        try:
            pip(
                python,
                [
                    "install",
                    "--quiet",
                    "--timeout",
                    "15",
                    "--retries",
                    "1",
                    "--index-url",
                    TORCH_CPU_INDEX,
                    torch_line,
                ],
            )
        except subprocess.CalledProcessError:
            raise SetUpError(
                "no CPU build of PyTorch %s was found, neither where pip looks nor at %s. On a"
                " machine without a way to the latter, put its wheel where pip looks"
                " (PIP_FIND_LINKS=folder), install it into .venv yourself (BOOK_TORCH=skip), or"
                " take the usual build with its gigabytes of CUDA libraries (BOOK_TORCH=cuda)."
                % (TESTED_TORCH, TORCH_CPU_INDEX)
            )


def quieten_kernels():
    """Let the environment's kernels log errors alone. Quarto's kernels listen on this machine's own
    TCP ports, of which ipykernel 7 warns once a chapter; Quarto has no setting for that."""
    folder = os.path.join(VENV, "etc", "ipython")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "ipython_kernel_config.py"), "w", encoding="utf-8") as file:
        file.write('get_config().IPKernelApp.log_level = "ERROR"\n')


def add_quarto(python, choice):
    """Try to install Quarto where there is none. Its package fetches an archive, which a firewall
    may forbid: no error."""
    if choice == "skip" or shutil.which("quarto") or os.path.exists(venv_program("quarto")):
        return
    try:
        request = urllib.request.Request(QUARTO_ARCHIVES, method="HEAD")
        urllib.request.urlopen(request, timeout=5).close()
        pip(
            python,
            ["install", "--quiet", "quarto-cli>=1.7"],
            timeout=180,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        subprocess.run(
            [venv_program("quarto"), "--version"], check=True, timeout=60, stdout=subprocess.DEVNULL
        )
    except (OSError, urllib.error.URLError, subprocess.SubprocessError):
        subprocess.call(
            [python, "-m", "pip", "uninstall", "--yes", "--quiet", "quarto-cli"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        print("Quarto cannot be fetched here: the book is built the pandoc way (the same pages).")


# -- Does it work?
# -------------------------------------------------------------------------------------------------

PACKAGE_TEST = """
import importlib, importlib.metadata, json, sys
for package, module in json.loads(sys.argv[1]).items():
    try:
        loaded = importlib.import_module(module)
        version, note = importlib.metadata.version(package), ""
        if package == "torch":
            kind = f"CUDA {loaded.version.cuda}" if loaded.version.cuda else "cpu"
            assert loaded.arange(4).sum().item() == 6
            note = f" ({kind})"
            version = version.split("+")[0]
        if package == "pypandoc_binary":
            note = f" (pandoc {loaded.get_pandoc_version()})"
        print(f"[OK] {package} {version}{note}")
    except Exception as error:
        sys.exitcode = 1
        print(f"[FAIL] {package}: {type(error).__name__}: {error}")
sys.exit(getattr(sys, "exitcode", 0))
"""


def self_test(python, packages):
    """Import every package in the environment, print a line for each, and say whether all of them
    work."""
    modules = {name: import_name(name) for name in packages}
    return subprocess.call([python, "-c", PACKAGE_TEST, json.dumps(modules)]) == 0


def import_name(package):
    """The module that a package is imported as: its own name with underscores, where the table does
    not have another."""
    return IMPORT_NAMES.get(package, package.replace("-", "_"))


def read_stamp():
    try:
        with open(STAMP, encoding="utf-8") as file:
            return json.load(file) if os.path.exists(venv_program("python")) else {}
    except (OSError, ValueError):
        return {}


def write_stamp(stamp):
    with open(STAMP + ".part", "w", encoding="utf-8") as file:
        json.dump(stamp, file, indent=1)
    os.replace(STAMP + ".part", STAMP)


if __name__ == "__main__":
    sys.exit(main())
