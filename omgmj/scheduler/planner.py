"""When to look at which ID, and what an answer means to those who wait: the scheduler, without clock or network.

Each watched ID has a row in `registry`. A row is either in flight or has a due time, and a due time stands in one of
two wheels: `fresh` for first looks and pushed IDs, `polls` for the rest. Whoever drives the planner takes what is due
(`take`: one ID, or a page of the list that shows several) and tells what came of it (`saw`, `unchanged`, `failed`,
`again`; of a page `saw_listed` and `missed`).

Interest and flight are apart. When the last one leaves, the look that is out comes home to nobody, and a new watch in
between joins that row and starts no second look beside it. A push during a look makes one more look after it.

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
from omgmj.scheduler.due_queue import Agenda
from omgmj.scheduler.progress import Ended, News, Seen, Why, lacks
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
    Interest,
    Roster,
)
from omgmj.scheduler.sweep_plan import HOLD, Sweep, Sweeps
from omgmj.scheduler.verdicts import UNKNOWN, UNREADABLE, Trouble

__all__ = ["BELIEVED", "Ended", "Planner", "Seen", "Why"]

BELIEVED = {Meaning.TASK: UNKNOWN, Meaning.GARBLED: UNREADABLE}
"""What is believed of one ID, and when."""


class Planner:
    """The schedule of all watched IDs. Times are seconds on one clock of the caller's; `roll` is chance in [0, 1)."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._roster = Roster()
        self.agenda: Agenda = Agenda(self._roster)
        self.sweeps: Sweeps = Sweeps(self._roster)
        self.news: News = News(self._roster)
        self._trouble: dict[int, Trouble] = {}
        self._last_success = -NEVER
        self._last_good: int | None = None

    # Interest: who comes, who goes, who is pushed.

    @property
    def watched(self) -> int:
        """How many IDs somebody waits for."""
        return self._roster.watched

    def watch(self, interest: Interest, now: float, roll: float) -> list[Ended]:
        """Take in all IDs of `interest`, but those that its sink waits for already.

        The first look is at once; at a task that was made here, when the policy says. A waiter that comes late to an
        ID shares the looks that are made anyway, sooner where its policy wants them sooner. Return those that its
        policy ends at once.
        """
        roster = self._roster
        ended: list[Ended] = []
        interest.outages = self.news.outages
        for task_id in interest.ids:
            row = roster.open(task_id, now)
            new = roster.who[row] is None
            if not roster.join(row, interest) or roster.flags[row] & IN_FLIGHT:
                continue
            if new:
                due = self.news.first_look(task_id, row, interest, now, roll, ended)
                if due < NEVER:
                    self.agenda.schedule(task_id, row, due, fresh=True)
                else:
                    self._settle(task_id, row)  # Its policy has said stop.
            elif interest.once:
                self.agenda.schedule(task_id, row, min(now, roster.due[row]), fresh=True)
            elif not math.isnan(roster.seen[row]):
                due = roster.seen[row] + self.news.ask(task_id, row, interest, now, None, roll, ended)
                self.agenda.hasten(task_id, row, max(now, due))
            elif not roster.looks[row]:
                due = self.news.first_look(task_id, row, interest, now, roll, ended)
                self.agenda.hasten(task_id, row, due, fresh=True)
        roster.start_clock(interest)
        return ended

    def leave(self, interest: Interest) -> None:
        """End the interest in all its IDs. No new look starts for an ID that nobody else waits for."""
        for task_id in interest.ids:
            if interest.pending:
                self._drop(task_id, interest)

    def drop(self, task_id: int, sink: object) -> bool:
        """End the interest of a sink in one ID; return whether there was one."""
        row = self._roster.rows.get(task_id)
        interest = None if row is None else self._roster.find(row, sink)
        return interest is not None and self._drop(task_id, interest)

    def is_watched(self, task_id: int) -> bool:
        """Whether somebody waits for the ID."""
        row = self._roster.rows.get(task_id)
        return row is not None and self._roster.who[row] is not None

    # Looks: what is due, and what came of it.

    def due(self, now: float, *, fresh: bool) -> float:
        """When the next look of a class is due; infinite where there is none. It may be held for others of its page."""
        roster = self._roster
        while (due := self.agenda.due(fresh=fresh)) <= now <= due + HOLD:
            task_id = self.agenda.next(fresh=fresh)
            row = roster.rows[task_id]
            once = fresh and any(interest.once for interest in roster.waiting(row))
            if once or roster.flags[row] & (HELD | PUSHED | SINGLE):
                break
            if (awaited := self.sweeps.awaited_until(task_id, now)) > now:
                return awaited
            if not (self.sweeps.holds_new if fresh else self.sweeps.holds)(task_id, now):
                break
            self.agenda.hold(task_id, due + HOLD)
        return due

    def take(self, now: float, *, fresh: bool, probe: float | None = None) -> tuple[int | Sweep, float]:
        """Take the most overdue ID of a class: alone, or with others where a page of the list costs less.

        All that are taken are in flight from now on. Return what to look at, and when the ID was due. `probe` is a
        roll, in an outage: the ID is taken alone, and by chance among those that are equally overdue, as the first of
        them may be the ones that fail.
        """
        if probe is not None:
            # Best the one that answered last; when that has failed too, any other.
            good, self._last_good = self._last_good, None
            if good is not None and self.is_watched(good) and self._roster.due[self._roster.rows[good]] < NEVER:
                self.agenda.take_along(good, now)
                return good, now
            self.agenda.mix(probe, fresh=fresh)
        task_id, due, flags = self.agenda.take(now, fresh=fresh)
        sweep = None if probe is not None or flags & (PUSHED | SINGLE) else self.sweeps.plan(task_id, now)
        if sweep is None:
            return task_id, due
        for other in sweep.task_ids:
            if other != task_id:
                self.agenda.take_along(other, now)
        return sweep, due

    def missed(self, task_id: int, now: float, *, absent: bool, slid: bool = False) -> None:
        """Take in that a page did not show an ID that it was read for: it is asked for at once, and singly.

        `absent`: the page shows what lies round it, so the list does not hold it. `slid`: the ID lies on another page,
        which may be read instead, once.
        """
        row = self._home(task_id, look=True)
        if row is None:
            return
        listed = self._roster.listed
        may_sweep = slid and listed[row] != SLID
        if absent or may_sweep:
            listed[row] = MISSED if absent else SLID
        self._land(task_id, row, now, now)
        if may_sweep:
            self._roster.flags[row] |= HELD  # It has waited long enough.
        else:
            self.agenda.single_out(task_id, now)

    def saw_listed(
        self,
        task: Task,
        now: float,
        roll: float,
        *,
        asked_at: float,
        age: float | None,
        ended_ago: float | None,
        look: bool,
    ) -> Seen | None:
        """Take in a record that a page of the list showed, asked for at `asked_at`; `look`: it was read for this ID.

        None: the record says nothing new of a task that is not due, or is a final one that wants to be confirmed.
        """
        roster = self._roster
        row = roster.rows.get(task.id)
        if row is None or roster.who[row] is None:
            if look:
                self._home(task.id, look=True)
            return None
        if lacks(task):
            if look:
                self.missed(task.id, now, absent=False)
            elif not roster.flags[row] & (IN_FLIGHT | SINGLE):
                self.agenda.single_out(task.id, now)
            return None
        if not task.is_terminal:
            if goes_back := self.news.goes_back(row, task):
                was_listed = roster.listed[row] == LISTED
                self.sweeps.lagged(now, asked_at=asked_at, seen_at=roster.seen[row], listed=was_listed)
            is_due = roster.due[row] <= now and not roster.flags[row] & (PUSHED | SINGLE)
            if not look and (goes_back or not (is_due or self.news.is_news(row, task))):
                return None
        return self.saw(task, now, roll, age=age, ended_ago=ended_ago, look=look, listed=True)

    def last(self, task_id: int) -> bytes | None:
        """Return the last accepted record of a watched ID, as it came; None where there is none."""
        row = self._roster.rows.get(task_id)
        return None if row is None else self._roster.last[row]

    def saw(
        self,
        task: Task,
        now: float,
        roll: float,
        *,
        age: float | None = None,
        ended_ago: float | None = None,
        hint: float | None = None,
        look: bool,
        listed: bool = False,
    ) -> Seen:
        """Take in a record. `look`: it answers the look that `take` gave out; else it came from elsewhere.

        `listed`: a page of the list showed it, which says nothing of how asking for the ID goes. `age` is how many
        seconds the task has been running as the service tells it, `ended_ago` how many seconds ago it ended, `hint` how
        many it asks to be left alone for.
        """
        row = self._home(task.id, look=look)
        if row is None:
            return Seen(moved=False, waiting=(), ended=[])
        if ended_ago is not None and self._roster.listed[row] == LISTED:
            self.sweeps.ended(now, ago=ended_ago, running_at=self._roster.seen[row], listed=listed)
        self._good(task.id, row, now, listed=listed)
        waiting = self._roster.waiting(row)
        if task.is_terminal:
            self.news.learn_end(row, task, now, age)
            for interest in waiting:
                self._drop(task.id, interest)
            return Seen(moved=True, waiting=waiting, ended=[])
        moved = self.news.accept(row, task, now)
        if age is not None:
            self._roster.born[row] = now - age
        ended = self._answered(task.id, row, now, roll, hint, moved=moved)
        return Seen(moved, self._roster.waiting(row), ended)

    def unchanged(self, task_id: int, now: float, roll: float, *, hint: float | None = None) -> list[Ended]:
        """Take in that a look found the last record again, to the letter."""
        row = self._home(task_id, look=True)
        if row is None:
            return []
        self._good(task_id, row, now, listed=False)
        return self._answered(task_id, row, now, roll, hint, moved=False)

    def failed(
        self, task_id: int, error: OmgmjError, meaning: Meaning, now: float, roll: float, *, outage: bool = False
    ) -> list[Ended]:
        """Take in that a look failed: it is due again, or the ID is given up. `outage`: nobody succeeds just now."""
        row = self._home(task_id, look=True)
        ended: list[Ended] = []
        if row is not None:
            delay = self._delay_after(task_id, error, meaning, now, roll, outage=outage)
            for interest in self._roster.waiting(row):
                if delay == NEVER:
                    self._end(task_id, row, interest, Why.FAILED, error, ended)
                elif interest.once:
                    self._end(task_id, row, interest, Why.TIMEOUT, error, ended)
            self._land(task_id, row, now, now + delay)
        if outage:
            # The probe stands for all that wanted one look only.
            for interest in list(self._roster.once):
                self._end_interest(interest, error, ended)
        return ended

    def again(self, task_id: int, now: float) -> None:
        """Take in that a look came to nothing through no fault of the service or the ID: it is due at once."""
        row = self._home(task_id, look=True)
        if row is not None:
            self._land(task_id, row, now, now)

    def blames(self, task_id: int) -> bool:
        """Whether a failed look at an ID speaks against the service: nobody succeeded since its failures began."""
        trouble = self._trouble.get(task_id)
        return trouble is None or self._last_success <= trouble.began

    def outage_over(self, seconds: float) -> None:
        """Take in that nobody could succeed for so long: that time counts for no stall, and against no ID."""
        for trouble in self._trouble.values():
            trouble.shift(seconds)
        self.news.outages += seconds
        quiet = self._roster.quiet
        for row in self._roster.rows.values():
            # Taken off beforehand: the next good look adds all the time since the last one.
            quiet[row] -= seconds

    # Time.

    def next_deadline(self) -> float:
        """When the next wait's `timeout` passes; infinite where none does."""
        return self._roster.next_deadline()

    def expire(self, now: float) -> list[Ended]:
        """End the waits whose `timeout` has passed."""
        ended: list[Ended] = []
        # One at a time: many that end at once are not to hold the event loop.
        if (interest := self._roster.expired(now)) is not None:
            self._end_interest(interest, None, ended)
        return ended

    def overdue(self, now: float) -> int:
        """Count the IDs whose time has come and whose look is not out yet."""
        return len([due for due in self._roster.due if due <= now])  # A third of what a sum over them costs.

    def clear(self) -> None:
        """End all waits; looks that are out come home to nobody."""
        for task_id, row in list(self._roster.rows.items()):
            for interest in self._roster.waiting(row):
                self._drop(task_id, interest)

    # Flight and due times.

    def _home(self, task_id: int, *, look: bool) -> int | None:
        """Bring a look home, where it was one; return the row where somebody still waits for it."""
        row = self._roster.rows.get(task_id)
        if row is None:
            return None
        if look:
            self.agenda.home(row)
        return None if self._settle(task_id, row) else row

    def _drop(self, task_id: int, interest: Interest) -> bool:
        row = self._roster.rows.get(task_id)
        if row is None or not self._roster.part(row, interest):
            return False
        self._settle(task_id, row)
        return True

    def _settle(self, task_id: int, row: int) -> bool:
        """Forget an ID that nobody waits for; return whether that is so."""
        if not self._roster.settle(task_id, row):
            return False
        self._trouble.pop(task_id, None)
        self.agenda.forget(task_id)
        return True

    def _land(self, task_id: int, row: int, now: float, due: float) -> None:
        if not self._settle(task_id, row):
            self.agenda.land(task_id, row, now, due)

    # What an answer means.

    def _good(self, task_id: int, row: int, now: float, *, listed: bool) -> None:
        """Take in that an ID was seen. What failed when it was asked for is forgiven only by asking for it."""
        self._last_success, self._last_good = now, task_id
        trouble = self._trouble.get(task_id)
        if trouble is not None and not (listed and trouble.count):
            del self._trouble[task_id]
        if listed:
            self._roster.listed[row] = LISTED
        elif self._roster.listed[row] in (LISTED, SLID):
            self._roster.listed[row] = UNLISTED

    def _answered(
        self, task_id: int, row: int, now: float, roll: float, hint: float | None, *, moved: bool
    ) -> list[Ended]:
        """After a good look that was not final: who ends; the next look is due when the policies say."""
        delay, ended = self.news.answered(task_id, row, now, roll, hint, moved=moved)
        self._land(task_id, row, now, now + delay)
        return ended

    def _delay_after(
        self, task_id: int, error: OmgmjError, meaning: Meaning, now: float, roll: float, *, outage: bool
    ) -> float:
        """Return the seconds until a failed look is made again; infinite where the ID is to be given up."""
        trouble = self._trouble.setdefault(task_id, Trouble(now))
        if meaning is Meaning.PACED:
            trouble.note(error)
            return 0.0  # The pace was cut; it holds everybody back for as long as it takes.
        hint = getattr(error, "retry_after", None)
        if outage:
            trouble.note(error)
            return self._retry.delay(1, roll, hint)
        trouble.add(error, meaning, now)
        if trouble.is_hopeless(now, self._last_success, BELIEVED.get(meaning)):
            return NEVER
        return UNKNOWN.spacing if meaning is Meaning.TASK else self._retry.delay(trouble.count, roll, hint)

    def _end(
        self, task_id: int, row: int, interest: Interest, why: Why, error: OmgmjError | None, ended: list[Ended]
    ) -> None:
        """End one wait for one ID. A timeout tells of the failed look before it, where there was one."""
        if error is None and task_id in self._trouble:
            error = self._trouble[task_id].error
        ended.append(self.news.end(task_id, row, interest, why, error))

    def _end_interest(self, interest: Interest, error: OmgmjError | None, ended: list[Ended]) -> None:
        """End all that is left of an interest, because its time has come."""
        for task_id in interest.ids:
            row = self._roster.rows.get(task_id)
            if row is not None and self._roster.find(row, interest.sink) is interest:
                self._end(task_id, row, interest, Why.TIMEOUT, error, ended)
                self._settle(task_id, row)
