"""Answer times: how long to wait for an answer before it is asked for again.

Most answers take about as long as those before. One that is silent for many times as long will hardly come, and holds
a place in flight. What is learned follows a service that gets slower: what was given up counts as slower than thought.
Only a small share may be given up early, so that a slow service is not asked twice.
"""

from __future__ import annotations

import math

ENOUGH = 20
"""Answers that must have come before anything is said."""
QUANTILE = 0.9
"""Share of the answers that come within the time that is learned."""
STEP = 0.1
"""Share by which an answer moves that time."""
FACTOR = 4.0
"""So many times that time is waited,"""
LEAST = 1.5
"""and so many seconds at least."""
SHARE = 0.1
"""Share of the requests that may be given up early."""
SAVED = 10.0
"""Requests that may be given up in one go, after many that were answered."""


class AnswerTimes:
    """How long answers to requests of one kind take, in seconds."""

    __slots__ = ("_allowed", "_down", "_left", "_up", "_usual")

    def __init__(self) -> None:
        self._left = ENOUGH
        self._usual = 0.0
        self._allowed = 0.0  # requests that may be given up early
        self._up = math.exp(STEP * QUANTILE)
        self._down = math.exp(-STEP * (1 - QUANTILE))

    @property
    def usual(self) -> float:
        """How many seconds most answers take; 0 before the first one."""
        return self._usual

    def saw_answer(self, seconds: float) -> None:
        """Record an answer that came after so many seconds."""
        if self._left:
            self._left -= 1
            self._usual = max(self._usual, seconds)
            return
        self._usual *= self._up if seconds > self._usual else self._down
        if self._allowed < SAVED:
            self._allowed += SHARE

    def saw_silence(self) -> None:
        """Record a request that was given up early."""
        self._usual *= self._up
        self._allowed -= 1

    def patience(self, silences: int) -> float:
        """Return how many seconds to wait for an answer; infinite where nothing may be given up early.

        `silences` of the same subject's requests in a row were given up before: each doubles its patience.
        """
        if self._left or self._allowed < 1:
            return math.inf
        return max(LEAST, FACTOR * self._usual) * 2.0**silences
