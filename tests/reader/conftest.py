"""Fixtures of the readers' pages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.reader.site import Site, opened


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """The readers' pages over items in memory; its clock stands at 13 H 55 on 8 August 2024."""
    async with opened() as site:
        yield site
