"""The feed of one process, put together: log, mirror, listener and hub, and how pages and the API read items.

The first page comes from the board, in memory: it needs no Redis and costs none. What lies further back is read from
the store's indexes in bounded steps.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from redis.asyncio import Redis

from livefeed.errors import BadRequest, StartError, Unavailable
from livefeed.feed import tasks
from livefeed.feed.draining import drain
from livefeed.feed.filter import PARAMETERS, Filter
from livefeed.feed.hub import Hub
from livefeed.feed.item import PublicItem
from livefeed.feed.lag import LAG_MAX_S, Lag
from livefeed.feed.listener import Listener
from livefeed.feed.log import Log, index_of, is_sort_key
from livefeed.feed.mirror import Mirror
from livefeed.feed.pace import Pace
from livefeed.feed.position import Position
from livefeed.feed.watch import Watch
from livefeed.settings import Settings

SCAN_PAGE = 100
"""Items read from an index at once."""
SCANS_MAX = 10
"""Most such reads for one page: a filter that matches little gets a short page and a cursor rather than a long wait."""
LOAD_S = 20.0
"""How long a start waits for its first look at the log, in seconds."""
LOG_REPLAYS_MAX = 8
"""Streams of one process that read their past from the log at once (`since`); further ones wait for their turn."""
REACH_S = 1.0
"""Longest wait of an answer for this process's own ears, in seconds; the publish itself is done by then."""
RESTART_S = 0.1
"""Pause before a failed task of the feed starts again, in seconds: a bug that repeats must not eat the processor."""
_DRIVING = ("thread", "tag", "rubric", "level", "language")
"""Parameters by how few items a value of theirs usually has: the first one set picks the index that is read."""

logger = structlog.get_logger()


class Snapshot(msgspec.Struct, frozen=True):
    """Current items, newest first, with the position at which they are true."""

    items: tuple[PublicItem, ...]
    position: str
    """The log's head when this was read, whatever the filter."""
    next: str | None
    """Opaque cursor to older items; None at the end."""


