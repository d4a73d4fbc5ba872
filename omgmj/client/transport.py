"""The transport: the border of plain values between a session and whatever carries its requests.

Users bring transports of their own: this border is public, and knows no HTTP library.
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
    """Carrier of a session's requests: plain values in, plain values out."""

    @property
    def limit(self) -> int | None:
        """Bound of the requests that it carries at once; None: no bound. Asked in the event loop."""
        ...

    async def send(self, base_url: str, request: Request, token: Secret, passage: Passage | None = None) -> Answer:
        """Send `request` and return the whole answer, or raise `TransportError` or `DecodeError`.

        A request that is not idempotent goes on a connection of its own, and `passage` tells how far it has come.
        """
        ...

    def stream(self, url: str) -> AbstractAsyncContextManager[Stream]:
        """GET `url` without the token; leaving the context ends the transfer."""
        ...

    async def aclose(self) -> None:
        """Let go of all connections that are ours."""
