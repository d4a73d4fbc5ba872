"""A task's image goes to disk: streamed, checked, and under its final name only when it is whole.

The ways to it and WSRV's parameters are in `image_urls`, the bytes come from `transport`. How many downloads go on at
once is the caller's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple
from urllib.parse import urljoin

from omgmj.backoff.policies import Retry
from omgmj.client.ssrf import ForbiddenTarget
from omgmj.errors import DownloadError, ImageExists, OmgmjError, TransportError, UsageError
from omgmj.images.uploads import HEAD, image_type
from omgmj.models import Task
from omgmj.protocol.headers import retry_after
from omgmj.protocol.image_urls import Via, urls_by
from omgmj.threads import one_thread
from omgmj.validation import check_count, check_task_id

if TYPE_CHECKING:
    from omgmj.client.transport import Stream, Transport

MAX_BYTES = 100 * 1024 * 1024
MAX_REDIRECTS = 5
RETRY = Retry(attempts=3)
"""How often one way is tried, and how long it rests in between."""
BLOCK = 64 * 1024
"""Bytes that are gathered before they are written."""
SLOW_FOR, SLOWEST = 60.0, 60_000
"""Seconds in which so many bytes must come, or the transfer is given up."""
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

Progress = Callable[[int, int | None], object]
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def download(
    transport: Transport,
    task: Task,
    directory: str | os.PathLike[str],
    *,
    via: Via = "auto",
    compress: Mapping[str, object] | None = None,
    overwrite: bool = False,
    max_bytes: int = MAX_BYTES,
    on_progress: Progress | None = None,
) -> Path:
    """Fetch the task's image into `directory`, which is made where it is missing; return the file's path.

    The file is named by the task's ID and by what the image is (PNG, JPEG, WebP or GIF): `task-3432.png`. It gets that
    name when it is whole; until then, and for good where the process is killed, it is `.task-3432.….part`. `via` is
    one of `ways.WAYS`, or `auto`: the next of them where one failed for good. `compress` is that of `ways.image_urls`.
    `on_progress` is called with the bytes so far, and of how many (None: not told); it starts again when a broken
    transfer does.

    `UsageError` before anything is fetched: wrong arguments, no image, a directory that cannot be written, and
    `ImageExists` unless `overwrite` is set, which may also come when the first bytes tell what it is. `DownloadError`
    where no way led to an image of at most `max_bytes`, or the disk failed.
    """
    if not isinstance(task, Task):
        raise UsageError(f"task must be an omgmj.Task, not {type(task).__name__}")
    if on_progress is not None and not callable(on_progress):
        raise UsageError(f"on_progress must be callable, not {type(on_progress).__name__}")
    if not isinstance(overwrite, bool):
        raise UsageError(f"overwrite must be True or False, not {type(overwrite).__name__}")
    check_count("max_bytes", max_bytes)
    urls = urls_by(task, via, compress)
    part = _Part(directory, check_task_id(task.id), overwrite=overwrite)
    fetch = _Fetch(transport, part, max_bytes, on_progress)
    try:
        await part.run(part.begin, _likely(next(iter(urls.values())), compress))
        return await fetch.by_any(urls)
    except DownloadError as error:
        error.task_id = task.id
        raise
    finally:
        await part.aclose()


class _Fetch:
    """One image on its way to one file."""

    def __init__(self, transport: Transport, part: _Part, max_bytes: int, on_progress: Progress | None) -> None:
        self._transport = transport
        self._part = part
        self._max_bytes = max_bytes
        self._on_progress = on_progress

    async def by_any(self, urls: Mapping[str, str]) -> Path:
        """Return the file's path, made by the first way that leads to an image."""
        failed: list[tuple[str, DownloadError]] = []
        for way, url in urls.items():
            try:
                suffix = await self._by(url)
            except (TransportError, DownloadError, ForbiddenTarget) as error:
                if isinstance(error, DownloadError) and not error.url:
                    raise  # The disk failed; another way ends there too.
                ours = error if isinstance(error, DownloadError) else DownloadError(str(error), url=_bare(url))
                failed.append((way, ours))
            else:
                return await self._part.run(self._part.finish, suffix)
        last = failed[-1][1]
        raise DownloadError(
            f"the image could not be fetched: {'; '.join(f'{way}: {error}' for way, error in failed)}",
            url=last.url,
            status=last.status,
            retry_after=last.retry_after,
        )

    async def _by(self, url: str) -> str:
        failures = 0
        while True:
            try:
                return await self._once(url)
            except (TransportError, DownloadError) as error:
                failures += 1
                hint = error.retry_after if isinstance(error, DownloadError) else None
                if failures >= RETRY.attempts or not _in_passing(error):
                    raise
            await asyncio.sleep(RETRY.delay(failures, random.random(), hint))

    async def _once(self, url: str) -> str:
        await self._part.run(self._part.empty)
        for _ in range(MAX_REDIRECTS + 1):
            async with self._transport.stream(url) as stream:
                location = stream.headers.get("location")
                if stream.status not in _REDIRECTS or not location:
                    return await self._receive(url, stream)
                try:
                    url = urljoin(url, location)
                except ValueError:
                    raise DownloadError(
                        "it redirects to what is no URL", url=_bare(url), status=stream.status
                    ) from None
        raise DownloadError(f"more than {MAX_REDIRECTS} redirects", url=_bare(url))

    async def _receive(self, url: str, stream: Stream) -> str:
        """Write the whole body; return the suffix of what it is."""
        if stream.status != 200:
            raise DownloadError(
                f"HTTP {stream.status}", url=_bare(url), status=stream.status, retry_after=retry_after(stream.headers)
            )
        length = stream.headers.get("content-length", "")
        total = int(length) if length.isdecimal() and len(length) < 20 else None
        self._check_size(total or 0, url)
        suffix, done, held, parts = "", 0, 0, list[bytes]()
        clock = asyncio.get_running_loop().time
        until, wanted = clock() + SLOW_FOR, SLOWEST
        async for chunk in stream.chunks:
            parts.append(chunk)
            held += len(chunk)
            done += len(chunk)
            self._check_size(done, url)
            if clock() > until:
                if done < wanted:
                    raise TransportError(f"too slow: {done} bytes came so far")
                until, wanted = clock() + SLOW_FOR, done + SLOWEST
            if not suffix and done >= HEAD:
                suffix = _suffix(b"".join(parts), url)
            if held >= BLOCK:
                block, parts, held = b"".join(parts), [], 0  # Not copied where it is one.
                await self._part.run(self._part.write, block, suffix)
                del block
            if self._on_progress is not None:
                self._on_progress(done, total)
            del chunk  # Not to be held while the next one comes.
        if total is not None and done < total:
            raise TransportError(f"cut short: {done} of {total} bytes came")
        block = b"".join(parts)
        suffix = suffix or _suffix(block, url)
        await self._part.run(self._part.write, block, suffix)
        return suffix

    def _check_size(self, size: int, url: str) -> None:
        if size > self._max_bytes:
            raise DownloadError(f"the image is larger than {self._max_bytes} bytes", url=_bare(url))


