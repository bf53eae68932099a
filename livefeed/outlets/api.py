"""The public JSON API: items with the position at which they are true. Open to every origin."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from livefeed.errors import BadRequest, NotFound, Withdrawn
from livefeed.feed.filter import PARAMETERS, Filter
from livefeed.feed.item import Item, PublicItem, is_id, lite, stub
from livefeed.feed.reading import Feed
from livefeed.feed.sse import VIEWS
from livefeed.responses import build_id, json_response, matches, not_modified, weak_etag
from livefeed.settings import Settings

LIMIT_DEFAULT = 30
LIMIT_MAX = 100
"""Most items of one page: some 200 KB of JSON with full bodies."""
_PUBLIC = {"access-control-allow-origin": "*", "cache-control": "no-cache"}


def routes(settings: Settings) -> list[Route]:
    """The routes of this API; they need `feed` in the application's state."""
    api = _Api(settings)
    return [
        Route("/api/items", api.items, methods=["GET"]),
        Route("/api/items/{id}", api.item, methods=["GET"]),
        Route("/api/items/{id}/versions", api.versions, methods=["GET"]),
    ]


class _Api:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._build = build_id(settings)

    async def items(self, request: Request) -> Response:
        """The snapshot: the newest items and the log's position, or older ones below a cursor."""
        feed: Feed = request.app.state.feed
        query = request.query_params
        known = {*PARAMETERS, "limit", "before", "view"}
        for name in query:
            if name not in known:
                raise BadRequest(
                    f"{name[:80]!r} is not a parameter; known are {', '.join(sorted(known))}.", field=name[:80]
                )
        wanted = Filter.parse(query, self._settings)
        limit = _limit(query.get("limit"))
        view = query.get("view", "full")
        if view not in VIEWS:
            raise BadRequest(f"view must be one of {', '.join(VIEWS)}.", field="view")
        page = (wanted.query(), limit, query.get("before"), view, self._build)
        etag = weak_etag(feed.position, *page)
        if matches(request, etag):
            return not_modified(etag, _PUBLIC)
        snapshot = await feed.snapshot(wanted, limit, query.get("before"))
        data = {
            "items": [lite(item) if view == "lite" else self._absolute(item) for item in snapshot.items],
            "position": snapshot.position,
            "next": snapshot.next,
        }
        return json_response(data, headers={**_PUBLIC, "etag": weak_etag(snapshot.position, *page)})

    async def item(self, request: Request) -> Response:
        """One item, or 410 with its stub."""
        feed: Feed = request.app.state.feed
        id = request.path_params["id"]
        item = await feed.item(id) if is_id(id) else None
        if item is None:
            raise _unknown(id)
        if item.status == "withdrawn":
            shown = msgspec.to_builtins(self._absolute(item))
            raise Withdrawn("The newsroom has withdrawn this item.", headers=_PUBLIC, item=shown)
        etag = weak_etag(id, item.version, self._build)
        if matches(request, etag):
            return not_modified(etag, _PUBLIC)
        data = {"item": self._absolute(item), "position": feed.position}
        return json_response(data, headers={**_PUBLIC, "etag": etag})

    async def versions(self, request: Request) -> Response:
        """The item's public history: what readers were shown, one entry each; silent edits are the desk's.

        While the item is withdrawn every version is its stub.
        """
        feed: Feed = request.app.state.feed
        id = request.path_params["id"]
        versions = await feed.log.versions(id) if is_id(id) else []
        shown = [version for version in versions if version.is_public]
        if not shown:
            raise _unknown(id)
        withdrawn = shown[-1].status == "withdrawn"
        history = [self._version(item, withdrawn) for item in shown if item.change != "edit"]
        etag = weak_etag(id, shown[-1].version, self._build)
        if matches(request, etag):
            return not_modified(etag, _PUBLIC)
        return json_response({"versions": history}, headers={**_PUBLIC, "etag": etag})

    def _version(self, item: Item, withdrawn: bool) -> dict[str, Any]:
        public = item.public()
        return {
            "version": item.version,
            "change": item.change,
            "at": item.changed_at,
            "note": item.note if item.change == "correct" and not withdrawn else None,
            "item": self._absolute(stub(public) if withdrawn else public),
        }

    def _absolute(self, item: PublicItem) -> PublicItem:
        return msgspec.structs.replace(item, url=self._settings.base_url + item.url)


def _limit(given: str | None) -> int:
    """:raises BadRequest: for anything but a whole number within bounds."""
    if given is None:
        return LIMIT_DEFAULT
    if not (given.isascii() and given.isdecimal() and len(given) < 4 and 1 <= int(given) <= LIMIT_MAX):
        raise BadRequest(f"limit must be a whole number from 1 to {LIMIT_MAX}.", field="limit")
    return int(given)


def _unknown(id: str) -> NotFound:
    return NotFound(f"There is no item {id[:40]!r}.", field="id", headers=_PUBLIC)
