"""An open page loses nothing: across restarts, lost data, broken answers and its own absence."""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from livefeed import embedded
from livefeed.settings import Settings
from tests.browser.newsroom import Newsroom
from tests.servers import LiveServer, serving, store_pid

Open = Callable[[str], Page]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """A server of the test's own, which it may break; its streams come back quickly."""
    quick = {"LIVEFEED_TICK_S": "1", "LIVEFEED_RETRY_MIN_MS": "100", "LIVEFEED_RETRY_MAX_MS": "300"}
    with serving(tmp_path / "var", env={**quick, "LIVEFEED_DRAIN_S": "0.2"}) as server:
        yield server


def headlines(page: Page) -> list[str]:
    return page.locator("article .item-headline").all_text_contents()


@pytest.mark.parametrize("end", [LiveServer.terminate, LiveServer.kill], ids=["SIGTERM", "SIGKILL"])
def test_a_restart_loses_nothing(server: LiveServer, open_page: Open, end: Callable[[LiveServer], object]) -> None:
    """The page says that it reconnects, comes back by itself, and has every item once and in order."""
    newsroom = Newsroom(server)
    page = open_page(server.url)
    newsroom.publish("avant")
    expect(page.locator("article")).to_have_count(1)
    end(server)
    expect(page.locator("#connection")).to_have_text("Reconnexion…")
    server.start()
    newsroom.publish("après")
    newsroom.publish("encore après")

    expect(page.locator("article")).to_have_count(3)
    assert headlines(page) == ["encore après", "après", "avant"]
    expect(page.locator("#connection[data-state=live]")).to_be_visible()


def test_lost_data_is_a_new_list(server: LiveServer, open_page: Open) -> None:
    """After the store was emptied the page shows what there is, not what there was."""
    newsroom = Newsroom(server)
    newsroom.publish("perdue")
    page = open_page(server.url)
    expect(page.locator("article")).to_have_count(1)
    with embedded.connection_url(Settings(data_dir=server.data_dir)) as url, redis.Redis.from_url(url) as client:
        client.flushall()
    expect(page.locator("article")).to_have_count(0)
    expect(page.locator("#empty")).to_be_visible()
    Newsroom(server).publish("nouvelle histoire")

    expect(page.locator("article .item-headline")).to_have_text("nouvelle histoire")


def test_a_refused_stream_comes_back(server: LiveServer, context: BrowserContext, open_page: Open) -> None:
    """An answer that closes an EventSource for ever does not end the page's life: it makes a new one."""
    newsroom = Newsroom(server)
    refused: list[str] = []

    def refuse(route: Route) -> None:
        if len(refused) < 2:
            refused.append("refused")
            route.fulfill(status=503, body="busy")
        else:
            route.continue_()

    context.route("**/stream?*", refuse)
    page = open_page(server.url)
    newsroom.publish("malgré tout")

    expect(page.locator("article .item-headline")).to_have_text("malgré tout")
    assert len(refused) == 2


def test_an_open_page_is_the_page(tmp_path: Path, context: BrowserContext, open_page: Open) -> None:
    """After any mix of changes, with two workers and a restart amid them, an open page is what a new one would be."""
    chance = random.Random(20)  # noqa: S311  (a day of news, the same each time)
    quick = {"LIVEFEED_TICK_S": "1", "LIVEFEED_RETRY_MIN_MS": "100", "LIVEFEED_RETRY_MAX_MS": "300"}
    env = {**quick, "LIVEFEED_DRAIN_S": "0.2", "LIVEFEED_WORKERS": "2"}
    with serving(tmp_path / "var", env=env) as server:
        newsroom = Newsroom(server)
        pages = [open_page(f"{server.url}{path}") for path in ("/", "/?rubric=sport", "/?level=urgent&tag=a")]
        answers = [newsroom.publish(f"info {number}", tags=["a"]) for number in range(5)]
        for step in range(60):
            if step == 30:
                server.terminate()
                server.start()
            answers = _something_happens(newsroom, chance, step, answers)
        newsroom.publish("la dernière", rubric="sport", level="urgent", tags=["a"])

        for page in pages:
            expect(page.locator("article").first).to_contain_text("la dernière")
            fresh = context.new_page()
            fresh.goto(page.url)
            shown, sent = (_list(found) for found in (page, fresh))
            assert shown == sent


