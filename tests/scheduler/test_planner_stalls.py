"""Stalls: dated in service time, which outages leave out, and found when the limit passes."""

from __future__ import annotations

import pytest

from omgmj.backoff import Adaptive, Exponential, Fixed, Policy
from omgmj.protocol.failures import Meaning
from omgmj.scheduler.planner import Why
from omgmj.scheduler.progress import MIN_DELAY
from omgmj.scheduler.registry import Subscription
from tests.scheduler.bench import BLIP, MISSING, NEVER, TICK, Bench, Sink

STALL = 60.0
LAG = 2 * TICK + 1e-6
"""What a poll may be late for being rounded, at most."""


def ends(bench: Bench, status: str = "SUBMITTED") -> dict[Subscription, float]:
    """Have each poll find the same; return when each wait stalled."""
    found = {}
    while bench.planner.registry.watched:
        for one in bench.found(status).ended:
            assert one.why is Why.STALLED
            found[one.subscription] = bench.now
    return found


def outage(bench: Bench, seconds: float) -> None:
    """Have nobody succeed for so long from now on: what is due is a probe that fails."""
    back = bench.now + seconds
    bench.planner.outage_began(bench.now)
    while bench.due < back:
        bench.fail(BLIP, Meaning.TRANSIENT)
        bench.now = min(bench.now + 30, back)
    bench.now = back
    bench.planner.outage_over(bench.now)


@pytest.mark.parametrize("seconds", [600.0, 3000.0])
@pytest.mark.parametrize("policy", [Adaptive(), Fixed(7.0), Exponential()])
def test_a_task_made_here_and_waited_for_in_an_outage_stalls_in_time(policy: Policy, seconds: float) -> None:
    """The time of an outage is lost to nobody: the first wait for a task made here stalls as soon as any other."""
    bench = Bench()
    bench.planner.first_polls.created(1, bench.now)
    bench.planner.outage_began(bench.now)
    bench.now = 5.0
    one = bench.watch(1, policy=policy, stall=STALL)
    bench.fail(BLIP, Meaning.TRANSIENT)
    bench.now = seconds
    bench.planner.outage_over(bench.now)
    polls = bench.planner.registry.polls[0]
    assert ends(bench) == {one: pytest.approx(seconds + STALL, abs=LAG)}
    # The limit is no time to poll before it has come.
    assert bench.planner.registry.polls[0] - polls <= 1 + STALL / 0.5


@pytest.mark.parametrize("seconds", [[600.0], [3000.0], [50.0, 700.0, 20.0]])
@pytest.mark.parametrize("kind", ["seen", "unseen", "unknown", "failed", "made"])
def test_outages_put_a_stall_off_by_as_long_as_they_last(kind: str, seconds: list[float]) -> None:
    """Whatever is known of an ID when outages come, one after the other, its wait stalls that much later."""
    bench = Bench()
    if kind == "made":
        bench.planner.first_polls.created(1, bench.now)
    one = bench.watch(1, policy=Fixed(9.0), stall=STALL)
    seen = 0.0
    if kind in {"seen", "failed"}:
        bench.found("SUBMITTED")
    if kind == "failed":
        bench.fail(BLIP, Meaning.TRANSIENT)
    if kind == "unknown":
        bench.fail(MISSING, Meaning.TASK)
    for lasting in seconds:
        outage(bench, lasting)
        if kind in {"unseen", "unknown"} and not seen:
            bench.found("SUBMITTED")
            seen = bench.now - lasting
        bench.now += 1.0
    assert ends(bench) == {one: pytest.approx(seen + sum(seconds) + STALL, abs=LAG)}


def test_who_comes_in_an_outage_gets_the_whole_stall_from_its_end() -> None:
    """Waits that came before an outage, in it, early and late, and after it have the same seconds of service each."""
    bench = Bench()
    before = bench.watch(1, policy=Fixed(10.0), stall=STALL)
    bench.found("MODAL")
    bench.now = 20.0
    bench.planner.outage_began(bench.now)
    early = bench.watch(1, policy=Fixed(10.0), stall=STALL)
    bench.fail(BLIP, Meaning.TRANSIENT)
    bench.now = 900.0
    late, other = (bench.watch(task_id, policy=Fixed(10.0), stall=STALL) for task_id in (1, 2))
    bench.now = 1020.0
    bench.planner.outage_over(bench.now)
    bench.found("MODAL")
    after = bench.watch(1, policy=Fixed(10.0), stall=STALL)
    assert ends(bench, "MODAL") == pytest.approx(
        {before: 1060.0, early: 1080.0, late: 1080.0, other: 1080.0, after: 1080.0}, abs=LAG
    )


