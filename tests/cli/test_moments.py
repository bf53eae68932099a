"""Times and durations as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livefeed.cli.moments import LONGEST, duration, iso, moment

CASABLANCA = ZoneInfo("Africa/Casablanca")
NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
"""18:00 in Casablanca."""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7_200), ("1h30m", 5_400), (" 30D ", 2_592_000), ("1w", 604_800)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    """Seconds, minutes, hours, days and weeks, alone or together."""
    assert duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-2h", "0s", "2h!", "1.5h", "٢h", "99999w", "2y"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Nothing, no unit, zero, other digits, or more than ten years."""
    with pytest.raises(ValueError, match=r"duration|must be"):
        duration(text)


@given(st.text(max_size=30))
def test_any_text_is_a_bounded_duration_or_a_value_error(text: str) -> None:
    """No text makes anything else."""
    try:
        found = duration(text)
    except ValueError:
        return
    assert timedelta() < found <= LONGEST


@pytest.mark.parametrize(
    ("text", "past", "wanted"),
    [
        ("18:30", False, "2026-11-24T17:30:00.000Z"),
        ("18h30", False, "2026-11-24T17:30:00.000Z"),
        ("17:30", False, "2026-11-25T16:30:00.000Z"),
        ("17:30", True, "2026-11-24T16:30:00.000Z"),
        ("18:30", True, "2026-11-23T17:30:00.000Z"),
        ("2h", False, "2026-11-24T19:00:00.000Z"),
        ("2h", True, "2026-11-24T15:00:00.000Z"),
        ("2026-12-01", False, "2026-11-30T23:00:00.000Z"),
        ("2026-12-01T08:00", False, "2026-12-01T07:00:00.000Z"),
        ("2026-12-01T08:00Z", False, "2026-12-01T08:00:00.000Z"),
        ("2026-12-01T08:00+03:00", False, "2026-12-01T05:00:00.000Z"),
        ("2027-02-20T08:00", False, "2027-02-20T08:00:00.000Z"),
    ],
)
def test_a_moment_is_read_by_the_sites_clock(text: str, past: bool, wanted: str) -> None:
    """Without an offset a time counts in the site's zone (UTC+0 in Ramadan); a time of day is the nearest one."""
    assert iso(moment(text, CASABLANCA, NOW, past=past)) == wanted


@given(st.text(max_size=40), st.booleans())
def test_any_text_is_a_moment_or_a_value_error(text: str, past: bool) -> None:
    """No text makes anything else."""
    try:
        found = moment(text, CASABLANCA, NOW, past=past)
    except ValueError:
        return
    assert found.tzinfo is not None
