"""How the ticker takes a snapshot after a reset, with a stream and answers that the test holds in its hand."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page

from tests.browser.newsroom import Newsroom

Open = Callable[[str], Page]

_BENCH = """
async () => {
  const { Ticker } = await import("/static/ticker.js");
  const { pageData } = await import("/static/page-data.js");
  const stream = Object.assign(new EventTarget(), {
    position: "9-00000009",
    restarts: [],
    now: () => new Date(),
    start() {},
    restart(position) { this.restarts.push(position); },
  });
  const answers = [];
  globalThis.fetch = () => new Promise((resolve) => {
    answers.push((data) => resolve(new Response(JSON.stringify(data))));
  });
  const until = async (condition) => {
    while (!condition()) await new Promise((resume) => setTimeout(resume, 5));
  };
  const ticker = new Ticker(pageData(), stream);
  ticker.start();
  const reset = (position) => stream.dispatchEvent(new MessageEvent("reset", { data: "{}", lastEventId: position }));
  const item = (id, headline, version = 1) => ({
    id, version, status: "published", url: `/i/${id}`, headline, body_html: "", rubric: "monde", tags: [], thread: null,
    authors: [], source: null, language: "fr", direction: "ltr", level: "normal", pinned_until: null,
    verification: "none", image: null, alternates: {}, corrections: [], access: "free",
    first_published_at: `2024-08-08T12:00:0${id}Z`, updated_at: null, reading_time: 0, change: "publish",
  });
  const tell = (data) => stream.dispatchEvent(new MessageEvent("item", { data: JSON.stringify(data) }));
  const headlines = () => [...document.querySelectorAll("#days .item-headline")].map((found) => found.textContent);
  ticker.data.filter = { rubric: [], language: ["fr"], thread: [], tag: [], level: [] };
  SCENE
}
"""


def play(open_page: Open, newsroom: Newsroom, scene: str) -> object:
    page = open_page(f"{newsroom.server.url}/?tag=nothing-has-this-tag")
    return page.evaluate(_BENCH.replace("SCENE", scene))


def test_what_follows_a_reset_is_held(open_page: Open, newsroom: Newsroom) -> None:
    """Events after a reset wait for the snapshot; then what is newer than it is applied, and what is older is not."""
    shown = play(
        open_page,
        newsroom,
        """
        reset("9-00000009");
        await until(() => answers.length === 1);
        tell(item("1", "un, corrigé", 2));
        tell(item("2", "deux, ancien", 1));
        tell(item("3", "trois"));
        const before = headlines();
        answers[0]({ items: [item("2", "deux", 5), item("1", "un")], position: "9-00000009", next: null });
        await until(() => headlines().length === 3);
        return [before, headlines(), stream.restarts];
        """,
    )

    assert shown == [[], ["trois", "deux", "un, corrigé"], []]


def test_a_snapshot_from_before_the_last_reset_is_not_used(open_page: Open, newsroom: Newsroom) -> None:
    """When another reset comes while a snapshot is under way, only one asked for afterwards counts."""
    shown = play(
        open_page,
        newsroom,
        """
        reset("9-00000009");
        await until(() => answers.length === 1);
        reset("4-dddddddd");
        answers[0]({ items: [item("1", "histoire perdue")], position: "9-00000009", next: null });
        await until(() => answers.length === 2);
        answers[1]({ items: [item("2", "nouvelle histoire")], position: "4-dddddddd", next: null });
        await until(() => headlines().length);
        return [headlines(), stream.restarts];
        """,
    )

    assert shown == [["nouvelle histoire"], []]


def test_a_snapshot_of_a_process_that_is_behind(open_page: Open, newsroom: Newsroom) -> None:
    """A snapshot from before the stream's position, or of another history, is shown, and the stream starts from it."""
    shown = play(
        open_page,
        newsroom,
        """
        reset("9-00000009");
        await until(() => answers.length === 1);
        answers[0]({ items: [item("1", "un")], position: "7-00000007", next: null });
        await until(() => stream.restarts.length === 1);
        reset("9-00000009");
        await until(() => answers.length === 2);
        answers[1]({ items: [item("1", "un")], position: "9-eeeeeeee", next: null });
        await until(() => stream.restarts.length === 2);
        return [headlines(), stream.restarts];
        """,
    )

    assert shown == [["un"], ["7-00000007", "9-eeeeeeee"]]


def test_a_failed_fetch_is_tried_again(open_page: Open, newsroom: Newsroom) -> None:
    """While the server cannot give a snapshot the list stays as it is, and events are held until it can."""
    shown = play(
        open_page,
        newsroom,
        """
        const good = globalThis.fetch;
        let refused = 0;
        globalThis.fetch = async () => {
          if (refused < 2) return new Response("", { status: 503 + refused++ });
          globalThis.fetch = good;
          return good();
        };
        reset("9-00000009");
        await until(() => answers.length === 1);
        tell(item("2", "deux"));
        answers[0]({ items: [item("1", "un")], position: "9-00000009", next: null });
        await until(() => headlines().length === 2);
        return [headlines(), refused];
        """,
    )

    assert shown == [["deux", "un"], 2]


def test_a_list_that_grew_long_starts_again(open_page: Open, newsroom: Newsroom) -> None:
    """An open page gathers a bounded number of items, and its link to older ones stays right."""
    shown = play(
        open_page,
        newsroom,
        """
        ticker.data.list_items_max = 3;
        for (const id of "1234") tell(item(id, id));
        await until(() => answers.length === 1);
        answers[0]({ items: [item("4", "4"), item("3", "3")], position: "9-00000009", next: "abc" });
        await until(() => headlines().length === 2);
        return [headlines(), document.querySelector("#older").getAttribute("href"), stream.restarts];
        """,
    )

    assert shown == [["4", "3"], "/?tag=nothing-has-this-tag&before=abc", []]
