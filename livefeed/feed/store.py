"""The store's connection: one Redis or Valkey, wherever LIVEFEED_REDIS_URL says that it is.

    redis://[user:password@]host:6379/0                         one server
    rediss://host:6379/0?ssl_ca_certs=/path/ca.pem              the same over TLS
    unix:///path/to/socket?db=0                                 the embedded server's way
    redis+sentinel://host:26379,host2:26379/mymaster/0          the primary that these Sentinels name (rediss+sentinel://)

Every wait has a bound. One quick second try hides a connection that had gone stale; that is safe for publishing,
as receipts make it idempotent.
"""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import SplitResult, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import ConstantBackoff, NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import RedisError

from livefeed.errors import StartError
from livefeed.settings import Settings

POOL_MAX = 50
"""Redis connections of one process; further commands wait for one, within `redis_timeout_s`."""
SENTINEL_PORT = 26_379
_SENTINEL = "+sentinel"
_RETRY = Retry(ConstantBackoff(0.05), 1)
_ONCE = Retry(NoBackoff(), 0)
"""For a Sentinel: the next one is asked instead."""


def connect(settings: Settings) -> Redis:
    """A client of the store, with bounds on every wait; connects when first used.

    :raises StartError: when LIVEFEED_REDIS_URL cannot be read.
    """
    bounds = {"socket_timeout": settings.redis_timeout_s, "socket_connect_timeout": settings.redis_timeout_s}
    own: dict[str, Any] = {
        **bounds,
        "retry": _RETRY,
        "client_name": "livefeed",
        "driver_info": DriverInfo(),  # made once: for each connection redis-py would look its own version up on disk
        "max_connections": POOL_MAX,
        "timeout": settings.redis_timeout_s,
    }
    try:
        parts = urlsplit(settings.redis_url)
        if parts.scheme.endswith(_SENTINEL):
            pool: BlockingConnectionPool = _through_sentinels(parts, bounds, own)
        else:
            pool = BlockingConnectionPool.from_url(settings.redis_url, **own)
    except ValueError:
        raise StartError(
            "LIVEFEED_REDIS_URL: must be like redis://host:6379/0, rediss://host:6379/0, unix:///path/to/socket or "
            "redis+sentinel://host:26379,host2:26379/mymaster/0."
        ) from None
    return Redis.from_pool(pool)


def address(url: str) -> str:
    """A store's address as it may be shown: without the password and the options."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary of the moment, at most so many, and to the Sentinels that know it."""

    async def aclose(self) -> None:
        """Close both kinds."""
        await super().aclose()
        await self.sentinel_manager.aclose()


def _through_sentinels(parts: SplitResult, bounds: dict[str, Any], own: dict[str, Any]) -> _SentinelPool:
    """:raises ValueError: for an address that cannot be read."""
    credentials, _, hosts = parts.netloc.rpartition("@")
    name, _, database = parts.path.strip("/").partition("/")
    scheme = parts.scheme.removesuffix(_SENTINEL)
    if scheme not in ("redis", "rediss") or not name:
        raise ValueError("no scheme of a primary, or no name of one")
    # redis-py reads credentials and options as it does for one server; the host is asked of the Sentinels.
    user = f"{credentials}@" if credentials else ""
    given: dict[str, Any] = {**parse_url(f"{scheme}://{user}primary/{int(database or 0)}?{parts.query}")}
    del given["host"]
    secured = given.pop("connection_class", None) is SSLConnection
    tls = {key: value for key, value in given.items() if key.startswith("ssl_")} | ({"ssl": True} if secured else {})
    addresses = [urlsplit(f"//{host}") for host in hosts.split(",")]
    if not all(one.hostname for one in addresses):
        raise ValueError("no host of a Sentinel")
    sentinels = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        [(one.hostname, one.port or SENTINEL_PORT) for one in addresses],
        sentinel_kwargs={**bounds, **tls, "retry": _ONCE},
    )
    kind = SentinelManagedSSLConnection if secured else SentinelManagedConnection
    return _SentinelPool(name, sentinels, connection_class=kind, **given, **own)  # type: ignore[no-untyped-call]


async def weakness(redis: Redis) -> str | None:
    """What the store's configuration leaves to chance, as one sentence for its operator; None when nothing.

    :raises RedisError: the store does not answer.
    """
    info = await redis.info()
    try:
        configured = await redis.config_get("appendonly", "appendfsync")
    except RedisError:  # not ours to ask, as hosted ones have it
        configured = {}
    appendonly = configured.get("appendonly") or ("yes" if info.get("aof_enabled") else "no")
    appendfsync = configured.get("appendfsync", "unknown")
    if info.get("cluster_enabled"):
        return "it is a node of a Cluster, whose moves livefeed does not follow: name a single server, or Sentinels"
    if appendonly != "yes":
        return (
            "it keeps no append-only file, so what it acknowledges can be lost: set appendonly yes, appendfsync always"
        )
    if appendfsync == "always" or await has_waitaof(redis):
        return None
    return (
        f"its appendfsync is {appendfsync} and it has no WAITAOF, so what it acknowledges can be lost: set it to always"
    )


async def has_waitaof(redis: Redis) -> bool:
    """Whether the store can say that a write is on its disk (Redis ≥ 7.2, Valkey)."""
    with contextlib.suppress(RedisError):
        await redis.waitaof(0, 0, 1)  # asks for nothing, so it waits for nothing
        return True
    return False
