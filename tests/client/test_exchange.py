"""One call to the service: its token, its time, its retries, and who may end it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import json
import logging
import pickle
import random
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web

from omgmj.backoff import Fixed, Retry
from omgmj.backoff.rate import Rate
from omgmj.base_url import BaseUrl
from omgmj.client.aiohttp_adapter import HttpTransport
from omgmj.client.credentials import GRACE, GRACE_STEP, PATIENCE, Credentials
from omgmj.client.deadline import Deadlines
from omgmj.client.exchange import LARGE, Exchange
from omgmj.client.limiter import Limiter
from omgmj.client.secrets import Secret
from omgmj.errors import (
    AuthError,
    DecodeError,
    ExchangeTimeout,
    OmgmjError,
    RateLimited,
    ServiceError,
    SessionClosed,
    TaskNotFound,
    TransportError,
    UsageError,
)
from omgmj.models import Task
from omgmj.protocol.messages import Answer, Request, query_request
from omgmj.protocol.responses import read_query
from omgmj.session import Session
from omgmj.testing import FakeService, Fault, Life

TOKEN = "sk-4711-very-secret"
REQUEST = query_request(3432)
ONCE_ONLY = REQUEST._replace(idempotent=False)
RUNNING = Life.steps([(0, "IN_PROGRESS", "15%")])


# What the tests stand on


def now() -> float:
    return asyncio.get_running_loop().time()


def envelope(code: int, message: str = "", data: object = None, *, status: int = 200, **headers: str) -> Answer:
    body = json.dumps({"statusCode": code, "message": message, "data": data}).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


GOOD = envelope(200, data={"taskId": 3432, "status": "SUCCESS"})
REFUSED = envelope(401, "no", status=401)


def read(answer: Answer) -> Task:
    return read_query(answer, 3432)


class Scripted:
    """A transport that answers by a function of the token, and keeps what it was sent and when."""

    limit = None

    def __init__(self, answer: Callable[[str], Answer | Awaitable[Answer]]) -> None:
        self.sent: list[tuple[float, str]] = []
        self.in_flight = 0
        self._answer = answer

    async def send(self, base_url: str, request: Request, token: Secret) -> Answer:
        assert base_url == "https://service.invalid"
        assert request in (REQUEST, ONCE_ONLY)
        self.sent.append((now(), token.reveal()))
        self.in_flight += 1
        try:
            await asyncio.sleep(0)
            answer = self._answer(token.reveal())
            return answer if isinstance(answer, Answer) else await answer
        finally:
            self.in_flight -= 1

    def stream(self, url: str) -> Any:
        raise AssertionError(url)

    async def aclose(self) -> None:
        """Hold nothing."""


async def never(_: str = "") -> Answer:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


def make(
    transport: Any,
    token: Any = TOKEN,
    *,
    base_url: str = "https://service.invalid",
    timeout: float = 30.0,
    retry: Retry | None = None,
    rate: float = 1e6,
    places: int = 64,
) -> Exchange:
    loop = asyncio.get_running_loop()
    limiter = Limiter(Rate(rate, loop.time()), places, loop)
    return Exchange(
        transport,
        BaseUrl(base_url),
        Credentials(token),
        limiter,
        request_timeout=timeout,
        retry=retry or Retry(initial=1.0, jitter=0.0, attempts=4),
        loop=loop,
    )


def in_turn(*answers: Answer | Exception) -> Callable[[str], Answer]:
    """Give answers one after the other, the last one for ever."""
    left = list(answers)

    def answer(_: str) -> Answer:
        one = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(one, Exception):
            raise one
        return one

    return answer


def check_secret(error: BaseException, token: str = TOKEN) -> None:
    """Check that an error and all that hangs on it tell the token nowhere."""
    assert token not in "".join(traceback.format_exception(error))
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None:
            for text in (str(one), repr(one), repr(one.args), repr(vars(one))):
                assert token not in text
            todo += [one.__cause__, one.__context__]
    assert token.encode() not in pickle.dumps(error)


@asynccontextmanager
async def serving(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **settings: Any
) -> AsyncIterator[str]:
    """Serve `handler` on loopback; gives the base URL."""
    runner = web.ServerRunner(web.Server(handler, access_log=None, **settings), shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def http() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport()
    try:
        yield transport
    finally:
        await transport.aclose()


def timers() -> list[asyncio.TimerHandle]:
    """Return what is timed in the loop, cancelled timers that pile up included."""
    return list(asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]


# The base URL


# What is repeated


async def test_a_dead_keep_alive_connection_is_repeated() -> None:
    """Where the service closes a kept connection under a query, the query is sent again, on a fresh one."""
    served: dict[object, int] = {}
    came = 0

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal came
        came += 1
        assert request.transport
        served[request.transport] = served.get(request.transport, 0) + 1
        if served[request.transport] > 1:
            request.transport.abort()
        return web.Response(body=GOOD.body)

    async with serving(handler) as url, http() as transport:
        exchange = make(transport, base_url=url)
        assert (await exchange.call(REQUEST, read)).succeeded
        assert (await exchange.call(REQUEST, read)).succeeded
        assert (came, len(served), exchange.queries, exchange.retries) == (3, 2, 3, 1)


async def test_connections_that_the_service_closed_while_idle_do_no_harm() -> None:
    """A service that closes idle connections after a second is asked every ten, and nothing fails."""

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=GOOD.body)

    async with serving(handler, keepalive_timeout=1.0) as url, http() as transport:
        exchange = make(transport, base_url=url)
        for _ in range(5):
            assert (await exchange.call(REQUEST, read)).succeeded
            await asyncio.sleep(10.0)


TRANSIENT: dict[str, Answer | Exception] = {
    "transport": TransportError("gone"),
    "timeout": ExchangeTimeout("late"),
    "503": envelope(503, status=503),
    "502": Answer(502, {}, b"<html>"),
    "html": Answer(200, {}, b"<html>"),
    "empty": Answer(200, {}, b""),
    "429": envelope(429, status=429),
    "403 in front": Answer(403, {}, b"<html>"),
}
FINAL: dict[str, Answer | Exception] = {
    "401": REFUSED,
    "403": envelope(403, status=403),
    "400": envelope(400, "no such thing"),
    "not found": envelope(404, status=404),
    "null": envelope(200),
    "wrong type": envelope(200, data={"status": 5}),
    "too large": DecodeError("too large"),
    "misuse": UsageError("misuse"),
}


@pytest.mark.parametrize("name", TRANSIENT)
async def test_transient_errors_are_repeated_within_bounds(name: str) -> None:
    """What is transient is tried again with growing pauses, four times in all, and then raised."""
    transport = Scripted(in_turn(TRANSIENT[name], TRANSIENT[name], GOOD))
    exchange = make(transport)
    assert (await exchange.call(REQUEST, read)).succeeded
    assert [at for at, _ in transport.sent] == pytest.approx([0.0, 1.0, 3.0], abs=0.6)
    assert (exchange.queries, exchange.retries) == (3, 2)

    transport = Scripted(in_turn(TRANSIENT[name]))
    exchange = make(transport)
    with pytest.raises(OmgmjError):
        await exchange.call(REQUEST, read)
    assert len(transport.sent) == 4
    assert (exchange.queries, exchange.retries) == (4, 3)


@pytest.mark.parametrize("name", FINAL)
async def test_what_is_final_is_raised_at_once(name: str) -> None:
    """What will not be otherwise the next time is raised after one request."""
    transport = Scripted(in_turn(FINAL[name]))
    with pytest.raises(OmgmjError):
        await make(transport).call(REQUEST, read)
    assert len(transport.sent) == 1


@pytest.mark.parametrize("name", TRANSIENT)
async def test_what_is_not_idempotent_is_never_repeated(name: str) -> None:
    """A request that may not be sent twice is sent once, whatever went wrong."""
    transport = Scripted(in_turn(TRANSIENT[name], GOOD))
    exchange = make(transport)
    with pytest.raises(OmgmjError):
        await exchange.call(ONCE_ONLY, read)
    assert len(transport.sent) == 1
    assert exchange.retries == 0


async def test_retry_after_is_waited_for() -> None:
    """A 429 with Retry-After is repeated after that time, and holds every other call as long; it is counted."""
    transport = Scripted(in_turn(envelope(429, status=429, retry_after="12"), GOOD))
    exchange = make(transport)
    first = asyncio.create_task(exchange.call(REQUEST, read))
    await asyncio.sleep(1.0)
    second = asyncio.create_task(exchange.call(REQUEST, read))
    await asyncio.gather(first, second)
    assert [round(at, 3) for at, _ in transport.sent] == [0.0, 12.0, 12.0]
    assert exchange.rate_limited == 1


async def test_a_429_slows_the_rate_and_other_answers_win_it_back() -> None:
    """The rate learns from every answer: it is cut by a 429, and recovers with what the service let through."""
    transport = Scripted(in_turn(envelope(429, status=429), GOOD))
    exchange = make(transport, rate=20.0)
    limiter = exchange._limiter
    assert (await exchange.call(REQUEST, read)).succeeded
    cut = limiter.rate.limit
    assert cut < 20.0
    for _ in range(60):
        await asyncio.sleep(1.0)
        await exchange.call(REQUEST, read)
    assert limiter.rate.limit > cut


async def test_a_429_and_each_retry_are_logged_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    """Who debugs sees how a 429 slows the session down and why a call is sent again, but not the token."""
    transport = Scripted(in_turn(envelope(429, f"slow down {TOKEN}", status=429), TransportError("gone"), GOOD))
    with caplog.at_level(logging.DEBUG, "omgmj"):
        assert (await make(transport, rate=20.0).call(REQUEST, read)).succeeded
    slowed, *repeated = [record.message for record in caplog.records]
    assert slowed.startswith("slowed down to 1")
    assert [f"{REQUEST.path} failed, attempt {n} of 4" in line for n, line in enumerate(repeated, 1)] == [True, True]
    assert TOKEN not in caplog.text
    assert "slow down ***" in caplog.text


async def test_a_retry_holds_no_place_while_it_pauses() -> None:
    """Between two tries a call holds no place in flight, so that one that fails does not block the others."""
    bad = TransportError("gone")
    transport = Scripted(in_turn(bad, GOOD))
    exchange = make(transport, places=1, retry=Retry(initial=10.0, jitter=0.0))
    failing = asyncio.create_task(exchange.call(REQUEST, read))
    await asyncio.sleep(1.0)
    assert (await exchange.call(REQUEST, read)).succeeded
    assert now() < 2.0
    assert not failing.done()
    assert (await failing).succeeded


# The token


async def test_a_string_token_is_refused_at_once() -> None:
    """Where the token is a string, a 401 is an AuthError after one request, as HTTP status and as body code."""
    for answer in (REFUSED, envelope(401, "no")):
        transport = Scripted(in_turn(answer))
        with pytest.raises(AuthError):
            await make(transport).call(REQUEST, read)
        assert len(transport.sent) == 1


async def test_after_a_401_the_callable_is_asked_once_for_all_in_flight() -> None:
    """64 calls that are refused at once make one more call of the token callable, and all succeed."""
    asked = 0

    def token() -> str:
        nonlocal asked
        asked += 1
        return f"token-number-{asked}"

    async with FakeService(tasks=1, token="token-number-1", latency=1.0) as fake:
        exchange = make(fake.transport(), token)
        assert (await exchange.call(REQUEST, read)).id == 3432
        fake.tokens.clear()
        fake.tokens.add("token-number-2")
        tasks = await asyncio.gather(*(exchange.call(REQUEST, read) for _ in range(64)))
        assert len(tasks) == 64
        assert asked == 2
        assert len(fake.refused) == 64


async def test_a_poll_that_was_refused_is_to_be_sent_again() -> None:
    """A single exchange says None where there is a new token, and whoever holds the slot sends it again."""
    tokens = iter(["first", "second"])
    transport = Scripted(lambda token: GOOD if token == "second" else REFUSED)
    exchange = make(transport, lambda: next(tokens))
    assert await exchange.once(REQUEST, read) is None
    answer = await exchange.once(REQUEST, read)
    assert answer is not None
    assert answer.succeeded


async def test_the_callable_has_some_seconds_of_grace() -> None:
    """A callable that still returns the old token for some seconds is asked again until it has the new one."""
    for fails in (False, True):
        transport = Scripted(lambda token: GOOD if token == "new" else REFUSED)
        begin = now()

        def token(begin: float = begin, *, fails: bool = fails) -> str:
            if fails and 0 < now() - begin < 3.0:
                raise RuntimeError("the vault is being sealed")
            return "new" if now() - begin >= 3.0 else "old"

        exchange = make(transport, token)
        assert (await exchange.call(REQUEST, read)).succeeded
        assert now() - begin == pytest.approx(3.0, abs=GRACE_STEP)
        assert len(transport.sent) == 2


async def test_after_the_grace_it_is_an_auth_error_for_all() -> None:
    """Where the callable has no other token in time, all that were refused get AuthError, after one grace for all."""
    asked: list[float] = []

    def token() -> str:
        asked.append(now())
        return "old"

    transport = Scripted(in_turn(REFUSED))
    exchange = make(transport, token)
    results = await asyncio.gather(*(exchange.call(REQUEST, read) for _ in range(64)), return_exceptions=True)
    assert all(type(result) is AuthError for result in results)
    assert now() == pytest.approx(GRACE, abs=0.01)
    assert len(transport.sent) == 64
    assert len(asked) == 1 + GRACE / GRACE_STEP
    # Who comes later has a grace of its own: the token may have been changed by then.
    await asyncio.sleep(1.0)
    with pytest.raises(AuthError):
        await exchange.call(REQUEST, read)
    assert now() == pytest.approx(2 * GRACE + 1.0, abs=0.01)


async def test_new_tokens_that_are_refused_in_a_row() -> None:
    """New tokens that are all refused end a call after the grace, not before; and a later call asks for another."""
    numbers = iter(range(100))
    good: set[str] = set()
    transport = Scripted(lambda token: GOOD if token in good else REFUSED)
    exchange = make(transport, lambda: f"token-{next(numbers)}")
    with pytest.raises(AuthError):
        await exchange.call(REQUEST, read)
    assert now() == pytest.approx(GRACE, abs=GRACE_STEP)
    many = 1 + GRACE / GRACE_STEP
    assert len(transport.sent) == many
    good.add(f"token-{many:.0f}")
    await asyncio.sleep(1.0)
    assert (await exchange.call(REQUEST, read)).succeeded
    assert len(transport.sent) == many + 2


@pytest.mark.parametrize("every", [2.0, 3.0, 7.0])
async def test_a_token_that_rotates_every_few_seconds_ends_nothing(every: float) -> None:
    """A token that is rotated again and again is no fault, as long as each new one is taken in the end."""

    def current() -> str:
        return f"token-{now() // every:.0f}"

    transport = Scripted(lambda token: GOOD if token == current() else REFUSED)
    exchange = make(transport, current)
    for _ in range(200):
        assert (await exchange.call(REQUEST, read)).succeeded
        await asyncio.sleep(0.37)


@pytest.mark.parametrize("timeout", [3.0, 30.0])
async def test_a_callable_that_takes_its_time(timeout: float) -> None:
    """A callable that takes 8 s, also more than `request_timeout`, and gives the old token once, ends nothing."""
    asked = 0

    async def slow() -> str:
        nonlocal asked
        asked += 1
        await asyncio.sleep(8.0)
        return "new" if asked > 2 else "old"

    transport = Scripted(lambda token: GOOD if token == "new" else REFUSED)
    exchange = make(transport, slow, timeout=timeout)
    tasks = await asyncio.gather(*(exchange.call(REQUEST, read) for _ in range(20)))
    assert all(task.succeeded for task in tasks)
    assert asked == 3
    assert now() == pytest.approx(24.0)


@pytest.mark.parametrize("middle", ["", "torn", "two\nlines", "new-but-refused\n", None, OSError("no such file")])
async def test_within_the_grace_anything_else_is_not_yet(middle: Any) -> None:
    """While a token file is being rewritten it may be empty, torn, rubbish or gone: the new token is waited for."""
    given = iter(["old", middle, middle, "new\n"])

    def token() -> Any:
        one = next(given)
        if isinstance(one, Exception):
            raise one
        return one

    transport = Scripted(lambda token: GOOD if token == "new" else REFUSED)
    exchange = make(transport, token)
    tasks = await asyncio.gather(*(exchange.call(REQUEST, read) for _ in range(20)))
    assert all(task.succeeded for task in tasks)
    assert {token for _, token in transport.sent} <= {"old", "torn", "new-but-refused", "new"}


async def test_a_cancelled_renewal_shortens_no_grace() -> None:
    """Who is cancelled while the token is asked for leaves the next one a whole grace, much later too."""
    exchange = make(Scripted(in_turn(REFUSED)), lambda: "old")
    for pause in (0.0, 3600.0):
        await cancelled_at(exchange, GRACE - 1.0)
        await asyncio.sleep(pause)
    begin = now()
    with pytest.raises(AuthError):
        await exchange.call(REQUEST, read)
    assert now() - begin == pytest.approx(GRACE, abs=0.01)


async def test_a_call_that_is_refused_with_every_token_ends() -> None:
    """Where others find each new token good, what is refused all the same is refused for good, soon."""

    class Choosy(Scripted):
        async def send(self, base_url: str, request: Request, token: Secret) -> Answer:
            await asyncio.sleep(0.1)
            return GOOD if request.idempotent else REFUSED

    numbers = iter(range(1000))
    exchange = make(Choosy(in_turn(GOOD)), lambda: f"token-{next(numbers)}")

    async def others() -> None:
        while True:
            await exchange.call(REQUEST, read)

    going = asyncio.create_task(others())
    for _ in range(2):
        async with asyncio.timeout(2 * GRACE):
            with pytest.raises(AuthError):
                await exchange.call(ONCE_ONLY, read)
        await asyncio.sleep(5.0)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert next(numbers) < 10


async def test_an_async_callable() -> None:
    """A token may come from a coroutine; concurrent first calls share one, and time out when it hangs."""
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        await asyncio.sleep(2.0)
        return TOKEN

    transport = Scripted(in_turn(GOOD))
    exchange = make(transport, token)
    await asyncio.gather(*(exchange.call(REQUEST, read) for _ in range(20)))
    assert asked == 1
    assert {token for _, token in transport.sent} == {TOKEN}

    async def hanging() -> str:
        await never()
        return ""

    exchange = make(Scripted(in_turn(GOOD)), hanging, timeout=5.0, retry=Retry(attempts=1))
    begin = now()
    with pytest.raises(ExchangeTimeout):
        await exchange.call(REQUEST, read)
    assert now() - begin == pytest.approx(PATIENCE, abs=0.01)


async def test_a_callable_that_hangs_when_asked_again() -> None:
    """A token callable that hangs after a 401 is waited for within bounds, by all that are out."""
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            await never()
        return "old"

    exchange = make(Scripted(in_turn(REFUSED)), token, timeout=3.0, retry=Retry(attempts=1))
    results = await asyncio.gather(
        *(exchange.call(REQUEST, read) for _ in range(5)),
        exchange.once(REQUEST, read),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [ExchangeTimeout] * 6
    assert now() == pytest.approx(PATIENCE, abs=0.01)
    assert exchange._limiter.in_flight == 0


async def test_a_callable_that_raises() -> None:
    """A callable that fails is an AuthError caused by what it raised, at first and later after a grace, for all."""

    def failing() -> str:
        raise RuntimeError("no vault")

    transport = Scripted(in_turn(GOOD))
    exchange = make(transport, failing)
    results = await asyncio.gather(*(exchange.call(REQUEST, read) for _ in range(9)), return_exceptions=True)
    assert {str(result) for result in results} == {"the token callable failed: RuntimeError"}
    assert all(isinstance(result, AuthError) and isinstance(result.__cause__, RuntimeError) for result in results)
    assert not transport.sent
    assert now() == pytest.approx(GRACE, abs=0.01)

    asked = 0

    def once_only() -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise RuntimeError("no vault any more")
        return "old"

    transport = Scripted(in_turn(REFUSED))
    exchange = make(transport, once_only)
    results = await asyncio.gather(*(exchange.call(REQUEST, read) for _ in range(9)), return_exceptions=True)
    assert [type(result) for result in results] == [AuthError] * 9
    assert now() == pytest.approx(2 * GRACE, abs=0.01)
    assert asked == 1 + GRACE / GRACE_STEP


@pytest.mark.parametrize("rubbish", [None, 5, b"bytes", "", "two\nlines", "späce", ["list"]])
async def test_a_callable_that_returns_rubbish(rubbish: Any) -> None:
    """A callable that returns no token to the end is a UsageError at first, and after a 401 an AuthError."""
    transport = Scripted(in_turn(REFUSED))
    with pytest.raises(UsageError, match="token"):
        await make(transport, lambda: rubbish).call(REQUEST, read)
    assert not transport.sent
    given = iter(["old"])
    with pytest.raises(AuthError, match="token"):
        await make(transport, lambda: next(given, rubbish)).call(REQUEST, read)


@pytest.mark.parametrize("token", [TOKEN, 'sk-47"11/very\\secret<&>'])
async def test_the_token_is_masked_where_the_service_tells_it_back(token: str) -> None:
    """A service that tells the token back, in a message, a page, a header or a field, gets it into no error of ours."""
    cut = "x" * 190 + token
    escaped = json.dumps({"statusCode": 400, "message": f"no {token}"}).replace("/", "\\/").replace("<", "\\u003c")

    def spelled(**value: object) -> bytes:
        return json.dumps(value).replace("/", "\\/").replace("-", "\\u002d").encode()

    answers = [
        envelope(400, f"the token {token} is not good"),
        envelope(401, f"{token}", status=401),
        envelope(404, f"not found: {token}"),
        envelope(400, cut),
        Answer(200, {}, escaped.encode()),
        Answer(200, {}, spelled(statusCode=400, message=cut)),
        Answer(402, {}, spelled(error=cut)),
        Answer(502, {}, f"no JSON: {escaped}".encode()),
        Answer(200, {}, json.dumps({"statusCode": 200, "data": {"status": {token: 1}, "taskId": 3432}}).encode()),
        Answer(200, {}, json.dumps({"statusCode": token}).encode()),
        Answer(502, {}, f"no JSON: {token}".encode()),
        Answer(302, {"location": f"https://elsewhere.invalid/login?token={token}"}, b""),
        Answer(302, {"location": cut}, b""),
        Answer(429, {"retry-after": token}, b"{}"),
        Answer(200, {}, json.dumps({"statusCode": 400, token: 1}).encode() + b"\xff"),
    ]
    for answer in answers:
        exchange = make(Scripted(in_turn(answer)), token, retry=Retry(attempts=1))
        with pytest.raises(OmgmjError) as caught:
            await exchange.call(REQUEST, read)
        check_secret(caught.value, token)
        said = str(caught.value).replace("\\u002d", "-")
        assert "sk-4" not in said  # Not even where the text is cut in its middle.
        assert token not in str(copy.copy(caught.value))


async def test_an_answer_about_another_task_is_asked_for_again() -> None:
    """A record of another task is a fault of the way: the call is repeated, and the rate learns nothing bad of it."""
    other = envelope(200, data={"taskId": 9, "status": "SUCCESS"})
    transport = Scripted(in_turn(other, other, GOOD))
    exchange = make(transport)
    assert (await exchange.call(REQUEST, read)).id == 3432
    assert (len(transport.sent), exchange.retries) == (3, 2)
    with pytest.raises(TransportError, match="about another task: 9, while 3432"):
        await make(Scripted(in_turn(other))).call(REQUEST, read)


async def test_a_large_answer_is_read_in_a_thread() -> None:
    """What is large is read beside the loop, its errors too; what is small is read at once."""
    names: list[str] = []

    def reading(answer: Answer) -> Task:
        names.append(threading.current_thread().name)
        return read(answer)

    large = envelope(200, data={"taskId": 3432, "status": "SUCCESS", "prompt": "x" * LARGE})
    assert (await make(Scripted(in_turn(large))).call(REQUEST, reading)).prompt == "x" * LARGE
    assert (await make(Scripted(in_turn(GOOD))).call(REQUEST, reading)).succeeded
    with pytest.raises(DecodeError):
        await make(Scripted(in_turn(envelope(200, data=["x" * LARGE])))).call(REQUEST, reading)
    assert [name.startswith("omgmj") for name in names] == [True, False, True]


async def test_masking_changes_no_verdict() -> None:
    """A token that happens to be part of an answer's JSON, or is too short to be one, leaves its meaning alone."""
    unknown = envelope(400, "task 3432 was not found", 12345678)
    for token in ("t", "12345678"):
        with pytest.raises(TaskNotFound) as caught:
            await make(Scripted(in_turn(unknown)), token).call(REQUEST, read)
        assert caught.value.code == 400
        assert "knows no task 3432" in str(caught.value)
        transport = Scripted(in_turn(envelope(400, "bad words: 12345678", 12345678)))
        with pytest.raises(ServiceError) as refused:
            await make(transport, token).call(REQUEST, read)
        assert len(transport.sent) == 1
        assert refused.value.message == f"bad words: {'12345678' if token == 't' else '***'}"
    odd = Answer(200, {}, b'{"statusCode": 200, "data": {"taskId": 3432, "status": 5, "new": 12345678}}')
    with pytest.raises(DecodeError) as decode:
        await make(Scripted(in_turn(odd)), token).call(REQUEST, read)
    check_secret(decode.value, token)


