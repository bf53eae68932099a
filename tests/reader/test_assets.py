"""Static files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from livefeed.errors import StartError
from livefeed.reader.assets import Assets
from livefeed.settings import Rubric, Settings
from livefeed.settings import Site as SiteSettings
from tests.reader.site import Site, opened


async def test_pages_link_files_that_may_be_kept(site: Site) -> None:
    """Every file that a page names is there, under its hash, for ever."""
    html = await site.page()
    links = set(re.findall(r'"(/static/[^"]+)"', html))

    assert {link.split("?")[0] for link in links} >= {"/static/style.css", "/static/site.css", "/static/ticker-page.js"}
    for link in links:
        response = await site.get(link)
        assert response.status_code == 200
        if "?v=" in link:
            assert response.headers["cache-control"] == "public, max-age=31536000, immutable"


IMPORTED = {
    name
    for path in (Path(__file__).parent.parent.parent / "static").glob("*.js")
    for name in re.findall(r'from "\./([\w-]+\.js)"', path.read_text(encoding="utf-8"))
}


async def test_every_import_is_in_the_import_map(site: Site) -> None:
    """A module that another imports is asked for by its hash."""
    html = await site.page()
    assert IMPORTED
    for name in IMPORTED:
        assert f'"/static/{name}":"/static/{name}?v=' in html


@pytest.mark.parametrize("query", ["", "?v=0123456789abcdef"])
async def test_without_its_hash_a_file_is_asked_for_again(site: Site, query: str) -> None:
    """A file under no hash, or one that it no longer has, is checked each time, and costs little when unchanged."""
    first = await site.get(f"/static/style.css{query}")
    again = await site.get(f"/static/style.css{query}", if_none_match=first.headers["etag"])

    assert first.headers["cache-control"] == "no-cache"
    assert again.status_code == 304


@pytest.mark.parametrize(
    "name", ["../pyproject.toml", "..%2fpyproject.toml", "tsconfig.json", "", "%00", "style.css/x"]
)
async def test_nothing_else_is_served(site: Site, name: str) -> None:
    """Only the files that pages use are served."""
    assert (await site.get(f"/static/{name}")).status_code == 404


async def test_the_sites_colours(site: Site) -> None:
    """The accent and the rubrics' colours come as a style sheet: pages need no inline style."""
    rubrics = (Rubric(slug="mer", name={"fr": "Mer"}, color="#0a5"),)
    async with opened(Settings(site=SiteSettings(accent="#123456", rubrics=rubrics))) as other:
        sheet = (await other.get("/static/site.css")).text

    assert sheet == ":root{--site-accent:#123456}\n.rubric-mer{--rubric:#0a5}"


@pytest.mark.parametrize("color", ["red}body{display:none", "#12", "url(x)", ""])
def test_a_colour_that_is_none_stops_the_start(color: str) -> None:
    """A value that is no colour is named at start, and never becomes CSS."""
    with pytest.raises(StartError, match="colour"):
        Assets(SiteSettings(accent=color))


def test_a_slug_that_is_none_stops_the_start() -> None:
    """A rubric's slug becomes a class name: it is a slug, or the site does not start."""
    with pytest.raises(StartError, match="slug"):
        Assets(SiteSettings(rubrics=(Rubric(slug="a{}", name={"fr": "A"}),)))


def test_an_incomplete_installation_stops_the_start(tmp_path: Path) -> None:
    """Without static files there is no server with broken pages."""
    with pytest.raises(StartError, match="static files"):
        Assets(SiteSettings(), tmp_path)
