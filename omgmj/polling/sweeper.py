"""Sweeper: reads pages of the account's list, and hands what they show to the planner, record by record.

Which page to read, and for whom, is decided in `sweep_plan`; its slot and its worker come from `poller`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from omgmj.backoff.answer_times import AnswerTimes
from omgmj.backoff.rate import EARLY
from omgmj.errors import DecodeError, ExchangeTimeout, OmgmjError, TransportError
from omgmj.models import STATUS_ORDER, Task
from omgmj.polling.health import Health
from omgmj.protocol import failures, messages, pages, responses
from omgmj.protocol.failures import Meaning
from omgmj.protocol.messages import Answer
from omgmj.scheduler.planner import Found, Planner, Seen
from omgmj.scheduler.sweep_plan import NotShown, Sweep

if TYPE_CHECKING:
    from omgmj.client.exchange import Exchange


PATIENCE, TIMES = 2.0, 4.0
"""Seconds for which IDs wait for their page at most, and so many times as long as a poll takes beside them. They wait
longer where pace is short."""
LEAST = 0.25
"""Seconds that a page has at least, however short the time of those who wait is."""


class Sweeper:
    """Reader of pages. It counts them, the records they showed, and those of use; `tell` gets what each meant.

    `polls` are the times that answers to polls take.
    """

    def __init__(
        self,
        exchange: Exchange,
        planner: Planner,
        health: Health,
        tell: Callable[[Task, Seen], None],
        loop: asyncio.AbstractEventLoop,
        polls: AnswerTimes,
    ) -> None:
        self.pages: int = 0
        self.records: int = 0
        self.used: int = 0
        self._exchange = exchange
        self._planner = planner
        self._health = health
        self._tell = tell
        self._loop = loop
        self._answer_times = AnswerTimes()
        self._polls = polls

    async def sweep(self, sweep: Sweep, *, probe: bool) -> None:
        """Read one page of the list; those of its IDs that it fails to show are polled singly, whatever the reason.

        As a `probe`, in an outage, it is read for no ID: it tells whether the service answers anything.
        """

        def read(answer: Answer) -> tuple[Answer, list[Any]]:
            return answer, pages.read_records(answer, self._health.odd).records

        self.pages += 1
        # A page that fails in passing is read once more: each of its IDs by itself would cost many times that.
        missed = dict.fromkeys(sweep.task_ids, NotShown(absent=False, slid=True))
        patience, is_hurried = self._patience(sweep)
        try:
            request = messages.page_request(sweep.page, messages.PAGE_MOST)
            found = await self._exchange.once(request, read, patience, renewal=patience)
        except OmgmjError as error:
            now = self._loop.time()
            if isinstance(error, ExchangeTimeout) and now >= sweep.at + patience - EARLY:
                self._on_silence(sweep, now, is_hurried=is_hurried)
            else:
                self._on_failure(sweep, error, now)
        else:
            now = self._loop.time()
            self._answer_times.saw_answer(now - sweep.at)
            if found is None:
                self._planner.sweep_plan.on_lost(sweep)
            else:
                self._planner.verdicts.on_page(now)
                missed = self._on_page(sweep, *found, now)
        if probe:
            self._health.on_no_probe(self._loop.time())
        for task_id, where in missed.items():
            self._planner.missed(task_id, self._loop.time(), absent=where.absent, slid=where.slid)

    def saw(self, task: Task, answer: Answer, now: float, asked_at: float, *, poll: bool) -> bool:
        """Record what a page showed of a task; return whether it was of use."""
        seen = self._planner.saw_listed(_found(task, answer, asked_at), now, random.random(), poll=poll)
        if seen is not None:
            if not self._health.is_well and task.id not in self._planner.verdicts.failures:
                self._health.on_answer(now)
            self._tell(task, seen)
        return seen is not None

    def _patience(self, sweep: Sweep) -> tuple[float, bool]:
        """Return for how many seconds a page is waited for, and whether that is less as a wait is about to end.

        Half of such a wait's time is left for a poll.
        """
        patience = self._answer_times.patience(0)
        if not sweep.task_ids:
            return patience, False
        patience = min(patience, (PATIENCE + TIMES * self._polls.usual) * self._planner.learning.load(sweep.at))
        left = max(LEAST, (self._planner.registry.first_deadline(sweep.task_ids) - sweep.at) / 2)
        return min(patience, left), left < patience

    def _on_silence(self, sweep: Sweep, now: float, *, is_hurried: bool) -> None:
        """Record a page that was given up: against the list, where polls are answered and nobody was in a hurry."""
        self._answer_times.saw_silence()
        if self._polls.usual and not is_hurried:
            self._planner.sweep_plan.on_silence(sweep, now)
        else:
            self._planner.sweep_plan.on_lost(sweep)

    def _on_failure(self, sweep: Sweep, error: OmgmjError, now: float) -> None:
        """Judge why a page could not be read: the rate, the service, passing trouble, or the list itself."""
        plan, means = self._planner.sweep_plan, failures.meaning(error)
        if isinstance(error, TransportError):
            self._health.on_no_answer(error, now, random.random(), probe=False, blames=True)
        if means is Meaning.PACED:
            refusals = self._exchange.refusals
            held_for, odd = refusals.held_for(messages.LIST, now), refusals.is_odd(messages.LIST)
            plan.on_429(sweep, now, held_for, odd=odd)
        elif self._health.breaker.is_open:
            plan.on_lost(sweep)
        elif means is Meaning.TRANSIENT:
            plan.on_transient(sweep, now)
        else:
            plan.on_refusal(sweep, now)

    def _on_page(self, sweep: Sweep, answer: Answer, records: list[Any], now: float) -> dict[int, NotShown]:
        """Hand on the records of a page; return those of the sweep's IDs without one that can be read."""
        by_id = pages.records_by_id(records, self._health.odd)
        not_shown = self._planner.sweep_plan.on_page(sweep, list(by_id), now) if sweep.task_ids else {}
        self.records += len(records)
        is_present = self._teach(sweep, answer, by_id, now)
        awaited, read = set(sweep.task_ids), set()
        for task_id, record in by_id.items():
            poll = task_id in awaited
            if not poll and not self._planner.is_watched(task_id):
                continue
            try:
                task = pages.read_record(record, asked=task_id, odd=self._health.odd)
            except DecodeError:
                continue
            if not (is_present or task.is_terminal):
                continue
            read.add(task_id)
            if task.status not in STATUS_ORDER:
                self._health.on_unknown_word(task)
            self.used += self.saw(task, answer, now, sweep.at, poll=poll)
        there = NotShown(absent=False, slid=False)
        return {task_id: not_shown.get(task_id, there) for task_id in sweep.task_ids if task_id not in read}

    def _teach(self, sweep: Sweep, answer: Answer, by_id: Mapping[int, Any], now: float) -> bool:
        """Learn from the tasks of a page that nobody watches, where nothing is known so far; one page does.

        Return whether the page, where it is read for that, tells of the present.
        """
        learning = self._planner.learning
        if not sweep.teaches and learning.is_taught:
            return True
        founds: list[Found] = []
        for task_id, record in by_id.items():
            with contextlib.suppress(DecodeError):
                founds.append(_found(pages.read_record(record, asked=task_id), answer, sweep.at))
        if not learning.is_taught:
            learning.on_told([one for one in founds if not self._planner.is_watched(one.task.id)], now)
        return not sweep.teaches or learning.is_present(sweep.task_ids[0], founds, answer.headers, now)


def _found(task: Task, answer: Answer, asked_at: float) -> Found:
    """Return a record of a page that was asked for at a moment, with what the answer tells beside it."""
    age, ended_ago = responses.ages(answer.headers, task.started_at, task.finished_at)
    return Found(task, age, ended_ago, asked_at=asked_at)
