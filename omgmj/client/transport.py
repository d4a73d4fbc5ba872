"""The border of plain values: what a session asks of whatever carries its requests.

Users bring transports of their own: what is here is public, and knows no HTTP library.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from omgmj.client.secrets import Secret
from omgmj.protocol.messages import Answer, Passage, Request


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
        ...

    async def send(self, base_url: str, request: Request, token: Secret, passage: Passage | None = None) -> Answer:
        """Send `request` and return the whole answer, or raise `TransportError` or `DecodeError`.

        What is not idempotent goes on a connection of its own, and `passage` tells how far it has come.
        """
        ...

    def stream(self, url: str) -> AbstractAsyncContextManager[Stream]:
        """GET `url` without the token; leaving the context ends the transfer."""
        ...

    async def aclose(self) -> None:
        """Let go of all connections that are ours."""
