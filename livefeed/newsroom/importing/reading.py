"""From the bytes of a feed file to its entries, whatever its format and encoding."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from livefeed.newsroom.importing.results import Result
from livefeed.settings import Settings

FILE_MAX_BYTES = 67_108_864
"""Largest feed file, in bytes (64 MiB): all of it is held in memory while it is read."""
ENTRIES_MAX = 100_000
"""Most entries read of one file; the rest is reported as left out. A newsroom of 150 items a day for two years."""


def read(
    data: bytes,
    settings: Settings,
    *,
    rubric: str | None = None,
    language: str = "fr",
    now: datetime | None = None,
) -> Iterator[Result]:
    """The entries of a file, in its order, each `Found` or a `BadEntry`; never raises, whatever the bytes.

    The caller reads at most `FILE_MAX_BYTES` + 1 bytes of its file; more than `FILE_MAX_BYTES` is refused here.

    :param rubric: slug for entries whose categories name no rubric; None makes those bad entries.
    :param language: for entries that do not say theirs.
    :param now: the present, for embargoes and dates in the future; None asks the clock.
    """
    raise NotImplementedError
