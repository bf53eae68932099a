"""Shows that the load client finds what it is there to find: a server with one planted fault for each kind.

The same events are also served right, in every framing and cut into the smallest pieces, and must pass.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from bench.load import FAULTS, Load, faults

T = TypeVar("T")

READERS, EVENTS = 20, 30
VICTIM, AT = 7, 11
"""The reader that is wronged, and the index of the event at which it is."""
EXPECT_S = 1.0

Plan = list[tuple[int, bytes]]
"""What a reader is sent: (id, data) for each event."""


@dataclass(frozen=True)
class Case:
    """One server, and what the client must say of it."""

    name: str
    finds: tuple[str, ...] = ()
    """Kinds of fault; none for a right server."""
    wrong: Callable[[Plan], Plan] = lambda plan: plan
    """Spoils the victim's plan."""
    flags: str = "oi"
    chunked: bool = True
    line_end: bytes = b"\n"
    piece: int = 100_000
    """Bytes of one write."""
    cut: bool = False
    """Whether the victim's connection ends early."""


def _swapped(plan: Plan) -> Plan:
    return [*plan[:AT], plan[AT + 1], plan[AT], *plan[AT + 2 :]]


CASES = (
    Case("right, chunked"),
    Case("right, plain", chunked=False),
    Case("right, CRLF lines", line_end=b"\r\n"),
    Case("right, chunked, byte by byte", piece=1),
    Case("right, plain, in pieces of 7", chunked=False, piece=7),
    Case("right, any one order", flags="i"),
    Case("drops an event", ("missing", "id_breaks"), lambda plan: plan[:AT] + plan[AT + 1 :]),
    Case("drops the last event", ("missing",), lambda plan: plan[:-1]),
    Case("doubles an event", ("doubled", "id_breaks"), lambda plan: [*plan[: AT + 1], *plan[AT:]]),
    Case("doubles the last event", ("doubled", "id_breaks"), lambda plan: [*plan, plan[-1]]),
    Case("swaps two events", ("out_of_order", "id_breaks"), _swapped),
    Case("swaps two events, any one order", ("out_of_order",), _swapped, flags=""),
    Case("delivers what nobody published", ("stray", "id_breaks"), lambda plan: [*plan, (9, _data(10**6))]),
    Case(
        "alters an event", ("unequal",), lambda plan: [*plan[:AT], (plan[AT][0], plan[AT][1] + b"!"), *plan[AT + 1 :]]
    ),
    Case("skips an id", ("id_breaks",), lambda plan: [*plan[:AT], *((id + 1, data) for id, data in plan[AT:])]),
    Case("cuts a reader", ("lost_readers", "missing"), lambda plan: plan[:AT], cut=True),
)


def _data(number: int) -> bytes:
    return b'{"headline":"~#%d:%d~","body":"~ # ~#x~"}' % (number, time.monotonic_ns())


class _Server:
    """Serves one case: answers every reader, and sends its plan to each on `send`."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._writers: list[asyncio.StreamWriter] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        framing = b"Transfer-Encoding: chunked\r\n" if self._case.chunked else b"Connection: close\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + framing + b"\r\n")
        self._writers.append(writer)

    def send(self) -> None:
        """Send every reader its plan."""
        self._call(self._send())

    async def _send(self) -> None:
        plan = [(number, _data(number)) for number in range(1, EVENTS + 1)]
        for index, writer in enumerate(self._writers):
            own = self._case.wrong(plan) if index == VICTIM else plan
            end = self._case.line_end
            frames = [b": ping" + end + end]
            frames += [
                end.join((b"id: %d-0a1b2c3d" % id, b"event: item", b"data: " + data, b"", b"")) for id, data in own
            ]
            bytes_ = b"".join(b"%x\r\n%b\r\n" % (len(f), f) if self._case.chunked else f for f in frames)
            for at in range(0, len(bytes_), self._case.piece):
                writer.write(bytes_[at : at + self._case.piece])
                if self._case.piece < 100:
                    await asyncio.sleep(0)
            if self._case.cut and index == VICTIM:
                writer.close()

    def stop(self) -> None:
        """End everything."""
        self._server.close()
        for writer in self._writers:
            writer.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def run() -> bool:
    """Run all cases, print what was found; whether the client was right about each."""
    good = True
    for case in CASES:
        server = _Server(case)
        try:
            with Load(server.port, "/", case.flags) as load:
                load.connect(READERS)
                load.expect(1, EVENTS, timeout_s=EXPECT_S)
                server.send()
                result = load.checked()
        finally:
            server.stop()
        found = [kind for kind in FAULTS if result[kind]]
        right = sorted(found) == sorted(case.finds)
        good &= right
        print(f"{'ok' if right else 'NOT FOUND':9} {case.name:34} {', '.join(faults(result)) or 'nothing wrong'}")
    return good
