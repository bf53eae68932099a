"""Times as readers see them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livefeed.reader.dates import Dates, iso
from livefeed.zone import site_zone

CASABLANCA = site_zone("Africa/Casablanca")
AUGUST = datetime(2024, 8, 8, 12, 55, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (AUGUST, "08.08.2024 à 13 H 55"),
        (datetime(2024, 8, 9, 4, 56, tzinfo=UTC), "09.08.2024 à 05 H 56"),
        (datetime(2024, 12, 31, 23, 30, tzinfo=UTC), "01.01.2025 à 00 H 30"),
        (datetime(2024, 3, 10, 1, 59, tzinfo=UTC), "10.03.2024 à 02 H 59"),
        (datetime(2024, 3, 10, 2, 0, tzinfo=UTC), "10.03.2024 à 02 H 00"),
        (datetime(2024, 3, 20, 12, 0, tzinfo=UTC), "20.03.2024 à 12 H 00"),
        (datetime(2024, 4, 14, 2, 0, tzinfo=UTC), "14.04.2024 à 03 H 00"),
    ],
    ids=["summer", "early", "new year", "before Ramadan", "Ramadan begins", "Ramadan", "Ramadan is over"],
)
def test_french_moment(at: datetime, said: str) -> None:
    """A time is said in the site's form and zone: at UTC+1, and at UTC+0 while Ramadan's clock is kept."""
    assert str(Dates("fr", CASABLANCA).moment(at)) == said


def test_the_parts_make_the_whole() -> None:
    """The parts that pages style differently read together as one sentence, and carry the exact time."""
    moment = Dates("fr", CASABLANCA).moment(AUGUST)

    assert moment == ("2024-08-08T12:55:00.000Z", "08.08.2024", " à ", "13 H 55")


@pytest.mark.parametrize(
    ("language", "moment", "heading"),
    [
        ("fr", "08.08.2024 à 13 H 55", "Jeudi 8 août 2024"),
        ("ar", "8 غشت 2024 على الساعة 13:55", "الخميس 8 غشت 2024"),
        ("en", "8 August 2024 at 13:55", "Thursday 8 August 2024"),
    ],
)
def test_each_language_has_its_form(language: str, moment: str, heading: str) -> None:
    """Each language says times and days in its own words; Arabic months are those of the zone's country."""
    dates = Dates(language, CASABLANCA)

    assert str(dates.moment(AUGUST)) == moment
    assert dates.heading(date(2024, 8, 8)) == heading


def test_months_of_another_country() -> None:
    """In Cairo August is أغسطس, in Casablanca غشت."""
    assert Dates("ar", site_zone("Africa/Cairo")).heading(date(2024, 8, 8)) == "الخميس 8 أغسطس 2024"


def test_the_first_of_a_month_is_an_ordinal_in_french() -> None:
    """French says « 1er août », and no other day so."""
    dates = Dates("fr", CASABLANCA)

    assert dates.heading(date(2024, 8, 1)) == "Jeudi 1er août 2024"
    assert dates.heading(date(2024, 8, 11)) == "Dimanche 11 août 2024"


@pytest.mark.parametrize("zone", ["Africa/Casablanca", "Europe/Paris", "America/St_Johns", "Pacific/Apia", "UTC"])
@given(at=st.integers(631_152_000, 3_471_292_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)))
def test_midnight_starts_a_day(zone: str, at: datetime) -> None:
    """The next midnight lies ahead, begins another day of the zone, and the moment before it still is today."""
    dates = Dates("fr", site_zone(zone))

    midnight = dates.midnight_after(at)

    assert midnight > at
    assert dates.day(midnight) > dates.day(at)


def test_iso_is_what_a_browser_writes() -> None:
    """Times in attributes look like toISOString, whatever zone they came in."""
    local = datetime(2024, 8, 8, 13, 55, 1, 7_000, tzinfo=ZoneInfo("Africa/Casablanca"))

    assert iso(local) == "2024-08-08T12:55:01.007Z"
