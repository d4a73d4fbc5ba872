"""Whose trouble it is, from where a user stands: who is delivered, who is told, and when."""

from __future__ import annotations

import asyncio
import math
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

import omgmj
from omgmj.testing import FakeService, Fault, Life

REFUSALS = (
    "html_502",
    "server_error",
    "code_400",
    "code_402",
    "null_data",
    "array_data",
    "not_found",
    "framework_404",
    "html_404",
    "framework_405",
    "html_410",
    "redirect_308",
    "unauthorized",
    "forbidden",
    "html_200",
    "not_object",
    "odd_envelope",
    "drop_before_headers",
)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [*((name, 40.0) for name in REFUSALS), ("code_400", 5.0), ("null_data", 300.0), ("unauthorized", 300.0)],
)
async def test_trouble_for_all_that_passes_loses_nobody(name: str, seconds: float) -> None:
    """Whatever words an outage speaks in, tasks that were seen before are all delivered."""
    async with FakeService(foreign_share=0.9) as fake, fake.session(rate=100) as session:
        ids = [fake.add_task(Life.succeed(after=60)) for _ in range(30)]
        watch = session.watch(ids)
        reading = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(30)
        fake.trouble(name, seconds=seconds)
        got = {(await reading).id, *[task.id async for task in watch]}
    assert got == set(ids)


@pytest.mark.parametrize("name", REFUSALS)
async def test_trouble_of_some_that_passes_loses_nobody(name: str) -> None:
    """Five minutes of a word about some IDs, beside others that succeed, do not give up what was seen before."""
    async with FakeService(foreign_share=0.9) as fake, fake.session(rate=100) as session:
        ids = [fake.add_task(Life.succeed(after=100 + n * 10)) for n in range(30)]
        watch = session.watch(ids)
        reading = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(30)
        fake.trouble(Fault(name, only="queries"), seconds=300, task_id=ids[:5])
        got = {(await reading).id, *[task.id async for task in watch]}
    assert got == set(ids)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("html_404", omgmj.ServiceError),
        ("redirect_308", omgmj.ServiceError),
        ("html_410", omgmj.ServiceError),
        ("code_402", omgmj.ServiceError),
        ("unauthorized", omgmj.AuthError),
    ],
)
@pytest.mark.parametrize("count", [1, 100])
async def test_a_no_for_good_is_told_soon(name: str, kind: type[omgmj.OmgmjError], count: int) -> None:
    """Before anything has succeeded, what asking again does not change ends all waits within half a minute."""
    async with FakeService(tasks=count) as fake, fake.session() as session:
        fake.inject(name, times=None)
        watch = session.watch(fake.task_ids)
        with pytest.raises(kind) as caught:
            await anext(watch)
        assert fake.now < (15 if kind is omgmj.AuthError else 30)
        assert fake.requests < 40 + count
        assert watch.pending == tuple(fake.task_ids)
        if kind is omgmj.ServiceError:
            assert "https://" in str(caught.value)
        fake.heal()
        assert len([task async for task in session.watch(watch.pending)]) == count


async def test_a_no_for_good_after_successes_is_an_outage_first() -> None:
    """An address that served well is given ten minutes of nothing but a page that is not there."""
    async with FakeService(tasks=3, lives="fast") as fake, fake.session() as session:
        ids = [fake.add_task(Life.succeed(after=5000)) for _ in range(3)]
        watch = session.watch(ids)
        reading = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(60)
        fake.inject("html_404", times=None)
        with pytest.raises(omgmj.ServiceError):
            await reading
        assert 660 <= fake.now < 700


async def test_a_token_that_is_taken_away() -> None:
    """A token that was good is believed to be bad after six minutes of nothing else; that costs few requests."""
    async with FakeService() as fake, fake.session() as session:
        ids = [fake.add_task(Life.succeed(after=5000)) for _ in range(20)]
        watch = session.watch(ids)
        reading = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(60)
        before = fake.requests
        fake.tokens.clear()
        with pytest.raises(omgmj.AuthError):
            await reading
        assert 400 < fake.now < 460
        assert fake.requests - before < 50


