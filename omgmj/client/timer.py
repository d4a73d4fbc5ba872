"""A timer of the event loop: set again and again, and heard where its callback raises."""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Callable


class Timer:
    """Timer with one callback, `fire`. What that raises goes to `crash`: the event loop would only log it.

    `when` is that time, on the event loop's clock, infinite while it is not set. It stands beside the loop's handle,
    as not every loop's handle tells it.
    """

    __slots__ = ("_crash", "_fire", "_handle", "_loop", "when")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fire: Callable[[], object], crash: Callable[[Exception], object]
    ) -> None:
        self.when: float = math.inf
        self._loop = loop
        self._fire = fire
        self._crash = crash
        self._handle: asyncio.Handle | None = None

    def by(self, when: float) -> None:
        """Fire at `when`, or sooner where it is set to that already; infinite: never."""
        if self.when <= when < math.inf:
            return
        if self._handle is not None:
            self.cancel()
        if when < math.inf:
            self.when = when
            # An empty context: a timer must not carry the variables of whoever happened to be here.
            self._handle = self._loop.call_at(when, self._run, context=contextvars.Context())

    def cancel(self) -> None:
        """Do not fire, until it is set again."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self.when = math.inf

    def _run(self) -> None:
        self._handle = None
        self.when = math.inf
        try:
            self._fire()
        except Exception as error:  # noqa: BLE001 (nothing that is raised here may be swallowed)
            self._crash(error)
