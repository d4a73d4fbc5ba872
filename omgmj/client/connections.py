"""Connections of our own sessions of aiohttp: where they may lead, and which of them may be used again."""

from __future__ import annotations

import asyncio
import select
import socket
import sys
import weakref
from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from omgmj.client.names import look_up

Check = Callable[[str, str], None]
"""What raises for a host and an address of it that must not be connected to."""


def own_session(*, limit: int, check: Check | None = None) -> aiohttp.ClientSession:
    """Return a session without cookies; `limit` bounds its connections, 0: nothing does."""
    return aiohttp.ClientSession(
        connector=_Connector(_Resolver(check), limit=limit), cookie_jar=aiohttp.DummyCookieJar()
    )


class _Resolver(AbstractResolver):
    """Looks names up for a connector. What `check` lets pass is what is connected to."""

    def __init__(self, check: Check | None) -> None:
        self._check = check

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await look_up(host, port, family)
        for _, _, address, _ in found:
            if self._check is not None:
                self._check(host, address)
        return [
            ResolveResult(
                hostname=host, host=address, port=there, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for kind, protocol, address, there in found
        ]

    async def close(self) -> None:
        """Hold nothing."""


class _Connector(aiohttp.TCPConnector):
    """A pool that gives out no used connection on which more has come: a second answer is not the next call's."""

    def __init__(self, resolver: AbstractResolver, *, limit: int) -> None:
        super().__init__(resolver=resolver, limit=limit)
        self._used: weakref.WeakSet[ResponseHandler] = weakref.WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None:
                return connection
            if protocol not in self._used:
                self._used.add(protocol)
                return connection
            if not protocol.should_close and not _has_data(connection.transport):
                return connection
            connection.close()


def _has_data(transport: asyncio.Transport | None) -> bool:
    """Whether something has come that the event loop has not read yet, the end of the connection too."""
    if transport is None:
        return False
    there: socket.socket = transport.get_extra_info("socket")
    if sys.platform == "win32":
        return bool(select.select([there], [], [], 0)[0])
    poll = select.poll()
    poll.register(there, select.POLLIN)
    return bool(poll.poll(0))
