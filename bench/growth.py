"""How the cost grows: with readers, with filters, with the window. Measured, tabled and drawn.

Nothing may grow faster than linearly in readers. The kernel's part does, a little, as its sockets leave the caches; so
livefeed's cost per event is judged beside the floor's, which is nothing but that part.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine, measuring
from bench.load import Load
from bench.measuring import WARM_EVENTS
from bench.scripted import ScriptPublisher
from bench.servers import REPLAYED, Floor, Livefeed, Server

FILTER_THREAD = "bench"
"""Of the events that all filters let through; each filter has a second value of its own."""
LINEAR_SLACK = 1.1
"""The exponent of growth, and how much faster than the floor livefeed may grow, up to which it counts as linear."""
FILL_BATCH = 500


@dataclass(frozen=True)
class Plan:
    """Points of the curves."""

    readers: tuple[int, ...]
    filters: tuple[int, ...]
    filter_readers: int
    windows: tuple[int, ...]
    replays: int
    """Readers that connect with a replay, for each window."""
    singles: int
    """Events, published one at a time, to up to 1,000 readers; fewer to more."""


FULL = Plan((100, 300, 1000, 3000, 8000, 15_000), (1, 5, 20, 100, 500), 1000, (100, 1000, 10_000), 2000, 100)
QUICK = Plan((100, 1000, 8000), (1, 100, 500), 1000, (100, 10_000), 500, 25)


def measure(size: int, plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """All curves, a point after the other."""
    found: dict[str, list[dict[str, Any]]] = {"readers": [], "filters": [], "window": []}
    for readers in plan.readers:
        _tell("readers", readers)
        found["readers"].append(_readers(size, readers, plan))
    for filters in plan.filters:
        _tell("filters", filters)
        found["filters"].append(_filters(size, filters, plan))
    for window in plan.windows:
        _tell("window", window)
        found["window"].append(_window(size, window, plan))
    return found


def _readers(size: int, readers: int, plan: Plan) -> dict[str, Any]:
    events = max(min(plan.singles, plan.singles * 1000 // readers), 5)
    point: dict[str, Any] = {"readers": readers}
    kind: type[Server]
    for kind in (Livefeed, Floor):
        with kind(size) as server:
            empty = machine.memory_bytes(server.pids)
            with measuring.loaded(server, readers, warm=5) as (load, publisher):
                single = measuring.one_by_one(server, load, publisher, 6, events)
                memory = machine.memory_bytes(server.pids) - empty
        point[kind.name] = {
            "event_cpu_us": single["server_cpu_s"] / events * 1e6,
            "last_reader_p50_ms": single["last_reader_ms"]["p50"],
            "memory_bytes": memory,
        }
    return point


def _filters(size: int, filters: int, plan: Plan) -> dict[str, Any]:
    with Livefeed(size) as server:
        publisher = ScriptPublisher(server.socket_path, thread=FILTER_THREAD)
        path = f"{server.path}?thread={FILTER_THREAD},t*"
        with Load(server.port, path, server.flags) as load:
            load.connect(plan.filter_readers, groups=filters)
            measuring.one_by_one(server, load, publisher, 1, WARM_EVENTS)
            single = measuring.one_by_one(server, load, publisher, 1 + WARM_EVENTS, plan.singles)
        publisher.close()
    return {
        "filters": filters,
        "event_cpu_us": single["server_cpu_s"] / plan.singles * 1e6,
        "last_reader_p50_ms": single["last_reader_ms"]["p50"],
    }


def _window(size: int, window: int, plan: Plan) -> dict[str, Any]:
    with Livefeed.with_settings(window_events=window)(size) as server:
        publisher = server.publisher()
        for first in range(1, window + 1, FILL_BATCH):
            publisher.prepare(first, min(FILL_BATCH, window + 1 - first))
            publisher.offer(min(FILL_BATCH, window + 1 - first))
        with Load(server.port, server.path, server.flags) as load:
            load.connect(1)
            path = server.replay_path()
            measuring.one_by_one(server, load, publisher, window + 1, REPLAYED)
        memory = machine.memory_bytes(server.pids)
        cpu = machine.cpu_s(server.pids)
        with Load(server.port, server.path, server.flags) as load:
            measuring.right(server, load.replay(plan.replays, path, window + 1, REPLAYED))
        cpu = machine.cpu_s(server.pids) - cpu
        with Load(server.port, server.path, server.flags) as load:
            load.connect(plan.filter_readers)
            single = measuring.one_by_one(server, load, publisher, window + 1 + REPLAYED, plan.singles)
        publisher.close()
    return {
        "window": window,
        "event_cpu_us": single["server_cpu_s"] / plan.singles * 1e6,
        "replay_connect_cpu_us": cpu / plan.replays * 1e6,
        "memory_bytes": memory,
    }


def _tell(what: str, size: int) -> None:
    print(f"growth: {size:,} {what} ...", file=sys.stderr, flush=True)


def exponent(points: list[tuple[float, float]]) -> float:
    """Of the growth from the second last to the last point: 1 is linear. (The first ones are mostly fixed cost.)"""
    (x0, y0), (x1, y1) = points[-2], points[-1]
    return math.log(y1 / y0) / math.log(x1 / x0)


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """The curves in figures, with the verdict on the readers'."""
    lines = ["", "readers     CPU per event, ms   floor, ms   ÷ floor   memory, MB"]
    for point in found["readers"]:
        ours, floor = point["livefeed"], point["floor"]
        lines.append(
            f"{point['readers']:>7,}   {ours['event_cpu_us'] / 1000:>17.2f}   {floor['event_cpu_us'] / 1000:>9.2f}   "
            f"{ours['event_cpu_us'] / floor['event_cpu_us']:>7.2f}   {ours['memory_bytes'] / 1e6:>10.1f}"
        )
    lines += [linear(found), "", "filters     CPU per event, ms   last reader, p50, ms"]
    for point in found["filters"]:
        cost, last = point["event_cpu_us"] / 1000, point["last_reader_p50_ms"]
        lines.append(f"{point['filters']:>7,}   {cost:>17.2f}   {last:>20.2f}")
    lines += ["", " window     CPU per event, ms   CPU per connect with a replay, µs   memory, MB"]
    for point in found["window"]:
        cost, replay, memory = point["event_cpu_us"] / 1000, point["replay_connect_cpu_us"], point["memory_bytes"] / 1e6
        lines.append(f"{point['window']:>7,}   {cost:>17.2f}   {replay:>32.0f}   {memory:>10.1f}")
    return "\n".join(lines)


