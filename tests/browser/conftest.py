"""A real Chromium on a real server with the embedded store."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.newsroom import Newsroom
from tests.servers import LiveServer, serving

WAIT_MS = 10_000
"""Longest wait for anything on a page; on a condition."""
_SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_numbers = itertools.count(1)

expect.set_options(timeout=WAIT_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One browser for these tests; gone before others run, as no other loop could run in its thread."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server for all tests that leave it as it is; tests keep apart by a tag of their own."""
    with serving(tmp_path_factory.mktemp("browser") / "var", env={"LIVEFEED_TICK_S": "2"}) as server:
        yield server


@pytest.fixture(scope="package")
def newsroom(_server: LiveServer) -> Newsroom:
    """A newsroom on the shared server."""
    return Newsroom(_server)


@pytest.fixture
def tag() -> str:
    """A tag of the test's own; `/?tag=…` is its page."""
    return f"essai-{next(_numbers)}"


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser of the test's own, without history."""
    with chromium.new_context() as context:
        yield context


@pytest.fixture
def open_page(context: BrowserContext) -> Iterator[Callable[[str], Page]]:
    """Opens pages, and holds that none of them logged an error or broke its content security policy."""
    complaints: list[str] = []

    def open_(url: str) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if _is_bad(message.text) else None)
        page.goto(url)
        expect(page.locator("#connection[data-state=live]")).to_be_visible()
        return page

    yield open_
    assert complaints == []


def _is_bad(text: str) -> bool:
    return any(word in text for word in ("Content Security Policy", "TrustedHTML", "Uncaught", "Refused"))
