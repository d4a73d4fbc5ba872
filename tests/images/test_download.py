"""A task's image on its way to disk, from real servers on loopback: what comes through, and what is never left."""

from __future__ import annotations

import asyncio
import copy
import errno
import os
import pickle
import signal
import stat
import subprocess
import sys
import textwrap
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from omgmj.client.aiohttp_adapter import CHUNK, HttpTransport
from omgmj.client.transport import Stream
from omgmj.errors import DownloadError, ImageExists, OmgmjError, SessionClosed, UsageError
from omgmj.images import download as module
from omgmj.images.download import BLOCK, download
from omgmj.models import Status, Task
from omgmj.protocol.image_urls import WSRV
from omgmj.session import Session
from omgmj.testing import PNG, FakeService, Life

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


# What comes through


async def test_an_image_is_stored_under_its_tasks_name(tmp_path: Path) -> None:
    """The whole image is in a file named by the task, with a new file's usual rights, and nothing beside it."""
    async with serving(discord=giving()) as place:
        path = await place.fetch(tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "task-3432.png"
    assert path.read_bytes() == IMAGE
    assert names(path.parent) == [path.name]
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0\0", "task-3432.jpg"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "task-3432.webp"),
        (b"GIF89a\x01\0\x01\0\0\0", "task-3432.gif"),
    ],
)
async def test_the_suffix_is_that_of_the_content(head: bytes, name: str, tmp_path: Path) -> None:
    """Neither the URL nor a header gives the file its name: the content does."""
    headers = {"Content-Type": "text/html", "Content-Disposition": 'attachment; filename="../../evil.sh"'}
    async with serving(discord=giving(head, headers=headers)) as place:
        path = await place.fetch(tmp_path, place.task("/..%2f..%2fdiscord.png"), via="auto")
    assert [path.name] == [name] == names(tmp_path)


async def test_chunks_without_a_length_come_through(tmp_path: Path) -> None:
    """A body whose length nobody tells, in pieces smaller than a type's first bytes and larger than a block."""
    parts = (IMAGE[:3], IMAGE[3:11], IMAGE[11:12], IMAGE[12:], bytes(2 * BLOCK))
    told: list[tuple[int, int | None]] = []
    async with serving(discord=streaming(*parts)) as place:
        path = await place.fetch(tmp_path, on_progress=lambda done, total: told.append((done, total)))
    assert path.read_bytes() == b"".join(parts)
    assert told == sorted(told, key=lambda one: one[0])
    assert told[-1] == (len(IMAGE) + 2 * BLOCK, None)


async def test_progress_is_told(tmp_path: Path) -> None:
    """Progress grows to the whole length, and is told of how much."""
    image = IMAGE * 10
    told: list[tuple[int, int | None]] = []
    async with serving(discord=giving(image)) as place:
        await place.fetch(tmp_path, on_progress=lambda done, total: told.append((done, total)))
    assert len(told) > 2
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1] == (len(image), len(image))


async def test_nothing_of_ours_goes_with_it(tmp_path: Path) -> None:
    """No token goes with a download, and no cookie that an earlier answer set."""
    set_cookie = redirecting("/next.png")

    async def first(request: web.Request) -> web.StreamResponse:
        response = await set_cookie(request)
        assert isinstance(response, web.Response)
        response.set_cookie("session", "4711")
        return response

    async with serving(discord=first, next=giving()) as place:
        await place.fetch(tmp_path)
    assert [sorted(headers) for headers in place.headers] == [["Accept", "Accept-Encoding", "Host", "User-Agent"]] * 2


async def test_the_fake_service_has_images(tmp_path: Path) -> None:
    """A task of the fake service is downloaded from memory, without a network."""
    async with FakeService() as fake, fake.session() as session:
        task = await session.wait(fake.add_task(Life.succeed(5.0)))
        path = await download(fake.transport(), task, tmp_path)
    assert path.read_bytes() == PNG


# Ways


