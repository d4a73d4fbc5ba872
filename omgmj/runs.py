"""How a command of the command line is run: its exit codes, its session, what ends it early, and the IDs it is about.

What the commands do is their own business, in `cli`, `creating` and `gallery`; what is shown is `screen`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

from cyclopts import Parameter

from omgmj.checks import check_task_id
from omgmj.errors import AuthError, UsageError
from omgmj.screen import View, complain

if TYPE_CHECKING:
    from omgmj.session import Session

OK, FAILED, USAGE, UNCERTAIN = 0, 1, 2, 3
INTERRUPTED, PIPE_CLOSED = 130, 141
SIGNALLED = 128
"""What is added to the number of the signal that ended a command: 129 for SIGHUP, 143 for SIGTERM."""

Ids = Annotated[str, Parameter(help="Task IDs.")]
From = Annotated[
    str | None,
    Parameter(
        name="--from",
        help="A file with more IDs, one a line; - is standard input. Blank lines and # comments are skipped.",
        allow_leading_hyphen=True,
    ),
]
Rate = Annotated[float | None, Parameter(help="Requests a second at most; 20, unless the config file says otherwise.")]


def run_with_settings(
    work: Callable[[Session, View], Awaitable[None]],
    view: View,
    way_on: Callable[[], str],
    *,
    rate: float | None = None,
) -> int:
    """Run `work` as `run` does, with a session such as the environment and the config file want it."""
    from omgmj.settings import read_settings  # noqa: PLC0415 (imports aiohttp)

    settings = read_settings()
    session = settings.session(rate)

    async def with_session() -> None:
        async with session:
            await work(session, view)

    try:
        return run(with_session, view, way_on)
    except AuthError as error:
        raise AuthError(f"{error}; {settings.about_token}") from None


def run(work: Callable[[], Awaitable[None]], view: View, way_on: Callable[[], str]) -> int:
    """Run `work` until it ends or a signal ends it, and return the exit code; `way_on` tells what is said then."""
    code = INTERRUPTED

    async def until_signal() -> None:
        loop, main_task = asyncio.get_running_loop(), asyncio.current_task()

        def stop(number: int, _: object) -> None:
            nonlocal code
            code = SIGNALLED + number
            if main_task is not None:
                loop.call_soon_threadsafe(main_task.cancel)

        with contextlib.ExitStack() as handlers:
            for number in _ending():
                handlers.callback(signal.signal, number, signal.signal(number, stop))
            await work()

    try:
        with view:
            asyncio.run(until_signal())
    except (KeyboardInterrupt, asyncio.CancelledError):
        complain(way_on())
        return code
    return FAILED if view.failed or view.lost else OK


def _ending() -> list[signal.Signals]:
    """Return the signals that end a command besides an interrupt, but those that are to be ignored, as by nohup."""
    known = [number for number in signal.Signals if number.name in ("SIGHUP", "SIGTERM")]
    return [number for number in known if signal.getsignal(number) != signal.SIG_IGN]


def check_directory(path: Path) -> Path:
    """Return a directory that files can be put into, made where it was missing; `UsageError` where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UsageError(f"cannot write into {str(path)!a}: {reason or error}") from None
    return path


def gather_ids(given: Iterable[str], source: str | None) -> list[int]:
    """Return the IDs of the command line and of the file, each once, or `UsageError` that says where one is wrong."""
    ids = [check_task_id(text) for text in given]
    if source is not None:
        name = "standard input" if source == "-" else source
        try:
            with _open(source) as lines:
                ids.extend(_read_ids(lines, name))
        except OSError as error:
            raise UsageError(f"cannot read {name}: {error.strerror or error}") from None
        if not ids:
            complain(f"no task IDs in {name}")
    elif not ids:
        raise UsageError("no task IDs were given: name some, or use --from FILE")
    return list(dict.fromkeys(ids))


def _open(source: str) -> TextIO:
    if source != "-":
        return Path(source).open(encoding="utf-8-sig", errors="replace")
    if sys.stdin is None:
        raise OSError("it is closed")
    return open(sys.stdin.fileno(), encoding="utf-8-sig", errors="replace", closefd=False)


def _read_ids(lines: Iterable[str], name: str) -> Iterable[int]:
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                yield check_task_id(text)
            except UsageError as error:
                raise UsageError(f"{name}, line {number}: {error}") from None
