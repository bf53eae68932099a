"""`GET /stream`, over real sockets, handed over and iterated."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

from livefeed.feed.handover import HandoverProtocol
from livefeed.settings import Settings
from tests.serving import Reader, Serving, reading, serving, until

PROTOCOLS = pytest.mark.parametrize("http", [HandoverProtocol, "h11"], ids=["handed over", "iterated"])


def quick(settings: Settings, **changes: Any) -> Settings:
    """Settings for tests: ticks often, drains at once."""
    return dataclasses.replace(settings, **{"tick_s": 0.3, "drain_s": 0.0, "retry_min_ms": 1, **changes})


@PROTOCOLS
async def test_events_arrive_in_order_exactly_once(settings: Settings, http: Any) -> None:
    """Every reader gets every event, in the log's order, with contiguous seqs and the same bytes."""
    async with serving(quick(settings), http) as served, reading(served) as one, reading(served) as two:
        for n in range(30):
            await served.publish(f"Info {n}")
        for reader in (one, two):
            await reader.until(lambda r: len(r.items) == 30)
            assert reader.seqs == list(range(1, 31))
            assert [item["headline"] for item in reader.items] == [f"Info {n}" for n in range(30)]
        assert [e.data for e in one.events if e.event == "item"] == [e.data for e in two.events if e.event == "item"]


@PROTOCOLS
async def test_opens_with_retry_and_tick(settings: Settings, http: Any) -> None:
    """The first bytes are a retry of this reader's own and a tick that tells the head, then ticks go on."""
    async with serving(quick(settings, retry_max_ms=100_000), http) as served:
        published = await served.publish()
        async with reading(served) as one, reading(served) as two:
            first, other = one.events[0], two.events[0]

            assert (first.event, first.id) == ("tick", published["position"])
            assert first.retry is not None
            assert 1 <= first.retry <= 100_000
            assert first.retry != other.retry
            assert one.of("tick")[0]["live"] is True
            assert one.of("tick")[0]["last"] is not None
            await one.until(lambda r: len(r.of("tick")) >= 3)
            assert one.headers["content-type"] == "text/event-stream"
            assert one.headers["cache-control"] == "no-store, no-transform"
            assert one.headers["x-accel-buffering"] == "no"
            assert one.headers["access-control-allow-origin"] == "*"


@PROTOCOLS
@pytest.mark.parametrize("by", ["header", "query"])
async def test_resumes_after_its_position(settings: Settings, http: Any, by: str) -> None:
    """A returning reader gets exactly what came after its position, from the header or, at first, the query."""
    async with serving(quick(settings), http) as served:
        positions = [(await served.publish(f"Info {n}"))["position"] for n in range(5)]
        headers = {"last_event_id": positions[1]} if by == "header" else {}
        query = f"?last_event_id={positions[1]}" if by == "query" else ""
        async with reading(served, query, **headers) as reader:
            await served.publish("Info 5")
            await reader.until(lambda r: len(r.items) == 4)
            assert reader.seqs == [3, 4, 5, 6]
            assert reader.of("reset") == []


async def test_the_header_wins_over_the_query(settings: Settings) -> None:
    """A browser reconnects with the page's old query; its Last-Event-ID is the newer word."""
    async with serving(quick(settings)) as served:
        positions = [(await served.publish(f"Info {n}"))["position"] for n in range(4)]
        async with reading(served, f"?last_event_id={positions[0]}", last_event_id=positions[2]) as reader:
            await reader.until(lambda r: len(r.items) == 1)
            assert reader.seqs == [4]


