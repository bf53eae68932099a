"""Imports, exports and the demonstration against the real application on a real store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from livefeed.errors import ApiError, InvalidField
from livefeed.feed.item import PublicItem
from livefeed.newsroom.demo import Placed, demo
from livefeed.newsroom.demo.actions import Publish, Restore, Withdraw, day, morning
from livefeed.newsroom.importing import Outcome, Summary, export_line, read, run_import
from livefeed.newsroom.input import ChangeItem, Entry, NewItem, Pin, Withdrawal
from livefeed.settings import Settings
from tests.serving import Serving, serving, until

FIXTURES = Path(__file__).parent / "fixtures"


class Newsroom:
    """The newsroom of the demonstration, and the poster of an import, over HTTP."""

    def __init__(self, server: Serving) -> None:
        self._server = server

    async def post(self, entry: Entry) -> Outcome:
        response = await self._server.client.post(
            "/api/import", content=msgspec.json.encode(entry), headers=self._headers()
        )
        if response.is_error:
            error = response.json()["error"]
            raise InvalidField(error["message"], field=error["field"])
        answer = response.json()
        await self._applied(answer["position"])
        outcome: Outcome = answer["outcome"]
        return outcome

    async def bring(self, entry: Entry) -> Placed:
        return await self._send("POST", "/api/import", entry)

    async def publish(self, new: NewItem, key: str) -> Placed:
        return await self._send("POST", "/api/items", new, {"idempotency-key": key})

    async def change(self, id: str, change: ChangeItem, version: int, key: str) -> Placed:
        headers = {"idempotency-key": key, "if-match": f'"{version}"'}
        return await self._send("PATCH", f"/api/items/{id}", change, headers)

    async def withdraw(self, id: str, withdrawal: Withdrawal, key: str) -> Placed:
        return await self._send("POST", f"/api/items/{id}/withdraw", withdrawal, {"idempotency-key": key})

    async def restore(self, id: str, withdrawal: Withdrawal, key: str) -> Placed:
        return await self._send("POST", f"/api/items/{id}/restore", withdrawal, {"idempotency-key": key})

    async def pin(self, id: str, pin: Pin, key: str) -> Placed:
        return await self._send("POST", f"/api/items/{id}/pin", pin, {"idempotency-key": key})

    async def _send(self, method: str, path: str, body: Any, headers: dict[str, str] | None = None) -> Placed:
        response = await self._server.client.request(
            method, path, content=msgspec.json.encode(body), headers=self._headers() | (headers or {})
        )
        if response.is_error:
            raise ApiError(response.text)
        answer = response.json()
        await self._applied(answer["position"])
        return Placed(answer["item"]["id"], answer["version"])

    async def _applied(self, position: str | None) -> None:
        """Wait until the process has heard of its own write."""
        if position is not None:
            await until(lambda: str(self._server.feed.position) == position, f"position {position}")

    def _headers(self) -> dict[str, str]:
        return {**self._server.auth, "content-type": "application/json"}


async def run(server: Serving, data: bytes) -> Summary:
    return await run_import(read(data, Settings(), rubric="monde"), Newsroom(server).post)


async def items(server: Serving) -> dict[str, PublicItem]:
    """All public items, by id."""
    found: dict[str, PublicItem] = {}
    before = None
    while True:
        params = {"limit": "100"} | ({"before": before} if before else {})
        page = (await server.client.get("/api/items", params=params)).json()
        found |= {item["id"]: msgspec.convert(item, PublicItem) for item in page["items"]}
        before = page["next"]
        if before is None:
            return found


@pytest.mark.parametrize("fixture", sorted(path.name for path in FIXTURES.iterdir()))
async def test_a_second_import_changes_nothing(settings: Settings, fixture: str) -> None:
    """Every file imports into the running server without a refusal, and once more without a change."""
    data = (FIXTURES / fixture).read_bytes()
    async with serving(settings) as server:
        first = await run(server, data)
        position = (await server.client.get("/api/items")).json()["position"]
        second = await run(server, data)

        assert first.created > 0
        assert first.stopped is None
        assert (second.created, second.updated, second.unchanged) == (0, 0, first.created)
        assert (await server.client.get("/api/items")).json()["position"] == position


async def test_a_changed_entry_becomes_a_new_version(settings: Settings) -> None:
    """An entry that its source changed is the same item in a new version, at its old place; the others stay."""
    data = (FIXTURES / "wordpress.xml").read_bytes()
    async with serving(settings) as server:
        await run(server, data)
        before = await items(server)
        summary = await run(server, data.replace("entrée libre".encode(), "entrée payante".encode()))
        after = await items(server)

    changed = [id for id in after if after[id] != before[id]]
    assert (summary.created, summary.updated, summary.unchanged) == (0, 1, 2)
    assert len(changed) == 1
    assert after[changed[0]].version == 2
    assert after[changed[0]].first_published_at == before[changed[0]].first_published_at
    assert "payante" in after[changed[0]].body_html


async def test_an_export_imported_elsewhere_gives_the_same_items(settings: Settings) -> None:
    """Exported, imported into an empty feed and exported again: the same items under the same ids."""
    async with serving(settings) as server:
        for fixture in ("wordpress.xml", "atom.xml", "ninjs.json"):
            await run(server, (FIXTURES / fixture).read_bytes())
        exported = await items(server)
    data = b"".join(export_line(item) for item in exported.values())

    async with serving(replace(settings, feed_name="elsewhere")) as server:
        summary = await run(server, data)
        imported = await items(server)

    assert summary.good
    assert summary.created == len(exported)
    assert imported == exported


async def test_the_demonstration_runs_on_the_real_application(settings: Settings) -> None:
    """The whole day, played without pauses: everything is accepted, and the last state is what the script says."""
    async with serving(settings) as server:
        await demo(Newsroom(server), speed=1e9)
        shown = await items(server)

    script = [*morning(), *day()]
    published = sum(isinstance(step, Publish) for step in script)
    verbs = [type(step) for step in script]
    withdrawn = [item for item in shown.values() if item.status == "withdrawn"]
    assert len(shown) == published
    assert len(withdrawn) == verbs.count(Withdraw) - verbs.count(Restore)
    assert sum(bool(item.corrections) for item in shown.values()) >= 4
    assert {item.verification for item in shown.values()} >= {"confirmed", "denied"}
    assert sum(bool(item.alternates) for item in shown.values()) >= 8
