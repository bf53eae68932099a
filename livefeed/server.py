"""Runs livefeed: the listening socket, the store, one process or several, and a stop that always ends.

    run ── listen ── store up ── serve ──▶ (SIGTERM or Ctrl-C) ──▶ streams drain ── store stops ── exit 0

With one worker this process serves. With more, it owns the socket, the store and the workers, and serves nothing
itself; a worker whose parent has gone, whatever the reason, stops by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import math
import os
import resource
import shlex
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
import uvicorn
from redis.exceptions import AuthenticationError, ConnectionError, RedisError

from livefeed import logs, reports, run_file
from livefeed.embedded import connection_url
from livefeed.errors import StartError
from livefeed.feed import store
from livefeed.settings import Settings, table, variable
from livefeed.workers import Workers

APP = "livefeed.app:create"
HTTP_PROTOCOL = "livefeed.feed.handover:HandoverProtocol"
BACKLOG = 4096
"""Connections the kernel holds while we are busy: a storm of returning readers. The kernel's own bound is
`net.core.somaxconn`, 4096 by default."""
DESCRIPTORS_MAX = 1_048_576
"""The soft limit on open files is raised to the hard one, but not above this: some containers say a billion."""
SHUTDOWN_GRACE_S = 3.0
"""After the drain: the time for lifespan shutdown, after which the process ends without it."""
STORE_WAIT_S = 3.0
"""A Redis that is started at the same moment (Procfile, containers) may come up this much later."""
STORE_POLL_S = 0.1

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger("livefeed.server")


class _Stopped(BaseException):
    """A stop signal came while nothing was serving yet."""


def run(
    settings: Settings,
    ready: Callable[[Settings, str], None] | None = None,
    *,
    app: str = APP,
    http: str = HTTP_PROTOCOL,
) -> int:
    """Serve until SIGTERM or SIGINT; the exit code: 0 after a clean stop, 1 when the application failed to start.

    :param ready: called once, when requests are answered, with the settings in force (port, redis_url) and the
        address; it must not block. None prints the address and what to try next.
    :raises StartError: the port, the store or a setting; the message names the fix.
    """
    logs.configure(settings)
    raise_descriptor_limit()
    announce = ready or print_welcome
    with _stop_signals_raise(), contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(listen(settings))
            url = stack.enter_context(connection_url(settings))
            settings = dataclasses.replace(settings, port=listener.getsockname()[1], redis_url=url)
            check_store(settings)
            address = local_address(settings)
            reports.clean(settings.data_dir)
            if settings.metrics_port:
                # Loaded here: it brings the whole application, which a parent of workers has no other use for.
                from livefeed import metrics_port

                stack.enter_context(metrics_port.listening(settings))

            def serving() -> None:
                run_file.write(settings.data_dir, address)
                announce(settings, address)

            stack.callback(run_file.remove, settings.data_dir)
            with _environment(settings):
                if settings.workers > 1:
                    return Workers(settings.workers, serve, (settings, listener, app, http), _stop_s(settings)).run(
                        serving
                    )
                return serve(settings, listener, app, http, serving)
        except _Stopped:
            return 0
        finally:
            for sig in STOP_SIGNALS:  # the rest is bounded; a second Ctrl-C shall not cut it short
                signal.signal(sig, signal.SIG_IGN)


def serve(settings: Settings, listener: socket.socket, app: str, http: str, started: Callable[[], None]) -> int:
    """Serve in this process, on a socket that listens already; the exit code."""
    config = uvicorn.Config(
        app,
        factory=True,
        http=http,
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        workers=1,
        timeout_graceful_shutdown=max(1, math.ceil(settings.drain_s)),
    )
    try:
        _Server(config, started, _stop_s(settings)).run(sockets=[listener])
    except SystemExit:  # how uvicorn says that the application did not start; it has logged why
        return 1
    return 0


def _stop_s(settings: Settings) -> float:
    """Bound on a process's stop: responses that end, then streams that drain, then the rest of lifespan shutdown."""
    return 2 * settings.drain_s + SHUTDOWN_GRACE_S


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it answers, and whose stop is bounded and not a signal to the caller."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None], stop_s: float) -> None:
        super().__init__(config)
        self._tell_started = started
        self._stop_s = stop_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn bounds the wait for responses, but not lifespan shutdown; a blocked loop would not even see a bound.
        watchdog = threading.Timer(self._stop_s + 1, _give_up, (self._stop_s,))
        watchdog.daemon = True
        watchdog.start()
        try:
            async with asyncio.timeout(self._stop_s):
                await super().shutdown(sockets)
        except TimeoutError:
            log.error("the application did not shut down in time", after_s=self._stop_s)
        finally:
            watchdog.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises what it captured again at the end, which would kill us before the store has been stopped.
        before = {sig: signal.signal(sig, self.handle_exit) for sig in STOP_SIGNALS}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def _give_up(after_s: float) -> None:
    log.critical("the process hung while stopping and is ended", after_s=after_s)
    os._exit(1)


