"""The timer: when it fires, and how it notices that the process stood still."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from omgmj.client.timer import BEAT, PAUSE, Timer


class Clock:
    """An event loop that is nothing but a clock, turned by hand, and what is due."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, asyncio.Handle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any, context: Any) -> asyncio.Handle:
        handle = asyncio.Handle(callback, (), self, context)  # type: ignore[arg-type]
        self.due.append((when, handle))
        return handle

    def get_debug(self) -> bool:
        return False

    def turn(self, to: float, *, late: float = 0.0) -> None:
        """Run what is due until `to`, each as late as that, but never later than `to`."""
        while self.due and (first := min(self.due, key=lambda one: one[0]))[0] <= to:
            self.due.remove(first)
            self.now = min(to, max(self.now, first[0] + late))
            if not first[1].cancelled():
                first[1]._run()
        self.now = to


class Fired:
    """A timer, when it fired, and the pauses that it told then."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.at: list[float] = []
        self.pauses: list[float] = []
        self.timer = Timer(self.clock, self.fire, self.crash)  # type: ignore[arg-type]

    def fire(self) -> None:
        self.at.append(self.clock.now)
        self.pauses.append(self.timer.notice_pause(self.clock.now))

    def crash(self, error: Exception) -> None:
        raise error


@pytest.mark.parametrize("when", [0.5, BEAT, 3 * BEAT + 0.1])
def test_it_fires_once_when_it_is_time(when: float) -> None:
    """Near or far, it fires at its time and not before, and tells of no pause; a little late is no pause either."""
    fired = Fired()
    fired.timer.by(when)
    fired.timer.by(when + 1.0)
    fired.clock.turn(100.0)
    assert (fired.at, fired.pauses) == ([when], [0.0])
    fired.timer.by(101.0)
    fired.clock.turn(200.0, late=PAUSE)
    assert (fired.at[1:], fired.pauses[1:]) == ([101.0 + PAUSE], [0.0])
    fired.timer.by(201.0)
    fired.timer.cancel()
    fired.clock.turn(300.0)
    assert len(fired.at) == 2
    assert fired.timer.when == math.inf


def test_a_pause_is_told_once_though_nothing_was_due() -> None:
    """However far off its time is, it fires after a pause, and tells how long that was, from its last beat on."""
    fired = Fired()
    fired.timer.by(1000.0)
    fired.clock.turn(5.0)
    fired.clock.now = 60.0
    fired.clock.turn(60.0)
    assert fired.at == [60.0]
    assert fired.pauses == [60.0 - 2 * BEAT]
    assert fired.timer.notice_pause(60.0) == 0.0
    assert fired.timer.when == math.inf  # It is to be set anew.


def test_who_comes_before_the_timer_notices_the_pause() -> None:
    """A callback that runs first after a pause is told of it, and the timer tells it no more."""
    fired = Fired()
    fired.timer.by(1.0)
    fired.clock.now = 11.0
    assert fired.timer.notice_pause(11.0) == 10.0
    assert fired.timer.notice_pause(11.0) == 0.0
    fired.timer.by(12.0)
    fired.clock.turn(12.0)
    assert (fired.at, fired.pauses) == ([12.0], [0.0])


def test_what_nobody_needs_stops_looking_at_the_clock() -> None:
    """A timer whose owner has nothing to bound any more is not set from its next look on, and can be set again."""
    clock, fired, idle = Clock(), [0], [True]
    timer = Timer(clock, lambda: fired.append(1), print, lambda: idle[0])  # type: ignore[arg-type]
    timer.by(30.0)
    clock.turn(10 * BEAT)
    assert (timer.when, clock.due, fired) == (math.inf, [], [0])
    idle[0] = False
    timer.by(60.0)
    clock.turn(60.0)
    assert fired == [0, 1]
