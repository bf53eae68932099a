"""How late the event loop is: whatever keeps it busy or blocks it, every reader waits as long."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque

from livefeed.feed.histogram import Histogram

SAMPLE_S = 0.1
"""Time between two samples: 10 wake-ups a second, some 0.03 % of a core."""
LAG_MAX_S = 2.0
"""A loop that is later than this does not bring an event within the second that is promised: not live."""
WORST_OF = 150
"""Samples that `worst_s` looks back on: 15 s, what a monitor usually waits between two looks."""
_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Lag:
    """Samples the loop that `run` runs in."""

    def __init__(self) -> None:
        self.histogram = Histogram(_BOUNDS_S)
        """Of all samples, in seconds."""
        self._recent: deque[float] = deque([0.0], maxlen=WORST_OF)
        self._due = float("inf")

    @property
    def now_s(self) -> float:
        """How late the loop was at the last sample, or is by now where the next one is overdue by more."""
        return max(self._recent[-1], time.monotonic() - self._due)

    def worst_s(self, samples: int = WORST_OF) -> float:
        """The most of the last so many samples."""
        return max(itertools.islice(reversed(self._recent), samples))

    async def run(self) -> None:
        """Sample for ever; returns only by being cancelled."""
        while True:
            self._due = time.monotonic() + SAMPLE_S
            await asyncio.sleep(SAMPLE_S)
            late = max(time.monotonic() - self._due, 0.0)
            self._recent.append(late)
            self.histogram.observe(late)
