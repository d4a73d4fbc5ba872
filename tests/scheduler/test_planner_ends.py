"""How a wait ends: final records, timeouts, stalls."""

from __future__ import annotations

import attrs
import pytest

from omgmj.backoff import Facts, Fixed
from omgmj.errors import RateLimited
from omgmj.models import Status, Task
from omgmj.protocol.failures import Meaning
from omgmj.scheduler.planner import Ended, Why
from omgmj.scheduler.registry import Subscription
from tests.scheduler.bench import BLIP, MISSING, NEVER, Bench, record, whys


def test_an_unknown_word_goes_on_and_the_stall_limit_ends_it() -> None:
    """An unknown status word is no end and no failure: it is asked on, and `stall` ends the wait."""
    bench = Bench()
    one = bench.watch(1, stall=60.0)
    assert bench.found("UPSCALING").moved
    while not (seen := bench.found("UPSCALING")).ended:
        assert not seen.moved
        assert seen.waiting == (one,)
    assert whys(seen.ended) == [Why.STALLED]
    assert 60 <= bench.now < 62.1
    assert bench.planner.registry.watched == 0


def test_an_unknown_word_with_a_finish_time_ends_the_wait() -> None:
    """A finish time set ends an unknown word."""
    bench = Bench()
    one = bench.watch(1)
    bench.found("UPSCALING", 50)
    seen = bench.found("UPSCALED", finished=True)
    assert seen == (True, (one,), [])
    assert bench.due == NEVER


def test_an_unknown_word_can_be_followed_by_known_ones() -> None:
    """An unknown word has no place in the order: what was known before still does not come back."""
    bench = Bench()
    bench.watch(1)
    assert bench.found("IN_PROGRESS", 50).moved
    assert bench.found("UPSCALING", 60).moved
    assert not bench.found("SUBMITTED", 0).moved
    assert not bench.found("IN_PROGRESS", 50).moved
    assert bench.found("IN_PROGRESS", 70).moved


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE", "CANCEL"])
def test_every_terminal_word_ends_the_wait(status: str) -> None:
    """The terminal words are those of the one table, success and failure alike."""
    bench = Bench()
    one = bench.watch(1)
    assert bench.found(status) == (True, (one,), [])
    assert bench.planner.registry.watched == 0


def test_a_timeout_bounds_the_wait_and_tells_what_was_seen() -> None:
    """`timeout` bounds the whole wait, and its end carries the ID, the last record and the number of polls."""
    bench = Bench()
    one = bench.watch(7, timeout=9.0)
    while bench.due < bench.planner.registry.next_deadline:
        bench.found("IN_PROGRESS", 15)
    assert bench.planner.expire(8.9) == []
    (ended,) = bench.planner.expire(bench.planner.registry.next_deadline)
    assert ended == (one, 7, Why.TIMEOUT, None, 5, record(7, "IN_PROGRESS", 15).source)
    assert bench.planner.registry.next_deadline == bench.due == NEVER


def test_a_timeout_during_a_poll_lets_it_come_home() -> None:
    """When time is over while a poll is out, the wait ends at once and the poll comes home to nobody (invariant 3)."""
    bench = Bench()
    bench.watch(7, timeout=1.0)
    bench.poll()
    assert whys(bench.planner.expire(1.0)) == [Why.TIMEOUT]
    assert bench.planner.due_queue.in_flight == 1
    assert bench.saw(record(7)) == (False, (), [])
    assert bench.planner.due_queue.in_flight == 0


def test_a_timeout_tells_of_the_failed_poll_before_it() -> None:
    """A wait whose polls failed says so when its time is over."""
    bench = Bench()
    bench.watch(7, timeout=9.0)
    bench.fail(BLIP, Meaning.TRANSIENT)
    (ended,) = bench.planner.expire(9.0)
    assert (ended.why, str(ended.error), ended.polls, ended.last) == (Why.TIMEOUT, str(BLIP), 1, None)


def test_a_timeout_of_zero_is_one_poll() -> None:
    """A timeout of 0 is one poll: whatever it finds, the wait is over after it."""
    bench = Bench()
    for status in ("IN_PROGRESS", "SUCCESS"):
        one = bench.watch(1, timeout=0)
        assert bench.planner.registry.next_deadline == NEVER
        seen = bench.found(status)
        assert whys(seen.ended) == ([Why.TIMEOUT] if status == "IN_PROGRESS" else [])
        assert seen.waiting == (() if status == "IN_PROGRESS" else (one,))
        assert bench.due == NEVER
    bench.watch(1, timeout=0)
    (ended,) = bench.fail(MISSING, Meaning.UNKNOWN)
    assert (ended.why, ended.error) == (Why.TIMEOUT, MISSING)


