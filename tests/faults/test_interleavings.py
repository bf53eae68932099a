"""The subscribe/replay race, over all its interleavings: window, hub and subscribers with a transport that is driven.

Every order of the operations below up to a length is played from the start; after each operation the bytes that each
reader was written must decode to exactly the events after its position. A round is stepped reader by reader, so that
everything else also happens in the middle of it.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import re
from collections.abc import Coroutine, Iterator
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from livefeed.feed import hub as hubs
from livefeed.feed.filter import ALL
from livefeed.feed.hub import Hub
from livefeed.feed.item import Event, stub
from livefeed.feed.log import Entry
from livefeed.feed.mirror import Mirror
from livefeed.feed.position import Position
from livefeed.feed.subscriber import Subscriber
from livefeed.feed.window import Window, WindowEvent
from livefeed.settings import Settings
from tests.feed.making import make

LENGTH = 6
SECRET = "Un nom qui ne devait pas paraître"
FIRST = make(SECRET)
_FRAME = re.compile(rb"(?:id: (\d+)-(\w+)\n)?event: (\w+)\ndata: (.*)\n")


class Transport:
    """Records what it is told to write; takes everything, and says that it is full when it is told to."""

    def __init__(self, number: int, direct: bool) -> None:
        self.number = number
        self.direct = direct
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | memoryview) -> None:
        if not self.closed:
            self.written.append(bytes(data))

    def set_write_buffer_limits(self, high: int) -> None: ...

    def set_protocol(self, protocol: Subscriber) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0 if self.direct else 1

    def get_extra_info(self, name: str) -> Any:
        return SimpleNamespace(fileno=lambda: self.number) if name == "socket" else None

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


@functools.cache
def entry(history: int, seq: int, change: str = "publish") -> Entry:
    """An event of a history; the first one is what is withdrawn."""
    item = FIRST if seq == 1 or change == "withdraw" else make(f"Info {seq}")
    public = stub(item.public()) if change == "withdraw" else item.public()
    event = msgspec.json.encode(Event(change=cast("Any", change), item=public))
    body = b"\n".join([b"", msgspec.json.encode(item.facets), event])
    return Entry(seq, f"{history:04x}{seq:04x}", 1, item.id, False, body)


class Race:
    """One order of operations, played."""

    def __init__(self, direct: bool) -> None:
        self.direct = direct
        self.window = Window("", 100, 1_000_000)
        self.window.restart(Position(0, "00000000"))
        mirror = cast("Mirror", SimpleNamespace(window=self.window))
        self.hub = Hub(mirror, SETTINGS, lambda: True)
        self.history = 0
        self.withdrawn = False
        self.round: Coroutine[Any, Any, None] | None = None
        self.readers: list[tuple[Subscriber, Transport]] = []
        self.told: list[tuple[int, str]] = []
        """Where each reader stands by what it was written: seq and mark."""
        self.join(0)

    def play(self, operation: str) -> None:
        if operation == "publish":
            self.window.append(WindowEvent(entry(self.history, self.window.head.seq + 1)))
        elif operation == "withdraw":
            self.window.append(WindowEvent(entry(self.history, self.window.head.seq + 1, "withdraw")))
            self.withdrawn = True
        elif operation == "join at the start":
            self.join(self.window.base.seq)
        elif operation == "join at the head":
            self.join(self.window.head.seq)
        elif operation == "slice":
            self.slice()
        elif operation == "pause":
            self.readers[0][0].pause_writing()
        elif operation == "resume":
            self.readers[0][0].resume_writing()
        elif operation == "tick":
            self.tick()
        elif operation == "restart":
            self.history += 1
            self.window.restart(Position(1, f"{self.history:04x}0001"))
            self.hub.restart("diverged")
        self.check()

    def join(self, seq: int) -> None:
        subscriber = self.hub.subscriber(ALL, "full", False, seq)
        transport = Transport(len(self.readers), self.direct)
        self.told.append((seq, self.window.mark_at(seq) or ""))
        subscriber.attach(cast("asyncio.Transport", transport), 1)
        self.readers.append((subscriber, transport))
        subscriber.write(b": ")  # as the opening does: from here on rounds may write past the transport
        transport.written.clear()
        self.hub.join(subscriber)

    def slice(self) -> None:
        """One reader's part of a round."""
        if self.round is None:
            (group,) = self.hub._groups.values()
            self.round = self.hub._serve(group, self.window.head.seq)
        try:
            self.round.send(None)
        except StopIteration:
            self.round = None

    def tick(self) -> None:
        """As the wheel does it."""
        self.hub._ticks.clear()
        for subscriber, _ in self.readers:
            if subscriber.behind_since is None and not subscriber.transport.is_closing():
                self.hub._write(subscriber, self.hub._tick_for(subscriber))

    def check(self) -> None:
        """What was written since the last check follows what was written before, and nothing is left out."""
        for number, (_, transport) in enumerate(self.readers):
            data = b"".join(transport.written)
            transport.written.clear()
            for seq_text, mark_text, kind, payload in _FRAME.findall(data):
                seq, mark = int(seq_text), mark_text.decode()
                before = self.told[number]
                if kind == b"item":
                    assert (seq, mark[:4]) == (before[0] + 1, before[1][:4]), "a hole, a double, or another history"
                    assert not (self.withdrawn and seq == 1 and SECRET.encode() in payload), "withdrawn text"
                elif kind == b"tick":
                    assert (seq, mark) == before, "a tick that is not where its reader stands"
                self.told[number] = seq, mark

    def finish(self) -> None:
        """Let everything come to its end: who is still there has everything."""
        if self.readers[0][0].behind_since is not None:
            self.play("resume")
        while self.round is not None:
            self.play("slice")
        self.play("slice")
        while self.round is not None:
            self.play("slice")
        head = self.window.head
        for number, (_, transport) in enumerate(self.readers):
            assert transport.closed or self.told[number] == (head.seq, head.mark), f"reader {number} has not everything"

    def close(self) -> None:
        if self.round is not None:
            self.round.close()


