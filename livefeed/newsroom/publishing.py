"""Publishing: the newsroom's verbs, each one version, one event and one message, or nothing.

Every request carries a receipt key, ours where the client sent none: a retry of ours after a lost answer, like a retry
of the client's, gets the first one's receipt and publishes nothing twice.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET

from livefeed.errors import Conflict, InvalidField, NotFound, StaleVersion, VersionRequired
from livefeed.feed import item as items
from livefeed.feed import markdown, text
from livefeed.feed.item import Change, Correction, Item
from livefeed.feed.log import Log, Receipt, stale
from livefeed.feed.position import Position
from livefeed.newsroom.input import ChangeItem, Entry, NewItem, Pin, Withdrawal, checked
from livefeed.settings import Settings

_RACES_MAX = 5
"""Tries of a change without If-Match that loses to other changes of the same item."""
_GUID_MAX_CHARS = 500
OWN_RECEIPT_S = 300
"""How long the receipt of a request without a key is kept, in seconds: nobody but our own retry, a few seconds later,
can ask for it."""


class Request(NamedTuple):
    """Who asks, and how a repetition of the same request is known."""

    actor: str
    """Name of the token; for the desk's history."""
    scope: str
    """Whose idempotency keys these are: the token's id."""
    key: str | None = None
    """The client's Idempotency-Key."""
    body: bytes = b""
    """What was asked, for telling a retry from a key that is used twice."""

    def hash(self, action: str, id: str = "") -> str:
        """Tells this request from another."""
        return hashlib.sha256(b"\0".join([action.encode(), id.encode(), self.body])).hexdigest()


class Published(NamedTuple):
    """What a change is answered with."""

    item: Item
    position: Position


class Imported(NamedTuple):
    """What an import of one entry did; `position` is None where it changed nothing."""

    outcome: Literal["created", "updated", "unchanged"]
    item: Item
    position: Position | None


