"""The textbook: what a Python programmer writes first. A queue and an `EventSourceResponse` per reader.

Run as ``python -m bench.textbook PORT REDIS_URL``; the stream is at /sub, the channel is "live".
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import redis.asyncio
import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

CHANNEL = "live"


def create(redis_url: str) -> Starlette:
    """The whole application."""
    queues: set[asyncio.Queue[str]] = set()

    async def listen(pubsub: redis.asyncio.client.PubSub) -> None:
        async for message in pubsub.listen():
            if message["type"] == "message":
                for queue in queues:
                    queue.put_nowait(message["data"])

    async def events(queue: asyncio.Queue[str]) -> AsyncIterator[ServerSentEvent]:
        try:
            while True:
                yield ServerSentEvent(data=await queue.get())
        finally:
            queues.discard(queue)

    async def stream(request: Request) -> EventSourceResponse:
        queue: asyncio.Queue[str] = asyncio.Queue()
        queues.add(queue)
        return EventSourceResponse(events(queue))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as client, client.pubsub() as pubsub:
            await pubsub.subscribe(CHANNEL)
            listener = asyncio.create_task(listen(pubsub))
            yield
            listener.cancel()

    return Starlette(routes=[Route("/sub", stream)], lifespan=lifespan)


if __name__ == "__main__":
    uvicorn.run(
        create(sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
