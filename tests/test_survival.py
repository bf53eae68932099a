"""What was acknowledged survives: kill -9 of the store, of the server, and of everything at once."""

from __future__ import annotations

import asyncio
import functools
import http.client
import json
import os
import signal
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from livefeed.embedded import connection_url
from livefeed.newsroom.tokens import Tokens
from livefeed.settings import Settings
from tests.servers import LiveServer, fetch, serving, store_pid, wait_for


class Editor(threading.Thread):
    """Publishes one item after the other; an item without an answer is sent again with the same key."""

    def __init__(self, server: LiveServer, token: str) -> None:
        super().__init__()
        self.acknowledged: list[dict[str, Any]] = []
        self._server = server
        self._token = token
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.is_set():
            number = len(self.acknowledged)
            request = urllib.request.Request(  # noqa: S310 (our own server)
                f"{self._server.url}/api/items",
                json.dumps({"headline": f"Dépêche {number}", "rubric": "monde"}).encode(),
                {
                    "Content-Type": "application/json",
                    "Authorization": f"Bearer {self._token}",
                    "Idempotency-Key": f"item-{number}",
                },
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                    self.acknowledged.append(json.loads(answer.read()))
            except urllib.error.HTTPError as error:
                error.close()
                if error.code != 503:
                    raise
            except (OSError, http.client.HTTPException):
                self._done.wait(0.05)  # nobody listens for a moment

    def publishes(self, more: int) -> None:
        """Wait until so many more items are acknowledged."""
        wanted = len(self.acknowledged) + more
        wait_for(lambda: len(self.acknowledged) >= wanted or not self.is_alive(), f"{more} more receipts", 20)
        assert self.is_alive()

    def stop(self) -> None:
        """Finish the item under way."""
        self._done.set()
        self.join()


def answered(url: str) -> bytes:
    """The body of a 200, or nothing."""
    status, body = fetch(url)
    return body if status == 200 else b""


async def mint(settings: Settings) -> str:
    """A token for publishing, made as the command line makes it."""
    with connection_url(settings) as url:
        async with Redis.from_url(url) as redis:
            return await Tokens(redis, settings.feed_name).create("test", frozenset({"publish"}))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_acknowledged_publish_survives(tmp_path: Path, workers: str) -> None:
    """Through kill -9 of the store, of the server and of both, every receipt stays true and no item is doubled."""
    data_dir = tmp_path / "var"
    with serving(data_dir, env={"LIVEFEED_WORKERS": workers}) as server:
        editor = Editor(server, asyncio.run(mint(Settings(data_dir=data_dir))))
        editor.start()
        try:
            editor.publishes(50)
            os.kill(store_pid(data_dir), signal.SIGKILL)
            editor.publishes(50)
            server.kill()
            server.start()
            editor.publishes(50)
            os.kill(store_pid(data_dir), signal.SIGKILL)
            server.kill()
            server.start()
            editor.publishes(50)
        finally:
            editor.stop()
        receipts = editor.acknowledged
        assert [int(receipt["position"].split("-")[0]) for receipt in receipts] == list(range(1, len(receipts) + 1))
        for receipt in receipts:
            url = f"{server.url}/api/items/{receipt['item']['id']}"
            # The worker that is asked may hear of the last ones a moment after the one that published them.
            body = wait_for(functools.partial(answered, url), f"{url}, the item of {receipt['position']}")
            assert json.loads(body)["item"]["headline"] == receipt["item"]["headline"]
        wait_for(lambda: fetch(f"{server.url}/readyz")[0] == 200, "readiness after all that")
