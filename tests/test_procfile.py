"""The Procfile: web, and a Redis for those who run their own, started together by honcho."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import fetch, wait_for

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_web_and_redis_start_and_stop_together(tmp_path: Path) -> None:
    """`web` serves on PORT with its data in `redis`, in whatever order they come up; SIGTERM ends both."""
    port, redis_port = free_port(), free_port()
    outside = {name: value for name, value in os.environ.items() if not name.startswith("LIVEFEED_")}
    env = outside | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PORT": str(port),
        "REDIS_PORT": str(redis_port),
        "REDIS_DIR": str(tmp_path / "redis"),
        "LIVEFEED_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "LIVEFEED_DATA_DIR": str(tmp_path / "var"),
    }
    with open(tmp_path / "output", "wb") as output:
        honcho = subprocess.Popen(
            [sys.executable, "-m", "honcho", "-f", str(ROOT / "Procfile"), "-d", str(tmp_path), "start"],
            env=env,
            cwd=tmp_path,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(
            lambda: honcho.poll() is not None or fetch(f"http://127.0.0.1:{port}/readyz")[0] == 200, "readiness", 20
        )
        assert honcho.poll() is None, (tmp_path / "output").read_text()
        assert (tmp_path / "redis" / "appendonlydir").is_dir()
        assert not (tmp_path / "var" / "store").exists(), "the embedded server is not started beside it"
    finally:
        honcho.send_signal(signal.SIGTERM)
        honcho.wait(30)
    for taken in (port, redis_port):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", taken)) != 0, "nothing listens any more"
