"""Refusals: whose each 429 is, judged by contrast: one subject's, or everybody's.

A subject is what a request is about: a task's ID, the list, submissions. Where one is refused again and again while
others, asked in the same time, are not, the limit is its own: it slows that subject, and nobody else.

How fast all may send is `rate`'s business, which is told of the other 429s.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

from omgmj.backoff.rate import EARLY
from omgmj.backoff.retry_after import believed

CHANCE = 0.01
"""A subject is the odd one where chance would refuse it so often in a row with this probability at most."""
MOST = 1000
"""Subjects that are remembered; of more, those that were refused first are forgotten."""


class _Row:
    """Refusals of one subject in a row, and what had been answered to all when they began."""

    __slots__ = ("count", "held_until", "is_odd", "passed", "refused")

    def __init__(self, passed: int, refused: int) -> None:
        self.passed = passed
        self.refused = refused
        self.count = 0
        self.held_until = -math.inf
        self.is_odd = False


class Refusals:
    """The 429s in a row of each subject, in `rows`. Times are seconds on the caller's clock. None: no subject."""

    def __init__(self) -> None:
        self.rows: dict[Hashable, _Row] = {}
        self._refused = 0  # answers to all subjects

    def on_success(self, subject: Hashable) -> None:
        """Record an answer that is no 429: a row ends. It is no news where there are no rows."""
        self.rows.pop(subject, None)

    def on_429(self, subject: Hashable, now: float, retry_after: float | None, passed: int) -> bool:
        """Record a 429; return whether it concerns this subject alone.

        `retry_after` is in seconds, None where none was told; `passed` is how many answers to all were no 429 so far.
        """
        if subject is None:
            self._refused += 1
            return False
        row = self.rows.get(subject)
        if row is None:
            if len(self.rows) >= MOST:
                del self.rows[next(iter(self.rows))]
            row = self.rows[subject] = _Row(passed, self._refused)
        refused = self._refused - row.refused - row.count  # answers to others, meanwhile
        answers = passed - row.passed + refused
        self._refused += 1
        row.count += 1
        if retry_after is not None:
            row.held_until = now + believed(retry_after)
        # As if one more answer had been a 429, and one more not.
        row.is_odd = answers > 0 and ((refused + 1) / (answers + 2)) ** row.count <= CHANCE
        return row.is_odd

    def is_odd(self, subject: Hashable) -> bool:
        """Whether a subject is refused while others are not."""
        row = self.rows.get(subject)
        return row is not None and row.is_odd

    def held_for(self, subject: Hashable, now: float) -> float:
        """Return for how many seconds the service wants this subject left alone; 0 for a subject that is free."""
        row = self.rows.get(subject)
        return 0.0 if row is None or row.held_until <= now + EARLY else row.held_until - now