async def test_auto_takes_the_next_way_where_one_failed_for_good(tmp_path: Path) -> None:
    """The stored image first, then Discord's, then each through WSRV; an expired link is asked for once."""
    async with serving(stored=giving(status=403)) as place:
        task = place.task(stored="/stored.png")

        async def wsrv(request: web.Request) -> web.StreamResponse:
            wanted = request.query["url"]
            return await (giving() if wanted == task.stored_image_url else giving(status=404))(request)

        place.handlers["wsrv"] = wsrv
        path = await place.fetch(tmp_path, task)
        assert path.read_bytes() == IMAGE
        assert place.seen == ["/stored.png", "/discord.png", "/wsrv", "/wsrv"]


async def test_wsrv_gets_the_url_as_it_is_and_its_parameters(tmp_path: Path) -> None:
    """A signed URL with its own percent signs arrives at WSRV letter by letter, with the parameters beside it."""
    asked: list[dict[str, str]] = []

    async def wsrv(request: web.Request) -> web.StreamResponse:
        asked.append(dict(request.query))
        return await giving()(request)

    async with serving(wsrv=wsrv) as place:
        task = place.task("/a%20b.png?ex=1&hm=a+b%2Fc%3D&")
        await place.fetch(tmp_path, task, compress={"w": 512, "q": 80})
    assert asked == [{"url": task.image_url, "w": "512", "q": "80"}]


async def test_when_all_ways_fail_the_error_tells_of_each(tmp_path: Path) -> None:
    """The error names each way and why it failed; its facts are the last one's, and it pickles and copies."""
    async with serving(stored=giving(b"<html>"), wsrv=giving(status=410)) as place:
        error = await failing(place.fetch(tmp_path, place.task(stored="/stored.png")))
    assert (error.status, error.url) == (410, WSRV)
    assert "stored: what came is no PNG, JPEG, WebP or GIF; discord: HTTP 404; wsrv: HTTP 410" in str(error)
    assert names(tmp_path) == []
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 (our own)
        assert (str(twin), vars(twin)) == (str(error), vars(error))
    assert isinstance(error, OmgmjError)


# Broken transfers


@pytest.mark.parametrize(
    "broken",
    [
        giving(status=500),
        giving(status=429),
        giving(status=408),
        streaming(IMAGE[:1000], length=len(IMAGE), then=hang_up),
        streaming(IMAGE[:1000], then=hang_up),
        streaming(IMAGE[:1000], length=len(IMAGE), then=silence),
        streaming(then=silence),
        silence,
    ],
    ids=["500", "429", "408", "short", "short chunks", "idle", "idle at once", "no headers"],
)
async def test_a_broken_transfer_is_begun_again(broken: Any, tmp_path: Path) -> None:
    """What fails in passing is tried three times in all, then it has failed, and nothing is left."""
    async with serving(discord=in_turn(broken, broken, giving())) as place:
        path = await place.fetch(tmp_path)
        assert path.read_bytes() == IMAGE
        assert place.seen == ["/discord.png"] * 3
        path.unlink()
        place.handlers["discord"] = broken
        started = asyncio.get_running_loop().time()
        error = await failing(place.fetch(tmp_path, via="discord"))
        assert len(place.seen) == 6
        assert error.url == f"{place.url}/discord.png"
        assert 1.0 <= asyncio.get_running_loop().time() - started <= 100.0
    assert names(tmp_path) == []


async def test_a_shorter_second_try_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    """A try begins with an empty file: what came before does not stick out behind."""
    first = streaming(IMAGE + bytes(2 * BLOCK), length=10 * BLOCK, then=hang_up)
    async with serving(discord=in_turn(first, giving(PNG))) as place:
        assert (await place.fetch(tmp_path)).read_bytes() == PNG


async def test_retry_after_is_heeded(tmp_path: Path) -> None:
    """A service that asks to be left alone for some seconds is."""
    async with serving(discord=in_turn(giving(status=429, headers={"Retry-After": "17"}), giving())) as place:
        await place.fetch(tmp_path)
        assert asyncio.get_running_loop().time() >= 17.0
        place.handlers["discord"] = giving(status=503, headers={"Retry-After": "5"})
        error = await failing(place.fetch(tmp_path, via="discord", overwrite=True))
        assert (error.status, error.retry_after) == (503, 5.0)


