"""When to poll which ID, and what an answer means to those who wait: the scheduler, without clock or network.

Each watched ID has a row in `registry`. A row is either in flight or has a due time, and a due time stands in one of
two wheels: `fresh` for first polls and pushed IDs, `polls` for the rest. Whoever drives the planner takes what is due
(`take`: one ID, or a page of the list that shows several) and tells what came of it (`saw`, `unchanged`, `failed`,
`again`; of a page `saw_listed` and `missed`).

Subscription and flight are apart. When the last one leaves, the poll that is out comes home to nobody, and a new watch
in between joins that row and starts no second poll beside it. A push during a poll makes one more poll after it.

What is accepted of an ID never goes back: statuses move up the order in `models`, progress only grows within one
status, a terminal record always counts. A wait ends without an end when its deadline passes, when nothing moves for
too long, when its policy says stop, or when its ID alone fails on and on.
"""

from __future__ import annotations

import math

from omgmj.backoff.policies import Retry
from omgmj.errors import OmgmjError
from omgmj.models import Task
from omgmj.protocol.failures import Meaning
from omgmj.scheduler.due_queue import DueQueue
from omgmj.scheduler.progress import Ended, Seen, TaskProgress, Why, lacks
from omgmj.scheduler.registry import (
    HELD,
    IN_FLIGHT,
    LISTED,
    MISSED,
    NEVER,
    PUSHED,
    SINGLE,
    SLID,
    UNLISTED,
    Registry,
    Sink,
    Subscription,
)
from omgmj.scheduler.sweep_plan import HOLD, Sweep, SweepPlan
from omgmj.scheduler.verdicts import UNKNOWN, UNREADABLE, Failures

__all__ = ["BELIEVED", "Ended", "Planner", "Seen", "Why"]

BELIEVED = {Meaning.TASK: UNKNOWN, Meaning.GARBLED: UNREADABLE}
"""What is believed of one ID, and when."""


