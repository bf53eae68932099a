"""The mirror: what this process knows of the log, window and board together, always true at one position.

Filled once from the log, then moved event by event. Where the log's history is not the one mirrored (lost data, a
restored backup, a promoted stale replica), the mirror is made anew, and every reader is told by a reset.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from livefeed.feed.board import Board
from livefeed.feed.item import Facets, PublicItem
from livefeed.feed.log import Entry, Log
from livefeed.feed.position import Position, chain
from livefeed.feed.window import Window, WindowEvent
from livefeed.settings import Settings

_BOARD_PAGE = 500
"""Items read in one script while the board is filled: some 10 ms of Redis's time at 2 KB an item."""


POISON = (msgspec.MsgspecError, ValueError)
"""What an entry or a message that is none of ours raises when it is read."""


class Applied(Enum):
    """What became of an entry."""

    NEXT = "next"
    """It was the next one and is applied."""
    KNOWN = "known"
    """It was applied before."""
    HOLE = "hole"
    """Entries before it are missing: read the log."""
    DIVERGED = "diverged"
    """It belongs to another history: read the log."""


class Mirror:
    """Window and board of this process."""

    def __init__(self, settings: Settings) -> None:
        self.window = Window(settings.base_url, settings.window_events, settings.window_bytes)
        self.board = Board(settings.board_items)
        self.loaded = False
        """Whether the mirror has been filled; until then it is no answer to anything."""

    @property
    def position(self) -> Position:
        """The position at which window and board are true."""
        return self.window.head

    async def load(self, log: Log) -> None:
        """Fill window and board from the log, replacing what was there in one step.

        :raises Unavailable: the store cannot be reached; what was there stays.
        """
        items: list[tuple[PublicItem, Facets]] = []
        below, head = "", None
        while len(items) < self.board.items_max:
            page = await log.page([log.keys.all], below, min(_BOARD_PAGE, self.board.items_max - len(items)))
            head = head or page.head
            items += [(item.public(), item.facets) for item in page.items]
            if not page.keys:
                break
            below = page.keys[-1]
        assert head is not None  # noqa: S101  (the loop ran)
        complete = len(items) < self.board.items_max
        base, entries = await self._tail(log, head)
        self.window.restart(base)
        for entry in entries:
            try:
                event = WindowEvent(entry)
                event.event()
                self.window.append(event)
            except POISON:  # a damaged entry: what lies before it cannot be continued from here
                self.window.restart(Position(entry.seq, entry.mark))
        self.board.restart(items, complete)
        self.loaded = True

    async def _tail(self, log: Log, head: Position) -> tuple[Position, list[Entry]]:
        """The newest entries up to `head` that fit the window, and the position before them."""
        look = await log.read(head, count=0)
        start = max(head.seq - self.window.events_max, 0)
        if start <= look.origin.seq:
            start, base = look.origin.seq, look.origin
        else:
            base = Position(start, "")
        if look.first_seq > start + 1:  # trimmed further than the window reaches
            start, base = look.first_seq, Position(look.first_seq, "")
        entries: list[Entry] = []
        if not base.mark:  # its entry tells the mark
            own = (await log.read(Position(start - 1, ""), count=1)).entries
            if not own:
                return head, []
            base = Position(start, own[0].mark)
        while start < head.seq:
            page = (await log.read(Position(start, ""))).entries
            if not page:
                break
            entries += [entry for entry in page if entry.seq <= head.seq]
            start = page[-1].seq
        # They must lead to where the board stands. Else the log lacks its tail, or its history has changed meanwhile:
        # the window starts empty at `head`, and the next read tells whether that can be continued.
        if not entries or (entries[-1].seq, entries[-1].mark) != head:
            return head, []
        return base, entries

    def apply(self, entry: Entry) -> Applied:
        """Move on by one entry, where it is the next one of the history mirrored.

        :raises msgspec.MsgspecError: for an entry whose body is not an event's.
        """
        head = self.window.head
        if entry.seq <= head.seq:
            known = self.window.mark_at(entry.seq)
            return Applied.KNOWN if known is None or known == entry.mark else Applied.DIVERGED
        if entry.seq > head.seq + 1:
            return Applied.HOLE
        if chain(head.mark, entry.body) != entry.mark:
            return Applied.DIVERGED
        event = WindowEvent(entry)
        decoded = event.event()  # before anything moves: an entry that cannot be read must leave no trace
        self.window.append(event)
        self.board.apply(event.event() if event.withdrawn else decoded, event.after)
        return Applied.NEXT
