"""What failed polls mean to those who wait: IDs given up, outages, probes, retries."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from omgmj.backoff import Fixed
from omgmj.errors import RateLimited, ServiceError
from omgmj.protocol.failures import Meaning
from omgmj.scheduler.circuit_breaker import CircuitBreaker
from omgmj.scheduler.planner import Ended, Why
from omgmj.scheduler.verdicts import FailedPoll, Failures, Whose
from tests.scheduler.bench import BLIP, MISSING, NEVER, RETRY, Bench, failed, record, whys


def test_one_bad_id_fails_alone() -> None:
    """One ID that the service does not know does not end the others of its batch."""
    bench = Bench()
    bench.watch(1, 2, 3)
    ended: list[Ended] = []
    while not ended:
        task_id = bench.poll()
        if task_id == 2:
            ended = bench.failed(2, MISSING, Meaning.UNKNOWN)
        else:
            bench.saw(record(task_id))
    assert [(one.task_id, one.why) for one in ended] == [(2, Why.FAILED)]
    assert bench.planner.registry.watched == 2


def fail_alone(bench: Bench, *, until: Callable[[], bool]) -> list[Ended]:
    """Let ID 1 fail and all others succeed until ID 1 is given up, or it is enough."""
    while not until():
        task_id = bench.poll()
        if task_id != 1:
            bench.saw(record(task_id))
        elif ended := bench.failed(1, BLIP, Meaning.TRANSIENT):
            return ended
    return []


def test_an_id_is_given_up_only_when_it_alone_fails_on_and_on() -> None:
    """An ID is given up after 8 failed polls in a row and 10 minutes while others succeed, no sooner."""
    bench = Bench()
    one = bench.watch(1)
    bench.watch(2, policy=Fixed(5.0))
    (ended,) = fail_alone(bench, until=lambda: bench.now > 1000)
    assert (ended.subscription, ended.task_id, ended.why, ended.error) == (one, 1, Why.FAILED, BLIP)
    assert ended.polls >= 8
    assert 600 <= bench.now < 625
    assert bench.planner.registry.watched == 1


@pytest.mark.parametrize("lasting", [0.0, 5000.0])
def test_an_outage_gives_an_id_as_much_longer(lasting: float) -> None:
    """The ten minutes of an ID that alone fails are those of service: an outage in between counts for nothing."""
    bench = Bench()
    bench.watch(1)
    bench.watch(2, policy=Fixed(5.0))
    assert fail_alone(bench, until=lambda: bench.now > 300) == []
    bench.planner.outage_began(bench.now)
    bench.now += lasting
    bench.planner.outage_over(bench.now)
    assert fail_alone(bench, until=lambda: bench.now > 590 + lasting) == []
    assert whys(fail_alone(bench, until=lambda: bench.now > 700 + lasting)) == [Why.FAILED]


def test_one_success_forgives_what_failed_before() -> None:
    """A failed poll is due again later, and one good poll makes the count begin anew."""
    bench = Bench()
    bench.watch(1)
    bench.watch(2, policy=Fixed(5.0))
    assert fail_alone(bench, until=lambda: bench.now > 590) == []
    while (task_id := bench.poll()) != 1:
        bench.saw(record(task_id))
    bench.saw(record(1))
    assert fail_alone(bench, until=lambda: bench.now > 1180) == []


def test_when_nobody_succeeds_nobody_is_given_up() -> None:
    """An outage uses up no ID's count of failures, be it as long as it will."""
    bench = Bench()
    bench.watch(*range(1, 6))
    for _ in range(8):
        assert bench.fail(BLIP, Meaning.TRANSIENT) == []
    for _ in range(200):
        before = bench.now
        assert bench.fail(BLIP, Meaning.TRANSIENT, outage=True) == []
        assert bench.now - before <= RETRY.cap
        bench.now += 30
    assert bench.now > 6000
    assert bench.planner.registry.watched == 5
    bench.planner.outage_over(bench.now)
    assert not any(failures.against for failures in bench.planner.verdicts.failures.values())
    assert bench.found("SUCCESS").moved
    for _ in range(4):
        # The service is back, and these fail once more: their failures in the outage do not add up with it.
        assert bench.fail(BLIP, Meaning.TRANSIENT) == []
    for _ in range(4):
        assert bench.found("SUCCESS").moved
    assert bench.planner.registry.watched == 0


