"""The circuit breaker: when it opens, how it probes, what closes it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.scheduler.circuit_breaker import CircuitBreaker


def opened(now: float = 0.0, roll: float = 0.0) -> CircuitBreaker:
    """Return a circuit breaker that has just opened at `now`."""
    breaker = CircuitBreaker()
    assert [breaker.saw_failure(now, roll) for _ in range(8)] == [False] * 7 + [True]
    return breaker


def test_opens_at_the_eighth_failure_in_a_row() -> None:
    """One circuit breaker for the session opens when nobody succeeds: eight failures without a success between."""
    breaker = CircuitBreaker()
    for _ in range(3):
        for _ in range(7):
            assert not breaker.saw_failure(1.0, 0.5)
        assert not breaker.saw_success()
    assert not breaker.is_open
    assert breaker.next_at == -math.inf
    breaker = opened(1.0)
    assert breaker.is_open
    assert breaker.next_at > 1.0
    assert breaker.next_at == 2.0


def test_opens_at_the_third_failure_over_a_while() -> None:
    """Where little is asked, three failures over ten seconds are enough; what a success lies between counts anew."""
    breaker = CircuitBreaker()
    assert [breaker.saw_failure(now, 0.5) for now in (1.0, 4.0, 10.9)] == [False] * 3
    assert not breaker.saw_success()
    assert [breaker.saw_failure(now, 0.5) for now in (20.0, 40.0)] == [False] * 2
    assert not breaker.saw_failure(41.0, 0.5, blames=False)
    assert breaker.saw_failure(42.0, 0.5)


def test_one_probe_at_a_time() -> None:
    """While open one request may go when its time has come, and no other until that one has ended."""
    breaker = opened()
    assert breaker.next_at > 0.999
    assert breaker.next_at <= 1.0
    breaker.probing()
    assert breaker.next_at == math.inf
    assert breaker.next_at > 1e9
    assert not breaker.saw_failure(31.0, 0.0, probe=True)
    assert breaker.next_at == 33.0


def test_probes_back_off_to_a_bound() -> None:
    """Probes come after 1, 2, 4, 8, 16 seconds and then every 30, by chance up to a quarter sooner."""
    for roll, share in ((0.0, 1.0), (0.999999, 0.75)):
        breaker = opened(roll=roll)
        waits = []
        now = 0.0
        for _ in range(7):
            waits.append(breaker.next_at - now)
            now = breaker.next_at
            breaker.probing()
            breaker.saw_failure(now, roll, probe=True)
        assert waits == pytest.approx([share * wait for wait in (1, 2, 4, 8, 16, 30, 30)], rel=1e-4)


@given(rolls=st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=20))
def test_ten_minutes_of_outage_need_few_probes(rolls: list[float]) -> None:
    """Ten minutes without any answer cost fewer than 35 probes, whatever chance says."""
    breaker = opened(roll=rolls[0])
    probes = 0
    while breaker.next_at < 600.0:
        now = breaker.next_at
        assert breaker.next_at <= now
        breaker.probing()
        probes += 1
        assert not breaker.saw_failure(now, rolls[probes % len(rolls)], probe=True)
    assert 20 <= probes < 35


def test_old_failures_do_not_count_as_the_probes() -> None:
    """A request sent before it opened and failing later neither delays the next probe nor frees the way beside one."""
    breaker = opened()
    for _ in range(50):
        assert not breaker.saw_failure(0.5, 0.0)
    assert breaker.next_at == 1.0
    breaker.probing()
    assert not breaker.saw_failure(1.5, 0.0)
    assert breaker.next_at == math.inf
    assert breaker.next_at > 5.0


@pytest.mark.parametrize("probe_out", [False, True])
def test_any_success_closes(probe_out: bool) -> None:
    """The probe's success closes it, and so does that of a request from before; the count starts anew."""
    breaker = opened()
    if probe_out:
        breaker.probing()
    assert breaker.saw_success()
    assert not breaker.saw_success()
    assert not breaker.is_open
    assert breaker.next_at == -math.inf
    assert [breaker.saw_failure(9.0, 0.0) for _ in range(8)] == [False] * 7 + [True]
    assert breaker.next_at == 10.0


def test_each_outage_begins_with_short_delays() -> None:
    """However long the last outage was, the first probe of the next one goes after a second again."""
    breaker = opened()
    for now in (1.0, 3.0, 7.0):
        breaker.probing()
        breaker.saw_failure(now, 0.0, probe=True)
    assert breaker.saw_success()
    for _ in range(8):
        breaker.saw_failure(100.0, 0.0)
    assert breaker.next_at == 101.0


def test_what_is_the_tasks_own_fault_does_not_count() -> None:
    """Failures that do not speak against the service open nothing, however many, and reset nothing either."""
    breaker = CircuitBreaker()
    for _ in range(7):
        assert not breaker.saw_failure(1.0, 0.0)
        assert not any(breaker.saw_failure(1.0, 0.0, blames=False) for _ in range(20))
    assert not breaker.is_open
    assert breaker.saw_failure(1.0, 0.0)


def test_a_probe_that_fails_by_its_own_fault_is_followed_by_another_soon() -> None:
    """A probe that proves nothing neither lengthens the delays nor takes the place of one that would, for long."""
    breaker = opened()
    for now in (1.0, 3.0, 7.0):
        breaker.probing()
        breaker.saw_failure(now, 0.0, probe=True)
    assert breaker.next_at == 15.0
    breaker.probing()
    assert not breaker.saw_failure(15.0, 0.0, probe=True, blames=False)
    assert breaker.next_at == 16.0
    breaker.probing()
    assert not breaker.saw_failure(16.0, 0.0, probe=True)
    assert breaker.next_at == 32.0
