"""``GET /stream``: the endpoint that turns a request into a subscriber.

All that takes thought happens here: the query, the position, admission, headers and the opening bytes. Then the
connection is handed over (`handover`) and the request ends; under a server that offers no hand-over the same stream is
an `EventSourceResponse` over the same window and cursor.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import anyio
import structlog
from sse_starlette.sse import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from livefeed.errors import ApiError, BadRequest, Unavailable
from livefeed.feed import position as positions
from livefeed.feed import sse
from livefeed.feed.filter import ALL, PARAMETERS, Filter
from livefeed.feed.handover import EXTENSION, HandOver
from livefeed.feed.hub import CATCH_UP_EVENTS, Hub
from livefeed.feed.position import Position
from livefeed.feed.reading import Feed
from livefeed.feed.sse import ResetReason, View
from livefeed.feed.subscriber import Subscriber
from livefeed.feed.window import WindowEvent

BYE_S = 1.0
"""How long an iterated stream may take to say its bye, once its time has come within the drain, in seconds."""
HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "access-control-allow-origin": "*",
}
PREFLIGHT = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, HEAD, OPTIONS",
    "access-control-allow-headers": "Last-Event-ID, Cache-Control",
    "access-control-max-age": "86400",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

logger = structlog.get_logger()


class Wish(NamedTuple):
    """What a stream's query asks for."""

    filter: Filter
    view: View
    last_event_id: Position | None
    since_ms: int | None


class Start(NamedTuple):
    """Where a stream starts."""

    seq: int
    """Everything up to here counts as written."""
    reset: ResetReason | None = None
    """Why the position asked for cannot be continued; the stream starts at the head then."""
    mark: str = ""
    """Of the position at `seq`, where the log told it; "" where the window knows it, or the log starts there."""


async def stream(request: Request) -> Response:
    """The public stream of items."""
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=PREFLIGHT)
    feed: Feed = request.app.state.feed
    try:
        wish = _wish(request, feed)
    except ApiError as error:
        error.headers["access-control-allow-origin"] = "*"  # or a page of another site could not read why
        raise
    if request.method == "HEAD":
        return Response(headers=HEADERS)
    hub = feed.hub
    peer = request.client.host if request.client else None
    address = hub.admission.address(peer, request.headers.getlist("x-forwarded-for"))
    if not _admits(hub, address):  # here, so that one who is turned away costs little
        return _turned_away(hub, "restart" if hub.draining else "limit")
    try:
        start = await _start(feed, wish, request.headers.get("last-event-id"))
    except Unavailable:  # only `since` needs the store; any status but 200 would close the browser's stream for ever
        return _turned_away(hub, "unavailable")
    except asyncio.CancelledError:  # uvicorn's bound on a stop; it would answer 500, which closes an EventSource too
        return _turned_away(hub, "restart")
    hand_over: HandOver | None = request.scope.get("extensions", {}).get(EXTENSION)
    if hand_over is None:
        stopping = anyio.Event()
        return EventSourceResponse(
            _frames(feed, wish, start, stopping, address),
            headers=HEADERS,
            ping=0,
            sep="\n",
            send_timeout=feed.settings.send_deadline_s,
            shutdown_event=stopping,
            shutdown_grace_period=feed.settings.drain_s + BYE_S,
        )
    chunked = request.scope["http_version"] != "1.0"
    # From here to the join there is no await: what the opening says is true when the subscriber is in, and no other
    # has taken its place since it was asked for, nor has the drain begun, which would not end it.
    if not _admits(hub, address):
        return _turned_away(hub, "restart" if hub.draining else "limit")
    subscriber = hub.subscriber(wish.filter, wish.view, chunked, start.seq)
    first = subscriber.group.framed(_opening(hub, start))
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    headers.append((b"transfer-encoding", b"chunked") if chunked else (b"connection", b"close"))
    if hand_over(subscriber, headers, first, feed.settings.write_buffer_bytes):
        subscriber.replaying = start.seq < feed.mirror.window.base.seq
        hub.join(subscriber, address)
        if subscriber.replaying:
            with contextlib.suppress(asyncio.CancelledError):  # the same bound; the drain ends this stream
                await _replay(feed, subscriber, Position(start.seq, start.mark))
    return _HandedOver()


