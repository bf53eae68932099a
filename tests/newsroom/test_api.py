"""The publishing API: what it takes, what it refuses, and that a refusal leaves no trace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from livefeed.newsroom.tokens import Tokens
from livefeed.settings import Settings
from tests.feed.making import everything
from tests.serving import Serving, reading, serving, until

GOOD = {"headline": "Une info", "rubric": "monde"}


@pytest.fixture
async def served(settings: Settings) -> AsyncIterator[Serving]:
    async with serving(settings) as server:
        yield server


async def test_a_publish_is_answered_with_all_that_it_made(served: Serving) -> None:
    """201 with Location, the item, its version and its position; the item is there to read at once."""
    body = {
        **GOOD,
        "body": "Un **corps**.",
        "tags": ["a", "a", "b"],
        "authors": ["S. Alaoui"],
        "source": "MAP",
        "level": "urgent",
        "key": True,
        "verification": "unverified",
        "thread": "crue",
        "image": {"url": "https://exemple.ma/i.jpg", "alt": "Une rive", "credit": "DR"},
    }
    response = await served.client.post("/api/items", json=body, headers=served.auth)
    answer = response.json()
    item = answer["item"]
    assert response.status_code == 201
    assert response.headers["location"] == answer["url"] == f"{served.feed.settings.base_url}/i/{item['id']}/une-info"
    assert response.headers["etag"] == '"1"'
    assert (answer["version"], answer["position"][:2]) == (1, "1-")
    assert item["tags"] == ["a", "b"]
    assert item["body_html"] == "<p>Un <strong>corps</strong>.</p>"
    assert item["changed_by"] == "test"
    public = (await served.client.get(f"/api/items/{item['id']}")).json()["item"]
    assert public["level"] == "urgent"
    assert public["image"] == body["image"]
    assert public["reading_time"] == 1
    for private in ("body", "guid", "changed_by", "note", "created_at", "embargo_until"):
        assert private not in public


async def test_the_life_of_an_item(served: Serving) -> None:
    """Edit is silent, correct shows its note, withdraw answers 410, restore lifts it, pin ends; versions are kept."""
    async with reading(served) as reader:
        item = await served.publish("Titer", body="Corps")
        id = item["item"]["id"]
        item = await served.change(item, change="edit", headline="Titre")
        assert item["item"]["updated_at"] is None
        item = await served.change(item, change="correct", note="Le lieu était faux.", body="Corps juste")
        assert item["item"]["updated_at"] is not None
        await served.post(f"/api/items/{id}/withdraw", {"reason": "Erreur"})
        gone = await served.client.get(f"/api/items/{id}")
        assert (gone.status_code, gone.json()["error"]["item"]["headline"]) == (410, "Info retirée par la rédaction")
        await served.post(f"/api/items/{id}/restore")
        until = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
        pinned = await served.post(f"/api/items/{id}/pin", {"until": until})
        assert pinned["item"]["pinned_until"] is not None
        last = await served.post(f"/api/items/{id}/pin", {"until": None})

        assert (last["version"], last["item"]["pinned_until"]) == (7, None)
        assert last["item"]["first_published_at"] == item["item"]["first_published_at"]
        await reader.until(lambda r: len(r.items) == 7)
        changes = ["publish", "edit", "correct", "withdraw", "restore", "pin", "unpin"]
        assert [i["change"] for i in reader.items] == changes
        assert reader.items[2]["corrections"][0]["note"] == "Le lieu était faux."
        assert (await served.feed.log.versions(id))[1].headline == "Titre"
        public = (await served.client.get(f"/api/items/{id}/versions")).json()["versions"]
        assert [v["change"] for v in public] == [c for c in changes if c != "edit"]


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"rubric": "monde"}, "headline"),
    ({"headline": "x"}, "rubric"),
    ({**GOOD, "headline": ""}, "headline"),
    ({**GOOD, "headline": "   "}, "headline"),
    ({**GOOD, "headline": "a\nb"}, "headline"),
    ({**GOOD, "headline": "a\r\nb"}, "headline"),
    ({**GOOD, "headline": "a\0b"}, "headline"),
    ({**GOOD, "headline": "a\x1b[31mb"}, "headline"),
    ({**GOOD, "headline": "a\u2028b"}, "headline"),
    ({**GOOD, "headline": "x" * 301}, "headline"),
    ({**GOOD, "headline": 3}, "headline"),
    ({**GOOD, "body": "a\0b"}, "body"),
    ({**GOOD, "body": "x" * 20_001}, "body"),
    ({**GOOD, "rubric": "rien"}, "rubric"),
    ({**GOOD, "language": "de"}, "language"),
    ({**GOOD, "level": "huge"}, "level"),
    ({**GOOD, "tags": ["x"] * 11}, "tags"),
    ({**GOOD, "tags": ["a\nb"]}, "tags"),
    ({**GOOD, "tags": [""]}, "tags"),
    ({**GOOD, "authors": ["x" * 121]}, "authors"),
    ({**GOOD, "thread": "Pas Un Slug"}, "thread"),
    ({**GOOD, "source": "a\tb"}, "source"),
    ({**GOOD, "image": {"url": "javascript:alert(1)"}}, "image.url"),
    ({**GOOD, "image": {"url": "/local.png"}}, "image.url"),
    ({**GOOD, "image": {"url": "https://x/i", "alt": "a\nb"}}, "image.alt"),
    ({**GOOD, "image": {}}, "image.url"),
    ({**GOOD, "alternates": {"de": "x"}}, "alternates"),
    ({**GOOD, "alternates": {"ar": "x"}}, "alternates"),
    ({**GOOD, "pinned_until": "demain"}, "pinned_until"),
    ({**GOOD, "pinned_until": "2020-01-01T00:00:00Z"}, "until"),
    ({**GOOD, "pinned_until": "2999-01-01T00:00:00Z"}, "until"),
    ({**GOOD, "first_published_at": "2020-01-01T00:00:00Z"}, "first_published_at"),
    ({**GOOD, "status": "draft"}, "status"),
    ({**GOOD, "id": "x"}, "id"),
]


@pytest.mark.parametrize(("body", "field"), INVALID)
async def test_a_bad_field_is_named_and_nothing_is_stored(served: Serving, body: dict[str, Any], field: str) -> None:
    """422 with the field's name and one sentence; no key of the store changes, and nothing is sent."""
    before = await everything(served.feed.log.redis)
    response = await served.client.post("/api/items", json=body, headers=served.auth)
    error = response.json()["error"]
    assert (response.status_code, error["status"], error["field"]) == (422, 422, field)
    assert error["code"] == "invalid_field"
    assert error["message"].endswith(".")
    assert await everything(served.feed.log.redis) == before
    assert served.feed.position.startswith("0-")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b'{"headline": "\\ud800", "rubric": "monde"}',
        b'{"headline": "\xed\xa0\x80"}',
    ],
)
async def test_what_is_not_json_is_refused(served: Serving, raw: bytes) -> None:
    """400 or 422 for a body that is no JSON object in UTF-8, lone surrogates among it."""
    headers = {**served.auth, "content-type": "application/json"}
    response = await served.client.post("/api/items", content=raw, headers=headers)
    assert response.status_code in (400, 422)
    assert response.json()["error"]["message"]
    assert served.feed.position.startswith("0-")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
