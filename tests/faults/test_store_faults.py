"""The store fails in every way it can: nothing acknowledged is lost or sent twice, and the process is honest."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from livefeed.embedded import EmbeddedServer
from livefeed.settings import Settings
from tests.serving import Serving, reading, serving, until


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """A store of the test's own, to be stopped and killed."""
    with EmbeddedServer(tmp_path / "store") as server:
        yield server


@pytest.fixture
def own(settings: Settings, store: EmbeddedServer) -> Settings:
    return dataclasses.replace(
        settings, redis_url=store.url, tick_s=0.3, drain_s=0.0, probe_s=0.1, deaf_s=0.6, redis_timeout_s=1.0
    )


async def lose_everything(served: Serving) -> None:
    """FLUSHALL, but for the token: what is to be published afterwards needs it."""
    redis = served.feed.log.redis
    key = served.feed.log.keys.tokens
    token = await redis.dump(key)
    assert token is not None
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.flushall()
        pipeline.restore(key, 0, token)
        await pipeline.execute()


async def live(served: Serving, wanted: bool) -> None:
    await until(lambda: served.feed.live is wanted, f"live being {wanted}")


async def test_killed_subscriptions_lose_nothing(own: Settings) -> None:
    """CLIENT KILL TYPE pubsub while events are published: each arrives once, in order."""
    async with serving(own) as served, reading(served) as reader, Redis.from_url(own.redis_url) as admin:
        for n in range(40):
            await served.publish(f"Info {n}")
            if n % 5 == 2:
                await admin.client_kill_filter(_type="pubsub")
        await reader.until(lambda r: len(r.items) == 40)
        assert reader.seqs == list(range(1, 41))
        assert reader.of("reset") == []


async def test_events_missed_by_the_channel_are_found_by_the_probe(own: Settings) -> None:
    """An event that was written, but whose message never came, is found in the log within two probes."""
    async with serving(own) as served, reading(served) as reader, Redis.from_url(own.redis_url) as admin:
        await served.publish("Info 1")
        await reader.until(lambda r: len(r.items) == 1)
        await admin.config_set("client-output-buffer-limit", "pubsub 1 1 1")
        await served.publish("Info 2")
        await admin.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
        await reader.until(lambda r: len(r.items) == 2)
        assert reader.seqs == [1, 2]


async def test_a_paused_store_is_noticed_and_healed(own: Settings, store: EmbeddedServer) -> None:
    """SIGSTOP: readiness turns red, ticks say live: false, pages go on from memory; SIGCONT heals it."""
    async with serving(own) as served, reading(served) as reader:
        await served.publish("Info 1")
        await reader.until(lambda r: len(r.items) == 1)
        assert store.pid is not None
        os.kill(store.pid, signal.SIGSTOP)
        try:
            await live(served, False)
            ready = await served.client.get("/readyz")
            assert (ready.status_code, ready.json()["error"]["code"]) == (503, "unavailable")
            assert (await served.client.get("/livez")).status_code == 200
            assert len((await served.client.get("/api/items")).json()["items"]) == 1
            await reader.until(lambda r: r.of("tick")[-1]["live"] is False)
            refused = await served.client.post(
                "/api/items", json={"headline": "x", "rubric": "monde"}, headers=served.auth
            )
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        finally:
            os.kill(store.pid, signal.SIGCONT)
        await live(served, True)
        await served.publish("Info 2")
        await reader.until(lambda r: r.items and r.items[-1]["headline"] == "Info 2")
        assert reader.seqs == list(range(1, len(reader.seqs) + 1))
        await reader.until(lambda r: r.of("tick")[-1]["live"] is True)
        assert (await served.client.get("/readyz")).status_code == 200


