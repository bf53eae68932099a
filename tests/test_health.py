"""Health is honest: red within 5 s, with the defaults, whenever an event published now would not arrive."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from blockbuster import BlockingError
from redis.asyncio import Redis
from structlog.testing import capture_logs

from livefeed import reports
from livefeed.app import create
from livefeed.embedded import EmbeddedServer
from livefeed.feed.log import Log
from livefeed.settings import Settings
from tests.servers import fetch, wait_for
from tests.servers import serving as process
from tests.serving import Serving, reading, serving, until

RED_S = 5.0
"""The promise: from the fault to a red answer, at most."""


class Proxy:
    """Between the server and its store; while `deaf`, what the store says to a subscription goes nowhere."""

    def __init__(self, store: EmbeddedServer, path: Path) -> None:
        self.deaf = False
        self.url = f"unix://{path}?db=0"
        self._target = store.url.removeprefix("unix://").partition("?")[0]
        self._path = path
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._serve, self._path)
        try:
            yield
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        back_reader, back_writer = await asyncio.open_unix_connection(self._target)
        subscribed = False

        async def forth() -> None:
            nonlocal subscribed
            while data := await reader.read(65_536):
                subscribed = subscribed or b"SUBSCRIBE" in data
                back_writer.write(data)

        async def back() -> None:
            while data := await back_reader.read(65_536):
                if not (subscribed and self.deaf):
                    writer.write(data)

        ways = [asyncio.create_task(forth()), asyncio.create_task(back())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            back_writer.close()
            self._tasks.discard(task)


@dataclasses.dataclass
class Scene:
    """What a fault may act on."""

    store: EmbeddedServer
    proxy: Proxy
    admin: Redis


@contextlib.asynccontextmanager
async def paused(scene: Scene) -> AsyncIterator[None]:
    assert scene.store.pid is not None
    os.kill(scene.store.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(scene.store.pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def black_holed(scene: Scene) -> AsyncIterator[None]:
    scene.proxy.deaf = True
    yield
    scene.proxy.deaf = False


@contextlib.asynccontextmanager
async def read_only(scene: Scene) -> AsyncIterator[None]:
    await scene.admin.replicaof("127.0.0.1", 1)
    yield
    await scene.admin.replicaof("NO", "ONE")


def configured(name: str, value: str, good: str) -> Callable[[Scene], AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        await scene.admin.config_set(name, value)
        yield
        await scene.admin.config_set(name, good)

    return fault


FAULTS: dict[str, tuple[Callable[[Scene], AbstractAsyncContextManager[None]], str]] = {
    "the store is paused": (paused, "no probe has come back|no probe came back|does not answer"),
    "the subscription goes nowhere": (black_holed, "no probe has come back|no probe came back|does not answer"),
    "the store is read-only": (read_only, "READONLY"),
    "the store is out of memory": (configured("maxmemory", "1", "0"), "OOM"),
    "the store lacks replicas": (configured("min-replicas-to-write", "1", "0"), "NOREPLICAS"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_red_within_five_seconds(settings: Settings, tmp_path: Path, name: str) -> None:
    """With default settings: readiness is red with the reason, ticks say `live: false`, `/livez` stays green; and all
    is well again afterwards."""
    fault, reasons = FAULTS[name]
    with EmbeddedServer(tmp_path / "store") as store:
        proxy = Proxy(store, tmp_path / "proxy")
        settings = dataclasses.replace(settings, redis_url=proxy.url, tick_s=0.3, drain_s=0.0)
        async with (
            proxy.listening(),
            Redis.from_url(store.url) as admin,
            serving(settings) as served,
            reading(served) as reader,
        ):
            assert (await served.client.get("/readyz")).status_code == 200
            async with fault(Scene(store, proxy, admin)):
                began = time.monotonic()
                message = await turned(served, 503)
                took_s = time.monotonic() - began
                assert any(reason in message for reason in reasons.split("|")), message
                assert took_s < RED_S
                assert (await served.client.get("/livez")).status_code == 200
                assert (await served.client.get("/api/items")).status_code == 200
                ticks = len(reader.of("tick"))
                await reader.until(lambda r: len(r.of("tick")) > ticks and r.of("tick")[-1]["live"] is False)
            await turned(served, 200)
            await served.publish("Enfin")
            await reader.until(lambda r: r.items)
            await reader.until(lambda r: r.of("tick")[-1]["live"] is True)


async def turned(served: Serving, status: int) -> str:
    """The message of the first `/readyz` with this status."""
    deadline = time.monotonic() + 15
    while True:
        answer = await served.client.get("/readyz")
        if answer.status_code == status:
            return str(answer.json().get("error", {}).get("message"))
        assert time.monotonic() < deadline, answer.text
        await asyncio.sleep(0.02)


async def test_a_late_loop_is_not_live(settings: Settings) -> None:
    """A loop that was blocked for longer than the bound says so until it is in time again."""
    async with serving(settings) as served:
        with capture_logs() as lines:
            time.sleep(2.3)  # noqa: ASYNC251  (that is the fault)
            why = served.feed.why_not_live
            assert why is not None
            assert "the event loop is" in why
            await until(lambda: served.feed.live, "the loop's being in time again")
            served.feed.watch.look()
        assert served.feed.lag.worst_s() > 2
        late = [line for line in lines if line["event"] == "the event loop was late"]
        assert late
        assert late[0]["by_s"] > 2


async def test_rounds_that_do_not_go_on_are_not_live(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that has arrived, but waits for its round in vain, turns readiness red."""
    stuck = asyncio.Event()

    async def never(*_: Any) -> None:
        await stuck.wait()

    async with serving(dataclasses.replace(settings, deaf_s=1.0, probe_s=0.2)) as served, reading(served) as reader:
        monkeypatch.setattr(served.feed.hub, "_serve", never)
        await served.publish("Info 1")
        assert "waits for its round" in await turned(served, 503)
        monkeypatch.undo()
        stuck.set()
        await served.publish("Info 2")
        await turned(served, 200)
        await reader.until(lambda r: len(r.items) == 2)


