"""The demonstration beside a server: the invented newsroom publishes through the same service as the API does."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from redis.asyncio import Redis

from livefeed.errors import LivefeedError
from livefeed.feed.log import Log
from livefeed.feed.store import connect
from livefeed.newsroom.demo import Placed, demo
from livefeed.newsroom.input import ChangeItem, Entry, NewItem, Pin, Withdrawal
from livefeed.newsroom.publishing import Published, Publisher, Request
from livefeed.settings import Settings

ACTOR = "demo"
"""Who did it, in the desk's history."""


class Service:
    """The play's newsroom over the publishing service."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def publish(self, new: NewItem, key: str) -> Placed:
        """As ``POST /api/items``."""
        return _placed(await self._publisher.create(new, _request(key)))

    async def bring(self, entry: Entry) -> Placed:
        """As ``POST /api/import``."""
        imported = await self._publisher.upsert(entry, _request(None))
        return Placed(imported.item.id, imported.item.version)

    async def change(self, id: str, change: ChangeItem, version: int, key: str) -> Placed:
        """As ``PATCH /api/items/{id}`` with ``If-Match``."""
        return _placed(await self._publisher.change(id, change, version, _request(key)))

    async def withdraw(self, id: str, withdrawal: Withdrawal, key: str) -> Placed:
        """As ``POST /api/items/{id}/withdraw``."""
        return _placed(await self._publisher.withdraw(id, withdrawal, None, _request(key)))

    async def restore(self, id: str, withdrawal: Withdrawal, key: str) -> Placed:
        """As ``POST /api/items/{id}/restore``."""
        return _placed(await self._publisher.restore(id, withdrawal, None, _request(key)))

    async def pin(self, id: str, pin: Pin, key: str) -> Placed:
        """As ``POST /api/items/{id}/pin``."""
        return _placed(await self._publisher.pin(id, pin, None, _request(key)))


def _request(key: str | None) -> Request:
    return Request(actor=ACTOR, scope=ACTOR, key=key)


def _placed(published: Published) -> Placed:
    return Placed(published.item.id, published.item.version)


def start(settings: Settings, speed: float) -> threading.Thread:
    """Play the day in a thread of its own; it ends with the day, or with the process.

    :param settings: those in force: `redis_url` names the running store.
    """
    thread = threading.Thread(target=lambda: asyncio.run(play(settings, speed)), name="demo", daemon=True)
    thread.start()
    return thread


async def play(settings: Settings, speed: float) -> None:
    """Play the day on the settings' store; a store that goes away for long ends the play, not the server."""
    redis: Redis = connect(settings)
    try:
        with contextlib.suppress(LivefeedError):
            await demo(Service(Publisher(Log(redis, settings), settings)), speed=speed)
    finally:
        await redis.aclose()