def _holder(settings: Settings) -> str:
    """Who has the port: most likely the server that somebody started before and forgot."""
    with contextlib.suppress(StartError):
        running = run_file.read(settings.data_dir)
        if running.url == local_address(settings):
            return f"the livefeed that serves {settings.data_dir} already (process {running.pid})"
    return "another program"


def listen(settings: Settings) -> socket.socket:
    """The listening socket. Connections inherit its send buffer, which bounds the kernel's part for each reader, and
    on Linux the send deadline, after which the kernel ends a connection whose other side has vanished.

    :raises StartError: naming PORT or HOST.
    """
    host, port = settings.host, settings.port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError):
        raise StartError(f"HOST: {host!r} is not an address of this machine; 0.0.0.0 means all of them.") from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.send_buffer_bytes)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: the kernel gives up a reader that acknowledges nothing
            deadline_ms = math.ceil(settings.send_deadline_s * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, deadline_ms)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            fix = f"stop it, or choose another port, such as PORT={port % 65_535 + 1}"
            raise StartError(f"Port {port} is taken by {_holder(settings)}: {fix}.") from None
        if error.errno == errno.EACCES:
            raise StartError(f"Port {port} is reserved for root: choose one from 1024 up with PORT.") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise StartError(f"HOST: {host!r} is not an address of this machine; 0.0.0.0 means all.") from None
        raise StartError(f"Cannot listen on {host!r}, port {port} ({error.strerror}): set HOST and PORT.") from None
    return listener


def check_store(settings: Settings) -> None:
    """See that a Redis answers at `redis_url` and lets us in, and tell when it may lose what it acknowledges.

    One that starts beside us is given `STORE_WAIT_S`.

    :raises StartError: it does not; the message tells where we looked, without the password, and what to change.
    """
    asyncio.run(_check_store(settings))


async def _check_store(settings: Settings) -> None:
    where = store.address(settings.redis_url)
    deadline = time.monotonic() + STORE_WAIT_S
    async with store.connect(settings) as redis:
        while True:
            try:
                await redis.ping()
                break
            except RedisError as error:
                if isinstance(error.__cause__ or error, AuthenticationError):
                    raise StartError(f"The Redis at {where} refuses us: correct LIVEFEED_REDIS_URL.") from None
                if time.monotonic() > deadline or not isinstance(error, ConnectionError):
                    reason = logs.printable(str(error)).rstrip(".")
                    raise StartError(
                        f"No Redis answers at {where} ({reason}): start it, or correct LIVEFEED_REDIS_URL."
                    ) from None
            await asyncio.sleep(STORE_POLL_S)
        try:
            if weakness := await store.weakness(redis):
                log.warning("the store may lose what it acknowledges", store=where, why=weakness)
        except RedisError as error:
            log.warning("how the store keeps what it acknowledges is unknown", store=where, why=str(error))


def raise_descriptor_limit() -> None:
    """Every stream is an open file: take as many as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS refuses what it says it allows
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def local_address(settings: Settings) -> str:
    """The address at which this machine reaches the server; an all-interfaces host becomes the loopback one."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def environment(settings: Settings) -> dict[str, str]:
    """The variables that make `Settings.from_environ` give these settings; only what differs from the defaults."""
    return {variable(f.name): str(value) for f in table() if (value := getattr(settings, f.name)) != f.default}


@contextlib.contextmanager
def _environment(settings: Settings) -> Iterator[None]:
    """The application is made from the environment, in this process and in workers: it says what is in force."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("LIVEFEED_") or name in ("HOST", "PORT")]:
        del os.environ[name]
    os.environ.update(environment(settings))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _stop_signals_raise() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _Stopped

    before = {sig: signal.signal(sig, stop) for sig in STOP_SIGNALS}
    try:
        yield
    except _Stopped:
        pass
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)


def print_welcome(settings: Settings, address: str) -> None:
    """Tell a person where the ticker is, and what to try next, in a form that can be pasted; a machine gets a line."""
    if settings.log_json:
        log.info("serving", address=address, workers=settings.workers)
        return
    command = "livefeed" if shutil.which("livefeed") else _relative(Path(sys.executable).with_name("livefeed"))
    if settings.data_dir != Path("var"):
        command = f"LIVEFEED_DATA_DIR={shlex.quote(str(settings.data_dir.absolute()))} {command}"
    bold, dim, plain = ("\x1b[1m", "\x1b[2m", "\x1b[0m") if sys.stdout.isatty() else ("", "", "")
    rubric = settings.site.rubrics[0].slug
    sys.stdout.write(
        f"\n  {bold}The ticker is live:{plain}  {address}/\n\n"
        f"  Publish an item from a second terminal:\n"
        f"    {bold}{command} publish --headline 'Bonjour, le direct' --rubric {rubric}{plain}\n\n"
        f"  {dim}Follow the stream:  curl -N {address}/stream     Stop: Ctrl-C{plain}\n\n"
    )
    sys.stdout.flush()


def _relative(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
