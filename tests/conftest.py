"""Fixtures that many tests share: a real store, and a real server on it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import uvloop
from blockbuster import BlockBuster
from sse_starlette.sse import AppStatus

from livefeed.embedded import EmbeddedServer
from livefeed.settings import Settings
from tests.servers import LiveServer, serving


@pytest.fixture(autouse=True)
def _nothing_is_stopping() -> None:
    """sse-starlette keeps for the whole process that a server was told to stop; each test starts without that."""
    AppStatus.should_exit = False


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("LIVEFEED_") or name in ("HOST", "PORT"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def loop_guard() -> Iterator[BlockBuster]:
    """Whatever the server does in its event loop that blocks it (sleeping, files, locks, sockets) fails the test."""
    guard = BlockBuster(
        scanned_modules=[
            *("livefeed.feed", "livefeed.reader", "livefeed.outlets"),
            *("livefeed.newsroom.api", "livefeed.newsroom.publishing", "livefeed.newsroom.tokens"),  # not the client's
            *("livefeed.app", "livefeed.health", "livefeed.metrics", "livefeed.reports", "livefeed.responses"),
        ]
    )
    for function in guard.functions.values():
        function.can_block_in("livefeed/app.py", "create")  # before anything is served: templates, assets
        function.can_block_in("livefeed/reader/pages.py", "routes")  # the same
        function.can_block_in("livefeed/feed/log.py", "_source")  # the same: scripts
        function.can_block_in("redis/utils.py", "get_lib_version")  # a test's own client; `connect` asks once
        function.can_block_in("logging/__init__.py", "emit")  # a line on standard error
        function.can_block_in("structlog/_output.py", "msg")
    guard.activate()
    yield guard
    guard.deactivate()


@pytest.fixture(scope="session")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Valkey for each pytest process: with xdist each worker has its own."""
    with EmbeddedServer(tmp_path_factory.mktemp("store")) as server:
        yield server.url


@pytest.fixture
def valkey(_store: str) -> str:
    """URL of a real, empty Valkey, for ``redis.from_url`` and ``LIVEFEED_REDIS_URL``."""
    with redis.Redis.from_url(_store) as client:
        client.flushall()
    return _store


@pytest.fixture
def settings(valkey: str, tmp_path: Path) -> Settings:
    """Default settings over an empty Valkey, a data directory of the test's own, and a free port."""
    return Settings(redis_url=valkey, data_dir=tmp_path / "var", port=0)


@pytest.fixture
def livefeed_server(tmp_path: Path) -> Iterator[LiveServer]:
    """A real livefeed with the embedded store, as a process of its own."""
    with serving(tmp_path / "var") as server:
        yield server


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}
