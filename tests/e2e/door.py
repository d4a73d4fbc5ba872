"""A door to a service on loopback, one of several: it is well, silent, closed, or answers with a gateway's 502."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import TracebackType
from typing import Literal, Self

from tests.e2e.faulty_proxy import read_message

PAGE = b"<html>Bad Gateway</html>"
GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(PAGE), PAGE)
State = Literal["well", "silent", "502", "shut after reading"]


class Door:
    """One address of the service at `upstream`. At any time its `state` may be changed, and it be closed and opened."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.removeprefix("http://").partition(":")
        self._upstream = host, int(port)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self.state: State = "well"
        self.requests: Counter[str] = Counter()
        """How many requests came, by the last part of their path."""
        self.connections: int = 0

    @property
    def url(self) -> str:
        """Its base URL, which stays."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen, at the same port each time."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, backlog=4096)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and cut off all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        left = tuple(self._connections)
        for connection in left:
            connection.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection(*self._upstream)
        try:
            while request := await read_message(reader):
                self.requests[request.call] += 1
                if self.state == "502":
                    writer.write(GATEWAY)
                    continue
                if self.state == "silent":
                    await read_message(reader)  # It is done when the client has closed.
                    break
                out.write(request.content)
                answer = await read_message(there)
                if answer is None or self.state == "shut after reading":
                    break
                writer.write(answer.content)
        finally:
            out.transport.abort()
            writer.transport.abort()
