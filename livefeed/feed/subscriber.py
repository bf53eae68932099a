"""One open stream, as the connection's protocol: what is left of a reader once it has been handed over.

The request's objects and its task are gone; a subscriber is a transport, a cursor and a group. It sends nothing but
what the hub writes, and hears nothing: a reader has nothing to say.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livefeed.feed.admission import Place
    from livefeed.feed.hub import Group, Hub

INPUT_MAX_BYTES = 4_096
"""Most bytes that a reader may send after its request (a pipelined request, a probe of a proxy) before it is cut."""


class Subscriber(asyncio.Protocol):
    """A reader that was handed over. Slots only: 15,000 of them are open at once."""

    __slots__ = (
        "behind_since",
        "cursor",
        "direct",
        "group",
        "hub",
        "place",
        "received",
        "replaying",
        "slot",
        "transport",
    )

    transport: asyncio.Transport
    place: Place
    """Where it is counted, from its joining on."""

    def __init__(self, hub: Hub, group: Group, cursor: int) -> None:
        self.hub = hub
        self.group = group
        self.cursor = cursor
        """Seq up to which everything has been written; the buffer may still hold the end of it."""
        self.behind_since: float | None = None
        """When the write buffer ran full (the loop's clock); None while the reader keeps up."""
        self.replaying = False
        """Whether its past is still being read from the log: the hub leaves it alone until then."""
        self.direct = -1
        """The connection's descriptor while a round may write to it past the transport, -1 while it may not."""
        self.received = 0
        self.slot = 0

    # Hub's side

    def attach(self, transport: asyncio.Transport, write_buffer_bytes: int) -> None:
        """Take the connection over."""
        transport.set_write_buffer_limits(high=write_buffer_bytes)
        self.transport = transport
        transport.set_protocol(self)

    def write(self, data: bytes | memoryview) -> None:
        """Write through the transport, which keeps what the kernel does not take yet.

        When it kept nothing, rounds may write to the descriptor: bytes get into the transport's buffer only here, so
        order is kept. `connection_lost` comes before the descriptor is closed (uvloop and asyncio both call it first),
        so a descriptor that stands in `direct` is still this connection's. TLS has bytes of its own to write: never.
        """
        transport = self.transport
        transport.write(data)
        direct = (
            not transport.get_write_buffer_size()
            and not self.replaying
            and not transport.is_closing()
            and transport.get_extra_info("sslcontext") is None
        )
        self.direct = transport.get_extra_info("socket").fileno() if direct else -1

    def close(self) -> None:
        """End the connection once its buffer has drained."""
        self.direct = -1
        self.transport.close()

    def abort(self) -> None:
        """Cut the connection without waiting for its buffer."""
        self.direct = -1
        self.transport.abort()

    # The transport's side

    def pause_writing(self) -> None:
        """The buffer is full: the hub skips this reader until it drains."""
        self.hub.fall_behind(self)

    def resume_writing(self) -> None:
        """The buffer has drained: catch up from the window."""
        self.hub.resume(self)

    def data_received(self, data: bytes) -> None:
        """Ignore what a reader says, within a bound."""
        self.received += len(data)
        if self.received > INPUT_MAX_BYTES:
            self.abort()

    def eof_received(self) -> bool:
        """A half-closed connection leaves at once: no reader of ours closes its side and goes on reading."""
        self.direct = -1
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The reader is gone."""
        self.direct = -1
        self.hub.leave(self)
