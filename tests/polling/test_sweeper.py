"""Sweeps of the account's list: that they pay, and that a list that is not what it should be loses nobody."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from omgmj.backoff import Fixed
from omgmj.protocol.messages import PAGE_MOST
from omgmj.scheduler.sweep_plan import FEW
from omgmj.testing import EPOCH, FakeService, Fault, Life

pytestmark = pytest.mark.in_memory


async def watched(fake: FakeService, ids: list[int], **settings: object) -> tuple[Counter[int], list[float]]:
    """Watch all of `ids` to their ends; return how often each was delivered, and how long after its end."""
    seen: Counter[int] = Counter()
    delays = []
    begun = fake.now
    async with fake.session(rate=1000.0, **settings) as session:
        async for task in session.watch(ids):
            seen[task.id] += 1
            assert task.finished_at is not None
            assert task.submitted_at is not None
            delays.append(fake.now - begun - (task.finished_at - task.submitted_at).total_seconds())
    return seen, delays


async def test_a_page_answers_for_many() -> None:
    """Where the watched IDs are most of the latest tasks, pages cost a fraction of asking one by one, and no time."""
    requests = {}
    for share in (1.0, 0.0):
        async with FakeService(foreign_share=0.1, seed=2) as fake:
            ids = fake.add_tasks(200)
            if not share:
                fake.inject("list_forbidden", times=None)
            seen, delays = await watched(fake, ids)
            assert seen == Counter(ids)
            assert sum(delays) / len(delays) < 1.6
            requests[share] = fake.requests
    assert requests[1.0] < 0.4 * requests[0.0]


async def test_stats_tell_of_sweeps() -> None:
    """`stats` shows how many pages were read, how many records they showed, and how many of those were of use."""
    async with FakeService(seed=2) as fake, fake.session(rate=1000.0) as session:
        assert session.stats().sweeps == 0
        async for _ in session.watch(fake.add_tasks(100)):
            pass
        stats = session.stats()
        assert stats.sweeps == sum(fake.pages.values()) > 5
        assert stats.sweeps * 2 < stats.swept_used < stats.swept <= stats.sweeps * PAGE_MOST


BROKEN = ["list_forbidden", "list_error", "list_wrong_shape"]


@pytest.mark.parametrize(
    "fault", [*BROKEN, "list_duplicates", "list_twice", "list_foreign_shape", "list_total_lies", "list_empty"]
)
async def test_a_list_that_is_off_loses_nobody(fault: str) -> None:
    """Whatever is wrong with the list, each final record comes once and in time; a broken one is left alone."""
    async with FakeService(seed=3) as fake:
        ids = fake.add_tasks(120)
        fake.inject(fault, times=None)
        seen, delays = await watched(fake, ids)
        assert seen == Counter(ids)
        assert sum(delays) / len(delays) < 1.6
        assert fake.injected[fault] > 0
        if fault in BROKEN:
            assert sum(fake.pages.values()) <= 24


@pytest.mark.parametrize("fault", ["drop_before_headers", "html_502", "cut_short", "rate_limited", "empty_body"])
async def test_a_failed_sweep_fails_nobody(fault: str) -> None:
    """Faults of the way to the service that hit pages as well cost time, and nobody their record."""
    async with FakeService(seed=3, faults={fault: 0.2}) as fake:
        ids = fake.add_tasks(120)
        seen, _ = await watched(fake, ids)
        assert seen == Counter(ids)
        assert sum(fake.pages.values()) > 0


async def test_a_list_that_lags_is_found_out() -> None:
    """A list half a minute behind `query` is found out and left alone: records come about as soon as without it."""
    async with FakeService(seed=4, list_lag=30.0) as fake:
        early = fake.add_tasks(100)
        await asyncio.sleep(31)
        late = fake.add_tasks(100)
        async with fake.session(rate=1000.0) as session:
            delays = []
            async for task in session.watch([*early, *late]):
                assert task.finished_at is not None
                ended = (task.finished_at - EPOCH).total_seconds()
                delays.append(fake.now - max(31.0, ended))
        assert len(delays) == 200
        assert sum(delays) / len(delays) < 2.5
        assert sum(fake.pages.values()) < 60


@pytest.mark.parametrize("since", [20.0, 40.0])
async def test_a_list_that_stands_still_is_found_out(since: float) -> None:
    """A list that shows from some moment on what it showed then, to the letter, loses nobody and holds up few."""
    async with FakeService(seed=4) as fake:
        ids = fake.add_tasks(200)

        async def freeze() -> None:
            await asyncio.sleep(since)
            while True:
                fake.list_lag = fake.now - since
                await asyncio.sleep(0.05)

        freezing = asyncio.ensure_future(freeze())
        seen, delays = await watched(fake, ids)
        freezing.cancel()
        assert seen == Counter(ids)
        assert sum(delays) / len(delays) < 10
        assert max(delays) < 60


async def test_a_final_record_without_its_image_is_confirmed() -> None:
    """A page's final record that lacks image or actions is not given out before `query` said the same."""
    async with FakeService(seed=5) as fake, fake.session(rate=1000.0) as session:
        bare = {"imageDcUrl": None, "actions": None}
        life = Life.steps([(0, "IN_PROGRESS", "0%"), (20, "SUCCESS", "100%", bare)])
        ids = [fake.add_task(life) for _ in range(40)]
        async for task in session.watch(ids):
            assert task.image_url is None
        assert all(fake.asked[task_id] >= 1 for task_id in ids)


