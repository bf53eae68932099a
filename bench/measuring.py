"""The measures. Each takes a started server, loads it, and returns plain figures with the readers' check."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench import machine
from bench.load import Load, faults
from bench.publishing import Publisher
from bench.servers import Server

WARM_EVENTS = 20
"""Published and read before the clock starts: first-use costs are not the fan-out's."""
SETTLE_S = 1.0
"""Quiet time before memory is read."""
SINGLE_PAUSE_S = 0.002
"""Between the last reader's event and the next publish, so that each event finds the server waiting."""
EVENT_TIMEOUT_S = 60


class Wrong(Exception):
    """A reader missed an event, got it twice, late, or in another order: the figure does not count."""


def fan_out(server: Server, *, readers: int, singles: int, bursts: int, burst_events: int) -> dict[str, Any]:
    """Single events one at a time, then bursts, to `readers` readers."""
    with Load(server.port, server.path, server.flags) as load:
        load.connect(readers)
        publisher = server.publisher()
        try:
            _one_by_one(server, load, publisher, 1, WARM_EVENTS)
            number = 1 + WARM_EVENTS
            result: dict[str, Any] = {"single": _one_by_one(server, load, publisher, number, singles), "bursts": []}
            number += singles
            for _ in range(bursts):
                result["bursts"].append(_burst(server, load, publisher, number, burst_events))
                number += burst_events
        finally:
            publisher.close()
    return result


def idle(server: Server, *, readers: int) -> dict[str, Any]:
    """Connects per second, and memory per reader: before the first event and after three."""
    with Load(server.port, server.path, server.flags) as load:
        load.connect(1)
        publisher = server.publisher()
        try:
            _one_by_one(server, load, publisher, 1, WARM_EVENTS)
            time.sleep(SETTLE_S)
            empty = machine.memory_bytes(server.pids)
            cpu = machine.cpu_s(server.pids)
            connected = load.connect(readers)
            cpu = machine.cpu_s(server.pids) - cpu
            load.idle(SETTLE_S)
            full = machine.memory_bytes(server.pids)
            _one_by_one(server, load, publisher, 1 + WARM_EVENTS, 3)
            load.idle(SETTLE_S)
            used = machine.memory_bytes(server.pids)
        finally:
            publisher.close()
    return {
        "readers": readers,
        "connects_per_s": readers / connected["seconds"],
        "connect_cpu_us": cpu / readers * 1e6,
        "empty_bytes": empty,
        "idle_reader_bytes": (full - empty) / readers,
        "used_reader_bytes": (used - empty) / readers,
    }


def event_bytes(server: Server, load: Load) -> int:
    """Bytes of one event's data, as the server sends it."""
    publisher = server.publisher()
    try:
        result = _one_by_one(server, load, publisher, 1, 1)
    finally:
        publisher.close()
    return int(result["data_bytes"]) - len(" ")  # of "data: "


def _one_by_one(server: Server, load: Load, publisher: Publisher, first: int, count: int) -> dict[str, Any]:
    """Each event is published when the last reader has the one before."""

    publisher.prepare(first, count)

    def publish() -> None:
        for number in range(first, first + count):
            publisher.offer(1)
            if next(load.done(), None) != number:
                return  # the time-out; the check has the story
            time.sleep(SINGLE_PAUSE_S)

    return _measured(server, load, first, count, publish)


def _burst(server: Server, load: Load, publisher: Publisher, first: int, count: int) -> dict[str, Any]:
    """All events at once."""
    publisher.prepare(first, count)
    return _measured(server, load, first, count, lambda: publisher.offer(count))


def _measured(server: Server, load: Load, first: int, count: int, publish: Callable[[], None]) -> dict[str, Any]:
    load.expect(first, count, timeout_s=EVENT_TIMEOUT_S)
    pids = server.pids
    cpu, core, start = machine.cpu_s(pids), machine.busy_s(machine.LOAD_CPU), time.monotonic()
    publish()
    published = time.monotonic() - start
    result = load.checked()
    result["publish_s"] = published
    result["server_cpu_s"] = machine.cpu_s(pids) - cpu
    result["load_core_busy"] = (machine.busy_s(machine.LOAD_CPU) - core) / (time.monotonic() - start)
    if wrong := faults(result):
        raise Wrong(f"{server.name}: {', '.join(wrong)} in {result}")
    result["deliveries_per_s"] = result["deliveries"] / result["span_s"]
    result["cpu_us_per_delivery"] = result["server_cpu_s"] / result["deliveries"] * 1e6
    result["client_headroom"] = result["span_s"] / result["cpu_s"]
    return result
