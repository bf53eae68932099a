"""Whatever encoding a file declares or turns out to have, its text is read; what is wrong with it is said."""

from __future__ import annotations

import codecs

import pytest
from msgspec import UnsetType

from livefeed.newsroom.importing import Found, Remark, read
from livefeed.settings import Settings

FRENCH = "L’été à Fès : « déjà » l’œuvre"
ARABIC = "خبر من فاس، «مدينة»"


def rss(title: str, encoding: str | None) -> str:
    declared = f' encoding="{encoding}"' if encoding else ""
    return (
        f'<?xml version="1.0"{declared}?>\n<rss version="2.0"><channel><title>{title}</title>'
        f"<item><title>{title}</title><guid>urn:x:1</guid><category>monde</category></item></channel></rss>"
    )


def headlines(data: bytes) -> tuple[list[str | UnsetType], list[str]]:
    results = list(read(data, Settings()))
    found = [result.entry.headline for result in results if isinstance(result, Found)]
    return found, [result.text for result in results if isinstance(result, Remark)]


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("encoding", [None, "utf-8", "UTF8"])
def test_utf_8(mark: bytes, encoding: str | None) -> None:
    """UTF-8, declared or not, with or without a byte order mark."""
    assert headlines(mark + rss(FRENCH, encoding).encode()) == ([FRENCH], [])


@pytest.mark.parametrize(
    ("encoding", "title"),
    [
        ("windows-1252", FRENCH),
        ("iso-8859-15", "L'été à Fès : déjà l'œuvre"),
        ("iso-8859-1", "L'été à Fès"),
        ("windows-1256", ARABIC),
        ("iso-8859-6", "خبر من فاس"),
        ("macintosh", FRENCH),
    ],
)
def test_a_declared_encoding(encoding: str, title: str) -> None:
    """Single-byte encodings of French and Arabic sites, as the XML declaration names them."""
    assert headlines(rss(title, encoding).encode(encoding)) == ([title], [])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_wide_encodings_of_xml_and_json(encoding: str) -> None:
    """UTF-16 and UTF-32 with or without a mark, for XML and for JSON."""
    feed = (
        '{"version":"https://jsonfeed.org/version/1","title":"F","items":'
        f'[{{"id":"urn:x:1","title":"{ARABIC}","tags":["monde"]}}]}}'
    )

    assert headlines(rss(ARABIC, "utf-16").encode(encoding)) == ([ARABIC], [])
    assert headlines(feed.encode(encoding)) == ([ARABIC], [])


def test_latin_1_is_what_the_web_means_by_it() -> None:
    """A file that says ISO-8859-1 and holds curly quotes is windows-1252."""
    assert headlines(rss(FRENCH, "ISO-8859-1").encode("windows-1252")) == ([FRENCH], [])


def test_a_wrong_declaration_is_said() -> None:
    """UTF-8 that says it is something else unreadable is read as UTF-8, with a remark."""
    found, remarks = headlines(rss(FRENCH, "us-ascii-nonsense").encode())

    assert found == [FRENCH]
    assert "us-ascii-nonsense" in remarks[0]


def test_one_broken_byte_does_not_spoil_the_others() -> None:
    """A file in UTF-8 with one broken character keeps all its other accents, with a remark."""
    data = rss(FRENCH + " texte" * 50 + "X", "utf-8").encode().replace(b"X", b"\xe9", 1)

    found, remarks = headlines(data)

    assert str(found[0]).startswith(FRENCH)
    assert "could not be read" in remarks[0]


def test_undeclared_windows_1252_is_read_as_such() -> None:
    """A file without declaration that is no UTF-8 at all is taken for windows-1252, with a remark."""
    found, remarks = headlines(rss("é" * 40, None).encode("windows-1252"))

    assert found == ["é" * 40]
    assert len(remarks) == 1


@pytest.mark.parametrize("encoding", ["punycode", "idna", "unicode_escape", "zlib", "rot13", "utf-7", "undefined"])
def test_codecs_that_are_no_encodings_of_feeds_are_not_used(encoding: str) -> None:
    """A declaration cannot call up a codec of Python's that is no character encoding."""
    found, remarks = headlines(rss(FRENCH, encoding).encode())

    assert found == [FRENCH]
    assert len(remarks) == 1