@PROTOCOLS
@pytest.mark.parametrize(
    ("position", "reason"),
    [
        ("garbage", "unreadable"),
        ("5-zzzzzzzz", "unreadable"),
        ("١-aaaaaaaa", "unreadable"),
        ("2-ffffffff", "diverged"),
        ("999-aaaaaaaa", "ahead"),
        ("999999999999999-aaaaaaaa", "ahead"),
    ],
)
async def test_a_position_that_cannot_be_continued_gets_a_reset(
    settings: Settings, http: Any, position: str, reason: str
) -> None:
    """200 and a reset with the current position, then live; the tick before it tells no id."""
    async with serving(quick(settings), http) as served:
        last = [await served.publish(f"Info {n}") for n in range(3)][-1]
        async with reading(served, last_event_id=position.encode()) as reader:
            await reader.until(lambda r: r.of("reset"))
            tick, reset = reader.events[:2]
            assert (tick.event, tick.id) == ("tick", "")
            assert (reset.event, reset.id) == ("reset", last["position"])
            assert reader.of("reset") == [{"reason": reason}]
            await served.publish("Info 3")
            await reader.until(lambda r: r.items)
            assert reader.seqs == [4]


async def test_a_position_before_the_window_is_expired(settings: Settings) -> None:
    """What the window no longer holds is told, never skipped."""
    async with serving(quick(settings, window_events=3)) as served:
        positions = [(await served.publish(f"Info {n}"))["position"] for n in range(6)]
        async with reading(served, last_event_id=positions[1]) as reader:
            await reader.until(lambda r: r.of("reset"))
            assert reader.of("reset") == [{"reason": "expired"}]
        async with reading(served, last_event_id=positions[2]) as reader:
            await reader.until(lambda r: len(r.items) == 3)
            assert reader.seqs == [4, 5, 6]


@PROTOCOLS
@pytest.mark.parametrize("window_events", [3, 1000], ids=["from the log", "from the window"])
async def test_since_reads_from_a_time(settings: Settings, http: Any, window_events: int) -> None:
    """`since` gives every event from that time on, from the window or, further back, from the log, without a hole."""
    async with serving(quick(settings, window_events=window_events), http) as served:
        answers = []
        for n in range(40):
            answers.append(await served.publish(f"Info {n}"))
            await asyncio.sleep(0.002)  # another millisecond, so that the time tells the events apart
        event = served.feed.mirror.window._events[40]
        async with reading(served, f"?since={event.time_ms}") as reader:
            await reader.until(lambda r: r.items)
            assert reader.seqs == [40]
        fifth = answers[4]["item"]["first_published_at"]
        async with reading(served, f"?since={fifth}") as reader:
            await served.publish("Info 40")
            await reader.until(lambda r: 41 in r.seqs)
            assert reader.seqs in (list(range(5, 42)), list(range(6, 42)))  # the item's time is just before its event's
        async with reading(served, "?since=0") as reader:
            await reader.until(lambda r: 41 in r.seqs)
            assert reader.seqs == list(range(1, 42))


@PROTOCOLS
async def test_filters_match_by_the_state_before_or_after(settings: Settings, http: Any) -> None:
    """An item that moves to another rubric is told to the readers of both; others see neither it nor a hole."""
    async with (
        serving(quick(settings), http) as served,
        reading(served, "?rubric=sport") as sport,
        reading(served, "?rubric=monde,culture") as world,
    ):
        item = await served.publish("Match", "sport")
        await served.publish("Livre", "culture")
        item = await served.change(item, change="edit", rubric="monde")
        await served.change(item, change="edit", headline="Match, suite")
        await sport.until(lambda r: len(r.items) == 2)
        await world.until(lambda r: len(r.items) == 3)
        assert sport.seqs == [1, 3]
        assert world.seqs == [2, 3, 4]
        await sport.until(lambda r: r.events[-1].id.startswith("4-"), "a tick that moves the id past others' events")


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("?language=ar", [2]),
        ("?level=urgent", [3]),
        ("?thread=crue-du-bouregreg", [3]),
        ("?tag=météo", [3]),
        ("?tag=météo,football", [1, 3]),
        ("?tag=football&tag=météo&language=fr", [1, 3]),
        ("?rubric=sport&level=urgent", []),
    ],
)
async def test_each_filter(settings: Settings, query: str, wanted: list[int]) -> None:
    """Values of one parameter are OR, parameters are AND, repeated or comma-separated."""
    async with serving(quick(settings)) as served, reading(served, query) as reader:
        await served.publish("Match", "sport", tags=["football"])
        await served.publish("خبر", "monde", language="ar")
        await served.publish("Crue", "societe", level="urgent", thread="crue-du-bouregreg", tags=["météo"])
        await reader.until(lambda r: r.events[-1].id.startswith("3-"))
        assert reader.seqs == wanted