async def test_credentials_tell_nothing() -> None:
    """The token does not stand in the repr of what holds it."""
    exchange = make(Scripted(in_turn(GOOD)))
    for held in (exchange, exchange._credentials, vars(exchange._credentials)):
        assert TOKEN not in repr(held)


# Time


async def test_a_bad_chunk_ends_within_request_timeout_in_a_direct_call() -> None:
    """A bad size of a later chunk, where aiohttp hangs, ends a query as ExchangeTimeout within request_timeout."""
    async with FakeService(tasks=1, token=TOKEN) as fake, http() as transport:
        await fake.serve()
        exchange = make(transport, base_url=fake.url, timeout=20.0, retry=Retry(attempts=1))
        fake.inject("bad_chunk", times=2)
        for run in (exchange.call, exchange.once):
            begin = now()
            with pytest.raises(ExchangeTimeout, match="within 20 s") as caught:
                await run(REQUEST, read)
            assert 20.0 <= now() - begin < 22.0
            check_secret(caught.value)
        assert (await exchange.call(REQUEST, read)).id == 3432


async def test_a_bad_chunk_ends_within_request_timeout_in_a_wait() -> None:
    """A bad chunk costs a wait no more than request_timeout: it goes on, and ends with the task."""
    async with FakeService(token=TOKEN) as fake:
        await fake.serve()
        task_id = fake.add_task(Life.succeed(after=10.0))
        fake.inject("bad_chunk", task_id=task_id)
        async with Session(TOKEN, base_url=fake.url, request_timeout=20.0, backoff=Fixed(1.0)) as session:
            assert (await session.wait(task_id)).succeeded
        assert fake.injected == {"bad_chunk": 1}
        assert 20.0 <= now() < 30.0


