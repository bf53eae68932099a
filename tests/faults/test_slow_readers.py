"""Promise 4: a slow, stalled or vanished reader costs a bounded buffer, slows nobody, and is gone at the deadline."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import socket
from typing import Any

from livefeed.settings import Settings
from tests.serving import Serving, reading, serving, until

BODY = "Un corps assez long pour remplir des tampons. " * 150
"""7 KB: a few of these fill a connection's buffers."""


def small_buffers(settings: Settings, **changes: Any) -> Settings:
    return dataclasses.replace(settings, tick_s=0.3, drain_s=0.0, **changes)


async def stalled(served: Serving) -> socket.socket:
    """A reader that has asked for the stream, with a small receive buffer, and reads nothing."""
    served.server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    reader.setblocking(False)
    await asyncio.get_running_loop().sock_connect(reader, ("127.0.0.1", served.port))
    await asyncio.get_running_loop().sock_sendall(reader, b"GET /stream HTTP/1.0\r\n\r\n")
    return reader


async def test_a_reader_that_was_behind_catches_up_without_a_hole(settings: Settings) -> None:
    """Behind readers are skipped, others go on; when it reads again it gets every event, in order, exactly once."""
    async with serving(small_buffers(settings)) as served, reading(served) as other:
        slow = await stalled(served)
        await until(lambda: served.feed.hub.streams == 2, "the slow reader")
        count = 0
        while not served.feed.hub.counts["behind"]:
            count += 1
            assert count < 500
            await served.publish(f"Info {count}", body=BODY)
        (subscriber,) = served.feed.hub._behind
        for _ in range(20):
            count += 1
            await served.publish(f"Info {count}", body=BODY)
        await other.until(lambda r: len(r.items) == count, "the other reader's being current")
        assert subscriber.transport.get_write_buffer_size() <= settings.write_buffer_bytes + 16 * 10_000
        cursor = subscriber.cursor
        assert cursor < count

        received = b""
        while b'"Info %d"' % count not in received:
            received += await asyncio.wait_for(asyncio.get_running_loop().sock_recv(slow, 65_536), 5)
        seqs = [int(seq) for seq in re.findall(rb"id: (\d+)-\w+\nevent: item\n", received)]
        assert seqs == list(range(1, count + 1))
        assert served.feed.hub.counts["cut"] == 0
        slow.close()


async def test_a_stalled_reader_is_gone_at_the_deadline(settings: Settings) -> None:
    """Behind for longer than the send deadline: cut, counted and forgotten; nobody else notices."""
    async with serving(small_buffers(settings, send_deadline_s=0.5)) as served, reading(served) as other:
        slow = await stalled(served)
        await until(lambda: served.feed.hub.streams == 2, "the slow reader")
        count = 0
        while not served.feed.hub.counts["behind"]:
            count += 1
            await served.publish(f"Info {count}", body=BODY)
        await until(lambda: served.feed.hub.streams == 1, "the stalled reader's end")
        assert served.feed.hub.counts["cut"] == 1
        assert not served.feed.hub._behind
        await served.publish("La suite")
        await other.until(lambda r: len(r.items) == count + 1)
        slow.close()


async def test_a_reader_behind_the_window_is_cut_and_comes_back_with_a_reset(settings: Settings) -> None:
    """A cursor that has left the window is never skipped over: the connection ends, its return gets `expired`."""
    async with serving(small_buffers(settings, window_events=5)) as served:
        slow = await stalled(served)
        await until(lambda: served.feed.hub.streams == 1, "the slow reader")
        count = 0
        while not served.feed.hub.counts["behind"]:
            count += 1
            await served.publish(f"Info {count}", body=BODY)
        (subscriber,) = served.feed.hub._behind
        position = served.feed.mirror.window.position_at(subscriber.cursor)
        for _ in range(8):
            await served.publish("Info", body=BODY)
        received = b""
        while part := await asyncio.wait_for(_recv(slow), 5):
            received += part
        assert served.feed.hub.counts["cut"] == 1
        async with reading(served, last_event_id=str(position)) as back:
            await back.until(lambda r: r.of("reset"))
            assert back.of("reset") == [{"reason": "expired"}]
        slow.close()


async def test_a_stalled_since_reader_holds_no_place_for_ever(settings: Settings) -> None:
    """A reader of the log's pages that stalls is cut at the deadline too; its place is free again."""
    settings = small_buffers(settings, send_deadline_s=0.5, window_events=2)
    async with serving(settings) as served:
        served.server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        for n in range(60):
            await served.publish(f"Info {n}", body=BODY)
        slow = []
        for _ in range(10):
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
            reader.setblocking(False)
            await asyncio.get_running_loop().sock_connect(reader, ("127.0.0.1", served.port))
            await asyncio.get_running_loop().sock_sendall(reader, b"GET /stream?since=0 HTTP/1.0\r\n\r\n")
            slow.append(reader)
        await until(lambda: served.feed.hub.counts["cut"] >= 8, "the first stalled replays' end")
        async with reading(served, "?since=0") as good:
            await good.until(lambda r: len(r.items) == 60)
            assert good.seqs == list(range(1, 61))
        await until(lambda: served.feed.hub.streams <= 1, "all stalled replays' end")
        for reader in slow:
            reader.close()


async def _recv(reader: socket.socket) -> bytes:
    try:
        return await asyncio.get_running_loop().sock_recv(reader, 65_536)
    except ConnectionResetError:
        return b""
