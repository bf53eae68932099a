"""Publishes to livefeed through its real publish script, over parallel connections, as many editors at once would.

`livefeed.feed.log.Log` makes each call of the script (keys, arguments, encodings: everything that a newsroom's process
does); the calls are made before the clock starts and sent over plain sockets, as the requests to the other servers are:
the publisher is not what is measured. Every answer is awaited and must be "ok", and say that it is on disk.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from types import SimpleNamespace
from typing import Any

import hiredis
import redis

from bench.publishing import PUBLISH_S, Connections, mark, stamped
from livefeed.feed import item as items
from livefeed.feed.item import Item
from livefeed.feed.log import Log
from livefeed.settings import Settings

REPLIES = 2
"""To one publish: the script's, and that of the wait for the disk."""
TEXT = "Le Conseil de gouvernement se réunit jeudi à Rabat."


class _Recorder:
    """Stands in for a Redis client: keeps what each publish sends (the script's call, and the wait for the disk)."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._commands: list[bytes] = []
        self.calls: deque[bytes] = deque()

    def register_script(self, source: str) -> Any:
        """What `Log` needs of a script: how it is called."""
        return SimpleNamespace(sha=self._client.script_load(source), script=source)

    def pipeline(self, transaction: bool) -> _Recorder:
        """This recorder, as a pipeline."""
        assert not transaction
        return self

    async def __aenter__(self) -> _Recorder:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def execute_command(self, *command: Any) -> None:
        """Keep a command for the call being made."""
        self._commands.append(hiredis.pack_command(command))

    async def execute(self, raise_on_error: bool) -> list[Any]:
        """Finish the call; what `Log` takes for success."""
        assert len(self._commands) == REPLIES
        self.calls.append(b"".join(self._commands))
        self._commands.clear()
        return [[b"ok", b"1", b"00000000"], [1, 0]]


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
    """Read the answers to one publish, and check that the event was published and is on disk."""
    reader = hiredis.Reader()
    replies: list[Any] = []
    while len(replies) < REPLIES:
        while (reply := reader.gets()) is False:
            if not (more := connection.recv(65536)):
                raise ConnectionError("the store closed a publisher's connection")
            reader.feed(more)
        replies.append(reply)
    published, synced = replies
    if not isinstance(published, list) or published[0] != b"ok" or not isinstance(synced, list) or synced[0] != 1:
        raise RuntimeError(f"the publish was refused: {replies!r}")
