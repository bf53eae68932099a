"""The store behind the local server, for what the commands do without HTTP: tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from livefeed import embedded
from livefeed.errors import StartError
from livefeed.newsroom.tokens import Tokens
from livefeed.settings import Settings


@asynccontextmanager
async def tokens(settings: Settings) -> AsyncIterator[Tokens]:
    """The tokens of the settings' store; the embedded server is started where it does not run.

    :raises StartError: the store cannot be reached or refuses, with its address and no password.
    """
    with embedded.connection_url(settings) as url:
        redis = Redis.from_url(
            url,
            socket_timeout=settings.redis_timeout_s,
            socket_connect_timeout=settings.redis_timeout_s,
        )
        try:
            yield Tokens(redis, settings.feed_name)
        except RedisError as error:
            where = "LIVEFEED_REDIS_URL" if settings.redis_url else f"The embedded server of {settings.data_dir}"
            raise StartError(f"{where} cannot be used: {error}.") from None
        finally:
            await redis.aclose()
