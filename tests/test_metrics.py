"""Metrics: what happened, of all processes, in a format that Prometheus reads, for those who may."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
import signal
import socket
import time
from pathlib import Path

import httpx
import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from structlog.testing import capture_logs
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from livefeed import metrics_port, reports
from livefeed.embedded import connection_url
from livefeed.errors import StartError
from livefeed.metrics import written
from livefeed.newsroom.tokens import Tokens
from livefeed.reports import Report, Slot
from livefeed.settings import Settings
from tests.servers import fetch, wait_for
from tests.servers import serving as process
from tests.serving import WAIT_S, Serving, reading, serving, until

TOKEN = "s3cret"
README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Numbers:
    """Every sample by name and labels, as prometheus-client's own parser reads it; no series comes twice."""
    found: Numbers = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def total(numbers: Numbers, name: str, **labels: str) -> float:
    """The sum of a metric's series that have these labels."""
    return sum(value for (key, have), value in numbers.items() if key == name and have >= set(labels.items()))


async def scrape(served: Serving, accept: str = "") -> Numbers:
    answer = await served.client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}", "accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["cache-control"] == "no-store"
    return parsed(answer.text)


@pytest.fixture
def open_to_us(settings: Settings) -> Settings:
    return dataclasses.replace(settings, metrics_token=TOKEN, tick_s=0.3, drain_s=0.0)


async def test_what_happened_is_counted(open_to_us: Settings) -> None:
    """Streams by kind and view, deliveries, delays, replays, resets by reason, the log, the loop, requests."""
    async with serving(open_to_us) as served:
        first = await served.publish("Info 0")
        async with reading(served) as one, reading(served, "?view=lite"), reading(served, "?rubric=sport"):
            for n in range(1, 6):
                await served.publish(f"Info {n}")
            await one.until(lambda r: len(r.items) == 5)
            async with (
                reading(served, last_event_id=first["position"]) as back,
                reading(served, last_event_id="99-aaaaaaaa") as ahead,
                reading(served, last_event_id="rubbish") as lost,
            ):
                await back.until(lambda r: len(r.items) == 5)
                assert ahead.of("reset")
                assert lost.of("reset")
                await served.client.get("/i/none")
                await until(lambda: served.feed.lag.histogram.counts[0] > 0, "a sample of the loop's lag")
                await until(lambda: served.feed.listener.pulse and served.feed.listener.pulse.events == 6, "a probe")
                numbers = await scrape(served)
        assert total(numbers, "livefeed_live") == total(numbers, "livefeed_listener_live") == 1
        assert total(numbers, "livefeed_streams", kind="handed_over", view="full") == 5
        assert total(numbers, "livefeed_streams", kind="handed_over", view="lite") == 1
        assert total(numbers, "livefeed_streams", kind="iterated") == 0
        assert total(numbers, "livefeed_groups") == 3
        assert total(numbers, "livefeed_streams_opened_total") == 6
        assert total(numbers, "livefeed_deliveries_total") == 5 + 5 + 5
        assert total(numbers, "livefeed_encodings_total") == 5 + 5
        assert total(numbers, "livefeed_publish_to_send_seconds_count") == 5
        assert 0 < total(numbers, "livefeed_publish_to_send_seconds_sum") < 5
        assert total(numbers, "livefeed_replays_total") == 1
        assert total(numbers, "livefeed_resets_total", reason="ahead") == 1
        assert total(numbers, "livefeed_resets_total", reason="unreadable") == 1
        assert total(numbers, "livefeed_resets_total") == 2
        assert total(numbers, "livefeed_listener_sessions_total") == 1
        assert total(numbers, "livefeed_applied_seq") == total(numbers, "livefeed_log_head_seq") == 6
        assert total(numbers, "livefeed_log_events") == total(numbers, "livefeed_window_events") == 6
        assert 0 < total(numbers, "livefeed_log_bytes") < total(numbers, "livefeed_log_max_bytes")
        assert total(numbers, "livefeed_log_trimmed_early_total") == 0
        assert 0 <= total(numbers, "livefeed_last_item_age_seconds") < 60
        assert total(numbers, "livefeed_loop_lag_seconds_count") >= 1
        assert total(numbers, "livefeed_requests_total", route="/api/items", status="201") == 6
        assert total(numbers, "livefeed_requests_total", status="404") == 1
        assert total(numbers, "livefeed_process_resident_bytes") > 10e6


