"""What an editor does is on open pages, in place, within a second."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.newsroom import Newsroom

Open = Callable[[str], Page]

SECOND_MS = 1_000


@pytest.fixture
def page(open_page: Open, newsroom: Newsroom, tag: str) -> Page:
    """The ticker, of this test's items only."""
    return open_page(f"{newsroom.server.url}/?tag={tag}")


def headlines(page: Page) -> list[str]:
    return page.locator("article .item-headline").all_text_contents()


def test_a_published_item_appears(page: Page, newsroom: Newsroom, tag: str) -> None:
    """Publish → on the open page within a second, complete, and announced once to screen readers."""
    expect(page.locator("#empty")).to_be_visible()
    newsroom.publish("Le pont rouvre", body="Dès **midi**.", tags=[tag], level="urgent", authors=["Inès Baroudi"])

    article = page.locator("article")
    expect(article.locator(".item-headline")).to_have_text("Le pont rouvre", timeout=SECOND_MS)
    expect(article.locator(".mark-urgent")).to_have_text("Urgent")
    expect(article.locator(".item-body strong")).to_have_text("midi")
    expect(article.locator(".item-foot")).to_have_text("Par Inès Baroudi • Temps de lecture : 1 minute")
    expect(page.locator("#empty")).to_be_hidden()
    expect(page.locator("section.day > [role=feed] > article")).to_have_count(1)
    expect(page.locator("#announcer")).to_have_text("1 nouvelle info")


def test_the_command_line_publishes(page: Page, newsroom: Newsroom, tag: str) -> None:
    """`livefeed publish` in a terminal → on the open page, within a second of the command's answer."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("LIVEFEED_")}
    command = [sys.executable, "-m", "livefeed", "publish", "--headline", "Du terminal", "--rubric", "monde"]
    result = subprocess.run(
        [*command, "--tag", tag],
        env={**outside, "LIVEFEED_DATA_DIR": str(newsroom.server.data_dir)},
        capture_output=True,
        text=True,
    )

    assert result.returncode == 0, result.stderr
    expect(page.locator("article .item-headline")).to_have_text("Du terminal", timeout=SECOND_MS)


def test_an_item_changes_in_place(page: Page, newsroom: Newsroom, tag: str) -> None:
    """Edit, correct, withdraw and restore reach the open page where the item stands."""
    newsroom.publish("en dessous", tags=[tag])
    answer = newsroom.publish("Le pont rouvrre", tags=[tag])
    newsroom.publish("au-dessus", tags=[tag])
    expect(page.locator("article")).to_have_count(3)
    article = page.locator(f"#item-{answer['item']['id']}")

    answer = newsroom.change(answer, headline="Le pont rouvre")
    expect(article.locator(".item-headline")).to_have_text("Le pont rouvre")
    expect(article.locator(".item-corrections")).to_have_count(0)

    answer = newsroom.correct(answer, "À midi, et non à 13 heures.", body="À midi.")
    expect(article.locator(".item-corrections")).to_contain_text("À midi, et non à 13 heures.")
    expect(article.locator(".item-foot")).to_contain_text("Mis à jour le")

    newsroom.withdraw(answer)
    expect(article.locator(".item-headline")).to_have_text("Info retirée par la rédaction")
    expect(article).not_to_contain_text("midi")

    newsroom.restore(answer)
    expect(article.locator(".item-headline")).to_have_text("Le pont rouvre")
    assert headlines(page) == ["au-dessus", "Le pont rouvre", "en dessous"]


def test_an_item_that_leaves_the_filter_leaves_the_page(
    page: Page, open_page: Open, newsroom: Newsroom, tag: str
) -> None:
    """An item moved to another rubric leaves the first one's page and comes to the other's."""
    sport = open_page(f"{newsroom.server.url}/?rubric=sport&tag={tag}")
    monde = open_page(f"{newsroom.server.url}/?rubric=monde&tag={tag}")
    answer = newsroom.publish("Le relais", tags=[tag], rubric="monde")
    expect(monde.locator("article")).to_have_count(1)
    newsroom.change(answer, rubric="sport")

    expect(sport.locator("article .item-headline")).to_have_text("Le relais")
    expect(monde.locator("article")).to_have_count(0)
    expect(monde.locator("section.day")).to_have_count(0)
    expect(monde.locator("#empty")).to_be_visible()
    expect(page.locator("article .item-rubric")).to_have_text("Sport")


def test_a_backfill_takes_its_place_in_silence(page: Page, newsroom: Newsroom, tag: str) -> None:
    """An import lands on its own day and in its own order, and is not announced as news."""
    newsroom.publish("aujourd’hui", tags=[tag])
    expect(page.locator("#announcer")).to_have_text("1 nouvelle info")
    newsroom.backfill("il y a deux jours", "2024-08-06T10:00:00Z", tags=[tag])
    newsroom.backfill("le matin", "2024-08-08T08:00:00Z", tags=[tag])
    newsroom.backfill("le soir", "2024-08-08T20:00:00Z", tags=[tag])
    newsroom.backfill("minuit passé", "2024-08-08T23:30:00Z", tags=[tag])

    expect(page.locator("article")).to_have_count(5)
    assert headlines(page) == ["aujourd’hui", "minuit passé", "le soir", "le matin", "il y a deux jours"]
    assert page.locator("section.day h2").all_text_contents()[1:] == [
        "Vendredi 9 août 2024",
        "Jeudi 8 août 2024",
        "Mardi 6 août 2024",
    ]
    assert page.locator("section.day h2").first.text_content() == page.locator("h2").first.text_content()
    expect(page.locator("section.day").nth(2).locator("article")).to_have_count(2)
    newsroom.publish("encore une", tags=[tag])
    expect(page.locator("#announcer")).to_have_text("1 nouvelle info")


def test_the_pages_gap_is_closed(newsroom: Newsroom, context: BrowserContext, open_page: Open, tag: str) -> None:
    """What is published between a page's rendering and its stream is not missed."""

    def publish_first(route: Route) -> None:
        newsroom.publish("entre les deux", tags=[tag])
        route.continue_()

    context.route("**/stream?*", publish_first, times=1)
    page = open_page(f"{newsroom.server.url}/?tag={tag}")

    expect(page.locator("article .item-headline")).to_have_text("entre les deux")


