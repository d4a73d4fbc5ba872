"""The file of an image: what is there stays, and what ends in the middle leaves nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from omgmj.errors import ImageExists, SessionClosed
from omgmj.images import part_file
from omgmj.images.download import BLOCK
from omgmj.session import Session
from omgmj.testing import PNG
from tests.images.place import (
    IMAGE,
    failing,
    giving,
    names,
    serving,
    silence,
    streaming,
)

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

    monkeypatch.setattr("omgmj.images.part_file.os.link", no_links)
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
    write = part_file.PartFile.write

    def slow(self: part_file.PartFile, block: bytes, suffix: str) -> None:
        time.sleep(0.02)
        write(self, block, suffix)

    monkeypatch.setattr(part_file.PartFile, "write", slow)
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

    monkeypatch.setattr(part_file.PartFile, place_of_fault, full)
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
