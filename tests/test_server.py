"""Serving: start, stop, several workers, and what a person reads when it does not start."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
import redis

from livefeed import run_file
from livefeed.embedded import EmbeddedServer
from livefeed.errors import StartError
from livefeed.server import check_store, environment, listen, local_address, raise_descriptor_limit
from livefeed.settings import Settings
from tests.servers import LiveServer, alive, command, fetch, serving, store_pid, wait_for

_APP = """
import asyncio, json, os

def create():
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                if message["type"] == "lifespan.shutdown" and os.path.exists("hang"):
                    await asyncio.Event().wait()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body = {"pid": os.getpid(), "parent": os.getppid()}
        body |= {name: value for name, value in os.environ.items() if name.startswith("LIVEFEED_")}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})
        if scope["path"] == "/busy":
            import time
            time.sleep(3600)
    return app

def broken():
    raise TypeError("no")
"""


@pytest.fixture
def tiny() -> list[str]:
    """Arguments that serve the smallest application in place of livefeed's."""
    return ["app=tiny_app:create", "http=httptools"]


@pytest.fixture
def where(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A data directory, and an environment in which the small application can be imported."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "tiny_app.py").write_text(_APP)
    path = os.pathsep.join([str(tmp_path / "code"), *(p for p in sys.path if p)])
    return tmp_path / "var", {"PYTHONPATH": path}


def test_it_serves_says_so_and_stops_cleanly(where: tuple[Path, dict[str, str]], tiny: list[str]) -> None:
    """It prints the address and the next command once it serves; SIGTERM ends it with 0 and leaves nothing behind."""
    data_dir, env = where
    with serving(data_dir, *tiny, env=env) as server:
        assert f"{server.url}/" in server.output
        assert "publish --headline" in server.output
        assert "--rubric politique" in server.output
        body = json.loads(fetch(server.url)[1])
        assert body["pid"] == server.pid, "one worker needs no process of its own"
        assert body["LIVEFEED_REDIS_URL"].startswith("unix://")
        assert "LIVEFEED_TOKEN" not in body, "the commands' own variables are no settings"
        assert body["LIVEFEED_PORT"] == server.url.rpartition(":")[2]
        store = store_pid(data_dir)
        assert server.terminate() == 0
    assert not alive(store)
    assert not run_file.path(data_dir).exists()
    assert "Traceback" not in server.errors


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_cut_the_stop_short(
    where: tuple[Path, dict[str, str]], tiny: list[str], sig: signal.Signals
) -> None:
    """Ctrl-C twice still stops the store in order, with exit code 0."""
    data_dir, env = where
    with serving(data_dir, *tiny, env=env) as server:
        store = store_pid(data_dir)
        server.process.send_signal(sig)
        server.process.send_signal(sig)
        assert server.process.wait(20) == 0
    assert not alive(store)


def test_several_workers_share_the_port_and_end_with_their_parent(
    where: tuple[Path, dict[str, str]], tiny: list[str]
) -> None:
    """Every worker answers on one port; a killed worker is replaced; SIGTERM ends all with 0."""
    data_dir, env = where
    with serving(data_dir, *tiny, env=env | {"LIVEFEED_WORKERS": "2"}) as server:

        def workers() -> set[int]:
            return {pid for pid in children(server.pid) if "multiprocessing.spawn" in command(pid)}

        first = wait_for(lambda: workers() if len(workers()) == 2 else set(), "two workers")
        assert json.loads(fetch(server.url)[1])["parent"] == server.pid
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(workers()) == 2 and victim not in workers(), "a replacement")
        wait_for(lambda: "a worker exited and is replaced" in server.errors, "a log line")
        everyone = workers() | {store_pid(data_dir)}
        assert server.terminate() == 0
    assert not [pid for pid in everyone if alive(pid)]


