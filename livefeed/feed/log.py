"""The log: the one place that talks to Redis about items, events and positions.

All keys of a feed share one hash tag, so that the same scripts run on Redis Cluster. What must be one atom is one Lua
script; each script's head states its KEYS, ARGV, reply and errors. Reading never depends on the channel.

What is acknowledged is on disk. The embedded server syncs before it replies; of any other one WAITAOF, sent behind the
script on the same connection, asks for the sync of all that came before it. It is asked of every server: where the sync
has been made it answers at once (0.02 ms), and nothing needs to be known of a configuration that may change, or of the
server that a failover brings. One without it (Redis before 7.2) or without an append-only file is told of at start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Literal, NamedTuple

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from livefeed.errors import Conflict, KeyReused, StaleVersion, Unavailable
from livefeed.feed import position
from livefeed.feed.item import ID_CHARS, Event, Facets, Item, sort_key
from livefeed.feed.position import Position, new_mark
from livefeed.settings import Settings

Verdict = Literal["ok", "expired", "diverged", "ahead"]

READ_PAGE = 200
"""Most entries of one read: bounds what Redis does in one script, and one reply at some hundred KB."""
SYNC_SHARE = 0.8
"""Part of `redis_timeout_s` that a write waits for the disk: the answer must come before the client gives up."""
_NO_SYNC = ("unknown command", "appendonly is disabled", "no permissions")
"""Answers to WAITAOF of a store that can give no such promise; the README says what its configuration must be."""
_SORT_TIME_CHARS = 14
"""Characters of a sort key before the item's id."""

STORE_ERRORS = (RedisError, OSError, TimeoutError, RuntimeError)
"""What the store raises when it cannot be reached, is full, read-only or too slow. uvloop says RuntimeError when
redis-py writes to a connection that was lost in this very turn ("the handler is closed")."""

logger = structlog.get_logger()


class Keys:
    """The names of a feed's keys and of its channel."""

    def __init__(self, feed_name: str) -> None:
        self.prefix = f"lf:{{{feed_name}}}:"
        self.channel = self.prefix + "channel"
        self.head = self.prefix + "head"
        self.log = self.prefix + "log"
        self.items = self.prefix + "items"
        self.guids = self.prefix + "guids"
        self.withdrawn = self.prefix + "withdrawn"
        self.all = self.prefix + "index"
        self.tokens = self.prefix + "tokens"
        self.probe = self.prefix + "probe"

    def versions(self, id: str) -> str:
        """Hash of an item's versions."""
        return f"{self.prefix}versions:{id}"

    def receipt(self, scope: str, key: str) -> str:
        """Receipt of an idempotency key; hashed, as the key is the client's text."""
        digest = hashlib.sha256(scope.encode() + b"\0" + key.encode()).hexdigest()
        return f"{self.prefix}receipt:{digest[:32]}"

    def index(self, parameter: str, value: str) -> str:
        """Index of the public items with this value of a filter's parameter."""
        return f"{self.prefix}by:{parameter}:{value}"

    def indexes(self, facets: Facets) -> list[str]:
        """All indexes that an item with these facets stands in."""
        keys = [self.all, self.index("rubric", facets.rubric), self.index("language", facets.language)]
        keys += [self.index("level", facets.level), *(self.index("tag", tag) for tag in facets.tags)]
        return [*keys, self.index("thread", facets.thread)] if facets.thread else keys


class Receipt(NamedTuple):
    """What a publish is answered with; a retried request gets the same again."""

    id: str
    version: int
    position: Position


class Entry(NamedTuple):
    """One entry of the log as it is stored."""

    seq: int
    mark: str
    time_ms: int
    id: str
    """Of the item."""
    withdrawn: bool
    """Whether the item is withdrawn now: then no text of it leaves, whatever the event says."""
    body: bytes
    """Facets before, facets after and event, each JSON, joined by LF; what the mark is chained over."""


class Reading(NamedTuple):
    """A look at the log: its head, whether the position asked for can be continued, and what came after it."""

    head: Position
    verdict: Verdict
    entries: list[Entry]
    origin: Position
    """Where this log started."""
    first_seq: int
    """Seq of the oldest entry that is still there, 0 where there is none."""


class Pulse(NamedTuple):
    """What a probe has found."""

    refusal: str
    """Why a publish would be refused now; "" where it would be taken."""
    events: int
    """Entries of the log."""
    bytes: int
    early: int
    """Entries that were ever trimmed before their time, as the log had outgrown its bound."""


class ItemPage(NamedTuple):
    """A page of current items, newest first, true at `head`."""

    head: Position
    keys: list[str]
    """Sort keys, one for each item."""
    items: list[Item]


