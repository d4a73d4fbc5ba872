"""Sending what costs money: never twice, and never lost without a word."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from omgmj.backoff import Retry
from omgmj.client.secrets import Secret
from omgmj.errors import (
    AuthError,
    ExchangeTimeout,
    OmgmjError,
    RateLimited,
    ServiceError,
    SessionClosed,
    SubmissionUncertain,
    TransportError,
    UsageError,
)
from omgmj.models import Submission
from omgmj.protocol.messages import Answer, Request
from omgmj.session import Session
from omgmj.testing import PNG, FakeService, Fault, Life

QUICK = Retry(attempts=3, initial=0.01)


def answer(data: object, *, code: int = 200, status: int = 200) -> bytes:
    body = json.dumps({"statusCode": code, "message": "", "data": data}).encode()
    return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )


class Server:
    """A server that keeps each connection open, and does to each request what `script` says in turn."""

    def __init__(self, *script: bytes | str) -> None:
        self.script = list(script)
        self.connections = 0
        self.bodies: list[bytes] = []
        self.url = ""
        self.got = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                self.got.set()
                what = self.script.pop(0) if self.script else answer(1)
                if what == "silence":
                    await asyncio.sleep(1000)
                if isinstance(what, str):
                    return
                writer.write(what)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(*script: bytes | str) -> AsyncIterator[Server]:
    made = Server(*script)
    handlers: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            handlers.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await made.serve(reader, writer)

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        listener.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


# Sent once


async def test_a_submission_goes_on_a_fresh_connection_which_is_not_kept() -> None:
    """No submission uses a connection that was used before, and none uses that of a submission, whatever is asked."""
    async with serving(answer(1), answer(2), answer(3)) as server, Session("t", base_url=server.url) as session:
        assert [await session.imagine("a cat") for _ in range(3)] == [1, 2, 3]
        assert server.connections == 3
        server.script += [answer({"taskId": 9, "status": "SUCCESS"})] * 2 + [answer(4)]
        await session.query(9)
        await session.query(9)
        assert server.connections == 4
        assert await session.imagine("a cat") == 4
        assert server.connections == 5


async def test_a_borrowed_session_lends_fresh_connections_too() -> None:
    """Submissions through an aiohttp session of the user's own go on fresh connections as well."""
    async with (
        serving(answer({"taskId": 9, "status": "SUCCESS"}), answer(1), answer(2)) as server,
        aiohttp.ClientSession() as http,
    ):
        async with Session("t", base_url=server.url, http=http) as session:
            await session.query(9)
            assert [await session.imagine("a cat"), await session.imagine("a cat")] == [1, 2]
        assert server.connections == 3
        assert not http.closed


async def test_a_connection_that_could_not_be_made_is_tried_again() -> None:
    """Where nobody listens nothing was read, so the submission is tried again, and what is raised says so."""
    async with serving() as server:
        url = server.url
    async with Session("t", base_url=url, retry=QUICK) as session:
        with pytest.raises(TransportError):
            await session.imagine("a cat")
        assert session.stats().queries == 3


async def test_a_connection_that_takes_too_long_is_tried_again() -> None:
    """A timeout before the connection is there has sent nothing."""

    class Slow(aiohttp.abc.AbstractResolver):
        asked = 0

        async def resolve(self, *_: Any, **__: Any) -> Any:
            self.asked += 1
            await asyncio.sleep(1000)

        async def close(self) -> None:
            pass

    slow = Slow()
    make = lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=slow))  # noqa: E731
    async with Session("t", base_url="https://api.test", http=make, retry=QUICK, request_timeout=5) as session:
        with pytest.raises(ExchangeTimeout):
            await session.imagine("a cat")
        assert session.stats().queries == 3


