"""« En continu », as the server renders it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from livefeed.feed.item import Correction, Image
from livefeed.reader import cache
from tests.reader.reading_html import Element, parse
from tests.reader.site import NOON, Site, opened

HOSTILE = """</script><script>alert(1)</script>"'&<!--\u2028<img src=x onerror=alert(1)>"""


def headlines(page: Element) -> list[str]:
    return [element.text for element in page.all(cls="item-headline")]


async def test_an_empty_ticker_is_a_page(site: Site) -> None:
    """Without items there is a sentence, and no feed that would be empty."""
    page = parse(await site.page())

    assert page.one("h1").text == "En continu"
    assert page.one(cls="masthead-subtitle").text == "Les dernières informations en temps réel"
    assert page.one(id="empty").text == "Aucune info pour le moment."
    assert page.all(role="feed") == []


async def test_an_item_is_complete_without_javascript(site: Site) -> None:
    """All that a reader should know of an item stands in the page."""
    item = site.publish(
        "Le parlement examine le projet de loi sur l’eau",
        "Le texte prévoit une **tarification** progressive.",
        rubric="politique",
        authors=("Omar Naciri", "Salma Idrissi"),
        source="Correspondance",
        tags=("eau", "C & A*~"),
        thread="loi-eau",
        level="urgent",
        verification="unverified",
        image=Image(url="https://pictures.example/a.jpg", alt="La coupole", credit="N. Ferrat"),
        corrections=(Correction(note="Et non les régions.", at=datetime(2024, 8, 9, 4, 56, tzinfo=UTC)),),
        updated_at=datetime(2024, 8, 9, 4, 56, tzinfo=UTC),
        alternates={"ar": "0" * 18},
    )
    article = parse(await site.page()).one("article", id=f"item-{item.id}")

    assert article.one("time", cls="item-time").text == "08.08.2024 à 13 H 55"
    assert article.one("time", cls="item-time")["datetime"].startswith("2024-08-08T12:55:00")
    assert article.one("a", cls="item-rubric").text == "Politique"
    assert "rubric-politique" in article.one("a", cls="item-rubric")["class"]
    assert [mark.text for mark in article.all(cls="mark")] == ["Urgent", "À confirmer"]
    headline = article.one(cls="item-headline")
    assert headline.text == item.headline
    assert headline.one("a")["href"] == item.public().url
    assert article["aria-labelledby"] == headline["id"]
    assert article.one("strong", cls="mark-urgent")
    assert "Le texte prévoit une tarification progressive." in article.one(cls="item-body").text
    assert article.one("img")["alt"] == "La coupole"
    assert article.one("figcaption").text == "Crédit : N. Ferrat"
    assert article.one(cls="item-corrections").text == "Correction le 09.08.2024 à 05 H 56 : Et non les régions."
    assert article.one(cls="item-foot").text == (
        "Par Omar Naciri et Salma Idrissi • Source : Correspondance • "
        "Mis à jour le 09.08.2024 à 05 H 56 • Temps de lecture : 1 minute"
    )
    assert [(link.text, link["href"]) for link in article.one(cls="item-links").all("a")] == [
        ("Tout le fil", "/?thread=loi-eau"),
        ("eau", "/?tag=eau"),
        ("C & A*~", "/?tag=C+%26+A*%7E"),
        ("العربية", f"/i/{'0' * 18}"),
    ]


async def test_newest_first_with_a_section_per_day(site: Site) -> None:
    """Each day of the site's zone is a section with its heading and then its own feed."""
    site.publish("avant-hier", at=NOON - timedelta(days=2))
    site.publish("hier soir", at=datetime(2024, 8, 7, 22, 59, tzinfo=UTC))
    site.publish("minuit passé", at=datetime(2024, 8, 7, 23, 0, tzinfo=UTC))
    site.publish("midi")
    page = parse(await site.page())

    assert headlines(page) == ["midi", "minuit passé", "hier soir", "avant-hier"]
    days = page.all("section", cls="day")
    assert [day.one("h2").text for day in days] == [
        "Aujourd’hui Jeudi 8 août 2024",
        "Mercredi 7 août 2024",
        "Mardi 6 août 2024",
    ]
    for day in days:
        feed = day.one(role="feed")
        assert feed["aria-labelledby"] == day.one("h2")["id"]
        assert {child.name for child in feed.content if isinstance(child, Element)} == {"article"}


