"""Calls to Redis: whatever becomes of it, who called is answered, and may leave at any moment."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.redis_server import RedisServer
from omgmj import QueueError
from omgmj.worker import connection
from omgmj.worker.connection import connect
from omgmj.worker.results import End
from omgmj.worker.store import Store


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
        cancellations = 0
        while not asking.done():
            asking.cancel()
            cancellations += 1
            await asyncio.wait([asking], timeout=1)
        assert cancellations == 1, f"at turn {turns}"
    await client.aclose()


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_redis_that_stands_still_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a connection and never answers: that is told after some seconds."""
    monkeypatch.setattr(connection, "ANSWER_WITHIN", 0.3)

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as server:
        client = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        with pytest.raises(QueueError, match="does not answer: not within"):
            await Store(client, "default").ping()
        await client.aclose()


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_result_that_redis_refuses_leaves_its_id_pending(redis: RedisServer) -> None:
    """A user who may not append to streams loses nothing: the mark is taken back with the result."""
    client = connect(redis.url)
    kept = Store(client, "default")
    await kept.hand_in("b", [1, 2], None, 100.0)
    await client.acl_setuser(
        "poor", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@all"], commands=["-xadd"]
    )
    poor = connect(redis.url.replace("redis://", "redis://poor:pw@"))
    found = await kept.pending("b")
    assert found is not None
    with pytest.raises(QueueError, match="Redis refused") as caught:
        await Store(poor, "default").finish("b", found[0], [(1, End.ERROR, b"x"), (2, End.ERROR, b"x")])
    assert "pw" not in str(caught.value)
    assert await kept.pending("b") == found
    assert await kept.finish("b", found[0], [(1, End.ERROR, b"x"), (2, End.ERROR, b"x")]) == 2
    await client.aclose()
    await poor.aclose()


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_full_redis_is_told_and_takes_up_again(redis: RedisServer) -> None:
    """What it refuses is told without what was handed in, nothing of it is there, and later all of it is taken."""
    client = connect(redis.url)
    kept = Store(client, "default")
    await client.config_set("maxmemory", "1mb")
    with pytest.raises(QueueError, match=r"^Redis refused: command not allowed") as caught:
        await kept.hand_in("b", range(1000), ['"private"'] * 1000, 100.0)
    assert "private" not in str(caught.value)
    assert await kept.meta("b") is None
    await client.config_set("maxmemory", "0")
    assert await kept.hand_in("b", range(1000), ['"private"'] * 1000, 100.0) == 1000
    await client.aclose()


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_place_in_a_batch_that_has_gone_leaves_nothing(redis: RedisServer) -> None:
    """A reader that ends after its batch has gone makes no key that would never go."""
    client = connect(redis.url)
    kept = Store(client, "default")
    await kept.hand_in("b", [1], None, 100.0)
    await kept.move_cursor("b", "reader", "5-0")
    assert await kept.cursor("b", "reader") == "5-0"
    await kept.forget("b")
    before = await client.dbsize()
    await kept.move_cursor("b", "reader", "6-0")
    assert (await kept.cursor("b", "reader"), await client.dbsize()) == ("0-0", before)
    await client.aclose()