@pytest.mark.parametrize(
    ("count", "sweeps", "most"), [(1, True, 15), (2, True, 60), (100, True, 60), (100, False, 330)]
)
async def test_ids_that_nobody_knows(count: int, *, sweeps: bool, most: float) -> None:
    """Wrong IDs alone are told so: at once where there is one, once the list answers, or after five minutes."""
    async with FakeService() as fake, fake.session(sweeps=sweeps) as session:
        fake.add_foreign(30)
        lost: list[omgmj.OmgmjError] = []
        async for _ in session.watch(range(10**6, 10**6 + count), on_error=lost.append):
            raise AssertionError
        assert {type(error) for error in lost} == {omgmj.TaskNotFound}
        assert len(lost) == count
        assert fake.now < most
        assert bool(fake.pages) is sweeps


async def test_an_id_alone_that_always_fails() -> None:
    """Alone, an ID that fails on and on is given up after ten minutes, as the host answers its list."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(after=5000))
        fake.inject(Fault("server_error", only="queries"), times=None)
        with pytest.raises(omgmj.ServiceError):
            await session.wait(task_id)
        assert 600 <= fake.now < 680
        assert fake.requests < 60


async def test_one_ids_refusals_beside_others() -> None:
    """A 403 for one ID is that ID's: the others are delivered, and it gets the error."""
    async with FakeService() as fake, fake.session(sweeps=False) as session:
        ids = [fake.add_task(Life.succeed(after=60)) for _ in range(20)]
        fake.inject(Fault("forbidden", only="queries"), times=None, task_id=ids[3])
        lost: list[omgmj.OmgmjError] = []
        got = [task.id async for task in session.watch(ids, on_error=lost.append)]
        assert sorted([*got, *(error.task_id or 0 for error in lost)]) == ids
        assert [type(error) for error in lost] == [omgmj.AuthError]


async def test_an_outage_has_an_end() -> None:
    """After `outage` seconds in which nobody succeeds each wait ends, with the last error as the cause."""
    async with FakeService(tasks=3, lives="fast") as fake, fake.session(outage=100) as session:
        waiting = asyncio.ensure_future(session.wait(fake.task_ids[0]))
        await asyncio.sleep(5)
        fake.down = True
        watch = session.watch(fake.task_ids)
        with pytest.raises(omgmj.ServiceUnavailable, match="100 s") as caught:
            await anext(watch)
        assert isinstance(caught.value.__cause__, omgmj.TransportError)
        assert 100 <= fake.now <= 125
        with pytest.raises(omgmj.ServiceUnavailable):
            await waiting
        assert watch.pending == tuple(fake.task_ids)
        with pytest.raises(omgmj.WaitTimeout):
            await session.wait(fake.task_ids[1], timeout=30)
        fake.heal()
        assert (await session.wait(fake.task_ids[0])).is_terminal


async def test_an_outage_may_last_for_ever() -> None:
    """With `outage=None` a wait goes on for as long as it takes."""
    for outage in (None, 3600.0):
        async with FakeService(tasks=1) as fake, fake.session(outage=outage) as session:
            fake.down = True
            waiting = asyncio.ensure_future(session.wait(fake.task_ids[0]))
            await asyncio.sleep(3590)
            assert not waiting.done()
            await asyncio.sleep(6000)
            assert waiting.done() is (outage is not None)
            fake.down = False
            if outage is None:
                assert (await waiting).is_terminal
            else:
                assert isinstance(waiting.exception(), omgmj.ServiceUnavailable)


async def test_what_a_watch_still_waits_for() -> None:
    """`pending` tells it at any time, and after the end what came to none."""
    async with FakeService() as fake, fake.session() as session:
        soon, late = fake.add_task(Life.succeed(after=10)), fake.add_task(Life.succeed(after=100))
        async with session.watch([soon, late]) as watch:
            pending = [watch.pending]
            assert (await anext(watch)).id == soon
            pending.append(watch.pending)
        assert [*pending, watch.pending] == [(soon, late), (late,), (late,)]
        assert [task.id async for task in session.watch(watch.pending)] == [late]


async def test_the_list_is_left_alone() -> None:
    """With `sweeps=False` no page is ever read, and all is delivered all the same."""
    async with FakeService(tasks=60) as fake, fake.session(sweeps=False) as session:
        assert len([task async for task in session.watch(fake.task_ids)]) == 60
        assert not fake.pages