class Planner:
    """The schedule of all watched IDs. Times are seconds on one clock of the caller's; `roll` is chance in [0, 1)."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._registry = Registry()
        self.due_queue: DueQueue = DueQueue(self._registry)
        self.sweep_plan: SweepPlan = SweepPlan(self._registry)
        self.news: TaskProgress = TaskProgress(self._registry)
        self._failures: dict[int, Failures] = {}
        self._last_success = -NEVER
        self._last_good: int | None = None

    # Subscription: who comes, who goes, who is pushed.

    @property
    def watched(self) -> int:
        """How many IDs somebody waits for."""
        return self._registry.watched

    def watch(self, subscription: Subscription, now: float, roll: float) -> list[Ended]:
        """Take in all IDs of `subscription`, but those that its sink waits for already.

        The first poll is at once; for a task that was made here, when the policy says. A waiter that comes late to an
        ID shares the polls that are made anyway, sooner where its policy wants them sooner. Return those that its
        policy ends at once.
        """
        registry = self._registry
        ended: list[Ended] = []
        subscription.outages = self.news.outages
        for task_id in subscription.ids:
            row = registry.open(task_id, now)
            new = registry.who[row] is None
            if not registry.join(row, subscription) or registry.flags[row] & IN_FLIGHT:
                continue
            if new:
                due = self.news.first_poll(task_id, row, subscription, now, roll, ended)
                if due < NEVER:
                    self.due_queue.schedule(task_id, row, due, fresh=True)
                else:
                    self._settle(task_id, row)  # Its policy has said stop.
            elif subscription.once:
                self.due_queue.schedule(task_id, row, min(now, registry.due[row]), fresh=True)
            elif not math.isnan(registry.seen[row]):
                due = registry.seen[row] + self.news.ask(task_id, row, subscription, now, None, roll, ended)
                self.due_queue.hasten(task_id, row, max(now, due))
            elif not registry.polls[row]:
                due = self.news.first_poll(task_id, row, subscription, now, roll, ended)
                self.due_queue.hasten(task_id, row, due, fresh=True)
        registry.start_clock(subscription)
        return ended

    def leave(self, subscription: Subscription) -> None:
        """End the subscription to all its IDs. No new poll starts for an ID that nobody else waits for."""
        for task_id in subscription.ids:
            if subscription.pending:
                self._drop(task_id, subscription)

    def drop(self, task_id: int, sink: Sink) -> bool:
        """End the subscription of a sink to one ID; return whether there was one."""
        row = self._registry.rows.get(task_id)
        subscription = None if row is None else self._registry.find(row, sink)
        return subscription is not None and self._drop(task_id, subscription)

    def is_watched(self, task_id: int) -> bool:
        """Whether somebody waits for the ID."""
        row = self._registry.rows.get(task_id)
        return row is not None and self._registry.who[row] is not None

    # Polls: what is due, and what came of it.

    def advance(self, now: float) -> tuple[float, float]:
        """Decide what is polled next: an ID that is due may be held for others of its page.

        Return when the next poll may start of the first and pushed ones, and of the rest; infinite where there is none.
        """
        heads = self.due_queue.heads
        first, poll = heads[True].due, heads[False].due
        if first <= now:
            first = self._hold(now, fresh=True)
        if poll <= now:
            poll = self._hold(now, fresh=False)
        return first, poll

    def _hold(self, now: float, *, fresh: bool) -> float:
        """Hold the IDs of a class that are due, where that pays; return when the next one may be polled."""
        registry = self._registry
        while True:
            due, task_id = self.due_queue.heads[fresh]
            if not due <= now <= due + HOLD:
                return due
            row = registry.rows[task_id]
            once = fresh and any(subscription.once for subscription in registry.waiting(row))
            if once or registry.flags[row] & (HELD | PUSHED | SINGLE):
                return due
            if (awaited := self.sweep_plan.awaited_until(task_id, now)) > now:
                return awaited
            if not (self.sweep_plan.holds_new if fresh else self.sweep_plan.holds)(task_id, now):
                return due
            self.due_queue.hold(task_id, due + HOLD)

    def take(self, now: float, *, fresh: bool, probe: float | None = None) -> tuple[int | Sweep, float]:
        """Take the most overdue ID of a class: alone, or with others where a page of the list costs less.

        All that are taken are in flight from now on. Return what to poll, and when the ID was due. `probe` is a
        roll, in an outage: the ID is taken alone, and by chance among those that are equally overdue, as the first of
        them may be the ones that fail.
        """
        if probe is not None:
            # Best the one that answered last; when that has failed too, any other.
            good, self._last_good = self._last_good, None
            if good is not None and self.is_watched(good) and self._registry.due[self._registry.rows[good]] < NEVER:
                self.due_queue.take_along(good, now)
                return good, now
            self.due_queue.mix(probe, fresh=fresh)
        task_id, due, flags = self.due_queue.take(now, fresh=fresh)
        sweep = None if probe is not None or flags & (PUSHED | SINGLE) else self.sweep_plan.plan(task_id, now)
        if sweep is None:
            return task_id, due
        for other in sweep.task_ids:
            if other != task_id:
                self.due_queue.take_along(other, now)
        return sweep, due

    def missed(self, task_id: int, now: float, *, absent: bool, slid: bool = False) -> None:
        """Take in that a page did not show an ID that it was read for: it is asked for at once, and singly.

        `absent`: the page shows what lies round it, so the list does not hold it. `slid`: the ID lies on another page,
        which may be read instead, once.
        """
        row = self._home(task_id, poll=True)
        if row is None:
            return
        listed = self._registry.listed
        may_sweep = slid and listed[row] != SLID
        if absent or may_sweep:
            listed[row] = MISSED if absent else SLID
        self._land(task_id, row, now, now)
        if may_sweep:
            self._registry.flags[row] |= HELD  # It has waited long enough.
        else:
            self.due_queue.single_out(task_id, now)

    def saw_listed(
        self,
        task: Task,
        now: float,
        roll: float,
        *,
        asked_at: float,
        age: float | None,
        ended_ago: float | None,
        poll: bool,
    ) -> Seen | None:
        """Take in a record that a page of the list showed, asked for at `asked_at`; `poll`: it was read for this ID.

        None: the record says nothing new of a task that is not due, or is a final one that wants to be confirmed.
        """
        registry = self._registry
        row = registry.rows.get(task.id)
        if row is None or registry.who[row] is None:
            if poll:
                self._home(task.id, poll=True)
            return None
        if lacks(task):
            if poll:
                self.missed(task.id, now, absent=False)
            elif not registry.flags[row] & (IN_FLIGHT | SINGLE):
                self.due_queue.single_out(task.id, now)
            return None
        if not task.is_terminal:
            if goes_back := self.news.goes_back(row, task):
                was_listed = registry.listed[row] == LISTED
                self.sweep_plan.on_lag(now, asked_at=asked_at, seen_at=registry.seen[row], listed=was_listed)
            is_due = registry.due[row] <= now and not registry.flags[row] & (PUSHED | SINGLE)
            if not poll and (goes_back or not (is_due or self.news.is_news(row, task))):
                return None
        return self.saw(task, now, roll, age=age, ended_ago=ended_ago, poll=poll, listed=True)

    def last(self, task_id: int) -> bytes | None:
        """Return the last accepted record of a watched ID, as it came; None where there is none."""
        row = self._registry.rows.get(task_id)
        return None if row is None else self._registry.last[row]

    def saw(
        self,
        task: Task,
        now: float,
        roll: float,
        *,
        age: float | None = None,
        ended_ago: float | None = None,
        hint: float | None = None,
        poll: bool,
        listed: bool = False,
    ) -> Seen:
        """Take in a record. `poll`: it answers the poll that `take` gave out; else it came from elsewhere.

        `listed`: a page of the list showed it, which says nothing of how asking for the ID goes. `age` is how many
        seconds the task has been running as the service tells it, `ended_ago` how many seconds ago it ended, `hint` how
        many it asks to be left alone for.
        """
        row = self._home(task.id, poll=poll)
        if row is None:
            return Seen(moved=False, waiting=(), ended=[])
        if ended_ago is not None and self._registry.listed[row] == LISTED:
            self.sweep_plan.on_end(now, ago=ended_ago, running_at=self._registry.seen[row], listed=listed)
        self._good(task.id, row, now, listed=listed)
        waiting = self._registry.waiting(row)
        if task.is_terminal:
            self.news.learn_end(row, task, now, age)
            for subscription in waiting:
                self._drop(task.id, subscription)
            return Seen(moved=True, waiting=waiting, ended=[])
        moved = self.news.accept(row, task, now)
        if age is not None:
            self._registry.born[row] = now - age
        ended = self._answered(task.id, row, now, roll, hint, moved=moved)
        return Seen(moved, self._registry.waiting(row), ended)

    def unchanged(self, task_id: int, now: float, roll: float, *, hint: float | None = None) -> list[Ended]:
        """Take in that a poll found the last record again, to the letter."""
        row = self._home(task_id, poll=True)
        if row is None:
            return []
        self._good(task_id, row, now, listed=False)
        return self._answered(task_id, row, now, roll, hint, moved=False)

    def failed(
        self, task_id: int, error: OmgmjError, meaning: Meaning, now: float, roll: float, *, outage: bool = False
    ) -> list[Ended]:
        """Take in that a poll failed: it is due again, or the ID is given up. `outage`: nobody succeeds just now."""
        row = self._home(task_id, poll=True)
        ended: list[Ended] = []
        if row is not None:
            delay = self._delay_after(task_id, error, meaning, now, roll, outage=outage)
            for subscription in self._registry.waiting(row):
                if delay == NEVER:
                    self._end(task_id, row, subscription, Why.FAILED, error, ended)
                elif subscription.once:
                    self._end(task_id, row, subscription, Why.TIMEOUT, error, ended)
            self._land(task_id, row, now, now + delay)
        if outage:
            # The probe stands for all that wanted one poll only.
            for subscription in list(self._registry.once):
                self._end_subscription(subscription, error, ended)
        return ended

    def again(self, task_id: int, now: float) -> None:
        """Take in that a poll came to nothing through no fault of the service or the ID: it is due at once."""
        row = self._home(task_id, poll=True)
        if row is not None:
            self._land(task_id, row, now, now)

    def blames(self, task_id: int) -> bool:
        """Whether a failed poll of an ID speaks against the service: nobody succeeded since its failures began."""
        failures = self._failures.get(task_id)
        return failures is None or self._last_success <= failures.began

    def outage_over(self, seconds: float) -> None:
        """Take in that nobody could succeed for so long: that time counts for no stall, and against no ID."""
        for failures in self._failures.values():
            failures.shift(seconds)
        self.news.outages += seconds
        quiet = self._registry.quiet
        for row in self._registry.rows.values():
            # Taken off beforehand: the next good poll adds all the time since the last one.
            quiet[row] -= seconds

    # Time.

    def next_deadline(self) -> float:
        """When the next wait's `timeout` passes; infinite where none does."""
        return self._registry.next_deadline()

    def expire(self, now: float) -> list[Ended]:
        """End the waits whose `timeout` has passed."""
        ended: list[Ended] = []
        # One at a time: many that end at once are not to hold the event loop.
        if (subscription := self._registry.expired(now)) is not None:
            self._end_subscription(subscription, None, ended)
        return ended

    def overdue(self, now: float) -> int:
        """Count the IDs whose time has come and whose poll is not out yet."""
        return len([due for due in self._registry.due if due <= now])  # A third of what a sum over them costs.

    def clear(self) -> None:
        """End all waits; polls that are out come home to nobody."""
        for task_id, row in list(self._registry.rows.items()):
            for subscription in self._registry.waiting(row):
                self._drop(task_id, subscription)

    # Flight and due times.

    def _home(self, task_id: int, *, poll: bool) -> int | None:
        """Bring a poll home, where it was one; return the row where somebody still waits for it."""
        row = self._registry.rows.get(task_id)
        if row is None:
            return None
        if poll:
            self.due_queue.home(row)
        return None if self._settle(task_id, row) else row

    def _drop(self, task_id: int, subscription: Subscription) -> bool:
        row = self._registry.rows.get(task_id)
        if row is None or not self._registry.part(row, subscription):
            return False
        self._settle(task_id, row)
        return True

    def _settle(self, task_id: int, row: int) -> bool:
        """Forget an ID that nobody waits for; return whether that is so."""
        if not self._registry.settle(task_id, row):
            return False
        self._failures.pop(task_id, None)
        self.due_queue.forget(task_id)
        return True

    def _land(self, task_id: int, row: int, now: float, due: float) -> None:
        if not self._settle(task_id, row):
            self.due_queue.land(task_id, row, now, due)

    # What an answer means.

    def _good(self, task_id: int, row: int, now: float, *, listed: bool) -> None:
        """Take in that an ID was seen. What failed when it was asked for is forgiven only by asking for it."""
        self._last_success, self._last_good = now, task_id
        failures = self._failures.get(task_id)
        if failures is not None and not (listed and failures.count):
            del self._failures[task_id]
        if listed:
            self._registry.listed[row] = LISTED
        elif self._registry.listed[row] in (LISTED, SLID):
            self._registry.listed[row] = UNLISTED

    def _answered(
        self, task_id: int, row: int, now: float, roll: float, hint: float | None, *, moved: bool
    ) -> list[Ended]:
        """After a good poll that was not final: who ends; the next poll is due when the policies say."""
        delay, ended = self.news.answered(task_id, row, now, roll, hint, moved=moved)
        self._land(task_id, row, now, now + delay)
        return ended

    def _delay_after(
        self, task_id: int, error: OmgmjError, meaning: Meaning, now: float, roll: float, *, outage: bool
    ) -> float:
        """Return the seconds until a failed poll is made again; infinite where the ID is to be given up."""
        failures = self._failures.setdefault(task_id, Failures(now))
        if meaning is Meaning.PACED:
            failures.note(error)
            return 0.0  # The rate was cut; it holds everybody back for as long as it takes.
        hint = getattr(error, "retry_after", None)
        if outage:
            failures.note(error)
            return self._retry.delay(1, roll, hint)
        failures.add(error, meaning, now)
        if failures.is_hopeless(now, self._last_success, BELIEVED.get(meaning)):
            return NEVER
        return UNKNOWN.spacing if meaning is Meaning.TASK else self._retry.delay(failures.count, roll, hint)

    def _end(
        self, task_id: int, row: int, subscription: Subscription, why: Why, error: OmgmjError | None, ended: list[Ended]
    ) -> None:
        """End one wait for one ID. A timeout tells of the failed poll before it, where there was one."""
        if error is None and task_id in self._failures:
            error = self._failures[task_id].error
        ended.append(self.news.end(task_id, row, subscription, why, error))

    def _end_subscription(self, subscription: Subscription, error: OmgmjError | None, ended: list[Ended]) -> None:
        """End all that is left of a subscription, because its time has come."""
        for task_id in subscription.ids:
            row = self._registry.rows.get(task_id)
            if row is not None and self._registry.find(row, subscription.sink) is subscription:
                self._end(task_id, row, subscription, Why.TIMEOUT, error, ended)
                self._settle(task_id, row)
