"""A histogram in plain numbers: cheap enough for the loop, made into what a monitor reads when one asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Counts of values by upper bound; the last count is of those above every bound."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """:param bounds: ascending, in the unit of what is observed."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value: 0.3 µs."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
