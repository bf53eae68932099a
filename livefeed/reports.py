"""Reports: what each server process of a port tells of itself once a second, for whoever asks any of them.

A monitor reaches one worker, or none of them but the parent, and wants to hear of all. Each process has a numbered
**slot**, a small file in ``<data_dir>/run/reports-<host>-<port>/`` that it holds locked and overwrites in place; who
reads takes the reports of the slots that are locked. So a process that has died, in whatever way, is gone at once, and
the one that replaces it takes its slot: to a monitor its counters start anew, as after any restart.

    worker 0 ──▶ 0 (locked) ─┐                        worker 0: /metrics, /readyz
    worker 1 ──▶ 1 (locked) ─┼── read by ──▶  any of  worker 1: the same
    (died)       2 (free)    ┘                        parent:   the port of its own (`metrics_port`)

Nothing here is done in an event loop: the disk may be slow exactly when the numbers matter.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
import zlib
from pathlib import Path

import msgspec

from livefeed.settings import Settings

PERIOD_S = 1.0
"""Time between two reports of a process."""
STALE_S = 3.0
"""A process that has not reported for so long does not move: with the period, noticed within 4 s."""
SLOT_BYTES = 65_536
"""Size of a slot, written whole once: a full disk does not keep a process from reporting afterwards."""
SLOTS_MAX = 1_024
_HEAD = 16
"""Length and CRC-32 of the report behind it, 8 hex digits each."""
_READS_MAX = 5
"""A report that is being written meanwhile is read again, at most so often."""


class Shape(msgspec.Struct, frozen=True):
    """A histogram: upper bounds, counts between them (one more, for what is above all), and the sum of all values."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class Report(msgspec.Struct, frozen=True):
    """What a process tells of itself. Numbers go by the names that `livefeed.metrics` knows."""

    pid: int
    at: float
    """When it was made, by the monotonic clock, which all processes of a machine share."""
    why_not_live: str | None
    """Why an event published now would not reach the readers of this process; None when it would."""
    draining: bool
    counts: dict[str, float]
    gauges: dict[str, float]
    shapes: dict[str, Shape]
    store: dict[str, float]
    """What it last saw of the store, the same for all processes; empty before the first look."""
    store_at: float

    def trouble(self) -> str | None:
        """Why an event published now would not reach the readers of this process, which may hang as well."""
        age_s = time.monotonic() - self.at
        if age_s > STALE_S:
            return f"it has not moved for {age_s:.0f} s"
        return self.why_not_live


class NoSlot(OSError):
    """No report can be left: the directory cannot be written, or has too many slots."""


class Slot:
    """This process's place among the reports; a context manager. Closed, or the process dead, the place is free."""

    def __init__(self, settings: Settings) -> None:
        """Take the lowest free slot.

        :raises OSError: there is none.
        """
        self.directory = directory(settings)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(SLOTS_MAX):
            path = self.directory / str(number)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(handle).st_ino != path.stat().st_ino:
                    raise FileNotFoundError  # cleaned away between the two: not the file that others see
                os.pwrite(handle, bytes(SLOT_BYTES), 0)
            except (BlockingIOError, FileNotFoundError):
                os.close(handle)
                continue
            except BaseException:
                os.close(handle)
                raise
            self.number, self._handle = number, handle
            return
        raise NoSlot(f"{self.directory} has {SLOTS_MAX} slots in use")

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def write(self, report: Report) -> None:
        """Put a report in place of the last one.

        :raises OSError: it cannot be written, or is too large.
        """
        data = msgspec.json.encode(report)
        if len(data) > SLOT_BYTES - _HEAD:
            raise NoSlot(f"a report of {len(data)} bytes")
        os.pwrite(self._handle, b"%08x%08x" % (len(data), zlib.crc32(data)) + data, 0)


def directory(settings: Settings) -> Path:
    """Where the processes that serve this host and port report."""
    host = re.sub(r"[^0-9A-Za-z.]", "_", settings.host)
    return settings.data_dir / "run" / f"reports-{host}-{settings.port}"


def read(place: Path) -> dict[int, Report]:
    """The reports of all living processes by slot; one that has not made its first yet is left out."""
    found = {}
    for path in _slots(place):
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                report = _read(handle) if _held(handle) else None
            finally:
                os.close(handle)
            if report is not None:
                found[int(path.name)] = report
    return dict(sorted(found.items()))


def clean(data_dir: Path) -> None:
    """Take away what dead processes have left in a data directory, of whatever port."""
    for place in (data_dir / "run").glob("reports-*"):
        for path in _slots(place):
            with contextlib.suppress(OSError):
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if not _held(handle):
                        path.unlink()
                finally:
                    os.close(handle)
        with contextlib.suppress(OSError):
            place.rmdir()


def _slots(place: Path) -> list[Path]:
    try:
        return [path for path in place.iterdir() if path.name.isdecimal()]
    except OSError:
        return []


def _held(handle: int) -> bool:
    """Whether a living process holds the slot."""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(handle, fcntl.LOCK_UN)
    return False


def _read(handle: int) -> Report | None:
    for _ in range(_READS_MAX):
        whole = os.pread(handle, SLOT_BYTES, 0)
        with contextlib.suppress(ValueError, msgspec.MsgspecError):
            length, check = int(whole[:8], 16), int(whole[8:_HEAD], 16)
            data = whole[_HEAD : _HEAD + length]
            if zlib.crc32(data) == check:
                return msgspec.json.decode(data, type=Report)
    return None
