"""Rounds write to a reader's descriptor while its transport holds nothing, and never otherwise."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import re
import socket

import pytest

from livefeed.feed.handover import HandoverProtocol
from livefeed.feed.subscriber import Subscriber
from livefeed.settings import Settings
from tests.serving import Serving, reading, serving, until

EVENTS = 60
BODY = "mot " * 2_500


def only(served: Serving) -> Subscriber:
    """The one open stream."""
    (group,) = served.feed.hub._groups.values()
    (subscriber,) = group.members
    return subscriber


async def test_a_full_socket_goes_on_through_the_transport(settings: Settings) -> None:
    """A reader that stalls in the middle of direct writes gets the rest in order, exactly once, and is then written to
    directly again."""
    settings = dataclasses.replace(settings, tick_s=600)
    loop = asyncio.get_running_loop()
    async with serving(settings) as served:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", served.port))
        await loop.sock_sendall(sock, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: served.feed.hub.streams, "the stream")
        subscriber = only(served)
        subscriber.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        await served.publish("Première")
        await until(lambda: subscriber.direct >= 0, "a direct reader")
        for n in range(EVENTS):
            await served.publish(f"Info {n}", body=BODY)
        await until(lambda: subscriber.direct == -1 and subscriber.behind_since is not None, "a full socket")

        received = b""
        while b"Info 59" not in received:
            received += await asyncio.wait_for(loop.sock_recv(sock, 65536), 10)
        while not received.endswith(b"\n\n\r\n"):
            received += await asyncio.wait_for(loop.sock_recv(sock, 65536), 10)

        seqs = [int(seq) for seq in re.findall(rb"id: (\d+)-[0-9a-f]{8}\nevent: item", received)]
        assert seqs == list(range(1, EVENTS + 2))
        await served.publish("Dernière")
        await until(lambda: subscriber.direct >= 0, "a direct reader again")
        sock.close()


async def test_a_descriptor_that_was_closed_is_not_written_to(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that leaves while a round is under way is not written to, though its descriptor may be another's now."""
    settings = dataclasses.replace(settings, tick_s=600)
    async with serving(settings) as served, reading(served) as one, reading(served) as two:
        await served.publish("Première")
        await one.until(lambda r: r.items)
        await two.until(lambda r: r.items)
        (group,) = served.feed.hub._groups.values()
        first, second = group.members
        await served.publish("Deuxième")
        await until(lambda: first.direct >= 0 and second.direct >= 0, "two direct readers")
        closed = second.direct
        written: list[int] = []
        real = os.write

        def write(descriptor: int, data: bytes) -> int:
            written.append(descriptor)
            return real(descriptor, data)

        monkeypatch.setattr(os, "write", write)
        monkeypatch.setattr("livefeed.feed.hub.SLICE", 1)  # a turn for others after the first reader
        real_sleep = asyncio.sleep

        async def leave_meanwhile(delay: float) -> None:
            if written and second.direct >= 0:
                second.transport.abort()  # as uvloop does when it finds the connection broken
                for _ in range(10):
                    await real_sleep(0)
            await real_sleep(delay)

        monkeypatch.setattr("livefeed.feed.hub.asyncio.sleep", leave_meanwhile)
        await served.publish("Troisième")
        await one.until(lambda r: len(r.items) == 3)
        await until(lambda: served.feed.hub.streams == 1, "the second reader's leaving")
        await served.publish("Quatrième")
        await one.until(lambda r: len(r.items) == 4)
        assert closed not in written


class _Transport:
    """What a subscriber asks of a transport under TLS."""

    def write(self, data: bytes) -> None:
        """Takes everything."""

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> object:
        return object() if name == "sslcontext" else None


def test_under_tls_everything_goes_through_the_transport() -> None:
    """A TLS connection's descriptor carries ciphertext: it is never written to directly."""
    subscriber = Subscriber.__new__(Subscriber)
    subscriber.transport = _Transport()  # type: ignore[assignment]
    subscriber.replaying = False
    subscriber.write(b"data")
    assert subscriber.direct == -1


async def test_a_handed_over_request_leaves_nothing_for_the_collector(settings: Settings) -> None:
    """Once a stream is handed over its HTTP protocol is gone, without the garbage collector's help."""
    async with serving(settings) as served:
        gc.collect()
        gc.disable()
        try:
            before = _protocols()
            async with reading(served):
                await until(lambda: served.feed.hub.streams, "the stream")
                await until(lambda: _protocols() == before, "the protocol to go")
        finally:
            gc.enable()


def _protocols() -> int:
    return sum(isinstance(found, HandoverProtocol) for found in gc.get_objects())