def test_a_wait_in_an_outage_tells_of_the_outage() -> None:
    """Failures that are not counted are still what a wait tells of when its time is over."""
    bench = Bench()
    bench.watch(1, timeout=9.0)
    bench.fail(RateLimited("slowly"), Meaning.PACED)
    bench.fail(BLIP, Meaning.TRANSIENT, outage=True)
    (ended,) = bench.planner.expire(9.0)
    assert (ended.why, str(ended.error)) == (Why.TIMEOUT, str(BLIP))


def drive(bench: Bench, breaker: CircuitBreaker, good: set[int], until: float) -> None:
    """Make the polls up to a time: the good ones succeed, the others fail, and each takes a moment."""
    while bench.due < until and not breaker.is_open:
        task_id = bench.poll()
        bench.now += 0.01
        if task_id in good:
            breaker.saw_success()
            bench.saw(record(task_id))
        else:
            verdict, ended = failed(bench.planner, FailedPoll(task_id, BLIP, Meaning.TRANSIENT, bench.now))
            breaker.saw_failure(bench.now, 0.0, blames=verdict.whose is not Whose.ID)
            assert ended == []


def test_bad_ids_do_not_open_the_circuit_breaker_while_others_succeed() -> None:
    """Seven IDs that always fail, many times between two polls of the good one, are no outage; all together are one."""
    bench, breaker = Bench(), CircuitBreaker()
    bench.watch(*range(1, 8))
    bench.watch(100, policy=Fixed(60.0))
    drive(bench, breaker, {100}, until=300.0)
    assert not breaker.is_open
    assert all(failures.count > 8 for failures in bench.planner.verdicts.failures.values())
    drive(bench, breaker, set(), until=600.0)
    assert breaker.is_open


def test_chance_chooses_the_probe() -> None:
    """In an outage any of those that are equally overdue may be the probe, alone, and the others stay due."""
    for fresh in (True, False):
        bench = Bench()
        bench.willing.pays = True
        ids = set(range(1, 11))
        bench.watch(*ids)
        if not fresh:
            for _ in ids:
                bench.found("IN_PROGRESS")
            bench.now = bench.due
        bench.planner._last_good = None
        chosen = []
        for step in range(10):
            twin = copy.deepcopy(bench.planner)
            task_id, due = twin.take(bench.now, fresh=fresh, probe=step / 10)
            chosen.append(task_id)
            others = set()
            while (twin.due_queue.heads[True].due if fresh else twin.due_queue.heads[False].due) < NEVER:
                others.add(twin.due_queue.take(bench.now, fresh=fresh)[0])
            assert due == bench.due
            assert others == ids - {task_id}
        assert set(chosen) == ids


def test_a_probe_goes_to_who_has_answered_and_not_to_many_that_nobody_knows() -> None:
    """IDs that nobody knows stand first, and the one that answered last has ended: another that answered is asked."""
    bench = Bench()
    bench.watch(1, 2, 3)
    for _ in range(3):
        bench.saw(record(bench.poll()))
    bench.watch(*range(100, 120))
    for _ in range(8):
        bench.failed(bench.poll(), MISSING, Meaning.UNKNOWN)
    last = bench.planner.proven(0.0)
    assert last is not None
    bench.planner.registry.due[bench.planner.registry.rows[last]] = NEVER  # It is under way.
    chosen = {bench.planner.proven(step / 10) for step in range(10)}
    assert chosen == {1, 2, 3} - {last}
    assert copy.deepcopy(bench.planner).take(bench.now, fresh=True, probe=0.0)[0] in chosen
    for task_id in {1, 2, 3} - {last}:
        bench.planner.verdicts.failures[task_id] = Failures()
    assert bench.planner.proven(0.5) is None


