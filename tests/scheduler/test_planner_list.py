"""The list: which IDs are polled with one page, and what a page proves."""

from __future__ import annotations

import copy
import json
import math
from unittest.mock import patch

import pytest

from omgmj.backoff import Adaptive, Fixed
from omgmj.backoff.residual_life import Lived
from omgmj.errors import RateLimited
from omgmj.models import Kind, Task
from omgmj.protocol.callbacks import Callback
from omgmj.protocol.failures import Meaning
from omgmj.protocol.messages import PAGE_MOST
from omgmj.scheduler.due_queue import TICKS
from omgmj.scheduler.list_trust import LAG, STRIKES
from omgmj.scheduler.planner import Ended, Found, Planner, Why
from omgmj.scheduler.registry import Subscription
from omgmj.scheduler.sweep_plan import FEW, HOLD, Sweep, SweepPlan
from tests.scheduler.bench import MISSING, NEVER, RETRY, Bench, Sink, record, whys


def test_what_is_due_on_one_page_is_polled_with_one_request() -> None:
    """IDs of one page of the list that are due together go out together, and the page's records come home to each."""
    planner = Planner(RETRY)
    ids = tuple(range(1, PAGE_MOST + 1))
    waiter = Subscription(Sink(), ids, Fixed(2.0), 0.0, None, None)
    planner.watch(waiter, 0.0, 0.0)
    for task_id in ids:
        assert planner.due_queue.take(0.0, fresh=True)[0] == task_id
        planner.saw(Found(record(task_id)), 0.0, 0.0, poll=True)
    planner.sweep_plan.on_page(Sweep(1, (), deeper=True, at=0.0), ids[::-1], 0.0)
    assert planner.advance(2.0)[1] == 2.0
    sweep, due = planner.take(2.0, fresh=False)
    assert isinstance(sweep, Sweep)
    assert (sweep.page, sorted(sweep.task_ids), due) == (1, list(ids), 2.0)
    assert planner.due_queue.in_flight == len(ids)
    assert planner.advance(2.0)[1] == NEVER
    for task_id in ids:
        found = Found(record(task_id, "IN_PROGRESS", 15), asked_at=2.5)
        seen = planner.saw_listed(found, 2.5, 0.0, poll=True)
        assert seen == (True, (waiter,), [])
    assert planner.due_queue.in_flight == 0
    assert planner.advance(2.5)[1] == 4.5


@pytest.mark.parametrize("absent", [False, True])
def test_whom_a_page_does_not_show_is_asked_for_singly_at_once(absent: bool) -> None:
    """An ID that its page fails to show is due at once, and goes alone although a page would pay."""
    bench = Bench()
    bench.watch(1, 2)
    bench.willing.pays = True
    poll, _ = bench.planner.take(0.0, fresh=True)
    assert isinstance(poll, Sweep)
    assert set(poll.task_ids) == {1, 2}
    bench.now = 0.5
    bench.planner.missed(1, 0.5, absent=absent)
    bench.listed(record(2), poll=True)
    assert bench.planner.advance(0.5)[1] == 0.5
    assert bench.planner.take(0.5, fresh=False) == (1, 0.5)
    assert bench.saw(record(1)).moved
    bench.now = bench.due
    assert isinstance(bench.planner.take(bench.now, fresh=False)[0], Sweep)


def test_who_slid_to_another_page_is_looked_for_there_once() -> None:
    """An ID whose page moved on may be read from another page at once; where that fails too, it is asked for singly."""
    bench = Bench()
    bench.watch(1, 2)
    bench.willing.pays = True
    bench.planner.take(0.0, fresh=True)
    bench.listed(record(2), poll=True)
    bench.planner.missed(1, 0.0, absent=False, slid=True)
    bench.willing.is_holding = True
    assert bench.planner.advance(0.0)[1] == 0.0  # it has waited long enough
    poll, _ = bench.planner.take(0.0, fresh=False)
    assert isinstance(poll, Sweep)
    bench.planner.missed(1, 0.0, absent=False, slid=True)
    assert bench.planner.take(0.0, fresh=False) == (1, 0.0)
    bench.saw(record(1))
    bench.poll()
    bench.planner.missed(1, bench.now, absent=False, slid=True)
    assert isinstance(bench.planner.take(bench.now, fresh=False)[0], Sweep)  # by then that is forgotten


