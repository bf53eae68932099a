"""The demonstration's play sends the script in order and on time, whatever the newsroom answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from livefeed.errors import Conflict, StaleVersion, Unavailable
from livefeed.newsroom.demo import Placed, demo, play, prefill
from livefeed.newsroom.demo.actions import Correct, Edit, Publish, Restore, Withdraw, day, morning
from livefeed.newsroom.input import ChangeItem, Entry, NewItem, Pin, Withdrawal, checked
from livefeed.settings import Settings

SETTINGS = Settings()
PUBLICATIONS = [step for step in day() if isinstance(step, Publish)]
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


class FakeClock:
    """Time passes only by sleeping."""

    def __init__(self) -> None:
        self.time = START
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)


class FakeNewsroom:
    """Records what is sent to it; `trouble` may raise before an action is taken."""

    def __init__(self, trouble: Callable[[str], None] = lambda key: None) -> None:
        self.sent: list[tuple[str, str, object]] = []
        self.versions: dict[str, int] = {}
        self.keys: list[str] = []
        self._trouble = trouble

    def _take(self, verb: str, id: str | None, body: object, key: str) -> Placed:
        self._trouble(key)
        self.keys.append(key)
        id = id or f"{len(self.versions):018d}"
        self.versions[id] = self.versions.get(id, 0) + 1
        self.sent.append((verb, id, body))
        return Placed(id, self.versions[id])

    async def publish(self, new: NewItem, key: str) -> Placed:
        return self._take("publish", None, new, key)

    async def bring(self, entry: Entry) -> Placed:
        return self._take("bring", None, entry, entry.guid)

    async def change(self, id: str, change: ChangeItem, version: int, key: str) -> Placed:
        if version != self.versions.setdefault(id, version):
            raise StaleVersion("stale", version=self.versions[id])
        return self._take(change.change, id, change, key)

    async def withdraw(self, id: str, withdrawal: Withdrawal, key: str) -> Placed:
        return self._take("withdraw", id, withdrawal, key)

    async def restore(self, id: str, withdrawal: Withdrawal, key: str) -> Placed:
        return self._take("restore", id, withdrawal, key)

    async def pin(self, id: str, pin: Pin, key: str) -> Placed:
        return self._take("pin", id, pin, key)


async def test_the_play_sends_every_action_once_in_order_with_its_own_key() -> None:
    """Each action of the day becomes one call, in the script's order, with idempotency keys that never repeat."""
    newsroom = FakeNewsroom()
    clock = FakeClock()
    cast = await prefill(morning(), newsroom, clock)
    before = len(newsroom.sent)

    await play(day(), newsroom, clock=clock, cast=cast)

    played = [verb for verb, _, _ in newsroom.sent[before:]]
    verbs = {Publish: "publish", Edit: "edit", Correct: "correct", Withdraw: "withdraw", Restore: "restore"}
    assert played == [verbs.get(type(step), "pin") for step in day()]
    assert len(set(newsroom.keys)) == len(newsroom.keys)


async def test_two_plays_use_different_keys() -> None:
    """A second run publishes anew instead of getting the first one's receipts."""
    first, second = FakeNewsroom(), FakeNewsroom()
    for newsroom in (first, second):
        await play(PUBLICATIONS[:1], newsroom, clock=FakeClock())

    assert len(first.keys) == len(second.keys) == 1
    assert first.keys != second.keys


@pytest.mark.parametrize("speed", [1.0, 80.0, 100_000.0])
async def test_the_day_takes_its_time_divided_by_the_speed(speed: float) -> None:
    """An action comes at its time of the day, counted from the first one, divided by the speed."""
    clock = FakeClock()
    steps = day()

    await play(steps, FakeNewsroom(), speed=speed, clock=clock, cast=_everything())

    expected = (steps[-1].minute - steps[0].minute) * 60 / speed
    assert abs((clock.time - START).total_seconds() - expected) < 0.001


async def test_a_speed_of_nothing_is_refused() -> None:
    """A speed that would never come to the end is an error before anything is published."""
    newsroom = FakeNewsroom()

    with pytest.raises(ValueError, match="speed"):
        await play(day(), newsroom, speed=0)
    assert newsroom.sent == []


