"""The search for a submission whose answer was lost: it is found, and nothing else is."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

import omgmj
from omgmj import Answer, Passage, Request, Secret, Stream
from omgmj.errors import RateLimited, SubmissionUncertain, TransportError, UsageError
from omgmj.listing.reconcile import reconcile
from omgmj.models import Submission, Task, TaskPage
from omgmj.testing import FakeService, Fault, Life


async def test_a_lost_submission_is_found() -> None:
    """The search finds the task of a lost answer by the error, and leaves out one that is known to be another's."""
    async with FakeService() as fake, fake.session() as session:
        first = await session.imagine("a cat")
        await asyncio.sleep(3)
        fake.inject(Fault("drop_before_headers", only="submissions"))
        with pytest.raises(SubmissionUncertain) as caught:
            await session.imagine("a cat")
        lost = fake.created[-1].task_id
        assert lost != first
        await asyncio.sleep(3)
        await session.imagine("a dog")
        found = await session.reconcile(caught.value)
        assert [task.id for task in found] == [lost]
        assert found.looked_back_to == (await session.page()).tasks[-1].submitted_at
        assert (await session.wait(lost)).is_terminal


async def test_a_lost_submission_that_made_nothing_is_not_found() -> None:
    """Where the service never read it, there is nothing to be found, also not a task of the same prompt long ago."""
    async with FakeService() as fake, fake.session() as session:
        fake.add_task(prompt="a cat")
        await asyncio.sleep(600)
        fake.inject(Fault("html_502", only="submissions"))
        with pytest.raises(SubmissionUncertain) as caught:
            await session.imagine("a cat")
        assert await session.reconcile(caught.value) == []


async def test_a_lost_action_is_found() -> None:
    """The search finds what an action made, by the error, or by the custom ID and a time."""
    async with FakeService() as fake, fake.session() as session:
        parent = await session.wait(fake.add_task(Life.succeed(after=20)))
        began = session._open().exchange.clock.now()
        fake.inject(Fault("drop_after_headers", only="submissions"))
        with pytest.raises(SubmissionUncertain) as caught:
            await session.act(parent, "U1")
        assert caught.value.task_id == parent.id
        lost = fake.created[-1].task_id
        assert [task.id for task in await session.reconcile(caught.value)] == [lost]
        action = parent.find_action("U1")
        assert [task.id for task in await session.reconcile(action=action, since=began)] == [lost]
        assert await session.reconcile(prompt="another", since=began) == []


async def test_reconcile_stops_reading_where_tasks_are_too_old() -> None:
    """Only the latest pages are read, however many tasks the account has."""
    async with FakeService() as fake, fake.session() as session:
        fake.add_tasks(400)
        await asyncio.sleep(600)
        fake.inject(Fault("drop_before_headers", only="submissions"))
        with pytest.raises(SubmissionUncertain) as caught:
            await session.imagine("a cat")
        assert len(await session.reconcile(caught.value)) == 1
        assert sum(fake.pages.values()) == 1


