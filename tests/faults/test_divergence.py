"""The store's history changes under us: every reader gets one reset and ends with the true list, and nothing loops."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from livefeed.embedded import EmbeddedServer
from livefeed.feed import listener
from livefeed.feed.log import ItemPage, Log
from livefeed.feed.mirror import Mirror
from livefeed.settings import Settings
from tests.faults.stores import Store, replicated
from tests.feed.making import make, put
from tests.serving import Reader, Serving, reading, serving, until


@pytest.fixture
def own(settings: Settings) -> Settings:
    """Short waits, for a store that the test names."""
    return dataclasses.replace(settings, tick_s=0.3, drain_s=0.0, probe_s=0.1, deaf_s=0.6, redis_timeout_s=1.0)


def on(own: Settings, store: Store, **more: Any) -> Settings:
    return dataclasses.replace(own, redis_url=store.url, **more)


class Backup:
    """A copy of a store's data, as an operator makes it, and puts it back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._copy = store.directory.with_name("backup")
        store.stop()
        shutil.copytree(store.directory, self._copy)
        store.start()

    def restore(self) -> None:
        self._store.stop()
        shutil.rmtree(self._store.directory)
        shutil.copytree(self._copy, self._store.directory)
        self._store.start()


async def publish(served: Serving, *headlines: str) -> dict[str, Any]:
    """Publish items; the last answer. A store that has just come back is waited for."""
    answer: dict[str, Any] = {}
    for headline in headlines:
        await until(lambda: served.feed.live, "a store")
        answer = await served.publish(headline)
    return answer


async def headlines(served: Serving) -> list[str]:
    """The list as a page of it shows it, oldest first."""
    listed = (await served.client.get("/api/items")).json()
    return [item["headline"] for item in reversed(listed["items"])]


def list_of(reader: Reader) -> list[str]:
    """What a reader's page shows after the last reset, beside the snapshot it fetched then."""
    shown: list[str] = []
    for event, item in ((e, e.json() if e.event == "item" else {}) for e in reader.events):
        shown = [] if event.event == "reset" else [*shown, item["headline"]] if item else shown
    return shown


async def settles(served: Serving, reader: Reader) -> None:
    """The client that obeys: from the reset's own position it goes on without another one."""
    told = next(event.id for event in reversed(reader.events) if event.event == "reset")
    async with reading(served, last_event_id=told) as obeying:
        last = (await publish(served, "Après"))["position"]
        for one in (obeying, reader):
            await one.until(lambda r: r.items and r.items[-1]["position"] == last)
        assert obeying.of("reset") == []
    assert len(reader.of("reset")) == 1


async def test_a_restored_backup_resets_every_reader_once(own: Settings, tmp_path: Path) -> None:
    """An older copy of the append-only file is put back under running processes: one reset each, and the true list."""
    with Store.valkey(tmp_path / "store") as store:
        async with (
            serving(on(own, store)) as one,
            serving(on(own, store)) as two,
            reading(one) as left,
            reading(two) as right,
        ):
            await publish(one, "Info 1", "Info 2")
            backup = Backup(store)
            await publish(one, "Perdue 3", "Perdue 4")
            for reader in (left, right):
                await reader.until(lambda r: len(r.items) == 4)
            backup.restore()
            for served, reader in ((one, left), (two, right)):
                await reader.until(lambda r: r.of("reset"))
                assert reader.of("reset") == [{"reason": "diverged"}]
                assert await headlines(served) == ["Info 1", "Info 2"]
            await publish(two, "Neuve 3")
            for served, reader in ((one, left), (two, right)):
                await reader.until(lambda r: list_of(r) == ["Neuve 3"])
                assert await headlines(served) == ["Info 1", "Info 2", "Neuve 3"]
            await settles(one, left)
            assert len(right.of("reset")) == 1


