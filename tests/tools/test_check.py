"""tools/check.py: says what is well, and fails with a remedy where something is not."""

import shutil
import sys
from collections import namedtuple

from lab import registry, store
from tools import check
from tools import setup_environment as setup


def test_this_machine_is_ready(capsys):
    assert check.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(check.CHECKS) and all(line.startswith("[OK]   ") for line in lines)
    assert any("ms per training step" in line for line in lines)


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    finding = check.check_python()
    assert not finding.is_well and "3.10 or later" in check.line_of(finding)


def test_a_package_that_is_not_there_ends_the_check(monkeypatch, capsys):
    monkeypatch.setattr(setup, "read_requirements", lambda path: ["torch>=2", "nosuchpackage>=1"])
    assert check.main() == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("[FAIL] packages: nosuchpackage") and "setup_environment" in last


def test_a_kernel_that_does_not_start(monkeypatch):
    from tools import execute

    async def broken(*args, **options):
        raise RuntimeError("Kernel died before replying")

    monkeypatch.setattr(execute, "run_notebook", broken)
    assert "Kernel died" in check.line_of(check.check_kernel())


def test_a_full_disk_and_a_read_only_folder(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12, 10**8))
    assert "make room" in check.check_space(tmp_path).remedy
    monkeypatch.setattr(check.os, "access", lambda folder, mode: False)
    assert "cannot be written to" in check.check_space(tmp_path).found


def test_a_missing_font(monkeypatch):
    monkeypatch.setattr(check, "FONT", "No Such Font")
    assert check.check_fonts().remedy


def test_damaged_data(tmp_path):
    source = store.stored_places(registry.FOLDERS["fleets"][0])[0]
    shutil.copytree(source, tmp_path / source.name)
    assert check.check_data([tmp_path]).is_well
    (tmp_path / source.name / "history.csv").write_text("step\n")
    finding = check.check_data([tmp_path])
    assert "history.csv was truncated or altered" in finding.found
    assert check.check_data([tmp_path / "empty"]).found == "nothing is stored"
