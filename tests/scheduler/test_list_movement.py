"""Movement of the list: tasks made, heard of and unheard of, now and shortly ago."""

from __future__ import annotations

import pytest

from omgmj.scheduler.list_movement import PAST, PAST_STEP, ListMovement


def test_what_is_heard_of_is_added_and_the_rest_is_rate() -> None:
    """Ten tasks heard of are ten; ten unheard of in ten seconds are half a task a second from then on."""
    movement = ListMovement()
    movement.add(10.0, 1.0)
    assert movement.made(5.0) == 10.0
    movement.on_unheard(10.0, 10.0)
    assert movement.made(5.0) == 12.0
    movement.on_unheard(10.0, 0.0)
    assert movement.made(5.0) == 12.0
    movement.on_unheard(-1000.0, 1.0)
    assert movement.made(5.0) == 10.0


def test_movement_between_moments_of_late_is_a_line() -> None:
    """What was added at two moments was made in between, evenly; before the first there is none."""
    movement = ListMovement()
    assert movement.made(-1.0) == 0.0
    for at in (0.0, 1.0, 2.0):
        movement.add(10.0, at)
    assert [movement.made(at) for at in (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 9.0)] == [0.0, 0.0, 5.0, 10.0, 15.0, 30.0, 30.0]


def test_what_is_heard_late_counts_from_its_moment_on() -> None:
    """Tasks that a moment before the last one tells of leave what was before it as it was."""
    movement = ListMovement()
    for at in (0.0, 1.0, 2.0):
        movement.add(10.0, at)
    before = movement.made(0.5)
    movement.add(7.0, 1.0)
    assert movement.made(0.0) == 0.0
    assert movement.made(0.5) == before + 3.5
    assert movement.made(2.0) == 37.0


def test_speed_is_movement_of_the_last_seconds() -> None:
    """Ten tasks a second, heard of, are the speed soon, and none are when no more come; before there is the rate."""
    movement = ListMovement()
    movement.on_unheard(10.0, 10.0)
    assert movement.speed(0.0) == 0.5
    movement.on_unheard(-10.0, 10.0)
    for step in range(1, 101):
        movement.add(1.0, step / 10)
    assert movement.speed(10.0) == pytest.approx(10.0, rel=0.1)
    assert movement.speed(20.0) == 0.0


def test_the_past_is_bounded() -> None:
    """However often something is heard, moments of late are few."""
    movement = ListMovement()
    for step in range(10_000):
        movement.add(1.0, step * PAST_STEP / 2)
        assert len(movement._past) <= 2 * PAST
    assert movement.made(10_000.0) == 10_000.0
