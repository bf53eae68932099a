"""The pace of plain HTTP connections: nobody may hold one by being slow, or more of them than there are.

uvicorn has a deadline for idle connections only. `PacedProtocol` notes what a connection is waiting for and since
when; **one sweep** per process looks at all connections twice a second and cuts those that are overdue, so that a
request which comes and goes in time costs two looks at the clock and no timer. A connection is

- in its **head**: from its beginning, or the first byte after an answer, until the headers are complete. The deadline
  counts from there, not from the last byte: one byte now and then gains nothing;
- in its **body**: a grace, and a second more for each `rate_min_bytes` that came. Time in which we do not read (the
  application is busy, an earlier request of the connection is being answered) is not the client's;
- in the **rest** of a body that was answered before it was read;
- **quiet**: nothing is expected of the client. An idle connection is uvicorn's to close.

A **download** is overdue by the same rate: while bytes wait in our buffer, the client must acknowledge. What the
kernel took into its own buffer is not what the client took, so the count of acknowledged bytes is asked of TCP.

Streams that were handed over are none of these connections; the hub has deadlines of its own.

Written against uvicorn 0.54 (`protocols/http/httptools_impl.py`).
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import structlog
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from livefeed.errors import ApiError, HeadTooLarge, TooSlow
from livefeed.settings import Settings

STATE = "pace"
"""Where the application's lifespan state has its `Pace`, for the protocol to find."""
SWEEP_S = 0.5
"""Time between two sweeps; less where a deadline is so short that this would show."""
SLICE = 1_000
"""Connections looked at before other tasks get a turn: about a millisecond."""
REST_S = 5.0
"""How long the rest of a body that was answered already is read, so that the client gets to see its answer."""
HEAD_MAX_BYTES = 32_768
"""Most bytes of a head, beyond what one read of the socket brings: browsers and proxies stay below 16 KB."""
WIRE_SHARE = 9
"""Most bytes on the wire for one of the body: one-byte chunks take six. What is beyond that are trailers, which would
be kept without a bound."""
PIPELINE_MAX = 100
"""Most requests of one connection that wait behind another: one read of the socket may bring thousands."""
ROOM_LOOK = 100
"""Connections looked at for the one to close when there are too many."""
LOG_S = 10.0
"""Least time between two log lines about cut connections: an attack must not fill the log."""

_ACKED = slice(120, 128)
"""Where Linux's `struct tcp_info` has `tcpi_bytes_acked` (since 4.1)."""

Phase = Literal["head", "body", "rest", "quiet"]

logger = structlog.get_logger()


