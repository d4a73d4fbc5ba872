"""Sweeps of the account's list: that they pay, and that a list that is not what it should be loses nobody."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from omgmj.backoff import Fixed
from omgmj.scheduler.list_positions import KEPT
from omgmj.scheduler.registry import LISTED, MISSED, Registry, Subscription
from omgmj.scheduler.sweep_plan import (
    CHECK_PAGES,
    CHECK_SECONDS,
    DEEPER_HOLD,
    FEW,
    LAG,
    LONGEST_REST,
    NEW_PAYS,
    REST,
    SIZE,
    STRIKES,
    YOUNG,
    Sweep,
    SweepPlan,
)
from omgmj.testing import EPOCH, FakeService, Life

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
        assert stats.sweeps * 2 < stats.swept_used < stats.swept <= stats.sweeps * SIZE


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


async def test_a_few_ids_leave_the_list_alone() -> None:
    """Below a handful of watched IDs no page is read."""
    async with FakeService(seed=6) as fake:
        seen, _ = await watched(fake, fake.add_tasks(FEW - 1))
        assert len(seen) == FEW - 1
        assert not fake.pages


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


@pytest.mark.parametrize(("share", "most", "at_most"), [(0.9, 200, 0.4), (0.5, 200, 0.5), (0.05, 400, 1.1)])
async def test_pages_pay_while_the_list_moves_on_and_on(share: float, most: int, at_most: float) -> None:
    """Where tasks are made all the time, pages answer for many, at first looks too; where not, they cost little.

    By chance the requests, over those of asking singly, are 0.25 to 0.27, 0.35 to 0.37, and 0.95 to 1.04.
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


# What is known of the list, by hand.


def listing(*ids: int) -> tuple[Registry, SweepPlan]:
    """Return a registry that watches `ids`, all due at 0, and what is known of their list: nothing."""
    registry = Registry()
    subscription = Subscription(object(), ids, Fixed(2.0), 0.0, None, None)
    for task_id in ids:
        row = registry.open(task_id)
        registry.join(row, subscription)
        registry.due[row] = 0.0
    return registry, SweepPlan(registry)


def read(sweeps: SweepPlan, sweep: Sweep | None, latest: list[int], now: float) -> Sweep:
    """Have a planned page read from a list, the newest first."""
    assert sweep is not None
    shown = latest[(sweep.page - 1) * SIZE : sweep.page * SIZE]
    sweeps.learn(sweep, shown, now)
    sweeps.went(sweep, len(set(sweep.task_ids) & set(shown)), 0, now)
    return sweep


def test_the_list_is_read_from_the_newest_down() -> None:
    """Pages are read one after the other while they show watched IDs, and then each ID's page is known."""
    latest = list(range(1100, 1000, -1))
    _, sweeps = listing(*latest)
    for page in range(1, 6):
        assert read(sweeps, sweeps.plan(1001, 1.0), latest, 1.0).page == page
    for place in (0, 19, 20, 57, 99):
        sweep = sweeps.plan(latest[place], 1.0)
        assert sweep is not None
        assert sweep.page == place // SIZE + 1
        assert set(sweep.task_ids) == set(latest[(sweep.page - 1) * SIZE : sweep.page * SIZE])
        assert sweeps.plan(latest[place], 1.0) is None  # it is out
        read(sweeps, sweep, latest, 1.0)


def test_a_list_without_watched_ids_is_read_no_deeper() -> None:
    """After some pages that were not worth it the list is read no deeper for a while."""
    latest = list(range(5000, 1000, -1))
    _, sweeps = listing(*range(1, 50))
    pages = 0
    while (sweep := sweeps.plan(1, 1.0)) is not None:
        pages += 1
        read(sweeps, sweep, latest, 1.0)
    assert 3 <= pages <= 15
    assert sweeps.plan(1, 1.0 + REST) is not None


def test_the_end_of_the_list_is_found() -> None:
    """A page that shows nothing new is the end of the list."""
    latest = list(range(1020, 1000, -1))
    _, sweeps = listing(*latest, *range(1, 9))
    read(sweeps, sweeps.plan(1, 1.0), latest, 1.0)
    read(sweeps, sweeps.plan(1, 1.0), latest, 1.0)
    assert sweeps.plan(1, 1.0) is None