def test_a_429_is_a_poll_too_for_a_wait_of_one_poll() -> None:
    """A wait of one poll does not outlast a rate that is too high: a poll that is put off ends it, others go on."""
    bench = Bench()
    steady, quick = bench.watch(1), bench.watch(1, timeout=0)
    error = RateLimited("slowly")
    (ended,) = bench.fail(error, Meaning.PACED)
    assert (ended.subscription, ended.why, ended.error) == (quick, Why.TIMEOUT, error)
    assert bench.due == bench.now
    assert bench.found("IN_PROGRESS").waiting == (steady,)


def test_a_wait_of_one_poll_does_not_wait_for_the_schedule_of_another() -> None:
    """Who wants one poll of an ID that another waits for gets it now; the other goes on."""
    bench = Bench()
    slow = bench.watch(1, policy=Fixed(500.0))
    bench.found("IN_PROGRESS", 15)
    bench.now = 3.0
    quick = bench.watch(1, timeout=0)
    assert bench.planner.due_queue.heads[True].due == 3.0
    seen = bench.found("IN_PROGRESS", 31)
    assert [ended.subscription for ended in seen.ended] == [quick]
    assert seen.waiting == (slow,)
    assert bench.due == 503.0


def test_a_live_job_is_not_stalled() -> None:
    """`stall` is apart from `timeout`: a job that moves, however slowly, is not cut off."""
    bench = Bench()
    bench.watch(1, policy=Fixed(50.0), stall=60.0)
    for progress in range(100):
        seen = bench.found("IN_PROGRESS", progress)
        assert seen.moved
        assert not seen.ended
    assert bench.now > 4900


def test_an_outage_is_no_stall() -> None:
    """An hour in which nobody succeeds counts for no stall, be it of an ID that was probed or of one that was not."""
    bench = Bench()
    probed, other = (bench.watch(i, policy=Fixed(10.0), stall=60.0) for i in (1, 2))
    while bench.due < 20:
        bench.found("IN_PROGRESS", 15)
    bench.fail(BLIP, Meaning.TRANSIENT, outage=True)
    bench.now += 3600
    bench.fail(BLIP, Meaning.TRANSIENT, outage=True)
    bench.now += 10
    bench.planner.outage_over(bench.now)
    ends: dict[Subscription, float] = {}
    while bench.planner.registry.watched:
        ends.update({ended.subscription: bench.now for ended in bench.found("IN_PROGRESS", 15).ended})
    assert set(ends) == {probed, other}
    assert all(3670 <= at < 3690 for at in ends.values())


def test_a_failed_poll_now_and_then_keeps_no_stall_from_coming() -> None:
    """What fails while others succeed interrupts no stall: every second poll may fail, and it ends as soon."""
    bench = Bench()
    bench.watch(1, policy=Fixed(9.0), stall=60.0)
    bench.found("IN_PROGRESS", 15)
    while not (ended := bench.found("IN_PROGRESS", 15).ended):
        bench.fail(BLIP, Meaning.TRANSIENT)
    assert whys(ended) == [Why.STALLED]
    assert 60 <= bench.now < 71


def test_who_comes_late_to_a_quiet_task_gets_the_whole_stall() -> None:
    """`stall` counts per waiter from when it came, so a late one is not ended for what was before it."""
    bench = Bench()
    early = bench.watch(1, policy=Fixed(10.0), stall=60.0)
    bench.found("MODAL")
    while bench.now < 50:
        bench.found("MODAL")
    late = bench.watch(1, policy=Fixed(10.0), stall=60.0)
    ends = {}
    while bench.planner.registry.watched:
        ends.update({ended.subscription: bench.now for ended in bench.found("MODAL").ended})
    assert ends == {early: 60.0, late: 110.0}


def test_the_same_answer_again_counts_as_a_poll_that_found_no_change() -> None:
    """An answer that is the last one to the letter moves nothing, counts for the policy and for `stall`."""
    bench = Bench()
    seen: list[Facts] = []

    def policy(facts: Facts, _roll: float) -> float:
        seen.append(facts)
        return 10.0

    bench.watch(1, policy=policy, stall=30.0)
    bench.found("IN_PROGRESS", 15)
    ended: list[Ended] = []
    while not ended:
        ended = bench.planner.unchanged(bench.poll(), bench.now, 0.0, hint=1.0)
    assert whys(ended) == [Why.STALLED]
    assert [(facts.attempt, facts.changed, facts.hint) for facts in seen] == [(1, 0, None), (2, 10, 1), (3, 20, 1)]
    assert bench.planner.unchanged(7, 0.0, 0.0) == []


def test_time_ends_only_what_is_left_of_a_subscription() -> None:
    """When time is over for a subscription to many IDs, those that had come to their end are not ended again."""
    bench = Bench()
    bench.watch(1, 2, timeout=5.0)
    bench.watch(1, 3)
    bench.found("SUCCESS")
    bench.watch(1)
    assert [(one.task_id, one.why) for one in bench.planner.expire(5.0)] == [(2, Why.TIMEOUT)]
    assert bench.planner.registry.watched == 2


