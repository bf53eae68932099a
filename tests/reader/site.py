"""The readers' pages over items held in memory, with a clock that the test sets."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from livefeed.errors import ApiError, Internal, NotFound, Unavailable
from livefeed.feed import item as items
from livefeed.feed import markdown
from livefeed.feed.filter import Filter
from livefeed.feed.item import Item, PublicItem
from livefeed.feed.reading import Snapshot
from livefeed.reader import pages
from livefeed.reader.errors import error_page
from livefeed.reader.headers import SecurityHeaders
from livefeed.settings import Settings

NOON = datetime(2024, 8, 8, 12, 55, tzinfo=UTC)
"""In Casablanca: 08.08.2024 à 13 H 55."""

_numbers = itertools.count(1)


class MemorySource:
    """What `app.state.feed` offers to pages, from a list of items."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self.live = True
        self.away = False
        self._seq = 0
        self.snapshots = 0

    @property
    def position(self) -> str:
        return f"{self._seq}-{self._seq:08x}"

    def put(self, item: Item) -> None:
        self._seq += 1
        self._items[item.id] = item

    async def snapshot(self, filter: Filter, limit: int, before: str | None = None) -> Snapshot:
        if self.away:
            raise Unavailable("The store cannot be reached.")
        self.snapshots += 1
        found = [item for item in self._items.values() if filter.matches(item.facets)]
        found.sort(key=lambda item: (item.first_published_at, item.id), reverse=True)
        start = int(before) if before else 0
        end = start + limit
        return Snapshot(
            tuple(item.public() for item in found[start:end]), self.position, str(end) if end < len(found) else None
        )

    async def item(self, id: str) -> PublicItem | None:
        item = self._items.get(id)
        return item.public() if item else None


class Site:
    """A newsroom with a reader: `publish` and `change` on one side, `get` on the other."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.now = NOON
        self.source = MemorySource()
        self.settings = settings or Settings()
        self.app = Starlette(
            routes=pages.routes(self.settings, lambda: self.now),
            middleware=[Middleware(SecurityHeaders, settings=self.settings)],
            exception_handlers={ApiError: _answer, HTTPException: _nothing_there, Exception: _failed},
        )
        self.app.router.redirect_slashes = False
        self.app.state.settings = self.settings
        self.app.state.feed = self.source
        self.client: httpx.AsyncClient

    def publish(self, headline: str = "Une info", body: str = "", **fields: Any) -> Item:
        number = next(_numbers)
        at = fields.pop("at", self.now) + timedelta(milliseconds=number)
        given = {"rubric": "monde", "status": "published", "version": 1, "created_at": at, "changed_at": at, **fields}
        item = Item(
            id=f"{number:018}",
            headline=headline,
            body=body,
            body_html=markdown.render(body),
            first_published_at=at,
            **given,
        )
        self.source.put(item)
        return item

    def change(self, item: Item, **fields: Any) -> Item:
        item = msgspec.structs.replace(item, version=item.version + 1, **fields)
        self.source.put(item)
        return item

    async def get(self, path: str, **headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(path, headers={"accept": "text/html", **given})

    async def page(self, path: str = "/") -> str:
        """The HTML of a page that is there."""
        response = await self.get(path)
        assert response.status_code == 200, response.text
        return response.text


@contextlib.asynccontextmanager
async def opened(settings: Settings | None = None) -> AsyncIterator[Site]:
    """A site whose pages can be asked for."""
    site = Site(settings)
    transport = httpx.ASGITransport(site.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://news.example") as site.client:
        yield site


async def _answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_page(request, error)


async def _nothing_there(request: Request, error: Exception) -> Response:
    return error_page(request, NotFound("There is nothing here."))


async def _failed(request: Request, error: Exception) -> Response:
    return error_page(request, Internal("Something went wrong."))


assert items.is_id(f"{1:018}")
