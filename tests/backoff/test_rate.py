"""The budget: its windows, its cuts, its recovery, and the closed loop with a service that limits."""

from __future__ import annotations

import heapq
import math
import random
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.backoff.rate import Rate

if TYPE_CHECKING:
    from collections.abc import Callable

EARLY = 1e-6


def burst(rate: float) -> int:
    """Return what may start in one go."""
    return max(1, math.ceil(rate * 0.02))


def send_all(budget: Rate, start: float, end: float) -> list[float]:
    """Send whenever the rate allows it, and return the times."""
    times: list[float] = []
    now = start
    while (now := budget.ready_at(now)) < end:
        budget.take(now)
        times.append(now)
    return times


def crowd(times: list[float], rate: float) -> float:
    """Return by how many requests the fullest window of `times` exceeds rate * T + burst; 0 or less is right."""
    worst = -math.inf
    lead = -math.inf  # the largest of (rate * time - index) seen so far, so that one pass is enough
    for index, time in enumerate(times):
        lead = max(lead, rate * time - index)
        worst = max(worst, index + 1 - rate * time + lead - burst(rate))
    return worst


def keep_busy(budget: Rate, start: float, end: float, *, good: int = 5) -> None:
    """Send whenever the rate allows it; of five requests `good` succeed at once, and of the others nothing is heard."""
    now = start
    for number in range(sys.maxsize):
        now = budget.ready_at(now)
        if now >= end:
            break
        budget.take(now)
        if number % 5 < good:
            budget.saw_success(now, now)


def refuse(budget: Rate, sent_at: float, now: float) -> None:
    """Refuse until there is a cut, as a few 429s among many answers are borne."""
    while not budget.saw_429(sent_at, now, None):
        pass


def test_starts_with_a_burst_and_then_one_at_a_time() -> None:
    """A new rate gives its burst at once, then a slot each 1/rate seconds."""
    budget = Rate(100.0, 50.0)
    assert send_all(budget, 50.0, 50.025) == pytest.approx([50.0, 50.0, 50.01, 50.02])
    assert (budget.rate, budget.limit, budget._held_until) == (100.0, 100.0, -math.inf)


def test_a_slot_may_be_taken_at_once() -> None:
    """Who does not wait gets a slot where one is free."""
    budget = Rate(100.0, 0.0)
    assert [budget.take_at_once(0.0) for _ in range(3)] == [True, True, False]


def test_low_rate_gives_single_slots() -> None:
    """A rate below one a second still has a burst of one, and then waits its turn."""
    budget = Rate(0.1, 0.0)
    assert send_all(budget, 0.0, 35.0) == pytest.approx([0.0, 10.0, 20.0, 30.0])


def test_a_timer_that_fires_a_hair_early_is_ready() -> None:
    """A clock that rounds to a microsecond never finds itself too early for ever, and the lent time is paid back."""
    budget = Rate(7.0, 0.0)
    now = 0.0
    for _ in range(1000):
        now = math.floor(budget.ready_at(now) * 1e6) / 1e6
        assert budget.ready_at(now) == now
        budget.take(now)
    assert now == pytest.approx(999 / 7, abs=2e-6)


@given(
    rate=st.floats(0.05, 2000.0),
    moves=st.lists(
        st.tuples(
            st.floats(0.0, 3.0),
            st.sampled_from(["send", "ok", "429", "late 429", "held"]),
            st.floats(0.0, 100.0),
        ),
        max_size=60,
    ),
)
def test_no_window_holds_more_than_rate_and_burst(rate: float, moves: list[tuple[float, str, float]]) -> None:
    """Whatever comes, no window of T seconds sees more than rate * T + burst requests; to ask changes nothing."""
    budget = Rate(rate, 0.0)
    times: list[float] = []
    now = 0.0
    for step, what, seconds in moves:
        now += step
        if what == "send":
            while budget.ready_at(now) <= now and len(times) < 3000:
                budget.take(now)
                times.append(now)
        elif what == "ok":
            budget.saw_success(now, now)
        else:
            budget.saw_429(now if what != "late 429" else now - seconds, now, seconds if what == "held" else None)
        assert min(rate, 0.5) <= budget.limit <= rate
        before = [getattr(budget, name) for name in Rate.__slots__ if name != "_successes"]
        assert budget.ready_at(now) >= now
        assert before == [getattr(budget, name) for name in Rate.__slots__ if name != "_successes"]
    assert crowd(times, rate) <= rate * EARLY + 1e-6


