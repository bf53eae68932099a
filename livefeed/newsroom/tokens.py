"""Tokens for machines: shown once, stored hashed, revocable.

A token is 256 random bits, so a plain SHA-256 of it is enough to store: there is no dictionary to try, and a look-up
by the hash needs no comparison in constant time.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

import msgspec
from redis.asyncio import Redis

from livefeed.errors import InvalidField, Unavailable
from livefeed.feed import item as items
from livefeed.feed import text
from livefeed.feed.log import STORE_ERRORS, Keys

SCOPES = ("publish", "withdraw")
"""`publish` covers edit, correct, pin and import; `withdraw` covers restore."""
TOKENS_MAX = 1_000
"""Most tokens of one feed: bounds what listing reads."""
_PREFIX = "lf_"
_NAME_MAX_CHARS = 80


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a token."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    """None: until it is revoked."""


class Tokens:
    """The tokens of one feed: a hash of the token's hash to the token."""

    def __init__(self, redis: Redis, feed_name: str) -> None:
        self._redis = redis
        self._key = Keys(feed_name).tokens

    async def create(self, name: str, scopes: frozenset[str], ttl_s: int | None = None) -> str:
        """Make a token and return it; it cannot be shown again. `ttl_s` of None never expires.

        :raises InvalidField: for a bad name or an unknown scope, or when there are too many tokens.
        :raises Unavailable: the store cannot be reached.
        """
        name = text.one_line("name", name, _NAME_MAX_CHARS, required=True)
        unknown = sorted(scopes - set(SCOPES))
        if unknown or not scopes:
            raise InvalidField(f"scope must be one or more of {', '.join(SCOPES)}.", field="scope")
        stored = await self._all()
        now = items.now()
        expired = [key for key, token in stored.items() if _expired(token, now)]
        if expired:
            await self._ask(self._redis.hdel(self._key, *expired))
        if len(stored) - len(expired) >= TOKENS_MAX:
            raise InvalidField(f"There are {TOKENS_MAX} tokens already; revoke one first.", field="name")
        plaintext = _PREFIX + secrets.token_urlsafe(32)
        token = Token(
            id=secrets.token_hex(4),
            name=name,
            scopes=tuple(sorted(scopes)),
            created_at=now,
            expires_at=now + timedelta(seconds=ttl_s) if ttl_s is not None else None,
        )
        await self._ask(self._redis.hset(self._key, _hash(plaintext), msgspec.json.encode(token)))
        return plaintext

    async def check(self, plaintext: str) -> Token | None:
        """The token, or None where it is unknown, revoked or expired.

        :raises Unavailable: the store cannot be reached.
        """
        row: bytes | None = await self._ask(self._redis.hget(self._key, _hash(plaintext)))
        token = msgspec.json.decode(row, type=Token) if row else None
        return None if token is None or _expired(token, items.now()) else token

    async def list(self) -> list[Token]:
        """All tokens that are good now, oldest first."""
        now = items.now()
        tokens = [token for token in (await self._all()).values() if not _expired(token, now)]
        return sorted(tokens, key=lambda token: (token.created_at, token.id))

    async def revoke(self, name_or_id: str) -> bool:
        """End the tokens with this id or name; False where there is none."""
        found = [key for key, token in (await self._all()).items() if name_or_id in (token.id, token.name)]
        if found:
            await self._ask(self._redis.hdel(self._key, *found))
        return bool(found)

    async def _all(self) -> dict[str, Token]:
        rows: dict[bytes, bytes] = await self._ask(self._redis.hgetall(self._key))
        return {key.decode(): msgspec.json.decode(row, type=Token) for key, row in rows.items()}

    async def _ask(self, command: Any) -> Any:
        try:
            return await command
        except STORE_ERRORS as error:
            raise Unavailable("The store cannot be reached; try again.") from error


def _hash(plaintext: str) -> str:
    return hashlib.sha256(plaintext.encode(errors="surrogateescape")).hexdigest()


def _expired(token: Token, now: datetime) -> bool:
    return token.expires_at is not None and token.expires_at <= now
