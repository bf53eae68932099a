"""How a person names an item: its id, the address of its page, or the short id that `recent` and `tail` show."""

from __future__ import annotations

import re

from livefeed.cli.client import Client
from livefeed.errors import LivefeedError

ID_CHARS = 18
SHORT_CHARS = 8
"""An id's random part: 40 bits, so that even among a million items two alike are a rarity, and are told apart."""
LOOK_BACK = 1_000
"""Newest items among which a short id is looked up: ten pages at most, and the first one nearly always."""

_ALPHABET = "0-9a-hjkmnp-tv-z"
_ID = re.compile(f"[{_ALPHABET}]{{{ID_CHARS}}}")
_SHORT = re.compile(f"[{_ALPHABET}]{{4,{ID_CHARS - 1}}}")
_IN_ADDRESS = re.compile(f"/i/([{_ALPHABET}]{{{ID_CHARS}}})(?:[/?#]|$)")


class NoSuchItem(LivefeedError):
    """What was typed names no item, or more than one."""


def short(id: str) -> str:
    """The part of an id that people type."""
    return id[-SHORT_CHARS:]


def resolve(client: Client, name: str) -> str:
    """The id of the item that `name` names.

    :raises NoSuchItem: it names none, or several.
    """
    name = name.strip()
    if found := _IN_ADDRESS.search(name):
        return found[1]
    lower = name.lower()
    if _ID.fullmatch(lower):
        return lower
    if not _SHORT.fullmatch(lower):
        raise NoSuchItem(f"{name[:100]!r} is not an item's id or address; `livefeed recent` lists them.")
    matches: list[str] = []
    for item in client.items(limit=LOOK_BACK):
        if item["id"].endswith(lower):
            matches.append(item["id"])
            if len(lower) >= SHORT_CHARS:
                break  # as good as unique; do not read on for a second one
    if not matches:
        raise NoSuchItem(f"None of the newest {LOOK_BACK} items has an id that ends in {lower}; give all of it.")
    if len(matches) > 1:
        raise NoSuchItem(f"{lower} is the end of {len(matches)} ids: {', '.join(matches[:5])}.")
    return matches[0]
