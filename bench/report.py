"""From rounds to figures: medians with their spread, ratios within each round, goals, a table and a JSON file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PEERS = ("nchan", "floor")
"""Whom livefeed is measured by."""

Part = dict[str, Any]
Round = dict[str, dict[str, Part]]
"""Server name to measure to what it found in this round."""
Read = Callable[[Part], float | None]


@dataclass(frozen=True)
class Goal:
    """A bound on livefeed's figure, or on its ratio to a peer's."""

    value: float
    of: str = ""
    """The peer; "" for an absolute bound."""

    def text(self, sign: str) -> str:
        return f"{sign} {self.value:g}" + (f" × {self.of}" if self.of else "")


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    measure: str
    """Which measure tells it."""
    read: Read
    form: str
    """How a value is written."""
    reach: Goal | None = None
    then: Goal | None = None
    more_is_better: bool = False


def _burst(*keys: str) -> Read:
    return lambda part: float(statistics.median(_at(burst, keys) for burst in part["bursts"]))


def _value(*keys: str) -> Read:
    return lambda part: float(_at(part, keys))


def _at(part: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        part = part[key]
    return part


def _figures(readers: int, many: int, idle: int) -> tuple[Figure, ...]:
    cpu, last = (Goal(0.9, "nchan"), Goal(1.3, "floor")), (Goal(0.9, "nchan"), Goal(1.2, "floor"))
    fan, far = f"{readers:,} readers", f"{many:,} readers"
    return (
        Figure(
            f"burst to {fan}: deliveries/s",
            "fan_out",
            _burst("deliveries_per_s"),
            "{:,.0f}",
            Goal(20, "nchan"),
            Goal(30, "nchan"),
            more_is_better=True,
        ),
        Figure("burst: p99 of delivery, ms", "fan_out", _burst("delivery_ms", "p99"), "{:,.1f}", Goal(1, "nchan")),
        Figure(f"single to {fan}: CPU, µs", "fan_out", _value("single", "cpu_us_per_delivery"), "{:.2f}", *cpu),
        Figure("  last reader, p50, ms", "fan_out", _value("single", "last_reader_ms", "p50"), "{:.2f}"),
        Figure("  last reader, p99, ms", "fan_out", _value("single", "last_reader_ms", "p99"), "{:.2f}", *last),
        Figure(f"single to {far}: CPU, µs", "many", _value("single", "cpu_us_per_delivery"), "{:.2f}", *cpu),
        Figure("  last reader, p50, ms", "many", _value("single", "last_reader_ms", "p50"), "{:.1f}"),
        Figure("  last reader, p99, ms", "many", _value("single", "last_reader_ms", "p99"), "{:.1f}", *last),
        Figure(
            f"memory per idle reader at {idle:,}, bytes",
            "idle",
            _value("idle_reader_bytes"),
            "{:,.0f}",
            Goal(0.2, "nchan"),
            Goal(1536),
        ),
        Figure("  after three events, bytes", "idle", _value("used_reader_bytes"), "{:,.0f}"),
        Figure("connects/s", "idle", _value("connects_per_s"), "{:,.0f}", more_is_better=True),
        Figure(
            "connects/s with a replay of 20",
            "replay",
            _value("connects_per_s"),
            "{:,.0f}",
            Goal(0.3, "nchan"),
            Goal(0.5, "nchan"),
            more_is_better=True,
        ),
        Figure("idle CPU per reader, µs/s", "idle", _value("idle_cpu_us_per_s"), "{:.2f}", Goal(2), Goal(1)),
        Figure(f"loop lag, {far}, p99, ms", "lag", _value("lag_ms", "p99"), "{:.1f}", Goal(20), Goal(5)),
        Figure("publish acknowledged, p99, ms", "publish", _value("acknowledged_ms", "p99"), "{:.1f}", Goal(10)),
        Figure(
            "two workers ÷ one, deliveries per CPU s",
            "workers",
            _value("ratio"),
            "{:.2f}",
            Goal(0.9),
            more_is_better=True,
        ),
        Figure("p99 beside 10 % stalled ÷ alone", "stalled", _value("ratio"), "{:.2f}", Goal(1.25)),
        Figure("load client's headroom in a burst, ×", "fan_out", _burst("client_headroom"), "{:.1f}"),
        Figure("  in single events", "fan_out", _value("single", "client_headroom"), "{:.1f}"),
    )


def summary(rounds: list[Round], plan: dict[str, Any]) -> list[dict[str, Any]]:
    """For each figure that was measured: each server's median, least and most, livefeed's ratios, and its goals."""
    found = []
    for figure in _figures(plan["readers"], plan["many_readers"], plan["idle_readers"]):
        values: dict[str, dict[int, float]] = {}
        for number, parts in enumerate(rounds):
            for server, measures in parts.items():
                if figure.measure in measures and (value := figure.read(measures[figure.measure])) is not None:
                    values.setdefault(server, {})[number] = value
        if not values:
            continue
        ours = values.get("livefeed", {})
        entry: dict[str, Any] = {
            "name": figure.name,
            "form": figure.form,
            "servers": {server: _spread(list(of.values())) for server, of in values.items()},
            "ratios": {},
        }
        for peer in PEERS:
            theirs = values.get(peer, {})
            if ratios := [value / theirs[number] for number, value in ours.items() if theirs.get(number)]:
                entry["ratios"][peer] = _spread(ratios)
        for name, goal in (("reach", figure.reach), ("then", figure.then)):
            if goal is None:
                continue
            entry[name] = goal.text("≥" if figure.more_is_better else "≤")
            of = entry["ratios"].get(goal.of) if goal.of else entry["servers"].get("livefeed")
            if of is not None:
                right = of["median"] >= goal.value if figure.more_is_better else of["median"] <= goal.value
                entry[f"{name}_reached"] = right
        found.append(entry)
    return found


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def table(figures: list[dict[str, Any]], servers: list[str]) -> str:
    """The summary for people."""
    lines = [["median of rounds (least–most)", *servers, "÷ nchan", "÷ floor", "reach", "then"]]
    for entry in figures:
        cells = [entry["name"]]
        cells += [_cell(entry["form"], entry["servers"].get(server)) for server in servers]
        cells += [_cell("{:.2f}", entry["ratios"].get(peer)) for peer in PEERS]
        for name in ("reach", "then"):
            verdict = {True: ": reached", False: ": NOT REACHED", None: ""}[entry.get(f"{name}_reached")]
            cells.append(entry[name] + verdict if name in entry else "")
        lines.append(cells)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(row.rstrip() for row in rows)


def _cell(form: str, spread: dict[str, float] | None) -> str:
    if spread is None:
        return "–"
    median, least, most = (form.format(spread[key]) for key in ("median", "least", "most"))
    return median if least == most else f"{median} ({least}–{most})"


def save(result: dict[str, Any]) -> Path:
    """Write a run's JSON file; its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
