"""The worlds of `python -m benchmarks worlds`: whatever lives are like, the real planner sees each one's end."""

from __future__ import annotations

import math
import random

import pytest

from benchmarks.worlds import references, runner, tuned
from benchmarks.worlds.world import Life, Step, World
from omgmj import Adaptive, Fixed


@pytest.mark.parametrize("world", tuned.WORLDS, ids=[world.name for world in tuned.WORLDS])
def test_each_end_is_seen(world: World) -> None:
    """In a stream, alone, and where the pace is too low, each task is seen to end, and no sooner than it does."""
    warm = runner.warm(world, Adaptive(), 40, [1])
    cold = runner.cold(world, Adaptive(), 8, 1)
    crowd = runner.overloaded(world, Adaptive(), 40, 1, runner.score_of(warm).polls)
    assert all(one.delay > 0 and one.polls > 0 for one in (*warm, *cold, *crowd))


def test_a_seed_makes_the_same_run() -> None:
    """The same seed makes the same polls and delays, another one makes others."""
    runs = [runner.warm(tuned.WORLDS[0], Adaptive(), 40, [seed]) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_the_way_of_an_answer_counts() -> None:
    """A task that ends after 5 s, polled each 2 s with answers of 0.5 s, is seen by the third, at 7.5 s."""
    world = World("one life", lambda *_: Life(5.0, (Step(0.0, 0, started=0.0),)), latency=lambda _: 0.5, warm_up=0.0)
    (only,) = runner.cold(world, Fixed(2.0), 1, 1)
    assert only.polls == 3
    assert only.delay == pytest.approx(2.5, abs=0.05)


def test_a_fixed_interval_is_found_by_its_delay() -> None:
    """A mean delay of 1 s is that of an interval of 2 s, and of one less where the way of an answer is part of it."""
    chance = random.Random(1)
    ends = [chance.uniform(100.0, 200.0) for _ in range(4000)]
    assert references.fixed(ends, 1.0, 0.0, made=True) == pytest.approx(75.5, rel=0.02)
    assert references.fixed(ends, 1.25, 0.5, made=False) == pytest.approx(76.5, rel=0.02)


def test_an_exponential_one_takes_more_polls_where_lives_are_long() -> None:
    """At the same mean delay growing intervals are too short early and too long late."""
    chance = random.Random(1)
    ends = [chance.lognormvariate(math.log(60), 0.4) for _ in range(1000)]
    assert references.exponential(ends, 1.0, 0.1, made=True) > 1.1 * references.fixed(ends, 1.0, 0.1, made=True)
