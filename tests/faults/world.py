"""A small world to break: a store of its own behind proxies, two servers on it, a spare store, and readers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import time
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from livefeed import embedded
from livefeed.app import create
from livefeed.embedded import EmbeddedServer
from livefeed.errors import Unavailable
from livefeed.feed import listener
from livefeed.feed.handover import HandoverProtocol
from livefeed.feed.log import Keys
from livefeed.feed.reading import Feed
from livefeed.newsroom.publishing import Publisher
from livefeed.settings import Settings
from tests.faults.lean import LeanReader
from tests.faults.oracle import Truth, read_log
from tests.faults.proxy import Proxy

WINDOW_EVENTS = 16
SEND_BUFFER_BYTES = 4_096
"""SO_SNDBUF of the servers: small, so that a reader that stops is behind after a few events."""
SETTLE_S = 8.0
"""Longest wait, once everything is healed, until every reader stands at the head."""

QUICK: dict[str, Any] = {
    "tick_s": 0.15,
    "drain_s": 0.05,
    "retry_min_ms": 1,
    "retry_max_ms": 20,
    "probe_s": 0.05,
    "deaf_s": 0.4,
    "redis_timeout_s": 0.4,
    "send_deadline_s": 0.3,
    "write_buffer_bytes": 4_096,
    "window_events": WINDOW_EVENTS,
}


class Worker:
    """One server in this process, behind a proxy of its own for readers and one towards the store."""

    def __init__(self, number: int, settings: Settings, to_store: Proxy, http: Any = HandoverProtocol) -> None:
        self.number = number
        self.settings = settings
        self.to_store = to_store
        self.front = Proxy(0)
        """For readers; it follows the port."""
        self.http = http
        self.up = False
        self.draining = False
        self.port = 0
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def feed(self) -> Feed:
        feed: Feed = self.app.state.feed
        return feed

    @property
    def publisher(self) -> Publisher:
        publisher: Publisher = self.app.state.publisher
        return publisher

    def state(self) -> str:
        """What there is to know of it, for a failure's message."""
        hub = self.feed.hub
        behind = [(s.cursor, s.replaying) for s in hub._behind]
        cursors = [(s.cursor, s.replaying) for group in hub._groups.values() for s in group.members]
        return f"the worker is at {self.feed.position}, live: {self.feed.live}, cursors {cursors}, behind {behind}"

    async def start(self) -> None:
        """Serve on the port of the last time, or a free one; returns when it answers, or the start has failed."""
        self.app = create(self.settings)
        config = uvicorn.Config(
            self.app,
            http=self.http,
            loop="none",
            ws="none",
            lifespan="on",
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = server = uvicorn.Server(config)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        try:
            sock.bind(("127.0.0.1", self.port))
        except OSError:  # somebody's outgoing connection has taken the port meanwhile
            sock.bind(("127.0.0.1", 0))
        sock.listen(128)
        self.port = self.front.upstream = sock.getsockname()[1]
        self._task = asyncio.create_task(server._serve([sock]), name=f"worker {self.number}")
        while not server.started and not self._task.done():  # noqa: ASYNC110  (uvicorn tells by a flag)
            await asyncio.sleep(0.002)
        self.up = server.started

    async def stop(self) -> None:
        """Stop as SIGTERM would."""
        if self._server is None or self._task is None:
            return
        self.draining, self.up = True, False
        self._server.should_exit = True
        await self._task
        self.draining = False


class _Failures(logging.Handler):
    """Collects what uvicorn calls an exception in the application: a bug of ours, whatever was broken."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            if isinstance(error, asyncio.CancelledError):
                return  # uvicorn's bound on a stop: it cancels what still streams where no connection is handed over
            frames = traceback.extract_tb(error.__traceback__)[-4:]
            where = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
            self.seen.append(f"an exception in the application: {error!r} at {where}")


class World:
    """Everything that a schedule may break; `open` makes it, `heal` mends it."""

    def __init__(self, directory: Path, iterated: bool) -> None:
        self._iterated = iterated
        self._directory = directory
        self._backup = directory / "backup"
        self.stores = [EmbeddedServer(directory / "one"), EmbeddedServer(directory / "two")]
        self.primary = 0
        self._spare_runs = False
        self.workers: list[Worker] = []
        self.proxies: list[Proxy] = []
        """For readers, one before each worker."""
        self.readers: list[LeanReader] = []
        self.truth = Truth()
        self.keys = Keys("main")
        self.failures = _Failures()
        self._admins: list[Redis] = []
        self._paused: int | None = None
        self.busy = 0
        """Publishes under way."""
        self._surgery = asyncio.Lock()
        """Held while a store is being copied or replaced: it is neither stopped nor killed meanwhile."""
        self._follows = False

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, directory: Path, iterated: bool = False) -> AsyncIterator[World]:
        """A world in which everything works, until the context ends.

        :param iterated: whether the second worker hands no connection over, as under another ASGI server.
        """
        world = cls(directory, iterated)
        # Shorter pauses between a store's or a session's end and its next start: schedules are short.
        before = embedded.BACKOFF_MAX_S, listener.BACKOFF_MAX_S, listener.BACKOFF_MIN_S
        embedded.BACKOFF_MAX_S, listener.BACKOFF_MAX_S, listener.BACKOFF_MIN_S = 0.05, 0.05, 0.02
        logging.getLogger("uvicorn.error").addHandler(world.failures)
        try:
            await world._start()
            yield world
        finally:
            await world._stop()
            logging.getLogger("uvicorn.error").removeHandler(world.failures)
            embedded.BACKOFF_MAX_S, listener.BACKOFF_MAX_S, listener.BACKOFF_MIN_S = before

    @property
    def store(self) -> EmbeddedServer:
        """The store that is the primary now."""
        return self.stores[self.primary]

    @property
    def admin(self) -> Redis:
        """A client of the primary, past the proxies."""
        return self._admins[self.primary]

    async def _start(self) -> None:
        await asyncio.to_thread(self.stores[0].start)
        self._admins = [self._client(store) for store in self.stores]
        for number in (0, 1):
            proxy = Proxy(self._socket(0))
            path = self._directory / f"w{number}.sock"
            await proxy.start(path)
            settings = Settings(redis_url=f"unix://{path}?db=0", data_dir=self._directory, port=0, **QUICK)
            worker = Worker(number, settings, proxy, "h11" if self._iterated and number else HandoverProtocol)
            await worker.start()
            self.workers.append(worker)
            await worker.front.start()
            self.proxies.append(worker.front)

    async def _stop(self) -> None:
        await self.heal()
        for reader in self.readers:
            await reader.end()
        for worker in self.workers:
            await worker.stop()
        for proxy in [*self.proxies, *(worker.to_store for worker in self.workers)]:
            await proxy.stop()
        for admin in self._admins:
            await admin.aclose()
        for store in self.stores:
            await asyncio.to_thread(store.stop)

    def _socket(self, number: int) -> Path:
        return self._directory / ("one", "two")[number] / "store" / embedded.SOCKET_NAME

    def _client(self, store: EmbeddedServer) -> Redis:
        path = self._socket(self.stores.index(store))
        return Redis.from_url(
            f"unix://{path}?db=0", socket_timeout=3, socket_connect_timeout=3, retry=Retry(ConstantBackoff(0.02), 100)
        )

    def phase(self) -> str:
        """What the world is doing, as the table of faults has it."""
        if any(worker.draining for worker in self.workers):
            return "draining"
        if any(reader.waiting and reader.last_id for reader in self.readers):
            return "replaying"
        if any(worker.up and not worker.feed.live for worker in self.workers):
            return "catching up"
        return "publishing" if self.busy else "idle"

    # A schedule's beginning and end

    async def begin(self) -> None:
        """An empty log, a new truth, and two workers that know it."""
        await self.heal()
        shutil.rmtree(self._backup, ignore_errors=True)
        self._follows = False
        await self.admin.flushall()
        self.truth = Truth()
        self.failures.seen.clear()
        self.readers = []
        await asyncio.gather(*(self._know(worker) for worker in self.workers))

    async def _know(self, worker: Worker) -> None:
        deadline = time.monotonic() + SETTLE_S
        while not await self._knows(worker):
            assert time.monotonic() < deadline, f"worker {worker.number} does not get to the log's head"
            await worker.feed.listener.confirm()

    async def _knows(self, worker: Worker) -> bool:
        with contextlib.suppress(Unavailable):  # its connections may have been cut a moment ago
            return worker.feed.live and worker.feed.mirror.position == await worker.feed.log.head()
        return False

    async def heal(self) -> None:
        """Mend everything."""
        self.go_on()
        for proxy in [*self.proxies, *(worker.to_store for worker in self.workers)]:
            proxy.heal()
        await self.admin.client_unpause()
        await self.admin.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
        for worker in self.workers:
            while not worker.up:
                if worker.draining:
                    await asyncio.sleep(0.005)
                else:
                    await worker.start()

    async def settle(self) -> list[str]:
        """Wait, bounded, until every reader that stays stands at the head; who does not, and what else is not right."""
        await read_log(self.admin, self.keys, self.truth)
        head = str(self.truth.head)
        staying = [reader for reader in self.readers if reader.wanted]
        deadline = time.monotonic() + SETTLE_S
        while late := [reader for reader in staying if reader.last_id != head]:
            if time.monotonic() > deadline:
                return [
                    f"{reader.name} at worker {reader.worker}: stays at {reader.last_id or 'nothing'}; head {head}; "
                    f"{reader.state()}; {self.workers[reader.worker].state()}"
                    for reader in late
                ]
            await asyncio.sleep(0.003)
        return []

    # What is done to the store

    def pause(self) -> bool:
        """SIGSTOP."""
        pid = self.store.pid
        if pid is None or self._paused or self._surgery.locked():
            return False
        os.kill(pid, signal.SIGSTOP)
        self._paused = pid
        return True

    def go_on(self) -> None:
        """SIGCONT."""
        if self._paused:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._paused, signal.SIGCONT)
            self._paused = None

    def kill(self) -> bool:
        """SIGKILL; the supervisor starts it again."""
        pid = self.store.pid
        if pid is None or self._surgery.locked():
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True

    async def flush(self) -> int:
        """FLUSHALL; how many entries it lost."""
        return await read_log(self.admin, self.keys, self.truth, then_lose=True)

    async def back_up(self) -> None:
        """Copy the append-only file as it is now, as a backup would."""
        async with self._surgery:
            shutil.rmtree(self._backup, ignore_errors=True)
            current = self._socket(self.primary).parent / "appendonlydir"
            await asyncio.to_thread(shutil.copytree, current, self._backup)

    async def restore(self) -> int:
        """Put the backup in the store's place; how many entries that lost."""
        async with self._surgery:
            if not self._backup.exists():
                return 0
            lost = await self._freeze()
            if (pid := self.store.pid) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(self.store.stop)
            current = self._socket(self.primary).parent / "appendonlydir"
            shutil.rmtree(current)
            shutil.copytree(self._backup, current)
            await asyncio.to_thread(self.store.start)
            return lost - int(await self.admin.xlen(self.keys.log))

    async def follow(self) -> None:
        """Make the spare store a replica."""
        async with self._surgery:
            self.go_on()
            spare = 1 - self.primary
            if not self._spare_runs:
                await asyncio.to_thread(self.stores[spare].start)
                self._spare_runs = True
            await self.admin.config_set("repl-diskless-sync-delay", 0)
            admin = self._admins[spare]
            await admin.replicaof("127.0.0.1", await _port(self.admin))
            deadline = time.monotonic() + SETTLE_S
            while (await admin.info("replication")).get("master_link_status") != "up":
                assert time.monotonic() < deadline, "the replica does not get its copy"
                await asyncio.sleep(0.01)

    async def detach(self) -> None:
        """Let the replica hear no more."""
        async with self._surgery:
            await self._admins[1 - self.primary].replicaof("NO", "ONE")
            self._follows = True

    async def promote(self) -> int:
        """The replica, which lacks the tail, takes the primary's place; how many entries that lost."""
        async with self._surgery:
            if not self._follows:
                return 0
            self._follows = False
            lost = await self._freeze()
            old = self.primary
            self.primary = 1 - old
            for worker in self.workers:
                worker.to_store.upstream = self._socket(self.primary)
                worker.to_store.cut()
            # What waited for the pause's end dies with it: nobody is to hear of what the old primary would still take.
            await self._admins[old].client_kill_filter(_type="normal", skipme=True)
            await self._admins[old].client_kill_filter(_type="pubsub")
            await self._admins[old].client_unpause()
            return lost - int(await self.admin.xlen(self.keys.log))

    async def _freeze(self) -> int:
        """Take no more writes, and read what is there: it is about to be lost."""
        self.go_on()
        await self.admin.client_pause(5_000, all=False)
        await read_log(self.admin, self.keys, self.truth)
        return int(await self.admin.xlen(self.keys.log))

    async def disconnects_of_slow_clients(self) -> int:
        """How many clients the store has cut for their output buffer."""
        stats: dict[str, Any] = await self.admin.info("stats")
        return int(stats.get("client_output_buffer_limit_disconnections", 0))


async def _port(primary: Redis) -> int:
    """The TCP port at which the primary serves its replica; opened once."""
    port = int((await primary.config_get("port"))["port"] or 0)
    if not port:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
        await primary.config_set("bind", "127.0.0.1")
        await primary.config_set("port", port)
    return port
