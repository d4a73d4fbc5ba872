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
