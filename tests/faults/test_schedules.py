"""Seeded schedules of faults: whatever breaks, each reader is told exactly the log, or of a reset.

They run in processes of their own: servers that are cut off in the middle of everything leave warnings behind.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.planted import BUGS
from tests.faults.schedules import EVENTS, FAULTS, FAULTS_MIN, READERS, generate

SCHEDULES = 300
MINUTES = 1.25
"""Bound on the time they take: a machine that manages fewer says how many."""
AGAIN = 4
"""Replays in which a violation must come again to fail the suite; `make soak` counts each, and both tell all."""
QUICK_MAX = 300
"""Schedules that a planted bug gets here; `make planted` gives it 500."""
QUICKLY_FOUND = (
    "no_catch_up_after_a_resubscription",
    "replay_off_by_one",
    "a_tick_ahead_of_its_cursor",
    "a_filter_that_forgets_the_state_before",
    "a_withdrawal_that_does_not_reach_back",
)
"""Those that less than ten schedules find; the others want more, and their time depends on the machine's turns."""


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the fault tests."""
    root = Path(__file__).parents[2]
    return subprocess.run([sys.executable, "-m", module, *arguments], cwd=root, capture_output=True, text=True)


@pytest.mark.timeout(180)
def test_schedules_of_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """Each reader's record is the log from where it stood, or has a reset at the hole; nothing acknowledged is lost."""
    done = run("tests.faults.soak", "-n", str(SCHEDULES), "--minutes", str(MINUTES), "--again", str(AGAIN))
    with capsys.disabled():
        print("\n" + done.stdout[-12_000:])  # noqa: T201  (the table of faults is what one wants to see)
    assert done.returncode == 0, done.stdout[-30_000:] + done.stderr[-2_000:]
    told = re.search(r"^(\d+) schedules", done.stdout, re.MULTILINE)
    assert told is not None
    assert int(told[1]) > SCHEDULES / 10
    assert "too small to count: 0" in done.stdout


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
@pytest.mark.parametrize("bug", QUICKLY_FOUND)
def test_a_planted_bug_is_found(bug: str) -> None:
    """Schedules find each bug that is planted on purpose."""
    assert bug in BUGS
    done = run("tests.faults.planted", bug, "--limit", str(QUICK_MAX))
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