async def test_a_bad_chunk_size_does_not_hang(tmp_path: Path) -> None:
    """A chunk that is none, in the middle of a body, ends the try."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n" + IMAGE[:16] + b"\r\n")
        await asyncio.sleep(0.01)
        writer.write(b"nonsense\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    transport = HttpTransport(loopback=True)
    try:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.png"
        await failing(download(transport, Task(3432, Status.SUCCESS, image_url=url), tmp_path, via="discord"))
        assert asyncio.get_running_loop().time() < 100.0
    finally:
        await transport.aclose()
        server.close()


async def test_a_silent_or_very_slow_transfer_is_given_up(tmp_path: Path) -> None:
    """Thirty seconds without a byte, or a minute with next to none, end a try, and the error says which it was."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(IMAGE), 1000):
            await response.write(IMAGE[start : start + 1000])
            await asyncio.sleep(5.0)
        return response

    now = asyncio.get_running_loop().time
    async with serving(silent=streaming(IMAGE, length=2 * len(IMAGE), then=silence), slow=drip) as place:
        error = await failing(place.fetch(tmp_path, place.task("/silent.png"), via="discord"))
        assert "no byte came for 30 s" in str(error)
        before = now()
        error = await failing(place.fetch(tmp_path, place.task("/slow.png"), via="discord"))
        assert "discord: too slow: 1" in str(error)
        assert now() - before < 240
    assert names(tmp_path) == []


async def test_a_connection_that_is_never_made_is_given_up(tmp_path: Path) -> None:
    """A host that takes a connection and never shakes hands is given up within the bound of a connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    transport = HttpTransport(loopback=True)
    try:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.png"
        await failing(download(transport, Task(3432, Status.SUCCESS, image_url=url), tmp_path, via="discord"))
        assert 45.0 <= asyncio.get_running_loop().time() < 60.0
    finally:
        await transport.aclose()
        server.close()


async def test_a_transport_of_another_kind_may_end_early_too(tmp_path: Path) -> None:
    """Fewer bytes than were told are a broken transfer, whatever carried them."""

    class Short(HttpTransport):
        tries = 0

        @asynccontextmanager
        async def stream(self, url: str) -> AsyncIterator[Stream]:
            self.tries += 1

            async def chunks() -> AsyncIterator[bytes]:
                yield PNG

            yield Stream(200, {"content-length": "1000"}, chunks())

    transport = Short()
    task = Task(3432, Status.SUCCESS, image_url="https://cdn.test/a.png")
    error = await failing(download(transport, task, tmp_path, via="discord"))
    assert "cut short" in str(error)
    assert transport.tries == 3


# What is refused


async def test_too_large_is_not_read(tmp_path: Path) -> None:
    """An image beyond the cap is refused by the length it tells, else as soon as it passes; one at the cap is taken."""
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(PNG)
        while True:
            await response.write(bytes(CHUNK))
            sent += CHUNK

    async with serving(discord=giving(), endless=endless) as place:
        assert (await place.fetch(tmp_path, max_bytes=len(IMAGE))).exists()
        told: list[int] = []
        error = await failing(
            place.fetch(
                tmp_path,
                via="discord",
                overwrite=True,
                max_bytes=len(IMAGE) - 1,
                on_progress=lambda done, total: told.append(done),
            )
        )
        assert (told, "larger than" in str(error)) == ([], True)
        await failing(place.fetch(tmp_path, place.task("/endless"), via="discord", overwrite=True, max_bytes=1_000_000))
    assert sent < 20_000_000
    assert names(tmp_path) == ["task-3432.png"]


@pytest.mark.parametrize("body", [b"", b"<html>404</html>" * 100, b"RIFF", b"II*\0" + bytes(100)])
async def test_what_is_no_image_is_not_kept(body: bytes, tmp_path: Path) -> None:
    """An answer 200 that holds no image is refused, and not asked for again."""
    async with serving(discord=giving(body)) as place:
        error = await failing(place.fetch(tmp_path, via="discord"))
        assert len(place.seen) == 1
    assert error.status == 0
    assert names(tmp_path) == []


async def test_five_redirects_are_followed_and_no_more(tmp_path: Path) -> None:
    """Redirects of every kind, absolute and relative, lead to the image; a sixth does not."""
    async with serving(
        discord=redirecting("b.png", 301),
        b=redirecting("/c.png?x=1", 302),
        c=redirecting("./d.png", 303),
        e=redirecting("/f.png", 308),
        f=giving(),
        first=redirecting("/discord.png"),
    ) as place:
        place.handlers["d"] = redirecting(f"{place.url[5:]}/e.png", 307)
        await place.fetch(tmp_path)
        assert place.seen == [f"/{name}.png" for name in ("discord", "b", "c", "d", "e", "f")]
        error = await failing(place.fetch(tmp_path, place.task("/first"), via="discord"))
        assert "5 redirects" in str(error)


@pytest.mark.parametrize(
    "target",
    [
        "https://10.0.0.1/a.png",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00::1]/a.png",
        "http://93.184.215.14/a.png",
        "ftp://127.0.0.1/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,iVBORw0KGgo=",
        "https://[",
        "https://a:99999/a.png",
        "",
        None,
    ],
)
async def test_redirects_that_lead_astray_are_not_followed(target: str | None, tmp_path: Path) -> None:
    """A redirect inside, to another scheme, or to what is no URL ends this way at once."""
    async with serving(discord=redirecting(target)) as place:
        await failing(place.fetch(tmp_path, via="discord"))
        assert place.seen == ["/discord.png"]
    assert names(tmp_path) == []


async def test_without_leave_nothing_goes_to_this_machine(tmp_path: Path) -> None:
    """A record whose URLs lead to this machine is not followed unless the transport may."""
    transport = HttpTransport()
    async with serving(discord=giving()) as place:
        await failing(download(transport, place.task(), tmp_path, via="discord"))
        assert place.seen == []
    await transport.aclose()


@pytest.mark.parametrize(
    "url", ["http://[::1", "https://a:99999/", "\ud83d", "javascript:alert(1)", "https://" + "ü" * 70]
)
async def test_rubbish_for_a_url_is_a_download_error(url: str, tmp_path: Path) -> None:
    """A record's URL that is none is an error of the download."""
    transport = HttpTransport()
    await failing(download(transport, Task(3432, Status.SUCCESS, image_url=url), tmp_path, via="discord"))
    await transport.aclose()