async def test_a_withdrawn_item_is_a_stub(site: Site) -> None:
    """The stub stands at its time, and nothing that the item said is left."""
    item = site.publish("Rumeur infondée", "Texte faux", tags=("faux",), authors=("X",), level="urgent")
    site.change(item, status="withdrawn", updated_at=NOON)
    html = await site.page()
    article = parse(html).one("article")

    assert article.one(cls="item-headline").text == "Info retirée par la rédaction"
    assert article.one("time").text == "08.08.2024 à 13 H 55"
    assert article.all(cls="mark") == []
    assert "umeur" not in html
    assert "faux" not in html


@pytest.mark.parametrize(
    ("path", "language", "direction", "title"),
    [("/", "fr", "ltr", "En continu"), ("/ar/", "ar", "rtl", "على مدار الساعة"), ("/en/", "en", "ltr", "Live")],
)
async def test_an_edition_lists_its_language(site: Site, path: str, language: str, direction: str, title: str) -> None:
    """Each edition has the items of its language, and says so to the browser."""
    for other in ("fr", "ar", "en"):
        site.publish(f"en {other}", language=other)
    page = parse(await site.page(path))

    assert page.one("html")["lang"] == language
    assert page.one("html")["dir"] == direction
    assert page.one("h1").text == title
    assert headlines(page) == [f"en {language}"]
    assert page.one("article")["dir"] == direction


@pytest.mark.parametrize("path", ["/ar", "/en"])
async def test_an_edition_without_its_slash(site: Site, path: str) -> None:
    """An edition's address without the slash leads to it, with its filter."""
    response = await site.get(f"{path}?rubric=monde")

    assert (response.status_code, response.headers["location"]) == (308, f"{path}/?rubric=monde")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?rubric=sport", ["sport"]),
        ("?rubric=sport,tech", ["eau", "sport"]),
        ("?tag=mer", ["eau"]),
        ("?thread=loi", ["loi"]),
        ("?level=urgent", ["loi"]),
        ("?rubric=sport&tag=mer", []),
        ("?language=ar&utm_source=x", ["loi", "eau", "sport"]),
    ],
)
async def test_filters_are_the_wires(site: Site, query: str, shown: list[str]) -> None:
    """Pages filter by the stream's parameters; the edition decides the language; others' parameters do not matter."""
    site.publish("sport", rubric="sport")
    site.publish("eau", rubric="tech", tags=("mer",))
    site.publish("loi", thread="loi", level="urgent")

    assert headlines(parse(await site.page("/" + query))) == shown


async def test_the_page_says_what_it_is_filtered_by(site: Site) -> None:
    """A filter can be seen and left."""
    page = parse(await site.page("/?rubric=sport&tag=mer"))

    assert page.one(cls="filtered").text == "Infos filtrées : mer Tout afficher"
    current = [link.text for link in page.one("nav", cls="rubrics").all("a", aria_current="page")]
    assert current == ["Sport"]


async def test_older_items_have_a_real_link(site: Site) -> None:
    """What does not fit is behind a link, keeps the filter, and leads back."""
    for number in range(70):
        site.publish(f"info {number}", rubric="sport", at=NOON - timedelta(minutes=number))
    shown, path = [], "/?rubric=sport"
    for _ in range(3):
        page = parse(await site.page(path))
        shown += headlines(page)
        path = page.one(id="older")["href"]
        assert "rubric=sport" in path
    last = page.one(id="older")

    assert shown == [f"info {number}" for number in range(70)]
    assert "hidden" in last.attributes
    assert page.one("a", cls="pages-newest")["href"] == "/?rubric=sport"


async def test_the_page_carries_its_position(site: Site) -> None:
    """The browser learns where the page stands and what to ask the stream for."""
    site.publish(rubric="sport")
    page = parse(await site.page("/?rubric=sport&tag=C%26A"))
    data = json.loads(page.one("script", id="page-data").text)

    assert data["position"] == site.source.position
    assert httpx.QueryParams(data["query"]) == httpx.QueryParams("rubric=sport&language=fr&tag=C%26A")
    assert data["filter"]["tag"] == ["C&A"]


async def test_not_live_is_said(site: Site) -> None:
    """A page that may miss the newest items says so, also without JavaScript."""
    assert "Direct interrompu" not in (await site.page()).split("page-data")[0]
    site.source.live = False

    assert "Direct interrompu" in parse(await site.page()).one(id="connection").text


