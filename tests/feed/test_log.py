"""The log's scripts on a real store: one atom, or nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from livefeed.embedded import EmbeddedServer
from livefeed.errors import Conflict, KeyReused, StaleVersion, Unavailable
from livefeed.feed.item import Event
from livefeed.feed.log import Log
from livefeed.feed.position import Position, chain
from livefeed.feed.window import split
from livefeed.settings import Settings
from tests.feed.making import everything, make, put


@pytest.fixture
async def log(settings: Settings) -> AsyncIterator[Log]:
    redis = Redis.from_url(settings.redis_url)
    yield Log(redis, settings)
    await redis.aclose()


async def test_publishing_is_one_atom(log: Log) -> None:
    """One call takes the next seq and mark, stores item, version and indexes, logs the event and rings the channel."""
    pubsub = log.redis.pubsub()
    await pubsub.subscribe(log.keys.channel)
    assert (await pubsub.get_message(timeout=5))["type"] == "subscribe"
    start = await log.head()
    item = make(tags=("a",), thread="t")
    receipt = await put(log, item)

    assert receipt.position.seq == 1
    reading = await log.read(start)
    (entry,) = reading.entries
    assert reading.head == receipt.position == Position(entry.seq, entry.mark)
    assert chain(start.mark, entry.body) == entry.mark
    before, after, event = split(entry.body)
    assert before is None
    assert after == item.facets
    assert msgspec.json.decode(event, type=Event) == Event(change="publish", item=item.public())
    message = await pubsub.get_message(timeout=5)
    assert message["data"] == f"{receipt.position} {entry.time_ms} {item.id}\n".encode() + entry.body
    assert await log.item(item.id) == await log.version(item.id, 1) == item
    for index in (
        log.keys.all,
        *(log.keys.index(*pair) for pair in [("tag", "a"), ("thread", "t"), ("rubric", "monde")]),
    ):
        assert (await log.page([index], "", 10)).items == [item]
    assert await log.redis.xrange(log.keys.log, "1-0", "1-0")
    await pubsub.aclose()  # type: ignore[no-untyped-call]


async def test_log_order_is_channel_order_under_concurrency(log: Log) -> None:
    """Many publishers at once: seqs without a hole, and the channel rings in the log's order."""
    pubsub = log.redis.pubsub()
    await pubsub.subscribe(log.keys.channel)
    await pubsub.get_message(timeout=5)
    receipts = await asyncio.gather(*(put(log, make(f"Info {n}")) for n in range(50)))
    assert sorted(r.position.seq for r in receipts) == list(range(1, 51))
    heard = [(await pubsub.get_message(timeout=5))["data"].split(b" ")[0].decode() for _ in range(50)]
    assert heard == [f"{e.seq}-{e.mark}" for e in (await log.read(Position(0, ""))).entries]
    await pubsub.aclose()  # type: ignore[no-untyped-call]


async def test_a_retry_gets_the_same_receipt(log: Log) -> None:
    """The same key with the same request publishes once, also when both arrive at the same time."""
    key = log.keys.receipt("token", "key")
    first, second = await asyncio.gather(
        *(put(log, make("Une info"), receipt_key=key, request_hash="same") for _ in range(2))
    )
    assert first == second
    assert await log.receipt(key, "same") == first
    assert (await log.head()).seq == 1


async def test_refusals_change_nothing(log: Log) -> None:
    """A stale version, a reused key and a known guid are refused before the first write."""
    key = log.keys.receipt("token", "key")
    item = make(guid="g")
    await put(log, item, receipt_key=key, request_hash="one")
    before = await everything(log.redis)

    with pytest.raises(KeyReused):
        await put(log, make(), receipt_key=key, request_hash="two")
    with pytest.raises(KeyReused):
        await log.receipt(key, "two")
    with pytest.raises(StaleVersion) as stale:
        await put(log, msgspec.structs.replace(item, version=3), msgspec.structs.replace(item, version=2))
    assert stale.value.data["version"] == 1
    with pytest.raises(StaleVersion):
        await put(log, item)  # the same id again, as a new item
    with pytest.raises(Conflict) as known:
        await put(log, make(guid="g"))
    assert known.value.data["id"] == item.id
    after = await everything(log.redis)
    assert after == before


async def test_an_item_leaves_the_indexes_it_no_longer_belongs_to(log: Log) -> None:
    """Moved to another rubric and retagged, an item stands in the new indexes and no longer in the old."""
    item = make(tags=("a", "b"), thread="t")
    await put(log, item)
    moved = msgspec.structs.replace(item, version=2, rubric="sport", tags=("b", "c"), thread=None)
    await put(log, moved, item)
    for gone in [("rubric", "monde"), ("tag", "a"), ("thread", "t")]:
        assert (await log.page([log.keys.index(*gone)], "", 10)).items == []
    for stands in [("rubric", "sport"), ("tag", "b"), ("tag", "c"), ("language", "fr")]:
        assert (await log.page([log.keys.index(*stands)], "", 10)).items == [moved]
    assert [version.rubric for version in await log.versions(item.id)] == ["monde", "sport"]