def test_a_few_ids_wait_for_no_page() -> None:
    """Where the list is not in use an ID that is due is polled, however much a page would show."""
    bench = Bench()
    bench.planner.sweep_plan = SweepPlan(bench.planner.registry)
    bench.watch(1)
    assert bench.planner.advance(0.0) == (0.0, NEVER)
    assert bench.planner.take(0.0, fresh=True) == (1, 0.0)


def test_the_first_page_teaches_once() -> None:
    """While no end was seen the first of a few IDs that are due is looked for on the first page; but only once."""
    bench = Bench()
    bench.planner.sweep_plan = SweepPlan(bench.planner.registry)
    bench.watch(1, 2, policy=Adaptive())
    page, _ = bench.planner.take(0.0, fresh=True)
    assert isinstance(page, Sweep)
    assert (page.page, page.task_ids) == (1, (1,))
    assert bench.planner.take(0.0, fresh=True) == (2, 0.0)
    bench.planner.missed(1, 0.0, absent=False)
    assert bench.planner.take(0.0, fresh=False) == (1, 0.0)


def test_a_policy_that_wraps_the_default_one_learns_from_the_next_poll_on() -> None:
    """What a function goes by shows when it was asked."""
    bench = Bench()
    bench.planner.sweep_plan = SweepPlan(bench.planner.registry)
    default = Adaptive()
    bench.watch(1, policy=lambda facts, roll: 1.0 * default(facts, roll))
    assert bench.poll() == 1
    bench.saw(record(1))
    bench.now = bench.due
    assert isinstance(bench.planner.take(bench.now, fresh=False)[0], Sweep)


def taught() -> dict[str, object]:
    """Return what was learned of one task."""
    life = Bench().planner.learning
    life.life.learn_told(("FAST", None), 40.0)
    life.life.learn(("FAST", None), Lived([], 0.0, 40.0, 41.0, 40.5))
    return life.dump()


@pytest.mark.parametrize("why", ["one poll", "another policy", "an end was seen", "left alone", "a page is out"])
def test_where_no_page_teaches(why: str) -> None:
    """Not who wants one poll only, or goes by nothing; nor where ends tell already, or the page cannot be had."""
    bench = Bench()
    plan = bench.planner.sweep_plan = SweepPlan(bench.planner.registry, enabled=why != "left alone")
    if why == "an end was seen":
        bench.planner.learning.restore(json.loads(json.dumps(taught())))
    if why == "a page is out":
        bench.watch(7, policy=Adaptive())
        assert plan.plan_first(7, 0.0) is not None
        assert bench.planner.take(0.0, fresh=True) == (7, 0.0)
    bench.join(
        1, timeout=0 if why == "one poll" else None, policy=Fixed(2.0) if why == "another policy" else Adaptive()
    )
    assert bench.planner.take(0.0, fresh=True) == (1, 0.0)


def test_where_many_are_watched_pages_are_read_anyway() -> None:
    """No page is read for what it teaches alone."""
    bench = Bench()
    plan = bench.planner.sweep_plan = SweepPlan(bench.planner.registry)
    bench.watch(*range(1, FEW + 1), policy=Adaptive())
    assert plan.is_in_use(0.0)
    bench.planner.take(0.0, fresh=True)
    assert bench.planner.learning.wants_page


def test_due_ids_wait_for_pages_that_are_read_deeper(monkeypatch: pytest.MonkeyPatch) -> None:
    """While such a page is awaited nobody is polled that it may show, and no due time is changed."""
    bench = Bench()
    monkeypatch.setattr(bench.willing, "awaited_until", lambda _task_id, _now: 3.0)
    bench.watch(1)
    assert bench.planner.advance(0.0) == (3.0, NEVER)
    assert bench.due == 0.0
    assert bench.planner.advance(3.0) == (0.0, NEVER)


