"""Tokens for machines, made and ended straight in the store: who may open the store may do anything anyway."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from livefeed.cli.appearance import FAINT, clock, day, notice, one_line, stdout
from livefeed.cli.moments import Duration
from livefeed.cli.outcome import Failed
from livefeed.cli.server import MINTED_NAME, MINTED_TTL_S, read_settings

if TYPE_CHECKING:
    from livefeed.newsroom.tokens import Token

SCOPES = ("publish", "withdraw")
"""As in `newsroom.tokens`, which would load the store's client into every command; a test compares them."""


@click.group()
def token() -> None:
    """Make, list and revoke tokens for machines.

    Works on the store of the data directory (or LIVEFEED_REDIS_URL), whether the server runs or not.
    """


@token.command()
@click.option("--name", required=True, metavar="TEXT", help="Whose it is; the desk's history shows it.")
@click.option(
    "--scope",
    "scopes",
    required=True,
    multiple=True,
    type=click.Choice(SCOPES),
    help="Repeatable. publish: also edit, correct, pin, import; withdraw: also restore.",
)
@click.option("--expires", type=Duration(), metavar="DURATION", help="30d, 12h; without it never.")
def create(name: str, scopes: tuple[str, ...], expires: timedelta | None) -> None:
    """Make a token. It is shown once, and stored only as a hash.

    \b
    livefeed token create --name "Agence" --scope publish > agence.token
    livefeed publish --url https://fil.example --token-file agence.token ...
    """
    ttl_s = int(expires.total_seconds()) if expires else None
    plaintext = _run("create", name, frozenset(scopes), ttl_s)
    click.echo(plaintext)
    if stdout().is_terminal:
        notice("Keep it now: it is not shown again. Commands take it from LIVEFEED_TOKEN or --token-file.")


@token.command("list")
@click.option(
    "--all", "all_", is_flag=True, help=f"Also the tokens of {MINTED_TTL_S} s that commands make for themselves."
)
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_(all_: bool, as_json: bool) -> None:
    """List the tokens that are good now, without the tokens themselves."""
    found = [entry for entry in _run("list") if all_ or not _is_minted(entry)]
    if as_json:
        click.echo(msgspec.json.encode({"tokens": found}))
        return
    if not found:
        notice("No tokens.")
        return
    zone = read_settings().zone
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style=FAINT)
    for column in ("Id", "Name", "Scopes", "Made", "Ends"):
        shown.add_column(column)
    for entry in found:
        times = [f"{day(at, zone)} {clock(at, zone)}" if at else "never" for at in (entry.created_at, entry.expires_at)]
        shown.add_row(Text(entry.id, "cyan"), one_line(entry.name), ", ".join(entry.scopes), *times)
    stdout().print(shown)


@token.command()
@click.argument("name", metavar="ID|NAME")
def revoke(name: str) -> None:
    """End a token at once; a name ends all tokens of that name."""
    if not _run("revoke", name):
        raise Failed(f"There is no token {name!r}; `livefeed token list` shows all.")
    notice("Revoked.")


def _is_minted(entry: Token) -> bool:
    lifetime = entry.expires_at - entry.created_at if entry.expires_at else None
    return entry.name.endswith(MINTED_NAME) and lifetime == timedelta(seconds=MINTED_TTL_S)


def _run(method: str, *arguments: Any) -> Any:
    from livefeed.cli.store import tokens

    async def run() -> Any:
        async with tokens(read_settings()) as store:
            return await getattr(store, method)(*arguments)

    return asyncio.run(run())
