"""What is learned of durations: the chance to end, the interval it asks for, forgetting, and its bounds."""

from __future__ import annotations

import math
import random
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.backoff.durations import ENOUGH, HALF_LIFE, MOST_POOLS, Durations

number = st.one_of(
    st.floats(0.0, 1000.0), st.floats(), st.sampled_from([0.0, 2.0, 86_400.0, 1e12, 1e300, -1.0, math.inf, math.nan])
)
pools = st.one_of(st.none(), st.sampled_from(["FAST", "NORMAL"]), st.text(max_size=3))


def learn(
    ends: list[float], *, durations: Durations | None = None, pool: str | None = "FAST", **told: Any
) -> Durations:
    """Return durations that saw tasks end exactly so, one after the other."""
    durations = durations or Durations()
    for end in ends:
        durations.saw_end(pool, 0.0, end, ended=end, **told)
    return durations


def interval(
    durations: Durations, age: float, pool: str | None = "FAST", mean: float = 2.0, share: float = 1.0
) -> float:
    """Return the interval, which must be known."""
    found = durations.interval(pool, age, mean, share)
    assert found is not None
    return found


def lognormal(median: float, count: int = 1000, seed: int = 1) -> list[float]:
    """Draw durations around a median."""
    rng = random.Random(seed)
    return [rng.lognormvariate(math.log(median), 0.4) for _ in range(count)]


def test_says_nothing_until_enough_ended() -> None:
    """Of a pool of which too little was seen nothing is said; from a count on it is."""
    durations = learn([40.0] * (ENOUGH - 1))
    assert durations.hazard("FAST", 40.0) is None
    assert durations.interval("FAST", 40.0, 2.0) is None
    assert durations.lateness("FAST") is None
    assert durations.surprise("FAST") == 0.0
    learn([40.0], durations=durations)
    assert durations.hazard("FAST", 40.0) is not None


def test_hazard_of_an_exponential_is_its_rate() -> None:
    """Where tasks end by pure chance the hazard comes out as that chance, at all ages alike."""
    rng = random.Random(2)
    durations = learn([rng.expovariate(1 / 50) for _ in range(3000)])
    for age in (5.0, 20.0, 60.0, 100.0):
        assert durations.hazard("FAST", age) == pytest.approx(1 / 50, rel=0.4)


def test_tasks_that_still_run_count() -> None:
    """Where the short tasks of a burst have ended and the long ones still run, those do not look short."""
    durations = learn([20.0] * 100)
    before = durations.hazard("FAST", 20.0)
    for _ in range(900):
        durations.saw_running("FAST", 0.0, 20.0)
        durations.saw_running("FAST", 20.0, 24.0)
    learn([20.0] * 8, durations=durations)
    after = durations.hazard("FAST", 20.0)
    assert before is not None
    assert after is not None
    assert after < before / 5


def test_interval_is_short_where_tasks_end() -> None:
    """Polls are close where the ends lie, far apart before and after, and never jump over the place of the ends."""
    durations = learn(lognormal(40.0))
    assert interval(durations, 40.0) < 2.2
    assert interval(durations, 400.0) > 5.0
    assert 8.0 < interval(durations, 0.0) < 24.0


def test_interval_is_the_square_root_rule_where_the_chance_is_even() -> None:
    """Where the chance does not change along the way, the interval goes with the root of one over it."""
    durations = learn(lognormal(40.0) + lognormal(400.0))
    for age in (30.5, 300.0):
        chance = durations.hazard("FAST", age)
        assert chance is not None
        assert interval(durations, age, mean=0.02) / interval(durations, age, mean=0.01) == pytest.approx(2.0)
        quarter = interval(durations, age, mean=0.01, share=0.25)
        assert quarter / interval(durations, age, mean=0.01) == pytest.approx(2.0)
    ratio = interval(durations, 300.0, mean=0.01) / interval(durations, 30.5, mean=0.01)
    chances = durations.hazard("FAST", 30.5), durations.hazard("FAST", 300.0)
    assert chances[0] is not None
    assert chances[1] is not None
    assert ratio == pytest.approx(math.sqrt(chances[0] / chances[1]))


@pytest.mark.parametrize("median", [15.0, 40.0, 400.0])
def test_interval_keeps_its_mean(median: float) -> None:
    """Over the ends that were learned the interval is what was asked for on average, however long tasks run."""
    ends = lognormal(median)
    durations = learn(ends)
    intervals = [interval(durations, end) for end in ends[-300:]]
    assert sum(intervals) / len(intervals) == pytest.approx(2.0, rel=0.15)


def test_follows_a_shift_and_forgets() -> None:
    """After some hundred tasks of another duration the chances are those of the new ones alone."""
    new = lognormal(10.0, 4 * HALF_LIFE, seed=3)
    shifted = learn([*lognormal(100.0, 3000), *new])
    for age in (5.0, 10.0, 15.0):
        fresh = learn(new).hazard("FAST", age)
        assert fresh is not None
        assert shifted.hazard("FAST", age) == pytest.approx(fresh, rel=0.3)


def test_weights_do_not_grow_without_end() -> None:
    """Many thousand ends leave what is learned as it is: sums stay in bounds."""
    few, many = learn([40.0, 41.0, 60.0] * 700), learn([40.0, 41.0, 60.0] * 2100, foretold=40.0)
    assert many.hazard("FAST", 40.0) == pytest.approx(few.hazard("FAST", 40.0), rel=0.01)
    assert many.lateness("FAST") == 0.0


