"""Real livefeed servers as processes of their own: started, waited for, killed, started again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 20.0

# What `livefeed serve` does, for tests that do not want the command line between them and the server.
SERVE = """
import sys
from livefeed.errors import StartError
from livefeed.server import run
from livefeed.settings import Settings
try:
    sys.exit(run(Settings.from_environ()))
except StartError as error:
    sys.exit(str(error))
"""


def wait_for(condition: Callable[[], T], what: str, timeout_s: float = 10.0) -> T:
    """The first true value of `condition`, asked every 10 ms; fails naming `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)
    return value
