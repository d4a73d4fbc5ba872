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

TURN, RESPITE = 0.001, 1.0
"""Seconds that what falls due is given once, for an answer that waits in the socket: a turn of the loop; after a pause
of the process, in which much may have come, more of them."""


class Deadlines:
    """The deadlines of all that is `out`, and their one timer. `closed` is the error that ended all, None before."""

    def __init__(self, timeout: float, loop: asyncio.AbstractEventLoop) -> None:
        self.timeout: float = timeout
        self.out: set[Deadline] = set()
        self.closed: SessionClosed | None = None
        self.timer: Timer = Timer(loop, self._sweep, self._crash, lambda: not self.out)
        self.loop: asyncio.AbstractEventLoop = loop

    def close(self, error: SessionClosed) -> None:
        """End all that is out with a copy of `error`, and let nothing begin any more."""
        self.closed = error
        for deadline in list(self.out):
            deadline.fire(error.about(None))
        self.timer.cancel()

    def _sweep(self) -> None:
        now, next_at = self.loop.time(), math.inf
        respite = RESPITE if self.timer.notice_pause(now) else TURN
        for deadline in list(self.out):
            if deadline.when <= now + EARLY:
                if deadline.spared:
                    deadline.fire(ExchangeTimeout(f"no answer within {self.timeout:g} s"))
                    continue
                deadline.when, deadline.spared = now + respite, True
            next_at = min(next_at, deadline.when)
        if next_at < math.inf:
            self.timer.by(next_at)

    def _crash(self, error: Exception) -> None:
        """End all that is out, as nothing bounds it any more."""
        for deadline in list(self.out):
            deadline.fire(crashed(error))


class Deadline:
    """Ends what a task awaits from outside, as `asyncio.timeout` does, but without a timer of its own.

    It is made without a time; `SessionClosed` where all is closed already, `UsageError` outside of an asyncio task. It
    stands in `out` until its block ends. A `CancelledError` from below, asked for neither by this nor by a cancel of
    the task, leaves the block as a `TransportError`.
    """

    __slots__ = ("_cancelling", "_error", "_out", "_task", "_timer", "spared", "when")

    def __init__(self, deadlines: Deadlines) -> None:
        if deadlines.closed is not None:
            raise deadlines.closed.about(None)
        task = asyncio.current_task(deadlines.loop)
        if task is None:
            raise UsageError("omgmj must be awaited in an asyncio task")
        self.when: float = math.inf
        self.spared: bool = False
        self._out = deadlines.out
        self._task = task
        self._timer = deadlines.timer
        self._cancelling = task.cancelling()
        self._error: OmgmjError | None = None
        deadlines.out.add(self)

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
        self.when, self.spared = when, False
        if when < self._timer.when:
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