async def test_the_morning_is_a_backfill_with_times_before_now() -> None:
    """The first look at the page finds the morning: not announced as news, the last item two minutes old."""
    newsroom = FakeNewsroom()

    await prefill(morning(), newsroom, FakeClock())

    entries = [body for _, _, body in newsroom.sent]
    times = [entry.first_published_at for entry in entries if isinstance(entry, Entry)]
    assert len(times) == sum(isinstance(step, Publish) for step in morning())
    assert times == sorted(t for t in times if t is not None)
    assert times[-1] == START - timedelta(minutes=2)
    for entry in entries:
        assert isinstance(entry, Entry)
        assert entry.backfill
        checked(entry, SETTINGS)
        assert msgspec.json.decode(msgspec.json.encode(entry), type=Entry) == entry


async def test_the_morning_holds_its_corrections() -> None:
    """An item corrected in the morning comes in corrected, with its note, as readers would have found it."""
    newsroom = FakeNewsroom()

    await prefill(morning(), newsroom, FakeClock())

    corrected = [body for _, _, body in newsroom.sent if isinstance(body, Entry) and body.corrections]
    assert len(corrected) == sum(isinstance(step, Correct) for step in morning())
    assert all(entry.updated_at is not None and entry.updated_at < START for entry in corrected)


async def test_alternates_become_ids_of_items_that_are_there() -> None:
    """The script's names never leave it: alternates are sent as ids."""
    newsroom = FakeNewsroom()
    await demo(newsroom, clock=FakeClock())

    sent = [body.alternates for _, _, body in newsroom.sent if isinstance(body, NewItem | ChangeItem | Entry)]
    named = [alternates for alternates in sent if isinstance(alternates, dict)]
    assert named
    assert all(id in newsroom.versions for alternates in named for id in alternates.values())


async def test_a_change_made_meanwhile_does_not_stop_the_play() -> None:
    """A visitor who edits or withdraws an item of the demonstration is no reason to stop: the action is passed over."""

    def trouble(key: str) -> None:
        if key.endswith(("-2", "-7")):
            raise Conflict("The item is withdrawn.")

    newsroom = FakeNewsroom(trouble)

    await play(day(), newsroom, clock=FakeClock(), cast=_everything())

    assert len(newsroom.sent) > len(day()) - 8


async def test_a_morning_item_that_is_refused_does_not_stop_the_play() -> None:
    """A second start on one day may find an item of the morning withdrawn: the rest comes in, and the day is played."""

    def trouble(key: str) -> None:
        if key.endswith("/a7"):
            raise Conflict("The item was withdrawn.")

    newsroom = FakeNewsroom(trouble)

    await demo(newsroom, clock=FakeClock())

    assert sum(verb == "bring" for verb, _, _ in newsroom.sent) == sum(isinstance(s, Publish) for s in morning()) - 1
    assert len(newsroom.sent) > len(day())


async def test_a_stale_version_is_learnt() -> None:
    """After an edit of somebody else the play goes on from the item's new version."""
    newsroom = FakeNewsroom()
    steps = [step for step in day() if "saumon" in (getattr(step, "name", ""), getattr(step, "of", ""))]
    cast = await play(steps[:1], newsroom, clock=FakeClock())
    (id,) = newsroom.versions
    newsroom.versions[id] = 5

    cast = await play(steps[1:], newsroom, clock=FakeClock(), cast=cast)

    assert cast["saumon"] == Placed(id, 5)


async def test_the_same_key_is_tried_again_while_the_store_is_away() -> None:
    """While publishing is refused as unavailable, the action waits and is sent again under its own key."""
    tried: list[str] = []

    def trouble(key: str) -> None:
        tried.append(key)
        if len(tried) < 4:
            raise Unavailable("The store cannot take writes now.")

    clock = FakeClock()
    newsroom = FakeNewsroom(trouble)

    await play(PUBLICATIONS[:1], newsroom, clock=clock)

    assert tried == [tried[0]] * 4
    assert len(newsroom.sent) == 1
    assert clock.slept == [2.0, 2.0, 2.0]


async def test_a_cancelled_play_ends_at_once() -> None:
    """Cancelling the play ends it, and nothing more is published."""
    first = asyncio.Event()

    def trouble(key: str) -> None:
        first.set()

    newsroom = FakeNewsroom(trouble)
    task = asyncio.create_task(play(PUBLICATIONS, newsroom, speed=1))
    await first.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(newsroom.sent) == 1


def _everything() -> dict[str, Placed]:
    """A cast in which the morning is there, though no newsroom knows it."""
    return {
        step.name: Placed(f"m{number:017d}", 1) for number, step in enumerate(morning()) if isinstance(step, Publish)
    }
