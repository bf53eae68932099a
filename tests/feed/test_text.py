"""The door for text."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livefeed.errors import InvalidField
from livefeed.feed import text

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
"""Any code points, lone surrogates among them."""


@given(ANY_TEXT)
def test_what_passes_is_one_line(value: str) -> None:
    """Text that passes as one line splits nowhere, by any of Python's or a browser's notions, and encodes."""
    try:
        clean = text.one_line("headline", value, 60)
    except InvalidField:
        pass
    else:
        assert len(clean.splitlines()) <= 1
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in clean)
        clean.encode()


@given(ANY_TEXT)
def test_what_passes_as_lines_has_no_control_characters(value: str) -> None:
    """A body keeps tabs and LF line ends, and nothing else below U+0020."""
    try:
        clean = text.lines("body", value, 100)
    except InvalidField:
        pass
    else:
        assert not any(ord(c) < 32 and c not in "\t\n" for c in clean)
        clean.encode()


@pytest.mark.parametrize("bad", ["a\0b", "a\nb", "a\rb", "a\tb", "a\x1bb", "a\x85b", "a\u2028b", "a\u2029b", "\ud800"])
def test_refused_characters_are_named(bad: str) -> None:
    """The error names the field and the character."""
    with pytest.raises(InvalidField, match=r"headline contains the character U\+[0-9A-F]{4}"):
        text.one_line("headline", bad, 100)


def test_bounds() -> None:
    """Empty where something is required, and over-long, are refused."""
    with pytest.raises(InvalidField, match="must not be empty"):
        text.one_line("headline", "  ", 10, required=True)
    with pytest.raises(InvalidField, match="has 11 characters; at most 10"):
        text.one_line("headline", "x" * 11, 10)


@given(st.text(max_size=100))
def test_slugs_are_safe_in_a_path(value: str) -> None:
    """A slug holds letters, digits and single hyphens only, whatever it was made from."""
    slug = text.slugify(value)
    assert all(c.isalnum() or c == "-" for c in slug)
    assert len(slug) <= 60
    assert "--" not in slug


def test_slug_examples() -> None:
    """Accents fold, ligatures open, Arabic stays."""
    assert text.slugify("L'Œuvre d'été : déjà 3,5 % !") == "l-oeuvre-d-ete-deja-3-5"
    assert text.slugify("عاجل: خبر") == "عاجل-خبر"
    assert text.slugify("— !") == ""


@pytest.mark.parametrize(
    "bad",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//host/x",
        "/x",
        "http://",
        "https://u:p@h/",
        "http://[x/",
        "ftp://h/x",
    ],
)
def test_bad_urls(bad: str) -> None:
    """Only absolute http and https URLs without credentials pass."""
    with pytest.raises(InvalidField):
        text.url("image.url", bad, 100)


def test_times() -> None:
    """A time needs an offset and becomes UTC in whole milliseconds."""
    given_time = datetime.fromisoformat("2024-08-08T13:55:00.123456+01:00")
    assert text.utc("at", given_time) == datetime(2024, 8, 8, 12, 55, 0, 123_000, UTC)
    with pytest.raises(InvalidField, match="offset"):
        text.utc("at", datetime(2024, 1, 1))  # noqa: DTZ001  (that is what is refused)
    with pytest.raises(InvalidField, match="1900"):
        text.utc("at", datetime(1800, 1, 1, tzinfo=UTC))
