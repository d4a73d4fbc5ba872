"""A task's image on its way to disk, from real servers on loopback: what comes through, and what is never left."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import stat
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from omgmj import Answer, Session
from omgmj.client.aiohttp_adapter import CHUNK, HttpTransport
from omgmj.client.transport import Stream
from omgmj.errors import ImageExists, OmgmjError, UsageError
from omgmj.images.download import BLOCK, download
from omgmj.models import Status, Task
from omgmj.protocol.image_urls import WSRV
from omgmj.testing import PNG, FakeService, Life
from tests.images.place import (
    IMAGE,
    failing,
    giving,
    hang_up,
    in_turn,
    names,
    redirecting,
    serving,
    silence,
    streaming,
)

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
        assert path.read_bytes() == fake.image(task.id)


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


@pytest.mark.parametrize("url", ["http://[::1", "https://a:99999/", "https://\ud83d", "https://" + "ü" * 70])
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


async def test_a_transport_without_a_stream_cannot_download(tmp_path: Path) -> None:
    """Whoever wrote a transport for calls only is told so, before a file is begun."""

    class Calls:
        limit = None

        async def send(self, *_: object) -> Answer:
            return Answer(404, {}, b"")

        async def aclose(self) -> None: ...

    task = Task(3432, Status.SUCCESS, image_url="https://cdn.test/a.png")
    async with Session("t", transport=Calls()) as session:  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="no stream: Calls"):
            await session.download(task, tmp_path)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 (a moment's work)
