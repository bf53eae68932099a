"""ninjs, the IPTC's "News in JSON": 1.x, 2.x and 3.0, an object, a list, or an agency's envelope around them. Pure.

Version 1 has one field per text (``headline``, ``body_html``), version 2 lists of objects with a role, version 3 the
same in camelCase; agencies mix them. So keys are compared in lower case and each text is looked for in both shapes.
Whatever is not plainly usable is not published: another ``pubStatus``, an embargo that is not over or not readable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from livefeed.feed.item import Image, Level
from livefeed.newsroom.importing.json_feeds import objects, string
from livefeed.newsroom.importing.raw import Raw, read_date
from livefeed.newsroom.importing.results import BadEntry, Place

_ENVELOPES = ("items", "_items", "item", "newsitems", "data", "results", "associations")
"""Keys under which agencies and newsroom systems put the objects."""
_ENVELOPE_DEPTH = 4
_MARKS = frozenset({"headline", "headlines", "pubstatus", "versioncreated", "bodies", "body_html", "body_text"})
_TEXT_TYPES = frozenset({"", "text", "composite"})
_MAIN_ROLES = ("main", "headline", "body", "")
_LEVELS: dict[int, Level] = {1: "urgent", 2: "urgent", 3: "important"}
"""IPTC urgency runs from 1 (most urgent) to 9; agencies send a flash as 1 and an "urgent" as 2."""
_BYLINE_START = re.compile(r"\A(?:par|by|de|from|بقلم)\s*:?\s+", re.IGNORECASE)
_BYLINE_JOINT = re.compile(r"\s*(?:,|;|&|\bet\b|\band\b)\s*", re.IGNORECASE)


def found_in(value: Any, depth: int = 0) -> list[dict[str, Any]]:
    """The ninjs objects in a JSON value, with their keys in lower case; none where it holds none."""
    if depth > _ENVELOPE_DEPTH:
        return []
    if isinstance(value, list):
        return [item for element in value for item in found_in(element, depth + 1)]
    if not isinstance(value, dict):
        return []
    lowered = _lowered(value)
    if _MARKS & lowered.keys() and ("uri" in lowered or "pubstatus" in lowered or "versioncreated" in lowered):
        return [lowered]
    return [item for key in _ENVELOPES if key in lowered for item in found_in(lowered[key], depth + 1)]


def read(items: list[dict[str, Any]], now: datetime) -> Iterator[Raw | BadEntry]:
    """The entries of ninjs objects as `found_in` gives them."""
    for number, item in enumerate(items, start=1):
        yield entry(item, number, now)


def entry(item: dict[str, Any], number: int, now: datetime, line: int | None = None) -> Raw | BadEntry:
    """One ninjs object."""
    withheld = _withheld(item, now)
    kind = string(item, "type").lower()
    title = _text(item, "headline", "headlines") or string(item, "title")
    if kind not in _TEXT_TYPES and not withheld:
        hint = (title or string(item, "uri"))[:60]
        return BadEntry(place=Place(number, line, hint), reason=f"Its type is {kind[:20]!r}, not text.", skipped=True)
    # AP and Superdesk give the id as altids.itemid or guid
    alternative = item.get("altids")
    guid = string(item, "uri") or string(item, "guid")
    if not guid and isinstance(alternative, dict):
        guid = string(_lowered(alternative), "itemid")
    html, text = _body(item)
    return Raw(
        number=number,
        line=line,
        guid=guid,
        title=title or _text(item, "slugline", "sluglines"),
        html=html,
        text=text,
        published=string(item, "firstcreated") or string(item, "contentcreated") or string(item, "versioncreated"),
        updated=string(item, "versioncreated"),
        authors=_authors(item),
        categories=[*_subjects(item, "name"), *(k for k in _strings(item, "keywords"))],
        codes=[code for key in ("code", "uri", "literal") for code in _subjects(item, key)],
        language=string(item, "language"),
        source=_source(item),
        images=_images(item),
        level=_level(item),
        withheld=withheld,
    )


def _lowered(value: dict[str, Any]) -> dict[str, Any]:
    return {str(key).lower(): inner for key, inner in value.items()}


def _withheld(item: dict[str, Any], now: datetime) -> str:
    """Why the item must not be published; "" where it may."""
    status = item.get("pubstatus", "usable")
    if status != "usable":
        return f"Its pubStatus is {str(status)[:20]!r}, not 'usable': it was not published."
    embargo = item.get("embargoed")
    if not embargo:
        return ""
    until = read_date(embargo) if isinstance(embargo, str) else None
    if until is None:
        return "Its embargo cannot be read as a date: it was not published."
    if until > now:
        return f"It is under embargo until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC: import it again after that."
    return ""


def _text(item: dict[str, Any], single: str, several: str) -> str:
    """A text of version 1 (plain, or with a suffix of the agency's own), or the main one of a list of 2 and 3."""
    if string(item, single):
        return string(item, single)
    texts = [_lowered(value) for value in objects(item, several)]
    texts.sort(key=lambda value: _role(value) not in _MAIN_ROLES)
    listed = next((text for value in texts if (text := string(value, "value"))), "")
    return listed or next((text for _, text in _suffixed(item, single)), "")


def _suffixed(item: dict[str, Any], name: str) -> list[tuple[str, str]]:
    """The texts of version 1 under ``name_…``, "main" first: each with its suffix."""
    found = [(key[len(name) + 1 :], string(item, key)) for key in item if key.startswith(f"{name}_")]
    return sorted((suffixed for suffixed in found if suffixed[1]), key=lambda suffixed: suffixed[0] != "main")


def _role(value: dict[str, Any]) -> str:
    return string(value, "role").lower()


def _body(item: dict[str, Any]) -> tuple[str, str]:
    """HTML and plain text of the item: the body, else the description."""
    for name, several in (("body", "bodies"), ("description", "descriptions")):
        html = text = ""
        listed = [_lowered(value) for value in objects(item, several)]
        listed.sort(key=lambda value: _role(value) not in _MAIN_ROLES)
        for kind, value in [(string(v, "contenttype"), string(v, "value")) for v in listed] + _suffixed(item, name):
            if "html" in kind or "richtext" in kind or "</p>" in value:
                html = html or value
            elif kind in ("", "text/plain", "text", "main"):
                text = text or value
        if html or text or string(item, name):
            return html, text or string(item, name)
    return "", ""


def _authors(item: dict[str, Any]) -> list[str]:
    byline = string(item, "byline") or string(item, "by")
    if byline:
        return [name for name in _BYLINE_JOINT.split(_BYLINE_START.sub("", byline.strip())) if name]
    creators = [_lowered(value) for key in ("authors", "bylines") for value in objects(item, key)]
    return [name for value in creators if (name := string(value, "name") or string(value, "value"))]


def _subjects(item: dict[str, Any], key: str) -> list[str]:
    subjects = [_lowered(s) for name in ("subject", "subjects", "genre", "genres") for s in objects(item, name)]
    return [text for subject in subjects if (text := string(subject, key))]


def _strings(item: dict[str, Any], key: str) -> list[str]:
    value = item.get(key)
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _source(item: dict[str, Any]) -> str:
    sources = [_lowered(s) for name in ("infosource", "infosources") for s in objects(item, name)]
    named = next((name for source in sources if (name := string(source, "name"))), "")
    return named or string(item, "source") or string(item, "copyrightholder")


def _level(item: dict[str, Any]) -> Level:
    urgency = item.get("urgency")
    return _LEVELS.get(urgency, "normal") if isinstance(urgency, int) else "normal"


def _images(item: dict[str, Any]) -> list[Image]:
    """The renditions of the item and of its pictures, widest first."""
    pictures = [item, *_values(item, "associations")]
    found: list[Image] = []
    for picture in pictures:
        if picture is not item and string(picture, "type").lower() not in ("picture", "graphic"):
            continue
        if picture is not item and picture.get("pubstatus", "usable") != "usable":
            continue
        renditions = [r for r in _values(picture, "renditions") if _is_image(r)]
        renditions.sort(key=lambda r: -(r["width"] if isinstance(r.get("width"), int) else 0))
        alt = _text(picture, "description_text", "descriptions") or _text(picture, "headline", "headlines")
        credit = string(picture, "byline") or string(picture, "by") or string(picture, "copyrightholder")
        found += [
            Image(url=string(r, "href"), alt="" if picture is item else alt, credit="" if picture is item else credit)
            for r in renditions
        ]
    return found


def _values(item: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Objects that version 1 keeps under free names and later ones in a list."""
    value = item.get(key)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [_lowered(element) for element in inner if isinstance(element, dict)]


def _is_image(rendition: dict[str, Any]) -> bool:
    kind = string(rendition, "mimetype") or string(rendition, "contenttype")
    return bool(string(rendition, "href")) and (kind.startswith("image/") if kind else True)