async def test_of_a_few_ids_one_page_is_read() -> None:
    """Below a handful of watched IDs a page is read once, for what it teaches; none for a policy that needs nothing."""
    async with FakeService(seed=6) as fake:
        seen, _ = await watched(fake, fake.add_tasks(FEW - 1))
        assert len(seen) == FEW - 1
        assert fake.pages == {1: 1}
        await watched(fake, fake.add_tasks(FEW - 1), backoff=Fixed(2.0))
        assert fake.pages == {1: 1}


async def test_a_page_teaches_who_waits_for_one_task() -> None:
    """The page is read instead of the first poll; how long others ran spares most polls of a task that tells nothing.

    Where the list cannot be had it costs one request.
    """
    silent = [Life.steps([(0.0, "IN_PROGRESS", None), (after, "SUCCESS", "100%")]) for after in range(180, 220, 2)]
    requests, late = {}, {}
    for how in ("page", "no page", "no list"):
        async with FakeService(seed=6) as fake:
            for life in silent:
                fake.add_task(life, pool="FAST")
            await asyncio.sleep(300.0)
            if how == "no list":
                fake.inject("list_forbidden", times=None)
            fake.plan(*silent[7:8])
            async with fake.session(sweeps=how != "no page") as session:
                task_id, begun = await session.imagine("a cat"), fake.now
                assert (await session.wait(task_id)).succeeded
            requests[how], late[how] = fake.requests, fake.now - begun - 194.0
            assert fake.pages == ({} if how == "no page" else {1: 1})
    assert requests["page"] < 0.7 * requests["no page"]
    assert requests["no list"] <= requests["no page"] + 3
    assert max(late.values()) < 6.0


async def test_a_page_that_hangs_holds_nobody_up() -> None:
    """After two seconds the ID is polled singly: a list that never answers costs no more than that, once."""
    async with FakeService(seed=6) as fake, fake.session() as session:
        done, more = fake.add_task(Life.succeed(1.0)), fake.add_task(Life.succeed(1.0))
        await asyncio.sleep(5.0)
        fake.inject(Fault("silence", only="pages"), times=None)
        begun = fake.now
        assert (await session.wait(done, timeout=20)).succeeded
        assert fake.now - begun < 3.0
        assert (await session.wait(more, timeout=20)).succeeded
        assert fake.now - begun < 3.5


@pytest.mark.parametrize(
    ("fault", "since"),
    [
        (Fault("silence", only="pages"), 0.0),
        (Fault("silence", only="pages"), 100.0),
        (Fault("slow", only="pages", seconds=10.0), 0.0),
        (Fault("slow", only="pages", seconds=3.0), 100.0),
    ],
    ids=["hangs", "begins to hang", "slow", "gets slow"],
)
async def test_a_list_that_keeps_waiting_is_left_alone(fault: Fault, since: float) -> None:
    """Where queries are answered at once and pages are not, ends are seen about as soon as with no list."""
    random.seed(2)
    async with FakeService(latency=0.05) as fake:
        ends = {fake.add_task(Life.succeed(after)): after for after in (random.uniform(40, 600) for _ in range(20))}
        fake.trouble(fault, after=since)
        begun, late = fake.now, []
        async with fake.session() as session:
            async for task in session.watch(ends):
                late.append(fake.now - begun - ends[task.id])
    assert len(late) == 20
    assert sum(late) / 20 < 1.6
    assert max(late) < 9.0


