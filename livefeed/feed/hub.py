"""The hub: hands each process's frames to its subscribers.

Theory of operation. The window holds the frames; `notify` wakes the hub. A **round** takes what has arrived since the
last one (at most ROUND_EVENTS, so that no write is huge) and goes through the groups: subscribers with the same filter,
view and framing, for which the bytes are joined and framed once. In a group each subscriber whose cursor stands where
the round begins gets one `write` of the same bytes and its cursor moves to the round's end. What arrives meanwhile is
the next round: under load rounds grow and writes get fewer; no delay is ever added to wait for more.

A cursor that stands elsewhere is served on its own, from the window: a newcomer whose replay went further than the
round's beginning, or a reader that was behind. So it does not matter who joins or resumes when: a cursor says what has
been written, and only what lies after it is written next. There is no other bookkeeping, and no hole or double.

`pause_writing` makes a reader **behind**: rounds skip it. `resume_writing` catches it up a few frames at a time. One
that is behind longer than the send deadline, or whose cursor has left the window, is aborted; the browser comes back
with its last id. Ticks and deadlines run on one wheel of slots; a subscriber's slot is random, so that
readers that arrive together do not tick together.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import structlog

from livefeed.feed import item as items
from livefeed.feed import sse
from livefeed.feed.admission import Admission
from livefeed.feed.delay import Delay
from livefeed.feed.filter import Filter
from livefeed.feed.mirror import Mirror
from livefeed.feed.position import Position
from livefeed.feed.sse import ResetReason, View
from livefeed.feed.subscriber import Subscriber
from livefeed.settings import Settings

ROUND_EVENTS = 256
"""Most events of one round: at 1 KB each a write of a quarter MB, beyond which the buffer's limit bites anyway."""
SLICE = 250
"""Readers served before other tasks get a turn: about 2.5 ms at 10 µs a write."""
CATCH_UP_EVENTS = 16
"""Events written at once to a reader that was behind; about a quarter of the write buffer at 1 KB an event."""
WHEEL_SLOTS = 100
"""Slots of the wheel: with 15 s between ticks one turn every 150 ms."""

logger = structlog.get_logger()


class Group:
    """Subscribers that get the same bytes."""

    __slots__ = ("chunked", "cursor", "filter", "members", "view")

    def __init__(self, filter: Filter, view: View, chunked: bool) -> None:
        self.filter, self.view, self.chunked = filter, view, chunked
        self.members: dict[Subscriber, None] = {}
        """In order of arrival."""
        self.cursor = 0
        """Where the last round ended."""

    def framed(self, data: bytes) -> bytes:
        """`data` as it goes on the wire of this group; nothing stays nothing (an empty chunk would end the body)."""
        return sse.chunk(data) if self.chunked and data else data


