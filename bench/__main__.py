"""``python -m bench``: measures livefeed beside its peers. README.md in this folder tells how to read it."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from bench import machine, measuring, report, selftest
from bench.compiling import compiled
from bench.load import Load
from bench.measuring import Wrong
from bench.servers import Floor, Livefeed, Nchan, Server, Textbook

SERVERS: tuple[type[Server], ...] = (Livefeed, Nchan, Floor, Textbook)
QUIET_S, QUIET_SHARE = 1.0, 0.05
"""The machine is looked at for so long before the start, and should be busy with other work less than this."""


@dataclass(frozen=True)
class Plan:
    """Sizes of a run."""

    rounds: int
    readers: int
    """Of the fan-out."""
    singles: int
    """Events published one at a time, for each server and round; a quarter of them for the textbook."""
    bursts: int
    burst_events: int
    idle_rounds: int
    """Rounds in which memory and connects are measured: they vary little."""
    idle_readers: int


FULL = Plan(rounds=7, readers=1000, singles=200, bursts=3, burst_events=200, idle_rounds=3, idle_readers=5000)
QUICK = Plan(rounds=3, readers=1000, singles=50, bursts=1, burst_events=200, idle_rounds=1, idle_readers=2000)


def main() -> int:
    """Run it; 0 when every answer was right and every target was reached."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="livefeed beside nchan, the textbook and the floor"
    )
    parser.add_argument("--quick", action="store_true", help="about a minute instead of about six")
    parser.add_argument("--selftest", action="store_true", help="show that the load client finds planted faults")
    parser.add_argument("--only", metavar="NAMES", help="comma-separated: " + ", ".join(s.name for s in SERVERS))
    parser.add_argument("--rounds", type=int, help="rounds to take the median of")
    parser.add_argument("--readers", type=int, help="readers of the fan-out")
    parser.add_argument("--idle-readers", type=int, help="readers of the memory measure")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    machine.prepare()
    compiled("client")
    if given.selftest:
        return 0 if selftest.run() else 1
    sizes = {name: getattr(given, name) for name in ("rounds", "readers", "idle_readers") if getattr(given, name)}
    plan = Plan(**{**asdict(QUICK if given.quick else FULL), **sizes})
    if max(plan.readers, plan.idle_readers) > machine.readers_max():
        parser.error(f"this machine's descriptor limit allows {machine.readers_max()} readers")
    names = given.only.split(",") if given.only else [server.name for server in SERVERS]
    chosen = [server for server in SERVERS if server.name in names]
    if unknown := set(names) - {server.name for server in chosen}:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    for server in chosen:
        if lack := server.lacks():
            print(lack)
    return run(plan, [server for server in chosen if not server.lacks()])


def run(plan: Plan, servers: list[type[Server]]) -> int:
    """Measure, print the table, save the result; the exit code."""
    started = time.monotonic()
    others = _others_busy()
    if max(others) > QUIET_SHARE:
        print(f"The machine is busy with other work ({others[0]:.0%}, {others[1]:.0%} of its cores): read the spread.")
    size = event_bytes()
    rounds: list[report.Round] = []
    wrong: list[str] = []
    for number in range(plan.rounds):
        turn = number % len(servers)
        rounds.append({})
        for server in servers[turn:] + servers[:turn]:
            print(f"round {number + 1} of {plan.rounds}: {server.name} ...", file=sys.stderr, flush=True)
            try:
                rounds[-1][server.name] = measured(server, size, plan, idle=number < plan.idle_rounds)
            except Wrong as error:
                wrong.append(str(error))
                print(f"  WRONG ANSWER: {error}", file=sys.stderr)
    names = [server.name for server in servers]
    complete = [part for part in rounds if part]
    figures = report.summary(complete) if complete else {}
    result = {
        "versions": machine.versions(),
        "plan": asdict(plan),
        "event_bytes": size,
        "cores": {"server": machine.SERVER_CPU, "client, publisher, Valkey": machine.LOAD_CPU},
        "others_busy": others,
        "seconds": time.monotonic() - started,
        "wrong": wrong,
        "summary": figures,
        "rounds": rounds,
    }
    if figures:
        print(report.table(figures, names))
    print(
        f"\nEvents of {size} bytes. "
        + (f"{len(wrong)} WRONG ANSWERS." if wrong else "Every reader's sequence was right.")
    )
    print(f"{report.save(result)}, after {result['seconds']:.0f} s")
    return 0 if not wrong and all(entry.get("reached", True) for entry in figures.values()) else 1


def measured(kind: type[Server], size: int, plan: Plan, *, idle: bool) -> dict[str, Any]:
    """One server's part of a round; fan-out and memory each on a server started fresh."""
    singles = plan.singles // 4 if kind is Textbook else plan.singles
    with kind(size) as server:
        part: dict[str, Any] = {
            "fan_out": measuring.fan_out(
                server, readers=plan.readers, singles=singles, bursts=plan.bursts, burst_events=plan.burst_events
            )
        }
    if idle and kind is not Floor:  # the floor keeps nothing for a reader but a descriptor
        with kind(size) as server:
            part["idle"] = measuring.idle(server, readers=plan.idle_readers)
    return part


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
