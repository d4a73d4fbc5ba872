"""The registry: who waits for which ID, a row an ID in columns of plain numbers, and the deadlines of those who wait.

No object, task or timer an ID: at a hundred thousand IDs the columns cost some hundred bytes a row, and the garbage
collector finds nothing to walk. What the numbers mean, and when to poll, is `planner`'s business. Each column is
written by one file, and read by all:

- `registry`: `who`;
- `due_queue`: `due`, `flags`, `polls`;
- `progress`: `first`, `born`, `seen`, `moved`, `quiet_since`, `answers`, `rank`, `progress`, `trait`, `last`;
- `planner`: `listed`.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from omgmj.backoff.policies import Adaptive
from omgmj.errors import OmgmjError
from omgmj.models import Status, Task

if TYPE_CHECKING:
    from omgmj.backoff.policies import Policy
    from omgmj.backoff.price import Price

NEVER = math.inf
IN_FLIGHT, FRESH, PUSHED, HELD, SINGLE, BROUGHT = 1, 2, 4, 8, 16, 32
"""A row's flags: a poll is out; its class; a push wants a poll; it waits for its page; it is to be asked for singly;
its poll was brought forward on a callback's word."""


UNLISTED, LISTED, MISSED, SLID = 0, 1, 2, 3
"""Of the account's list: the ID was seen by a query last; by a page last; the list does not hold it; it lies on another
page than the one that was read for it."""


STALE = 1.0
"""Seconds after a pause of the process in which answers may still be from before it."""
SHORT = 2.0
"""Seconds to the end of a wait that are too few to wait for others of a page, or for the page."""
BLOCK = 256
"""Rows that are added at once."""


class Sink(Protocol):
    """Receiver of what becomes of its subscriptions. It is called in the event loop and must not wait."""

    def got(self, subscription: Subscription, task: Task, *, moved: bool) -> None:
        """Receive a record; `moved` says whether it is news. A terminal one is the last of its ID."""

    def lost(self, subscription: Subscription, error: OmgmjError) -> None:
        """Receive the end of a wait for one ID, `error.task_id`, whose task came to none."""

    def broke(self, error: OmgmjError) -> None:
        """Receive the end of everything that this sink waits for; it has been closed."""


class Subscription:
    """One wait, watch or follow: its policy and limits, for the IDs that it took in together, at one moment.

    `sink` receives what becomes of it; here sinks are only told apart. `timeout` and `stall` are seconds, None for
    ever; a `timeout` of 0 ends with the first poll. `known`: the IDs are those of tasks that are there, as they were
    waited for before. One that `follows` wants to see each change. `since` is when it came, `served_since` the same in
    service time. `price` is that of a poll, which its policy went by last; None where it goes by none.
    """

    __slots__ = (
        *(
            "deadline",
            "follows",
            "ids",
            "joined",
            "known",
            "once",
            "pending",
            "policy",
            "price",
            "served_since",
            "since",
            "sink",
        ),
        "stall",
    )

    def __init__(
        self,
        sink: Sink,
        ids: Iterable[int],
        policy: Policy,
        now: float,
        timeout: float | None,
        stall: float | None,
        *,
        known: bool = False,
        follows: bool = False,
    ) -> None:
        self.sink: Sink = sink
        self.ids: array[int] = array("q", dict.fromkeys(ids))  # An ID given twice is one: each wait has one end.
        self.policy: Policy = policy
        self.price: Price | None = None
        self.known: bool = known
        self.follows: bool = follows
        self.since: float = now
        self.served_since: float = now
        self.once: bool = timeout == 0
        self.deadline: float = now + timeout if timeout else NEVER
        self.stall: float = NEVER if stall is None else stall
        self.pending: int = 0
        self.joined: int = 0

    @property
    def learns(self) -> bool:
        """Whether its policy goes by what was learned, as far as is known."""
        return self.price is not None or isinstance(self.policy, Adaptive)

    def goes_by(self, price: Price | None) -> None:
        """Record the price that its policy goes by."""
        self.price = price

    def begin(self, served: float) -> None:
        """Date the subscription in service time."""
        self.served_since = served


