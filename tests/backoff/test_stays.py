"""How long tasks stand at a step before they end there."""

from __future__ import annotations

import json

import pytest

from omgmj.backoff.stays import BIN, ENOUGH, Stays


def stays(*seconds: float, progress: int = 99, ended: bool = True) -> Stays:
    """Return what is known of tasks that stood at a step for so long."""
    found = Stays()
    for one in seconds:
        found.learn(progress, one, ended=ended)
    return found


def test_nothing_is_said_before_enough_have_ended_there() -> None:
    """Of a step at which few have ended nothing is said, however many have passed it."""
    assert Stays().wait(99, 0.0, 0.1, 0.0) is None
    assert stays(*[10.0] * (ENOUGH - 1)).wait(99, 0.0, 0.1, 0.0) is None
    assert stays(*[10.0] * 500, ended=False).wait(99, 0.0, 0.1, 0.0) is None
    known = stays(*[10.0] * ENOUGH)
    assert known.wait(99, 0.0, 0.1, 0.0) is not None
    assert known.wait(99 - BIN, 0.0, 0.1, 0.0) is None


def test_looks_are_close_where_they_end() -> None:
    """Before and after it they are far apart, unless a storm asks for more."""
    known = stays(*[10.0 + number % 3 for number in range(100)])
    before, there, after = (known.wait(99, since, 0.1, 0.0) for since in (0.0, 10.0, 30.0))
    assert before is not None
    assert there is not None
    assert after is not None
    assert 4.0 < before < 11.0
    assert there < 2.0 < after
    storm = known.wait(99, 0.0, 0.1, 0.5)
    assert storm is not None
    assert storm < 1.0


def test_odd_times_are_taken_as_the_nearest_that_make_sense() -> None:
    """A task that stood there for less than no time, or for years, breaks nothing."""
    known = stays(*[-5.0, 1e12] * ENOUGH)
    assert known.wait(99, 5.0, 0.1, 0.0) is not None


def test_what_was_learned_can_be_taken_over() -> None:
    """As JSON; a step that there is not is refused, and so are sums that nobody gave."""
    known = stays(*[10.0 + number % 3 for number in range(100)])
    other = Stays()
    other.restore(json.loads(json.dumps(known.dump())))
    assert other.dump() == known.dump()
    assert other.wait(99, 9.0, 0.1, 0.0) == pytest.approx(known.wait(99, 9.0, 0.1, 0.0))
    (sums,) = known.dump().values()
    for odd in ({"900": sums}, {"-1": sums}, {"x": sums}, {"8": [[1.0], [1.0], [1.0]]}, {"8": [[1.0]]}):
        with pytest.raises(ValueError):
            Stays().restore(odd)
