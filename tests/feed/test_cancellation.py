"""Requests that are cancelled, and connections that go at any byte, leave nothing behind and mix nothing up.

`make endurance` runs this file with ENDURANCE=5: 10,000 cancelled requests, 10,000 broken connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from livefeed.app import create
from livefeed.feed import tasks
from livefeed.feed.reading import Feed
from livefeed.newsroom.tokens import SCOPES, Tokens
from livefeed.settings import Settings
from tests.serving import Serving, serving, until

SCALE = int(os.environ.get("ENDURANCE", "1"))
CANCELLED = 2_000 * SCALE
AT_ONCE = 120
"""More than the store's connection pool has, so that requests also wait for a connection, and are cancelled there."""
TURNS_MAX = 40
"""Turns of the loop after which a request is cancelled at the latest; most have ended by then."""
BROKEN = 2_000 * SCALE
ITEMS = 40
PUBLISHERS = 4


class Asked:
    """One request to the application, called as a server would; what it was answered."""

    def __init__(
        self, app: Starlette, path: str, query: str, *, method: str, token: str, body: bytes, key: str
    ) -> None:
        headers = {"host": "x", "authorization": f"Bearer {token}", "content-type": "application/json"}
        headers |= {"idempotency-key": key} if key else {}
        self._app, self._body = app, body
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        self._sent = False
        self.status = 0
        self.answer = b""
        self.whole = False

    async def run(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self._sent:
            await asyncio.get_running_loop().create_future()  # the client stays
        self._sent = True
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def _send(self, message: Any) -> None:
        await asyncio.sleep(0)
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.answer += message.get("body", b"")
            self.whole = not message.get("more_body", False)


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[Starlette, str]]:
    """The application without a server, and a token."""
    app = create(settings)
    lifespan = app.router.lifespan_context(app)
    await lifespan.__aenter__()
    try:
        yield app, await Tokens(connect_to(app), settings.feed_name).create("test", frozenset(SCOPES))
    finally:
        await lifespan.__aexit__(None, None, None)  # in order, as a server does it, whatever the test says


def connect_to(app: Starlette) -> Any:
    feed: Feed = app.state.feed
    return feed.log.redis


async def test_cancelled_requests_mix_nothing_up_and_leave_nothing(settings: Settings) -> None:
    """Requests cancelled at random turns of the loop: every answer is the asked one, a publish whose answer was lost
    is published once, and no task, stream, descriptor or connection of the store's pool stays behind."""
    settings = dataclasses.replace(settings, board_items=1, window_events=10, drain_s=0.0, tick_s=600)
    seed = random.SystemRandom().randrange(2**32)
    dice = random.Random(seed)  # noqa: S311
    async with running(settings) as (app, token):
        pool = connect_to(app).connection_pool

        def ask(path: str, query: str = "", method: str = "GET", body: Any = None, key: str = "") -> Asked:
            given = json.dumps(body).encode() if body is not None else b""
            return Asked(app, path, query, method=method, token=token, body=given, key=key)

        def ask_to_publish(key: str) -> Asked:
            return ask("/api/items", "", "POST", {"headline": f"Info {key}", "rubric": "monde"}, key)

        async def publish(key: str) -> dict[str, Any]:
            asked = ask_to_publish(key)
            await asked.run()
            answer: dict[str, Any] = json.loads(asked.answer)
            return answer["item"]  # type: ignore[no-any-return]

        items = {}
        for n in range(ITEMS):
            published = await publish(f"first-{n}")
            items[published["id"]] = published["headline"]
        ids = list(items)
        await asyncio.gather(*(ask(f"/api/items/{id}").run() for id in ids * 3))  # fill the pool
        watched = asyncio.create_task(ask("/stream").run())  # sse-starlette starts its one watcher of the loop
        await until(lambda: app.state.feed.hub.streams == 1, "a stream")
        watched.cancel()
        await asyncio.wait([watched])
        await until(lambda: not pool._in_use_connections or len(pool._in_use_connections) == 1, "a quiet pool")
        tasks_before, descriptors_before = len(asyncio.all_tasks()), descriptors()

        answered: Counter[str] = Counter()
        keys: set[str] = set()

        async def one(n: int) -> None:
            kind = dice.choice(("item", "versions", "page", "publish", "stream", "since"))
            id = dice.choice(ids)
            match kind:
                case "item":
                    asked = ask(f"/api/items/{id}")
                case "versions":
                    asked = ask(f"/api/items/{id}/versions")
                case "page":
                    asked = ask("/api/items", f"limit={dice.randrange(1, 40)}")
                case "publish":
                    keys.add(f"key-{n}")
                    asked = ask_to_publish(f"key-{n}")
                case "since":
                    asked = ask("/stream", "since=0")
                case _:
                    asked = ask("/stream")
            task = asyncio.create_task(asked.run())
            for _ in range(dice.randrange(TURNS_MAX)):
                await asyncio.sleep(0)
            while not task.done():
                task.cancel()  # again where a cancellation was swallowed, or came while another was being cleaned up
                for _ in range(dice.randrange(1, 3)):
                    await asyncio.sleep(0)
            with contextlib.suppress(asyncio.CancelledError):
                await task
            if asked.whole and asked.status:
                answered[f"{kind} {asked.status}"] += 1
                check(kind, id, n, asked)

        def check(kind: str, id: str, n: int, asked: Asked) -> None:
            assert asked.status in (200, 201), (seed, kind, asked.answer)
            if kind in ("stream", "since"):
                return  # an ended stream; what they carry is test_stream's
            answer = json.loads(asked.answer)
            if kind == "item":
                assert (answer["item"]["id"], answer["item"]["headline"]) == (id, items[id]), (seed, answer)
            elif kind == "versions":
                assert items[id] in asked.answer.decode(), (seed, answer)
            elif kind == "publish":
                assert answer["item"]["headline"] == f"Info key-{n}", (seed, answer)
            elif kind == "page":
                assert "items" in answer, (seed, answer)

        for start in range(0, CANCELLED, AT_ONCE):
            await asyncio.gather(*(one(n) for n in range(start, min(start + AT_ONCE, CANCELLED))))

        feed: Feed = app.state.feed
        await until(lambda: len(asyncio.all_tasks()) <= tasks_before, f"no task stays (seed {seed})")
        await until(lambda: len(pool._in_use_connections) <= 1, f"no connection of the pool stays taken (seed {seed})")
        assert feed.hub.streams == 0
        assert not feed.hub._groups
        assert descriptors() <= descriptors_before, f"no descriptor stays (seed {seed})"
        assert any(kind.startswith("item") for kind in answered), answered
        for key in sorted(keys):  # those whose answers were lost among them: asked for again
            assert (await publish(key))["headline"] == f"Info {key}"
        assert feed.mirror.position.seq == ITEMS + len(keys), f"each key was published once (seed {seed})"


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_connections_that_break_at_any_byte_leave_nothing(settings: Settings) -> None:
    """Connections that are reset or closed in mid-request, in mid-event or at once leave no stream, task or descriptor;
    each got its own bytes only, though descriptors are used again while rounds are written."""
    settings = dataclasses.replace(settings, tick_s=0.5, drain_s=0.0)
    seed = random.SystemRandom().randrange(2**32)
    dice = random.Random(seed)  # noqa: S311
    async with serving(settings) as served:
        hub = served.feed.hub
        await served.publish("Première")
        tasks_before, descriptors_before = len(asyncio.all_tasks()), descriptors()

        async def publishing() -> None:
            n = 0
            while True:
                n += 1
                await served.publish(f"Info {n}", body="mot " * dice.choice((1, 1, 2_000)))

        publishers = [asyncio.create_task(publishing()) for _ in range(PUBLISHERS)]
        left = iter(range(BROKEN))
        events = 0

        async def breaking() -> None:
            nonlocal events
            for n in left:
                got = await broken(served, dice, n, seed)
                events += got

        try:
            await asyncio.gather(*(breaking() for _ in range(300)))
        finally:
            await tasks.end(publishers)
        assert events, "rounds were written meanwhile"
        await until(lambda: hub.streams == 0, f"no stream stays (seed {seed})")
        assert not hub._groups
        assert not any(hub._wheel)
        assert not hub._behind
        assert not hub._drained
        await until(lambda: len(asyncio.all_tasks()) <= tasks_before, f"no task stays (seed {seed})")
        kept = 2 * PUBLISHERS  # both ends of the publishers' connections
        await until(lambda: descriptors() <= descriptors_before + kept, f"no descriptor stays (seed {seed})")
        state = served.server.server_state
        await until(
            lambda: not state.tasks and len(state.connections) <= PUBLISHERS, f"none at the server (seed {seed})"
        )


