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
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from anyio.abc import TaskGroup

from omgmj import protocol
from omgmj.backoff import Policy, Retry
from omgmj.breaker import Breaker
from omgmj.endings import error_of, record_of
from omgmj.errors import DecodeError, OmgmjError, SessionClosed, TransportError
from omgmj.gate import EPSILON, FIRST, POLL, Gate
from omgmj.models import STATUS_ORDER, Task
from omgmj.planner import Ended, Planner
from omgmj.protocol import Answer, Meaning
from omgmj.roster import NEVER, Interest
from omgmj.sweeps import SIZE, STRIKES, Sweep

if TYPE_CHECKING:
    from omgmj.exchange import Exchange

LATE, LATE_FOR = 10.0, 60.0
"""Polls that start so many seconds late, for so many seconds: the pace is too low for what is watched."""

LATE_WEIGHT = 0.05
"""How much the last look counts in the mean lateness."""
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
        self._parked: list[asyncio.Future[_Job | None]] = []
        self._sinks: set[Sink] = set()
        self._closed: SessionClosed | None = None
        self._unknown_words: set[str] = set()
        self._answering_since: float = loop.time()
        self._down_since: float = 0.0
        self._down_said: bool = False
        self._outage: OmgmjError | None = None
        self._late_since: float | None = None
        self.sweeps: int = 0
        self.swept: int = 0
        self.swept_used: int = 0
        self.late: float = 0.0

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

    def last(self, task_id: int) -> Task | None:
        """Return the last record seen of a watched ID."""
        return record_of(self._planner.last(task_id), task_id)

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

    def feed_listed(self, task: Task, answer: Answer) -> None:
        """Take in a record that a page of the list showed somebody."""
        if self._planner.is_watched(task.id):
            self._saw_listed(task, answer, look=False)
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
        # As a timer may fire a hair early, what is due by then is due.
        if self._planner.next_deadline() <= now + EPSILON:
            self._tell_ended(self._planner.expire(now + EPSILON))
            self._check_idle()

    def wake_at(self) -> float:
        """When the next wait's time is over."""
        return self._planner.next_deadline()

    def due(self, now: float) -> tuple[float, float]:
        """When the next first look and the next poll may start: in an outage, one probe at a time."""
        may = self._breaker.next_at
        return max(self._planner.agenda.due_fresh(), may), max(self._planner.due_poll(now), may)

    def start(self, kind: int, now: float) -> None:
        """Start a look of a class, in a worker that waits for work or in a new one."""
        probe = self._breaker.is_open
        look, due = self._planner.take(now, fresh=kind == FIRST, probe=random.random() if probe else None)
        if probe:
            self._breaker.probing()
        else:
            late = max(0.0, now - max(due, self._answering_since))
            self.late += LATE_WEIGHT * (late - self.late)
            if kind == POLL:
                self._mind_lateness(late, now)
        if self._parked:
            self._parked.pop().set_result((look, probe))
        elif self._group is not None:
            contextvars.Context().run(self._group.start_soon, self._work, (look, probe))

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

    async def _work(self, job: _Job | None) -> None:
        while job is not None:
            parked = self._loop.create_future()
            try:
                look, probe = job
                if isinstance(look, Sweep):
                    await self._sweep(look)
                else:
                    await self._look(look, probe=probe)
                # Parked before the place is given back, so that the next look comes to this worker.
                self._parked.append(parked)
            finally:
                self._gate.leave()
            self._check_idle()
            job = await parked

    async def _sweep(self, sweep: Sweep) -> None:
        """Read one page of the list; whom it fails to show is asked for singly, whatever the reason."""

        def read(answer: Answer) -> tuple[Answer, list[Any]]:
            return answer, protocol.read_records(answer).records

        sweeps = self._planner.sweeps
        self.sweeps += 1
        missed = dict.fromkeys(sweep.task_ids, False)  # and whether the list does not hold them
        try:
            found = await self._exchange.once(protocol.page_request(sweep.page, SIZE), read)
        except OmgmjError as error:
            now = self._loop.time()
            sweeps.failed(sweep, now, strikes=_STRIKES.get(protocol.meaning(error), STRIKES))
            if isinstance(error, TransportError):
                self._no_answer(error, now, random.random(), probe=False, blames=True)
        else:
            if found is None:
                sweeps.failed(sweep, self._loop.time(), strikes=0)
            else:
                self._answering()
                self._swept(sweep, missed, *found)
        for task_id, absent in missed.items():
            self._planner.missed(task_id, self._loop.time(), absent=absent)

    def _swept(self, sweep: Sweep, missed: dict[int, bool], answer: Answer, records: list[Any]) -> None:
        """Take in what a page showed; of the IDs in `missed`, take out those it showed."""
        now = self._loop.time()
        by_id = {task_id: record for record in records if (task_id := protocol.record_id(record)) is not None}
        self._planner.sweeps.learn(sweep, list(by_id), now)
        for task_id in missed.keys() - by_id.keys():
            missed[task_id] = bool(by_id) and min(by_id) < task_id < max(by_id)
        self._planner.sweeps.went(sweep, len(missed.keys() & by_id.keys()), sum(missed.values()), now)
        self.swept += len(records)
        for task_id, record in by_id.items():
            look = task_id in missed
            if not look and not self._planner.is_watched(task_id):
                continue
            try:
                task = protocol.read_record(record, asked=task_id)
            except DecodeError:
                continue
            missed.pop(task_id, None)
            self._mind_word(task)
            self.swept_used += self._saw_listed(task, answer, look=look)

    def _saw_listed(self, task: Task, answer: Answer, *, look: bool) -> bool:
        """Take in a record that a page showed; return whether it was of use."""
        now, roll = self._loop.time(), random.random()
        age, ended_ago = protocol.age(task.started_at, answer), protocol.age(task.finished_at, answer)
        seen = self._planner.saw_listed(task, now, roll, age=age, ended_ago=ended_ago, look=look)
        if seen is not None:
            self._tell(task, *seen)
        return seen is not None

    async def _look(self, task_id: int, *, probe: bool) -> None:
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
                age = protocol.age(task.started_at, answer)
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
        else:
            self._no_answer(error, now, roll, probe=probe, blames=self._planner.blames(task_id))
        if means is Meaning.TRANSIENT and self._breaker.is_open:
            self._outage = error
        self._tell_ended(self._planner.failed(task_id, error, means, now, roll, outage=self._breaker.is_open))

    def _no_answer(self, error: OmgmjError, now: float, roll: float, *, probe: bool, blames: bool) -> None:
        """Take in a failure in passing, which may be one too many."""
        if self._breaker.saw_failure(now, roll, probe=probe, blames=blames):
            self._down_since = now
            self._down_said = False
        elif probe and blames and not self._down_said:
            self._down_said = True
            log.warning(
                "the service does not answer (%s); %d watched tasks wait until it does", error, self._planner.watched
            )

    def _stop(self) -> None:
        self._running = False
        self._group = None
        self._gate.source = None
        for parked in self._parked:
            if not parked.done():
                parked.set_result(None)
        self._parked = []
        self._gate.dispatch()  # Its timer is not needed for looks any more.

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
            told = one if one.error else one._replace(error=self._outage)
            _sink(one.interest).lost(one.interest, error_of(told, self._loop.time()))

    # Minding.

    def _answering(self) -> None:
        """Note that the service answers."""
        self._outage = None
        if self._breaker.saw_success():
            self._answering_since = self._loop.time()
            self._planner.outage_over(self._answering_since - self._down_since)

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


_STRIKES = {Meaning.PACED: 0, Meaning.TRANSIENT: 1}
"""How much a page that could not be read speaks against the list; anything else is enough by itself."""
_Job = tuple[int | Sweep, bool]


def _sink(interest: Interest) -> Sink:
    return interest.sink  # type: ignore[return-value]
