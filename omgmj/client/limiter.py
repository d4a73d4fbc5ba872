"""The limiter: the session's rate, its places in flight, and the three classes that share them.

A slot is given late, when it is free and not before, so that a lowered rate holds at once. Direct calls go first, then
first polls and pushed IDs, then the rest; but a class that waits gets at least one slot in `SHARE`, so that none
starves. Polls are no coroutines that queue here: their `Source` decides what is sent when there is a slot to give.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Protocol

from omgmj.backoff.rate import EARLY, Rate
from omgmj.client.timer import PAUSE, Timer
from omgmj.errors import crashed

SHARE = 4
"""Of so many slots, a class that waits gets one at least."""
DIRECT, FIRST, POLL = 0, 1, 2


class Source(Protocol):
    """The origin of polls: it does what time asks for, says what may be sent next, and is given a slot for it."""

    def tick(self, now: float) -> float:
        """Do what is to be done by `now`, polls apart; return when that is next wanted, infinite for never."""
        ...

    def advance(self, now: float) -> tuple[float, float]:
        """Decide what is sent next; return when a poll of class FIRST and one of class POLL may start.

        Infinite where there is none.
        """
        ...

    def start(self, kind: int, now: float) -> None:
        """Start the most overdue poll of a class."""

    def stood_still(self, now: float, pause: float) -> None:
        """Hear that the process did nothing for `pause` seconds until now, however long things have been due."""

    def crash(self, error: Exception) -> None:
        """End all that is waited for: one of the above has raised `error`, and is not called any more."""


class Limiter:
    """The one budget of a session. A slot is taken by `enter` or by the source's `start`, and given back by `leave`."""

    def __init__(self, rate: Rate, places: int, loop: asyncio.AbstractEventLoop) -> None:
        self.rate = rate
        self.places: int = places
        self.in_flight: int = 0
        self.source: Source | None = None
        self._loop = loop
        self._queue: deque[asyncio.Future[None]] = deque()
        self._passed_over = [0, 0, 0]
        self._timer = Timer(loop, self.dispatch, self._crash)

    def enter_at_once(self, now: float) -> bool:
        """Take a slot for a direct call where one is free and nobody else could want it; return whether it was."""
        if self.source is not None or self._queue or self.in_flight >= self.places or not self.rate.take_at_once(now):
            return False
        self.in_flight += 1
        return True

    async def enter(self) -> None:
        """Wait for a slot for a direct call."""
        ticket = self._loop.create_future()
        self._queue.append(ticket)
        self.dispatch()
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket in self._queue:
                self._queue.remove(ticket)
            if ticket.done() and not ticket.cancelled() and ticket.exception() is None:
                self.leave()
            raise

    async def take_another(self) -> None:
        """Wait until the rate allows one more request, for whoever holds a place and is to ask once more."""
        while (at := self.rate.ready_at(self._loop.time())) > self._loop.time():  # noqa: ASYNC110 (as others may be first)
            await asyncio.sleep(at - self._loop.time())
        self.rate.take(self._loop.time())

    def leave(self) -> None:
        """Give a place in flight back."""
        self.in_flight -= 1
        if self._queue or self.source is not None:
            self.dispatch()

    def close(self) -> None:
        """Give no more slots; whoever queues is ended by whoever holds its call."""
        self.source = None
        self.places = 0
        self._timer.cancel()

    def dispatch(self) -> None:
        """Give out the slots that are free now, and come back when the next one is or something falls due.

        Nothing is raised here, as nobody would hear of it: it is told to those who wait.
        """
        now = self._loop.time()
        try:
            if self.source is not None and now > self._timer.expected + PAUSE:
                self.source.stood_still(now, self._timer.notice_pause(now))
            wake = self.source.tick(now) if self.source is not None else math.inf
            # With all places taken no time matters: who leaves comes back here.
            while self.in_flight < self.places:
                while self._queue and self._queue[0].done():
                    self._queue.popleft()
                polls = self.source.advance(now) if self.source is not None else (math.inf, math.inf)
                due = (now if self._queue else math.inf, *polls)
                at = max(min(due), self.rate.ready_at(now))
                if at > now + EARLY:
                    wake = min(wake, at)
                    break
                self._give(due, now)
            wake = max(wake, now)  # The timer is late only where the loop is.
            if wake != self._timer.when:
                self._timer.by(wake)
        except Exception as error:  # noqa: BLE001 (whatever it is)
            self._crash(error)

    def _give(self, due: tuple[float, float, float], now: float) -> None:
        """Give a slot to the first of the classes that are due, unless one behind it was passed over too often."""
        chosen = -1
        for kind in (DIRECT, FIRST, POLL):
            if due[kind] <= now + EARLY and (chosen < 0 or self._passed_over[kind] >= SHARE - 1):
                chosen = kind
        for kind in (DIRECT, FIRST, POLL):
            waits = due[kind] <= now + EARLY and kind != chosen
            self._passed_over[kind] = self._passed_over[kind] + 1 if waits else 0
        self.rate.take(now)
        self.in_flight += 1
        try:
            if chosen == DIRECT:
                self._queue.popleft().set_result(None)
            elif self.source is not None:
                self.source.start(chosen, now)
        except BaseException:
            self.in_flight -= 1
            raise

    def _crash(self, error: Exception) -> None:
        """Tell those who wait of what was raised: those behind the source and, where it was not that, who queues."""
        source, self.source = self.source, None
        if source is not None:
            source.crash(error)
            self.dispatch()
            return
        queue, self._queue = self._queue, deque()
        for ticket in queue:
            if not ticket.done():
                ticket.set_exception(crashed(error))