@pytest.mark.parametrize("wrong", [0, -1, math.nan, "1", True])
def test_what_is_no_outage(wrong: object) -> None:
    """Seconds above 0, or None."""
    with pytest.raises(omgmj.UsageError, match="outage"):
        omgmj.Session("t", outage=wrong)  # type: ignore[arg-type]


class Hanging:
    """A transport into a fake service that answers nothing for longer than it is waited for, while it hangs."""

    limit = None

    def __init__(self, fake: FakeService) -> None:
        self.hangs: bool = True
        self._transport = fake.transport()

    async def send(self, base_url: str, request: omgmj.Request, *rest: Any) -> omgmj.Answer:
        """Answer, or hang."""
        if self.hangs:
            await asyncio.sleep(1000)
        answer: omgmj.Answer = await self._transport.send(base_url, request, *rest)
        return answer

    def stream(self, url: str) -> AbstractAsyncContextManager[Any]:
        """Download."""
        stream: AbstractAsyncContextManager[Any] = self._transport.stream(url)
        return stream

    async def aclose(self) -> None:
        """Close."""
        await self._transport.aclose()


async def test_an_outage_that_ends_while_a_probe_is_out() -> None:
    """Its bound ends the waits, not the session: who comes later is polled for."""
    async with FakeService(tasks=1, lives="fast") as fake:
        transport = Hanging(fake)
        async with fake.session(transport=transport, outage=100) as session:
            with pytest.raises(omgmj.ServiceUnavailable):
                await session.wait(fake.task_ids[0])
            transport.hangs = False
            # The poll that hangs is let go after its thirty seconds.
            assert (await session.wait(fake.task_ids[0], timeout=100)).is_terminal


async def test_days_in_which_nobody_waits_are_no_outage() -> None:
    """A wait that ends in trouble leaves nothing to who comes two days later."""
    async with FakeService(tasks=1, lives="fast") as fake, fake.session() as session:
        fake.down = True
        with pytest.raises(omgmj.WaitTimeout):
            await session.wait(fake.task_ids[0], timeout=60)
        fake.down = False
        await asyncio.sleep(200_000)
        assert (await session.wait(fake.task_ids[0])).is_terminal


@pytest.mark.parametrize("name", ["unauthorized", "html_404"])
@pytest.mark.parametrize("before", ["made", "listed", "queried"])
async def test_trouble_after_another_call_succeeded(name: str, before: str) -> None:
    """The token and the address have shown that they are good, though no poll has: trouble that passes loses nobody."""
    async with FakeService() as fake, fake.session() as session:
        task_id = await session.imagine("a cat") if before == "made" else fake.add_task(Life.succeed(after=30))
        if before == "listed":
            await session.page()
        elif before == "queried":
            await session.query(task_id)
        fake.trouble(name, seconds=40)
        assert (await session.wait(task_id)).succeeded


async def test_queries_that_succeed_are_no_outage() -> None:
    """One ID fails alone while others are queried: it is given up as one beside others, and nothing is unavailable."""
    async with FakeService() as fake, fake.session(outage=100, sweeps=False) as session:
        bad, good = fake.add_task(Life.succeed(after=5000)), fake.add_task(Life.succeed(after=5000))
        fake.inject("server_error", times=None, task_id=bad)
        waiting = asyncio.ensure_future(session.wait(bad))
        while not waiting.done():
            await session.query(good)
            await asyncio.sleep(5)
        assert isinstance(waiting.exception(), omgmj.ServiceError)
        assert 600 <= fake.now < 680


async def test_words_for_all_cost_no_more_than_another_outage() -> None:
    """IDs that failed by themselves before do not keep the polls of all going."""
    async with FakeService() as fake, fake.session(rate=100, sweeps=False) as session:
        ids = [fake.add_task(Life.succeed(after=5000)) for _ in range(5)]
        watch = session.watch(ids)
        reading = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(100)
        fake.trouble("code_400", seconds=1010, task_id=ids[:3])
        await asyncio.sleep(10)
        before = fake.requests
        fake.trouble("code_400", seconds=1000)
        await asyncio.sleep(1000)
        assert fake.requests - before < 100
        reading.cancel()
        await watch.aclose()
