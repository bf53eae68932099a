"""The zone database that is asked."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from livefeed.zone import offsets, site_zone


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    """Each test has databases of its own."""
    site_zone.cache_clear()
    yield
    site_zone.cache_clear()


@pytest.fixture
def old_database(tmp_path: Path) -> Iterator[Path]:
    """A system whose zone database says that it is from 2016, and has Casablanca where London is."""
    (tmp_path / "Africa").mkdir()
    london = zoneinfo.TZPATH[0] if zoneinfo.TZPATH else ""
    source = Path(london) / "Europe/London"
    if not source.exists():
        pytest.skip("this system has no zone database of its own")
    (tmp_path / "Africa/Casablanca").write_bytes(source.read_bytes())
    (tmp_path / "tzdata.zi").write_text("# version 2016a\n")
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    yield tmp_path
    zoneinfo.reset_tzpath(before)
    zoneinfo.ZoneInfo.clear_cache()


def test_an_old_system_does_not_decide(old_database: Path) -> None:
    """The package's newer database wins over an outdated one of the system."""
    january = datetime(2025, 1, 15, 12, tzinfo=UTC)

    assert january.astimezone(site_zone("Africa/Casablanca")).hour == 13


def test_a_newer_system_decides(old_database: Path) -> None:
    """A system that is kept up to date wins over the package."""
    (old_database / "tzdata.zi").write_text("# version 2099a\n")
    january = datetime(2025, 1, 15, 12, tzinfo=UTC)

    assert january.astimezone(site_zone("Africa/Casablanca")).hour == 12


def test_an_unknown_zone_is_refused() -> None:
    """A name that no database has raises."""
    with pytest.raises(zoneinfo.ZoneInfoNotFoundError):
        site_zone("Africa/Atlantis")


@pytest.mark.parametrize("name", ["Africa/Casablanca", "Europe/Paris", "Asia/Kathmandu", "UTC"])
def test_offsets_tell_what_the_zone_does(name: str) -> None:
    """Every quarter of an hour that the offsets cover, they agree with the zone."""
    zone = site_zone(name)
    now = datetime(2024, 8, 8, 12, 55, tzinfo=UTC)
    known = offsets(zone, now)
    start, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (known[0][0], known[-1][0]))

    assert start < now - timedelta(days=399)
    assert end > now + timedelta(days=399)
    at = start
    while at < end:
        offset = at.astimezone(zone).utcoffset()
        assert offset is not None
        told = next(minutes for ms, minutes in reversed(known) if ms <= at.timestamp() * 1000)
        assert told == offset.total_seconds() / 60, at
        at += timedelta(minutes=15)
