"""Plays the script: the morning at once, the rest live and in order, at a chosen speed.

The play speaks to a `Newsroom`, which the server makes of its own publishing service. What the newsroom refuses (a
visitor edited or withdrew an item of the demonstration meanwhile) is told to the log and passed over; when the store
cannot take writes, the same action is tried again with the same key.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

import msgspec
import structlog

from livefeed.errors import ApiError, StaleVersion, Unavailable
from livefeed.feed.item import Correction
from livefeed.newsroom.demo.actions import Correct, Edit, Publish, Restore, Step, Withdraw, day, morning
from livefeed.newsroom.input import ChangeItem, Entry, NewItem, Pin, Withdrawal

DEFAULT_SPEED = 80.0
"""Script minutes per real minute: the fourteen hours from nine to eleven at night in about ten minutes."""
RETRY_S = 2.0
"""Wait before an action is tried again while the store cannot take writes."""
TRIES = 30
"""After a minute of that the action is passed over."""
LEAD = timedelta(minutes=2)
"""The morning's last item is this old when the play begins."""

_log = structlog.get_logger(__name__)


class Placed(msgspec.Struct, frozen=True):
    """What the newsroom answers: which item, in which version."""

    id: str
    version: int


class Newsroom(Protocol):
    """What the play needs of a publishing service; each raises `ApiError` as the HTTP route does.

    `key` is an idempotency key: the same key is the same action.
    """

    async def publish(self, new: NewItem, key: str) -> Placed:
        """As ``POST /api/items``."""

    async def bring(self, entry: Entry) -> Placed:
        """As ``POST /api/import``."""

    async def change(self, id: str, change: ChangeItem, version: int, key: str) -> Placed:
        """As ``PATCH /api/items/{id}`` with ``If-Match``."""

    async def withdraw(self, id: str, withdrawal: Withdrawal, key: str) -> Placed:
        """As ``POST /api/items/{id}/withdraw``."""

    async def restore(self, id: str, withdrawal: Withdrawal, key: str) -> Placed:
        """As ``POST /api/items/{id}/restore``."""

    async def pin(self, id: str, pin: Pin, key: str) -> Placed:
        """As ``POST /api/items/{id}/pin``."""


