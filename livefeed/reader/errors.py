"""Errors as people meet them: a page in their language where they asked for one, the JSON shape otherwise."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from livefeed.errors import ApiError
from livefeed.reader.headers import page_headers
from livefeed.reader.messages import EDITIONS, messages
from livefeed.reader.rendering import templates
from livefeed.responses import error_response
from livefeed.settings import Settings

_MACHINES = ("/api/", "/stream", "/static/", "/livez", "/readyz")
"""Addresses that answer JSON whatever the client accepts."""


def error_page(request: Request, error: ApiError) -> Response:
    """The answer to an error: HTML where the client prefers it and the address is a page's, JSON otherwise."""
    if request.url.path.startswith(_MACHINES) or not prefers_html(request.headers.get("accept", "")):
        response = error_response(error)
    else:
        settings: Settings = request.app.state.settings
        language = _language(request.url.path)
        body = templates(settings).render(
            "error.html", language, status=error.status, said=messages(language)[_said(error)], field=error.field
        )
        # With the pages' headers: the answer to a bug of ours is made outside of all middleware.
        headers = {**page_headers(settings), "cache-control": "no-store", **error.headers}
        response = HTMLResponse(body, error.status, headers)
    response.headers.append("vary", "Accept")
    return response


def prefers_html(accept: str) -> bool:
    """Whether an Accept header ranks ``text/html`` above ``application/json`` (RFC 9110 12.5.1).

    Only a client that names HTML does: ``*/*``, which is what programs send, does not.
    """
    ranks = {"text/html": 0.0, "application/json": 0.0}
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if kind in ranks:
            quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
            ranks[kind] = float(quality) if quality.replace(".", "", 1).isdecimal() else 0.0
    return ranks["text/html"] > ranks["application/json"]


def _language(path: str) -> str:
    return next((language for language, prefix in EDITIONS.items() if prefix != "/" and path.startswith(prefix)), "fr")


def _said(error: ApiError) -> str:
    if error.status >= 500:
        return "error_5xx"
    return f"error_{error.status}" if error.status in (400, 404, 410) else "error_other"