@pytest.mark.parametrize("since", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
async def test_reconcile_at_the_ends_of_time(since: datetime) -> None:
    """The earliest and the latest time that there is are times like others."""
    async with FakeService(tasks=3) as fake, fake.session() as session:
        found = await session.reconcile(prompt="a cat in the rain --ar 16:9", since=since)
        assert len(found) <= len(fake.task_ids)


async def test_a_record_that_looks_too_old_hides_none_behind_it() -> None:
    """The clocks of one service differ: a task that seems to be made earlier, by some seconds, ends no search."""
    async with FakeService() as fake, fake.session() as session:
        await asyncio.sleep(600)
        fake.inject(Fault("drop_before_headers", only="submissions"))
        with pytest.raises(SubmissionUncertain) as caught:
            await session.imagine("a cat")
        lost, other = fake.created[-1].task_id, fake.add_task(prompt="a dog")
        fake._simulator.tasks[other].made -= 20.0
        page = await session.page()
        assert [task.id for task in page.tasks] == [other, lost]
        assert [task.id for task in await session.reconcile(caught.value)] == [lost]


class Wall:
    """The machine's clock, which somebody sets or which goes on while the machine sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        real = time.time
        monkeypatch.setattr("omgmj.client.clock.time.time", lambda: real() + self.ahead)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


async def lose(session: omgmj.Session, fake: FakeService) -> SubmissionUncertain:
    """Submit, and lose the answer."""
    fake.inject(Fault("drop_before_headers", only="submissions"))
    with pytest.raises(SubmissionUncertain) as caught:
        await session.imagine("a cat")
    return caught.value


@pytest.mark.parametrize("asked", [True, False])
async def test_reconcile_after_the_machine_slept(wall: Wall, asked: bool) -> None:
    """After a sleep, which the event loop's clock does not see, no older task of the same prompt is named."""
    async with FakeService() as fake, fake.session() as session:
        fake.add_task(prompt="a cat")
        if asked:
            await session.page()
        await asyncio.sleep(8 * 3600)  # The service goes on, and so does the machine's clock.
        error = await lose(session, fake)
        assert error.sent_at is not None
        assert [task.id for task in await session.reconcile(error)] == [fake.created[-1].task_id]


class Asleep:
    """A service that made one task long ago, loses each submission, and goes on while the machine sleeps."""

    limit = None

    def stream(self, url: str) -> AbstractAsyncContextManager[Stream]:
        raise AssertionError

    def __init__(self, made_at: datetime) -> None:
        self.record = {"taskId": 5, "status": "SUCCESS", "action": "IMAGINE", "prompt": "a cat"}
        self.record["submitTime"] = made_at.isoformat()

    async def send(self, base_url: str, request: Request, token: Secret, passage: Passage | None = None) -> Answer:
        if not request.idempotent:
            raise TransportError("lost")
        date = format_datetime(datetime.fromtimestamp(time.time(), UTC), usegmt=True)
        body = {"statusCode": 200, "data": {"total": 1, "tasks": [self.record]}}
        return Answer(200, {"date": date}, json.dumps(body).encode())

    async def aclose(self) -> None:
        """Hold nothing."""


@pytest.mark.parametrize("asked", [True, False])
async def test_a_sleep_that_the_loop_does_not_see(wall: Wall, asked: bool) -> None:
    """What was made while the machine slept, before the submission, is not named; `sent_at` is the time of day."""
    transport = Asleep(datetime.now(UTC) + timedelta(hours=4))
    async with omgmj.Session("t", transport=transport) as session:
        if asked:
            await session.page()
        wall.ahead = 8 * 3600
        with pytest.raises(SubmissionUncertain) as caught:
            await session.imagine("a cat")
        sent_at = caught.value.sent_at
        assert sent_at is not None
        assert abs(sent_at - datetime.fromtimestamp(time.time(), UTC)) < timedelta(minutes=1)
        wall.ahead += 8 * 3600
        assert await session.reconcile(caught.value) == []
        assert [task.id for task in await session.reconcile(prompt="a cat", since=sent_at - timedelta(hours=5))] == [5]


@pytest.mark.parametrize("years", [-56, -1, 1, 30])
@pytest.mark.parametrize("asked", [True, False])
async def test_reconcile_with_a_clock_that_is_years_off(wall: Wall, years: int, asked: bool) -> None:
    """A clock that is years off reads no more pages, and names no older task."""
    async with FakeService() as fake:
        wall.ahead = years * 365 * 86_400.0
        async with fake.session() as session:
            fake.add_tasks(400)
            fake.add_task(prompt="a cat")
            if asked:
                await session.page()
            await asyncio.sleep(600)
            error = await lose(session, fake)
            before = sum(fake.pages.values())
            assert [task.id for task in await session.reconcile(error)] == [fake.created[-1].task_id]
            assert sum(fake.pages.values()) - before <= 2


@pytest.mark.parametrize("years", [-56, 56])
async def test_reconcile_where_the_clock_was_set_meanwhile(wall: Wall, years: int) -> None:
    """A clock that was years off, and was set right, is not taken for time that went by."""
    async with FakeService() as fake:
        wall.ahead = years * 365 * 86_400.0
        async with fake.session() as session:
            fake.add_task(prompt="a cat")
            await session.page()
            await asyncio.sleep(600)
            wall.ahead = 0.0
            error = await lose(session, fake)
            wall.ahead = -years * 365 * 86_400.0
            assert [task.id for task in await session.reconcile(error)] == [fake.created[-1].task_id]


async def test_reconcile_says_what_it_wants() -> None:
    """Neither, both, or a time without zone is a usage error."""
    async with FakeService() as fake, fake.session() as session:
        for wrong in (
            {},
            {"prompt": "a cat"},
            {"prompt": "a cat", "action": "U1", "since": datetime.now(UTC)},
            {"prompt": "a cat", "since": datetime(2026, 1, 1)},  # noqa: DTZ001 (that is what is wrong)
            {"prompt": "a cat", "since": "2026-01-01"},
            {"error": RateLimited("no")},
        ):
            with pytest.raises(UsageError):
                await session.reconcile(**wrong)
        with pytest.raises(UsageError):
            await session.reconcile(SubmissionUncertain("made by hand"))
        assert fake.requests == 0


async def test_a_search_ends_where_no_record_tells_a_time() -> None:
    """Tasks without a submit time may fit, and end the search after some pages of them; unknown kinds may fit too."""
    asked: list[int] = []

    async def fetch(number: int, size: int) -> TaskPage:
        asked.append(number)
        newest = 1_000_000 - (number - 1) * size
        kind = "EDIT" if number == 2 else "UPSCALE"
        ids = range(newest, newest - size, -1)
        return TaskPage(number, size, None, tuple(Task(n, "SUCCESS", kind=kind, prompt="a cat") for n in ids))

    sent = Submission("IMAGINE", prompt="a cat")
    found = await reconcile(fetch, sent, datetime.now(UTC), ahead=timedelta, is_known=lambda _: False)
    assert asked == list(range(1, 11))
    assert (len(found), found.looked_back_to) == (20, None)
    assert isinstance(found, list)


# By the webhook.


HOOK = "https://me.test/hook/"


async def lose_with_webhook(session: omgmj.Session, fake: FakeService, webhook: str) -> SubmissionUncertain:
    fake.inject(Fault("drop_before_headers", only="submissions"))
    with pytest.raises(SubmissionUncertain) as caught:
        await session.imagine("a cat", webhook=webhook)
    return caught.value


async def test_a_webhook_of_its_own_tells_which_one_it_is() -> None:
    """Of many tasks of one prompt, made by several processes, the one with the webhook that was sent is found."""
    async with FakeService() as fake, fake.session() as session, fake.session() as another:
        errors = []
        for number in range(5):
            errors.append((await lose_with_webhook(session, fake, f"{HOOK}{number}"), fake.created[-1].task_id))
            await another.imagine("a cat", webhook=f"{HOOK}other-{number}")
        for error, lost in errors:
            assert [task.id for task in await session.reconcile(error)] == [lost]


async def test_others_webhooks_are_no_finds() -> None:
    """Where nothing was made, tasks of the same prompt with other webhooks are not taken for it."""
    async with FakeService() as fake, fake.session() as session:
        fake.inject(Fault("html_502", only="submissions"))
        with pytest.raises(SubmissionUncertain) as caught:
            await session.imagine("a cat", webhook=f"{HOOK}mine")
        fake.add_task(prompt="a cat", webhook=f"{HOOK}other")
        assert await session.reconcile(caught.value) == []


async def test_a_task_is_known_by_its_webhook_whatever_its_prompt_became() -> None:
    """The service may rewrite a prompt: the only task that has the webhook is the one all the same."""
    async with FakeService() as fake, fake.session() as session:
        error = await lose_with_webhook(session, fake, f"{HOOK}mine")
        lost = fake._simulator.tasks[fake.created[-1].task_id]
        lost.prompt = "a translated cat"
        fake.add_task(prompt="a cat")
        assert [task.id for task in await session.reconcile(error)] == [lost.id]


async def test_a_webhook_that_all_tasks_have_tells_nothing() -> None:
    """Where others have the same webhook, older ones too, a task must fit by its prompt."""
    async with FakeService() as fake, fake.session() as session:
        fake.add_task(prompt="a dog", webhook=HOOK)
        await asyncio.sleep(600.0)
        fake.inject(Fault("html_502", only="submissions"))
        with pytest.raises(SubmissionUncertain) as caught:
            await session.imagine("a cat", webhook=HOOK)
        other = fake.add_task(prompt="a bird", webhook=HOOK)
        assert await session.reconcile(caught.value) == []
        lost = fake.add_task(prompt="a cat", webhook=HOOK)
        assert [task.id for task in await session.reconcile(caught.value)] == [lost]
        assert other != lost


async def test_a_task_that_is_known_to_be_anothers_is_not_known_by_its_webhook() -> None:
    """The answer to another submission of the session with the same webhook is left out."""
    async with FakeService() as fake, fake.session() as session:
        fake.inject(Fault("html_502", only="submissions"))
        with pytest.raises(SubmissionUncertain) as caught:
            await session.imagine("a cat", webhook=HOOK)
        await session.imagine("a dog", webhook=HOOK)
        assert await session.reconcile(caught.value) == []


async def test_a_list_without_webhooks_is_searched_as_ever() -> None:
    """Where the service lists no webhook, tasks fit by kind, prompt and time."""
    async with FakeService() as fake, fake.session() as session:
        error = await lose_with_webhook(session, fake, f"{HOOK}mine")
        lost = fake._simulator.tasks[fake.created[-1].task_id]
        lost.webhook = None
        fake.add_task(prompt="a dog")
        assert [task.id for task in await session.reconcile(error)] == [lost.id]


# Waiting for the list.


async def test_reconcile_waits_for_a_list_that_lags() -> None:
    """It reads again, with growing pauses, until the list shows the task."""
    async with FakeService(list_lag=20.0) as fake, fake.session() as session:
        error = await lose(session, fake)
        before = fake.requests
        assert await session.reconcile(error) == []
        each = fake.requests - before
        assert [task.id for task in await session.reconcile(error, wait=60)] == [fake.created[-1].task_id]
        assert 20.0 <= fake.now <= 32.0
        assert fake.requests <= before + 8 * each


async def test_reconcile_waits_no_longer_than_it_is_told() -> None:
    """Where nothing comes, it ends with a last search when the seconds are over; these are checked."""
    async with FakeService() as fake, fake.session() as session:
        fake.inject(Fault("html_502", only="submissions"))
        with pytest.raises(SubmissionUncertain) as caught:
            await session.imagine("a cat")
        began = fake.now
        assert await session.reconcile(caught.value, wait=60) == []
        assert fake.now - began == pytest.approx(60.0, abs=0.5)
        assert fake.times[-1] - began == pytest.approx(60.0, abs=0.5)
        wrong: Any
        for wrong in (-1, "60", float("inf")):
            with pytest.raises(UsageError, match="wait"):
                await session.reconcile(caught.value, wait=wrong)


async def test_reconcile_waits_out_what_passes() -> None:
    """A service that is down meanwhile ends no search that may wait; what does not pass ends it at once."""
    async with FakeService() as fake, fake.session(retry=omgmj.Retry(attempts=1)) as session:
        error = await lose(session, fake)
        fake.outage(fake.now + 20.0)
        with pytest.raises(TransportError):
            await session.reconcile(error)
        with pytest.raises(TransportError):
            await session.reconcile(error, wait=5)
        assert [task.id for task in await session.reconcile(error, wait=60)] == [fake.created[-1].task_id]
        fake.tokens.clear()
        with pytest.raises(omgmj.AuthError):
            await session.reconcile(error, wait=60)


async def test_a_session_that_is_closed_ends_the_search() -> None:
    """Who waits for the list is told that the session was closed."""
    async with FakeService(list_lag=1000.0) as fake, fake.session() as session:
        error = await lose(session, fake)
        search = asyncio.ensure_future(session.reconcile(error, wait=600))
        await asyncio.sleep(60.0)
        await session.aclose()
        with pytest.raises(omgmj.SessionClosed):
            await search
