"""The real application on a real uvicorn in the test's own loop, and readers of its stream."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import httpx_sse
import uvicorn
from starlette.applications import Starlette

from livefeed.app import create
from livefeed.feed.handover import HandoverProtocol
from livefeed.feed.reading import Feed
from livefeed.feed.store import connect
from livefeed.newsroom.tokens import SCOPES, Tokens
from livefeed.settings import Settings

WAIT_S = 10.0
"""Longest wait for anything in a test; on a condition, never for its own sake."""


@dataclass
class Serving:
    """A running server."""

    app: Starlette
    port: int
    client: httpx.AsyncClient
    server: uvicorn.Server
    token: str

    @property
    def feed(self) -> Feed:
        feed: Feed = self.app.state.feed
        return feed

    @property
    def auth(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    async def publish(self, headline: str = "Une info", rubric: str = "monde", **fields: Any) -> dict[str, Any]:
        """Publish through the API; the answer."""
        return await self.post("/api/items", {"headline": headline, "rubric": rubric, **fields})

    async def change(self, answer: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Change what an earlier answer told of."""
        headers = {**self.auth, "if-match": f'"{answer["version"]}"'}
        response = await self.client.patch(f"/api/items/{answer['item']['id']}", json=fields, headers=headers)
        assert response.status_code == 200, response.text
        result: dict[str, Any] = response.json()
        return result

    async def post(self, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        response = await self.client.post(path, json=body, headers={**self.auth, **headers})
        assert response.status_code in (200, 201), response.text
        result: dict[str, Any] = response.json()
        return result


@contextlib.asynccontextmanager
async def serving(settings: Settings, http: Any = HandoverProtocol) -> AsyncIterator[Serving]:
    """A server on a free port until the context ends, stopped as SIGTERM would."""
    app = create(settings)
    config = uvicorn.Config(app, http=http, loop="none", ws="none", lifespan="on", log_config=None, server_header=False)
    server = uvicorn.Server(config)
    sock = socket.create_server(("127.0.0.1", 0))
    port: int = sock.getsockname()[1]
    redis = connect(settings)
    token = await Tokens(redis, settings.feed_name).create("test", frozenset(SCOPES))
    await redis.aclose()
    task = asyncio.create_task(server._serve([sock]))
    try:
        await until(lambda: server.started or task.done(), "the server's start")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S) as client:
            yield Serving(app, port, client, server, token)
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, WAIT_S)


@dataclass
class Reader:
    """One open stream, read by httpx-sse."""

    events: list[httpx_sse.ServerSentEvent] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    ended: bool = False

    @property
    def items(self) -> list[dict[str, Any]]:
        """Data of the item events, with their `id`s under "position"."""
        return [{**json.loads(e.data), "position": e.id} for e in self.events if e.event == "item"]

    @property
    def seqs(self) -> list[int]:
        return [int(item["position"].split("-")[0]) for item in self.items]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Data of the events of a kind."""
        return [json.loads(e.data) for e in self.events if e.event == kind]

    async def until(self, condition: Callable[[Reader], Any], what: str = "the reader's condition") -> Reader:
        await until(lambda: condition(self), f"{what}; read so far: {[(e.event, e.id) for e in self.events]}")
        return self


@contextlib.asynccontextmanager
async def reading(served: Serving | str, query: str = "", **headers: str | bytes) -> AsyncIterator[Reader]:
    """A reader of `/stream`, in the background until the context ends; in when its first tick has come."""
    reader = Reader()
    base = served if isinstance(served, str) else f"http://127.0.0.1:{served.port}"

    async def read() -> None:
        async with httpx.AsyncClient(timeout=httpx.Timeout(WAIT_S, read=60)) as client:
            given = {name.replace("_", "-").encode(): _bytes(value) for name, value in headers.items()}
            async with httpx_sse.aconnect_sse(client, "GET", f"{base}/stream{query}", headers=given) as source:
                reader.headers = dict(source.response.headers)
                with contextlib.suppress(httpx.RemoteProtocolError):
                    async for event in source.aiter_sse():
                        reader.events.append(event)
                reader.ended = True

    task = asyncio.create_task(read())
    try:
        await until(lambda: reader.events or reader.ended or task.done(), "the stream's first event")
        if task.done():
            await task
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> None:
    """Return once `condition` is true; fail naming `what` after a bounded time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not condition():
        assert loop.time() < deadline, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.005)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
