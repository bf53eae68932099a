"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

CANCEL_AGAIN_S = 0.05
"""Pause between two cancellations of a task that has not ended yet."""


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until each has ended; errors of theirs are not raised.

    One cancellation may be swallowed by what a task is waiting in (``asyncio.wait_for`` of Python 3.11 does when its
    result comes in the same turn): a task that went on after that would be waited for in vain. Nor does it help to
    cancel whoever waits here: a task that it turned away from would go on for ever. The cancellation comes afterwards.
    """
    left = {task for task in tasks if not task.done()}
    cancelled: asyncio.CancelledError | None = None
    while left:
        for task in left:
            task.cancel()
        try:
            _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
        except asyncio.CancelledError as error:
            cancelled = error
            left = {task for task in left if not task.done()}
    if cancelled is not None:
        raise cancelled
