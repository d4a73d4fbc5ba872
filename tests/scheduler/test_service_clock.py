"""Service time: it stands still in an outage, and leaves out nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from omgmj.scheduler.service_clock import ServiceClock

SECONDS = st.integers(0, 1000)


def test_service_time_stands_still_in_an_outage() -> None:
    """It is the caller's time up to an outage, the same moment all through it, and behind by it afterwards."""
    clock = ServiceClock()
    assert clock.at(7.0) == 7.0
    clock.stop(10.0)
    clock.stop(12.0)
    assert clock.is_stopped
    assert [clock.at(now) for now in (10.0, 50.0, 99.0)] == [10.0] * 3
    clock.go_on(100.0)
    clock.go_on(200.0)
    assert not clock.is_stopped
    assert [clock.at(now) for now in (100.0, 230.0)] == [10.0, 140.0]


@given(st.lists(st.tuples(SECONDS, SECONDS)))
def test_service_time_leaves_out_all_outages_and_nothing_else(spans: list[tuple[int, int]]) -> None:
    """After any outages, one after the other, it has gone on by all the seconds between them."""
    clock, now = ServiceClock(), 0
    for up, down in spans:
        now += up
        clock.stop(now)
        now += down
        clock.go_on(now)
    assert clock.at(now) == sum(up for up, _ in spans)
