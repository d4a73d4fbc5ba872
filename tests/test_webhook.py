"""The receiver of callbacks, over real sockets on loopback: what it takes, and what it holds out."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import re
import secrets
import statistics
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import omgmj
from omgmj.errors import SessionClosed, UsageError
from omgmj.protocol.callbacks import read_callback
from omgmj.webhook import Receiver

SECRET = "Abcdefghijklmnopqrstuvwxyz-0123456789_"
JSON = "application/json"
BODY = b'{"taskId": 3432, "status": "IN_PROGRESS", "progress": "46%"}'
MIB = 1024 * 1024


class Sink:
    """A sink that reads as a session does, and keeps what came."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.error: BaseException | None = None

    def __call__(self, body: bytes) -> None:
        if self.error:
            raise self.error
        self.taken.append(read_callback(body).task_id)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def receiver(sink: Sink) -> Receiver:
    return Receiver(sink, secret=SECRET, max_bytes=10_000, timeout=0.2)


@asynccontextmanager
async def serving(receiver: Receiver, prefix: str = "", *, lingers: bool = False) -> AsyncIterator[str]:
    """Serve a receiver by itself, or mounted in another application whose own cap is tiny, and give its base URL.

    The server `lingers` a tenth of a second, ten seconds unless told so, for what is sent on although it was refused.
    """
    application = receiver.application()
    if prefix:
        outer = web.Application(client_max_size=10)
        outer.add_subapp(prefix, application)
        application = outer
    runner = web.AppRunner(application, shutdown_timeout=0.05, lingering_time=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}"
    finally:
        await asyncio.sleep(0.15 if lingers else 0.0)
        await runner.cleanup()


async def post(url: str, body: Any = BODY, content_type: str = JSON) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, data=body, headers={"Content-Type": content_type}) as response,
    ):
        return response.status, await response.read()


async def raw(base: str, data: bytes, *more: bytes, pause: float = 0.0) -> bytes:
    """Send bytes as they are, piece by piece, and return what is answered at first."""
    host, port = base.removeprefix("http://").partition("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = asyncio.ensure_future(reader.read(4096))
    try:
        writer.write(data)
        for piece in more:
            await asyncio.sleep(pause)
            if answer.done():
                break
            writer.write(piece)
        return await asyncio.wait_for(answer, 5)
    finally:
        writer.close()


def head(base: str, secret: str = SECRET, *headers: str, method: str = "POST") -> bytes:
    path = "/" + base.removeprefix("http://").partition("/")[2]
    lines = (f"{method} {path.rstrip('/')}/{secret} HTTP/1.1", "Host: here", f"Content-Type: {JSON}", *headers, "", "")
    return "\r\n".join(lines).encode()


pytestmark = pytest.mark.real_time


# What is taken.


@pytest.mark.parametrize("prefix", ["", "/hooks", "/a/b"])
@pytest.mark.parametrize("query", [False, True])
async def test_callbacks_come_to_the_sink(receiver: Receiver, sink: Sink, prefix: str, query: bool) -> None:
    """Served by itself or mounted under a prefix, with the secret in the path or in the query: taken with 204."""
    async with serving(receiver, prefix) as base:
        for asked in (base, base + "/", base + "?chat=7"):
            assert await post(receiver.url_for(asked, query=query)) == (204, b"")
    assert sink.taken == [3432] * 3
    assert receiver.counts == {"taken": 3}


@pytest.mark.parametrize("kind", ["", "application/json; charset=utf-8", "Application/JSON", "application/hal+json"])
async def test_json_comes_under_several_names(receiver: Receiver, kind: str) -> None:
    """The content type is one of JSON, or none."""
    assert receiver.take(SECRET, kind, BODY) == 204
    assert receiver.take(SECRET, None, BODY) == 204


async def test_a_body_in_pieces_is_put_together(receiver: Receiver, sink: Sink) -> None:
    """A body that comes in chunks, without a length, is taken as any other."""
    async with serving(receiver) as base:
        chunks = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (BODY[:10], BODY[10:]))
        answer = await raw(base, head(base, SECRET, "Transfer-Encoding: chunked"), *chunks, b"0\r\n\r\n", pause=0.01)
    assert answer.startswith(b"HTTP/1.1 204")
    assert sink.taken == [3432]


# What is wrong.

NOTHING = (404, b"404: Not Found")


