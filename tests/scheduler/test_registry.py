"""The roster: who waits for which ID, in columns, and the deadlines of those who wait."""

from __future__ import annotations

import gc
import math

import pytest

from omgmj.backoff import Fixed
from omgmj.scheduler.registry import IN_FLIGHT, NEVER, Interest, Roster

POLICY = Fixed()


def interest(*ids: int, sink: object = None, timeout: float | None = None, stall: float | None = None) -> Interest:
    """Return an interest in `ids` of a sink of its own, at the time 0."""
    return Interest(sink or object(), ids, POLICY, 0.0, timeout, stall)


def enter(roster: Roster, one: Interest) -> None:
    """Take in all IDs of an interest."""
    for task_id in one.ids:
        roster.join(roster.open(task_id, one.since), one)
    roster.start_clock(one)


@pytest.mark.parametrize(
    ("timeout", "stall", "deadline", "once"),
    [(None, None, NEVER, False), (0, 3.0, NEVER, True), (0.0, 3.0, NEVER, True), (7.0, 3.0, 7.0, False)],
)
def test_an_interest_reads_its_terms(
    timeout: float | None, stall: float | None, deadline: float, *, once: bool
) -> None:
    """None is for ever, and a timeout of 0 is one look and not a deadline."""
    one = interest(1, timeout=timeout, stall=stall)
    assert (one.deadline, one.once, one.stall) == (deadline, once, NEVER if stall is None else stall)


def test_a_sink_joins_an_id_once() -> None:
    """A sink that waits for an ID already does not wait for it twice, alone or among others."""
    roster, sink = Roster(), object()
    row = roster.open(7, 0.0)
    first, second, third = interest(7, sink=sink), interest(7), interest(7)
    assert roster.waiting(row) == ()
    assert roster.join(row, first)
    assert not roster.join(row, interest(7, sink=sink))
    assert roster.join(row, second)
    assert roster.join(row, third)
    assert not roster.join(row, interest(7, sink=sink))
    assert not roster.join(row, interest(7, sink=second.sink))
    assert roster.waiting(row) == (first, second, third)
    assert roster.watched == 1
    assert (first.joined, second.joined, third.joined) == (1, 1, 1)


def test_a_sink_finds_its_own_interest() -> None:
    """Whoever waits for an ID, alone or among others, is found by its sink, and nobody else is."""
    roster, one, two = Roster(), interest(7), interest(7)
    row = roster.open(7, 0.0)
    assert roster.find(row, one.sink) is None
    roster.join(row, one)
    assert roster.find(row, one.sink) is one
    assert roster.find(row, two.sink) is None
    roster.join(row, two)
    assert roster.find(row, one.sink) is one
    assert roster.find(row, two.sink) is two
    assert roster.find(row, object()) is None
    roster.part(row, one)
    assert roster.find(row, one.sink) is None


def test_another_interest_of_the_same_sink_does_not_part_for_it() -> None:
    """An interest that did not join, as its sink waited already, cannot take out the one that did."""
    roster, sink = Roster(), object()
    row = roster.open(7, 0.0)
    one, other, again = interest(7, sink=sink), interest(7), interest(7, sink=sink)
    for many in (False, True):
        if many:
            roster.join(row, other)
        assert roster.join(row, one) is not many
        assert not roster.join(row, again)
        assert not roster.part(row, again)
        assert roster.find(row, sink) is one
    assert again.joined == again.pending == 0


def test_who_parted_still_counts_as_joined() -> None:
    """`joined` tells how many IDs an interest ever took in, `pending` how many are left of them."""
    roster = Roster()
    one = interest(1, 2, 3)
    enter(roster, one)
    roster.part(roster.rows[2], one)
    assert (one.joined, one.pending) == (3, 2)


def test_who_parts_is_gone_and_the_others_stay() -> None:
    """Parting takes one out once, in any order; the ID is watched until the last has gone."""
    roster = Roster()
    row = roster.open(7, 0.0)
    one, two, stranger = interest(7), interest(7), interest(7)
    roster.join(row, one)
    assert not roster.part(row, stranger)
    roster.join(row, two)
    assert not roster.part(row, stranger)
    assert roster.part(row, one)
    assert not roster.part(row, one)
    assert (roster.watched, roster.waiting(row)) == (1, (two,))
    assert not roster.settle(7, row)
    assert roster.part(row, two)
    assert (roster.watched, roster.waiting(row)) == (0, ())
    assert not roster.part(row, two)
    assert roster.settle(7, row)
    assert not roster.rows


