"""Calls to a service of several addresses: what moves to the next one, when, and what stays where it is."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

import omgmj
from omgmj import Answer, Fate, Passage, Request, Secret, Stream
from omgmj.client.mirrors import EVERY, FIRST, PATIENCE
from omgmj.errors import (
    AuthError,
    DecodeError,
    ExchangeTimeout,
    OmgmjError,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
    SessionClosed,
    SubmissionUncertain,
    TaskNotFound,
    TransportError,
)
from omgmj.testing import PNG, FakeService, Life

pytestmark = pytest.mark.in_memory

A, B, C = "https://a.test", "https://b.test", "https://c.test"
HTML = Answer(502, {}, b"<html>Bad Gateway</html>")
NONE = omgmj.Retry(attempts=1)


def envelope(code: int, data: object = None, *, status: int = 200) -> Answer:
    return Answer(status, {}, json.dumps({"statusCode": code, "message": "not found", "data": data}).encode())


GOOD = envelope(200, {"taskId": 7, "status": "SUCCESS"})
Part = Answer | Exception | Callable[[Request, Passage | None], Awaitable[Answer]]


class Addresses:
    """A transport to addresses that each answer in their own way, which may be changed; it keeps who was asked when."""

    limit = None

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self.parts = dict(parts)
        self.asked: list[str] = []
        self.times: list[float] = []

    async def send(self, base_url: str, request: Request, token: Secret, passage: Passage | None = None) -> Answer:
        self.asked.append(base_url)
        self.times.append(asyncio.get_running_loop().time())
        part = self.parts[base_url]
        if isinstance(part, Answer):
            return part
        if isinstance(part, Exception):
            raise type(part)(*part.args) if not isinstance(part, TransportError) else copied(part)
        return await part(request, passage)

    def stream(self, url: str) -> AbstractAsyncContextManager[Stream]:
        raise AssertionError(url)

    async def aclose(self) -> None:
        """Hold nothing."""

    def session(self, **settings: Any) -> omgmj.Session:
        return omgmj.Session(
            "t", **{"base_url": list(self.parts), "transport": self, "retry": NONE, "rate": 100.0, **settings}
        )


def copied(error: TransportError) -> TransportError:
    twin = type(error)(*error.args)
    twin.for_good = error.for_good
    return twin


def hopeless() -> TransportError:
    error = TransportError("the certificate is not trusted")
    error.for_good = True
    return error


async def never(request: Request, passage: Passage | None) -> Answer:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


def unsent(request: Request, passage: Passage | None) -> Awaitable[Answer]:
    if passage is not None:
        passage.fate = Fate.UNSENT
    raise TransportError("cannot connect")


def into(fake: FakeService) -> Callable[[Request, Passage | None], Awaitable[Answer]]:
    """Lead to the fake service."""
    transport = fake.transport()

    async def send(request: Request, passage: Passage | None) -> Answer:
        return await transport.send("", request, Secret(fake.token), passage)

    return send


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# What moves a call, and what does not.


MOVES: dict[str, Part] = {
    "no connection": TransportError("cannot connect"),
    "unknown host": hopeless(),
    "502": HTML,
    "html": Answer(200, {}, b"<html>"),
    "503 without an envelope": Answer(503, {}, b""),
    "403 of a gateway": Answer(403, {}, b"<html>"),
    "404 page": Answer(404, {}, b"<html>"),
    "redirect": Answer(302, {"location": "https://parked.test/"}, b""),
    "another's answer": envelope(200, {"taskId": 8, "status": "SUCCESS"}),
}


@pytest.mark.parametrize("name", MOVES)
async def test_what_the_service_did_not_say_moves_a_query_at_once(name: str) -> None:
    """Where an address fails, a query is answered by the next one, without a pause."""
    addresses = Addresses({A: MOVES[name], B: GOOD})
    async with addresses.session() as session:
        assert (await session.query(7)).succeeded
        assert addresses.asked == [A, B]
        assert addresses.times == [0.0, 0.0]
        assert session.stats().queries == 2


STAYS: dict[str, tuple[Part, type[OmgmjError]]] = {
    "429": (envelope(429, status=429), RateLimited),
    "429 of a gateway": (Answer(429, {}, b"<html>"), RateLimited),
    "401": (envelope(401, status=401), AuthError),
    "not found": (envelope(404, status=404), TaskNotFound),
    "500 in an envelope": (envelope(500, status=500), ServiceError),
    "unreadable record": (envelope(200, {"taskId": 7, "status": 5}), DecodeError),
}


@pytest.mark.parametrize("name", STAYS)
async def test_what_the_service_says_is_true_at_each_address(name: str) -> None:
    """A 429, a refused token and the service's own envelope ask no other address, and move nothing."""
    part, kind = STAYS[name]
    addresses = Addresses({A: part, B: GOOD})
    async with addresses.session() as session:
        for _ in range(5):
            with pytest.raises(kind):
                await session.query(7)
    assert set(addresses.asked) == {A}


