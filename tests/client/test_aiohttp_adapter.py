"""The transport over real loopback connections: what is sent, what is read, and that no error tells the token."""

from __future__ import annotations

import asyncio
import gc
import gzip
import itertools
import json
import socket
import ssl
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web

import omgmj
from omgmj.client.aiohttp_adapter import MAX_ANSWER, HttpTransport
from omgmj.client.secrets import Secret
from omgmj.errors import DecodeError, ExchangeTimeout, OmgmjError, TransportError, UsageError
from omgmj.protocol.messages import Answer, Request, page_request, query_request
from omgmj.testing import FAULTS, FakeService, Fault, Life
from omgmj.testing.service.faults import OF_LIST, OF_WEBHOOKS
from tests.client.raw_server import raw

TOKEN = "sk-4711-very-secret"
REQUEST = query_request(3432)
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
OURS = str(Path(omgmj.__file__).parent)


# What the tests stand on


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None, **settings: Any) -> AsyncIterator[str]:
    """Serve `handler` on loopback; gives the base URL."""
    runner = web.ServerRunner(web.Server(handler, access_log=None, **settings), shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def answering(*parts: bytes, hangs: bool = False) -> AsyncIterator[str]:
    """Serve raw bytes, a segment a part, to whatever is asked, and close the connection; gives the base URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(REQUEST.body))
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.01)
        if hangs:
            await asyncio.get_running_loop().create_future()

    async with raw(answer) as url:
        yield url


@asynccontextmanager
async def transporting(http: Any = None, *, loopback: bool = True) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(http, loopback=loopback)
    try:
        yield transport
    finally:
        await transport.aclose()


async def send(transport: HttpTransport, url: str, request: Request = REQUEST) -> Answer:
    """Send one request, as an exchange would: within some seconds."""
    async with asyncio.timeout(30.0):
        return await transport.send(url, request, Secret(TOKEN))


def chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and all that hangs on it, shown or not."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and one not in seen:
            seen.append(one)
            todo += [one.__cause__, one.__context__]
    return iter(seen)


def check_secret(error: BaseException, token: str = TOKEN) -> None:
    """Check that an error tells the token nowhere, and that nothing of aiohttp's hangs on it."""
    assert token not in "".join(traceback.format_exception(error))
    for one in chain(error):
        assert not isinstance(one, aiohttp.ClientError), f"{one!r} hangs on {error!r}"
        for text in (str(one), repr(one), repr(one.args), repr(vars(one))):
            assert token not in text
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename.startswith(OURS):
                assert token not in repr(frame.f_locals)


async def failing(transport: HttpTransport, url: str, kind: type[OmgmjError] = TransportError) -> OmgmjError:
    """Send a request that must fail, and give its error, checked for the token."""
    with pytest.raises(kind) as caught:
        await send(transport, url)
    check_secret(caught.value)
    return caught.value


async def fine(_: web.BaseRequest) -> web.StreamResponse:
    return web.json_response({})


def connections(transport: HttpTransport) -> int:
    """Return how many connections lie idle in the pool."""
    connector = transport._client and transport._client.connector
    return sum(len(idle) for idle in connector._conns.values()) if connector else 0


# What is sent and read


async def test_request_to_the_letter() -> None:
    """Method, path, body bytes and headers go out as the contract says, and the answer comes back as plain values."""
    seen: list[Any] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        headers = {"Retry-After": "7", "X-Other": "left out", "Location": "/there"}
        return web.Response(status=418, body=b"\xff\x00body", headers=headers, content_type="text/plain")

    async with serving(handler) as url, transporting() as transport:
        answer = await send(transport, url + "/base")
    assert answer.status == 418
    assert answer.body == b"\xff\x00body"
    assert answer.headers["retry-after"] == "7"
    assert set(answer.headers) == {"date", "retry-after", "content-type", "content-length", "location"}
    [(method, path, headers, body)] = seen
    assert (method, path, body) == ("POST", "/base/api/v1/ai/draw/mj/query", b"model=midjourney&taskId=3432")
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert headers["Accept"] == "application/json"
    assert headers["Content-Length"] == str(len(body))
    assert "Cookie" not in headers


async def test_the_fake_service_has_nothing_to_refuse() -> None:
    """The strict fake service takes what is sent, and its record comes back whole."""
    async with FakeService(tasks=1, token=TOKEN) as fake, transporting() as transport:
        await fake.serve()
        answer = await send(transport, fake.url)
        assert json.loads(answer.body)["data"]["taskId"] == 3432
        assert not fake.refused


async def test_cookies_are_not_kept() -> None:
    """A cookie that the service sets does not come back to it."""
    cookies: list[str | None] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        cookies.append(request.headers.get("Cookie"))
        response = web.Response(body=b"{}")
        response.set_cookie("a", "b")
        return response

    async with serving(handler) as url, transporting() as transport:
        await send(transport, url)
        await send(transport, url)
    assert cookies == [None, None]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is an answer like any other: the token does not go where it points."""
    paths: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        paths.append(request.raw_path)
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    async with serving(handler) as url, transporting() as transport:
        answer = await send(transport, url)
    assert (answer.status, answer.headers["location"]) == (status, "/elsewhere")
    assert paths == [REQUEST.path]


@pytest.mark.parametrize("name", sorted(FAULTS.keys() - OF_LIST - OF_WEBHOOKS - {"no_image_yet"}))
async def test_every_fault_is_an_answer_or_one_of_our_errors(name: str) -> None:
    """Each fault of the fake service comes over loopback as an answer, a TransportError, or silence; none tells."""
    async with FakeService(token=TOKEN) as fake, transporting() as transport:
        await fake.serve()
        task_id = fake.add_task(Life.steps([(0, "NOT_START", None), (1, "IN_PROGRESS", "15%")]))
        fake.add_tasks(1)
        await asyncio.sleep(5.0)
        fake.inject(Fault(name, seconds=3.0))
        if name in {"drop_before_headers", "drop_after_headers", "cut_short"}:
            with pytest.raises(TransportError) as caught:
                await send(transport, fake.url, query_request(task_id))
            check_secret(caught.value)
            assert type(caught.value) is TransportError
        elif name in {"silence", "bad_chunk"}:
            with pytest.raises(TimeoutError):
                await send(transport, fake.url, query_request(task_id))
        else:
            answer = await send(transport, fake.url, query_request(task_id))
            assert TOKEN not in repr(answer)
        assert fake.injected == {name: 1}
        # And the next one is fine, on whatever connection.
        assert (await send(transport, fake.url, query_request(task_id))).status == 200


@pytest.mark.parametrize("name", sorted(OF_LIST))
async def test_every_fault_of_the_list_is_an_answer_to_who_asks_for_a_page(name: str) -> None:
    """Each fault of the list befalls the request for a page and no query, and comes as an answer that does not tell."""
    async with FakeService(token=TOKEN) as fake, transporting() as transport:
        await fake.serve()
        ids = [fake.add_task(Life.steps([(0, "NOT_START", None), (1, "IN_PROGRESS", "15%")])) for _ in range(3)]
        await asyncio.sleep(5.0)
        fake.inject(name)
        assert (await send(transport, fake.url, query_request(ids[0]))).status == 200
        assert fake.injected == {}
        answer = await send(transport, fake.url, page_request(1, 20))
        assert TOKEN not in repr(answer)
        assert fake.injected == {name: 1}
        assert (await send(transport, fake.url, page_request(1, 20))).status == 200


OK = b"HTTP/1.1 200 OK\r\n"
ECHO = TOKEN.encode()
BROKEN = {
    "bad status line": b"NOT HTTP AT ALL\r\n\r\n",
    "status line that tells the token": b"Bearer " + ECHO + b"\r\n\r\n",
    "bad status": b"HTTP/1.1 abc OK\r\n\r\n",
    "bad version": b"HTTP/9.9 200 OK\r\n\r\n",
    "bad length": OK + b"Content-Length: " + ECHO + b"\r\n\r\n{}",
    "negative length": OK + b"Content-Length: -2\r\n\r\n{}",
    "length beyond all bounds": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n" + ECHO + b"\r\nabc",
    "chunk beyond all bounds": OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nabc",
    "huge header": OK + b"X-A: " + ECHO * 3000 + b"\r\n\r\n",
    "many headers": OK + b"X-A: a\r\n" * 3000 + b"\r\n",
    "no header": OK + ECHO + b"\r\n\r\n",
    "bad gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde",
    "unknown brotli": OK + b"Content-Encoding: br\r\nContent-Length: 5\r\n\r\nabcde",
    "nothing": b"",
    "half a header that tells the token": OK + b"X-A: b\r\nX-B: " + ECHO[:-1],
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": OK + b"Content-Length: 10\r\n\r\n{}",
    "half a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "no last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_http_is_a_transport_error_that_tells_no_token(name: str) -> None:
    """Bytes that are no HTTP are a TransportError; text only, one line, short, without headers or token."""
    async with answering(BROKEN[name]) as url, transporting() as transport:
        error = await failing(transport, url)
    text = str(error)
    assert text
    assert len(text) < 250
    assert "\n" not in text
    assert not text.endswith((":", " "))
    assert "sk-4" not in text


@pytest.mark.parametrize("cut", range(1, 60))
async def test_any_cut_of_an_answer_is_a_transport_error(cut: int) -> None:
    """An answer that ends anywhere before its end is a TransportError."""
    whole = OK + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    async with answering(whole[: len(whole) - cut]) as url, transporting() as transport:
        await failing(transport, url)


async def test_no_connection_is_a_transport_error() -> None:
    """A port where nobody listens, and a server that is gone in mid-air, are TransportErrors."""
    async with answering(b"") as url:
        pass
    async with transporting() as transport:
        assert "Cannot connect" in str(await failing(transport, url))


async def test_a_proxy_that_refuses_is_named_as_such() -> None:
    """A proxy's 407 is a `TransportError` that names the proxy, and tells neither its password nor the token."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        assert asked.startswith(b"CONNECT fake.invalid:443 ")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    proxy = f"http://me:hidden@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, transporting(lambda: aiohttp.ClientSession(proxy=proxy)) as transport:
        error = await failing(transport, "https://fake.invalid")
    assert str(error) == "the proxy refused the connection: HTTP 407"
    check_secret(error)
    check_secret(error, "hidden")


async def test_a_certificate_that_is_not_trusted_is_a_transport_error() -> None:
    """A service whose certificate nobody vouches for gets no token: the connection is not made."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(server)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # The server's side of the handshake.
    async with serving(fine, server) as url, transporting() as transport:
        error = await failing(transport, url)
        assert "certificate" in str(error)
        assert isinstance(error, TransportError)
        assert error.for_good


@pytest.mark.parametrize(
    ("code", "for_good"), [(socket.EAI_NONAME, True), (socket.EAI_AGAIN, False), (socket.EAI_FAIL, False)]
)
@pytest.mark.real_time
async def test_a_host_that_is_not_known(monkeypatch: pytest.MonkeyPatch, code: int, for_good: bool) -> None:
    """A host that does not exist is told from a DNS that is out of order: asking again does not help."""

    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "not now")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with transporting() as transport:
        error = await failing(transport, "https://nowhere.invalid")
        assert isinstance(error, TransportError)
        assert error.for_good is for_good
    async with transporting() as transport:
        error = await failing(transport, "http://127.0.0.1:1")
        assert isinstance(error, TransportError)
        assert not error.for_good


async def test_a_timeout_of_aiohttps_own_is_an_exchange_timeout() -> None:
    """What times out below us, such as the operating system's connect, is an ExchangeTimeout."""

    class Slow(aiohttp.TCPConnector):
        async def connect(self, *_: Any, **__: Any) -> Any:
            raise aiohttp.ServerTimeoutError("waited in vain")

    async with aiohttp.ClientSession(connector=Slow()) as borrowed, transporting(borrowed) as transport:
        error = await failing(transport, "https://127.0.0.1", ExchangeTimeout)
        assert str(error).startswith("ConnectionTimeoutError: ")


@pytest.mark.parametrize("said", ["", f"told {TOKEN}", "two\nlines"])
async def test_any_exception_at_all_is_mapped(said: str) -> None:
    """Whatever is raised below, in a tracer too, leaves as a TransportError on one line, without the token."""

    async def raise_it(*_: object) -> None:
        raise OSError(said)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(raise_it)
    async with aiohttp.ClientSession(trace_configs=[trace]) as borrowed, transporting(borrowed) as transport:
        error = await failing(transport, "http://127.0.0.1:1")
        assert str(error) == " ".join(f"OSError: {said.replace(TOKEN, '***')}".split()).rstrip(": ")


async def test_a_token_of_a_few_letters_is_not_looked_for() -> None:
    """A test's token such as `t` stands in every word, and does not garble the texts of errors."""
    async with answering(b"") as url, transporting() as transport:
        with pytest.raises(TransportError, match="Server disconnected"):
            await transport.send(url, REQUEST, Secret("t"))


async def test_an_address_that_cannot_be_is_a_usage_error() -> None:
    """A URL that yarl refuses is a UsageError, raised from within."""
    async with transporting(loopback=False) as transport:
        with pytest.raises(UsageError):
            await send(transport, "https://" + "ü" * 70)
        for url in ("http://127.0.0.1/a", "ftp://a/b", "https://[::1", "https:///x", ""):
            with pytest.raises(UsageError):
                async with transport.stream(url):
                    pass


# How much is read


@pytest.mark.parametrize("framing", ["length", "chunks", "bomb", "to the end"])
async def test_answers_beyond_the_cap_are_not_read(framing: str) -> None:
    """An answer that is larger than the cap, however it is framed or packed, is a DecodeError, and is not read on."""
    sent = 0

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        piece = b" " * 65536
        if framing == "length":
            response.content_length = 40 * MAX_ANSWER
        elif framing == "chunks":
            response.enable_chunked_encoding()
        elif framing == "bomb":
            piece = gzip.compress(b" " * 20 * MAX_ANSWER)
            response.headers["Content-Encoding"] = "gzip"
            response.content_length = len(piece)
        else:
            response.force_close()
        await response.prepare(request)
        for _ in range(1 if framing == "bomb" else 40 * MAX_ANSWER // len(piece)):
            await response.write(piece)
            sent += len(piece)
        return response

    async with serving(handler) as url, transporting() as transport:
        error = await failing(transport, url, DecodeError)
        assert str(MAX_ANSWER) in str(error)
        assert connections(transport) == 0
    assert sent < 4 * MAX_ANSWER


async def test_answers_up_to_the_cap_are_read() -> None:
    """An answer as large as the cap is read whole: with a length, in chunks, and packed."""
    body = b" " * MAX_ANSWER

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(body=body)
        if "chunks" in request.raw_path:
            response.enable_chunked_encoding()
        if "packed" in request.raw_path:
            response = web.Response(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})
        return response

    async with serving(handler) as url, transporting() as transport:
        for base in ("", "/chunks", "/packed"):
            assert (await send(transport, url + base)).body == body


# Connections


async def test_a_thousand_error_answers_leave_one_connection() -> None:
    """After a thousand error answers the pool holds the one connection that served them all."""
    peers: set[object] = set()
    statuses = itertools.cycle([400, 401, 403, 404, 429, 500, 502, 302])

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        peers.add(request.transport and request.transport.get_extra_info("peername"))
        return web.Response(status=next(statuses), body=b"<html>no</html>")

    async with serving(handler) as url, transporting() as transport:
        for _ in range(1000):
            assert (await send(transport, url)).status >= 300
        assert connections(transport) == 1
    assert len(peers) == 1


async def test_an_answer_that_is_left_in_its_middle_is_closed() -> None:
    """Whatever ends a read early, a time that is over or an answer too large, no connection stays taken."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with transporting() as transport:
        async with answering(head, b"5\r\nhello\r\n", hangs=True) as url:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await transport.send(url, REQUEST, Secret(TOKEN))
        async with answering(head, b"%x\r\n" % (2 * MAX_ANSWER), b"x" * (MAX_ANSWER + 1), hangs=True) as url:
            with pytest.raises(DecodeError):
                await send(transport, url)
        connector = transport._open().connector
        assert isinstance(connector, aiohttp.TCPConnector)
        assert not connector._acquired


async def test_a_cancelled_request_gives_its_connection_up() -> None:
    """A request that is cancelled in the middle closes its connection, and leaves the transport fit for use."""
    async with FakeService(tasks=1, token=TOKEN) as fake, transporting() as transport:
        await fake.serve()
        fake.inject("silence", times=3)
        calls = [asyncio.create_task(send(transport, fake.url)) for _ in range(3)]
        while fake.requests < 3:  # noqa: ASYNC110 (nothing tells when they are in)
            await asyncio.sleep(0.01)
        for call in calls:
            call.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert connections(transport) == 0
        assert (await send(transport, fake.url)).status == 200


# Whose session it is


async def test_a_borrowed_session_stays_open_and_its_settings_do_not_matter() -> None:
    """A borrowed session that raises, retries and times out changes nothing, and is never closed."""
    asked = 0

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal asked
        if request.method == "POST":
            asked += 1
            await asyncio.sleep(2.0)
        return web.Response(status=503)

    async def retrying(request: aiohttp.ClientRequest, go: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        for _ in range(4):
            await go(request)
        return await go(request)

    async with (
        serving(handler) as url,
        aiohttp.ClientSession(
            raise_for_status=True,
            middlewares=(retrying,),
            timeout=aiohttp.ClientTimeout(total=1.0, sock_read=0.5),
            headers={"X-Mine": "stays", "Accept": "text/html"},
        ) as borrowed,
    ):
        transport = HttpTransport(borrowed)
        assert (await send(transport, url)).status == 503
        assert asked == 1
        await transport.aclose()
        assert not borrowed.closed
        with pytest.raises(aiohttp.ClientResponseError):
            await borrowed.get(url, middlewares=())


async def test_limits_of_the_pool() -> None:
    """The limit is the pool's smallest bound: our own is max_in_flight, a borrowed one's its connector's."""
    async with transporting() as transport:
        assert transport.limit == 64
    own = HttpTransport(max_in_flight=7)
    assert own.limit == 7
    await own.aclose()
    bounds = {(5, 0): 5, (0, 0): None, (9, 3): 3, (3, 9): 3, (0, 4): 4}
    for (total, per_host), limit in bounds.items():
        connector = aiohttp.TCPConnector(limit=total, limit_per_host=per_host)
        async with aiohttp.ClientSession(connector=connector) as borrowed:
            assert HttpTransport(borrowed).limit == limit


async def test_a_callable_makes_one_session_in_the_loop_that_is_closed_with_us() -> None:
    """A callable is called once, at first use, in the loop, and what it made is closed; unused it is never called."""
    made: list[aiohttp.ClientSession] = []

    def make() -> aiohttp.ClientSession:
        asyncio.get_running_loop()
        made.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=3)))
        return made[-1]

    await HttpTransport(make).aclose()
    assert not made
    async with serving(fine) as url, transporting(make) as transport:
        assert transport.limit == 3
        await asyncio.gather(*(send(transport, url) for _ in range(5)))
    assert len(made) == 1
    assert made[0].closed
    with pytest.raises(UsageError, match="closed"):
        await send(transport, url)