class Trait(NamedTuple):
    """Facts that are the same for many IDs, and therefore kept once."""

    status: Status | str
    pool: str | None
    kind: str | None


UNSEEN = Trait("", None, None)
REMEMBERED = Trait("", None, None)
"""Of an ID that nobody has seen yet since it was waited for before; not `UNSEEN`, though it says as little."""
NOBODY: dict[Sink, Subscription] = {}
"""Of all rows that nobody waits for; like all that have one entry it is shared, and never changed."""


class Registry:
    """All rows. A row lives as long as somebody waits for its ID or a poll of it is out.

    `watched` counts the IDs that somebody waits for. `next_deadline` is when the next wait's `timeout` passes, or one's
    that is over already; infinite where none does.

    The columns, by row: `who` waits, by sink, in the order they came; `due` (infinite while in flight), `first`, `born`
    (when the task started to run, not a number where that is not known), `seen` (the last good poll, not a number
    before the first) and `moved` are seconds on the planner's clock, `quiet_since` (the last change, or else when the
    row began) is service time; `polls` counts those that went out, `answers` those that came back good; `rank` and
    `progress` are -1 while unknown; `last` is the last record accepted, as it came, `listed` what the list says of it.
    Its owners set a column when the row begins.
    """

    def __init__(self) -> None:
        self.rows: dict[int, int] = {}
        self.watched: int = 0
        self.next_deadline: float = NEVER
        self.once: dict[Subscription, None] = {}  # in order
        self.who: list[dict[Sink, Subscription]] = []
        self.last: list[bytes | None] = []
        self.trait: list[Trait] = []
        self.flags: bytearray = bytearray()
        self.listed: bytearray = bytearray()
        self.rank: array[int] = array("b")
        self.progress: array[int] = array("b")
        self.polls: array[int] = array("I")
        self.answers: array[int] = array("I")
        self.due: array[float] = array("d")
        self.first: array[float] = array("d")
        self.born: array[float] = array("d")
        self.seen: array[float] = array("d")
        self.moved: array[float] = array("d")
        self.quiet_since: array[float] = array("d")
        self._free: list[int] = []
        self._deadlines: list[tuple[float, int, Subscription]] = []
        self._dead = 0
        self._serial = 0
        self._paused_until = -NEVER

    def open(self, task_id: int) -> int:
        """Return the ID's row, one that was not in use where there is none."""
        row = self.rows.get(task_id)
        if row is None:
            if not self._free:
                self._grow()
            row = self.rows[task_id] = self._free.pop()
        return row

    def open_all(self, task_ids: Sequence[int], subscription: Subscription) -> Sequence[int]:
        """Open a row for each of many IDs that have none, for the first who waits for them; return the rows."""
        count = len(task_ids)
        while len(self._free) < count:
            self._grow()
        rows = self._free[: -count - 1 : -1]
        del self._free[-count:]
        self.rows.update(zip(task_ids, rows, strict=True))
        who, alone = self.who, {subscription.sink: subscription}
        for row in rows:
            who[row] = alone
        self.watched += count
        subscription.pending += count
        subscription.joined += count
        return rows

    def release(self, task_id: int, row: int) -> None:
        """Free a row that nobody waits for, unless a poll of it is out."""
        if not self.flags[row] & IN_FLIGHT:
            del self.rows[task_id]
            self._free.append(row)

    def join(self, row: int, subscription: Subscription) -> bool:
        """Add one who waits; return False, and do nothing, where its sink waits for the ID already."""
        who = self.who[row]
        if subscription.sink in who:
            return False
        if len(who) > 1:
            who[subscription.sink] = subscription
        else:
            self.watched += not who
            self.who[row] = {**who, subscription.sink: subscription}
        subscription.pending += 1
        subscription.joined += 1
        return True

    def first_deadline(self, task_ids: Iterable[int]) -> float:
        """Return when the first wait for one of these IDs is over; infinite where none ends by itself."""
        return min(
            (one.deadline for task_id in task_ids for one in self.who[self.rows[task_id]].values()), default=NEVER
        )

    def is_short(self, row: int, now: float) -> bool:
        """Whether the time of somebody who waits is so short that nothing but a poll will do."""
        return any(one.deadline < now + SHORT for one in self.who[row].values())

    def part(self, row: int, subscription: Subscription) -> bool:
        """Remove one who waits; return whether it did."""
        who = self.who[row]
        if who.get(subscription.sink) is not subscription:
            return False
        if len(who) > 1:
            del who[subscription.sink]
        else:
            self.who[row] = NOBODY
            self.watched -= 1
        subscription.pending -= 1
        if not subscription.pending:
            self.once.pop(subscription, None)
            if subscription.deadline < NEVER:
                self._drop_deadline()
        return True

    def start_clock(self, subscription: Subscription) -> None:
        """Note when the subscription ends by itself, once all its IDs are in."""
        if subscription.pending and subscription.deadline < NEVER:
            self._serial += 1
            heapq.heappush(self._deadlines, (subscription.deadline, self._serial, subscription))
            self._note_deadline()
        if subscription.pending and subscription.once:
            self.once[subscription] = None

    def expired(self, now: float) -> Subscription | None:
        """Return a subscription whose time is over, each once; None where there is none left."""
        found = None
        while found is None and self._deadlines and self._deadlines[0][0] <= now:
            subscription = heapq.heappop(self._deadlines)[2]
            if subscription.pending:
                subscription.deadline = NEVER
                found = subscription
            else:
                self._dead -= 1
        self._note_deadline()
        return found

    def stood_still(self, now: float) -> None:
        """Note that the process did nothing until now."""
        self._paused_until = now + STALE

    def stale(self, subscription: Subscription) -> list[tuple[int, int]]:
        """Return the IDs, with their rows, of an expired subscription that were not seen since a pause of the process.

        Where there are any, the subscription ends with one poll more of each.
        """
        if subscription.since >= self._paused_until:
            return []
        found = [(task_id, self.rows[task_id]) for task_id in subscription.ids if task_id in self.rows]
        stale = [
            (task_id, row)
            for task_id, row in found
            if self.who[row].get(subscription.sink) is subscription and not self.seen[row] > self._paused_until
        ]
        if stale:
            subscription.once = True
            self.once[subscription] = None
        return stale

    def _drop_deadline(self) -> None:
        """Count a deadline that ends nobody any more, and throw such out before they are the most."""
        self._dead += 1
        if self._dead > 64 and self._dead * 2 > len(self._deadlines):
            self._deadlines = [entry for entry in self._deadlines if entry[2].pending]
            heapq.heapify(self._deadlines)
            self._dead = 0
            self._note_deadline()

    def _note_deadline(self) -> None:
        self.next_deadline = self._deadlines[0][0] if self._deadlines else NEVER

    def _grow(self) -> None:
        """Add a block of rows, which costs little more than a row would."""
        first = len(self.who)
        columns = (self.first, self.born, self.seen, self.moved, self.quiet_since)
        for column in (*columns, self.rank, self.progress, self.polls, self.answers):
            column.frombytes(bytes(BLOCK * column.itemsize))
        self.due.extend([NEVER] * BLOCK)
        self.flags.extend(bytes(BLOCK))
        self.listed.extend(bytes(BLOCK))
        self.who += [NOBODY] * BLOCK
        self.last += [None] * BLOCK
        self.trait += [UNSEEN] * BLOCK
        self._free.extend(range(first + BLOCK - 1, first - 1, -1))