def test_a_first_poll_waits_a_little_for_others_that_are_as_new() -> None:
    """First polls are held once where the list says so, but not for who wants one poll only, and no pushed ones."""
    bench = Bench()
    bench.willing.is_holding = True
    bench.watch(1)
    assert bench.planner.advance(0.0)[0] == HOLD
    bench.join(2, timeout=0)
    assert bench.planner.advance(0.0)[0] == 0.0
    assert bench.poll() == 2
    bench.planner.due_queue.push(1, 0.0)
    assert bench.planner.advance(0.0)[0] == 0.0
    assert bench.poll() == 1


def test_newcomers_do_not_have_a_first_poll_held_again_and_again() -> None:
    """A first poll that is held for its page goes when its time is over, however many come to wait meanwhile."""
    bench = Bench()
    bench.willing.is_holding = True
    while bench.now < HOLD:
        bench.watch(1)
        assert bench.planner.advance(bench.now)[0] == HOLD
        bench.now += 0.5
    assert bench.planner.advance(bench.now)[0] == HOLD
    assert bench.poll() == 1


def test_an_id_that_only_pages_show_is_given_up() -> None:
    """What pages show forgives no failed query: an ID for which asking fails on and on comes to its end."""
    bench = Bench()
    bench.watch(1)
    bench.found("IN_PROGRESS", 10)
    ended: list[Ended] = []
    for progress in range(11, 99):
        bench.planner.verdicts.on_page(bench.now)
        ended = bench.fail(MISSING, Meaning.UNKNOWN)
        if ended:
            break
        bench.now += 1.0
        assert bench.listed(record(1, "IN_PROGRESS", progress), poll=False) is not None
        bench.now += 10.0
    assert whys(ended) == [Why.FAILED]
    assert ended[0].error is MISSING
    assert 600 < bench.now < 630


def test_a_page_forgives_what_says_nothing_about_the_id() -> None:
    """A poll that the rate or an outage failed is forgotten when a page shows the ID."""
    bench = Bench()
    bench.watch(1, timeout=60.0)
    bench.fail(RateLimited("slowly", status=429), Meaning.PACED)
    assert bench.listed(record(1), poll=False) is not None
    assert [one.error for one in bench.planner.expire(60.0)] == [None]


def test_who_waits_for_a_first_poll_is_confirmed_in_that_class() -> None:
    """A page that shows a waiting new ID as done, by the way, does not move it behind the polls."""
    bench = Bench()
    bench.watch(1, 2)
    bench.willing.pays = True
    assert bench.listed(record(2, "SUCCESS"), poll=False) is None
    assert (bench.planner.due_queue.heads[True].due, bench.planner.due_queue.heads[False].due) == (0.0, NEVER)
    assert bench.planner.take(0.0, fresh=True)[0] == Sweep(1, (1,), deeper=False, at=0.0)
    assert bench.planner.take(0.0, fresh=True) == (2, 0.0)


def test_who_left_is_missed_by_nobody() -> None:
    """A page comes home for IDs whose waiters left meanwhile, whether it shows them or not, and nothing is due."""
    bench = Bench()
    one = bench.watch(1, 2)
    bench.willing.pays = True
    bench.planner.take(0.0, fresh=True)
    bench.planner.leave(one)
    bench.planner.missed(1, 0.0, absent=True)
    assert bench.listed(record(2), poll=True) is None
    assert bench.listed(record(3), poll=False) is None
    assert (bench.planner.due_queue.in_flight, bench.due) == (0, NEVER)


def test_an_id_that_callbacks_tell_of_is_expected_in_the_list() -> None:
    """Who is said to go on stands on a page, polled or not: not so one whose end is claimed, or that nobody watches."""
    bench = Bench()
    expected: list[int] = []
    bench.watch(1, 2)
    with patch.object(bench.willing, "expect", side_effect=lambda task_id, _now: expected.append(task_id)):
        for callback in (Callback(1, goes_on=True), Callback(2), Callback(3, goes_on=True)):
            bench.planner.hear(callback, 0.0, 0.0)
    assert expected == [1]


def test_a_pushed_id_is_polled_alone() -> None:
    """A page may lag behind the push: who was pushed goes alone and does not come along with others."""
    bench = Bench()
    bench.watch(1, 2, 3, policy=Fixed(60.0))
    for _ in range(3):
        bench.found("IN_PROGRESS")
    bench.willing.pays = True
    bench.now = 60.0
    bench.planner.due_queue.push(2, 60.0)
    poll, _ = bench.planner.take(60.0, fresh=False)
    assert isinstance(poll, Sweep)
    assert set(poll.task_ids) == {1, 3}
    assert bench.planner.take(60.0, fresh=True) == (2, 60.0)


