"""The driver: takes due IDs from the planner, polls, and tells those who wait.

One task owns a group of workers, as many as polls are out at once; it starts with the first ID that is waited for and
ends with the last. Polls get their slots from `limiter`, pages of the list are read by `sweeper`. What an answer means
to the schedule is `planner`'s business, who waits in which way is `watch`'s: here are only sinks.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from omgmj.backoff.answer_times import AnswerTimes
from omgmj.backoff.policies import Policy, Retry
from omgmj.backoff.rate import EARLY
from omgmj.client.limiter import FIRST, POLL, Limiter
from omgmj.errors import ExchangeTimeout, OmgmjError, SessionClosed, crashed
from omgmj.models import STATUS_ORDER, Task
from omgmj.polling.health import Health
from omgmj.polling.sweeper import Sweeper
from omgmj.polling.wait_errors import error_of, for_all
from omgmj.protocol import failures, messages, responses
from omgmj.protocol.callbacks import Callback
from omgmj.protocol.failures import Meaning
from omgmj.protocol.messages import Answer
from omgmj.scheduler.planner import Ended, Found, Planner, Seen
from omgmj.scheduler.registry import NEVER, Sink, Subscription
from omgmj.scheduler.sweep_plan import Sweep
from omgmj.scheduler.verdicts import FailedPoll, Whose

if TYPE_CHECKING:
    from omgmj.client.exchange import Exchange

HTTP_OK = 200


class Poller:
    """All waits of one session. What is known of them, of the service and of the list stands in its public parts."""

    def __init__(
        self,
        exchange: Exchange,
        limiter: Limiter,
        retry: Retry,
        loop: asyncio.AbstractEventLoop,
        *,
        outage: float | None,
        sweeps: bool,
    ) -> None:
        self.planner: Planner = Planner(retry, sweeps=sweeps)
        self.health: Health = Health(self.planner, limiter, loop.time(), NEVER if outage is None else outage)
        self._answer_times = AnswerTimes()
        self.sweeper: Sweeper = Sweeper(exchange, self.planner, self.health, self._tell, loop, self._answer_times)
        self._exchange = exchange
        self._limiter = limiter
        self._loop = loop
        self._on_end: Callable[[], object] | None = None
        self._drivers: set[asyncio.Task[bool]] = set()
        self._running = False
        self._wake = asyncio.Event()
        self._hired: deque[_Job] = deque()
        self._parked: list[asyncio.Future[_Job | None]] = []
        self._slots = 0
        self._later: deque[Callable[[], object]] = deque()
        self._sinks: set[Sink] = set()
        self._closed: SessionClosed | None = None
        self._broke_at = -math.inf
        self._silences: dict[int, int] = {}  # polls of an ID, in a row, that were given up early

    # What a session asks for.

    def tell_ends(self, on_end: Callable[[], object]) -> None:
        """Have somebody told each time that a task is seen to have ended."""
        self._on_end = on_end

    def open(self, sink: Sink) -> None:
        """Add a sink, to be told of what concerns all; `SessionClosed` where that has come already."""
        if self._closed is not None:
            raise self._closed.about(None)
        self._sinks.add(sink)

    def close(self, sink: Sink) -> None:
        """Remove a sink. Its subscriptions are to be left apart."""
        self._sinks.discard(sink)

    def watch(
        self,
        sink: Sink,
        task_ids: Iterable[int],
        policy: Policy,
        timeout: float | None,
        stall: float | None,
        *,
        known: bool = False,
        follows: bool = False,
    ) -> Subscription:
        """Wait for IDs on behalf of `sink`, but those that it waits for already; `known`: not for the first time."""
        if self._closed is not None:
            raise self._closed.about(None)
        subscription = Subscription(
            sink, task_ids, policy, self._loop.time(), timeout, stall, known=known, follows=follows
        )
        if not self.planner.registry.watched:
            self.health.on_first_wait(subscription.since)
        self._tell_ended(self.planner.watch(subscription, subscription.since, random.random()))
        if not self._running:
            self._running = True
            # An empty context: polls are nobody's in particular, least of all the first caller's.
            driver = self._loop.create_task(self._drive(), name="omgmj poller", context=contextvars.Context())
            self._drivers.add(driver)
            driver.add_done_callback(self._driven, context=contextvars.Context())
        self._limiter.dispatch()
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """End a subscription: no new poll starts on its behalf."""
        if subscription.pending:
            self.planner.leave(subscription)
            self._check_idle()

    def drop(self, task_id: int, sink: Sink) -> bool:
        """End a sink's subscription to one ID; return whether there was one."""
        dropped = self.planner.drop(task_id, sink)
        self._check_idle()
        return dropped

    def hear(self, callback: Callback) -> None:
        """Take in what a webhook's callback claims."""
        if self.planner.progress.asking:
            self.later(lambda: self.hear(callback))
            return
        self.planner.hear(callback, self._loop.time(), random.random())
        self._limiter.dispatch()

    def feed(self, task: Task, answer: Answer) -> None:
        """Hand on a record of an answer to somebody else's query to those who wait for its ID."""
        now = self._loop.time()
        self.health.on_answer(now)
        if self.planner.registry.watched == 0:
            self.planner.succeeded(task.id, now)
            return
        (run_for,) = responses.ages(answer.headers, task.started_at)
        self._tell(task, self.planner.saw(Found(task, run_for), now, random.random(), poll=False))
        self._check_idle()
        self._limiter.dispatch()

    def feed_listed(self, task: Task, answer: Answer, asked_at: float) -> None:
        """Hand on a record of a page of the list, for which somebody asked at `asked_at`."""
        if self.planner.is_watched(task.id):
            self.sweeper.saw(task, answer, self._loop.time(), asked_at, poll=False)
            self._check_idle()
            self._limiter.dispatch()

    async def aclose(self, error: SessionClosed) -> None:
        """End all waits with a copy of `error`, and all polls that are out."""
        self._end(error)
        if self._drivers:
            await asyncio.wait(tuple(self._drivers))

    def later(self, change: Callable[[], object]) -> None:
        """Make a change as soon as nothing else is being changed, and before anything more is sent.

        It may be asked for from anywhere: by the garbage collector in any thread, or by a policy that is being asked.
        """
        self._later.append(change)
        with suppress(RuntimeError):  # The loop was closed just now.
            self._loop.call_soon_threadsafe(self.catch_up, context=contextvars.Context())

    def catch_up(self) -> None:
        """Make the changes that `later` was told of."""
        while self._later and not self.planner.progress.asking:
            self._guarded(self._later.popleft())

    def soon(self, change: Callable[[], object]) -> None:
        """Make a change when the loop had its turn."""
        self._loop.call_soon(self._guarded, change, context=contextvars.Context())

    # What the limiter asks for.

    def tick(self, now: float) -> float:
        """End the waits whose time is over; return when the next one's is."""
        if self._later:
            self.catch_up()
        if self.health.gives_up_at <= now + EARLY:
            self._break(self.health.unavailable())
        deadline = self.planner.registry.next_deadline
        # As a timer may fire a hair early, what is due by then is due.
        if deadline <= now + EARLY:
            self._tell_ended(self.planner.expire(now + EARLY))
            self._check_idle()
            deadline = self.planner.registry.next_deadline
        return min(deadline, self.health.gives_up_at)

    def advance(self, now: float) -> tuple[float, float]:
        """Decide what is polled next; return when a first poll and another one may start: in an outage, one probe."""
        heads = self.planner.due_queue.heads
        first, poll = heads[True].due, heads[False].due
        if first <= now or poll <= now:
            first, poll = self.planner.advance(now)
        may = self.health.breaker.next_at
        return max(first, may), max(poll, may)

    def start(self, kind: int, now: float) -> None:
        """Start a poll of a class, in a worker that waits for work or in a new one."""
        breaker = self.health.breaker
        probe = breaker.is_open
        poll, due = self.planner.take(now, fresh=kind == FIRST, probe=random.random() if probe else None)
        if probe:
            breaker.probing()
        else:
            self.health.on_start(due, now, poll=kind == POLL)
        self._slots += 1
        while self._parked:
            parked = self._parked.pop()
            if not parked.done():
                parked.set_result((poll, probe))
                return
        # Not here, in a callback of the loop: there anyio may find no task to start from.
        self._hired.append((poll, probe))
        self._wake.set()

    def stood_still(self, now: float, pause: float) -> None:
        """Have each wait polled once more before its time is over: the process did nothing for `pause` seconds."""
        self.planner.stood_still(now, pause)

    def crash(self, error: BaseException) -> None:
        """End all waits for good, with `error` as the cause of what they are told."""
        self._end(crashed(error))

    # The driver and its workers.

    async def _drive(self) -> bool:
        """Start workers from the first wait to the last; return True where it ends because nobody waits."""
        async with anyio.create_task_group() as group:
            self._limiter.source = self
            self._limiter.dispatch()
            while self._hired or self.planner.registry.watched or self.planner.due_queue.in_flight:
                while self._hired:
                    group.start_soon(self._work, self._hired.popleft())
                self._wake.clear()
                await self._wake.wait()
            # From here to the end of the block nothing awaits: who comes now finds no driver and starts one.
            self._stop()
            return True
        return False

    def _driven(self, driver: asyncio.Task[bool]) -> None:
        """Tell all who wait of a driver that ended before its work was done, in whatever way."""
        self._drivers.discard(driver)
        error = None if driver.cancelled() else driver.exception()
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is not None:
            self.crash(error)
        elif driver.cancelled() or not driver.result():
            # Polls that were out never come home: there is no going on.
            self._end(
                SessionClosed(
                    "the wait was cut off: the poller of this session was cancelled, as when its event loop shuts down"
                )
            )
        else:
            return
        self._stop()
        # Given to workers that never began.
        slots, self._slots = self._slots, 0
        for _ in range(slots):
            self._limiter.leave()

    async def _work(self, job: _Job | None) -> None:
        while job is not None:
            parked = self._loop.create_future()
            try:
                poll, probe = job
                if isinstance(poll, Sweep):
                    await self.sweeper.sweep(poll, probe=probe)
                else:
                    await self._poll(poll, probe=probe)
                # Parked before the place is given back, so that the next poll comes to this worker.
                self._parked.append(parked)
            finally:
                self._slots -= 1
                self._limiter.leave()
            self._check_idle()
            job = await parked

    async def _poll(self, task_id: int, *, probe: bool) -> None:
        registry = self.planner.registry
        row = registry.rows[task_id]  # It stays as long as the poll is out.

        def read(answer: Answer) -> tuple[Answer, Task | None]:
            if answer.body == registry.last[row] and answer.status == HTTP_OK:
                return answer, None  # The same record again, to the letter: there is nothing to decode.
            return answer, responses.read_query(answer, task_id, self.health.odd)

        asked_at, silences = self._loop.time(), self._silences.pop(task_id, 0)
        patience = math.inf if probe else self._answer_times.patience(silences)
        try:
            found = await self._exchange.once(messages.query_request(task_id), read, patience)
        except OmgmjError as error:
            if isinstance(error, ExchangeTimeout) and self._loop.time() >= asked_at + patience - EARLY:
                self._on_silence(task_id, silences + 1)
            else:
                self._failed(task_id, error, asked_at, probe=probe)
            return
        now = self._loop.time()
        answer, task = found or (None, None)
        self._found(task_id, answer, task, now)
        self._answer_times.saw_answer(now - asked_at)

    def _found(self, task_id: int, answer: Answer | None, task: Task | None, now: float) -> None:
        """Take in what a poll found: a record, the last one again, or nothing, as there is another token now."""
        if not self.health.is_well:
            self.health.on_answer(now)
        if answer is None:
            self.planner.again(task_id, now)
            return
        roll = random.random()
        hint = responses.retry_after(answer.headers)
        if task is None:
            self._tell_ended(self.planner.unchanged(task_id, now, roll, hint=hint))
        else:
            if task.status not in STATUS_ORDER:
                self.health.on_unknown_word(task)
            run_for, ended_ago = responses.ages(answer.headers, task.started_at, task.finished_at)
            seen = self.planner.saw(Found(task, run_for, ended_ago, hint), now, roll, poll=True)
            self._tell(task, seen)

    def _on_silence(self, task_id: int, silences: int) -> None:
        """Ask once more, elsewhere, for an answer that is late: that says nothing of the ID, nor of the service yet."""
        if self.planner.is_watched(task_id):
            self._silences[task_id] = silences
        self._answer_times.saw_silence()
        self.planner.again(task_id, self._loop.time())

    def _failed(self, task_id: int, error: OmgmjError, asked_at: float, *, probe: bool) -> None:
        now, roll = self._loop.time(), random.random()
        means = failures.meaning(error)
        if probe and (asked_at <= self._broke_at or means is Meaning.LOCAL):
            self.health.on_no_probe(now)
        if asked_at <= self._broke_at:
            # It tells of what all who waited by then have heard; who came since may have mended it.
            self.planner.again(task_id, now)
            return
        if means is Meaning.LOCAL:
            self.planner.again(task_id, now)
            self._break(error)
            return
        odd = means is Meaning.PACED and self._exchange.refusals.is_odd(task_id)
        poll = FailedPoll(task_id, error, means, now, odd)
        verdict = self.planner.judge(poll)
        self.health.on_failure(poll, verdict, roll, probe=probe)
        ended = self.planner.failed(poll, verdict, roll)
        if verdict.whose is Whose.ALL:
            self._break(for_all(error, means, self._exchange.base_url))
        self._tell_ended(ended)

    def _stop(self) -> None:
        self._running = False
        self._silences.clear()
        self._limiter.source = None
        for parked in self._parked:
            if not parked.done():
                parked.set_result(None)
        self._parked = []
        self._limiter.dispatch()  # Its timer is not needed for polls any more.

    def _end(self, closed: SessionClosed) -> None:
        """End all waits for good, and the driver."""
        self._closed = self._closed or closed
        with suppress(Exception):  # Where the schedule is broken, nobody's is left of it.
            self._break(closed)
        for driver in self._drivers:
            driver.cancel()

    def _break(self, error: OmgmjError) -> None:
        """End all waits, and tell each sink with a copy of `error`."""
        self._broke_at = self._loop.time()
        self.health.begin_anew()
        sinks, self._sinks = self._sinks, set()
        for sink in sinks:
            sink.broke(error.about(None))
        self.planner.clear()
        self._check_idle()

    def _check_idle(self) -> None:
        if not self.planner.registry.watched and not self.planner.due_queue.in_flight:
            self._wake.set()

    def _guarded(self, change: Callable[[], object]) -> None:
        try:
            change()
        except Exception as error:  # noqa: BLE001 (nobody else would hear of it)
            self.crash(error)

    # Telling.

    def _tell(self, task: Task, seen: Seen) -> None:
        if task.is_terminal and seen.waiting and self._on_end is not None:
            self._on_end()
        if seen.ended:
            self._tell_ended(seen.ended)
        for subscription in seen.waiting:
            subscription.sink.got(subscription, task, moved=seen.moved)

    def _tell_ended(self, ended: list[Ended]) -> None:
        for one in ended:
            told = one if one.error else one._replace(error=self.health.outage)
            one.subscription.sink.lost(one.subscription, error_of(told, self._loop.time()))


_Job = tuple[int | Sweep, bool]