def test_a_row_is_used_again_and_begins_afresh() -> None:
    """A row that was let go of serves the next ID, with nothing left of the last one."""
    roster = Roster()
    one = interest(7)
    enter(roster, one)
    row = roster.rows[7]
    roster.looks[row], roster.answers[row], roster.progress[row], roster.rank[row] = 9, 9, 50, 2
    roster.last[row], roster.quiet[row], roster.born[row], roster.due[row] = b"x", 5.0, 1.0, 3.0
    roster.part(row, one)
    roster.settle(7, row)
    assert roster.due[row] == NEVER
    assert roster.last[row] is None
    assert roster.open(8, 4.0) == row
    assert (roster.looks[row], roster.answers[row], roster.progress[row], roster.rank[row]) == (0, 0, -1, -1)
    assert (roster.first[row], roster.moved[row], roster.quiet[row], roster.flags[row]) == (4.0, 4.0, 0.0, 0)
    assert math.isnan(roster.born[row])
    assert math.isnan(roster.seen[row])


def test_a_row_in_flight_outlives_interest() -> None:
    """A row whose look is out stays when the last one leaves, and who comes next counts that look as a first one."""
    roster = Roster()
    one = interest(7)
    enter(roster, one)
    row = roster.rows[7]
    roster.flags[row], roster.looks[row] = IN_FLIGHT, 5
    roster.part(row, one)
    assert roster.settle(7, row)
    assert roster.rows == {7: row}
    assert roster.open(7, 1.0) == row
    assert roster.looks[row] == 1
    assert roster.open(8, 1.0) != row


def test_each_deadline_is_told_once_and_in_order() -> None:
    """An interest whose time is over is told once, the earliest first; one that ended before is not told."""
    roster = Roster()
    late, soon, gone, ever, once = (interest(i, timeout=t) for i, t in enumerate((9.0, 3.0, 4.0, None, 0), 1))
    for one in (late, soon, gone, ever, once):
        enter(roster, one)
    assert roster.once == {once}
    roster.part(roster.rows[3], gone)
    roster.part(roster.rows[5], once)
    assert not roster.once
    assert roster.next_deadline() == 3.0
    assert roster.expired(2.9) is None
    assert [roster.expired(9.0) for _ in range(3)] == [soon, late, None]
    assert roster.expired(1e9) is None
    assert roster.next_deadline() == NEVER


def test_deadlines_of_those_who_left_do_not_pile_up() -> None:
    """A bot that waits with a long timeout a million times keeps no million deadlines: the dead are thrown out."""
    roster = Roster()
    keeper = interest(1, timeout=5e5)
    enter(roster, keeper)
    for _ in range(5000):
        one = interest(2, timeout=1e6)
        enter(roster, one)
        roster.part(roster.rows[2], one)
        assert len(roster._deadlines) < 200
    assert roster.next_deadline() == 5e5
    assert roster.expired(2e6) is keeper
    assert roster._dead >= 0


def test_an_interest_in_nothing_has_no_deadline() -> None:
    """An interest that all its IDs had joined before through the same sink ends at no time, as it waits for nothing."""
    roster, sink = Roster(), object()
    enter(roster, interest(1, sink=sink))
    enter(roster, interest(1, sink=sink, timeout=5.0))
    enter(roster, interest(1, sink=sink, timeout=0))
    assert roster.next_deadline() == NEVER
    assert not roster.once


def test_rows_are_no_objects() -> None:
    """Ten thousand IDs are columns of numbers: the garbage collector finds nothing to walk."""
    roster = Roster()
    one = interest(*range(1, 10_001))
    gc.collect()
    before = len(gc.get_objects())
    enter(roster, one)
    gc.collect()
    assert len(gc.get_objects()) - before < 20
    assert roster.watched == one.pending == 10_000
