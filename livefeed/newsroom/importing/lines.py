"""Our own JSON lines: one object per line, written by an export and read back by an import. Pure.

A line is an `Entry` as JSON plus `status`; the body is Markdown. A withdrawn item's line holds its stub, so that an
export says what it left out, and an import skips it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from livefeed.feed import markdown
from livefeed.feed.item import PublicItem


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
