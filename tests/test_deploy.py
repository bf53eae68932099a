"""Stops and rolling restarts: streams are ended in order, spread over the drain window, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from livefeed.feed.draining import drain
from livefeed.settings import Settings
from tests.servers import LiveServer, command, fetch, serving
from tests.serving import reading, until
from tests.serving import serving as serving_here
from tests.test_server import children

WINDOW_S = 0.5
STREAMS = 200
SLACK_S = 2.0
"""A stop may take this much longer than its window."""
REQUEST = b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"


class Stream:
    """One open stream, read to its end byte by byte as it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.received = b""
        self.ended_at = 0.0
        self.reset = False

    async def run(self) -> None:
        try:
            while more := await self.reader.read(65_536):
                self.received += more
        except ConnectionError:
            self.reset = True
        self.ended_at = time.monotonic()
        self.writer.close()

    @property
    def retry_ms(self) -> int:
        """What its bye said."""
        found = re.search(rb'event: bye\ndata: \{"reason":"restart"\}\nretry: (\d+)\n\n', self.received)
        assert found, self.received[-300:]
        return int(found.group(1))


@contextlib.asynccontextmanager
async def streams(url: str, count: int) -> AsyncIterator[list[Stream]]:
    """Open streams, each of which has had its first tick."""
    host, port = url.removeprefix("http://").split(":")
    opened = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(REQUEST)
        opened.append(Stream(reader, writer))
    for stream in opened:
        stream.received = await asyncio.wait_for(stream.reader.readuntil(b"event: tick"), 10)
    tasks = [asyncio.create_task(stream.run()) for stream in opened]
    try:
        yield opened
        await asyncio.wait(tasks, timeout=10)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in opened:
            stream.writer.close()


@pytest.mark.parametrize("http", ["", "http=h11"], ids=["handed over", "iterated"])
async def test_a_stop_ends_every_stream_properly_and_in_time(tmp_path: Path, http: str) -> None:
    """SIGTERM: every stream gets a bye with its own retry and a proper end, spread over the window; exit code 0 within
    the window and two seconds, lifespan shutdown reached, no error in the log."""
    env = {"LIVEFEED_DRAIN_S": str(WINDOW_S), "LIVEFEED_LOG_JSON": "yes"}
    with await asyncio.to_thread(_started, tmp_path, http, env) as server:
        async with streams(server.url, STREAMS) as opened:
            server.process.send_signal(signal.SIGTERM)
            stopped_at = time.monotonic()
        code = await asyncio.to_thread(server.process.wait, 15)
        took_s = time.monotonic() - stopped_at
    assert code == 0
    assert took_s < WINDOW_S + SLACK_S
    assert [s.received[-200:] for s in opened if s.reset or not s.received.endswith(b"\r\n0\r\n\r\n")] == []
    assert len({stream.retry_ms for stream in opened}) > STREAMS / 2
    assert all(1_000 <= stream.retry_ms <= 5_000 for stream in opened)
    ends = sorted(stream.ended_at - stopped_at for stream in opened)
    assert ends[-1] - ends[0] > WINDOW_S / 2
    fifths = [sum(n * WINDOW_S / 5 <= end - ends[0] < (n + 1) * WINDOW_S / 5 for end in ends) for n in range(5)]
    assert max(fifths) < 3 * STREAMS / 5, fifths
    assert '"level": "error"' not in server.errors
    assert '"event": "the streams have ended"' in server.errors


async def test_nothing_follows_a_streams_end(settings: Settings) -> None:
    """A reader whose last bytes wait in its buffer gets them, its bye and the last chunk, and then no event any more,
    though more are published while the others are still being ended."""
    settings = dataclasses.replace(settings, drain_s=0.6, tick_s=0.05)
    loop = asyncio.get_running_loop()
    async with serving_here(settings) as served:
        hub = served.feed.hub
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", served.port))
            await loop.sock_sendall(sock, REQUEST)
            await until(lambda: hub.streams, "the stream")
            (subscriber,) = (s for group in hub._groups.values() for s in group.members)
            transport = subscriber.transport
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            while not transport.get_write_buffer_size():
                await served.publish("Une info", body="mot " * 2_000)
            assert subscriber.behind_since is None
            draining = asyncio.create_task(drain(hub, settings.drain_s))
            await until(transport.is_closing, "its end")
            await served.publish("Trop tard")
            await asyncio.sleep(0.1)  # time for rounds and ticks that must not reach it
            received = b""
            while more := await asyncio.wait_for(loop.sock_recv(sock, 65_536), 10):
                received += more
            await draining
        assert received.endswith(b"\n\n\r\n0\r\n\r\n"), received[-300:]
        assert b"Trop tard" not in received


