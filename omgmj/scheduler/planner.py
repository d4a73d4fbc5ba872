"""The planner: when to poll which ID, and what an answer means to those who wait, without clock or network.

Each watched ID has a row in `registry`. A row is either in flight or has a due time, and a due time stands in one of
two wheels: `fresh` for first polls and pushed IDs, `polls` for the rest. Whoever drives the planner takes what is due
(`take`: one ID, or a page of the list that shows several) and tells what came of it (`saw`, `unchanged`, `failed`,
`again`; of a page `saw_listed` and `missed`). When an ID is polled first is decided in `first_polls`. An outage counts
for no stall and against no ID: both are dated in service time, which stands still from `outage_began` to `outage_over`.

Subscription and flight are apart. When the last one leaves, the poll that is out comes home to nobody, and a new watch
in between joins that row and starts no second poll beside it. A push during a poll makes one more poll after it.

What is accepted of an ID never goes back: statuses move up the order in `models`, progress only grows within one
status, a terminal record always counts. A wait ends without an end when its deadline passes, when nothing moves for
too long, when its policy says stop, or when its ID alone fails on and on. A stall limit is a time to poll, too, so that
it ends a wait when it passes. A pause of the process counts for no stall, and no deadline ends a wait before a poll
after the pause.
"""

from __future__ import annotations

from omgmj.backoff.policies import Retry
from omgmj.backoff.retry_after import believed
from omgmj.errors import OmgmjError
from omgmj.protocol.callbacks import Callback
from omgmj.protocol.failures import Meaning
from omgmj.scheduler.callbacks import Callbacks
from omgmj.scheduler.claims import Claims
from omgmj.scheduler.due_queue import DueQueue
from omgmj.scheduler.first_polls import FirstPolls
from omgmj.scheduler.learning import Found, Learning
from omgmj.scheduler.progress import Ended, Seen, TaskProgress, Turn, Why, lacks
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
from omgmj.scheduler.service_clock import ServiceClock
from omgmj.scheduler.sweep_plan import HOLD, Sweep, SweepPlan
from omgmj.scheduler.verdicts import Crowd, FailedPoll, Verdict, Verdicts, Whose

__all__ = ["Ended", "Found", "Planner", "Seen", "Why"]


