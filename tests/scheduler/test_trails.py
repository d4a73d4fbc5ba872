"""The states of live tasks: in order, bounded, and what the last two say."""

from __future__ import annotations

import math

import pytest

from omgmj.backoff.residual_life import State
from omgmj.backoff.silences import Silence
from omgmj.scheduler.trails import MOST_STATES, MOST_TASKS, Trails

STILL = State(Silence.STILL, 2.0, math.nan, 2.0)
TENTH = State(10, 5.0, 3.5, 5.0)


def trails(*states: State) -> Trails:
    """Return the trail of task 1."""
    found = Trails()
    for state in states:
        found.saw(1, *state)
    return found


def test_states_come_back_as_they_were_seen() -> None:
    """At its end a task's states are given once, in order, with what it was made as."""
    found = trails(TENTH, State(50, 9.0, 8.0, 9.0))
    found.made(1, ("FAST", "IMAGINE"))
    assert found.close(1) == ([TENTH, State(50, 9.0, 8.0, 9.0)], ("FAST", "IMAGINE"))
    assert found.close(1) == ([], None)


@pytest.mark.parametrize(
    ("states", "unseen", "left"),
    [
        ([], None, None),
        ([STILL], None, None),
        ([TENTH], 1.5, None),
        ([STILL, TENTH], 1.5, None),
        ([TENTH, State(50, 9.0, 8.0, 9.0)], 1.0, 50 * 4.0 / 40),
        ([State(50, 9.0, 8.0, 9.0), State(10, 12.0, 11.0, 12.0)], 1.0, None),
        ([TENTH, State(Silence.STILL, 12.0, 11.0, 12.0)], 1.0, None),
    ],
)
def test_what_the_present_state_tells(states: list[State], unseen: float | None, left: float | None) -> None:
    """Since when nobody had looked, and where a line through the last two steps ends, if they go up."""
    assert trails(*states).present(1) == (unseen, left)


def test_of_many_states_the_last_one_is_the_present_one() -> None:
    """A task that shows ever new progress keeps its first states and the last."""
    many = [State(1 + number % 99, number, number - 0.5, number) for number in range(3 * MOST_STATES)]
    states, _ = trails(*many).close(1)
    assert states == [*many[: MOST_STATES - 1], many[-1]]


def test_of_very_many_tasks_some_are_not_followed() -> None:
    """Beyond a number of live tasks further ones keep no trail, until others have ended."""
    found = Trails()
    for task_id in range(MOST_TASKS + 1):
        found.saw(task_id, *TENTH)
        found.made(task_id, (None, None))
    assert found.close(MOST_TASKS) == ([], None)
    assert found.close(0) == ([TENTH], (None, None))
    found.saw(MOST_TASKS, *TENTH)
    found.saw(1, *TENTH)
    assert found.close(1) == ([TENTH, TENTH], (None, None))
    assert found.close(MOST_TASKS) == ([TENTH], None)
