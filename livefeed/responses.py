"""What every route answers with: JSON, the one error shape, weak ETags; and how a bounded body is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from livefeed import __version__
from livefeed.errors import ApiError, TooLarge, WrongType
from livefeed.settings import Settings

_encoder = msgspec.json.Encoder()


def json_response(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`data` as JSON."""
    return Response(_encoder.encode(data), status, headers, media_type="application/json")


def error_response(error: ApiError) -> Response:
    """The one JSON error shape."""
    return json_response(error.body(), error.status, {"cache-control": "no-store", **error.headers})


def build_id(settings: Settings) -> str:
    """Changes with the program and with the settings that answers depend on; part of every ETag."""
    return _digest(__version__, settings.base_url, settings.time_zone, _encoder.encode(settings.site).decode())


def weak_etag(*parts: object) -> str:
    """A weak ETag (RFC 9110 8.8.3) of what an answer depends on."""
    return f'W/"{_digest(*parts)}"'


def matches(request: Request, etag: str) -> bool:
    """Whether If-None-Match has this ETag, by weak comparison (RFC 9110 13.1.2)."""
    given = request.headers.get("if-none-match", "")
    opaque = etag.removeprefix("W/")
    return given.strip() == "*" or any(part.strip().removeprefix("W/") == opaque for part in given.split(","))


def not_modified(etag: str, headers: Mapping[str, str] | None = None) -> Response:
    """304 with the headers that a 200 would have had for caches (RFC 9110 15.4.5)."""
    return Response(status_code=304, headers={"etag": etag, **(headers or {})})


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The request's body.

    :raises TooLarge: as soon as it is known to be over `max_bytes`; the connection is closed with the answer, so that
        nothing more is read.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def require_json(request: Request) -> None:
    """:raises WrongType: unless the request says that its body is JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise WrongType("Send the body as application/json.", field="Content-Type")


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body is over {max_bytes} bytes.", headers={"connection": "close"}, max_bytes=max_bytes)


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:20]
