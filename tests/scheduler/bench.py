"""What the planner's tests share: records, a sink, and a bench that drives a planner by hand, with one clock."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from omgmj.backoff import Facts, Fixed, Policy, Retry
from omgmj.errors import ExchangeTimeout, OmgmjError, TaskNotFound
from omgmj.models import STATUS_ORDER, Action, Status, Task
from omgmj.protocol.failures import Meaning
from omgmj.scheduler import registry as rows
from omgmj.scheduler.due_queue import TICKS
from omgmj.scheduler.planner import Ended, Found, Planner, Seen, Why
from omgmj.scheduler.registry import IN_FLIGHT, PUSHED, SINGLE, Registry, Subscription
from omgmj.scheduler.sweep_plan import HOLD, Sweep, SweepPlan
from omgmj.scheduler.verdicts import FailedPoll, Verdict

BLIP = ExchangeTimeout("no answer")
MISSING = TaskNotFound("no such task")
NEVER = math.inf
TICK = 1 / TICKS
DONE = datetime(2026, 1, 1, tzinfo=UTC)
RETRY = Retry(jitter=0.0)


def record(
    task_id: int,
    status: str = "IN_PROGRESS",
    progress: int | None = None,
    *,
    finished: bool = False,
    started: bool = False,
    whole: bool = False,
    kind: str | None = None,
    nonce: int = 0,
) -> Task:
    """Return a task's record; its source tells status and progress, for the model to read. `whole`: with its image."""
    known: Status | str = Status(status) if status in STATUS_ORDER else status
    shown = -1 if progress is None else progress
    source = f"{task_id} {STATUS_ORDER.get(status, -1)} {shown} {nonce}".encode()
    done = DONE if finished or status == "SUCCESS" else None
    return Task(
        task_id,
        known,
        kind=kind,
        progress=progress,
        started_at=DONE - timedelta(seconds=40) if started else None,
        finished_at=done,
        image_url="https://images.example/1.png" if whole else None,
        actions=(Action("U1", label="U1"),) if whole else (),
        source=source,
    )


class Sink:
    """Somebody who waits, and whom the planner only tells apart."""

    def got(self, *_: object, moved: bool) -> None: ...

    def lost(self, *_: object) -> None: ...

    def broke(self, *_: object) -> None: ...


class Willing(SweepPlan):
    """A list that is as its driver says: it pays for all that is due soon, or for nothing."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self.registry = registry
        self.pays = self.is_holding = False
        self.strikes = 0

    def is_in_use(self, now: float) -> bool:
        return True

    def holds(self, task_id: int, now: float) -> bool:
        return self.is_holding

    def holds_new(self, task_id: int, now: float) -> bool:
        return self.is_holding

    def plan(self, task_id: int, now: float, *, heard: bool = False) -> Sweep | None:
        registry = self.registry
        if not self.pays:
            return None
        others = (
            one
            for one, row in registry.rows.items()
            if registry.due[row] <= now + HOLD and not registry.flags[row] & (IN_FLIGHT | PUSHED | SINGLE)
        )
        return Sweep(1, (task_id, *others), deeper=False, at=0.0)

    def strike(self, now: float, *, times: int = 1) -> None:
        self.strikes += times


def waits(planner: Planner, task_id: int, sink: rows.Sink) -> bool:
    """Whether a sink waits for the ID."""
    row = planner.registry.rows.get(task_id)
    return row is not None and sink in planner.registry.who[row]


def failed(planner: Planner, poll: FailedPoll, roll: float = 0.0) -> tuple[Verdict, list[Ended]]:
    """Have a poll fail; return whose trouble it is, and who ends."""
    verdict = planner.judge(poll)
    return verdict, planner.failed(poll, verdict, roll)


class Bench:
    """A planner with its clock, and whoever is told."""

    def __init__(self) -> None:
        self.planner = Planner(RETRY)
        self.willing = self.planner.sweep_plan = Willing(self.planner.registry)
        self.now = 0.0

    def watch(
        self,
        *ids: int,
        policy: Policy | None = None,
        timeout: float | None = None,
        stall: float | None = None,
        sink: Sink | None = None,
    ) -> Subscription:
        """Wait for IDs; nothing ends at once."""
        one, ended = self.join(*ids, policy=policy, timeout=timeout, stall=stall, sink=sink)
        assert ended == []
        return one

    def join(
        self,
        *ids: int,
        policy: Policy | None = None,
        timeout: float | None = None,
        stall: float | None = None,
        sink: Sink | None = None,
    ) -> tuple[Subscription, list[Ended]]:
        """Wait for IDs; return what ended at once too."""
        one = Subscription(sink or Sink(), ids, policy or Fixed(2.0), self.now, timeout, stall)
        return one, self.planner.watch(one, self.now, 0.0)

    @property
    def due(self) -> float:
        """When the next poll is due."""
        return min(self.planner.due_queue.heads[True].due, self.planner.due_queue.heads[False].due)

    def poll(self) -> int:
        """Go to when the next poll is due, and take it: by itself, without the list."""
        due = self.due
        self.now = max(self.now, due)
        return self.planner.due_queue.take(self.now, fresh=self.planner.due_queue.heads[True].due == due)[0]

    def saw(
        self,
        task: Task,
        *,
        poll: bool = True,
        age: float | None = None,
        ended_ago: float | None = None,
        hint: float | None = None,
    ) -> Seen:
        """Take in a record now."""
        return self.planner.saw(Found(task, age, ended_ago, hint), self.now, 0.0, poll=poll)

    def found(self, status: str, progress: int | None = None, *, finished: bool = False) -> Seen:
        """Make the next poll, which finds this."""
        return self.saw(record(self.poll(), status, progress, finished=finished))

    def found_at_home(self, status: str, progress: int | None = None) -> Seen:
        """Bring the poll of ID 1 home that is out."""
        return self.saw(record(1, status, progress))

    def listed(self, task: Task, *, poll: bool, ended_ago: float | None = None) -> Seen | None:
        """Take in a record that a page shows now."""
        found = Found(task, ended_ago=ended_ago, asked_at=self.now)
        return self.planner.saw_listed(found, self.now, 0.0, poll=poll)

    def fail(self, error: OmgmjError, meaning: Meaning, *, outage: bool = False) -> list[Ended]:
        """Make the next poll, which fails; `outage`: there is one from now on, if there was none."""
        task_id = self.poll()
        if outage:
            self.planner.outage_began(self.now)
        return self.failed(task_id, error, meaning)

    def failed(self, task_id: int, error: OmgmjError = BLIP, meaning: Meaning = Meaning.TRANSIENT) -> list[Ended]:
        """Have the poll of an ID fail now that is out."""
        return failed(self.planner, FailedPoll(task_id, error, meaning, self.now))[1]


def whys(ended: Iterable[Ended]) -> list[Why]:
    """Return why each wait ended."""
    return [one.why for one in ended]


def fails(_facts: Facts, _roll: float) -> float:
    """Raise, as a policy with a mistake in it does."""
    raise ZeroDivisionError
