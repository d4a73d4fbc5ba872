"""Where the tests of downloads get images from: a server on loopback, with a handler a path."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from omgmj.client.aiohttp_adapter import HttpTransport
from omgmj.errors import DownloadError
from omgmj.images.download import download
from omgmj.models import Status, Task
from omgmj.protocol.image_urls import WSRV
from omgmj.testing import PNG

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
IMAGE = PNG[:8] + os.urandom(300_000)


class Rerouted(HttpTransport):
    """The transport over the network, with WSRV on loopback."""

    base = ""

    def stream(self, url: str) -> Any:
        return super().stream(url.replace(WSRV, f"{self.base}/wsrv"))


class Place:
    """A server with a handler a path, which counts who came, and the task whose image it has."""

    def __init__(self, url: str, handlers: dict[str, Handler]) -> None:
        self.url = url
        self.handlers = handlers
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.transport = Rerouted(loopback=True)
        self.transport.base = url

    def task(self, discord: str | None = "/discord.png?ex=1&hm=secret", stored: str | None = None) -> Task:
        return Task(
            3432,
            Status.SUCCESS,
            image_url=self.url + discord if discord else None,
            stored_image_url=self.url + stored if stored else None,
        )

    async def fetch(self, directory: Path, task: Task | None = None, **settings: Any) -> Path:
        return await download(self.transport, task or self.task(), directory, **settings)


@asynccontextmanager
async def serving(**handlers: Handler) -> AsyncIterator[Place]:
    """Serve `handlers` on loopback, each at the path `/name`, whatever the suffix; anything else is a 404."""

    async def handle(request: web.Request) -> web.StreamResponse:
        place.seen.append(request.path)
        place.headers.append(dict(request.headers))
        handler = handlers.get(Path(request.path).stem)
        return await handler(request) if handler else web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    place = Place(f"http://127.0.0.1:{runner.addresses[0][1]}", handlers)
    try:
        yield place
    finally:
        await place.transport.aclose()
        await runner.cleanup()


def giving(body: bytes = IMAGE, **settings: Any) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, **settings)

    return handler


def streaming(*parts: bytes, length: int | None = None, then: Callable[[web.Request], Any] | None = None) -> Handler:
    """Send `parts`, in chunks where no `length` is told; then wait for what `then` gives, or end."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = length
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        if then is not None:
            await then(request)
        return response

    return handler


async def silence(request: web.Request) -> None:
    await asyncio.get_running_loop().create_future()


async def hang_up(request: web.Request) -> None:
    assert request.transport
    request.transport.close()


def in_turn(*handlers: Handler) -> Handler:
    """Answer by the first handler the first time, and so on; by the last for ever."""
    left = list(handlers)

    async def handler(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return handler


def redirecting(target: str | None, status: int = 302) -> Handler:
    return giving(b"", status=status, headers={} if target is None else {"Location": target})


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def failing(awaitable: Awaitable[Path]) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        await awaitable
    error = caught.value
    assert error.task_id == 3432
    assert "secret" not in f"{error} {error.url}"
    return error
