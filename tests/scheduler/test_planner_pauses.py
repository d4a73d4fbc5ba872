"""A pause of the process: it counts for no stall, and no deadline ends a wait before one poll more."""

from __future__ import annotations

import pytest

from omgmj.backoff import Fixed
from omgmj.protocol.failures import Meaning
from omgmj.scheduler.planner import Why
from omgmj.scheduler.registry import STALE
from tests.scheduler.bench import BLIP, NEVER, Bench, Sink, record, waits, whys

SLOW = Fixed(500.0)


def pause(bench: Bench, seconds: float) -> None:
    """Have the process do nothing for so long."""
    bench.now += seconds
    bench.planner.stood_still(bench.now, seconds)


def test_what_expired_in_a_pause_is_polled_once_more() -> None:
    """A wait whose time was over in a pause ends with the next poll: with the record, or without an end."""
    bench = Bench()
    one = bench.watch(1, 2, timeout=9.0, policy=SLOW)
    for _ in range(2):
        bench.found("IN_PROGRESS", 10)
    pause(bench, 60.0)
    assert bench.planner.expire(bench.now) == []
    assert bench.due <= bench.now
    assert bench.found("SUCCESS").waiting == (one,)
    assert whys(bench.found("IN_PROGRESS", 20).ended) == [Why.TIMEOUT]
    assert (bench.planner.registry.watched, bench.planner.registry.next_deadline) == (0, NEVER)


def test_what_is_out_may_be_from_before_the_pause() -> None:
    """A poll that was out in the pause, its failure too, ends nothing: one more goes out after it."""
    bench = Bench()
    bench.watch(1, timeout=9.0, policy=SLOW)
    bench.watch(2, timeout=9.0, policy=SLOW)
    first, second = bench.poll(), bench.poll()
    pause(bench, 60.0)
    for _ in range(2):
        assert bench.planner.expire(bench.now) == []
    assert bench.saw(record(first)).ended == []
    assert bench.failed(second, BLIP, Meaning.TRANSIENT) == []
    assert {bench.poll(), bench.poll()} == {first, second}
    assert whys(bench.saw(record(first)).ended) == [Why.TIMEOUT]
    (ended,) = bench.failed(second, BLIP, Meaning.TRANSIENT)
    assert (ended.why, ended.error) == (Why.TIMEOUT, BLIP)


def test_somebody_elses_record_is_no_poll_more() -> None:
    """A record that somebody else asked for before the pause ends no wait that has its poll still to come."""
    bench = Bench()
    bench.watch(1, timeout=9.0, policy=SLOW)
    bench.found("IN_PROGRESS", 10)
    pause(bench, 60.0)
    assert bench.planner.expire(bench.now) == []
    assert bench.saw(record(1, "IN_PROGRESS", 10), poll=False).ended == []
    assert bench.poll() == 1
    assert bench.saw(record(1, "IN_PROGRESS", 10), poll=False).ended == []
    assert whys(bench.found_at_home("IN_PROGRESS", 10).ended) == [Why.TIMEOUT]


@pytest.mark.parametrize("after", [STALE / 2, 2 * STALE])
def test_a_deadline_soon_after_a_pause(after: float) -> None:
    """A deadline after the pause asks for a poll too, unless one was made well after it; a wait that came later not."""
    bench = Bench()
    bench.watch(1, timeout=70.0, policy=SLOW)
    bench.found("IN_PROGRESS", 10)
    pause(bench, 60.0)
    bench.now += after
    bench.saw(record(1, "IN_PROGRESS", 10), poll=False)
    bench.now = 70.0
    ended = bench.planner.expire(bench.now)
    assert whys(ended) == ([] if after < STALE else [Why.TIMEOUT])
    late = bench.watch(2, timeout=3.0, policy=SLOW)
    assert [one.subscription for one in bench.planner.expire(bench.now + 3.0)] == [late]


def test_only_what_still_waits_is_polled() -> None:
    """IDs that were left, by this wait or by all, want no poll more."""
    bench = Bench()
    sink, other = Sink(), Sink()
    bench.watch(1, 2, 3, timeout=9.0, policy=SLOW, sink=sink)
    bench.watch(2, policy=SLOW, sink=other)
    for _ in range(3):
        bench.found("IN_PROGRESS", 10)
    bench.planner.drop(1, sink)
    bench.planner.drop(2, sink)
    pause(bench, 60.0)
    assert bench.planner.expire(bench.now) == []
    assert bench.poll() == 3
    assert whys(bench.saw(record(3)).ended) == [Why.TIMEOUT]
    assert waits(bench.planner, 2, other)
    assert bench.due > bench.now


@pytest.mark.parametrize("outage", [False, True])
def test_a_pause_counts_for_no_stall(outage: bool) -> None:
    """Nothing moves while nobody looks: a pause ends no wait by its stall limit, in an outage neither."""
    bench = Bench()
    bench.watch(1, stall=30.0)
    bench.found("IN_PROGRESS", 10)
    if outage:
        bench.planner.outage_began(bench.now)
    pause(bench, 3600.0)
    bench.planner.outage_over(bench.now)
    assert bench.found("IN_PROGRESS", 10).ended == []
    began = bench.now
    while not (ended := bench.found("IN_PROGRESS", 10).ended):
        pass
    assert whys(ended) == [Why.STALLED]
    assert bench.now - began == pytest.approx(28.0, abs=2.1)
