"""The run file: where the server of a data directory listens, for the commands that talk to it.

``<data_dir>/run/server.json`` holds ``{"url": "http://127.0.0.1:8000", "pid": 4711}`` from the moment the server
really answers until it ends. After a ``kill -9`` the file stays; `read` sees that the process is gone.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import msgspec

from livefeed.errors import StartError


class Running(msgspec.Struct, frozen=True):
    """A server that runs: where it listens, and its (parent) process."""

    url: str
    pid: int


def path(data_dir: Path) -> Path:
    """The run file of a data directory."""
    return data_dir / "run" / "server.json"


def write(data_dir: Path, url: str) -> None:
    """Say that this process serves at `url`; readers see the old file or the whole new one."""
    target = path(data_dir)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".server-")  # made with mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(Running(url=url, pid=os.getpid())))
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def remove(data_dir: Path) -> None:
    """Take the file away if it is this process's; another server's stays."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        if _load(data_dir).pid == os.getpid():
            path(data_dir).unlink()


def read(data_dir: Path) -> Running:
    """The running server of this data directory.

    :raises StartError: none runs; the message says how to start one.
    """
    try:
        running = _load(data_dir)
        os.kill(running.pid, 0)
    except PermissionError:
        return running  # it lives, under another user
    except (OSError, msgspec.DecodeError):
        raise StartError(
            f"No livefeed server runs on {data_dir}: start one with `livefeed serve`, "
            "or name one with --url and --token."
        ) from None
    return running


def _load(data_dir: Path) -> Running:
    return msgspec.json.decode(path(data_dir).read_bytes(), type=Running)
