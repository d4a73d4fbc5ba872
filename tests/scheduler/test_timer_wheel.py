"""The timer wheel: nothing comes out early, nothing is lost, the most overdue comes first."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from omgmj.scheduler.timer_wheel import FAR, TICKS, TimerWheel

TIMES = st.floats(min_value=-1e6, max_value=1e9)


def drained(wheel: TimerWheel) -> list[tuple[float, int]]:
    """Take everything out, in order."""
    out = []
    while (head := wheel.next()) is not None:
        assert wheel.take() == head[1]
        out.append(head)
    return out


@given(st.lists(st.tuples(st.integers(1, 5), TIMES)))
def test_what_goes_in_comes_out_in_order_and_never_early(puts: list[tuple[int, float]]) -> None:
    """Each key comes out once for each time it was put in, at that time or less than a tick after, in order of time."""
    wheel = TimerWheel()
    told = [(wheel.add(key, due), key) for key, due in puts]
    assert all(due <= at < due + 2 / TICKS for (_, due), (at, _) in zip(puts, told, strict=True))
    assert drained(wheel) == sorted(told, key=lambda entry: entry[0])
    assert wheel.next() is None


def test_keys_of_one_tick_come_out_as_they_went_in() -> None:
    """Who is due at the same time is served in order of coming."""
    wheel = TimerWheel()
    for key in (3, 1, 2, 1):
        assert wheel.add(key, 1.0) == 1.0
    assert [key for _, key in drained(wheel)] == [3, 1, 2, 1]


def test_whole_and_half_seconds_are_met_exactly() -> None:
    """A tick is a power of two, so that a delay of 2 s or 0.5 s is not lengthened."""
    wheel = TimerWheel()
    assert [wheel.add(1, due) for due in (0.0, 0.5, 2.0, 1e6 + 0.25)] == [0.0, 0.5, 2.0, 1e6 + 0.25]


def test_the_largest_float_is_a_time_too() -> None:
    """A delay that a policy of the user's made senselessly long is far away, and no overflow."""
    wheel = TimerWheel()
    assert wheel.add(1, 1.7e308) == FAR
    wheel.add(2, FAR - 1)
    assert drained(wheel) == [(FAR - 1, 2), (FAR, 1)]
    assert math.isfinite(FAR * TICKS)


def test_clear_takes_out_everything() -> None:
    """After `clear` the wheel is as new."""
    wheel = TimerWheel()
    wheel.add(1, 1.0)
    assert wheel.size == 1
    wheel.clear()
    assert wheel.next() is None
    assert wheel.size == 0
    wheel.add(2, 1.0)
    assert drained(wheel) == [(1.0, 2)]


@given(st.lists(st.tuples(st.integers(1, 5), TIMES)), st.floats(0, 1, exclude_max=True))
def test_a_turn_changes_who_comes_next_and_nothing_else(puts: list[tuple[int, float]], roll: float) -> None:
    """Chance only changes the order among the keys of the earliest tick: all of them come out, at the same times."""
    wheel, turned = TimerWheel(), TimerWheel()
    for key, due in puts:
        wheel.add(key, due)
        turned.add(key, due)
    turned.turn(roll)
    assert wheel.size == turned.size == len(puts)
    assert sorted(drained(turned)) == sorted(drained(wheel))
    assert wheel.size == turned.size == 0


def test_each_of_the_earliest_keys_can_come_next() -> None:
    """A turn gives each key of the earliest tick the same share of chance; later ones do not come first."""
    chosen = []
    for step in range(100):
        wheel = TimerWheel()
        for key in (1, 2, 3, 4):
            wheel.add(key, 1.0)
        wheel.add(5, 2.0)
        wheel.turn(step / 100)
        chosen.append(wheel.take())
    assert sorted(chosen) == [1] * 25 + [2] * 25 + [3] * 25 + [4] * 25
