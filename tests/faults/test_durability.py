"""What was acknowledged is on disk, and what the store refuses is refused whole: the same key succeeds later, once."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from redis.asyncio import Redis

from livefeed.embedded import EmbeddedServer
from livefeed.feed.store import connect, weakness
from livefeed.newsroom.publishing import OWN_RECEIPT_S
from livefeed.server import check_store
from livefeed.settings import Settings
from tests.faults.stores import Store
from tests.serving import Serving, reading, serving, until

ITEM = {"headline": "La dépêche", "rubric": "monde", "tags": ["a"], "thread": "fil", "body": "Un *corps*."}


@pytest.fixture
def own(settings: Settings) -> Settings:
    """Short waits, for a store that the test names."""
    return dataclasses.replace(settings, tick_s=0.3, drain_s=0.0, probe_s=0.1, deaf_s=0.6, redis_timeout_s=1.0)


@contextlib.asynccontextmanager
async def served_on(own: Settings, store: Store) -> AsyncIterator[tuple[Serving, Redis]]:
    """A server on the store, and the store's administrator."""
    async with serving(dataclasses.replace(own, redis_url=store.url)) as served, Redis.from_url(store.url) as admin:
        yield served, admin


async def ask(served: Serving, key: str = "k", body: dict[str, Any] = ITEM) -> httpx.Response:
    """Publish with an idempotency key; the response."""
    headers = {**served.auth, "idempotency-key": key}
    return await served.client.post("/api/items", json=body, headers=headers)


async def keyspace(admin: Redis) -> dict[bytes, bytes | None]:
    """Every key with its value, as the store would write it to disk; without the times of expiry."""
    return dict(sorted([(key, await admin.dump(key)) async for key in admin.scan_iter()]))


async def refused_whole_then_once(served: Serving, admin: Redis, mend: Any) -> None:
    """The publish is refused with the one clear sentence and leaves no trace; mended, the same key publishes once."""
    before = await keyspace(admin)
    with structlog.testing.capture_logs() as lines:
        refused = await ask(served)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable"), refused.text
    assert [line["reason"] for line in lines if line["event"] == "a publish was refused by the store"]
    assert "retry with the same Idempotency-Key" in refused.json()["error"]["message"]
    assert await keyspace(admin) == before
    await mend()
    await succeeds_once(served)


