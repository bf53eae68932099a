"""A server on a real socket that does what a test wrote down: for answers that no good server gives."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

Headers = dict[str, str]


@dataclass
class Request:
    """One request as it came; header names in lower case."""

    method: str
    path: str
    headers: Headers
    body: bytes


@dataclass
class Scripted:
    """Plays one step for each connection, the last one again and again.

    A step gets the request and the connection; what it returns is sent, and the connection closed.
    """

    steps: list[Callable[[Request, socket.socket], bytes]]
    url: str = ""
    requests: list[Request] = field(default_factory=list)


def json(status: int, body: object, *headers: str) -> bytes:
    """An answer with a JSON body."""
    return answer(status, msgspec.json.encode(body), "Content-Type: application/json", *headers)


def error(status: int, code: str, message: str, **data: object) -> bytes:
    """An answer in the one JSON error shape."""
    return json(status, {"error": {"status": status, "code": code, "message": message, "field": None, **data}})


def answer(status: int, body: bytes, *headers: str) -> bytes:
    """An answer of HTTP/1.1 that ends with its connection."""
    lines = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
"""Head of an event stream that ends with its connection."""


def always(data: bytes) -> Callable[[Request, socket.socket], bytes]:
    """A step that sends `data`."""
    return lambda request, connection: data


def cut(request: Request, connection: socket.socket) -> bytes:
    """A step that ends the connection without a word, after it has taken the request."""
    return b""


@contextlib.contextmanager
def scripted(*steps: Callable[[Request, socket.socket], bytes]) -> Iterator[Scripted]:
    """The server, in a thread of its own, while the context is open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        script = Scripted(list(steps), f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread = threading.Thread(target=_serve, args=(listener, script))
        thread.start()
        try:
            yield script
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listener: socket.socket, script: Scripted) -> None:
    threads: list[threading.Thread] = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        threads.append(threading.Thread(target=_connection, args=(connection, script)))
        threads[-1].start()
    for thread in threads:
        thread.join()


def _connection(connection: socket.socket, script: Scripted) -> None:
    with connection, contextlib.suppress(ConnectionError):
        request = _read(connection)
        if request is None:
            return
        script.requests.append(request)
        step = script.steps.pop(0) if len(script.steps) > 1 else script.steps[0]
        connection.sendall(step(request, connection))


def _read(connection: socket.socket) -> Request | None:
    with connection.makefile("rb") as file:
        method, _, rest = file.readline().decode("ascii").partition(" ")
        if not rest:
            return None
        headers = {}
        while line := file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return Request(method, rest.split(" ")[0], headers, file.read(int(headers.get("content-length", "0"))))