class Log:
    """The feed's store: publish, read, look up. Methods raise `Unavailable` where the store cannot be reached."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis = redis
        self.keys = Keys(settings.feed_name)
        self._settings = settings
        self._receipt_s = settings.receipt_hours * 3600
        self._sync_ms = max(1, int(settings.redis_timeout_s * SYNC_SHARE * 1000))
        self._publish = redis.register_script(_source("publish"))
        self._read = redis.register_script(_source("read"))
        self._since = redis.register_script(_source("since"))
        self._page = redis.register_script(_source("page"))
        self._probe = redis.register_script(_source("probe"))

    async def publish(
        self,
        item: Item,
        before: Item | None,
        *,
        receipt_key: str,
        request_hash: str,
        receipt_s: int | None = None,
        backfill: bool = False,
    ) -> Receipt:
        """Make `item` the newest version, one event of the log and one message: all or nothing.

        `before` is the version that the change is based on, None for a new item. A request with the same receipt key
        and hash gets the first one's receipt and changes nothing; it is kept for `receipt_s`, None for
        `receipt_hours`.

        :raises StaleVersion: the item has moved on; carries its version.
        :raises KeyReused: the receipt key came before with another hash.
        :raises Conflict: an item with this guid exists; carries its id.
        :raises Unavailable: the store took nothing, or its answer was lost: retry with the same receipt key.
        """
        facets, old = item.facets, before.facets if before is not None and before.is_public else None
        indexes = self.keys.indexes(facets)
        leaves = [key for key in (self.keys.indexes(old) if old else []) if key not in indexes]
        assert item.first_published_at is not None  # noqa: S101  (public() below refuses it with a reason)
        event = Event(change=item.change, item=item.public(), backfill=backfill)
        reply = await self._run(
            self._publish_synced,
            [
                self.keys.head,
                self.keys.log,
                self.keys.items,
                self.keys.versions(item.id),
                receipt_key,
                self.keys.guids,
                self.keys.withdrawn,
                *leaves,
                *indexes,
            ],
            [
                self.keys.channel,
                "PUBLISH",
                new_mark(),
                item.id,
                before.version if before is not None else 0,
                msgspec.json.encode(item),
                sort_key(item.id, item.first_published_at),
                msgspec.json.encode(old) if old else b"",
                msgspec.json.encode(facets),
                msgspec.json.encode(event),
                request_hash,
                receipt_s or self._receipt_s,
                item.guid or "",
                "1" if item.status == "withdrawn" else "0",
                len(leaves),
                self._settings.log_min_hours * 3_600_000,
                self._settings.log_min_events,
                self._settings.log_max_bytes,
            ],
        )
        match reply:
            case [b"ok", seq, mark]:
                return Receipt(item.id, item.version, Position(int(seq), mark.decode()))
            case [b"again", receipt]:
                return _receipt(receipt)
            case [b"stale", version]:
                raise stale(item.id, int(version))
            case [b"guid", id]:
                raise Conflict("An item with this guid exists.", field="guid", id=id.decode())
            case _:
                raise key_reused()

    async def receipt(self, receipt_key: str, request_hash: str) -> Receipt | None:
        """The receipt that this request got before, or None.

        :raises KeyReused: the key came before with another hash.
        """
        # Touched, not only read: the sync of this write covers the one of the receipt, which may have gone unconfirmed.
        touch = ("GETEX", receipt_key, "EX", self._receipt_s)
        stored: bytes | None = await self._ask(self._synced(*touch))
        if stored is None:
            return None
        known_hash, _, receipt = stored.partition(b" ")
        if known_hash.decode() != request_hash:
            raise key_reused()
        return _receipt(receipt)

    async def read(self, after: Position, count: int = READ_PAGE) -> Reading:
        """The log's head, and up to `count` entries after a position; an empty mark trusts the seq."""
        seq, mark, verdict, rows, origin, first_seq = await self._run(
            self._read,
            [self.keys.head, self.keys.log, self.keys.withdrawn],
            [after.seq, after.mark, count, new_mark()],
        )
        entries = [Entry(int(r[0]), r[1].decode(), int(r[2]), r[3].decode(), bool(r[4]), r[5]) for r in rows]
        return Reading(
            Position(int(seq), mark.decode()),
            verdict.decode(),
            entries,
            position.parse(origin.decode()) or Position(0, ""),
            int(first_seq),
        )

    async def probe(self, message: bytes) -> Pulse:
        """Ring the channel with `message`, and see whether the store takes writes; see the script's head."""
        refusal, events, size, early = await self._run(
            self._probe,
            [self.keys.head, self.keys.log, self.keys.probe],
            [self.keys.channel, "PUBLISH", message, round(self._settings.probe_s * 1000)],
        )
        return Pulse(refusal.decode(errors="replace"), events, size, early)

    async def head(self) -> Position:
        """The log's head; a new log gets one."""
        return (await self.read(Position(0, ""), count=0)).head

    async def since(self, time_ms: int) -> Position | None:
        """The position before the first event at `time_ms` or later; None when the log no longer reaches back so far.

        An empty mark stands for the start of the log.
        """
        reply = await self._run(self._since, [self.keys.head, self.keys.log], [time_ms])
        return Position(int(reply[0]), reply[1].decode()) if reply else None

    async def page(self, indexes: Sequence[str], below: str, count: int) -> ItemPage:
        """Up to `count` current items of the union of `indexes`, newest first, below a sort key ("" from the top)."""
        head, mark, keys, rows = await self._run(
            self._page, [self.keys.head, self.keys.items, *indexes], [below, count, _SORT_TIME_CHARS]
        )
        if not head:
            return ItemPage(await self.head(), [], [])
        items = [msgspec.json.decode(row, type=Item) for row in rows]
        return ItemPage(Position(int(head), mark.decode()), [key.decode() for key in keys], items)

    async def item(self, id: str) -> Item | None:
        """The item's current version, public or not; None where there is none."""
        row: bytes | None = await self._ask(self.redis.hget(self.keys.items, id))
        return msgspec.json.decode(row, type=Item) if row else None

    async def version(self, id: str, version: int) -> Item | None:
        """One version of an item; None where there is none."""
        row: bytes | None = await self._ask(self.redis.hget(self.keys.versions(id), str(version)))
        return msgspec.json.decode(row, type=Item) if row else None

    async def versions(self, id: str) -> list[Item]:
        """All versions of an item, oldest first; empty where there is none."""
        rows: dict[bytes, bytes] = await self._ask(self.redis.hgetall(self.keys.versions(id)))
        return [msgspec.json.decode(rows[key], type=Item) for key in sorted(rows, key=int)]

    async def id_of_guid(self, guid: str) -> str | None:
        """Id of the item that was imported with this guid, or None."""
        id: bytes | None = await self._ask(self.redis.hget(self.keys.guids, guid))
        return id.decode() if id else None

    async def _run(self, script: Any, keys: list[str], args: list[Any]) -> Any:
        return await self._ask(script(keys=keys, args=args))

    async def _publish_synced(self, keys: list[str], args: list[Any]) -> Any:
        try:
            return await self._publish_once_synced(keys, args)
        except STORE_ERRORS as error:  # the editor is told to try again; why, only the operator can mend
            logger.warning("a publish was refused by the store", reason=str(error) or type(error).__name__)
            raise

    async def _publish_once_synced(self, keys: list[str], args: list[Any]) -> Any:
        command = ("EVALSHA", self._publish.sha, len(keys), *keys, *args)
        try:
            return await self._synced(*command)
        except NoScriptError:
            await self.redis.script_load(self._publish.script)
            return await self._synced(*command)

    async def _synced(self, *command: Any) -> Any:
        """The answer to a write, once the store says that its disk has it.

        :raises RedisError: the write was refused, or its sync did not come; it may have been made all the same.
        """
        async with self.redis.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(*command)
            pipeline.execute_command("WAITAOF", 1, 0, self._sync_ms)
            reply, synced = await pipeline.execute(raise_on_error=False)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(synced, Exception):
            if not any(words in str(synced) for words in _NO_SYNC):
                raise synced
        elif not synced[0]:
            raise RedisTimeoutError(f"the disk did not have the write within {self._sync_ms} ms")
        return reply

    async def _ask(self, command: Any) -> Any:
        try:
            return await command
        except STORE_ERRORS as error:
            raise Unavailable(
                "The store cannot be reached or takes no writes now; retry with the same Idempotency-Key."
            ) from error


def index_of(item: Item) -> str:
    """The item's sort key."""
    assert item.first_published_at is not None  # noqa: S101  (only public items have a place)
    return sort_key(item.id, item.first_published_at)


def is_sort_key(value: str) -> bool:
    """Whether `value` has the form of a sort key."""
    return len(value) == _SORT_TIME_CHARS + ID_CHARS and value[:_SORT_TIME_CHARS].isdecimal() and value.isascii()


def stale(id: str, version: int) -> StaleVersion:
    """The error of a change that is based on an old version."""
    return StaleVersion(
        f"The item is at version {version} by now; read it, and make the change on that version.",
        id=id,
        version=version,
    )


def key_reused() -> KeyReused:
    """The error of an idempotency key that came with another request."""
    return KeyReused("This Idempotency-Key came before with another request; take a new one.", field="Idempotency-Key")


def _receipt(stored: bytes) -> Receipt:
    id, version, seq, mark = stored.decode().split(" ")
    return Receipt(id, int(version), Position(int(seq), mark))


def _source(name: str) -> str:
    return resources.files("livefeed.feed").joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8")
