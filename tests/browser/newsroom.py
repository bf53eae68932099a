"""A newsroom for tests with a browser: it publishes over HTTP to a real server."""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from redis.asyncio import Redis

from livefeed import embedded
from livefeed.newsroom.tokens import SCOPES, Tokens
from livefeed.settings import Settings
from tests.servers import LiveServer

_numbers = itertools.count(1)


class Newsroom:
    """Publishes and changes items; each answer is the API's, with `item`, `version` and `position`."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        with ThreadPoolExecutor(1) as thread:  # Playwright's own loop runs in this one
            self._token = thread.submit(asyncio.run, _token(server)).result()

    def publish(self, headline: str = "Une info", **fields: Any) -> dict[str, Any]:
        return self._post("/api/items", {"headline": headline, "rubric": "monde", **fields})

    def backfill(self, headline: str, at: str, **fields: Any) -> dict[str, Any]:
        entry = {"guid": f"guid-{next(_numbers)}", "headline": headline, "rubric": "monde", "first_published_at": at}
        return self._post("/api/import", {**entry, **fields})

    def change(self, answer: dict[str, Any], change: str = "edit", **fields: Any) -> dict[str, Any]:
        headers = {"if-match": f'"{answer["version"]}"'}
        path = f"/api/items/{answer['item']['id']}"
        return self._sent("PATCH", path, {"change": change, **fields}, headers)

    def correct(self, answer: dict[str, Any], note: str, **fields: Any) -> dict[str, Any]:
        return self.change(answer, "correct", note=note, **fields)

    def withdraw(self, answer: dict[str, Any]) -> dict[str, Any]:
        return self._post(f"/api/items/{answer['item']['id']}/withdraw", {})

    def restore(self, answer: dict[str, Any]) -> dict[str, Any]:
        return self._post(f"/api/items/{answer['item']['id']}/restore", {})

    def pin(self, answer: dict[str, Any], until: str) -> dict[str, Any]:
        return self._post(f"/api/items/{answer['item']['id']}/pin", {"until": until})

    def _post(self, path: str, body: Any) -> dict[str, Any]:
        return self._sent("POST", path, body, {})

    def _sent(self, method: str, path: str, body: Any, headers: dict[str, str]) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self._token}", **headers}
        response = httpx.request(method, self.server.url + path, json=body, headers=headers, timeout=10)
        assert response.status_code in (200, 201), response.text
        answer: dict[str, Any] = response.json()
        return answer


async def _token(server: LiveServer) -> str:
    settings = Settings(data_dir=server.data_dir)
    with embedded.connection_url(settings) as url:
        redis = Redis.from_url(url)
        try:
            return await Tokens(redis, settings.feed_name).create("browser tests", frozenset(SCOPES))
        finally:
            await redis.aclose()
