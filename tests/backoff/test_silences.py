"""What is left of tasks that tell no progress: by the last that were in their state, and for as long."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.backoff.silences import FEW, FEW_MADE, KEPT, Silence, Silences

QUEUED, STILL, MADE = Silence.QUEUED, Silence.STILL, Silence.MADE


def learned(*pairs: tuple[float, float], silence: Silence = QUEUED) -> Silences:
    """Return what was learned of tasks that left a state at one age, and ended at another."""
    silences = Silences()
    for left_at, ended_at in pairs:
        silences.learn(silence, left_at, ended_at)
    return silences


def wait(silences: Silences, age: float, price: float = 0.5, silence: Silence = QUEUED, **chances: float) -> float:
    """Return the seconds to the next look, which must be known."""
    found = silences.wait(silence, age, price, chances.get("hazard", 0.01), chances.get("surprises", 0.0))
    assert found is not None
    return found


def test_nothing_is_said_of_a_state_that_was_seldom_seen() -> None:
    """With few tasks that left the state later than now nothing is said."""
    silences = learned(*[(30.0, 60.0)] * FEW)
    assert silences.wait(STILL, 0.0, 0.5, 0.01, 0.0) is None
    assert silences.wait(QUEUED, 30.0, 0.5, 0.01, 0.0) is None
    assert silences.wait(QUEUED, 29.0, 0.5, 0.01, 0.0) is not None
    assert learned(*[(30.0, 60.0)] * (FEW - 1)).wait(QUEUED, 0.0, 0.5, 0.01, 0.0) is None


def test_the_look_comes_before_the_first_of_them_has_ended() -> None:
    """Of tasks that left the queue at 30 s and ended at about 60, one that queues at 20 s is looked at before that."""
    silences = learned(*[(30.0, 56.0 + number) for number in range(10)])
    assert 30.0 < wait(silences, 20.0) < 41.0
    assert wait(silences, 20.0, price=5.0) > wait(silences, 20.0, price=0.1)
    assert wait(silences, 20.0, surprises=0.2) < 5.0
    assert silences.early(QUEUED, 20.0) == 57.0
    assert silences.early(STILL, 20.0) is None


@pytest.mark.parametrize("price", [0.1, 1.0, 4.0])
def test_the_delay_to_be_expected_is_the_price(price: float) -> None:
    """Summed up over ends that are spread as those that were seen, what is expected until the look is the price."""
    chance = random.Random(5)
    ends = sorted(chance.uniform(40.0, 90.0) for _ in range(KEPT))
    silences = learned(*[(30.0, end) for end in ends])
    until = 20.0 + wait(silences, 20.0, price=price, hazard=0.0)
    late = sum(max(0.0, until - end) for end in ends) / len(ends)
    assert late == pytest.approx(price, rel=0.2, abs=0.05)


def test_a_price_that_no_end_reaches_waits_beyond_the_last() -> None:
    """Where even the last end leaves the price unreached, the look comes after it, as late as the price has it.

    That is by the hazard of others where that is sooner.
    """
    silences = learned(*[(30.0, 60.0)] * 10)
    assert wait(silences, 29.0, price=20.0, hazard=0.0) == pytest.approx(31.0 + 20.0, rel=0.1)
    assert wait(silences, 29.0, price=0.001, hazard=30.0) == pytest.approx(31.0, rel=0.1)
    assert wait(silences, 29.0, price=2000.0, hazard=30.0) == pytest.approx(31.0 + math.sqrt(4000.0 / 1.2), rel=0.1)


def test_where_most_end_in_the_state_itself_nothing_is_said() -> None:
    """Tasks that show 0 percent to their end are known by how long they run; one that was just made is not."""
    mute = [(40.0 + number, 40.0 + number) for number in range(20)]
    assert learned(*mute, silence=STILL).wait(STILL, 0.0, 0.5, 0.01, 0.0) is None
    assert learned(*mute, silence=QUEUED).wait(QUEUED, 0.0, 0.5, 0.01, 0.0) is None
    assert learned(*mute[:9], *[(10.0, 60.0)] * 11, silence=STILL).wait(STILL, 0.0, 0.5, 0.01, 0.0) is not None
    made = learned(*[(2.0, 2.0)] * FEW_MADE, silence=MADE)
    assert 1.5 < wait(made, 0.0, silence=MADE) < 3.0
    # One that has outlived them all is looked at by its hazard.
    assert wait(made, 2.5, silence=MADE, hazard=0.1) == pytest.approx(math.sqrt(2 * 0.5 / 0.1))
    assert made.early(MADE, 2.5) is None
    assert learned((2.0, 2.0), silence=MADE).wait(MADE, 0.0, 0.5, 0.1, 0.0) is None


def test_only_the_last_are_kept() -> None:
    """What was long ago is forgotten whole, and the size is bounded."""
    silences = learned(*[(30.0, 60.0)] * KEPT, *[(5.0, 9.0)] * KEPT)
    assert silences.early(QUEUED, 1.0) == 9.0
    assert silences.early(QUEUED, 6.0) is None
    assert len(silences._ages[QUEUED]) == 2 * KEPT


def test_what_was_learned_can_be_taken_over() -> None:
    """A dump as JSON, taken over elsewhere, says the same; one that was never given is refused."""
    silences = learned(*[(30.0, 50.0 + number) for number in range(10)])
    silences.learn(MADE, 2.0, 2.0)
    dumped = json.loads(json.dumps(silences.dump(), allow_nan=False))
    other = Silences()
    other.restore(dumped)
    assert other.dump() == dumped
    assert wait(other, 10.0) == wait(silences, 10.0)
    odd: list[Any] = [{"LOUD": [[1.0, 2.0]]}, {"MADE": [[1.0, None]]}, {"MADE": [[1.0]]}, {"MADE": [["a", 1.0]]}]
    for wrong in odd:
        with pytest.raises((LookupError, TypeError, ValueError)):
            Silences().restore(wrong)


@given(
    pairs=st.lists(st.tuples(st.floats(0.0, 1e6), st.floats(0.0, 1e6)), max_size=80),
    silence=st.sampled_from(Silence),
    age=st.floats(0.0, 1e6),
    price=st.floats(0.008, 5e4),
    hazard=st.floats(0.0, 10.0),
    surprises=st.floats(0.0, 10.0),
)
def test_any_wait_is_sane(
    pairs: list[tuple[float, float]], silence: Silence, age: float, price: float, hazard: float, surprises: float
) -> None:
    """Whatever was seen, a wait is no less than nothing, and finite."""
    found = learned(*pairs, silence=silence).wait(silence, age, price, hazard, surprises)
    assert found is None or 0 <= found < 1e7


@pytest.mark.parametrize(
    "pair", [(math.nan, 9.0), (5.0, math.nan), (5.0, math.inf), (1e308, 1e308), (1e308, -1e308), (9.0, 5.0)]
)
def test_no_age_that_cannot_be_is_taken_over(pair: tuple[float, float]) -> None:
    """No file makes a wait infinite, or a policy raise later: such ages are refused."""
    with pytest.raises(ValueError, match="so long"):
        Silences().restore({"MADE": [list(pair)] * FEW})