async def test_a_slow_download_does_not_hold_the_streams_up(tmp_path: Path) -> None:
    """A response that its client does not read is waited for while the streams drain, not before."""
    env = {"LIVEFEED_DRAIN_S": "1", "LIVEFEED_SEND_BUFFER_BYTES": "4096"}
    with await asyncio.to_thread(_started, tmp_path, "", env) as server, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        slow.sendall(b"POST /api/items HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")  # never completed
        async with streams(server.url, 20) as opened:
            server.process.send_signal(signal.SIGTERM)
            stopped_at = time.monotonic()
        await asyncio.to_thread(server.process.wait, 15)
    assert all(stream.retry_ms for stream in opened)
    assert max(stream.ended_at for stream in opened) - stopped_at < 1.8


async def test_a_storm_costs_one_read_of_the_log(settings: Settings) -> None:
    """After a restart every reader comes back with its last id and is caught up from memory: the log is read once,
    whatever the number of readers."""
    settings = dataclasses.replace(settings, drain_s=0.0)
    async with serving_here(settings) as served:
        for n in range(3):
            last = (await served.publish(f"Info {n}"))["position"]
        for n in range(20):
            await served.publish(f"Info {n}")
    async with serving_here(settings) as served:
        async with contextlib.AsyncExitStack() as stack:
            back = [await stack.enter_async_context(reading(served, last_event_id=last)) for _ in range(50)]
            for reader in back:
                await reader.until(lambda r: len(r.items) == 20)
                assert reader.seqs == list(range(4, 24))
                assert not reader.of("reset")
        assert served.feed.listener.reads == 1


async def test_sighup_replaces_the_workers_and_loses_nothing(tmp_path: Path) -> None:
    """SIGHUP: each worker is replaced by one that serves before it drains; streams get their bye and a proper end,
    requests made all the while are all answered, and nothing is logged as an error."""
    env = {"LIVEFEED_WORKERS": "2", "LIVEFEED_DRAIN_S": "0.3", "LIVEFEED_LOG_JSON": "yes"}
    asked: list[int] = []
    stop = threading.Event()
    with await asyncio.to_thread(_started, tmp_path, "", env) as server:

        def asking() -> None:
            while not stop.is_set():
                asked.append(fetch(f"{server.url}/livez")[0])

        thread = threading.Thread(target=asking)
        thread.start()
        try:
            before = _workers(server.pid)
            async with streams(server.url, 60) as opened:
                server.process.send_signal(signal.SIGHUP)
                await until(lambda: "every worker has been replaced" in server.errors, "the new workers", 30)
        finally:
            stop.set()
            thread.join()
        after = _workers(server.pid)
        assert len(before) == len(after) == 2
        assert not before & after
        assert [s.received[-200:] for s in opened if s.reset or not s.received.endswith(b"\r\n0\r\n\r\n")] == []
        assert all(stream.retry_ms for stream in opened)
        assert len(asked) > 20
        assert set(asked) == {200}
        assert server.terminate() == 0
    assert '"level": "error"' not in server.errors


def _workers(pid: int) -> set[int]:
    return {child for child in children(pid) if "multiprocessing.spawn" in command(child)}


def _started(tmp_path: Path, http: str, env: dict[str, str]) -> contextlib.AbstractContextManager[LiveServer]:
    """A server that has been started already: the loop goes on meanwhile."""
    stack = contextlib.ExitStack()
    server = stack.enter_context(serving(tmp_path / "var", *filter(None, [http]), env=env))

    @contextlib.contextmanager
    def started() -> Iterator[LiveServer]:
        with stack:
            yield server

    return started()