async def test_a_429_is_tried_again() -> None:
    """A 429 made nothing, so the submission is sent again, and once more."""
    async with FakeService() as fake, fake.session() as session:
        fake.inject(Fault("rate_limited", only="submissions"), times=2)
        task_id = await session.imagine("a cat")
        assert [made.task_id for made in fake.created] == [task_id]
        assert session.stats().rate_limited == 2
        fake.inject(Fault("rate_limited", only="submissions"), times=100)
        with pytest.raises(RateLimited):
            await session.imagine("a cat")
        assert len(fake.created) == 1


@pytest.mark.parametrize("data", [3440, "3440", {"taskId": 3440}, {"taskId": "3440", "new": 1}])
async def test_the_id_of_a_new_task_may_be_told_in_several_ways(data: object) -> None:
    """As a number or in digits, by itself or in an object: the ID is in hand."""
    async with serving(answer(data)) as server, Session("t", base_url=server.url) as session:
        assert await session.imagine("a cat") == 3440


async def test_images_go_as_json() -> None:
    """What carries images is sent as JSON, with its own content type, and all else as a form."""
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer(1))
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with Session("t", base_url=url) as session:
            await session.imagine("a cat", images=[PNG])
            await session.imagine("a cat")
    types = [head.lower().partition(b"content-type: ")[2].partition(b"\r\n")[0] for head in heads]
    assert types == [b"application/json", b"application/x-www-form-urlencoded"]


LOST: dict[str, bytes | str] = {
    "closed without a word": "close",
    "silence": "silence",
    "half of the head": b"HTTP/1.1 200 OK\r\nConte",
    "half of the body": b"HTTP/1.1 200 X\r\nContent-Length: 50\r\n\r\n{",
    "no JSON": b"HTTP/1.1 200 X\r\nContent-Length: 6\r\n\r\n<html>",
    "empty": b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n",
    "JSON of something in front, 502": b"HTTP/1.1 502 X\r\nContent-Length: 2\r\n\r\n{}",
    "JSON of something in front, 408": b"HTTP/1.1 408 X\r\nContent-Length: 2\r\n\r\n{}",
    "JSON of something in front that has data": b'HTTP/1.1 400 X\r\nContent-Length: 10\r\n\r\n{"data":5}',
    "a list of something in front": b"HTTP/1.1 400 X\r\nContent-Length: 2\r\n\r\n[]",
    "502": b"HTTP/1.1 502 X\r\nContent-Length: 6\r\n\r\n<html>",
    "403 of something in front": b"HTTP/1.1 403 X\r\nContent-Length: 6\r\n\r\n<html>",
    "no ID": answer(None),
    "an ID of a wrong type": answer("twelve"),
    "an ID that is not whole": answer(12.5),
    "an object without an ID": answer({"taskId": None}),
    "an ID out of range": answer(0),
    "code 500": answer(None, code=500),
    "code 201": answer(77, code=201),
    "code 0": answer(None, code=0),
    "timed out": answer(None, code=408, status=408),
    "a no that names a task": answer(77, code=400),
    "404 that names a task": answer(77, status=404),
    "429 that names a task": answer(77, status=429),
    "401 that names a task": answer(77, status=401),
    "504 with code 429": answer(None, code=429, status=504),
    "not HTTP": b"hello\r\n\r\n",
}


