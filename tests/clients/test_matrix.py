"""The same stream, read by the clients that are out there, straight and through the proxies that are out there."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest
import sseclient
from playwright.sync_api import sync_playwright

from tests.browser.newsroom import Newsroom
from tests.servers import LiveServer, fetch, serving, wait_for

ITEMS = 6
"""Half of them replayed, half of them live."""
WAIT_S = 20.0
FIRST_BYTE_MAX_S = 1.0
"""Generous, as machines that test are busy; 0.1 s is what is wanted, and what is printed."""
ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("eventsource.mjs")

Item = tuple[str, str, str]
"""Event, id and data."""
Events = Generator[Item, None, None]

_NGINX = """
daemon off; pid {directory}/pid; error_log {directory}/error.log; worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/a; proxy_temp_path {directory}/b; fastcgi_temp_path {directory}/c;
  uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {url}; }} }}
}}
"""
_CADDY = """
{{
  admin off
  auto_https off
  storage file_system {directory}
}}
http://127.0.0.1:{port} {{
  reverse_proxy {url}
}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serving(tmp_path_factory.mktemp("clients") / "var", env={"LIVEFEED_TICK_S": "1"}) as server:
        yield server


@pytest.fixture(scope="module")
def newsroom(server: LiveServer) -> Newsroom:
    return Newsroom(server)


@pytest.fixture(scope="module", params=["direct", "nginx", "caddy"])
def way(request: pytest.FixtureRequest, server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address at which the stream is read: the server's, or a proxy's with its default buffering."""
    if request.param == "direct":
        yield server.url
        return
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"there is no {request.param} on PATH (Debian, Ubuntu: apt install {request.param})")
    directory = tmp_path_factory.mktemp(request.param)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = directory / "config"
    template = _NGINX if request.param == "nginx" else _CADDY
    config.write_text(template.format(directory=directory, port=port, url=server.url))
    arguments = ["-p", str(directory), "-c", str(config)]
    if request.param == "caddy":
        arguments = ["run", "--config", str(config), "--adapter", "caddyfile"]
    with open(directory / "output", "wb") as output:
        process = subprocess.Popen([program, *arguments], stdout=output, stderr=output, env={"HOME": str(directory)})
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: fetch(f"{url}/livez")[0] == 200, request.param)
        yield url
    finally:
        process.terminate()
        process.wait(WAIT_S)


def with_curl(url: str) -> Events:
    """curl, and the few lines of shell that people write around it."""
    process = subprocess.Popen(["curl", "-sN", "--max-time", "30", url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    fields: dict[str, str] = {}
    try:
        for line in process.stdout:
            if line.strip():
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name] = value
            elif fields:
                yield fields.get("event", ""), fields.get("id", ""), fields.get("data", "")
                fields = {}
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def with_httpx_sse(url: str) -> Events:
    """httpx-sse."""
    with httpx.Client(timeout=WAIT_S) as client, httpx_sse.connect_sse(client, "GET", url) as source:
        for event in source.iter_sse():
            yield event.event, event.id, event.data


def with_sseclient(url: str) -> Events:
    """sseclient-py."""
    with httpx.Client(timeout=WAIT_S) as client, client.stream("GET", url) as response:
        for event in sseclient.SSEClient(response.iter_bytes()).events():
            yield event.event, event.id or "", event.data


def with_npm(client: str) -> Callable[[str], Events]:
    """A client of npm's, under node."""

    def read(url: str) -> Events:
        if shutil.which("node") is None or not (ROOT / "node_modules" / client).exists():
            pytest.skip(f"npm's {client} is not installed (npm install)")
        command = ["node", str(SCRIPT), client, url, str(ITEMS)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                event, id, data = json.loads(line)
                yield event, id, data
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    return read


_IN_THE_PAGE = """([url, count]) => new Promise((resolve) => {
  const items = [];
  const source = new EventSource(url);
  source.addEventListener("item", (event) => {
    items.push(["item", event.lastEventId, event.data]);
    if (items.length === count) { source.close(); resolve(items); }
  });
})"""


def with_chromium(url: str) -> Events:
    """The EventSource of a real browser."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(url.partition("/stream")[0] + "/livez")
        items: list[Any] = page.evaluate(_IN_THE_PAGE, [url, ITEMS])
        browser.close()
    yield from items


CLIENTS: dict[str, Callable[[str], Events]] = {
    "curl": with_curl,
    "httpx-sse": with_httpx_sse,
    "sseclient-py": with_sseclient,
    "eventsource": with_npm("eventsource"),
    "eventsource-parser": with_npm("eventsource-parser"),
    "chromium": with_chromium,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_reads_the_same(client: str, way: str, newsroom: Newsroom) -> None:
    """Replayed and live, straight or through a proxy: the same events with the same ids and the same data."""
    start = newsroom.publish("Avant")["position"]
    answers = [newsroom.publish(f"Rejouée {n} — l’été, « ça »", tags=["é"]) for n in range(ITEMS // 2)]

    def go_on() -> None:
        answers.extend(newsroom.publish(f"En direct {n} خبر", body="Un **corps**.") for n in range(ITEMS // 2))

    later = threading.Timer(0.5, go_on)
    later.start()
    items = []
    with contextlib.closing(CLIENTS[client](f"{way}/stream?last_event_id={start}")) as events:
        for event in events:
            if event[0] == "item":
                items.append(event)
            if len(items) == ITEMS:
                break
    later.join()
    assert [id for _, id, _ in items] == [answer["position"] for answer in answers]
    assert [json.loads(data)["headline"] for _, _, data in items] == [a["item"]["headline"] for a in answers]
    assert [json.loads(data)["body_html"] for _, _, data in items] == [a["item"]["body_html"] for a in answers]


def test_the_first_byte_comes_at_once(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No proxy holds the opening back; wanted is 0.1 s."""
    took = []
    for _ in range(5):
        started = time.perf_counter()
        with httpx.stream("GET", f"{way}/stream", timeout=WAIT_S) as response:
            assert next(response.iter_raw())
            took.append(time.perf_counter() - started)
    with capsys.disabled():
        print(f"\nfirst byte: median {sorted(took)[2] * 1000:.1f} ms, worst {max(took) * 1000:.1f} ms")  # noqa: T201
    assert min(took) < FIRST_BYTE_MAX_S
