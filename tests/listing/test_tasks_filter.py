"""The filters of `Session.tasks`: by status, by action and by the time of submission, with an early end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

import omgmj
from omgmj.listing.tasks import SKEW, Tasks
from omgmj.models import Task, TaskPage
from omgmj.testing import FakeService, Life

pytestmark = pytest.mark.in_memory

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def at(minutes: float | None) -> datetime | None:
    return None if minutes is None else NOON + timedelta(minutes=minutes)


class Pages:
    """Pages of tasks by their number, and which of them were asked for."""

    def __init__(self, *pages: list[Task]) -> None:
        self._pages = pages
        self.asked: list[int] = []

    async def fetch(self, number: int, size: int) -> TaskPage:
        self.asked.append(number)
        return TaskPage(number, size, None, tuple(self._pages[number - 1]) if number <= len(self._pages) else ())

    async def read(self, **filters: Any) -> list[int]:
        return [task.id async for task in Tasks(self.fetch, 5, **filters)]


def by_time(*minutes: float | None) -> Pages:
    """Make pages of tasks with the IDs 100, 99, … that were submitted so many minutes after noon."""
    tasks = [Task(100 - place, "SUCCESS", submitted_at=at(minute)) for place, minute in enumerate(minutes)]
    return Pages(*(tasks[start : start + 5] for start in range(0, len(tasks), 5)))


WORDS: Mapping[int, tuple[str, str | None]] = {
    9: ("SUBMITTED", None),
    8: ("IN_PROGRESS", "IMAGINE"),
    7: ("SUCCESS", "UPSCALE"),
    6: ("FAILURE", "IMAGINE"),
    5: ("PAUSED", "SHORTEN"),
    4: ("SUCCESS", "IMAGINE"),
}


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({}, [9, 8, 7, 6, 5, 4]),
        ({"status": "SUCCESS"}, [7, 4]),
        ({"status": omgmj.Status.SUCCESS}, [7, 4]),
        ({"status": iter(["FAILURE", "PAUSED"])}, [6, 5]),
        ({"status": "PAUS"}, []),
        ({"action": "IMAGINE"}, [8, 6, 4]),
        ({"action": {"UPSCALE", "SHORTEN"}}, [7, 5]),
        ({"status": ["SUCCESS", "FAILURE"], "action": "IMAGINE"}, [6, 4]),
        ({"status": "CANCEL"}, []),
    ],
)
async def test_status_and_action(filters: dict[str, Any], ids: list[int]) -> None:
    """Only tasks whose status and action are among the words given come, and words that are not known are taken."""
    tasks = [Task(task_id, status, kind=kind) for task_id, (status, kind) in WORDS.items()]
    pages = Pages(tasks[:5], tasks[5:])
    assert await pages.read(**filters) == ids
    assert pages.asked == [1, 2, 3]


@pytest.mark.parametrize("name", ["status", "action"])
@pytest.mark.parametrize(
    "given", ["", " ", b"SUCCESS", 7, True, [], [""], ["SUCCESS", None], [["SUCCESS"]], object(), [10**5000]], ids=type
)
def test_bad_words(name: str, given: Any) -> None:
    """What is no word, nor several, is refused at the call, and named."""
    with pytest.raises(omgmj.UsageError, match=f"^{name} must "):
        Tasks(Pages().fetch, 5, **{name: given})


def test_bad_words_are_told_the_good_ones() -> None:
    """The message names the words that are known, as they are to be written."""
    with pytest.raises(omgmj.UsageError, match=r"such as NOT_START, SUBMITTED, IN_PROGRESS, .*CANCEL; not 7$"):
        Tasks(Pages().fetch, 5, status=7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("status", "success", "SUCCESS"),
        ("status", ["SUCCESS", "Failure "], "FAILURE"),
        ("action", "imagine", "IMAGINE"),
    ],
)
def test_known_words_in_another_case(name: str, given: Any, meant: str) -> None:
    """A known word in another case would fit no task: it is refused, with the word that is meant."""
    with pytest.raises(omgmj.UsageError, match=f"^{name} must be written as the service does: '{meant}'"):
        Tasks(Pages().fetch, 5, **{name: given})


@pytest.mark.parametrize("since", [datetime(2024, 5, 1), date(2024, 5, 1), "2024-05-01", 1.7e9, False])  # noqa: DTZ001
def test_bad_since(since: Any) -> None:
    """A time without a zone, and what is no time, is refused at the call."""
    with pytest.raises(omgmj.UsageError, match=r"^since must be a datetime with a time zone"):
        Tasks(Pages().fetch, 5, since=since)


async def test_since_stops_early() -> None:
    """Tasks submitted at that time or later come, and the first page of nothing but older ones is the last."""
    minutes = [-10.0 * place for place in range(50)]
    pages = by_time(*minutes)
    assert await pages.read(since=NOON - timedelta(minutes=70)) == list(range(100, 92, -1))
    assert pages.asked == [1, 2, 3]
    zone = timezone(timedelta(hours=8))
    pages = by_time(*minutes)
    assert await pages.read(since=(NOON - timedelta(minutes=40)).astimezone(zone)) == list(range(100, 95, -1))
    assert pages.asked == [1, 2]
    pages = by_time(*minutes)
    assert await pages.read(since=NOON + timedelta(days=1)) == []
    assert pages.asked == [1]


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))])
async def test_since_at_the_ends_of_time(zone: timezone) -> None:
    """The earliest and the latest time that there is are times like others."""
    pages = by_time(*range(0, -7, -1))
    assert len(await pages.read(since=datetime.min.replace(tzinfo=zone))) == 7
    assert await pages.read(since=datetime.max.replace(tzinfo=zone)) == []


async def test_clocks_that_differ() -> None:
    """A page that is older by less than clocks may differ is not the last: a younger task after it still comes."""
    just = SKEW.total_seconds() / 60
    pages = by_time(5, -just, -0.5, -just, -0.2, 0, -0.7, 0.1, -just, 0, -9, -9, -9, -9, -8, 3, 3, 3, 3, 3)
    assert await pages.read(since=NOON) == [100, 95, 93, 91]
    assert pages.asked == [1, 2, 3]


async def test_missing_submit_times() -> None:
    """A task without a submit time is kept where the one before it in the list fits, or there is none before it."""
    pages = by_time(None, 5, None, None, 1, None, -5, None, 2, None, -5, None, -5, None, None, None, None)
    assert await pages.read(since=NOON) == [100, 99, 98, 97, 96, 95, 92, 91]
    assert pages.asked == [1, 2, 3], "the third page's are all too old, as far as they tell"
    untold = by_time(*[None] * 12)
    assert await untold.read(since=NOON) == list(range(100, 88, -1))
    assert untold.asked == [1, 2, 3, 4]
    pages = by_time(1, 1, 1, 1, -9, *[None] * 5, -9, -9, -9, -9, -9, 1)
    assert await pages.read(since=NOON) == [100, 99, 98, 97]
    assert pages.asked == [1, 2, 3], "a page that tells no time ends nothing"


async def test_nothing_on_an_empty_list() -> None:
    """On an account without tasks a filter finds nothing, and two pages show it."""
    pages = Pages()
    assert await pages.read(status="SUCCESS", action="IMAGINE", since=NOON) == []
    assert pages.asked == [1, 2]


async def test_an_empty_page_ends_no_search() -> None:
    """After a page that was empty by accident, older tasks end nothing before it has been asked for again."""
    old, young = by_time(*[-9.0] * 5), by_time(*[9.0] * 5)
    shown = [young, Pages(), old, young, old]
    asked: list[int] = []

    async def fetch(number: int, size: int) -> TaskPage:
        asked.append(number)
        page = await shown[len(asked) - 1].fetch(1, size)
        return attrs.evolve(page, tasks=tuple(attrs.evolve(task, id=task.id - 5 * number) for task in page.tasks))

    assert [task.id async for task in Tasks(fetch, 5, since=NOON)] == list(range(95, 85, -1))
    assert asked == [1, 2, 3, 2, 3]


@pytest.mark.parametrize(
    ("first", "then", "status", "ids"),
    [
        ("SUCCESS", "SUCCESS", "SUCCESS", [9, 8, 7, 6, 5, 4]),
        ("IN_PROGRESS", "SUCCESS", "SUCCESS", [9, 8, 7, 6, 5, 4]),
        ("SUCCESS", "FAILURE", "SUCCESS", [9, 8, 7, 6, 5, 4]),
        ("IN_PROGRESS", "FAILURE", ["IN_PROGRESS", "FAILURE"], [5]),
        ("IN_PROGRESS", "FAILURE", "SUCCESS", [9, 8, 7, 6, 4]),
    ],
)
async def test_a_task_that_comes_twice_in_different_states(first: str, then: str, status: Any, ids: list[int]) -> None:
    """A task on two pages comes once: as the first record of it that fits."""
    pages = Pages(
        [*(Task(task_id, "SUCCESS") for task_id in (9, 8, 7, 6)), Task(5, first)],
        [Task(5, then), Task(4, "SUCCESS")],
    )
    found = [task async for task in Tasks(pages.fetch, 5, status=status)]
    assert [task.id for task in found] == ids
    words = [status] if isinstance(status, str) else status
    assert all(task.status == next(word for word in (first, then) if word in words) for task in found if task.id == 5)


async def test_filters_on_the_service() -> None:
    """Filters hold for a service's own records, and whoever looks for the latest few asks for few pages."""
    async with FakeService() as fake, fake.session() as session:
        for _ in range(60):
            fake.add_task(Life.succeed(1))
        await asyncio.sleep(3600)
        failed = fake.add_task(Life.fail(1))
        upscaled = fake.add_task(Life.succeed(1), kind="UPSCALE")
        await asyncio.sleep(60)
        late = (await session.query(failed)).submitted_at

        async def found(**filters: Any) -> list[int]:
            return [task.id async for task in Tasks(session.page, 5, **filters)]

        assert await found(status="FAILURE") == [failed]
        assert await found(action="UPSCALE") == [upscaled]
        fake.pages.clear()
        assert await found(since=late) == [upscaled, failed]
        assert fake.pages == {1: 1, 2: 1}
        assert await found(since=late, status="CANCEL") == []


async def test_closing_while_nothing_fits() -> None:
    """`aclose` ends a reader that goes from page to page and finds nothing, and asks for no page more."""
    asked: list[int] = []

    async def fetch(number: int, size: int) -> TaskPage:
        asked.append(number)
        await asyncio.sleep(1)
        return TaskPage(number, size, None, tuple(Task(10_000 - number * size - n, "SUCCESS") for n in range(size)))

    tasks = Tasks(fetch, 5, status="FAILURE")
    reader = asyncio.ensure_future(anext(tasks, None))
    await asyncio.sleep(7.5)
    await tasks.aclose()
    assert await reader is None
    assert asked == list(range(1, 9))
    assert await anext(tasks, None) is None
    await asyncio.sleep(10)
    assert len(asked) == 8