def test_drift_is_learned() -> None:
    """How fast new tasks come is learned from where known IDs turn up, and moves the page of each."""
    latest = list(range(2000, 1000, -1))
    _, sweeps = listing(*latest[:60])
    for _ in range(3):
        read(sweeps, sweeps.plan(latest[59], 0.0), latest, 0.0)
    newest = 2000
    for second in range(1, 30):
        fresh = list(range(newest + 10, newest, -1))
        newest += 10
        latest[:0] = fresh
        if (sweep := sweeps.plan(1990, float(second))) is not None:
            read(sweeps, sweep, latest, float(second))
    place = sweeps._positions.place(1990, 30.0)
    assert abs(place - (latest.index(1990) + 10)) < SIZE


def test_strikes_leave_the_list_alone_longer_each_time() -> None:
    """Signs against the list add up; it is left alone, each time longer, and begun anew afterwards."""
    latest = list(range(1100, 1000, -1))
    _, sweeps = listing(*latest)
    now, rest = 0.0, REST
    for _ in range(12):
        read(sweeps, sweeps.plan(1050, now), latest, now)
        for _ in range(STRIKES):
            sweeps.strike(now)
        assert sweeps.plan(1050, now + rest - 1) is None
        assert not sweeps.holds(1050, now)
        now, rest = now + rest, min(LONGEST_REST, rest * 2)
    assert rest == LONGEST_REST


def test_a_list_that_is_left_alone_gets_no_strikes() -> None:
    """What was under way when the list was left alone says nothing new: it is not left alone longer for it."""
    latest = list(range(1100, 1000, -1))
    _, sweeps = listing(*latest)
    for now in (0.0, 0.0, REST - 1):
        sweeps.strike(now, times=STRIKES)
    assert sweeps.plan(1050, REST - 0.5) is None
    assert sweeps.plan(1050, REST) is not None


def test_once_in_a_while_an_id_is_asked_for_singly_that_pages_show() -> None:
    """After some pages over some seconds one ID that a page showed last is asked for: a list may stand still."""
    latest = list(range(1100, 1000, -1))
    registry, sweeps = listing(*latest)
    registry.listed[registry.rows[1090]] = LISTED
    for _ in range(CHECK_PAGES):
        read(sweeps, sweeps.plan(1001, 0.0), latest, 0.0)
    read(sweeps, sweeps.plan(1091, 0.0), latest, 0.0)  # no page showed it so far
    assert sweeps.plan(1090, 0.0) is None
    for now in (0.0, 0.0, 0.0, CHECK_SECONDS - 1):
        read(sweeps, sweeps.plan(1090, now), latest, now)
    assert sweeps.plan(1090, CHECK_SECONDS) is None
    for _ in range(CHECK_PAGES):
        read(sweeps, sweeps.plan(1090, 2 * CHECK_SECONDS), latest, 2 * CHECK_SECONDS)
    assert sweeps.plan(1090, 2 * CHECK_SECONDS) is None


def test_pages_that_do_not_pay_are_left_alone() -> None:
    """Pages that show fewer of the IDs they were read for than asking would are read no more for a while."""
    latest = list(range(1100, 1000, -1))
    _, sweeps = listing(*latest)
    read(sweeps, sweeps.plan(1001, 0.0), latest, 0.0)
    for _ in range(20):
        if (sweep := sweeps.plan(1095, 0.0)) is not None:
            sweeps.learn(sweep, latest[:SIZE], 0.0)
            sweeps.went(sweep, 0, 0, 0.0)
    assert sweeps.plan(1095, 0.0) is None


def test_good_sweeps_outweigh_strikes() -> None:
    """A sign against the list is forgotten when the next page is as it should be."""
    latest = list(range(1100, 1000, -1))
    _, sweeps = listing(*latest)
    read(sweeps, sweeps.plan(1001, 0.0), latest, 0.0)
    for _ in range(3 * STRIKES):
        sweep = sweeps.plan(1095, 0.0)
        assert sweep is not None
        sweeps.learn(sweep, latest[:SIZE], 0.0)
        sweeps.went(sweep, 2, 3, 0.0)
        read(sweeps, sweeps.plan(1095, 0.0), latest, 0.0)
    assert sweeps.plan(1095, 0.0) is not None


def test_an_id_that_the_list_does_not_hold_is_asked_for() -> None:
    """Who was missing where the list should show it is not looked for there again."""
    latest = list(range(1100, 1000, -1))
    registry, sweeps = listing(*latest)
    read(sweeps, sweeps.plan(1001, 0.0), latest, 0.0)
    registry.listed[registry.rows[1095]] = MISSED
    assert sweeps.plan(1095, 0.0) is None
    assert 1095 not in (sweeps.plan(1096, 0.0) or Sweep(0, (), deeper=False, at=0.0)).task_ids


