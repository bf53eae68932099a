"""Health: `/livez` says that the process answers, `/readyz` that an event published now would arrive."""

from __future__ import annotations

import os
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from livefeed.errors import Unavailable
from livefeed.feed.reading import Feed
from livefeed.metrics import Reporter
from livefeed.reports import Report
from livefeed.responses import json_response

_UNCACHED = {"cache-control": "no-store"}


def trouble(found: Mapping[int, Report]) -> str | None:
    """Why an event published now would not reach all readers of these processes; None when it would."""
    reasons = [
        f"worker {worker}: {reason}"
        for worker, report in found.items()
        if not report.draining and (reason := report.trouble())
    ]
    return "; ".join(reasons) or None


async def livez(request: Request) -> Response:
    """200 for as long as the process answers at all."""
    return json_response({"status": "alive"}, headers=_UNCACHED)


async def readyz(request: Request) -> Response:
    """200 while an event published now would arrive; 503 with the reason otherwise, and while the process drains.

    Each process that shares the port is asked of: readers are with all of them, and which one answers is chance.
    """
    feed: Feed = request.app.state.feed
    if feed.hub.draining:
        raise Unavailable("This process is stopping.")
    if reason := feed.why_not_live:
        raise Unavailable(f"An event published now would not arrive: {reason}.")
    reporter: Reporter = request.app.state.reporter
    found = await reporter.all()
    if reason := trouble({worker: report for worker, report in found.items() if worker != reporter.worker}):
        raise Unavailable(f"An event published now would not arrive everywhere: {reason}.")
    return json_response(
        {"status": "ready", "position": feed.position, "streams": feed.hub.streams, "process": os.getpid()},
        headers=_UNCACHED,
    )


ROUTES = [Route("/livez", livez), Route("/readyz", readyz)]
