"""When to look next: the closed forms against sums, Newton's steps against search, and bounds."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from omgmj.backoff.inspection import LONGEST, RARE, Left, constant, seen_late, wait

medians, spreads = st.floats(0.05, 2000.0), st.floats(0.03, 3.0)


def chance(left: Left, seconds: float) -> float:
    """Return the chance that a lognormal has ended by so many seconds."""
    if seconds <= 0:
        return 0.0
    return 0.5 * math.erfc(-math.log(seconds / left.median) / left.spread / math.sqrt(2))


def late(left: Left, seconds: float, parts: int = 20_000) -> float:
    """Return the delay to be expected by so many seconds, summed up."""
    step = seconds / parts
    return step * sum(chance(left, (part + 0.5) * step) for part in range(parts))


@pytest.mark.parametrize("spread", [0.05, 0.3, 1.5])
@pytest.mark.parametrize("seconds", [0.0, 5.0, 19.0, 21.0, 60.0, 400.0])
def test_the_delay_to_be_expected_is_the_sum_of_chances(spread: float, seconds: float) -> None:
    """The closed form is what summing up the chance of an end over the time gives."""
    left = Left(20.0, spread)
    delay, over = left.over(seconds)
    assert over == pytest.approx(chance(left, seconds), abs=1e-12)
    assert delay == pytest.approx(late(left, seconds), rel=1e-4, abs=1e-6)


def cost(left: Left, since: float, seconds: float, hazard: float, surprises: float) -> float:
    """Return the delay to be expected where nobody looks for so many seconds, of one that goes on `since` seconds."""
    delay, over = left.over(since)
    later, _ = left.over(since + seconds)
    alive = 1 - over
    foretold = (1 - RARE) * alive / ((1 - RARE) * alive + RARE * math.exp(-hazard * since))
    rare = (1 - foretold) * hazard + surprises
    return foretold * (later - delay - over * seconds) / alive + rare * seconds**2 / 2


@pytest.mark.parametrize("spread", [0.05, 0.3, 1.5])
@pytest.mark.parametrize("since", [0.0, 8.0, 25.0])
@pytest.mark.parametrize(("hazard", "surprises"), [(0.02, 0.0), (0.02, 0.3)])
def test_a_look_comes_when_the_delay_has_reached_the_price(
    spread: float, since: float, hazard: float, surprises: float
) -> None:
    """Until the next look just the price is to be expected, however far the end is."""
    for price in (0.05, 0.5, 5.0):
        left = Left(20.0, spread)
        if left.over(since)[1] > 0.99:
            continue
        seconds = wait(left, since, price, hazard, surprises)
        assert cost(left, since, seconds, hazard, surprises) == pytest.approx(price, rel=0.1, abs=0.01)


def test_who_has_outlived_all_that_was_foretold_goes_by_the_hazard() -> None:
    """Long after the foretold end a look comes as if nothing had been foretold."""
    assert wait(Left(20.0, 0.1), 500.0, 0.5, 0.04, 0.0) == pytest.approx(math.sqrt(2 * 0.5 / 0.04), rel=0.01)
    assert wait(Left(20.0, 0.1), 500.0, 0.5, 0.04, 0.06) == pytest.approx(math.sqrt(2 * 0.5 / 0.1), rel=0.01)


@given(
    median=medians,
    spread=spreads,
    since=st.floats(0.0, 1e5),
    price=st.floats(0.008, 5e4),
    hazard=st.floats(0.0, 10.0),
    surprises=st.floats(0.0, 10.0),
)
def test_any_wait_is_in_bounds(
    median: float, spread: float, since: float, price: float, hazard: float, surprises: float
) -> None:
    """A wait is a positive number of seconds, bounded, and no shorter for a higher price."""
    left = Left(median, spread)
    seconds = wait(left, since, price, hazard, surprises)
    assert 0 < seconds <= LONGEST
    dearer = wait(left, since, 2 * price, hazard, surprises)
    assert dearer >= 0.93 * seconds  # It may be a little off.


def test_a_constant_chance_is_kellers_rule() -> None:
    """Looks are the root of two prices over the chance apart; without any chance there is the longest."""
    assert constant(0.5, 0.01) == pytest.approx(10.0)
    assert constant(0.5, 0.0) == pytest.approx(1000.0)
    assert constant(1e6, 0.0) == LONGEST


def test_how_late_an_end_between_two_looks_is_seen() -> None:
    """Of an end that nobody tells it is what was to be expected; where none was expected nothing is said."""
    left = Left(20.0, 0.2)
    between = [late(left, 25.0) - late(left, 18.0) - chance(left, 18.0) * 7.0, chance(left, 25.0) - chance(left, 18.0)]
    assert seen_late(left, 18.0, 25.0) == pytest.approx(between[0] / between[1], rel=1e-3)
    assert seen_late(left, 1.0, 2.0) is None


@given(
    median=medians,
    spread=st.floats(0.03, 1.5),
    part=st.floats(0.0, 1.5),
    price=st.floats(0.008, 500.0),
    hazard=st.floats(0.0, 1.0),
    surprises=st.floats(0.0, 1.0),
)
def test_newtons_steps_find_what_halving_finds(
    median: float, spread: float, part: float, price: float, hazard: float, surprises: float
) -> None:
    """The wait is where halving an interval finds the price, but for a percent, and a tenth of a second."""
    left, since = Left(median, spread), part * median
    assume(left.over(since)[1] < 0.999)
    low, high = 0.0, LONGEST
    for _ in range(60):
        middle = (low + high) / 2
        if cost(left, since, middle, hazard, surprises + 1e-6) < price:  # no wait goes by no hazard at all
            low = middle
        else:
            high = middle
    assert wait(left, since, price, hazard, surprises) == pytest.approx(high, rel=0.01, abs=0.1)


@pytest.mark.parametrize("median", [20.0, 60.0, 400.0])
@pytest.mark.parametrize("price", [0.05, 0.3, 2.0])
def test_a_look_at_what_is_foretold_sharply_costs_no_more_than_the_price(median: float, price: float) -> None:
    """Where the end is foretold to a few percent, so much as a percent too late would cost far more than the price."""
    left = Left(median, 0.03)
    assert cost(left, 0.0, wait(left, 0.0, price, 0.01, 0.0), 0.01, 0.0) < 1.02 * price


def test_a_moment_too_small_to_be_a_share_is_none() -> None:
    """Less time than any share of the median has a number for is as no time at all."""
    assert Left(2000.0, 0.3).over(5e-324) == (0.0, 0.0)
    assert wait(Left(2000.0, 0.3), 5e-324, 0.5, 0.01, 0.0) == wait(Left(2000.0, 0.3), 0.0, 0.5, 0.01, 0.0)
