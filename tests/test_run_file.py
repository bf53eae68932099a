"""The run file: found while the server runs, and never believed afterwards."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from livefeed import run_file
from livefeed.errors import StartError


def test_it_is_read_back_by_others(tmp_path: Path) -> None:
    """Written with this process's id, for this user only, and gone when removed."""
    run_file.write(tmp_path, "http://127.0.0.1:8000")
    assert run_file.read(tmp_path) == run_file.Running(url="http://127.0.0.1:8000", pid=os.getpid())
    assert run_file.path(tmp_path).stat().st_mode & 0o777 == 0o600
    run_file.remove(tmp_path)
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == []


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"url": 1, "pid": 2}'])
def test_none_says_how_to_start_one(tmp_path: Path, content: bytes | None) -> None:
    """No file, or one that cannot be read: one sentence that names the command."""
    if content is not None:
        (tmp_path / "run").mkdir()
        run_file.path(tmp_path).write_bytes(content)
    with pytest.raises(StartError, match="livefeed serve"):
        run_file.read(tmp_path)
    run_file.remove(tmp_path)


def test_a_dead_server_is_none(tmp_path: Path) -> None:
    """After kill -9 the file stays, but the process it names is gone; nor does another process take it away."""
    process = subprocess.Popen(["true"])
    process.wait()
    run_file.path(tmp_path).parent.mkdir()
    run_file.path(tmp_path).write_text(f'{{"url": "http://127.0.0.1:8000", "pid": {process.pid}}}')
    with pytest.raises(StartError, match="No livefeed server runs"):
        run_file.read(tmp_path)
    run_file.remove(tmp_path)
    assert run_file.path(tmp_path).exists()
