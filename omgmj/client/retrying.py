"""Retries: the one loop that repeats direct calls, submissions and downloads after a failure in passing.

The caller tells which errors pass. A failed poll is no matter of this: it goes back to the scheduler.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from omgmj import log
from omgmj.backoff.policies import Retry
from omgmj.errors import OmgmjError

T = TypeVar("T")


async def retrying(
    attempt: Callable[[], Awaitable[T]],
    retry: Retry,
    *,
    what: str,
    passes: Callable[[OmgmjError], bool],
    on_retry: Callable[[], object] | None = None,
) -> T:
    """Return the result of `attempt`; repeat it after a delay while its errors pass, up to `retry.attempts` in all.

    `what` names it in the log. `on_retry` is called right before it is repeated.
    """
    failures = 0
    while True:
        try:
            return await attempt()
        except OmgmjError as error:
            failures += 1
            if failures >= retry.attempts or not passes(error):
                raise
            delay = retry.delay(failures, random.random(), getattr(error, "retry_after", None))
            log.retried(what, failures, retry.attempts, delay, error)
        await asyncio.sleep(delay)
        if on_retry is not None:
            on_retry()