async def test_only_json_is_read(served: Serving, kind: str) -> None:
    """415 for another content type: a form of another site cannot publish."""
    headers = {**served.auth, "content-type": kind}
    response = await served.client.post("/api/items", content=json.dumps(GOOD), headers=headers)
    assert (response.status_code, response.json()["error"]["field"]) == (415, "Content-Type")


@pytest.mark.parametrize("how", ["declared", "chunked"])
async def test_a_body_over_64_kib_is_413_before_more_is_read(served: Serving, how: str) -> None:
    """413 at the declared length, or at the first byte over the bound; the rest is never read."""
    head = f"POST /api/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.token}\r\n"
    head += "Content-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    if how == "declared":
        writer.write(head.encode() + b"Content-Length: 10000000\r\n\r\n{")
    else:
        writer.write(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n11000\r\n" + b"x" * 0x11000 + b"\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_large"
    writer.close()


async def test_tokens_and_scopes(served: Serving, settings: Settings) -> None:
    """No token, a wrong one, a revoked or an expired one: 401. A good one without the scope: 403."""
    redis = served.feed.log.redis
    tokens = Tokens(redis, settings.feed_name)
    publish_only = await tokens.create("only publish", frozenset({"publish"}))
    revoked = await tokens.create("revoked", frozenset({"publish"}))
    assert await tokens.revoke("revoked")
    expired = await tokens.create("expired", frozenset({"publish"}), ttl_s=0)
    item = await served.publish()
    for bad in (
        "",
        "Bearer",
        "Bearer wrong",
        "Basic eDp5",
        f"Bearer {revoked}",
        f"Bearer {expired}",
        "Bearer é",
    ):
        response = await served.client.post("/api/items", json=GOOD, headers={b"authorization": bad.encode()})
        assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized"), bad
        assert response.headers["www-authenticate"].startswith("Bearer")
    only = {"authorization": f"Bearer {publish_only}"}
    assert (await served.client.post("/api/items", json=GOOD, headers=only)).status_code == 201
    for verb in ("withdraw", "restore"):
        response = await served.client.post(f"/api/items/{item['item']['id']}/{verb}", headers=only)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
    stored = repr(await redis.hgetall(served.feed.log.keys.tokens))
    assert "only publish" in stored
    assert publish_only not in stored
    assert "only publish" in [token.name for token in await tokens.list()]


async def test_versions_are_matched(served: Serving) -> None:
    """Stale: 412 with the current version. Missing: 428. Garbage: 400. Unknown item: 404."""
    item = await served.publish()
    path = f"/api/items/{item['item']['id']}"
    edit = {"change": "edit", "headline": "Autre"}
    await served.change(item, **edit)

    async def patch(**headers: str) -> httpx.Response:
        return await served.client.patch(path, json=edit, headers={**served.auth, **headers})

    stale = await patch(**{"if-match": '"1"'})
    assert (stale.status_code, stale.json()["error"]["version"]) == (412, 2)
    assert (await patch()).status_code == 428
    for bad in ("*", "0", '"x"', "1, 2", 'W/"1"', "99999999999999999999"):
        assert (await patch(**{"if-match": bad})).status_code == 400, bad
    for unknown in ("/api/items/nothing", "/api/items/" + "0" * 18):
        response = await served.client.patch(unknown, json=edit, headers={**served.auth, "if-match": '"1"'})
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    withdraw = await served.client.post(f"{path}/withdraw", headers={**served.auth, "if-match": '"1"'})
    assert withdraw.status_code == 412


async def test_states_that_allow_no_change(served: Serving) -> None:
    """A withdrawn item takes no edit and no second withdrawal, a published one no restoration: 409."""
    item = await served.publish()
    path = f"/api/items/{item['item']['id']}"
    assert (await served.client.post(f"{path}/restore", headers=served.auth)).status_code == 409
    await served.post(f"{path}/withdraw")
    edit = {"change": "edit", "headline": "Autre"}
    assert (await served.client.post(f"{path}/withdraw", headers=served.auth)).status_code == 409
    headers = {**served.auth, "if-match": '"2"'}
    assert (await served.client.patch(path, json=edit, headers=headers)).status_code == 409


async def test_a_correction_needs_a_note(served: Serving) -> None:
    """A correction without its note is refused; the note may not break lines."""
    item = await served.publish()
    for note in ("", " ", "a\nb"):
        headers = {**served.auth, "if-match": '"1"'}
        body = {"change": "correct", "note": note, "headline": "x"}
        response = await served.client.patch(f"/api/items/{item['item']['id']}", json=body, headers=headers)
        assert (response.status_code, response.json()["error"]["field"]) == (422, "note")


async def test_idempotency_keys(served: Serving) -> None:
    """The same request again gets the same answer and publishes once; with another body: 422; keys are per token."""
    headers = {**served.auth, "idempotency-key": "k-1"}

    async def publish(headline: str) -> httpx.Response:
        return await served.client.post("/api/items", json={**GOOD, "headline": headline}, headers=headers)

    answers = await asyncio.gather(*(publish("Une info") for _ in range(5)))
    assert {a.status_code for a in answers} == {201}
    assert len({a.text for a in answers}) == 1
    other = await publish("Autre")
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert served.feed.position.startswith("1-")

    path = f"/api/items/{answers[0].json()['item']['id']}"
    keyed = {**served.auth, "idempotency-key": "k-2", "if-match": '"1"'}
    edit = {"change": "edit", "headline": "Titre"}
    first = await served.client.patch(path, json=edit, headers=keyed)
    again = await served.client.patch(path, json=edit, headers=keyed)
    assert first.status_code == again.status_code == 200
    assert first.text == again.text  # not 412, though the version has moved on
    for bad in ("", "a b", "x" * 201):
        response = await served.client.post("/api/items", json=GOOD, headers={**served.auth, "idempotency-key": bad})
        assert (response.status_code, response.json()["error"]["field"]) == (400, "Idempotency-Key")


async def test_an_import_is_idempotent_by_guid(served: Serving) -> None:
    """A new guid creates, the same entry changes nothing, a changed one a version; dates are kept."""
    entry = {**GOOD, "guid": "tag:exemple,2024:1", "first_published_at": "2024-08-08T12:55:00Z", "body": "Corps"}
    async with reading(served) as reader:
        first = await served.post("/api/import", entry)
        again = await served.post("/api/import", entry)
        changed = await served.post("/api/import", {**entry, "headline": "Titre revu"})
        future = await served.post("/api/import", {**GOOD, "guid": "g2", "first_published_at": "2199-01-01T00:00:00Z"})

        assert [a["outcome"] for a in (first, again, changed)] == ["created", "unchanged", "updated"]
        assert first["item"]["first_published_at"] == "2024-08-08T12:55:00Z"
        assert again["position"] is None
        assert changed["version"] == 2
        assert changed["item"]["first_published_at"] == "2024-08-08T12:55:00Z"
        assert future["item"]["first_published_at"] <= future["item"]["created_at"]
        await reader.until(lambda r: len(r.items) == 3)
        assert all(item["backfill"] for item in reader.items)


async def test_an_import_does_not_undo_the_newsroom(served: Serving) -> None:
    """What was edited here stays while the source is unchanged; what was withdrawn here is not brought back."""
    entry = {**GOOD, "guid": "g"}
    item = await served.post("/api/import", entry)
    item = await served.change(item, change="edit", headline="Notre titre")
    assert (await served.post("/api/import", entry))["item"]["headline"] == "Notre titre"
    await served.post(f"/api/items/{item['item']['id']}/withdraw")
    assert (await served.post("/api/import", entry))["outcome"] == "unchanged"
    response = await served.client.post("/api/import", json={**entry, "headline": "Revu"}, headers=served.auth)
    assert response.status_code == 409


async def test_concurrent_imports_of_one_guid_make_one_item(served: Serving) -> None:
    """Two importers of the same feed at once: one item."""
    entry = {**GOOD, "guid": "g"}
    answers = await asyncio.gather(*(served.post("/api/import", entry) for _ in range(6)))
    assert len({a["item"]["id"] for a in answers}) == 1
    assert sorted(a["outcome"] for a in answers) == ["created"] + ["unchanged"] * 5


async def test_concurrent_changes_lose_nothing(served: Serving) -> None:
    """Of many edits based on one version exactly one is taken; pins, which need no version, are all taken in turn."""
    item = await served.publish()
    path = f"/api/items/{item['item']['id']}"
    headers = {**served.auth, "if-match": '"1"'}
    edits = [
        served.client.patch(path, json={"change": "edit", "headline": f"Titre {n}"}, headers=headers) for n in range(8)
    ]
    assert sorted(r.status_code for r in await asyncio.gather(*edits)) == [200] + [412] * 7
    answers = await asyncio.gather(*(served.post(f"{path}/pin", {"until": None}) for _ in range(4)))
    assert sorted(a["version"] for a in answers) == [3, 4, 5, 6]


async def test_an_editor_who_leaves_in_mid_request_is_no_failure(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that breaks before its body is whole publishes nothing, and writes no error into the log."""
    async with serving(settings) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = f"POST /api/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.token}\r\n"
        head += 'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"headline":'
        writer.write(head.encode())
        await writer.drain()
        await until(lambda: served.server.server_state.tasks, "the request")
        writer.transport.abort()
        await until(lambda: not served.server.server_state.tasks, "the request's end")
        assert not [record for record in caplog.records if record.levelname == "ERROR"]
        assert served.feed.mirror.position.seq == 0