async def test_lite_view(settings: Settings) -> None:
    """`view=lite` is headlines only, about 200 bytes an item."""
    async with serving(quick(settings)) as served, reading(served, "?view=lite") as reader:
        await served.publish("Une info", body="Un long corps. " * 50)
        await reader.until(lambda r: r.items)
        fields = {"id", "version", "status", "first_published_at", "rubric", "level", "headline", "change", "position"}
        assert set(reader.items[0]) == fields
        assert len(next(e.data for e in reader.events if e.event == "item")) < 260


@PROTOCOLS
async def test_a_withdrawal_reaches_back(settings: Settings, http: Any) -> None:
    """Earlier events of a withdrawn item are served as the stub at their own positions; a restoration lifts that."""
    secret = "Un nom qui ne devait pas paraître"
    async with serving(quick(settings, window_events=3), http) as served:
        start = served.feed.position
        item = await served.publish(secret, body=secret, tags=[secret])
        item = await served.change(item, change="correct", note=secret, body=f"{secret}, corrigé")
        await served.post(f"/api/items/{item['item']['id']}/withdraw", {"reason": secret})
        for query in (f"?last_event_id={start}", "?since=0"):
            async with reading(served, query) as reader:
                await reader.until(lambda r: len(r.items) == 3)
                assert [i["status"] for i in reader.items] == ["withdrawn"] * 3
                assert [i["version"] for i in reader.items] == [1, 2, 3]
                assert secret not in "".join(e.data for e in reader.events)
                assert "paraitre" not in "".join(e.data for e in reader.events)
        versions = (await served.client.get(f"/api/items/{item['item']['id']}/versions")).text
        assert "paraître" not in versions
        assert "paraitre" not in versions
        await served.post(f"/api/items/{item['item']['id']}/restore")
        async with reading(served, "?since=0") as reader:
            await reader.until(lambda r: len(r.items) == 4)
            assert [i["status"] for i in reader.items] == ["published", "published", "withdrawn", "published"]
            assert reader.items[0]["headline"] == secret


async def test_head_and_options(settings: Settings) -> None:
    """HEAD answers the headers; OPTIONS lets pages of any origin send Last-Event-ID."""
    async with serving(quick(settings)) as served:
        head = await served.client.head("/stream")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == "text/event-stream"
        options = await served.client.options("/stream")
        assert options.status_code == 204
        assert options.headers["access-control-allow-origin"] == "*"
        assert "last-event-id" in options.headers["access-control-allow-headers"].lower()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?rubric=rien", "rubric"),
        ("?language=de", "language"),
        ("?level=9", "level"),
        ("?view=huge", "view"),
        ("?last_event_id=garbage", "last_event_id"),
        ("?since=yesterday", "since"),
        ("?since=99999999999999999999", "since"),
        ("?tag=a%00b", "tag"),
        ("?" + "&".join(f"tag=t{n}" for n in range(21)), "tag"),
        ("?unknown=1", "unknown"),
    ],
)
async def test_a_bad_query_is_400(settings: Settings, query: str, field: str) -> None:
    """A bad parameter is named, in the one error shape, readable by pages of any origin."""
    async with serving(quick(settings)) as served:
        response = await served.client.get("/stream" + query)
        assert response.status_code == 400
        assert response.json()["error"]["field"] == field
        assert response.headers["access-control-allow-origin"] == "*"