class Pace:
    """One process's deadlines: `run` sweeps over the connections that the protocol shows."""

    def __init__(self, settings: Settings, connection_max: int, streams: Callable[[], int]) -> None:
        """:param connection_max: most connections, of which `streams` are open streams."""
        self._head_s = settings.head_deadline_s
        self._grace_s = settings.rate_grace_s
        self._rate = settings.rate_min_bytes
        self._sweep_s = min(SWEEP_S, self._head_s / 10, self._grace_s / 10)
        self._connection_max = connection_max
        self._streams = streams
        self.connections: set[Any] = set()
        """uvicorn's own set of the process's plain connections."""
        self.counts: Counter[str] = Counter()
        """Cut so far: heads, bodies, rests, downloads, and those that made room."""
        self._told: Counter[str] = Counter()
        self._told_at = float("-inf")

    async def run(self) -> None:
        """Sweep for ever; returns only by being cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._sweep_s)
            for number, connection in enumerate(list(self.connections), start=1):
                if connection.parser is not None:  # else it was lost or handed over while others had their turn
                    self._look(connection, loop.time())
                if number % SLICE == 0:
                    await asyncio.sleep(0)
            self._tell()

    def _look(self, connection: PacedProtocol, now: float) -> None:
        """Cut a connection that is overdue."""
        if self._is_slow_reader(connection, now):
            self._cut("downloads", connection.abort)
        elif connection.transport.is_closing() or connection.phase == "quiet":
            return
        elif connection.phase == "head":
            if now - connection.since <= self._head_s:
                return
            if connection.answering:
                connection.cycle.keep_alive = False  # the answer before it is the last one
            else:
                self._cut("heads", connection.end_head)
        elif connection.phase == "rest":
            if now - connection.since > REST_S:
                self._cut("rests", connection.abort)
        elif connection.cycle.response_complete:
            connection.phase, connection.since = "rest", now
        elif connection.flow.read_paused or connection.cycle.waiting_for_100_continue:
            connection.since = now
        elif now - connection.since > self._grace_s + connection.received / self._rate:
            self._cut("bodies", connection.end_body)

    def _is_slow_reader(self, connection: PacedProtocol, now: float) -> bool:
        waiting = connection.transport.get_write_buffer_size()
        if not waiting:
            connection.reading_since = None
            return False
        # Where TCP does not tell, a buffer that shrinks does; it sees nothing of what is in the kernel's.
        taken = _acked(connection.transport)
        if taken is None:
            taken = -waiting
        if connection.reading_since is None:
            connection.reading_since, connection.reading_from = now, taken
        since, start = connection.reading_since, connection.reading_from
        return now - since > self._grace_s + max(taken - start, 0) / self._rate

    def make_room(self, newcomer: PacedProtocol) -> None:
        """With too many connections, close an idle one, or the one that has been in its head for longest.

        The newcomer goes where all others are at work. It gets no answer: to an EventSource one that is no stream
        would be the end, while it comes back after a connection that was reset.
        """
        if len(self.connections) + self._streams() <= self._connection_max:
            return
        others = [c for c in itertools.islice(self.connections, ROOM_LOOK) if c is not newcomer and c.may_go]
        loser = min(others, key=lambda c: (c.phase != "quiet", c.since), default=newcomer)
        self._cut("room", loser.abort)

    def _cut(self, what: str, cut: Callable[[], object]) -> None:
        self.counts[what] += 1
        cut()

    def _tell(self) -> None:
        now = time.monotonic()
        if self.counts != self._told and now - self._told_at >= LOG_S:
            logger.warning("slow connections were cut", **dict(self.counts - self._told))
            self._told, self._told_at = self.counts.copy(), now


class PacedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which notes what the sweep has to know."""

    running: RequestResponseCycle | None = None
    """The request that is being answered; uvicorn knows the last one that was read, which may be waiting behind it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A connection begins, and with it its first head."""
        super().connection_made(transport)
        self.phase: Phase = "head"
        self.since = self.loop.time()
        """When the phase began."""
        self.wire = 0
        """Bytes of the phase, but for those that came together with its beginning."""
        self.received = 0
        """Bytes of the body."""
        self.reading_since: float | None = None
        """Since when bytes have been waiting for the client."""
        self.reading_from = 0
        self.silent = True
        """Whether no byte has ever come: a browser opens connections for later, and wants no answer to that."""
        pace: Pace | None = self.app_state.get(STATE)
        if pace is not None:
            pace.connections = self.connections
            pace.make_room(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request; after an answer they begin the next head."""
        self.silent = False
        if self.phase == "quiet":
            self._begin()
        self.wire += len(data)
        super().data_received(data)
        if self.wire > HEAD_MAX_BYTES and self.phase != "quiet" and not self.transport.is_closing():
            if self.phase == "head" and not self.answering:
                self._refuse(_HEAD_TOO_LARGE)
            elif self.wire > HEAD_MAX_BYTES + WIRE_SHARE * self.received:
                self.abort()

    def on_message_begin(self) -> None:
        """A request's first line begins; pipelined ones come within the same bytes."""
        if self.phase == "quiet":
            self._begin()
        self.wire = self.received = 0
        super().on_message_begin()

    def _begin(self) -> None:
        self.phase, self.since, self.wire = "head", self.loop.time(), 0

    def on_headers_complete(self) -> None:
        """The head is read."""
        self.phase, self.since, self.wire = "body", self.loop.time(), 0
        if len(self.pipeline) < PIPELINE_MAX:
            super().on_headers_complete()
        elif not self.transport.is_closing():
            self.abort()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self.received += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is read."""
        self.phase = "quiet"
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    # Ends

    def connection_lost(self, exc: Exception | None) -> None:
        """Also the request that is being answered while others wait behind it hears that its client has gone.

        uvicorn tells the last one only; the other would go on and write into a closed connection, which is an error.
        """
        self.gone()
        super().connection_lost(exc)

    def gone(self) -> None:
        """Tell the request that is being answered that there is nobody to answer."""
        if self.running is not None and not self.running.response_complete:
            self.running.disconnected = True
            self.running.message_event.set()

    def abort(self) -> None:
        """Cut the connection; what the application sends in this very turn is dropped."""
        self.gone()
        self.transport.abort()

    @property
    def answering(self) -> bool:
        """Whether a response is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def may_go(self) -> bool:
        """Whether nothing is lost with this connection: it is idle, or has not told what it wants."""
        if self.phase in ("body", "rest") or self.answering or self.transport.is_closing():
            return False
        return not self.transport.get_write_buffer_size()

    def end_head(self) -> None:
        """The head is overdue: 408, or nothing to one that never said a word."""
        if self.silent:
            self.transport.close()
        else:
            self._refuse(_TOO_SLOW)

    def end_body(self) -> None:
        """The body is overdue: 408 where that is the next answer; the application is told that its client has gone."""
        if self.cycle.response_started or self.pipeline:
            self.abort()
            return
        self._refuse(_TOO_SLOW)
        self.gone()

    def _refuse(self, answer: tuple[bytes, bytes]) -> None:
        head, rest = answer
        date = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
        self.transport.write(head + date + rest)
        self.transport.close()


def _acked(transport: asyncio.Transport) -> int | None:
    """Bytes that the other side has acknowledged; None where the system does not tell."""
    sock = transport.get_extra_info("socket")
    if sys.platform != "linux" or sock is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.stop)
    except OSError:
        return None
    return int.from_bytes(info[_ACKED], sys.byteorder) if len(info) >= _ACKED.stop else None


def _answer(status: bytes, error: ApiError) -> tuple[bytes, bytes]:
    """An answer in the one error shape, before and after the headers that all have."""
    body = msgspec.json.encode(error.body())
    return b"HTTP/1.1 %b\r\n" % status, (
        b"content-type: application/json\r\ncontent-length: %d\r\ncache-control: no-store\r\n"
        b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\n%b" % (len(body), body)
    )


_TOO_SLOW = _answer(b"408 Request Timeout", TooSlow("The request did not come in time."))
_HEAD_TOO_LARGE = _answer(
    b"431 Request Header Fields Too Large", HeadTooLarge(f"The request's head is over {HEAD_MAX_BYTES} bytes.")
)