def test_killing_the_parent_ends_the_workers_and_the_store(where: tuple[Path, dict[str, str]], tiny: list[str]) -> None:
    """After kill -9 of the parent nobody holds the port or the data, and the next start works at once."""
    data_dir, env = where
    with serving(data_dir, *tiny, env=env | {"LIVEFEED_WORKERS": "2"}) as server:
        everyone = children(server.pid)
        assert len(everyone) >= 3
        server.kill()
        wait_for(lambda: not any(alive(pid) for pid in everyone), "all children to end")
        with pytest.raises(StartError, match="livefeed serve"):
            run_file.read(data_dir)
        server.start()
        assert fetch(server.url)[0] == 200


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hanging_application_does_not_hang_the_stop(
    where: tuple[Path, dict[str, str]], tiny: list[str], workers: str
) -> None:
    """A lifespan shutdown that never ends is left behind after its bound, and the store still stops in order."""
    data_dir, env = where
    env = env | {"LIVEFEED_WORKERS": workers, "LIVEFEED_DRAIN_S": "0"}
    with serving(data_dir, *tiny, env=env) as server:
        (server.data_dir.with_name("var-logs") / "hang").touch()
        assert server.terminate() == 0
        assert "did not shut down in time" in server.errors


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_application_that_cannot_start_ends_the_server(where: tuple[Path, dict[str, str]], workers: str) -> None:
    """Exit code 1, one process or several."""
    data_dir, env = where
    server = LiveServer(data_dir, "app=tiny_app:broken", "http=httptools", env=env | {"LIVEFEED_WORKERS": workers})
    server.spawn()
    assert server.process.wait(20) == 1
    assert "Error loading ASGI app factory" in server.errors


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://:secret@127.0.0.1:1/0", "No Redis answers at redis://127.0.0.1:1/0"),
        ("unix:///nowhere/redis.sock", "No Redis answers at unix:///nowhere/redis.sock"),
        ("http://127.0.0.1/", "must be like redis://host:6379/0"),
        ("redis://127.0.0.1:port/0", "must be like redis://host:6379/0"),
    ],
)
def test_no_redis_is_one_sentence_with_the_fix(
    where: tuple[Path, dict[str, str]], tiny: list[str], workers: str, url: str, said: str
) -> None:
    """A wrong LIVEFEED_REDIS_URL: exit code 1, the fix in one line, no traceback, no password."""
    data_dir, env = where
    server = LiveServer(data_dir, *tiny, env=env | {"LIVEFEED_WORKERS": workers, "LIVEFEED_REDIS_URL": url})
    server.spawn()
    assert server.process.wait(20) == 1
    assert said in server.errors
    assert "LIVEFEED_REDIS_URL" in server.errors
    assert server.errors.count("\n") == 1
    assert "secret" not in server.errors


def test_a_redis_that_comes_up_a_moment_later_is_waited_for(tmp_path: Path) -> None:
    """Started side by side, as a Procfile does, the order does not matter."""
    store = EmbeddedServer(tmp_path)
    late = threading.Timer(0.3, store.start)
    late.start()
    try:
        check_store(Settings(redis_url=f"unix://{tmp_path}/store/valkey.sock"))
    finally:
        late.join()
        store.stop()


def test_a_refused_password_is_told(tmp_path: Path) -> None:
    """A Redis that wants another password: the message says so and shows none."""
    with EmbeddedServer(tmp_path) as store, redis.Redis.from_url(store.url) as admin:
        admin.config_set("requirepass", "right")
        url = f"unix://:wrong@{tmp_path}/store/valkey.sock"
        with pytest.raises(StartError, match=r"refuses us.*LIVEFEED_REDIS_URL") as refused:
            check_store(Settings(redis_url=url))
        assert "wrong" not in str(refused.value)


def test_a_taken_port_names_the_setting(tmp_path: Path) -> None:
    """Another program on the port: the message names PORT and a free way out."""
    with listen(Settings(port=0)) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        settings = Settings(port=port, data_dir=tmp_path)
        with pytest.raises(StartError, match=f"Port {port} is taken by another program.*PORT={port + 1}"):
            listen(settings)
        run_file.write(tmp_path, local_address(settings))
        with pytest.raises(StartError, match=rf"the livefeed that serves .* already \(process {os.getpid()}\)"):
            listen(settings)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "\x00", "a" * 300])
def test_a_wrong_host_names_the_setting(host: str) -> None:
    """An address that is not this machine's: the message names HOST."""
    with pytest.raises(StartError, match="HOST"):
        listen(Settings(host=host, port=0))


def test_connections_inherit_the_send_buffer() -> None:
    """The kernel's part of a reader's buffer is bounded by the setting, on every connection."""
    settings = Settings(port=0, send_buffer_bytes=32_768)
    with listen(settings) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as inner:
            # Linux doubles the value for its own bookkeeping.
            assert inner.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 65_536


def test_nobody_is_queued_before_somebody_serves() -> None:
    """Until the application has started connections are refused: a proxy asks another server at once."""
    with listen(Settings(port=0)) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname())


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("feed.example", "http://feed.example:80"),
    ],
)
def test_the_local_address_is_one_a_browser_can_open(host: str, address: str) -> None:
    """All-interfaces hosts become loopback ones; IPv6 gets its brackets."""
    assert local_address(Settings(host=host, port=80)) == address


def test_it_listens_on_ipv6(where: tuple[Path, dict[str, str]], tiny: list[str]) -> None:
    """HOST=::1 works, and the address is printed with brackets."""
    data_dir, env = where
    with serving(data_dir, *tiny, env=env | {"HOST": "::1"}) as server:
        assert server.url.startswith("http://[::1]:")


def test_settings_travel_through_the_environment() -> None:
    """What a worker reads from the environment are the settings in force."""
    settings = Settings(port=0, workers=3, log_json=True, data_dir=Path("/x y"), tick_s=2.5, headline_max_chars=7)
    assert Settings.from_environ(environment(settings)) == settings


def test_the_descriptor_limit_is_raised() -> None:
    """The soft limit on open files becomes the hard one."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def children(pid: int) -> set[int]:
    """Processes whose parent is `pid`."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(status.rpartition(")")[2].split()[1]) == pid:
                found.add(int(entry.name))
    return found
