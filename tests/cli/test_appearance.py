"""What the terminal shows."""

from __future__ import annotations

import io
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from livefeed.cli import appearance, item_options, naming, tokens
from livefeed.cli.recent import table
from livefeed.cli.server import Server
from livefeed.feed import item
from livefeed.newsroom.tokens import SCOPES
from livefeed.settings import Settings


@given(st.text())
def test_no_text_can_steer_the_terminal(text: str) -> None:
    """Control characters, surrogates and characters that turn the line around do not come through."""
    shown = appearance.one_line(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@pytest.mark.parametrize("value", [None, "", "yesterday", "2026-13-01"])
def test_a_time_that_cannot_be_read_is_no_time(value: str | None) -> None:
    """A foreign server's nonsense shows as nothing."""
    assert appearance.when(value) is None


def test_choices_are_those_of_the_feed() -> None:
    """The lists that the command line keeps for its speed are the feed's and the newsroom's own."""
    assert item_options.LEVELS == item.LEVELS
    assert item.Verification.__args__ == item_options.VERIFICATIONS  # type: ignore[attr-defined]
    assert tokens.SCOPES == SCOPES
    assert naming.ID_CHARS == item.ID_CHARS
    assert set(item.Change.__args__) <= set(appearance.KINDS)  # type: ignore[attr-defined]


def _item(**fields: Any) -> dict[str, Any]:
    return {
        "id": "01m86meb6p4k52cy2s",
        "version": 1,
        "status": "published",
        "headline": "Le port d'Al Hoceïma rouvre après trois jours de tempête",
        "rubric": "societe",
        "level": "normal",
        "first_published_at": "2024-08-08T12:55:00Z",
        **fields,
    }


def test_the_table_fits_80_columns() -> None:
    """Long and Arabic headlines wrap within 80 columns; the day, the time and the short id are there."""
    items = [
        _item(headline="Très long titre " * 12),
        _item(
            headline="خبر عاجل من الرباط عن الاقتصاد الوطني وآفاق النمو في السنوات المقبلة",
            language="ar",
            level="urgent",
        ),
        _item(status="withdrawn", headline="Info retirée par la rédaction", rubric="une-rubrique-au-nom-interminable"),
    ]
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, markup=False, highlight=False)
    console.print(table(items, Server(Settings())))
    plain = io.StringIO()
    Console(file=plain, width=80, markup=False, highlight=False).print(table(items, Server(Settings())))

    assert all(cell_len(line) <= 80 for line in plain.getvalue().splitlines())
    assert "08.08.2024" in plain.getvalue()
    assert "13:55" in plain.getvalue()
    assert "4k52cy2s" in plain.getvalue()
    assert "URGENT" in plain.getvalue()


def test_markup_in_a_headline_is_text() -> None:
    """Square brackets are shown as they are, and colour nothing."""
    out = io.StringIO()
    Console(file=out, width=80, markup=False).print(appearance.headline(_item(headline="[red]Rien[/red]")))

    assert out.getvalue().strip() == "[red]Rien[/red]"
