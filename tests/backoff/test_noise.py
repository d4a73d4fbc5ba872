"""Noise: 429s by chance are told from a limit's by what they do at a lower pace."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.backoff.noise import BLOCK, MOST, TRUSTED, Noise
from omgmj.backoff.rate import Rate

SECONDS = 144.0


class Bucket:
    """A limiter: a token bucket."""

    def __init__(self, rate: float, depth: float) -> None:
        self.rate, self.depth, self.tokens, self.at = rate, depth, depth, 0.0

    def __call__(self, now: float) -> bool:
        self.tokens = min(self.depth, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Window:
    """A limiter: so many in each whole second."""

    def __init__(self, rate: float) -> None:
        self.rate, self.second, self.count = rate, -1, 0

    def __call__(self, now: float) -> bool:
        if int(now) != self.second:
            self.second, self.count = int(now), 0
        self.count += 1
        return self.count <= self.rate


class Sliding:
    """A limiter: so many in the second before."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.let: list[float] = []

    def __call__(self, now: float) -> bool:
        self.let = [at for at in self.let if at > now - 1]
        if len(self.let) >= self.rate:
            return False
        self.let.append(now)
        return True


class Seen(NamedTuple):
    """What came of the second half of a run: mean pace as a share, share of 429s, requests let through a second."""

    pace: float
    refused: float
    through: float
    parts: list[float]


def simulate(
    lets: Callable[[float], bool],
    seed: int,
    *,
    noise: float = 0.0,
    latency: tuple[float, float] = (0.05, 0.3),
    sessions: int = 1,
    retry_after: float | None = None,
) -> Seen:
    """Let sessions of 100 a second send all they may."""
    chance = random.Random(seed)
    rates = [Rate(100.0, 0.0) for _ in range(sessions)]
    # When, who, and of an answer: when it was sent and whether it is good.
    events: list[tuple[float, int, float, bool | None]] = [(0.0, who, 0.0, None) for who in range(sessions)]
    paces: list[float] = []
    good, bad = [0] * sessions, 0
    while events:
        now, who, sent_at, is_good = heapq.heappop(events)
        if now > SECONDS:
            break
        rate = rates[who]
        if len(paces) < now:
            paces.append(sum(one.limit for one in rates) / len(rates) / rate.rate)
        if is_good is not None:
            if is_good:
                rate.saw_success(sent_at, now)
                good[who] += now > SECONDS / 2
            else:
                rate.saw_429(sent_at, now, retry_after)
                bad += now > SECONDS / 2
        elif (ready := rate.ready_at(now)) > now:
            heapq.heappush(events, (ready, who, 0.0, None))
        else:
            rate.take(now)
            answer = chance.random() >= noise and lets(now)
            heapq.heappush(events, (now + chance.uniform(*latency), who, now, answer))
            heapq.heappush(events, (now + 1e-9, who, 0.0, None))
    through = sum(good)
    return Seen(sum(paces) / len(paces), bad / (through + bad), through * 2 / SECONDS, [one / through for one in good])


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("noise", "least"), [(0.002, 0.99), (0.01, 0.9), (0.02, 0.8), (0.05, 0.8), (0.1, 0.7)])
def test_429s_by_chance_leave_the_pace(noise: float, least: float, seed: int) -> None:
    """Of 429s that come at any pace alike, most are found out, and what was cut for them is won back."""
    assert simulate(lambda _: True, seed, noise=noise).pace > least


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "limiter", [lambda: Bucket(50, 1), lambda: Bucket(50, 20), lambda: Window(50), lambda: Sliding(50)]
)
def test_a_limit_is_no_noise(limiter: Callable[[], Callable[[float], bool]], seed: int) -> None:
    """Limiters of each kind are met: hardly a 429 in the second half, and most of what is allowed is used."""
    seen = simulate(limiter(), seed)
    assert seen.refused < 0.02
    assert seen.through > 0.9 * 50


@pytest.mark.parametrize("retry_after", [0.5, 1.0])
def test_a_limit_that_says_how_long_to_wait(retry_after: float) -> None:
    """A Retry-After with each 429 changes little: it holds where the pace is cut, and not for each that is borne."""
    seen = simulate(Bucket(50, 20), 1, retry_after=retry_after)
    assert seen.refused < 0.02
    assert seen.through > 0.9 * 50


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_noise_beside_a_limit(noise: float) -> None:
    """With both, the limit is used, and no more is refused than both make."""
    seen = simulate(Bucket(50, 20), 1, noise=noise)
    assert seen.refused < 2 * noise + 0.05
    assert seen.through > 0.7 * 50


