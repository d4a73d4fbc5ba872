"""The states in which live tasks were seen, one after the other: what is learned of when they end."""

from __future__ import annotations

import math
from struct import Struct

from omgmj.backoff.residual_life import Key, State

MOST_TASKS = 10_000
"""Tasks that are followed at once; of further ones only the present step is known."""
MOST_STATES = 40
"""States of one task that are kept: of more the last one is the present one."""
_PACKED = Struct(f"{len(State._fields)}d")
_LAST_TWO = Struct(f"{2 * len(State._fields)}d")
_WIDTH = _PACKED.size


class Trails:
    """The states of each live task, the present one last."""

    def __init__(self) -> None:
        # As bytes: what the garbage collector walks does not grow with the tasks.
        self._of: dict[int, bytes] = {}
        self._made_as: dict[int, Key] = {}

    def saw(self, task_id: int, place: int, at: float, before: float, age: float) -> None:
        """Record that a task was seen in a state for the first time: what a `State` tells."""
        trail = self._of.get(task_id)
        if trail is not None:
            self._of[task_id] = trail[: (MOST_STATES - 1) * _WIDTH] + _PACKED.pack(place, at, before, age)
        elif len(self._of) < MOST_TASKS:
            self._of[task_id] = _PACKED.pack(place, at, before, age)

    def made(self, task_id: int, made_as: Key) -> None:
        """Record what a task was made as."""
        if len(self._made_as) < MOST_TASKS:
            self._made_as[task_id] = made_as

    def is_made(self, task_id: int) -> bool:
        """Whether a live task was made here, as far as is known."""
        return task_id in self._made_as

    def present(self, task_id: int) -> tuple[float | None, float | None]:
        """Return for how many seconds nobody had looked when a task first showed its present state, and what was left.

        That is in seconds, by a line through its last two steps of progress. None for what is not known: before the
        second look, with one step only, or where progress went back.
        """
        trail = self._of.get(task_id)
        if trail is None:
            return None, None
        if len(trail) == _WIDTH:
            _, at, before, _ = _PACKED.unpack(trail)
            return None if math.isnan(before) else at - before, None
        first, since, _, _, last, at, before, _ = _LAST_TWO.unpack_from(trail, len(trail) - 2 * _WIDTH)
        if first < 0:
            return at - before, None
        gained = last - first
        return at - before, (100 - last) * (at - since) / gained if gained > 0 else None

    def close(self, task_id: int) -> tuple[list[State], Key | None]:
        """Return the states of a task that has ended, and what it was made as; they are forgotten."""
        trail = self._of.pop(task_id, b"")
        states = [State(int(place), at, before, age) for place, at, before, age in _PACKED.iter_unpack(trail)]
        return states, self._made_as.pop(task_id, None)
