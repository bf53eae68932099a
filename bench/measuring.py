"""The measures. Each takes a started server, loads it, and returns plain figures with the readers' check."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from bench import machine
from bench.load import Load, faults
from bench.publishing import PUBLISH_S, Publisher, mark, stamped
from bench.scripted import TEXT
from bench.servers import REPLAYED, Livefeed, SampledLivefeed, Server

WARM_EVENTS = 20
"""Published and read before the clock starts: first-use costs are not the fan-out's."""
SETTLE_S = 1.0
"""Quiet time before memory is read."""
SINGLE_PAUSE_S = 0.002
"""Between the last reader's event and the next publish, so that each event finds the server waiting."""
EVENT_TIMEOUT_S = 60
PUBLISH_PAUSE_S = 0.01
"""Between an editor's acknowledgement and the next publish: the readers have the one before by then, mostly."""
STALL_EVENTS = 300
"""Enough to fill a stalled reader's buffers, the kernel's and ours."""
STALL_PAUSE_S = 0.2
"""For the server to forget the stalled, before the next half of a pair."""


class Wrong(Exception):
    """A reader missed an event, got it twice, late, or in another order: the figure does not count."""


@contextlib.contextmanager
def loaded(
    server: Server, readers: int, *, warm: int = WARM_EVENTS, groups: int = 1, path: str = ""
) -> Iterator[tuple[Load, Publisher]]:
    """`readers` readers and a publisher, with the first events behind them; the next number is `warm` + 1."""
    publisher = server.publisher()
    try:
        with Load(server.port, path or server.path, server.flags) as load:
            load.connect(readers, groups=groups)
            one_by_one(server, load, publisher, 1, warm)
            yield load, publisher
    finally:
        publisher.close()


def fan_out(server: Server, *, readers: int, singles: int, bursts: int, burst_events: int) -> dict[str, Any]:
    """Single events one at a time, then bursts, to `readers` readers."""
    with loaded(server, readers) as (load, publisher):
        number = 1 + WARM_EVENTS
        result: dict[str, Any] = {"single": one_by_one(server, load, publisher, number, singles), "bursts": []}
        number += singles
        for _ in range(bursts):
            result["bursts"].append(burst(server, load, publisher, number, burst_events))
            number += burst_events
    return result


def many(server: Server, *, readers: int, singles: int) -> dict[str, Any]:
    """Single events to many readers."""
    with loaded(server, readers, warm=2) as (load, publisher):
        return {"single": one_by_one(server, load, publisher, 3, singles)}


def idle(server: Server, *, readers: int, idle_s: float) -> dict[str, Any]:
    """Connects per second, CPU while nothing happens, and memory per reader: before the first event and after three."""
    with loaded(server, 1) as (load, publisher):
        time.sleep(SETTLE_S)
        empty = machine.memory_bytes(server.pids)
        cpu = machine.cpu_s(server.pids)
        connected = load.connect(readers)
        cpu = machine.cpu_s(server.pids) - cpu
        load.idle(SETTLE_S)
        full = machine.memory_bytes(server.pids)
        idle_cpu = machine.cpu_s(server.pids)
        load.idle(idle_s)
        idle_cpu = machine.cpu_s(server.pids) - idle_cpu
        one_by_one(server, load, publisher, 1 + WARM_EVENTS, 3)
        load.idle(SETTLE_S)
        used = machine.memory_bytes(server.pids)
    return {
        "readers": readers,
        "connects_per_s": readers / connected["seconds"],
        "connect_cpu_us": cpu / readers * 1e6,
        "idle_s": idle_s,
        "idle_cpu_us_per_s": idle_cpu / idle_s / readers * 1e6,
        "empty_bytes": empty,
        "idle_reader_bytes": (full - empty) / readers,
        "used_reader_bytes": (used - empty) / readers,
    }


def replay(server: Server, *, readers: int) -> dict[str, Any]:
    """Connects per second, each of which is given the last `REPLAYED` events before it counts."""
    with loaded(server, 1) as (load, publisher):
        path = server.replay_path()
        one_by_one(server, load, publisher, 1 + WARM_EVENTS, REPLAYED)
    cpu = machine.cpu_s(server.pids)
    with Load(server.port, server.path, server.flags) as load:
        result = right(server, load.replay(readers, path, 1 + WARM_EVENTS, REPLAYED))
    result["connects_per_s"] = readers / result["seconds"]
    result["connect_cpu_us"] = (machine.cpu_s(server.pids) - cpu) / readers * 1e6
    return result


