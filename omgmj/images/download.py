"""A task's image goes to disk: streamed, checked, and under its final name only when it is whole.

The ways to it and WSRV's parameters are in `image_urls`, the bytes come from a transport, and `part_file` writes them.
How many downloads go on at once is the caller's business.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin

from omgmj.backoff.policies import Retry
from omgmj.client.retrying import retrying
from omgmj.client.ssrf import ForbiddenTarget
from omgmj.client.transport import Stream, Transport
from omgmj.errors import DownloadError, OmgmjError, TransportError, UsageError
from omgmj.images.media_type import HEAD, SUFFIXES, image_type
from omgmj.images.part_file import PartFile
from omgmj.models import Task
from omgmj.protocol.image_urls import Via, urls_by
from omgmj.protocol.responses import retry_after
from omgmj.validation import check_count, check_task_id

MAX_BYTES = 100 * 1024 * 1024
MAX_REDIRECTS = 5
RETRY = Retry(attempts=3)
"""Attempts of one way, and the delays between them."""
BLOCK = 64 * 1024
"""Bytes that are gathered before they are written."""
SLOW_FOR, SLOWEST = 60.0, 60_000
"""Seconds in which so many bytes must come, or the transfer is given up."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

Progress = Callable[[int, int | None], object]


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
    """Fetch the task's image into `directory`, made where it is missing; return the file's path.

    The file is named by the task's ID and by what the image is (PNG, JPEG, WebP or GIF): `task-3432.png`. It gets that
    name when it is whole; until then, and for good where the process is killed, it is `.task-3432.….part`. `via` is
    one of `image_urls.WAYS`, or `auto`: the next of them where one failed for good. `compress` is that of
    `omgmj.image_urls`.
    `on_progress` is called with the bytes so far, and of how many (None: not told); it starts again when a broken
    transfer does.

    `UsageError` before anything is fetched: wrong arguments, no image, a directory that cannot be written, and
    `ImageExists` unless `overwrite` is set; this may also come with the first bytes, as they tell the type.
    `DownloadError` where no way led to an image of at most `max_bytes`, or the disk failed.
    """
    if not isinstance(task, Task):
        raise UsageError(f"task must be an omgmj.Task, not {type(task).__name__}")
    if on_progress is not None and not callable(on_progress):
        raise UsageError(f"on_progress must be callable, not {type(on_progress).__name__}")
    if not isinstance(overwrite, bool):
        raise UsageError(f"overwrite must be True or False, not {type(overwrite).__name__}")
    check_count("max_bytes", max_bytes)
    if not callable(getattr(transport, "stream", None)):
        raise UsageError(f"this transport cannot download, as it has no stream: {type(transport).__name__}")
    urls = urls_by(task, via, compress)
    part = PartFile(directory, check_task_id(task.id), overwrite=overwrite)
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

    def __init__(self, transport: Transport, part: PartFile, max_bytes: int, on_progress: Progress | None) -> None:
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
        return await retrying(lambda: self._once(url), RETRY, what=_bare(url), passes=_in_passing)

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


def _likely(url: str, compress: Mapping[str, object] | None) -> str:
    """Return the suffix that the file is going to have; an empty string where nothing tells."""
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
    return isinstance(error, TransportError)


def _bare(url: str) -> str:
    """Return a URL without its query, which may be a signature, and without a user."""
    return re.sub("//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])
