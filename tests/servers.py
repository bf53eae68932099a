"""Real livefeed servers as processes of their own: started, waited for, killed, started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from livefeed import run_file
from livefeed.errors import StartError

T = TypeVar("T")

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0

# What `livefeed serve` does, for tests that do not want the command line between them and the server.
_SERVE = """
import sys
from livefeed.errors import StartError
from livefeed.server import run
from livefeed.settings import Settings
try:
    sys.exit(run(Settings.from_environ(), **dict(word.split("=", 1) for word in sys.argv[1:])))
except StartError as error:
    sys.exit(f"Error: {error}")
"""


def wait_for(condition: Callable[[], T], what: str, timeout_s: float = 10.0) -> T:
    """The first true value of `condition`, asked every 10 ms; fails naming `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)
    return value


def alive(pid: int) -> bool:
    """Whether a process runs; one that has died and waits for its parent does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        return False


def command(pid: int) -> str:
    """The command line of a process, "" when it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def store_pid(data_dir: Path) -> int:
    """The embedded server of a data directory: the process that works in its store."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == data_dir / "store":
                return int(entry.name)
    raise AssertionError(f"no store runs in {data_dir}")


def fetch(url: str, timeout_s: float = 5.0) -> tuple[int, bytes]:
    """Status and body of a GET; status 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:  # noqa: S310 (our own server)
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except (urllib.error.URLError, OSError):
        return 0, b""


class LiveServer:
    """`livefeed serve` on a data directory, as a process; `start`, `terminate`, `kill`, and `start` again.

    The first start takes a free port, the later ones the same. Output goes to files: `output` and `errors`.
    """

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        python: Path = Path(sys.executable),
    ) -> None:
        """:param arguments: keyword arguments for `livefeed.server.run`, as ``name=value``."""
        self.data_dir = data_dir
        self.url = ""
        self._arguments = arguments
        self._env = dict(env or {})
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        self._logs = data_dir.with_name(f"{data_dir.name}-logs")

    @property
    def pid(self) -> int:
        """The (parent) process."""
        return self.process.pid

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running or last process."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def output(self) -> str:
        """What it printed since its last start."""
        return (self._logs / "stdout").read_text(encoding="utf-8")

    @property
    def errors(self) -> str:
        """What it logged since its last start."""
        return (self._logs / "stderr").read_text(encoding="utf-8")

    def spawn(self) -> None:
        """Start the process without waiting for anything."""
        self._logs.mkdir(parents=True, exist_ok=True)
        outside = {name: value for name, value in os.environ.items() if not name.startswith("LIVEFEED_")}
        port = str(urlsplit(self.url).port or 0)
        env = outside | {"LIVEFEED_DATA_DIR": str(self.data_dir), "PORT": port} | self._env
        with open(self._logs / "stdout", "wb") as out, open(self._logs / "stderr", "wb") as err:
            self._process = subprocess.Popen(
                [self._python, "-c", _SERVE, *self._arguments], env=env, stdout=out, stderr=err, cwd=self._logs
            )

    def start(self) -> None:
        """Start, and return once ``/readyz`` answers 200."""
        self.spawn()
        self.url = wait_for(self._running, "the run file", START_TIMEOUT_S)
        wait_for(lambda: self._exited() or fetch(f"{self.url}/readyz")[0] == 200, "readiness", START_TIMEOUT_S)

    def terminate(self) -> int:
        """SIGTERM, wait, and give the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """``kill -9`` of the (parent) process alone."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)

    def _running(self) -> str:
        self._exited()
        try:
            running = run_file.read(self.data_dir)
        except StartError:
            return ""
        return running.url if running.pid == self.pid else ""

    def _exited(self) -> bool:
        assert self.process.poll() is None, f"the server exited with {self.process.returncode}:\n{self.errors}"
        return False


@contextlib.contextmanager
def serving(data_dir: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[LiveServer]:
    """A started `LiveServer`, stopped at the end."""
    server = LiveServer(data_dir, *arguments, env=env)
    try:
        server.start()
        yield server
    finally:
        if server.process.poll() is None:
            try:
                server.terminate()
            except subprocess.TimeoutExpired:
                server.kill()
                raise
