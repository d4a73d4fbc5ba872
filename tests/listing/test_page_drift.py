"""A list that moves while it is read: tasks made meanwhile push those that were there to later pages."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

import omgmj
from omgmj.listing.page_drift import PATIENCE, STUCK
from omgmj.listing.tasks import Tasks
from omgmj.models import Task, TaskPage
from omgmj.testing import FakeService

pytestmark = pytest.mark.in_memory


async def drained(tasks: Tasks) -> list[int]:
    """Read on to the end."""
    return [task.id async for task in tasks]


class MovingList:
    """A list of `many` tasks, with IDs from `ids`; before each page but the first, tasks are made as `made` tells."""

    def __init__(self, many: int, made: Iterable[int], ids: Iterable[int] | None = None) -> None:
        self._ids = iter(ids or count(1))
        self._made = iter(made)
        self._listed: list[int] = []
        self.make(many)
        self.old = self._listed[:]
        self.asked: list[int] = []

    def make(self, many: int) -> None:
        for _ in range(many):
            self._listed.insert(0, next(self._ids))

    async def fetch(self, number: int, size: int) -> TaskPage:
        if self.asked:
            self.make(next(self._made, 0))
        self.asked.append(number)
        ids = self._listed[(number - 1) * size : number * size]
        return TaskPage(number, size, 7, tuple(Task(task_id, "SUCCESS") for task_id in ids))

    def check(self, seen: list[int]) -> None:
        """Check that all old tasks came, in order, and none twice."""
        assert len(set(seen)) == len(seen)
        there = set(self.old)
        assert [task_id for task_id in seen if task_id in there] == self.old


async def test_drift_is_hidden() -> None:
    """Tasks made while the list is read push the others to later pages: no ID comes twice, and none is lost."""
    async with FakeService(tasks=60) as fake, fake.session() as session:
        old = fake.task_ids[::-1]
        seen = []
        async for task in session.tasks(size=5):
            seen.append(task.id)
            if len(seen) % 3 == 0:
                fake.add_tasks(2)
        assert seen == old


async def test_a_slow_reader_catches_up() -> None:
    """Where many pages of tasks were made between two steps, all that there were before still come, once, in order."""
    async with FakeService(tasks=12) as fake, fake.session() as session:
        old = fake.task_ids[::-1]
        tasks = session.tasks(size=5)
        seen = [(await anext(tasks)).id for _ in range(5)]
        fake.add_tasks(100)
        seen += await drained(tasks)
        assert [task_id for task_id in seen if task_id in old] == old
        assert len(set(seen)) == len(seen)


async def test_a_reader_slower_than_tasks_are_made_comes_to_the_end() -> None:
    """Who takes so long over each page that pages of tasks are made meanwhile still gets to the end of the list."""
    listed = MovingList(100, ())
    seen = []
    async for task in Tasks(listed.fetch, 5):
        seen.append(task.id)
        if len(seen) % 5 == 0:
            listed.make(15)
    listed.check(seen)
    assert len(listed.asked) < 200


@given(
    st.integers(5, 20).flatmap(
        lambda size: st.tuples(st.just(size), st.lists(st.integers(0, 10 * size), max_size=30)),
    ),
    st.integers(0, 300),
)
def test_any_drift(drift: tuple[int, list[int]], many: int) -> None:
    """However many tasks are made before each page, up to ten pages of them, all old ones come, once and in order."""
    size, made = drift
    listed = MovingList(many, made)
    listed.check(asyncio.run(drained(Tasks(listed.fetch, size))))


@given(st.integers(5, 20), st.integers(1, 10), st.integers(0, 30), st.integers(0, 300))
def test_drift_by_whole_pages(size: int, pages: int, times: int, many: int) -> None:
    """Tasks made by just so many pages each time, so that the same page comes again, are no service that is stuck."""
    listed = MovingList(many, [pages * size] * times)
    listed.check(asyncio.run(drained(Tasks(listed.fetch, size))))


@given(st.integers(0, 100), st.lists(st.integers(0, 60), max_size=5), st.randoms(use_true_random=False))
def test_ids_in_any_order(many: int, made: list[int], chance: random.Random) -> None:
    """Nothing is skipped where IDs are given in no order, so that they tell nothing of what is new."""
    listed = MovingList(many, made, chance.sample(range(1, 10_000), many + sum(made)))
    listed.check(asyncio.run(drained(Tasks(listed.fetch, 10))))


@pytest.mark.parametrize(
    ("read", "burst", "more"),
    [
        (10, 0, 0),
        (10, 3, 1),  # The second half of the page is read twice.
        (10, 40, 2),  # One page tells by how much the list moved, the next shows that nothing was skipped.
        (10, 200, 10),  # Down in growing steps, and half of the way back.
    ],
)
async def test_few_pages_are_read_twice(read: int, burst: int, more: int) -> None:
    """After a burst of tasks the place to read on is found in few steps, not by reading all pages again."""

    async def pages(made: int) -> int:
        listed = MovingList(100, [0] * (read - 1) + [made])
        listed.check(await drained(Tasks(listed.fetch, 5)))
        return len(listed.asked)

    assert await pages(0) == 22
    assert await pages(burst) <= 22 + more


def stuck(number: int, size: int) -> list[int]:
    return list(range(100, 100 - size, -1))


@pytest.mark.parametrize(
    ("show", "pages"),
    [
        (stuck, [1, 2, 3, 5, 9, 17]),
        (lambda number, size: stuck(1, 2 * size)[min(number - 1, 1) * size :][:size], [1, 2, 3, 4, 6, 10, 18]),
    ],
    ids=["ignores the number", "repeats its last page"],
)
async def test_a_service_that_does_not_turn_pages(show: Callable[[int, int], list[int]], pages: list[int]) -> None:
    """A service that shows the same full page again and again ends in a clear error, not in a loop without end."""
    asked = []

    async def fetch(number: int, size: int) -> TaskPage:
        asked.append(number)
        return TaskPage(number, size, None, tuple(Task(task_id, "SUCCESS") for task_id in show(number, size)))

    tasks = Tasks(fetch, 5)
    seen = [(await anext(tasks)).id for _ in {task_id for number in (1, 2) for task_id in show(number, 5)}]
    assert seen == stuck(1, len(seen))
    with pytest.raises(omgmj.DecodeError, match="does not turn pages") as caught:
        await anext(tasks)
    assert caught.value.field == "$.data.tasks"
    assert asked == pages
    assert len(pages) == len(seen) // 5 + STUCK
    assert await drained(tasks) == []


@pytest.mark.parametrize("made", [60, 200])
async def test_a_list_that_moves_too_fast(made: int) -> None:
    """Where more is made before each page than can be made up for, the end is a clear error, after many pages."""
    listed = MovingList(50, iter(lambda: made, None))
    tasks = Tasks(listed.fetch, 5)
    seen = [(await anext(tasks)).id for _ in range(5)]
    with pytest.raises(omgmj.DecodeError, match="faster than pages are read"):
        while True:
            seen.append((await anext(tasks)).id)
    assert len(set(seen)) == len(seen)
    assert PATIENCE <= len(listed.asked) < 10 * PATIENCE
    assert await drained(tasks) == []


async def test_a_list_whose_first_page_never_turns_but_moves() -> None:
    """A service that always shows its newest tasks, some of which are new each time, ends in the same error."""
    fresh = count(1)

    async def fetch(number: int, size: int) -> TaskPage:
        top = next(fresh) + 100
        return TaskPage(number, size, None, tuple(Task(top - place, "SUCCESS") for place in range(size)))

    seen = []
    with pytest.raises(omgmj.DecodeError, match="does not turn pages"):
        async for task in Tasks(fetch, 5):
            seen.append(task.id)
    assert len(set(seen)) == len(seen) >= 5
    assert next(fresh) < 2 * PATIENCE


async def test_a_gap_is_closed_while_the_list_moves() -> None:
    """A page that was empty by accident is asked for again, and the page after it too: it has moved meanwhile."""
    listed = MovingList(30, [0, 0, 3])
    empty = iter([False, True])

    async def fetch(number: int, size: int) -> TaskPage:
        page = await listed.fetch(number, size)
        return TaskPage(number, size, None, () if next(empty, False) else page.tasks)

    listed.check(await drained(Tasks(fetch, 5)))
    assert listed.asked[:5] == [1, 2, 3, 2, 3]


async def test_a_page_that_stays_empty_is_passed_by() -> None:
    """A page that is empty each time it is asked for is asked for twice, and the rest is read."""
    listed = MovingList(30, ())

    async def fetch(number: int, size: int) -> TaskPage:
        page = await listed.fetch(number, size)
        return TaskPage(number, size, None, () if number == 3 else page.tasks)

    assert await drained(Tasks(fetch, 5)) == [task_id for task_id in listed.old if task_id not in range(16, 21)]
    assert listed.asked == [1, 2, 3, 4, 3, 4, 5, 6, 7, 8]