async def test_silence_is_an_exchange_timeout_each_time() -> None:
    """A silent service costs request_timeout for each try, and the error is a TransportError and a TimeoutError."""
    transport = Scripted(never)
    exchange = make(transport, timeout=5.0, retry=Retry(initial=1.0, jitter=0.0, attempts=3))
    with pytest.raises(ExchangeTimeout) as caught:
        await exchange.call(REQUEST, read)
    assert isinstance(caught.value, TransportError)
    assert isinstance(caught.value, TimeoutError)
    assert [at for at, _ in transport.sent] == pytest.approx([0.0, 6.0, 13.0], abs=0.01)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_queueing_does_not_count_against_request_timeout() -> None:
    """The clock of an exchange starts with its slot: calls that queue for minutes at the limiter do not time out."""
    async with FakeService(tasks=1, token=TOKEN, latency=4.0) as fake:
        exchange = make(fake.transport(), timeout=5.0, places=1)
        await asyncio.gather(*(exchange.call(REQUEST, read) for _ in range(50)))
        assert now() == pytest.approx(200.0, abs=1.0)
        assert exchange.queries == 50
        slow = make(fake.transport(), timeout=5.0, rate=0.1)
        await asyncio.gather(*(slow.call(REQUEST, read) for _ in range(10)))
        assert slow.queries == 10


