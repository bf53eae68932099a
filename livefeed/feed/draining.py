"""The drain: how a process that stops ends its streams, so that their readers do not all come back at once."""

from __future__ import annotations

import asyncio
import random
import time

import structlog

from livefeed.feed import sse
from livefeed.feed.hub import Hub

STEPS_MAX = 100
"""Steps of a drain, each of which ends its share of the streams: of 10,000 over 5 s a hundred every 50 ms."""
LAST_WRITES_S = 1.0
"""How long the last bytes may take to leave; who has not taken them by then comes back all the same."""

logger = structlog.get_logger()


async def drain(hub: Hub, window_s: float) -> None:
    """End all streams, spread over the window, each with a `bye` and its own reconnection time; admit none any more.

    Streams that are iterated end themselves when they see `hub.draining`.
    """
    hub.draining = True
    hub.notify()
    started = time.monotonic()
    subscribers = hub.subscribers
    random.shuffle(subscribers)
    steps = max(1, min(STEPS_MAX, len(subscribers)))
    share = -(-len(subscribers) // steps)
    for step in range(steps):
        for subscriber in subscribers[step * share : (step + 1) * share]:
            if subscriber.behind_since is not None:
                subscriber.abort()  # a bye would wait behind a full buffer; it comes back with its last id
            elif not subscriber.transport.is_closing():
                hub.end(subscriber, sse.bye("restart", hub.retry_ms()))
        if subscribers and step < steps - 1:
            await asyncio.sleep(max(0, started + window_s * (step + 1) / steps - time.monotonic()))
    deadline = started + window_s + LAST_WRITES_S
    while (hub.streams or hub.ending) and time.monotonic() < deadline:  # noqa: ASYNC110  (once in a process's life)
        await asyncio.sleep(LAST_WRITES_S / 100)
    late = list(hub.ending)
    for subscriber in late:
        subscriber.abort()
    took_s = round(time.monotonic() - started, 2)
    logger.info("the streams have ended", streams=len(subscribers), cut=len(late), took_s=took_s)
