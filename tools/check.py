"""Is this machine ready for the book? `python -m tools.check`: a line each for what it needs.

[OK] lines say what was found, [FAIL] lines what to do. Nothing is changed. The exit status is 1
where something fails. About ten seconds.
"""

import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass

from lab import ROOT
from tools import setup_environment as setup

NEEDED_SPACE = 2 * 10**9  # bytes: pages, figures and caches of both editions take a tenth of it
FONT = "DejaVu Sans"  # matplotlib brings it; without it figures have other widths


@dataclass(frozen=True)
class Finding:
    """What one check found. remedy: what to do, where it is not well."""

    what: str
    found: str
    remedy: str = ""

    @property
    def is_well(self):
        return not self.remedy


def check_python():
    version = platform.python_version()
    oldest = ".".join(map(str, setup.OLDEST_PYTHON))
    well = sys.version_info[:2] >= setup.OLDEST_PYTHON
    remedy = "" if well else f"install Python {oldest} or later, then: make PYTHON=python3.12 book"
    return Finding("Python", version, remedy)


def check_packages(files=("requirements.txt",)):
    lines = [line for name in files for line in setup.read_requirements(ROOT / name)]
    names = [setup.requirement_name(line) for line in lines]
    modules = {name: setup.import_name(name) for name in names}
    tried = subprocess.run(
        [sys.executable, "-c", setup.PACKAGE_TEST, json.dumps(modules)],
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    failed = [line.removeprefix("[FAIL] ") for line in tried if line.startswith("[FAIL]")]
    if failed or len(tried) < len(names):
        found = "; ".join(failed) or "the test of the packages did not end"
        return Finding("packages", found, "run python3 tools/setup_environment.py")
    torch = next(line for line in tried if line.startswith("[OK] torch ")).removeprefix("[OK] ")
    return Finding("packages", f"all {len(names)} work, {torch}")


def check_device():
    from _common import choose_device
    from lab.store import device_name

    try:
        device = choose_device()
    except ValueError as error:
        return Finding("device", str(error), "unset BOOK_DEVICE, or choose another")
    return Finding("device", f"{device.type}: {device_name(device)}")


def check_clock(n_steps=20):
    """How long a training step of the reference model takes on one thread: batches of 64 sums."""
    import torch

    from _common import AdditionTransformer, make_addition_dataset

    torch.set_num_threads(1)  # as the stored runs were trained
    model = AdditionTransformer()
    inputs, targets = make_addition_dataset(64, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(n_steps + 3):
        if step == 3:  # the first ones warm up
            started = time.perf_counter()
        logits = model(inputs)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    milliseconds = 1e3 * (time.perf_counter() - started) / n_steps
    return Finding("speed", f"{milliseconds:.1f} ms per training step on one thread")


def check_quarto():
    quarto = shutil.which("quarto") or setup.venv_program("quarto")
    try:
        version = subprocess.run([quarto, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return Finding("Quarto", "none: the book is built the pandoc way, with the same pages")
    return Finding("Quarto", version.stdout.strip())


def check_kernel():
    import nbformat

    from tools.execute import run_notebook

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(6 * 7)")])
    try:
        asyncio.run(run_notebook(notebook, ROOT, timeout=60))
        [output] = notebook.cells[0].outputs
        assert output.text == "42\n"
    except Exception as error:  # whatever it is, it is what the user has to see
        return Finding(
            "kernel",
            f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}",
            "run python3 tools/setup_environment.py; if it stays, send this line to the authors",
        )
    return Finding("kernel", "starts and computes")


def check_space(folder=ROOT):
    if not os.access(folder, os.W_OK):
        return Finding(
            "folder", f"{folder} cannot be written to", "copy the book to your own folder"
        )
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:,.0f} GB free"
    return Finding("disk", found, "" if free > NEEDED_SPACE else "make room: builds need 2 GB")


def check_fonts():
    from matplotlib import font_manager

    try:
        font_manager.findfont(FONT, fallback_to_default=False)
    except ValueError:
        return Finding("fonts", f"no {FONT}", "reinstall matplotlib, which brings it")
    return Finding("fonts", FONT)


def check_data(folders=None):
    """Is every stored result as it was written? Every file is held against its checksum."""
    from lab import registry, store

    count, damaged = 0, []
    for folder in folders or [book for book, _ in registry.FOLDERS.values()]:
        for place in store.stored_places(folder):
            count += 1
            try:
                _, provenance = store.read_folder(place, ())
                store.read_folder(place, provenance["files"])
            except store.DamagedRun as error:
                damaged.append(str(error))
    if damaged:
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        return Finding("data", damaged[0] + more, "git checkout -- data")
    if not count:
        return Finding("data", "nothing is stored", "git checkout -- data")
    return Finding("data", f"all {count} stored results are as they were written")


CHECKS = (
    check_python,
    check_packages,
    check_device,
    check_clock,
    check_quarto,
    check_kernel,
    check_space,
    check_fonts,
    check_data,
)


def line_of(finding):
    """A finding as one line of text."""
    if finding.is_well:
        return f"[OK]   {finding.what}: {finding.found}"
    return f"[FAIL] {finding.what}: {finding.found}. To do: {finding.remedy}"


def main(checks=CHECKS):
    all_well = True
    for check in checks:
        finding = check()
        all_well = all_well and finding.is_well
        print(line_of(finding), flush=True)
        if check is check_packages and not finding.is_well:
            break  # the others need the packages
    return 0 if all_well else 1


if __name__ == "__main__":
    sys.exit(main())
