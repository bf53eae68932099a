"""The servers under test: each started fresh for a round, pinned to the server's core, and ended by its pid."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import urlsplit

from bench import machine
from bench.compiling import compiled
from bench.publishing import ChannelPublisher, HttpPublisher, Publisher
from bench.scripted import ScriptPublisher
from bench.textbook import CHANNEL
from livefeed.embedded import EmbeddedServer

START_S = 20
"""Longest wait until a server listens."""
STOP_S = 15
"""Longest wait for a server to end on SIGTERM before it is killed."""


class Server(ABC):
    """One server under test, a context manager: started on entry on a free loopback port, ended on exit."""

    name: str
    path: str
    """Of its stream."""
    flags = ""
    """What the load client checks beyond the rest: see client.c."""

    @classmethod
    def lacks(cls) -> str:
        """What this machine lacks to run it, as a sentence; "" for nothing."""
        return ""

    def __init__(self, size: int) -> None:
        self.size = size
        """Bytes of one event's data."""

    def __enter__(self) -> Server:
        self.directory = Path(tempfile.mkdtemp(prefix="bench-"))
        self.port = free_port()
        self._started: list[subprocess.Popen[bytes]] = []
        self._store: EmbeddedServer | None = None
        try:
            self.start()
            self._await_port()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._store:
            self._store.stop()
        shutil.rmtree(self.directory)

    @property
    def pids(self) -> list[int]:
        """Every process whose CPU time and memory is the server's; Valkey is not among them."""
        return [pid for process in self._started for pid in machine.family(process.pid)]

    @abstractmethod
    def start(self) -> None:
        """Start what serves, by `run`."""

    @abstractmethod
    def publisher(self) -> Publisher:
        """Connect a publisher."""

    def run(self, *command: str | Path, environ: dict[str, str] | None = None) -> None:
        """Start a process on the server's core; what it says goes to its log in the server's directory."""
        with (self.directory / "server.log").open("ab") as log:
            process = subprocess.Popen(
                ["taskset", "--cpu-list", str(machine.SERVER_CPU), *command],  # which becomes the command
                stdout=log,
                stderr=log,
                env={**os.environ, **(environ or {})},
            )
        self._started.append(process)

    def valkey(self) -> str:
        """Start a Valkey for this server, with livefeed's own settings (each write on disk before its answer).

        It runs on the load's core, as a child of this process; its URL.
        """
        self._store = EmbeddedServer(self.directory / "store")
        self._store.start()
        return self._store.url

    def log(self) -> str:
        """The end of what the server said."""
        return (self.directory / "server.log").read_text(errors="replace")[-2000:]

    def _await_port(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if time.monotonic() > deadline or any(process.poll() is not None for process in self._started):
                    raise RuntimeError(f"{self.name} did not start:\n{self.log()}") from None
                time.sleep(0.02)
            else:
                return


class Floor(Server):
    """floor.c: one send() per socket per event, and nothing else."""

    name, path = "floor", "/"

    def start(self) -> None:
        self.run(compiled("floor"), str(self.port))

    def publisher(self) -> Publisher:
        return HttpPublisher(self.port, "/", self.size)


class Nchan(Server):
    """nchan in nginx, one worker; it keeps the last 1,000 messages, so that its readers, too, can resume."""

    name, path = "nchan", "/sub"

    MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")

    CONFIG = """
        daemon off;
        worker_processes 1;
        worker_rlimit_nofile {descriptors};
        pid {directory}/nginx.pid;
        error_log {directory}/error.log warn;
        {user}
        load_module {module};
        events {{ worker_connections {descriptors}; }}
        http {{
            access_log off;
            client_body_temp_path {directory}/body;
            proxy_temp_path {directory}/proxy;
            fastcgi_temp_path {directory}/fastcgi;
            uwsgi_temp_path {directory}/uwsgi;
            scgi_temp_path {directory}/scgi;
            keepalive_requests 1000000;
            server {{
                listen 127.0.0.1:{port} backlog=4096;
                location = /pub {{ nchan_publisher; nchan_channel_id live; nchan_message_buffer_length 1000; }}
                location = /sub {{
                    nchan_subscriber eventsource;
                    nchan_channel_id live;
                    nchan_subscriber_first_message newest;  # as ours: a newcomer gets what is published from now on
                }}
            }}
        }}
    """

    @classmethod
    def lacks(cls) -> str:
        if shutil.which("nginx") and cls.MODULE.exists():
            return ""
        return "nchan is left out: it is not installed (Debian: apt install nginx libnginx-mod-nchan)."

    def start(self) -> None:
        config = self.directory / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        descriptors = machine.readers_max() + machine.DESCRIPTORS_SPARE
        fields = {"descriptors": descriptors, "directory": self.directory, "port": self.port, "user": user}
        config.write_text(self.CONFIG.format(module=self.MODULE, **fields))
        self.run("nginx", "-p", self.directory, "-c", config)

    def publisher(self) -> Publisher:
        return HttpPublisher(self.port, "/pub", self.size)


class Textbook(Server):
    """bench/textbook.py on uvicorn: an `EventSourceResponse` and a queue per reader, Redis pub/sub."""

    name, path, flags = "textbook", "/sub", "o"

    def start(self) -> None:
        self._url = self.valkey()
        self.run(sys.executable, "-m", "bench.textbook", str(self.port), self._url)

    def publisher(self) -> Publisher:
        return ChannelPublisher(self._url, CHANNEL, self.size)


class Livefeed(Server):
    """`livefeed serve`, one worker; its Valkey and the publishers are on the load's core."""

    name, path, flags = "livefeed", "/stream", "i"

    def start(self) -> None:
        self._url = self.valkey()
        environ = {"PORT": str(self.port), "LIVEFEED_REDIS_URL": self._url, "LIVEFEED_DATA_DIR": str(self.directory)}
        self.run(Path(sys.executable).with_name("livefeed"), "serve", environ=environ)

    def publisher(self) -> Publisher:
        return ScriptPublisher(urlsplit(self._url).path)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
