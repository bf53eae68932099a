"""The frames: bytes of events on the wire, as the HTML standard's section 9.2 "Server-sent events" reads them. Pure.

Encoding is sse-starlette's `ServerSentEvent` with LF line ends. What it lets through (a NUL in `id` makes a browser
ignore the id, HTML standard 9.2.6) cannot occur: ids are positions, event names are constants, and data is JSON, in
which every control character is escaped. U+2028 and U+2029 are ordinary characters to an event stream, but client
libraries exist that split lines on them (Python's ``str.splitlines`` does), so they leave as JSON escapes too.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from sse_starlette.event import ServerSentEvent

from livefeed.feed.item import Change, Event, LiteItem, PublicItem, lite
from livefeed.feed.position import Position

View = Literal["full", "lite"]
VIEWS: tuple[View, ...] = ("full", "lite")
ResetReason = Literal["expired", "diverged", "ahead", "unreadable"]
ByeReason = Literal["restart", "limit", "unavailable"]

LAST_CHUNK = b"0\r\n\r\n"
"""RFC 9112 7.1: ends a chunked body."""


class WireItem(PublicItem, frozen=True, kw_only=True, omit_defaults=False):
    """Data of an `item` event in the full view."""

    change: Change
    backfill: bool | msgspec.UnsetType = msgspec.UNSET


class WireLite(LiteItem, frozen=True, kw_only=True):
    """Data of an `item` event in the lite view."""

    change: Change
    backfill: bool | msgspec.UnsetType = msgspec.UNSET


_encoder = msgspec.json.Encoder()
_public_fields = PublicItem.__struct_fields__
_lite_fields = LiteItem.__struct_fields__


def item(event: Event, position: Position, view: View, base_url: str) -> bytes:
    """The frame of one event of the log."""
    backfill = True if event.backfill else msgspec.UNSET
    data: msgspec.Struct
    if view == "lite":
        small = lite(event.item)
        data = WireLite(**{f: getattr(small, f) for f in _lite_fields}, change=event.change, backfill=backfill)
    else:
        fields = {f: getattr(event.item, f) for f in _public_fields}
        fields["url"] = base_url + event.item.url
        data = WireItem(**fields, change=event.change, backfill=backfill)
    return _frame("item", _encoder.encode(data), position)


def tick(
    now: datetime, live: bool, last: datetime | None, position: Position | None, retry_ms: int | None = None
) -> bytes:
    """A sign of life, true for the subscriber that it is written to.

    `position` is how far that subscriber has been written; None sends no id, where a reset is still to come.
    `last` is the time of the log's last event, null while there is none. `retry_ms` opens a stream.
    """
    return _frame("tick", _encoder.encode({"now": now, "live": live, "last": last}), position, retry_ms)


def reset(reason: ResetReason, position: Position) -> bytes:
    """Tells that the reader's position cannot be continued; the stream goes on live after `position`."""
    return _frame("reset", _encoder.encode({"reason": reason}), position)


def bye(reason: ByeReason, retry_ms: int) -> bytes:
    """Tells that the server ends the stream on purpose, and when to come back (milliseconds)."""
    return _frame("bye", _encoder.encode({"reason": reason}), None, retry_ms)


def chunk(data: bytes) -> bytes:
    """`data`, not empty, as one chunk of RFC 9112 7.1."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _frame(event: str, data: bytes, position: Position | None, retry_ms: int | None = None) -> bytes:
    text = data.decode().replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return ServerSentEvent(
        text, event=event, id=None if position is None else str(position), retry=retry_ms, sep="\n"
    ).encode()
