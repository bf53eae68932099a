"""An export's lines give the items back; a line that cannot be imported is told by its number."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livefeed.feed import markdown
from livefeed.feed.item import Correction, Image, PublicItem, new_id, stub
from livefeed.newsroom.importing import BadEntry, Found, Result, export_line, read
from livefeed.newsroom.input import Entry, checked
from livefeed.settings import Settings

SETTINGS = Settings()
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


def public(**fields: Any) -> PublicItem:
    given: dict[str, Any] = {
        "id": new_id(NOW),
        "version": 3,
        "status": "published",
        "url": "/i/x",
        "headline": "Titre",
        "body_html": "",
        "rubric": "monde",
        "first_published_at": NOW,
    }
    return PublicItem(**(given | fields))


def back(*items: PublicItem) -> list[Result]:
    return list(read(b"".join(export_line(item) for item in items), SETTINGS, now=NOW))


def item_of(entry: Entry, item: PublicItem) -> PublicItem:
    """The item that the server makes of an entry, with what an export does not hold taken from `item`."""
    clean = checked(entry, SETTINGS)
    body = clean.pop("body")
    return msgspec.structs.replace(
        item,
        **clean,
        id=entry.id,
        body_html=markdown.render(body),
        first_published_at=entry.first_published_at,
        updated_at=entry.updated_at,
        corrections=tuple(entry.corrections),
    )


FULL = public(
    headline="Un titre « complet » & <b>littéral</b>",
    body_html=markdown.render("Un **corps**.\n\n- un\n- deux\\\nsuite\n\n[lien](https://a.example/x)"),
    tags=("Été", "b c"),
    thread="budget-2026",
    authors=("A. B.", "ج د"),
    source="Agence",
    language="ar",
    direction="rtl",
    level="urgent",
    key=True,
    verification="confirmed",
    image=Image(url="https://a.example/i.jpg", alt="x", credit="y"),
    alternates={"fr": new_id(NOW)},
    corrections=(Correction(note="Le chiffre est 2.", at=NOW),),
    updated_at=NOW,
    access="free",
)


def test_an_export_gives_the_items_back() -> None:
    """Every field that an import can set comes back equal, under the same id."""
    for item in (FULL, public(), public(access="subscribers", level="important")):
        (found,) = back(item)

        assert isinstance(found, Found)
        assert item_of(found.entry, item) == item
        assert found.entry.backfill


def test_an_exported_item_keeps_its_guid() -> None:
    """The guid is made from the item's id and stays when the site moves; two items never share one."""
    first, second = public(), public()
    lines = [json.loads(export_line(item)) for item in (first, second, first)]

    assert lines[0]["guid"] == lines[2]["guid"] != lines[1]["guid"]
    assert lines[0]["guid"] == f"tag:livefeed,2026:{first.id}"


def test_a_line_is_one_line() -> None:
    """An item is one line of UTF-8, whatever its text."""
    line = export_line(public(headline="a\u2028b", body_html="<p>x\ny</p>"))

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    line.decode("utf-8")


@settings(deadline=None)  # the machine may be busy; the test has a time limit of its own
@given(WORDS, st.lists(WORDS, max_size=3, unique=True), st.text(max_size=60))
def test_any_item_comes_back(headline: str, tags: list[str], body: str) -> None:
    """Whatever an accepted item holds, its line imports to an entry that the door accepts as it is."""
    given = Entry(guid="x", headline=headline, tags=tags, rubric="monde", body=body)
    try:
        clean = checked(given, SETTINGS)
    except Exception:  # what the door refuses is in no item
        return
    item = public(headline=clean["headline"], tags=clean["tags"], body_html=markdown.render(clean["body"]))
    (found,) = back(item)

    assert isinstance(found, Found)
    again = checked(found.entry, SETTINGS)
    assert again["headline"] == item.headline
    assert again["tags"] == item.tags


def test_a_withdrawn_item_is_skipped_with_its_reason() -> None:
    """An export tells that an item was withdrawn, holds none of its text, and an import does not publish it."""
    withdrawn = stub(FULL)
    line = export_line(withdrawn)
    good, skipped = back(public(), withdrawn)

    assert FULL.headline.encode() not in line
    assert b"Agence" not in line
    assert isinstance(good, Found)
    assert isinstance(skipped, BadEntry)
    assert skipped.skipped
    assert "withdrawn" in skipped.reason
    assert skipped.place.line == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"guid": "x", "headline": "h", "rubric": "monde", "nonsense": 1}', "nonsense"),
        ('{"guid": "x", "headline": "h", "rubric": "monde", "\\u001b[2J' + "n" * 999 + '": 1}', "unknown field"),
        ('{"guid": "x", "headline": 3, "rubric": "monde"}', "headline"),
        ('{"guid": "x", "headline": "", "rubric": "monde"}', "headline"),
        ('{"guid": "x", "headline": "h", "rubric": "nulle-part"}', "nulle-part"),
        ('{"guid": "x", "headline": "h"}', "rubric"),
        ('{"guid": "x", "headline": "h", "rubric": "monde", "language": "es"}', "language"),
        ('{"guid": "x", "headline": "h", "rubric": "monde", "status": "draft"}', "draft"),
        ('{"guid": "x", "headline": "a\\u0000b", "rubric": "monde"}', "U+0000"),
        ('{"guid": " ", "headline": "h", "rubric": "monde"}', "guid"),
        ('{"guid": "x", "headline": "h", "rubric": "monde", "first_published_at": "hier"}', "first_published_at"),
        ('{"guid": "x", ', "JSON"),
        ("null", "object"),
    ],
)
def test_a_bad_line_is_told_by_its_number(line: str, reason: str) -> None:
    """One bad line is refused by line number and field; the lines around it are imported."""
    good = export_line(public()).decode()
    first, bad, last = read(f"{good}\n{line}\n{good}".encode(), SETTINGS)

    assert isinstance(first, Found)
    assert isinstance(last, Found)
    assert isinstance(bad, BadEntry)
    assert bad.place.number == 2
    assert bad.place.line == 3
    assert reason in bad.reason
    assert bad.reason.isprintable()
    assert len(bad.reason) < 400


def test_a_line_may_be_a_public_item_as_the_api_gives_it() -> None:
    """What the API gives as JSON can be put into a file, one item a line, and imported."""
    (found,) = read(msgspec.json.encode(FULL), SETTINGS)

    assert isinstance(found, Found)
    assert found.entry.guid == f"tag:livefeed,2026:{FULL.id}"
    assert item_of(found.entry, FULL) == FULL


def test_lines_without_a_rubric_take_the_default() -> None:
    """A default rubric serves lines as it serves feeds."""
    (found,) = read(b'{"guid": "x", "headline": "h"}', SETTINGS, rubric="sport")

    assert isinstance(found, Found)
    assert found.entry.rubric == "sport"


def test_ninjs_one_per_line() -> None:
    """A stream of ninjs objects, one a line, is read as such."""
    line = b'{"uri": "u:%d", "headline": "H", "pubstatus": "usable", "subject": [{"name": "Sport"}]}\n'
    found = list(read(line % 1 + line % 2, SETTINGS))

    assert [result.entry.guid for result in found if isinstance(result, Found)] == ["u:1", "u:2"]
    assert [result.place.line for result in found] == [1, 2]
