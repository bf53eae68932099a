"""The catalogues."""

from __future__ import annotations

import re

import pytest
from babel import Locale

from livefeed.feed.item import LEVELS, STUB
from livefeed.reader.messages import CATALOGUES, messages
from livefeed.settings import LANGUAGES


def _placeholders(message: str | dict[str, str]) -> set[str]:
    texts = message.values() if isinstance(message, dict) else [message]
    return {name for text in texts for name in re.findall(r"\{(\w+)\}", text)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_catalogues_say_the_same(language: str) -> None:
    """Every language has every message, of the same kind; fixed sentences have the same placeholders."""
    ours, french = CATALOGUES[language], CATALOGUES["fr"]

    assert ours.keys() == french.keys()
    for name, message in ours.items():
        assert isinstance(message, dict) == isinstance(french[name], dict), name
        if name not in ("date", "day"):
            assert _placeholders(message) == _placeholders(french[name]), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_plurals_have_the_forms_of_their_language(language: str) -> None:
    """A plural has a form for every category that its language has."""
    categories = {*Locale.parse(language).plural_form.tags, "other"}
    for name, message in CATALOGUES[language].items():
        if isinstance(message, dict):
            assert message.keys() == categories, name


@pytest.mark.parametrize(
    ("language", "n", "said"),
    [
        ("fr", 1, "Temps de lecture : 1 minute"),
        ("fr", 2, "Temps de lecture : 2 minutes"),
        ("en", 1, "Reading time: 1 minute"),
        ("ar", 1, "مدة القراءة: دقيقة واحدة"),
        ("ar", 2, "مدة القراءة: دقيقتان"),
        ("ar", 7, "مدة القراءة: 7 دقائق"),
        ("ar", 12, "مدة القراءة: 12 دقيقة"),
    ],
)
def test_reading_time(language: str, n: int, said: str) -> None:
    """Minutes are counted as each language counts."""
    assert messages(language).count("reading_time", n) == said


@pytest.mark.parametrize(
    ("names", "said"), [((), ""), (("A",), "A"), (("A", "B"), "A et B"), (("A", "B", "C"), "A, B et C")]
)
def test_names(names: tuple[str, ...], said: str) -> None:
    """Several authors are an enumeration."""
    assert messages("fr").names(names) == said


def test_the_stub_says_the_same_everywhere() -> None:
    """Pages, API and stream have one sentence for a withdrawn item."""
    for language in LANGUAGES:
        assert messages(language)["error_410"] == STUB[language]


def test_levels_have_words() -> None:
    """No level is told by colour alone."""
    for language in LANGUAGES:
        for level in LEVELS[1:]:
            assert messages(language)[level]
