"""The driver: takes due IDs from the planner, looks, and tells those who wait.

One task owns a group of workers, as many as looks are out at once; it starts with the first ID that is waited for and
ends with the last. Looks get their slots from `gate`. What an answer means to the schedule is `planner`'s business, who
waits in which way is `watch`'s: here are only sinks.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio.abc import TaskGroup

from omgmj import protocol
from omgmj.backoff import Policy, Retry
from omgmj.breaker import Breaker
from omgmj.errors import GaveUp, OmgmjError, SessionClosed, Stalled, WaitError, WaitTimeout
from omgmj.gate import FIRST, POLL, Gate
from omgmj.models import STATUS_ORDER, Task
from omgmj.planner import Ended, Planner, Why
from omgmj.protocol import Answer, Meaning
from omgmj.roster import NEVER, Interest

if TYPE_CHECKING:
    from omgmj.exchange import Exchange

LATE, LATE_FOR = 10.0, 60.0
"""Polls that start so many seconds late, for so many seconds: the pace is too low for what is watched."""

HTTP_OK = 200

log: logging.Logger = logging.getLogger("omgmj")


class Sink(Protocol):
    """Who is told what becomes of an interest. It is called in the event loop and must not wait."""

    def got(self, interest: Interest, task: Task, *, moved: bool) -> None:
        """Take in a record; `moved` says that it is news, and a terminal one is the last."""

    def lost(self, interest: Interest, error: OmgmjError) -> None:
        """Take in that one ID, `error.task_id`, comes to no end."""

    def broke(self, error: OmgmjError) -> None:
        """Take in that nothing of what is waited for comes to an end; the sink has been closed."""


class Poller:
    """All waits of one session."""

    def __init__(self, exchange: Exchange, gate: Gate, retry: Retry, loop: asyncio.AbstractEventLoop) -> None:
        self._exchange = exchange
        self._gate = gate
        self._loop = loop
        self._planner = Planner(retry)
        self._breaker = Breaker()
        self._drivers: set[asyncio.Task[None]] = set()
        self._running = False
        self._idle = anyio.Event()
        self._group: TaskGroup | None = None
        self._parked: list[asyncio.Future[tuple[int, bool] | None]] = []
        self._sinks: set[Sink] = set()
        self._closed: SessionClosed | None = None
        self._unknown_words: set[str] = set()
        self._answering_since = loop.time()
        self._late_since: float | None = None

    # What a session asks for.

    @property
    def watched(self) -> int:
        """How many IDs somebody waits for."""
        return self._planner.watched

    def overdue(self) -> int:
        """How many IDs are due and not asked for yet."""
        return self._planner.overdue(self._loop.time())

    def open(self, sink: Sink) -> None:
        """Add a sink, to be told of what concerns all; `SessionClosed` where that has come already."""
        if self._closed is not None:
            raise self._closed.about(None)
        self._sinks.add(sink)

    def close(self, sink: Sink) -> None:
        """Remove a sink. Its interests are to be left apart."""
        self._sinks.discard(sink)

    def watch(
        self, sink: Sink, task_ids: Iterable[int], policy: Policy, timeout: float | None, stall: float | None
    ) -> Interest:
        """Wait for IDs on behalf of `sink`, but those that it waits for already."""
        if self._closed is not None:
            raise self._closed.about(None)
        interest = Interest(sink, task_ids, policy, self._loop.time(), timeout, stall)
        self._tell_ended(self._planner.watch(interest, interest.since, random.random()))
        if not self._running:
            self._running = True
            # An empty context: looks are nobody's in particular, least of all the first caller's.
            driver = self._loop.create_task(self._drive(), name="omgmj poller", context=contextvars.Context())
            self._drivers.add(driver)
            driver.add_done_callback(self._drivers.discard)
        self._gate.dispatch()
        return interest

    def leave(self, interest: Interest) -> None:
        """End an interest: no new look starts on its behalf."""
        if interest.pending:
            self._planner.leave(interest)
            self._check_idle()

    def drop(self, task_id: int, sink: Sink) -> bool:
        """End a sink's interest in one ID; return whether there was one."""
        dropped = self._planner.drop(task_id, sink)
        self._check_idle()
        return dropped

    def waits(self, task_id: int, sink: Sink) -> bool:
        """Whether a sink waits for the ID."""
        return self._planner.waits(task_id, sink)

    def last(self, task_id: int) -> Task | None:
        """Return the last record seen of a watched ID."""
        return _record(self._planner.last(task_id), task_id)

    def push(self, task_id: int) -> None:
        """Look at an ID once more, soon."""
        self._planner.agenda.push(task_id, self._loop.time())
        self._gate.dispatch()

    def feed(self, task: Task, age: float | None) -> None:
        """Take in a record that came from elsewhere."""
        self._answering()
        if self._planner.watched == 0:
            return
        now = self._loop.time()
        self._tell(task, *self._planner.saw(task, now, random.random(), age=age, look=False))
        self._check_idle()
        self._gate.dispatch()

    async def aclose(self, error: SessionClosed) -> None:
        """End all waits with a copy of `error`, and all looks that are out."""
        self._closed = self._closed or error
        self._break(error)
        for driver in tuple(self._drivers):
            driver.cancel()
        if self._drivers:
            await asyncio.wait(tuple(self._drivers))

    # What the gate asks for.

    def tick(self, now: float) -> None:
        """End the waits whose time is over."""
        if self._planner.next_deadline() <= now:
            self._tell_ended(self._planner.expire(now))
            self._check_idle()

    def wake_at(self) -> float:
        """When the next wait's time is over."""
        return self._planner.next_deadline()

    def due(self) -> tuple[float, float]:
        """When the next first look and the next poll may start: in an outage, one probe at a time."""
        may = self._breaker.next_at
        return max(self._planner.agenda.due_fresh(), may), max(self._planner.agenda.due_poll(), may)

    def start(self, kind: int, now: float) -> None:
        """Start a look of a class, in a worker that waits for work or in a new one."""
        task_id, due = self._planner.agenda.take(fresh=kind == FIRST)
        probe = self._breaker.is_open
        if probe:
            self._breaker.probing()
        elif kind == POLL:
            self._mind_lateness(now - max(due, self._answering_since), now)
        if self._parked:
            self._parked.pop().set_result((task_id, probe))
        elif self._group is not None:
            contextvars.Context().run(self._group.start_soon, self._work, (task_id, probe))

    # The driver and its workers.

    async def _drive(self) -> None:
        try:
            async with anyio.create_task_group() as self._group:
                self._gate.source = self
                self._gate.dispatch()
                while self._planner.watched or self._planner.agenda.in_flight:
                    self._idle = anyio.Event()
                    await self._idle.wait()
                # From here to the end of the block nothing awaits: who comes now finds no driver and starts one.
                self._stop()
        except asyncio.CancelledError:
            self._stop()
            self._break(SessionClosed("the wait was cut off: the session's event loop is shutting down"))
            raise
        except BaseException as error:
            self._stop()
            self._closed = SessionClosed(f"the poller of this session crashed: {error!r}; make a new session")
            self._closed.__cause__ = error
            self._break(self._closed)
            if not isinstance(error, Exception):
                raise

    async def _work(self, job: tuple[int, bool] | None) -> None:
        while job is not None:
            parked = self._loop.create_future()
            try:
                await self._look(*job)
                # Parked before the place is given back, so that the next look comes to this worker.
                self._parked.append(parked)
            finally:
                self._gate.leave()
            self._check_idle()
            job = await parked

    async def _look(self, task_id: int, probe: bool) -> None:  # noqa: FBT001 (one job, unpacked)
        def read(answer: Answer) -> tuple[Answer, Task | None]:
            if answer.body == self._planner.last(task_id) and answer.status == HTTP_OK:
                return answer, None  # The same record again, to the letter: there is nothing to decode.
            return answer, protocol.read_query(answer, task_id)

        try:
            found = await self._exchange.once(protocol.query_request(task_id), read)
        except OmgmjError as error:
            self._failed(task_id, error, probe=probe)
            return
        self._answering()
        now, roll = self._loop.time(), random.random()
        if found is None:
            self._planner.again(task_id, now)
        else:
            answer, task = found
            hint = protocol.retry_after(answer)
            if task is None:
                self._tell_ended(self._planner.unchanged(task_id, now, roll, hint=hint))
            else:
                self._mind_word(task)
                age = protocol.age(task, answer)
                self._tell(task, *self._planner.saw(task, now, roll, age=age, hint=hint, look=True))

    def _failed(self, task_id: int, error: OmgmjError, *, probe: bool) -> None:
        now, roll = self._loop.time(), random.random()
        means = protocol.meaning(error)
        if means in (Meaning.ACCOUNT, Meaning.LOCAL):
            self._answering()
            self._planner.again(task_id, now)
            self._break(error)
            return
        if means is not Meaning.TRANSIENT:
            self._answering()
        elif self._breaker.saw_failure(now, roll, probe=probe):
            self._planner.forgive()
            log.warning(
                "the service does not answer (%s); %d watched tasks wait until it does", error, self._planner.watched
            )
        self._tell_ended(self._planner.failed(task_id, error, means, now, roll, outage=self._breaker.is_open))

    def _stop(self) -> None:
        self._running = False
        self._group = None
        self._gate.source = None
        for parked in self._parked:
            if not parked.done():
                parked.set_result(None)
        self._parked = []

    def _break(self, error: OmgmjError) -> None:
        """End all waits, and tell each sink with a copy of `error`."""
        sinks, self._sinks = self._sinks, set()
        self._planner.clear()
        for sink in sinks:
            sink.broke(error.about(None))
        self._check_idle()

    def _check_idle(self) -> None:
        if not self._planner.watched and not self._planner.agenda.in_flight:
            self._idle.set()

    # Telling.

    def _tell(self, task: Task, moved: bool, waiting: tuple[Interest, ...], ended: list[Ended]) -> None:  # noqa: FBT001 (a Seen, unpacked)
        self._tell_ended(ended)
        for interest in waiting:
            _sink(interest).got(interest, task, moved=moved)

    def _tell_ended(self, ended: list[Ended]) -> None:
        for one in ended:
            _sink(one.interest).lost(one.interest, self._error_of(one))

    def _error_of(self, one: Ended) -> OmgmjError:
        if one.why is Why.FAILED and one.error is not None:
            return one.error.about(one.task_id)
        kind, said = _ENDINGS[one.why]
        last = _record(one.last, one.task_id)
        elapsed = self._loop.time() - one.interest.since
        seen = "never seen" if last is None else f"last seen as {last.status} at {_percent(last)}"
        failed = "" if one.error is None else f"; the last look failed: {one.error}"
        error = kind(
            f"task {one.task_id} {said}: {seen}, {one.looks} looks in {elapsed:.1f} s{failed}."
            f" It goes on at the service; wait({one.task_id}) waits on",
            task_id=one.task_id,
            last=last,
            elapsed=elapsed,
            queries=one.looks,
        )
        if one.error is not None:
            error.__cause__ = one.error.about(one.task_id)
        return error

    # Minding.

    def _answering(self) -> None:
        """Note that the service answers."""
        if self._breaker.saw_success():
            self._answering_since = self._loop.time()

    def _mind_word(self, task: Task) -> None:
        if task.status not in STATUS_ORDER and task.status not in self._unknown_words:
            self._unknown_words.add(task.status)
            log.warning(
                "task %d has the status %r, which is not known: it is waited for until it has a finish time",
                task.id,
                task.status,
            )

    def _mind_lateness(self, late: float, now: float) -> None:
        """Warn once when polls stay late, and again only after they were in time in between."""
        if late <= LATE:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        elif now - self._late_since >= LATE_FOR:
            self._late_since = NEVER
            log.warning(
                "looks are %.0f s late: %d watched tasks are too many for %.3g requests a second",
                late,
                self._planner.watched,
                self._gate.pace.limit,
            )


_ENDINGS: dict[Why, tuple[type[WaitError], str]] = {
    Why.TIMEOUT: (WaitTimeout, "was not done in time"),
    Why.STALLED: (Stalled, "did not move for too long"),
    Why.GAVE_UP: (GaveUp, "was given up, as the backoff policy said stop"),
}


def _sink(interest: Interest) -> Sink:
    return interest.sink  # type: ignore[return-value]


def _percent(task: Task) -> str:
    return "no progress" if task.progress is None else f"{task.progress} %"


def _record(body: bytes | None, task_id: int) -> Task | None:
    return None if body is None else protocol.read_query(Answer(HTTP_OK, {}, body), task_id)
