"""What of a user's environment reaches the programs that the book starts: kernels, Quarto, pip.
Decided here and nowhere else.

A kernel is to compute the same page whatever a shell, a profile or a matplotlibrc says; pip is to
install into `.venv`, from wherever the user's pip takes its packages. Runs with the standard
library alone.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

# Settings of Python, Jupyter, IPython, matplotlib and of other environments that would change what
# a page computes or whether it can: a search path with another `lab`, warnings as errors, start-up
# files, a style of one's own, another environment's home.
DROPPED_PREFIXES = (
    "PYTHON",
    "JUPYTER",
    "IPYTHON",
    "IPY_",
    "CONDA_",
    "MPL",
    "MATPLOTLIB",
    "PIPENV_",
    "POETRY_",
    "UV_",
)
DROPPED = {"VIRTUAL_ENV", "QUARTO_PYTHON"}
KEPT = {"PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONUNBUFFERED", "MPLCONFIGDIR"}

# Settings that send pip's packages to another place than `.venv`, or keep some away. Where packages
# come from stays the user's.
PIP_DROPPED = {
    f"PIP_{name}"
    for name in (
        "USER",
        "TARGET",
        "PREFIX",
        "ROOT",
        "DRY_RUN",
        "NO_DEPS",
        "NO_DEPENDENCIES",
        "REQUIRE_VIRTUALENV",
        "REQUIRE_HASHES",
        "PYTHON",
        "PRE",
        "IGNORE_INSTALLED",
        "FORCE_REINSTALL",
        "REQUIREMENT",
        "EDITABLE",
        "REPORT",
        "QUIET",
        "VERBOSE",
        "LOG",
        "ISOLATED",
        "ABI",
        "PLATFORM",
        "PYTHON_VERSION",
        "IMPLEMENTATION",
        "UPGRADE_STRATEGY",
        "ONLY_BINARY",
        "NO_BINARY",
    )
}


def program_environment(given=None):
    """The environment for any program that the book starts: a dictionary made from `given` (None:
    this process's)."""
    given = os.environ if given is None else given
    kept = {
        name: value
        for name, value in given.items()
        if name in KEPT or not (name in DROPPED or name.startswith(DROPPED_PREFIXES))
    }
    return kept | {"PYTHONUTF8": "1"}  # text is UTF-8, also where the locale says ASCII


def kernel_environment(profile, given=None):
    """The environment for a kernel, or for Quarto, which starts kernels: one thread unless
    OMP_NUM_THREADS says otherwise, matplotlib's own style, and `profile`, an empty folder, in place
    of the user's profiles of IPython and Jupyter.

    One thread: kernels run side by side, and on two cores two with two threads each were measured
    sixty times slower than one, waiting for each other.
    """
    style = Path(importlib.util.find_spec("matplotlib").origin).parent / "mpl-data" / "matplotlibrc"
    return {
        "OMP_NUM_THREADS": "1",
        **program_environment(given),
        "IPYTHONDIR": str(profile),
        "JUPYTER_CONFIG_DIR": str(profile),
        "MATPLOTLIBRC": str(style),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }


def pip_environment(given=None):
    """The environment for pip."""
    kept = program_environment(given)
    return {name: value for name, value in kept.items() if name.upper() not in PIP_DROPPED} | {
        "PIP_DISABLE_PIP_VERSION_CHECK": "1"
    }
