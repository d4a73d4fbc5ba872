"""The make-believe service over real HTTP: an aiohttp server on a port, and faults done to real connections.

What is answered is handed in by `fake_service`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import yarl
from aiohttp import web

from omgmj import log
from omgmj.testing.memory_transport import silence
from omgmj.testing.service.fake_task import IMAGES
from omgmj.testing.service.simulator import Reply

if TYPE_CHECKING:
    import ssl as tls

Act = Callable[[Reply], Awaitable[None]]
Exchange = Callable[[str, str, Mapping[str, str], bytes, Act], Awaitable[Reply]]


class HttpServer:
    """A server. `exchange` answers a call, `image` gives the bytes that lie at a path, or None."""

    def __init__(self, exchange: Exchange, image: Callable[[str], bytes | None]) -> None:
        self._exchange = exchange
        self._image = image
        self._handlers: set[asyncio.Task[Any]] = set()
        server = web.Server(
            self._serve_one, handler_cancellation=True, access_log=None, keepalive_timeout=3600.0, auto_decompress=False
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=0.05)

    async def start(self, host: str, port: int, ssl: tls.SSLContext | None) -> str:
        """Serve on `host` and `port` (0: a free one) and return the URL."""
        await self._runner.setup()
        try:
            # Under a virtual clock connections that wait beyond the backlog time out at once, so it is large.
            await web.TCPSite(self._runner, host, port, ssl_context=ssl, backlog=4096).start()
        except OSError:
            await self._runner.cleanup()
            raise
        bound = self._runner.addresses[0][1]
        # What listens everywhere is asked at this machine itself.
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (nothing is bound here)
        return str(yarl.URL.build(scheme="https" if ssl else "http", host=name, port=bound))

    async def stop(self) -> None:
        """Stop serving; what is silent or slow is cut off at once."""
        for task in self._handlers:
            task.cancel()
        await self._runner.cleanup()

    async def _serve_one(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET" and request.raw_path.startswith(IMAGES):
            image = self._image(request.raw_path)
            return web.Response(status=404) if image is None else web.Response(body=image, content_type="image/png")
        task = asyncio.current_task()
        transport = request.transport
        if task is None or transport is None:  # pragma: no cover (the client has gone meanwhile)
            return web.Response()
        self._handlers.add(task)
        try:
            headers: dict[str, str] = {}
            for name, value in request.headers.items():
                known = headers.get(name.lower())
                headers[name.lower()] = value if known is None else f"{known}, {value}"
            act = functools.partial(_act_on_the_wire, transport)
            # Not `request.read()`, which takes no more than a mebibyte: images are larger.
            body = await request.content.read()
            reply = await self._exchange(request.method, request.raw_path, headers, body, act)
            if reply.unreadable:
                log.unreadable_body(reply.unreadable)
            if reply.act:
                return web.Response()  # Goes nowhere: the connection is closed.
            return web.Response(status=reply.status, headers=reply.headers, body=reply.body)
        finally:
            self._handlers.discard(task)


async def _act_on_the_wire(transport: asyncio.WriteTransport, reply: Reply) -> None:
    """Do to a real connection what the fault says; comes back when it is closed."""
    whole = f"Content-Length: {len(reply.body)}"
    half = len(reply.body) // 2
    match reply.act:
        case "drop_before_headers":
            transport.abort()
        case "drop_after_headers":
            transport.write(_head(reply, whole))
            transport.abort()
        case "cut_short":
            transport.write(_head(reply, whole) + reply.body[:half])
            transport.close()
        case "bad_chunk":
            transport.write(_head(reply, "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n" % (half, reply.body[:half]))
            # A pause, so that the second chunk comes in a segment of its own.
            await asyncio.sleep(0.01)
            transport.write(b"no size\r\n%b\r\n0\r\n\r\n" % reply.body[half:])
            await silence()
        case _:
            await silence()


def _head(reply: Reply, framing: str) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} OK", *(f"{name}: {value}" for name, value in reply.headers.items()), framing]
    return "\r\n".join([*lines, "", ""]).encode("ascii")
