"""Publishes to livefeed through its real publish script, over parallel connections, as many editors at once would.

`livefeed.feed.log.Log` makes each call of the script (keys, arguments, encodings: everything that a newsroom's process
does); the calls are made before the clock starts and sent over plain sockets, as the requests to the other servers are:
the publisher is not what is measured. Every answer is awaited and must be "ok", which Valkey says once it is on disk.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from typing import Any

import hiredis
import redis

from bench.publishing import PUBLISH_S, Connections, mark, stamped
from livefeed.feed import item as items
from livefeed.feed.item import Item
from livefeed.feed.log import Log
from livefeed.settings import Settings

TEXT = "Le Conseil de gouvernement se réunit jeudi à Rabat."


class _Recorder:
    """Stands in for a Redis client: keeps each script's call instead of making it."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.calls: deque[bytes] = deque()

    def register_script(self, source: str) -> Any:
        sha = self._client.script_load(source)

        async def call(*, keys: list[str], args: list[Any]) -> list[bytes]:
            self.calls.append(hiredis.pack_command(("EVALSHA", sha, len(keys), *keys, *args)))
            return [b"ok", b"1", b"00000000"]

        return call


class ScriptPublisher:
    """Publishes to the store of a livefeed, given its unix socket."""

    def __init__(self, socket_path: str, thread: str | None = None) -> None:
        self._thread = thread
        with redis.Redis(unix_socket_path=socket_path) as client:
            self._recorder = _Recorder(client)
            self._log = Log(self._recorder, Settings())  # type: ignore[arg-type]  # all that Log needs to publish

        def connect() -> socket.socket:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(PUBLISH_S)
            connection.connect(socket_path)
            return connection

        self._connections = Connections(connect, _answer)

    def prepare(self, first: int, count: int) -> None:
        """See `Publisher`."""
        asyncio.run(self._prepare(range(first, first + count)))

    def offer(self, count: int) -> None:
        """See `Publisher`."""
        offered = time.monotonic_ns()
        self._connections.send([stamped(self._recorder.calls.popleft(), offered) for _ in range(count)][::-1])

    def close(self) -> None:
        """See `Publisher`."""
        self._connections.close()

    async def _prepare(self, numbers: range) -> None:
        for number in numbers:
            now = items.now()
            item = Item(
                id=items.new_id(now),
                version=1,
                status="published",
                headline=f"{TEXT} {mark(number)}",
                rubric="politique",
                thread=self._thread,
                created_at=now,
                first_published_at=now,
                changed_at=now,
                changed_by="bench",
            )
            receipt_key = self._log.keys.receipt("bench", str(number))
            await self._log.publish(item, None, receipt_key=receipt_key, request_hash=f"{number:032}")


def _answer(connection: socket.socket) -> None:
    """Read one answer and check that the event was published."""
    reader = hiredis.Reader()
    while (reply := reader.gets()) is False:
        if not (more := connection.recv(65536)):
            raise ConnectionError("the store closed a publisher's connection")
        reader.feed(more)
    if not isinstance(reply, list) or reply[0] != b"ok":
        raise RuntimeError(f"the publish was refused: {reply!r}")
