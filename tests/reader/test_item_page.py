"""The page of one item."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from livefeed.feed.item import Correction
from livefeed.reader import pages
from tests.reader.reading_html import parse
from tests.reader.site import NOON, Site


async def test_an_item_has_a_page(site: Site) -> None:
    """The page shows the item as its one headline, and the way back to its place in the ticker."""
    item = site.publish("Le dirham stable", "Un texte.", rubric="economie", updated_at=NOON + timedelta(hours=16))
    page = parse(await site.page(item.public().url))

    assert page.one("h1").text == "Le dirham stable"
    assert page.one("article").one(cls="item-body").text == "Un texte."
    assert page.one(cls="item-foot").text == "Mis à jour le 09.08.2024 à 05 H 55 • Temps de lecture : 1 minute"
    back = page.one(cls="back").one("a")
    assert (back.text, back["href"]) == ("Revenir au direct", f"/#item-{item.id}")
    assert json.loads(page.one("script", id="page-data").text)["item"]["id"] == item.id


async def test_the_page_is_in_the_items_language(site: Site) -> None:
    """An Arabic item's page is Arabic, from right to left, and leads to the Arabic ticker."""
    item = site.publish("هزة أرضية خفيفة", language="ar", level="urgent")
    page = parse(await site.page(item.public().url))

    assert (page.one("html")["lang"], page.one("html")["dir"]) == ("ar", "rtl")
    assert page.one(cls="mark-urgent").text == "عاجل"
    assert page.one(cls="back").one("a")["href"] == f"/ar/#item-{item.id}"


@pytest.mark.parametrize("headline", ["Le dirham stable", "هزة أرضية خفيفة", "???"])
@pytest.mark.parametrize("slug", ["", "/", "/autre-chose", "/x/y"])
async def test_a_wrong_slug_leads_to_the_right_one(site: Site, headline: str, slug: str) -> None:
    """The id decides; any other slug redirects, and no browser keeps that for ever."""
    item = site.publish(headline)
    url = item.public().url
    response = await site.get(f"/i/{item.id}{slug}?x=1")
    if f"/i/{item.id}{slug}" == url:
        assert response.status_code == 200
        return

    assert response.status_code == 308
    assert response.headers["location"] == f"{url}?x=1"
    assert response.headers["cache-control"] == "no-cache"
    assert (await site.get(response.headers["location"])).status_code == 200


@pytest.mark.parametrize("id", ["0" * 18, "nothing", "../../etc", "x" * 500, "%00"])
async def test_an_unknown_item_is_404(site: Site, id: str) -> None:
    """An id that is no item's, or no id at all, is a page that says so."""
    response = await site.get(f"/i/{id}")

    assert response.status_code == 404
    assert "Cette page n’existe pas." in response.text


async def test_a_withdrawn_item_is_gone(site: Site) -> None:
    """Under any slug the answer is 410 with the stub, and tells nothing of what it was, nor of its old address."""
    item = site.publish("Rumeur infondée", "Texte faux")
    old = item.public().url
    site.change(item, status="withdrawn")
    for path in (old, f"/i/{item.id}", f"/i/{item.id}/autre"):
        response = await site.get(path)
        page = parse(response.text)
        assert response.status_code == 410
        assert page.one("h1").text == "Info retirée par la rédaction"
        assert page.one(cls="back").one("a").text == "Revenir au direct"
        assert "umeur" not in response.text
        assert "faux" not in response.text


async def test_restoring_brings_it_back(site: Site) -> None:
    """A restored item has its page again."""
    item = site.publish("Une info vraie")
    withdrawn = site.change(item, status="withdrawn")
    site.change(withdrawn, status="published")

    assert parse(await site.page(item.public().url)).one("h1").text == "Une info vraie"


async def test_a_page_is_rendered_once_a_minute(site: Site) -> None:
    """However many read an item it is rendered once, but its stream never starts far back."""
    item = site.publish("Une info")
    first = await site.page(item.public().url)
    site.publish("Une autre")
    assert await site.page(item.public().url) == first
    site.now += pages.ITEM_KEPT

    assert site.source.position in await site.page(item.public().url)


async def test_nothing_changed_is_304(site: Site) -> None:
    """The page is good until the item changes, whatever else is published."""
    item = site.publish("Une info")
    url = item.public().url
    etag = (await site.get(url)).headers["etag"]
    site.publish("Une autre")
    assert (await site.get(url, if_none_match=etag)).status_code == 304
    site.change(item, corrections=(Correction(note="Une précision", at=NOON),))

    assert "Une précision" in (await site.get(url, if_none_match=etag)).text