async def test_hostile_text_is_text(site: Site) -> None:
    """Whatever is typed is shown as typed, and is no element, attribute or script."""
    item = site.publish(
        HOSTILE,
        HOSTILE,
        authors=(HOSTILE,),
        source=HOSTILE,
        tags=(HOSTILE,),
        image=Image(url="https://a.example/?%22", alt=HOSTILE, credit=HOSTILE),
        corrections=(Correction(note=HOSTILE, at=NOON),),
    )
    folded = " ".join(HOSTILE.split())
    for path in ("/", item.public().url):
        page = parse(await site.page(path))
        article = page.one("article")
        assert article.one(cls="item-headline").text == folded
        assert article.one("img")["alt"] == HOSTILE
        assert folded in article.one(cls="item-body").text
        assert folded in article.one(cls="item-corrections").text
        assert len(page.all("script")) == 3
        assert not [e for e in page.all() if any(name.startswith("on") for name in e.attributes)]


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip))
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_text_survives(text: str) -> None:
    """Any headline, tag or author is read back by a parser as it was given."""
    async with opened() as site:
        site.publish(text, tags=(text,), authors=(text,))
        article = parse(await site.page()).one("article")

    folded = " ".join(text.split())
    assert article.one(cls="item-headline").text == folded
    link = article.one(cls="item-links").one("a")
    assert link.text == folded
    assert httpx.URL(link["href"]).params["tag"] == text
    assert httpx.QueryParams(link["href"][2:])["tag"] == text


@pytest.mark.parametrize("query", ["?rubric=nothing", "?level=loud", "?tag=" + "x" * 500])
async def test_a_bad_filter_is_refused(site: Site, query: str) -> None:
    """A filter that cannot be read is a 400 page that names the parameter."""
    response = await site.get("/" + query)

    assert response.status_code == 400
    assert query[1:].split("=")[0] in response.text


async def test_a_page_is_rendered_once(site: Site) -> None:
    """However many ask: one rendering for each position, language and filter."""
    site.publish()
    for _ in range(5):
        await site.page()
        await site.page("/?rubric=sport")
    assert site.source.snapshots == 2
    site.publish()
    for _ in range(5):
        await site.page()

    assert site.source.snapshots == 3


async def test_nothing_changed_is_304(site: Site) -> None:
    """A page that was kept is good until something on it changes."""
    site.publish()
    first = await site.get("/")
    etag = first.headers["etag"]
    again = await site.get("/", if_none_match=etag)

    assert etag.startswith('W/"')
    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


async def test_etags_differ_with_all_that_differs(site: Site) -> None:
    """Another position, view, filter, day, liveness or site is another ETag."""
    item = site.publish()
    seen = []

    async def look(path: str = "/") -> None:
        seen.append((await site.get(path)).headers["etag"])

    for path in ("/", "/en/", "/?rubric=monde", "/?tag=x"):
        await look(path)
    site.source.live = False
    await look()
    site.source.live = True
    site.change(item, pinned_until=NOON + timedelta(hours=1))
    await look()
    site.now += timedelta(hours=2)
    await look()
    site.now += timedelta(days=1)
    await look()

    assert len(set(seen)) == len(seen)


async def test_a_pin_ends_by_itself(site: Site) -> None:
    """The mark of a pin goes when its time is over, without any event."""
    site.publish(pinned_until=NOON + timedelta(minutes=5))
    assert parse(await site.page()).one(cls="mark").text == "Épinglé"
    site.now += timedelta(minutes=5)

    assert parse(await site.page()).all(cls="mark") == []


async def test_a_day_ends_by_itself(site: Site) -> None:
    """« Aujourd’hui » is yesterday after midnight in the site's zone."""
    site.publish()
    site.now = datetime(2024, 8, 8, 22, 59, 59, tzinfo=UTC)
    assert parse(await site.page()).one("h2").text == "Aujourd’hui Jeudi 8 août 2024"
    site.now += timedelta(seconds=1)

    assert parse(await site.page()).one("h2").text == "Jeudi 8 août 2024"


async def test_the_cache_is_bounded(site: Site) -> None:
    """However many filters are asked for, only so many pages are kept."""
    for number in range(cache.PAGES_MAX + 10):
        await site.page(f"/?tag={number}")
    snapshots = site.source.snapshots
    await site.page(f"/?tag={number}")
    assert site.source.snapshots == snapshots
    await site.page("/?tag=0")

    assert site.source.snapshots == snapshots + 1
