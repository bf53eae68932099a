"""``python -m bench``: measures livefeed beside its peers. README.md in this folder tells how to read it."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import structlog

from bench import growth, machine, measuring, report, selftest
from bench.compiling import compiled
from bench.load import Load
from bench.measuring import Wrong
from bench.servers import Floor, Livefeed, Nchan, Pushpin, SampledLivefeed, Server, Textbook

SERVERS: tuple[type[Server], ...] = (Livefeed, Nchan, Pushpin, Textbook, Floor)
QUIET_S, QUIET_SHARE = 1.0, 0.05
"""The machine is looked at for so long before the start, and should be busy with other work less than this."""
SLOW_SHARE = 0.1
"""Of the events, for a server that is slow: each takes it up to ten times as long."""


@dataclass(frozen=True)
class Plan:
    """Sizes of a run."""

    rounds: int
    """Of bursts and single events; the other measures have some less, as they vary less."""
    readers: int
    """Of the fan-out."""
    singles: int
    """Events published one at a time, for each server and round."""
    bursts: int
    burst_events: int
    many_rounds: int
    many_readers: int
    many_singles: int
    some_rounds: int
    """Of memory, connects, lag, publishes and workers."""
    slow_rounds: int
    """Of everything, for servers that are slow."""
    idle_readers: int
    idle_slow_readers: int
    idle_s: float
    replay_readers: int
    publishes: int
    pairs: int
    """With and without stalled readers."""
    growth: growth.Plan


FULL = Plan(
    rounds=7,
    readers=1000,
    singles=200,
    bursts=3,
    burst_events=200,
    many_rounds=5,
    many_readers=8000,
    many_singles=50,
    some_rounds=3,
    slow_rounds=2,
    idle_readers=15_000,
    idle_slow_readers=3000,
    idle_s=15.0,
    replay_readers=5000,
    publishes=300,
    pairs=9,
    growth=growth.FULL,
)
QUICK = replace(
    FULL,
    rounds=1,
    singles=100,
    bursts=2,
    many_rounds=1,
    many_singles=20,
    some_rounds=1,
    slow_rounds=1,
    idle_slow_readers=1000,
    idle_s=5.0,
    replay_readers=3000,
    publishes=100,
    pairs=7,
    growth=growth.QUICK,
)


@dataclass(frozen=True)
class Measure:
    """What can be measured, and of whom."""

    take: Callable[[type[Server], int, Plan], dict[str, Any]]
    """Starts the server fresh, with events of that size, and measures it."""
    rounds: Callable[[Plan], int]
    of: tuple[type[Server], ...] = SERVERS


def _fan_out(kind: type[Server], size: int, plan: Plan) -> dict[str, Any]:
    share = SLOW_SHARE if kind.slow else 1
    with kind(size) as server:
        return measuring.fan_out(
            server,
            readers=plan.readers,
            singles=max(round(plan.singles * share), 10),
            bursts=1 if kind.slow else plan.bursts,
            burst_events=plan.burst_events,
        )


def _many(kind: type[Server], size: int, plan: Plan) -> dict[str, Any]:
    share = SLOW_SHARE if kind.slow else 1
    with kind(size) as server:
        return measuring.many(server, readers=plan.many_readers, singles=max(round(plan.many_singles * share), 3))


def _idle(kind: type[Server], size: int, plan: Plan) -> dict[str, Any]:
    with kind(size) as server:
        readers = plan.idle_slow_readers if kind.slow else plan.idle_readers
        return measuring.idle(server, readers=readers, idle_s=plan.idle_s)


def _replay(kind: type[Server], size: int, plan: Plan) -> dict[str, Any]:
    with kind(size) as server:
        return measuring.replay(server, readers=plan.replay_readers)


def _publish(kind: type[Server], size: int, plan: Plan) -> dict[str, Any]:
    with Livefeed(size) as server:
        return measuring.acknowledged(server, readers=plan.readers, events=plan.publishes)


def _lag(kind: type[Server], size: int, plan: Plan) -> dict[str, Any]:
    with SampledLivefeed(size) as server:
        return measuring.lag(server, readers=plan.many_readers, singles=plan.many_singles)


def _workers(kind: type[Server], size: int, plan: Plan) -> dict[str, Any]:
    cost = {}
    for workers in (1, 2):
        with (
            Livefeed.with_settings(workers=workers)(size) as server,
            measuring.loaded(server, plan.readers) as (load, by),
        ):
            single = measuring.one_by_one(server, load, by, 1 + measuring.WARM_EVENTS, plan.singles)
            cost[workers] = single["cpu_us_per_delivery"]
    return {"one_cpu_us": cost[1], "two_cpu_us": cost[2], "ratio": cost[1] / cost[2]}


def _stalled(kind: type[Server], size: int, plan: Plan) -> dict[str, Any]:
    with Livefeed(size) as server:
        return measuring.stalled(server, readers=plan.readers, events=plan.singles // 2, pairs=plan.pairs)


MEASURES = {
    "fan_out": Measure(_fan_out, lambda plan: plan.rounds),
    "many": Measure(_many, lambda plan: plan.many_rounds),
    "idle": Measure(_idle, lambda plan: plan.some_rounds, (Livefeed, Nchan, Pushpin, Textbook)),
    "replay": Measure(_replay, lambda plan: plan.some_rounds, (Livefeed, Nchan)),
    "publish": Measure(_publish, lambda plan: plan.some_rounds, (Livefeed,)),
    "lag": Measure(_lag, lambda plan: plan.some_rounds, (Livefeed,)),
    "workers": Measure(_workers, lambda plan: plan.some_rounds, (Livefeed,)),
    "stalled": Measure(_stalled, lambda plan: 1, (Livefeed,)),
}
GROWTH = "growth"


def main() -> int:
    """Run it; 0 when every answer was right and everything that is to be reached was."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="livefeed beside its peers")
    parser.add_argument("--quick", action="store_true", help="two minutes instead of twelve")
    parser.add_argument("--selftest", action="store_true", help="show that the load client finds planted faults")
    parser.add_argument("--only", metavar="ROWS", help="comma-separated: " + ", ".join([*MEASURES, GROWTH]))
    parser.add_argument("--servers", metavar="NAMES", help="comma-separated: " + ", ".join(s.name for s in SERVERS))
    parser.add_argument("--rounds", type=int, help="rounds of every measure")
    parser.add_argument("--readers", type=int, help="readers of the fan-out")
    parser.add_argument("--idle-readers", type=int, help="readers of the memory measure")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    machine.prepare()
    compiled("client")
    if given.selftest:
        return 0 if selftest.run() else 1
    plan = QUICK if given.quick else FULL
    if given.rounds:
        plan = replace(plan, **dict.fromkeys(("rounds", "many_rounds", "some_rounds", "slow_rounds"), given.rounds))
    sizes = {name: getattr(given, name) for name in ("readers", "idle_readers") if getattr(given, name)}
    plan = replace(plan, **sizes)
    if max(plan.readers, plan.many_readers, plan.idle_readers) > machine.readers_max():
        parser.error(f"this machine's descriptor limit allows {machine.readers_max()} readers")
    rows = given.only.split(",") if given.only else [*MEASURES, GROWTH]
    if unknown := set(rows) - {*MEASURES, GROWTH}:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    names = given.servers.split(",") if given.servers else [server.name for server in SERVERS]
    chosen = [server for server in SERVERS if server.name in names]
    if unknown := set(names) - {server.name for server in chosen}:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    for server in chosen:
        if lack := server.lacks():
            print(lack)
    return run(plan, [server for server in chosen if not server.lacks()], rows)