async def test_all_that_is_wrong_gets_the_answer_of_a_place_where_nothing_is(receiver: Receiver, sink: Sink) -> None:
    """Wrong secrets, paths, methods, types and bodies: one answer, the very one that aiohttp gives elsewhere."""
    async with serving(receiver, "/hooks") as base:
        good = receiver.url_for(base)
        outside = await raw(base, b"POST /elsewhere HTTP/1.1\r\nHost: here\r\n\r\n")
        for method in ("GET", "PUT", "OPTIONS", "DELETE", "TRACE"):
            answer = await raw(base, head(base, method=method))
            assert without_date(answer) == without_date(outside)
        near = (SECRET[:-1], SECRET + "x", SECRET.lower(), SECRET + "/", "x/" + SECRET)
        for secret in ("", "x", *near, "%ff", "é"):
            assert await post(f"{base}/{secret}") == NOTHING
            assert await post(f"{base}/?secret={secret}") == NOTHING
        assert await post(f"{good}?secret=x") == NOTHING
        assert await post(base) == NOTHING
        for kind in ("text/plain", "text/html", "application/x-www-form-urlencoded", "multipart/form-data"):
            assert await post(good, content_type=kind) == NOTHING
        for body in (b"", b"{", b"[1]", b"\xff\x00", b'{"taskId": -1}', b'{"taskId": "x"}', b"9" * 5000, b"[" * 9000):
            assert await post(good, body) == NOTHING
        assert sink.taken == []
        assert await post(good) == (204, b"")


def without_date(answer: bytes) -> bytes:
    return re.sub(rb"Date: [^\r]*", b"", answer)


