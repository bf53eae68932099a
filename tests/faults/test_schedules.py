"""Seeded schedules of faults: whatever breaks, each reader is told exactly the log, or of a reset."""

from __future__ import annotations

import pytest

from tests.faults.planted import BUGS, needed
from tests.faults.schedules import EVENTS, FAULTS, FAULTS_MIN, READERS, generate, table
from tests.faults.soak import WORLDS, soak

PARTS, PART_SCHEDULES = 4, 75
QUICK_MAX = 120
"""Schedules that a planted bug gets here; `python -m tests.faults.planted` gives it 500."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("part", range(PARTS))
async def test_schedules_of_faults(part: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Each reader's record is the log from where it stood, or has a reset at the hole; nothing acknowledged is lost."""
    first = 1 + part * PART_SCHEDULES
    tally = await soak(iter(range(first, first + PART_SCHEDULES)), WORLDS, for_s=150, quiet=True)
    with capsys.disabled():
        print(f"\n{tally.played} schedules, {tally.events} events, {tally.resets} resets\n{table(tally.faults)}")  # noqa: T201
    assert not tally.failures, "\n".join(tally.failures[:3])
    assert not tally.short
    assert tally.played == PART_SCHEDULES


def test_a_seed_is_a_schedule() -> None:
    """The same seed is the same schedule; each has enough readers, events and faults to mean something."""
    for seed in range(200):
        schedule = generate(seed)
        assert schedule == generate(seed)
        kinds = [action.kind for action in schedule]
        readers = {action.given["reader"] for action in schedule if action.kind == "come"}
        assert len(readers) >= READERS
        assert sum(kind in ("publish", "correct", "move", "turn") for kind in kinds) >= EVENTS
        assert sum(kind in FAULTS or kind.startswith(("store-", "reader-")) for kind in kinds) >= FAULTS_MIN


@pytest.mark.timeout(120)
@pytest.mark.parametrize("bug", BUGS)
async def test_a_planted_bug_is_found(bug: str) -> None:
    """Schedules find each bug that is planted on purpose."""
    count, _, told = await needed(bug, first_seed=1, limit=QUICK_MAX)
    assert count, f"not within {QUICK_MAX} schedules"
    assert told
