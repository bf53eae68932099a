"""Metrics: the numbers of all server processes of a port, in Prometheus's text format.

The loop only counts, in plain numbers; they become metrics when a monitor asks. prometheus-client's own multiprocess
mode takes metrics made of its own objects only, each of which costs a lock and a file at every count, and its files of
dead workers stay: so each process leaves a report a second instead (`reports`), and what a monitor gets is made of the
reports of those that live, by a collector that prometheus-client writes out. Each series has a label `worker`, the
slot's number: sums are the monitor's to make, and a worker that is replaced is a counter that starts anew, which a
monitor understands.

Without `LIVEFEED_METRICS_TOKEN` there is no ``/metrics`` beside the pages: a proxy on the same machine makes everybody
look local (nginx adds no header of its own accord), so the client's address proves nothing. `LIVEFEED_METRICS_PORT`
gives it a port of its own instead, on the loopback interface unless `LIVEFEED_METRICS_HOST` says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import structlog
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livefeed import reports
from livefeed.errors import NotFound, Unauthorized
from livefeed.feed.histogram import Histogram
from livefeed.feed.reading import Feed
from livefeed.reports import Report, Shape
from livefeed.settings import Settings

logger = structlog.get_logger()


class Kind(NamedTuple):
    """How a number is shown: its name below ``livefeed_``, its sentence, and the labels behind its key's colons."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


COUNTS = {
    "opened": Kind("streams_opened", "Streams that were answered."),
    "turned_away": Kind("streams_turned_away", "Streams that were told to come back later, by reason.", ("reason",)),
    "replays": Kind("replays", "Positions that were continued from the window."),
    "log_replays": Kind("log_replays", "Streams whose past was read from the log."),
    "resets": Kind("resets", "Resets sent: positions that could not be continued, by reason.", ("reason",)),
    "deliveries": Kind("deliveries", "Events written to readers: events times readers."),
    "rounds": Kind("rounds", "Rounds: writes of the same bytes to a group of readers."),
    "ticks": Kind("ticks", "Ticks that were due."),
    "behind": Kind("readers_fell_behind", "Times that a reader's buffer was full."),
    "cut": Kind("readers_cut", "Readers that were cut: behind for too long, or out of the window."),
    "encodings": Kind("encodings", "Frames encoded: one per event and view in use, whatever the number of readers."),
    "sessions": Kind("listener_sessions", "Subscriptions to the channel; more than one is a reconnect."),
    "reads": Kind("listener_log_reads", "Times that the log was read to catch up."),
    "poison": Kind("listener_poison", "Messages and entries that could not be read and were skipped."),
    "requests": Kind("requests", "Answers by route and status, but handed-over streams.", ("route", "status")),
    "cpu": Kind("process_cpu_seconds", "Processor time of the process."),
}
"""Counters by the key they are counted under; one that is not listed is shown under its own key."""

GAUGES = {
    "live": Kind("live", "1 while an event published now would reach the readers of this process."),
    "draining": Kind("draining", "1 while the process ends its streams to stop."),
    "streams": Kind("streams", "Open streams by kind (handed_over, iterated) and view (full, lite).", ("kind", "view")),
    "groups": Kind("groups", "Groups of readers that get the same bytes: filters, views and framings in use."),
    "listener_live": Kind("listener_live", "1 while the channel is heard and the store takes writes."),
    "listener_silent": Kind("listener_silent_seconds", "Time since the last probe came back over the channel."),
    "listener_behind": Kind("listener_lag_events", "Events that the log was ahead by at the last probe."),
    "head": Kind("applied_seq", "Seq of the newest event that this process has applied."),
    "window_events": Kind("window_events", "Events that are kept ready for replay."),
    "window_bytes": Kind("window_bytes", "What they take, as counted against LIVEFEED_WINDOW_BYTES."),
    "board_items": Kind("board_items", "Items kept in memory for pages and the API."),
    "round_wait": Kind("round_wait_seconds", "How long what has arrived has been waiting for its round by now."),
    "lag_max": Kind("loop_lag_max_seconds", "The most that the event loop was late in the last 15 s."),
    "memory": Kind("process_resident_bytes", "Memory of the process that is resident."),
    "memory_peak": Kind("process_resident_peak_bytes", "The most that ever was."),
}
SHAPES = {
    "delay": Kind("publish_to_send_seconds", "From an event's time in the store until it was written to all readers."),
    "lag": Kind("loop_lag_seconds", "How late the event loop was, sampled ten times a second."),
}
STORE = {
    "seq": Kind("log_head_seq", "Seq of the newest event."),
    "events": Kind("log_events", "Events in the log."),
    "bytes": Kind("log_bytes", "What their bodies take, as counted against LIVEFEED_LOG_MAX_BYTES."),
    "bytes_max": Kind("log_max_bytes", "The bound, over which the oldest go before their time."),
    "last_item": Kind("last_item_timestamp_seconds", "Time of the newest event; 0 before the first."),
}
"""Gauges of the store, the same for all processes: from whichever looked last, without a label."""


