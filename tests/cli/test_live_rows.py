"""Rows: they show how far tasks are, a few at a time, and cost no request."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterable

import pytest

from omgmj.backoff import Fixed
from omgmj.cli.live_rows import watching
from omgmj.cli.progress_bar import ROWS
from omgmj.cli.runner import cancel
from omgmj.cli.view import View
from omgmj.polling import watch as watch_file
from omgmj.session import Session
from omgmj.testing import FakeService, Life
from tests.cli.streams import Terminal


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test the same kind of terminal."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("TTY_INTERACTIVE", raising=False)


async def watch(
    fake: FakeService, *, timeout: float | None = None, extra: tuple[int, ...] = (), progress: str = "auto"
) -> list[int]:
    """Watch all tasks, check the rows meanwhile, and return the IDs of the records in the order they came."""
    seen = []
    async with fake, fake.session(backoff=Fixed(2), rate=1000) as session:
        with View([*fake.task_ids, *extra], progress) as view:
            checks = asyncio.create_task(check_rows(view))
            async with watching(session, view, timeout=timeout) as watched:
                async for task in watched:
                    view.record(task)
                    seen.append(task.id)
            await cancel([checks])
            assert checks.cancelled() or checks.exception() is None
            assert not view.tally.left
            assert not view.display._figures.rows
    return seen


async def check_rows(view: View) -> None:
    """Check again and again that as many tasks as can be have a row, and each is one that is still to come."""
    while view.display.has_rows:
        await asyncio.sleep(0.77)  # By the virtual clock, and between two answers: all who heard are through.
        assert view.display._figures.rows.keys() <= view.tally.left.keys()
        assert len(view.display._figures.rows) == min(ROWS, len(view.tally.left))


@pytest.mark.parametrize("timeout", [None, 31])
async def test_rows_cost_no_request(monkeypatch: pytest.MonkeyPatch, timeout: float | None) -> None:
    """With rows on a terminal or in lines the service is asked as often as without, also where waits are given up."""
    asked = []
    for stderr, progress in ((sys.stderr, "none"), (sys.stderr, "plain"), (Terminal(), "auto")):
        fake = FakeService(tasks=50, seed=3)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            seen = await watch(fake, timeout=timeout, progress=progress)
        asked.append((fake.requests, fake.asked, fake.pages, set(seen)))
    assert asked[0] == asked[1] == asked[2]
    assert len(asked[0][3]) == 50 or timeout


async def test_errors_are_the_watch_s(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An ID that the service does not know is told of once, and its row goes."""
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    assert len(await watch(FakeService(tasks=3), extra=(99,))) == 3
    assert err.getvalue().count("99: TaskNotFound") == 1


async def test_no_rows_where_none_are_wanted(monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
    """Where nothing is to be shown nothing is followed."""
    monkeypatch.setattr(Session, "follow", lambda *_, **__: pytest.fail("followed"))
    assert len(await watch(FakeService(tasks=3), progress="none")) == 3


async def coming(view: View, ids: Iterable[int], *, pause: float) -> AsyncGenerator[int, None]:
    """Bring IDs one by one, each so many seconds after the other."""
    for task_id in ids:
        await asyncio.sleep(pause)
        view.expect([task_id])
        yield task_id


async def test_rows_of_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """IDs that come while others are watched get rows as long as there is room, and the counts grow with them."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    async with FakeService(tasks=50, seed=3) as fake, fake.session(backoff=Fixed(2), rate=1000) as session:
        first, *others = fake.task_ids
        with View([first]) as view:
            seen = []
            async with watching(session, view, coming(view, others, pause=0.5)) as watched:
                checks = asyncio.create_task(check_rows(view))
                async for task in watched:
                    view.record(task)
                    seen.append(task.id)
                await cancel([checks])
                assert checks.cancelled() or checks.exception() is None
            assert sorted(seen) == others
            assert (view.tally.total, str(view.tally)) == (50, "49 of 50 done, 0 failed")


async def test_many_that_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of IDs without end no more are taken in than may be watched at once, and all of them come to their ends."""
    monkeypatch.setattr(watch_file, "MAX_WATCHED", 100)
    async with FakeService() as fake, fake.session(rate=1000) as session:
        ids = [fake.add_task(Life.succeed(after=20)) for _ in range(1000)]
        view, seen, most = View(), [], 0
        async with watching(session, view, coming(view, ids, pause=0)) as watched:
            async for task in watched:
                most = max(most, len(view.tally.left))
                view.record(task)
                seen.append(task.id)
    assert sorted(seen) == ids
    assert most == 100


async def test_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends a watch early ends its rows, and comes out as it is."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    async with FakeService(tasks=50) as fake, fake.session() as session:
        with View(fake.task_ids) as view:
            with pytest.raises(KeyError):
                async with watching(session, view):
                    await asyncio.sleep(5)
                    raise KeyError
            assert view.on_end is None
