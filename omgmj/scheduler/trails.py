"""The states in which live tasks were seen, one after the other: what is learned of when they end."""

from __future__ import annotations

from struct import Struct

from omgmj.backoff.residual_life import Key, State

MOST_TASKS = 10_000
"""Tasks that are followed at once; of further ones only the present step is known."""
MOST_STATES = 40
"""States of one task that are kept: of more the last one is the present one."""
_PACKED = Struct(f"{len(State._fields)}d")
_WIDTH = _PACKED.size


class Trails:
    """The states of each live task, the present one last."""

    def __init__(self) -> None:
        # As bytes: what the garbage collector walks does not grow with the tasks.
        self._of: dict[int, bytes] = {}
        self._made_as: dict[int, Key] = {}

    def saw(self, task_id: int, state: State) -> None:
        """Record that a task was seen in a state for the first time."""
        trail = self._of.get(task_id, b"")
        if trail or len(self._of) < MOST_TASKS:
            self._of[task_id] = trail[: (MOST_STATES - 1) * _WIDTH] + _PACKED.pack(*state)

    def made(self, task_id: int, made_as: Key) -> None:
        """Record what a task was made as."""
        if len(self._made_as) < MOST_TASKS:
            self._made_as[task_id] = made_as

    def present(self, task_id: int) -> State | None:
        """Return the state that a task was seen in last, and since when; None where it was not seen."""
        trail = self._of.get(task_id)
        return None if trail is None else _state(trail, len(trail) - _WIDTH)

    def line(self, task_id: int) -> float | None:
        """Return the seconds that were left as the present step was first seen, by a line through the last two.

        A state without progress counts as 0 percent. None where there are no two, or progress went back.
        """
        trail = self._of.get(task_id)
        if trail is None or len(trail) < 2 * _WIDTH:
            return None
        first, last = _state(trail, len(trail) - 2 * _WIDTH), _state(trail, len(trail) - _WIDTH)
        gained = last.place - max(0, first.place)
        if last.place <= 0 or gained <= 0:
            return None
        return (100 - last.place) * (last.at - first.at) / gained

    def close(self, task_id: int) -> tuple[list[State], Key | None]:
        """Return the states of a task that has ended, and what it was made as; they are forgotten."""
        trail = self._of.pop(task_id, b"")
        return [_state(trail, first) for first in range(0, len(trail), _WIDTH)], self._made_as.pop(task_id, None)


def _state(trail: bytes, first: int) -> State:
    place, at, before, age = _PACKED.unpack_from(trail, first)
    return State(int(place), at, before, age)
