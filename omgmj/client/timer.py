"""A timer of the event loop: set again and again, and heard where its callback raises. It notices a pause.

A process stands still where it is stopped, where its machine sleeps, where a callback blocks. What fell due meanwhile
is not to be judged by the clock alone, as nobody could do anything.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Callable

BEAT = 3.0
"""Seconds after which a timer looks at the clock, however far off its time is."""
PAUSE = 1.5
"""Seconds by which that comes late where the process stood still."""


class Timer:
    """Timer with one callback, `fire`. What that raises goes to `crash`: the event loop would only log it.

    `when` is that time, on the event loop's clock, infinite while it is not set. It stands beside the loop's handle,
    as not every loop's handle tells it. `expected` is when it looks at the clock next; where it comes late by a pause
    of the process, it fires whether it is time or not.
    """

    __slots__ = ("_crash", "_fire", "_handle", "_is_idle", "_loop", "expected", "when")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fire: Callable[[], object],
        crash: Callable[[Exception], object],
        is_idle: Callable[[], bool] | None = None,
    ) -> None:
        """Make a timer that is not set. Where it `is_idle` when it looks at the clock, it is not set any more."""
        self.when: float = math.inf
        self.expected: float = math.inf
        self._loop = loop
        self._fire = fire
        self._crash = crash
        self._is_idle = is_idle
        self._handle: asyncio.Handle | None = None

    def notice_pause(self, now: float) -> float:
        """Return for how many seconds the process stood still just now, else 0.

        It is told once: then the timer is to be set anew.
        """
        late = now - self.expected
        if late <= PAUSE:
            return 0.0
        self.cancel()
        return late

    def by(self, when: float) -> None:
        """Fire at `when`, or sooner where it is set to that already; infinite: never."""
        if self.when <= when < math.inf:
            return
        if self._handle is not None:
            self.cancel()
        if when < math.inf:
            self.when = self.expected = when
            if when > (beat := self._loop.time() + BEAT):
                self.expected = beat
            # An empty context: a timer must not carry the variables of whoever happened to be here.
            self._handle = self._loop.call_at(self.expected, self._run, context=contextvars.Context())

    def cancel(self) -> None:
        """Do not fire, until it is set again."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self.when = self.expected = math.inf

    def _run(self) -> None:
        if self.expected < self.when and (now := self._loop.time()) <= self.expected + PAUSE:
            if self._is_idle is not None and self._is_idle():
                self._handle, self.when, self.expected = None, math.inf, math.inf
                return
            self.expected = min(self.when, now + BEAT)
            self._handle = self._loop.call_at(self.expected, self._run, context=contextvars.Context())
            return
        self._handle, self.when = None, math.inf
        try:
            self._fire()  # What it expected stays, for `notice_pause`.
        except Exception as error:  # noqa: BLE001 (nothing that is raised here may be swallowed)
            self._crash(error)
        if self._handle is None:
            self.expected = math.inf
