"""The command line: commands, their arguments, exit codes.

All that it does with tasks is done by `Session`; what is shown is `screen`'s business, settings are `settings`'.
aiohttp takes longer to import than the rest, so what needs it is imported by the commands themselves.
"""

from __future__ import annotations

import asyncio
import io
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

from cyclopts import App, CycloptsError, Parameter

from omgmj.errors import AuthError, OmgmjError, UsageError
from omgmj.protocol import check_task_id
from omgmj.screen import View, complain, drop_output

if TYPE_CHECKING:
    from omgmj.session import Session

OK, FAILED, USAGE, INTERRUPTED, PIPE_CLOSED, TERMINATED = 0, 1, 2, 130, 141, 143
ASKED_AT_ONCE = 64
"""Looks of `query` that are begun before the first of them is shown."""
DEMO_RATE = 200.0
"""Requests a second that the demo allows itself: the service is its own."""

app: App = App(
    name="omgmj",
    help="Wait for OhMyGPT's Midjourney tasks.",
    help_format="plaintext",
    help_epilogue=(
        "The token comes from OMGMJ_TOKEN, or from ~/.config/omgmj/config.toml (token, base_url, rate). "
        "Exit codes: 0 all well, 1 some tasks failed or could not be resolved, 2 wrong usage, 130 interrupted."
    ),
    version=lambda: metadata.version("omgmj"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None: this process's own) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # An emoji that the terminal cannot show is no reason to stop.
    try:
        try:
            code = app(arguments, exit_on_error=False, print_error=False)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except (CycloptsError, UsageError) as error:
        said, code = str(error), USAGE
    except OmgmjError as error:
        said, code = f"{type(error).__name__}: {error}", FAILED
    except KeyboardInterrupt:
        said, code = "interrupted", INTERRUPTED
    except BrokenPipeError:
        drop_output()
        return PIPE_CLOSED
    except OSError as error:
        drop_output()
        said, code = str(error), FAILED
    else:
        return code if isinstance(code, int) else OK  # The help and the version have none.
    complain(said)
    return code


@app.command
def query(*task_ids: Ids, from_: From = None, rate: Rate = None) -> int:
    """Look at each task once and show its record."""
    ids = _gather_ids(task_ids, from_)

    async def work(session: Session, view: View) -> None:
        begun = (asyncio.create_task(session.query(task_id)) for task_id in ids)  # Each when it is drawn.
        asked = deque(islice(begun, ASKED_AT_ONCE))
        try:
            while asked:
                try:
                    view.record(await asked.popleft())
                except (AuthError, UsageError):
                    raise
                except OmgmjError as error:
                    view.unresolved(error)
                asked.extend(islice(begun, 1))
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    return _run_with_settings(work, ids, rate, again="omgmj query")


@app.command
def watch(
    *task_ids: Ids,
    from_: From = None,
    timeout: Annotated[float | None, Parameter(help="Seconds to wait for each task; for ever if not given.")] = None,
    stall: Annotated[
        float | None, Parameter(help="Seconds without any change after which a task is given up; 3600 if not given.")
    ] = None,
    rate: Rate = None,
) -> int:
    """Wait for all tasks to end and show each one's final record as it finishes."""
    ids = _gather_ids(task_ids, from_)

    async def work(session: Session, view: View) -> None:
        from omgmj.session import STALL  # noqa: PLC0415 (imports aiohttp)

        bound = STALL if stall is None else stall
        async with session.watch(ids, timeout=timeout, stall=bound, on_error=view.unresolved) as watched:
            async for task in watched:
                view.record(task)

    return _run_with_settings(work, ids, rate, again="omgmj watch")


@app.command
def demo(
    *,
    tasks: Annotated[int, Parameter(help="How many tasks there are.")] = 24,
    failing: Annotated[int, Parameter(help="How many of them fail.")] = 0,
    seed: Annotated[int, Parameter(help="Another number draws other lives.")] = 0,
) -> int:
    """Watch tasks of a make-believe service on this machine to their ends; no token is needed."""
    from omgmj.backoff import Adaptive  # noqa: PLC0415 (for this command only)
    from omgmj.session import Session  # noqa: PLC0415 (imports aiohttp)
    from omgmj.testing import FakeService  # noqa: PLC0415 (imports aiohttp)

    fake = FakeService(tasks=tasks, failing=failing, seed=seed, lives="short", epoch=datetime.now(UTC))

    async def work(view: View) -> None:
        async with fake:
            url = await fake.serve()
            # The demo's lives are a tenth of real ones, and so is what the policy is set to.
            quick = Adaptive(first=0.8, least=0.14, cap=2.0)
            session = Session(fake.token, base_url=url, rate=DEMO_RATE, backoff=quick)
            async with session, session.watch(fake.task_ids, on_error=view.unresolved) as watched:
                async for task in watched:
                    view.record(task)

    return _run(work, fake.task_ids, again=None)


# Where the IDs come from.


def _gather_ids(given: Iterable[str], source: str | None) -> list[int]:
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


# Running.


def _run_with_settings(
    work: Callable[[Session, View], Awaitable[None]], ids: list[int], rate: float | None, *, again: str
) -> int:
    """Run `work` as `_run` does, with a session such as the environment and the config file want it."""
    from omgmj.settings import read_settings  # noqa: PLC0415 (imports aiohttp)

    settings = read_settings()
    session = settings.session(rate)

    async def with_session(view: View) -> None:
        async with session:
            await work(session, view)

    try:
        return _run(with_session, ids, again=again)
    except AuthError as error:
        raise AuthError(f"{error}; {settings.about_token}") from None


def _run(work: Callable[[View], Awaitable[None]], ids: list[int], *, again: str | None) -> int:
    """Run `work` until it ends or a signal ends it, and return the exit code.

    `again` is the command that goes on with IDs that are left; None: they are gone.
    """
    terminated = False

    async def run() -> None:
        loop, main_task = asyncio.get_running_loop(), asyncio.current_task()

        def stop(*_: object) -> None:
            nonlocal terminated
            terminated = True
            if main_task is not None:
                loop.call_soon_threadsafe(main_task.cancel)

        before = signal.signal(signal.SIGTERM, stop)
        try:
            await work(view)
        finally:
            signal.signal(signal.SIGTERM, before)

    view = View(ids)
    try:
        with view:
            asyncio.run(run())
    except (KeyboardInterrupt, asyncio.CancelledError):
        complain(view.way_on(again))
        return TERMINATED if terminated else INTERRUPTED
    return FAILED if view.failed or view.lost else OK