def test_a_sink_that_fails_is_told_in_the_log_and_to_nobody_else(
    receiver: Receiver, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    """A closed session and a mistake in the sink are 404 as well; the mistake is logged."""
    sink.error = SessionClosed("closed")
    assert receiver.take(SECRET, JSON, BODY) == 404
    assert not caplog.records
    sink.error = ZeroDivisionError("a mistake")
    assert receiver.take(SECRET, JSON, BODY) == 404
    assert "a mistake" in caplog.text
    assert receiver.counts == {"sink": 2}


# Attacks.


async def test_a_thousand_wrong_secrets(receiver: Receiver, sink: Sink) -> None:
    """Each is refused, a good callback in between is taken, and nothing is kept of them."""
    async with serving(receiver) as base, aiohttp.ClientSession() as http:
        for number in range(1000):
            wrong = secrets.token_urlsafe()[: len(SECRET)]
            async with http.post(f"{base}/{wrong}", data=BODY, headers={"Content-Type": JSON}) as response:
                assert response.status == 404
            if number % 100 == 0:
                assert (await post(receiver.url_for(base)))[0] == 204
    assert receiver.counts == {"secret": 1000, "taken": 10}


@pytest.mark.parametrize("secret", [SECRET, "wrong"])
@pytest.mark.parametrize("kind", ["length", "chunked", "packed"])
async def test_a_body_of_100_mib_costs_neither_memory_nor_time(receiver: Receiver, secret: str, kind: str) -> None:
    """With the secret or without, with a length, in chunks or packed: refused as soon as it is too long."""
    piece = bytes(MIB)
    packed = gzip.compress(bytes(100 * MIB), 1)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield piece

    headers = {"Content-Type": JSON}
    headers |= {"Content-Length": str(100 * MIB)} if kind == "length" else {}
    headers |= {"Content-Encoding": "gzip"} if kind == "packed" else {}
    async with serving(receiver, lingers=True) as base, aiohttp.ClientSession() as http:
        tracemalloc.start()
        began = time.monotonic()
        try:
            async with http.post(
                f"{base}/{secret}", data=packed if kind == "packed" else body(), headers=headers
            ) as response:
                assert response.status == 404
        except aiohttp.ClientError:
            pass  # The server has hung up on who goes on sending.
        took, peak = time.monotonic() - began, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        await asyncio.sleep(0.01)
        assert receiver.counts == {"size" if secret == SECRET else "secret": 1}
        assert (await post(receiver.url_for(base)))[0] == 204
    assert peak < 8 * MIB
    assert took < 15
    assert receiver._held == 0


async def test_a_body_of_one_byte_at_a_time_is_cut_off(receiver: Receiver) -> None:
    """Who sends slowly is answered when the time is over, however long it goes on; with a wrong secret at once."""
    patient = Receiver(lambda body: None, secret=SECRET, timeout=60.0)
    async with serving(patient, lingers=True) as base:
        assert (await raw(base, head(base, "wrong", "Content-Length: 60"))).startswith(b"HTTP/1.1 404")
    assert patient.counts == {"secret": 1}
    async with serving(receiver, lingers=True) as base:
        began = time.monotonic()
        assert (await raw(base, head(base, SECRET, "Content-Length: 60"))).startswith(b"HTTP/1.1 404")
        assert time.monotonic() - began >= 0.15
        drips = [b"{"] + [b" "] * 40
        assert (await raw(base, head(base, SECRET, "Content-Length: 60"), *drips, pause=0.01)).startswith(
            b"HTTP/1.1 404"
        )
    assert receiver.counts == {"time": 2}


async def test_many_slow_bodies_hold_no_more_than_64_of_the_largest(sink: Sink) -> None:
    """Whoever knows the secret and fills memory from many connections is refused, and nobody else after that."""
    receiver = Receiver(sink, secret=SECRET, max_bytes=1000, timeout=30.0)
    goes_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b" " * 900
        await goes_on.wait()
        yield BODY

    many = [asyncio.ensure_future(receiver.take_stream(SECRET, JSON, body())) for _ in range(200)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert receiver.counts["size"] == 200 - 71
    assert receiver._held <= 64 * 1000
    goes_on.set()
    assert sum(status == 204 for status in await asyncio.gather(*many)) == 71
    assert receiver._held == 0
    assert receiver.take(SECRET, JSON, BODY) == 204


async def test_a_client_that_goes_away_leaves_nothing_behind(receiver: Receiver, sink: Sink) -> None:
    """A body that breaks off is no callback."""
    async with serving(receiver) as base:
        host, port = base.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head(base, SECRET, "Content-Length: 60") + BODY[:10])
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        assert receiver._held == 0
    assert sink.taken == []


async def test_huge_headers_and_broken_http(receiver: Receiver, sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    """What is no HTTP is refused by the server itself, and nothing of the secret is told or logged."""
    async with serving(receiver) as base:
        for request in (
            head(base, SECRET, "X: " + "x" * 100_000),
            head(base, "x" * 100_000),
            head(base, SECRET, "Transfer-Encoding: chunked") + b"zz\r\n",
            head(base, SECRET, "Content-Length: -1"),
            b"\x00" * 1000,
        ):
            answer = await raw(base, request)
            assert b" 400 " in answer.partition(b"\r\n")[0] or answer.startswith(b"HTTP/1.1 404")
            assert SECRET.encode() not in answer
    assert sink.taken == []
    assert SECRET not in caplog.text


def test_a_secret_is_compared_in_constant_time(receiver: Receiver) -> None:
    """A guess with many right characters takes as long as one with none."""

    def took(guess: str) -> float:
        best = []
        for _ in range(30):
            began = time.perf_counter()
            for _ in range(200):
                receiver.knows(guess)
            best.append(time.perf_counter() - began)
        return statistics.median(sorted(best)[:10])

    near, far = SECRET[:-1] + "x", "x" * len(SECRET)
    assert min(took(near) / took(far) for _ in range(5)) < 1.2
    assert receiver.knows(SECRET)
    assert not any(map(receiver.knows, (near, far, None, "", "\ud800")))


async def test_the_body_is_not_touched_before_the_secret_is_right(receiver: Receiver) -> None:
    """A stream is not even begun where the secret, or the type, is wrong."""

    async def body() -> AsyncIterator[bytes]:
        begun.append(1)
        yield BODY

    begun: list[int] = []
    assert await receiver.take_stream("wrong", JSON, body()) == 404
    assert await receiver.take_stream(None, JSON, body()) == 404
    assert await receiver.take_stream(SECRET, "text/html", body()) == 404
    assert begun == []
    assert await receiver.take_stream(SECRET, JSON, body()) == 204


# The secret.


def test_a_secret_of_ones_own_is_strong_and_stands_in_a_url_as_it_is(sink: Sink) -> None:
    """Too short, too long, too simple, or with other characters: refused, and not shown. Else it is taken."""
    unfit = (SECRET + "/", SECRET + "é", SECRET + "%20", SECRET + "\n")
    for bad in ("", "hunter2", SECRET[:21], SECRET * 9, "a" * 40, "ab" * 20, *unfit):
        with pytest.raises(UsageError) as caught:
            Receiver(sink, secret=bad)
        assert not bad or bad not in str(caught.value)
    for wrong in (5, b"x" * 30, ["x"]):
        with pytest.raises(UsageError):
            Receiver(sink, secret=wrong)  # type: ignore[arg-type]
    assert Receiver(sink, secret=SECRET).knows(SECRET)


def test_secrets_that_are_made_differ_and_are_strong(sink: Sink) -> None:
    """Each receiver has a secret of its own that could be given to another."""
    made = {Receiver(sink).url_for("https://a.test").rpartition("/")[2] for _ in range(50)}
    assert len(made) == 50
    assert min(map(len, made)) >= 43
    for secret in made:
        Receiver(sink, secret=secret)


@pytest.mark.parametrize("base", ["", "a.test", "ftp://a.test", "https://", "https://a.test/#x", None, 5, "http://[x"])
def test_a_url_needs_a_base(receiver: Receiver, base: Any) -> None:
    """The base is an http or https URL with a host."""
    with pytest.raises(UsageError) as caught:
        receiver.url_for(base)
    assert SECRET not in str(caught.value)


def test_the_urls(receiver: Receiver) -> None:
    """The secret is the last part of the path, or a parameter; what the base has stays."""
    assert receiver.url_for("https://a.test") == f"https://a.test/{SECRET}"
    assert receiver.url_for("https://a.test/hooks/?a=1") == f"https://a.test/hooks/{SECRET}?a=1"
    assert receiver.url_for("https://a.test/hooks", query=True) == f"https://a.test/hooks?secret={SECRET}"
    assert receiver.url_for("https://a.test/?a=1", query=True) == f"https://a.test/?a=1&secret={SECRET}"


@pytest.mark.parametrize(
    "wrong", [{"sink": None}, {"max_bytes": 0}, {"max_bytes": 1.5}, {"timeout": 0}, {"timeout": None}]
)
def test_wrong_arguments(wrong: dict[str, Any]) -> None:
    """They are a `UsageError`, at once."""
    with pytest.raises(UsageError):
        Receiver(**{"sink": print, **wrong})


async def test_the_secret_is_shown_nowhere(receiver: Receiver, sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    """Not in reprs, errors and answers, nor in any log at its most talkative, aiohttp's own included."""
    caplog.set_level(logging.DEBUG)
    sink.error = ZeroDivisionError("a mistake")
    async with serving(receiver, "/hooks") as base:
        for url in (receiver.url_for(base), receiver.url_for(base, query=True), f"{base}/{SECRET}x"):
            answer = await raw(base, head(base, SECRET, "Content-Length: 2") + b"{}")
            assert SECRET.encode() not in answer
            assert SECRET not in str(await post(url))
            assert SECRET not in str(await post(url, b"rubbish"))
    lines = [record for record in caplog.records if record.name == "aiohttp.access"]
    assert len(lines) == 9
    assert all(SECRET not in str(vars(record)) for record in caplog.records)
    assert SECRET not in f"{receiver!r} {receiver}"


def test_a_receiver_that_is_gone_leaves_no_filter_behind(sink: Sink) -> None:
    """The mask of its secret in aiohttp's access log goes with it."""
    logger = logging.getLogger("aiohttp.access")
    gc.collect()
    before = list(logger.filters)
    receiver = Receiver(sink)
    receiver.application()
    assert len(logger.filters) == len(before) + 1
    del receiver
    gc.collect()
    assert logger.filters == before


# Other frameworks.


async def test_take_within_an_asgi_application(receiver: Receiver, sink: Sink) -> None:
    """A bare ASGI application, which is what FastAPI and Starlette are made of, takes callbacks in a few lines."""

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def stream() -> AsyncIterator[bytes]:
            more = True
            while more:
                message = await receive()
                more = message.get("more_body", False)
                yield message.get("body", b"")

        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        secret = scope["path"].rpartition("/")[2]
        status = await receiver.take_stream(secret, headers.get("content-type"), stream())
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def call(secret: str, *pieces: bytes) -> int:
        messages = [{"body": piece, "more_body": True} for piece in pieces] + [{}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"path": f"/hooks/{secret}", "headers": [(b"content-type", JSON.encode())]}
        await application(scope, receive, send)
        status: int = sent[0]["status"]
        return status

    assert await call(SECRET, BODY[:5], BODY[5:]) == 204
    assert await call(SECRET, *[b"x" * 1000] * 11) == 404
    assert await call("wrong", BODY) == 404
    assert sink.taken == [3432]


def test_take_within_a_framework_that_has_read_the_body(receiver: Receiver, sink: Sink) -> None:
    """What was read already is taken as it is, in the shape of any handler: a secret, a header, bytes."""

    def handler(path: dict[str, str], headers: dict[str, str], body: bytes) -> tuple[int, str]:
        return receiver.take(path.get("secret"), headers.get("Content-Type"), body), ""

    assert handler({"secret": SECRET}, {"Content-Type": JSON}, BODY) == (204, "")
    assert handler({"secret": "wrong"}, {"Content-Type": JSON}, BODY) == (404, "")
    assert handler({}, {}, BODY) == (404, "")
    assert handler({"secret": SECRET}, {}, b" " * 10_001) == (404, "")
    assert handler({"secret": SECRET}, {}, json.dumps({"taskId": 5}).encode()) == (204, "")
    assert sink.taken == [3432, 5]


def test_the_session_is_a_sink() -> None:
    """`Session.notify` has the shape of a sink."""
    assert isinstance(Receiver(omgmj.Session("t").notify), Receiver)