def _wish(request: Request, feed: Feed) -> Wish:
    """:raises BadRequest: for an unknown parameter or a bad value, naming it."""
    if not request.scope["query_string"]:  # most readers' case, and a tenth of what a connect costs
        return Wish(ALL, "full", None, None)
    query = request.query_params
    known = {*PARAMETERS, "view", "last_event_id", "since"}
    for name in query:
        if name not in known:
            raise BadRequest(
                f"{name[:80]!r} is not a parameter of the stream; known are {', '.join(sorted(known))}.",
                field=name[:80],
            )
    view = query.get("view", "full")
    if view not in sse.VIEWS:
        raise BadRequest(f"view must be one of {', '.join(sse.VIEWS)}.", field="view")
    last_event_id = None
    if query.get("last_event_id"):
        last_event_id = positions.parse(query["last_event_id"])
        if last_event_id is None:
            raise BadRequest("last_event_id must be a position, such as 17-3fa9c1d2.", field="last_event_id")
    since_ms = _since_ms(query["since"]) if query.get("since") else None
    return Wish(Filter.parse(query, feed.settings), view, last_event_id, since_ms)


def _since_ms(value: str) -> int:
    """`since` in milliseconds of the epoch; written so, or as an ISO 8601 time, UTC where it has no offset.

    :raises BadRequest: for anything else.
    """
    try:
        if value.isascii() and value.isdecimal():
            time = _EPOCH + timedelta(milliseconds=int(value))
        else:
            time = datetime.fromisoformat(value.replace(" ", "+"))  # a "+" that was not percent-encoded
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
        return (time - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise BadRequest(
            "since must be an ISO 8601 time such as 2024-08-08T12:55:00Z, or milliseconds since 1970.", field="since"
        ) from None


async def _start(feed: Feed, wish: Wish, header: str | None) -> Start:
    """Where the stream starts: the `Last-Event-ID` header wins, then the query; without either it is the head.

    :raises Unavailable: `since` lies before the window, and the log cannot be read.
    """
    window = feed.mirror.window
    if header:
        position = positions.parse(header.strip())
        return await _continue(feed, position) if position else Start(window.head.seq, "unreadable")
    if wish.last_event_id is not None:
        return await _continue(feed, wish.last_event_id)
    if wish.since_ms is None:
        return Start(window.head.seq)
    seq = window.seq_before(wish.since_ms)
    if seq is None:
        found = await feed.log.since(wish.since_ms)
        if found is None:
            return Start(window.head.seq, "expired")
        if found.seq < window.head.seq:
            return Start(found.seq, None, found.mark)
        seq = window.head.seq
    return Start(seq)


async def _continue(feed: Feed, position: Position) -> Start:
    """Whether the stream can go on from a position: looked up in the window, whatever the position says."""
    window = feed.mirror.window
    if position.seq > window.head.seq:
        # Another process may be ahead of this one by a moment; one look at the log, shared by all who ask, tells.
        await feed.listener.confirm()
    if position.seq > window.head.seq:
        return Start(window.head.seq, "ahead")
    mark = window.mark_at(position.seq)
    if not mark:
        return Start(window.head.seq, "expired")
    if mark != position.mark:
        return Start(window.head.seq, "diverged")
    feed.hub.counts["replays"] += 1
    return Start(position.seq)


def _opening(hub: Hub, start: Start) -> bytes:
    """The first bytes: a reconnection time of this reader's own and a tick, then the reset where there is one.

    The tick before a reset has no id: a reader that is cut between the two must come back with its old position.
    """
    retry_ms = hub.retry_ms()
    hub.counts["opened"] += 1
    if start.reset is None:
        return hub.tick(start.seq, retry_ms)
    hub.counts[f"resets:{start.reset}"] += 1
    return hub.tick(None, retry_ms) + sse.reset(start.reset, hub.head)


def _admits(hub: Hub, address: str | None) -> bool:
    """Whether a further stream of `address` is admitted now."""
    if hub.draining:
        return False
    limit = hub.admission.refusal(address)
    if limit is not None:
        hub.admission.tell(limit, address)
    return limit is None


def _turned_away(hub: Hub, reason: sse.ByeReason) -> Response:
    """200, when to come back, and the end: every other status would close a browser's EventSource for ever."""
    hub.counts[f"turned_away:{reason}"] += 1
    return Response(sse.bye(reason, hub.retry_ms()), headers={**HEADERS, "connection": "close"})


class _HandedOver(Response):
    """What the endpoint returns when the connection is no longer the request's: nothing is sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        return


async def _log_pages(
    feed: Feed, wish: tuple[Filter, View], position: Position
) -> AsyncGenerator[tuple[int, list[bytes]]]:
    """Pages of frames from the log after a position, until the window's reach; each with the seq it goes up to.

    Each page continues the one before, and the last one leads to the window: a history that is lost meanwhile, of
    which this process may not have heard yet, ends the pages; the reader comes back and is told by a reset.

    :raises Unavailable: the log cannot be read, or not to the window.
    """
    filter, view = wish
    window = feed.mirror.window
    async with feed.log_replays:
        while position.seq < window.base.seq:
            reading = await feed.log.read(position, min(CATCH_UP_EVENTS, window.base.seq - position.seq))
            if reading.verdict != "ok" or not reading.entries:
                raise Unavailable("The log no longer reaches back so far.")
            events = [WindowEvent(entry) for entry in reading.entries]
            position = events[-1].position
            if position.seq >= window.base.seq and window.mark_at(position.seq) != position.mark:
                raise Unavailable("The log's history is not the one known here.")
            yield (
                position.seq,
                [
                    sse.item(event.event(), event.position, view, feed.settings.base_url)
                    for event in events
                    if filter.matches(event.after) or filter.matches(event.before)
                ],
            )


async def _replay(feed: Feed, subscriber: Subscriber, position: Position) -> None:
    """Write a handed-over reader's past from the log, as fast as it takes it, then let it join the rounds."""
    hub, group = feed.hub, subscriber.group
    epoch = hub.epoch
    hub.counts["log_replays"] += 1
    try:
        async with contextlib.aclosing(_log_pages(feed, (group.filter, group.view), position)) as pages:
            async for seq, frames in pages:
                if subscriber.transport.is_closing() or epoch != hub.epoch:
                    return
                subscriber.cursor = seq
                if frames:
                    subscriber.write(group.framed(b"".join(frames)))
                await hub.drained(subscriber)
    except Unavailable as error:
        logger.warning("a replay from the log was cut", reason=str(error.__cause__ or error))
        hub.cut(subscriber)
        return
    if epoch == hub.epoch:
        subscriber.replaying = False
        hub.catch_up(subscriber)


def _frames(feed: Feed, wish: Wish, start: Start, stopping: anyio.Event, address: str | None) -> AsyncIterator[bytes]:
    """The whole stream as an iteration, for a server without hand-over; it has its place for as long as it runs.

    Its opening and the history that it belongs to are taken now: the iteration begins some turns later.
    """
    return _placed(feed, address, _iterated(feed, wish, start, _opening(feed.hub, start), feed.hub.epoch, stopping))


async def _placed(feed: Feed, address: str | None, frames: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    hub = feed.hub
    if not _admits(hub, address):
        reason: sse.ByeReason = "restart" if hub.draining else "limit"
        hub.counts[f"turned_away:{reason}"] += 1
        yield sse.bye(reason, hub.retry_ms())
        return
    place = hub.admission.enter(address)
    try:
        async with contextlib.aclosing(frames):  # or what it holds would be let go by the collector, some time
            async for frame in frames:
                yield frame
    finally:
        hub.admission.leave(place)


async def _iterated(
    feed: Feed, wish: Wish, start: Start, first: bytes, epoch: int, stopping: anyio.Event
) -> AsyncGenerator[bytes]:
    yield first
    cursor = start.seq
    try:
        position = Position(start.seq, start.mark)
        async with contextlib.aclosing(_log_pages(feed, (wish.filter, wish.view), position)) as pages:
            async for seq, frames in pages:
                if epoch != feed.hub.epoch:
                    break
                cursor = seq
                if frames:
                    yield b"".join(frames)
    except Unavailable as error:
        logger.warning("a replay from the log was cut", reason=str(error.__cause__ or error))
        return
    async with contextlib.aclosing(feed.hub.iterate(wish.filter, wish.view, cursor, epoch, stopping)) as live:
        async for frame in live:
            yield frame
