"""The errors people and machines meet, drawn once.

    LivefeedError
    ├── StartError              the process cannot start; the message names the fix
    └── ApiError                answered as the one JSON error shape
        ├── BadRequest      400 a parameter, cursor, position or body that cannot be read
        ├── Unauthorized    401 no token, or one that is not known
        ├── Forbidden       403 a token without the scope
        ├── NotFound        404 no such item or address
        ├── WrongMethod     405 the address exists, the method does not
        ├── TooSlow         408 the request did not come in time
        ├── Conflict        409 the item's state does not allow the change
        ├── Withdrawn       410 the item was withdrawn by the newsroom
        ├── StaleVersion    412 somebody changed the item meanwhile
        ├── TooLarge        413 the body is over its bound
        ├── WrongType       415 the body is not of the type the route reads
        ├── InvalidField    422 a field's value is refused; names the field
        ├── KeyReused       422 an idempotency key came with another body
        ├── VersionRequired 428 a change without If-Match
        ├── HeadTooLarge    431 the request's head is over its bound
        ├── Internal        500 our fault
        └── Unavailable     503 the store cannot take writes now; the same key may be retried

Every ApiError leaves as ``{"error": {"status", "code", "message", "field", ...}}``: `code` is stable and for
machines, `message` is one sentence for people, `field` is the refused field or parameter or null, further keys
are the data a caller needs (``version`` of a stale edit, ``position`` of a receipt).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class LivefeedError(Exception):
    """Base of all errors that livefeed raises on purpose; its text is one sentence for a person."""


class StartError(LivefeedError):
    """The process cannot start or go on; the message says what to do."""


class ApiError(LivefeedError):
    """An error with an HTTP status and a stable code, sent in the one JSON error shape."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(
        self, message: str, *, field: str | None = None, headers: Mapping[str, str] | None = None, **data: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.headers = dict(headers or {})
        self.data = data

    def body(self) -> dict[str, Any]:
        """The one JSON error shape."""
        return {
            "error": {
                "status": self.status,
                "code": self.code,
                "message": self.message,
                "field": self.field,
                **self.data,
            }
        }


class BadRequest(ApiError):
    """A parameter, cursor, position or body that cannot be read."""

    status, code = 400, "bad_request"


class Unauthorized(ApiError):
    """No token, or one that is not known, has expired or was revoked."""

    status, code = 401, "unauthorized"


class Forbidden(ApiError):
    """The token is good, but lacks the scope."""

    status, code = 403, "forbidden"


class NotFound(ApiError):
    """No such item or address."""

    status, code = 404, "not_found"


class WrongMethod(ApiError):
    """The address exists, but not for this method."""

    status, code = 405, "method_not_allowed"


class TooSlow(ApiError):
    """The request's head or body did not come in time; the connection ends."""

    status, code = 408, "too_slow"


class Conflict(ApiError):
    """The item's state does not allow this change."""

    status, code = 409, "conflict"


class Withdrawn(ApiError):
    """The item was withdrawn by the newsroom; its stub is all there is."""

    status, code = 410, "withdrawn"


class StaleVersion(ApiError):
    """Somebody changed the item meanwhile; `version` is the current one."""

    status, code = 412, "stale_version"


class TooLarge(ApiError):
    """The body is over its bound; nothing after the bound was read."""

    status, code = 413, "too_large"


class WrongType(ApiError):
    """The body is not of a type this route reads."""

    status, code = 415, "unsupported_media_type"


class InvalidField(ApiError):
    """A field's value is refused; `field` names it."""

    status, code = 422, "invalid_field"


class KeyReused(ApiError):
    """A known idempotency key came with another request."""

    status, code = 422, "idempotency_key_reused"


class VersionRequired(ApiError):
    """A change without the version it is based on."""

    status, code = 428, "version_required"


class HeadTooLarge(ApiError):
    """The request's head is over its bound; the connection ends."""

    status, code = 431, "head_too_large"


class Internal(ApiError):
    """Our fault; the log has the story."""

    status, code = 500, "internal"


class Unavailable(ApiError):
    """The store cannot take writes now; the same idempotency key may be retried."""

    status, code = 503, "unavailable"