async def _a_coroutine() -> aiohttp.ClientSession:
    raise AssertionError("nobody awaits this")


@pytest.mark.parametrize("http", [lambda: None, lambda: "rubbish", _a_coroutine, 5, dict])
async def test_rubbish_for_a_session_is_a_usage_error(http: Any) -> None:
    """What is no session, and a callable that makes none, are UsageErrors; a coroutine is not left unawaited."""
    transport = HttpTransport(http)
    with pytest.raises(UsageError, match=r"aiohttp\.ClientSession"):
        await send(transport, "http://127.0.0.1:1")
    with pytest.raises(UsageError, match=r"aiohttp\.ClientSession"):
        _ = transport.limit
    with pytest.raises(UsageError, match=r"aiohttp\.ClientSession"):
        async with transport.stream("https://127.0.0.1:1"):
            pass
    await transport.aclose()
    gc.collect()


def _with_auth() -> aiohttp.ClientSession:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return aiohttp.ClientSession(auth=aiohttp.BasicAuth("me", "mine"))


def _with_header() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers={"authorization": "Basic bWU6bWluZQ=="})


@pytest.mark.parametrize("make", [_with_auth, _with_header])
async def test_a_session_with_an_auth_of_its_own_is_refused(make: Callable[[], aiohttp.ClientSession]) -> None:
    """A session's own auth clashes with the token: a UsageError, which closes no borrowed one and leaks no made one."""
    async with make() as borrowed:
        transport = HttpTransport(borrowed)
        with pytest.raises(UsageError, match="clashes"):
            await send(transport, "http://127.0.0.1:1")
        await transport.aclose()
        assert not borrowed.closed
    with pytest.raises(UsageError, match="clashes"):
        _ = HttpTransport(make).limit
    gc.collect()