async def broken(served: Serving, dice: random.Random, n: int, seed: int) -> int:
    """One connection that breaks somewhere; how many events it had got by then, all of which are checked."""
    loop = asyncio.get_running_loop()
    kind = dice.choice(("stream", "stream", "stream", "filter", "page", "head"))
    path = {"filter": "/stream?rubric=sport", "page": "/api/items?limit=1", "head": "/livez"}.get(kind, "/stream")
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Padding: {'p' * dice.randrange(200)}\r\n\r\n".encode()
    received = b""
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", served.port))
        cut = dice.choice((len(request), len(request), len(request), dice.randrange(len(request))))
        await loop.sock_sendall(sock, request[:cut])
        wanted = dice.choice((0, dice.randrange(600), dice.randrange(20_000), dice.randrange(200_000)))
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(dice.choice((0.02, 0.2, 1.0))):
                while cut == len(request) and len(received) < wanted:
                    more = await loop.sock_recv(sock, min(wanted - len(received), 65_536))
                    if not more:
                        break
                    received += more
        if dice.random() < 0.6:  # a reset rather than a close
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if not received:
        return 0
    return check_bytes(kind, received, f"connection {n} ({kind}), seed {seed}: {received[:2_000]!r}")


def check_bytes(kind: str, received: bytes, told: str) -> int:
    """How many events a connection got, whose bytes must be the beginning of its own answer: a head, whole chunks, and
    events in order without a hole."""
    if len(received) < 17:
        return 0
    assert received.startswith(b"HTTP/1.1 200 OK\r\n"), told
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return 0
    if kind in ("page", "head"):
        assert b"text/event-stream" not in head, told
        assert b"event: " not in body, told
        length = int(re.search(rb"content-length: (\d+)", head).group(1))  # type: ignore[union-attr]
        assert len(body) <= length, told
        return 0
    assert b"text/event-stream" in head, told
    stream = b""
    while body:
        size, found, rest = body.partition(b"\r\n")
        if not found:
            assert re.fullmatch(rb"[0-9a-f]{1,6}\r?", size), told
            break
        length = int(size, 16)
        stream += rest[:length]
        if len(rest) >= length + 2:
            assert rest[length : length + 2] == b"\r\n", told
        body = rest[length + 2 :]
    seqs = [int(seq) for seq in re.findall(rb"^id: (\d+)-[0-9a-f]{8}\nevent: item\ndata: ", stream, re.MULTILINE)]
    assert kind != "filter" or not seqs, told
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs))) if seqs else True, told
    return len(seqs)