async def test_misuse_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    """Wrong arguments, a task without an image and a directory that is none are UsageErrors; nobody is asked."""
    (tmp_path / "file").touch()
    async with serving(discord=giving()) as place:
        unfinished = Task(3432, Status.IN_PROGRESS, image_url=place.url + "/discord.png")
        for settings in (
            {"task": unfinished},
            {"task": 3432},
            {"task": Task(-1, Status.SUCCESS, image_url="https://cdn.test/a.png")},
            {"via": "s3"},
            {"via": "stored"},
            {"compress": {"x": 1}},
            {"compress": {"w": 1}, "via": "discord"},
            {"max_bytes": 0},
            {"max_bytes": "5"},
            {"on_progress": 5},
            {"overwrite": "yes"},
            {"directory": tmp_path / "file"},
            {"directory": tmp_path / "file" / "below"},
            {"directory": str(tmp_path / "nul\0")},
            {"directory": "/proc/none"},
            {"directory": b"bytes"},
            {"directory": None},
        ):
            arguments: dict[str, Any] = {"task": place.task(), "directory": tmp_path, **settings}
            with pytest.raises(UsageError) as caught:
                await download(place.transport, **arguments)
            assert not isinstance(caught.value, ImageExists)
        assert place.seen == []
    assert names(tmp_path) == ["file"]


async def test_a_closed_session_is_a_usage_error(tmp_path: Path) -> None:
    """A transport that was closed is the caller's fault, not the image's."""
    async with serving(discord=giving()) as place:
        await place.fetch(tmp_path)
        await place.transport.aclose()
        with pytest.raises(UsageError, match="closed"):
            await place.fetch(tmp_path, overwrite=True)


# Files that are there


