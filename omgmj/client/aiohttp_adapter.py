"""The transport over the network: aiohttp takes plain values and gives plain values.

It decides nothing: the meaning of an answer is `protocol`'s business, its time and its repetition are `exchange`'s.
Every exception of aiohttp leaves as one of ours, with its text only: aiohttp's own exceptions carry the request's
headers, and so the token.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import aiohttp
import yarl
from aiohttp import hdrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_writer import StreamWriter
from multidict import CIMultiDict

from omgmj.client.cancellation import as_failure
from omgmj.client.connections import own_session
from omgmj.client.names import look_up
from omgmj.client.proxies import NO_PROXIES, Proxies
from omgmj.client.secrets import Secret
from omgmj.client.ssrf import ForbiddenTarget, check_address, check_target
from omgmj.client.timer import PAUSE
from omgmj.client.transport import Stream
from omgmj.errors import DecodeError, ExchangeTimeout, OmgmjError, TransportError, UsageError
from omgmj.protocol.messages import FORM, KEPT_HEADERS, Answer, Fate, Passage, Request

MAX_ANSWER = 8 * 1024 * 1024
"""Bytes of an answer that are read at most; a page of 20 records is some 60 kB."""
CHUNK = 64 * 1024
CONNECT = 15.0
"""Seconds that a connection for a stream may take to be made."""
OPENING = 30.0
"""Seconds in which a stream's head must have come, connection and all, however many lines it has."""
IDLE = 30.0
"""Seconds that a stream may go without a byte."""
MOST_URLS = 256
"""URLs that are kept made; each page of the list has its own."""

E = TypeVar("E", bound=BaseException)
Http = aiohttp.ClientSession | Callable[[], aiohttp.ClientSession]


