"""The due queue: what is due when, and that what is not meant any more goes. What it is for, `test_planner` tells."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from omgmj.backoff import Fixed
from omgmj.scheduler.due_queue import SPARE, DueQueue
from omgmj.scheduler.registry import FRESH, HELD, IN_FLIGHT, NEVER, PUSHED, SINGLE, Registry, Subscription
from tests.scheduler.bench import Sink


class Bench:
    """A registry with its due queue."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.due_queue = DueQueue(self.registry)

    def watch(self, task_id: int, due: float, *, fresh: bool = False) -> Subscription:
        """Have one more wait for an ID, which is due at a time."""
        one = Subscription(Sink(), [task_id], Fixed(), 0.0, None, None)
        row = self.registry.open(task_id)
        self.registry.join(row, one)
        self.due_queue.schedule(task_id, row, due, fresh=fresh)
        return one

    def leave(self, one: Subscription) -> None:
        """Have one leave that waited for one ID alone."""
        (task_id,) = one.ids
        row = self.registry.rows[task_id]
        self.registry.part(row, one)
        self.registry.release(task_id, row)
        self.due_queue.forget(task_id, row)

    def dues(self, *, fresh: bool) -> dict[int, float]:
        """Return when each ID of a class is due that is not in flight."""
        due, flags = self.registry.due, self.registry.flags
        return {i: due[row] for i, row in self.registry.rows.items() if bool(flags[row] & FRESH) == fresh}

    @property
    def held(self) -> int:
        """How many due times the wheels hold."""
        return self.due_queue._fresh.size + self.due_queue._polls.size


def test_due_times_of_those_who_left_do_not_pile_up() -> None:
    """Where many come and go beside some that stay, the wheels hold little more than what is meant."""
    bench = Bench()
    for i in range(1, 11):
        bench.watch(i, 1e6 + i, fresh=i % 2 == 0)
    for i in range(5000):
        bench.leave(bench.watch(11, 1e5 + i, fresh=i % 3 == 0))
        assert bench.held <= 2 * 10 + SPARE + 1
    order = []
    while (due := min(bench.due_queue.heads[True].due, bench.due_queue.heads[False].due)) < NEVER:
        order.append(bench.due_queue.take(due, fresh=bench.due_queue.heads[True].due == due)[:2])
    assert order == [(i, 1e6 + i) for i in range(1, 11)]


def test_what_is_in_flight_is_not_due_after_stale_times_went() -> None:
    """An ID whose poll is out gets no due time when the wheels are made anew."""
    bench = Bench()
    bench.watch(1, 0.0)
    assert bench.due_queue.heads[False].due == 0.0
    assert bench.due_queue.take(0.0, fresh=False) == (1, 0.0, 0)
    for i in range(2 * SPARE):
        bench.leave(bench.watch(2, float(i)))
    assert bench.held <= 2 + SPARE + 1
    assert bench.due_queue.heads[False].due == NEVER


def test_many_that_leave_one_by_one_cost_few_rounds() -> None:
    """As a thousand leave, the last first, the wheels are made anew about as often as their number halves."""
    bench = Bench()
    all_of_them = [bench.watch(i, 5.0) for i in range(1000)]
    rounds, held = 0, bench.held
    for one in reversed(all_of_them):
        bench.leave(one)
        rounds += bench.held < held
        held = bench.held
    assert rounds <= 10
    assert bench.held <= SPARE


def test_what_was_taken_tells_why_it_was_due() -> None:
    """Taking an ID gives the flags it had, and leaves none but that it is in flight."""
    bench = Bench()
    bench.watch(1, 5.0)
    bench.due_queue.hold(1, 6.0)
    assert (bench.due_queue.heads[False].due, bench.due_queue.heads[False].task_id) == (6.0, 1)
    assert bench.due_queue.take(7.0, fresh=False) == (1, 6.0, HELD)
    row = bench.registry.rows[1]
    assert (bench.registry.flags[row], bench.registry.polls[row], bench.due_queue.in_flight) == (IN_FLIGHT, 1, 1)
    bench.due_queue.home(row)
    bench.due_queue.land(1, row, 8.0, 9.0)
    bench.due_queue.push(1, 8.0)
    assert bench.due_queue.heads[True].due == 8.0
    assert bench.due_queue.take(8.0, fresh=True)[2] & PUSHED


