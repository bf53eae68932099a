"""What every format's reader makes of an entry before the rules that are the same for all of them. Pure data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from livefeed.feed.item import Image, Level

_MONTHS = (
    ("janv",),
    ("févr", "fevr"),
    ("mars",),
    ("avr",),
    ("mai",),
    ("juin",),
    ("juil",),
    ("août", "aout"),
    ("sept",),
    ("oct",),
    ("nov",),
    ("déc", "dec"),
)
_FRENCH = re.compile(
    r"(?P<day>[0-9]{1,2})\s+(?P<month>[a-zéû]{3,9})\.?\s+(?P<year>[0-9]{4})[\sà,]+(?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)"
    r"(?:\s*(?P<zone>[+-][0-9]{2}:?[0-9]{2}))?"
)


@dataclass(slots=True, kw_only=True)
class Raw:
    """One entry as its file has it; texts are not cleaned or cut yet."""

    number: int
    """Place in the file, from 1."""
    line: int | None = None
    guid: str = ""
    link: str = ""
    title: str = ""
    title_is_text: bool = False
    """The title is declared to be plain text: what looks like a tag or an entity in it is meant."""
    html: str = ""
    """The body where the format says it is HTML; wins over `text`."""
    text: str = ""
    """The body where the format says it is plain text."""
    published: Date = None
    updated: Date = None
    authors: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    """Become tags, and one of them the rubric."""
    codes: list[str] = field(default_factory=list)
    """Categories for machines: only looked up in the rubric map."""
    language: str = ""
    source: str = ""
    images: list[Image] = field(default_factory=list)
    """In order of preference; the first with a good address is taken."""
    level: Level = "normal"
    withheld: str = ""
    """Why this entry must not be published; "" where it may."""


Date = str | datetime | None
"""A date as the file writes it, or already read."""


def read_date(value: str) -> datetime | None:
    """A date in ISO 8601 or RFC 822 form, in UTC; without a zone it counts as UTC; None where it cannot be read."""
    value = value.strip()
    if not value or len(value) > 100:
        return None
    for reader in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = reader(value)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return _french(value.casefold())


def _french(value: str) -> datetime | None:
    """A date in RFC 822 form, but with the month's French name, as some content systems of French sites write it."""
    match = _FRENCH.search(value)
    if match is None:
        return None
    month = next((n for n, names in enumerate(_MONTHS, start=1) if match["month"].startswith(names)), 0)
    zone = match["zone"] or "+0000"
    try:
        found = datetime.fromisoformat(f"{match['year']}-{month:02}-{int(match['day']):02}T{match['time']}{zone}")
    except ValueError:
        return None
    return found.astimezone(UTC)