class HttpTransport:
    """The transport over the network.

    `http` is None (a session of our own, made at the first use), a borrowed `aiohttp.ClientSession` (never closed), or
    a callable that makes one (closed with us). `max_in_flight` sizes the connection pool of a session of our own, and
    `proxies` are where it goes by. `loopback` lets streams go to this machine, over http too; without it they go to
    public addresses only, over https.
    """

    def __init__(
        self,
        http: Http | None = None,
        *,
        max_in_flight: int = 64,
        loopback: bool = False,
        proxies: Proxies = NO_PROXIES,
    ) -> None:
        self._http = http
        self._loopback = loopback
        self._max_in_flight = max_in_flight
        self._proxies = proxies
        self._client: aiohttp.ClientSession | None = None
        self._guarded: aiohttp.ClientSession | None = None
        self._streams: asyncio.Semaphore | None = None
        self._urls: dict[tuple[str, str], tuple[yarl.URL, str | None]] = {}
        self._token: Secret | None = None
        self._made_headers: CIMultiDict[str] = CIMultiDict()

    @property
    def limit(self) -> int | None:
        """The smallest bound of the connection pool; None where it has none."""
        connector = self._open().connector
        bounds = [bound for bound in (connector.limit, connector.limit_per_host) if bound] if connector else []
        return min(bounds, default=None)

    async def send(self, base_url: str, request: Request, token: Secret, passage: Passage | None = None) -> Answer:
        """Send `request` and return the whole answer, or raise `TransportError` or `DecodeError`."""
        if passage is not None:
            passage.fate = Fate.UNSENT  # Until `_Submitted` begins to leave.
        client = self._open()
        try:
            way = self._urls.get((base_url, request.path))
            if way is None:
                if len(self._urls) >= MOST_URLS:
                    self._urls.clear()
                whole = base_url + request.path
                way = self._urls[base_url, request.path] = (yarl.URL(whole), self._proxies.by(whole))
            url, proxy = way
            again = request.idempotent
            response = await client.request(
                request.method,
                url,
                data=request.body if again else _Submitted(request, passage or Passage()),
                # A host that is named keeps a connection apart from those that idle and may be dead; it is not kept.
                server_hostname=None if again else url.host,
                headers=self._headers(token, request),
                proxy=proxy,
                **_SETTINGS,
            )
            # No `async with`, which costs four coroutines; what is left in the middle is closed by this as well.
            try:
                content = response.content
                # As a rule all of the answer has come by now.
                body = content.read_nowait() if content.is_eof() else await _read(response)
                return Answer(response.status, _headers(response), body)
            finally:
                if again:
                    response.release()
                else:
                    response.close()  # Whatever becomes of it, the next one finds no connection that was used.
        except BaseException as error:  # noqa: BLE001 (whatever it is must not leave with the token in it)
            ours = _cut(_ours(error, token) if isinstance(error, Exception) else error)
        # Raised out here: inside the block aiohttp's exception, headers and all, would hang on it as its context.
        raise ours

    @asynccontextmanager
    async def stream(self, url: str) -> AsyncIterator[Stream]:
        """GET `url` without the token and without following redirects; `ForbiddenTarget` where it may not go.

        `ExchangeTimeout` after `CONNECT` seconds without a connection, `OPENING` without a whole head, or `IDLE`
        without a byte.
        """
        if self._streams is None:
            self._streams = asyncio.Semaphore(min(self._max_in_flight, self.limit or self._max_in_flight))
        # No time runs while it waits for a place.
        async with self._streams, await self._get(url) as response:
            headers = _headers(response)
            if hdrs.CONTENT_ENCODING in response.headers:
                headers.pop("content-length", None)  # It counts the packed bytes.
            yield Stream(response.status, headers, _chunks(response))

    async def aclose(self) -> None:
        """Close the session, unless it is borrowed."""
        if self._guarded is not None:
            await self._guarded.close()
        if self._client is not None and self._client is not self._http:
            await self._client.close()

    async def _get(self, url: str) -> aiohttp.ClientResponse:
        try:
            client, target = self._open(), _target(url)
            is_name = check_target(target.scheme, target.host, loopback=self._loopback)
            proxy = None if self._http is not None else self._proxies.by(url)
            async with as_failure(), asyncio.timeout(OPENING):
                if self._http is None:
                    client = client if proxy else self._guard()
                    return await client.request("GET", target, proxy=proxy, **_STREAMING)
                if not is_name or client.trust_env or client._default_proxy:  # noqa: SLF001 (nothing else tells)
                    return await client.request("GET", target, **_STREAMING)
                return await self._get_by_name(client, target)
        except Exception as error:  # noqa: BLE001 (as in send)
            ours = _ours(error)
        raise ours

    async def _get_by_name(self, client: aiohttp.ClientSession, target: yarl.URL) -> aiohttp.ClientResponse:
        """GET through a session that is not of our making: it is led to the addresses that were checked."""
        host = target.raw_host or ""
        try:
            found = [address for _, _, address, _ in await look_up(host, target.port or 0)]
        except OSError:
            return await client.request("GET", target, **_STREAMING)  # Only its own connector knows the name, if any.
        for address in found:
            check_address(host, address, loopback=self._loopback)
        headers = _STREAMING["headers"] | {hdrs.HOST: target.authority}
        settings = _STREAMING | {"headers": headers, "server_hostname": host}
        for address in found[:-1]:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                return await client.request("GET", target.with_host(address), **settings)
        return await client.request("GET", target.with_host(found[-1]), **settings)

    def _headers(self, token: Secret, request: Request) -> CIMultiDict[str]:
        """Return the headers of a request; kept made, as aiohttp takes long to make them of a plain dict."""
        if token is not self._token:
            self._made_headers = CIMultiDict(
                {
                    hdrs.AUTHORIZATION: f"Bearer {token.reveal()}",
                    hdrs.CONTENT_TYPE: FORM,
                    hdrs.ACCEPT: "application/json",
                    # Answers are small, and a borrowed session may have decompression switched off.
                    hdrs.ACCEPT_ENCODING: "identity",
                }
            )
            self._token = token
        if request.content_type == FORM:
            return self._made_headers
        headers = self._made_headers.copy()
        headers[hdrs.CONTENT_TYPE] = request.content_type
        return headers

    def _open(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = self._make()
        if self._client.closed:
            raise UsageError("the aiohttp session that omgmj was to use is closed")
        return self._client

    def _guard(self) -> aiohttp.ClientSession:
        """Return a session of our own that connects to public addresses only."""
        if self._guarded is None:
            guard = partial(check_address, loopback=self._loopback)
            self._guarded = own_session(limit=0, check=guard)
        return self._guarded

    def _make(self) -> aiohttp.ClientSession:
        if self._http is None:
            return own_session(limit=self._max_in_flight)
        client: object = self._http() if callable(self._http) else self._http
        if not isinstance(client, aiohttp.ClientSession):
            if inspect.iscoroutine(client):
                client.close()  # Nobody is going to await it.
            raise UsageError(
                f"http must be an aiohttp.ClientSession or a callable that makes one, not {type(client).__name__}"
            )
        if client.auth is not None or "Authorization" in client.headers:
            if client is not self._http:
                client.detach()  # It has no connection yet, and nobody is going to close it.
            raise UsageError(
                "the aiohttp session has an auth or an Authorization header of its own: it clashes with the bearer"
                " token, and would go with downloads"
            )
        return client


class _Submitted(aiohttp.Payload):
    """The body of what must not be sent twice: tells how far it has left, and ends its connection.

    It is written piece by piece, as it may hold images.
    """

    _value: bytes | bytearray
    _autoclose = True

    def __init__(self, request: Request, passage: Passage) -> None:
        super().__init__(request.body, content_type=request.content_type)
        self._size = len(request.body)
        self._passage = passage

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:  # noqa: ARG002 (it is that of the body)
        self._passage.fate = Fate.PARTIAL
        if isinstance(writer, StreamWriter) and isinstance(writer.protocol, ResponseHandler):
            writer.protocol.force_close()
        whole = memoryview(self._value)
        for start in range(0, len(whole), CHUNK):
            if start + CHUNK >= len(whole):
                self._passage.fate = Fate.SENT  # Without its last piece nobody can act on it.
            await writer.write(whole[start : start + CHUNK])


# Said with every request, so that a borrowed session's own settings do not count: one that raises for a status hides
# the answer, a middleware that retries would send again what must not be sent twice, and the bound of an exchange is
# `exchange`'s.
_SETTINGS: dict[str, Any] = {
    "allow_redirects": False,
    "raise_for_status": False,
    "middlewares": (),
    "timeout": aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
}

# What is bounded in other ways here is the other side's silence.
_STREAMING: dict[str, Any] = _SETTINGS | {
    "headers": {hdrs.ACCEPT: "image/*", hdrs.ACCEPT_ENCODING: "identity"},
    "timeout": aiohttp.ClientTimeout(total=None, connect=None, sock_connect=CONNECT, sock_read=None),
    # No more is read while so much is left that nobody took. It comes in pieces of up to 256 KiB, each of which is
    # there several times over while it is decrypted; aiohttp itself would gather three.
    "read_bufsize": CHUNK,
}


def _target(url: str) -> yarl.URL:
    try:
        return yarl.URL(url)
    except ValueError as error:
        raise ForbiddenTarget(f"this is no URL: {error}") from None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts = []
    size = 0
    async for part in response.content.iter_chunked(CHUNK):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER:
            raise DecodeError(f"the answer is larger than {MAX_ANSWER} bytes; it was not read to its end")
    return b"".join(parts)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    ours: OmgmjError | None = None
    clock = asyncio.get_running_loop().time
    try:
        while True:
            # A bound of our own: aiohttp's does not hold after a chunk whose size cannot be read.
            until = clock() + IDLE
            try:
                async with as_failure(), asyncio.timeout_at(until):
                    part = await response.content.readany()  # As it came: pieces would be copies.
            except TimeoutError:
                if clock() < until + PAUSE:
                    raise
                continue  # The process stood still: what came meanwhile is still to be read.
            if not part:
                return
            yield part
            del part  # Not to be held while the next one comes.
    except TimeoutError:
        ours = ExchangeTimeout(f"no byte came for {IDLE:g} s")
    except Exception as error:  # noqa: BLE001 (as in send)
        ours = _ours(error)
    if ours is not None:
        raise ours


# aiohttp's own names are found without being put into lower case each time.
_KEPT = [(name, getattr(hdrs, name.upper().replace("-", "_"))) for name in KEPT_HEADERS]


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    got = response.headers
    return {name: value for name, known in _KEPT if (value := got.get(known)) is not None}


# Where a message of aiohttp's begins to quote what the service sent. A quotation may be cut, in the middle of a token
# that the service tells back, where no masking finds it.
_QUOTATION = re.compile(r"""(?<!\w)b?['"]""")


def _cut(error: E) -> E:
    """Return an error without the frames that it came through: in their variables stands the token."""
    error.__context__ = None
    return error.with_traceback(None)


def _is_for_good(error: Exception) -> bool:
    """Whether asking again would not help, as far as an error tells."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return error.os_error.errno == socket.EAI_NONAME
    return isinstance(error, aiohttp.ClientConnectorCertificateError)


def _ours(error: Exception, token: Secret | None = None) -> OmgmjError:
    if isinstance(error, OmgmjError):
        return error
    kind: type[OmgmjError] = ExchangeTimeout if isinstance(error, TimeoutError) else TransportError
    if isinstance(error, aiohttp.ClientHttpProxyError):
        text = f"the proxy refused the connection: HTTP {error.status}"
    elif isinstance(error, aiohttp.ClientResponseError):
        said = _QUOTATION.split(error.message, maxsplit=1)[0].rstrip(": \n")
        text = f"the answer is no HTTP that can be read: {said or type(error).__name__}"
    elif isinstance(error, ValueError | TypeError) and not isinstance(error, aiohttp.ClientError):
        # aiohttp refuses the request itself, such as a netrc entry beside the bearer token.
        kind, text = UsageError, f"aiohttp refused the request: {error}"
    elif isinstance(error, aiohttp.ServerDisconnectedError) and error.args and not isinstance(error.args[0], str):
        text = "ServerDisconnectedError: Server disconnected in the middle of the headers"  # Here it quotes them all.
    else:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    text = " ".join(text.split())
    ours = kind(token.scrub(text) if token else text)
    if isinstance(ours, TransportError):
        ours.for_good = _is_for_good(error)
    return ours