def test_all_whose_time_is_over_end_one_by_one() -> None:
    """Each call ends one subscription whose time is over, the earliest first, and none whose time is not."""
    bench = Bench()
    gone = [bench.watch(i, i + 10, timeout=5.0) for i in (1, 2)]
    bench.watch(3, timeout=6.0)
    for one in gone:
        assert bench.planner.registry.next_deadline == 5.0
        assert [ended.subscription for ended in bench.planner.expire(5.5)] == [one, one]
    assert bench.planner.expire(5.5) == []
    assert (bench.planner.registry.watched, bench.planner.registry.next_deadline) == (1, 6.0)


def test_an_outage_in_between_is_something_else() -> None:
    """`Of nothing else`: refusals before an outage are not added to those after it."""
    bench = Bench()
    bench.watch(1)
    bench.fail(MISSING, Meaning.UNKNOWN)
    bench.fail(MISSING, Meaning.UNKNOWN)
    bench.fail(BLIP, Meaning.TRANSIENT, outage=True)
    bench.now += 30
    bench.planner.outage_over(bench.now)
    assert bench.fail(MISSING, Meaning.UNKNOWN) == []
    assert bench.fail(MISSING, Meaning.UNKNOWN) == []
    assert whys(bench.fail(MISSING, Meaning.UNKNOWN)) == [Why.FAILED]


@pytest.mark.parametrize("polls", [0, 1])
@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("age", [None, 0.0, 40.0])
def test_a_final_record_ends_the_wait_whatever_times_it_tells(
    polls: int, *, finished: bool, started: bool, age: float | None
) -> None:
    """A final record may lack any of its times, at the first poll or later: the wait ends all the same."""
    bench = Bench()
    one = bench.watch(1)
    for _ in range(polls):
        task_id = bench.poll()
        bench.saw(record(task_id, "IN_PROGRESS", 50, started=started), age=age)
    task = record(bench.poll(), "FAILURE", finished=finished, started=started)
    assert bench.saw(task, age=age) == (True, (one,), [])


def test_what_was_quiet_before_somebody_came_anew_does_not_count() -> None:
    """All left while a poll was out and one came again: that it found nothing new is the first that this one hears."""
    bench = Bench()
    first = bench.watch(1)
    bench.found("IN_PROGRESS")
    bench.now = 50.0
    bench.poll()
    bench.planner.leave(first)
    bench.watch(1, policy=Fixed(10.0), stall=60.0)
    assert bench.planner.unchanged(1, bench.now, 0.0) == []
    while not (ended := bench.found("MODAL").ended):
        pass
    assert whys(ended) == [Why.STALLED]
    assert bench.now == 120.0


def bare(task_id: int = 1, kind: str | None = "IMAGINE") -> Task:
    """Return the record of a task that has succeeded, whose image is still to come."""
    return Task(task_id, Status.SUCCESS, kind=kind, source=b"bare")


def test_an_image_may_come_a_moment_after_its_task_has_succeeded() -> None:
    """A success without the image that its kind carries is polled again, and ends with the image."""
    bench = Bench()
    one = bench.watch(1)
    assert bench.saw(bare(bench.poll())).waiting == ()
    assert bench.due == bench.now + 2
    done = attrs.evolve(bare(bench.poll()), image_url="https://images.example/1.png")
    assert bench.saw(done) == (True, (one,), [])
    assert (bench.planner.registry.watched, bench.due) == (0, NEVER)


def test_an_image_that_does_not_come_holds_nobody_up_for_long() -> None:
    """After three more polls within 15 seconds the record is delivered as it is."""
    bench = Bench()
    one = bench.watch(1)
    for _ in range(3):
        assert bench.saw(bare(bench.poll())).waiting == ()
    assert bench.saw(bare(bench.poll())).waiting == (one,)
    assert 13 < bench.now < 15
    again = bench.watch(1)
    assert bench.saw(bare(bench.poll())).waiting == ()
    bench.now += 20
    assert bench.saw(bare(bench.poll())).waiting == (again,)


@pytest.mark.parametrize("kind", ["DESCRIBE", None, "SHORTEN"])
def test_what_carries_no_image_ends_at_once(kind: str | None) -> None:
    """A kind that makes no image, or that is not known, is not asked for one."""
    bench = Bench()
    one = bench.watch(1)
    assert bench.saw(bare(bench.poll(), kind)).waiting == (one,)


def test_one_poll_gets_the_record_as_it_is() -> None:
    """Who asked for one poll gets what it found, while others wait for the image."""
    bench = Bench()
    other = bench.watch(1)
    once = bench.watch(1, timeout=0)
    assert bench.saw(bare(bench.poll())) == (True, (once,), [])
    assert bench.due == bench.now + 2
    bench.planner.leave(other)
    assert bench.planner.registry.watched == 0
    bench.watch(1, timeout=0)
    assert bench.saw(bare(bench.poll())).moved
    assert bench.planner.registry.watched == 0
