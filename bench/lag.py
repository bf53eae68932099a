"""livefeed with a sampler in its event loop: how late is it, while thousands are served?

Run as ``python -m bench.lag``, with livefeed's settings in the environment. On SIGUSR1 it writes ``lag.json`` into the
data directory: for each sample when it was due (monotonic seconds) and how late it was (seconds).
A loop that is blocked takes one sample where several were due: those are filled in, each less late than the one before.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from livefeed import app, server
from livefeed.settings import Settings

PAUSE_S = 0.001
"""Between two samples: as fine as uvloop's timers are."""


class Sampler:
    """Samples the loop that it is made in, until the process ends."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.get_running_loop()
        self._samples: list[tuple[float, float]] = []
        self._path = settings.data_dir / "lag.json"
        self._loop.add_signal_handler(signal.SIGUSR1, self._write)
        self._due = time.monotonic()
        self._sample()

    def _sample(self) -> None:
        now = time.monotonic()  # the loop's own clock stands still while a callback runs
        self._samples.append((self._due, max(now - self._due, 0.0)))
        while (due := self._due + PAUSE_S) < now:
            self._due = due
            self._samples.append((due, now - due))
        self._due = now + PAUSE_S
        self._loop.call_later(PAUSE_S, self._sample)

    def _write(self) -> None:
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self._samples))
        part.rename(self._path)


def create() -> ASGIApp:
    """livefeed's application, whose lifespan starts the sampler."""
    inner = app.create()
    settings = Settings.from_environ()
    samplers: list[Sampler] = []

    async def sampled(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            samplers.append(Sampler(settings))
        await inner(scope, receive, send)

    return sampled


if __name__ == "__main__":
    sys.exit(server.run(Settings.from_environ(), app="bench.lag:create"))
