"""The due queue: what is due when, and that what is not meant any more goes. What it is for, `test_planner` tells."""

from __future__ import annotations

import pytest

from omgmj.backoff import Fixed
from omgmj.scheduler.due_queue import SPARE, DueQueue
from omgmj.scheduler.registry import HELD, IN_FLIGHT, NEVER, PUSHED, SINGLE, Registry, Subscription


class Bench:
    """A registry with its due queue."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.due_queue = DueQueue(self.registry)

    def watch(self, task_id: int, due: float, *, fresh: bool = False) -> Subscription:
        """Have one more wait for an ID, which is due at a time."""
        one = Subscription(object(), [task_id], Fixed(), 0.0, None, None)
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
    while (due := min(bench.due_queue.due(fresh=True), bench.due_queue.due(fresh=False))) < NEVER:
        order.append(bench.due_queue.take(due, fresh=bench.due_queue.due(fresh=True) == due)[:2])
    assert order == [(i, 1e6 + i) for i in range(1, 11)]


def test_what_is_in_flight_is_not_due_after_stale_times_went() -> None:
    """An ID whose poll is out gets no due time when the wheels are made anew."""
    bench = Bench()
    bench.watch(1, 0.0)
    assert bench.due_queue.due(fresh=False) == 0.0
    assert bench.due_queue.take(0.0, fresh=False) == (1, 0.0, 0)
    for i in range(2 * SPARE):
        bench.leave(bench.watch(2, float(i)))
    assert bench.held <= 2 + SPARE + 1
    assert bench.due_queue.due(fresh=False) == NEVER


def test_many_that_leave_one_by_one_cost_few_rounds() -> None:
    """As a thousand leave one by one, the wheels are made anew about as often as their number halves."""
    bench = Bench()
    all_of_them = [bench.watch(i, 5.0) for i in range(1000)]
    rounds, held = 0, bench.held
    for one in all_of_them:
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
    assert (bench.due_queue.due(fresh=False), bench.due_queue.next(fresh=False)) == (6.0, 1)
    assert bench.due_queue.take(7.0, fresh=False) == (1, 6.0, HELD)
    row = bench.registry.rows[1]
    assert (bench.registry.flags[row], bench.registry.polls[row], bench.due_queue.in_flight) == (IN_FLIGHT, 1, 1)
    bench.due_queue.home(row)
    bench.due_queue.land(1, row, 8.0, 9.0)
    bench.due_queue.push(1, 8.0)
    assert bench.due_queue.due(fresh=True) == 8.0
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
        assert bench.due_queue.due(fresh=False) == 6.0
        assert bench.registry.flags[row] == flag


@pytest.mark.parametrize(("due", "kept"), [(5.0, True), (9.0, False)])
def test_who_is_asked_for_singly_keeps_a_first_poll_that_is_due(due: float, *, kept: bool) -> None:
    """An ID that waits for its turn in the class of first polls is not moved to the rest; one due later is sooner."""
    bench = Bench()
    bench.watch(1, due, fresh=True)
    bench.due_queue.single_out(1, 6.0)
    assert (bench.due_queue.due(fresh=True), bench.due_queue.due(fresh=False)) == (
        (5.0, NEVER) if kept else (NEVER, 6.0)
    )
    assert bench.due_queue.take(6.0, fresh=kept)[2] & SINGLE


def test_an_empty_due_queue_has_nothing_due() -> None:
    """Where nobody waits nothing is due, be it mixed or not."""
    bench = Bench()
    for fresh in (True, False):
        bench.due_queue.mix(0.5, fresh=fresh)
    assert bench.due_queue.due(fresh=True) == bench.due_queue.due(fresh=False) == NEVER
    assert bench.due_queue.next(fresh=False) == 0


def test_chance_chooses_among_those_that_are_meant() -> None:
    """A mix never brings a due time to the front that is not meant any more."""
    for step in range(20):
        bench = Bench()
        for i in (1, 2, 3, 4):
            bench.watch(i, 5.0)
        for i in (1, 3):
            bench.due_queue.schedule(i, bench.registry.rows[i], 4.0, fresh=True)
        assert bench.due_queue.due(fresh=False) == 5.0
        bench.due_queue.mix(step / 20, fresh=False)
        assert bench.due_queue.take(5.0, fresh=False)[0] in (2, 4)
        assert bench.due_queue.due(fresh=False) == 5.0