@PROTOCOLS
async def test_stopping_says_bye(settings: Settings, http: Any) -> None:
    """A stopping process ends each stream with a bye, a retry and a proper end of the body."""
    async with serving(quick(settings), http) as served, reading(served) as reader:
        served.server.should_exit = True
        served.server.handle_exit(15, None)
        await reader.until(lambda r: r.ended)
        assert reader.of("bye") == [{"reason": "restart"}]
        assert reader.events[-1].retry is not None


async def test_over_the_limit_browsers_come_back(settings: Settings) -> None:
    """Over its limit a process answers 200, a retry, and the end: any other status would close an EventSource."""
    async with serving(quick(settings, stream_max=1)) as served, reading(served), reading(served) as turned_away:
        await turned_away.until(lambda r: r.ended)
        assert turned_away.headers["content-type"] == "text/event-stream"
        assert turned_away.of("bye") == [{"reason": "limit"}]
        assert turned_away.events[-1].retry is not None


async def test_one_encoding_whatever_the_number_of_readers(settings: Settings) -> None:
    """One event is encoded once per process and representation in use; readers change no encoding, no Redis command."""
    async with serving(quick(settings)) as served:
        alone = await _commands_of_ten_publishes(served)
        async with many(served, 60, "") as readers, many(served, 5, "?view=lite") as lite_readers:
            encodings = served.feed.mirror.window.encodings
            with_readers = await _commands_of_ten_publishes(served)
            for reader in readers + lite_readers:
                await reader.until(lambda r: len(r.items) == 10)

            assert served.feed.mirror.window.encodings - encodings == 20
            assert with_readers < alone * 1.3  # the probes, which come by time, make the difference


async def test_http_1_0_is_served_plain(settings: Settings) -> None:
    """An HTTP/1.0 proxy (nginx's default towards its upstream) gets the stream unchunked, ended by the close."""
    async with serving(quick(settings)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /stream HTTP/1.0\r\n\r\n")
        await served.publish("Bonjour")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        body = await reader.readuntil(b'"change":"publish"}\n\n')
        assert body.startswith(b"id: ")
        writer.close()
        await writer.wait_closed()
        await until(lambda: served.feed.hub.streams == 0, "the reader's leaving")


async def test_a_reader_that_talks_is_ignored_then_cut(settings: Settings) -> None:
    """What a handed-over reader sends is ignored within a bound and then cuts it."""
    async with serving(quick(settings)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"retry: ")
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await served.publish("Bonjour")
        await reader.readuntil(b"Bonjour")
        writer.write(b"x" * 10_000)
        await until(lambda: served.feed.hub.streams == 0, "the talker's end")
        writer.close()


async def test_a_half_closed_or_reset_connection_leaves(settings: Settings) -> None:
    """Readers that go are forgotten at once: registry, groups and wheel are empty again."""
    async with serving(quick(settings)) as served:
        for end in ("half-close", "reset"):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"GET /stream?rubric=sport HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"retry: ")
            assert served.feed.hub.streams == 1
            if end == "half-close":
                writer.write_eof()
            else:
                writer.transport.abort()
            await until(lambda: served.feed.hub.streams == 0, end)
            assert not served.feed.hub._groups
            assert not any(served.feed.hub._wheel)
            writer.close()


@contextlib.asynccontextmanager
async def many(served: Serving, count: int, query: str) -> AsyncIterator[list[Reader]]:
    """Many readers at once."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(reading(served, query)) for _ in range(count)]


async def _commands_of_ten_publishes(served: Serving) -> int:
    """Commands that the store is sent by anyone meanwhile."""
    before = await _commands(served)
    for n in range(10):
        await served.publish(f"Info {n}")
    return await _commands(served) - before


async def _commands(served: Serving) -> int:
    return int((await served.feed.log.redis.info("stats"))["total_commands_processed"])
