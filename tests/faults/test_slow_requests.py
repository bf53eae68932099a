"""Clients that are slow on purpose: heads that never end, bodies and downloads that trickle. They hold up nobody."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from livefeed.feed.pace import HEAD_MAX_BYTES
from livefeed.responses import read_body
from livefeed.settings import Settings
from tests.serving import Serving, reading, serving, until

DEADLINE_S = 0.5
LATE_S = 0.4
"""A sweep, and a busy machine."""
MANY = 50


def hasty(settings: Settings, **changes: Any) -> Settings:
    """Deadlines of half a second instead of ten."""
    quick = {"head_deadline_s": DEADLINE_S, "rate_grace_s": DEADLINE_S, "tick_s": 0.3, "drain_s": 0.0}
    return dataclasses.replace(settings, **{**quick, **changes})


class Slow:
    """One connection by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.since = time.monotonic()
        self.answer = b""
        self.lasted_s = 0.0

    async def say(self, data: bytes, again: bytes = b"") -> Slow:
        """Send `data`, then `again` every twentieth of a second, until the connection ends."""
        self.writer.write(data)
        listening = asyncio.create_task(self._listen())
        while not listening.done():
            if again and not self.writer.is_closing():
                self.writer.write(again)
            await asyncio.wait([listening], timeout=DEADLINE_S / 10)
        return self

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionError):
            while part := await self.reader.read(65_536):
                self.answer += part
        self.lasted_s = time.monotonic() - self.since

    @property
    def status(self) -> bytes:
        return self.answer[9:12]


@contextlib.asynccontextmanager
async def connected(served: Serving, count: int = 1, receive_bytes: int = 0) -> AsyncIterator[list[Slow]]:
    """Connections; with a receive buffer of `receive_bytes`."""
    found = []
    for _ in range(count):
        sock = socket.socket()
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", served.port))
        found.append(Slow(*await asyncio.open_connection(sock=sock, limit=1_024)))
    try:
        yield found
    finally:
        for slow in found:
            slow.writer.transport.abort()


def plain(served: Serving) -> int:
    """Connections that are none of the streams."""
    return len(served.server.server_state.connections)


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.ERROR)
    return caplog


@pytest.mark.parametrize(
    ("first", "again", "status"),
    [
        (b"", b"", b""),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-a: b\r\n", b"408"),
        (b"G", b"", b"408"),
        (b"\r\n", b"\r\n", b"408"),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nX-long: ", b"a", b"408"),
        (b"GET /stream HTTP/1.0\r\n", b"Last-Event-ID: 1\r\n", b"408"),
    ],
    ids=["not a word", "slowloris", "one byte", "empty lines", "one header", "a stream"],
)
async def test_a_head_that_does_not_end_is_cut(
    settings: Settings, errors: pytest.LogCaptureFixture, first: bytes, again: bytes, status: bytes
) -> None:
    """50 heads that trickle for ever: all cut at the deadline, counted from their beginning; others are served."""
    async with serving(hasty(settings)) as served, connected(served, MANY) as slow:
        cut = [asyncio.create_task(one.say(first, again)) for one in slow]
        worst = 0.0
        while not all(task.done() for task in cut):
            asked = time.monotonic()
            assert (await served.client.get("/readyz")).status_code == 200
            worst = max(worst, time.monotonic() - asked)
            await asyncio.sleep(0.02)
        assert worst < 0.5
        for one in slow:
            assert one.status == status
            assert one.lasted_s < DEADLINE_S + LATE_S
        assert served.feed.pace.counts["heads"] == MANY
    assert not errors.records


async def test_a_head_after_an_answer_has_the_same_deadline(settings: Settings) -> None:
    """On a kept connection it counts from the next request's first byte."""
    async with serving(hasty(settings)) as served, connected(served) as (one,):
        one.writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"alive" in await one.reader.readuntil(b"}")
        one.since = time.monotonic()
        await one.say(b"GET /livez HT", b"")
        assert one.status == b"408"
        assert b'"too_slow"' in one.answer
        assert DEADLINE_S - 0.1 < one.lasted_s < DEADLINE_S + LATE_S


