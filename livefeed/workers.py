"""Several server processes on one listening socket, started and watched by a parent that serves nothing itself.

SIGHUP is a rolling restart: one worker after the other is replaced by a new process, which runs the code that is
installed now with the same settings. The new one serves before the old one is told to stop, and the old one has drained
before the next is begun; connections that wait in the socket's queue are anybody's.
"""

from __future__ import annotations

import contextlib
import math
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
        self.stops_at: float | None = None
        """When it is killed, once it has been told to stop (monotonic clock)."""
        self.process: SpawnProcess = _spawn.Process(target=_work, args=(target, arguments, far))
        self.process.start()
        far.close()

    def stop(self, within_s: float) -> None:
        """Tell it to stop, for good."""
        self.stops_at = time.monotonic() + within_s
        self.process.terminate()

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
        self._roll_asked = False
        self._outdated: list[_Worker] = []  # what a rolling restart has yet to replace
        self._rolling = False
        self._successor: _Worker | None = None  # of the first of them, while it does not serve yet

    def run(self, serving: Callable[[], None]) -> int:
        """Return the exit code after a stop signal, or 1 when the workers cannot start.

        :param serving: called once, when every worker answers requests.
        """
        wake, bell = socket.socketpair()
        stopping = threading.Event()

        def stop(*_: object) -> None:
            stopping.set()
            bell.send(b"!")

        def roll(*_: object) -> None:
            self._roll_asked = True
            bell.send(b"!")

        # A terminal that is closed sends SIGHUP too, and means that nobody is there any more.
        handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: stop if os.isatty(0) else roll}
        before = {sig: signal.signal(sig, handler) for sig, handler in handlers.items()}
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
                    if told:
                        self._roll()
                return 0
        finally:
            for sig in before:
                signal.signal(sig, signal.SIG_IGN)
            self._stop_all()
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def _wait(self, wake: socket.socket) -> None:
        """Until a signal, a worker's word or death, or the time to replace one."""
        times = [*self._due, *(worker.stops_at for worker in self._workers if worker.stops_at is not None)]
        timeout_s = max(0.0, min(times) - time.monotonic()) if times and min(times) < math.inf else None
        words = {worker.pipe: worker for worker in self._workers if not worker.serving}
        deaths = [worker.process.sentinel for worker in self._workers]
        for ready in wait([wake, *words, *deaths], timeout_s):
            if ready is wake:
                wake.recv(64)
            elif isinstance(ready, Connection) and ready in words:
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
            if worker in self._outdated:
                self._outdated.remove(worker)
            if worker.stops_at is not None:
                continue  # it was told to, and its successor serves
            if worker is self._successor:
                self._successor = None
                self._outdated.clear()
                log.error("a new worker failed to start; the old ones go on", pid=pid, code=code)
                continue
            if not told:
                log.error("a worker failed to start", pid=pid, code=code)
                return False
            pause_s = min(RESTART_MAX_S, RESTART_MIN_S * 2**self._failures) * random.uniform(0.5, 1)  # noqa: S311
            self._failures += not worker.serving
            if self._active + len(self._due) < self._count:
                self._due.append(time.monotonic() + pause_s)
            log.error("a worker exited and is replaced", pid=pid, code=code, in_s=round(pause_s, 2))
        for due in [due for due in self._due if due <= time.monotonic()]:
            self._due.remove(due)
            self._workers.append(_Worker(self._target, self._arguments))
        return True

    @property
    def _active(self) -> int:
        """Workers that were not told to stop."""
        return sum(worker.stops_at is None for worker in self._workers)

    def _roll(self) -> None:
        """Take the next step of a rolling restart, where one is due."""
        if self._roll_asked:
            self._roll_asked = False
            self._outdated = [worker for worker in self._workers if worker.stops_at is None]
            if self._successor is not None:  # asked again meanwhile: it is being started, from what may be older code
                self._outdated.remove(self._successor)
                self._outdated.append(self._successor)
            log.info("the workers are replaced, one after the other", workers=len(self._outdated))
            self._rolling = True
        for worker in self._workers:
            if worker.stops_at is not None and worker.stops_at <= time.monotonic():
                log.error("a worker did not stop in time and is killed", pid=worker.process.pid)
                worker.process.kill()
                worker.stops_at = math.inf
        if self._successor is not None and self._successor.serving:
            self._successor = None
            if self._outdated and self._active > self._count:  # else one died meanwhile: then this is its successor
                self._outdated.pop(0).stop(self._stop_s)
        if self._successor is None and self._active == len(self._workers):
            if self._outdated:
                self._successor = _Worker(self._target, self._arguments)
                self._workers.append(self._successor)
            elif self._rolling:
                self._rolling = False
                log.info("every worker has been replaced")

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
    for sig in (signal.SIGINT, signal.SIGHUP):  # they reach the whole group; the parent passes on a SIGTERM
        signal.signal(sig, signal.SIG_IGN)
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