async def succeeds_once(served: Serving, **wait: float) -> None:
    """The key of the refused request publishes now; asked again it changes nothing."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait.get("wait_s", 10.0)
    while (first := await ask(served)).status_code == 503:
        assert loop.time() < deadline, first.text
        await asyncio.sleep(0.02)
    assert first.status_code == 201, first.text
    await until(lambda: served.feed.live, "the listener's return")
    again = await ask(served)
    assert (again.status_code, again.json()) == (201, first.json())
    headlines = [item["headline"] for item in (await served.client.get("/api/items")).json()["items"]]
    assert headlines.count(ITEM["headline"]) == 1


async def test_a_redis_that_syncs_by_the_second_is_waited_for(own: Settings, tmp_path: Path) -> None:
    """appendfsync everysec and kill -9 right after each receipt: what was acknowledged is there."""
    with Store.valkey(tmp_path / "store", appendfsync="everysec") as store:
        async with served_on(own, store) as (served, _), reading(served) as reader:
            for n in range(6):
                response = await ask(served, f"k-{n}", {"headline": f"Info {n}", "rubric": "monde"})
                assert response.status_code == 201
                store.kill()
                store.start()
                await until(lambda: served.feed.live, "the store's return")
            listed = (await served.client.get("/api/items")).json()["items"]
            assert [i["headline"] for i in reversed(listed)] == [f"Info {n}" for n in range(6)]
            assert reader.seqs == list(range(1, 7))
            assert reader.of("reset") == []
        async with Redis.from_url(store.url) as admin:
            assert await admin.hlen("lf:{main}:items") == 6


async def test_a_sync_that_does_not_come_is_no_receipt(own: Settings, tmp_path: Path) -> None:
    """WAITAOF runs out: 503, also for each retry, as the write is in memory only; once it syncs, the key succeeds."""
    with Store.valkey(tmp_path / "store", appendfsync="no") as store:
        async with served_on(own, store) as (served, admin):
            for _ in range(3):
                refused = await ask(served)
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable"), refused.text
                # The retry comes over another connection, which has not written what it must wait for.
                await admin.client_kill_filter(_type="normal", skipme=True)
            assert await admin.xlen("lf:{main}:log") == 1
            await admin.config_set("appendfsync", "everysec")
            await succeeds_once(served)
            assert await admin.xlen("lf:{main}:log") == 1
            path = f"/api/items/{(await ask(served)).json()['item']['id']}/pin"
            await admin.config_set("appendfsync", "no")
            for _ in range(2):  # the second one finds the receipt before it asks for anything
                refused = await served.client.post(
                    path, json={"until": None}, headers={**served.auth, "idempotency-key": "p"}
                )
                assert refused.status_code == 503, refused.text
                await admin.client_kill_filter(_type="normal", skipme=True)
            await admin.config_set("appendfsync", "everysec")
            await served.post(path, {"until": None}, **{"idempotency-key": "p"})
            assert await admin.xlen("lf:{main}:log") == 2


async def test_a_redis_without_waitaof_publishes_as_it_is_configured(own: Settings, tmp_path: Path) -> None:
    """Redis 7.0 has no WAITAOF: publishing works, and with appendfsync always a kill -9 loses nothing."""
    with Store.redis(tmp_path / "store") as store:
        async with served_on(own, store) as (served, _), reading(served) as reader:
            for n in range(4):
                response = await ask(served, f"k-{n}", {"headline": f"Info {n}", "rubric": "monde"})
                assert response.status_code == 201, response.text
                store.kill()
                store.start()
                await until(lambda: served.feed.live, "the store's return")
            await reader.until(lambda r: len(r.items) == 4)
            assert reader.seqs == [1, 2, 3, 4]
            assert reader.of("reset") == []


WEAK = [
    ("valkey", {}, None),
    ("valkey", {"appendfsync": "everysec"}, None),
    ("valkey", {"appendonly": "no"}, "keeps no append-only file"),
    ("redis", {}, None),
    ("redis", {"appendfsync": "everysec"}, "its appendfsync is everysec and it has no WAITAOF"),
    ("redis", {"appendonly": "no"}, "keeps no append-only file"),
    ("valkey", {"cluster-enabled": "yes"}, "it is a node of a Cluster"),
    ("hosted redis", {}, "its appendfsync is unknown and it has no WAITAOF"),
    ("hosted valkey", {}, None),
]


@pytest.mark.parametrize(("kind", "options", "told"), WEAK)
async def test_a_store_that_may_lose_is_told_of_at_start(
    tmp_path: Path, kind: str, options: dict[str, str], told: str | None
) -> None:
    """What the configuration leaves to chance is one sentence; of what it may not be asked, it says unknown."""
    start = Store.redis if "redis" in kind else Store.valkey
    with start(tmp_path / "store", **options) as store:
        if "hosted" in kind:
            async with Redis.from_url(store.url) as admin:
                await admin.acl_setuser("default", enabled=True, commands=["-config"])
        async with connect(Settings(redis_url=store.url)) as redis:
            said = await weakness(redis)
        with structlog.testing.capture_logs() as lines:
            await asyncio.to_thread(check_store, Settings(redis_url=store.url))
    assert said is None if told is None else told in str(said)
    assert [line["why"] for line in lines] == ([said] if said else [])


async def test_a_full_store_refuses_whole(own: Settings, tmp_path: Path) -> None:
    """maxmemory is reached (OOM): refused before the first write of the script, and the same key succeeds later."""
    with Store.valkey(tmp_path / "store", maxmemory_policy="noeviction") as store:
        async with served_on(own, store) as (served, admin):
            await served.publish("La première")
            await admin.config_set("maxmemory", "1")
            await refused_whole_then_once(served, admin, lambda: admin.config_set("maxmemory", "0"))


async def test_a_full_store_still_answers_a_known_key(own: Settings, tmp_path: Path) -> None:
    """A retry that needs no room is answered though maxmemory is reached."""
    with Store.valkey(tmp_path / "store") as store:
        async with served_on(own, store) as (served, admin):
            first = await ask(served)
            await admin.config_set("maxmemory", "1")
            again = await ask(served)
            assert (again.status_code, again.json()) == (201, first.json())


async def test_a_read_only_replica_refuses_whole(own: Settings, tmp_path: Path) -> None:
    """The server that we know has become a replica: 503; a primary again, the same key succeeds, once."""
    with Store.valkey(tmp_path / "one") as other, Store.valkey(tmp_path / "two") as store:
        async with served_on(own, store) as (served, admin), Redis.from_url(other.url) as primary:
            await served.publish("La première")
            # The other one gets the same data first, so that becoming its replica changes nothing.
            await primary.replicaof("127.0.0.1", store.port)
            await synced(primary)
            await primary.replicaof("NO", "ONE")
            await admin.replicaof("127.0.0.1", other.port)
            await synced(admin)
            await refused_whole_then_once(served, admin, lambda: admin.replicaof("NO", "ONE"))


async def test_too_few_replicas_refuse_whole(own: Settings, tmp_path: Path) -> None:
    """min-replicas-to-write is not met (NOREPLICAS): refused whole, and the same key succeeds later."""
    with Store.valkey(tmp_path / "store") as store:
        async with served_on(own, store) as (served, admin):
            await served.publish("La première")
            await admin.config_set("min-replicas-to-write", "1")
            await refused_whole_then_once(served, admin, lambda: admin.config_set("min-replicas-to-write", "0"))


async def test_a_store_that_cannot_save_refuses_whole(own: Settings, tmp_path: Path) -> None:
    """MISCONF, as a failed background save makes it: refused whole, and the same key succeeds later."""
    (tmp_path / "store" / "dump.rdb").mkdir(parents=True)  # nothing can be saved under that name
    with Store.valkey(tmp_path / "store", save="3600 1000000") as store:
        async with served_on(own, store) as (served, admin):
            await served.publish("La première")
            await admin.bgsave()
            await until_async(lambda: status(admin, "rdb_last_bgsave_status", "err"), "the failed save")
            await refused_whole_then_once(served, admin, lambda: admin.config_set("stop-writes-on-bgsave-error", "no"))
        store.kill()  # it would try to save once more


async def test_a_full_disk_of_a_redis_of_ones_own_refuses_whole(own: Settings, small_disk: Path) -> None:
    """appendfsync everysec on a full disk (MISCONF, no exit): refused whole; with room again, the key succeeds once."""
    with Store.valkey(small_disk / "store", appendfsync="everysec") as store:
        async with served_on(own, store) as (served, admin), reading(served) as reader:
            await served.publish("La première")
            filler = fill(small_disk)
            await until_async(lambda: refused_for_the_disk(served), "the refusal")

            async def make_room() -> None:
                filler.unlink()

            await refused_whole_then_once(served, admin, make_room)
            await reader.until(lambda r: ITEM["headline"] in [i["headline"] for i in r.items])
            assert reader.seqs == list(range(1, len(reader.seqs) + 1))
            assert reader.of("reset") == []


async def test_a_full_disk_of_the_embedded_store(own: Settings, small_disk: Path) -> None:
    """It exits and is restarted with backoff, readiness is red, reading goes on; with room the key publishes once."""
    with EmbeddedServer(small_disk / "var") as store:
        async with serving(dataclasses.replace(own, redis_url=store.url)) as served, reading(served) as reader:
            first = await served.publish("La première")
            filler = fill(small_disk)
            refused = await ask(served)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable"), refused.text
            await until(lambda: not served.feed.live, "the end of life")
            ready = await served.client.get("/readyz")
            assert (ready.status_code, ready.json()["error"]["code"]) == (503, "unavailable")
            assert (await served.client.get("/livez")).status_code == 200
            assert (await served.client.get("/api/items")).json()["position"] == first["position"]
            assert (await served.client.get("/")).status_code == 200
            async with reading(served, last_event_id="0-00000000") as late:
                assert late.of("tick")[0]["live"] is False
            filler.unlink()
            await succeeds_once(served, wait_s=20.0)
            await until(lambda: served.feed.live, "readiness")
            await reader.until(lambda r: len(r.items) == 2)
            assert reader.seqs == [1, 2]
            assert reader.of("reset") == []


async def test_receipts_live_as_long_as_somebody_may_ask(own: Settings, tmp_path: Path) -> None:
    """A client's key is remembered for its hours; the receipt of a request without a key for minutes only."""
    with Store.valkey(tmp_path / "store") as store:
        async with served_on(own, store) as (served, admin):

            async def left() -> list[int]:
                return [await admin.ttl(key) async for key in admin.scan_iter(match="*receipt*")]

            await served.publish("Sans clé")
            assert [0 < seconds <= OWN_RECEIPT_S for seconds in await left()] == [True]
            await ask(served)
            await ask(served)  # touches the receipt, and must not shorten it
            assert max(await left()) > own.receipt_hours * 3600 - 60


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB; skips where this user may not mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is; the file to remove for having it back."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


async def refused_for_the_disk(served: Serving) -> bool:
    """Publish something, of a size that no page of the file has room left for; whether it is refused."""
    return (
        await ask(served, os.urandom(8).hex(), {**ITEM, "headline": "Autre", "body": "x" * 5000})
    ).status_code == 503


async def synced(replica: Redis) -> None:
    """Return when a replica has all that its primary has."""
    await until_async(lambda: status(replica, "master_link_status", "up"), "the replica")


async def status(admin: Redis, name: str, wanted: str) -> bool:
    info = await admin.info()
    return str(info.get(name)) == wanted


async def until_async(condition: Any, what: str) -> None:
    """As `until`, for a condition that is awaited."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 10
    while not await condition():
        assert loop.time() < deadline, f"not within 10 s: {what}"
        await asyncio.sleep(0.01)
