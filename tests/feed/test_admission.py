"""Who gets a stream, and what is kept for the others."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from livefeed.errors import StartError
from livefeed.feed.admission import Admission, descriptor_limit
from livefeed.feed.handover import HandoverProtocol
from livefeed.server import listen
from livefeed.settings import Settings
from tests import servers
from tests.servers import fetch, wait_for
from tests.serving import Serving, reading, serving, until

PROTOCOLS = pytest.mark.parametrize("http", [HandoverProtocol, "h11"], ids=["handed over", "iterated"])


def quick(settings: Settings, **changes: Any) -> Settings:
    """Ticks often, drains at once; the loopback is an address like any other."""
    return dataclasses.replace(settings, **{"tick_s": 0.3, "drain_s": 0.0, "trusted_proxies": "", **changes})


# Addresses


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        # Nobody vouches for the header: the connection's own address counts.
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("203.0.113.9", [], "203.0.113.9"),
        # A trusted proxy's last word is who it talked to; what stands left of it anyone may have written.
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.7, 198.51.100.1"], "198.51.100.1"),
        # Over trusted hops to the first that is none.
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1, 10.0.0.2,10.9.9.9"], "198.51.100.1"),
        ("fd00::1", ["1.1.1.1, 198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        # As proxies write them: ports, brackets, spaces, IPv4 in IPv6.
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", [" [2001:db8:1:2:3::4]:4711 "], "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        # IPv6 counts by its /64.
        ("2001:db8:1:2:aaaa::1", [], "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", [], "2001:db8:1:2::/64"),
        ("fe80::1%eth0", [], "fe80::/64"),
        # Nobody can be told apart.
        ("10.0.0.1", [], None),
        ("10.0.0.1", ["10.0.0.2"], None),
        ("10.0.0.1", ["unknown"], None),
        ("10.0.0.1", ["198.51.100.1, _hidden"], None),
        ("10.0.0.1", [", ".join(["198.51.100.1", *["10.0.0.2"] * 1000])], None),
        (None, ["198.51.100.1"], None),
    ],
)
def test_the_address_is_read_from_the_right_over_trusted_hops(
    peer: str | None, forwarded: list[str], address: str | None
) -> None:
    """A header is believed as far as trusted proxies wrote it, however it is forged before that."""
    admission = Admission(Settings(trusted_proxies="10.0.0.0/8, fd00::/8"))
    assert admission.address(peer, forwarded) == address


def test_trusted_proxies_that_cannot_be_read_stop_the_start() -> None:
    """A mistyped network is named at the start, not trusted or forgotten."""
    with pytest.raises(StartError, match=r"LIVEFEED_TRUSTED_PROXIES.*10\.0\.0\.1/8"):
        Settings.from_environ({"LIVEFEED_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.1/8"})


def test_places_are_counted_and_forgotten() -> None:
    """Places by address go up and down with its streams; an address without streams leaves nothing behind."""
    admission = Admission(Settings(stream_max_per_address=2, stream_max=4))
    one = [admission.enter("a"), admission.enter("a")]
    assert admission.refusal("a") == "address"
    assert admission.refusal("b") is None
    assert admission.refusal(None) is None
    admission.enter(None)
    other = admission.enter("b")
    assert admission.refusal("b") == admission.refusal(None) == "process"
    admission.leave(one.pop())
    assert admission.refusal("a") is None
    admission.leave(one.pop())
    admission.leave(other)
    assert not admission._places
    assert admission.streams == 1


def test_more_streams_than_descriptors_are_never_promised() -> None:
    """A stream_max above what the descriptors allow is no more than they allow: the reserve holds."""
    assert Admission(Settings(stream_max=10**9)).stream_max <= descriptor_limit() - 256


# Over real sockets


@PROTOCOLS
async def test_every_way_a_stream_ends_gives_its_place_back(settings: Settings, http: Any) -> None:
    """Closed, half-closed, reset, cut in the opening, or gone while it waits for the log: no place is left taken."""
    async with serving(quick(settings, window_events=2), http) as served:
        for n in range(40):
            await served.publish(f"Info {n}", body="Un corps. " * 1_000)
        admission = served.feed.hub.admission
        for query in ("", "?since=0", "?last_event_id=1-aaaaaaaa", "?rubric=sport"):
            for end in ("close", "half-close", "reset", "at once"):
                reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.write(f"GET /stream{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                if end != "at once":
                    await reader.readuntil(b"retry: ")
                    assert admission.streams == 1
                    assert list(admission._places) == ["127.0.0.1"]
                if end == "half-close" and http is HandoverProtocol:
                    writer.write_eof()
                elif end in ("reset", "at once"):
                    writer.transport.abort()
                else:
                    writer.close()
                await until(lambda: admission.streams == 0, f"the end of {query or 'a stream'} by {end}")
                assert not admission._places
                writer.close()


@PROTOCOLS
async def test_one_address_is_turned_away_and_others_are_not(settings: Settings, http: Any) -> None:
    """Over its limit an address gets 200, a bye with a retry of its own, and the end; another one gets its stream."""
    async with serving(quick(settings, stream_max_per_address=5), http) as served, crowd(served, 5):
        retries = set()
        for _ in range(5):
            async with reading(served) as turned_away:
                await turned_away.until(lambda r: r.ended)
                assert turned_away.headers["content-type"].startswith("text/event-stream")
                assert turned_away.of("bye") == [{"reason": "limit"}]
                retries.add(turned_away.events[-1].retry)
        assert len(retries) > 1
        async with crowd(served, 1, "127.0.0.2") as (other,):
            await served.publish("Bonjour")
            await other.readuntil(b"Bonjour")
        assert served.feed.hub.streams <= 6


async def test_an_address_behind_a_proxy_counts_as_itself(settings: Settings) -> None:
    """Readers behind a trusted proxy are counted one by one; the proxy itself, which may be everybody, is not."""
    settings = quick(settings, stream_max_per_address=1, trusted_proxies="127.0.0.0/8")
    async with (
        serving(settings) as served,
        crowd(served, 20),
        reading(served, x_forwarded_for="1.1.1.1, 203.0.113.9") as one,
        reading(served, x_forwarded_for="2.2.2.2, 203.0.113.9") as same,
        reading(served, x_forwarded_for="203.0.113.8") as other,
    ):
        await same.until(lambda r: r.ended)
        assert same.of("bye") == [{"reason": "limit"}]
        await served.publish("Bonjour")
        for reader in (one, other):
            await reader.until(lambda r: r.items)


async def test_an_address_that_opens_hundreds_starves_nobody(settings: Settings) -> None:
    """400 streams at once from one address: it has its limit, nothing is left of the others, and the next one is in."""
    async with serving(quick(settings, stream_max_per_address=20, stream_max=100)) as served:
        connections = await asyncio.gather(*(_open(served, "127.0.0.1") for _ in range(400)))
        admitted, refused = 0, 0
        for reader, _ in connections:
            opening = await asyncio.wait_for(reader.readuntil(b"\n\n"), 10)
            byes = b"event: bye" in opening
            refused, admitted = refused + byes, admitted + (not byes)
        assert (admitted, refused) == (20, 380)
        assert served.feed.hub.streams == 20
        async with crowd(served, 1, "127.0.0.2") as (other,):
            await served.publish("Bonjour")
            await other.readuntil(b"Bonjour")
        for _, writer in connections:
            writer.close()
        await until(lambda: served.feed.hub.streams == 0, "the end of all")
        assert not served.feed.hub.admission._places


async def test_a_race_for_the_last_place_has_one_winner(settings: Settings) -> None:
    """Streams that all wait for the log at once were all admitted when they came; only as many as fit get in."""
    async with serving(quick(settings, stream_max=3)) as served:
        connections = await asyncio.gather(
            *(_open(served, "127.0.0.1", "?last_event_id=99-aaaaaaaa") for _ in "12345678")
        )
        openings = [await asyncio.wait_for(reader.readuntil(b"\n\n"), 10) for reader, _ in connections]
        assert sum(b"event: bye" in opening for opening in openings) == 5
        assert served.feed.hub.streams == 3
        for _, writer in connections:
            writer.close()


async def test_the_processes_of_a_feed_share_a_limit(settings: Settings) -> None:
    """Each tells its count with its probe, so that all together stay within the limit; one that goes is forgotten."""
    settings = quick(settings, stream_max_total=6, probe_s=0.05)
    async with serving(settings) as one, serving(settings) as two, crowd(one, 4), crowd(two, 1):
        await until(lambda: two.feed.hub.admission.others == 4, "the other process's count")
        async with crowd(two, 1), reading(two) as turned_away:
            await turned_away.until(lambda r: r.ended)
            assert turned_away.of("bye") == [{"reason": "limit"}]
            await until(lambda: one.feed.hub.admission.others == 2, "the count of the two")


async def test_counts_of_a_process_that_is_silent_expire(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that died tells nothing any more; its streams are counted no longer than `HEARD_S`. Junk never is."""
    monkeypatch.setattr("livefeed.feed.admission.HEARD_S", 0.5)
    async with serving(quick(settings, probe_s=0.05)) as served:
        admission, log = served.feed.hub.admission, served.feed.log
        for junk in (b"?", b"?x", b"?x -1", b"?x 1e9", b"?x 99999999999999", b"?x \xff"):
            await log.redis.publish(log.keys.channel, junk)
        await log.redis.publish(log.keys.channel, b"?dead 1000")
        await until(lambda: admission.others == 1000, "the count")
        await until(lambda: admission.others == 0, "its end")
        assert not admission._others