def linear(found: dict[str, list[dict[str, Any]]]) -> str:
    """Whether the cost of an event grows linearly in readers, in a sentence."""
    growths = {
        name: exponent([(point["readers"], point[name]["event_cpu_us"]) for point in found["readers"]])
        for name in ("livefeed", "floor")
    }
    ok = growths["livefeed"] <= max(LINEAR_SLACK, growths["floor"] * LINEAR_SLACK)
    return (
        f"An event's cost grows with readers to the power of {growths['livefeed']:.2f} "
        f"(the floor's: {growths['floor']:.2f}): " + ("linear." if ok else "FASTER THAN LINEAR.")
    )


def plot(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw the curves as SVG; a sentence where matplotlib is missing."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        print("The curves are not drawn: matplotlib is not installed (pip install -e '.[bench]').")
        return
    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(17, 4), layout="constrained")
    x = [point["readers"] for point in found["readers"]]
    for name in ("livefeed", "floor"):
        axes[0].loglog(x, [point[name]["event_cpu_us"] / 1000 for point in found["readers"]], marker="o", label=name)
    first = found["readers"][-1]["livefeed"]["event_cpu_us"] / 1000 / x[-1]
    axes[0].loglog(x, [first * readers for readers in x], linestyle=":", color="gray", label="linear")
    axes[0].set(title="CPU per event", xlabel="readers", ylabel="ms")
    axes[0].legend()
    axes[1].plot(x, [point["livefeed"]["memory_bytes"] / 1e6 for point in found["readers"]], marker="o")
    axes[1].set(title="Memory beyond an idle server's", xlabel="readers", ylabel="MB")
    _curve(axes[2], found["filters"], "filters", "CPU per event, 1,000 readers")
    _curve(axes[3], found["window"], "window", "Window: per event, and per connect with a replay")
    right = axes[3].twinx()
    x = [point["window"] for point in found["window"]]
    right.plot(x, [point["replay_connect_cpu_us"] for point in found["window"]], marker="s", color="tab:orange")
    right.set(ylabel="µs per connect (squares)", ylim=(0, None))
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _curve(axis: Any, points: list[dict[str, Any]], key: str, title: str) -> None:
    axis.plot([point[key] for point in points], [point["event_cpu_us"] / 1000 for point in points], marker="o")
    axis.set(title=title, xlabel=f"{key}, events" if key == "window" else key, ylabel="ms per event", xscale="log")
    axis.set_ylim(0, None)
