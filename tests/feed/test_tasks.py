"""Tasks that are to end do end."""

from __future__ import annotations

import asyncio
import contextlib

from livefeed.feed import tasks


async def test_whoever_ends_a_task_is_not_turned_away_from_it() -> None:
    """Cancelled while it waits for a task that takes its time to end, `end` still ends it, then says so."""
    stubborn = True

    async def slow() -> None:
        while stubborn:
            with contextlib.suppress(asyncio.CancelledError):  # as a library does that is busy closing a connection
                await asyncio.sleep(60)

    child = asyncio.create_task(slow())
    await asyncio.sleep(0)
    ending = asyncio.create_task(tasks.end([child]))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.sleep(0.01)
    ending.cancel()
    await asyncio.sleep(0.01)
    still = not ending.done()
    stubborn = False
    child.cancel()
    await asyncio.wait([child, ending], timeout=5)
    assert still, "it left the task to itself"
    assert child.done()
    assert ending.cancelled()