class Clock(Protocol):
    """The present, and waiting; tests bring their own."""

    def now(self) -> datetime:
        """The present, in UTC."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class RealClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


Cast = dict[str, Placed]
"""The items that are on the stage: name in the script to id and version."""


async def demo(newsroom: Newsroom, *, speed: float = DEFAULT_SPEED, clock: Clock | None = None) -> None:
    """The whole demonstration: the morning at once, then the day; returns when the day is over.

    Cancelling it stops it between two actions or within one; nothing is left half done.
    """
    clock = clock or RealClock()
    cast = await prefill(morning(), newsroom, clock)
    await play(day(), newsroom, speed=speed, clock=clock, cast=cast)


async def prefill(steps: Sequence[Step], newsroom: Newsroom, clock: Clock) -> Cast:
    """Bring in `steps` as they stand at their end, as a backfill with times before now; the items by their names.

    Only what an import can carry: publications, edits and corrections. The guids hold the date, so that a second
    start on one day finds the morning there.
    """
    now = clock.now()
    shift = now - LEAD - timedelta(minutes=max(step.minute for step in steps))
    entries: dict[str, Entry] = {}
    for step in steps:
        at = shift + timedelta(minutes=step.minute)
        if isinstance(step, Publish):
            guid = f"tag:livefeed,2026:demo/{now:%Y-%m-%d}/{step.name}"
            entries[step.name] = Entry(guid=guid, first_published_at=at, **step.fields())
        elif isinstance(step, Edit | Correct):
            old = entries[step.of]
            for field, value in step.fields().items():
                setattr(old, field, value)
            if isinstance(step, Correct):
                old.corrections = [*old.corrections, Correction(note=step.note, at=at)]
                old.updated_at = at
        else:
            raise ValueError(f"the morning cannot hold {type(step).__name__} at {step.at}")
    cast: Cast = {}
    for name, entry in entries.items():
        # Two items may name each other, so the first to come goes without the address of the other.
        if isinstance(entry.alternates, dict):
            entry.alternates = _ids(entry.alternates, cast)
        placed = await _tried(partial(newsroom.bring, entry), clock, action="Bring", item=name)
        if isinstance(placed, Placed):
            cast[name] = placed
    return cast


async def play(
    steps: Sequence[Step],
    newsroom: Newsroom,
    *,
    speed: float = DEFAULT_SPEED,
    clock: Clock | None = None,
    cast: Cast | None = None,
    run: str | None = None,
) -> Cast:
    """Play `steps` in order; the first one at once, each further one when its time has come. The items by their names.

    :param speed: script minutes per real minute; 1 is the real day.
    :param cast: items of the script that are there already.
    :param run: distinguishes this run's idempotency keys from another's; None takes a random one.
    :raises ValueError: for a speed that is not above 0.
    """
    if not speed > 0:
        raise ValueError("speed must be above 0")
    clock = clock or RealClock()
    cast = dict(cast or {})
    run = run or secrets.token_hex(4)
    start = clock.now()
    for number, step in enumerate(steps):
        due = start + timedelta(minutes=(step.minute - steps[0].minute) / speed)
        wait = (due - clock.now()).total_seconds()
        if wait > 0:
            await clock.sleep(wait)
        await _act(step, newsroom, clock, speed, cast, key=f"demo-{run}-{number}")
    return cast


async def _act(step: Step, newsroom: Newsroom, clock: Clock, speed: float, cast: Cast, key: str) -> None:
    """One action, tried again while the store cannot take it, passed over where the newsroom refuses it."""
    name = step.name if isinstance(step, Publish) else step.of
    if not isinstance(step, Publish) and name not in cast:
        _log.warning("demo_action_without_item", action=type(step).__name__, item=name)
        return
    send = partial(_send, step, newsroom, clock, speed, cast, key)
    placed = await _tried(send, clock, action=type(step).__name__, item=name)
    if isinstance(placed, Placed):
        cast[name] = placed
    elif placed is not None and name in cast:
        cast[name] = Placed(cast[name].id, placed)


async def _tried(send: Callable[[], Awaitable[Placed]], clock: Clock, *, action: str, item: str) -> Placed | int | None:
    """What `send` answers, tried again while the store is away; None where it is refused or the store stays away.

    Of a refusal because somebody else changed the item, the version that it has now.
    """
    for attempt in range(TRIES):
        if attempt:
            await clock.sleep(RETRY_S)
        try:
            return await send()
        except Unavailable:
            continue
        except ApiError as error:
            _log.warning("demo_action_refused", action=action, item=item, error=str(error))
            version = error.data.get("version") if isinstance(error, StaleVersion) else None
            return version if isinstance(version, int) else None
    _log.warning("demo_action_given_up", action=action, item=item)
    return None


async def _send(step: Step, newsroom: Newsroom, clock: Clock, speed: float, cast: Cast, key: str) -> Placed:
    fields: dict[str, Any] = step.fields()
    if "alternates" in fields:
        fields["alternates"] = _ids(fields["alternates"], cast)
    if isinstance(step, Publish):
        return await newsroom.publish(NewItem(**fields), key)
    item = cast[step.of]
    if isinstance(step, Edit):
        return await newsroom.change(item.id, ChangeItem(change="edit", **fields), item.version, key)
    if isinstance(step, Correct):
        change = ChangeItem(change="correct", note=step.note, **fields)
        return await newsroom.change(item.id, change, item.version, key)
    if isinstance(step, Withdraw):
        return await newsroom.withdraw(item.id, Withdrawal(reason=step.reason), key)
    if isinstance(step, Restore):
        return await newsroom.restore(item.id, Withdrawal(reason=step.reason), key)
    until = clock.now() + timedelta(hours=step.hours / speed)
    return await newsroom.pin(item.id, Pin(until=until), key)


def _ids(alternates: dict[str, str], cast: Cast) -> dict[str, str]:
    """The ids of the items named in `alternates`, without those that are not there."""
    return {language: cast[name].id for language, name in alternates.items() if name in cast}