@pytest.mark.parametrize("what", LOST)
async def test_a_lost_answer_is_told_and_not_repeated(what: str) -> None:
    """After the bytes have left, whatever is no clear answer raises SubmissionUncertain, and nothing is sent again."""
    async with serving(LOST[what]) as server, Session("t", base_url=server.url, request_timeout=5) as session:
        before = datetime.now(UTC)
        with pytest.raises(
            SubmissionUncertain, match=r"not known whether .*Session\.reconcile.*prompt 'a cat'"
        ) as caught:
            await session.imagine("a cat", pool="FAST")
        assert len(server.bodies) == 1
        error = caught.value
        assert error.submission is not None
        assert error.submission == Submission("IMAGINE", prompt="a cat", pool="FAST", sent_at=error.sent_at)
        assert error.sent_at is not None
        assert abs(error.sent_at - before) < timedelta(minutes=1)
        for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 (our own)
            assert (str(twin), twin.submission) == (str(error), error.submission)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (answer(None, code=400), ServiceError),
        (answer(None, code=400, status=400), ServiceError),
        (answer(None, code=401, status=401), AuthError),
        (answer(None, code=403, status=403), AuthError),
        (b"HTTP/1.1 413 X\r\nContent-Length: 6\r\n\r\n<html>", ServiceError),
        *(
            (b'HTTP/1.1 %d X\r\nContent-Length: 15\r\n\r\n{"error": "no"}' % status, ServiceError)
            for status in (400, 403, 404, 405, 409, 415, 422)
        ),
    ],
)
async def test_a_clear_no_is_no_uncertainty(said: bytes, kind: type[OmgmjError]) -> None:
    """Where the service refuses, nothing was created, and the error is the refusal's own."""
    async with serving(said) as server, Session("t", base_url=server.url) as session:
        with pytest.raises(kind):
            await session.imagine("a cat")
        assert len(server.bodies) == 1


async def test_a_refused_token_is_renewed_but_the_submission_is_the_callers() -> None:
    """After a 401 there is a new token, and the submission is not sent again by itself."""
    tokens = iter(["old", "new"])
    async with FakeService(token="new") as fake, fake.session(lambda: next(tokens)) as session:
        with pytest.raises(AuthError, match="call again"):
            await session.imagine("a cat")
        assert fake.created == []
        await session.imagine("a cat")
        assert len(fake.created) == 1


async def test_a_token_that_hangs_is_bounded() -> None:
    """A token callable that never returns ends a submission with a timeout, as it ends a query, and nothing is sent."""

    async def never() -> str:
        await asyncio.sleep(1e6)
        return "t"

    async with FakeService() as fake, fake.session(never, request_timeout=5, retry=QUICK, max_in_flight=1) as session:
        for call in (session.imagine("a cat"), session.query(3432)):
            with pytest.raises(ExchangeTimeout):
                await call
        assert fake.requests == 0


async def test_a_token_that_hangs_after_a_401_leaves_nothing_uncertain(caplog: pytest.LogCaptureFixture) -> None:
    """What was refused was refused, whatever becomes of the next token; it is not sent again."""
    asked = 0

    async def slow() -> str:
        nonlocal asked
        asked += 1
        await asyncio.sleep(1e6 if asked > 1 else 0)
        return "old"

    async with FakeService(token="new") as fake, fake.session(slow, request_timeout=5, retry=QUICK) as session:
        with pytest.raises(ExchangeTimeout):
            await session.imagine("a cat")
        call = asyncio.create_task(session.imagine("a cat"))
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (fake.requests, fake.created) == (2, [])
    assert caplog.text == ""


# Cut off


@pytest.mark.real_time
async def test_an_upload_that_is_cut_in_its_middle_made_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A body that did not leave to its end cannot have made a task: a plain error, nothing logged, nothing repeated."""
    connections = 0
    over = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        await reader.read(1000)
        if connections > 1:
            await over.wait()
        writer.transport.abort()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    image = PNG + bytes(18_000_000)
    try:
        async with Session("t", base_url=url, retry=QUICK) as session:
            with pytest.raises(TransportError):
                await session.describe(image)
            assert connections == 1
            call = asyncio.create_task(session.describe(image))
            while connections < 2:  # noqa: ASYNC110 (the server tells nobody)
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
    finally:
        over.set()
        server.close()
        await asyncio.sleep(0.01)
    assert caplog.text == ""


async def test_a_long_upload_may_take_longer() -> None:
    """Beyond `request_timeout` a submission has the time that its images take over a slow line."""
    async with FakeService(latency=60.0) as fake, fake.session(request_timeout=5) as session:
        with pytest.raises(SubmissionUncertain, match="no answer within 5 s"):
            await session.imagine("a cat")
        assert await session.describe(PNG + bytes(6_000_000))


async def test_a_cancellation_after_the_bytes_left_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A submission that is cancelled while it waits for its answer leaves its facts in the log."""
    async with serving("silence") as server, Session("t", base_url=server.url) as session:
        call = asyncio.create_task(session.imagine("a cat", webhook="https://me.test/secret"))
        await server.got.wait()
        call.cancel()
        with caplog.at_level(logging.WARNING, "omgmj"), pytest.raises(asyncio.CancelledError):
            await call
    assert "may have made a task" in caplog.text
    assert "prompt 'a cat'" in caplog.text
    assert "secret" not in caplog.text


