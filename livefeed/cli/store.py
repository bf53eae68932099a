"""The store behind the local server, for what the commands do without HTTP: tokens."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
from redis.exceptions import RedisError

from livefeed import embedded
from livefeed.errors import StartError, Unavailable
from livefeed.feed import store
from livefeed.newsroom.tokens import Tokens
from livefeed.settings import Settings


@asynccontextmanager
async def tokens(settings: Settings) -> AsyncIterator[Tokens]:
    """The tokens of the settings' store; the embedded server is started where it does not run.

    :raises StartError: the store cannot be reached or refuses, with its address and no password.
    """
    with _warnings_only(), embedded.connection_url(settings) as url:
        redis = store.connect(dataclasses.replace(settings, redis_url=url))
        try:
            yield Tokens(redis, settings.feed_name)
        except (Unavailable, RedisError) as error:
            reason = str(error.__cause__ or error).rstrip(".")
            where = "at LIVEFEED_REDIS_URL" if settings.redis_url else f"of {settings.data_dir}"
            raise StartError(f"The store {where} cannot be used: {reason}.") from None
        finally:
            await redis.aclose()


@contextmanager
def _warnings_only() -> Iterator[None]:
    """Log to stderr: stdout is the command's answer, and a store that starts and stops as it should is no news."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)
