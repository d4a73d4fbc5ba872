"""Threads for work that takes long, each of our own: those of asyncio and anyio are not there on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def one_thread(work: str) -> ThreadPoolExecutor:
    """Return a pool of one thread, named after its `work`; it starts with the first call."""
    return ThreadPoolExecutor(1, thread_name_prefix=f"omgmj-{work}")


async def in_thread(name: str, work: Callable[[], T]) -> T:
    """Return what `work` returns, called in a thread of its own; a caller that is cancelled does not wait for it."""
    thread = one_thread(name)
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work)
    finally:
        thread.shutdown(wait=False)