async def test_a_closed_borrowed_session_is_a_usage_error() -> None:
    """A borrowed session that was closed, before or between requests, is a UsageError that says so."""
    async with serving(fine) as url:
        async with aiohttp.ClientSession() as borrowed:
            transport = HttpTransport(borrowed)
            assert (await send(transport, url)).status == 200
        with pytest.raises(UsageError, match="closed"):
            await send(transport, url)
        with pytest.raises(UsageError, match="closed"):
            _ = HttpTransport(borrowed).limit
        await transport.aclose()


@pytest.mark.real_time
async def test_a_netrc_entry_beside_the_token_is_a_clear_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that reads netrc, with an entry for the host, is a UsageError that says what clashes."""
    entry = tmp_path / "netrc"
    entry.write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(entry))
    async with (
        serving(fine) as url,
        aiohttp.ClientSession(trust_env=True) as borrowed,
        transporting(borrowed) as transport,
    ):
        error = await failing(transport, url, UsageError)
        assert "AUTHORIZATION" in str(error)
        entry.write_text("")
        assert (await send(transport, url)).status == 200


# Streams


class Secured:
    """TLS on loopback: a context for the server, and a session that trusts it."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._trusting = ssl.create_default_context()
        authority.issue_cert("127.0.0.1").configure_cert(self.server)
        authority.configure_trust(self._trusting)

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._trusting), raise_for_status=True)


