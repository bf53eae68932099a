"""Our own JSON lines: one object per line, written by an export and read back by an import. Pure.

A line is an `Entry` as JSON plus `status`; the body is Markdown. A withdrawn item's line says only where it stood, so
that an export tells what it left out, and an import skips it. A line may also hold one ninjs object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from livefeed.errors import ApiError
from livefeed.feed import markdown
from livefeed.feed.item import PublicItem
from livefeed.newsroom.importing import cleaning, ninjs
from livefeed.newsroom.importing.raw import Raw
from livefeed.newsroom.importing.results import BadEntry, Found, Place
from livefeed.newsroom.input import Entry, checked
from livefeed.settings import Settings

_HINT_CHARS = 60
_REASON_CHARS = 200
"""A field's name, which stands in an error, may be of any length."""
_NOT_SET = frozenset({"version", "url", "body_html", "direction", "pinned_until", "reading_time"})
"""Fields of a public item that an import cannot set; a line may hold them all the same."""


def guid(id: str) -> str:
    """The guid of an item that was published here: a ``tag:`` URI which stays when the site moves."""
    return f"tag:livefeed,2026:{id}"


def export_line(item: PublicItem) -> bytes:
    """The line of an item, with its line end; importing it gives the item back under the same id.

    What an import cannot set stays behind: the version number, a pin and the reading time (which is counted anew).
    """
    line: dict[str, Any] = {"guid": guid(item.id), "id": item.id, "status": item.status}
    if item.status == "published":
        line |= {
            "headline": item.headline,
            "body": markdown.from_html(item.body_html),
            "rubric": item.rubric,
            "tags": item.tags,
            "thread": item.thread,
            "authors": item.authors,
            "source": item.source,
            "language": item.language,
            "level": item.level,
            "key": item.key,
            "verification": item.verification,
            "image": item.image,
            "alternates": item.alternates,
            "access": item.access,
            "corrections": item.corrections,
        }
    line |= {"first_published_at": item.first_published_at, "updated_at": item.updated_at}
    return msgspec.json.encode(line) + b"\n"


def is_line(value: Any) -> bool:
    """Whether a JSON value is one of our lines, or a ninjs object on a line of its own."""
    if not isinstance(value, dict):
        return False
    ours = bool({"guid", "id"} & value.keys()) and bool({"headline", "status"} & value.keys())
    return ours or bool(ninjs.found_in(value))


def is_file(text: str) -> bool:
    """Whether any line of `text` is one that can be imported from."""
    return any(is_line(_json(line)) for line in text.split("\n"))


def read(text: str, now: datetime, settings: Settings, rubric: str | None) -> Iterator[Raw | Found | BadEntry]:
    """The entries of a file of lines, in its order; blank lines are passed over.

    :param rubric: slug for lines without one; None makes those bad entries.
    """
    number = 0
    for line_number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        number += 1
        value = _json(line)
        if isinstance(value, dict) and rubric is not None:
            value.setdefault("rubric", rubric)
        yield _entry(value, Place(number, line_number), now, settings)


def _json(line: str) -> Any:
    """The line's value; None where it is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _entry(value: Any, place: Place, now: datetime, settings: Settings) -> Raw | Found | BadEntry:
    if not isinstance(value, dict):
        return BadEntry(place=place, reason="It is not a JSON object.")
    if found := ninjs.found_in(value):
        return ninjs.entry(found[0], place.number, now, place.line)
    name = value.get("headline") or value.get("guid") or value.get("id") or ""
    place = Place(place.number, place.line, cleaning.cut(cleaning.line(str(name), is_text=True), _HINT_CHARS))
    status = value.pop("status", "published")
    if status != "published":
        shown = str(status)[:20]
        return BadEntry(place=place, reason=f"Its status is {shown!r}: it was not published.", skipped=True)
    return _own(value, place, settings)


def _own(value: dict[str, Any], place: Place, settings: Settings) -> Found | BadEntry:
    """A line of our own is taken as it is, or refused by the field that is wrong."""
    if "body" not in value and isinstance(value.get("body_html"), str):
        value["body"] = markdown.from_html(cleaning.scrub(value["body_html"]))
    if "guid" not in value:
        value["guid"] = guid(str(value.get("id", "")))
    value = {key: inner for key, inner in value.items() if key not in _NOT_SET}
    try:
        entry = msgspec.convert(value, Entry)
        checked(entry, settings)
    except msgspec.ValidationError as error:
        said = cleaning.cut(cleaning.line(str(error), is_text=True), _REASON_CHARS)
        return BadEntry(place=place, reason=f"{said}.")
    except ApiError as error:
        return BadEntry(place=place, reason=str(error))
    missing = [field for field in ("headline", "rubric") if getattr(entry, field) is msgspec.UNSET]
    if missing or not entry.guid.strip():
        return BadEntry(place=place, reason=f"It has no {' and no '.join(missing) or 'guid'}.")
    return Found(place=place, entry=entry)