async def test_an_endless_head_is_refused_before_it_fills_memory(settings: Settings) -> None:
    """A head over its bound is 431 and the end, however fast it comes."""
    async with serving(settings) as served, connected(served, 2) as (one, other):
        await one.say(b"GET / HTTP/1.1\r\nHost: x\r\nX-long: ", b"a" * (HEAD_MAX_BYTES // 4))
        assert one.status in (b"431", b"")  # the answer may be lost on a client that goes on writing
        await other.say(b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-short: a\r\n" * 1_000)
        assert other.status in (b"431", b"")
        assert one.status + other.status
        await until(lambda: plain(served) == 0, "their end")


async def test_endless_trailers_are_cut_before_they_fill_memory(settings: Settings) -> None:
    """What comes behind a chunked body has a bound too, while a body in one-byte chunks passes."""
    async with serving(settings) as served, connected(served, 2) as (one, other):
        served.app.router.routes.insert(0, Route("/patient", _patient, methods=["POST"]))
        head = b"POST /patient HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        other.writer.write(head)
        for _ in range(100):
            other.writer.write(b"1\r\nx\r\n" * 400)
            await asyncio.sleep(0)
        other.writer.write(b"0\r\n\r\n")
        assert await asyncio.wait_for(_response(other.reader), 5) == b"40000 bytes"
        await one.say(head + b"1\r\nx\r\n0\r\n", b"X-short: a\r\n" * 1_000)
        assert one.answer == b""
        await until(lambda: not served.server.server_state.tasks, "the end of the requests")


async def test_thousands_of_requests_in_one_write_are_not_all_kept(
    settings: Settings, errors: pytest.LogCaptureFixture
) -> None:
    """A connection that pipelines without measure is cut; nothing of it is left, and others are served."""
    async with serving(settings) as served, connected(served) as (one,):
        await asyncio.wait_for(one.say(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 8_000), 5)
        await until(lambda: plain(served) == 0, "its end")
        await until(lambda: not served.server.server_state.tasks, "the end of its requests")
        assert (await served.client.get("/readyz")).status_code == 200
    assert not errors.records


@pytest.mark.parametrize("path", ["/api/items", "/patient"], ids=["a route", "a body that is waited for"])
@pytest.mark.parametrize("framing", ["content-length: 4096", "transfer-encoding: chunked"])
async def test_a_body_that_trickles_is_cut(
    settings: Settings, errors: pytest.LogCaptureFixture, path: str, framing: str
) -> None:
    """50 bodies below the minimum rate: all cut after the grace; the application hears that its client has gone."""
    async with serving(hasty(settings)) as served, connected(served, MANY) as slow:
        served.app.router.routes.insert(0, Route("/patient", _patient, methods=["POST"]))
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nauthorization: Bearer {served.token}\r\n"
        head += f"content-type: application/json\r\n{framing}\r\n\r\n"
        again = b"1\r\n \r\n" if "chunked" in framing else b" "
        for one in await asyncio.gather(*(one.say(head.encode(), again) for one in slow)):
            assert one.status == b"408"
            assert one.lasted_s < DEADLINE_S + LATE_S
        assert served.feed.pace.counts["bodies"] == MANY
        await until(lambda: not served.server.server_state.tasks, "the end of the requests")
        assert (await served.client.get("/readyz")).status_code == 200
    assert not errors.records


async def test_a_body_at_the_minimum_rate_arrives(settings: Settings) -> None:
    """What comes at the least rate is waited for beyond the grace, in time that is the client's or not."""
    async with serving(hasty(settings, rate_min_bytes=10_000)) as served, connected(served) as (one,):
        served.app.router.routes.insert(0, Route("/patient", _patient, methods=["POST"]))
        one.writer.write(b"POST /patient HTTP/1.1\r\nHost: x\r\ncontent-length: 30000\r\n\r\n")
        for _ in range(30):
            one.writer.write(b"x" * 1_000)
            await asyncio.sleep(DEADLINE_S / 10)
        assert b"30000" in await asyncio.wait_for(one.reader.readuntil(b"bytes"), 5)


async def test_a_request_that_the_application_keeps_waiting_is_not_cut(settings: Settings) -> None:
    """Who asked whether to send (Expect: 100-continue) has all the time until the answer to that."""
    async with serving(hasty(settings)) as served, connected(served) as (one,):
        going = asyncio.Event()

        async def later(request: Request) -> Response:
            await going.wait()
            return await _patient(request)

        served.app.router.routes.insert(0, Route("/later", later, methods=["POST"]))
        one.writer.write(b"POST /later HTTP/1.1\r\nHost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        await asyncio.sleep(DEADLINE_S * 2)  # the promise is that nothing happens meanwhile
        going.set()
        assert await asyncio.wait_for(one.reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.writer.write(b"salut")
        assert b"200 OK" in await asyncio.wait_for(one.reader.readuntil(b"\r\n\r\n"), 5)


async def test_the_rest_of_a_body_that_was_answered_is_not_read_for_ever(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer before the body's end leaves the client a moment to see it, then the connection ends."""
    monkeypatch.setattr("livefeed.feed.pace.REST_S", DEADLINE_S)
    async with serving(hasty(settings)) as served, connected(served) as (one,):
        head = b"GET /livez HTTP/1.1\r\nHost: x\r\ncontent-length: 1000000000\r\n\r\n"
        await one.say(head, b"x" * 10_000)
        assert one.status == b"200"
        assert one.lasted_s < 2 * DEADLINE_S + LATE_S
        assert served.feed.pace.counts["rests"] == 1


@pytest.mark.parametrize(("http", "pipelined"), [(b"1.0", 1), (b"1.1", 1), (b"1.1", 3)])
async def test_a_download_that_trickles_is_cut(
    settings: Settings, errors: pytest.LogCaptureFixture, http: bytes, pipelined: int
) -> None:
    """50 clients that ask for a large page and hardly read: cut after the grace, in the middle or behind its end."""
    async with serving(hasty(settings, rate_min_bytes=20_000)) as served:
        served.app.router.routes.insert(0, Route("/large", _large))
        served.server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        async with connected(served, MANY, receive_bytes=4_096) as slow:
            for one in slow:
                one.writer.transport.pause_reading()  # type: ignore[attr-defined]
                one.writer.write((b"GET /large HTTP/" + http + b"\r\nHost: x\r\n\r\n") * pipelined)
            await until(lambda: plain(served) >= MANY, "their requests")
            begun = time.monotonic()
            await until(lambda: plain(served) == 0, "their end")
            assert time.monotonic() - begun < DEADLINE_S + 3 * LATE_S
            assert served.feed.pace.counts["downloads"] == MANY
            assert (await served.client.get("/readyz")).status_code == 200
        await until(lambda: not served.server.server_state.tasks, "the end of the requests")
    assert not errors.records


async def test_a_download_at_the_minimum_rate_arrives(settings: Settings) -> None:
    """A modem gets its page: what is acknowledged counts, not what our buffers took."""
    async with serving(hasty(settings, rate_min_bytes=20_000)) as served:
        served.app.router.routes.insert(0, Route("/large", _large))
        served.server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        async with connected(served, 1, receive_bytes=4_096) as (one,):
            one.writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nconnection: close\r\n\r\n")
            got = 0
            while part := await one.reader.read(4_096):
                got += len(part)
                await asyncio.sleep(len(part) / 200_000)
            assert got > 300_000
            assert served.feed.pace.counts["downloads"] == 0


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_stream_outlives_every_deadline_of_a_request(settings: Settings, version: str) -> None:
    """The hand-over ends the sweep's interest, with bytes left of a request or not."""
    async with serving(hasty(settings)) as served, connected(served, 2) as (one, other):
        one.writer.write(f"GET /stream HTTP/{version}\r\nHost: x\r\n\r\n".encode())
        other.writer.write(f"GET /stream HTTP/{version}\r\nHost: x\r\n\r\nGET /livez HT".encode())
        await until(lambda: served.feed.hub.streams == 2, "the streams")
        assert plain(served) == 0
        await asyncio.sleep(DEADLINE_S * 2)  # the promise is that nothing happens meanwhile
        await served.publish("Bonjour")
        for reader in (one.reader, other.reader):
            while b"Bonjour" not in await asyncio.wait_for(reader.readuntil(b"\n\n"), 5):
                pass


async def test_a_request_behind_a_stream_spoils_nothing(settings: Settings, errors: pytest.LogCaptureFixture) -> None:
    """A whole request pipelined behind a stream's is never answered, and nothing but events is in the stream."""
    async with serving(hasty(settings)) as served, connected(served) as (one,):
        one.writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        await one.reader.readuntil(b"\r\n\r\n")
        await served.publish("Bonjour")
        seen = b""
        while b"Bonjour" not in seen:
            seen += await asyncio.wait_for(one.reader.readuntil(b"\n\n"), 5)
        assert b"HTTP/1.1" not in seen
        assert not served.server.server_state.tasks
    assert not errors.records


async def test_pipelined_requests_are_answered_in_their_order(settings: Settings) -> None:
    """Many requests in one write, cut anywhere, then kept open for more: each is answered, in order, by its length."""
    async with serving(hasty(settings)) as served, connected(served) as (one,):
        two = b"GET /nothing/%d HTTP/1.1\r\nHost: x\r\n\r\n"
        two += b"POST /nothing/%d HTTP/1.1\r\nHost: x\r\ncontent-length: 3\r\n\r\nabc"
        requests = b"".join(two % (n, n + 1) for n in range(0, 20, 2))
        for at in range(0, len(requests), 97):
            one.writer.write(requests[at : at + 97])
            await asyncio.sleep(0)
        for n in range(20):
            assert b"/nothing/%d." % n in await asyncio.wait_for(_response(one.reader), 5)
        one.writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"alive" in await asyncio.wait_for(_response(one.reader), 5)
        assert not one.reader.at_eof()
        assert not served.feed.pace.counts


async def test_a_half_request_behind_another_spoils_no_answer(settings: Settings) -> None:
    """While an answer is being made, the head behind it may be overdue: the answer comes whole, then the end."""
    async with serving(hasty(settings)) as served, connected(served) as (one,):
        going = asyncio.Event()

        async def later(request: Request) -> Response:
            await going.wait()
            return Response("whole")

        served.app.router.routes.insert(0, Route("/later", later))
        saying = asyncio.create_task(one.say(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHo"))
        await asyncio.sleep(DEADLINE_S * 2)  # the promise is that nothing happens meanwhile
        assert not saying.done()
        going.set()
        await asyncio.wait_for(saying, 5)
        assert one.answer.startswith(b"HTTP/1.1 200 OK")
        assert one.answer.endswith(b"whole")


async def test_http_1_0_ends_with_its_answer(settings: Settings) -> None:
    """A plain HTTP/1.0 request is answered and the connection closed by us, at once."""
    async with serving(hasty(settings)) as served, connected(served) as (one,):
        await one.say(b"GET /livez HTTP/1.0\r\n\r\n")
        assert one.answer.endswith(b'{"status":"alive"}')
        assert one.lasted_s < DEADLINE_S


async def test_ranges_do_no_harm(settings: Settings) -> None:
    """A thousand overlapping ranges (the « Apache killer ») are one answer at most."""
    ranges = "bytes=0-," + ",".join(f"5-{n}" for n in range(1_000))
    async with serving(settings) as served:
        for method in ("HEAD", "GET"):
            for path in ("/", "/static/site.css", "/api/items", "/livez"):
                whole = len((await served.client.get(path)).content)
                response = await served.client.request(method, path, headers={"range": ranges})
                assert response.status_code < 500
                assert len(response.content) <= whole + 1_000


async def test_readers_are_served_while_others_are_slow(settings: Settings) -> None:
    """Events arrive while slow heads, bodies and downloads come and are cut."""
    async with serving(hasty(settings)) as served, reading(served) as reader, connected(served, MANY) as slow:
        saying = [asyncio.create_task(one.say(b"GET / HTTP/1.1\r\n", b"x: y\r\n")) for one in slow]
        count = 0
        while not all(task.done() for task in saying):
            count += 1
            await served.publish(f"Info {count}")
            await reader.until(lambda r: len(r.items) == count)  # noqa: B023  (it is awaited here)
        assert reader.seqs == list(range(1, count + 1))


async def _patient(request: Request) -> Response:
    return Response(f"{len(await read_body(request, 10**6))} bytes")


async def _large(request: Request) -> Response:
    return Response(b"x" * 300_000)


async def _response(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return await reader.readexactly(length)