async def test_a_token_that_is_renewed_is_sent_to_the_same_address() -> None:
    """A 401 with another token to try is no failure of the address."""

    async def choosy(request: Request, passage: Passage | None) -> Answer:
        return GOOD if len(addresses.asked) > 1 else envelope(401, status=401)

    addresses, tokens = Addresses({A: choosy, B: GOOD}), iter(["old", "new"])
    async with omgmj.Session(lambda: next(tokens), base_url=[A, B], transport=addresses) as session:
        assert (await session.query(7)).succeeded
    assert addresses.asked == [A, A]


async def test_errors_name_the_address_that_was_asked() -> None:
    """The error of a call names the address that failed last; the session's repr names all."""
    addresses = Addresses({A: HTML, B: TransportError("reset"), C: HTML})
    session = addresses.session()
    assert repr(session) == f"<omgmj.Session {A}, {B}, {C}>"
    async with session:
        with pytest.raises(ServiceError, match=r"HTTP 502.*\(asked at https://c.test\)"):
            await session.query(7)
        addresses.parts[A] = envelope(404, status=404)
        with pytest.raises(TaskNotFound, match=r"\(asked at https://a.test\)"):
            await session.query(7)


async def test_a_silent_address_costs_half_of_the_time() -> None:
    """A call to an address that never answers goes on at the next one within its own bound, and the rest go there."""
    addresses = Addresses({A: never, B: GOOD})
    async with addresses.session(request_timeout=20.0) as session:
        await session.query(7)
        await session.query(7)
    assert addresses.asked == [A, B, B]
    assert addresses.times == pytest.approx([0.0, 10.0, 10.0], abs=0.1)


async def test_silence_everywhere_takes_no_longer_than_one() -> None:
    """A call that nobody answers ends when its time is over."""
    addresses = Addresses({A: never, B: never})
    async with addresses.session(request_timeout=20.0) as session:
        with pytest.raises(ExchangeTimeout, match=r"no answer within 10 s \(asked at https://b.test\)"):
            await session.query(7)
        assert asyncio.get_running_loop().time() == pytest.approx(20.0, abs=0.1)


async def test_a_short_time_is_not_divided() -> None:
    """Where a call has little time, its first address has all of it; the next call goes elsewhere."""
    addresses = Addresses({A: never, B: GOOD})
    async with addresses.session(request_timeout=5.0) as session:
        with pytest.raises(ExchangeTimeout):
            await session.query(7)
        await session.query(7)
    assert addresses.asked == [A, B]
    assert addresses.times[1] == pytest.approx(5.0, abs=0.1)


async def test_what_hangs_at_an_address_that_died_moves_too() -> None:
    """When one request has shown that an address is silent, those that wait there do not wait out their time."""
    addresses = Addresses({A: never, B: GOOD})
    loop = asyncio.get_running_loop()
    done: list[float] = []

    async def ask(at: float) -> None:
        await asyncio.sleep(at)
        await session.query(7)
        done.append(loop.time())

    async with addresses.session(request_timeout=20.0, rate=1000.0) as session:
        await asyncio.gather(*map(ask, (0.0, 5.0, 9.5)))
    assert done == pytest.approx([10.0, 10.0, 9.5 + PATIENCE], abs=0.1)
    assert addresses.asked.count(A) == 3