def acknowledged(server: Livefeed, *, readers: int, events: int) -> dict[str, Any]:
    """How long a publish through the API takes until it is acknowledged, while `readers` are served."""
    headers = {"Authorization": f"Bearer {server.token()}", "Content-Type": "application/json"}
    took = []
    with loaded(server, readers) as (load, _):
        load.expect(1 + WARM_EVENTS, events, timeout_s=EVENT_TIMEOUT_S)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PUBLISH_S)) as editor:
            for number in range(1 + WARM_EVENTS, 1 + WARM_EVENTS + events):
                offered = time.monotonic_ns()
                headline = stamped(f"{TEXT} {mark(number)}".encode(), offered).decode()
                body = json.dumps({"headline": headline, "rubric": "politique"})
                editor.request("POST", "/api/items", body, headers)
                answer = editor.getresponse()
                answer.read()
                if answer.status != HTTPStatus.CREATED:
                    raise Wrong(f"{server.name}: a publish was answered {answer.status}")
                took.append((time.monotonic_ns() - offered) / 1e6)
                time.sleep(PUBLISH_PAUSE_S)
        right(server, load.checked())
    return {"acknowledged_ms": percentiles(took)}


def lag(server: SampledLivefeed, *, readers: int, singles: int) -> dict[str, Any]:
    """How late the loop is while `readers` are served one event after the other."""
    with loaded(server, readers, warm=2) as (load, publisher):
        begun = time.monotonic()
        one_by_one(server, load, publisher, 3, singles)
        ended = time.monotonic()
        return {"lag_ms": percentiles(server.lag_ms(begun, ended))}


def stalled(server: Server, *, readers: int, events: int, pairs: int) -> dict[str, Any]:
    """What readers that stopped reading, a tenth of all, do to the others: p99 with them over p99 without, in pairs."""
    found = []
    with loaded(server, readers - readers // 10) as (load, publisher):
        number = 1 + WARM_EVENTS
        for pair in range(pairs):
            p99 = {}
            for with_stalled in (pair % 2 == 0, pair % 2 != 0):
                with contextlib.ExitStack() as stack:
                    if with_stalled:
                        others = stack.enter_context(Load(server.port, server.path, "s"))
                        others.connect(readers // 10)
                        others.freeze()
                    burst(server, load, publisher, number, STALL_EVENTS)  # to fill their buffers; for both alike
                    number += STALL_EVENTS
                    result = one_by_one(server, load, publisher, number, events)
                    number += events
                    p99[with_stalled] = result["delivery_ms"]["p99"]
                time.sleep(STALL_PAUSE_S)
            found.append({"alone_ms": p99[False], "beside_stalled_ms": p99[True], "ratio": p99[True] / p99[False]})
    return {"pairs": found, "ratio": statistics.median(pair["ratio"] for pair in found)}


def event_bytes(server: Server, load: Load) -> int:
    """Bytes of one event's data, as the server sends it."""
    with contextlib.closing(server.publisher()) as publisher:
        result = one_by_one(server, load, publisher, 1, 1)
    return int(result["data_bytes"]) - len(" ")  # of "data: "


def one_by_one(server: Server, load: Load, publisher: Publisher, first: int, count: int) -> dict[str, Any]:
    """Each event is published when the last reader has the one before."""

    publisher.prepare(first, count)

    def publish() -> None:
        for number in range(first, first + count):
            publisher.offer(1)
            if next(load.done(), None) != number:
                return  # the time-out; the check has the story
            time.sleep(SINGLE_PAUSE_S)

    return _measured(server, load, first, count, publish)


def burst(server: Server, load: Load, publisher: Publisher, first: int, count: int) -> dict[str, Any]:
    """All events at once."""
    publisher.prepare(first, count)
    return _measured(server, load, first, count, lambda: publisher.offer(count))


def right(server: Server, result: dict[str, Any]) -> dict[str, Any]:
    """The result, when nothing was wrong in it.

    :raises Wrong: otherwise.
    """
    if wrong := faults(result):
        raise Wrong(f"{server.name}: {', '.join(wrong)} in {result}")
    return result


def percentiles(values: list[float]) -> dict[str, float]:
    """The percentiles that are told, by nearest rank."""
    ordered = sorted(values)
    points = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {name: ordered[max(math.ceil(share * len(ordered)) - 1, 0)] for name, share in points.items()}


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
    right(server, result)
    result["deliveries_per_s"] = result["deliveries"] / result["span_s"]
    result["cpu_us_per_delivery"] = result["server_cpu_s"] / result["deliveries"] * 1e6
    result["client_headroom"] = result["span_s"] / result["cpu_s"]
    return result
