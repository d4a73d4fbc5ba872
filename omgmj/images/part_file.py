"""The file of an image while it is not whole: beside its final name, which it gets when it is.

Its content is `download`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from omgmj.errors import DownloadError, ImageExists, OmgmjError, UsageError
from omgmj.threads import own_thread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class PartFile:
    """One file on its way to its final name, `task-ID.suffix`. One thread does all it is told, in that order."""

    _file: FileIO

    def __init__(self, directory: str | os.PathLike[str], task_id: int, *, overwrite: bool) -> None:
        if not isinstance(directory, str | os.PathLike) or not isinstance(os.fspath(directory), str):
            raise UsageError(f"directory must be a path, not {type(directory).__name__}")
        self._directory = Path(directory)
        self._stem = f"task-{task_id}"
        self._path = self._directory / f".{self._stem}.{secrets.token_hex(8)}.part"
        self._overwrite = overwrite
        self._open = contextlib.ExitStack()
        self._thread = own_thread()

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
        """Make the directory and the file; `UsageError` where it cannot."""
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
