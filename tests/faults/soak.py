"""``python -m tests.faults.soak -n 10000 --seed 1``: many schedules, the table of faults, and each violation.

Schedules run in several worlds at once, in several processes: a schedule mostly waits. A failure is printed with its
seed and a shrunken schedule; ``--seed S -n 1`` plays it again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import structlog
import uvloop

from tests.faults.schedules import Result, play, shrink, table, told
from tests.faults.world import World

WORLDS = 3
"""Worlds of one process: about what one core can move."""
PROGRESS_S = 30.0
"""Between two lines that tell how far it has come, when it is not quiet."""
SHRINK_MAX = 3
"""Failures that are shrunk; further ones are only told."""
_OUT = sys.stdout

Results: TypeAlias = "multiprocessing.Queue[Tally]"


class Tally:
    """What came of many schedules."""

    def __init__(self) -> None:
        self.played = 0
        self.told_at = time.monotonic()
        self.events = 0
        self.resets = 0
        self.faults: Counter[tuple[str, str]] = Counter()
        self.failures: list[str] = []
        self.once = 0
        """Violations that did not come again when their seed was played again."""
        self.short: list[int] = []
        """Seeds whose schedule had too few faults, readers or events to count."""

    def add(self, result: Result, failure: str = "") -> None:
        self.played += 1
        self.events += result.events
        self.resets += result.resets
        self.faults += result.faults
        if failure:
            self.failures.append(failure)
        if sum(result.faults.values()) < 3 or result.readers < 10 or result.events < 20:
            self.short.append(result.seed)

    def merge(self, other: Tally) -> None:
        self.played += other.played
        self.events += other.events
        self.resets += other.resets
        self.faults += other.faults
        self.failures += other.failures
        self.once += other.once
        self.short += other.short


async def _world(seeds: Iterator[int], tally: Tally, number: int, deadline: float, quiet: bool, again: int) -> None:
    # A world now and then is made anew, so that what one leaves behind cannot carry all the others.
    while time.monotonic() < deadline:
        with tempfile.TemporaryDirectory(prefix="lf-") as directory:
            async with World.open(Path(directory), iterated=number % 3 == 2) as world:
                for _ in range(200):
                    seed = next(seeds, None)
                    if seed is None or time.monotonic() > deadline:
                        return
                    result = await play(world, seed)
                    failure = ""
                    if result.violations and again and not await _comes_again(world, seed, again):
                        # Seeds fix what happens and when it is due, not how the machine's turns fall.
                        tally.once += 1
                        print(f"seen once in {again + 1} plays:\n{told(result, None)}", file=_OUT, flush=True)
                    elif result.violations:
                        small = await shrink(world, result) if len(tally.failures) < SHRINK_MAX else None
                        failure = told(result, small)
                        if not quiet:
                            print(failure, file=_OUT, flush=True)
                    tally.add(result, failure)
                    if not quiet and time.monotonic() - tally.told_at > PROGRESS_S:
                        tally.told_at = time.monotonic()
                        print(f"at seed {seed}: {tally.played} played here", file=_OUT, flush=True)


async def _comes_again(world: World, seed: int, times: int) -> bool:
    for _ in range(times):
        if (await play(world, seed)).violations:
            return True
    return False


async def soak(seeds: Iterator[int], worlds: int, for_s: float, quiet: bool = False, again: int = 0) -> Tally:
    """Play schedules until the seeds or the time are out.

    `again`: how often a violation's seed is played again before it counts; 0 counts each at once.
    """
    tally, deadline = Tally(), time.monotonic() + for_s
    async with asyncio.TaskGroup() as group:
        for number in range(worlds):
            group.create_task(_world(seeds, tally, number, deadline, quiet, again))
    return tally


def _process(
    first: int, count: int, step: int, worlds: int, for_s: float, again: int, results: multiprocessing.Queue[Tally]
) -> None:
    silence()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results.put(runner.run(soak(iter(range(first, first + count, step)), worlds, for_s, again=again)))


def silence() -> None:
    """The servers' own log lines are not what a soak is about; failures in the application are caught by the world."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("uvicorn.error").propagate = False
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=1000, help="schedules (1000)")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--minutes", type=float, default=24 * 60, help="stop after this time")
    parser.add_argument("--again", type=int, default=0, help="replays that a violation must survive to count (0)")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 8))
    parser.add_argument("--worlds", type=int, default=WORLDS, help=f"worlds at once in each process ({WORLDS})")
    given = parser.parse_args()
    results: Results = multiprocessing.Queue()
    processes = [
        multiprocessing.Process(
            target=_process,
            args=(
                given.seed + at,
                given.n - at,
                given.processes,
                given.worlds,
                given.minutes * 60,
                given.again,
                results,
            ),
        )
        for at in range(min(given.processes, given.n))
    ]
    for process in processes:
        process.start()
    total = Tally()
    for _ in processes:
        total.merge(results.get())
    for process in processes:
        process.join()
    with contextlib.redirect_stdout(_OUT):
        print(table(total.faults))  # noqa: T201  (a command)
        print(  # noqa: T201
            f"{total.played} schedules from seed {given.seed}, {total.events} events, {total.resets} resets, "
            f"{sum(total.faults.values())} faults that took effect; too small to count: {len(total.short)}; "
            f"violations: {len(total.failures)}; seen once: {total.once}"
        )
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
