"""`threads`: work that takes long is done beside the event loop."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from omgmj.threads import in_thread, one_thread


async def test_work_is_done_in_a_thread_of_its_name() -> None:
    """The work's result comes back, and an error too, from a thread that tells what it is for."""
    assert (await in_thread("image", lambda: threading.current_thread().name)).startswith("omgmj-image")
    with pytest.raises(ZeroDivisionError):
        await in_thread("image", lambda: 1 / 0)


async def test_a_cancellation_passes_through() -> None:
    """Who is cancelled while a thread reads does not wait for it."""
    task = asyncio.create_task(in_thread("image", lambda: time.sleep(0.05)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_one_thread_does_one_thing_after_the_other() -> None:
    """What is handed to one pool is done in the order in which it came, in one thread."""
    with one_thread("download") as pool:
        names = [pool.submit(lambda: threading.current_thread().name) for _ in range(5)]
        assert {name.result() for name in names} == {"omgmj-download_0"}