class Hub:
    """All open streams of a process."""

    def __init__(self, mirror: Mirror, settings: Settings, is_live: Callable[[], bool]) -> None:
        self._mirror = mirror
        self._window = mirror.window
        self._settings = settings
        self._is_live = is_live
        self._groups: dict[tuple[Filter, View, bool], Group] = {}
        self._wake = asyncio.Event()
        self._arrival: asyncio.Future[None] | None = None
        self._wheel: list[dict[Subscriber, None]] = [{} for _ in range(WHEEL_SLOTS)]
        self._behind: dict[Subscriber, float] = {}
        """Since when (monotonic clock); oldest first, as all have the same deadline."""
        self._drained: dict[Subscriber, asyncio.Future[None]] = {}
        """Replays that wait for their reader's buffer."""
        self.ending: dict[Subscriber, None] = {}
        """Those that were written their end, until it has left."""
        self._ticks: dict[tuple[int, bool], bytes] = {}
        self.admission = Admission(settings)
        self.epoch = 0
        """Counts the mirror's restarts; streams that are iterated compare it."""
        self.draining = False
        self.counts: Counter[str] = Counter()
        """So far; `livefeed.metrics` says what each is. A key like "resets:expired" has its reason behind the colon."""
        self.delay = Delay(mirror.window)

    # Readers come and go

    @property
    def head(self) -> Position:
        """The newest position in this process."""
        return self._window.head

    @property
    def groups(self) -> list[Group]:
        """Groups of readers that get the same bytes."""
        return list(self._groups.values())

    @property
    def streams(self) -> int:
        """Open streams, handed over and iterated."""
        return self.admission.streams

    @property
    def subscribers(self) -> list[Subscriber]:
        """The open streams that were handed over."""
        return [subscriber for slot in self._wheel for subscriber in slot]

    def retry_ms(self) -> int:
        """A reconnection time, random for each stream: those that were cut together come back apart."""
        return random.randint(self._settings.retry_min_ms, self._settings.retry_max_ms)  # noqa: S311  (not a secret)

    def subscriber(self, filter: Filter, view: View, chunked: bool, cursor: int) -> Subscriber:
        """A subscriber that has been written everything up to `cursor`; `join` brings it in."""
        group = self._groups.get((filter, view, chunked)) or Group(filter, view, chunked)
        return Subscriber(self, group, cursor)

    def join(self, subscriber: Subscriber, address: str | None = None) -> None:
        """Bring a subscriber in that has its transport: from now on rounds and ticks reach it."""
        group = subscriber.group
        group = subscriber.group = self._groups.setdefault((group.filter, group.view, group.chunked), group)
        if not group.members:
            group.cursor = self._window.head.seq
        group.members[subscriber] = None
        subscriber.slot = random.randrange(WHEEL_SLOTS)  # noqa: S311  (spreads load)
        self._wheel[subscriber.slot][subscriber] = None
        subscriber.place = self.admission.enter(address)
        self.catch_up(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """Forget a subscriber; the last one of a group takes it along."""
        self.ending.pop(subscriber, None)
        group = subscriber.group
        if subscriber not in group.members:
            return
        del group.members[subscriber]
        self._wheel[subscriber.slot].pop(subscriber, None)
        self._behind.pop(subscriber, None)
        self._release(subscriber)
        self.admission.leave(subscriber.place)
        if not group.members:
            self._groups.pop((group.filter, group.view, group.chunked), None)

    # Rounds

    def notify(self) -> None:
        """Something has arrived in the window."""
        self._wake.set()
        self.delay.arrived()
        if self._arrival is not None:
            self._arrival.set_result(None)
            self._arrival = None

    async def arrived(self, timeout_s: float, *others: asyncio.Future[Any]) -> None:
        """Return when the next thing has arrived in the window, one of `others` is done, or the time is up."""
        if self._arrival is None:
            self._arrival = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._arrival, *others], timeout=max(timeout_s, 0), return_when=asyncio.FIRST_COMPLETED)

    def restart(self, reason: ResetReason) -> None:
        """The mirror was made anew: tell every reader by a reset, and go on from the new head.

        In one step, without a turn for others: no reader may be written an event of the new history before its reset.
        """
        self.epoch += 1
        self._ticks.clear()  # they may tell a position of the old history that has the new one's seq
        head = self._window.head
        self.delay.skip()
        for group in self._groups.values():
            group.cursor = head.seq
            data = group.framed(sse.reset(reason, head))
            for subscriber in group.members:
                subscriber.replaying = False
                if subscriber.behind_since is not None:
                    subscriber.abort()  # its buffer still holds the old history; it gets its reset when it is back
                else:
                    subscriber.cursor = head.seq
                    self._write(subscriber, data)
                    self.counts[f"resets:{reason}"] += 1
        self.notify()

    async def run(self) -> None:
        """Serve rounds for ever; returns only by being cancelled."""
        self.delay.skip()
        self._wake.set()  # what had arrived when an earlier run failed must not wait for the next event
        while True:
            await self._wake.wait()
            self._wake.clear()
            head, begun, groups = self._window.head.seq, time.monotonic(), self.groups
            for group in groups:
                await self._serve(group, head)
            self.delay.served(head, begun, self._wake.is_set(), len(groups))

    async def _serve(self, group: Group, head: int) -> None:
        """Bring a group to `head`, a round at a time."""
        epoch, write = self.epoch, os.write
        while group.members and group.cursor < head:
            start, end = group.cursor, min(head, group.cursor + ROUND_EVENTS)
            try:
                frames = self._window.frames(start, end, group.filter, group.view)
            except KeyError:  # the window has left the group's last round behind: each cursor on its own
                start, end, frames = -1, head, []
            data = group.framed(b"".join(frames))
            withdrawals = self._window.withdrawals
            group.cursor = end
            members = list(group.members)
            size = len(data)
            self.counts["rounds"] += 1
            self.counts["deliveries"] += len(frames) * len(members)
            for at in range(0, len(members), SLICE):
                if at:
                    await asyncio.sleep(0)
                    if epoch != self.epoch:
                        return
                    if withdrawals != self._window.withdrawals and frames:  # from now on its stub is written
                        withdrawals = self._window.withdrawals
                        try:
                            data = group.framed(b"".join(self._window.frames(start, end, group.filter, group.view)))
                        except KeyError:
                            start = -1
                        size = len(data)
                for subscriber in members[at : at + SLICE]:
                    if subscriber.cursor != start:
                        if subscriber.cursor < end:
                            self.catch_up(subscriber)
                    elif subscriber.direct >= 0:
                        # Past the transport while it holds nothing: 5.5 µs a delivery instead of 6.0 (medians of 20).
                        subscriber.cursor = end
                        if data:
                            try:
                                sent = write(subscriber.direct, data)
                            except OSError:  # full, or gone: the transport finds out which
                                sent = 0
                            if sent != size:
                                subscriber.direct = -1
                                self._write(subscriber, memoryview(data)[sent:])
                    elif subscriber.behind_since is None and not subscriber.replaying:
                        subscriber.cursor = end
                        if data:
                            self._write(subscriber, data)

    def _write(self, subscriber: Subscriber, data: bytes | memoryview) -> None:
        if subscriber.direct >= 0:
            try:
                sent = os.write(subscriber.direct, data)
            except OSError:  # as in _serve; past the transport a tick costs 16 µs instead of 19 (busy machine)
                sent = 0
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        try:
            subscriber.write(data)
        except RuntimeError:  # uvloop: the handle closed in this very turn; connection_lost is on its way
            subscriber.abort()

    # Readers that are behind

    def fall_behind(self, subscriber: Subscriber) -> None:
        """The reader's buffer is full: skip it, and cut it when it stays so beyond the deadline."""
        subscriber.behind_since = self._behind[subscriber] = time.monotonic()
        self.counts["behind"] += 1

    def resume(self, subscriber: Subscriber) -> None:
        """The reader's buffer has drained: catch up."""
        subscriber.behind_since = None
        self._behind.pop(subscriber, None)
        self._release(subscriber)
        self.catch_up(subscriber)

    async def drained(self, subscriber: Subscriber) -> None:
        """Return when the reader's buffer has room, or the reader is gone."""
        if subscriber.behind_since is not None and not subscriber.transport.is_closing():
            future = self._drained[subscriber] = asyncio.get_running_loop().create_future()
            await future

    def _release(self, subscriber: Subscriber) -> None:
        future = self._drained.pop(subscriber, None)
        if future is not None and not future.done():
            future.set_result(None)

    def catch_up(self, subscriber: Subscriber) -> None:
        """Write what a reader has not been written, until it is current or its buffer is full again."""
        group = subscriber.group
        while (
            subscriber.behind_since is None
            and not subscriber.replaying
            and subscriber.cursor < self._window.head.seq
            and not subscriber.transport.is_closing()
        ):
            end = min(subscriber.cursor + CATCH_UP_EVENTS, self._window.head.seq)
            try:
                frames = self._window.frames(subscriber.cursor, end, group.filter, group.view)
            except KeyError:
                self.cut(subscriber)
                return
            subscriber.cursor = end
            self.counts["deliveries"] += len(frames)
            if frames:
                self._write(subscriber, group.framed(b"".join(frames)))

    def cut(self, subscriber: Subscriber) -> None:
        """Abort a reader that cannot be continued; it comes back with its last id."""
        self.counts["cut"] += 1
        subscriber.abort()

    # The wheel

    async def turn(self) -> None:
        """Turn the wheel for ever: ticks, and the send deadline. Returns only by being cancelled."""
        pause = self._settings.tick_s / WHEEL_SLOTS
        slot, due_at = 0, time.monotonic()
        while True:
            due_at = max(due_at + pause, time.monotonic() - self._settings.tick_s)
            await asyncio.sleep(max(due_at - time.monotonic(), 0))
            slot = (slot + 1) % WHEEL_SLOTS
            self._ticks.clear()
            due = list(self._wheel[slot])
            self.counts["ticks"] += len(due)
            for at, subscriber in enumerate(due, start=1):
                if subscriber.behind_since is None and not subscriber.replaying:
                    self._write(subscriber, self._tick_for(subscriber))
                if at % SLICE == 0:
                    await asyncio.sleep(0)
            self._cut_overdue()

    def _cut_overdue(self) -> None:
        limit = time.monotonic() - self._settings.send_deadline_s
        overdue = list(itertools.takewhile(lambda entry: entry[1] <= limit, self._behind.items()))
        for subscriber, _ in overdue:
            del self._behind[subscriber]
            self.cut(subscriber)

    def _tick_for(self, subscriber: Subscriber) -> bytes:
        key = (subscriber.cursor, subscriber.group.chunked)
        frame = self._ticks.get(key)
        if frame is None:
            frame = self._ticks[key] = subscriber.group.framed(self.tick(subscriber.cursor))
        return frame

    def tick(self, cursor: int | None, retry_ms: int | None = None) -> bytes:
        """A tick's frame; `cursor` is the seq up to which its reader has been written, None to tell no id."""
        position = None
        if cursor is not None:
            mark = self._window.mark_at(cursor)
            position = Position(cursor, mark) if mark is not None else None
        last_ms = self._window.last_time_ms
        last = datetime.fromtimestamp(last_ms / 1000, UTC) if last_ms else None
        return sse.tick(items.now(), self._is_live(), last, position, retry_ms)

    # Ends

    def end(self, subscriber: Subscriber, data: bytes) -> None:
        """Write the last bytes of a stream and close it: a last chunk, so that the browser sees a proper end.

        It leaves the rounds and the wheel at once: its buffer may still hold bytes, and a transport takes more after
        `close` as long as it does, which would then follow the last chunk.
        """
        chunked = subscriber.group.chunked
        self._write(subscriber, subscriber.group.framed(data) + (sse.LAST_CHUNK if chunked else b""))
        subscriber.close()
        self.leave(subscriber)
        self.ending[subscriber] = None

    # Streams that are iterated, under a server that hands over no connection

    async def iterate(
        self, filter: Filter, view: View, cursor: int, epoch: int, stopping: anyio.Event
    ) -> AsyncGenerator[bytes]:
        """The frames after `cursor`, for ever: the same window, cursor and rules as a handed-over reader's.

        `epoch` is the hub's when the cursor was true. Backpressure is the iteration's own. Ends with a `bye`, at a time
        of its own within the drain time, when the process drains or `stopping` is set, and without a word when the
        cursor has left the window.
        """
        next_tick = time.monotonic() + random.uniform(0, self._settings.tick_s)  # noqa: S311  (spreads load)
        stop = asyncio.create_task(stopping.wait(), name="stream-stopping")
        try:
            ends_at = math.inf
            while time.monotonic() < ends_at:
                if ends_at == math.inf and (self.draining or stopping.is_set()):
                    ends_at = time.monotonic() + random.uniform(0, self._settings.drain_s)  # noqa: S311  (spreads load)
                elif epoch != self.epoch:
                    epoch, cursor = self.epoch, self._window.head.seq
                    self.counts["resets:diverged"] += 1
                    yield sse.reset("diverged", self._window.head)
                elif cursor < self._window.head.seq:
                    end = min(cursor + CATCH_UP_EVENTS, self._window.head.seq)
                    try:
                        frames = self._window.frames(cursor, end, filter, view)
                    except KeyError:
                        self.counts["cut"] += 1
                        return
                    cursor = end
                    if frames:
                        self.counts["deliveries"] += len(frames)
                        yield b"".join(frames)
                elif time.monotonic() >= next_tick:
                    next_tick += self._settings.tick_s
                    yield self.tick(cursor)
                else:
                    others = [stop] if ends_at == math.inf else []
                    await self.arrived(min(next_tick, ends_at) - time.monotonic(), *others)
            yield sse.bye("restart", self.retry_ms())
        finally:
            stop.cancel()