class Publisher:
    """The verbs. All raise the errors of `Log.publish`, `InvalidField`, and `NotFound` for an unknown id."""

    def __init__(self, log: Log, settings: Settings) -> None:
        self._log = log
        self._settings = settings

    async def create(self, given: NewItem, request: Request) -> Published:
        """Publish a new item."""
        fields = checked(given, self._settings)
        _required(fields)
        now = items.now()
        if given.pinned_until is not UNSET:
            fields["pinned_until"] = _pin_end(given.pinned_until, now)
        item = self._new(fields, now, request.actor)
        return await self._once(request, request.hash("create"), item, None)

    async def change(self, id: str, given: ChangeItem, based_on: int | None, request: Request) -> Published:
        """Edit in silence, or correct with a note that readers see.

        :raises VersionRequired: without `based_on`.
        :raises Conflict: the item is withdrawn.
        """
        request_hash = request.hash("change", f"{id} {based_on}")
        if (known := await self._known(request, request_hash)) is not None:
            return known
        if based_on is None:
            raise VersionRequired(
                'A change needs If-Match with the version it is based on, such as "3".', field="If-Match"
            )
        before = await self._existing(id)
        if before.version != based_on:
            raise stale(id, before.version)
        _refuse_withdrawn(before)
        now = items.now()
        fields = checked(given, self._settings)
        note = text.one_line("note", given.note, self._settings.note_max_chars, required=given.change == "correct")
        if given.change == "correct":
            fields["corrections"] = (*before.corrections, Correction(note=note, at=now))
            fields["updated_at"] = now
        return await self._once(
            request, request_hash, self._next(before, given.change, fields, now, request, note), before
        )

    async def withdraw(self, id: str, given: Withdrawal, based_on: int | None, request: Request) -> Published:
        """Put the stub in the item's place, everywhere and backwards."""
        return await self._turn(id, "withdraw", given, based_on, request)

    async def restore(self, id: str, given: Withdrawal, based_on: int | None, request: Request) -> Published:
        """Lift a withdrawal."""
        return await self._turn(id, "restore", given, based_on, request)

    async def pin(self, id: str, given: Pin, based_on: int | None, request: Request) -> Published:
        """Keep an item on top until a time, or no longer."""
        change: Change = "pin" if given.until is not None else "unpin"
        fields = {"pinned_until": _pin_end(given.until, items.now())}
        return await self._act(id, change, fields, based_on, request)

    async def upsert(self, entry: Entry, request: Request) -> Imported:
        """Import one entry: a new guid is a new item, a changed entry a new version, the same entry nothing.

        :raises Conflict: the item was withdrawn here; an import does not bring it back.
        """
        fields = checked(entry, self._settings)
        _required(fields)
        guid = text.one_line("guid", entry.guid, _GUID_MAX_CHARS, required=True)
        digest = hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).hexdigest()[:16]
        now = items.now()
        for _ in range(_RACES_MAX):
            id = await self._log.id_of_guid(guid) or (entry.id if entry.id and items.is_id(entry.id) else None)
            before = await self._log.item(id) if id else None
            try:
                if before is None:
                    given = {**fields, "guid": guid, "source_digest": digest}
                    item = self._imported(given, entry, id, now, request.actor)
                    receipt = await self._put(item, None, backfill=entry.backfill)
                    return Imported("created", item, receipt.position)
                # A guid's own item decides; an id alone may be another item's.
                if before.guid != guid and entry.id != before.id:
                    raise Conflict(f"The id {id} belongs to another item.", field="id")
                if before.source_digest == digest or _same(before, fields):
                    return Imported("unchanged", before, None)
                _refuse_withdrawn(before)
                updated_at = text.utc("updated_at", entry.updated_at) if entry.updated_at else now
                changed = {**fields, "guid": guid, "source_digest": digest, "updated_at": min(updated_at, now)}
                item = self._next(before, "edit", changed, now, request)
                receipt = await self._put(item, before, backfill=entry.backfill)
                return Imported("updated", item, receipt.position)
            except Conflict as error:
                if "id" not in error.data:
                    raise  # only the guid's own race is tried again
        raise Conflict("The entry is being imported by others at the same time; try again.", field="guid")

    # Parts

    def _new(self, fields: dict[str, Any], now: datetime, actor: str) -> Item:
        return Item(
            id=items.new_id(now),
            version=1,
            status="published",
            body_html=markdown.render(fields.get("body", "")),
            created_at=now,
            first_published_at=now,
            changed_at=now,
            changed_by=actor,
            **fields,
        )

    def _imported(self, fields: dict[str, Any], entry: Entry, id: str | None, now: datetime, actor: str) -> Item:
        first = min(text.utc("first_published_at", entry.first_published_at), now) if entry.first_published_at else now
        updated = text.utc("updated_at", entry.updated_at) if entry.updated_at else None
        corrections = tuple(
            Correction(
                note=text.one_line("corrections", correction.note, self._settings.note_max_chars, required=True),
                at=min(text.utc("corrections", correction.at), now),
            )
            for correction in entry.corrections[: self._settings.list_max]
        )
        return msgspec.structs.replace(
            self._new(fields, now, actor),
            id=id or items.new_id(now),
            first_published_at=first,
            updated_at=min(updated, now) if updated and updated > first else None,
            corrections=corrections,
        )

    def _next(
        self, before: Item, change: Change, fields: dict[str, Any], now: datetime, request: Request, note: str = ""
    ) -> Item:
        if "body" in fields:
            fields["body_html"] = markdown.render(fields["body"])
        return msgspec.structs.replace(
            before,
            **fields,
            version=before.version + 1,
            change=change,
            changed_at=now,
            changed_by=request.actor,
            note=note,
        )

    async def _turn(
        self, id: str, change: Literal["withdraw", "restore"], given: Withdrawal, based_on: int | None, request: Request
    ) -> Published:
        reason = text.one_line("reason", given.reason, self._settings.note_max_chars)
        status = "withdrawn" if change == "withdraw" else "published"
        return await self._act(id, change, {"status": status, "updated_at": items.now()}, based_on, request, reason)

    async def _act(
        self, id: str, change: Change, fields: dict[str, Any], based_on: int | None, request: Request, note: str = ""
    ) -> Published:
        """One change that needs no look at the version it is based on: against other changes it just goes next."""
        request_hash = request.hash(change, f"{id} {based_on}")
        if (known := await self._known(request, request_hash)) is not None:
            return known
        tries = 1 if based_on is not None else _RACES_MAX
        for left in reversed(range(tries)):
            before = await self._existing(id)
            if based_on is not None and before.version != based_on:
                raise stale(id, before.version)
            if change == "restore":
                if before.status != "withdrawn":
                    raise Conflict("The item is not withdrawn.", id=id, version=before.version)
            else:
                _refuse_withdrawn(before)
            item = self._next(before, change, dict(fields), items.now(), request, note)
            try:
                return await self._once(request, request_hash, item, before)
            except StaleVersion:
                if not left:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def _existing(self, id: str) -> Item:
        item = await self._log.item(id) if items.is_id(id) else None
        if item is None:
            raise NotFound(f"There is no item {id[:40]!r}.", field="id")
        return item

    async def _known(self, request: Request, request_hash: str) -> Published | None:
        """What this very request was answered with before, so that its retry meets no stale version."""
        if request.key is None:
            return None
        receipt = await self._log.receipt(self._log.keys.receipt(request.scope, request.key), request_hash)
        return await self._replayed(receipt) if receipt is not None else None

    async def _once(self, request: Request, request_hash: str, item: Item, before: Item | None) -> Published:
        receipt = await self._put(item, before, request, request_hash)
        if (receipt.id, receipt.version) != (item.id, item.version):
            return await self._replayed(receipt)
        return Published(item, receipt.position)

    async def _put(
        self,
        item: Item,
        before: Item | None,
        request: Request | None = None,
        request_hash: str = "-",
        *,
        backfill: bool = False,
    ) -> Receipt:
        if request is not None and request.key is not None:
            receipt_key, receipt_s = self._log.keys.receipt(request.scope, request.key), None
        else:  # so that redis-py's own retry after a lost answer gets the first one's
            receipt_key, receipt_s = self._log.keys.receipt("once", secrets.token_hex(16)), OWN_RECEIPT_S
        return await self._log.publish(
            item,
            before,
            receipt_key=receipt_key,
            request_hash=request_hash,
            receipt_s=receipt_s,
            backfill=backfill,
        )

    async def _replayed(self, receipt: Receipt) -> Published:
        item = await self._log.version(receipt.id, receipt.version)
        if item is None:
            raise NotFound("The item of this receipt is gone.", field="Idempotency-Key")
        return Published(item, receipt.position)


def _required(fields: dict[str, Any]) -> None:
    for name in ("headline", "rubric"):
        if name not in fields:
            raise InvalidField(f"{name} is required.", field=name)


def _same(item: Item, fields: dict[str, Any]) -> bool:
    """Whether an item has these fields already; a body may be written otherwise and read the same."""
    html = markdown.render(fields.get("body", ""))
    return html == item.body_html and all(getattr(item, n) == value for n, value in fields.items() if n != "body")


def _refuse_withdrawn(item: Item) -> None:
    if item.status == "withdrawn":
        raise Conflict("The item is withdrawn; restore it first.", version=item.version)


def _pin_end(until: datetime | None, now: datetime) -> datetime | None:
    if until is None:
        return None
    until = text.utc("until", until)
    if until <= now:
        raise InvalidField("until must lie in the future; null unpins.", field="until")
    return until
