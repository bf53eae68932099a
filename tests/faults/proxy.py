"""A small proxy that breaks what passes through it: delays it, cuts it, splits it at every byte, or swallows it.

It stands between the application and its store (unix sockets) and between readers and the application (TCP). A
blackhole holds bytes back rather than dropping some of them: that is what a partition does to a TCP stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Address = Path | int
"""A unix socket's path, or a TCP port on 127.0.0.1."""
Way = Literal["up", "down"]
"""Towards the server, or back from it."""
CHUNK_BYTES = 65_536
SPLIT_MAX_BYTES = 4_096
"""Longest stretch that is written byte by byte; what follows in the same read goes whole."""


@dataclass
class Faults:
    """What the proxy does to what passes now."""

    delay_s: float = 0.0
    split: bool = False
    hold_up: bool = False
    hold_down: bool = False
    refuse: bool = False


class Proxy:
    """Listens, and passes on to `upstream`, which may change between two connections."""

    def __init__(self, upstream: Address) -> None:
        self.upstream = upstream
        self.faults = Faults()
        self.counts: Counter[str] = Counter()
        """Bytes that were delayed, split or held, connections that were cut or refused."""
        self.port = 0
        self._cut_after: int | None = None
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._changed = asyncio.Event()

    async def start(self, at: Path | None = None) -> None:
        """Listen at a unix socket, or at a free TCP port."""
        if at is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(at)
            self._server = await asyncio.start_unix_server(self._accept, at)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the door and every connection."""
        assert self._server is not None
        self._server.close()
        self.cut()
        while self._links:  # noqa: ASYNC110  (each link ends at once)
            await asyncio.sleep(0.001)

    @property
    def open(self) -> int:
        """Connections that pass now."""
        return len(self._links)

    def set(self, **faults: bool | float) -> None:
        """Change what is done to what passes from now on."""
        for name, value in faults.items():
            setattr(self.faults, name, value)
        self._changed.set()
        self._changed = asyncio.Event()

    def heal(self) -> None:
        """Pass everything again, what was held first."""
        self._cut_after = None
        self.set(delay_s=0.0, split=False, hold_up=False, hold_down=False, refuse=False)

    def cut(self) -> int:
        """Abort all connections, as a cable does; how many there were."""
        count = len(self._links)
        for link in list(self._links):
            link.abort()
        self.counts["cut"] += count
        return count

    def cut_after(self, bytes_down: int) -> None:
        """Cut the connection that is the next to have passed so many bytes on to the client from now."""
        self._cut_after = bytes_down

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.faults.refuse:
            self.counts["refused"] += 1
            writer.transport.abort()
            return
        try:
            if isinstance(self.upstream, int):
                server = await asyncio.open_connection("127.0.0.1", self.upstream)
            else:
                server = await asyncio.open_unix_connection(self.upstream)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, server[1])
        self._links.add(link)
        link.pumps = [
            asyncio.create_task(self._pump("up", reader, server[1]), name="proxy-up"),
            asyncio.create_task(self._pump("down", server[0], writer), name="proxy-down"),
        ]
        try:
            await asyncio.wait(link.pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            link.end()
            await asyncio.gather(*link.pumps, return_exceptions=True)
            self._links.discard(link)

    async def _pump(self, way: Way, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK_BYTES):
            faults = self.faults
            if faults.delay_s:
                self.counts["delayed"] += len(data)
                await asyncio.sleep(faults.delay_s)
            held = False
            while self.faults.hold_up if way == "up" else self.faults.hold_down:
                if not held:
                    held = True
                    self.counts[f"held_{way}"] += len(data)
                await self._changed.wait()
            if way == "down" and self._cut_after is not None:
                data, rest = data[: self._cut_after], data[self._cut_after :]
                self._cut_after -= len(data)
                if not self._cut_after:
                    self._cut_after = None
                    self.counts["cut"] += 1
                    sink.write(data)
                    await sink.drain()
                    return
                data += rest
            if faults.split:
                self.counts["split"] += min(len(data), SPLIT_MAX_BYTES)
                async for piece in _bytewise(data):
                    sink.write(piece)
            else:
                sink.write(data)
            await sink.drain()


class _Link:
    """The two connections of one that passes through."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._client = client
        self._server = server
        self.pumps: list[asyncio.Task[None]] = []

    def end(self) -> None:
        """Close both sides, once what was passed on has left."""
        for pump in self.pumps:
            pump.cancel()
        self._client.close()
        self._server.close()

    def abort(self) -> None:
        """Break both sides at once."""
        for pump in self.pumps:
            pump.cancel()
        self._client.transport.abort()
        self._server.transport.abort()


async def _bytewise(data: bytes) -> AsyncIterator[bytes]:
    """The first bytes one by one, with a turn for the receiver after each, then the rest."""
    for at in range(min(len(data), SPLIT_MAX_BYTES)):
        yield data[at : at + 1]
        await asyncio.sleep(0)
    if len(data) > SPLIT_MAX_BYTES:
        yield data[SPLIT_MAX_BYTES:]
