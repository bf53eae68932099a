"""What editors, machines and imports may send, checked field by field before anything is stored. Pure.

A field that is not sent is `UNSET`: in a new item it takes its default, in a change it stays as it was.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from livefeed.errors import BadRequest, InvalidField
from livefeed.feed import item as items
from livefeed.feed import text
from livefeed.feed.item import Access, Correction, Image, Level, Verification
from livefeed.settings import LANGUAGES, Settings


class ItemInput(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields of an item that a newsroom sets; a new item needs `headline` and `rubric`."""

    headline: str | UnsetType = UNSET
    body: str | UnsetType = UNSET
    """Markdown."""
    rubric: str | UnsetType = UNSET
    """A slug of the site's rubrics."""
    tags: list[str] | UnsetType = UNSET
    thread: str | None | UnsetType = UNSET
    authors: list[str] | UnsetType = UNSET
    source: str | None | UnsetType = UNSET
    language: Literal["fr", "ar", "en"] | UnsetType = UNSET
    level: Level | UnsetType = UNSET
    key: bool | UnsetType = UNSET
    verification: Verification | UnsetType = UNSET
    image: Image | None | UnsetType = UNSET
    alternates: dict[str, str] | UnsetType = UNSET
    access: Access | UnsetType = UNSET


class NewItem(ItemInput, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /api/items``."""

    pinned_until: datetime | None | UnsetType = UNSET


class ChangeItem(ItemInput, kw_only=True, forbid_unknown_fields=True):
    """Body of ``PATCH /api/items/{id}``: what kind of change, its note, and the fields that change."""

    change: Literal["edit", "correct"]
    note: str = ""
    """Required for a correction; shown with the item."""


class Entry(ItemInput, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /api/import``: one entry of somebody's feed, or one line of our own export."""

    guid: str
    """The source's own id: the same guid is the same item."""
    id: str | None = None
    """Only in our own export: the item's id, kept where it is still free."""
    first_published_at: datetime | None = None
    """The source's date; None or a date in the future becomes the time of the import."""
    updated_at: datetime | None = None
    corrections: list[Correction] = []
    backfill: bool = True
    """Pages do not announce the entry as news."""


class Withdrawal(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /api/items/{id}/withdraw`` and ``/restore``."""

    reason: str = ""
    """For the desk's history; never public."""


class Pin(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /api/items/{id}/pin``."""

    until: datetime | None
    """When the pin ends by itself; null unpins."""


Body = TypeVar("Body", bound=msgspec.Struct)

_PLACE = re.compile(r"at `\$\.([\w.]+)")
_MEMBER = re.compile(r"(?:unknown|required) field `(\w+)`")


def decode(body: bytes, kind: type[Body]) -> Body:
    """Read a JSON body as `kind`.

    :raises BadRequest: when it is not JSON in UTF-8.
    :raises InvalidField: when a field is unknown, missing or of another type, naming it.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        message = str(error)
        found = [pattern.search(message) for pattern in (_PLACE, _MEMBER)]
        field = ".".join(match[1] for match in found if match) or None
        raise InvalidField(f"{message}.", field=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not JSON in UTF-8: {error}.") from None


def checked(given: ItemInput, settings: Settings) -> dict[str, Any]:
    """The fields of `given` that are set, clean and within bounds, under the names of `Item`.

    :raises InvalidField: naming the first field that is refused.
    """
    name_max = settings.name_max_chars
    clean: dict[str, Any] = {}
    if given.headline is not UNSET:
        clean["headline"] = text.one_line("headline", given.headline, settings.headline_max_chars, required=True)
    if given.body is not UNSET:
        clean["body"] = text.lines("body", given.body, settings.body_max_chars)
    if given.rubric is not UNSET:
        clean["rubric"] = _known_rubric(given.rubric, settings)
    if given.tags is not UNSET:
        clean["tags"] = _names("tags", given.tags, settings)
    if given.thread is not UNSET:
        clean["thread"] = text.slug("thread", given.thread, name_max) if given.thread else None
    if given.authors is not UNSET:
        clean["authors"] = _names("authors", given.authors, settings)
    if given.source is not UNSET:
        clean["source"] = text.one_line("source", given.source, name_max) or None if given.source else None
    if given.image is not UNSET:
        clean["image"] = _image(given.image, settings) if given.image else None
    if given.alternates is not UNSET:
        clean["alternates"] = _alternates(given.alternates)
    for plain in ("language", "level", "key", "verification", "access"):
        value = getattr(given, plain)
        if value is not UNSET:
            clean[plain] = value
    return clean


def _known_rubric(value: str, settings: Settings) -> str:
    if settings.site.rubric(value) is None:
        slugs = ", ".join(rubric.slug for rubric in settings.site.rubrics)
        shown = text.one_line("rubric", value, settings.name_max_chars)
        raise InvalidField(f"rubric {shown!r} is unknown; the site has {slugs}.", field="rubric")
    return value


def _names(field: str, values: list[str], settings: Settings) -> tuple[str, ...]:
    if len(values) > settings.list_max:
        raise InvalidField(f"{field} has {len(values)} entries; at most {settings.list_max} are allowed.", field=field)
    names = (text.one_line(field, value, settings.name_max_chars, required=True) for value in values)
    return tuple(dict.fromkeys(names))


def _image(image: Image, settings: Settings) -> Image:
    return Image(
        url=text.url("image.url", image.url, settings.url_max_chars),
        alt=text.one_line("image.alt", image.alt, settings.note_max_chars),
        credit=text.one_line("image.credit", image.credit, settings.name_max_chars),
    )


def _alternates(alternates: dict[str, str]) -> dict[str, str]:
    for language, id in alternates.items():
        if language not in LANGUAGES:
            raise InvalidField(f"alternates: the site's languages are {', '.join(LANGUAGES)}.", field="alternates")
        if not items.is_id(id):
            raise InvalidField("alternates: each value must be an item's id.", field="alternates")
    return alternates
