"""Hostile and senseless files: refused or harmless, never an exception, never a file or an address opened."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livefeed.feed import markdown
from livefeed.newsroom import importing
from livefeed.newsroom.importing import BadEntry, Found, Remark, Result, read, reading
from livefeed.newsroom.input import checked
from livefeed.settings import Settings

SETTINGS = Settings()
FIXTURES = Path(__file__).parent / "fixtures"


def everything(data: bytes) -> list[Result]:
    return list(read(data, SETTINGS, rubric="monde"))


def rss(item: str, prolog: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?>{prolog}<rss version="2.0"><channel><title>F</title>'
        f"<item><guid>urn:x:1</guid>{item}</item></channel></rss>"
    ).encode()


def assert_sound(results: list[Result]) -> None:
    """Every result is one of ours; every entry passes the door and renders without anything that runs."""
    for result in results:
        assert isinstance(result, Found | BadEntry | Remark)
        if isinstance(result, Found):
            clean = checked(result.entry, SETTINGS)
            rendered = markdown.render(clean.get("body", "")).lower()
            assert "<script" not in rendered
            assert 'href="javascript' not in rendered


@settings(deadline=None)  # the machine may be busy; the test has a time limit of its own
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    """The reader never raises, whatever the bytes."""
    assert_sound(everything(data))


@settings(deadline=None)  # the machine may be busy; the test has a time limit of its own
@given(st.binary(max_size=60), st.integers(0, 4_000), st.sampled_from(sorted(FIXTURES.iterdir())))
def test_any_damage_to_a_real_file(damage: bytes, at: int, fixture: Path) -> None:
    """The reader never raises for a file with any bytes put into it anywhere."""
    data = fixture.read_bytes()
    assert_sound(everything(data[:at] + damage + data[at:]))


@settings(deadline=None)  # the machine may be busy; the test has a time limit of its own
@given(st.integers(0, 6_000), st.sampled_from(sorted(FIXTURES.iterdir())))
def test_any_file_cut_off_anywhere(at: int, fixture: Path) -> None:
    """The reader never raises for a file that breaks off, and no entry is read twice."""
    results = everything(fixture.read_bytes()[:at])
    numbers = [result.place.number for result in results if isinstance(result, Found)]

    assert_sound(results)
    assert len(set(numbers)) == len(numbers)


@settings(deadline=None)  # the machine may be busy; the test has a time limit of its own
@given(st.text(), st.text())
def test_any_text_in_title_and_body_survives_as_safe_text(title: str, body: str) -> None:
    """Whatever is typed into a title and a body elsewhere arrives as text."""
    escaped = [text.encode("utf-8", "replace").decode().replace("]]>", "") for text in (title, body)]
    results = everything(
        rss(f"<title><![CDATA[{escaped[0]}]]></title><description><![CDATA[{escaped[1]}]]></description>")
    )

    assert_sound(results)
    assert len(results) == 1


@pytest.mark.parametrize(
    "prolog",
    [
        '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>',
        '<!DOCTYPE a [<!ENTITY c SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a [<!ENTITY c SYSTEM "http://127.0.0.1:9/">]>',
        '<!DOCTYPE a [<!ENTITY % c SYSTEM "http://127.0.0.1:9/"> %c;]>',
        '<!DOCTYPE a [<!ENTITY c "' + "a" * 10_000 + '">]>',
    ],
)
def test_entities_are_refused(prolog: str) -> None:
    """Entity bombs and external entities: a file that declares entities is not read at all."""
    (only,) = everything(rss("<title>&c;</title>", prolog))

    assert isinstance(only, BadEntry)
    assert only.place.number == 0
    assert "entities" in only.reason


def test_entities_after_the_start_are_harmless() -> None:
    """A document type in the middle of a file declares nothing."""
    results = everything(rss('<title>a</title><!DOCTYPE a [<!ENTITY c "bombe">]><description>&c;</description>'))

    assert_sound(results)
    assert "bombe" not in repr([result for result in results if isinstance(result, Found)])


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the network nor the disk is touched: a file that reads like an address or a path is only text."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    secret = tmp_path / "secret.xml"
    secret.write_bytes(rss("<title>secret</title>"))

    for data in (str(secret).encode(), b"http://127.0.0.1:9/feed", b"file:///etc/passwd", b"<" + str(secret).encode()):
        assert all(isinstance(result, BadEntry | Remark) for result in everything(data))
    dtd = '<!DOCTYPE rss PUBLIC "-//N//DTD RSS 0.91//EN" "http://127.0.0.1:9/rss-0.91.dtd">'
    assert isinstance(everything(rss("<title>a</title>", dtd))[-1], Found)


@pytest.mark.parametrize(
    "data",
    [
        rss("<title>a</title><description>" + "<div>" * 30_000 + "</description>"),
        rss("<title>a</title><description>" + "&lt;div&gt;" * 30_000 + "</description>"),
        b"<rss><channel>" + b"<a>" * 50_000,
        b"<rss><channel><item>" * 5_000,
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"{" * 100_000,
        b"<" * 200_000,
        b"<!--" * 50_000,
        b"<![CDATA[" * 20_000,
        b"&" * 200_000,
        rss("<title>" + "&#" * 50_000 + "</title>"),
        rss("<title>&#99999999999;&#xFFFFFFFFF;&#0;&#xD800;a</title>"),
        rss("<title>" + " " * 200_000 + "a</title>"),
        b'{"version":"https://jsonfeed.org/version/1","items":[' + b'{"id":1e999,"title":"a"},' * 100 + b"{}]}",
        b'{"version":"https://jsonfeed.org/version/1","items":[{"id":' + b"9" * 5_000 + b"}]}",
    ],
    ids=range(16),
)
@pytest.mark.timeout(20)
def test_deep_long_and_odd_files_cost_little(data: bytes) -> None:
    """Depth, length and strange numbers neither raise nor take long."""
    assert_sound(everything(data))


def test_a_file_over_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file larger than the bound is not read."""
    monkeypatch.setattr(reading, "FILE_MAX_BYTES", 100)
    (only,) = everything(rss("<title>" + "a" * 200 + "</title>"))

    assert isinstance(only, BadEntry)
    assert "larger" in only.reason