class Feed:
    """What one process knows and does of the live feed. `start` and `stop` frame its life."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.settings = settings
        self.log = Log(redis, settings)
        self.mirror = Mirror(settings)
        self.hub = Hub(self.mirror, settings, lambda: self.live)
        self.listener = Listener(
            self.log,
            self.mirror,
            settings,
            on_event=self.hub.notify,
            on_restart=self.hub.restart,
            admission=self.hub.admission,
        )
        self.lag = Lag()
        self.watch = Watch(self.hub, self.listener, self.lag)
        self.pace = Pace(settings, self.hub.admission.connection_max, lambda: self.hub.streams)
        self.log_replays = asyncio.Semaphore(LOG_REPLAYS_MAX)
        """Taken by streams that read their past from the log."""
        self._tasks: list[asyncio.Task[None]] = []
        self._drain: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the tasks and wait for the first look at the log.

        :raises StartError: when the log cannot be read in time.
        """
        runs = {"listener": self.listener.run, "hub": self.hub.run, "wheel": self.hub.turn, "pace": self.pace.run}
        for name, run in {**runs, "lag": self.lag.run, "watch": self.watch.run}.items():
            self.supervise(name, run)
        deadline = time.monotonic() + LOAD_S
        # A store that is read-only or full is no reason not to serve readers.
        while not (self.listener.live or (self.mirror.loaded and self.listener.refusal)):
            if time.monotonic() > deadline:
                await self.stop()
                raise StartError(f"The feed could not be read at start: {self.listener.why_not_live}.")
            await asyncio.sleep(0.005)

    def supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a task for as long as the feed does, again and again where it fails."""
        self._tasks.append(asyncio.create_task(_supervised(name, run), name=name))

    def stopping(self) -> None:
        """The process is to stop: turn newcomers away, and begin to end all streams within the drain time."""
        if self._drain is None:
            self._drain = asyncio.create_task(drain(self.hub, self.settings.drain_s), name="drain")

    async def stop(self) -> None:
        """End all streams within the drain time, where that has not begun before, then the tasks."""
        self.stopping()
        assert self._drain is not None  # noqa: S101  (stopping made it)
        await self._drain
        await tasks.end(self._tasks)

    @property
    def live(self) -> bool:
        """Whether an event published now would arrive here, at the readers of this process."""
        return self.why_not_live is None

    @property
    def why_not_live(self) -> str | None:
        """Why an event published now would not arrive; None while it would."""
        reason = self.listener.why_not_live
        if reason is None and self.lag.now_s > LAG_MAX_S:
            reason = f"the event loop is {self.lag.now_s:.1f} s late"
        if reason is None and self.hub.delay.waiting_s > self.settings.deaf_s:
            reason = f"what has arrived waits for its round since {self.hub.delay.waiting_s:.1f} s"
        return reason

    @property
    def position(self) -> str:
        """The position at which this process's memory is true."""
        return str(self.mirror.position)

    async def reached(self, position: Position) -> None:
        """Return once this process has applied the log up to `position`, or is not live, at most `REACH_S`.

        What a publish is answered with can then be read here at once.
        """
        deadline = time.monotonic() + REACH_S
        while self.mirror.position.seq < position.seq and self.live and time.monotonic() < deadline:
            await self.hub.arrived(REACH_S)

    async def snapshot(self, filter: Filter, limit: int, before: str | None = None) -> Snapshot:
        """A page of current items, newest first, below the cursor `before` (None: from the newest).

        :raises BadRequest: for a cursor that is none of ours.
        :raises Unavailable: the page lies beyond memory, and the store cannot be reached.
        """
        below = _cursor_key(before) if before else ""
        page = list(itertools.islice(self.mirror.board.below(below, filter), limit + 1))
        if len(page) > limit or self.mirror.board.complete:
            next = _cursor(page[limit - 1][0]) if len(page) > limit else None
            return Snapshot(tuple(item for _, item in page[:limit]), self.position, next)
        return await self._from_store(filter, limit, below)

    async def item(self, id: str) -> PublicItem | None:
        """The item as anyone may see it, or its stub; None where there is no public one.

        :raises Unavailable: the item is not in memory, and the store cannot be reached.
        """
        known = self.mirror.board.item(id)
        if known is not None:
            return known
        try:  # also from a complete board: another process may have published it a moment ago
            item = await self.log.item(id)
        except Unavailable:
            if self.mirror.board.complete:
                return None
            raise
        return item.public() if item is not None and item.is_public else None

    async def _from_store(self, filter: Filter, limit: int, below: str) -> Snapshot:
        indexes = self._indexes(filter)
        found: list[tuple[str, PublicItem]] = []
        head: Position | None = None
        for _ in range(SCANS_MAX):
            page = await self.log.page(indexes, below, SCAN_PAGE)
            head = head or page.head
            found += [
                (index_of(item), item.public()) for item in page.items if item.is_public and filter.matches(item.facets)
            ]
            if len(page.keys) < SCAN_PAGE:
                below = ""
                break
            below = page.keys[-1]
            if len(found) > limit:
                break
        if len(found) > limit:
            next: str | None = _cursor(found[limit - 1][0])
        else:
            next = _cursor(below) if below else None
        return Snapshot(tuple(item for _, item in found[:limit]), str(head), next)

    def _indexes(self, filter: Filter) -> list[str]:
        for name in _DRIVING:
            values: tuple[str, ...] = getattr(filter, name)
            if values:
                return [self.log.keys.index(name, value) for value in values]
        return [self.log.keys.all]


assert set(_DRIVING) == set(PARAMETERS)  # noqa: S101  (a filter's parameter without an index would read too much)


def _cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _cursor_key(cursor: str) -> str:
    with contextlib.suppress(ValueError, binascii.Error):
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        if is_sort_key(key):
            return key
    raise BadRequest("before must be the `next` of an earlier page.", field="before")


async def _supervised(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a task of the feed for ever: one that fails, which is a bug of ours, is told and started again."""
    while True:
        try:
            await run()
        except Exception:
            logger.exception("a task of the feed failed; starting it again", task=name)
        await asyncio.sleep(RESTART_S)
