"""The task IDs of a command: from its arguments, from a file, or from a stream that may never end.

A line names a task by its ID, or is one of our own JSON lines. A file on disk is read whole before anything is sent; a
pipe or a terminal is read as it comes, and no faster than its IDs are wanted.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import io
import os
import reprlib
import select
import stat
import sys
import threading
from collections.abc import AsyncGenerator, Iterable
from concurrent.futures import Future
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, cast

from omgmj.cli.terminal import complain
from omgmj.cli.view import View
from omgmj.errors import DecodeError, UsageError
from omgmj.protocol.responses import loads
from omgmj.validation import check_task_id

CHUNK = 16 * 1024
"""Bytes that are read at once; the event loop gets its turn before the next ones."""
LONGEST = 1024 * 1024
"""Characters that a line may have; a record has some two thousand."""
NAMED = 20
"""Wrong lines in a row that are shown one by one; more are only counted."""


def read_task_id(given: object) -> int:
    """Parse a task ID, typed or from a record; `UsageError` if it is none."""
    try:
        return check_task_id(given)
    except UsageError:
        shown = reprlib.repr(given)
        raise UsageError(f"a task ID is a whole number of at most 19 digits, such as 3432, not {shown}") from None


def gather_ids(given: Iterable[str], source: str | None) -> Wanted:
    """Return the IDs of the command line and of the file; `UsageError` says where one is wrong.

    What is no file on disk is only opened: it is read when its IDs are wanted.
    """
    ids = [read_task_id(text) for text in given]
    if source is None:
        if not ids:
            raise UsageError("no task IDs were given: name some, or use --from FILE")
        return Wanted(ids)
    name = "standard input" if source == "-" else source
    try:
        file = _open(source)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            stream = _Stream(file, name)
            if stream.is_typed:
                complain("type task IDs, one a line; Ctrl-D ends them")
            return Wanted(ids, stream)
        with file:
            ids += _read_ids(file, name)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror or error}") from None
    if not ids:
        complain(f"no task IDs in {name}")
    return Wanted(ids)


class Wanted:
    """The task IDs of a command: `known` ones, each once, and those still to come from a stream."""

    def __init__(self, known: Iterable[int], stream: _Stream | None = None) -> None:
        self.known: list[int] = list(dict.fromkeys(known))
        self._stream = stream

    @property
    def are_known(self) -> bool:
        """Whether no other can come than the known ones."""
        return self._stream is None

    async def all(self, view: View) -> AsyncGenerator[int, None]:
        """Yield the known IDs, which `view` expects, and those of the stream as they come, when it expects them too.

        One that the view expects already is not yielded once more; which ones were done before, nobody keeps.
        A line that names no task is shown there, as one more that came to nothing. It ends nothing.
        """
        for task_id in self.known:
            yield task_id
        if self._stream is None:
            return
        wrong, came = 0, bool(self.known)
        async with contextlib.aclosing(self._stream.lines(view)) as lines:
            async for place, line in lines:
                try:
                    found = _read_line(line)
                except UsageError as error:
                    wrong += 1
                    more = "; more such lines are counted, and not shown" if wrong == NAMED else ""
                    view.refused(f"{place}: {error}{more}" if wrong <= NAMED else "")
                else:
                    if found is not None:
                        wrong, came = 0, True
                        if found not in view.tally.left:
                            view.expect([found])
                            yield found
        if not came and not view.tally.lost:
            complain(f"no task IDs in {self._stream.name}")

    def view(self, progress: str) -> View:
        """Return what shows a run over the IDs; a bar would be drawn over what is typed on a terminal."""
        is_typed = self._stream is not None and self._stream.is_typed
        return View(self.known, "plain" if is_typed and progress == "auto" else progress)

    @property
    def unread(self) -> str:
        """The name of a stream that may hold more IDs; empty if there is none."""
        return "" if self._stream is None or self._stream.is_over else self._stream.name


class _Stream:
    """What brings lines and does not say when it ends: a pipe, a terminal, a device."""

    def __init__(self, file: io.FileIO, name: str) -> None:
        self.name = name
        self.is_typed: bool = file.isatty()
        self.is_over: bool = False
        self._file = file

    async def lines(self, view: View) -> AsyncGenerator[tuple[str, str], None]:
        """Yield each line with its place; `view` shows a read error, which ends the stream."""
        lines = _Lines()
        while True:
            try:
                data = await self._read()
            except OSError as error:
                view.refused(f"cannot read {self.name} any further: {error.strerror or error}")
                break  # What is left of a line may be half an ID.
            for number, line in lines.take(data):
                yield f"{self.name}, line {number}", line
            if not data:
                break
        self.is_over = True
        self._file.close()

    async def _read(self) -> bytes:
        """Return what comes next, nothing at the end.

        A thread waits for it, as nothing else can wait for pipes, terminals and devices alike. It is a daemon: one that
        waits for ever does not keep the process from its end.
        """
        come: Future[bytes] = Future()
        come.set_running_or_notify_cancel()  # From now on nobody's cancellation reaches the thread.

        def read() -> None:
            try:
                while (data := self._file.read(CHUNK)) is None:
                    select.select([self._file], [], [])  # Whoever shares it has told it not to wait.
                come.set_result(data)
            except OSError as error:
                come.set_exception(error)

        threading.Thread(target=read, name="omgmj-stream", daemon=True).start()
        return await asyncio.wrap_future(come)


class _Lines:
    """Cuts what comes into numbered lines; of a line that is too long not much more is kept than shows that it is."""

    def __init__(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self._rest = ""
        self._number = 0

    def take(self, data: bytes) -> Iterable[tuple[int, str]]:
        """Return the lines that have come to their ends; no data is the end of the last one."""
        text = self._rest + self._decoder.decode(data, final=not data)
        *lines, rest = text.split("\n")
        if not data:
            lines.append(rest)
        self._rest = rest[: LONGEST + 1]
        first = self._number + 1
        self._number += len(lines)
        return enumerate(lines, first)


def _open(source: str) -> io.FileIO:
    if source != "-":
        return Path(source).open("rb", buffering=0)
    if sys.stdin is None:
        raise OSError("it is closed")
    return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)


def _read_ids(file: io.FileIO, name: str) -> Iterable[int]:
    """Read a file on disk to its end."""
    lines = _Lines()
    for data in chain(iter(partial(file.read, CHUNK), b""), (b"",)):
        for number, line in lines.take(data):
            try:
                found = _read_line(line)
            except UsageError as error:
                raise UsageError(f"{name}, line {number}: {error}") from None
            if found is not None:
                yield found


def _read_line(line: str) -> int | None:
    """Return the ID that a line names, by itself or as the `taskId` of a record; None where it is blank."""
    text = line.strip()
    if len(text) > LONGEST:
        raise UsageError(f"it is longer than {LONGEST} characters")
    if not text.startswith("{"):
        text = text.partition("#")[0].rstrip()
        return read_task_id(text) if text else None
    try:
        record = cast("dict[str, Any]", loads(text.encode()))
    except DecodeError:
        raise UsageError(f"it is no JSON record on a line of its own: {reprlib.repr(text)}") from None
    if "taskId" not in record:
        raise UsageError(f"the record has no taskId: {reprlib.repr(text)}")
    return read_task_id(record["taskId"])
