"""The watch: tells the log of what an operator would act on, at most one line a second for each kind.

A herd of slow readers that are cut together is one line with a count. What befalls the channel or the store is told
where it is noticed, by the listener; who is turned away, by `admission`.
"""

from __future__ import annotations

import asyncio

import structlog

from livefeed.feed.hub import Hub
from livefeed.feed.lag import SAMPLE_S, Lag
from livefeed.feed.listener import Listener

PERIOD_S = 1.0
LAG_TOLD_S = 0.5
"""A loop that was later than this is worth a line: something blocks it, or it has more readers than it can serve."""

logger = structlog.get_logger()


class Watch:
    """Compares the counts of a process with those of a second ago."""

    def __init__(self, hub: Hub, listener: Listener, lag: Lag) -> None:
        self._hub = hub
        self._listener = listener
        self._lag = lag
        self._before: dict[str, int] = {}

    async def run(self) -> None:
        """Look once a second for ever; returns only by being cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self.look()

    def look(self) -> None:
        """Tell what has happened since the last look."""
        hub = self._hub
        cut = self._more("cut", hub.counts["cut"])
        if cut:
            logger.warning("readers were cut", count=cut, streams=hub.streams)
        poison = self._more("poison", self._listener.poison)
        if poison:
            logger.warning("messages that cannot be read were skipped", count=poison)
        pulse = self._listener.pulse
        if pulse is not None:
            first = "early" not in self._before
            early = self._more("early", pulse.early)
            if early and not first:  # what was trimmed before this process began has been told by others
                size = {"bytes": pulse.bytes, "events": pulse.events}
                logger.error("the log outgrows its bound and is trimmed early", count=early, **size)
        worst_s = self._lag.worst_s(round(PERIOD_S / SAMPLE_S))
        if worst_s > LAG_TOLD_S:
            logger.warning("the event loop was late", by_s=round(worst_s, 3), streams=hub.streams)

    def _more(self, name: str, count: int) -> int:
        more = count - self._before.get(name, 0)
        self._before[name] = count
        return more