def _something_happens(
    newsroom: Newsroom, chance: random.Random, step: int, answers: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One more change of a newsroom's day; the newest answer of each item afterwards."""
    at = chance.randrange(len(answers))
    answer = answers[at]
    withdrawn = answer["item"]["status"] == "withdrawn"
    if withdrawn:
        answers[at] = newsroom.restore(answer)
    elif step % 3 == 0 and len(answers) < 25:
        fields = {"rubric": chance.choice(["sport", "monde"]), "level": chance.choice(["normal", "urgent"])}
        answers.append(newsroom.publish(f"pas {step}", tags=[chance.choice("ab")], **fields))
    elif step % 3 == 1:
        answers[at] = newsroom.withdraw(answer)
    else:
        level, rubric = chance.choice(["normal", "urgent"]), chance.choice(["sport", "monde"])
        answers[at] = newsroom.correct(answer, f"note {step}", level=level, rubric=rubric)
    return answers


def _list(page: Page) -> str:
    html = page.locator("#days").evaluate("(days) => days.outerHTML")
    return str(html).replace(" item-new", "")


def test_a_deaf_server_is_told(server: LiveServer, open_page: Open) -> None:
    """While the server is not sure to hear the log, the page says so; then it is live again."""
    page = open_page(server.url)
    store = store_pid(server.data_dir)
    os.kill(store, signal.SIGSTOP)
    try:
        expect(page.locator("#connection[data-state=stale]")).to_contain_text("Direct interrompu · à jour à ")
    finally:
        os.kill(store, signal.SIGCONT)

    expect(page.locator("#connection[data-state=live]")).to_be_visible()


def test_a_silent_connection_is_given_up(server: LiveServer, context: BrowserContext) -> None:
    """When ticks stop, the page does not believe in the connection any longer and makes another."""
    newsroom = Newsroom(server)
    asked: list[str] = []

    def stall(route: Route) -> None:
        asked.append("stream")
        if len(asked) > 1:
            route.continue_()

    context.route("**/stream?*", stall)
    page = context.new_page()
    page.goto(server.url)
    newsroom.publish("enfin")

    expect(page.locator("article .item-headline")).to_have_text("enfin")
    assert len(asked) == 2


def test_a_page_that_was_left_rejoins(server: LiveServer, open_page: Open) -> None:
    """A page that comes back from the browser's history shows what happened meanwhile."""
    newsroom = Newsroom(server)
    page = open_page(server.url)
    page.goto(f"{server.url}/en/")
    newsroom.publish("pendant l’absence")
    page.go_back()

    expect(page.locator("article .item-headline")).to_have_text("pendant l’absence")
    expect(page.locator("#connection[data-state=live]")).to_be_visible()


def test_an_outdated_position_is_a_new_list(server: LiveServer, open_page: Open, context: BrowserContext) -> None:
    """A position that cannot be continued makes the page fetch the snapshot, and it goes on live."""
    newsroom = Newsroom(server)
    newsroom.publish("connue")
    snapshots: list[str] = []
    context.on("request", lambda request: snapshots.append(request.url) if "/api/items?" in request.url else None)

    def forge(route: Route) -> None:
        url = route.request.url
        route.continue_(url=re.sub(r"last_event_id=[^&]+", "last_event_id=1-deadbeef", url))

    context.route("**/stream?*", forge)
    page = open_page(server.url)
    expect(page.locator("article .item-headline")).to_have_text("connue")
    newsroom.publish("suivante")

    expect(page.locator("article")).to_have_count(2)
    assert headlines(page) == ["suivante", "connue"]
    assert len(snapshots) == 1


def test_without_javascript_the_page_is_whole(server: LiveServer, chromium: Browser) -> None:
    """A reader without JavaScript has the items, and a link that refreshes them."""
    newsroom = Newsroom(server)
    newsroom.publish("Le pont rouvre", body="Dès midi.")
    with chromium.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(server.url)
        expect(page.locator("article .item-headline")).to_have_text("Le pont rouvre")
        newsroom.publish("La suite")
        page.locator(".reload a").click()
        expect(page.locator("article")).to_have_count(2)
        page.locator("article .item-headline a").last.click()
        expect(page.locator("h1")).to_have_text("Le pont rouvre")
