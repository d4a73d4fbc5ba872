"""Connections of our own: none is used again on which more has come, and downloads connect to public addresses only."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from typing import Any

import aiohttp
import pytest
import trustme

from omgmj.client.aiohttp_adapter import OPENING, HttpTransport
from omgmj.client.names import look_up
from omgmj.client.secrets import Secret
from omgmj.client.ssrf import ForbiddenTarget
from omgmj.errors import ExchangeTimeout, TransportError
from omgmj.protocol.messages import page_request
from tests.client.raw_server import raw


def answer(page: str) -> bytes:
    body = json.dumps({"page": page}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.real_time
@pytest.mark.parametrize("late", [None, 0.0, 0.05, 0.3])
async def test_a_second_answer_is_not_the_next_calls(late: float | None) -> None:
    """A second answer closes the connection: at once, late, also one that the loop has not read yet."""
    peers = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal peers
        peers += 1
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(page_request(1, 20).body))
            page = answer(head.split(b"page=")[1].split(b"&")[0].decode())
            if late is None:
                writer.write(page + page)
                continue
            writer.write(page)
            await asyncio.sleep(late)
            writer.write(page)

    async with raw(handler) as url:
        transport = HttpTransport()
        try:
            for number in range(1, 6):
                got = await transport.send(url, page_request(number, 20), Secret("t"))
                assert json.loads(got.body) == {"page": str(number)}
                await asyncio.sleep(0.1)
                if late == 0.3:
                    await asyncio.sleep(0.2)
                    time.sleep(0.05)  # noqa: ASYNC251 (so that the loop does not read it before the next call)
        finally:
            await transport.aclose()
    assert peers == 5


@pytest.mark.real_time
async def test_a_connection_with_nothing_on_it_is_used_again() -> None:
    """What idles in order serves one call after the other; one that was closed meanwhile is replaced at once."""
    peers = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal peers
        peers += 1
        for _ in range(3):
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(page_request(1, 20).body))
            writer.write(answer("1"))

    async with raw(handler) as url:
        transport = HttpTransport()
        try:
            for _ in range(6):
                assert (await transport.send(url, page_request(1, 20), Secret("t"))).status == 200
                await asyncio.sleep(0.01)
        finally:
            await transport.aclose()
    assert peers == 2


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names that are looked up in here, each time the next of their addresses."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: Any, *rest: Any, **more: Any) -> Any:
        if host not in known:
            return real(host, port, *rest, **more)
        addresses = known[host].pop(0) if len(known[host]) > 1 else known[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port or 0)) for one in addresses.split("+")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.mark.real_time
async def test_the_address_that_is_connected_to_is_checked(names: dict[str, list[str]]) -> None:
    """A name that is public when it is asked for first, and inside a moment later, is refused before it is reached."""
    reached = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal reached
        reached += 1

    names["inside.test"] = ["127.0.0.1"]
    async with raw(handler) as url:
        port = url.rpartition(":")[2]
        transport = HttpTransport()
        try:
            for host in ("inside.test", "localhost", "127.0.0.1"):
                with pytest.raises(ForbiddenTarget, match="no public address"):
                    async with transport.stream(f"https://{host}:{port}/"):
                        pass
        finally:
            await transport.aclose()
    assert reached == 0


@pytest.mark.real_time
async def test_a_borrowed_session_is_led_to_what_was_checked(names: dict[str, list[str]]) -> None:
    """A borrowed session connects to an address that was checked, whatever the name leads to a moment later.

    The certificate and the Host header are those of the name; of several addresses the next one is tried.
    """
    ca, heads = trustme.CA(), list[bytes]()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("localhost").configure_cert(server)
    ca.configure_trust(client)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer("image"))

    async with (
        raw(handler, server) as url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client)) as http,
    ):
        transport = HttpTransport(http, loopback=True)
        port = url.rpartition(":")[2]
        names["localhost"] = ["10.1.2.3", "127.0.0.1"]
        with pytest.raises(ForbiddenTarget, match=r"10\.1\.2\.3"):
            async with transport.stream(f"https://localhost:{port}/"):
                pass
        names["localhost"] = ["127.0.0.1", "10.1.2.3"]
        async with transport.stream(f"https://localhost:{port}/a?b=1") as stream:
            assert stream.status == 200
        [head] = heads
        assert head.startswith(b"GET /a?b=1 HTTP/1.1\r\n")
        assert b"Host: localhost:%s\r\n" % port.encode() in head
        names["localhost"] = ["127.0.0.2+127.0.0.1"]  # Nothing listens at the first.
        async with transport.stream(f"https://localhost:{port}/") as stream:
            assert stream.status == 200
        with pytest.raises(TransportError):
            async with transport.stream("https://nowhere.invalid/"):
                pass


@pytest.mark.real_time
async def test_behind_a_proxy_of_somebodys_own_no_name_is_looked_up(names: dict[str, list[str]]) -> None:
    """A borrowed session with a proxy has the proxy look names up; the proxy itself may stand inside."""
    names["cdn.test"] = ["10.1.2.3"]
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")

    async with raw(handler) as url, aiohttp.ClientSession(proxy=url) as http:
        with pytest.raises(TransportError, match="the proxy refused"):
            async with HttpTransport(http).stream("https://cdn.test/"):
                pass
    assert asked == [b"CONNECT cdn.test:443 HTTP/1.1\r\n"]


@pytest.mark.parametrize("trickle", [b"X-A: a\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n", b"a"])
async def test_a_head_that_never_ends_is_bounded(trickle: bytes) -> None:
    """Header lines, interim answers, or a line that grows: what has no end is given up after some seconds."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if not trickle.startswith(b"HTTP"):
            writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(trickle)
            await asyncio.sleep(2.0)

    async with raw(handler) as url:
        transport = HttpTransport(loopback=True)
        began = asyncio.get_running_loop().time()
        try:
            with pytest.raises(ExchangeTimeout):
                async with transport.stream(url):
                    pass
        finally:
            await transport.aclose()
        assert asyncio.get_running_loop().time() - began == pytest.approx(OPENING, abs=0.1)


@pytest.mark.real_time
async def test_names_that_are_looked_up() -> None:
    """A name is found, or an OSError; who does not wait for it is not waited for."""
    assert ("127.0.0.1", 80) in [(address, port) for *_, address, port in await look_up("localhost", 80)]
    for nowhere in ("nowhere.invalid", "a" * 70 + ".invalid", "ü" * 70):
        with pytest.raises((OSError, UnicodeError)):
            await look_up(nowhere, 80)
    asking = asyncio.ensure_future(look_up("localhost", 80))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await asyncio.sleep(0.05)
