"""From rounds to figures: medians with their spread, ratios within each round, targets, a table and a JSON file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

Round = dict[str, dict[str, Any]]
"""Server name to what it measured in this round: "fan_out" and, where measured, "idle"."""


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    read: Callable[[dict[str, Any]], float | None]
    """Reads a server's part of a round; None where it was not measured."""
    form: str
    """How a value is written."""
    target: float | None = None
    """Of livefeed's ratio to nchan; None where the figure is only told."""
    more_is_better: bool = False


def _burst(key: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda part: float(statistics.median(burst[key] for burst in part["fan_out"]["bursts"]))


def _burst_p99(part: dict[str, Any]) -> float | None:
    return float(statistics.median(burst["delivery_ms"]["p99"] for burst in part["fan_out"]["bursts"]))


def _single(key: str, percentile: str | None = None) -> Callable[[dict[str, Any]], float | None]:
    def read(part: dict[str, Any]) -> float | None:
        value = part["fan_out"]["single"][key]
        return float(value[percentile] if percentile else value)

    return read


def _idle(key: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda part: part["idle"][key] if "idle" in part else None


FIGURES = (
    Figure("burst: deliveries/s", _burst("deliveries_per_s"), "{:,.0f}", target=15, more_is_better=True),
    Figure("burst: p99 of delivery, ms", _burst_p99, "{:,.1f}"),
    Figure("single: CPU per delivery, µs", _single("cpu_us_per_delivery"), "{:.2f}", target=1.0),
    Figure("single: last reader, p50, ms", _single("last_reader_ms", "p50"), "{:.2f}"),
    Figure("single: last reader, p99, ms", _single("last_reader_ms", "p99"), "{:.2f}"),
    Figure("memory per idle reader, bytes", _idle("idle_reader_bytes"), "{:,.0f}", target=0.3),
    Figure("memory per reader after use, bytes", _idle("used_reader_bytes"), "{:,.0f}"),
    Figure("connects/s", _idle("connects_per_s"), "{:,.0f}", more_is_better=True),
    Figure("load client's headroom in a burst, ×", _burst("client_headroom"), "{:.1f}", more_is_better=True),
)


def summary(rounds: list[Round]) -> dict[str, Any]:
    """For each figure: each server's median, least and most, and livefeed's ratio to nchan, round by round."""
    found: dict[str, Any] = {}
    for figure in FIGURES:
        servers: dict[str, dict[str, float]] = {}
        for server in rounds[0]:
            values = [value for round in rounds if (value := _value(figure, round, server)) is not None]
            if values:
                servers[server] = {"median": statistics.median(values), "least": min(values), "most": max(values)}
        entry: dict[str, Any] = {"servers": servers, "target": figure.target}
        ratios = [
            ours / nchan
            for round in rounds
            if (ours := _value(figure, round, "livefeed")) is not None and (nchan := _value(figure, round, "nchan"))
        ]
        if ratios:
            ratio = statistics.median(ratios)
            entry |= {"ratio": ratio, "ratio_least": min(ratios), "ratio_most": max(ratios)}
            if figure.target is not None:
                entry["reached"] = ratio >= figure.target if figure.more_is_better else ratio <= figure.target
        found[figure.name] = entry
    return found


def _value(figure: Figure, round: Round, server: str) -> float | None:
    return figure.read(round[server]) if server in round else None


def table(figures: dict[str, Any], servers: list[str]) -> str:
    """The summary for people."""
    lines = [["median of rounds (least–most)", *servers, "livefeed ÷ nchan", "target", ""]]
    for figure in FIGURES:
        entry = figures[figure.name]
        cells = [figure.name]
        for server in servers:
            value = entry["servers"].get(server)
            cells.append("–" if value is None else _spread(figure.form, value["median"], value["least"], value["most"]))
        if "ratio" in entry:
            cells.append(_spread("{:.2f}", entry["ratio"], entry["ratio_least"], entry["ratio_most"]))
        else:
            cells.append("–")
        sign = "≥" if figure.more_is_better else "≤"
        cells.append(f"{sign} {figure.target:g}" if figure.target is not None else "")
        cells.append({True: "reached", False: "NOT REACHED"}.get(entry.get("reached"), ""))
        lines.append(cells)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(row.rstrip() for row in rows)


def _spread(form: str, median: float, least: float, most: float) -> str:
    if least == most:
        return form.format(median)
    return f"{form.format(median)} ({form.format(least)}–{form.format(most)})"


def save(result: dict[str, Any]) -> Path:
    """Write a run's JSON file; its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
