"""The rights that README gives users of Redis: all doors work with them, and who hands in cannot reach the workers."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from benchmarks.redis_server import RedisServer
from omgmj import Cancelled
from omgmj.testing import FakeService, Life
from omgmj.worker import Queue, Worker
from omgmj.worker.connection import connect

pytestmark = [pytest.mark.real_time, pytest.mark.slow]

README = Path(__file__).parents[2] / "README.md"


async def test_the_rights_in_readme_are_enough(redis: RedisServer) -> None:
    """A worker and a queue, each as its user: through all doors."""
    admin: Any = connect(redis.url)
    rules = re.findall(r"^ACL SETUSER (.+)$", README.read_text("utf-8"), re.MULTILINE)
    assert len(rules) == 2
    for rule in rules:
        await admin.execute_command("ACL", "SETUSER", *rule.split())
    as_worker, as_reader = (redis.url.replace("//", f"//{user}:PASSWORD@") for user in ("worker", "reader"))
    async with FakeService() as fake, Queue(as_reader) as queue:
        await fake.serve()
        never = fake.add_task(Life.succeed(after=3600))
        ids = [fake.add_task(Life.succeed(after=1 + number / 10)) for number in range(10)]
        worker = Worker(as_worker, {"default": fake.token}, base_url=fake.url, rate=200, lease=3)
        run = asyncio.create_task(worker.run())
        batch = await queue.watch({task_id: {"of": "mine"} for task_id in ids}, batch="b")
        await queue.watch([never], batch="b")
        await queue.watch(range(10**9, 10**9 + 500), batch="b")
        async with Queue(as_reader, ttl=10**8) as longer, asyncio.timeout(40):
            await longer.watch(ids, batch="b")
            assert [task.id async for task in queue.follow(ids[0])][-1] == ids[0]
            assert await batch.cancel([never, *range(10**9, 10**9 + 500)]) == 501
            found = [result async for result in batch.results()]
            assert sum(result.task is not None for result in found) == 10
            assert sum(isinstance(result.error, Cancelled) for result in found) == 501
            assert await queue.batches() == ["b"]
            await batch.forget()
        worker.stop()
        await run
        assert await admin.execute_command("ACL", "LOG") == []
        reader = connect(as_reader)
        for key in await admin.keys("*docket*"):
            with pytest.raises(NoPermissionError):
                await reader.xadd(key, {"any": "thing"})
        await reader.aclose()
    await admin.aclose()