@pytest.mark.parametrize(("since_then", "reason"), [([], "ahead"), (["Neuve 3", "Neuve 4", "Neuve 5"], "diverged")])
async def test_a_backup_restored_while_every_process_was_down(
    own: Settings, tmp_path: Path, since_then: list[str], reason: str
) -> None:
    """A reader's position from before gets exactly one reset, whatever has been published since; then the true list."""
    with Store.valkey(tmp_path / "store") as store:
        async with serving(on(own, store)) as served:
            await publish(served, "Info 1", "Info 2")
        backup = Backup(store)
        async with serving(on(own, store)) as served:
            old = (await publish(served, "Perdue 3", "Perdue 4"))["position"]
        backup.restore()
        async with serving(on(own, store)) as served:
            await publish(served, *since_then)
            async with reading(served, last_event_id=old) as reader:
                await reader.until(lambda r: r.of("reset"))
                assert reader.of("reset") == [{"reason": reason}]
                assert await headlines(served) == ["Info 1", "Info 2", *since_then]
                assert reader.of("item") == []
                await settles(served, reader)


@pytest.mark.parametrize("new", [0, 1, 2, 5])
async def test_a_promoted_replica_that_lacks_the_tail(own: Settings, tmp_path: Path, new: int) -> None:
    """The replica was cut off, then promoted, and events were published on it: the marks tell, however many they are.

    Two processes know the old primary's last events; a third one publishes on the new primary before they are back.
    """
    sockets = [str(tmp_path / name) for name in ("a.sock", "b.sock")]
    with (
        Store.valkey(tmp_path / "a", unixsocket=sockets[0]) as primary,
        Store.valkey(tmp_path / "b", unixsocket=sockets[1]) as replica,
    ):
        address = tmp_path / "current"
        address.symlink_to(sockets[0])
        current = dataclasses.replace(own, redis_url=f"unix://{address}")
        async with (
            serving(current) as one,
            serving(current) as two,
            reading(one) as left,
            reading(two, "?rubric=monde") as right,
        ):
            await publish(one, "Info 1", "Info 2")
            await replicated(replica, primary)
            async with Redis.from_url(replica.url) as admin:
                await admin.replicaof("NO", "ONE")  # cut off, and promoted
            lost = await publish(one, "Perdue 3", "Perdue 4")
            for reader in (left, right):
                await reader.until(lambda r: len(r.items) == 4)
            fresh = [f"Neuve {n}" for n in range(new)]
            async with serving(on(own, replica)) as three:
                await publish(three, *fresh)
            address.unlink()
            address.symlink_to(sockets[1])
            primary.kill()
            for served, reader in ((one, left), (two, right)):
                await reader.until(lambda r: r.of("reset"))
                assert await headlines(served) == ["Info 1", "Info 2", *fresh]
            await publish(two, "La suite")
            for served, reader in ((one, left), (two, right)):
                await reader.until(lambda r: list_of(r)[-1:] == ["La suite"])
                assert reader.of("reset") == [{"reason": "diverged"}]
                assert await headlines(served) == ["Info 1", "Info 2", *fresh, "La suite"]
            async with reading(one, last_event_id=lost["position"]) as late:
                await late.until(lambda r: r.of("reset"))
                assert late.of("reset") == [{"reason": "ahead" if new < 1 else "diverged"}]
            await settles(one, left)


async def calls(admin: Redis) -> int:
    """Commands that the store has run so far."""
    return int((await admin.info("stats"))["total_commands_processed"])


async def scripts(admin: Redis) -> int:
    """Scripts that the store has run so far."""
    return int((await admin.info("commandstats"))["cmdstat_evalsha"]["calls"])


@contextlib.asynccontextmanager
async def quiet(own: Settings, store: EmbeddedServer, **more: Any) -> AsyncIterator[Serving]:
    """A server that asks its store for nothing by itself, with a short window."""
    silent = dataclasses.replace(own, redis_url=store.url, probe_s=50.0, deaf_s=100.0, tick_s=60.0, **more)
    async with serving(silent) as served:
        yield served


async def test_positions_that_cannot_be_continued_cost_no_command(own: Settings, tmp_path: Path) -> None:
    """Of another history, from before the window, or garbage: one reset each, and Redis hears nothing of it."""
    with EmbeddedServer(tmp_path / "store") as store:
        async with quiet(own, store, window_events=5) as served, Redis.from_url(store.url) as admin:
            answers = [await served.publish(f"Info {n}") for n in range(9)]
            bad = {
                answers[1]["position"]: "expired",
                "0-00000000": "expired",
                "1-deadbeef": "expired",
                "8-deadbeef": "diverged",
                "9-deadbeef": "diverged",
                "": None,
                "x": "unreadable",
                "9": "unreadable",
                "-1-deadbeef": "unreadable",
                "9-" + "f" * 5000: "unreadable",
                "9" * 400 + "-deadbeef": "unreadable",
                "٩-deadbeef": "unreadable",
            }
            before = await calls(admin)
            for position, reason in bad.items():
                async with reading(served, last_event_id=position.encode()) as reader:
                    await reader.until(lambda r, reason=reason: r.of("reset") or reason is None)  # type: ignore[misc]
                    assert [reset["reason"] for reset in reader.of("reset")] == ([reason] if reason else []), position
            assert await calls(admin) - before == 1  # our own question
            async with reading(served, last_event_id="x") as reader:
                await settles(served, reader)


