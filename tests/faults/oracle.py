"""The oracle: what the log really was, through all losses, and whether a reader was told exactly that.

A mark is a hash chained over the log, so a position names one history and everything before it. The truth is
therefore a tree of entries, each with the position before it; a loss makes a branch. A reader's record is walked from
position to position: between two of them there must be nothing that its filter wants, or a reset in its place.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis

from livefeed.feed.filter import Filter
from livefeed.feed.item import STUB, Event, Facets
from livefeed.feed.log import Keys
from livefeed.feed.position import Position, chain, parse
from livefeed.feed.window import split
from tests.faults.lean import LeanReader, Told


class Entry(NamedTuple):
    """One entry of some history of the log."""

    before: Position
    position: Position
    id: str
    old: Facets | None
    new: Facets
    event: Event


class Truth:
    """Every entry of every history of a log, as it was read just before each loss and at the end."""

    def __init__(self) -> None:
        self.entries: dict[Position, Entry] = {}
        self.origins: set[Position] = set()
        self.head = Position(0, "")
        self.complaints: list[str] = []

    def add(self, head: dict[bytes, bytes], rows: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        """Take over a whole log: its head and its entries."""
        if not head:
            return
        origin = parse(head[b"origin"].decode())
        assert origin is not None
        self.origins.add(origin)
        before = origin
        for id, fields in rows:
            body = fields[b"b"]
            position = Position(int(id.split(b"-")[0]), fields[b"m"].decode())
            if position.seq != before.seq + 1 or chain(before.mark, body) != position.mark:
                self.complaints.append(f"the log itself: {position} does not follow {before}")
            if position not in self.entries:
                old, new, event = split(body)
                decoded = msgspec.json.decode(event, type=Event)
                self.entries[position] = Entry(before, position, fields[b"i"].decode(), old, new, decoded)
            before = position
        self.head = Position(int(head[b"seq"]), head[b"mark"].decode())
        if self.head != before:
            self.complaints.append(f"the log itself: its head is {self.head}, its last entry {before}")

    def history(self) -> list[Entry]:
        """The entries of the present history, oldest first."""
        found: list[Entry] = []
        position = self.head
        while position in self.entries:
            found.append(self.entries[position])
            position = self.entries[position].before
        return found[::-1]

    def between(self, start: Position | None, end: Position) -> list[Entry] | None:
        """The entries after `start` up to `end`, newest first; None where `end` does not lie behind `start`.

        A `start` of None is the beginning of whatever history `end` is in.
        """
        found: list[Entry] = []
        position = end
        while position != start:
            entry = self.entries.get(position)
            if entry is None:
                return found if start is None and position in self.origins else None
            found.append(entry)
            position = entry.before
        return found


async def read_log(redis: Redis, keys: Keys, truth: Truth, *, then_lose: bool = False) -> int:
    """Read the whole log into the truth, and lose everything in the same moment where it is asked; entries lost."""
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.hgetall(keys.head)
        pipeline.xrange(keys.log)
        if then_lose:
            pipeline.flushall()
        head, rows, *_ = await pipeline.execute()
    truth.add(head, rows)
    return len(rows)


FILTERS = {
    "": Filter(),
    "?rubric=sport": Filter(rubric=("sport",)),
    "?rubric=monde,culture": Filter(rubric=("culture", "monde")),
    "?level=urgent": Filter(level=("urgent",)),
    "?tag=crue&view=lite": Filter(tag=("crue",)),
    "?view=lite": Filter(),
    "?since=0": Filter(),
}
"""The queries that readers come with, and what they ask for."""

_STUBS = frozenset(STUB.values())


class Allowed(NamedTuple):
    """What a schedule entitled the server to tell."""

    loss: bool
    """History was lost: any reset is just."""
    store_away: bool
    """A process may have been behind another: `ahead` is just."""
    window_events: int


def judge(reader: LeanReader, truth: Truth, allowed: Allowed) -> list[str]:
    """Everything that a reader was told and should not have been, or was not told and should have been."""
    wants = FILTERS[reader.query]
    if reader.trouble:
        return [f"{reader.name}: {reader.trouble}"]
    cursor: Position | None = None
    started = reader.query == "?since=0"
    for number, told in enumerate(reader.record):
        where = f"{reader.name}, event {number} ({told.kind} {told.id}, connection {told.connection})"
        if told.kind not in ("item", "tick", "reset", "bye"):
            return [f"{where}: an unknown kind"]
        if told.kind == "bye" or (told.kind == "tick" and not told.id):
            continue
        position = parse(told.id)
        if position is None:
            return [f"{where}: no position"]
        if told.kind == "reset":
            if complaint := _unjust(told, cursor, position, allowed):
                return [f"{where}: {complaint}"]
            if position not in truth.entries and position not in truth.origins:
                return [f"{where}: a reset to a position that was never the log's"]
            cursor, started = position, True
            continue
        if not started:
            if told.kind == "item":
                return [f"{where}: an item before the first tick told where the stream starts"]
            if position not in truth.entries and position not in truth.origins:
                return [f"{where}: starts at a position that was never the log's"]
            cursor, started = position, True
            continue
        passed = truth.between(cursor, position)
        if passed is None:
            return [f"{where}: does not follow {cursor}, and no reset said so"]
        if told.kind == "item":
            if not passed:
                return [f"{where}: told twice"]
            if complaint := _untrue(told, passed[0], wants):
                return [f"{where}: {complaint}"]
            passed = passed[1:]
        missed = [str(e.position) for e in passed if wants.matches(e.new) or wants.matches(e.old)]
        if missed:
            return [f"{where}: a hole after {cursor}: {', '.join(reversed(missed))} never came"]
        cursor = position
    return []


def _unjust(told: Told, cursor: Position | None, position: Position, allowed: Allowed) -> str:
    reason = json.loads(told.data)["reason"]
    if allowed.loss or (reason == "ahead" and allowed.store_away):
        return ""
    if reason == "expired" and position.seq - (cursor.seq if cursor else 0) >= allowed.window_events:
        return ""
    return f"a reset ({reason}) after {cursor} without a reason"


def _untrue(told: Told, entry: Entry, wants: Filter) -> str:
    if not (wants.matches(entry.new) or wants.matches(entry.old)):
        return "not what the filter asked for"
    data: dict[str, Any] = json.loads(told.data)
    item = entry.event.item
    if (data["id"], data["version"], data["change"]) != (item.id, item.version, entry.event.change):
        return f"not the event of this position, which is version {item.version} of {item.id}"
    if data["status"] == "withdrawn":
        return "" if data["headline"] in _STUBS else "a stub with text"
    if item.status == "withdrawn":
        return "withdrawn text"
    return "" if data["headline"] == item.headline else "another headline"


def reaches_back(frames: bytes, truth: Truth) -> list[str]:
    """Whether a replay made now shows stubs for what is withdrawn now, and everything else in full."""
    withdrawn = {e.id: e.event.item.status == "withdrawn" for e in truth.history()}
    complaints = []
    for id, data in re.findall(rb"id: (\S+)\nevent: item\ndata: (.*)\n", frames):
        item = json.loads(data)
        position = parse(id.decode())
        entry = truth.entries.get(position) if position else None
        if entry is None:
            complaints.append(f"the replay: {id!r} is not in the log")
            continue
        stub = item["status"] == "withdrawn"
        if stub != (withdrawn[entry.id] or entry.event.item.status == "withdrawn"):
            complaints.append(
                f"the replay: {id.decode()} of an item that is{' not' if stub else ''} withdrawn, {item['status']}"
            )
        if stub and item["headline"] not in _STUBS:
            complaints.append(f"the replay: {id.decode()} is a stub with text")
    return complaints