async def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    """A file is not overwritten unless asked: told before anything is fetched where URL or parameters tell the name."""
    there = tmp_path / "task-3432.png"
    there.write_text("mine")
    async with serving(discord=giving(), wsrv=giving(), bare=giving()) as place:
        known: list[dict[str, Any]] = [{}, {"compress": {"output": "png"}}]
        for settings in known:
            with pytest.raises(ImageExists, match="overwrite") as caught:
                await place.fetch(tmp_path, **settings)
            assert isinstance(caught.value, FileExistsError)
            assert caught.value.path == str(there)
        assert place.seen == []
        with pytest.raises(ImageExists):  # The first bytes tell.
            await place.fetch(tmp_path, place.task("/bare"), on_progress=lambda *_: pytest.fail("read on"))
        assert place.seen == ["/bare"]
        assert there.read_text() == "mine"
        assert await place.fetch(tmp_path, overwrite=True) == there
        assert there.read_bytes() == IMAGE
    assert names(tmp_path) == [there.name]


async def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    """A symbolic link under the final name is never followed, overwritten or not."""
    link = tmp_path / "task-3432.png"
    link.symlink_to(tmp_path / "elsewhere")
    async with serving(discord=giving(PNG)) as place:
        with pytest.raises(ImageExists):
            await place.fetch(tmp_path)
        await place.fetch(tmp_path, overwrite=True)
    assert not link.is_symlink()
    assert names(tmp_path) == [link.name]


@pytest.mark.parametrize("links", [True, False])
async def test_a_file_that_appears_meanwhile_stays(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who puts a file there during the transfer keeps it, on file systems with links and without."""
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    there = tmp_path / "task-3432.png"

    def appears(done: int, total: int | None) -> None:
        if done == total:
            there.write_text("theirs")

    async with serving(discord=giving()) as place:
        with pytest.raises(ImageExists):
            await place.fetch(tmp_path, on_progress=appears)
        assert there.read_text() == "theirs"
        assert names(tmp_path) == [there.name]
        there.unlink()
        assert (await place.fetch(tmp_path)).read_bytes() == IMAGE
    assert names(tmp_path) == [there.name]


def no_links(source: object, target: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


async def test_a_rename_that_fails_leaves_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system knows no links, and then fails to rename, nothing is left under the final name."""

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("omgmj.images.download.os.link", no_links)
    monkeypatch.setattr(Path, "replace", broken)
    async with serving(discord=giving()) as place:
        assert "Input/output error" in str(await failing(place.fetch(tmp_path)))
    assert names(tmp_path) == []


async def test_two_at_once_make_one_file(tmp_path: Path) -> None:
    """Of two downloads of one image into one directory one wins; the other is told so."""
    async with serving(discord=giving()) as place:
        ended = await asyncio.gather(place.fetch(tmp_path), place.fetch(tmp_path), return_exceptions=True)
    assert sorted(type(one).__name__ for one in ended) == ["ImageExists", type(tmp_path).__name__]
    assert names(tmp_path) == ["task-3432.png"]
    assert (tmp_path / "task-3432.png").read_bytes() == IMAGE


# Ends in the middle


def wait_until_empty(directory: Path) -> None:
    """Give a thread the time to remove what it was told to."""
    for _ in range(200):
        if names(directory):
            time.sleep(0.005)


async def test_a_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    """Cancelled at any point, in the transfer and in a write, a download leaves no file; the cancellation gets out."""
    async with serving(discord=giving(IMAGE + bytes(BLOCK))) as place:
        steps = 0
        for after in range(1, 200):
            task = asyncio.create_task(place.fetch(tmp_path / "d", overwrite=True))
            for _ in range(after):
                await asyncio.sleep(0.0)
            steps += not task.done()
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                assert not any((tmp_path / "d").glob(".*"))
            else:
                break
    assert steps > 10


async def test_a_cancelled_wait_leaves_nothing(tmp_path: Path) -> None:
    """Cancelled while half of it has come and the rest does not, or between two tries, a download leaves no file."""
    for handler in (streaming(IMAGE, length=2 * len(IMAGE), then=silence), giving(status=500)):
        async with serving(discord=handler) as place:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.4):
                    await place.fetch(tmp_path)
            assert names(tmp_path) == []


