"""Deadlines of calls: each ends with an error of ours when its time is over, or when the session is closed.

All deadlines of a session share one timer, as a timer each costs CPU, and those that are cancelled pile up in the loop.
"""

from __future__ import annotations

import asyncio
import math
from typing import Self

from omgmj.backoff.rate import EARLY
from omgmj.client.cancellation import FROM_BELOW
from omgmj.client.timer import Timer
from omgmj.errors import ExchangeTimeout, OmgmjError, SessionClosed, TransportError, UsageError, crashed


class Deadlines:
    """The deadlines of all that is out."""

    def __init__(self, timeout: float, loop: asyncio.AbstractEventLoop) -> None:
        self.timeout: float = timeout
        self._out: set[Deadline] = set()
        self._closed: SessionClosed | None = None
        self._loop = loop
        self._timer = Timer(loop, self._sweep, self._crash)

    def open(self) -> Deadline:
        """Return a context without a deadline so far, whose block ends when all is closed; `SessionClosed` after that.

        `UsageError` outside of an asyncio task.
        """
        if self._closed is not None:
            raise self._closed.about(None)
        return Deadline(self._out, self._timer)

    def close(self, error: SessionClosed) -> None:
        """End all that is out with a copy of `error`, and let nothing begin any more."""
        self._closed = error
        for deadline in list(self._out):
            deadline.fire(error.about(None))
        self._timer.cancel()

    def _sweep(self) -> None:
        now = self._loop.time()
        for deadline in list(self._out):
            if deadline.when <= now + EARLY:
                deadline.fire(ExchangeTimeout(f"no answer within {self.timeout:g} s"))
        self._timer.by(min((deadline.when for deadline in self._out), default=math.inf))

    def _crash(self, error: Exception) -> None:
        """End all that is out, as nothing bounds it any more."""
        for deadline in list(self._out):
            deadline.fire(crashed(error))


class Deadline:
    """Ends what a task awaits from outside, as `asyncio.timeout` does, but without a timer of its own.

    It stands in `out` until its block ends. A `CancelledError` from below, asked for neither by this nor by a cancel of
    the task, leaves the block as a `TransportError`.
    """

    __slots__ = ("_cancelling", "_error", "_out", "_task", "_timer", "when")

    def __init__(self, out: set[Deadline], timer: Timer) -> None:
        task = asyncio.current_task()
        if task is None:
            raise UsageError("omgmj must be awaited in an asyncio task")
        self.when: float = math.inf
        self._out = out
        self._task = task
        self._timer = timer
        self._cancelling = task.cancelling()
        self._error: OmgmjError | None = None
        out.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let go of the task; raise the error that its cancellation stands for."""
        self._out.discard(self)
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            if (error := self.meant()) is not None:
                try:
                    raise error
                finally:
                    error.__context__ = None  # Nothing of what was cut off is to hang on it.
        elif self._error is not None:
            self._task.uncancel()  # It fired, and something swallowed the cancellation.

    def expire_at(self, when: float) -> None:
        """Fire at `when`, on the event loop's clock, instead of what was said before; infinite: never."""
        self.when = when
        self._timer.by(when)

    def fire(self, error: OmgmjError) -> None:
        """Have the task's await end with `error`."""
        if self._error is None:
            self._error = error
            self.when = math.inf
            self._task.cancel()

    def meant(self) -> OmgmjError | None:
        """In `except CancelledError`: return the error that is meant; None where somebody cancelled the task."""
        error, self._error = self._error, None
        asked = self._task.uncancel() if error is not None else self._task.cancelling()
        if asked > self._cancelling:
            return None
        return error or TransportError(FROM_BELOW)
