"""The due queue: what is due when, and that what is not meant any more goes. What it is for, `test_planner` tells.

Of its timer wheels: nothing comes out early, nothing is lost, the most overdue comes first.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.backoff import Fixed
from omgmj.scheduler.due_queue import FAR, SPARE, TICKS, DueQueue, TimerWheel
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


def test_due_times_that_are_put_forward_again_and_again_do_not_pile_up() -> None:
    """An ID that is hastened many times leaves no trail, and one in flight beside it stays out."""
    bench = Bench()
    bench.watch(1, 0.0)
    bench.due_queue.take(0.0, fresh=False)
    bench.watch(2, 1e6)
    for i in range(1, 500):
        bench.due_queue.hasten(2, bench.registry.rows[2], 1e6 - i)
        assert bench.held <= 2 * 2 + SPARE + 1
    assert bench.due_queue.heads[False] == (1e6 - 499, 2)


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
    bench.due_queue.land(1, row, 8.0, 9.0, poll=True)
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
        queue.land(task_id, row, now, due, poll=True)
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


TIMES = st.floats(min_value=-1e6, max_value=1e9)


def drained(wheel: TimerWheel) -> list[tuple[float, int]]:
    """Take everything out, in order."""
    out = []
    while (head := wheel.next()) is not None:
        assert wheel.take() == head[1]
        out.append(head)
    return out


@given(st.lists(st.tuples(st.integers(1, 5), TIMES)))
def test_what_goes_in_comes_out_in_order_and_never_early(puts: list[tuple[int, float]]) -> None:
    """Each key comes out once for each time it was put in, at that time or less than a tick after, in order of time."""
    wheel = TimerWheel()
    told = [(wheel.add((key,), due), key) for key, due in puts]
    assert all(due <= at < due + 2 / TICKS for (_, due), (at, _) in zip(puts, told, strict=True))
    assert drained(wheel) == sorted(told, key=lambda entry: entry[0])
    assert wheel.next() is None


def test_keys_of_one_tick_come_out_as_they_went_in() -> None:
    """Who is due at the same time is served in order of coming."""
    wheel = TimerWheel()
    for key in (3, 1, 2, 1):
        assert wheel.add((key,), 1.0) == 1.0
    assert [key for _, key in drained(wheel)] == [3, 1, 2, 1]


def test_whole_and_half_seconds_are_met_exactly() -> None:
    """A tick is a power of two, so that a delay of 2 s or 0.5 s is not lengthened."""
    wheel = TimerWheel()
    assert [wheel.add((1,), due) for due in (0.0, 0.5, 2.0, 1e6 + 0.25)] == [0.0, 0.5, 2.0, 1e6 + 0.25]


def test_keys_may_come_together() -> None:
    """Many keys go in for one time at once, behind those that are there."""
    wheel = TimerWheel()
    wheel.add((7,), 1.0)
    assert wheel.add((3, 1, 2), 0.99) == 1.0
    assert wheel.size == 4
    assert [key for _, key in drained(wheel)] == [7, 3, 1, 2]


def test_the_largest_float_is_a_time_too() -> None:
    """A delay that a policy of the user's made senselessly long is far away, and no overflow."""
    wheel = TimerWheel()
    assert wheel.add((1,), 1.7e308) == FAR
    wheel.add((2,), FAR - 1)
    assert drained(wheel) == [(FAR - 1, 2), (FAR, 1)]
    assert math.isfinite(FAR * TICKS)


def test_clear_takes_out_everything() -> None:
    """After `clear` the wheel is as new."""
    wheel = TimerWheel()
    wheel.add((1,), 1.0)
    assert wheel.size == 1
    wheel.clear()
    assert wheel.next() is None
    assert wheel.size == 0
    wheel.add((2,), 1.0)
    assert drained(wheel) == [(1.0, 2)]


@given(st.lists(st.tuples(st.integers(1, 5), TIMES)), st.floats(0, 1, exclude_max=True))
def test_a_turn_changes_who_comes_next_and_nothing_else(puts: list[tuple[int, float]], roll: float) -> None:
    """Chance only changes the order among the keys of the earliest tick: all of them come out, at the same times."""
    wheel, turned = TimerWheel(), TimerWheel()
    for key, due in puts:
        wheel.add((key,), due)
        turned.add((key,), due)
    turned.turn(roll)
    assert wheel.size == turned.size == len(puts)
    assert sorted(drained(turned)) == sorted(drained(wheel))
    assert wheel.size == turned.size == 0


def test_each_of_the_earliest_keys_can_come_next() -> None:
    """A turn gives each key of the earliest tick the same share of chance; later ones do not come first."""
    chosen = []
    for step in range(100):
        wheel = TimerWheel()
        for key in (1, 2, 3, 4):
            wheel.add((key,), 1.0)
        wheel.add((5,), 2.0)
        wheel.turn(step / 100)
        chosen.append(wheel.take())
    assert sorted(chosen) == [1] * 25 + [2] * 25 + [3] * 25 + [4] * 25
