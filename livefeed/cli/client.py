"""The HTTP client of the commands: bounded waits, bounded retries, and the API's errors as the house's own.

A change carries an idempotency key, made once per command: when the connection is lost after the request left, nobody
knows whether it was done, so it is sent again with the same key, and the server does it once.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urljoin

import httpx2
import msgspec

from livefeed import __version__
from livefeed.cli.server import Bearer, Server
from livefeed.errors import ApiError, BadRequest, Internal, LivefeedError, Unauthorized, Unavailable

TIMEOUT = httpx2.Timeout(15.0, connect=5.0)
"""Seconds for each step of one request; a publish waits for the disk, which is milliseconds."""
PAUSES_S = (0.2, 0.6, 1.5)
"""Before each further try, shortened by chance: 2.3 s in all is longer than a restart of the server."""
RETRY_STATUSES = frozenset({429, 502, 503, 504})
PAGE = 100
"""Most items the API gives at once."""
USER_AGENT = f"livefeed-cli/{__version__}"

Params = Sequence[tuple[str, str]]


class Unreachable(LivefeedError):
    """No answer from the server, after all tries."""


class NotLivefeed(LivefeedError):
    """Something answered that is no livefeed server."""


class Client:
    """Speaks to one server's API; use it as a context manager.

    :param scopes: what the command's changes need, where it makes any.
    :param pause: waits so many seconds before a further try.
    """

    def __init__(
        self, server: Server, scopes: frozenset[str] = frozenset(), pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._server = server
        self._auth = Bearer(server, scopes)
        self._pause = pause
        # A local server is on loopback: no proxy of the environment, and no time spent on certificates.
        self._http = httpx2.Client(
            timeout=TIMEOUT,
            headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
            trust_env=bool(server.given_url),
            verify=server.given_url.startswith("https:"),
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, params: Params = ()) -> dict[str, Any]:
        """The answer to a GET.

        :raises ApiError: the server refuses.
        :raises Unreachable, NotLivefeed, StartError: there is no such server.
        """
        return answer(self._send("GET", path, params=params))

    def change(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | msgspec.Struct,
        *,
        key: str | None = None,
        if_version: int | None = None,
    ) -> Changed:
        """Make a change, once, however often it must be sent; errors as in `get`, and `NotAllowed`.

        :param key: the idempotency key; None makes one.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": key or new_key()}
        if if_version is not None:
            headers["If-Match"] = f'"{if_version}"'
        content = msgspec.json.encode(body)
        response = self._send(method, path, headers=headers, content=content, auth=self._auth)
        try:
            found = answer(response)
        except Unauthorized as error:
            raise Unauthorized(self._server.not_accepted, **error.data) from error
        location = response.headers.get("Location")
        return Changed(found, urljoin(str(response.url), location) if location else None)

    def items(self, params: Params = (), limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Items, newest first, page after page; at most `limit`, or all there are."""
        before: str | None = None
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(PAGE, limit)
            page = self.get("/api/items", [*params, ("limit", str(size)), *([("before", before)] if before else [])])
            yield from page["items"]
            if limit is not None:
                limit -= len(page["items"])
            before = page["next"]
            if before is None:
                return

    def _send(self, method: str, path: str, **request: Any) -> httpx2.Response:
        pauses = iter(PAUSES_S)
        while True:
            pause = next(pauses, None)
            url = self._server.url
            try:
                response = self._http.request(method, url + path, **request)
            except httpx2.InvalidURL as error:
                raise Unreachable(f"{url} is not an address: {error}.") from None
            except httpx2.TransportError as error:
                if pause is None or isinstance(error, httpx2.UnsupportedProtocol):
                    raise Unreachable(unreachable(url, error)) from None
            except httpx2.RequestError as error:
                raise NotLivefeed(f"{url} gave an answer that cannot be read: {error}.") from None
            else:
                if pause is None or response.status_code not in RETRY_STATUSES:
                    return response
            self._pause(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, guards nothing


def new_key() -> str:
    """An idempotency key that nobody had before."""
    return uuid.uuid4().hex


class Changed(msgspec.Struct, frozen=True):
    """The answer to a change."""

    body: dict[str, Any]
    """As the server sent it."""
    location: str | None = None
    """Absolute address of the item's page, where the server told."""


def answer(response: httpx2.Response) -> dict[str, Any]:
    """The JSON object of an answer.

    :raises ApiError: the server refuses; of the class of its status.
    :raises NotLivefeed: the answer is not of livefeed's form.
    """
    try:
        found = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    if response.is_success and isinstance(found, dict):
        return found
    error = found.get("error") if isinstance(found, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return _refuse(response.status_code, error)
    url = response.url.copy_with(query=None)
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if response.is_redirect:
        target = response.headers.get("Location")
        raise NotLivefeed(f"{url} redirects to {target}; give that server's address as --url.")
    if response.is_server_error:
        raise Unavailable(f"{url} answered {status}; try again in a moment.")
    raise NotLivefeed(f"{url} answered {status}, but not as a livefeed server does; is the address right?")


def _refuse(status: int, error: dict[str, Any]) -> dict[str, Any]:
    data = {str(name): value for name, value in error.items() if name not in ("status", "code", "message", "field")}
    field = error["field"] if isinstance(error.get("field"), str) else None
    raise _kind(status, error.get("code"))(error["message"], field=field, **data)


def _kind(status: int, code: Any) -> type[ApiError]:
    """The house's error of this status and code, or the nearest one."""
    same = [kind for kind in ApiError.__subclasses__() if kind.status == status]
    exact = [kind for kind in same if kind.code == code]
    if exact or same:
        return (exact or same)[0]
    return BadRequest if status < httpx2.codes.INTERNAL_SERVER_ERROR else Internal


def unreachable(url: str, error: Exception) -> str:
    """One sentence on why there is no answer, and what to do."""
    if isinstance(error, httpx2.ConnectTimeout):
        return f"{url} cannot be reached: no answer within {TIMEOUT.connect:g} s."
    if isinstance(error, httpx2.ConnectError):
        return f"{url} cannot be reached ({_reason(error)}): is the server running there?"
    if isinstance(error, httpx2.TimeoutException):
        return f"{url} took the request but gave no answer in time."
    return f"{url} cut the connection ({_reason(error)})."


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text.split("] ", 1)[-1].rstrip(".").lower() if text.startswith("[Errno") else text.rstrip(".")