def test_hostile_text_is_text_on_an_open_page(page: Page, newsroom: Newsroom, tag: str) -> None:
    """What is typed is shown as typed also where the browser renders it: no element, no script, no policy broken."""
    hostile = "</script><script>alert(1)</script>\"'& <img src=x onerror=alert(1)>"
    newsroom.publish(hostile, body=f"{hostile} [lien](javascript:alert(1))", tags=[tag], authors=[hostile])

    article = page.locator("article")
    expect(article.locator(".item-headline")).to_have_text(hostile)
    expect(article.locator(".item-body")).to_contain_text(hostile)
    expect(article.locator("img, script, [onerror], [href^=javascript]")).to_have_count(0)


def test_a_pin_ends_on_an_open_page(page: Page, newsroom: Newsroom, tag: str) -> None:
    """The mark of a pin comes with the event and goes by itself."""
    answer = newsroom.publish("épinglée", tags=[tag])
    newsroom.pin(answer, (datetime.now(UTC) + timedelta(seconds=4)).isoformat())

    expect(page.locator(".mark-pinned")).to_have_text("Épinglé")
    expect(page.locator(".mark-pinned")).to_have_count(0, timeout=8_000)


def test_an_arabic_page_is_live(newsroom: Newsroom, open_page: Open, tag: str) -> None:
    """The Arabic edition gets Arabic items, from right to left, and no others."""
    page = open_page(f"{newsroom.server.url}/ar/?tag={tag}")
    newsroom.publish("en français", tags=[tag])
    newsroom.publish("هزة أرضية خفيفة", tags=[tag], language="ar", level="urgent")

    expect(page.locator("article .item-headline")).to_have_text("هزة أرضية خفيفة")
    expect(page.locator("article")).to_have_attribute("dir", "rtl")
    expect(page.locator(".mark-urgent")).to_have_text("عاجل")
    expect(page.locator("#announcer")).to_have_text("خبر جديد واحد")