def test_a_due_id_waits_a_little_for_others_of_its_page_and_then_goes() -> None:
    """A due ID is held once and not for long, however often somebody joins; one that is late already is not held."""
    bench = Bench()
    bench.watch(1)
    bench.found("IN_PROGRESS")
    bench.willing.is_holding = True
    until = 2.0 + math.ceil(HOLD * TICKS) / TICKS
    while bench.now < until:
        if bench.now >= 2.0:
            assert bench.planner.advance(bench.now)[1] == until
            bench.watch(1)
        bench.now += 0.25
    assert bench.planner.advance(bench.now)[1] == until
    assert bench.poll() == 1
    bench.found_at_home("IN_PROGRESS")
    due = bench.due
    late = due + 2 * HOLD
    assert bench.planner.advance(late)[1] == due


def test_only_advancing_holds() -> None:
    """Whoever reads when polls are due changes nothing; an ID is held when the planner is told to decide, and once."""
    bench = Bench()
    bench.watch(1)
    bench.willing.is_holding = True
    assert [bench.planner.due_queue.heads[True].due for _ in range(3)] == [0.0] * 3
    assert [bench.planner.overdue(0.0) for _ in range(3)] == [1] * 3
    assert [bench.planner.advance(0.0) for _ in range(3)] == [(HOLD, NEVER)] * 3
    assert bench.planner.due_queue.heads[True].due == HOLD


def test_what_a_page_is_no_answer_for_is_not_held() -> None:
    """Neither a poll that serves a push, nor what is to be asked for singly, waits for others of its page."""
    bench = Bench()
    bench.watch(1, policy=Fixed(0.5))
    bench.willing.is_holding = True
    for _ in range(2):
        bench.found("IN_PROGRESS")
        bench.planner.due_queue.push(1, 0.0)
    assert (bench.planner.due_queue.heads[True].due, bench.planner.advance(0.5)[1]) == (NEVER, 0.5)
    bench.poll()
    bench.planner.missed(1, 0.5, absent=True)
    assert bench.planner.advance(0.5)[1] == 0.5


def test_a_page_shows_news_of_ids_that_are_not_due() -> None:
    """What a page shows by the way counts where it is news, and changes nothing where it is not."""
    bench = Bench()
    one = bench.watch(1)
    bench.found("IN_PROGRESS", 15)
    bench.now = 1.0
    assert bench.listed(record(1, "IN_PROGRESS", 15), poll=False) is None
    assert bench.due == 2.0
    assert bench.listed(record(1, "IN_PROGRESS", 31), poll=False) == (True, (one,), [])
    assert bench.due == 3.0
    assert bench.listed(record(1, "SUCCESS", whole=True), poll=False) == (True, (one,), [])
    assert bench.planner.registry.watched == 0


def test_a_page_that_lags_behind_puts_nothing_off_and_speaks_against_the_list() -> None:
    """An earlier state on a page is no news: by the way it changes nothing, as an answer it is a poll without news.

    It speaks against the list where that is well behind another page, once for all records of a page.
    """
    bench = Bench()
    one = bench.watch(1, policy=Fixed(5.0))
    bench.poll()
    bench.listed(record(1, "IN_PROGRESS", 50), poll=True)
    for now, strikes in ((LAG, 0), (LAG + 0.1, 2), (LAG + 0.1, 2)):
        bench.now = now
        assert bench.listed(record(1, "IN_PROGRESS", 15), poll=False) is None
        assert (bench.due, bench.willing.strikes) == (5.0, strikes)
    bench.poll()
    assert bench.listed(record(1, "SUBMITTED"), poll=True) == (False, (one,), [])
    assert (bench.due, bench.willing.strikes) == (10.0, 4)


def test_a_page_that_is_well_behind_query_is_proof_against_the_list() -> None:
    """An earlier state than what was asked for singly some seconds before the page was is proof enough by itself."""
    bench = Bench()
    bench.watch(1, policy=Fixed(5.0))
    bench.found("IN_PROGRESS", 50)
    for now, strikes in ((LAG, 0), (LAG + 0.1, STRIKES)):
        bench.now = now
        assert bench.listed(record(1, "IN_PROGRESS", 15), poll=False) is None
        assert (bench.due, bench.willing.strikes) == (5.0, strikes)


