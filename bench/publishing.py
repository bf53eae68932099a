"""Offers numbered events to a server, one at a time or as a burst over parallel connections.

Every way of publishing follows the same schedule: the events of a burst are all offered at one instant, which each
carries as its time; waiting for a free connection counts as the server's (and its publishing path's) latency.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import redis

CONNECTIONS = 32
"""Parallel connections of a burst, for every server alike."""
PUBLISH_S = 30
"""Longest wait for one answer to a publish."""


STAMP = "0000000000000000000"
"""Stands for the time of the offer in an event that is made before: as wide as nanoseconds since boot are written."""


class Publisher(Protocol):
    """One way to publish: events are made first, and offered when their time has come."""

    def prepare(self, first: int, count: int) -> None:
        """Make the events first .. first+count-1, so that making them does not count."""

    def offer(self, count: int) -> None:
        """Offer the next `count` prepared events, all at this instant; returns when every one is acknowledged."""

    def close(self) -> None:
        """Leave the server."""


def mark(number: int) -> str:
    """What the load client looks for in an event's data: its number, and when it was offered (stamped later)."""
    return f"~#{number}:{STAMP}~"


def stamped(event: bytes, offered_ns: int) -> bytes:
    """The prepared event with the time of its offer."""
    return event.replace(STAMP.encode(), b"%019d" % offered_ns)


def payload(number: int, size: int) -> bytes:
    """One line of `size` bytes that looks like an item, for servers that do not care what they carry."""
    head = f'{{"headline":"{mark(number)}","body_html":"'.encode()
    text = b"Le Conseil de gouvernement se r\xc3\xa9unit jeudi \xc3\xa0 Rabat. "
    filler = text * (size // len(text) + 1)
    return head + filler[: size - len(head) - 2] + b'"}'


class Connections:
    """Parallel connections, each with one publish on its way at a time. Blocking; `answered` reads one whole answer."""

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        answered: Callable[[socket.socket], None],
        *,
        keep_alive: bool = True,
    ) -> None:
        self._connect, self._answered, self._keep_alive = connect, answered, keep_alive
        self._idle = [self._connected() for _ in range(CONNECTIONS)]

    def _connected(self) -> socket.socket:
        connection = self._connect()
        connection.settimeout(PUBLISH_S)
        return connection

    def send(self, requests: list[bytes]) -> None:
        """Send all requests, the last one first, and read all answers.

        :raises TimeoutError: when an answer does not come.
        """
        with selectors.EpollSelector() as selector:
            while requests and self._idle:
                connection = self._idle.pop()
                selector.register(connection, selectors.EVENT_READ)
                connection.sendall(requests.pop())
            while len(self._idle) < CONNECTIONS:
                if not (ready := selector.select(timeout=PUBLISH_S)):
                    raise TimeoutError(f"no answer to a publish within {PUBLISH_S} s")
                for key, _ in ready:
                    connection = key.fileobj
                    assert isinstance(connection, socket.socket)
                    self._answered(connection)
                    if not self._keep_alive:
                        selector.unregister(connection)
                        connection.close()
                        connection = self._connected()
                        selector.register(connection, selectors.EVENT_READ)
                    if requests:
                        connection.sendall(requests.pop())
                    else:
                        selector.unregister(connection)
                        self._idle.append(connection)

    def close(self) -> None:
        """Close all."""
        for connection in self._idle:
            connection.close()


class HttpPublisher:
    """POST over keep-alive connections, as nchan and the floor take it.

    Pushpin closes a connection after each answer (`keep_alive`), and takes events wrapped (`wrap` makes a body of one).
    """

    def __init__(
        self, port: int, path: str, size: int, *, wrap: Callable[[bytes], bytes] = bytes, keep_alive: bool = True
    ) -> None:
        self._size, self._wrap = size, wrap
        self._head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: ".encode()
        self._events: deque[bytes] = deque()

        def connect() -> socket.socket:
            connection = socket.create_connection(("127.0.0.1", port), timeout=PUBLISH_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection

        self._connections = Connections(connect, _answer, keep_alive=keep_alive)

    def prepare(self, first: int, count: int) -> None:
        """See `Publisher`."""
        for number in range(first, first + count):
            body = self._wrap(payload(number, self._size))
            self._events.append(self._head + b"%d\r\n\r\n" % len(body) + body)

    def offer(self, count: int) -> None:
        """See `Publisher`."""
        offered = time.monotonic_ns()
        self._connections.send([stamped(self._events.popleft(), offered) for _ in range(count)][::-1])

    def close(self) -> None:
        """See `Publisher`."""
        self._connections.close()


def _answer(connection: socket.socket) -> None:
    """Read one HTTP answer and check its status."""
    answer = b""
    while True:
        if not (more := connection.recv(65536)):
            raise ConnectionError("the server closed a publisher's connection")
        answer += more
        head, stop, body = answer.partition(b"\r\n\r\n")
        if stop:
            lines = head.lower().split(b"\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
            if len(body) >= length:
                break
    if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201", b"HTTP/1.1 202")):
        raise RuntimeError(f"the publish was refused: {head[:200]!r}")


class ChannelPublisher:
    """Raw PUBLISH in one pipeline: the textbook's own way, and the cheapest there is."""

    def __init__(self, url: str, channel: str, size: int) -> None:
        self._redis = redis.Redis.from_url(url)
        self._channel, self._size = channel, size
        self._events: deque[bytes] = deque()

    def prepare(self, first: int, count: int) -> None:
        """See `Publisher`."""
        self._events.extend(payload(number, self._size) for number in range(first, first + count))

    def offer(self, count: int) -> None:
        """See `Publisher`."""
        offered = time.monotonic_ns()
        with self._redis.pipeline(transaction=False) as pipeline:
            for _ in range(count):
                pipeline.publish(self._channel, stamped(self._events.popleft(), offered))
            pipeline.execute()

    def close(self) -> None:
        """See `Publisher`."""
        self._redis.close()
