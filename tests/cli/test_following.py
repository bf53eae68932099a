"""Following a stream: resume, resets, the watchdog and back-off, against a server that misbehaves as written."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livefeed.cli import following
from livefeed.cli.client import NotLivefeed, Params
from livefeed.cli.following import Follower
from livefeed.cli.server import Server
from livefeed.errors import BadRequest
from livefeed.feed import sse
from livefeed.feed.item import Event, PublicItem, now
from livefeed.feed.position import Position
from livefeed.settings import Settings
from tests.cli.scripted import STREAM, Request, always, answer, error, json, scripted


def frame(event: str, data: Any, id: str | None = None, retry: int | None = None) -> bytes:
    """One event as bytes."""
    lines = [f"event: {event}", f"data: {msgspec.json.encode(data).decode()}"]
    lines += [f"id: {id}"] if id else []
    lines += [f"retry: {retry}"] if retry is not None else []
    return ("\n".join(lines) + "\n\n").encode()


OPEN = STREAM + frame("tick", {"now": "2026-11-24T12:00:00Z", "live": True, "last": None}, "3-aaaaaaaa", 100)
ITEM = frame("item", {"id": "a", "version": 1, "change": "publish"}, "4-bbbbbbbb")
NEXT = frame("item", {"id": "b", "version": 1, "change": "publish"}, "5-cccccccc")
RESET = frame("reset", {"reason": "expired"}, "9-dddddddd")


class Recorder:
    """A listener that writes down what it is told, and stops the following when a test has seen enough."""

    def __init__(self, *until: str) -> None:
        self.heard: list[str] = []
        self.waits: list[float] = []
        self.enough = asyncio.Event()
        self._until = set(until)

    def _hear(self, what: str) -> None:
        self.heard.append(what)
        self._until.discard(what)
        if not self._until:
            self.enough.set()

    def item(self, data: dict[str, Any], position: str) -> None:
        """Notes the id."""
        self._hear(data["id"])

    def tick(self, data: dict[str, Any]) -> None:
        """Ticks are not noted."""

    async def reset(self, reason: str, position: str, snapshot: Callable[[Params], Awaitable[dict[str, Any]]]) -> None:
        """Fetches the snapshot and notes it."""
        page = await snapshot([("limit", "100")])
        self._hear(f"snapshot {page['position']}")

    def lost(self, reason: str, wait_s: float) -> None:
        """Notes the reason."""
        self.waits.append(wait_s)
        self._hear(f"lost: {reason}")

    def connected(self, url: str) -> None:
        """Notes it."""
        self._hear("connected")


async def follow(url: str, listener: Recorder, position: str = "3-aaaaaaaa", tick_s: float = 15.0) -> Follower:
    """Follow until the listener has heard enough."""
    follower = Follower(Server(Settings(), url), listener, [("view", "full")], position, tick_s)
    task = asyncio.create_task(follower.run())
    enough = asyncio.create_task(listener.enough.wait())
    await asyncio.wait((task, enough), return_when=asyncio.FIRST_COMPLETED, timeout=20)
    task.cancel()
    enough.cancel()
    (outcome, _) = await asyncio.gather(task, enough, return_exceptions=True)
    if isinstance(outcome, Exception):
        raise outcome
    return follower


async def test_the_next_connection_goes_on_behind_the_last_event() -> None:
    """With Last-Event-ID; the first with the snapshot's position, and nothing is asked for twice."""
    recorder = Recorder("a", "b")
    with scripted(always(OPEN + ITEM), always(OPEN + NEXT)) as server:
        await follow(server.url, recorder)

        assert [request.headers["last-event-id"] for request in server.requests[:2]] == ["3-aaaaaaaa", "4-bbbbbbbb"]
    assert recorder.heard[:5] == ["connected", "a", "lost: the server ended the stream", "connected", "b"]


async def test_a_frame_cut_in_its_middle_is_not_dealt_with() -> None:
    """Its id does not count either: it comes whole with the next connection."""
    recorder = Recorder("b")
    with scripted(always(OPEN + ITEM[:-1]), always(OPEN + ITEM + NEXT)) as server:
        await follow(server.url, recorder)

        assert server.requests[1].headers["last-event-id"] == "3-aaaaaaaa"
    assert [heard for heard in recorder.heard if len(heard) == 1] == ["a", "b"]


async def test_a_goodbye_is_told_and_its_retry_obeyed() -> None:
    """The server says when to come back; the wait is lengthened by chance, never shortened."""
    recorder = Recorder("a")
    bye = frame("bye", {"reason": "restart"}, None, 300)
    with scripted(always(OPEN + bye), always(OPEN + ITEM)) as server:
        await follow(server.url, recorder)

    assert recorder.heard[:4] == ["connected", "lost: the server said goodbye (restart)", "connected", "a"]
    assert 0.3 <= recorder.waits[0] <= 0.45