class Planner:
    """The schedule of all watched IDs. Times are seconds on one clock of the caller's; `roll` is chance in [0, 1)."""

    def __init__(self, retry: Retry, *, sweeps: bool = True) -> None:
        self.registry: Registry = Registry()
        self._clock = ServiceClock()
        self.due_queue: DueQueue = DueQueue(self.registry)
        self.sweep_plan: SweepPlan = SweepPlan(self.registry, enabled=sweeps)
        self._claims = Claims()
        self.learning: Learning = Learning(self.registry)
        self.progress: TaskProgress = TaskProgress(self.registry, self._claims, self.learning)
        self.first_polls: FirstPolls = FirstPolls(self.registry, self.due_queue, self._claims, self.progress)
        self._callbacks = Callbacks(self.registry, self.due_queue, self._claims, self.progress, self.first_polls)
        self.verdicts: Verdicts = Verdicts()
        self._retry = retry
        self._last_good: int | None = None
        self._success = self._success_before = -NEVER  # of the last ID that had one, and of another before it
        self._success_of = 0

    # Subscription: who comes, who goes, who is pushed.

    def watch(self, subscription: Subscription, now: float, roll: float) -> list[Ended]:
        """Add `subscription` to all its IDs, but those that its sink waits for already.

        When they are polled first is decided in `first_polls`. Return those that its policy ends at once.
        """
        subscription.begin(self._clock.at(now))
        if subscription.known:
            self.verdicts.on_known_ids()
        ended: list[Ended] = []
        for task_id in self.first_polls.begin(subscription, now):
            for one in self.first_polls.join(task_id, subscription, now, roll):
                ended.append(one)
                self._row(task_id, poll=False)  # Maybe it was the last one there.
        self.sweep_plan.on_watch(subscription.ids)
        self.registry.start_clock(subscription)
        return ended

    def leave(self, subscription: Subscription) -> None:
        """End the subscription to all its IDs. No new poll starts for an ID that nobody else waits for."""
        for task_id in subscription.ids:
            if subscription.pending:
                self._drop(task_id, subscription)

    def drop(self, task_id: int, sink: Sink) -> bool:
        """End the subscription of a sink to one ID; return whether there was one."""
        row = self.registry.rows.get(task_id)
        subscription = None if row is None else self.registry.who[row].get(sink)
        return subscription is not None and self._drop(task_id, subscription)

    def is_watched(self, task_id: int) -> bool:
        """Whether somebody waits for the ID."""
        row = self.registry.rows.get(task_id)
        return row is not None and bool(self.registry.who[row])

    def proven(self, roll: float) -> int | None:
        """Return the ID that best tells whether the service answers; None where none has answered here.

        That is the one that answered last, else one by chance of those that answered and have not failed since. Those
        that are due first may be many that nobody knows, and say nothing of the service.
        """
        registry = self.registry
        good = self._last_good
        if good is not None and self.is_watched(good) and registry.due[registry.rows[good]] < NEVER:
            return good
        failures = self.verdicts.failures
        found = [
            task_id
            for task_id, row in registry.rows.items()
            if registry.last[row] is not None and registry.due[row] < NEVER and task_id not in failures
        ]
        return found[int(roll * len(found))] if found else None

    def hear(self, callback: Callback, now: float, roll: float) -> None:
        """Take in what a callback claims, as `callbacks` has it; an ID that goes on is on a page by now."""
        self._callbacks.hear(callback, now, self._clock.at(now), roll)
        if callback.goes_on and self.is_watched(callback.task_id):
            self.sweep_plan.expect(callback.task_id, now)

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
        registry = self.registry
        while True:
            due, task_id = self.due_queue.heads[fresh]
            if not due <= now <= due + HOLD:
                return due
            row = registry.rows[task_id]
            once = fresh and any(subscription.once for subscription in registry.who[row].values())
            if once or registry.flags[row] & (HELD | PUSHED | SINGLE):
                return due
            if not self.sweep_plan.is_in_use(now) or registry.is_short(row, now):
                return due
            if (awaited := self.sweep_plan.awaited_until(task_id, now)) > now:
                return awaited
            self.sweep_plan.expect(task_id, now)
            if not (self.sweep_plan.holds_new if fresh else self.sweep_plan.holds)(task_id, now):
                return due
            self.due_queue.hold(task_id, due + HOLD)

    def take(self, now: float, *, fresh: bool, probe: float | None = None) -> tuple[int | Sweep, float]:
        """Take the most overdue ID of a class: alone, or with others where a page of the list costs less.

        All that are taken are in flight from now on. Return what to poll, and when the ID was due. `probe` is a
        roll, in an outage: the ID is taken alone, and by chance among those that are equally overdue, as the first of
        them may be the ones that fail. Where a page of the list tells whose trouble it is, that is read, for no ID.
        """
        if probe is not None:
            if self.verdicts.wants_page(now, self._crowd(0)) and self.sweep_plan.may_read(now):
                self.verdicts.on_page_asked(now)
                return Sweep(1, (), deeper=False, at=now), now
            good, self._last_good = self.proven(probe), None
            if good is not None:
                self.due_queue.take_along(good, now)
                self.learning.on_asked(good, now)
                return good, now
            self.due_queue.mix(probe, fresh=fresh)
        task_id, due, flags = self.due_queue.take(now, fresh=fresh)
        sweep = None
        if probe is None and not flags & (PUSHED | SINGLE):
            heard = task_id in self._claims.of and self._claims.heard(task_id, now) is not None
            sweep = self.sweep_plan.plan(task_id, now, heard=heard)
            if sweep is None and self.learning.wants_page:
                sweep = self.sweep_plan.plan_first(task_id, now)
                self.learning.wants_page = sweep is None
        if sweep is None:
            self.learning.on_asked(task_id, now)
            if not fresh:
                self.learning.on_began(due, now)
            return task_id, due
        dues = {one: due if one == task_id else self.due_queue.take_along(one, now)[0] for one in sweep.task_ids}
        self.learning.on_swept(dues, due, now)
        return sweep, due

    def missed(self, task_id: int, now: float, *, absent: bool, slid: bool = False) -> None:
        """Record that a page did not show an ID that it was read for: it is asked for at once, and singly.

        `absent`: the page shows what lies round it, so the list does not hold it. `slid`: the ID lies on another page,
        which may be read instead, once.
        """
        row = self._row(task_id, poll=True)
        if row is None:
            return
        listed = self.registry.listed
        may_sweep = slid and listed[row] != SLID
        if absent or may_sweep:
            listed[row] = MISSED if absent else SLID
        self._land(task_id, row, now, now, poll=True)
        if may_sweep:
            self.due_queue.held_enough(row)
        else:
            self.due_queue.single_out(task_id, now)

    def saw_listed(self, found: Found, now: float, roll: float, *, poll: bool) -> Seen | None:
        """Record what a page of the list showed of an ID; `poll`: it was read for this ID.

        None: the record says nothing new of a task that is not due, or is a final one that wants to be confirmed.
        """
        registry, task = self.registry, found.task
        row = registry.rows.get(task.id)
        if row is None or not registry.who[row]:
            self._row(task.id, poll=poll)
            return None
        if lacks(task):
            if poll:
                self.missed(task.id, now, absent=False)
            elif not registry.flags[row] & (IN_FLIGHT | SINGLE):
                self.due_queue.single_out(task.id, now)
            return None
        if not task.is_terminal:
            goes_back = self.progress.goes_back(row, task)
            if goes_back and found.asked_at is not None:
                was_listed = registry.listed[row] == LISTED
                self.sweep_plan.on_lag(now, asked_at=found.asked_at, seen_at=registry.seen[row], listed=was_listed)
            is_due = registry.due[row] <= now and not registry.flags[row] & (PUSHED | SINGLE)
            if not poll and (goes_back or not (is_due or self.progress.is_news(row, task))):
                return None
        return self.saw(found, now, roll, poll=poll)

    def last(self, task_id: int) -> bytes | None:
        """Return the last accepted record of a watched ID, as it came; None where there is none."""
        row = self.registry.rows.get(task_id)
        return None if row is None else self.registry.last[row]

    def saw(self, found: Found, now: float, roll: float, *, poll: bool) -> Seen:
        """Record what was found. `poll`: it answers the poll that `take` gave out; else it came from elsewhere."""
        task = found.task
        row = self._row(task.id, poll=poll)
        if row is None:
            self.succeeded(task.id, now, listed=found.asked_at is not None)
            return Seen(moved=False, waiting=(), ended=[])
        registry, listed = self.registry, found.asked_at is not None
        if found.ended_ago is not None and registry.listed[row] == LISTED:
            ago = self.learning.corrected(found.ended_ago)
            if ago is not None:
                self.sweep_plan.on_end(now, ago=ago, running_at=registry.seen[row], listed=listed)
        turn = Turn(task.id, row, now, self._clock.at(now), roll, found.hint, poll)
        if not task.is_terminal:
            moved, ended = self._answered(turn, found, listed=listed, poll=poll)
            return Seen(moved, tuple(registry.who[row].values()), ended)
        self._good(turn, listed=listed)
        if poll:
            self.due_queue.home(row)
        if not self.progress.awaits_image(task.id):
            self.learning.on_end(found, row, now, heard=task.id in self._claims.of)
        waiting, due = tuple(registry.who[row].values()), self.progress.image_due(task, now)
        if due is not None:
            waiting = tuple(subscription for subscription in waiting if subscription.once)
        for subscription in waiting:
            self._drop(task.id, subscription)
        if due is not None and registry.who[row]:
            self.due_queue.land(task.id, row, now, due, poll=False)
        return Seen(moved=True, waiting=waiting, ended=[])

    def unchanged(self, task_id: int, now: float, roll: float, *, hint: float | None = None) -> list[Ended]:
        """Record that a poll found the last record again, to the letter."""
        row = self._row(task_id, poll=True)
        if row is None:
            self.succeeded(task_id, now)
            return []
        turn = Turn(task_id, row, now, self._clock.at(now), roll, hint)
        return self._answered(turn, None, listed=False, poll=True)[1]

    def judge(self, poll: FailedPoll) -> Verdict:
        """Return whose trouble a failed poll is; to be asked once for each, before `failed`."""
        row = self.registry.rows.get(poll.task_id)
        if row is None or not self.registry.who[row]:
            return Verdict(Whose.SERVICE, final=False)
        seen = self.progress.is_known(row)
        return self.verdicts.judge(poll, self._clock.at(poll.at), seen=seen, crowd=self._crowd(poll.task_id))

    def failed(self, poll: FailedPoll, verdict: Verdict, roll: float) -> list[Ended]:
        """Record that a poll failed: it is due again, or the ID is given up."""
        task_id, error, now = poll.task_id, poll.error, poll.at
        row = self._row(task_id, poll=True)
        ended: list[Ended] = []
        if row is not None:
            given_up = verdict.final and verdict.whose is Whose.ID
            why = Why.FAILED if given_up else Why.TIMEOUT
            ended = [
                self.progress.end(task_id, row, subscription, why, error)
                for subscription in tuple(self.registry.who[row].values())
                if given_up or (subscription.once and not self.registry.flags[row] & PUSHED)
            ]
            due = NEVER if given_up else now + self._delay(poll, verdict, roll)
            self._land(task_id, row, now, due, poll=True)
        if self._clock.is_stopped:
            # The probe stands for all that wanted one poll only.
            for subscription in list(self.registry.once):
                ended += self._end_subscription(subscription, error)
        return ended

    def _delay(self, poll: FailedPoll, verdict: Verdict, roll: float) -> float:
        """Return the seconds until a failed poll is made again."""
        failures = self.verdicts.failures.get(poll.task_id)
        if failures is None:
            return 0.0  # All waits are about to end.
        hint = getattr(poll.error, "retry_after", None)
        if poll.meaning is Meaning.PACED and not poll.odd:
            # The rate was cut; it holds everybody back for as long as it takes.
            return 0.0 if hint is None else believed(hint)
        if verdict.whose is Whose.SERVICE and self._clock.is_stopped:
            return self._retry.delay(1, roll, hint)
        return verdict.spacing or self._retry.delay(failures.count, roll, hint)

    def _crowd(self, task_id: int) -> Crowd:
        """Return what is watched besides an ID, and how that goes."""
        of_others = self._success_before if self._success_of == task_id else self._success
        return Crowd(self.registry.watched == 1, self.progress.met == 0, of_others, self._success)

    def succeeded(self, task_id: int, now: float, *, listed: bool = False) -> None:
        """Record that an ID was seen, be it watched or not; `listed`: on a page."""
        if task_id != self._success_of:
            self._success_of, self._success_before = task_id, self._success
        self._success = now
        if not self.verdicts.is_quiet:
            self.verdicts.on_success(task_id, listed=listed)

    def again(self, task_id: int, now: float) -> None:
        """Record that a poll came to nothing through no fault of the service or the ID: it is due at once."""
        row = self._row(task_id, poll=True)
        if row is not None:
            self._land(task_id, row, now, now, poll=True)

    def outage_began(self, now: float) -> None:
        """Stop service time: nobody can succeed from now on."""
        self._clock.stop(now)

    def outage_over(self, now: float) -> None:
        """Have service time go on: somebody succeeded."""
        if self._clock.is_stopped:
            self.learning.on_gap(self._clock.stopped_at, now)
        self._clock.go_on(now)

    # Time.

    def expire(self, now: float) -> list[Ended]:
        """End the waits whose `timeout` has passed."""
        # One at a time: many that end at once are not to hold the event loop.
        subscription = self.registry.expired(now)
        stale = [] if subscription is None else self.registry.stale(subscription)
        for task_id, row in stale:
            self.due_queue.once_more(task_id, row, now)
        return [] if stale or subscription is None else self._end_subscription(subscription)

    def stood_still(self, now: float, pause: float) -> None:
        """Record that nothing was done for `pause` seconds until now, however long things have been due."""
        self._clock.skip(pause)
        self.learning.on_gap(now - pause, now)
        self.registry.stood_still(now)

    def overdue(self, now: float) -> int:
        """Count the IDs whose time has come and whose poll is not out yet."""
        return len([due for due in self.registry.due if due <= now])  # A third of what a sum over them costs.

    def clear(self) -> None:
        """End all waits; polls that are out come home to nobody."""
        for task_id, row in list(self.registry.rows.items()):
            for subscription in tuple(self.registry.who[row].values()):
                self._drop(task_id, subscription)
        self.verdicts.begin_anew()

    # Flight and due times.

    def _row(self, task_id: int, *, poll: bool) -> int | None:
        """Return the row of an ID that somebody waits for; a `poll` for one that nobody waits for is home now."""
        row = self.registry.rows.get(task_id)
        if row is None or self.registry.who[row]:
            return row
        if poll:
            self.due_queue.home(row)
        self._forget(task_id, row)
        return None

    def _drop(self, task_id: int, subscription: Subscription) -> bool:
        row = self.registry.rows.get(task_id)
        if row is None or not self.registry.part(row, subscription):
            return False
        if not self.registry.who[row]:
            self._forget(task_id, row)
        return True

    def _forget(self, task_id: int, row: int) -> None:
        """Forget an ID that nobody waits for."""
        self.registry.release(task_id, row)
        self.registry.listed[row] = UNLISTED
        self.verdicts.forget(task_id)
        self.progress.forget(task_id, row)
        self._claims.forget(task_id)
        self.due_queue.forget(task_id, row)

    def _land(self, task_id: int, row: int, now: float, due: float, *, poll: bool) -> None:
        """Give an ID its next due time; a `poll` is home now."""
        self.due_queue.land(task_id, row, now, due, poll=poll)
        if not self.registry.who[row]:
            self._forget(task_id, row)

    # What an answer means.

    def _good(self, turn: Turn, *, listed: bool) -> None:
        """Record that an ID was seen. What failed when it was asked for is forgiven only by asking for it."""
        self._last_good = turn.task_id
        self.succeeded(turn.task_id, turn.now, listed=listed)
        if listed:
            self.registry.listed[turn.row] = LISTED
        elif self.registry.listed[turn.row] in (LISTED, SLID):
            self.registry.listed[turn.row] = UNLISTED

    def _answered(self, turn: Turn, found: Found | None, *, listed: bool, poll: bool) -> tuple[bool, list[Ended]]:
        """After what was found and is not final: whether it is news, and who ends. The next poll is due by policy."""
        due, ended, moved = self.progress.on_answer(turn, found)
        self._good(turn, listed=listed)
        self._land(turn.task_id, turn.row, turn.now, due, poll=poll)
        if turn.task_id in self._claims.of:
            self._callbacks.after_poll(turn.task_id, turn.row, turn.now)
        return moved, ended

    def _end_subscription(self, subscription: Subscription, error: OmgmjError | None = None) -> list[Ended]:
        """End all that is left of a subscription, because its time has come.

        It tells of `error`, or else of the failed poll before, where there was one.
        """
        ended: list[Ended] = []
        for task_id in subscription.ids:
            row = self.registry.rows.get(task_id)
            if row is not None and self.registry.who[row].get(subscription.sink) is subscription:
                cause = error or self.verdicts.error(task_id)
                ended.append(self.progress.end(task_id, row, subscription, Why.TIMEOUT, cause))
                if not self.registry.who[row]:
                    self._forget(task_id, row)
        return ended