def _key(route: str) -> str:
    """A route's path as part of a key; a converter such as {path:path} has the colon that parts keys."""
    return route.partition(":")[0] + "}" if ":" in route else route


def shape(histogram: Histogram) -> Shape:
    """A histogram as it is now."""
    return Shape(histogram.bounds, tuple(histogram.counts), histogram.sum)


def take(feed: Feed, requests: Mapping[tuple[str, int], int]) -> Report:
    """The report of this process, now."""
    hub, listener, window = feed.hub, feed.listener, feed.mirror.window
    counts: dict[str, float] = dict(hub.counts)
    counts |= {f"requests:{_key(route)}:{status}": count for (route, status), count in requests.items()}
    counts |= {"encodings": window.encodings, "sessions": listener.sessions, "reads": listener.reads}
    counts |= {"poison": listener.poison, "cpu": time.process_time()}
    streams = {f"streams:handed_over:{view}": 0 for view in ("full", "lite")}
    for group in hub.groups:
        streams[f"streams:handed_over:{group.view}"] += len(group.members)
    streams["streams:iterated:any"] = hub.streams - sum(streams.values())
    why_not_live = feed.why_not_live
    gauges = {
        "live": why_not_live is None and not hub.draining,
        "draining": hub.draining,
        "groups": len(hub.groups),
        "listener_live": listener.live,
        "listener_silent": min(listener.silent_s, 1e9),  # JSON has no infinity; before the first probe it is for ever
        "listener_behind": listener.ahead,
        "head": window.head.seq,
        "window_events": len(window),
        "window_bytes": window.size,
        "board_items": len(feed.mirror.board),
        "round_wait": hub.delay.waiting_s,
        "lag_max": feed.lag.worst_s(),
        **streams,
    }
    store: dict[str, float] = {}
    if listener.pulse is not None:
        pulse = listener.pulse
        store = {"seq": window.head.seq + listener.ahead, "events": pulse.events, "bytes": pulse.bytes}
        store |= {
            "early": pulse.early,
            "bytes_max": feed.settings.log_max_bytes,
            "last_item": window.last_time_ms / 1000,
        }
    return Report(
        pid=os.getpid(),
        at=time.monotonic(),
        why_not_live=why_not_live,
        draining=hub.draining,
        counts=counts,
        gauges={name: float(value) for name, value in gauges.items()},
        shapes={"delay": shape(hub.delay.histogram), "lag": shape(feed.lag.histogram)},
        store=store,
        store_at=listener.pulse_at if store else 0.0,
    )


class Reporter:
    """Leaves this process's report once a second; `run` is a task of the feed."""

    def __init__(self, feed: Feed, requests: Mapping[tuple[str, int], int]) -> None:
        self._feed = feed
        self._requests = requests
        self._slot: reports.Slot | None = None
        self._failed = False

    @contextlib.asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Hold a slot; without one (a directory that cannot be written) this process's own numbers are all there is."""
        try:
            self._slot = await asyncio.to_thread(reports.Slot, self._feed.settings)
        except OSError as error:
            self._tell(error)
        with self._slot or contextlib.nullcontext():
            await self.all()
            yield
        self._slot = None

    async def run(self) -> None:
        """Report for ever; returns only by being cancelled."""
        while True:
            await asyncio.sleep(reports.PERIOD_S)
            await self._report(take(self._feed, self._requests))

    async def all(self) -> dict[int, Report]:
        """The reports of all living processes of this port by worker; this one's as of now."""
        own = take(self._feed, self._requests)
        if self._slot is None:
            return {0: own}
        await self._report(own)
        found = await asyncio.to_thread(reports.read, self._slot.directory)
        return {**found, self._slot.number: own}

    @property
    def worker(self) -> int:
        """This process's number."""
        return self._slot.number if self._slot is not None else 0

    async def _report(self, report: Report) -> None:
        if self._slot is None:
            return
        try:
            await asyncio.to_thread(_complete_and_write, self._slot, report)
            self._failed = False
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        if not self._failed:
            logger.warning("this process cannot report to the others", reason=str(error))
        self._failed = True


def _complete_and_write(slot: reports.Slot, report: Report) -> None:
    report.gauges.update(_memory())
    slot.write(report)


def _memory() -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"memory_peak": float(peak if os.uname().sysname == "Darwin" else peak * 1024)}
    with contextlib.suppress(OSError), open("/proc/self/statm", "rb") as statm:
        found["memory"] = float(int(statm.read().split()[1]) * resource.getpagesize())
    return found


_Numbers = Mapping[int, Mapping[str, float]]
"""By worker, then by key."""


