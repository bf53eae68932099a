"""The readers' pages: the ticker in each language and the page of one item."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from livefeed.errors import NotFound
from livefeed.feed import item as items
from livefeed.feed.filter import Filter
from livefeed.feed.item import PublicItem
from livefeed.feed.reading import Snapshot
from livefeed.reader import ticker
from livefeed.reader.cache import Page, PageCache
from livefeed.reader.dates import iso
from livefeed.reader.item_view import changes_at, view
from livefeed.reader.messages import EDITIONS
from livefeed.reader.rendering import templates
from livefeed.responses import matches, not_modified, weak_etag
from livefeed.settings import Settings

ITEM_KEPT = timedelta(minutes=1)
"""How long an item's rendered page is kept: its readers' streams start at the position in it, and must not have far
to go. The ETag outlives it, as it does not depend on the position."""
_CACHING = {"cache-control": "no-cache"}


class Source(Protocol):
    """What the pages read: `app.state.feed`."""

    @property
    def live(self) -> bool:
        """Whether an event published now would arrive here."""
        ...

    @property
    def position(self) -> str:
        """The position at which this process's memory is true."""
        ...

    async def snapshot(self, filter: Filter, limit: int, before: str | None = None) -> Snapshot:
        """A page of current items."""
        ...

    async def item(self, id: str) -> PublicItem | None:
        """The item, or its stub."""
        ...


def routes(settings: Settings, now: Callable[[], datetime] = items.now) -> list[Route]:
    """The readers' routes; they need `feed` in the application's state."""
    pages = _Pages(settings, now)
    editions = [
        Route(path, partial(pages.ticker, language), methods=["GET"], name=f"ticker-{language}")
        for language, path in EDITIONS.items()
    ]
    slashless = [
        Route(path.rstrip("/"), partial(_redirect, path), methods=["GET"]) for path in EDITIONS.values() if path != "/"
    ]
    return [
        *editions,
        *slashless,
        Route("/i/{id}", pages.item, methods=["GET"]),
        Route("/i/{id}/{slug:path}", pages.item, methods=["GET"]),
        Route("/static/{name:path}", templates(settings).assets.serve, methods=["GET"]),
    ]


class _Pages:
    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._templates = templates(settings)
        self._now = now
        self._cache = PageCache()

    async def ticker(self, language: str, request: Request) -> Response:
        """« En continu »: the newest items of a language, or older ones below a cursor."""
        source: Source = request.app.state.feed
        wanted = ticker.filter_of(request.query_params, language, self._settings)
        before = request.query_params.get("before") or None
        asked = (language, wanted.query(), before)
        live = source.live
        page = self._cache.get((source.position, live, *asked), self._now())
        if page is None:
            snapshot = await source.snapshot(wanted, ticker.PAGE_ITEMS, before)
            now = self._now()
            key = (snapshot.position, live, *asked)
            page = self._cache.get(key, now)  # another request may have rendered it meanwhile
            if page is None:
                body, expires = ticker.render(self._templates, language, wanted, before, snapshot, live, now)
                etag = weak_etag(*key, self._templates.build, expires)
                page = self._cache.put(key, Page(body, etag, expires))
        return _answer(request, page)

    async def item(self, request: Request) -> Response:
        """The page of one item, in its language; 410 with the stub where it is withdrawn.

        :raises NotFound: there is no such item.
        """
        source: Source = request.app.state.feed
        id = request.path_params["id"]
        position = source.position  # read first: what is on the page is at least as new as its position
        item = await source.item(id) if items.is_id(id) else None
        if item is None:
            raise NotFound("There is no such item.", field="id")
        if item.status == "published" and request.scope["path"] != unquote(item.url):
            # Not kept by browsers: the slug follows the headline, also back to one that it had before.
            return _redirect(item.url, request)
        now = self._now()
        live = source.live
        key = (msgspec.json.encode(item), live)
        page = self._cache.get(key, now)
        if page is None:
            end = changes_at(item, now)
            etag = weak_etag(*key, self._templates.build, end)
            kept_until = now + ITEM_KEPT
            body = self._render(item, position, live, now)
            page = self._cache.put(key, Page(body, etag, min(end, kept_until) if end else kept_until))
        return _answer(request, page, 410 if item.status == "withdrawn" else 200)

    def _render(self, item: PublicItem, position: str, live: bool, now: datetime) -> bytes:
        language = item.language
        data = {
            **self._templates.for_browser(language, now),
            "position": position,
            "rendered_at": iso(now),
            "item": {"id": item.id, "version": item.version, "rubric": item.rubric, "thread": item.thread},
        }
        shown = view(item, language, self._templates.dates[language], self._settings.site, now)
        return self._templates.render("item_page.html", language, view=shown, data=data, live=live)


def _answer(request: Request, page: Page, status: int = 200) -> Response:
    headers = {**_CACHING, "etag": page.etag}
    if status == 200 and matches(request, page.etag):
        return not_modified(page.etag, headers)
    return HTMLResponse(page.body, status, headers)


def _redirect(path: str, request: Request) -> Response:
    query = request.url.query
    return RedirectResponse(f"{path}?{query}" if query else path, 308, _CACHING)
