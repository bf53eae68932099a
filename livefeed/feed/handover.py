"""The hand-over: a stream's connection leaves the HTTP protocol and becomes its subscriber.

Under our own server uvicorn's httptools protocol is `HandoverProtocol`. Each request's ASGI scope then offers the
extension "livefeed.handover": an endpoint that calls it has answered; the connection belongs to the subscriber from
that moment, as it does to the WebSocket protocol after uvicorn's own `handle_websocket_upgrade`, and the request's
objects and its task go. What it saves was measured: 15 KB → 1.5 KB a reader, and a third of the CPU of a delivery.

Written against uvicorn 0.54 (`protocols/http/httptools_impl.py`); a test holds what is relied upon.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from livefeed.feed.pace import PacedProtocol
from livefeed.feed.subscriber import Subscriber

EXTENSION = "livefeed.handover"

HandOver = Callable[[Subscriber, list[tuple[bytes, bytes]], bytes, int], bool]
"""(subscriber, headers, first bytes framed, write buffer in bytes) → whether the connection was still there."""


class HandoverProtocol(PacedProtocol):
    """uvicorn's protocol, at our pace, whose requests offer the hand-over."""

    def on_headers_complete(self) -> None:
        """The request's head is read: offer the extension, then go on as uvicorn does."""
        cast("dict[str, Any]", self.scope)["extensions"] = {EXTENSION: self._hand_over}
        super().on_headers_complete()

    def _hand_over(
        self, subscriber: Subscriber, headers: list[tuple[bytes, bytes]], first: bytes, write_buffer_bytes: int
    ) -> bool:
        """Answer 200 with `headers` and `first`, and give the connection to the subscriber.

        False when the reader has gone meanwhile; nothing is left to do then.
        """
        cycle = self.running  # not `self.cycle`, which may be a request that was pipelined behind the stream's
        transport = self.transport
        if cycle is None or cycle.disconnected or transport.is_closing():
            return False
        head = [b"HTTP/1.1 200 OK\r\n"]
        for name, value in [*self.server_state.default_headers, *headers]:
            head += [name, b": ", value, b"\r\n"]
        head += [b"\r\n", first]
        # The cycle is told that its client is gone: what the endpoint still sends is dropped, and nothing is logged.
        cycle.response_started = cycle.response_complete = cycle.disconnected = True
        cycle.message_event.set()
        self.connections.discard(self)  # which ends the sweep's interest too
        self.server_state.total_requests += 1
        self._unset_keepalive_if_required()
        self.pipeline.clear()  # a stream never ends in a way that a pipelined request could be answered after it
        self.flow.resume_reading()
        transport.write(b"".join(head))
        subscriber.attach(transport, write_buffer_bytes)
        self.parser = None  # type: ignore[assignment]  # as uvicorn does when a connection is lost
        # The offer refers to this protocol, and the scope to the offer: cut, all of the request goes at once, without
        # waiting for the collector.
        self.cycle.scope.pop("extensions")
        self.cycle = None  # type: ignore[assignment]
        return True
