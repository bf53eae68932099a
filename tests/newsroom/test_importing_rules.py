"""The rules that are the same for every format: headlines, bounds, rubrics, languages, guids, images."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from livefeed.feed import markdown
from livefeed.feed.item import Image
from livefeed.newsroom.importing import BadEntry, Found, Result, read
from livefeed.newsroom.input import Entry, checked
from livefeed.settings import Rubric, Settings, Site

SETTINGS = Settings()


def result(settings: Settings = SETTINGS, default: str = "fr", **item: Any) -> Result:
    """The reader's result for one item of a JSON Feed."""
    feed = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": "Fil",
        "items": [{"id": "urn:x:1", "tags": ["monde"]} | item],
    }
    (only,) = read(json.dumps(feed).encode(), settings, language=default, now=datetime(2026, 1, 1, tzinfo=UTC))
    return only


def found(settings: Settings = SETTINGS, default: str = "fr", **item: Any) -> Found:
    only = result(settings, default, **item)
    assert isinstance(only, Found), only
    return only


def entry(settings: Settings = SETTINGS, default: str = "fr", **item: Any) -> Entry:
    return found(settings, default, **item).entry


@pytest.mark.parametrize(
    ("title", "headline"),
    [
        ("Tout simple", "Tout simple"),
        ("L&#8217;été &amp; l&rsquo;hiver", "L’été & l’hiver"),
        ("Du <b>gras</b> et <br/>une ligne", "Du gras et une ligne"),
        ("AT&T et 3 < 4 > 2", "AT&T et 3 < 4 > 2"),
        ("sur\ndeux\r\n\tlignes\u2028ou trois", "sur deux lignes ou trois"),
        ("NUL\x00 et \x1b[31mcouleur\x07 et \x85", "NUL et [31mcouleur et"),
        ("<script>alert(1)</script>Reste", "Reste"),
        ("e\u0301te\u0301", "été"),
        ("\ud800seul", "seul"),
    ],
)
def test_a_headline_is_one_line_of_plain_text(title: str, headline: str) -> None:
    """Entities are decoded, tags dropped, line breaks and control characters removed."""
    assert entry(title=title).headline == headline


def test_a_long_headline_is_cut_at_a_word() -> None:
    """Rather than lose the entry its headline is cut, with an ellipsis and a warning."""
    only = found(title="mot " * 200)
    headline = only.entry.headline

    assert isinstance(headline, str)
    assert 250 < len(headline) <= SETTINGS.headline_max_chars
    assert headline.endswith("mot…")
    assert "cut" in only.warnings[0]


def test_a_headline_is_made_from_the_body() -> None:
    """An entry without a title gets its first sentence; where that is all, it is not said twice."""
    both = entry(content_html="<p>Première phrase. Une <b>autre</b> suit.</p>")
    short = entry(content_text="Rien que ceci")

    assert both.headline == "Première phrase."
    assert both.body == "Première phrase. Une **autre** suit."
    assert short.headline == "Rien que ceci"
    assert short.body == ""


def test_a_body_that_only_repeats_the_headline_is_left_out() -> None:
    """« Titre » followed by a body « Titre » and a text keeps the text only."""
    assert entry(title="Le titre", content_html="<h1>Le titre</h1><p>Le texte</p>").body == "Le texte"
    assert entry(title="Le titre", content_html="<p>Le titre</p>").body == ""


def test_a_body_over_the_bound_is_refused_by_name() -> None:
    """A text is never cut in silence: the entry is refused, naming the setting that decides."""
    only = result(title="Long", content_html="<p>" + "mot " * 6_000 + "</p>")

    assert isinstance(only, BadEntry)
    assert "LIVEFEED_BODY_MAX_CHARS" in only.reason
    assert str(only.place) == "entry 1 « Long »"


def test_text_is_text() -> None:
    """A plain text shows as it was written: markup of HTML or Markdown in it is not taken for markup."""
    body = entry(title="T", content_text="<b>*x*</b> & [y](z)\nligne\n\n1. pas une liste").body

    assert isinstance(body, str)
    assert markdown.render(body) == ("<p>&lt;b&gt;*x*&lt;/b&gt; &amp; [y](z)<br>\nligne</p>\n<p>1. pas une liste</p>")


def test_lists_are_bounded_and_without_doubles() -> None:
    """Tags and authors are cut to the settings' bounds, the same name in another case is one."""
    tags = ["monde", "Un", "un", *(f"t{n}" for n in range(20)), "x" * 500]
    only = found(title="T", tags=tags, authors=[{"name": "A  B"}, {"name": "a b"}, {"name": ""}])

    assert len(only.entry.tags or []) == SETTINGS.list_max
    assert only.entry.authors == ["A B"]
    assert any("tags" in warning for warning in only.warnings)
    checked(only.entry, SETTINGS)


