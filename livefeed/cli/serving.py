"""`livefeed serve`: the server itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from livefeed.cli.server import OWN_VARIABLES, read_settings
from livefeed.settings import Settings


@click.command()
@click.option("--workers", type=click.IntRange(1, 64), metavar="N", help="Server processes that share the port.")
@click.option("--host", metavar="ADDRESS", help="Address to listen on (also LIVEFEED_HOST or HOST).")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port (also LIVEFEED_PORT or PORT); 0 takes a free one.")
@click.option("--demo", is_flag=True, help="Play a day of a newsroom's dispatches into the feed.")
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    help="How much faster than life the demo plays; 80 by default: a day in ten minutes.",
)
def serve(workers: int | None, host: str | None, port: int | None, demo: bool, speed: float | None) -> None:
    """Run the server in the foreground until Ctrl-C or SIGTERM.

    Everything else is a setting: `livefeed settings` lists them all.
    """
    if speed is not None and not demo:
        raise click.UsageError("--speed goes with --demo.")
    for name in OWN_VARIABLES:
        os.environ.pop(name, None)  # the commands' own; the server's processes would refuse them as unknown settings
    given = {"workers": workers, "host": host, "port": port}
    overrides: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = read_settings(**overrides)

    from livefeed import server  # late: it loads all of the server

    sys.exit(server.run(settings, _with_demo(speed) if demo else None))


def _with_demo(speed: float | None) -> Callable[[Settings, str], None]:
    """What to do when the server answers: welcome as ever, and start the play."""
    from livefeed.cli import demo
    from livefeed.newsroom.demo import DEFAULT_SPEED
    from livefeed.server import print_welcome

    def ready(settings: Settings, address: str) -> None:
        print_welcome(settings, address)
        demo.start(settings, speed or DEFAULT_SPEED)

    return ready
