"""The registry: who waits for which ID, in columns, and the deadlines of those who wait."""

from __future__ import annotations

import ast
import gc
from array import array
from collections import defaultdict
from pathlib import Path

import pytest

import omgmj
from omgmj.backoff import Fixed
from omgmj.scheduler import registry as rows
from omgmj.scheduler.registry import BLOCK, IN_FLIGHT, NEVER, Registry, Subscription
from tests.scheduler.bench import Sink

POLICY = Fixed()


def subscription(
    *ids: int, sink: rows.Sink | None = None, timeout: float | None = None, stall: float | None = None
) -> Subscription:
    """Return a subscription to `ids` of a sink of its own, at the time 0."""
    return Subscription(sink or Sink(), ids, POLICY, 0.0, timeout, stall)


def enter(registry: Registry, one: Subscription) -> None:
    """Take in all IDs of a subscription."""
    if new := [task_id for task_id in one.ids if task_id not in registry.rows]:
        registry.open_all(new, one)
    for task_id in one.ids:
        registry.join(registry.rows[task_id], one)
    registry.start_clock(one)


@pytest.mark.parametrize(
    ("timeout", "stall", "deadline", "once"),
    [(None, None, NEVER, False), (0, 3.0, NEVER, True), (0.0, 3.0, NEVER, True), (7.0, 3.0, 7.0, False)],
)
def test_a_subscription_reads_its_terms(
    timeout: float | None, stall: float | None, deadline: float, *, once: bool
) -> None:
    """None is for ever, and a timeout of 0 is one poll and not a deadline."""
    one = subscription(1, timeout=timeout, stall=stall)
    assert (one.deadline, one.once, one.stall) == (deadline, once, NEVER if stall is None else stall)


def test_a_sink_joins_an_id_once() -> None:
    """A sink that waits for an ID already does not wait for it twice, alone or among others."""
    registry, sink = Registry(), Sink()
    row = registry.open(7)
    first, second, third = subscription(7, sink=sink), subscription(7), subscription(7)
    assert tuple(registry.who[row].values()) == ()
    assert registry.join(row, first)
    assert not registry.join(row, subscription(7, sink=sink))
    assert registry.join(row, second)
    assert registry.join(row, third)
    assert not registry.join(row, subscription(7, sink=sink))
    assert not registry.join(row, subscription(7, sink=second.sink))
    assert tuple(registry.who[row].values()) == (first, second, third)
    assert registry.watched == 1
    assert (first.joined, second.joined, third.joined) == (1, 1, 1)


def test_a_sink_finds_its_own_subscription() -> None:
    """Whoever waits for an ID, alone or among others, is found by its sink, and nobody else is."""
    registry, one, two = Registry(), subscription(7), subscription(7)
    row = registry.open(7)
    assert registry.who[row].get(one.sink) is None
    registry.join(row, one)
    assert registry.who[row].get(one.sink) is one
    assert registry.who[row].get(two.sink) is None
    registry.join(row, two)
    assert registry.who[row].get(one.sink) is one
    assert registry.who[row].get(two.sink) is two
    assert registry.who[row].get(Sink()) is None
    registry.part(row, one)
    assert registry.who[row].get(one.sink) is None


def test_another_subscription_of_the_same_sink_does_not_part_for_it() -> None:
    """A subscription that did not join, as its sink waited already, cannot take out the one that did."""
    registry, sink = Registry(), Sink()
    row = registry.open(7)
    one, other, again = subscription(7, sink=sink), subscription(7), subscription(7, sink=sink)
    for many in (False, True):
        if many:
            registry.join(row, other)
        assert registry.join(row, one) is not many
        assert not registry.join(row, again)
        assert not registry.part(row, again)
        assert registry.who[row].get(sink) is one
    assert again.joined == again.pending == 0


def test_who_parted_still_counts_as_joined() -> None:
    """`joined` tells how many IDs a subscription ever took in, `pending` how many are left of them."""
    registry = Registry()
    one = subscription(1, 2, 3)
    enter(registry, one)
    registry.part(registry.rows[2], one)
    assert (one.joined, one.pending) == (3, 2)


def test_who_parts_is_gone_and_the_others_stay() -> None:
    """Parting takes one out once, in any order; the ID is watched until the last has gone."""
    registry = Registry()
    row = registry.open(7)
    one, two, stranger = subscription(7), subscription(7), subscription(7)
    registry.join(row, one)
    assert not registry.part(row, stranger)
    registry.join(row, two)
    assert not registry.part(row, stranger)
    assert registry.part(row, one)
    assert not registry.part(row, one)
    assert (registry.watched, tuple(registry.who[row].values())) == (1, (two,))
    assert registry.part(row, two)
    assert (registry.watched, tuple(registry.who[row].values())) == (0, ())
    assert not registry.part(row, two)
    registry.release(7, row)
    assert not registry.rows


