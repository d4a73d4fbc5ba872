"""Moves plain values over HTTP: the only file that touches aiohttp's client.

It decides nothing: what an answer means is `protocol`'s business, how long it may take and whether it is sent again
`exchange`'s. Every exception of aiohttp leaves here as one of ours, with its text only: aiohttp's own exceptions
carry the request's headers, and so the token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, Protocol

import aiohttp
import yarl

from omgmj.errors import DecodeError, ExchangeTimeout, OmgmjError, TransportError, UsageError
from omgmj.models import Secret
from omgmj.protocol import FORM, KEPT_HEADERS, Answer, Request

MAX_ANSWER = 8 * 1024 * 1024
"""Bytes of an answer that are read at most; a page of 20 records is some 60 kB."""
CHUNK = 64 * 1024

Http = aiohttp.ClientSession | Callable[[], aiohttp.ClientSession]


class Stream(NamedTuple):
    """An answer whose body is still to come, in chunks."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class Transport(Protocol):
    """What carries a session's requests: plain values in, plain values out."""

    @property
    def limit(self) -> int | None:
        """How many requests it carries at once at most; None: no bound. Asked in the event loop."""

    async def send(self, base_url: str, request: Request, token: Secret) -> Answer:
        """Send `request` and return the whole answer, or raise `TransportError` or `DecodeError`."""

    def stream(self, url: str) -> AbstractAsyncContextManager[Stream]:
        """GET `url` without the token; leaving the context ends the transfer."""

    async def aclose(self) -> None:
        """Let go of all connections that are ours."""


class HttpTransport:
    """The transport over the network.

    `http` is None (a session of our own, made at the first use), a borrowed `aiohttp.ClientSession` (never closed), or
    a callable that makes one (closed with us). `max_in_flight` sizes the connection pool of a session of our own.
    """

    def __init__(self, http: Http | None = None, *, max_in_flight: int = 64) -> None:
        self._http = http
        self._max_in_flight = max_in_flight
        self._client: aiohttp.ClientSession | None = None
        self._urls: dict[tuple[str, str], yarl.URL] = {}

    @property
    def limit(self) -> int | None:
        """The smallest bound of the connection pool; None where it has none."""
        connector = self._open().connector
        bounds = [bound for bound in (connector.limit, connector.limit_per_host) if bound] if connector else []
        return min(bounds, default=None)

    async def send(self, base_url: str, request: Request, token: Secret) -> Answer:
        """Send `request` and return the whole answer, or raise `TransportError` or `DecodeError`."""
        client = self._open()
        url = self._urls.get((base_url, request.path))
        if url is None:
            url = self._urls[base_url, request.path] = yarl.URL(base_url + request.path)
        try:
            async with client.request(
                request.method,
                url,
                data=request.body,
                headers={
                    "Authorization": f"Bearer {token.reveal()}",
                    "Content-Type": FORM,
                    "Accept": "application/json",
                    # Answers are small, and a borrowed session may have decompression switched off.
                    "Accept-Encoding": "identity",
                },
                **_SETTINGS,
            ) as response:
                body = await _read(response)
                return Answer(response.status, _headers(response), body)
        except Exception as error:  # noqa: BLE001 (whatever aiohttp raises must not leave with the token in it)
            raise _ours(error, token) from None

    @asynccontextmanager
    async def stream(self, url: str) -> AsyncIterator[Stream]:
        """GET an https URL without the token and without following redirects."""
        target = yarl.URL(url)
        if target.scheme != "https":
            raise UsageError(f"only https is fetched, not {url!r}")
        try:
            response = await self._open().request("GET", target, **_SETTINGS)
        except Exception as error:  # noqa: BLE001 (as in send)
            raise _ours(error) from None
        async with response:
            yield Stream(response.status, _headers(response), _chunks(response))

    async def aclose(self) -> None:
        """Close the session, unless it is borrowed."""
        if self._client is not None and self._client is not self._http:
            await self._client.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = self._make()
        if self._client.closed:
            raise UsageError("the aiohttp session that omgmj was given is closed")
        return self._client

    def _make(self) -> aiohttp.ClientSession:
        if self._http is None:
            return aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_in_flight), cookie_jar=aiohttp.DummyCookieJar()
            )
        client = self._http if isinstance(self._http, aiohttp.ClientSession) else self._http()
        if not isinstance(client, aiohttp.ClientSession):
            raise UsageError(
                f"http must be an aiohttp.ClientSession or a callable that makes one, not {type(client).__name__}"
            )
        if client.auth is not None:
            raise UsageError("the aiohttp session has an auth of its own, which clashes with the bearer token")
        return client


# Said with every request, so that a borrowed session's own settings do not count: one that raises for a status hides
# the answer, a middleware that retries would send again what must not be sent twice, and the bound of an exchange is
# `exchange`'s.
_SETTINGS: dict[str, Any] = {
    "allow_redirects": False,
    "raise_for_status": False,
    "middlewares": (),
    "timeout": aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
}


async def _read(response: aiohttp.ClientResponse) -> bytes:
    length = response.content_length
    if length is not None and length <= MAX_ANSWER and "Content-Encoding" not in response.headers:
        return await response.read()
    parts = []
    size = 0
    async for part in response.content.iter_chunked(CHUNK):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER:
            response.close()
            raise DecodeError(f"the answer is larger than {MAX_ANSWER} bytes; it was not read to its end")
    return b"".join(parts)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for part in response.content.iter_chunked(CHUNK):
            yield part
    except Exception as error:  # noqa: BLE001 (as in send)
        raise _ours(error) from None


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    got = response.headers
    return {name: got[name] for name in KEPT_HEADERS if name in got}


def _ours(error: Exception, token: Secret | None = None) -> OmgmjError:
    if isinstance(error, OmgmjError):
        return error
    if isinstance(error, aiohttp.ClientResponseError):
        text = f"the answer is no HTTP that can be read: {error.message or type(error).__name__}"
    elif isinstance(error, ValueError | TypeError) and not isinstance(error, aiohttp.ClientError):
        # aiohttp refuses the request itself, such as a netrc entry beside the bearer token.
        text = f"aiohttp refused the request: {error}"
        return UsageError(token.scrub(text) if token else text)
    else:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if token:
        text = token.scrub(text)
    return ExchangeTimeout(text) if isinstance(error, asyncio.TimeoutError) else TransportError(text)