async def test_a_small_pool_times_nobody_out() -> None:
    """1,000 calls through a pool of 5 connections, each slow, wait before the pool and never time out."""
    async with FakeService(tasks=1, token=TOKEN, latency=1.0) as fake:
        await fake.serve()
        connector = aiohttp.TCPConnector(limit=5)
        async with (
            aiohttp.ClientSession(connector=connector) as borrowed,
            Session(
                TOKEN, base_url=fake.url, http=borrowed, max_in_flight=64, rate=10_000.0, request_timeout=2.5
            ) as session,
        ):
            tasks = await asyncio.gather(*(session.query(3432) for _ in range(1000)))
            assert len(tasks) == 1000
            assert session.stats().queries == 1000
        assert fake.in_flight_peak == 5
        assert now() >= 200.0


async def test_one_timer_for_all_exchanges() -> None:
    """A thousand exchanges, out at once or one after the other, have one timer among them."""
    release = asyncio.Event()

    async def slow(_: str) -> Answer:
        await release.wait()
        return GOOD

    exchange = make(Scripted(slow), places=1000)
    calls = [asyncio.create_task(exchange.call(REQUEST, read)) for _ in range(1000)]
    await asyncio.sleep(1.0)
    assert len(timers()) == 1
    release.set()
    await asyncio.gather(*calls)
    for _ in range(1000):
        await exchange.call(REQUEST, read)
    assert len(timers()) == 1
    await asyncio.sleep(60.0)
    assert not timers()


