"""The `livefeed` command: start the server, publish and follow the news from a terminal."""

from __future__ import annotations

import click

import livefeed
from livefeed.cli.editing import edit_commands
from livefeed.cli.importing import export, import_
from livefeed.cli.outcome import Commands
from livefeed.cli.recent import recent
from livefeed.cli.serving import serve
from livefeed.cli.settings import settings
from livefeed.cli.tail import tail
from livefeed.cli.tokens import token


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(livefeed.__version__, message="livefeed %(version)s")
def main() -> None:
    """A newsroom's live feed: published once, on every open page within a second.

    \b
    Start the server, then publish from a second terminal in the same directory:
      livefeed serve
      livefeed publish --headline "La session est ouverte" --rubric politique
      livefeed tail

    Commands talk to the running server of the same data directory (LIVEFEED_DATA_DIR), or to the one that --url or
    LIVEFEED_URL names. Changes on that one need a token: LIVEFEED_TOKEN or --token-file.

    \b
    Exit codes:
      0  done
      1  refused by the server, or no server could be reached
      2  the command line is wrong
      3  import: some entries were refused, the rest is in
      4  somebody else changed the item meanwhile; nothing was written
    """


for command in (serve, *edit_commands, recent, tail, import_, export, token, settings):
    main.add_command(command)

__all__ = ["main"]
