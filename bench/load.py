"""Drives the load client (client.c): one process that holds all readers of one server."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

from bench import machine
from bench.compiling import compiled

ANSWER_S = 30
"""How much longer than its own time-out a command may take before the client counts as stuck."""
INFLIGHT = 64
"""Streams that are opened at a time and wait for their answer."""

FAULTS = ("missing", "doubled", "out_of_order", "stray", "unequal", "id_breaks", "lost_readers")
"""What the client counts against a server; see client.c."""


class Load:
    """The readers of one server. A context manager: they leave at its end."""

    def __init__(self, port: int, path: str, flags: str) -> None:
        self._process = subprocess.Popen(
            [compiled("client"), "127.0.0.1", str(port), path, str(machine.LOAD_CPU), flags or "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it holds nothing but connections, and may be frozen
        self._process.wait(timeout=ANSWER_S)

    def connect(
        self, readers: int, *, inflight: int = INFLIGHT, timeout_s: float = 60, groups: int = 1
    ) -> dict[str, Any]:
        """Open that many more streams, at most `inflight` of them unanswered at a time.

        A `*` in the path is replaced by a number below `groups`, the next for each reader.

        :raises RuntimeError: when not all of them opened.
        """
        self._say(f"connect {readers} {inflight} {timeout_s * 1000:.0f} {groups}")
        result = self._result()
        if result["failed"] or result["unanswered"]:
            raise RuntimeError(f"not all readers got their stream: {result}")
        return result

    def replay(self, readers: int, path: str, first: int, count: int, *, timeout_s: float = 60) -> dict[str, Any]:
        """Open the first streams of all, each of which must be given these past numbers; what became of it."""
        self._say(f"replay {readers} {INFLIGHT} {timeout_s * 1000:.0f} {first} {count} {path}")
        return self._result()

    def freeze(self) -> None:
        """From now on no reader of these reads, until the end."""
        self._process.send_signal(signal.SIGSTOP)

    def expect(self, first: int, count: int, *, timeout_s: float = 60) -> None:
        """From now on every reader shall get these numbers; `done` and `checked` tell."""
        self._say(f"expect {first} {count} {timeout_s * 1000:.0f}")
        if self._line() != "ready":
            raise RuntimeError("the load client did not get ready")

    def done(self) -> Iterator[int]:
        """Each number when the last reader has it. Ends early at the time-out."""
        while (line := self._line()).startswith("done "):
            yield int(line[5:])
        self._last = line

    def checked(self) -> dict[str, Any]:
        """What became of the numbers expected."""
        for _ in self.done():
            pass
        result: dict[str, Any] = json.loads(self._last)
        return result

    def idle(self, seconds: float) -> dict[str, Any]:
        """Read for so long; what was received."""
        self._say(f"idle {seconds * 1000:.0f}")
        return self._result()

    def _say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load client ended with {self._process.wait(timeout=ANSWER_S)}")
        return line.rstrip("\n")

    def _result(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self._line())
        return result


def faults(result: dict[str, Any]) -> list[str]:
    """What a reader got wrong, in words; empty for a right answer."""
    return [f"{result[kind]} {kind.replace('_', ' ')}" for kind in FAULTS if result[kind]]
