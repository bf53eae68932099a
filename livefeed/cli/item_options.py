"""The options that set an item's fields, and the fields that they set."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, TypeVar

import click

from livefeed.cli.moments import iso, moment
from livefeed.settings import LANGUAGES, Settings

LEVELS = ("normal", "important", "urgent")
VERIFICATIONS = ("none", "unverified", "confirmed", "denied")
"""As in `feed.item`, which would load the Markdown parser into every command; a test compares them."""

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--headline", metavar="TEXT", help="The headline, on one line."),
    click.option("--body", metavar="TEXT", help="The text, in Markdown."),
    click.option("--body-file", metavar="FILE", help="File with the body in Markdown, UTF-8; - is stdin."),
    click.option("--rubric", metavar="SLUG", help="The section, such as politique."),
    click.option("--level", type=click.Choice(LEVELS), help="How it is marked."),
    click.option(
        "--tag", "tags", multiple=True, metavar="TEXT", help="A keyword; repeatable. The given ones replace all."
    ),
    click.option("--author", "authors", multiple=True, metavar="TEXT", help="Who wrote it; repeatable, likewise."),
    click.option("--thread", metavar="SLUG", help="The story it belongs to."),
    click.option("--source", metavar="TEXT", help="Where the news comes from."),
    click.option("--language", type=click.Choice(LANGUAGES), help="Default: fr."),
    click.option("--key/--no-key", "key", default=None, help="Part of « L'essentiel »."),
    click.option("--verification", type=click.Choice(VERIFICATIONS), help="« À confirmer » and its outcome."),
    click.option("--image-url", metavar="URL", help="A picture."),
    click.option("--image-alt", metavar="TEXT", help="What it shows, for those who cannot see it."),
    click.option("--image-credit", metavar="TEXT", help="Whose it is."),
)
_PLAIN = ("headline", "body", "rubric", "level", "language", "key", "verification")
_EMPTY_IS_NONE = ("thread", "source")
_LISTS = ("tags", "authors")
NAMES = (*_PLAIN, "body_file", *_EMPTY_IS_NONE, *_LISTS, "image_url", "image_alt", "image_credit")


def field_options(function: Function) -> Function:
    """Gives a command the options of an item's fields; it is called with `given`, the dictionary of their values."""

    @functools.wraps(function)
    def command(*args: Any, **values: Any) -> Any:
        given = {name: values.pop(name) for name in NAMES}
        return function(*args, given=given, **values)

    decorated: Any = command
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    result: Function = decorated
    return result


def fields(given: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The API's fields for the options that were given, but for the image's; "" clears what may be empty.

    :raises click.UsageError: an option that cannot be used so, or a file that cannot be read.
    """
    found: dict[str, Any] = {name: given[name] for name in _PLAIN if given[name] is not None}
    if given["body_file"] is not None:
        if "body" in found:
            raise click.UsageError("--body and --body-file exclude each other.")
        found["body"] = read_text(given["body_file"], "--body-file", settings.request_max_bytes)
    found |= {name: given[name] or None for name in _EMPTY_IS_NONE if given[name] is not None}
    found |= {name: [value for value in given[name] if value] for name in _LISTS if given[name]}
    for name, value in found.items():
        refuse_broken(value, name)
    return found


def image_field(given: Mapping[str, Any], current: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The API's `image` where one of its options was given.

    :param current: the item as it is: what was not given of its image stays.
    :raises click.UsageError: a part of an image, but no image.
    """
    parts = {part: given[f"image_{part}"] for part in ("url", "alt", "credit") if given[f"image_{part}"] is not None}
    if not parts:
        return {}
    if parts.get("url") == "":
        return {"image": None}
    refuse_broken(parts, "image")
    image = {**((current or {}).get("image") or {}), **parts}
    if not image.get("url"):
        raise click.UsageError("--image-alt and --image-credit need the picture's --image-url.")
    return {"image": image}


def refuse_broken(value: Any, name: str) -> None:
    """Stop at text that no UTF-8 can hold: bytes of another encoding on the command line become lone surrogates."""
    texts = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
    for text in texts:
        if isinstance(text, str) and any("\ud800" <= c <= "\udfff" for c in text):
            raise click.UsageError(f"{name} holds bytes that are not UTF-8.")


def read_text(name: str, option: str, max_bytes: int) -> str:
    """The text of the file `name`, or of stdin for "-".

    :raises click.BadParameter: it cannot be read, is not UTF-8, or has more than `max_bytes`.
    """
    try:
        if name == "-":
            data = sys.stdin.buffer.read(max_bytes + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(max_bytes + 1)
    except OSError as error:
        raise click.BadParameter(f"cannot read {name}: {error.strerror}.", param_hint=option) from None
    if len(data) > max_bytes:
        raise click.BadParameter(f"{name} has more than {max_bytes} bytes.", param_hint=option)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{name} is not UTF-8 at byte {error.start}.", param_hint=option) from None


def pin_end(text: str, zone: tzinfo, option: str) -> str:
    """When a pin ends, as the API reads it; `text` is a time to come or a duration from now.

    :raises click.BadParameter: it cannot be read, or is over already.
    """
    now = datetime.now(UTC)
    try:
        until = moment(text, zone, now, past=False)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None
    if until <= now:
        raise click.BadParameter(f"{text!r} is over already.", param_hint=option)
    return iso(until)
