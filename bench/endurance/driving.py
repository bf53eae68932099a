"""What every scenario uses: the real `livefeed serve`, a store that outlives it, readers (readers.c), a publisher."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from bench import machine
from bench.compiling import compiled
from bench.servers import free_port
from livefeed.embedded import EmbeddedServer
from livefeed.feed import item as items
from livefeed.feed.item import Item
from livefeed.feed.log import Log
from livefeed.settings import Settings

START_S, STOP_S, ANSWER_S = 20.0, 30.0, 30.0


class Served:
    """`livefeed serve` as a process, on a store of its own process, so that either can die alone."""

    def __init__(self, store_url: str, directory: Path, **settings: object) -> None:
        self.store_url, self.directory = store_url, directory
        self.port = free_port()
        self._settings = {f"LIVEFEED_{name.upper()}": str(value) for name, value in settings.items()}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def pids(self) -> list[int]:
        """The process and its workers."""
        return machine.family(self.pid)

    @property
    def log_text(self) -> str:
        return (self.directory / f"log-{self.port}").read_text(errors="replace")

    def start(self) -> None:
        """Start it; returns when it is ready."""
        environ = {
            **os.environ,
            "PORT": str(self.port),
            "LIVEFEED_REDIS_URL": self.store_url,
            "LIVEFEED_DATA_DIR": str(self.directory / f"data-{self.port}"),
            "LIVEFEED_LOG_JSON": "yes",
            **self._settings,
        }
        with (self.directory / f"log-{self.port}").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "livefeed", "serve"], env=environ, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while not self.ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"livefeed did not start:\n{self.log_text[-2000:]}")
            time.sleep(0.02)

    def ready(self) -> dict[str, Any]:
        """What `/readyz` says; {} when it is not ready."""
        url = f"http://127.0.0.1:{self.port}/readyz"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            said: dict[str, Any] = json.loads(answer.read())
            return said
        return {}

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Signal it; exit code and seconds."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(sig)
        return self.process.wait(STOP_S), time.monotonic() - started

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()


class Readers:
    """readers.c as a process. `begin` gives a command, `end` waits for its answer; `do` is both."""

    def __init__(self, port: int, path: str = "/stream") -> None:
        command = [str(compiled("endurance/readers")), "127.0.0.1", str(port), path]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def begin(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")

    def end(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the readers ended with {self._process.wait(ANSWER_S)}")
        result: dict[str, Any] = json.loads(line)
        return result

    def do(self, command: str) -> dict[str, Any]:
        self.begin(command)
        return self.end()

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(ANSWER_S)


class Editor:
    """Publishes through the real script, past any server; keeps the position that each publish made."""

    def __init__(self, store_url: str) -> None:
        self._url = store_url
        self._number = 0
        self.positions: list[str] = []

    def publish(self, count: int, *, every_s: float = 0.0, body: str = "") -> None:
        """Publish `count` items, one every `every_s` seconds."""
        asyncio.run(self._publish(count, every_s, body))

    async def _publish(self, count: int, every_s: float, body: str) -> None:
        async with Redis.from_url(self._url) as redis:
            log = Log(redis, Settings())
            for _ in range(count):
                self._number += 1
                now = items.now()
                item = Item(
                    id=items.new_id(now),
                    version=1,
                    status="published",
                    headline=f"Info ~#{self._number}:{time.monotonic_ns()}~",
                    body=body,
                    rubric="politique",
                    created_at=now,
                    first_published_at=now,
                    changed_at=now,
                    changed_by="bench",
                )
                key = log.keys.receipt("endurance", str(self._number))
                receipt = await log.publish(item, None, receipt_key=key, request_hash=f"{self._number:032}")
                self.positions.append(str(receipt.position))
                if every_s:
                    await asyncio.sleep(every_s)


@contextlib.contextmanager
def store() -> Iterator[tuple[str, Path]]:
    """A Valkey, and a directory for everything else."""
    directory = Path(tempfile.mkdtemp(prefix="endurance-"))
    try:
        with EmbeddedServer(directory / "store") as server:
            yield server.url, directory
    finally:
        shutil.rmtree(directory)


def descriptors(pids: list[int]) -> int:
    """Open descriptors of all processes."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


def peak_over_mean(spread: dict[str, Any]) -> float:
    """The fullest of 20 buckets of the span over their mean."""
    buckets: list[int] = spread["buckets"]
    return max(buckets) / (sum(buckets) / len(buckets)) if sum(buckets) else 0.0


def in_order(result: dict[str, Any]) -> bool:
    """Whether no reader missed or doubled an event, was told a wrong position, or got bytes that were not its own."""
    return not any(result[kind] for kind in ("holes", "doubles", "tick_wrong", "not_ours", "resets", "excess"))