def test_the_first_probe_goes_to_who_answered_last() -> None:
    """In an outage the ID that was answered last is asked first, whenever it is due; only once, as it may fail too."""
    bench = Bench()
    bench.watch(*range(1, 11))
    for _ in range(10):
        good = bench.poll()
        bench.saw(record(good))
    twin = copy.deepcopy(bench.planner)
    assert twin.take(bench.now, fresh=False, probe=0.0) == (good, bench.now)
    twin.outage_began(bench.now)
    failed(twin, FailedPoll(good, BLIP, Meaning.TRANSIENT, bench.now))
    assert twin._last_good is None


def test_an_outage_ends_waits_of_one_poll() -> None:
    """In an outage the probe stands for all that wanted one poll only; the others go on."""
    bench = Bench()
    bench.watch(1)
    quick = bench.watch(2, 3, timeout=0)
    bench.poll()
    bench.planner.outage_began(0.0)
    ended = bench.failed(1, BLIP, Meaning.TRANSIENT)
    assert [(one.subscription, one.task_id, one.why, one.error) for one in ended] == [
        (quick, 2, Why.TIMEOUT, BLIP),
        (quick, 3, Why.TIMEOUT, BLIP),
    ]
    assert bench.planner.registry.watched == 1


def test_a_probe_for_nobody_still_ends_waits_of_one_poll() -> None:
    """A probe whose own waiter has left says as much about the service as any other."""
    bench = Bench()
    one = bench.watch(1)
    bench.poll()
    bench.planner.leave(one)
    bench.watch(2, timeout=0)
    bench.planner.outage_began(0.0)
    assert whys(bench.failed(1, BLIP, Meaning.TRANSIENT)) == [Why.TIMEOUT]


def test_failed_polls_are_due_again_later_each_time() -> None:
    """The retry policy spaces failed polls, and a single blip costs its first delay."""
    bench = Bench()
    bench.watch(1)
    times = []
    for _ in range(7):
        bench.fail(BLIP, Meaning.TRANSIENT)
        times.append(bench.due - bench.now)
    assert times == [1, 2, 4, 8, 16, 20, 20]


def test_an_error_that_asks_for_time_gets_it() -> None:
    """The Retry-After of a failed poll is respected, floored and capped."""
    bench = Bench()
    bench.watch(1)
    for hint, delay in ((7.0, 7.0), (0.0, 2.0), (1e9, 60.0)):
        bench.fail(ServiceError("busy", status=503, retry_after=hint), Meaning.TRANSIENT)
        assert bench.due - bench.now == delay


def test_not_found_is_believed_after_three_polls_over_ten_seconds() -> None:
    """`TaskNotFound` is believed after three polls over 10 s of nothing else, and each waiter gets it."""
    bench = Bench()
    first, second = bench.watch(1), bench.watch(1)
    assert bench.fail(MISSING, Meaning.UNKNOWN) == []
    assert bench.fail(MISSING, Meaning.UNKNOWN) == []
    assert bench.now == 5.0
    ended = bench.fail(MISSING, Meaning.UNKNOWN)
    assert bench.now == 10.0
    assert [(one.subscription, one.why, one.error, one.polls) for one in ended] == [
        (first, Why.FAILED, MISSING, 3),
        (second, Why.FAILED, MISSING, 3),
    ]
    assert bench.due == NEVER


def test_a_task_that_is_found_late_is_waited_for() -> None:
    """An ID asked for right after it was made, and not found for a moment, is waited for all the same."""
    bench = Bench()
    one = bench.watch(1)
    bench.fail(MISSING, Meaning.UNKNOWN)
    bench.fail(MISSING, Meaning.UNKNOWN)
    assert bench.found("NOT_START") == (True, (one,), [])
    assert bench.fail(MISSING, Meaning.UNKNOWN) == []
    assert bench.found("SUCCESS").waiting == (one,)


def test_a_poll_that_came_to_nothing_is_due_at_once() -> None:
    """A poll that failed through no fault of the service or the ID is made again at once, and counts as no failure."""
    bench = Bench()
    bench.watch(1)
    for _ in range(20):
        bench.poll()
        bench.planner.again(1, bench.now)
    assert (bench.due, bench.now) == (0.0, 0.0)
    assert bench.planner.registry.watched == 1
