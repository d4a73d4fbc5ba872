"""A TCP proxy on loopback that harms answers on their way: it drops, resets, stalls, splits, repeats and swaps them."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

FAULTS = (
    "unasked",
    "drop",
    "drop_within",
    "reset",
    "reset_within",
    "stall",
    "stall_within",
    "bytes",
    "segments",
    "twice",
    "late",
    "swap",
)
"""What may befall an answer.

`unasked`: the connection ends before the request went on. `drop` and `reset` end it without a byte of the answer, in
order or with a reset; `stall` leaves it open for ever. The same `_within`: after a part of the answer. `bytes` and
`segments` bring all of it, in pieces. `twice` sends it two times in one go, `late` again half a second later, or before
the answer to the next request, should that have come by then. `swap` gives it to another connection, and that one's
here.
"""
MIX_UPS = frozenset({"late", "swap"})
"""Those by which an answer becomes another request's."""
PATIENCE = 2.0
"""Seconds for which an answer waits for another one to be swapped with."""
LATE = 0.5
"""Seconds after which an answer comes once more."""
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
_PATH = re.compile(rb" [^ ?]*/([^ ?/]+)[ ?]")


class Message(NamedTuple):
    """A request or an answer, as it came; `call` is the last part of a request's path."""

    call: str
    content: bytes


class FaultyProxy:
    """A proxy before the HTTP service at `upstream`, from when it is entered; each connection has one of its own there.

    `shares` has the share of answers that each fault befalls, and `MIX_UPS` those to `mixed_up` alone: calls by the
    last part of their path, such as `query`. Chance comes of `seed`.
    """

    def __init__(
        self, upstream: str, shares: Mapping[str, float], *, seed: int, mixed_up: frozenset[str] = frozenset()
    ) -> None:
        host, _, port = upstream.removeprefix("http://").partition(":")
        self._upstream = host, int(port)
        self._faults = [*shares, ""]
        self._weights = [*shares.values(), 1 - sum(shares.values())]
        self._chance = random.Random(seed)
        self._mixed_up = mixed_up
        self._waiting: tuple[bytes, asyncio.Future[bytes]] | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.url: str = ""
        self.requests: Counter[str] = Counter()
        """How many requests came, by call."""
        self.done: Counter[str] = Counter()
        """How often each fault was done."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=4096)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection(*self._upstream)
        coming = asyncio.ensure_future(read_message(reader))
        try:
            while request := await coming:
                self.requests[request.call] += 1
                fault = self._chance.choices(self._faults, self._weights)[0]
                if fault in MIX_UPS and request.call not in self._mixed_up:
                    fault = ""
                if fault == "unasked":
                    self.done[fault] += 1
                    break
                out.write(request.content)
                answer = await read_message(there)
                if answer is None:
                    break
                coming = asyncio.ensure_future(read_message(reader))
                content = answer.content
                if fault == "swap":
                    content = await self._swapped(content)
                elif fault:
                    self.done[fault] += 1
                if not await self._deliver(fault, content, writer, coming):
                    break
        finally:
            coming.cancel()
            out.transport.abort()
            writer.transport.abort()

    async def _swapped(self, answer: bytes) -> bytes:
        """Return the answer to another connection's request, which gets this one; this one where there is no other."""
        if self._waiting is not None and not self._waiting[1].done():
            other, mine = self._waiting
            self._waiting = None
            mine.set_result(answer)
            self.done["swap"] += 2
            return other
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting = answer, future
        try:
            async with asyncio.timeout(PATIENCE):
                return await future
        except TimeoutError:
            return answer
        finally:
            if self._waiting is not None and self._waiting[1] is future:
                self._waiting = None

    async def _deliver(
        self, fault: str, answer: bytes, writer: asyncio.StreamWriter, coming: asyncio.Future[Message | None]
    ) -> bool:
        """Bring an answer, or harm it; return whether the connection goes on. `coming` is the next request."""
        kind, _, within = fault.partition("_")
        part = answer[: self._chance.randrange(1, len(answer))] if within else b""
        match kind:
            case "drop" | "reset" | "stall":
                writer.write(part)
                if kind == "stall":
                    await coming  # It is done when the client has closed: on such a connection nothing more is asked.
                elif kind == "reset":
                    there: socket.socket = writer.get_extra_info("socket")
                    there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            case "bytes" | "segments":
                await self._in_pieces(answer, writer, most=1 if kind == "bytes" else 700)
            case "twice":
                writer.write(answer * 2)
            case _:
                writer.write(answer)
                if kind == "late":
                    await asyncio.wait([coming], timeout=LATE)
                    writer.write(answer)
        return True

    async def _in_pieces(self, answer: bytes, writer: asyncio.StreamWriter, *, most: int) -> None:
        """Write an answer in pieces of up to so many bytes; of a long one the rest in one go."""
        at = 0
        for _ in range(60):
            size = self._chance.randint(1, most)
            writer.write(answer[at : at + size])
            at += size
            if at >= len(answer):
                break
            await asyncio.sleep(0)
        writer.write(answer[at:])


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """Read one message of HTTP, whose length is told or which has no body; None where the connection has ended."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length, path = _LENGTH.search(head), _PATH.search(head)
        body = await reader.readexactly(int(length[1]) if length else 0)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return Message(path[1].decode() if path else "", head + body)
