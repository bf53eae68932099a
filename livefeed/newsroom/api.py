"""The HTTP API that publishes: tokens with scopes, idempotency keys, versions by If-Match."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from livefeed.errors import BadRequest, Forbidden, Unauthorized
from livefeed.feed.position import Position
from livefeed.feed.reading import Feed
from livefeed.newsroom.input import ChangeItem, Entry, NewItem, Pin, Withdrawal, decode
from livefeed.newsroom.publishing import Published, Publisher, Request
from livefeed.newsroom.tokens import Token, Tokens
from livefeed.responses import json_response, read_body, require_json
from livefeed.settings import Settings

_KEY = re.compile(r"[\x21-\x7e]{1,200}")
"""An Idempotency-Key: visible ASCII, as RFC 9110 5.5 has field values, and short."""
_VERSION = re.compile(r'"?([1-9][0-9]{0,9})"?')


def routes(settings: Settings) -> list[Route]:
    """The routes of this API; they need `tokens` and `publisher` in the application's state."""
    api = _Api(settings)
    return [
        Route("/api/items", api.create, methods=["POST"]),
        Route("/api/items/{id}", api.change, methods=["PATCH"]),
        Route("/api/items/{id}/withdraw", api.withdraw, methods=["POST"]),
        Route("/api/items/{id}/restore", api.restore, methods=["POST"]),
        Route("/api/items/{id}/pin", api.pin, methods=["POST"]),
        Route("/api/import", api.upsert, methods=["POST"]),
    ]


async def authorize(request: HttpRequest, scope: str) -> Token:
    """The request's token.

    :raises Unauthorized: without a good one.
    :raises Forbidden: without the scope.
    """
    tokens: Tokens = request.app.state.tokens
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    token = await tokens.check(value.strip()) if kind.lower() == "bearer" and value.strip() else None
    if token is None:
        raise Unauthorized(
            "A good token is needed: Authorization: Bearer <token>; `livefeed token create` makes one.",
            headers={"www-authenticate": 'Bearer realm="livefeed"'},
        )
    if scope not in token.scopes:
        raise Forbidden(f"The token lacks the scope {scope!r}; it has {', '.join(token.scopes)}.", scope=scope)
    return token


class _Api:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def create(self, request: HttpRequest) -> Response:
        publisher, asked = await self._asked(request, "publish")
        published = await publisher.create(decode(asked.body, NewItem), asked)
        return await self._answer(request, published, status=201)

    async def change(self, request: HttpRequest) -> Response:
        publisher, asked = await self._asked(request, "publish")
        given = decode(asked.body, ChangeItem)
        return await self._answer(
            request, await publisher.change(request.path_params["id"], given, _based_on(request), asked)
        )

    async def withdraw(self, request: HttpRequest) -> Response:
        return await self._turn(request, lambda publisher: publisher.withdraw)

    async def restore(self, request: HttpRequest) -> Response:
        return await self._turn(request, lambda publisher: publisher.restore)

    async def pin(self, request: HttpRequest) -> Response:
        publisher, asked = await self._asked(request, "publish")
        given = decode(asked.body, Pin)
        return await self._answer(
            request, await publisher.pin(request.path_params["id"], given, _based_on(request), asked)
        )

    async def upsert(self, request: HttpRequest) -> Response:
        publisher, asked = await self._asked(request, "publish")
        outcome, item, position = await publisher.upsert(decode(asked.body, Entry), asked)
        if position is not None:
            await _reached(request, position)
        answer = {**self._data(item), "outcome": outcome, "position": None if position is None else str(position)}
        return json_response(answer, 201 if outcome == "created" else 200)

    async def _turn(
        self,
        request: HttpRequest,
        verb: Callable[[Publisher], Callable[[str, Withdrawal, int | None, Request], Awaitable[Published]]],
    ) -> Response:
        publisher, asked = await self._asked(request, "withdraw", body_required=False)
        given = decode(asked.body, Withdrawal) if asked.body else Withdrawal()
        return await self._answer(
            request, await verb(publisher)(request.path_params["id"], given, _based_on(request), asked)
        )

    async def _asked(
        self, request: HttpRequest, scope: str, *, body_required: bool = True
    ) -> tuple[Publisher, Request]:
        """Who asks for what. The token comes first: nobody else's body is read."""
        token = await authorize(request, scope)
        key = request.headers.get("idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            raise BadRequest("Idempotency-Key must be 1 to 200 visible ASCII characters.", field="Idempotency-Key")
        body = await read_body(request, self._settings.request_max_bytes)
        if body or body_required:
            require_json(request)
        publisher: Publisher = request.app.state.publisher
        return publisher, Request(actor=token.name, scope=token.id, key=key, body=body)

    async def _answer(self, request: HttpRequest, published: Published, status: int = 200) -> Response:
        await _reached(request, published.position)
        data = {**self._data(published.item), "position": str(published.position)}
        headers = {"location": data["url"], "etag": f'"{published.item.version}"'}
        return json_response(data, status, headers)

    def _data(self, item: Any) -> dict[str, Any]:
        url = self._settings.base_url + item.public().url
        return {"item": msgspec.to_builtins(item), "version": item.version, "url": url}


async def _reached(request: HttpRequest, position: Position) -> None:
    """Who is told of a publish can read it here at once."""
    feed: Feed = request.app.state.feed
    await feed.reached(position)


def _based_on(request: HttpRequest) -> int | None:
    """The version in If-Match; None without one.

    :raises BadRequest: for anything else than one version.
    """
    given = request.headers.get("if-match")
    if given is None:
        return None
    match = _VERSION.fullmatch(given.strip())
    if not match:
        raise BadRequest('If-Match must be the version that the change is based on, such as "3".', field="If-Match")
    return int(match[1])