async def test_a_cancellation_before_the_bytes_left_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A submission that still waits for its slot is cancelled without a word."""
    async with FakeService(latency=10) as fake, fake.session(max_in_flight=1) as session:
        query = asyncio.create_task(session.query(fake.add_task()))
        await asyncio.sleep(1)
        call = asyncio.create_task(session.imagine("a cat"))
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await query
        assert fake.created == []
    assert caplog.text == ""


async def test_closing_the_session_leaves_a_submission_uncertain() -> None:
    """A session that is closed while a submission is out tells what was sent."""
    async with serving("silence") as server, Session("t", base_url=server.url) as session:
        call = asyncio.create_task(session.imagine("a cat"))
        await server.got.wait()
        await session.aclose()
        with pytest.raises(SubmissionUncertain, match="closed"):
            await call
        with pytest.raises(SessionClosed):
            await session.imagine("a cat")


async def test_closing_the_session_while_images_are_encoded_sends_nothing() -> None:
    """A session that is closed before a submission has left ends it with `SessionClosed`; nothing is created."""
    async with FakeService() as fake:
        session = fake.session()
        calls = [
            asyncio.ensure_future(call)
            for call in (session.imagine("a cat", images=[PNG]), session.blend([PNG, PNG]), session.describe(PNG))
        ]
        await asyncio.sleep(0)
        await session.aclose()
        assert [type(end) for end in await asyncio.gather(*calls, return_exceptions=True)] == [SessionClosed] * 3
        assert fake.requests == 0


class Mute:
    """A transport of the user's own that tells nothing of how far a submission has come."""

    limit = None

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def send(self, base_url: str, request: Request, token: Secret, passage: object = None) -> Answer:
        raise self._error

    stream: Callable[..., Any]

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("error", [TransportError("something broke"), OSError("something else")])
async def test_a_transport_that_tells_nothing_is_not_trusted(error: Exception) -> None:
    """Where a transport does not say that nothing was sent, the submission counts as sent, whatever was raised."""
    async with Session("t", base_url="https://api.test", transport=Mute(error)) as session:
        with pytest.raises(SubmissionUncertain, match="something") as caught:
            await session.imagine("a cat")
        assert caught.value.__cause__ is error


# What is wrong is found before anything is sent