def test_pools_are_apart_and_bounded() -> None:
    """Each pool is learned by itself; invented pools take no memory without end, and share one place."""
    durations = learn([10.0] * 100, pool="FAST")
    learn([100.0] * 100, durations=durations, pool="NORMAL")
    assert interval(durations, 10.0, "FAST") < interval(durations, 10.0, "NORMAL")
    assert durations.interval("OTHER", 10.0, 2.0) is None
    for number in range(1000):
        learn([50.0], durations=durations, pool=f"invented {number}")
    assert (
        interval(durations, 50.0, "any") == interval(durations, 50.0, "invented 900") == interval(durations, 50.0, None)
    )
    assert interval(durations, 10.0, "FAST") < interval(durations, 10.0, "NORMAL")
    kept = durations._pools
    assert len(kept) <= MOST_POOLS
    assert sum(sys.getsizeof(known.ends) + sys.getsizeof(known.seconds) for known in kept.values()) < 20_000


def test_end_between_two_polls() -> None:
    """Where the record does not tell its end, the middle between the two polls is taken."""
    rough, exact = Durations(), Durations()
    for foretold in (None, 48.0, 100.0) * 20:
        rough.saw_end("FAST", 30.0, 50.0, foretold=foretold)
        exact.saw_end("FAST", 30.0, 50.0, ended=40.0, foretold=foretold)
    for age in (20.0, 40.0, 60.0):
        assert rough.hazard("FAST", age) == exact.hazard("FAST", age)


def test_what_progress_foretold_is_judged() -> None:
    """How often it was far too long, and how late its ends were seen, is told once enough was foretold."""
    durations = learn([40.0] * 100)
    assert durations.surprise("FAST") == 0.0
    assert durations.lateness("FAST") is None
    for number in range(400):
        durations.saw_end("FAST", 35.0, 43.0, ended=40.0, foretold=100.0 if number % 2 else 41.0)
    assert durations.surprise("FAST") == pytest.approx(0.5, abs=0.02)
    assert durations.lateness("FAST") == pytest.approx(3.0)


def test_ends_where_none_ended_are_a_surprise() -> None:
    """Ends with nothing foretold count as surprises where hardly any task ended, until that age is a usual one."""
    durations = learn([40.0] * 100, foretold=40.0)
    learn([39.0] * 50, durations=durations)
    assert durations.surprise("FAST") == 0.0
    learn([3.0] * 8, durations=durations)
    assert durations.surprise("FAST") == pytest.approx(0.1, abs=0.05)
    learn([3.0] * 500, durations=durations)
    learn([3.0] * 100, durations=durations, foretold=3.0)
    assert durations.surprise("FAST") < 0.01


def test_one_very_late_end_does_not_count_for_more() -> None:
    """An end that was seen a day late, after an outage, says no more than one half a minute late."""
    durations = learn([40.0] * 100, foretold=40.0)
    durations.saw_end("FAST", 30.0, 86_000.0, ended=40.0, foretold=40.0)
    learn([40.0] * 7, durations=durations, foretold=40.0)
    late = durations.lateness("FAST")
    assert late is not None
    assert late < 4.0


@pytest.mark.parametrize(
    ("since", "age", "ended"),
    [(-1.0, 5.0, 4.0), (6.0, 5.0, 5.0), (0.0, 5.0, 6.0), (0.0, 5.0, -1.0), (0.0, math.nan, 1.0), (0.0, 5.0, math.nan)],
)
def test_nonsense_is_left_out(since: float, age: float, ended: float) -> None:
    """Ages that cannot be are not learned from, and a hazard at no age is not told."""
    durations = Durations()
    durations.saw_end("FAST", since, age, ended=ended)
    durations.saw_running("FAST", since, -abs(age))
    assert not durations._pools
    learn([40.0] * ENOUGH, durations=durations)
    assert durations.hazard("FAST", -1.0) is None
    assert durations.hazard("FAST", math.nan) is None
    assert durations.interval("FAST", -1.0, 2.0) is None
    assert durations.interval("FAST", 1.0, 2.0, 0.0) is None


@given(
    seen=st.lists(
        st.tuples(pools, number, number, st.one_of(st.none(), number), st.one_of(st.none(), number)), max_size=60
    ),
    often=st.integers(1, 30),
    pool=pools,
    age=number,
    mean=st.floats(1e-3, 1e6),
    share=st.floats(0.0, 1.0),
)
def test_any_history_gives_sane_answers(
    seen: list[tuple[str | None, float, float, float | None, float | None]],
    often: int,
    pool: str | None,
    age: float,
    mean: float,
    share: float,
) -> None:
    """Whatever was told, rubbish too, chances are finite and above 0, intervals finite, shares between 0 and 1."""
    durations = Durations()
    for _ in range(often):
        for where, since, until, ended, foretold in seen:
            durations.saw_running(where, since, until)
            durations.saw_end(where, since, until, ended=ended, foretold=foretold)
    chance = durations.hazard(pool, age)
    assert chance is None or 0 < chance < 1e6
    delay = durations.interval(pool, age, mean, share)
    assert delay is None or 0 <= delay <= 86_400
    assert 0 <= durations.surprise(pool) <= 1
    late = durations.lateness(pool)
    assert late is None or 0 <= late <= 30.001
