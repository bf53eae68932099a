"""The history changes under a stream at its weakest moments: between two pages of its past, and while it opens."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import anyio
import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request

from livefeed.errors import Unavailable
from livefeed.feed import stream as streams
from livefeed.feed.filter import ALL
from livefeed.feed.position import Position
from livefeed.feed.reading import Feed
from livefeed.feed.stream import Start, Wish, _frames, _log_pages
from livefeed.settings import Settings
from tests.feed.making import make, put


@pytest.fixture
async def feed(settings: Settings) -> AsyncIterator[Feed]:
    """A feed of 40 events whose window reaches two back; its listener does not run, so it hears of no loss."""
    async with Redis.from_url(settings.redis_url) as client:
        feed = Feed(client, dataclasses.replace(settings, window_events=2))
        for n in range(40):
            await put(feed.log, make(f"Info {n}"))
        await feed.mirror.load(feed.log)
        yield feed


async def another_history(feed: Feed) -> None:
    await feed.log.redis.flushall()
    for n in range(60):
        await put(feed.log, make(f"Neuve {n}"))


async def test_a_past_read_from_the_log_is_of_one_history(feed: Feed) -> None:
    """A history that is lost between two pages ends the replay; the new one is not told as what comes next."""
    pages = _log_pages(feed, (ALL, "full"), Position(0, ""))
    assert (await anext(pages))[0] == 16
    await another_history(feed)
    with pytest.raises(Unavailable):
        await anext(pages)


async def test_a_past_read_from_the_log_leads_to_the_window(feed: Feed) -> None:
    """A past of a history that this process has not heard of yet is not continued with the old one's events."""
    await another_history(feed)
    with pytest.raises(Unavailable):
        async for _ in _log_pages(feed, (ALL, "full"), Position(0, "")):
            pass


async def test_a_history_lost_while_an_iterated_stream_opens_is_told(feed: Feed) -> None:
    """An iterated stream opens with what was true when its position was looked up; a loss since is told by a reset."""
    wish = Wish(ALL, "full", None, None)
    stopping = anyio.Event()
    old = feed.mirror.position
    frames = _frames(feed, wish, Start(old.seq), stopping, None)
    await another_history(feed)
    await feed.mirror.load(feed.log)
    feed.hub.restart("diverged")
    opening = await anext(frames)
    assert f"id: {old}\n".encode() in opening
    assert b"event: reset" in await anext(frames)
    stopping.set()
    assert b"event: bye" in await anext(frames)
    assert [frame async for frame in frames] == []


async def test_a_connection_lost_in_this_very_turn_is_the_store_s_failure(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop's RuntimeError for a write to a closed transport is a 503 to be tried again, not a bug of ours."""

    async def lost(*_: object, **__: object) -> None:
        raise RuntimeError("unable to perform operation on <UnixTransport closed=True>; the handler is closed")

    monkeypatch.setattr(feed.log.redis, "execute_command", lost)
    with pytest.raises(Unavailable):
        await feed.log.item("01")


async def test_a_stop_while_a_stream_is_looked_up_says_bye(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that uvicorn cancels at its bound on a stop is answered 200 and a bye: a 500 would end the reader."""
    reached = asyncio.Event()

    async def start(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(streams, "_start", start)
    app = Starlette()
    app.state.feed = feed
    scope = {"type": "http", "method": "GET", "path": "/stream", "query_string": b"", "headers": [], "app": app}
    answer = asyncio.create_task(streams.stream(Request(scope)))
    await reached.wait()
    answer.cancel()
    response = await answer
    assert response.status_code == 200
    assert b"event: bye" in bytes(response.body)
