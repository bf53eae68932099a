"""How a command ends: exit codes, and errors as one sentence that names the option at fault."""

from __future__ import annotations

import io
import os
import sys
from typing import IO, Any

import click
from rich.text import Text

from livefeed.cli.appearance import one_line, paragraph
from livefeed.errors import ApiError, LivefeedError, StaleVersion, Withdrawn

DONE = 0
REFUSED = 1
WRONG_USE = 2
"""Click's own."""
PARTLY = 3
STALE = 4

OPTIONS = {
    "headline": "--headline",
    "body": "--body",
    "rubric": "--rubric",
    "tags": "--tag",
    "tag": "--tag",
    "authors": "--author",
    "thread": "--thread",
    "source": "--source",
    "language": "--language",
    "level": "--level",
    "key": "--key",
    "verification": "--verification",
    "image": "--image-url",
    "image.url": "--image-url",
    "image.alt": "--image-alt",
    "image.credit": "--image-credit",
    "pinned_until": "--pin-until",
    "until": "--until",
    "note": "--note",
    "reason": "--reason",
    "limit": "--limit",
    "since": "--since",
    "If-Match": "--if-version",
    "Idempotency-Key": "--idempotency-key",
}
"""Where a refused field of the API comes from on the command line."""


class Failed(click.ClickException):
    """A command that could not do its work; shown as one sentence, without a traceback."""

    exit_code = REFUSED

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))

    def show(self, file: IO[Any] | None = None) -> None:
        """As click's own errors, but wrapped at words on a terminal."""
        paragraph(Text.assemble(("Error: ", "red"), self.message))


class Stale(Failed):
    """Somebody else was faster."""

    exit_code = STALE


def failed(error: LivefeedError) -> Failed:
    """The end of a command that met `error`."""
    message = str(error)
    if isinstance(error, ApiError):
        option = OPTIONS.get(error.field or "")
        if option and error.field and message.startswith((f"{error.field} ", f"{error.field}: ")):
            message = option + message.removeprefix(error.field)
        elif option and option not in message:
            message = f"{option}: {message}"
    if isinstance(error, Withdrawn):
        message += " `livefeed restore` brings it back."
    return Stale(message) if isinstance(error, StaleVersion) else Failed(message)


class Commands(click.Group):
    """A group that ends every command with a sentence instead of a traceback, whatever a user or a server can do."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of a working day, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; our own errors become messages, a reader that closed our output ends us in silence."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a terminal without Arabic shall not end a command
        try:
            return super().invoke(ctx)
        except LivefeedError as error:
            raise failed(error) from error
        except BrokenPipeError:
            leave_pipe()
            return ctx.exit(DONE)


def leave_pipe() -> None:
    """After a closed pipe: point stdout elsewhere, so that the interpreter's last flush does not complain."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