def test_a_row_is_used_again() -> None:
    """A row that was let go of serves the next ID; one whose poll is out is kept for its own."""
    registry = Registry()
    row, other = registry.open(7), registry.open(8)
    registry.flags[other] = IN_FLIGHT
    registry.release(7, row)
    registry.release(8, other)
    assert registry.rows == {8: other}
    assert registry.open(9) == row
    assert registry.open(8) == other
    assert registry.open(10) not in {row, other}


OWNERS = {
    "registry": {"who"},
    "due_queue": {"due", "flags", "polls"},
    "progress": {
        *("first", "born", "seen", "moved", "quiet_since", "answers"),
        *("rank", "progress", "trait", "last"),
    },
    "planner": {"listed"},
}


def writers(source: str) -> set[str]:
    """Return the names of what is written by row: of attributes, or of names that stand for them."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            found |= {getattr(node.value, "attr", ""), getattr(node.value, "id", "")}
    return found


def test_each_column_is_written_by_one_file() -> None:
    """A column has one owner, which alone writes it by row; no column is left without one."""
    registry = Registry()
    registry.open(7)
    columns = {
        name
        for name, column in vars(registry).items()
        if isinstance(column, bytearray | list | array) and len(column) == BLOCK
    }
    found: dict[str, set[str]] = defaultdict(set)
    for path in Path(omgmj.__file__).parent.rglob("*.py"):
        if path.parts[-2] in {"scheduler", "polling"} and (written := writers(path.read_text("utf-8")) & columns):
            found[path.stem] = written
    assert found == OWNERS
    assert set().union(*OWNERS.values()) == columns


def test_rows_that_are_opened_together_part_one_by_one() -> None:
    """Of IDs that were taken in together each has its own row, and who joins or leaves one of them no other."""
    registry, one, other = Registry(), subscription(1, 2, 3), subscription(2)
    assert sorted(registry.open_all((1, 2, 3), one)) == sorted(registry.rows.values())
    assert len(set(registry.rows.values())) == 3
    enter(registry, other)
    registry.part(registry.rows[3], one)
    who = {task_id: tuple(registry.who[row].values()) for task_id, row in registry.rows.items()}
    assert who == {1: (one,), 2: (one, other), 3: ()}
    assert (one.joined, one.pending, registry.watched) == (3, 2, 2)


def test_each_deadline_is_told_once_and_in_order() -> None:
    """A subscription whose time is over is told once, the earliest first; one that ended before is not told."""
    registry = Registry()
    late, soon, gone, ever, once = (subscription(i, timeout=t) for i, t in enumerate((9.0, 3.0, 4.0, None, 0), 1))
    for one in (late, soon, gone, ever, once):
        enter(registry, one)
    assert registry.once == {once: None}
    registry.part(registry.rows[3], gone)
    registry.part(registry.rows[5], once)
    assert not registry.once
    assert registry.next_deadline == 3.0
    assert registry.expired(2.9) is None
    assert [registry.expired(9.0) for _ in range(3)] == [soon, late, None]
    assert registry.expired(1e9) is None
    assert registry.next_deadline == NEVER


def test_deadlines_of_those_who_left_do_not_pile_up() -> None:
    """A bot that waits with a long timeout a million times keeps no million deadlines: the dead are thrown out."""
    registry = Registry()
    keeper = subscription(1, timeout=5e5)
    enter(registry, keeper)
    for _ in range(5000):
        one = subscription(2, timeout=1e6)
        enter(registry, one)
        registry.part(registry.rows[2], one)
        assert len(registry._deadlines) < 200
    assert registry.next_deadline == 5e5
    assert registry.expired(2e6) is keeper
    assert registry._dead >= 0


def test_a_subscription_to_nothing_has_no_deadline() -> None:
    """A subscription whose IDs had all joined before through the same sink ends at no time: it waits for nothing."""
    registry, sink = Registry(), Sink()
    enter(registry, subscription(1, sink=sink))
    enter(registry, subscription(1, sink=sink, timeout=5.0))
    enter(registry, subscription(1, sink=sink, timeout=0))
    assert registry.next_deadline == NEVER
    assert not registry.once


def test_rows_are_no_objects() -> None:
    """Ten thousand IDs are columns of numbers: the garbage collector finds nothing to walk."""
    registry = Registry()
    one = subscription(*range(1, 10_001))
    gc.collect()
    before = len(gc.get_objects())
    enter(registry, one)
    gc.collect()
    assert len(gc.get_objects()) - before < 20
    assert registry.watched == one.pending == 10_000