async def test_each_exchange_has_its_own_deadline() -> None:
    """With one timer for all, each exchange still ends at its own time."""
    exchange = make(Scripted(never), timeout=10.0, retry=Retry(attempts=1))
    ended: list[float] = []

    async def call(at: float) -> None:
        await asyncio.sleep(at)
        with pytest.raises(ExchangeTimeout):
            await exchange.call(REQUEST, read)
        ended.append(now())

    await asyncio.gather(*(call(at) for at in (0.0, 3.0, 3.5, 9.9, 25.0)))
    assert ended == pytest.approx([10.0, 13.0, 13.5, 19.9, 35.0], abs=0.01)


async def test_a_nearer_deadline_replaces_the_timer() -> None:
    """An exchange that begins while another waits long for its new token still ends in its own time."""
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            await never()
        return "old"

    answers = in_turn(REFUSED, TransportError("to be replaced"))

    async def answer(token: str) -> Answer:
        try:
            return answers(token)
        except TransportError:
            return await never()

    exchange = make(Scripted(answer), token, timeout=4.0, retry=Retry(attempts=1))
    renewing = asyncio.create_task(exchange.once(REQUEST, read))
    await asyncio.sleep(4.5)  # By now the timer is set for the other one's end.
    begin = now()
    with pytest.raises(ExchangeTimeout):
        await exchange.once(REQUEST, read)
    assert now() - begin == pytest.approx(4.0, abs=0.01)
    with pytest.raises(ExchangeTimeout):
        await renewing


