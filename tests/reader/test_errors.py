"""Errors as people and programs meet them."""

from __future__ import annotations

import pytest

from livefeed.reader.errors import prefers_html
from tests.reader.reading_html import parse
from tests.reader.site import Site

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("TEXT/HTML;charset=utf-8", True),
        ("application/json;q=0.5, text/html", True),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("text/html;q=nonsense", False),
    ],
)
def test_who_wants_a_page(accept: str, html: bool) -> None:
    """Only a client that names HTML, and ranks it above JSON, gets a page."""
    assert prefers_html(accept) is html


@pytest.mark.parametrize(
    ("path", "language", "said"),
    [
        ("/nothing", "fr", "Cette page n’existe pas."),
        ("/ar/nothing", "ar", "هذه الصفحة غير موجودة."),
        ("/en/nothing", "en", "This page does not exist."),
    ],
)
async def test_the_page_is_in_the_editions_language(site: Site, path: str, language: str, said: str) -> None:
    """An error is told in the language of the edition that it happened in."""
    response = await site.get(path, accept=BROWSER)
    page = parse(response.text)

    assert response.status_code == 404
    assert response.headers["vary"] == "Accept"
    assert page.one("html")["lang"] == language
    assert page.one("h1").text == said


@pytest.mark.parametrize("path", ["/api/nothing", "/stream/nothing", "/static/nothing.js"])
async def test_machines_get_json(site: Site, path: str) -> None:
    """Addresses of machines answer in the one JSON shape, whatever the client accepts."""
    response = await site.get(path, accept=BROWSER)

    assert response.status_code == 404
    assert response.json()["error"]["status"] == 404


async def test_programs_get_json(site: Site) -> None:
    """A client that does not ask for HTML gets JSON on a page's address too."""
    response = await site.get("/?rubric=nothing", accept="*/*")

    assert response.json()["error"]["field"] == "rubric"


async def test_the_store_is_away(site: Site) -> None:
    """A page that cannot be read now says whose fault it is."""
    site.source.away = True
    response = await site.get("/?before=30")

    assert response.status_code == 503
    assert "de notre côté" in response.text
