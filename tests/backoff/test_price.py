"""The price of a poll: it comes to what was asked for, and each bound has one of its own."""

from __future__ import annotations

import math
import random

import pytest

from omgmj.backoff.price import FIRST, LEAST, MOST, MOST_BOUNDS, Price, Prices


def settle(price: Price, ends: int = 3000) -> float:
    """Have tasks end without memory, half of them a minute long on average, until the price stands; return the mean.

    Polls are sqrt(2 price / h) apart, so that ends are seen half of that late on average.
    """
    chance = random.Random(4)
    late = []
    for number in range(ends):
        gap = math.sqrt(2 * price.value * 60.0)
        late.append(chance.uniform(0.0, gap))
        price.saw(late[-1], max(1, round(60.0 / gap)), 5.0 * number)
    return sum(late[ends // 2 :]) / (ends - ends // 2)


@pytest.mark.parametrize("delay", [0.5, 1.0, 2.0, 4.0])
def test_the_mean_comes_to_what_was_asked(delay: float) -> None:
    """From any beginning the measured mean delay meets the one that was asked for."""
    for first in (None, 0.05, 5.0):
        price = Price(delay, value=first)
        assert settle(price) == pytest.approx(delay, rel=0.12)
        assert price.mean_delay == pytest.approx(delay, rel=0.35)


def test_polls_may_be_bounded_instead() -> None:
    """Where polls a task are given, the price goes where tasks take so many."""
    price = Price(1.0, 12)
    settle(price)
    assert price.mean_polls == pytest.approx(12, rel=0.15)


def test_what_cannot_be_helped_is_not_fought() -> None:
    """Where answers alone take longer than was asked for, the price does not fall without end."""
    helpless, slow = Price(1.0), Price(1.0)
    for number in range(1000):
        helpless.saw(2.0, 5, 5.0 * number)
        slow.saw(2.0, 5, 5.0 * number, half=1.5)
    assert helpless.value == LEAST
    assert slow.value > 0.5


def test_it_begins_and_stays_in_bounds() -> None:
    """It begins with a share of the delay, or where it was measured before; nothing brings it out of its bounds."""
    assert Price(2.0).value == pytest.approx(2 * FIRST)
    assert math.isnan(Price(2.0).mean_delay)
    assert math.isnan(Price(2.0).mean_polls)
    assert [Price(1.0, value=value).value for value in (1e-9, 3.0, 1e9)] == [LEAST, 3.0, MOST]
    price = Price(1.0)
    for number in range(5000):
        price.saw(0.0, 1, float(number))
    assert price.value == MOST
    price.saw(1e300, 10**9, 5000.0)
    assert LEAST <= price.value < MOST


def test_each_bound_has_a_price() -> None:
    """Who asks under the same bound gets the same price, and what was asked for last is known."""
    prices = Prices()
    assert prices.asked is None
    one = prices.under(1.0)
    assert prices.under(1.0) is one is prices.asked
    assert prices.under(1.0, 5) is not one
    assert prices.asked is prices.under(1.0, 5)
    one.saw(3.0, 4, 0.0)
    assert prices.measured() == {(1.0, None): one.value}
    assert prices.open(1.0, None, 0.7).value == 0.7


def test_bounds_take_no_memory_without_end() -> None:
    """A policy that asks under ever new bounds makes all begin anew now and then."""
    prices = Prices()
    for number in range(10 * MOST_BOUNDS):
        prices.under(1.0 + number)
        assert len(prices._of) <= MOST_BOUNDS


def test_many_ends_at_once_move_it_as_far_as_few() -> None:
    """What a price does is seen some seconds later: a thousand ends of one second are no thousand answers to it."""
    moved = []
    for ends in (5, 1000):
        price = Price(1.0)
        for number in range(ends):
            price.saw(5.0, 5, number / ends)
        moved.append(math.log(price.value / FIRST))
    assert moved[1] == pytest.approx(moved[0], abs=0.5)
    for number in range(100):
        price.saw(5.0, 5, 1.0 + number / 100)
    assert math.log(price.value / FIRST) == pytest.approx(moved[1] - 0.4, abs=0.05)
