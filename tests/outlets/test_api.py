"""The public JSON API, from memory and from the store."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livefeed.errors import BadRequest
from livefeed.feed.item import now
from livefeed.feed.reading import _cursor, _cursor_key
from livefeed.settings import Settings
from tests.serving import Serving, reading, serving


@pytest.fixture(params=[1000, 4], ids=["from memory", "from the store"])
async def served(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[Serving]:
    """Twice: with a board that holds everything, and with one that holds four items."""
    async with serving(dataclasses.replace(settings, board_items=request.param)) as server:
        yield server


async def get(served: Serving, path: str) -> dict[str, Any]:
    response = await served.client.get(path)
    assert response.status_code == 200, response.text
    data: dict[str, Any] = response.json()
    return data


async def pages(served: Serving, query: str) -> list[dict[str, Any]]:
    """All items of a query, page by page."""
    found: list[dict[str, Any]] = []
    before = ""
    for _ in range(100):
        page = await get(served, f"/api/items?{query}{before}")
        found += page["items"]
        if page["next"] is None:
            return found
        before = f"&before={page['next']}"
    raise AssertionError("the pages do not end")


async def test_pages_hold_every_item_once(served: Serving) -> None:
    """Page by page, of any size: every item once, newest first, with absolute addresses."""
    for n in range(25):
        await served.publish(f"Info {n}")
    wanted = [f"Info {n}" for n in reversed(range(25))]
    for limit in (1, 4, 7, 25, 100):
        items = await pages(served, f"limit={limit}")
        assert [item["headline"] for item in items] == wanted
    assert all(item["url"].startswith(served.feed.settings.base_url + "/i/") for item in items)


async def test_filters_page_too(served: Serving) -> None:
    """Each filter, and several together, give the items that match now, also those that moved."""
    rubrics, languages, levels = ["monde", "sport", "culture"], ["fr", "ar", "en"], ["normal", "urgent"]
    kinds = list(itertools.product(rubrics, languages, levels))
    for n, (rubric, language, level) in enumerate(kinds):
        fields = {"language": language, "level": level, "tags": [f"t{n % 4}"], "thread": f"fil-{n % 3}"}
        await served.publish(f"Info {n}", rubric, **fields)
    moved = (await pages(served, "rubric=culture"))[0]
    await served.change({"item": moved, "version": 1}, change="edit", rubric="sport")

    everything = await pages(served, "limit=100")
    cases: list[tuple[str, Callable[[dict[str, Any]], bool]]] = [
        ("rubric=sport", lambda i: i["rubric"] == "sport"),
        ("rubric=sport,monde&limit=2", lambda i: i["rubric"] in ("sport", "monde")),
        ("rubric=sport&rubric=monde&language=ar&limit=1", lambda i: i["rubric"] != "culture" and i["language"] == "ar"),
        ("level=urgent&language=fr", lambda i: i["level"] == "urgent" and i["language"] == "fr"),
        ("tag=t1,t2&limit=3", lambda i: i["tags"][0] in ("t1", "t2")),
        ("thread=fil-0&tag=t3", lambda i: i["thread"] == "fil-0" and i["tags"] == ["t3"]),
        ("thread=rien", lambda i: False),
    ]
    for query, keep in cases:
        assert await pages(served, query) == [item for item in everything if keep(item)], query


async def test_a_snapshot_and_its_stream_make_the_whole(served: Serving) -> None:
    """Whoever renders the page and then streams from its position misses nothing and sees nothing twice."""
    for n in range(6):
        await served.publish(f"Info {n}")
    snapshot = await get(served, "/api/items?limit=3")
    await served.publish("Entre les deux")
    async with reading(served, f"?last_event_id={snapshot['position']}") as reader:
        await served.publish("Après")
        await reader.until(lambda r: len(r.items) == 2)
        assert [item["headline"] for item in reader.items] == ["Entre les deux", "Après"]
        assert reader.of("reset") == []


async def test_unchanged_is_304(served: Serving) -> None:
    """The weak ETag stays while nothing changes, and changes with the log, the query and the view."""
    item = await served.publish()
    for n in range(5):
        await served.publish(f"Info {n}")
    for path in ("/api/items", f"/api/items/{item['item']['id']}", f"/api/items/{item['item']['id']}/versions"):
        first = await served.client.get(path)
        etag = first.headers["etag"]
        assert etag.startswith('W/"')
        again = await served.client.get(path, headers={"if-none-match": f'"other", {etag}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        assert again.headers["access-control-allow-origin"] == "*"
    other = {
        (await served.client.get(f"/api/items?{q}")).headers["etag"]
        for q in ("", "limit=5", "view=lite", "rubric=sport")
    }
    assert len(other) == 4
    listed = (await served.client.get("/api/items")).headers["etag"]
    await served.change(item, change="edit", headline="Autre")
    for path, old in [("/api/items", listed), (f"/api/items/{item['item']['id']}", etag)]:
        assert (await served.client.get(path, headers={"if-none-match": old})).status_code == 200


async def test_lite_view(served: Serving) -> None:
    """`view=lite` is headlines only."""
    await served.publish(body="Un corps")
    (item,) = (await get(served, "/api/items?view=lite"))["items"]
    assert set(item) == {"id", "version", "status", "first_published_at", "rubric", "level", "headline"}


async def test_a_withdrawn_item_is_its_stub_everywhere(served: Serving) -> None:
    """In lists the stub stands in its place; the item is 410, its versions are stubs; nothing of its text is left."""
    secret = "Une phrase retirée"
    item = await served.publish(secret, body=secret, tags=[secret], authors=[secret])
    item = await served.change(item, change="correct", note=secret, image={"url": "https://x.ma/i", "alt": secret})
    for n in range(6):
        await served.publish(f"Info {n}")
    await served.post(f"/api/items/{item['item']['id']}/withdraw", {"reason": secret})
    listed = await served.client.get("/api/items")
    single = await served.client.get(f"/api/items/{item['item']['id']}")
    versions = await served.client.get(f"/api/items/{item['item']['id']}/versions")
    assert listed.json()["items"][-1]["status"] == "withdrawn"
    assert single.status_code == 410
    assert single.json()["error"]["item"]["status"] == "withdrawn"
    assert [v["item"]["status"] for v in versions.json()["versions"]] == ["withdrawn"] * 3
    for answer in (listed, single, versions):
        assert "retirée" not in answer.text.replace("Info retirée par la rédaction", "")
        assert "phrase" not in answer.text


async def test_subscribers_text_stays_inside(served: Serving) -> None:
    """The body of an item for subscribers is in no public answer, and not in the stream."""
    async with reading(served) as reader:
        item = await served.publish("Titre", body="Le texte payant", access="subscribers")
        await reader.until(lambda r: r.items)
        answers = [
            (await served.client.get(path)).text
            for path in (
                "/api/items",
                f"/api/items/{item['item']['id']}",
                f"/api/items/{item['item']['id']}/versions",
                "/",
            )
        ]
        assert "payant" not in "".join([*answers, *(event.data for event in reader.events)])
        assert reader.items[0]["reading_time"] == 1


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "limit=-1", "limit=", "before=zz", "before=%00", "x=1", "view=y"]
)
async def test_bad_parameters_are_named(served: Serving, query: str) -> None:
    """400 that names the parameter."""
    response = await served.client.get(f"/api/items?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["field"] == query.partition("=")[0]


@given(st.integers(0, 10**14 - 1), st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=18, max_size=18))
def test_cursors_read_back(time: int, id: str) -> None:
    """A cursor is the sort key that it was made of."""
    key = f"{time:014d}{id}"
    assert _cursor_key(_cursor(key)) == key


@given(st.text(max_size=60))
def test_any_text_as_a_cursor_is_a_cursor_or_400(text: str) -> None:
    """Nothing else than a cursor of ours is read as one, and nothing breaks."""
    try:
        key = _cursor_key(text)
    except BadRequest as error:
        assert error.field == "before"  # noqa: PT017  (either outcome is right)
    else:
        assert len(key) == 32


def test_the_present_has_milliseconds() -> None:
    """Times are stored in whole milliseconds: what is stored is what was answered."""
    assert now().microsecond % 1000 == 0