async def test_the_rate_holds_for_further_addresses() -> None:
    """What is asked again elsewhere takes a slot of the rate."""
    addresses = Addresses({A: HTML, B: GOOD})
    async with addresses.session(rate=2.0) as session:
        await asyncio.gather(*(session.query(7) for _ in range(4)))
    assert [round(at, 3) for at in sorted(addresses.times)] == [number / 2 for number in range(len(addresses.times))]
    assert addresses.asked.count(B) == 4


async def test_a_session_that_is_closed_while_a_call_moves() -> None:
    """A call that waits for the rate, to go on elsewhere, ends with the session."""
    addresses = Addresses({A: HTML, B: GOOD})
    session = addresses.session(rate=0.1)
    query = asyncio.ensure_future(session.query(7))
    await asyncio.sleep(1.0)
    await session.aclose()
    with pytest.raises(SessionClosed):
        await query
    assert addresses.asked == [A]


# Coming and going.


async def test_it_moves_and_comes_back_and_says_each_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line when requests move and one when they are back; a dead address costs few requests."""
    addresses = Addresses({A: GOOD, B: GOOD})
    async with addresses.session() as session:

        async def ask(seconds: int) -> list[str]:
            addresses.asked.clear()
            for _ in range(seconds):
                await session.query(7)
                await asyncio.sleep(1.0)
            return addresses.asked

        assert set(await ask(10)) == {A}
        addresses.parts[A] = HTML
        asked = await ask(120)
        assert asked.count(B) == 120
        assert 8 <= asked.count(A) <= 10
        (moved,) = warnings(caplog)
        assert moved.startswith(
            "requests go to https://b.test now; how the address before failed last: the service did "
        )
        assert moved.endswith("(HTTP 502, an HTML page and not the service's JSON) (asked at https://a.test)")
        addresses.parts[A] = GOOD
        asked = await ask(120)
        assert len(asked) == 120
        assert set(asked[-50:]) == {A}
        assert warnings(caplog)[1:] == ["requests go to https://a.test again, which has answered for a while"]


async def test_a_cancelled_try_holds_up_nothing() -> None:
    """Where the call that tries a dead address is cancelled, a later one tries it."""
    addresses = Addresses({A: HTML, B: GOOD})
    async with addresses.session() as session:
        for _ in range(3):
            await session.query(7)
        addresses.parts[A] = never
        await asyncio.sleep(FIRST)
        query = asyncio.ensure_future(session.query(7))
        await asyncio.sleep(1.0)
        query.cancel()
        with pytest.raises(asyncio.CancelledError):
            await query
        addresses.parts[A] = GOOD
        await asyncio.sleep(EVERY)
        await session.query(7)
        assert addresses.asked[-1] == A


async def test_a_hundred_polls_in_flight_when_one_dies() -> None:
    """All of them go on at the other address, and the dead one is not tried by each again."""
    async with FakeService(tasks=100, latency=1.0) as fake:
        addresses = Addresses({A: into(fake), B: into(fake)})
        session = addresses.session(rate=1000.0, max_in_flight=100, sweeps=False, backoff=omgmj.Fixed(2.0))
        async with session, session.watch(fake.task_ids) as watch:
            await asyncio.sleep(0.5)
            assert session.stats().in_flight == 100
            good = addresses.parts[B]

            async def reset(request: Request, passage: Passage | None) -> Answer:
                await asyncio.sleep(0.01)
                raise TransportError("reset")

            addresses.parts = {A: reset, B: good}
            addresses.asked.clear()
            await asyncio.sleep(10.0)
            assert addresses.asked.count(A) <= 100  # Those that start in this very moment, and few tries.
            assert {task.id async for task in watch} == set(fake.task_ids)


async def test_an_outage_is_one_of_all_addresses(caplog: pytest.LogCaptureFixture) -> None:
    """While one address answers there is no outage; where none does there is one, said once, and waits go on."""
    async with FakeService(latency=0.05) as fake:
        task_id = fake.add_task(Life.steps([(0, "IN_PROGRESS", "15%"), (4000, "SUCCESS", "100%")]))
        good = into(fake)
        addresses = Addresses({A: TransportError("reset"), B: good})
        async with addresses.session(outage=3000.0) as session:
            wait = asyncio.ensure_future(session.wait(task_id, stall=None))
            await asyncio.sleep(1000.0)
            assert "does not answer" not in "".join(warnings(caplog))
            addresses.parts[B] = HTML
            before = len(addresses.asked)
            await asyncio.sleep(2000.0)
            assert len(addresses.asked) - before < 160
            assert sum("the service does not answer" in line for line in warnings(caplog)) == 1
            addresses.parts[A] = good
            back = len(addresses.asked)
            await asyncio.sleep(60.0)
            assert addresses.asked[back:].count(A) >= 1
            assert (await wait).succeeded


async def test_waits_end_when_no_address_answers_for_too_long() -> None:
    """The patience with the service is one for all addresses."""
    addresses = Addresses({A: HTML, B: TransportError("reset")})
    async with addresses.session(outage=600.0) as session:
        with pytest.raises(ServiceUnavailable):
            await session.wait(7)


# What would be for good.


async def test_for_good_is_what_all_addresses_are(caplog: pytest.LogCaptureFixture) -> None:
    """A certificate, a host or a page that is wrong at one address ends no wait while another may answer again."""
    async with FakeService(latency=0.05) as fake:
        task_id = fake.add_task(Life.succeed(300.0))
        for wrong in (hopeless(), Answer(404, {}, b"<html>")):
            addresses = Addresses({A: wrong, B: TransportError("reset")})
            async with addresses.session() as session:
                with pytest.raises(TransportError) as caught:
                    await session.query(task_id)
                assert not caught.value.for_good
                wait = asyncio.ensure_future(session.wait(task_id))
                await asyncio.sleep(300.0)
                assert not wait.done()
                addresses.parts[B] = into(fake)
                assert (await wait).succeeded


async def test_what_is_wrong_at_all_addresses_is_for_good() -> None:
    """Where each address is wrong, a wait ends, and its error says so."""
    addresses = Addresses({A: hopeless(), B: hopeless()})
    async with addresses.session() as session:
        with pytest.raises(TransportError, match=r"said again and again by https://a\.test, https://b\.test") as caught:
            await session.wait(7)
        assert caught.value.for_good


# Submissions.


async def test_a_submission_moves_where_no_connection_was_made() -> None:
    """It is made once, at the next address, at once."""
    async with FakeService() as fake:
        addresses = Addresses({A: unsent, B: into(fake)})
        async with addresses.session() as session:
            assert await session.imagine("a cat") == fake.created[-1].task_id
        assert (addresses.asked, addresses.times) == ([A, B], [0.0, 0.0])
        assert len(fake.created) == 1


@pytest.mark.parametrize("part", [TransportError("reset"), HTML, never], ids=["reset", "502", "silence"])
async def test_a_submission_that_left_is_uncertain(part: Part) -> None:
    """What may have been read is not sent to another address."""
    addresses = Addresses({A: part, B: GOOD})
    async with addresses.session(request_timeout=20.0, retry=omgmj.Retry()) as session:
        with pytest.raises(SubmissionUncertain, match=r"asked at https://a.test"):
            await session.imagine("a cat")
    assert addresses.asked == [A]


async def test_where_no_address_can_be_reached_a_submission_is_tried_again() -> None:
    """After all addresses it waits, as with one, and is made once."""
    async with FakeService() as fake:
        addresses = Addresses({A: unsent, B: unsent})
        async with addresses.session(retry=omgmj.Retry()) as session:
            making = asyncio.ensure_future(session.imagine("a cat"))
            await asyncio.sleep(0.1)
            assert addresses.asked == [A, B]
            addresses.parts[B] = into(fake)
            assert await making == fake.created[-1].task_id
        assert len(fake.created) == 1


async def test_images_go_to_the_first_address_where_it_is_alive() -> None:
    """A submission with images prefers the first address, also while that has still to prove well."""
    async with FakeService() as fake:
        good = into(fake)
        task_id = fake.add_task(Life.succeed(1.0))
        addresses = Addresses({A: HTML, B: good})
        async with addresses.session() as session:
            for _ in range(3):
                await session.query(task_id)
            await session.describe(PNG)
            assert addresses.asked[-1] == B
            addresses.parts[A] = good
            await asyncio.sleep(FIRST)
            await session.query(task_id)
            assert addresses.asked[-1] == A
            await session.describe(PNG)
            assert addresses.asked[-1] == A
            await session.imagine("a cat")
            assert addresses.asked[-1] == B