@pytest.mark.parametrize(
    ("category", "slug"),
    [
        ("economie", "economie"),
        ("Économie", "economie"),
        ("ECONOMIE ", "economie"),
        ("اقتصاد", "economie"),
        ("Economy", "economie"),
        ("Finances", "economie"),
        ("FINANCES", "economie"),
        ("Sport", "monde"),
    ],
)
def test_categories_map_to_rubrics(category: str, slug: str) -> None:
    """A slug or a rubric's name in any language maps by itself, in any case and with or without accents; the
    setting adds others, and wins over names.
    """
    settings = Settings(site=Site(categories={"finances": "economie", "sport": "monde"}))

    assert entry(settings, title="T", tags=["inconnue", category]).rubric == slug


def test_the_first_category_with_a_rubric_decides() -> None:
    """The source's order is kept; a category that names another rubric stays as a tag."""
    only = entry(title="T", tags=["Bruits", "Sport", "Monde"])

    assert only.rubric == "sport"
    assert only.tags == ["Bruits", "Monde"]


def test_a_site_with_other_rubrics_maps_to_those() -> None:
    """Rubrics are the site's own, nothing is built in."""
    settings = Settings(site=Site(rubrics=(Rubric(slug="mer", name={"fr": "La mer"}),)))

    assert entry(settings, title="T", tags=["la MER"]).rubric == "mer"
    assert isinstance(result(settings, title="T", tags=["monde"]), BadEntry)


@pytest.mark.parametrize(
    ("declared", "title", "language", "warned"),
    [
        ("fr-MA", "Titre", "fr", False),
        ("en_US", "Title", "en", False),
        ("AR", "عنوان", "ar", False),
        ("", "عنوان الخبر", "ar", False),
        ("en-US", "عنوان الخبر 2026", "ar", False),
        ("", "Titre", "fr", False),
        ("es", "Título", "fr", True),
    ],
)
def test_language(declared: str, title: str, language: str, warned: bool) -> None:
    """The entry's language is what it declares, Arabic where it is written so, else the default."""
    only = found(title=title, language=declared)

    assert only.entry.language == language
    assert bool(only.warnings) == warned


def test_the_default_language_is_the_callers() -> None:
    """An entry that says nothing takes the language that the import was called with."""
    assert entry(default="en", title="Title").language == "en"


@pytest.mark.parametrize(
    ("item", "guid"),
    [
        ({"id": "urn:x:1"}, "urn:x:1"),
        ({"id": "https://a.example/1"}, "https://a.example/1"),
        ({"id": "17", "url": "https://a.example/17"}, "a.example#17"),
        ({"id": "", "url": "https://a.example/17"}, "https://a.example/17"),
        ({"id": " 17\n"}, "17"),
    ],
)
def test_guid(item: dict[str, Any], guid: str) -> None:
    """The guid is the source's id, with the site's host where it is no URI, or the address where there is none."""
    assert entry(title="T", **item).guid == guid


def test_without_id_and_address_the_same_entry_has_the_same_guid() -> None:
    """Title and date stand in for an id: the same entry is the same item, another date is another one."""
    first = entry(id="", title="Marée", date_published="2024-08-08T10:00:00Z").guid
    again = entry(id="", title="Marée", date_published="2024-08-08T10:00:00Z").guid
    other = entry(id="", title="Marée", date_published="2024-08-09T10:00:00Z").guid

    assert first == again != other


def test_a_very_long_guid_becomes_a_hash() -> None:
    """A guid is bounded, and stays the same for the same source."""
    long = "urn:x:" + "a" * 5_000

    assert len(entry(id=long, title="T").guid) < 100
    assert entry(id=long, title="T").guid == entry(id=long, title="U").guid


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:image/png;base64,AA", "ftp://a.example/x", "https://"]
)
def test_images_need_an_address_of_the_web(address: str) -> None:
    """An image without an http(s) address is left out with a warning; the entry is imported."""
    only = found(title="T", image=address)

    assert only.entry.image is None
    assert "image" in only.warnings[0]


def test_the_picture_within_a_text_is_the_last_choice() -> None:
    """Where the feed names no image the first one of the text is taken, but for one-pixel counters."""
    html = '<img src="https://c.example/1.gif" width="1" height="1"><img src="/p.jpg" alt="Le quai">'

    assert entry(title="T", url="https://a.example/x", content_html=html).image == Image(
        url="https://a.example/p.jpg", alt="Le quai"
    )


def test_updates_before_the_publication_are_none() -> None:
    """A change date that is not later than the publication is no change."""
    date = "2024-08-08T10:00:00Z"

    assert entry(title="T", date_published=date, date_modified=date).updated_at is None
    assert entry(title="T", date_modified=date).first_published_at == datetime(2024, 8, 8, 10, tzinfo=UTC)
