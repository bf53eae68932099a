"""A lean reader of the stream: one socket, a parser for event streams, and a record of what it was told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import NamedTuple, cast

RETRY_S = 0.01
"""Pause before a reader that lost its connection comes back; what the server's `retry:` asks is for browsers."""
SMALL_BUFFER_BYTES = 4_096
"""Receive buffer of a reader that shall be behind soon."""


class Told(NamedTuple):
    """One event as it was read."""

    kind: str
    id: str
    data: bytes
    connection: int
    """Which of the reader's connections it came over."""


class LeanReader:
    """A reader as a browser is one: it remembers the last id, and comes back with it until it leaves for good."""

    def __init__(
        self, name: str, port_of: Callable[[int], int], query: str = "", version: str = "1.1", small: bool = False
    ) -> None:
        """:param port_of: where a worker is reached by this reader."""
        self.name = name
        self.record: list[Told] = []
        self.connections = 0
        self.last_id = ""
        self.worker = 0
        self.wanted = False
        self.waiting = False
        """Whether it has asked for its stream and was told nothing yet."""
        self.trouble = ""
        """What no server should have said."""
        self.query, self.version = query, version
        self._port_of = port_of
        self._small = small
        self._connection: _Connection | None = None
        self._stop_at: tuple[int, float] | None = None
        self.stopped = 0
        """Times that it stopped reading."""
        self._task: asyncio.Task[None] | None = None

    def come(self, worker: int) -> None:
        """Open the stream, here or, when it is open elsewhere, from now on here."""
        self.worker = worker
        self.wanted = True
        if self._task is None:
            self._task = asyncio.create_task(self._live(), name=f"reader {self.name}")
        elif self._connection is not None:
            self._connection.abort()

    def go(self) -> None:
        """Leave; it may come back with what it knows."""
        self.wanted = False
        if self._connection is not None:
            self._connection.abort()

    def stop_at(self, more_bytes: int, for_s: float) -> None:
        """Read so many bytes more of this or the next connection, then nothing for a time."""
        self._stop_at = (more_bytes, for_s)

    def state(self) -> str:
        """What there is to know of it, for a failure's message."""
        open_ = self._connection is not None
        return f"waiting: {self.waiting}, open: {open_}, connections: {self.connections}, stop at: {self._stop_at}"

    async def end(self) -> None:
        """Leave for good."""
        self.go()
        if self._task is not None:
            await self._task

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        while self.wanted:
            sock = socket.socket()
            sock.setblocking(False)
            if self._small:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
            try:
                await loop.sock_connect(sock, ("127.0.0.1", self._port_of(self.worker)))
            except OSError:
                sock.close()
                await asyncio.sleep(RETRY_S)
                continue
            self.connections += 1
            _, self._connection = await loop.create_connection(lambda: _Connection(self), sock=sock)
            if not self.wanted:
                self._connection.abort()
            await self._connection.gone
            self._connection = None
            self.waiting = False
            if self.wanted:
                await asyncio.sleep(RETRY_S)
        self._task = None

    def request(self) -> bytes:
        """What it asks."""
        self.waiting = True
        head = f"GET /stream{self.query} HTTP/{self.version}\r\nHost: x\r\n"
        return (head + (f"Last-Event-ID: {self.last_id}\r\n" if self.last_id else "") + "\r\n").encode()

    def hear(self, block: bytes) -> None:
        """One event of the stream, without its blank line."""
        kind, id, data = "message", None, b""
        for line in block.split(b"\n"):
            name, _, value = line.partition(b": ")
            if name == b"event":
                kind = value.decode()
            elif name == b"id":
                id = value.decode()
            elif name == b"data":
                data = value
            elif name != b"retry":
                self.trouble = self.trouble or f"a line that is none of an event's: {line[:80]!r}"
        if id is not None:
            self.last_id = id
        self.waiting = False
        self.record.append(Told(kind, id or "", data, self.connections))

    def due_to_stop(self, received: int) -> float:
        """After how many more bytes of `received` it stops; returns for how long, 0 for not now."""
        if self._stop_at is None:
            return 0.0
        left, for_s = self._stop_at
        if received < left:
            self._stop_at = (left - received, for_s)
            return 0.0
        self._stop_at = None
        self.stopped += 1
        return for_s


class _Connection(asyncio.Protocol):
    def __init__(self, reader: LeanReader) -> None:
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._raw = b""
        """Bytes of the wire, where the body is chunked."""
        self._body = b""
        self._in_head = True
        self._chunked = False
        self._aborted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._reader.request())

    def abort(self) -> None:
        self._aborted = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._aborted:
            return
        for_s = self._reader.due_to_stop(len(data))
        if for_s:
            self._transport.pause_reading()
            self._loop.call_later(for_s, self._go_on)
        self._raw += data
        if self._in_head:
            head, found, rest = self._raw.partition(b"\r\n\r\n")
            if not found:
                return
            self._in_head = False
            status = head[9:12]
            if status != b"200" or b"text/event-stream" not in head:
                self._reader.trouble = f"an answer that closes an EventSource: {head[:200]!r}"
                self.abort()
                return
            self._chunked = b"transfer-encoding: chunked" in head.lower()
            self._raw = rest
        if self._chunked:
            self._unchunk()
        else:
            self._body += self._raw
            self._raw = b""
        *blocks, self._body = self._body.split(b"\n\n")
        for block in blocks:
            self._reader.hear(block)

    def _unchunk(self) -> None:
        while True:
            size_text, found, rest = self._raw.partition(b"\r\n")
            if not found:
                return
            size = int(size_text, 16)
            if len(rest) < size + 2:
                return
            if rest[size : size + 2] != b"\r\n":
                self._reader.trouble = f"a chunk that is not framed: {rest[size : size + 20]!r}"
                self.abort()
                return
            self._body += rest[:size]
            self._raw = rest[size + 2 :]

    def _go_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
