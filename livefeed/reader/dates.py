"""Times as readers see them: in the site's zone, in the forms of their language. Pure.

The zone database decides the offset (`zone`): Casablanca was at UTC+1, but at UTC+0 during Ramadan. Digits are European
in all three languages, as the Arabic press of the Maghreb prints them. The names of months follow the zone's country
where the language has names of its own there (August is غشت in Morocco, أغسطس elsewhere).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.core import get_global

from livefeed.reader.messages import Messages, messages


class Moment(NamedTuple):
    """A time in its parts: « 08.08.2024 », « à » and « 13 H 55 »."""

    iso: str
    """For `datetime` attributes: UTC with milliseconds, as JavaScript's `toISOString` writes it."""
    date: str
    at: str
    """The joining word, with its spaces."""
    clock: str

    def __str__(self) -> str:
        return self.date + self.at + self.clock


class Dates:
    """Forms of dates in one language and one zone."""

    def __init__(self, language: str, zone: ZoneInfo) -> None:
        self.zone = zone
        self._messages: Messages = messages(language)
        locale = _locale(language, zone)
        self.months = [locale.months["format"]["wide"][month] for month in range(1, 13)]
        """From January."""
        self.weekdays = [locale.days["format"]["wide"][day] for day in range(7)]
        """From Monday."""

    def moment(self, at: datetime) -> Moment:
        """« 08.08.2024 à 13 H 55 »."""
        local = at.astimezone(self.zone)
        clock = _fill(self._messages["clock"], HH=f"{local.hour:02}", MM=f"{local.minute:02}")
        joiner = self._messages["moment"].removeprefix("{date}").removesuffix("{clock}")
        return Moment(iso(at), self._date("date", local.date()), joiner, clock)

    def day(self, at: datetime) -> date:
        """The day of the site's zone that `at` falls on."""
        return at.astimezone(self.zone).date()

    def heading(self, day: date) -> str:
        """« Jeudi 8 août 2024 »."""
        text = self._date("day", day)
        return text[0].upper() + text[1:]

    def midnight_after(self, at: datetime) -> datetime:
        """The next start of a day in the site's zone, in UTC."""
        return datetime.combine(self.day(at) + timedelta(days=1), time(), self.zone).astimezone(UTC)

    def _date(self, pattern: str, day: date) -> str:
        return _fill(
            self._messages[pattern],
            weekday=self.weekdays[day.weekday()],
            dd=f"{day.day:02}",
            d=self._messages["first"] if day.day == 1 else str(day.day),
            mm=f"{day.month:02}",
            month=self.months[day.month - 1],
            yyyy=f"{day.year:04}",
        )


def iso(at: datetime) -> str:
    """`at` in UTC with milliseconds, as JavaScript's `toISOString` writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fill(pattern: str, **values: str) -> str:
    for name, value in values.items():
        pattern = pattern.replace("{" + name + "}", value)
    return pattern


def _locale(language: str, zone: ZoneInfo) -> Locale:
    territory = get_global("zone_territories").get(zone.key)
    try:
        return Locale.parse(f"{language}_{territory}") if territory else Locale.parse(language)
    except (UnknownLocaleError, ValueError):
        return Locale.parse(language)