async def test_where_all_answers_are_slow_pages_are_read() -> None:
    """A page that takes as long as a query does is waited for: it answers for many."""
    async with FakeService(latency=4.0, seed=2) as fake:
        ids = fake.add_tasks(100)
        seen, _ = await watched(fake, ids)
    assert seen == Counter(ids)
    assert fake.requests < 6 * len(ids)
    assert sum(fake.pages.values()) > 20


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("fault", ["silence", "slow"])
async def test_a_short_wait_has_time_for_a_poll(fault: str, count: int) -> None:
    """A wait of a second is answered by a poll, where the page that is read instead does not come."""
    async with FakeService() as fake, fake.session() as session:
        ids = [fake.add_task(Life.succeed(0.0)) for _ in range(count)]
        fake.trouble(Fault(fault, only="pages", seconds=1.2) if fault == "slow" else Fault(fault, only="pages"))
        tasks = await asyncio.gather(*(session.wait(task_id, timeout=1) for task_id in ids))
        assert all(task.succeeded for task in tasks)


@pytest.mark.parametrize("count", [1, 5])
async def test_a_list_that_refuses_the_token_holds_up_nobody(count: int) -> None:
    """A token that may query and not list is asked for anew for a moment only."""
    async with FakeService() as fake, fake.session(lambda: fake.token) as session:
        ids = [fake.add_task(Life.succeed(0.0)) for _ in range(count)]
        fake.trouble(Fault("unauthorized", only="pages"))
        tasks = await asyncio.gather(*(session.wait(task_id, timeout=4) for task_id in ids))
        assert all(task.succeeded for task in tasks)


@pytest.mark.parametrize(("lag", "ago"), [(12.0, 5.0), (30.0, 2.0), (600.0, 590.0)])
async def test_a_first_page_that_lags_is_no_first_look(lag: float, ago: float) -> None:
    """What a list says of the past, where nothing on it is of the last seconds, is asked for again, singly."""
    async with FakeService(list_lag=lag) as fake:
        task_id = fake.add_task(Life.succeed(lag))
        await asyncio.sleep(lag + ago)
        async with fake.session() as session:
            begun = fake.now
            assert (await session.wait(task_id)).succeeded
            assert fake.now - begun < 0.5
            assert fake.pages == {1: 1}


async def test_a_burst_beyond_the_pace_leaves_the_price_alone() -> None:
    """What IDs waited for their pages, and a crowd that ends at once, do not swing it from one end to the other."""
    random.seed(3)
    async with FakeService(latency=0.05, seed=7) as fake, fake.session(rate=10) as session:
        ids = [fake.add_task(Life.succeed(random.lognormvariate(math.log(60), 0.4))) for _ in range(1000)]
        prices = []
        async for _ in session.watch(ids):
            prices.append(session.stats().price)
    known = [price for price in prices if price is not None]
    assert len(known) > 900
    assert 0.03 < min(known) < max(known) < 6.0
    assert 0.08 < known[-1] < 1.0


async def test_a_page_that_lacks_the_task_costs_one_request() -> None:
    """A list that does not show an ID, as it is older than all on the first page, leaves it to a poll at once."""
    async with FakeService(seed=6) as fake, fake.session() as session:
        old = fake.add_task(Life.succeed(300.0))
        fake.add_foreign(40)
        await session.wait(old)
        asked = fake.requests
    async with FakeService(seed=6) as fake, fake.session(sweeps=False) as session:
        old = fake.add_task(Life.succeed(300.0))
        await session.wait(old)
        assert asked <= fake.requests + 1


async def test_pushed_ids_are_asked_for_singly() -> None:
    """A push is answered by `query`, whatever the list would cost."""
    async with FakeService(seed=7) as fake, fake.session(rate=1000.0, backoff=Fixed(20)) as session:
        ids = [fake.add_task(Life.succeed(100)) for _ in range(60)]
        watch = session.watch(ids)
        await asyncio.sleep(50)
        before = fake.asked[ids[30]]
        session.notify({"taskId": ids[30]})
        await asyncio.sleep(0.5)
        assert fake.asked[ids[30]] == before + 1
        await watch.aclose()


