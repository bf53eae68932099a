"""``python -m tests.faults.planted``: bugs planted on purpose, and how many schedules each needs to be found.

Each bug is one that a feed like this really has somewhere; a suite that does not find it proves nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvloop

from livefeed.feed import stream
from livefeed.feed.filter import Filter
from livefeed.feed.hub import Hub
from livefeed.feed.listener import Listener
from livefeed.feed.log import Log
from livefeed.feed.position import Position
from livefeed.feed.sse import ResetReason, View
from livefeed.feed.subscriber import Subscriber
from livefeed.feed.window import Window, WindowEvent
from tests.faults.schedules import play
from tests.faults.soak import silence
from tests.faults.world import World

SCHEDULES_MAX = 500


@contextlib.contextmanager
def no_catch_up_after_a_resubscription() -> Iterator[None]:
    """A new subscription goes on from the log's head, as if nothing had been published meanwhile."""
    real = Listener._catch_up
    seen: dict[Listener, int] = {}

    async def catch_up(self: Listener) -> None:
        known, seen[self] = seen.get(self), self.sessions
        if known is not None and known != self.sessions:
            reading = await self._log.read(self._mirror.position, count=0)
            if reading.verdict == "ok":
                self._mirror.window.restart(reading.head)
        await real(self)

    with patch.object(Listener, "_catch_up", catch_up):
        yield


@contextlib.contextmanager
def replay_off_by_one() -> Iterator[None]:
    """A reader that comes back misses the first event after its position."""
    real = stream._continue

    async def continue_(feed: Any, position: Position) -> stream.Start:
        start = await real(feed, position)
        return start if start.reset or start.seq >= feed.mirror.window.head.seq else start._replace(seq=start.seq + 1)

    with patch.object(stream, "_continue", continue_):
        yield


@contextlib.contextmanager
def a_tick_ahead_of_its_cursor() -> Iterator[None]:
    """A tick tells the head, not how far its own reader has been written."""

    def tick_for(self: Hub, subscriber: Subscriber) -> bytes:
        return subscriber.group.framed(self.tick(self._window.head.seq))

    with patch.object(Hub, "_tick_for", tick_for):
        yield


@contextlib.contextmanager
def a_filter_that_forgets_the_state_before() -> Iterator[None]:
    """What moves out of a filter is not told to its readers."""

    def frames(self: Window, after: int, until: int, filter: Filter, view: View) -> list[bytes]:
        return [event.frame(view, self._encode) for event in self.events(after, until) if filter.matches(event.after)]

    with patch.object(Window, "frames", frames):
        yield


@contextlib.contextmanager
def a_reader_that_is_behind_is_served() -> Iterator[None]:
    """A round reaches a reader that is behind, with what is new only."""
    real = Hub.catch_up

    def catch_up(self: Hub, subscriber: Subscriber) -> None:
        head = self._window.head.seq
        if subscriber.behind_since is not None and subscriber.cursor < head:
            group = subscriber.group
            subscriber.cursor = head
            frames = self._window.frames(head - 1, head, group.filter, group.view)
            self._write(subscriber, group.framed(b"".join(frames)))
            return
        real(self, subscriber)

    with patch.object(Hub, "catch_up", catch_up):
        yield


@contextlib.contextmanager
def the_mark_is_not_compared() -> Iterator[None]:
    """A position is a bare number: another history's is continued."""
    real = stream._continue

    async def continue_(feed: Any, position: Position) -> stream.Start:
        start = await real(feed, position)
        return stream.Start(position.seq) if start.reset == "diverged" else start

    with patch.object(stream, "_continue", continue_):
        yield


@contextlib.contextmanager
def a_reset_without_its_cursor() -> Iterator[None]:
    """Readers are told of a reset, and served from where they stood before it."""
    real = Hub.restart

    def restart(self: Hub, reason: ResetReason) -> None:
        before = {s: s.cursor for group in self._groups.values() for s in group.members}
        real(self, reason)
        for subscriber, cursor in before.items():
            subscriber.cursor = cursor

    with patch.object(Hub, "restart", restart):
        yield


@contextlib.contextmanager
def a_withdrawal_that_does_not_reach_back() -> Iterator[None]:
    """Earlier events of a withdrawn item keep their text in the window."""

    def reach_back(self: Window, event: WindowEvent) -> None:
        return

    with patch.object(Window, "_reach_back", reach_back):
        yield


@contextlib.contextmanager
def a_catch_up_that_skips_a_hole() -> Iterator[None]:
    """A reader whose cursor has left the window goes on at its beginning, without a word."""
    real = Hub.catch_up

    def catch_up(self: Hub, subscriber: Subscriber) -> None:
        subscriber.cursor = max(subscriber.cursor, self._window.base.seq)
        real(self, subscriber)

    with patch.object(Hub, "catch_up", catch_up):
        yield


@contextlib.contextmanager
def receipts_that_are_ignored() -> Iterator[None]:
    """The same request, sent again, is published again."""
    real = Log.publish

    async def publish(self: Log, *args: Any, receipt_key: str, **given: Any) -> Any:
        return await real(self, *args, receipt_key=self.keys.receipt("planted", secrets.token_hex(8)), **given)

    async def receipt(self: Log, receipt_key: str, request_hash: str) -> None:
        return None

    with patch.object(Log, "publish", publish), patch.object(Log, "receipt", receipt):
        yield


@contextlib.contextmanager
def a_join_at_the_head() -> Iterator[None]:
    """A reader that joins counts as current, whatever it has been written."""
    real = Hub.join

    def join(self: Hub, subscriber: Subscriber, *given: Any) -> None:
        subscriber.cursor = self._window.head.seq
        real(self, subscriber, *given)

    with patch.object(Hub, "join", join):
        yield


BUGS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    bug.__name__: bug
    for bug in (
        no_catch_up_after_a_resubscription,
        replay_off_by_one,
        a_tick_ahead_of_its_cursor,
        a_filter_that_forgets_the_state_before,
        a_reader_that_is_behind_is_served,
        the_mark_is_not_compared,
        a_reset_without_its_cursor,
        a_withdrawal_that_does_not_reach_back,
        a_catch_up_that_skips_a_hole,
        receipts_that_are_ignored,
        a_join_at_the_head,
    )
}


async def needed(bug: str, first_seed: int, limit: int = SCHEDULES_MAX, worlds: int = 3) -> tuple[int, int, str]:
    """How many schedules it takes to find a bug (0: it was not found), the seed that did, and what it was told by."""
    seeds = iter(range(first_seed, first_seed + limit))
    played = 0
    found: list[tuple[int, int, str]] = []

    async def hunt(world: World) -> None:
        nonlocal played
        for seed in seeds:
            if found:
                return
            result = await play(world, seed)
            played += 1
            if result.violations and not found:
                found.append((played, seed, result.violations[0]))

    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lf-")))
        opened = [await stack.enter_async_context(World.open(directory / str(n))) for n in range(worlds)]
        with BUGS[bug]():
            await asyncio.gather(*(hunt(world) for world in opened))
    return found[0] if found else (0, 0, "")


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bugs", nargs="*", default=list(BUGS), help="names of bugs (all)")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--limit", type=int, default=SCHEDULES_MAX, help=f"most schedules ({SCHEDULES_MAX})")
    given = parser.parse_args()
    silence()
    missed = 0
    for bug in given.bugs:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            count, seed, told = runner.run(needed(bug, given.seed, given.limit))
        missed += not count
        print(f"{bug:<40} {count or 'not found':>9}  seed {seed}: {told[:110]}", flush=True)  # noqa: T201  (a command)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
