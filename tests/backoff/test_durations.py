"""What is learned of durations: the chance to end, the wait that it asks for, forgetting, and its bounds."""

from __future__ import annotations

import json
import math
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.backoff.durations import ENOUGH, MOST_PLACES, Durations
from omgmj.backoff.hazard import HALF_LIFE

number = st.one_of(
    st.floats(0.0, 1000.0), st.floats(), st.sampled_from([0.0, 2.0, 86_400.0, 1e12, 1e300, -1.0, math.inf, math.nan])
)
pools = st.one_of(st.none(), st.sampled_from(["FAST", "NORMAL"]), st.text(max_size=3))


def learn(
    ends: list[float], *, durations: Durations | None = None, pool: str | None = "FAST", kind: str | None = None
) -> Durations:
    """Return durations that saw tasks end exactly so, one after the other."""
    durations = durations or Durations()
    for end in ends:
        durations.saw_end(pool, 0.0, end, ended=end, kind=kind)
    return durations


def wait(durations: Durations, age: float, pool: str | None = "FAST", price: float = 0.5) -> float:
    """Return the seconds to the next poll, which must be known."""
    found = durations.wait(pool, age, price)
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
    assert durations.wait("FAST", 40.0, 1.0) is None
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


def test_polls_are_close_where_tasks_end() -> None:
    """Polls are close where the ends lie, far apart before and after, and never jump over the place of the ends."""
    durations = learn(lognormal(40.0))
    assert wait(durations, 40.0) < 5.0
    assert wait(durations, 400.0) > 8.0
    assert 12.0 < wait(durations, 0.0) < 30.0


def test_polls_go_by_the_square_root_where_the_chance_is_even() -> None:
    """Where the chance does not change along the way, the wait is the root of two prices over it."""
    durations = learn(lognormal(40.0) + lognormal(400.0))
    for age in (30.5, 300.0):
        chance = durations.hazard("FAST", age)
        assert chance is not None
        assert wait(durations, age, price=1e-4) == pytest.approx(math.sqrt(2e-4 / chance))
        surprised = durations.wait("FAST", age, 1e-4, 3 * chance)
        assert surprised == pytest.approx(math.sqrt(2e-4 / (4 * chance)))


@pytest.mark.parametrize("median", [15.0, 40.0, 400.0])
def test_ends_are_seen_as_late_as_the_price_has_it(median: float) -> None:
    """Between two polls the delay to be expected is the price: summed up over the ends that were learned."""
    ends = lognormal(median)
    durations = learn(ends)
    late = polls = 0.0
    for end in ends:
        now = 0.0
        while now < end:
            now += wait(durations, now, price=0.3)
            polls += 1
        late += now - end
    assert late == pytest.approx(0.3 * polls, rel=0.2)


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
    few, many = learn([40.0, 41.0, 60.0] * 700), learn([40.0, 41.0, 60.0] * 2100)
    assert many.hazard("FAST", 40.0) == pytest.approx(few.hazard("FAST", 40.0), rel=0.01)


def test_pools_are_apart_and_bounded() -> None:
    """Each pool is learned by itself; invented pools take no memory without end, and share one place."""
    durations = learn([10.0] * 100, pool="FAST")
    learn([100.0] * 100, durations=durations, pool="NORMAL")
    assert wait(durations, 10.0, "FAST") < wait(durations, 10.0, "NORMAL")
    assert durations.wait("OTHER", 10.0, 2.0) is None
    for number in range(1000):
        learn([50.0], durations=durations, pool=f"invented {number}")
    assert wait(durations, 50.0, "any") == wait(durations, 50.0, "invented 900") == wait(durations, 50.0, None)
    assert wait(durations, 10.0, "FAST") < wait(durations, 10.0, "NORMAL")
    kept = durations._places
    assert len(kept) <= MOST_PLACES
    assert sum(sys.getsizeof(known._ends) + sys.getsizeof(known._seconds) for known in kept.values()) < 33_000


