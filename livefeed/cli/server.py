"""Which server a command talks to, and by what right.

The running server of the same data directory, found through its run file; the right to write there is the right to
open the store's socket, with which a short-lived token is minted. Or the server that ``--url`` names, with a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import getpass
import ipaddress
import os
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
import httpx2

from livefeed.cli.appearance import notice
from livefeed.errors import LivefeedError
from livefeed.settings import Settings

OWN_VARIABLES = frozenset({"LIVEFEED_URL", "LIVEFEED_TOKEN"})
"""Variables of the commands, not of the server: no settings."""
MINTED_TTL_S = 60
"""Life of a minted token: longer than a command's requests with all retries. Short, as a store holds 1,000 tokens at
most; a long import mints anew."""
MINTED_NAME = "(cli)"
"""Follows the user's name in the name of a minted token; the desk's history shows it."""
TOKEN_MAX_BYTES = 4_096
"""More is no token but the wrong file."""

Function = TypeVar("Function", bound=Callable[..., Any])


class NotAllowed(LivefeedError):
    """A command lacks the means to prove that it may change anything."""


def read_settings(**overrides: Any) -> Settings:
    """The settings of this environment, without the commands' own variables.

    :raises StartError: for an unknown variable or a bad value, naming it.
    """
    environ = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
    return Settings.from_environ(environ, **overrides)


@dataclass(frozen=True, slots=True)
class Server:
    """The server that a command was pointed at."""

    settings: Settings
    given_url: str = ""
    """Empty: the running server of the settings' data directory."""
    given_token: str = ""

    @property
    def url(self) -> str:
        """Its address now, without a trailing slash; a local server may come back at another one.

        :raises StartError: no server runs on the data directory, with the way out.
        """
        if self.given_url:
            return self.given_url
        from livefeed import run_file

        return run_file.read(self.settings.data_dir).url

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return self.given_url or f"the server of {self.settings.data_dir}"

    @property
    def not_accepted(self) -> str:
        """What to say when it does not take the token."""
        if self.given_token:
            return f"{self.url} does not accept the token: it is unknown, revoked or expired."
        return (
            f"{self.url} does not know the token made for this command: it works on another store. "
            "LIVEFEED_REDIS_URL and LIVEFEED_FEED_NAME must be the same here as where it was started."
        )

    def token(self, scopes: frozenset[str]) -> str:
        """A token for a change that needs `scopes`: the given one, or a short-lived one of our own making.

        :raises NotAllowed: a server elsewhere, and no token.
        :raises StartError: the store of the local server cannot be reached.
        """
        if self.given_token:
            self._warn_of_plain_http()
            return self.given_token
        if self.given_url:
            raise NotAllowed(
                f"A change on {self.given_url} needs a token: put it into LIVEFEED_TOKEN, or into a file for "
                "--token-file. `livefeed token create` on that machine makes one."
            )
        return asyncio.run(_mint(self.settings, scopes))

    def _warn_of_plain_http(self) -> None:
        parts = urlsplit(self.given_url)
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            notice(f"Careful: the token travels to {self.given_url} unencrypted; use https where you can.")


class Bearer(httpx2.Auth):
    """Puts the token on every request; a minted one that has run out is replaced once."""

    def __init__(self, server: Server, scopes: frozenset[str]) -> None:
        self._server = server
        self._scopes = scopes
        self._token = ""

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send with the token; after a 401 once more with a new one, where we make it ourselves."""
        fresh = not self._token
        self._token = self._token or self._server.token(self._scopes)
        request.headers["Authorization"] = f"Bearer {self._token}"
        response = yield request
        if response.status_code == httpx2.codes.UNAUTHORIZED and not fresh and not self._server.given_token:
            self._token = self._server.token(self._scopes)
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request


def server_options(function: Function) -> Function:
    """Gives a command that only reads `--url`; the command is called with `server`."""
    return _with_server(function, write=False)


def writing_options(function: Function) -> Function:
    """Gives a command `--url`, `--token` and `--token-file`; the command is called with `server`."""
    return _with_server(function, write=True)


def _with_server(function: Function, *, write: bool) -> Function:
    @functools.wraps(function)
    def command(*args: Any, url: str | None, token: str | None = None, token_file: str | None = None, **kw: Any) -> Any:
        if token_file:
            inputs = [token_file, kw.get("file"), kw.get("given", {}).get("body_file")]
            if inputs.count("-") > 1:
                raise click.UsageError("Only one thing can come from stdin: put the token into a file.")
            token = _read_token(token_file)
        settings = read_settings()
        server = Server(settings, _checked_url(url) if url else "", _checked_token(token) if token else "")
        return function(*args, server=server, **kw)

    decorated: Any = click.option(
        "--url",
        envvar="LIVEFEED_URL",
        metavar="URL",
        help="The server to talk to (also LIVEFEED_URL). Default: the one that runs on the data directory.",
    )(command)
    if write:
        decorated = click.option(
            "--token-file", metavar="FILE", help="File that holds the token for that server; - is stdin."
        )(decorated)
        decorated = click.option(
            "--token",
            envvar="LIVEFEED_TOKEN",
            metavar="TOKEN",
            help="The token itself; better in LIVEFEED_TOKEN, where no `ps` sees it.",
        )(decorated)
    result: Function = decorated
    return result


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        good = good and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise click.BadParameter("must be like https://news.example.", param_hint="--url")
    if "@" in parts.netloc:
        raise click.BadParameter("must not carry a name or password; use a token.", param_hint="--url")
    return url.rstrip("/")


def _checked_token(token: str) -> str:
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise click.BadParameter("is empty or has characters that no token has.", param_hint="the token")
    return token


def _read_token(name: str) -> str:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(TOKEN_MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(TOKEN_MAX_BYTES + 1)
        text = data.decode("ascii")
    except OSError as error:
        raise click.BadParameter(f"cannot read {name}: {error.strerror}.", param_hint="--token-file") from None
    except UnicodeDecodeError:
        text = ""
    if len(data) > TOKEN_MAX_BYTES or not text.strip():
        raise click.BadParameter(f"{name} does not hold a token.", param_hint="--token-file")
    return text


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


async def _mint(settings: Settings, scopes: frozenset[str]) -> str:
    """A token of a few minutes, made straight in the store: who may open the store may do anything anyway."""
    from livefeed.cli.store import tokens

    async with tokens(settings) as store:
        return await store.create(_user(), scopes, MINTED_TTL_S)


def _user() -> str:
    """Who types, as the desk's history shall name them."""
    try:
        return f"{getpass.getuser()} {MINTED_NAME}"
    except (OSError, KeyError, ImportError):
        return MINTED_NAME
