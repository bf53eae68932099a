"""How people name items."""

from __future__ import annotations

from typing import Any, cast

import pytest

from livefeed.cli import naming
from livefeed.cli.client import Client

ID = "01m86meb6p4k52cy2s"
OTHER = "01m86meaab7pxscy2s"


class Pages:
    """Stands for the client where only its list of items is asked."""

    def items(self, limit: int) -> list[dict[str, Any]]:
        """Two items."""
        return [{"id": ID}, {"id": OTHER}]


def resolve(name: str) -> str:
    """What `name` names among two items."""
    return naming.resolve(cast("Client", Pages()), name)


@pytest.mark.parametrize(
    "name",
    [
        ID,
        ID.upper(),
        f" {ID} ",
        naming.short(ID),
        f"http://127.0.0.1:8000/i/{ID}/un-titre",
        f"https://news.example/ar/i/{ID}",
        f"/i/{ID}?x=1",
    ],
)
def test_an_item_is_named_by_id_short_id_or_address(name: str) -> None:
    """All of them name the same item."""
    assert resolve(name) == ID


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "not an item's id"),
        ("abc", "not an item's id"),
        ("un titre", "not an item's id"),
        ("../../etc/passwd", "not an item's id"),
        ("zzzzzzzz", "None of the newest"),
        ("cy2s", "the end of 2 ids"),
    ],
)
def test_what_names_no_item_or_two_is_refused(name: str, message: str) -> None:
    """With a sentence, and nothing is guessed."""
    with pytest.raises(naming.NoSuchItem, match=message):
        resolve(name)