async def test_the_sweep_runs_in_nobodys_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer of all exchanges does not carry the variables of whoever made it."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")
    variable.set("mine")
    seen: list[str] = []
    sweep = Deadlines._sweep

    def watched(deadlines: Deadlines) -> None:
        seen.append(variable.get())
        sweep(deadlines)

    monkeypatch.setattr(Deadlines, "_sweep", watched)
    exchange = make(Scripted(never), timeout=5.0, retry=Retry(attempts=1))
    with pytest.raises(ExchangeTimeout):
        await exchange.call(REQUEST, read)
    assert set(seen) == {"nobody's"}


# Who may end it


async def cancelled_at(exchange: Exchange, at: float) -> None:
    """Cancel a call after `at` seconds and check that the cancellation comes through."""
    call = asyncio.create_task(exchange.call(REQUEST, read))
    await asyncio.sleep(at)
    assert not call.done()
    call.cancel("mine")
    with pytest.raises(asyncio.CancelledError):
        await call
    assert call.cancelled()


async def test_cancellation_passes_through_untouched() -> None:
    """A call is cancelled while it queues, while it is out, while it pauses, and while it renews its token."""
    hanging = make(Scripted(never), places=1)
    await cancelled_at(hanging, 1.0)
    assert hanging._limiter.in_flight == 0
    blocking = asyncio.create_task(hanging.call(REQUEST, read))
    await asyncio.sleep(1.0)
    await cancelled_at(hanging, 1.0)
    assert hanging._limiter.in_flight == 1
    blocking.cancel()
    await asyncio.gather(blocking, return_exceptions=True)
    assert hanging._limiter.in_flight == 0

    pausing = make(Scripted(in_turn(TransportError("gone"))), retry=Retry(initial=10.0, cap=10.0))
    await cancelled_at(pausing, 3.0)
    assert pausing._limiter.in_flight == 0

    renewing = make(Scripted(in_turn(REFUSED)), lambda: "old")
    await cancelled_at(renewing, 3.0)
    assert renewing._limiter.in_flight == 0
    await cancelled_at(renewing, 3.0)  # The lock is free again.
    assert not hanging._deadlines.out
    assert not pausing._deadlines.out
    assert not renewing._deadlines.out


