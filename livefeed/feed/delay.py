"""The hub's delay: how long what has arrived waits for its round, and how long an event takes from publish to send."""

from __future__ import annotations

import time

from livefeed.feed.histogram import Histogram
from livefeed.feed.window import Window

_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Delay:
    """Measured once per event and pass over the groups, whatever the number of readers."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.histogram = Histogram(_BOUNDS_S)
        """Seconds from an event's time in the store until every group had been written it."""
        self._since: float | None = None
        self._served = 0

    @property
    def waiting_s(self) -> float:
        """For how long something that has arrived has been waiting for its round; 0 while nothing does."""
        since = self._since
        return time.monotonic() - since if since is not None else 0.0

    def arrived(self) -> None:
        """Something has arrived in the window."""
        if self._since is None:
            self._since = time.monotonic()

    def skip(self) -> None:
        """What is in the window now is not sent: the mirror was made anew, or the process has just begun."""
        self._served = self._window.head.seq

    def served(self, head: int, begun: float, more: bool, groups: int) -> None:
        """All `groups` have been served up to seq `head` since `begun`; `more` has arrived meanwhile."""
        self._since = begun if more else None
        if groups:
            now_ms = time.time() * 1000
            for time_ms in self._window.times(self._served, head):
                self.histogram.observe(max(now_ms - time_ms, 0.0) / 1000)  # the store's clock may be ahead of ours
        self._served = min(max(self._served, head), self._window.head.seq)  # less, where the mirror was made anew
