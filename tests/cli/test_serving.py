"""`livefeed serve` as people start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from livefeed import run_file
from livefeed.errors import StartError
from tests.cli.conftest import Run
from tests.servers import wait_for


def test_serve_plays_the_demonstration_and_ends_on_sigterm(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a free port, with items in several languages soon; the commands' own variables do not disturb it."""
    data_dir = tmp_path / "var"
    monkeypatch.setenv("LIVEFEED_DATA_DIR", str(data_dir))
    env = os.environ | {"LIVEFEED_TOKEN": "lf_x", "LIVEFEED_URL": "http://127.0.0.1:1"}
    command = [sys.executable, "-m", "livefeed", "serve", "--port", "0", "--demo", "--speed", "20000"]

    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: _runs(data_dir), "the server", 30)

            def languages() -> bool:
                items = json.loads(run("recent", "--limit", "100", "--json").stdout)["items"]
                return {item["language"] for item in items} >= {"fr", "ar", "en"} and len(items) > 30

            wait_for(languages, "the demonstration", 30)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
        assert process.stdout is not None
        assert b"The ticker is live" in process.stdout.read()


def test_a_port_in_use_is_told_without_a_traceback(tmp_path: Path) -> None:
    """With exit code 1."""
    env = os.environ | {"LIVEFEED_DATA_DIR": str(tmp_path / "var")}
    command = [sys.executable, "-m", "livefeed", "serve", "--host", "203.0.113.1", "--port", "8000"]

    done = subprocess.run(command, env=env, capture_output=True, timeout=30, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: ")
    assert b"Traceback" not in done.stderr


def _runs(data_dir: Path) -> bool:
    try:
        return bool(run_file.read(data_dir).url)
    except StartError:
        return False