async def test_reading_says_whether_a_position_can_be_continued(log: Log) -> None:
    """ok, ahead, diverged and expired are told apart, and entries come with ok only."""
    origin = await log.head()
    marks = [(await put(log, make(f"Info {n}"))).position for n in range(4)]
    assert [e.seq for e in (await log.read(origin)).entries] == [1, 2, 3, 4]
    assert [e.seq for e in (await log.read(marks[1], 1)).entries] == [3]
    assert (await log.read(marks[3])).entries == []
    verdicts = {
        Position(9, "aaaaaaaa"): "ahead",
        Position(2, "aaaaaaaa"): "diverged",
        Position(4, "aaaaaaaa"): "diverged",
        Position(0, "aaaaaaaa"): "diverged",
    }
    for position, verdict in verdicts.items():
        reading = await log.read(position)
        assert (reading.verdict, reading.entries) == (verdict, [])
    await log.redis.xtrim(log.keys.log, minid="3-0", approximate=False)
    assert (await log.read(marks[0])).verdict == "expired"
    assert (await log.read(Position(0, ""))).verdict == "expired"
    assert (await log.read(marks[2])).verdict == "ok"


async def test_a_lost_store_starts_another_history(log: Log) -> None:
    """After FLUSHALL, whoever comes first, the log starts from another mark: old positions are seen to differ."""
    for first in ("read", "publish"):
        old = (await put(log, make())).position
        await log.redis.flushall()
        if first == "publish":
            await put(log, make())
        assert (await log.read(old)).verdict in ("ahead", "diverged")
        assert (await log.read(Position(0, old.mark))).verdict == "diverged"


async def test_since_finds_the_first_event_of_a_time(log: Log) -> None:
    """Binary search over entries: the position before the first one at that time or later."""
    times = []
    for n in range(9):
        await put(log, make(f"Info {n}"))
        await asyncio.sleep(0.002)
    entries = (await log.read(Position(0, ""))).entries
    times = [entry.time_ms for entry in entries]
    for n, time in enumerate(times):
        found = await log.since(time)
        assert found is not None
        assert found.seq == n
        assert found.mark == ("" if n == 0 else entries[n - 1].mark)
    assert await log.since(times[-1] + 1) == await log.head()
    await log.redis.xtrim(log.keys.log, minid="4-0", approximate=False)
    assert await log.since(times[1]) is None
    assert (await log.since(times[6])) == Position(6, entries[5].mark)


async def test_the_log_is_trimmed_by_age_and_count_together(settings: Settings) -> None:
    """Entries leave when they are both old and more than the log must keep; the archive stays whole."""
    redis = Redis.from_url(settings.redis_url)
    log = Log(redis, dataclasses.replace(settings, log_min_events=3, log_min_hours=0))
    published = []
    for n in range(10):
        published.append(make(f"Info {n}"))
        await put(log, published[-1])
        await asyncio.sleep(0.002)
    assert 3 <= await redis.xlen(log.keys.log) <= 4
    assert len((await log.page([log.keys.all], "", 100)).items) == 10
    aged = Log(redis, dataclasses.replace(settings, log_min_events=3, log_min_hours=1))
    for n in range(10):
        await put(aged, make(f"Info {n}"))
    assert await redis.xlen(log.keys.log) >= 12
    await redis.aclose()


async def test_a_log_over_its_bytes_is_trimmed_early_with_an_alarm(settings: Settings) -> None:
    """The byte bound wins over age and count, and each entry that left early is counted."""
    redis = Redis.from_url(settings.redis_url)
    log = Log(redis, dataclasses.replace(settings, log_max_bytes=3_000))
    for n in range(20):
        await put(log, make(f"Info {n}"))
    head = await redis.hgetall(log.keys.head)
    assert int(head[b"bytes"]) <= 3_000
    assert int(head[b"early"]) == 20 - await redis.xlen(log.keys.log)
    assert int(head[b"bytes"]) == sum(
        len(e.body) for e in (await log.read(Position(20 - await redis.xlen(log.keys.log), ""))).entries
    )
    await redis.aclose()


async def test_pages_go_on_below_a_sort_key(log: Log) -> None:
    """Pages of any size give every item once, newest first, also where many share one time."""
    at = make().first_published_at
    items = [make(f"Info {n}", first_published_at=at) for n in range(7)] + [make(f"Autre {n}") for n in range(5)]
    for item in items:
        await put(log, item)
    below, seen = "", []
    while (page := await log.page([log.keys.all], below, 5)).keys:
        seen += [item.id for item in page.items]
        below = page.keys[-1]
        assert page.head.seq == 12
    assert len(seen) == len(set(seen)) == 12
    assert page.keys == []
    union = await log.page([log.keys.index("rubric", "monde"), log.keys.all], "", 100)
    assert [item.id for item in union.items] == seen


async def test_an_unreachable_store_is_unavailable(tmp_path: Path, settings: Settings) -> None:
    """No raw error of the client library leaves the log."""
    redis = Redis.from_url(f"unix://{tmp_path}/nothing.sock")
    log = Log(redis, settings)
    with pytest.raises(Unavailable):
        await put(log, make())
    with pytest.raises(Unavailable):
        await log.head()
    await redis.aclose()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="Debian's redis-server is not installed")
async def test_the_scripts_run_on_redis_too(tmp_path: Path, settings: Settings) -> None:
    """Publish, read, page and since answer the same on Redis as on the bundled Valkey."""
    binary = shutil.which("redis-server")
    assert binary is not None
    with EmbeddedServer(tmp_path / "data", Path(binary)) as server:
        redis = Redis.from_url(server.url)
        log = Log(redis, settings)
        assert "valkey_version" not in await redis.info("server")
        item = make(tags=("a",))
        first = await put(log, item)
        await put(log, msgspec.structs.replace(item, version=2, change="correct"), item)
        assert [e.seq for e in (await log.read(Position(0, ""))).entries] == [1, 2]
        assert (await log.page([log.keys.all], "", 10)).items[0].version == 2
        assert await log.since(0) == Position(0, "")
        assert (await log.read(first.position)).verdict == "ok"
        await redis.aclose()