class _Part:
    """The file while it is not whole, beside its final name. One thread does all it is told, in that order."""

    _file: FileIO

    def __init__(self, directory: str | os.PathLike[str], task_id: int, *, overwrite: bool) -> None:
        if not isinstance(directory, str | os.PathLike) or not isinstance(os.fspath(directory), str):
            raise UsageError(f"directory must be a path, not {type(directory).__name__}")
        self._directory = Path(directory)
        self._stem = f"task-{task_id}"
        self._path = self._directory / f".{self._stem}.{secrets.token_hex(8)}.part"
        self._overwrite = overwrite
        self._open = contextlib.ExitStack()
        self._thread = one_thread("download")

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call one of the functions below in the thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, partial(function, *args))
        except OSError as error:
            if isinstance(error, OmgmjError):
                raise
            raise DownloadError(f"cannot write in {str(self._directory)!r}: {error.strerror or error}") from error

    async def aclose(self) -> None:
        """Remove the file, unless it has its final name."""
        try:
            # Not to be cancelled: what waits behind a write that still goes on has to be done too.
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._discard))
        finally:
            self._thread.shutdown(wait=False)

    def begin(self, likely: str) -> None:
        """Make the directory and the file; `UsageError` where that cannot be done."""
        try:
            if likely:
                self.check_free(likely)
            self._directory.mkdir(parents=True, exist_ok=True)
            self._file = self._open.enter_context(self._path.open("xb", buffering=0))
        except UsageError:
            raise
        except (OSError, ValueError) as error:
            text = error.strerror if isinstance(error, OSError) else None
            raise UsageError(f"cannot write in {str(self._directory)!r}: {text or error}") from None

    def empty(self) -> None:
        """Begin the file again."""
        self._file.seek(0)
        self._file.truncate()

    def write(self, block: bytes, suffix: str) -> None:
        """Append to the file, unless the final name is taken and not to be overwritten."""
        self.check_free(suffix)
        view = memoryview(block)
        while view:
            view = view[self._file.write(view) :]

    def check_free(self, suffix: str) -> None:
        """Raise `ImageExists` where the final name is taken and not to be overwritten."""
        if not self._overwrite and os.path.lexists(self._final(suffix)):
            raise self._taken(suffix)

    def finish(self, suffix: str) -> Path:
        """Give the file its final name, without a moment in which it is there and not whole.

        But for file systems that know no links: there an empty file takes the name for a moment.
        """
        self._open.close()
        final = self._final(suffix)
        if self._overwrite:
            self._path.replace(final)
            return final
        try:
            os.link(self._path, final)  # Unlike a rename, this fails where there is a file.
        except FileExistsError:
            raise self._taken(suffix) from None
        except OSError:
            # The file system knows no links: take the name first.
            try:
                final.open("xb").close()
            except FileExistsError:
                raise self._taken(suffix) from None
            try:
                self._path.replace(final)
            except OSError:
                final.unlink(missing_ok=True)
                raise
        return final

    def _discard(self) -> None:
        self._open.close()
        with contextlib.suppress(OSError, ValueError):
            self._path.unlink(missing_ok=True)

    def _final(self, suffix: str) -> Path:
        return self._directory / f"{self._stem}.{suffix}"

    def _taken(self, suffix: str) -> ImageExists:
        path = str(self._final(suffix))
        return ImageExists(f"{path!r} is there already; pass overwrite=True to replace it", path=path)


def _likely(url: str, compress: Mapping[str, object] | None) -> str:
    """Return the suffix that the file is going to have, as far as that can be told; else an empty string."""
    wanted = (compress or {}).get("output")
    suffix = str(wanted) if wanted else PurePosixPath(_bare(url)).suffix[1:].lower()
    return suffix if suffix in SUFFIXES.values() else ""


def _suffix(head: bytes, url: str) -> str:
    kind = image_type(head[:HEAD])
    if kind is None:
        raise DownloadError("what came is no PNG, JPEG, WebP or GIF", url=_bare(url))
    return SUFFIXES[kind]


def _in_passing(error: OmgmjError) -> bool:
    if isinstance(error, DownloadError):
        return error.status in (408, 429) or error.status >= 500
    return True


def _bare(url: str) -> str:
    """Return a URL without its query, which may be a signature, and without a user."""
    return re.sub("//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])