async def test_a_reset_fetches_the_snapshot_while_the_stream_goes_on() -> None:
    """What follows the reset on the stream comes after the snapshot."""
    recorder = Recorder("b")
    page = json(200, {"items": [], "position": "9-dddddddd", "next": None})
    with scripted(always(OPEN + RESET + NEXT), always(page)) as server:
        await follow(server.url, recorder)

        assert [request.path.split("?")[0] for request in server.requests[:2]] == ["/stream", "/api/items"]
    assert recorder.heard[:3] == ["connected", "snapshot 9-dddddddd", "b"]


async def test_a_reset_whose_snapshot_fails_comes_again() -> None:
    """The position behind the reset counts only when the snapshot was dealt with."""
    recorder = Recorder("snapshot 9-dddddddd")
    page = json(200, {"items": [], "position": "9-dddddddd", "next": None})
    with scripted(
        always(OPEN + RESET),
        always(error(503, "unavailable", "The store is away.")),
        always(OPEN + RESET),
        always(page),
    ) as server:
        follower = await follow(server.url, recorder)

        streams = [request for request in server.requests if request.path.startswith("/stream")]
        assert [request.headers["last-event-id"] for request in streams[:2]] == ["3-aaaaaaaa", "3-aaaaaaaa"]
    assert "lost: The store is away." in recorder.heard
    assert follower.position == "9-dddddddd"


async def test_a_stream_without_ticks_is_left() -> None:
    """A connection that stays open but says nothing for 2.5 intervals is dead; comments are no sign of life."""

    def silent(request: Request, connection: socket.socket) -> bytes:
        connection.sendall(OPEN)
        connection.settimeout(0.05)
        while True:
            connection.sendall(b": still here\n")
            try:
                if not connection.recv(1):
                    return b""
            except TimeoutError:
                continue

    recorder = Recorder("a")
    with scripted(silent, always(OPEN + ITEM)) as server:
        await follow(server.url, recorder, tick_s=0.1)

    assert recorder.heard[1:4] == ["lost: no sign of life for 0.25 s", "connected", "a"]


async def test_waits_double_while_a_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """From what the server told up to a bound, each lengthened by chance by at most half."""
    monkeypatch.setattr(following, "RETRY_DEFAULT_MS", 10)
    monkeypatch.setattr(following, "BACKOFF_MAX_S", 0.06)
    recorder = Recorder("a")
    with scripted(*[always(answer(502, b"away"))] * 5, always(OPEN + ITEM)) as server:
        await follow(server.url, recorder)

    for wait, least in zip(recorder.waits[:5], (0.01, 0.02, 0.04, 0.06, 0.06), strict=True):
        assert least <= wait <= least * 1.5


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (error(400, "bad_request", "rubric: 'x' is unknown."), BadRequest),
        (answer(200, b"<html>", "Content-Type: text/html"), NotLivefeed),
        (answer(404, b"nothing here"), NotLivefeed),
        (STREAM + b"event: item\ndata: [1]\n\n", NotLivefeed),
        (STREAM + b"event: item\ndata: {\n\n", NotLivefeed),
    ],
)
async def test_a_refusal_for_good_ends_the_following(sent: bytes, kind: type[Exception]) -> None:
    """There is no sense in trying again what will be refused again."""
    with scripted(always(sent)) as server, pytest.raises(kind):
        await follow(server.url, Recorder("a"))


async def test_what_stands_before_a_server_may_speak_for_it_for_a_while() -> None:
    """After a good connection a proxy's own page is an outage like another."""
    recorder = Recorder("b")
    page = answer(404, b"<h1>No backend</h1>", "Content-Type: text/html")
    with scripted(always(OPEN + ITEM), always(page), always(OPEN + NEXT)) as server:
        await follow(server.url, recorder)

    assert [heard for heard in recorder.heard if len(heard) == 1][:2] == ["a", "b"]


text = st.text(st.characters(codec="utf-8"), max_size=80)


@given(st.lists(text, min_size=1, max_size=4), st.integers(1, 7))
def test_the_library_reads_our_frames_however_they_are_cut(headlines: list[str], size: int) -> None:
    """Any text, in chunks of any size: exactly our events, with exactly our data and positions."""
    events = [
        Event(
            change="publish",
            item=PublicItem(
                id="x",
                version=1,
                status="published",
                url="/i/x",
                headline=headline,
                body_html=headline,
                rubric="monde",
                first_published_at=now(),
            ),
        )
        for headline in headlines
    ]
    sent = b"".join(sse.item(event, Position(n, "3fa9c1d2"), "full", "http://x") for n, event in enumerate(events))

    def chunks() -> Iterable[bytes]:
        return (sent[i : i + size] for i in range(0, len(sent), size))

    response = httpx2.Response(
        200,
        headers={"content-type": "text/event-stream"},
        content=chunks(),
        request=httpx2.Request("GET", "http://x/stream"),
    )
    found = list(httpx2.EventSource(response))

    assert [event.id for event in found] == [f"{n}-3fa9c1d2" for n in range(len(events))]
    assert [msgspec.json.decode(event.data)["headline"] for event in found] == headlines