async def test_a_start_on_a_store_that_refuses_writes_serves_readers(settings: Settings) -> None:
    """Pages and streams are served from the first moment; readiness says why nothing can be published."""
    async with Redis.from_url(settings.redis_url) as admin:
        await Log(admin, settings).head()
        try:
            async with serving(settings) as first:  # its token cannot be made otherwise
                await first.publish("Avant")
                await admin.config_set("maxmemory", "1")
                async with _serving_without_token(settings) as client_port:
                    status, body = await asyncio.to_thread(fetch, f"http://127.0.0.1:{client_port}/readyz")
                    assert (status, b"OOM" in body) == (503, True)
                    assert (await asyncio.to_thread(fetch, f"http://127.0.0.1:{client_port}/"))[0] == 200
        finally:
            await admin.config_set("maxmemory", "0")


@contextlib.asynccontextmanager
async def _serving_without_token(settings: Settings) -> AsyncIterator[int]:
    config = uvicorn.Config(create(settings), loop="none", ws="none", lifespan="on", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        task = asyncio.create_task(server._serve([sock]))
        try:
            await until(lambda: server.started or task.done(), "the server's start")
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            await asyncio.wait_for(task, 10)


def test_a_hanging_worker_turns_all_red(tmp_path: Path) -> None:
    """Two workers, one stopped: whichever is asked is red within 5 s and names it; one that died is just replaced."""
    with process(tmp_path / "var", env={"LIVEFEED_WORKERS": "2"}) as server:
        (place,) = (tmp_path / "var" / "run").glob("reports-*")
        wait_for(lambda: len(reports.read(place)) == 2, "two reports")
        found = reports.read(place)
        hanging = found[1].pid
        os.kill(hanging, signal.SIGSTOP)
        began = time.monotonic()
        try:
            body = wait_for(lambda: _answer(server.url, 503), "red")
            assert time.monotonic() - began < RED_S
            assert b"worker 1: it has not moved for" in body
            assert fetch(f"{server.url}/livez")[0] == 200
        finally:
            os.kill(hanging, signal.SIGCONT)
        wait_for(lambda: _answer(server.url, 200), "green")

        os.kill(hanging, signal.SIGKILL)
        wait_for(lambda: reports.read(place).get(1, found[1]).pid != hanging, "its successor in its slot", 20)
        wait_for(lambda: _answer(server.url, 200), "green")


def _answer(url: str, wanted: int) -> bytes:
    status, body = fetch(f"{url}/readyz", 1.0)
    return body if status == wanted else b""


@pytest.mark.parametrize("blocking", [lambda *_: time.sleep(0.001), lambda *_: Path(__file__).read_bytes()])
async def test_a_blocking_call_in_the_loop_fails_the_test(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, blocking: Callable[..., Any]
) -> None:
    """The guard around every test is not blind: what sleeps or reads a file below the server's code raises."""
    async with serving(settings) as served:
        with monkeypatch.context() as patched:
            patched.setattr("livefeed.feed.hub.random.randint", blocking)
            with pytest.raises(BlockingError):
                served.feed.hub.retry_ms()