async def test_timeouts_around_a_call_work() -> None:
    """asyncio.timeout and anyio's scopes end a call in each of its states, and leave the task uncancelled."""
    pausing = make(Scripted(in_turn(TransportError("gone"))), retry=Retry(initial=10.0, cap=10.0))
    for exchange in (make(Scripted(never)), make(Scripted(never), rate=0.001), pausing):
        for _ in range(2):
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(3.0):
                    await exchange.call(REQUEST, read)
            assert not isinstance(caught.value, OmgmjError)
            with anyio.move_on_after(3.0) as scope:
                await exchange.call(REQUEST, read)
            assert scope.cancelled_caught
            check_uncancelled()
    await asyncio.sleep(1.0)


def check_uncancelled() -> None:
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_our_timeout_inside_others_is_ours() -> None:
    """Our timeout fires inside wider ones of asyncio and anyio, in a shielded scope too, and cancels nothing else."""
    exchange = make(Scripted(never), timeout=2.0, retry=Retry(attempts=1))
    async with asyncio.timeout(10.0):
        with anyio.fail_after(10.0), anyio.CancelScope(shield=True), pytest.raises(ExchangeTimeout):
            await exchange.call(REQUEST, read)
        await asyncio.sleep(1.0)
    check_uncancelled()
    caught: list[BaseException] = []

    async def call() -> None:
        try:
            await exchange.call(REQUEST, read)
        except ExchangeTimeout as error:
            caught.append(error)
            await asyncio.sleep(1.0)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call)
    assert len(caught) == 3