async def test_a_killed_store_comes_back_with_all_that_was_acknowledged(own: Settings, store: EmbeddedServer) -> None:
    """kill -9 of Valkey under publishing: every acknowledged item is there, once, and readers see no hole."""
    acknowledged = []
    async with serving(own) as served, reading(served) as reader:
        for n in range(30):
            if n % 10 == 5:
                pid = store.pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await until(lambda: store.pid not in (None, pid), "the store's restart")  # noqa: B023
            key = {**served.auth, "idempotency-key": f"k-{n}"}
            for _ in range(200):
                body = {"headline": f"Info {n}", "rubric": "monde"}
                response = await served.client.post("/api/items", json=body, headers=key)
                if response.status_code == 201:
                    break
                assert response.status_code == 503
                await asyncio.sleep(0.02)
            acknowledged.append(response.json()["item"]["headline"])
        await reader.until(lambda r: len(r.items) >= 30)
        assert [i["headline"] for i in reader.items] == acknowledged == [f"Info {n}" for n in range(30)]
        assert reader.seqs == list(range(1, 31))
        assert reader.of("reset") == []


async def test_flushall_resets_every_reader_once(own: Settings) -> None:
    """A lost log: one reset each, then the new history; the list is the true one, and old positions are refused."""
    async with serving(own) as served, reading(served) as one, reading(served) as two:
        for n in range(5):
            last = await served.publish(f"Info {n}")
        await one.until(lambda r: len(r.items) == 5)
        await lose_everything(served)
        for reader in (one, two):
            await reader.until(lambda r: r.of("reset"))
        new = [await served.publish(f"Neuve {n}") for n in range(6)]
        for reader in (one, two):
            await reader.until(lambda r: len(r.items) == 11)
            assert reader.of("reset") == [{"reason": "diverged"}]
            assert reader.seqs == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6]
        listed = (await served.client.get("/api/items")).json()
        assert [i["headline"] for i in listed["items"]] == [f"Neuve {n}" for n in reversed(range(6))]
        assert listed["position"] == new[-1]["position"]
        async with reading(served, last_event_id=last["position"]) as late:
            await late.until(lambda r: r.of("reset"))
            assert late.of("reset") == [{"reason": "diverged"}]


async def test_a_flush_while_events_go_on_is_seen_at_the_next_event(own: Settings) -> None:
    """The new history's first event has a seq that is known: its mark tells that it is another."""
    async with serving(own) as served, reading(served) as reader:
        for n in range(3):
            await served.publish(f"Info {n}")
        await reader.until(lambda r: len(r.items) == 3)
        await lose_everything(served)
        await served.publish("Neuve")
        await reader.until(lambda r: r.of("reset"))
        await served.publish("Suite")
        await reader.until(lambda r: r.items[-1]["headline"] == "Suite")
        assert [i["headline"] for i in reader.items][3:] in (["Neuve", "Suite"], ["Suite"])
        listed = (await served.client.get("/api/items")).json()["items"]
        assert [i["headline"] for i in listed] == ["Suite", "Neuve"]


async def test_poison_on_the_channel_is_counted_and_skipped(own: Settings) -> None:
    """Messages that are none of ours stop nothing."""
    poison = [b"", b"x", b"\xff\xfe", b"1-aaaaaaaa 1 x\n", b"99-aaaaaaaa 1 x\n\n\n{}", b"?", b"{}" * 1000, b"1 2 3\n"]
    async with serving(own) as served, reading(served) as reader:
        for message in poison:
            await served.feed.log.redis.publish(served.feed.log.keys.channel, message)
        await served.publish("Info 1")
        await reader.until(lambda r: len(r.items) == 1)
        assert served.feed.listener.poison >= 4
        assert served.feed.live
        assert reader.of("reset") == []


async def test_two_processes_agree(own: Settings) -> None:
    """Two servers on one store: the same frames, the same positions, and one's position continues on the other."""
    async with serving(own) as one, serving(own) as two, reading(one) as left, reading(two) as right:
        await asyncio.gather(*((one, two)[n % 2].publish(f"Info {n}") for n in range(40)))
        await left.until(lambda r: len(r.items) == 40)
        await right.until(lambda r: len(r.items) == 40)
        assert [(e.id, e.data.replace(str(one.port), "")) for e in left.events if e.event == "item"] == [
            (e.id, e.data.replace(str(two.port), "")) for e in right.events if e.event == "item"
        ]
        answer = await one.publish("À peine publiée")
        async with reading(two, last_event_id=answer["position"]) as quick:
            await two.publish("La suite")
            await quick.until(lambda r: r.items)
            assert quick.of("reset") == []
            assert quick.seqs == [42]
