"""Threads for what takes long, such as a disk: each use has one of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def own_thread() -> ThreadPoolExecutor:
    """Return an executor of one thread, to be shut down by its user."""
    # Those that asyncio and anyio keep are not there for whoever turns the clock by hand.
    return ThreadPoolExecutor(1, thread_name_prefix="omgmj")


async def in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns, done in a thread. A cancellation does not wait for it."""
    thread = own_thread()
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work)
    finally:
        thread.shutdown(wait=False)