def run(plan: Plan, servers: list[type[Server]], rows: list[str]) -> int:
    """Measure, print the table, save the result; the exit code."""
    started = time.monotonic()
    others = _others_busy()
    if max(others) > QUIET_SHARE:
        print(f"The machine is busy with other work ({others[0]:.0%}, {others[1]:.0%} of its cores): read the spread.")
    size = event_bytes()
    rounds: list[report.Round] = []
    wrong: list[str] = []
    for number in range(max(MEASURES[row].rounds(plan) for row in rows if row in MEASURES) if rows != [GROWTH] else 0):
        turn = number % len(servers)
        rounds.append({server.name: {} for server in servers})
        for row, measure in MEASURES.items():
            for server in servers[turn:] + servers[:turn]:
                times = min(measure.rounds(plan), plan.slow_rounds) if server.slow else measure.rounds(plan)
                if row not in rows or server not in measure.of or number >= times:
                    continue
                print(f"round {number + 1}: {row}, {server.name} ...", file=sys.stderr, flush=True)
                try:
                    rounds[-1][server.name][row] = measure.take(server, size, plan)
                except (Wrong, RuntimeError, OSError) as error:
                    wrong.append(f"{row}, {server.name}: {error}")
                    print(f"  FAILED: {error}", file=sys.stderr)
    figures = report.summary(rounds, asdict(plan))
    result: dict[str, Any] = {
        "versions": machine.versions(),
        "plan": asdict(plan),
        "event_bytes": size,
        "cores": {"server": machine.SERVER_CPU, "client, publisher, Valkey": machine.LOAD_CPU},
        "others_busy": others,
        "wrong": wrong,
        "summary": figures,
        "rounds": rounds,
    }
    if figures:
        print(report.table(figures, [server.name for server in servers]))
    if GROWTH in rows:
        result["growth"] = growth.measure(size, plan.growth)
        print(growth.table(result["growth"]))
    result["seconds"] = time.monotonic() - started
    print(
        f"\nEvents of {size} bytes. "
        + (f"{len(wrong)} WRONG OR FAILED: {wrong}" if wrong else "Every reader's sequence was right.")
    )
    path = report.save(result)
    if GROWTH in rows:
        growth.plot(result["growth"], path.with_suffix(".svg"))
    print(f"{path}, after {result['seconds']:.0f} s")
    return 0 if not wrong and all(entry.get("reach_reached", True) for entry in figures) else 1


def event_bytes() -> int:
    """Bytes of data in one of livefeed's events: what the other servers are given to carry, too."""
    with Livefeed(0) as server, Load(server.port, server.path, "") as load:
        load.connect(1)
        return measuring.event_bytes(server, load)


def _others_busy() -> list[float]:
    """Share of each core that is busy while we wait."""
    before = [machine.busy_s(cpu) for cpu in (machine.SERVER_CPU, machine.LOAD_CPU)]
    time.sleep(QUIET_S)
    return [
        (machine.busy_s(cpu) - then) / QUIET_S
        for cpu, then in zip((machine.SERVER_CPU, machine.LOAD_CPU), before, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main())