def test_kinds_are_apart() -> None:
    """In one pool each kind is learned by itself; who names no kind hears of the one of which most ended."""
    durations = learn([100.0] * 100, kind="IMAGINE")
    learn([10.0] * 60, durations=durations, kind="UPSCALE")
    upscale, imagine = (durations.hazard("FAST", 10.0, kind) for kind in ("UPSCALE", "IMAGINE"))
    assert upscale is not None
    assert imagine is not None
    assert upscale > 5 * imagine
    assert durations.hazard("FAST", 10.0) == imagine
    assert durations.wait("FAST", 10.0, 1.0) == durations.wait("FAST", 10.0, 1.0, kind="IMAGINE")
    assert durations.hazard("FAST", 10.0, "ZOOM") is None


def test_what_was_learned_can_be_taken_over() -> None:
    """A dump as JSON, taken over elsewhere, says the same; one that was never given is refused."""
    durations = learn([40.0, 50.0] * 30, kind="IMAGINE")
    dumped = json.loads(json.dumps(durations.dump("FAST", "IMAGINE")))
    other = Durations()
    other.restore("FAST", "IMAGINE", dumped)
    # The chances are worked out anew, which they are here at each eighth end only.
    assert other.hazard("FAST", 45.0, "IMAGINE") == pytest.approx(durations.hazard("FAST", 45.0, "IMAGINE"), rel=0.05)
    assert durations.dump("FAST", "ZOOM") is None
    few = learn([40.0] * (ENOUGH - 1)).dump("FAST", None)
    assert few is not None
    other.restore("NORMAL", None, few)
    assert other.hazard("NORMAL", 40.0) is None
    seen, ends, seconds = dumped
    for wrong in ([], [seen, ends], [seen, ends[1:], seconds], [seen, ends, [-1.0, *seconds[1:]]], [[], ends, seconds]):
        with pytest.raises(ValueError, match=r"sums|unpack"):
            other.restore("FAST", "IMAGINE", wrong)


def test_end_between_two_polls() -> None:
    """Where the record does not tell its end, the middle between the two polls is taken."""
    rough, exact = Durations(), Durations()
    for _ in range(60):
        rough.saw_end("FAST", 30.0, 50.0)
        exact.saw_end("FAST", 30.0, 50.0, ended=40.0)
    for age in (20.0, 40.0, 60.0):
        assert rough.hazard("FAST", age) == exact.hazard("FAST", age)


@pytest.mark.parametrize(
    ("since", "age", "ended"),
    [(-1.0, 5.0, 4.0), (6.0, 5.0, 5.0), (0.0, 5.0, 6.0), (0.0, 5.0, -1.0), (0.0, math.nan, 1.0), (0.0, 5.0, math.nan)],
)
def test_nonsense_is_left_out(since: float, age: float, ended: float) -> None:
    """Ages that cannot be are not learned from, and a hazard at no age is not told."""
    durations = Durations()
    durations.saw_end("FAST", since, age, ended=ended)
    durations.saw_running("FAST", since, -abs(age))
    assert not durations._places
    learn([40.0] * ENOUGH, durations=durations)
    assert durations.hazard("FAST", -1.0) is None
    assert durations.hazard("FAST", math.nan) is None
    assert durations.wait("FAST", -1.0, 2.0) is None


@given(
    seen=st.lists(st.tuples(pools, number, number, st.one_of(st.none(), number)), max_size=60),
    often=st.integers(1, 30),
    pool=pools,
    age=number,
    price=st.floats(1e-3, 1e6),
    surprises=st.floats(0.0, 1.0),
)
def test_any_history_gives_sane_answers(
    seen: list[tuple[str | None, float, float, float | None]],
    often: int,
    pool: str | None,
    age: float,
    price: float,
    surprises: float,
) -> None:
    """Whatever was told, rubbish too, chances are finite and above 0, and waits are finite."""
    durations = Durations()
    for _ in range(often):
        for where, since, until, ended in seen:
            durations.saw_running(where, since, until)
            durations.saw_end(where, since, until, ended=ended)
    chance = durations.hazard(pool, age)
    assert chance is None or 0 < chance < 1e6
    delay = durations.wait(pool, age, price, surprises)
    assert delay is None or 0 <= delay <= 86_400
