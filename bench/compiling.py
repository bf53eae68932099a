"""Compiles the C parts (load client, floor) into bench/build/ when their source is newer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE / "build"


def compiled(name: str) -> Path:
    """The program made of ``bench/<name>.c``.

    :raises SystemExit: when there is no C compiler or it fails; the message names the fix.
    """
    source, program = HERE / f"{name}.c", BUILD / name
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SystemExit("The benchmark's load client is C: install a compiler (Debian: apt install gcc libc6-dev).")
    program.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [compiler, "-O2", "-std=c11", "-Wall", "-Wextra", "-o", program, source],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{compiler} could not compile {source}:\n{done.stderr}")
    return program