def test_a_page_answers_for_an_id_that_is_due() -> None:
    """An ID that is due, and that a page shows by the way, needs no poll of its own, unless it was pushed."""
    bench = Bench()
    bench.watch(1, policy=Fixed(5.0))
    bench.found("IN_PROGRESS", 50)
    bench.now = 4.0
    assert bench.listed(record(1, "IN_PROGRESS", 50), poll=False) is None
    bench.now = 5.5
    assert bench.listed(record(1, "IN_PROGRESS", 50), poll=False) is not None
    assert bench.due == 10.5
    bench.planner.due_queue.push(1, bench.now)
    assert bench.listed(record(1, "IN_PROGRESS", 50), poll=False) is None
    assert bench.due == 5.5


def test_a_final_record_without_its_image_is_confirmed_by_asking() -> None:
    """Success without image or actions on a page is not the end yet: the ID is asked for singly, and at once."""
    bench = Bench()
    one = bench.watch(1, policy=Fixed(60.0))
    bench.willing.pays = True
    bench.poll()
    assert bench.listed(record(1, "SUCCESS"), poll=True) is None
    assert bench.planner.take(0.0, fresh=False) == (1, 0.0)
    assert bench.listed(record(1, "SUCCESS"), poll=False) is None  # a poll is out: it will tell
    assert bench.due == NEVER
    bench.found_at_home("IN_PROGRESS")
    bench.now = 9.0
    for _ in range(3):
        assert bench.listed(record(1, "SUCCESS"), poll=False) is None
        assert bench.due == 9.0  # however often pages show it, it does not lose its turn
        bench.now += 5.0
    assert bench.planner.take(bench.now, fresh=False) == (1, 9.0)
    assert bench.saw(record(1, "SUCCESS")).waiting == (one,)


def test_an_overdue_id_that_a_page_shows_as_done_keeps_its_turn() -> None:
    """An ID that was late before a page asked for its confirmation is not put behind those that are less late."""
    bench = Bench()
    bench.watch(1)
    bench.found("IN_PROGRESS")
    bench.now = 50.0
    assert bench.listed(record(1, "SUCCESS"), poll=False) is None
    assert bench.due == 2.0


@pytest.mark.parametrize(
    "task", [record(1, "SUCCESS", whole=True), record(1, "SUCCESS", kind=Kind.DESCRIBE), record(1, "FAILURE")]
)
def test_a_final_record_on_a_page_that_lacks_nothing_ends_the_wait(task: Task) -> None:
    """Success with image and actions, one of a kind that has none, and failure are the end, page or not."""
    bench = Bench()
    one = bench.watch(1)
    bench.poll()
    assert bench.listed(task, poll=True) == (True, (one,), [])
    assert bench.planner.registry.watched == bench.planner.due_queue.in_flight == 0


@pytest.mark.parametrize(
    ("ended_ago", "listed", "strikes"),
    [(None, True, 0), (10.0, True, 0), (10.0 + LAG, True, 0), (11.0 + LAG, True, 2), (99.0, False, 0)],
)
def test_a_page_that_showed_a_task_as_running_that_had_ended_is_not_trusted(
    ended_ago: float | None, *, listed: bool, strikes: int
) -> None:
    """A task that ended well before a page still showed it as running speaks against the list."""
    bench = Bench()
    bench.watch(1, policy=Fixed(10.0))
    bench.poll()
    if listed:
        bench.listed(record(1, "IN_PROGRESS"), poll=True)
    else:
        bench.found_at_home("IN_PROGRESS")
    bench.poll()
    assert bench.now == 10.0
    twin = copy.deepcopy(bench)
    assert bench.listed(record(1, "SUCCESS", whole=True), poll=True, ended_ago=ended_ago) is not None
    assert bench.willing.strikes == strikes
    twin.saw(record(1, "SUCCESS"), ended_ago=ended_ago)
    assert twin.willing.strikes == (STRIKES if strikes else 0)  # Asking for it is proof.