def test_nothing_hastens_what_is_due_already() -> None:
    """An ID that waits for its page, or is to be asked for singly, stays so when somebody would have it sooner."""
    for flag in (HELD, SINGLE):
        bench = Bench()
        bench.watch(1, 6.0)
        row = bench.registry.rows[1]
        if flag == HELD:
            bench.due_queue.hold(1, 6.0)
        else:
            bench.due_queue.single_out(1, 7.0)
        bench.due_queue.hasten(1, row, 5.5)
        assert bench.due_queue.heads[False].due == 6.0
        assert bench.registry.flags[row] == flag


@pytest.mark.parametrize(("due", "kept"), [(5.0, True), (9.0, False)])
def test_who_is_asked_for_singly_keeps_a_first_poll_that_is_due(due: float, *, kept: bool) -> None:
    """An ID that waits for its turn in the class of first polls is not moved to the rest; one due later is sooner."""
    bench = Bench()
    bench.watch(1, due, fresh=True)
    bench.due_queue.single_out(1, 6.0)
    assert (bench.due_queue.heads[True].due, bench.due_queue.heads[False].due) == (
        (5.0, NEVER) if kept else (NEVER, 6.0)
    )
    assert bench.due_queue.take(6.0, fresh=kept)[2] & SINGLE


def test_an_empty_due_queue_has_nothing_due() -> None:
    """Where nobody waits nothing is due, be it mixed or not."""
    bench = Bench()
    for fresh in (True, False):
        bench.due_queue.mix(0.5, fresh=fresh)
    assert bench.due_queue.heads[True].due == bench.due_queue.heads[False].due == NEVER
    assert bench.due_queue.heads[False].task_id == 0


def test_chance_chooses_among_those_that_are_meant() -> None:
    """A mix never brings a due time to the front that is not meant any more."""
    for step in range(20):
        bench = Bench()
        for i in (1, 2, 3, 4):
            bench.watch(i, 5.0)
        for i in (1, 3):
            bench.due_queue.schedule(i, bench.registry.rows[i], 4.0, fresh=True)
        assert bench.due_queue.heads[False].due == 5.0
        bench.due_queue.mix(step / 20, fresh=False)
        assert bench.due_queue.take(5.0, fresh=False)[0] in (2, 4)
        assert bench.due_queue.heads[False].due == 5.0


def disturb(bench: Bench, one: Subscription, now: float, chance: random.Random) -> bool:
    """Change something about an ID by chance; return whether the one who waits has left."""
    (task_id,) = one.ids
    queue, row = bench.due_queue, bench.registry.rows[task_id]
    due, fresh = now + chance.randint(0, 8), chance.random() < 0.5
    if bench.registry.flags[row] & IN_FLIGHT:
        queue.home(row)
        queue.land(task_id, row, now, due)
        return False
    changes: list[Callable[[], object]] = [
        lambda: queue.hold(task_id, due),
        lambda: queue.single_out(task_id, now),
        lambda: queue.push(task_id, now),
        lambda: queue.hasten(task_id, row, due, fresh=fresh),
        lambda: queue.mix(chance.random(), fresh=fresh),
        lambda: queue.take_along(task_id, now),
        lambda: bench.leave(one),
    ]
    if (head := queue.heads[fresh]).due < NEVER:
        changes.append(lambda: queue.take(now, fresh=fresh)[:2] == (head.task_id, head.due) or pytest.fail("not it"))
    change = chance.choice(changes)
    change()
    return change is changes[6]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_changes_the_heads_are_what_is_due_next(seed: int) -> None:
    """After each change the heads tell when the next poll of each class is due, and of an ID that is due then."""
    chance = random.Random(seed)
    bench = Bench()
    waiting: dict[int, Subscription] = {}
    for step in range(600):
        task_id = chance.randint(1, 12)
        if task_id not in waiting:
            waiting[task_id] = bench.watch(task_id, step / 4 + chance.randint(0, 8), fresh=chance.random() < 0.5)
        elif disturb(bench, waiting[task_id], step / 4, chance):
            del waiting[task_id]
        for fresh in (False, True):
            dues, head = bench.dues(fresh=fresh), bench.due_queue.heads[fresh]
            assert head.due == min(dues.values(), default=NEVER)
            assert dues.get(head.task_id, NEVER) == head.due
