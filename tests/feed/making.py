"""Items for tests, made with what a test is about and sensible rest."""

from __future__ import annotations

import itertools
from typing import Any

from redis.asyncio import Redis

from livefeed.feed import item as items
from livefeed.feed import markdown
from livefeed.feed.item import Item
from livefeed.feed.log import Log, Receipt

_numbers = itertools.count(1)


def make(headline: str = "Une info", **fields: Any) -> Item:
    """A new published item."""
    now = items.now()
    given: dict[str, Any] = {
        "id": items.new_id(now),
        "version": 1,
        "status": "published",
        "headline": headline,
        "rubric": "monde",
        "body_html": markdown.render(fields.get("body", "")),
        "created_at": now,
        "changed_at": now,
        "first_published_at": now,
    }
    return Item(**{**given, **fields})


async def put(log: Log, item: Item, before: Item | None = None, **given: Any) -> Receipt:
    """Publish with a receipt key of its own, unless one is given."""
    given = {"receipt_key": log.keys.receipt("test", str(next(_numbers))), "request_hash": "h", **given}
    return await log.publish(item, before, **given)


async def everything(redis: Redis) -> dict[bytes, Any]:
    """All that the store holds, to see that nothing has changed."""
    found: dict[bytes, Any] = {}
    async for key in redis.scan_iter():
        found[key] = await redis.dump(key)
    return found
