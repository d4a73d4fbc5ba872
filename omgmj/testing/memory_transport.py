"""The way into a `FakeService` without a network: a transport whose answers are made in the same event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from omgmj.client.secrets import Secret
from omgmj.client.transport import Stream
from omgmj.errors import TransportError
from omgmj.protocol.messages import KEPT_HEADERS, Answer, Passage, Request
from omgmj.testing.service.simulator import Reply


class InMemoryTransport:
    """A transport that ends in a `FakeService` of the same event loop; `FakeService.transport` makes one."""

    def __init__(
        self,
        exchange: Callable[[str, str, Mapping[str, str], bytes], Awaitable[Reply]],
        image: Callable[[str], bytes | None],
    ) -> None:
        self._exchange = exchange
        self._image = image

    @property
    def limit(self) -> int | None:
        """None: it carries any number of requests at once."""
        return None

    async def send(self, base_url: str, request: Request, token: Secret, passage: Passage | None = None) -> Answer:  # noqa: ARG002 (one service only, which always reads)
        """Send `request` and return the answer, or raise `TransportError` as a connection over the network would."""
        headers = {
            "authorization": f"Bearer {token.reveal()}",
            "content-type": request.content_type,
            "accept": "application/json",
            "content-length": str(len(request.body)),
        }
        reply = await self._exchange(request.method, request.path, headers, bytes(request.body))
        kept = {name.lower(): value for name, value in reply.headers.items()}
        kept["content-length"] = str(len(reply.body))
        return Answer(reply.status, {name: kept[name] for name in KEPT_HEADERS if name in kept}, reply.body)

    @asynccontextmanager
    async def stream(self, url: str) -> AsyncIterator[Stream]:
        """GET the image of one of the service's tasks, as a stream of chunks; any other URL is answered 404."""
        await asyncio.sleep(0)
        image = self._image(url)
        status, kind, body = (404, "text/plain", b"not found") if image is None else (200, "image/png", image)
        headers = {"content-type": kind, "content-length": str(len(body))}
        yield Stream(status, headers, _chunks(body))

    async def aclose(self) -> None:
        """Do nothing: no connection is held."""


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 32):
        await asyncio.sleep(0)
        yield body[start : start + 32]


async def act_in_memory(reply: Reply) -> None:
    """Do what a transport over the network makes of such a connection: raise, or never end."""
    if reply.act == "drop_before_headers":
        raise TransportError("the connection was dropped before an answer")
    if reply.act in {"drop_after_headers", "cut_short"}:
        raise TransportError("the connection was closed in the middle of the answer")
    await silence()


async def silence() -> None:
    """Never come back."""
    await asyncio.get_running_loop().create_future()
