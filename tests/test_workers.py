"""Several server processes on one port: one order everywhere."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import httpx
from redis.asyncio import Redis

from livefeed.embedded import connection_url
from livefeed.newsroom.tokens import Tokens
from livefeed.settings import Settings
from tests.servers import serving as process
from tests.serving import WAIT_S, reading

READERS = 24
"""Enough that the kernel gives either process some; which it gave whom is seen."""
ASKED_MAX = 500
"""Most questions, each on a connection of its own, until both processes have answered."""


async def test_every_worker_writes_the_same_frames_in_the_same_order(tmp_path: Path) -> None:
    """Readers of two workers, published to through both: the same ids, the same bytes, no hole, no double."""
    settings = Settings(data_dir=tmp_path / "var")
    with process(settings.data_dir, env={"LIVEFEED_WORKERS": "2"}) as server:
        with connection_url(settings) as url:
            async with Redis.from_url(url) as redis:
                token = await Tokens(redis, settings.feed_name).create("test", frozenset({"publish"}))

        async def publish(n: int) -> int:
            async with httpx.AsyncClient(timeout=WAIT_S) as client:  # a connection of its own: to either worker
                body = {"headline": f"Info {n}", "rubric": "monde"}
                headers = {"authorization": f"Bearer {token}"}
                return (await client.post(f"{server.url}/api/items", json=body, headers=headers)).status_code

        async with contextlib.AsyncExitStack() as stack:
            readers = [await stack.enter_async_context(reading(server.url)) for _ in range(READERS)]
            streams = await _streams_by_process(server.url)
            assert len(streams) == 2
            assert sum(streams.values()) == READERS
            assert all(streams.values()), streams

            assert set(await asyncio.gather(*(publish(n) for n in range(60)))) == {201}
            for reader in readers:
                await reader.until(lambda r: len(r.items) == 60)
                assert reader.seqs == list(range(1, 61))
            assert len({tuple((e.id, e.data) for e in r.events if e.event == "item") for r in readers}) == 1


async def _streams_by_process(url: str) -> dict[int, int]:
    """Open streams of both processes."""
    found: dict[int, int] = {}
    for _ in range(ASKED_MAX):
        async with httpx.AsyncClient(timeout=WAIT_S) as client:
            answer = (await client.get(f"{url}/readyz")).json()
        found[answer["process"]] = answer["streams"]
        if len(found) == 2:
            break
    return found
