"""Several server processes on one listening socket, started and watched by a parent that serves nothing itself."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import structlog

from livefeed import logs
from livefeed.errors import StartError

RESTART_MIN_S, RESTART_MAX_S = 0.1, 5.0
"""Pauses before a worker that died is replaced; jittered, doubled while replacements die before they serve."""
JOIN_MARGIN_S = 5.0
"""Beyond a worker's own bound on stopping; then it is killed."""

log = structlog.get_logger("livefeed.workers")

_spawn = multiprocessing.get_context("spawn")


class _Worker:
    """One process, and the pipe on which it says that it serves, and sees that its parent has gone."""

    def __init__(self, target: Callable[..., int], arguments: tuple[Any, ...]) -> None:
        self.pipe, far = _spawn.Pipe()
        self.serving = False
        self.process: SpawnProcess = _spawn.Process(target=_work, args=(target, arguments, far))
        self.process.start()
        far.close()

    def close(self) -> None:
        self.process.join()
        self.process.close()
        self.pipe.close()


class Workers:
    """Runs `target(*arguments, started)` in several processes until a stop signal."""

    def __init__(self, count: int, target: Callable[..., int], arguments: tuple[Any, ...], stop_s: float) -> None:
        """:param stop_s: how long a worker may take to stop before it is killed."""
        self._count = count
        self._target = target
        self._arguments = arguments
        self._stop_s = stop_s + JOIN_MARGIN_S
        self._workers: list[_Worker] = []
        self._due: list[float] = []  # times at which a dead worker is replaced
        self._failures = 0

    def run(self, serving: Callable[[], None]) -> int:
        """Return the exit code after a stop signal, or 1 when the workers cannot start.

        :param serving: called once, when every worker answers requests.
        """
        wake, bell = socket.socketpair()
        stopping = threading.Event()

        def stop(*_: object) -> None:
            stopping.set()
            bell.send(b"!")

        before = {sig: signal.signal(sig, stop) for sig in (signal.SIGTERM, signal.SIGINT)}
        told = False
        try:
            with wake, bell:
                self._workers = [_Worker(self._target, self._arguments) for _ in range(self._count)]
                while not stopping.is_set():
                    self._wait(wake)
                    if stopping.is_set():
                        break
                    if not self._replace_dead(told):
                        return 1
                    if not told and all(worker.serving for worker in self._workers):
                        told = True
                        serving()
                return 0
        finally:
            for sig in before:
                signal.signal(sig, signal.SIG_IGN)
            self._stop_all()
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def _wait(self, wake: socket.socket) -> None:
        """Until a signal, a worker's word or death, or the time to replace one."""
        timeout_s = max(0.0, min(self._due) - time.monotonic()) if self._due else None
        words = {worker.pipe: worker for worker in self._workers if not worker.serving}
        deaths = [worker.process.sentinel for worker in self._workers]
        for ready in wait([wake, *words, *deaths], timeout_s):
            if isinstance(ready, Connection) and ready in words:
                with contextlib.suppress(EOFError, OSError):
                    ready.recv()
                    words[ready].serving = True
                    self._failures = 0

    def _replace_dead(self, told: bool) -> bool:
        """Plan and start replacements; False when a worker failed before the first service: all would fail so."""
        for worker in [worker for worker in self._workers if worker.process.exitcode is not None]:
            pid, code = worker.process.pid, worker.process.exitcode
            self._workers.remove(worker)
            worker.close()
            if not told:
                log.error("a worker failed to start", pid=pid, code=code)
                return False
            pause_s = min(RESTART_MAX_S, RESTART_MIN_S * 2**self._failures) * random.uniform(0.5, 1)  # noqa: S311
            self._failures += not worker.serving
            self._due.append(time.monotonic() + pause_s)
            log.error("a worker exited and is replaced", pid=pid, code=code, in_s=round(pause_s, 2))
        for due in [due for due in self._due if due <= time.monotonic()]:
            self._due.remove(due)
            self._workers.append(_Worker(self._target, self._arguments))
        return True

    def _stop_all(self) -> None:
        deadline = time.monotonic() + self._stop_s
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.exitcode is None:
                log.error("a worker did not stop in time and is killed", pid=worker.process.pid)
                worker.process.kill()
            worker.close()


def _work(target: Callable[..., int], arguments: tuple[Any, ...], pipe: Connection) -> None:
    """A worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent passes on a SIGTERM
    logs.configure(arguments[0])
    threading.Thread(target=_stop_without_parent, args=(pipe,), name="parent", daemon=True).start()
    try:
        code = target(*arguments, lambda: pipe.send(True))
    except StartError as error:
        log.error(str(error))
        code = 1
    raise SystemExit(code)


def _stop_without_parent(pipe: Connection) -> None:
    """The parent never writes: the pipe becomes readable when it has gone, by a crash or a ``kill -9`` too."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    os.kill(os.getpid(), signal.SIGTERM)
