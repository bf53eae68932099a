"""Redis and Valkey servers of a test's own: any configuration, killed, stopped, and started again on their data."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from livefeed.embedded import find_binary

START_S = 10.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def debian() -> Path:
    """Debian's redis-server (7.0: no WAITAOF, but TLS, Sentinel and Cluster); skips where there is none."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not installed")
    return Path(found)


class Store:
    """One server, on a port of 127.0.0.1."""

    def __init__(self, binary: Path, directory: Path, *arguments: str, **options: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.options = {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "repl-diskless-sync-delay": "0",
            **options,
        }
        self._binary = binary
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextlib.contextmanager
    def valkey(cls, directory: Path, **options: str) -> Iterator[Store]:
        """The bundled Valkey, started, and stopped at the end."""
        with cls(find_binary(), directory, **options).running() as store:
            yield store

    @classmethod
    @contextlib.contextmanager
    def redis(cls, directory: Path, **options: str) -> Iterator[Store]:
        """Debian's Redis, started, and stopped at the end."""
        with cls(debian(), directory, **options).running() as store:
            yield store

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @contextlib.contextmanager
    def running(self) -> Iterator[Store]:
        try:
            self.start()
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Start, and return once it accepts connections with all its data loaded."""
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.directory),
            **self.options,
        }
        if "--sentinel" in self._arguments:
            options = {"port": str(self.port)}
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        with open(self.directory.with_suffix(".log"), "ab") as log:
            self._process = subprocess.Popen(
                [self._binary, *self._arguments, *words], stdout=log, stderr=log, cwd=self.directory
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, f"it exited: {self.said}"
            assert time.monotonic() < deadline, f"it does not answer: {self.said}"
            time.sleep(0.01)

    @property
    def said(self) -> str:
        """The end of its log."""
        return self.directory.with_suffix(".log").read_text(errors="replace")[-2000:]

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, or less gently what does not obey."""
        self._end(signal.SIGTERM)

    def _end(self, sig: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(sig)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._process = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as client:
            if "tls-port" in self.options:
                return True
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False


async def replicated(replica: Store, primary: Store) -> None:
    """Make a store the replica of another, and return when it has all that the other one has."""
    async with Redis.from_url(replica.url) as admin, Redis.from_url(primary.url) as source:
        await admin.replicaof("127.0.0.1", str(primary.port))
        deadline = time.monotonic() + START_S
        while True:
            offset = (await source.info("replication"))["master_repl_offset"]
            status = await admin.info("replication")
            if status["master_link_status"] == "up" and status["slave_repl_offset"] >= offset:
                return
            assert time.monotonic() < deadline, f"no replica: {status}"
            await asyncio.sleep(0.01)