def test_an_outage_whose_end_nobody_waited_for_stalls_nobody() -> None:
    """Where all leave in an outage nothing is sent, so that its end shows late: that time counts for nobody either."""
    bench = Bench()
    one = bench.watch(1, stall=STALL)
    bench.found("MODAL")
    bench.fail(BLIP, Meaning.TRANSIENT, outage=True)
    bench.planner.leave(one)
    bench.now = 5000.0
    one = bench.watch(1, stall=STALL)
    bench.poll()
    bench.now = 5001.0
    bench.planner.outage_over(bench.now)
    bench.found_at_home("MODAL")
    assert ends(bench, "MODAL") == {one: pytest.approx(5001 + STALL, abs=LAG)}


@pytest.mark.parametrize("sure", [0.3, 2.0, 60.0])
@pytest.mark.parametrize("policy", [Adaptive(), Fixed(500.0), lambda _facts, _roll: 1e9])
def test_a_stall_is_found_when_it_comes(policy: Policy, sure: float) -> None:
    """A stall limit that passes before the policy polls again is a time to poll; that one poll ends the wait."""
    bench = Bench()
    one = bench.watch(1, policy=policy, stall=sure)
    bench.found("MODAL")
    polls = bench.planner.registry.polls[0]
    assert ends(bench, "MODAL") == {one: pytest.approx(sure, abs=LAG)}
    assert polls == 1
    assert bench.planner.registry.polls[0] <= 2 + sure / 18


def test_the_least_stall_limit_bounds_the_poll_of_all() -> None:
    """Of waits for one ID, with one policy or several, each ends at its own limit, in whatever order they came."""
    bench = Bench()
    policy = Fixed(500.0)
    limits = (40.0, 9.0, None, 3.0, 9.0)
    waits = [bench.watch(1, policy=policy, stall=limit) for limit in limits]
    waits.append(bench.watch(1, policy=Fixed(700.0), stall=20.0))
    bench.found("MODAL")
    bench.now = 1.0
    waits.append(bench.watch(1, policy=Fixed(900.0), stall=5.0))
    found: dict[Subscription, float] = {}
    while len(found) < 6:
        found.update({one.subscription: bench.now for one in bench.found("MODAL").ended})
    assert [found.get(one) for one in waits] == [40.0, 9.0, None, 3.0, 9.0, 20.0, 6.0]
    assert bench.due == 540.0


def test_a_change_puts_the_limit_off() -> None:
    """A task that moved when the limit came is polled again at the next one: no wait ends, and no poll is lost."""
    bench = Bench()
    bench.watch(1, policy=Fixed(500.0), stall=3.0)
    for progress in range(10):
        assert not bench.found("IN_PROGRESS", progress).ended
    assert bench.now == 27.0
    assert bench.found("IN_PROGRESS", 9).ended


def test_the_first_poll_of_a_task_made_here_is_bounded_too() -> None:
    """The service said that the task is there when it was made: where nothing more comes, the wait stalls in time."""
    bench = Bench()
    bench.planner.first_polls.created(1, bench.now)
    one = bench.watch(1, policy=Fixed(500.0), stall=2.0)
    assert bench.due == 2.0
    assert ends(bench) == {one: 2.0}


@pytest.mark.parametrize("meaning", [Meaning.TRANSIENT, Meaning.TASK])
def test_a_stall_limit_hastens_no_retry(meaning: Meaning) -> None:
    """A poll that failed tells of no stall: it is made again when the retry policy says, be the limit over or not."""
    bench = Bench()
    bench.watch(1, policy=Fixed(2.0), stall=0.5)
    twin = Bench()
    twin.watch(1, policy=Fixed(2.0))
    for _ in range(2):
        for one in (bench, twin):
            one.fail(BLIP, meaning)
        assert bench.due == twin.due
        assert bench.due > bench.now + 0.5


def test_a_stall_limit_cannot_spin() -> None:
    """The least delay between two polls holds for a limit that is about to pass, too."""
    bench = Bench()
    bench.watch(1, stall=0.001)
    bench.found("MODAL")
    assert bench.due - bench.now >= MIN_DELAY
    assert bench.found("MODAL").ended


def test_a_row_that_is_used_again_begins_afresh() -> None:
    """An ID that gets the row of another knows nothing of it: not its record, its polls, its time or its place."""
    bench = Bench()
    one = bench.watch(1, stall=STALL)
    for _ in range(3):
        bench.found("IN_PROGRESS", 50)
    bench.planner.missed(bench.poll(), bench.now, absent=True)
    bench.planner.leave(one)
    registry = bench.planner.registry
    bench.now = 40.0
    two = bench.watch(2, stall=STALL, sink=Sink())
    assert registry.rows == {2: 0}
    columns = (registry.polls, registry.answers, registry.rank, registry.progress, registry.listed, registry.last)
    assert [column[0] for column in columns] == [0, 0, -1, -1, 0, None]
    assert (registry.first[0], registry.moved[0], registry.quiet_since[0]) == (40.0, 40.0, 40.0)
    assert registry.seen[0] != registry.seen[0]
    assert registry.born[0] != registry.born[0]
    assert bench.found("IN_PROGRESS", 15) == (True, (two,), [])
    bench.planner.leave(two)
    assert (registry.due[0], registry.last[0]) == (NEVER, None)
