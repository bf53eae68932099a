"""The browser's side, checked by TypeScript."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COMPILER = ROOT / "node_modules/.bin/tsc"


@pytest.mark.skipif(not COMPILER.exists(), reason="npm install has not been run here")
def test_the_modules_are_sound() -> None:
    """Every static module holds what its JSDoc types say, under TypeScript's strict rules."""
    result = subprocess.run([COMPILER, "-p", ROOT / "static"], capture_output=True, text=True)

    assert result.returncode == 0, result.stdout
