"""The chance a second of an end: from what ended and what went on, and when it asks for a look."""

from __future__ import annotations

import math
import random

import pytest

from omgmj.backoff.hazard import HALF_LIFE, OLDEST, Hazard, Slots

SLOTS = Slots(1.0, doublings=10, to_each=4)


def ended(*ages: float, enough: int = 8) -> Hazard:
    """Return what is known of things that ended so."""
    hazard = Hazard(SLOTS, enough)
    for age in ages:
        hazard.ran(0.0, age)
        hazard.ended(age)
    return hazard


def test_each_age_lies_in_one_slot() -> None:
    """Slots follow each other without a gap, each with its middle in it, from 0 to the oldest age."""
    for slot, (low, high) in enumerate(zip(SLOTS.edges, SLOTS.edges[1:], strict=False)):
        assert SLOTS.of(low) == slot
        assert low <= SLOTS.middles[slot] < high
    assert SLOTS.of(OLDEST) == SLOTS.count - 1


def test_it_is_known_once_enough_have_ended() -> None:
    """What goes on counts for the chance, but not for that."""
    assert not ended(*[10.0] * 7).is_known
    assert ended(*[10.0] * 8).is_known
    hazard = Hazard(SLOTS, 8)
    for _ in range(100):
        hazard.ran(0.0, 10.0)
    assert not hazard.is_known


def test_without_memory_the_chance_is_the_rate_and_looks_are_by_the_root() -> None:
    """As theory has it for a chance that is the same at all ages."""
    chance = random.Random(3)
    hazard = ended(*(chance.expovariate(0.02) for _ in range(3000)))
    for age in (5.0, 20.0, 60.0):
        assert hazard.at(age) == pytest.approx(0.02, rel=0.4)
        assert hazard.wait(age, 1e-4) == pytest.approx(math.sqrt(2e-4 / hazard.at(age)), rel=0.1)


def test_old_ends_fade() -> None:
    """After some half-lives only the new ones tell."""
    hazard = ended(*[10.0] * 200, *[100.0] * 6 * HALF_LIFE)
    assert hazard.at(100.0) > 10 * hazard.at(10.0)


def test_sums_that_nobody_gave_are_refused() -> None:
    """A dump of other slots, or with a sum below 0, is taken over by none."""
    seen, ends, seconds = ended(*[10.0] * 20).dump()
    for odd in ([seen, ends[1:], seconds], [seen, [-1.0, *ends[1:]], seconds], [seen, ends, [1e20, *seconds[1:]]]):
        with pytest.raises(ValueError, match="sums of a hazard"):
            Hazard(SLOTS, 8).restore(odd)
