"""What editors do from a terminal: publish, edit, correct, withdraw, restore, pin."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import unquote

import click
import msgspec
from rich.text import Text

from livefeed.cli import naming
from livefeed.cli.appearance import clock, day, one_line, stderr, stdout
from livefeed.cli.client import Changed, Client
from livefeed.cli.item_options import field_options, fields, pin_end, refuse_broken
from livefeed.cli.server import Server, writing_options
from livefeed.errors import LivefeedError, StaleVersion

PUBLISH = frozenset({"publish"})
WITHDRAW = frozenset({"withdraw"})

Function = TypeVar("Function", bound=Callable[..., Any])


def _checked_key(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[\x21-\x7e]{1,200}", value):
        raise click.BadParameter("must be 1 to 200 visible ASCII characters.")
    return value


def _answer_options(function: Function) -> Function:
    decorated = click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON.")(function)
    return click.option(
        "--idempotency-key",
        metavar="KEY",
        callback=_checked_key,
        help="Does the change once, however often the command runs with it; made anew for each command by default.",
    )(decorated)


def _change_options(function: Function) -> Function:
    decorated = click.option(
        "--if-version",
        type=click.IntRange(min=1),
        metavar="N",
        help="Change only version N. Default: the version current when the command starts.",
    )(_answer_options(function))
    return click.argument("item", metavar="ID|URL")(decorated)


@click.command()
@field_options
@click.option("--pin-until", metavar="TIME", help="Keep it on top until then: 18:30, 2h, 2026-11-24T18:30Z.")
@_answer_options
@writing_options
def publish(
    server: Server, given: dict[str, Any], pin_until: str | None, idempotency_key: str | None, as_json: bool
) -> None:
    """Publish an item: it is on every open page within a second.

    \b
    livefeed publish --headline "Séisme au large d'Agadir" --rubric societe --level urgent
    livefeed publish --headline "Budget" --rubric economie --body-file - < budget.md
    """
    for needed in ("headline", "rubric"):
        if given[needed] is None:
            raise click.UsageError(f"Missing option '--{needed}'.")
    body = fields(given, server.settings)
    if pin_until is not None:
        body["pinned_until"] = pin_end(pin_until, server.settings.zone, "--pin-until")
    with Client(server, PUBLISH) as client:
        _show("Published", client.change("POST", "/api/items", body, key=idempotency_key), as_json)


def _changing(kind: str, verb: str) -> Callable[..., None]:
    """The body that `edit` and `correct` share."""

    def change(
        server: Server,
        item: str,
        given: dict[str, Any],
        if_version: int | None,
        idempotency_key: str | None,
        as_json: bool,
        note: str = "",
    ) -> None:
        refuse_broken(note, "--note")
        if kind == "edit" and not any(value not in (None, ()) for value in given.values()):
            raise click.UsageError("Nothing to change: give the options of the fields that are to be new.")
        with Client(server, PUBLISH) as client:
            id = naming.resolve(client, item)
            current = client.get(f"/api/items/{id}")["item"]
            body = {"change": kind, **fields(given, server.settings, current)}
            if note:
                body["note"] = note
            version = if_version or int(current["version"])
            try:
                changed = client.change("PATCH", f"/api/items/{id}", body, key=idempotency_key, if_version=version)
            except StaleVersion as error:
                raise _stale(client, server, id, version, error) from error
            _show(verb, changed, as_json)

    return change


@click.command()
@field_options
@_change_options
@writing_options
def edit(**arguments: Any) -> None:
    """Change an item in silence: a typo, a tag. Readers are told of a `correct`, never of an `edit`.

    \b
    livefeed edit 5h2k9qx1 --headline "Séisme au large d'Agadir, sans victime"
    livefeed edit 5h2k9qx1 --tag séisme --tag agadir --thread ''
    """
    _changing("edit", "Edited")(**arguments)


@click.command()
@field_options
@click.option("--note", required=True, metavar="TEXT", help="What was wrong; readers see it with the item.")
@_change_options
@writing_options
def correct(**arguments: Any) -> None:
    """Correct an item, with a note that readers see.

    \b
    livefeed correct 5h2k9qx1 --note "Magnitude 4,8 et non 5,2." --body-file corrected.md
    """
    _changing("correct", "Corrected")(**arguments)


def _stale(client: Client, server: Server, id: str, based_on: int, error: StaleVersion) -> StaleVersion:
    """The refusal of a stale edit as one sentence: what is current, by what, and how to go on."""
    version = error.data.get("version")
    current = f"version {version}" if version else "another version"
    try:
        last = client.get(f"/api/items/{id}/versions")["versions"]
        newest = next(entry for entry in last if entry["version"] == version)  # silent edits are not told
        at, zone = datetime.fromisoformat(newest["at"]), server.settings.zone
        current += f" ({newest['change']} on {day(at, zone)} at {clock(at, zone)}: « {newest['item']['headline']} »)"
    except (LivefeedError, StopIteration, KeyError, TypeError, ValueError):
        pass  # the number alone will do
    return StaleVersion(
        f"Nothing was changed: {current} is current, and this change was based on version {based_on}; run the command "
        f"again to change the current one{f', or pass --if-version {version}' if version else ''}.",
        field=None,
        **error.data,
    )


def _state_change(path: str, verb: str, scopes: frozenset[str]) -> Callable[..., None]:
    """The body that `withdraw`, `restore` and `pin` share."""

    def change(
        server: Server,
        item: str,
        body: dict[str, Any],
        if_version: int | None,
        idempotency_key: str | None,
        as_json: bool,
    ) -> None:
        with Client(server, scopes) as client:
            id = naming.resolve(client, item)
            try:
                changed = client.change(
                    "POST", f"/api/items/{id}/{path}", body, key=idempotency_key, if_version=if_version
                )
            except StaleVersion as error:
                raise _stale(client, server, id, if_version or 0, error) from error
            _show(verb, changed, as_json)

    return change


@click.command()
@click.option("--reason", default="", metavar="TEXT", help="For the desk's history; never public.")
@_change_options
@writing_options
def withdraw(reason: str, **arguments: Any) -> None:
    """Withdraw an item: a stub takes its place everywhere, back to its first event. `restore` lifts it."""
    refuse_broken(reason, "--reason")
    _state_change("withdraw", "Withdrawn", WITHDRAW)(body={"reason": reason}, **arguments)


@click.command()
@click.option("--reason", default="", metavar="TEXT", help="For the desk's history; never public.")
@_change_options
@writing_options
def restore(reason: str, **arguments: Any) -> None:
    """Bring a withdrawn item back."""
    refuse_broken(reason, "--reason")
    _state_change("restore", "Restored", WITHDRAW)(body={"reason": reason}, **arguments)


@click.command()
@click.option("--for", "length", metavar="DURATION", help="From now on: 30m, 2h, 1d.")
@click.option("--until", metavar="TIME", help="18:30 (the site's clock), 2026-11-24T18:30, or with an offset.")
@click.option("--off", is_flag=True, help="Unpin.")
@_change_options
@writing_options
def pin(server: Server, length: str | None, until: str | None, off: bool, **arguments: Any) -> None:
    """Keep an item on top of the ticker for a while."""
    if sum((length is not None, until is not None, off)) != 1:
        raise click.UsageError("Say how long: one of --for, --until and --off.")
    end = None
    if length is not None:
        end = pin_end(length, server.settings.zone, "--for")
    elif until is not None:
        end = pin_end(until, server.settings.zone, "--until")
    _state_change("pin", "Unpinned" if off else "Pinned", PUBLISH)(server=server, body={"until": end}, **arguments)


def _show(verb: str, changed: Changed, as_json: bool) -> None:
    """What became of the change: for a person, or the server's answer as it came."""
    if as_json:
        click.echo(msgspec.json.encode(changed.body))
        return
    try:
        item, version, position = changed.body["item"], changed.body["version"], changed.body["position"]
        id, headline = str(item["id"]), str(item["headline"])
    except (KeyError, TypeError):
        stderr().print("The change was made, but the server's answer has an unknown form.")
        return
    out = stdout()
    line = Text.assemble((f"{verb} ", "green"), (id, "bold"), f"  version {version}, position {position}")
    out.print(line, soft_wrap=True)
    out.print(Text(f"  {one_line(headline)}"), soft_wrap=True)
    address = changed.location or item.get("url")
    if address:
        # For people the address in its own letters, which a browser takes as well; for machines as it travels.
        readable = unquote(str(address)) if out.is_terminal else str(address)
        out.print(Text(f"  {one_line(readable)}", "cyan"), soft_wrap=True)


edit_commands = (publish, edit, correct, withdraw, restore, pin)
