"""The window: the newest events of the log in this process, each encoded at most once per representation.

Filled from the log at start, then by the listener, one event after the other. The hub and every replay read frames
from here; no reader ever costs a Redis command.

A withdrawal reaches back: the frames of the item's earlier events are dropped and made again as stubs when next asked
for; a restoration lifts that in the same way.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable

import msgspec

from livefeed.feed import sse
from livefeed.feed.filter import Filter
from livefeed.feed.item import Event, Facets, stub
from livefeed.feed.log import Entry
from livefeed.feed.position import Position
from livefeed.feed.sse import View

_ENTRY_OVERHEAD_BYTES = 1_000
"""What an entry costs beside its body and frames: objects, dict slots, facets (measured with tracemalloc)."""


class WindowEvent:
    """One event of the window."""

    __slots__ = ("_event", "_frames", "after", "before", "id", "mark", "seq", "size", "time_ms", "withdrawn")

    def __init__(self, entry: Entry) -> None:
        """:raises msgspec.MsgspecError: for a body that is not an event's."""
        before, after, event = split(entry.body)
        self.seq, self.mark, self.time_ms, self.id = entry.seq, entry.mark, entry.time_ms, entry.id
        self.withdrawn = entry.withdrawn
        self.before, self.after = before, after
        self._event = event
        self._frames: dict[View, bytes] = {}
        self.size = 3 * len(entry.body) + _ENTRY_OVERHEAD_BYTES  # the body, and its frames in both views at the most

    @property
    def position(self) -> Position:
        """Where this event stands."""
        return Position(self.seq, self.mark)

    def event(self) -> Event:
        """The event as it may be served now: with the stub where its item is withdrawn."""
        event = msgspec.json.decode(self._event, type=Event)
        return msgspec.structs.replace(event, item=stub(event.item)) if self.withdrawn else event

    def frame(self, view: View, encode: Callable[[WindowEvent, View], bytes]) -> bytes:
        """The event's frame, encoded at the first call."""
        frame = self._frames.get(view)
        if frame is None:
            frame = self._frames[view] = encode(self, view)
        return frame

    def withdraw(self, withdrawn: bool) -> None:
        """Serve the event as a stub from now on, or in full again."""
        if self.withdrawn != withdrawn:
            self.withdrawn = withdrawn
            self._frames.clear()


class Window:
    """The newest events by seq, bounded by count and bytes; the oldest leave first."""

    def __init__(self, base_url: str, events_max: int, bytes_max: int) -> None:
        self._base_url = base_url
        self.events_max = events_max
        self._bytes_max = bytes_max
        self._events: dict[int, WindowEvent] = {}
        self._by_item: dict[str, deque[WindowEvent]] = {}
        self._bytes = 0
        self.base = Position(0, "")
        """The position before the oldest event: the earliest that can be continued from here."""
        self.head = Position(0, "")
        """The position of the newest event, or `base` of an empty window."""
        self.last_time_ms = 0
        """Time of the newest event known, 0 where there is none."""
        self.withdrawals = 0
        """Withdrawals applied so far: frames that were taken before one may show what it withdrew."""
        self.encodings = 0
        """Frames encoded so far: one per event and view in use, whatever the number of readers."""

    def __len__(self) -> int:
        return len(self._events)

    def restart(self, base: Position) -> None:
        """Forget everything; the next event is the one after `base`."""
        self._events.clear()
        self._by_item.clear()
        self._bytes = 0
        self.base = self.head = base
        self.last_time_ms = 0

    def append(self, event: WindowEvent) -> None:
        """Take the next event.

        :raises ValueError: when it is not the next one: the caller must read the log first.
        """
        if event.seq != self.head.seq + 1:
            raise ValueError(f"event {event.seq} does not follow {self.head}")
        self._reach_back(event)
        self._events[event.seq] = event
        self._by_item.setdefault(event.id, deque()).append(event)
        self._bytes += event.size
        self.head = event.position
        self.last_time_ms = event.time_ms
        while len(self._events) > self.events_max or (self._bytes > self._bytes_max and len(self._events) > 1):
            self._drop_oldest()

    def mark_at(self, seq: int) -> str | None:
        """The mark of the position with this seq, where the window knows it."""
        if seq == self.base.seq:
            return self.base.mark
        event = self._events.get(seq)
        return event.mark if event is not None else None

    def position_at(self, seq: int) -> Position:
        """The position with this seq.

        :raises KeyError: the window does not know it.
        """
        return self.base if seq == self.base.seq else self._events[seq].position

    def seq_before(self, time_ms: int) -> int | None:
        """Seq of the last event before a time; None when that may lie before the window."""
        if not self._events or self._events[self.base.seq + 1].time_ms >= time_ms:
            return None
        return bisect_left(range(self.head.seq + 1), time_ms, lo=self.base.seq + 1, key=self._time_of) - 1

    def _time_of(self, seq: int) -> int:
        return self._events[seq].time_ms

    def times(self, after: int, until: int) -> list[int]:
        """Times in milliseconds of the events with after < seq ≤ until that are still here."""
        return [
            self._events[seq].time_ms for seq in range(max(after, self.base.seq) + 1, min(until, self.head.seq) + 1)
        ]

    @property
    def size(self) -> int:
        """Bytes that the events take, as counted against the bound."""
        return self._bytes

    def events(self, after: int, until: int) -> list[WindowEvent]:
        """The events with after < seq ≤ until.

        :raises KeyError: when one of them has left the window.
        """
        return [self._events[seq] for seq in range(after + 1, until + 1)]

    def frames(self, after: int, until: int, filter: Filter, view: View) -> list[bytes]:
        """The frames of the matching events with after < seq ≤ until.

        An event matches by its item's state before or after it, so that what moves away leaves the filter's pages.

        :raises KeyError: when one of them has left the window.
        """
        return [
            event.frame(view, self._encode)
            for event in self.events(after, until)
            if filter.matches(event.after) or filter.matches(event.before)
        ]

    def _encode(self, event: WindowEvent, view: View) -> bytes:
        self.encodings += 1
        return sse.item(event.event(), event.position, view, self._base_url)

    def _reach_back(self, event: WindowEvent) -> None:
        change = _change.decode(event._event).change
        if change == "withdraw":
            event.withdrawn = True
            self.withdrawals += 1
        if change in ("withdraw", "restore"):
            for earlier in self._by_item.get(event.id, ()):
                earlier.withdraw(change == "withdraw")

    def _drop_oldest(self) -> None:
        oldest = self._events.pop(self.base.seq + 1)
        self.base = oldest.position
        self._bytes -= oldest.size
        same_item = self._by_item[oldest.id]
        same_item.popleft()
        if not same_item:
            del self._by_item[oldest.id]


class _Change(msgspec.Struct):
    change: str


_change = msgspec.json.Decoder(_Change)
_facets = msgspec.json.Decoder(Facets)


def split(body: bytes) -> tuple[Facets | None, Facets, bytes]:
    """A body's facets before (None for a new item) and after, and its event, which is not decoded yet.

    :raises msgspec.MsgspecError: for a body that is not an event's.
    """
    parts = body.split(b"\n", 2)
    if len(parts) != 3:
        raise msgspec.ValidationError("not the body of an event")
    before, after, event = parts
    _change.decode(event)
    return (_facets.decode(before) if before else None), _facets.decode(after), event