@pytest.fixture(scope="module")
def secured() -> Secured:
    return Secured()


async def test_a_stream_comes_in_chunks_without_the_token(secured: Secured) -> None:
    """A download is fetched by GET over TLS, in chunks as they come, and nothing of ours goes with it."""
    seen: list[dict[str, str]] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(dict(request.headers))
        assert request.method == "GET"
        response = web.StreamResponse(headers={"Content-Type": "image/png"})
        await response.prepare(request)
        for part in (b"one", b"two", b"three"):
            await response.write(part)
            await asyncio.sleep(1.0)
        return response

    async with serving(handler, secured.server) as url, transporting(secured.session) as transport:
        async with transport.stream(url + "/image.png?ex=1&is=%2F") as stream:
            assert stream.status == 200
            assert stream.headers["content-type"] == "image/png"
            assert [part async for part in stream.chunks] == [b"one", b"two", b"three"]
        assert connections(transport) == 1
    assert "Authorization" not in seen[0]
    assert TOKEN not in repr(seen)


async def test_stream_and_send_share_a_session_but_not_the_token(secured: Secured) -> None:
    """After the API was asked on a connection, a download from the same host still goes without the token."""
    seen: list[str | None] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return web.Response(body=b"{}")

    async with serving(handler, secured.server) as url, transporting(secured.session) as transport:
        await send(transport, url)
        async with transport.stream(url + "/image") as stream:
            assert b"".join([part async for part in stream.chunks]) == b"{}"
    assert seen == [f"Bearer {TOKEN}", None]


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_a_stream_is_not_redirected_and_does_not_raise_for_a_status(status: int, secured: Secured) -> None:
    """What a download answers is the caller's to judge: no redirect is followed, no status raises."""
    paths: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        paths.append(request.raw_path)
        return web.Response(status=status, headers={"Location": "https://127.0.0.1:1/elsewhere"})

    async with (
        serving(handler, secured.server) as url,
        transporting(secured.session) as transport,
        transport.stream(url + "/image") as stream,
    ):
        assert stream.status == status
        assert [part async for part in stream.chunks] == []
    assert paths == ["/image"]