async def test_closing_the_session_ends_its_downloads(tmp_path: Path) -> None:
    """A session that is closed ends a download in the middle and one between two tries, and leaves no file."""
    stuck = streaming(IMAGE, length=2 * len(IMAGE), then=silence)
    async with serving(stuck=stuck, broken=giving(status=500)) as place, Session("t", base_url=place.url) as session:
        tasks = [place.task(f"/{name}.png") for name in ("stuck", "broken")]
        going = [asyncio.ensure_future(session.download(task, tmp_path / str(n))) for n, task in enumerate(tasks)]
        while len(place.seen) < len(tasks):  # noqa: ASYNC110 (the server tells nobody)
            await asyncio.sleep(0.01)
        await session.aclose()
        ends = await asyncio.gather(*going, return_exceptions=True)
        assert [type(end) for end in ends] == [SessionClosed] * 2
        assert all(end.__context__ is None for end in ends if isinstance(end, SessionClosed))
        assert names(tmp_path / "0") == names(tmp_path / "1") == []
        with pytest.raises(SessionClosed):
            await session.download(tasks[0], tmp_path)


async def test_twice_cancelled_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second cancellation, while a slow disk still writes, does not keep the file from being removed."""
    write = module._Part.write

    def slow(self: module._Part, block: bytes, suffix: str) -> None:
        time.sleep(0.02)
        write(self, block, suffix)

    monkeypatch.setattr(module._Part, "write", slow)
    async with serving(discord=giving()) as place:
        arrived = asyncio.Event()
        task = asyncio.create_task(place.fetch(tmp_path, on_progress=lambda *_: arrived.set()))
        await arrived.wait()
        for _ in range(2):
            task.cancel()
            for _ in range(3):
                await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
    wait_until_empty(tmp_path)
    assert names(tmp_path) == []


async def test_progress_that_raises_ends_it(tmp_path: Path) -> None:
    """What the caller's function raises gets out as it is, an OSError too, and nothing is left."""
    async with serving(discord=giving()) as place:
        for error in (ZeroDivisionError(), OSError("theirs"), ConnectionError("theirs")):

            def tell(done: int, total: int | None, error: Exception = error) -> None:
                raise error

            with pytest.raises(type(error)) as caught:
                await place.fetch(tmp_path, on_progress=tell)
            assert caught.value is error
        assert len(place.seen) == 3
    assert names(tmp_path) == []


@pytest.mark.parametrize("place_of_fault", ["empty", "write", "finish"])
async def test_a_full_disk_ends_it_at_once(
    place_of_fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk fails no other way is tried: the error says so, and what was written is removed."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module._Part, place_of_fault, full)
    async with serving(discord=giving(), wsrv=giving(), stored=giving()) as place:
        error = await failing(place.fetch(tmp_path, place.task(stored="/stored.png")))
        assert len(place.seen) <= 1
    assert "No space left" in str(error)
    assert (error.url, type(error.__cause__)) == ("", OSError)
    assert names(tmp_path) == []


@pytest.mark.real_time
async def test_a_killed_process_leaves_no_half_file(tmp_path: Path) -> None:
    """Killed in the middle of a transfer, a process leaves nothing under the final name."""
    code = """
        import asyncio, sys
        from pathlib import Path
        from omgmj.images.download import download
        from omgmj.models import Status, Task
        from omgmj.client.aiohttp_adapter import HttpTransport

        task = Task(3432, Status.SUCCESS, image_url=sys.argv[1])
        told = lambda done, total: print(done, flush=True)
        asyncio.run(download(HttpTransport(loopback=True), task, Path(sys.argv[2]), on_progress=told))
    """
    async with serving(discord=streaming(IMAGE, length=2 * len(IMAGE), then=silence)) as place:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            textwrap.dedent(code),
            f"{place.url}/discord.png",
            str(tmp_path),
            stdout=subprocess.PIPE,
        )
        assert process.stdout
        while int(await process.stdout.readline()) < len(IMAGE):
            pass
        process.kill()
        await process.wait()
    assert process.returncode == -signal.SIGKILL
    assert [name[-5:] for name in names(tmp_path)] == [".part"]


async def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    """50 MB pass through less than 2 MB, server included."""
    piece = bytes(CHUNK)
    count = 50_000_000 // len(piece)
    async with serving(discord=giving(), large=streaming(PNG, *[piece] * count)) as place:
        await place.fetch(tmp_path)
        tracemalloc.start()
        try:
            path = await place.fetch(tmp_path, place.task("/large"), via="discord", overwrite=True)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert path.stat().st_size == len(PNG) + count * len(piece)
    assert peak < 2_000_000
