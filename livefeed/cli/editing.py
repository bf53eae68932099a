"""What editors do from a terminal: publish, edit, correct, withdraw, restore, pin."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import unquote

import click
import msgspec
from rich.text import Text

from livefeed.cli.appearance import clock, day, one_line, stderr, stdout
from livefeed.cli.client import Changed, Client, new_key
from livefeed.cli.item_options import field_options, fields, image_field, pin_end, refuse_broken
from livefeed.cli.naming import NoSuchItem, resolve
from livefeed.cli.server import Server, writing_options
from livefeed.errors import LivefeedError, NotFound, StaleVersion, Withdrawn

PUBLISH = frozenset({"publish"})
WITHDRAW = frozenset({"withdraw"})
READS = 3
"""Times that an item is read for one change without `--if-version`, when what was read is not the newest."""
FRESH_S = 0.25
"""Before it is read again: far longer than an event takes from one process of a healthy server to all."""

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
        help="Runs of the command with one key and one token make one change. Default: a new key for each run.",
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
    livefeed publish --rubric societe --level urgent \\
        --headline "Séisme au large d'Agadir"
    livefeed publish --rubric economie --headline Budget --body-file budget.md
    """
    for needed in ("headline", "rubric"):
        if given[needed] is None:
            raise click.UsageError(f"Missing option '--{needed}'.")
    body = {**fields(given, server.settings), **image_field(given)}
    if pin_until is not None:
        body["pinned_until"] = pin_end(pin_until, server.settings.zone, "--pin-until")
    with Client(server, PUBLISH) as client:
        _show("Published", client.change("POST", "/api/items", body, key=idempotency_key), as_json)


def _change(
    kind: str,
    verb: str,
    server: Server,
    item: str,
    given: dict[str, Any],
    if_version: int | None,
    idempotency_key: str | None,
    as_json: bool,
    note: str = "",
) -> None:
    """What `edit` and `correct` share: read the item, and change that version of it."""
    refuse_broken(note, "--note")
    body = {"change": kind, **fields(given, server.settings), **({"note": note} if note else {})}
    key = idempotency_key or new_key()
    with Client(server, PUBLISH) as client:
        for again in reversed(range(READS)):
            id, current = _read(client, item)
            version = if_version or int(current["version"])
            body |= image_field(given, current)
            try:
                changed = client.change("PATCH", f"/api/items/{id}", body, key=key, if_version=version)
            except StaleVersion as error:
                if if_version or not again:
                    raise _stale(client, server, id, version, error) from error
                time.sleep(FRESH_S)
            else:
                _show(verb, changed, as_json)
                return


def _read(client: Client, name: str) -> tuple[str, dict[str, Any]]:
    """Id and present state of the item that `name` names.

    What a server's process shows may be some milliseconds older than what another one has just answered to a change:
    an item that seems to be missing or withdrawn is looked up once more.
    """
    try:
        return _read_now(client, name)
    except (NotFound, Withdrawn, NoSuchItem):
        time.sleep(FRESH_S)
        return _read_now(client, name)


def _read_now(client: Client, name: str) -> tuple[str, dict[str, Any]]:
    id = resolve(client, name)
    item: dict[str, Any] = client.get(f"/api/items/{id}")["item"]
    return id, item


def _resolve(client: Client, name: str) -> str:
    """The id of the item that `name` names; as patient as `_read`."""
    try:
        return resolve(client, name)
    except NoSuchItem:
        time.sleep(FRESH_S)
        return resolve(client, name)


@click.command()
@field_options
@_change_options
@writing_options
def edit(**arguments: Any) -> None:
    """Change an item in silence, such as a typo.

    Readers are told of a `correct`, never of an `edit`.

    Only what is given changes; an empty text clears what may be empty.

    \b
    livefeed edit 5h2k9qx1 --headline "Séisme à Agadir, sans victime"
    livefeed edit 5h2k9qx1 --tag séisme --tag agadir --thread ''
    """
    if not any(value not in (None, ()) for value in arguments["given"].values()):
        raise click.UsageError("Nothing to change: give the options of the fields that are to be new.")
    _change("edit", "Edited", **arguments)


@click.command()
@field_options
@click.option("--note", required=True, metavar="TEXT", help="What was wrong; readers see it with the item.")
@_change_options
@writing_options
def correct(**arguments: Any) -> None:
    """Correct an item, with a note that readers see.

    \b
    livefeed correct 5h2k9qx1 --note "Magnitude 4,8, non 5,2." --body-file b.md
    """
    _change("correct", "Corrected", **arguments)


def _stale(client: Client, server: Server, id: str, based_on: int | None, error: StaleVersion) -> StaleVersion:
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
    asked = f", not version {based_on}" if based_on else ""
    return StaleVersion(
        f"Nothing was changed: {current} is current{asked}; look at it, and run the command again"
        f"{f' with --if-version {version}' if version else ''} to change that one.",
        field=None,
        **error.data,
    )


def _turn(
    path: str,
    verb: str,
    scopes: frozenset[str],
    server: Server,
    item: str,
    body: dict[str, Any],
    if_version: int | None,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    """What `withdraw`, `restore` and `pin` share: they need not know the item's version."""
    with Client(server, scopes) as client:
        id = _resolve(client, item)
        try:
            changed = client.change("POST", f"/api/items/{id}/{path}", body, key=idempotency_key, if_version=if_version)
        except StaleVersion as error:
            raise _stale(client, server, id, if_version, error) from error
        _show(verb, changed, as_json)


@click.command()
@click.option("--reason", default="", metavar="TEXT", help="For the desk's history; never public.")
@_change_options
@writing_options
def withdraw(reason: str, **arguments: Any) -> None:
    """Put a stub in an item's place, everywhere.

    Back to the item's first event: what was published of it is served no more. `restore` lifts it.
    """
    refuse_broken(reason, "--reason")
    _turn("withdraw", "Withdrawn", WITHDRAW, body={"reason": reason}, **arguments)


@click.command()
@click.option("--reason", default="", metavar="TEXT", help="For the desk's history; never public.")
@_change_options
@writing_options
def restore(reason: str, **arguments: Any) -> None:
    """Bring a withdrawn item back."""
    refuse_broken(reason, "--reason")
    _turn("restore", "Restored", WITHDRAW, body={"reason": reason}, **arguments)


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
    _turn("pin", "Unpinned" if off else "Pinned", PUBLISH, server, body={"until": end}, **arguments)


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