def test_older_pages_change_in_place_only(newsroom: Newsroom, open_page: Open, tag: str) -> None:
    """A page of older items shows their corrections, and takes no new items."""
    answers = [newsroom.publish(f"info {number}", tags=[tag]) for number in range(32)]
    page = open_page(f"{newsroom.server.url}/?tag={tag}")
    page.locator("#older").click()
    expect(page.locator("article")).to_have_count(2)
    expect(page.locator("#connection[data-state=live]")).to_be_visible()
    newsroom.publish("nouvelle", tags=[tag])
    newsroom.change(answers[0], headline="info zéro")

    expect(page.locator("article .item-headline").last).to_have_text("info zéro")
    assert headlines(page) == ["info 1", "info zéro"]


def test_the_item_page_is_live(newsroom: Newsroom, open_page: Open, tag: str) -> None:
    """A correction shows while the item is being read; a withdrawal leaves the stub and not even its old address."""
    answer = newsroom.publish("Le pont rouvre", body="À 13 heures.", tags=[tag])
    page = open_page(f"{newsroom.server.url}/i/{answer['item']['id']}")
    expect(page.locator("h1")).to_have_text("Le pont rouvre")
    answer = newsroom.correct(answer, "À midi.", body="À midi.", rubric="societe")
    expect(page.locator(".item-corrections")).to_contain_text("À midi.")
    answer = newsroom.change(answer, headline="Le pont rouvre à midi")
    expect(page.locator("h1")).to_have_text("Le pont rouvre à midi")
    assert page.url.endswith("/le-pont-rouvre-a-midi")
    newsroom.withdraw(answer)

    expect(page.locator("h1")).to_have_text("Info retirée par la rédaction")
    expect(page).to_have_title("Info retirée par la rédaction — livefeed")
    assert page.url.endswith(f"/i/{answer['item']['id']}")
    page.locator(".back a").click()
    expect(page.locator("h1")).to_have_text("En continu")


def test_an_item_page_out_of_the_cache_asks_first(newsroom: Newsroom, open_page: Open, tag: str) -> None:
    """A page that the browser kept for long shows what the item is now, without reading all that happened since."""
    answer = newsroom.publish("Le pont rouvre", tags=[tag])
    page = open_page(f"{newsroom.server.url}/?tag={tag}")

    def aged(route: Route) -> None:
        response = route.fetch()
        body = re.sub(r'"rendered_at": "\d{4}', '"rendered_at": "2020', response.text())
        newsroom.change(answer, headline="Le pont rouvre à midi")
        route.fulfill(response=response, body=body)

    page.context.route("**/i/*/*", aged, times=1)
    with page.expect_request("**/api/items/*"):
        page.locator(".item-headline a").click()
    expect(page.locator("h1")).to_have_text("Le pont rouvre à midi")
    expect(page.locator("#connection[data-state=live]")).to_be_visible()


def test_the_connection_is_told_to_the_second(page: Page, newsroom: Newsroom) -> None:
    """« En direct · à jour à … » carries the time of the last proof, and moves on with the server's ticks."""
    label = page.locator("#connection")
    first = label.text_content() or ""
    assert first.startswith("En direct · à jour à ")
    said = datetime.strptime(first.rsplit(" ", 1)[1], "%H:%M:%S")  # noqa: DTZ007  (a time of day)
    assert 0 <= (time.time() - said.minute * 60 - said.second) % 3600 < 10

    expect(label).not_to_have_text(first)
