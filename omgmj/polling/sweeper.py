"""Reads pages of the account's list, and hands what they show to the planner, record by record.

Which page to read, and for whom, is decided in `sweep_plan`; who gives it a slot and a worker is `poller`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from omgmj.errors import DecodeError, OmgmjError, TransportError
from omgmj.models import Task
from omgmj.polling.health import Health
from omgmj.protocol import failures, messages, responses
from omgmj.protocol.failures import Meaning
from omgmj.protocol.headers import age
from omgmj.protocol.messages import Answer
from omgmj.scheduler.planner import Found, Planner, Seen
from omgmj.scheduler.sweep_plan import SIZE, STRIKES, Sweep

if TYPE_CHECKING:
    from omgmj.client.exchange import Exchange


class _Gone(NamedTuple):
    """Where an ID is that a page did not show: nowhere in the list, or on another page."""

    absent: bool
    slid: bool


class Sweeper:
    """The reader of pages. It counts them, the records they showed, and those of use; `tell` gets what each meant."""

    def __init__(
        self,
        exchange: Exchange,
        planner: Planner,
        health: Health,
        tell: Callable[[Task, Seen], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.pages: int = 0
        self.records: int = 0
        self.used: int = 0
        self._exchange = exchange
        self._planner = planner
        self._health = health
        self._tell = tell
        self._loop = loop

    async def sweep(self, sweep: Sweep) -> None:
        """Read one page of the list; whom it fails to show is asked for singly, whatever the reason."""

        def read(answer: Answer) -> tuple[Answer, list[Any]]:
            return answer, responses.read_records(answer).records

        sweeps = self._planner.sweep_plan
        self.pages += 1
        # A page that fails in passing is read once more: each of its IDs by itself would cost many times that.
        missed = dict.fromkeys(sweep.task_ids, _Gone(absent=False, slid=True))
        try:
            found = await self._exchange.once(messages.page_request(sweep.page, SIZE), read)
        except OmgmjError as error:
            now = self._loop.time()
            means = failures.meaning(error)
            if isinstance(error, TransportError):
                self._health.no_answer(error, now, random.random(), probe=False, blames=True)
            if means is Meaning.PACED or self._health.breaker.is_open:
                sweeps.failed(sweep, now, strikes=0)
            elif means is Meaning.TRANSIENT:
                sweeps.broke(sweep, now)
            else:
                sweeps.failed(sweep, now, strikes=STRIKES)
        else:
            now = self._loop.time()
            if found is None:
                sweeps.failed(sweep, now, strikes=0)
            else:
                self._health.answers(now)
                self._take_in(sweep, missed, *found, now)
        for task_id, gone in missed.items():
            self._planner.missed(task_id, self._loop.time(), absent=gone.absent, slid=gone.slid)

    def saw(self, task: Task, answer: Answer, now: float, asked_at: float, *, poll: bool) -> bool:
        """Take in a record that a page showed; return whether it was of use."""
        run_for, ended_ago = age(task.started_at, answer.headers), age(task.finished_at, answer.headers)
        found = Found(task, run_for, ended_ago, asked_at=asked_at)
        seen = self._planner.saw_listed(found, now, random.random(), poll=poll)
        if seen is not None:
            self._tell(task, seen)
        return seen is not None

    def _take_in(self, sweep: Sweep, missed: dict[int, _Gone], answer: Answer, records: list[Any], now: float) -> None:
        """Take in what a page showed; of the IDs in `missed`, take out those it showed."""
        by_id = {task_id: record for record in records if (task_id := responses.record_id(record)) is not None}
        self._planner.sweep_plan.learn(sweep, list(by_id), now)
        missed.update(dict.fromkeys(missed, _Gone(absent=False, slid=False)))
        if by_id:
            low, high = min(by_id), max(by_id)
            for task_id in missed.keys() - by_id.keys():
                # Before the first page there is none, nor is there one after a page that is not full.
                slid = (task_id > high and sweep.page > 1) or (task_id < low and len(by_id) == SIZE)
                missed[task_id] = _Gone(absent=low < task_id < high, slid=slid)
        absent_count = sum(gone.absent for gone in missed.values())
        self._planner.sweep_plan.went(sweep, len(missed.keys() & by_id.keys()), absent_count, now)
        self.records += len(records)
        for task_id, record in by_id.items():
            poll = task_id in missed
            if not poll and not self._planner.is_watched(task_id):
                continue
            try:
                task = responses.read_record(record, asked=task_id)
            except DecodeError:
                continue
            missed.pop(task_id, None)
            self._health.mind_word(task)
            self.used += self.saw(task, answer, now, sweep.at, poll=poll)
