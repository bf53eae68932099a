"""Health: `/livez` says that the process answers, `/readyz` that an event published now would arrive."""

from __future__ import annotations

import os

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from livefeed.errors import Unavailable
from livefeed.feed.reading import Feed
from livefeed.responses import json_response

_UNCACHED = {"cache-control": "no-store"}


async def livez(request: Request) -> Response:
    """200 for as long as the process answers at all."""
    return json_response({"status": "alive"}, headers=_UNCACHED)


async def readyz(request: Request) -> Response:
    """200 while the process hears the log; 503 with the reason otherwise, and while it drains."""
    feed: Feed = request.app.state.feed
    if feed.hub.draining:
        raise Unavailable("This process is stopping.")
    if reason := feed.why_not_live:
        raise Unavailable(f"An event published now would not arrive: {reason}.")
    return json_response(
        {"status": "ready", "position": feed.position, "streams": feed.hub.streams, "process": os.getpid()},
        headers=_UNCACHED,
    )


ROUTES = [Route("/livez", livez), Route("/readyz", readyz)]