async def test_iterated_streams_are_a_kind_of_their_own(open_to_us: Settings) -> None:
    """Under a server without hand-over the streams are counted too."""
    async with serving(open_to_us, http=HttpToolsProtocol) as served, reading(served):
        await until(lambda: served.feed.hub.streams == 1, "the stream's being counted, which is after its opening")
        numbers = await scrape(served)
        assert total(numbers, "livefeed_streams", kind="iterated") == 1
        assert total(numbers, "livefeed_streams", kind="handed_over") == 0


async def test_metrics_are_for_the_token_alone(settings: Settings, open_to_us: Settings) -> None:
    """Without the setting there are none beside the pages, not even for this machine; with it, only with the token."""
    async with serving(settings) as served:
        assert (await served.client.get("/metrics")).status_code == 404
    async with serving(open_to_us) as served:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": TOKEN},
            {"authorization": "Basic eDp5"},
        ):
            answer = await served.client.get("/metrics", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert TOKEN not in answer.text
        await scrape(served)


async def test_openmetrics_is_spoken_as_well(open_to_us: Settings) -> None:
    """What newer monitors ask for is what they get, and their parser reads it."""
    async with serving(open_to_us) as served, reading(served):
        headers = {"authorization": f"Bearer {TOKEN}", "accept": "application/openmetrics-text; version=1.0.0"}
        answer = await served.client.get("/metrics", headers=headers)
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        families = openmetrics_families(answer.text)  # type: ignore[no-untyped-call]
        assert {family.name for family in families} >= {"livefeed_live", "livefeed_deliveries"}


async def test_the_readme_names_real_series(open_to_us: Settings) -> None:
    """Each series that the README tells to watch is served."""
    async with serving(open_to_us) as served, reading(served, last_event_id="rubbish"):
        await served.publish("Info")
        await until(lambda: served.feed.listener.pulse and served.feed.listener.pulse.events == 1, "a probe")
        names = {re.sub("_(count|sum|bucket)$", "", name) for name, _ in await scrape(served)}
    told = set(re.findall(r"^\| `(livefeed_\w+)` \|", README, re.MULTILINE))
    assert told
    assert told <= names


@pytest.mark.timeout(120)
async def test_two_workers_are_told_apart(tmp_path: Path) -> None:
    """Two processes, asked through a port of their own: every series has its worker, the sums are right, and a worker
    that died is gone until its successor takes its place."""
    settings = Settings(data_dir=tmp_path / "var")
    port = free_port()
    env = {"LIVEFEED_WORKERS": "2", "LIVEFEED_METRICS_PORT": str(port)}
    with process(settings.data_dir, env=env) as server:
        url = f"http://127.0.0.1:{port}"
        with connection_url(settings) as store:
            async with Redis.from_url(store) as redis:
                token = await Tokens(redis, settings.feed_name).create("test", frozenset({"publish"}))

        async def numbers() -> Numbers:
            status, body = await asyncio.to_thread(fetch, f"{url}/metrics")
            assert status == 200
            return parsed(body.decode())

        async with contextlib.AsyncExitStack() as stack:
            readers = [await stack.enter_async_context(reading(server.url)) for _ in range(12)]
            for n in range(5):
                await publish(server.url, token, f"Info {n}")
            for reader in readers:
                await reader.until(lambda r: len(r.items) == 5)
            found = await numbers()
            for _ in range(100):
                if total(found, "livefeed_deliveries_total") >= 60 and total(found, "livefeed_log_events"):
                    break
                await asyncio.sleep(0.05)
                found = await numbers()
            assert total(found, "livefeed_workers") == total(found, "livefeed_live") == 2
            assert total(found, "livefeed_deliveries_total") == 60
            assert total(found, "livefeed_streams") == total(found, "livefeed_streams_opened_total") == 12
            assert total(found, "livefeed_log_events") == 5  # one store: told once
            workers = {dict(labels)["worker"] for (_, labels) in found if "worker" in dict(labels)}
            assert workers == {"0", "1"}
            assert (await asyncio.to_thread(fetch, f"{url}/readyz"))[0] == 200
            assert (await asyncio.to_thread(fetch, f"{url}/"))[0] == 404

        (place,) = (settings.data_dir / "run").glob("reports-*")
        await asyncio.to_thread(_replaced, place)
        assert total(await numbers(), "livefeed_workers") == 2
    assert fetch(f"{url}/readyz")[0] == 0


def _replaced(place: Path) -> None:
    dead = reports.read(place)[0].pid
    os.kill(dead, signal.SIGKILL)
    wait_for(lambda: 0 not in reports.read(place), "the dead worker's going")
    wait_for(lambda: 0 in reports.read(place), "its successor", 20)
    assert reports.read(place)[0].pid != dead


def test_the_ports_own_token(tmp_path: Path) -> None:
    """With a token set the own port asks for it as well; readiness is told without."""
    settings = Settings(data_dir=tmp_path, metrics_port=free_port(), metrics_token=TOKEN)
    url = f"http://127.0.0.1:{settings.metrics_port}"
    with metrics_port.listening(settings), Slot(settings) as slot:
        assert fetch(f"{url}/metrics")[0] == 401
        assert b"No process serves" in fetch(f"{url}/readyz")[1]
        slot.write(report())
        assert fetch(f"{url}/readyz") == (200, b'{"status":"ready","workers":1}')
        slot.write(report(why_not_live="of the store"))
        status, body = fetch(f"{url}/readyz")
        assert (status, b"worker 0: of the store" in body) == (503, True)


def test_a_taken_port_names_the_setting(tmp_path: Path) -> None:
    """The start stops with a sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(data_dir=tmp_path, metrics_port=taken.getsockname()[1])
        with pytest.raises(StartError, match="LIVEFEED_METRICS_PORT"), metrics_port.listening(settings):
            pass


def test_slots(tmp_path: Path) -> None:
    """The lowest free slot is taken; who is gone is not read; a torn report is not believed; cleaning spares the
    living."""
    settings = Settings(data_dir=tmp_path)
    place = reports.directory(settings)
    with Slot(settings) as zero:
        with Slot(settings) as one, Slot(settings) as two:
            assert [slot.number for slot in (zero, one, two)] == [0, 1, 2]
            assert reports.read(place) == {}
            for slot in (zero, one, two):
                slot.write(report(pid=100 + slot.number))
            assert {number: found.pid for number, found in reports.read(place).items()} == {0: 100, 1: 101, 2: 102}
            with open(place / "1", "r+b") as torn:
                torn.seek(30)
                torn.write(b"\0\0\0")
            assert list(reports.read(place)) == [0, 2]
        assert list(reports.read(place)) == [0]
        reports.clean(tmp_path)
        assert [path.name for path in place.iterdir()] == ["0"]
        with Slot(settings) as again:
            assert again.number == 1
            with pytest.raises(OSError, match="bytes"):
                again.write(report(counts={str(n): 1.0 for n in range(10_000)}))
    reports.clean(tmp_path)
    assert not place.exists()


def test_a_report_that_is_not_written_any_more_is_trouble() -> None:
    """A process that has stopped moving is told by the age of its report."""
    assert report().trouble() is None
    trouble = msgspec.structs.replace(report(), at=time.monotonic() - 10).trouble()
    assert trouble is not None
    assert "has not moved" in trouble


def test_nothing_to_tell_is_no_error() -> None:
    """Before any process reports, a monitor gets an empty house."""
    body, _ = written({}, "")
    assert parsed(body.decode())[("livefeed_workers", frozenset())] == 0


async def test_a_directory_that_cannot_be_written_is_told_once(open_to_us: Settings) -> None:
    """The process serves all the same, and its own numbers are there."""
    open_to_us.data_dir.mkdir(parents=True)
    (open_to_us.data_dir / "run").write_text("in the way")
    with capture_logs() as lines:
        async with serving(open_to_us) as served:
            assert total(await scrape(served), "livefeed_live") == 1
            assert (await served.client.get("/readyz")).status_code == 200
    assert [line["event"] for line in lines].count("this process cannot report to the others") == 1


async def test_a_herd_of_cut_readers_is_one_line(open_to_us: Settings) -> None:
    """Cut together, told together: one line with their number, and none a second later."""
    async with serving(open_to_us) as served, contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(reading(served))
        with capture_logs() as lines:
            for group in served.feed.hub.groups:
                for subscriber in list(group.members):
                    served.feed.hub.cut(subscriber)
            served.feed.watch.look()
            served.feed.watch.look()
        told = [line for line in lines if line["event"] == "readers were cut"]
        assert [line["count"] for line in told] == [5]
        assert told[0]["log_level"] == "warning"
        assert total(await scrape(served), "livefeed_readers_cut_total") == 5


async def test_what_befalls_the_store_and_the_channel_is_told(open_to_us: Settings) -> None:
    """A lost channel and its return, a refused write and its end, a lost history: a line each, with its fields."""
    settings = dataclasses.replace(open_to_us, probe_s=0.1, deaf_s=1.0)
    async with serving(settings) as served, Redis.from_url(settings.redis_url) as admin:
        with capture_logs() as lines:

            def told(event: str) -> list[dict[str, object]]:
                return [dict(line) for line in lines if str(line["event"]).startswith(event)]

            await admin.client_kill_filter(_type="pubsub")
            await until(lambda: told("listener was subscribed anew"), "a renewed connection")
            await admin.client_pause(1_500)
            await until(lambda: told("listener hears the channel again"), "the channel's return")
            await admin.config_set("maxmemory", "1")
            await until(lambda: told("the store refuses writes"), "the refusal")
            await admin.config_set("maxmemory", "0")
            await until(lambda: told("the store takes writes again"), "its end")
            await admin.flushall()
            await until(lambda: told("the log's history is not the one known"), "the divergence")
            await until(lambda: served.feed.live, "being live")
            await served.feed.log.redis.publish(served.feed.log.keys.channel, "rubbish")
            await until(lambda: served.feed.listener.poison, "poison")
            served.feed.watch.look()
        (lost,) = told("listener lost the channel")
        assert lost["log_level"] == "warning"
        assert "probe" in str(lost["reason"])
        (again,) = told("listener hears the channel again")
        assert isinstance(again["after_s"], float)
        assert [line["log_level"] for line in told("the store refuses writes")] == ["error"]
        assert "OOM" in str(told("the store refuses writes")[0]["reason"])
        assert len(told("the store takes writes again")) == 1
        diverged = told("the log's history is not the one known")[0]
        assert diverged["known"] != diverged["now"]
        assert [line["count"] for line in told("messages that cannot be read")] == [1]


def test_the_readme_lists_real_lines() -> None:
    """Each line that the README explains is written somewhere in the code, word for word."""
    package = Path(__file__).parent.parent / "livefeed"
    sources = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    lines = re.findall(r"^\| `([a-z' ;]+)` \| (?:info|warning|error) \|", README, re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        assert f'"{line}"' in sources, line


def report(**changes: object) -> Report:
    """A report of a process that is well."""
    given: dict[str, object] = {
        "pid": 1,
        "at": time.monotonic(),
        "why_not_live": None,
        "draining": False,
        "counts": {},
        "gauges": {},
        "shapes": {},
        "store": {},
        "store_at": 0.0,
    }
    return Report(**{**given, **changes})  # type: ignore[arg-type]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


async def publish(url: str, token: str, headline: str) -> None:
    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        answer = await client.post(
            f"{url}/api/items",
            json={"headline": headline, "rubric": "monde"},
            headers={"authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 201