async def test_a_limit_costs_no_command_of_the_store(settings: Settings) -> None:
    """A hundred readers come and go, and the store hears of no one of them."""
    async with serving(quick(settings, stream_max_total=1000, probe_s=30.0)) as served:
        await until(lambda: served.feed.live, "readiness")
        before = await _commands(served)
        async with crowd(served, 100):
            pass
        assert await _commands(served) - before <= 3


# Descriptors


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """A limit of 400 open files for processes that are started meanwhile."""
    code = servers._SERVE
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))\n{code}"
    servers._SERVE, before = limited, code
    try:
        yield 400
    finally:
        servers._SERVE = before


def test_the_reserve_of_descriptors_holds(few_descriptors: int, valkey: str, tmp_path: Path) -> None:
    """With all descriptors asked for, health, pages and the desk are answered, and nothing fails or is logged as such.

    400 files: 144 streams, 304 connections. 600 ask for a stream, then 500 more connections say nothing at all.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(servers.serving(tmp_path / "var", env={"LIVEFEED_REDIS_URL": valkey}))
        port = int(server.url.rpartition(":")[2])
        admitted = 0
        for _ in range(600):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            one.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            opening = one.recv(4096)
            while b"\n\n" not in opening:
                opening += one.recv(4096)
            admitted += b"event: bye" not in opening
        assert admitted == few_descriptors - 256
        assert fetch(f"{server.url}/readyz")[0] == 200

        for _ in range(500):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        for path in ("/readyz", "/api/items", "/"):
            assert fetch(server.url + path)[0] == 200
        status, body = fetch(f"{server.url}/readyz")
        assert (status, json.loads(body)["streams"]) == (200, admitted)
        with redis.Redis.from_url(valkey) as store:
            store.client_kill_filter(_type="pubsub")
            store.client_kill_filter(_type="normal", skipme=True)
        wait_for(lambda: fetch(f"{server.url}/readyz")[0] == 200, "its reaching the store again")
        assert not re.search(r"Too many open files|Traceback|\[error", server.errors)


def test_a_burst_over_the_descriptors_leaves_the_server_listening(
    few_descriptors: int, valkey: str, tmp_path: Path
) -> None:
    """More connections in one moment than there are descriptors: the surplus is closed, and service goes on."""
    with servers.serving(tmp_path / "var", env={"LIVEFEED_REDIS_URL": valkey}) as server:
        port = int(server.url.rpartition(":")[2])
        for _ in range(3):
            with contextlib.ExitStack() as stack:
                for _ in range(900):
                    one = stack.enter_context(socket.socket())
                    one.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        one.connect(("127.0.0.1", port))
                wait_for(lambda: fetch(f"{server.url}/readyz")[0] == 200, "an answer among them")
        wait_for(lambda: fetch(f"{server.url}/readyz")[0] == 200, "an answer after them")


# The socket


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_connections_inherit_the_send_deadline(tmp_path: Path) -> None:
    """What the kernel waits for an acknowledgement is the send deadline, on each accepted connection."""
    settings = Settings(port=0, data_dir=tmp_path, send_deadline_s=12.5)
    with listen(settings) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as one:
            assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 12_500


async def _open(served: Serving, source: str, query: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=(source, 0))
    writer.write(f"GET /stream{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return reader, writer


@contextlib.asynccontextmanager
async def crowd(served: Serving, count: int, source: str = "127.0.0.1") -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open streams from an address, in when their first bytes have come."""
    connections = [await _open(served, source) for _ in range(count)]
    try:
        for reader, _ in connections:
            assert b"event: tick" in await reader.readuntil(b"\n\n")
        yield [reader for reader, _ in connections]
    finally:
        for _, writer in connections:
            writer.close()


async def _commands(served: Serving) -> int:
    return int((await served.feed.log.redis.info("stats"))["total_commands_processed"])
