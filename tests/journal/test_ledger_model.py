"""The ledger against a simple model, in any order of calls, with crashes in between."""

from __future__ import annotations

import asyncio
import copy
import threading
from typing import Any

import looptime
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from omgmj.errors import JournalError
from omgmj.journal.contexts import decode
from omgmj.journal.journal import Changes
from omgmj.journal.memory import MemoryJournal
from omgmj.models import Submission
from tests.journal.rows import bound, ids_of, resumed, submissions_of

IDS = st.integers(1, 6)
CHUNKS = st.lists(IDS, min_size=1, max_size=4, unique=True)
CAT = Submission("IMAGINE", "a cat")


class Crashing(MemoryJournal):
    """A journal whose batches are atomic, and that fails on demand; `after_crash` is what the next process finds."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False
        self._lock = threading.Lock()

    def write(self, changes: Changes) -> None:
        with self._lock:
            if self.fails:
                raise JournalError("full")
            super().write(changes)

    def after_crash(self) -> Crashing:
        found = Crashing()
        with self._lock:
            found.__dict__.update(
                {name: copy.copy(value) for name, value in self.__dict__.items() if name not in ("_lock", "fails")}
            )
        return found


class LedgerModel(RuleBasedStateMachine):
    """What must be there, what may be, and who holds what."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0))
        self.journal = Crashing()
        self.ledger = self.run(bound(self.journal))
        self.rows: dict[int, Any] = {}  # IDs to be there, with their contexts.
        self.holders: dict[int, int] = {}
        self.left: set[int] = set()
        self.made: dict[int, Any] = {}  # IDs of submissions that are not settled, with their contexts.
        self.under_way: dict[int, Any] = {}
        self.uncertain: dict[int, Any] = {}
        self.touched: set[int] = set()  # IDs that were changed since all was on the disk.
        self.sent_touched = False

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    async def call(self, method: str, *arguments: Any) -> None:
        getattr(self.ledger, method)(*arguments)
        await asyncio.sleep(0)

    def gone(self, task_id: int) -> None:
        self.rows.pop(task_id, None)
        self.made.pop(task_id, None)
        self.touched.add(task_id)
        self.sent_touched = True

    @rule(task_ids=CHUNKS, context=st.none() | st.integers(0, 3), given=st.booleans())
    def hold(self, task_ids: list[int], context: int | None, *, given: bool) -> None:
        self.run(self.call("hold", task_ids, [context] * len(task_ids) if given else None))
        for task_id in task_ids:
            self.holders[task_id] = self.holders.get(task_id, 0) + 1
            self.rows.setdefault(task_id, None)
            if given and context is not None:
                self.rows[task_id] = context
        self.touched.update(task_ids)

    @rule(task_id=IDS)
    def done(self, task_id: int) -> None:
        self.run(self.call("done", task_id))
        if self.holders.get(task_id, 0) > 1:
            self.holders[task_id] -= 1
        elif self.holders.pop(task_id, 0):
            if task_id in self.left:
                self.left.discard(task_id)
            else:
                self.gone(task_id)

    @rule(task_ids=CHUNKS)
    def leave(self, task_ids: list[int]) -> None:
        self.run(self.call("leave", task_ids))
        for task_id in task_ids:
            if self.holders.get(task_id, 0) > 1:
                self.holders[task_id] -= 1
                self.left.add(task_id)
            elif self.holders.pop(task_id, 0):
                self.left.discard(task_id)

    @rule(task_ids=CHUNKS)
    def forget(self, task_ids: list[int]) -> None:
        self.run(self.call("forget", task_ids))
        for task_id in task_ids:
            self.holders.pop(task_id, None)
            self.left.discard(task_id)
            self.gone(task_id)

    @rule(context=st.none() | st.integers(0, 3))
    def intend(self, context: int | None) -> None:
        if self.journal.fails:
            try:
                self.run(self.ledger.intend(CAT, context))
            except JournalError:
                return
            raise AssertionError("an intent that was not written")
        key = self.run(self.ledger.intend(CAT, context))
        assert key in {row.key for row in submissions_of(self.journal)}
        self.under_way[key] = context

    @precondition(lambda self: self.under_way)
    @rule(task_id=st.integers(101, 106))
    def answer(self, task_id: int) -> None:
        if task_id not in self.made and task_id not in self.rows:
            key, context = self.under_way.popitem()
            self.run(self.call("made", key, task_id))
            self.made[task_id] = context
            self.sent_touched = True
            assert (self.ledger.contexts((task_id,)) or [None]) == [context]

    @precondition(lambda self: self.under_way)
    @rule(lost=st.booleans())
    def no_answer(self, *, lost: bool) -> None:
        key, context = self.under_way.popitem()
        self.run(self.call("uncertain" if lost else "refused", key))
        if lost:
            self.uncertain[key] = context
        self.sent_touched = True

    @rule(task_id=st.integers(101, 106))
    def settle(self, task_id: int) -> None:
        self.run(self.call("settle", task_id))
        self.made.pop(task_id, None)
        self.sent_touched = True

    @rule()
    def resume(self) -> None:
        found = self.run(resumed(self.ledger))
        free = {task_id: context for task_id, context in self.rows.items() if task_id not in self.holders}
        free |= {task_id: context for task_id, context in self.made.items() if task_id not in self.holders}
        assert found == free
        for task_id, context in found.items():
            self.holders[task_id] = 1
            if task_id not in self.rows:
                self.rows[task_id] = context
                self.touched.add(task_id)

    @rule()
    def unsettled(self) -> None:
        found = self.run(self.ledger.unsettled())
        assert {one.key: one.context for one in found} == self.uncertain

    @rule()
    def wait(self) -> None:
        self.run(self.ledger.written())
        if not self.journal.fails:
            self.run(asyncio.sleep(6))
            self.check_rows()

    @rule(fails=st.booleans())
    def disk(self, *, fails: bool) -> None:
        self.journal.fails = fails

    @rule(orderly=st.booleans())
    def end(self, *, orderly: bool) -> None:
        """End the process: what was told and not yet written may be there, or not; all else is as it was."""
        if orderly:
            self.run(self.ledger.aclose())
            if not self.journal.fails:
                self.check_rows()
        journal = self.journal.after_crash()
        if not orderly:
            self.journal.fails = False
            self.run(self.ledger.aclose())
        found = {task_id: decode([context])[0] for task_id, context in ids_of(journal).items()}
        assert found.keys() - self.touched == self.rows.keys() - self.touched
        if not self.sent_touched:
            assert {row.task_id for row in submissions_of(journal)} - {None} == self.made.keys()
        sent = submissions_of(journal)
        assert {row.key for row in sent} >= self.uncertain.keys() | self.under_way.keys()
        self.journal = journal
        self.ledger = self.run(bound(journal))
        self.rows = found
        self.made = {row.task_id: decode([row.context])[0] for row in sent if row.task_id is not None}
        self.uncertain = {row.key: decode([row.context])[0] for row in sent if row.task_id is None}
        self.holders, self.left, self.under_way = {}, set(), {}
        self.touched, self.sent_touched = set(), False

    def check_rows(self) -> None:
        ids = {task_id: decode([context])[0] for task_id, context in ids_of(self.journal).items()}
        assert ids == self.rows
        assert {row.task_id for row in submissions_of(self.journal)} - {None} == self.made.keys()
        self.touched, self.sent_touched = set(), False

    @invariant()
    def nothing_held_is_missing(self) -> None:
        assert self.holders.keys() <= self.rows.keys()

    def teardown(self) -> None:
        self.journal.fails = False
        self.run(self.ledger.aclose())
        self.runner.close()


TestLedgerModel = LedgerModel.TestCase
TestLedgerModel.settings = settings(max_examples=100, stateful_step_count=40)
