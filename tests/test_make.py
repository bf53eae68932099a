"""`make run` on a machine that lacks something says what, in one sentence."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

OLD = """#!/bin/sh
case "$*" in
  *"version_info < (3, 11)"*) exit 1 ;;
  *python_version*) echo 3.9.2 ;;
esac
"""
WITHOUT_VENV = """#!/bin/sh
case "$*" in "-m venv"*) mkdir .venv; exit 1 ;; esac
"""


@pytest.mark.parametrize(
    ("python", "said"),
    [
        (None, "livefeed needs Python 3.11 or newer: install python3 and python3-venv"),
        (OLD, "is 3.9.2. Name a newer one"),
        (WITHOUT_VENV, "install its venv module (Debian, Ubuntu: apt install python3-venv)"),
    ],
    ids=["no python", "an old python", "no venv module"],
)
def test_what_is_missing_is_told(tmp_path: Path, python: str | None, said: str) -> None:
    """No Python, an old one, or none with venv: make fails, names the fix, and leaves nothing half made."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    program = tmp_path / "python"
    if python is not None:
        program.write_text(python)
        program.chmod(0o755)
    made = subprocess.run(
        ["make", "run", f"PYTHON={program}"], cwd=tmp_path, capture_output=True, text=True, timeout=20
    )
    assert made.returncode != 0
    assert said in made.stdout
    assert not (tmp_path / ".venv").exists()


def test_every_command_is_listed() -> None:
    """`make` alone tells what there is."""
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True).stdout
    for target in ("run", "test", "check", "bench", "procfile", "clean"):
        assert f"make {target}" in listed