async def test_a_timeout_at_the_same_instant() -> None:
    """Our timeout and one round it that fire at the same instant end as a TimeoutError and uncancel the task."""
    for _ in range(20):
        exchange = make(Scripted(never), timeout=2.0, retry=Retry(attempts=1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await exchange.call(REQUEST, read)
        check_uncancelled()
        with anyio.move_on_after(2.0) as scope:
            try:
                await exchange.call(REQUEST, read)
            except ExchangeTimeout:
                scope.cancel()
        assert scope.cancel_called
        await asyncio.sleep(0.1)
        check_uncancelled()


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
async def test_a_cancellation_at_the_same_instant_wins(order: str) -> None:
    """A user's cancel in the same step as our timeout is what the task ends with: it is never swallowed."""
    exchange = make(Scripted(never), timeout=2.0)
    call = asyncio.create_task(exchange.call(REQUEST, read))
    await asyncio.sleep(1.0)
    [deadline] = exchange._deadlines.out
    if order == "theirs first":
        call.cancel()
    deadline.fire(ExchangeTimeout("ours"))
    deadline.fire(ExchangeTimeout("twice"))
    if order == "ours first":
        call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert call.cancelled()


async def test_our_timeout_as_the_answer_comes() -> None:
    """A timeout that fires when the answer has just come ends the call, with an error or the answer, and no more."""
    for when in (1.999_999_5, 2.0, 2.000_000_5):

        async def answer(_: str, when: float = when) -> Answer:
            await asyncio.sleep(when)
            return GOOD

        exchange = make(Scripted(answer), timeout=2.0, retry=Retry(attempts=1))
        with contextlib.suppress(ExchangeTimeout):
            assert (await exchange.call(REQUEST, read)).succeeded
        check_uncancelled()
        assert exchange._limiter.in_flight == 0


async def test_a_transport_that_swallows_our_cancellation() -> None:
    """A transport that answers although it was cut off leaves no cancellation behind in the user's task."""

    async def stubborn(_: str) -> Answer:
        try:
            return await never()
        except asyncio.CancelledError:
            return GOOD

    exchange = make(Scripted(stubborn), timeout=2.0)
    assert (await exchange.call(REQUEST, read)).succeeded
    check_uncancelled()
    await asyncio.sleep(1.0)


async def test_closing_ends_all_calls() -> None:
    """Calls that queue, are out, pause or renew end with SessionClosed, each with one of its own, at once."""
    transport = Scripted(never)
    out = make(transport, places=1)
    pausing = make(Scripted(in_turn(TransportError("gone"))), retry=Retry(initial=10.0, cap=10.0))
    renewing = make(Scripted(in_turn(REFUSED)), lambda: "old")
    idle = make(transport)
    calls = [asyncio.create_task(exchange.call(REQUEST, read)) for exchange in (out, out, pausing, renewing, renewing)]
    calls.append(asyncio.create_task(renewing.once(REQUEST, read)))  # type: ignore[arg-type]
    await asyncio.sleep(2.0)
    for exchange in (out, pausing, renewing, idle):
        exchange._limiter.close()
        exchange.close(SessionClosed("closed"))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [SessionClosed] * 6
    assert len({id(result) for result in results}) == 6
    assert now() == 2.0
    assert transport.in_flight == 0
    assert not any("Timer._run" in repr(timer) and not timer.cancelled() for timer in timers())


async def test_a_call_outside_a_task_is_a_usage_error() -> None:
    """Where there is no task to end, such as in a loop's callback, a call says what is wrong."""
    exchange = make(Scripted(in_turn(GOOD)))
    caught: list[BaseException] = []

    def callback() -> None:
        try:
            exchange.call(REQUEST, read).send(None)
        except UsageError as error:
            caught.append(error)

    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0.1)
    assert len(caught) == 1


async def test_what_a_reader_raises_that_is_no_error_of_ours_passes() -> None:
    """A mistake in a reader is not dressed up, and gives the place back."""

    def broken(_: Answer) -> Task:
        raise ZeroDivisionError

    exchange = make(Scripted(in_turn(GOOD)))
    with pytest.raises(ZeroDivisionError):
        await exchange.call(REQUEST, broken)
    assert exchange._limiter.in_flight == 0
    assert not exchange._deadlines.out


async def test_a_storm_of_faults_and_cancellations_leaves_nothing() -> None:
    """Under random faults, slow answers and cancellations over loopback every call ends, and no place is lost."""
    chance = random.Random(11)
    shares: dict[str | Fault, float] = {
        "drop_before_headers": 0.1,
        "cut_short": 0.1,
        "silence": 0.05,
        "html_502": 0.1,
        "rate_limited_zero": 0.05,
        Fault("slow", seconds=4.0): 0.2,
    }
    async with FakeService(tasks=1, token=TOKEN, faults=shares, seed=5) as fake, http() as transport:
        await fake.serve()
        exchange = make(transport, base_url=fake.url, timeout=3.0, rate=100.0, places=10)
        calls = [asyncio.create_task(exchange.call(REQUEST, read)) for _ in range(200)]
        for victim in chance.sample(calls, 60):
            await asyncio.sleep(chance.random() * 0.2)
            victim.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        kinds = {type(result) for result in results}
        assert kinds <= {Task, asyncio.CancelledError, TransportError, ExchangeTimeout, ServiceError, RateLimited}
        assert sum(isinstance(result, Task) for result in results) > 100
        assert (exchange._limiter.in_flight, len(exchange._deadlines.out)) == (0, 0)
        assert fake.in_flight_peak <= 10 + fake.injected["silence"] + fake.injected["slow"] + 60
        for result in results:
            if isinstance(result, OmgmjError):
                check_secret(result)