@given(rate=st.floats(1.0, 500.0), cuts=st.integers(0, 8), idle=st.floats(0.0, 10.0))
def test_no_window_holds_more_than_the_limit_of_the_moment(rate: float, cuts: int, idle: float) -> None:
    """After a cut the lowered limit and its own burst hold in every window that follows, at once."""
    budget = Rate(rate, 0.0)
    now = 0.0
    for _ in range(cuts):
        now += idle
        budget.saw_429(now, now, None)
        now += 0.001
    times = send_all(budget, now, now + 3.0)
    assert crowd(times, budget.limit) <= budget.limit * EARLY + 1e-6


@pytest.mark.parametrize("rate", [64.0, 512.0])
def test_a_lowered_rate_holds_at_once(rate: float) -> None:
    """Slots are given late: after a cut below 4 a second no more than that and the burst start in the next second."""
    budget = Rate(rate, 0.0)
    assert len(send_all(budget, 0.0, 1.0)) >= rate
    now = 10.0  # long idle: the burst is full again
    while budget.limit > 4.0:
        budget.saw_429(now, now, None)
        now += 0.0001
    assert budget.limit > 2.0
    assert len(send_all(budget, now, now + 1.0)) <= budget.limit + burst(budget.limit)


def test_one_cut_per_epoch() -> None:
    """Only answers to requests sent after the last cut count, so one burst of 429s cuts once."""
    budget = Rate(64.0, 0.0)
    for _ in range(20):
        budget.saw_429(1.0, 1.1, None)
    assert budget.limit == pytest.approx(0.6 * 64)
    budget.saw_429(1.1, 1.2, None)  # sent in the very moment of the cut: not after it
    assert budget.limit == pytest.approx(0.6 * 64)
    assert not budget.saw_429(1.15, 1.2, None)  # one by itself may be chance
    refuse(budget, 1.16, 1.2)
    assert budget.limit == pytest.approx(0.6 * 0.6 * 64)


def test_cut_goes_to_what_got_through() -> None:
    """A cut leaves 92 % of what the service let through in the last two seconds, and never raises the limit."""
    budget = Rate(100.0, 0.0)
    keep_busy(budget, 0.0, 5.0, good=4)
    refuse(budget, 4.99, 5.0)
    assert budget.limit == pytest.approx(73.6, rel=0.02)
    refuse(budget, 5.05, 5.1)  # the window still holds 80 a second, more than the limit: that is no reason to stay
    assert budget.limit == pytest.approx(73.6 * 0.92, rel=0.02)


def test_cut_is_deep_where_hardly_anything_got_through() -> None:
    """Where far less than the limit got through, 60 % of it are left, and not next to nothing."""
    budget = Rate(100.0, 0.0)
    keep_busy(budget, 0.0, 5.0, good=1)
    refuse(budget, 5.0, 5.1)
    assert budget.limit == 60.0


def test_cut_is_deep_where_the_window_says_nothing() -> None:
    """After an idle time the count of successes says nothing, so 60 % of the limit are left, not next to nothing."""
    budget = Rate(100.0, 0.0)
    keep_busy(budget, 0.0, 1.0)
    budget.saw_success(60.0, 60.0)
    refuse(budget, 60.0, 60.1)
    assert budget.limit == 60.0


def test_a_young_count_is_no_level() -> None:
    """What got through in the first second holds a burst that the service takes once: the climb after it is quick."""
    young, old = Rate(100.0, 0.0), Rate(100.0, 0.0)
    keep_busy(young, 0.0, 1.0, good=4)
    keep_busy(old, 0.0, 4.0, good=4)
    refuse(young, 1.0, 1.0)
    refuse(old, 4.0, 4.0)
    cut = young.limit
    assert cut == pytest.approx(old.limit, rel=0.02)
    young.saw_success(2.0, 2.0)
    old.saw_success(5.0, 5.0)
    assert young.limit > 1.08 * cut
    assert old.limit < 1.02 * cut


