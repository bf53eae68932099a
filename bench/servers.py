"""The servers under test: each started fresh for a round, pinned to the server's core, and ended by its pid."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from bench import machine
from bench.compiling import compiled
from bench.origin import CHANNEL
from bench.publishing import ChannelPublisher, HttpPublisher, Publisher
from bench.scripted import ScriptPublisher
from bench.textbook import CHANNEL as TEXTBOOK_CHANNEL
from livefeed.embedded import EmbeddedServer

START_S = 20
"""Longest wait until a server listens."""
REPLAYED = 20
"""Events that a stream with a past is given at once."""
STOP_S = 15
"""Longest wait for a server to end on SIGTERM before it is killed."""


class Server(ABC):
    """One server under test, a context manager: started on entry on a free loopback port, ended on exit."""

    name: str
    path: str
    """Of its stream."""
    flags = ""
    """What the load client checks beyond the rest: see client.c."""
    slow = False
    """Whether it is given fewer events and rounds, so that the run ends in time; never fewer readers of a fan-out."""

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
        self._beside: list[subprocess.Popen[bytes]] = []
        self._store: EmbeddedServer | None = None
        try:
            self.start()
            self._await_port()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started[::-1] + self._beside:
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

    def replay_path(self) -> str:
        """The path of a stream that begins with what is published from now on; "" where the server keeps no past.

        Exactly `REPLAYED` events are published before such a stream is opened.
        """
        return ""

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

    def run_beside(self, *command: str | Path) -> None:
        """Start a process that the server needs but that is not the server's, on the load's core."""
        self._beside.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def valkey(self) -> str:
        """Start a Valkey for this server, with livefeed's own settings (each write on disk before its answer).

        It runs on the load's core, as a child of this process; its URL.
        """
        self._store = EmbeddedServer(self.directory / "store")
        self._store.start()
        return self._store.url

    def _get(self, path: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_S)
        connection.request("GET", path, headers={"Accept": "text/event-stream, */*", "Connection": "close"})
        return connection.getresponse()

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
                location = /replay {{
                    nchan_subscriber eventsource;
                    nchan_channel_id live;
                    nchan_subscriber_first_message -{replayed};
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
        config.write_text(self.CONFIG.format(module=self.MODULE, replayed=REPLAYED, **fields))
        self.run("nginx", "-p", self.directory, "-c", config)

    def publisher(self) -> Publisher:
        return HttpPublisher(self.port, "/pub", self.size)

    def replay_path(self) -> str:
        return "/replay"


class Pushpin(Server):
    """Pushpin: condure, its proxy and handler, and zurl, which asks the origin (bench/origin.py, on the other core)."""

    name, path, slow = "pushpin", "/sub", True

    PROGRAMS = ("pushpin", "condure", "zurl")

    CONFIG = """
        [global]
        include=/usr/lib/pushpin/internal.conf
        rundir={directory}
        ipc_prefix=bench-
        port_offset=0

        [runner]
        services=condure,pushpin-proxy,pushpin-handler
        http_port=127.0.0.1:{port}
        logdir={directory}
        log_level=1
        client_buffer_size=8192
        client_maxconn={descriptors}

        [proxy]
        routesfile=routes
        zurl_out_specs=ipc://{directory}/zurl-in
        zurl_out_stream_specs=ipc://{directory}/zurl-in-stream
        zurl_in_specs=ipc://{directory}/zurl-out

        [handler]
        push_in_spec=ipc://{directory}/push
        push_in_sub_specs=ipc://{directory}/push-sub
        push_in_http_addr=127.0.0.1
        push_in_http_port={publish_port}
        command_spec=ipc://{directory}/command
        message_rate=1000000
        message_hwm=1000000
    """
    ZURL = """
        [General]
        in_spec=ipc://{directory}/zurl-in
        in_stream_spec=ipc://{directory}/zurl-in-stream
        out_spec=ipc://{directory}/zurl-out
        defpolicy=allow
        max_open_requests=2000
        buffer_size=200000
        timeout=600
        in_hwm=1000
        out_hwm=1000
    """

    @classmethod
    def lacks(cls) -> str:
        if all(shutil.which(program) for program in cls.PROGRAMS):
            return ""
        return "Pushpin is left out: it is not installed (Debian: apt install pushpin)."

    def start(self) -> None:
        self._publish_port, origin_port = free_port(), free_port()
        fields = {
            "directory": self.directory,
            "port": self.port,
            "publish_port": self._publish_port,
            "descriptors": machine.readers_max() + machine.DESCRIPTORS_SPARE,
        }
        for name, text in (("pushpin.conf", self.CONFIG), ("zurl.conf", self.ZURL)):
            (self.directory / name).write_text(textwrap.dedent(text).format(**fields))
        (self.directory / "routes").write_text(f"* 127.0.0.1:{origin_port}\n")
        self.run_beside(sys.executable, "-m", "bench.origin", str(origin_port))
        self.run("zurl", f"--config={self.directory / 'zurl.conf'}", "--loglevel=1")
        self.run("pushpin", f"--config={self.directory / 'pushpin.conf'}")

    def _await_port(self) -> None:
        """Its port answers before its parts have found each other: wait for a stream."""
        super()._await_port()
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), contextlib.closing(self._get("/sub")) as answer:
                if answer.status == HTTPStatus.OK:
                    return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start:\n{self.log()}")
            time.sleep(0.05)

    def publisher(self) -> Publisher:
        return HttpPublisher(self._publish_port, "/publish/", self.size, wrap=_grip, keep_alive=False)


def _grip(event: bytes) -> bytes:
    """A publish request of Pushpin's; its content is the whole event, framed."""
    item = {"channel": CHANNEL, "formats": {"http-stream": {"content": f"data: {event.decode()}\n\n"}}}
    return json.dumps({"items": [item]}, ensure_ascii=False).encode()


