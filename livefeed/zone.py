"""The site's time zone, by the newest zone database at hand.

Governments change their clocks at short notice: Morocco left UTC+1 in September 2026, a month after it said so. Python
prefers the system's database, which may be a year old, over the `tzdata` package that is installed with livefeed; and a
reader's browser may know less than either. So the newer of the two is taken here, and pages carry the offsets that they
need (`offsets`) instead of asking the browser.
"""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from zoneinfo import ZoneInfo

OFFSETS_DAYS = 400
"""How far back and ahead pages carry offsets: beyond what an open page meets, Ramadan of the next year included."""


@cache
def site_zone(name: str) -> ZoneInfo:
    """The zone `name` of the newer database: the system's or the package's.

    :raises zoneinfo.ZoneInfoNotFoundError: neither has it.
    """
    package = resources.files("tzdata.zoneinfo")
    system = [Path(directory) for directory in zoneinfo.TZPATH if Path(directory).is_dir()]
    if system and _version(system[0]) >= _version(package):
        return ZoneInfo(name)
    try:
        with package.joinpath(*name.split("/")).open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except OSError:
        return ZoneInfo(name)


def offsets(zone: ZoneInfo, now: datetime) -> list[tuple[int, int]]:
    """The zone's offsets around `now`: from when (milliseconds since 1970) and how much (minutes), in order.

    The first entry is where knowledge begins, the last one, of the same offset as before it, where it ends.
    """
    day = timedelta(days=1)
    at = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - OFFSETS_DAYS * day
    end = at + 2 * OFFSETS_DAYS * day
    found = [(_ms(at), _minutes(zone, at))]
    while at < end:
        if _minutes(zone, at + day) != found[-1][1]:
            change = _change(zone, at, at + day)
            found.append((_ms(change), _minutes(zone, change)))
        at += day
    return [*found, (_ms(end), found[-1][1])]


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The minute in which the offset changes between two times, by halving."""
    before = _minutes(zone, low)
    while high - low > timedelta(minutes=1):
        middle = low + (high - low) // 2
        middle = middle.replace(second=0, microsecond=0)
        if _minutes(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high


def _minutes(zone: ZoneInfo, at: datetime) -> int:
    offset = at.astimezone(zone).utcoffset()
    return int(offset.total_seconds()) // 60 if offset is not None else 0


def _ms(at: datetime) -> int:
    return int(at.timestamp()) * 1000


def _version(database: Traversable) -> str:
    """Version of a zone database, such as 2026f; "" where it does not say."""
    try:
        with database.joinpath("tzdata.zi").open(encoding="ascii") as file:
            return file.readline().removeprefix("# version").strip()
    except (OSError, UnicodeDecodeError):
        return ""