def test_cuts_end_at_a_floor() -> None:
    """However many 429s come, half a request a second is left, or the rate where that is lower."""
    for rate, floor in ((20.0, 0.5), (0.2, 0.2)):
        budget = Rate(rate, 0.0)
        for second in range(1, 50):
            budget.saw_429(second, second + 0.1, None)
        assert budget.limit == floor


@pytest.mark.parametrize(("told", "held"), [(0.0, 0.5), (3.0, 3.0), (1e9, 60.0), (math.inf, 60.0), (None, -math.inf)])
def test_retry_after_holds_everything(told: float | None, held: float) -> None:
    """A Retry-After is read each time, not believed below half a second or above a minute."""
    budget = Rate(100.0, 0.0)
    budget.saw_429(9.0, 10.0, told)
    assert budget._held_until == (10.0 + held if told is not None else held)
    tried = 12.0 if held > 4.0 else budget._held_until
    assert budget.ready_at(10.0) == max(10.0, tried)


def test_retry_after_counts_on_a_429_that_does_not_cut() -> None:
    """A 429 of an old epoch still holds everything as long as it says, and a shorter one does not shorten that."""
    budget = Rate(100.0, 0.0)
    budget.saw_429(1.0, 2.0, None)
    budget.saw_429(1.5, 2.1, 7.0)
    budget.saw_429(1.6, 2.2, 1.0)
    assert budget.limit == 60.0
    assert budget._held_until == pytest.approx(9.1)
    assert len(send_all(budget, 2.2, 9.1)) == 1  # tried once
    assert len(send_all(budget, 9.1, 9.1001)) == burst(60.0)


def test_recovery_is_slow_below_the_level_and_quicker_above() -> None:
    """Below the level of the cut 0.6 % of its mean with the rate comes back each second, well past it 10 % of it."""
    budget = Rate(1000.0, 0.0)
    keep_busy(budget, 0.0, 4.0, good=4)
    refuse(budget, 3.999, 4.0)
    cut, level = budget.limit, 800.0
    assert cut == pytest.approx(0.92 * level, rel=0.01)
    now = 4.0
    for _ in range(100):
        now += 0.1
        budget.saw_success(now, now)
    assert budget.limit - cut == pytest.approx(10 * 0.006 * math.sqrt(level * 1000), rel=0.01)
    while budget.limit < 1.1 * level:
        now += 0.1
        budget.saw_success(now, now)
    assert now == pytest.approx(31, abs=1)
    mark = budget.limit
    for _ in range(5):
        now += 0.1
        budget.saw_success(now, now)
    assert budget.limit / mark == pytest.approx(1.05, abs=0.01)


def test_recovery_ends_at_the_rate() -> None:
    """The limit climbs back to the configured rate and no further."""
    budget = Rate(10.0, 0.0)
    budget.saw_429(1.0, 1.1, None)
    for index in range(1000):
        budget.saw_success(1.1 + index * 0.1, 1.1 + index * 0.1)
    assert budget.limit == 10.0


def test_an_idle_session_gains_no_rate() -> None:
    """One success after an hour brings back one second's worth, not an hour's."""
    budget = Rate(100.0, 0.0)
    budget.saw_429(1.0, 1.1, None)
    budget.saw_success(3600.0, 3600.0)
    assert 60.0 < budget.limit < 66.0


class Seen(NamedTuple):
    """What came of some seconds: requests sent, those refused, and the share used of what was allowed."""

    sent: int
    refused: int
    used: float


