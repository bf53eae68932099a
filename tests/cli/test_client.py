"""The HTTP client: one change however often it is sent, bounded waits, and errors that say what to do."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from livefeed import errors
from livefeed.cli.client import PAUSES_S, Client, NotLivefeed, Unreachable
from livefeed.cli.server import NotAllowed, Server
from livefeed.settings import Settings
from tests.cli.scripted import Request, always, answer, cut, error, json, scripted

DONE = json(201, {"item": {"id": "x"}, "version": 1, "position": "1-3fa9c1d2"}, "Location: /i/x")


TOKEN = "lf_t"


def client(url: str, pauses: list[float] | None = None, *, with_token: bool = True) -> Client:
    """A client that does not really wait between tries."""
    server = Server(Settings(), url, TOKEN if with_token else "")
    return Client(server, pause=(pauses if pauses is not None else []).append)


def publish(url: str, pauses: list[float] | None = None, **options: Any) -> dict[str, Any]:
    """One change."""
    with client(url, pauses) as one:
        return one.change("POST", "/api/items", {"headline": "x"}, **options).body


def test_a_change_whose_connection_is_lost_is_sent_again_with_the_same_key() -> None:
    """Nobody knows whether a lost request was done: the server, which knows the key, does it once."""
    with scripted(cut, cut, always(DONE)) as server:
        found = publish(server.url)

    assert found["version"] == 1
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
    assert len({request.body for request in server.requests}) == 1
    assert len(server.requests) == 3


def test_two_commands_have_two_keys() -> None:
    """The same text may be published twice on purpose."""
    with scripted(always(DONE)) as server:
        publish(server.url)
        publish(server.url)

    assert len({request.headers["idempotency-key"] for request in server.requests}) == 2


def test_an_answer_cut_in_its_middle_is_asked_for_again() -> None:
    """Half an answer is no answer."""
    with scripted(always(DONE[:-5]), always(DONE)) as server:
        assert publish(server.url, key="k")["version"] == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(status: int) -> None:
    """Whatever stands in front of it."""
    with scripted(always(answer(status, b"<h1>busy</h1>")), always(DONE)) as server:
        assert publish(server.url)["version"] == 1


def test_tries_and_waits_are_bounded() -> None:
    """After the last pause the command ends with a sentence."""
    pauses: list[float] = []
    with scripted(cut) as server, pytest.raises(Unreachable, match="cut the connection"):
        publish(server.url, pauses)

    assert len(server.requests) == len(PAUSES_S) + 1
    assert all(pause <= bound for pause, bound in zip(pauses, PAUSES_S, strict=True))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_request", errors.BadRequest),
        (401, "unauthorized", errors.Unauthorized),
        (403, "forbidden", errors.Forbidden),
        (404, "not_found", errors.NotFound),
        (409, "conflict", errors.Conflict),
        (410, "withdrawn", errors.Withdrawn),
        (412, "stale_version", errors.StaleVersion),
        (413, "too_large", errors.TooLarge),
        (422, "invalid_field", errors.InvalidField),
        (422, "idempotency_key_reused", errors.KeyReused),
        (428, "version_required", errors.VersionRequired),
        (500, "internal", errors.Internal),
        (418, "teapot", errors.BadRequest),
    ],
)
def test_the_servers_refusal_is_the_houses_own_error(status: int, code: str, kind: type[errors.ApiError]) -> None:
    """Of its class, with its message and data, and it is not tried again."""
    with scripted(always(error(status, code, "No.", version=3))) as server, pytest.raises(kind) as caught:
        publish(server.url)

    assert type(caught.value) is kind
    assert caught.value.data["version"] == 3
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (answer(200, b"<html>hello</html>"), "not as a livefeed server"),
        (answer(200, b"[1, 2]"), "not as a livefeed server"),
        (answer(404, b"nginx"), "not as a livefeed server"),
        (answer(301, b"", "Location: https://elsewhere.example/"), "redirects to https://elsewhere.example/"),
        (answer(200, b"\x1f\x8b nonsense", "Content-Encoding: gzip"), "cannot be read"),
    ],
)
def test_what_is_no_livefeed_server_is_told_so(sent: bytes, message: str) -> None:
    """One sentence with the address, whatever it sends."""
    with scripted(always(sent)) as server, pytest.raises(NotLivefeed, match=message):
        publish(server.url)


def test_a_refused_connection_names_the_address() -> None:
    """And asks whether the server runs there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(Unreachable, match=f"{url} cannot be reached .*is the server running"):
        publish(url)


def test_a_change_elsewhere_without_a_token_sends_nothing() -> None:
    """The sentence says how to give one."""
    with scripted(always(DONE)) as server:
        with client(server.url, with_token=False) as one, pytest.raises(NotAllowed, match="LIVEFEED_TOKEN"):
            one.change("POST", "/api/items", {})

        assert server.requests == []


def test_the_token_goes_with_changes_only() -> None:
    """Reading is open to all; a token that need not travel does not."""
    page = json(200, {"items": [], "position": "0-00000000", "next": None})
    with scripted(always(page)) as server, client(server.url) as one:
        one.get("/api/items")
        one.change("POST", "/api/items", {})

    reading, changing = server.requests
    assert "authorization" not in reading.headers
    assert changing.headers["authorization"] == f"Bearer {TOKEN}"


def test_a_token_that_is_not_taken_is_never_shown() -> None:
    """The message names the server, not the token."""
    with scripted(always(error(401, "unauthorized", "No."))) as server, pytest.raises(errors.Unauthorized) as caught:
        publish(server.url)

    assert "does not accept the token" in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_items_are_read_page_after_page() -> None:
    """Until there are no more, or enough."""

    def page(request: Request, connection: socket.socket) -> bytes:
        last = "before=2" in request.path
        return json(200, {"items": [{"id": request.path}] * 100, "position": "1-x", "next": None if last else "2"})

    with scripted(page) as server, client(server.url) as one:
        assert len(list(one.items())) == 200
        assert len(server.requests) == 2
        assert len(list(one.items(limit=100))) == 100
        assert len(server.requests) == 3
