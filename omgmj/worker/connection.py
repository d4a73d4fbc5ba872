"""The client of a Redis: which URLs it takes, and what is made of its errors. No text of these holds a password."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import TimeoutError as Unanswered

from omgmj.errors import QueueError, UsageError
from omgmj.worker.storage import Away

ANSWER_WITHIN = 10.0
"""Seconds in which Redis has to answer."""
_DATABASE = re.compile(r"/?|/\d+")
_OPTION = re.compile(
    r"ssl_\w+|db|username|password|max_connections|client_name|health_check_interval|socket_keepalive|protocol"
)
"""Options that a URL may have: with others calls would end too early, or answers be of another type."""
_IN_PIPELINE = re.compile(r"Command # \d+ \(.*\) of pipeline caused error: \W*(.*?)\W*", re.DOTALL)
"""An error in a pipeline as the client words it: it shows the command, with what was handed in."""


def connect(url: str) -> Redis:
    """Return a client of a Redis; `UsageError` where the URL is none, or has odd options. Nothing is opened yet."""
    try:
        parts = urlsplit(url)
        # What is no number would be database 0.
        if parts.scheme != "unix" and not (parts.scheme in ("redis", "rediss") and _DATABASE.fullmatch(parts.path)):
            raise ValueError
        odd = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if not _OPTION.fullmatch(name)]
        if not all(name.isidentifier() for name in odd):
            raise ValueError  # It may be a part of a password.
        redis = Redis.from_url(
            parts._replace(query="").geturl() if odd else url,
            max_connections=50,
            # With one it sends by `asyncio.wait_for`, which swallows cancellations before Python 3.12.
            socket_timeout=None,
            socket_connect_timeout=ANSWER_WITHIN / 2,
            retry=Retry(NoBackoff(), 0),
        )
        pool: Any = redis.connection_pool
        pool.make_connection()  # It looks at the values of options.
    except (ValueError, TypeError, RedisError):
        # The URL may hold a password, so it is not shown.
        raise UsageError("the URL of Redis must be redis://host:port/0, rediss://… or unix://path") from None
    if odd:
        raise UsageError(f"the URL of Redis must not have the option {odd[0]!a}")
    return redis


@asynccontextmanager
async def trouble() -> AsyncIterator[None]:
    """Make a `QueueError` of what goes wrong with Redis; its texts hold no password."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            yield
    except TimeoutError:
        raise Away(f"Redis does not answer: not within {ANSWER_WITHIN:.0f} seconds") from None
    except (Unreachable, Unanswered) as error:
        if isinstance(error, AuthenticationError):
            raise QueueError("Redis refused the user name or the password of its URL, or wants them there") from None
        raise Away(f"Redis does not answer: {error}") from error
    except RedisError as error:
        raise QueueError(f"Redis refused: {_said(error)}") from error


def _said(error: RedisError) -> str:
    """Return what Redis said."""
    found = _IN_PIPELINE.fullmatch(str(error))
    return found[1] if found else str(error)