class Numbers(Collector):
    """The reports of all processes as metrics."""

    def __init__(self, found: Mapping[int, Report]) -> None:
        self._reports = found

    def collect(self) -> Iterator[Metric]:
        """Each metric with the series of all workers."""
        workers = GaugeMetricFamily("livefeed_workers", "Server processes that live.")
        workers.add_metric([], len(self._reports))
        yield workers
        yield from self._families(COUNTS, {worker: report.counts for worker, report in self._reports.items()}, True)
        yield from self._families(GAUGES, {worker: report.gauges for worker, report in self._reports.items()}, False)
        yield from self._shapes()
        yield from self._store()

    @staticmethod
    def _families(kinds: Mapping[str, Kind], numbers: _Numbers, counter: bool) -> Iterator[Metric]:
        make: type[CounterMetricFamily | GaugeMetricFamily] = CounterMetricFamily if counter else GaugeMetricFamily
        names = {key.partition(":")[0] for found in numbers.values() for key in found}
        for name in sorted(names | {name for name, kind in kinds.items() if not kind.labels}):
            kind = kinds.get(name, Kind(name, f"Count of {name}."))
            family = make(f"livefeed_{kind.name}", kind.help, labels=["worker", *kind.labels])
            for worker, found in numbers.items():
                series = {key: value for key, value in found.items() if key.partition(":")[0] == name}
                for key, value in series.items() if kind.labels else [(name, sum(series.values()))]:
                    values = key.split(":", len(kind.labels))[1:]
                    family.add_metric([str(worker), *values, *[""] * (len(kind.labels) - len(values))], value)
            yield family

    def _shapes(self) -> Iterator[Metric]:
        for name, kind in SHAPES.items():
            family = HistogramMetricFamily(f"livefeed_{kind.name}", kind.help, labels=["worker"])
            for worker, report in self._reports.items():
                known = report.shapes[name]
                total, buckets = 0, []
                for bound, count in zip((*known.bounds, float("inf")), known.counts, strict=True):
                    total += count
                    buckets.append((_bound(bound), float(total)))
                family.add_metric([str(worker)], buckets, known.sum)
            yield family

    def _store(self) -> Iterator[Metric]:
        newest = max(self._reports.values(), key=lambda report: report.store_at, default=None)
        if newest is None or not newest.store:
            return
        for name, kind in STORE.items():
            yield GaugeMetricFamily(f"livefeed_{kind.name}", kind.help, newest.store[name])
        if newest.store["last_item"]:
            age_s = max(time.time() - newest.store["last_item"], 0.0)
            yield GaugeMetricFamily("livefeed_last_item_age_seconds", "Time since the newest event.", age_s)
        yield CounterMetricFamily(
            "livefeed_log_trimmed_early",
            "Events that went before their time, as the log had outgrown LIVEFEED_LOG_MAX_BYTES: an alarm.",
            newest.store["early"],
        )


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(bound)


def written(found: Mapping[int, Report], accept: str) -> tuple[bytes, str]:
    """The metrics of these reports in the format that `accept` prefers, and its content type."""
    encoder, content_type = choose_encoder(accept)
    return encoder(Numbers(found)), content_type


def permits(token: str, authorization: str) -> bool:
    """Whether an Authorization header carries the token; "" asks for none."""
    given = authorization.removeprefix("Bearer ") if authorization.startswith("Bearer ") else ""
    return not token or hmac.compare_digest(given.encode(), token.encode())


async def metrics(request: Request) -> Response:
    """All numbers, for a monitor that has the token; nothing at all without one."""
    settings: Settings = request.app.state.settings
    if not settings.metrics_token:
        raise NotFound("Metrics are served with LIVEFEED_METRICS_TOKEN, or on a port of LIVEFEED_METRICS_PORT.")
    if not permits(settings.metrics_token, request.headers.get("authorization", "")):
        raise Unauthorized(
            "Metrics need the token of LIVEFEED_METRICS_TOKEN.", headers={"www-authenticate": 'Bearer realm="metrics"'}
        )
    reporter: Reporter = request.app.state.reporter
    body, content_type = written(await reporter.all(), request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})


class Counted:
    """ASGI middleware that counts answers by route and status; about 1 µs a request."""

    def __init__(self, app: ASGIApp, requests: Counter[tuple[str, int]], routes: Iterable[BaseRoute]) -> None:
        self.app = app
        self._requests = requests
        self._paths: dict[Any, str] = {route.endpoint: route.path for route in routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(scope, message["status"])
            await send(message)

        try:
            await self.app(scope, receive, counting)
        except Exception:
            self._count(scope, 500)  # a bug of ours: the answer is made further out
            raise

    def _count(self, scope: Scope, status: int) -> None:
        self._requests[self._paths.get(scope.get("endpoint"), ""), status] += 1


ROUTES = [Route("/metrics", metrics)]