SETTINGS = Settings(redis_url="redis://127.0.0.1:1")


def orders(length: int, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All orders of operations that make sense: one pause at a time, one joiner, one withdrawal, two restarts."""
    if len(before) == length:
        yield before
        return
    paused = before.count("pause") > before.count("resume")
    joined = any(operation.startswith("join") for operation in before)
    for operation in (
        "publish",
        "slice",
        "tick",
        "resume" if paused else "pause",
        *(() if joined else ("join at the start", "join at the head")),
        *(() if "withdraw" in before or "publish" not in before or "restart" in before else ("withdraw",)),
        *(() if "restart" in before else ("restart",)),
    ):
        yield from orders(length, (*before, operation))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("direct", [True, False], ids=["past the transport", "through the transport"])
async def test_every_order_of_subscribe_and_replay(direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens when, a reader is written exactly the events after its position, and no tick is ahead of it."""
    race: Race

    def write(descriptor: int, data: bytes) -> int:
        race.readers[descriptor][1].written.append(bytes(data))
        return len(data)

    monkeypatch.setattr("livefeed.feed.hub.os.write", write)
    monkeypatch.setattr(hubs, "SLICE", 1)
    played = 0
    for order in orders(LENGTH):
        race = Race(direct)
        try:
            for operation in order:
                race.play(operation)
            race.finish()
        except AssertionError as error:
            raise AssertionError(f"{error}: {' ▸ '.join(order)}") from error
        finally:
            race.close()
        played += 1
    assert played == 49_408


async def test_a_tick_made_before_a_restart_is_not_told_after_it() -> None:
    """Ticks that readers share are of one history, also where another one has the same seq."""
    race = Race(direct=False)
    race.play("publish")
    race.play("slice")
    (subscriber, _), *_ = race.readers
    assert b"id: 1-00000001\n" in race.hub._tick_for(subscriber)
    race.play("restart")
    assert b"id: 1-00010001\n" in race.hub._tick_for(subscriber)
    race.close()


def test_the_orders_are_all_different() -> None:
    """The enumeration neither repeats nor forgets."""
    few = list(orders(3))
    assert len(set(few)) == len(few)
    assert all(("publish", x, "slice") in few for x in ("tick", "pause", "withdraw", "restart", "join at the start"))
    assert list(itertools.islice(orders(1), 3)) == [("publish",), ("slice",), ("tick",)]
