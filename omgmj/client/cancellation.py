"""Cancellation: whether a `CancelledError` is the task's own, or comes from below, from something that it awaits.

A task that somebody cancels ends. One that merely awaits something cancelled, such as the DNS query of an HTTP session
closed by its owner, has failed, and says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from omgmj.errors import TransportError

FROM_BELOW = "what this was waiting for was cancelled, as when an aiohttp session is closed while it is in use"


@asynccontextmanager
async def as_failure() -> AsyncIterator[None]:
    """Have a `CancelledError` leave the block as a `TransportError`, unless somebody has cancelled this task."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    if before:
        await asyncio.sleep(0)  # Who was cancelled just now hears of it here, where it is known whose it is.
    try:
        yield
    except asyncio.CancelledError:
        if task is None or task.cancelling() > before:
            raise
        raise TransportError(FROM_BELOW) from None