class Textbook(Server):
    """bench/textbook.py on uvicorn: an `EventSourceResponse` and a queue per reader, Redis pub/sub."""

    name, path, flags, slow = "textbook", "/sub", "o", True

    def start(self) -> None:
        self._url = self.valkey()
        self.run(sys.executable, "-m", "bench.textbook", str(self.port), self._url)

    def publisher(self) -> Publisher:
        return ChannelPublisher(self._url, TEXTBOOK_CHANNEL, self.size)


class Livefeed(Server):
    """`livefeed serve`, one worker; its Valkey and the publishers are on the load's core."""

    name, path, flags = "livefeed", "/stream", "i"

    SETTINGS: Mapping[str, str] = {}
    """What differs from the defaults."""
    COMMAND: tuple[str | Path, ...] = (Path(sys.executable).with_name("livefeed"), "serve")

    def start(self) -> None:
        self._url = self.valkey()
        self._environ = {
            "PORT": str(self.port),
            "LIVEFEED_REDIS_URL": self._url,
            "LIVEFEED_DATA_DIR": str(self.directory),
            **self.SETTINGS,
        }
        self.run(*self.COMMAND, environ=self._environ)

    @property
    def socket_path(self) -> str:
        """Of its Valkey."""
        return urlsplit(self._url).path

    def publisher(self) -> ScriptPublisher:
        return ScriptPublisher(self.socket_path)

    def replay_path(self) -> str:
        with contextlib.closing(self._get("/api/items?limit=1")) as answer:
            return f"{self.path}?last_event_id={json.load(answer)['position']}"

    def token(self) -> str:
        """A token that may publish."""
        command = [self.COMMAND[0], "token", "create", "--name", "bench", "--scope", "publish"]
        environ = {**os.environ, **self._environ}
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.strip()

    @classmethod
    def with_settings(cls, **settings: object) -> type[Livefeed]:
        """The same server with these settings."""
        given = {f"LIVEFEED_{name.upper()}": str(value) for name, value in settings.items()}
        return type(cls.__name__, (cls,), {"SETTINGS": {**cls.SETTINGS, **given}})


class SampledLivefeed(Livefeed):
    """livefeed with one more callback in its loop, which samples how late the loop is (bench/lag.py)."""

    COMMAND = (sys.executable, "-m", "bench.lag")

    def lag_ms(self, begun: float, ended: float) -> list[float]:
        """How late the loop was between two moments of the monotonic clock, in milliseconds."""
        found = self.directory / "lag.json"
        os.kill(self._started[0].pid, signal.SIGUSR1)
        deadline = time.monotonic() + START_S
        while not found.exists():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the loop's samples did not come:\n{self.log()}")
            time.sleep(0.02)
        return [late * 1000 for due, late in json.loads(found.read_text()) if begun <= due <= ended]


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
