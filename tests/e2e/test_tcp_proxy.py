"""Answers that are harmed on their way by a TCP proxy: nothing is lost, nothing is wrong, nothing is made twice.

Not tried is what nothing in an answer tells: those to two pages that are swapped, or one that comes again when the next
page was asked for already, and an answer to a submission that is another one's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager

import pytest

import omgmj
from omgmj.testing import FakeService, Life, Lives
from tests.e2e.faulty_proxy import FAULTS, MIX_UPS, FaultyProxy

pytestmark = pytest.mark.slow

TASKS = 2000
LIVES = Lives(15.0)
SHARE = 0.02
ASKED = frozenset({"query", "query-mj-tasks"})
RATE = 500.0
OFTEN = omgmj.Retry(initial=0.1, cap=1.0, attempts=10)


@asynccontextmanager
async def harmed(
    fake: FakeService, faults: Iterable[str] = FAULTS, *, share: float = SHARE, mixed_up: frozenset[str] = ASKED
) -> AsyncIterator[FaultyProxy]:
    """Serve through a proxy with a share of each fault; fail where one of them came to less than a third of it."""
    shares = dict.fromkeys(faults, share)
    await fake.serve()
    async with FaultyProxy(fake.url, shares, seed=7, mixed_up=mixed_up) as proxy:
        yield proxy
    print(f"\n{dict(proxy.requests)}: {dict(proxy.done)}")
    for fault in shares:
        may = sum(count for call, count in proxy.requests.items() if call in mixed_up or fault not in MIX_UPS)
        assert proxy.done[fault] >= share / 3 * may, fault


def through(proxy: FaultyProxy) -> omgmj.Session:
    return omgmj.Session("t", base_url=proxy.url, rate=RATE, retry=OFTEN)


async def told(fake: FakeService, task_ids: Iterable[int]) -> dict[int, omgmj.Task]:
    """Ask for tasks where nothing stands between."""
    async with fake.session(rate=1e6, max_in_flight=1000) as session:
        return {task.id: task for task in await asyncio.gather(*map(session.query, task_ids))}


def add_tasks(fake: FakeService, count: int, life: Life | None = None) -> list[int]:
    """Make tasks that can be told from one another by their prompts too."""
    return [fake.add_task(life, prompt=f"cat number {number}") for number in range(count)]


@pytest.mark.parametrize(
    ("mixed_up", "count", "sweeps"),
    [(frozenset({"query"}), TASKS, True), (ASKED, TASKS // 4, False)],
    ids=["polls", "all"],
)
async def test_each_task_is_delivered_once(mixed_up: frozenset[str], count: int, *, sweeps: bool) -> None:
    """Many tasks, while a quarter of the answers is harmed: each comes once, as the service tells it.

    It takes no more than three times the requests that it takes where nothing is harmed. Where pages show what stands
    on other ones the list is left alone, so that they are those of polling singly.
    """
    async with FakeService(seed=7, latency=0.02, lives=LIVES) as fake:
        ids = add_tasks(fake, count)
        async with harmed(fake, mixed_up=mixed_up) as proxy, through(proxy) as session:
            done = [task async for task in session.watch(ids)]
        assert Counter(task.id for task in done) == Counter(ids)
        there = await told(fake, ids)
        assert [task for task in done if task != there[task.id]] == []
    async with FakeService(seed=7, latency=0.02, lives=LIVES) as whole:
        ids = add_tasks(whole, count)
        async with whole.session(rate=RATE, sweeps=sweeps) as session:
            assert len([task async for task in session.watch(ids)]) == count
    print(f"{proxy.requests.total()} requests, and {whole.requests} where nothing is harmed")
    assert proxy.requests.total() <= 3 * whole.requests


async def test_a_query_is_answered_with_its_own_record() -> None:
    """1,000 queries, and pages among them: none is answered with another one's record, or with a page."""
    async with FakeService(seed=7, latency=0.02) as fake:
        ids = add_tasks(fake, 1000, Life.succeed(1.0))
        await asyncio.sleep(2.0)
        async with harmed(fake) as proxy, through(proxy) as session:

            async def ask(task_id: int) -> omgmj.Task:
                if task_id % 5 == 0:
                    page = await session.page()
                    assert [task.id for task in page.tasks] == ids[:-21:-1]
                return await session.query(task_id)

            got = await asyncio.gather(*map(ask, ids))
        there = await told(fake, ids)
        assert got == [there[task_id] for task_id in ids]
        assert proxy.requests.total() <= 2 * 1200


@pytest.mark.parametrize("faults", [[fault for fault in FAULTS if fault not in MIX_UPS], ["late"]])
async def test_a_page_is_the_one_that_was_asked_for(faults: Collection[str]) -> None:
    """300 pages, one after the other with a second between: each is its own, also after an answer that came twice."""
    async with FakeService(seed=7, latency=0.02) as fake:
        ids = add_tasks(fake, 200, Life.succeed(1.0))[::-1]
        async with harmed(fake, faults, share=0.3 / len(faults)) as proxy, through(proxy) as session:
            for turn in range(300):
                number = turn % 10
                page = await session.page(number + 1)
                assert [task.id for task in page.tasks] == ids[20 * number : 20 * number + 20]
                await asyncio.sleep(1.0)
        assert proxy.requests.total() <= 2 * 300


async def test_no_task_is_made_twice() -> None:
    """50 submissions, half of them harmed: each has its task's ID, or is uncertain, when reconciling finds the task."""
    words = [f"{color} {beast}" for color in ("red", "blue", "grey", "pink", "gold") for beast in "abcdefghij"]
    async with FakeService(seed=7, latency=0.02) as fake:
        faults = [fault for fault in FAULTS if fault not in MIX_UPS]
        async with harmed(fake, faults, share=0.05) as proxy, through(proxy) as session:
            came = await asyncio.gather(*map(session.imagine, words), return_exceptions=True)
            made = {str(task.fields["prompt"]): task.task_id for task in fake.created}
            assert len(made) == len(fake.created)
            uncertain = 0
            for prompt, result in zip(words, came, strict=True):
                if isinstance(result, omgmj.SubmissionUncertain):
                    uncertain += 1
                    found = [task.id for task in await session.reconcile(result)]
                    assert found == ([made[prompt]] if prompt in made else [])
                else:
                    assert result == made[prompt]
        print(f"{uncertain} were uncertain; {len(made)} were made")
        assert 10 <= uncertain <= 40
        assert len(fake.created) <= len(words)
