"""JSON Feed, versions 1 and 1.1 (jsonfeed.org). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from livefeed.feed.item import Image
from livefeed.newsroom.importing.raw import Raw
from livefeed.newsroom.importing.results import BadEntry, Place


def is_json_feed(value: Any) -> bool:
    """Whether a JSON value is a feed of this kind."""
    return isinstance(value, dict) and "jsonfeed.org/version/" in str(value.get("version")) and "items" in value


def read(feed: dict[str, Any]) -> Iterator[Raw | BadEntry]:
    """The entries of a JSON Feed, in its order; a field of a wrong type counts as missing."""
    items = feed["items"]
    if not isinstance(items, list):
        yield BadEntry(place=Place(0), reason="Its items are not a list.")
        return
    for number, item in enumerate(items, start=1):
        if isinstance(item, dict):
            yield _entry(item, feed, number)
        else:
            yield BadEntry(place=Place(number), reason="It is not an object.")


def _entry(item: dict[str, Any], feed: dict[str, Any], number: int) -> Raw:
    images = [string(item, "image"), string(item, "banner_image")]
    images += [string(a, "url") for a in objects(item, "attachments") if string(a, "mime_type").startswith("image/")]
    return Raw(
        number=number,
        # "If an id is presented as a number, a reader should coerce it to a string" (version 1.1, Items)
        guid=str(item["id"]) if isinstance(item.get("id"), int | float) else string(item, "id"),
        link=string(item, "url") or string(item, "external_url") or string(feed, "home_page_url"),
        title=string(item, "title"),
        html=string(item, "content_html"),
        text=string(item, "content_text") or string(item, "summary"),
        published=string(item, "date_published"),
        updated=string(item, "date_modified"),
        authors=_authors(item) or _authors(feed),
        categories=[tag for tag in item["tags"] if isinstance(tag, str)] if isinstance(item.get("tags"), list) else [],
        language=string(item, "language") or string(feed, "language"),
        source=string(feed, "title"),
        images=[Image(url=url) for url in images if url],
    )


def _authors(values: dict[str, Any]) -> list[str]:
    """Version 1.1 has a list of authors, version 1 has one."""
    single = values.get("author")
    found = objects(values, "authors") or ([single] if isinstance(single, dict) else [])
    return [name for author in found if (name := string(author, "name"))]


def string(values: dict[str, Any], key: str) -> str:
    """The text at `key`; "" where there is none."""
    value = values.get(key)
    return value if isinstance(value, str) else ""


def objects(values: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects of the list at `key`; none where it is no list."""
    value = values.get(key)
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else []
