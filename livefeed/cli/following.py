"""Following a feed's stream for as long as it takes: resume, back-off, watchdog. Knows nothing of terminals.

The connection is expected to break. Each time the next one asks to go on behind the last event that was dealt with
(``Last-Event-ID``), so nothing is lost or seen twice; what the server cannot continue it says with a `reset`, and the
listener fetches a snapshot while the stream already goes on. An event's position counts only after the listener has
dealt with it: if its snapshot fails, the next connection brings the same `reset` again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import httpx2
import msgspec

from livefeed.cli.client import USER_AGENT, NotLivefeed, Params, Unreachable, answer, unreachable
from livefeed.cli.server import Server
from livefeed.errors import ApiError, StartError

CONNECT_S = 10.0
"""Longest wait for a connection and its headers."""
RETRY_DEFAULT_MS = 2_000
"""Until a server tells."""
RETRY_MIN_MS, RETRY_MAX_MS = 100, 60_000
"""Bounds on what a server may tell."""
BACKOFF_MAX_S = 10.0
"""Longest wait between two tries, however long the server is away: an editor's terminal should be back soon."""
MISSED_TICKS = 2.5
"""A stream without a sign of life for so many intervals is taken for dead."""


class Listener(Protocol):
    """Deals with what the stream says."""

    def item(self, data: dict[str, Any], position: str) -> None:
        """An item in its new state, and what changed."""

    def tick(self, data: dict[str, Any]) -> None:
        """A sign of life."""

    async def reset(self, reason: str, position: str, snapshot: Callable[[Params], Awaitable[dict[str, Any]]]) -> None:
        """The old position cannot be continued: fetch the `snapshot` and go on from there.

        What it raises ends the connection, and the next one brings the reset again.
        """

    def lost(self, reason: str, wait_s: float) -> None:
        """The connection ended; the next try is in `wait_s` seconds."""

    def connected(self, url: str) -> None:
        """A connection stands, the first or a further one."""


class Follower:
    """One feed, followed.

    :param query: the stream's filter and view, and `since` for the first connection.
    :param position: where to go on; "" starts as `query` says.
    :param tick_s: the server's interval between ticks, in seconds.
    """

    def __init__(self, server: Server, listener: Listener, query: Params, position: str, tick_s: float) -> None:
        self.position = position
        self._server = server
        self._listener = listener
        self._query = query
        self._patience_s = MISSED_TICKS * tick_s
        self._retry_ms = RETRY_DEFAULT_MS
        self._failures = 0
        self._stood = False

    async def run(self) -> None:
        """Follow until cancelled.

        :raises ApiError: the server refuses for good, such as an unknown rubric.
        :raises NotLivefeed: the first connection met something else.
        """
        timeout = httpx2.Timeout(CONNECT_S, read=self._patience_s)
        local = not self._server.given_url
        verify = self._server.given_url.startswith("https:")
        async with httpx2.AsyncClient(
            timeout=timeout, trust_env=not local, verify=verify, headers={"User-Agent": USER_AGENT}
        ) as http:
            while True:
                reason = await self._connection(http)
                self._failures += 1
                wait_s = self._wait_s()
                self._listener.lost(reason, wait_s)
                await asyncio.sleep(wait_s)

    async def _connection(self, http: httpx2.AsyncClient) -> str:
        """One connection from its request to its end; why it ended."""
        url = ""
        try:
            url = self._server.url
            return await self._listen(http, url)
        except (TimeoutError, httpx2.ReadTimeout):
            return f"no sign of life for {self._patience_s:g} s"
        except httpx2.TransportError as error:
            return unreachable(url, error)
        except (StartError, Unreachable) as error:
            return str(error)
        except NotLivefeed as error:
            if not self._stood:
                raise
            return str(error)  # something in front of the server speaks for it; that passes
        except ApiError as error:
            if error.status < httpx2.codes.INTERNAL_SERVER_ERROR and error.status != httpx2.codes.TOO_MANY_REQUESTS:
                raise
            return error.message

    async def _listen(self, http: httpx2.AsyncClient, url: str) -> str:
        headers = {"Last-Event-ID": self.position} if self.position else {}
        reason, connected = "the server ended the stream", False
        async with (
            asyncio.timeout(self._patience_s) as watch,
            http.sse(f"{url}/stream", params=list(self._query), headers=headers) as events,
        ):
            if not events.response.is_success:
                await events.response.aread()
                answer(events.response)
            self._check_type(events.response)
            async for event in events:
                data = _data(event)
                watch.reschedule(None)  # while we deal with it no clock runs: a pipe may block us for long
                if event.retry is not None:
                    self._retry_ms = min(max(event.retry, RETRY_MIN_MS), RETRY_MAX_MS)
                if event.event == "bye":
                    reason = f"the server said goodbye ({data.get('reason', 'no reason')})"
                else:
                    if not connected:
                        connected = True
                        self._stood, self._failures = True, 0
                        self._listener.connected(url)
                    await self._heard(event.event, event.id, data, http, url)
                if event.id:
                    self.position = event.id
                watch.reschedule(asyncio.get_running_loop().time() + self._patience_s)
        return reason

    async def _heard(self, event: str, position: str, data: dict[str, Any], http: httpx2.AsyncClient, url: str) -> None:
        if event == "item":
            self._listener.item(data, position)
        elif event == "tick":
            self._listener.tick(data)
        elif event == "reset":

            async def snapshot(params: Params) -> dict[str, Any]:
                return answer(await http.get(f"{url}/api/items", params=list(params)))

            await self._listener.reset(str(data.get("reason")), position, snapshot)

    @staticmethod
    def _check_type(response: httpx2.Response) -> None:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "text/event-stream":
            raise NotLivefeed(f"{response.url} answered {kind or 'no type'} instead of an event stream.")

    def _wait_s(self) -> float:
        """What the server told, doubled with each failure after the first, lengthened by chance; never less."""
        doubled = self._retry_ms / 1000 * 2 ** min(self._failures - 1, 10)
        return float(min(doubled, BACKOFF_MAX_S) * random.uniform(1.0, 1.5))  # noqa: S311 - spreads returns


def _data(event: httpx2.ServerSentEvent) -> dict[str, Any]:
    """The JSON object of an event.

    :raises NotLivefeed: it is none.
    """
    try:
        return msgspec.json.decode(event.data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise NotLivefeed(f"The stream sent an event {event.event!r} whose data is no JSON object.") from None