async def test_bad_input_sends_nothing(tmp_path: Any) -> None:
    """Wrong prompts, pools, webhooks, images and actions are refused, and no request is made for them."""
    png = b"\x89PNG\r\n\x1a\n" + bytes(8)
    async with FakeService() as fake, fake.session() as session:
        running = fake.add_task(Life.steps([(0, "IN_PROGRESS", "15%")]))
        done = await session.wait(fake.add_task(Life.succeed(after=1)))
        seen = await session.query(running)
        before = fake.requests
        calls: list[Callable[[], Any]] = [
            lambda: session.imagine(""),
            lambda: session.imagine("  "),
            lambda: session.imagine("a cat", pool="TURBO"),  # type: ignore[arg-type]
            lambda: session.imagine("a cat", webhook="me.test"),
            lambda: session.imagine("a cat", images=[b""]),
            lambda: session.imagine("a cat", images=png),  # type: ignore[arg-type]
            lambda: session.imagine("a cat", images=[tmp_path / "missing.png"]),
            lambda: session.blend([png]),
            lambda: session.blend([png] * 6),
            lambda: session.blend(bytearray(png)),  # type: ignore[arg-type]
            lambda: session.blend("a.png"),
            lambda: session.blend(None),  # type: ignore[arg-type]
            lambda: session.blend([png, b"no image"]),
            lambda: session.blend([png, png], dimensions="16:9"),  # type: ignore[arg-type]
            lambda: session.describe(tmp_path),
            lambda: session.describe(5),  # type: ignore[arg-type]
            lambda: session.act(seen, "U1"),
            lambda: session.act(done, "U9"),
            lambda: session.act(done, "U1", mask=png),
            lambda: session.act("x", "U1"),
            lambda: session.act(running, None),  # type: ignore[arg-type]
            lambda: session.act(running, "U1", mask=5),  # type: ignore[arg-type]
            lambda: session.act(running, "U1", mask=b""),
        ]
        for call in calls:
            with pytest.raises(UsageError):
                await call()
        assert fake.requests == before
        assert fake.refused == []


async def test_images_go_out_as_they_are(tmp_path: Any) -> None:
    """Bytes, paths and data URIs arrive as images, and blend, describe and imagine make tasks of them."""
    png = b"\x89PNG\r\n\x1a\n" + bytes(8)
    path = tmp_path / "a.png"
    path.write_bytes(png)
    async with FakeService() as fake:
        await fake.serve()
        async with Session("t", base_url=fake.url) as session:
            await session.imagine("a cat", images=[png, path, str(path)])
            await session.blend([png, path], dimensions="SQUARE", pool="NORMAL")
            told = await session.wait(await session.describe(path))
        assert fake.refused == []
        assert [made.kind for made in fake.created] == ["IMAGINE", "BLEND", "DESCRIBE"]
        assert told.prompt


async def test_a_large_image_does_not_upset_aiohttp() -> None:
    """A body of megabytes goes out piece by piece, without aiohttp's warning about one."""
    png = b"\x89PNG\r\n\x1a\n" + bytes(4_000_000)
    async with FakeService() as fake:
        await fake.serve()
        async with Session("t", base_url=fake.url) as session:
            await session.describe(png)
        assert len(fake.created) == 1


# Ten thousand of them


@pytest.mark.parametrize(
    ("many", "loopback"),
    [
        pytest.param(10_000, True, marks=pytest.mark.slow, id="ten thousand over loopback"),
        pytest.param(2000, False, marks=pytest.mark.in_memory, id="two thousand in memory"),
    ],
)
async def test_of_many_submissions_none_is_doubled_and_none_is_lost(many: int, loopback: bool) -> None:
    """Where one answer in twenty is lost, each prompt makes one task, and each lost one is raised and then found."""
    found: dict[int, str] = {}
    lost = 0
    faults = {Fault("drop_before_headers", only="submissions"): 0.03, Fault("cut_short", only="submissions"): 0.02}
    async with FakeService(faults=faults, seed=5) as fake:
        url = await fake.serve() if loopback else "https://api.test"
        prompts = iter(f"a cat, number {number}" for number in range(many))

        async def submit(session: Session) -> None:
            nonlocal lost
            for prompt in prompts:
                try:
                    found[await session.imagine(prompt)] = prompt
                except SubmissionUncertain as error:
                    lost += 1
                    [task] = await session.reconcile(error)
                    found[task.id] = prompt

        transport = None if loopback else fake.transport()
        async with Session("t", base_url=url, rate=20, transport=transport) as session:
            await asyncio.gather(*(submit(session) for _ in range(8)))
        made = {created.task_id: created.fields["prompt"] for created in fake.created}
        print(f"{len(fake.created)} tasks made, {lost} answers lost, {fake.requests} requests")
    assert len(fake.created) == many
    assert found == made
    assert len(set(made.values())) == many
    assert 0.035 < lost / many < 0.065
