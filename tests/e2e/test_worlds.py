"""The worlds of `python -m benchmarks worlds`: whatever lives are like, the real planner sees each one's end."""

from __future__ import annotations

import math
import random

import pytest

from benchmarks.worlds import curves, figures, held_back, references, runner, tuned
from benchmarks.worlds.world import Life, Step, World, draw_stream
from omgmj import Adaptive, Fixed

ALL = [world for worlds in figures.HALVES.values() for world in worlds]


@pytest.mark.parametrize("world", ALL, ids=[world.name for world in ALL])
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


def test_a_second_run_knows_what_the_first_one_learned() -> None:
    """Tasks that are watched alone, each with what other tasks taught before, take fewer polls, and all are seen."""
    world = tuned.WORLDS[0]
    cold = runner.cold(world, Adaptive(), 40, 1)
    second = runner.cold(world, Adaptive(), 40, 1, runner.second(world, Adaptive(), 40, 2))
    assert runner.score_of(second).polls < 0.9 * runner.score_of(cold).polls
    assert all(one.delay > 0 for one in second)


def test_both_halves_are_written_well() -> None:
    """No two worlds have a name in common, and the steps of each life are in order."""
    assert len({world.name for world in ALL}) == len(ALL)
    for life in (life for world in ALL for life in draw_stream(world, 100, 1).lives):
        moments = [step.at for step in life.steps]
        assert moments[0] == 0
        assert moments == sorted(moments)


def test_the_oracle_is_at_hand_for_each_world() -> None:
    """What the oracle takes was made for the lives as they are."""
    assert all(curves.kept(world) for world in ALL)


@pytest.mark.parametrize("world", held_back.WORLDS, ids=[world.name for world in held_back.WORLDS])
def test_a_held_back_world_can_be_seen_in_time(world: World) -> None:
    """Where the oracle is 1 s late on average few ends are late by much more: nobody is asked for what cannot be."""
    curve = curves.kept(world)
    assert curve is not None
    assert curve.at(figures.ASKED).p95 <= 3.1


def test_each_half_has_its_figures_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A half alone has the same rows as beside the other, and where all tasks fail is told of that half only."""
    failing = [world for world in held_back.WORLDS if world.warm_up == 0.5]
    monkeypatch.setattr(figures, "HALVES", {"tuned": tuned.WORLDS[:1], "held-back": failing[:1]})
    monkeypatch.setattr(figures, "without_memory", lambda: 1.0)
    both, alone = figures.run(short=True), figures.run(short=True, half="held-back")
    assert [row for row in both.rows if row in alone.rows] == alone.rows
    assert len(both.rows) == 2 * len(alone.rows) == 6
    assert [name for name, _ in both.short if "everything fails" in name] == [
        "held-back worlds, everything fails, mean delay",
        "held-back worlds, everything fails, p95 of delay",
    ]


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