async def test_new_tasks_push_the_list_along() -> None:
    """While tasks keep being made, in part by others, each record comes once, and pages still pay."""
    async with FakeService(seed=8, foreign_share=0.2) as fake, fake.session(rate=1000.0) as session:
        seen: Counter[int] = Counter()
        watch = session.watch(fake.add_tasks(150))
        async for task in watch:
            seen[task.id] += 1
            if len(seen) <= 300:
                watch.add(fake.add_tasks(1))
        assert seen == Counter(fake.task_ids)
        assert session.stats().swept_used > session.stats().sweeps


async def steady(fake: FakeService, *, most: int, a_second: int = 10) -> tuple[float, Counter[int]]:
    """Make tasks on and on, each watched as it is made; return requests a task, and how often each came."""
    seen: Counter[int] = Counter()
    errors: list[Exception] = []

    async def make() -> AsyncIterator[int]:
        for _ in range(most):
            yield fake.add_tasks(1)[0]
            await asyncio.sleep(1 / a_second)

    async with fake.session(rate=1000.0) as session:
        async for task in session.watch(make(), on_error=errors.append):
            seen[task.id] += 1
    assert errors == []
    return fake.requests / most, seen


@pytest.mark.parametrize(("share", "most", "at_most"), [(0.9, 200, 0.5), (0.5, 200, 0.65), (0.05, 400, 1.15)])
async def test_pages_pay_while_the_list_moves_on_and_on(share: float, most: int, at_most: float) -> None:
    """Where tasks are made all the time, pages answer for many, at first polls too; where not, they cost little.

    By chance the requests, over those of asking singly, are 0.30 to 0.38, 0.42 to 0.53, and 0.97 to 1.03.
    """
    requests = {}
    for pages in (True, False):
        async with FakeService(seed=9, foreign_share=1 - share) as fake:
            if not pages:
                fake.inject("list_forbidden", times=None)
            requests[pages], seen = await steady(fake, most=most)
            assert seen == Counter(fake.task_ids)
            assert all(fake.asked[task_id] == 0 for task_id in fake.foreign_ids)
    assert requests[True] < at_most * requests[False]


@pytest.mark.parametrize("fault", ["list_empty", "list_duplicates", "list_foreign_shape"])
async def test_a_list_that_moves_and_is_off_loses_nobody(fault: str) -> None:
    """Whatever pages show while the list moves, each final record comes once."""
    async with FakeService(seed=9, foreign_share=0.3) as fake:
        fake.inject(fault, times=None)
        _, seen = await steady(fake, most=150)
        assert seen == Counter(fake.task_ids)


async def test_records_that_cannot_be_read_hold_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    """Those that a page shows in another shape are polled singly, and warned of once."""
    async with FakeService(tasks=60) as fake, fake.session() as session:
        fake.inject("list_foreign_shape", times=None)
        assert len([task async for task in session.watch(fake.task_ids)]) == 60
        assert session.stats().sweeps > 0
    (line,) = [record.getMessage() for record in caplog.records if "odd" in record.getMessage()]
    assert line.endswith("tasks holds a record that is left out, as it names no task")


@pytest.mark.parametrize("blocks", [1, 2])
async def test_tasks_below_others_are_read_where_they_lie(blocks: int) -> None:
    """Watched tasks under a thousand others, or between them, cost hardly more than with none above."""
    requests = {}
    for others in (0, 1000):
        async with FakeService(seed=2) as fake:
            ids = []
            for _ in range(blocks):
                ids += fake.add_tasks(200)
                fake.add_foreign(others)
            seen, delays = await watched(fake, ids)
            assert seen == Counter(ids)
            assert sum(delays) / len(delays) < 1.6
            requests[others] = fake.requests
    assert requests[1000] < 1.1 * requests[0]


async def test_ids_on_no_page_do_not_end_the_reading() -> None:
    """IDs that do not exist, between those that do, are asked for; the others are read by pages all the same."""
    async with FakeService(seed=2) as fake:
        ids = [fake.add_task(task_id=10_000 + 2 * number) for number in range(200)]
        fake.add_foreign(200)
        wrong = [task_id + 1 for task_id in ids[:40]]
        errors: list[Exception] = []
        async with fake.session(rate=1000.0) as session:
            seen = [task.id async for task in session.watch([*ids, *wrong], on_error=errors.append)]
        assert sorted(seen) == ids
        assert len(errors) == len(wrong)
        assert sum(fake.asked[task_id] for task_id in ids) + sum(fake.pages.values()) < 3 * len(ids)