def test_few_due_ids_wait_for_others_of_their_page() -> None:
    """An ID that is due alone on a page of many waits a little; where most are due it does not."""
    latest = list(range(1100, 1000, -1))
    registry, sweeps = listing(*latest)
    read(sweeps, sweeps.plan(1001, 0.0), latest, 0.0)
    assert not sweeps.holds(1095, 0.0)
    for task_id in latest:
        registry.due[registry.rows[task_id]] = 100.0
    registry.due[registry.rows[1095]] = 0.0
    assert sweeps.holds(1095, 0.0)
    assert sweeps.plan(1095, 0.0) is None


def test_what_is_kept_of_the_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a list without end only the newest IDs are kept."""
    assert KEPT >= 100_000
    monkeypatch.setattr("omgmj.scheduler.list_positions.KEPT", 50)
    latest = list(range(1200, 1000, -1))
    _, sweeps = listing(*latest)
    for _ in range(5):
        if (sweep := sweeps.plan(1001, 0.0)) is not None:
            read(sweeps, sweep, latest, 0.0)
    assert list(sweeps._positions._known) == list(range(1151, 1201))
    assert len(sweeps._positions._anchors) == 3


def test_an_id_that_may_not_exist_moves_nothing() -> None:
    """An ID far beyond the newest is asked for singly until it was seen, and the list stays where it is."""
    latest = list(range(1100, 1000, -1))
    _, sweeps = listing(*latest, 10**9, 1110)
    read(sweeps, sweeps.plan(1001, 0.0), latest, 0.0)
    assert sweeps.plan(10**9, 0.0) is None
    near = sweeps.plan(1110, 0.0)
    assert near is not None
    assert near.page == 1
    assert sweeps.plan(10**9, 0.0) is None


def test_pages_that_fail_in_passing_rest_only_where_they_are_many() -> None:
    """One page in five may fail, and nothing is forgotten; where half of them do the list is left alone for a while."""
    latest = list(range(1100, 1000, -1))
    _, sweeps = listing(*latest)
    for number in range(100):
        sweep = sweeps.plan(1050, 0.0)
        assert sweep is not None
        if number % 5:
            read(sweeps, sweep, latest, 0.0)
        else:
            sweeps.broke(sweep, 0.0)
    for _ in range(20):
        if (sweep := sweeps.plan(1050, 0.0)) is not None:
            sweeps.broke(sweep, 0.0)
    assert sweeps.plan(1050, REST - 1) is None
    again = sweeps.plan(1050, REST)
    assert again is not None
    assert not again.deeper


def test_pages_that_are_read_deeper_are_more_at_once_as_they_pay() -> None:
    """One deeper page is out at first, and one more for each that paid; meanwhile who may be on them waits."""
    latest = list(range(2000, 1000, -1))
    _, sweeps = listing(*latest)
    first = sweeps.plan(1001, 0.0)
    assert first is not None
    assert sweeps.plan(1001, 0.0) is None
    assert sweeps.awaited_until(1001, 0.0) == DEEPER_HOLD
    read(sweeps, first, latest, 1.0)
    assert sweeps.awaited_until(1001, 1.0) < 1.0
    out = [sweeps.plan(1001, 1.0) for _ in range(3)]
    assert [sweep and sweep.page for sweep in out] == [2, 3, None]
    assert sweeps.awaited_until(1001, 1.0) == 1.0 + DEEPER_HOLD
    assert sweeps.awaited_until(1990, 1.0) < 1.0


def test_an_empty_page_stops_reading_deeper_for_a_moment_only() -> None:
    """A page with nothing new may be an accident: the next is read after seconds, later each time in vain."""
    latest = list(range(1100, 1000, -1))
    _, sweeps = listing(*latest)
    now, pause = 0.0, YOUNG
    for _ in range(3):
        read(sweeps, sweeps.plan(1001, now), [], now)
        assert sweeps.plan(1001, now + pause - 1) is None
        now, pause = now + pause, 2 * pause
    assert sweeps.plan(1001, now) is not None


def test_who_is_on_a_page_that_is_out_waits_for_it() -> None:
    """An ID whose page is under way is not asked for beside it."""
    latest = list(range(1100, 1000, -1))
    _, sweeps = listing(*latest)
    read(sweeps, sweeps.plan(1001, 0.0), latest, 0.0)
    sweep = sweeps.plan(1095, 0.0)
    assert sweep is not None
    assert sweeps.holds(1094, 0.0)
    read(sweeps, sweep, latest, 0.5)
    assert not sweeps.holds(1094, 0.5)


def test_a_failed_page_is_not_out_any_more() -> None:
    """A page that could not be read can be planned again; what failed it counts as it is told to."""
    latest = list(range(1100, 1000, -1))
    _, sweeps = listing(*latest)
    for strikes in (0, 1):
        sweep = sweeps.plan(1001, 0.0)
        assert sweep is not None
        sweeps.failed(sweep, 0.0, strikes=strikes)
    assert sweeps.plan(1001, 0.0) is not None


def test_a_new_id_waits_for_others_where_the_first_page_was_read_just_now() -> None:
    """An ID that page 1 did not show a moment ago was made since: it waits until its page is full, others do not."""
    latest = list(range(1100, 1000, -1))
    registry, sweeps = listing(*latest, *range(1101, 1200))
    assert not sweeps.holds_new(1101, 0.0)  # the list was not read yet
    read(sweeps, sweeps.plan(1001, 0.0), latest, 0.0)
    assert not sweeps.holds_new(1100, 1.0)
    assert not sweeps.holds_new(1101, YOUNG + 1)
    for task_id in latest:
        registry.due[registry.rows[task_id]] = 100.0
    assert [sweeps.holds_new(1100 + n, 1.0) for n in range(1, NEW_PAYS + 1)] == [True] * (NEW_PAYS - 1) + [False]
    sweep = sweeps.plan(1101, 1.0)
    assert sweep is not None
    assert sweeps.holds_new(1102, 1.0)  # its page is out
    sweeps.strike(1.0, times=STRIKES)
    assert not sweeps.holds_new(1103, 1.0)


def test_new_ids_have_the_first_page_read_even_alone() -> None:
    """A single new ID is polled by page 1 once in a while, as that costs no more; otherwise it is asked for."""
    latest = list(range(1100, 1000, -1))
    registry, sweeps = listing(*latest, 1101, 1102)
    read(sweeps, sweeps.plan(1001, 0.0), latest, 0.0)
    for task_id in latest:
        registry.due[registry.rows[task_id]] = 100.0
    registry.due[registry.rows[1102]] = 100.0
    assert sweeps.plan(1101, 1.0) is None
    assert sweeps.plan(1101, YOUNG + 1) == Sweep(1, (1101,), deeper=False, at=YOUNG + 1)


@pytest.mark.parametrize(("asked", "since", "rests"), [(2, 0.0, True), (1, 0.0, False), (2, 1.0, False)])
def test_a_first_page_that_lacks_what_query_showed_lags_behind(asked: int, since: float, *, rests: bool) -> None:
    """Where page 1 does not show new IDs that have long been there, the list is left alone; one ID proves nothing."""
    latest = list(range(1100, 1000, -1))
    registry, sweeps = listing(*latest, 1101, 1102, 1103)
    read(sweeps, sweeps.plan(1001, 0.0), latest, 0.0)
    for task_id in (1101, 1102, 1103)[:asked]:
        sweeps._positions.expect(task_id, 0.5)
        registry.answers[registry.rows[task_id]] = 1
        registry.first[registry.rows[task_id]] = since
    sweeps._positions.expect(1103, 0.5)
    now = LAG + 0.5
    read(sweeps, Sweep(1, (1090,), deeper=False, at=now), latest, now)
    assert (sweeps.plan(1050, now) is None) is rests


def test_a_page_that_is_out_is_not_read_once_more_for_older_ids() -> None:
    """Where the list was thought to have moved and had not, the next older page is out already: it is waited for."""
    latest = list(range(1100, 1000, -1))
    _, sweeps = listing(*latest, 1110)
    read(sweeps, sweeps.plan(1001, 0.0), latest, 0.0)
    sweep = sweeps.plan(1110, 0.0)
    assert sweep is not None
    out = sweeps.plan(1085, 0.0)
    assert out is not None
    assert out.page == 2
    for _ in range(10):
        sweeps.learn(sweep, latest[:SIZE], 0.0)
    assert sweeps.plan(1001, 0.0) is None
    sweeps.learn(out, latest[SIZE : 2 * SIZE], 0.0)
    assert sweeps.plan(1001, 0.0) == Sweep(3, (1001,), deeper=True, at=0.0)
