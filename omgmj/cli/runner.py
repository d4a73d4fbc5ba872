"""How a command of the command line is run: its session, what ends it early, and the exit code then.

What the commands do is their own business; what is shown is `view`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from omgmj.cli.config import read_settings
from omgmj.cli.exit_codes import FAILED, INTERRUPTED, OK, SIGNALLED
from omgmj.cli.options import ServiceOptions
from omgmj.cli.terminal import complain
from omgmj.cli.view import View
from omgmj.errors import AuthError

if TYPE_CHECKING:
    from omgmj.session import Session

TICK = 0.25
"""Seconds after which it is shown anew how far it is."""


def run_with_settings(
    work: Callable[[Session, View], Awaitable[None]],
    view: View,
    way_on: Callable[[], str],
    shared: ServiceOptions,
) -> int:
    """Run `work` as `run` does, with a session such as options, environment and config file want it."""
    settings = read_settings()
    session = settings.session(shared)

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
            # In the loop, as a handler may run in the middle of a line that is being written.
            todo = _moving(view)
            for moved in todo:
                before = signal.signal(moved, lambda number, _: loop.call_soon_threadsafe(todo[number]))
                handlers.callback(signal.signal, moved, before)
            with view:
                showing = asyncio.create_task(_show(view))
                try:
                    await work()
                finally:
                    await cancel([showing])

    try:
        asyncio.run(until_signal())
    except (KeyboardInterrupt, asyncio.CancelledError):
        complain(way_on())
        return code
    return OK if view.tally.is_well else FAILED


async def each(ids: AsyncGenerator[int, None], at_once: int, work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    """Do `work` for each ID as it comes, for `at_once` of them at a time; what is raised for one ends all."""
    places = asyncio.Semaphore(at_once)

    async def do(task_id: int) -> None:
        try:
            await work(task_id)
        finally:
            places.release()

    try:
        async with contextlib.aclosing(ids), asyncio.TaskGroup() as group:
            await places.acquire()
            async for task_id in ids:
                group.create_task(do(task_id))
                await places.acquire()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _show(view: View) -> None:
    while True:
        await asyncio.sleep(TICK)
        view.display.tick()


def _suspend(view: View) -> None:
    """Stop this process, as Ctrl-Z wants it, and leave the terminal to the shell before."""
    view.display.pause()
    before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTSTP)  # Over when the process is continued.
    signal.signal(signal.SIGTSTP, before)


async def cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they are over."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _ending() -> list[signal.Signals]:
    """Return the signals that end a command besides an interrupt, less those ignored, as by nohup."""
    known = [number for number in signal.Signals if number.name in ("SIGHUP", "SIGTERM")]
    return [number for number in known if signal.getsignal(number) != signal.SIG_IGN]


def _moving(view: View) -> dict[int, Callable[[], None]]:
    """Return the handlers of the signals of job control and resizing, which only POSIX has."""
    if not view.display.has_bar or not hasattr(signal, "SIGTSTP"):
        return {}
    todo: dict[int, Callable[[], None]] = {signal.SIGCONT: view.display.resume, signal.SIGWINCH: view.display.tick}
    if signal.getsignal(signal.SIGTSTP) != signal.SIG_IGN:
        todo[signal.SIGTSTP] = partial(_suspend, view)
    return todo
