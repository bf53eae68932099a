"""The server's and the browser's rendering of the same item give the same DOM."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.newsroom import Newsroom

Open = Callable[[str], Page]

_COMPARE = """
async ([id, page]) => {
  const { itemView } = await import("/static/item-view.js");
  const { Dates } = await import("/static/dates.js");
  const { pageData } = await import("/static/page-data.js");
  const response = await fetch(`/api/items/${id}`);
  const answer = await response.json();
  const item = answer.item ?? answer.error.item;
  const data = pageData();
  const server = document.querySelector(`#item-${id}`);
  const browser = itemView(item, data, new Dates(data), new Date(), { page });
  return { same: server.isEqualNode(browser), server: server.outerHTML, browser: browser.outerHTML };
}
"""

UNTIL = (datetime.now(UTC) + timedelta(days=1)).isoformat()
FULL: dict[str, Any] = {
    "headline": "Le « pont » rouvre & <b>vite</b>",
    "body": 'Dès **midi**, dit [la ville](https://ville.example/?a=1&b=2 "titre").\n\n- un\n- deux\n\n> cité\n\n`code`',
    "rubric": "societe",
    "tags": ["C & A*~'(x)", "pont neuf", "جسر"],
    "thread": "le-pont",
    "authors": ["Omar Naciri", "Salma Idrissi", "Yann Kerbrat"],
    "source": 'Correspondance "locale"',
    "level": "urgent",
    "verification": "unverified",
    "image": {"url": "https://pictures.example/a.jpg?x=1&y=2", "alt": "Le pont, vu d’en bas", "credit": "N. <Ferrat>"},
    "alternates": {"ar": "0" * 18},
}
CASES: dict[str, dict[str, Any]] = {
    "bare": {"headline": "Une info"},
    "full": FULL,
    "arabic": {"headline": "هزة أرضية خفيفة", "body": "تسعة كيلومترات.", "language": "ar", "authors": ["ليلى", "عمر"]},
    "english": {"headline": "A light earthquake", "body": "word " * 700, "language": "en", "level": "important"},
    "subscribers": {"headline": "Enquête", "body": "Texte réservé.", "access": "subscribers"},
}


def _same(page: Page, answer: dict[str, Any], on_its_page: bool) -> None:
    found = page.evaluate(_COMPARE, [answer["item"]["id"], on_its_page])
    assert found["same"], f"\n{found['server']}\n{found['browser']}"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("state", ["published", "corrected", "pinned", "withdrawn", "moved by a year"])
def test_both_renderings_are_the_same(newsroom: Newsroom, open_page: Open, tag: str, case: str, state: str) -> None:
    """Element for element, attribute for attribute, in the ticker and on the item's own page."""
    fields = {"rubric": "monde", **CASES[case]}
    fields["tags"] = [*fields.get("tags", []), tag]
    if state == "moved by a year":
        # Before Morocco left UTC+1, beyond the offsets that a page carries: the browser's own database answers.
        answer = newsroom.backfill(fields.pop("headline"), "2024-03-20T12:00:00.250Z", **fields)
    else:
        answer = newsroom.publish(fields.pop("headline"), **fields)
    if state == "corrected":
        newsroom.correct(answer, "Une précision & une autre.")
    elif state == "pinned":
        newsroom.pin(answer, UNTIL)
    elif state == "withdrawn":
        newsroom.withdraw(answer)
    language = fields.get("language", "fr")
    edition = "/" if language == "fr" else f"/{language}/"

    _same(open_page(f"{newsroom.server.url}{edition}?tag={tag}"), answer, False)
    _same(open_page(f"{newsroom.server.url}/i/{answer['item']['id']}"), answer, True)


def test_a_list_made_anew_is_the_page(newsroom: Newsroom, open_page: Open, tag: str) -> None:
    """After a reset the browser's list, days and headings included, is what the server would send."""
    for number in range(3):
        newsroom.backfill(f"info {number}", f"2024-08-0{7 + number // 2}T10:00:00Z", tags=[tag])
    newsroom.publish("aujourd’hui", tags=[tag])
    page = open_page(f"{newsroom.server.url}/?tag={tag}")
    expect(page.locator("article")).to_have_count(4)
    same = page.evaluate(
        """
        async () => {
          const { Ticker } = await import("/static/ticker.js");
          const { pageData } = await import("/static/page-data.js");
          const days = document.querySelector("#days");
          const sent = days.cloneNode(true);
          const stream = Object.assign(new EventTarget(), { now: () => new Date(), start() {}, position: "" });
          await new Ticker(pageData(), stream).refresh();
          return [days.isEqualNode(sent), sent.outerHTML, days.outerHTML];
        }
        """
    )

    assert same[0], f"\n{same[1]}\n{same[2]}"
