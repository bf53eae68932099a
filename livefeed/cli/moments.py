"""Times and durations as a person types them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(?:(\d{1,6})([smhdw]))+", re.ASCII)
_PART = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
_CLOCK = re.compile(r"([01]?\d|2[0-3])[:hH]([0-5]\d)", re.ASCII)
LONGEST = timedelta(days=3_660)
"""Ten years: whoever types more has mistyped."""


def duration(text: str) -> timedelta:
    """The duration in `text`: ``90s``, ``15m``, ``2h``, ``30d``, ``1w``, ``1h30m``.

    :raises ValueError: where it is none, or zero, or over ten years.
    """
    text = text.strip().lower()
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 90s, 15m, 2h, 1h30m, 30d or 1w.")
    total = sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in _PART.findall(text)), timedelta())
    if not timedelta() < total <= LONGEST:
        raise ValueError(f"{text!r} must be more than nothing and at most ten years.")
    return total


def moment(text: str, zone: tzinfo, now: datetime, *, past: bool) -> datetime:
    """The time in `text`: ISO 8601, in `zone` where it has no offset; ``HH:MM``, the next one (the last one for
    `past`); or a duration from (before) `now`.

    :raises ValueError: where it is none of these.
    """
    text = text.strip()
    if match := _CLOCK.fullmatch(text):
        return _nearest(time(int(match[1]), int(match[2])), zone, now, past=past)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            length = duration(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is not a time such as 18:30, 2026-11-24T18:30, 2026-11-24T17:30Z or 2h."
            ) from None
        return now - length if past else now + length
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)


def _nearest(wanted: time, zone: tzinfo, now: datetime, *, past: bool) -> datetime:
    """The last time before `now`, or the next one after it, at which clocks in `zone` show `wanted`."""
    today = now.astimezone(zone).date()
    days = (0, -1) if past else (0, 1)
    for shift in days:
        found = datetime.combine(today + timedelta(days=shift), wanted, zone).astimezone(UTC)
        if found <= now if past else found > now:
            return found
    return found  # a clock that was set meanwhile; a minute's error at most


def iso(value: datetime) -> str:
    """`value` as the API reads it."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Duration(click.ParamType[timedelta]):
    """A duration on the command line."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it, or say what one looks like."""
        if isinstance(value, timedelta):
            return value
        try:
            return duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