async def test_only_https_is_streamed() -> None:
    """A download over plain http is refused before anything is sent, to this machine too unless that is allowed."""
    async with serving(fine) as url, transporting(loopback=False) as transport:
        with pytest.raises(UsageError, match="https"):
            async with transport.stream(url):
                pass


async def test_a_broken_stream_is_a_transport_error(secured: Secured) -> None:
    """A transfer that breaks off raises a TransportError of ours, after the chunks that came."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 1000
        await response.prepare(request)
        await response.write(b"half")
        await asyncio.sleep(0.5)
        assert request.transport
        request.transport.abort()
        return response

    async with serving(handler, secured.server) as url, transporting(secured.session) as transport:
        async with transport.stream(url) as stream:
            assert await anext(stream.chunks) == b"half"
            with pytest.raises(TransportError) as caught:
                await anext(stream.chunks)
            check_secret(caught.value)
        assert connections(transport) == 0
    async with transporting(secured.session) as transport:
        with pytest.raises(TransportError) as caught:
            await transport.stream(url).__aenter__()
        check_secret(caught.value)


async def test_a_stream_that_is_left_early_is_cut_off(secured: Secured) -> None:
    """Leaving the context, by an exception too, ends the transfer and keeps no half-read connection."""
    cut = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 65536)
                await asyncio.sleep(0.01)
        except (ConnectionError, asyncio.CancelledError):
            cut.set()
            raise

    async with (
        serving(handler, secured.server, handler_cancellation=True) as url,
        transporting(secured.session) as transport,
    ):

        async def leave() -> None:
            async with transport.stream(url) as stream:
                async for _ in stream.chunks:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await leave()
        async with asyncio.timeout(10.0):
            await cut.wait()
        assert connections(transport) == 0