def test_two_sessions_share_a_token_bucket() -> None:
    """Each of two gets 35 to 65 % of a bucket, with hardly an exception: he who has less wins back more."""
    seen = [simulate(Bucket(50, 20), seed, sessions=2, latency=(0.01, 0.1)) for seed in range(1, 17)]
    assert max(one.refused for one in seen) < 0.02
    assert min(one.through for one in seen) > 0.95 * 50
    largest = sorted(max(one.parts) for one in seen)
    assert largest[-2] < 0.65
    assert sum(largest) / len(largest) < 0.55


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_four_sessions_share_a_token_bucket(seed: int) -> None:
    """No one of four gets twice its part, and few are refused."""
    seen = simulate(Bucket(50, 20), seed, sessions=4, latency=(0.01, 0.1))
    assert seen.refused < 0.05
    assert max(seen.parts) < 0.5


@pytest.mark.parametrize("seed", [1, 3, 5])
@pytest.mark.parametrize("limiter", [lambda: Sliding(50), lambda: Window(50)])
def test_two_sessions_share_a_limit(limiter: Callable[[], Callable[[float], bool]], seed: int) -> None:
    """Each of two that share a limit gets 35 to 65 % of it, as neither takes the other's part for noise."""
    seen = simulate(limiter(), seed, sessions=2, latency=(0.01, 0.1))
    assert seen.refused < 0.05
    assert max(seen.parts) < 0.65


class Answers(Noise):
    """Noise that counts by itself what passed since the last 429."""

    passed = 0

    def passes(self, now: float, *, low: bool) -> bool:
        """Let a request pass."""
        self.passed += 1
        return low and self.on_low_success(now)

    def refuses(self, now: float, limit: float, *, low: bool) -> bool:
        """Refuse a request."""
        passed, self.passed = self.passed, 0
        return self.on_429(now, limit, passed, low=low)


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.booleans(), st.booleans()), max_size=400))
def test_the_share_is_a_share(answers: list[tuple[float, bool, bool]]) -> None:
    """Whatever comes, noise is a share within its bound, and the first 429 of all is explained by nothing."""
    noise, now = Answers(0.0), 0.0
    for step, is_good, low in answers:
        now += step
        if is_good:
            noise.passes(now, low=low)
        else:
            noise.refuses(now, 10.0, low=low)
            if not noise.explains(now):
                noise.on_cut(now)
        assert 0 <= noise.share <= MOST
    fresh = Answers(now)
    fresh.refuses(now, 10.0, low=False)
    assert not fresh.explains(now)


def test_noise_is_looked_at_again() -> None:
    """Noise is believed for a while; then the next 429 is not explained, and what comes at a low pace tells anew."""
    noise = Answers(0.0)
    found = False
    for number in range(9 * BLOCK):
        if number % 10 == 9:
            found |= noise.refuses(1.0, 100.0, low=True)
        else:
            found |= noise.passes(1.0, low=True)
    assert found
    assert noise.share == pytest.approx(0.1)
    assert noise.explains(1.0)
    assert not noise.explains(1.1 + TRUSTED)
    noise.on_cut(1.1 + TRUSTED)
    assert not math.isnan(noise.share)
    for _ in range(9 * BLOCK):
        noise.passes(40.0, low=True)
    assert noise.share == 0.0


def test_a_few_429s_in_some_blocks_are_no_noise() -> None:
    """What spoils fewer than half of the blocks, such as a window that is used up, is no noise."""
    noise = Answers(0.0)
    for number in range(9 * BLOCK):
        if number // BLOCK in (2, 6) and number % 2:
            assert not noise.refuses(1.0, 100.0, low=True)
        else:
            assert not noise.passes(1.0, low=True)
    assert noise.share == 0.0


def test_the_429_after_a_cut_may_be_chance() -> None:
    """Right after a cut 429s of the same share are borne, as that is how noise looks; more of them are not."""
    noise = Answers(0.0)
    for _ in range(50):
        noise.passes(1.0, low=False)
    while noise.explains(1.0) or noise.share:
        noise.refuses(1.0, 100.0, low=False)
    noise.refuses(1.0, 100.0, low=False)
    noise.on_cut(1.0)
    for _ in range(30):
        noise.passes(1.5, low=False)
    noise.refuses(1.5, 100.0, low=False)
    assert noise.explains(1.5)
    for _ in range(20):
        noise.refuses(1.6, 100.0, low=False)
    assert not noise.explains(1.6)
