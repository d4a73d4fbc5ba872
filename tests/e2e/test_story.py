"""From a prompt to a file on disk, as a user of the library writes it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from omgmj.backoff import Fixed
from omgmj.images.media_type import image_type
from omgmj.session import Session
from omgmj.testing import FakeService, Lives
from tests.conftest import new_real_loop


async def test_from_a_prompt_to_a_file(tmp_path: Path) -> None:
    """Imagine, wait, act, wait, download: over HTTP, each step by what the one before returned."""
    async with FakeService() as service:
        await service.serve()
        async with Session("t", base_url=service.url) as session:
            grid = await session.wait(await session.imagine("a cat in the rain --ar 16:9", pool="NORMAL"))
            grid.raise_for_failure()
            assert (grid.kind, grid.pool, grid.prompt) == ("IMAGINE", "NORMAL", "a cat in the rain --ar 16:9")

            large = await session.wait(await session.act(grid, "U1"))
            large.raise_for_failure()
            assert (large.kind, large.prompt) == ("UPSCALE", grid.prompt)

            path = await session.download(large, tmp_path / "pictures")
            assert path == tmp_path / "pictures" / f"task-{large.id}.png"
            assert image_type(path.read_bytes()) == "image/png"

            listed = [task.id async for task in session.tasks(status="SUCCESS")]
            assert listed == [large.id, grid.id]
            assert session.stats().watched == 0
        assert [made.kind for made in service.created] == ["IMAGINE", "UPSCALE"]
        assert service.refused == []


async def test_a_task_of_ones_own_is_not_polled_before_there_is_something_to_see() -> None:
    """The first poll of a task that was just made comes when the policy says; of one made elsewhere, at once."""
    async with FakeService() as service, service.session() as session:
        await session.wait(await session.imagine("a cat"))
        submitted, first, *_ = service.times
        assert 5 <= first - submitted <= 10
        other, before = service.add_task(), len(service.times)
        asked = service.now
        await session.wait(other)
        assert service.times[before] - asked < 0.1


@pytest.mark.real_time
async def test_a_loop_whose_timers_tell_no_time() -> None:
    """In real time, on any event loop: queries and waits whose next slot is a fraction of a millisecond ahead end."""
    loop = new_real_loop()
    loop.close()
    assert type(asyncio.get_running_loop()) is type(loop)
    async with (
        FakeService(tasks=300, lives=Lives(0.1)) as service,
        service.session(rate=5000.0, max_in_flight=1000, backoff=Fixed(0.02)) as session,
    ):
        asked = asyncio.gather(*map(session.query, service.task_ids))
        done = [task.id async for task in session.watch(service.task_ids)]
        assert [task.id for task in await asked] == sorted(done) == service.task_ids
