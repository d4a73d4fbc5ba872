"""The watched IDs below all that was read of the list: in order, and only those that may stand there."""

from __future__ import annotations

from omgmj.backoff import Fixed
from omgmj.scheduler.list_backlog import FEW, SPARE, ListBacklog
from omgmj.scheduler.registry import MISSED, Registry, Subscription
from tests.scheduler.bench import Sink


def watching(*ids: int) -> tuple[Registry, Subscription]:
    """Return a registry that watches `ids`, and their subscription."""
    registry = Registry()
    subscription = Subscription(Sink(), ids, Fixed(2.0), 0.0, None, None)
    registry.open_all(ids, subscription)
    return registry, subscription


def test_those_that_the_list_was_read_beyond_leave_in_order() -> None:
    """In whatever order IDs came, those no older than what was read are told once, ascending."""
    registry, _ = watching(*range(100, 60, -1), *range(1, 61))
    backlog = ListBacklog(registry)
    assert list(backlog.pass_by(91)) == list(range(91, 101))
    assert list(backlog.pass_by(91)) == []
    assert backlog.newest(91) == 90
    assert backlog.newest(1) is None
    assert backlog.count(81, 95) == 10


def test_ids_may_come_later_and_twice() -> None:
    """A few that come are put in their places, each once, as many are."""
    registry, _ = watching(*range(1, 101))
    backlog = ListBacklog(registry)
    assert list(backlog.pass_by(101)) == []
    assert backlog.count(1, 100) == 100
    backlog.discard(41, 60)
    assert backlog.count(1, 100) == 80
    for more in ([50, 3, 50], range(45, 45 + FEW + 1)):
        backlog.add(more)
        backlog.add(more)
        assert list(backlog.pass_by(101)) == []
    assert backlog.count(41, 60) == 16
    assert backlog.count(1, 5) == 5


def test_who_left_or_is_missing_from_the_list_does_not_count() -> None:
    """An ID that nobody waits for any more, or that the list does not hold, is not looked for."""
    registry, subscription = watching(*range(1, 11))
    backlog = ListBacklog(registry)
    assert list(backlog.pass_by(11)) == []
    row = registry.rows[10]
    registry.part(row, subscription)
    assert backlog.newest(11) == 9
    registry.release(10, row)
    registry.listed[registry.rows[9]] = MISSED
    assert backlog.newest(11) == 8
    assert backlog.count(1, 10) == 8


def test_what_came_is_bounded_where_the_list_is_not_read() -> None:
    """A session that never reads the list keeps no more of its IDs than are watched, and some."""
    registry, _ = watching(1, 2, 3)
    backlog = ListBacklog(registry)
    for task_id in range(4, 10_000):
        backlog.add([task_id])
        assert len(backlog._came) <= 2 * 3 + SPARE
    assert backlog.pass_by(3)[0] == 3
    assert backlog.newest(4) == 2
