"""Threads: work that takes long holds nobody up."""

from __future__ import annotations

import asyncio
import time

import pytest

from omgmj.threads import in_thread


async def test_a_cancellation_passes_through() -> None:
    """Who is cancelled while a thread reads does not wait for it."""
    task = asyncio.create_task(in_thread(lambda: time.sleep(0.05)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
