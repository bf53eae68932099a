"""The embedded store: started, supervised, attached to, taken over, and never left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from livefeed import embedded
from livefeed.embedded import EmbeddedServer, connection_url, find_binary
from livefeed.errors import StartError
from livefeed.settings import Settings
from tests.servers import alive, wait_for

# A process that owns or attaches, says so, and waits to be ended.
HOLDER = """
import signal, sys
from pathlib import Path
from livefeed import logs
from livefeed.embedded import EmbeddedServer
from livefeed.settings import Settings
logs.configure(Settings())
server = EmbeddedServer(Path(sys.argv[1]))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with server:
    print(server.pid or 0, flush=True)
    signal.pause()
"""


@pytest.fixture(params=["bundled", "debian"])
def binary(request: pytest.FixtureRequest) -> Path:
    """The bundled Valkey, and the Redis of Debian."""
    if request.param == "bundled":
        return find_binary()
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not installed")
    return Path(found)


def client(server: EmbeddedServer) -> redis.Redis:
    """A client that fails at once, so that a test sees what happens."""
    return redis.Redis.from_url(server.url, socket_timeout=5, retry=None, decode_responses=True)


def until_written(server: EmbeddedServer, key: str) -> None:
    """Write, as soon as a server takes it."""

    def write() -> bool:
        try:
            with client(server) as store:
                return bool(store.set(key, "1"))
        except redis.RedisError:
            return False

    wait_for(write, "a store that takes writes")


def until_refused(server: EmbeddedServer) -> int:
    """Write k0, k1... of 50 KB each; how many were acknowledged."""
    with client(server) as store:
        for number in range(1_000):
            try:
                store.set(f"k{number}", "x" * 50_000)
            except redis.RedisError:
                return number
    raise AssertionError("the disk was never full")


class Holders:
    """Other processes on a data directory, ended with the test."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []

    def spawn(self, data_dir: Path) -> subprocess.Popen[str]:
        """Start one, without waiting for it."""
        process = subprocess.Popen([sys.executable, "-c", HOLDER, str(data_dir)], stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        return process

    def store(self, process: subprocess.Popen[str]) -> int:
        """The store that a started process owns; 0 when it attached to another's."""
        assert process.stdout is not None
        return int(process.stdout.readline())

    def close(self) -> None:
        """End all that still run."""
        for process in self._processes:
            process.kill()
            with process:
                pass


@pytest.fixture
def holders() -> Iterator[Holders]:
    """Starts other processes on a data directory and ends them with the test."""
    started = Holders()
    yield started
    started.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB; skips where this user may not mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_it_keeps_every_write_on_disk(tmp_path: Path, binary: Path) -> None:
    """Started, written to, stopped and started again: the data is there, the settings are the durable ones."""
    started = time.monotonic()
    with EmbeddedServer(tmp_path / "é v%r", binary) as server:
        assert time.monotonic() - started < 3
        assert server.owned
        with client(server) as store:
            assert store.config_get("append*")["appendfsync"] == "always"
            assert store.config_get("append*")["appendonly"] == "yes"
            assert store.config_get("save") == {"save": ""}
            assert store.config_get("port") == {"port": "0"}
            store.set("a", "é")
        pid = server.pid
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 3
    assert pid is not None
    assert not alive(pid)
    assert (tmp_path / "é v%r" / "store").stat().st_mode & 0o777 == 0o700
    with EmbeddedServer(tmp_path / "é v%r", binary) as server, client(server) as store:
        assert store.get("a") == "é"


def test_a_killed_store_is_started_again_with_its_data(tmp_path: Path, binary: Path) -> None:
    """kill -9 of the store: up again by itself, everything acknowledged is there."""
    with EmbeddedServer(tmp_path, binary) as server:
        for round_ in range(2):
            until_written(server, f"k{round_}")
            before = server.pid
            assert before is not None
            os.kill(before, signal.SIGKILL)
            until_written(server, "again")
            assert server.pid not in (None, before)
        with client(server) as store:
            assert store.exists("k0", "k1") == 2


def test_a_killed_owner_takes_the_store_with_it(tmp_path: Path, holders: Holders) -> None:
    """kill -9 of livefeed: the store ends, the lock is free, and the next start has all the data."""
    process = holders.spawn(tmp_path)
    store_pid = holders.store(process)
    with EmbeddedServer(tmp_path) as attached:
        assert not attached.owned
        until_written(attached, "a")
    process.kill()
    process.wait()
    wait_for(lambda: not alive(store_pid), "the end of the store")
    with EmbeddedServer(tmp_path) as server, client(server) as store:
        assert server.owned
        assert store.get("a") == "1"


def test_an_attached_process_takes_over(tmp_path: Path, holders: Holders) -> None:
    """Two processes on one data directory share one store; when its owner ends, the other starts it again."""
    process = holders.spawn(tmp_path)
    store_pid = holders.store(process)
    with EmbeddedServer(tmp_path) as attached:
        assert not attached.owned
        assert attached.pid is None
        until_written(attached, "a")
        process.terminate()
        assert process.wait(20) == 0
        until_written(attached, "b")
        assert attached.owned
        assert attached.pid != store_pid
        with client(attached) as store:
            assert store.exists("a", "b") == 2


def test_many_starts_at_once_make_one_store(tmp_path: Path, holders: Holders) -> None:
    """A race of starts has one owner; all others attach."""
    processes = [holders.spawn(tmp_path) for _ in range(4)]
    assert len([pid for pid in map(holders.store, processes) if pid]) == 1


def test_a_second_store_never_starts_beside_a_running_one(tmp_path: Path) -> None:
    """Even with the lock file deleted, a running store is attached to."""
    with EmbeddedServer(tmp_path) as first:
        (tmp_path / "store" / "lock").unlink()
        with EmbeddedServer(tmp_path) as second:
            assert first.owned
            assert not second.owned


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    """A data directory too deep for a socket's path works, and others find the same socket."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with EmbeddedServer(deep) as server, EmbeddedServer(deep) as other:
        assert server.url == other.url
        assert len(server.url) < 120
        assert not other.owned
        until_written(server, "a")
        short = Path(server.url.removeprefix("unix://").partition("?")[0]).parent
        assert short.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(short)


def test_a_hijacked_runtime_directory_is_refused(tmp_path: Path) -> None:
    """Somebody else's symbolic link in place of the short directory: no start, and the message says what to set."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with EmbeddedServer(deep) as server:
        short = Path(server.url.removeprefix("unix://").partition("?")[0]).parent
    shutil.rmtree(short)
    short.symlink_to(tmp_path)
    try:
        with pytest.raises(StartError, match="LIVEFEED_DATA_DIR"):
            EmbeddedServer(deep).start()
    finally:
        short.unlink()


def test_no_binary_names_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither bundled nor on PATH: the message names both ways out."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartError, match=r"install one.*LIVEFEED_REDIS_URL"):
        EmbeddedServer(tmp_path / "var").start()


def test_the_path_is_the_second_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the bundled program, valkey-server and then redis-server are looked for on PATH."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).symlink_to("/bin/true")
        assert find_binary() == tmp_path / name


def test_a_store_that_cannot_start_tells_why(tmp_path: Path) -> None:
    """Damaged data: the store's own words are in the error, and nothing is left running."""
    with EmbeddedServer(tmp_path) as server:
        until_written(server, "a")
    (tmp_path / "store" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    server = EmbeddedServer(tmp_path)
    with pytest.raises(StartError, match=r"cannot start in .*manifest"):
        server.start()
    assert server.pid is None
    assert not server.owned


def test_a_full_disk_stops_writing_until_there_is_room(small_disk: Path, binary: Path) -> None:
    """The store exits on a full disk and is tried again until there is room; nothing acknowledged is lost."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4_000_000))
    with EmbeddedServer(small_disk / "var", binary) as server:
        acknowledged = until_refused(server)
        assert 10 < acknowledged < 100
        ballast.unlink()
        until_written(server, "after")
        with client(server) as store:
            assert store.exists(*(f"k{number}" for number in range(acknowledged))) == acknowledged


@pytest.mark.parametrize("program", ["/bin/true", "/etc/passwd", "/nowhere/valkey-server"])
def test_a_program_that_is_no_store_tells_so(tmp_path: Path, program: str) -> None:
    """A wrong program ends the start with one sentence."""
    with pytest.raises(StartError, match="The store cannot start"):
        EmbeddedServer(tmp_path, Path(program)).start()


def test_a_hung_owner_is_told(tmp_path: Path, holders: Holders, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen store: the second process does not wait for ever, and does not start another on the same data."""
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.2)
    monkeypatch.setattr(embedded, "PING_TIMEOUT_S", 0.1)
    store_pid = holders.store(holders.spawn(tmp_path))
    os.kill(store_pid, signal.SIGSTOP)
    try:
        with pytest.raises(StartError, match="does not answer"):
            EmbeddedServer(tmp_path).start()
    finally:
        os.kill(store_pid, signal.SIGCONT)


def test_a_frozen_store_is_killed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping has a bound, even when the store does not hear SIGTERM."""
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.2)
    server = EmbeddedServer(tmp_path)
    server.start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    wait_for(lambda: not alive(pid), "the end of the store")


def test_a_data_directory_that_cannot_be_used_names_the_setting(tmp_path: Path) -> None:
    """A file in its place: the message names LIVEFEED_DATA_DIR."""
    (tmp_path / "var").touch()
    with pytest.raises(StartError, match="LIVEFEED_DATA_DIR"):
        EmbeddedServer(tmp_path / "var").start()


def test_a_url_of_ones_own_comes_first(tmp_path: Path) -> None:
    """With LIVEFEED_REDIS_URL nothing is started and no directory is made."""
    with connection_url(Settings(redis_url="redis://elsewhere/0", data_dir=tmp_path / "var")) as url:
        assert url == "redis://elsewhere/0"
    assert not (tmp_path / "var").exists()
    with connection_url(Settings(data_dir=tmp_path / "var")) as url, redis.Redis.from_url(url) as store:
        assert store.ping()


def test_the_data_directory_itself_is_left_as_it_is(tmp_path: Path) -> None:
    """A directory that exists and is open to others, such as /srv, keeps its mode: only the store's is closed."""
    tmp_path.chmod(0o755)
    with EmbeddedServer(tmp_path):
        assert tmp_path.stat().st_mode & 0o777 == 0o755
        assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
    (tmp_path / "store").chmod(0o750)
    with pytest.raises(StartError, match=r"chmod 700.*LIVEFEED_DATA_DIR"):
        EmbeddedServer(tmp_path).start()


def test_a_program_that_vanishes_is_waited_for(tmp_path: Path) -> None:
    """An upgrade that replaces the program under a running store does not end its supervision."""
    program = tmp_path / "valkey-server"
    program.symlink_to(find_binary())
    with EmbeddedServer(tmp_path / "var", program) as server:
        until_written(server, "a")
        program.unlink()
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: server.pid not in (None, pid) or not alive(pid), "the end of the store")
        program.symlink_to(find_binary())
        until_written(server, "b")
        with client(server) as store:
            assert store.exists("a", "b") == 2


def test_it_can_be_started_again(tmp_path: Path) -> None:
    """One object, stopped and started: the same data."""
    server = EmbeddedServer(tmp_path)
    for key in ("a", "b"):
        with server:
            until_written(server, key)
    with server, client(server) as store:
        assert store.exists("a", "b") == 2
