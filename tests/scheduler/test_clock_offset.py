"""The service's clock: told by bounds that overlap, also where some are wrong, and followed where it changes."""

from __future__ import annotations

import math
import random

import pytest

from omgmj.scheduler.clock_offset import FEW, KEPT, ClockOffset


def told(offset: ClockOffset, seconds: float, count: int, *, wrong: float = 0.0, seed: int = 1) -> None:
    """Tell of moments between two looks up to 10 s apart; a share is told by clocks that are wrong by minutes."""
    chance = random.Random(seed)
    for number in range(count):
        at = 1000.0 + 20 * number
        moment = at - seconds + (chance.uniform(60.0, 300.0) if chance.random() < wrong else 0.0)
        offset.saw(moment, at - chance.uniform(0.0, 5.0), at + chance.uniform(0.0, 5.0))


def test_few_moments_say_nothing() -> None:
    """With one moment or two there is no offset; what is not known or makes no sense is left out."""
    offset = ClockOffset()
    told(offset, 7.0, FEW - 1)
    offset.saw(1000.0, math.nan, 1005.0)
    offset.saw(1000.0, 1006.0, 1005.0)
    assert offset.seconds is None


@pytest.mark.parametrize("seconds", [-60.0, 0.3, 1e9])
@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_the_offset_is_found(seconds: float, wrong: float) -> None:
    """After some moments the offset is known to a second, whichever it is, and though some clocks are wrong."""
    offset = ClockOffset()
    told(offset, seconds, KEPT, wrong=wrong)
    assert offset.seconds == pytest.approx(seconds, abs=1.0)


def test_a_clock_that_is_set_is_followed() -> None:
    """After a jump of the clock the new offset is known as soon as the old bounds are gone."""
    offset = ClockOffset()
    told(offset, 5.0, 100)
    told(offset, -30.0, KEPT + 8)
    assert offset.seconds == pytest.approx(-30.0, abs=1.0)


@pytest.mark.parametrize("seconds", [-3.0, 40.0])
def test_a_clock_that_drifts_is_followed(seconds: float) -> None:
    """Where the offset grows by a second in ten minutes it is known to a second all the way."""
    offset, chance = ClockOffset(), random.Random(2)
    for number in range(300):
        at = 1000.0 + 20 * number
        now = seconds + at / 600
        offset.saw(at - now, at - chance.uniform(0.0, 4.0), at + chance.uniform(0.0, 4.0))
        if number >= KEPT:
            assert offset.seconds == pytest.approx(now, abs=1.5)


@pytest.mark.parametrize("place", range(4))
def test_a_moment_that_is_no_number_is_left_out(place: int) -> None:
    """Wherever it comes it changes nothing."""
    offset = ClockOffset()
    for number in range(5):
        offset.saw(math.nan if number == place else 100.0, 101.0, 103.0)
    assert offset.seconds == 2.0


def test_moments_that_fit_no_clock_tell_none() -> None:
    """Where all are the same one, as in 1970, or a clock was just set, fewer than half agree: nothing is said."""
    offset = ClockOffset()
    for number in range(KEPT):
        offset.saw(0.0, 10.0 * number, 10.0 * number + 5)
    assert offset.seconds is None