async def test_a_flood_of_positions_from_the_future_makes_few_looks(own: Settings, tmp_path: Path) -> None:
    """Each gets its reset; Redis is asked at most once in `LOOK_PAUSE_S`, whether they come together or in a row."""
    with EmbeddedServer(tmp_path / "store") as store:
        async with quiet(own, store) as served, Redis.from_url(store.url) as admin:
            await served.publish("Info 1")
            loop = asyncio.get_running_loop()
            before, reads, started = await scripts(admin), served.feed.listener.reads, loop.time()

            async def ask(n: int) -> None:
                reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\nLast-Event-ID: %d-deadbeef\r\n\r\n" % (n + 2))
                await reader.readuntil(b'{"reason":"ahead"}')
                writer.close()
                await writer.wait_closed()

            await asyncio.gather(*(ask(n) for n in range(100)))
            for n in range(20):
                await ask(n)
            looks = served.feed.listener.reads - reads
            assert 1 <= looks <= (loop.time() - started) / listener.LOOK_PAUSE_S + 1
            assert (
                await scripts(admin) - before <= 3 * looks
            )  # the prober's own looks, which ring the bell, and the reads


async def test_a_position_that_another_process_gave_is_found(own: Settings, tmp_path: Path) -> None:
    """A process that has not heard of an event yet looks once, and continues behind it without a reset."""
    with EmbeddedServer(tmp_path / "store") as store:
        async with quiet(own, store) as deaf, quiet(own, store) as other, Redis.from_url(store.url) as admin:
            for n in range(3):
                await admin.config_set("client-output-buffer-limit", "pubsub 1 1 1")
                position = (await other.publish(f"Info {n}"))["position"]
                await admin.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
                async with reading(deaf, last_event_id=position) as reader:
                    assert reader.of("reset") == []
                    assert reader.of("tick")[0]["live"] is True


async def test_a_log_without_its_tail_starts_and_goes_on(own: Settings, tmp_path: Path) -> None:
    """The newest entries are gone from the log, by hand: no loop, the list is true, and old positions get a reset."""
    with EmbeddedServer(tmp_path / "store") as store:
        there = dataclasses.replace(own, redis_url=store.url)
        async with serving(there) as served:
            first = await publish(served, "Info 1")
            last = await publish(served, "Info 2", "Info 3")
        async with Redis.from_url(store.url) as admin:
            await admin.xdel("lf:{main}:log", "2-0", "3-0")
        async with (
            serving(there) as served,
            reading(served, last_event_id=last["position"]) as here,
            reading(served, last_event_id=first["position"]) as before,
        ):
            assert await headlines(served) == ["Info 1", "Info 2", "Info 3"]
            await publish(served, "Info 4")
            for reader, resets in ((here, []), (before, [{"reason": "expired"}])):
                await reader.until(lambda r: r.items)
                assert reader.of("reset") == resets
            assert served.feed.listener.reads <= 3


async def test_a_history_that_changes_while_it_is_read(own: Settings, settings: Settings) -> None:
    """The mirror is filled from one history only: its window never continues a board of another one."""
    async with Redis.from_url(settings.redis_url) as redis:
        log = Log(redis, settings)
        for n in range(3):
            await put(log, make(f"Ancienne {n}"))

        class Changing(Log):
            async def page(self, indexes: Any, below: str, count: int) -> ItemPage:
                page = await super().page(indexes, below, count)
                if not below:
                    await redis.flushall()
                    for n in range(3):
                        await put(log, make(f"Neuve {n}"))
                return page

        mirror = Mirror(settings)
        await mirror.load(Changing(redis, settings))
        verdict = (await log.read(mirror.position)).verdict
        assert verdict == "diverged"
