"""What is left after a step: learned as a line, sharper where the step's moment is known, and kept between runs."""

from __future__ import annotations

import json
import math
import operator
import random
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.backoff.steps import BIN, CLOSE, FADE, FEW, Sight, Steps


def seen(age: float = 10.0, progress: int = 20, share: float = 0.01) -> Sight:
    """Return a sight of a step, with the look before a share of the age before."""
    return Sight(progress, age, share * age)


def learned(left: float, times: int = 50, **sight: Any) -> Steps:
    """Return steps that were seen so often, each time with so much left."""
    steps = Steps()
    for _ in range(times):
        steps.learn(seen(**sight), left)
    return steps


def test_the_straight_line_is_what_is_left_before_any_sample() -> None:
    """At p percent, first seen at age a, a (100 - p) / p is left, the less surely the further the look before was."""
    close, far = Steps().straight(seen()), Steps().straight(seen(share=0.9))
    assert close.median == pytest.approx(40.0)
    assert far.median == pytest.approx(40.0)
    assert far.spread > 2 * close.spread
    # The last percents count as a few: many tasks stand still there.
    assert Steps().straight(seen(progress=100)).median == pytest.approx(0.5)


def test_nothing_is_said_of_a_step_that_was_seldom_seen() -> None:
    """Below a few samples nothing is said; from there on it is, of the whole step and of no other."""
    steps = learned(40.0, math.floor(FEW))
    assert steps.left(seen()) is None
    steps.learn(seen(), 40.0)
    assert steps.left(seen()) is not None
    assert steps.left(seen(progress=20 + BIN - 1)) is not None
    assert steps.left(seen(progress=20 + BIN)) is None


@pytest.mark.parametrize("left", [5.0, 40.0, 200.0])
def test_what_was_left_is_learned(left: float) -> None:
    """Where always the same was left that is told, with little spread, whatever the straight line says."""
    found = learned(left).left(seen())
    assert found is not None
    assert found.median == pytest.approx(left, rel=0.1)
    assert found.spread < 0.12


def test_a_line_on_the_logarithm_of_the_age_is_learned() -> None:
    """Where what is left grows otherwise than the age, that is told of ages that were not seen too."""
    chance, steps = random.Random(3), Steps()
    for _ in range(100):
        age = chance.uniform(5.0, 40.0)
        steps.learn(seen(age), 30.0)  # always 30 s, however old
    for age in (6.0, 20.0, 38.0):
        found = steps.left(seen(age))
        assert found is not None
        assert found.median == pytest.approx(30.0, rel=0.12)


def test_old_samples_fade() -> None:
    """After some hundred tasks of another kind only those count."""
    steps = learned(10.0)
    for _ in range(300):
        steps.learn(seen(), 60.0)
    found = steps.left(seen())
    assert found is not None
    assert found.median == pytest.approx(60.0, rel=0.05)
    assert steps.dump()[next(iter(steps.dump()))][0] <= 1 / (1 - FADE) + 1e-6


def test_sights_are_told_apart_by_how_near_the_looks_were() -> None:
    """A step that was seen late goes by those that were; where none was, by the nearest that is known."""
    steps = learned(40.0, share=CLOSE[0] / 2)
    for _ in range(50):
        steps.learn(seen(share=0.9), 20.0)
    close, far, near = (steps.left(seen(share=share)) for share in (CLOSE[0] / 2, 0.9, CLOSE[1] / 2))
    assert close is not None
    assert far is not None
    assert near is not None
    assert close.median == pytest.approx(40.0, rel=0.1)
    assert far.median == pytest.approx(20.0, rel=0.1)
    assert near.median == pytest.approx(close.median)


def test_one_odd_sample_is_bounded() -> None:
    """A task that went on for a day after its step, or ended at once, says no more than one far off the line."""
    for odd in (86_400.0, 0.0, -5.0):
        steps = learned(40.0)
        steps.learn(seen(), odd)
        found = steps.left(seen())
        assert found is not None
        assert 25.0 < found.median < 65.0


def test_all_steps_take_a_fixed_size() -> None:
    """However many steps are seen, a kind's take about 4 kB, and each can be asked for."""
    steps = Steps()
    for progress in range(1, 101):
        for share in (0.01, 0.2, 0.9):
            for age in (0.0, 1.0, 1e9):
                steps.learn(Sight(progress, age, share * age), 10.0)
                assert steps.straight(Sight(progress, age, share * age)).median > 0
    assert sys.getsizeof(steps._sums) < 4100
    assert steps.left(Sight(100, 0.0, 0.0)) is not None


def test_what_was_learned_can_be_taken_over() -> None:
    """A dump as JSON, taken over elsewhere, says the same; one that was never given is refused."""
    steps, other = learned(40.0), Steps()
    dumped = json.loads(json.dumps(steps.dump()))
    other.restore(dumped)
    assert other.left(seen()) == steps.left(seen())
    assert other.dump() == dumped
    (place,) = dumped
    for odd in (
        {"900": dumped[place]},
        {"-1": dumped[place]},
        {place: [1.0]},
        {place: [1e9] * 6},
        {"no": dumped[place]},
    ):
        with pytest.raises(ValueError, match=r"step|unpack|literal"):
            Steps().restore(odd)


@given(
    samples=st.lists(st.tuples(st.floats(0.5, 200.0), st.floats(1.0, 400.0)), min_size=5, max_size=60),
    age=st.floats(0.5, 200.0),
)
def test_the_line_is_that_of_least_squares(samples: list[tuple[float, float]], age: float) -> None:
    """It is what a sum over all samples gives, each by its weight: the same slope, level and spread.

    The slope has a ridge of 0.5 and the level one sample that is on the straight line; the spread counts four samples
    more that are as far off as is taken before any sample.
    """
    steps, share = Steps(), 0.05
    for at, left in samples:
        steps.learn(seen(at, share=share), left)
    weights = [FADE**ago for ago in reversed(range(len(samples)))]
    xs = [math.log(at) for at, _ in samples]
    ys = [max(-3.0, min(3.0, math.log(left / (at * 4)))) for at, left in samples]
    n = sum(weights)
    x0, y0 = (sum(map(operator.mul, weights, values)) / n for values in (xs, ys))
    rows = list(zip(weights, xs, ys, strict=True))
    slope = sum(w * (x - x0) * (y - y0) for w, x, y in rows) / (sum(w * (x - x0) ** 2 for w, x, _ in rows) + 0.5)
    level = y0 * n / (n + 1) + slope * (math.log(age) - x0)
    errors = sum(w * (y - y0) * (y - y0 - slope * (x - x0)) for w, x, y in rows)
    variance = (4 * (0.2**2 + share**2 / 3) + errors) / (4 + n) * (1 + 1 / (n + 1))
    found = steps.left(seen(age, share=share))
    assert found is not None
    assert math.log(found.median / (4 * age)) == pytest.approx(max(-3.0, min(3.0, level)), abs=1e-6)
    assert found.spread == pytest.approx(math.sqrt(variance), rel=1e-5)


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_no_sum_that_is_not_a_number_is_taken_over(place: int, odd: float) -> None:
    """It is refused wherever among the sums it stands, and nothing is taken over."""
    sums, steps = [10.0, 1.0, 1.0, 1.0, 1.0, 1.0], Steps()
    sums[place] = odd
    with pytest.raises(ValueError, match="not its sums"):
        steps.restore({"16": sums})
    assert steps.dump() == {}
