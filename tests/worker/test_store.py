"""Calls to Redis: whatever becomes of it, who called is answered, and may leave at any moment."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.redis_server import RedisServer
from omgmj import QueueError
from omgmj.worker import store
from omgmj.worker.store import Store, connect


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_cancellation_is_never_swallowed(redis: RedisServer) -> None:
    """At whatever turn of the loop it comes, also while a command is being sent."""
    client = connect(redis.url)
    kept = Store(client, "default")
    await kept.ping()

    async def ask_on() -> None:
        while True:
            await kept.ping()

    for turns in range(60):
        asking = asyncio.create_task(ask_on())
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking], timeout=2)
        swallowed = not asking.done()
        asking.cancel()
        await asyncio.wait([asking])
        assert not swallowed, f"at turn {turns}"
    await client.aclose()


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_redis_that_stands_still_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a connection and never answers: that is told after some seconds."""
    monkeypatch.setattr(store, "ANSWER_WITHIN", 0.3)

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as server:
        client = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        with pytest.raises(QueueError, match="does not answer: not within"):
            await Store(client, "default").ping()
        await client.aclose()