class Loop:
    """A session that always has something to send, against a token bucket, answers 10 to 100 ms later."""

    def __init__(self, rate: float, capacity: Callable[[float], float], depth: float, seed: int) -> None:
        self.budget = Rate(rate, 0.0)
        self.capacity = capacity
        self.depth = depth
        self.tokens = depth
        self.filled_at = 0.0
        self.now = 0.0
        self.rng = random.Random(seed)
        self.answers: list[tuple[float, float, bool]] = []

    def run(self, until: float) -> Seen:
        """Go on until that time, and return what came of it."""
        sent = refused = 0
        available = 0.0
        while True:
            ready = self.budget.ready_at(self.now)
            if self.answers and self.answers[0][0] <= ready:
                self.now, sent_at, good = heapq.heappop(self.answers)
                if good:
                    self.budget.saw_success(sent_at, self.now)
                else:
                    self.budget.saw_429(sent_at, self.now, None)
                continue
            if ready >= until:
                self.now = until
                return Seen(sent, refused, (sent - refused) / available)
            self.now = ready
            self.budget.take(ready)
            passed = ready - self.filled_at
            available += passed * self.capacity(ready)
            self.tokens = min(self.depth, self.tokens + passed * self.capacity(ready))
            self.filled_at = ready
            good = self.tokens >= 1
            self.tokens -= good
            sent += 1
            refused += not good
            heapq.heappush(self.answers, (ready + self.rng.uniform(0.01, 0.1), ready, good))


@pytest.mark.parametrize(
    ("rate", "capacity", "depth", "most_refused", "least_used"),
    [
        (500.0, 50.0, 10.0, 0.02, 0.90),
        (500.0, 50.0, 1.0, 0.02, 0.90),
        (500.0, 200.0, 20.0, 0.02, 0.90),
        (500.0, 200.0, 1.0, 0.02, 0.80),
        (64.0, 4.0, 1.0, 0.05, 0.80),
        (20.0, 200.0, 20.0, 0.0, 0.0),
    ],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_settles_below_what_the_service_allows(
    rate: float, capacity: float, depth: float, most_refused: float, least_used: float, seed: int
) -> None:
    """After ten seconds nearly nothing is refused and nearly all that the service allows is used."""
    loop = Loop(rate, lambda _now: capacity, depth, seed)
    loop.run(10.0)
    seen = loop.run(70.0)
    assert seen.refused <= most_refused * seen.sent, seen
    assert seen.used >= least_used, seen


def test_finds_out_when_the_service_allows_more() -> None:
    """When the service's limit rises to five times as much, nine tenths of it are used within a minute."""
    loop = Loop(500.0, lambda now: 50.0 if now < 60.0 else 250.0, 20.0, 4)
    loop.run(120.0)
    assert loop.run(150.0).used > 0.9


def test_follows_when_the_service_allows_less() -> None:
    """When the service's limit falls to a tenth, the rate is down within seconds and not far below it for long."""
    loop = Loop(500.0, lambda now: 200.0 if now < 60.0 else 20.0, 20.0, 5)
    loop.run(65.0)
    assert loop.budget.limit < 30.0
    loop.run(80.0)
    seen = loop.run(140.0)
    assert seen.refused < 0.03 * seen.sent
    assert seen.used > 0.85


def test_a_hold_is_tried_once() -> None:
    """A long Retry-After is tried with one request after a moment: its answer ends the hold, a 429 prolongs it."""
    for lifted in (True, False):
        budget = Rate(100.0, 0.0)
        assert budget.saw_429(1.0, 1.0, 60.0)
        assert not budget.take_at_once(2.5)
        assert send_all(budget, 1.0, 61.0) == [3.0]
        if lifted:
            budget.saw_success(0.5, 3.05)  # sent before the hold: it says nothing
            assert budget.ready_at(3.1) == 61.0
            budget.saw_success(3.0, 3.1)
            assert budget.ready_at(3.2) == 3.2
        else:
            assert not budget.saw_429(3.0, 3.1, 60.0)
            assert budget.limit == 60.0
            assert send_all(budget, 3.1, 63.1) == []


def test_a_429_that_is_borne_holds_nobody() -> None:
    """A Retry-After of a 429 by chance is not for all; one of the time before a cut is."""
    budget = Rate(100.0, 0.0)
    for index in range(200):
        budget.saw_success(index * 0.01, index * 0.01)
    assert not budget.saw_429(1.99, 2.0, 30.0)
    assert budget.ready_at(2.1) == 2.1
    assert budget.limit == 100.0
