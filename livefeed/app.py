"""The application: wires the parts into one Starlette app."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from livefeed import health, metrics
from livefeed.errors import ApiError, BadRequest, Internal, NotFound, WrongMethod
from livefeed.feed.pace import STATE
from livefeed.feed.reading import Feed
from livefeed.feed.store import connect
from livefeed.feed.stream import stream
from livefeed.newsroom import api as newsroom_api
from livefeed.newsroom.publishing import Publisher
from livefeed.newsroom.tokens import Tokens
from livefeed.outlets import api as outlets_api
from livefeed.reader import pages
from livefeed.reader.errors import error_page
from livefeed.reader.headers import SecurityHeaders
from livefeed.settings import Settings

logger = structlog.get_logger()


def create(settings: Settings | None = None) -> Starlette:
    """The application; `settings` of None come from the environment, as server processes do it."""
    settings = settings or Settings.from_environ()
    routes: list[BaseRoute] = [
        Route("/stream", stream, methods=["GET", "HEAD", "OPTIONS"]),
        *health.ROUTES,
        *metrics.ROUTES,
        *newsroom_api.routes(settings),
        *outlets_api.routes(settings),
        *pages.routes(settings),
    ]

    requests: Counter[tuple[str, int]] = Counter()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, object]]:
        redis = connect(settings)
        app.state.feed = feed = Feed(redis, settings)
        app.state.tokens = Tokens(redis, settings.feed_name)
        app.state.publisher = Publisher(feed.log, settings)
        try:
            await feed.start()
            app.state.reporter = reporter = metrics.Reporter(feed, requests)
            async with reporter.reporting():
                feed.supervise("report", reporter.run)
                # The server's protocol finds it in the lifespan's state; under another server nobody asks for it.
                yield {STATE: feed.pace}
                await feed.stop()
        finally:
            await redis.aclose()

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(metrics.Counted, requests=requests, routes=routes),
            Middleware(SecurityHeaders, settings=settings),
        ],
        exception_handlers={
            ApiError: _on_api_error,
            HTTPException: _on_http_error,
            ClientDisconnect: _on_gone,
            Exception: _on_failure,
        },
    )
    app.state.settings = settings
    app.router.redirect_slashes = False  # "/stream/" is not "/stream": an EventSource must not be sent around
    return app


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101  (registered for it)
    return error_page(request, error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors, in our shape."""
    assert isinstance(error, HTTPException)  # noqa: S101  (registered for it)
    if error.status_code == 404:
        return await _on_api_error(request, NotFound(f"There is nothing at {request.url.path[:200]}."))
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods(request)))
        message = f"{request.method[:20]} is not possible here; allowed: {allowed}."
        return await _on_api_error(request, WrongMethod(message, headers={"allow": allowed}))
    failure = BadRequest(str(error.detail)) if error.status_code < 500 else Internal(str(error.detail))
    return await _on_api_error(request, failure)


async def _on_gone(request: Request, error: Exception) -> Response:
    """The client has gone, or was cut, before its body was read: nobody is left to answer."""
    return Response(status_code=408)


async def _on_failure(request: Request, error: Exception) -> Response:
    """A bug of ours; Starlette raises it again behind this answer, and the server logs it."""
    response = await _on_api_error(request, Internal("Something went wrong on our side; it has been logged."))
    response.headers.setdefault("x-content-type-options", "nosniff")  # this is made outside of all middleware
    return response


def _methods(request: Request) -> set[str]:
    """All methods of this address: Starlette names those of the first route only."""
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return methods