def test_entries_over_the_bound_are_left_out_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file with too many entries the first ones are read, and the rest is reported as left out."""
    monkeypatch.setattr(reading, "ENTRIES_MAX", 2)
    item = "<item><title>a</title><guid>urn:x:{}</guid></item>"
    data = f"<rss version='2.0'><channel>{''.join(item.format(n) for n in range(5))}</channel></rss>"

    *found, last = everything(data.encode())

    assert [type(result) for result in found] == [Found, Found]
    assert isinstance(last, BadEntry)
    assert "more than 2 entries" in last.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b"<!doctype html><html><head><title>Page</title></head><body><p>x</p></body></html>", "no feed"),
        (b"%PDF-1.7", "none of RSS"),
        (b"\x1f\x8b\x08\x00", "gunzip"),
        (b"guid,title\n1,a", "none of RSS"),
        (b'{"hello": "world"}', "none of RSS"),
        (b'["a"]', "none of RSS"),
        (b'{"version": "https://jsonfeed.org/version/1.1", "items": 3}', "not a list"),
        (b'{"version": "https://jsonfeed.org/version/1.1", "items": [', "JSON cannot be read"),
    ],
)
def test_what_is_no_feed_is_said_to_be_none(data: bytes, reason: str) -> None:
    """A file that is no feed is reported as a whole, with what is read instead."""
    (only,) = everything(data)

    assert isinstance(only, BadEntry)
    assert str(only.place) == "file"
    assert reason in only.reason


def test_an_empty_feed_is_no_error() -> None:
    """A feed without entries is a feed without entries."""
    assert everything(b'<rss version="2.0"><channel><title>F</title></channel></rss>') == []
    assert everything(b'{"version":"https://jsonfeed.org/version/1.1","title":"F","items":[]}') == []


def test_the_bounds_are_public() -> None:
    """Whoever reads a file knows how much of it is taken."""
    assert importing.FILE_MAX_BYTES == 64 * 1024 * 1024
