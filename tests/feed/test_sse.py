"""Frames on the wire, read by independent parsers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import httpx_sse
import pytest
import sseclient
from hypothesis import given
from hypothesis import strategies as st

from livefeed.feed import sse
from livefeed.feed.item import Event, Image, PublicItem
from livefeed.feed.position import Position

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
AT = datetime(2024, 8, 8, 12, 55, tzinfo=UTC)
ITEMS = st.builds(
    PublicItem,
    id=st.just("0" * 18),
    version=st.integers(1, 10**6),
    status=st.sampled_from(["published", "withdrawn"]),
    url=st.just("/i/x"),
    headline=TEXT,
    body_html=TEXT,
    rubric=TEXT,
    tags=st.lists(TEXT, max_size=3).map(tuple),
    authors=st.lists(TEXT, max_size=3).map(tuple),
    image=st.none() | st.builds(Image, url=TEXT, alt=TEXT, credit=TEXT),
    first_published_at=st.just(AT),
)
EVENTS = st.builds(Event, change=st.sampled_from(["publish", "edit", "withdraw"]), item=ITEMS, backfill=st.booleans())
POSITION = Position(17, "3fa9c1d2")


class Chunks(httpx.SyncByteStream):
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks


def by_httpx_sse(chunks: list[bytes]) -> list[tuple[str, str, str]]:
    """Read by httpx-sse."""
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Chunks(chunks))
    return [(e.event, e.id, e.data) for e in httpx_sse.EventSource(response).iter_sse()]


def by_sseclient(chunks: list[bytes]) -> list[tuple[str, str, str]]:
    """Read by sseclient-py, which splits lines as ``bytes.splitlines`` does."""
    return [(e.event, e.id or "", e.data) for e in sseclient.SSEClient(iter(chunks)).events()]


def by_the_book(chunks: list[bytes]) -> list[tuple[str, str, str]]:
    """Read as HTML standard 9.2.6 says, over the decoded whole."""
    events: list[tuple[str, str, str]] = []
    data: list[str] = []
    event = last_id = ""
    for line in b"".join(chunks).decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line:
            if data:
                events.append((event or "message", last_id, "\n".join(data)))
            data, event = [], ""
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            event = value
        elif name == "id" and "\0" not in value:
            last_id = value
    return events


PARSERS: list[Any] = [by_httpx_sse, by_sseclient, by_the_book]


@pytest.mark.parametrize("parse", PARSERS)
@given(event=EVENTS, view=st.sampled_from(sse.VIEWS), cut=st.integers(1, 50))
def test_any_item_is_exactly_one_event(parse: Any, event: Event, view: sse.View, cut: int) -> None:
    """Any text in any field: exactly one event, its exact data, under any chunking, by each parser."""
    frame = sse.item(event, POSITION, view, "https://exemple.ma")
    read = parse([frame[i : i + cut] for i in range(0, len(frame), cut)])

    assert [(kind, id) for kind, id, _ in read] == [("item", "17-3fa9c1d2")]
    data = json.loads(read[0][2])
    assert data["headline"] == event.item.headline
    assert data["change"] == event.change
    assert data.get("backfill", False) == event.backfill
    if view == "full":
        assert data["body_html"] == event.item.body_html
        assert data["tags"] == list(event.item.tags)
        assert data["url"] == "https://exemple.ma/i/x"


@pytest.mark.parametrize("parse", PARSERS)
def test_the_other_events(parse: Any) -> None:
    """Ticks, resets and byes read back; a tick without a position tells no id."""
    frames = [
        sse.tick(AT, True, None, POSITION, 1234),
        sse.tick(AT, False, AT, None),
        sse.reset("expired", POSITION),
        sse.bye("restart", 99),
    ]
    kinds = [(kind, json.loads(data)) for kind, _, data in parse(frames)]
    assert kinds == [
        ("tick", {"now": "2024-08-08T12:55:00Z", "live": True, "last": None}),
        ("tick", {"now": "2024-08-08T12:55:00Z", "live": False, "last": "2024-08-08T12:55:00Z"}),
        ("reset", {"reason": "expired"}),
        ("bye", {"reason": "restart"}),
    ]
    assert b"retry: 1234\n" in frames[0]
    assert b"id:" not in frames[1]
    assert b"id: 17-3fa9c1d2\n" in frames[2]


def test_lf_line_ends_only() -> None:
    """The wire has LF line ends."""
    assert b"\r" not in sse.tick(AT, True, None, POSITION, 1)


@given(st.binary(min_size=1, max_size=300))
def test_chunks(data: bytes) -> None:
    """A chunk is RFC 9112 7.1's: size in hex, CRLF, data, CRLF."""
    chunk = sse.chunk(data)
    size, _, rest = chunk.partition(b"\r\n")
    assert int(size, 16) == len(data)
    assert rest == data + b"\r\n"
