"""The command line: the program and its exit codes, and the commands that query tasks.

All that they do with tasks is done by `Session`; what is shown is `view`'s business, settings are `config`'s.
aiohttp takes longer to import than the rest, so what needs it is imported by the commands themselves.
"""

from __future__ import annotations

import asyncio
import io
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Parameter, UnknownOptionError, UnusedCliTokensError

from omgmj.cli.create_tasks import act, blend, describe, imagine
from omgmj.cli.demo import demo, serve
from omgmj.cli.exit_codes import FAILED, INTERRUPTED, OK, PIPE_CLOSED, USAGE
from omgmj.cli.list_tasks import download, list_tasks
from omgmj.cli.live_rows import watching
from omgmj.cli.options import From, Ids, Progress, Rate, Timeout, above_zero, again
from omgmj.cli.runner import each, run_with_settings
from omgmj.cli.task_ids import gather_ids
from omgmj.cli.view import Output, View, complain, drop
from omgmj.errors import AuthError, OmgmjError, UsageError
from omgmj.models import Task

if TYPE_CHECKING:
    from omgmj.session import Session

ASKED_AT_ONCE = 64
"""Queries of `query` that are begun before the first of them is shown."""

app: App = App(
    name="omgmj",
    help="Make OhMyGPT's Midjourney tasks, wait for them, and fetch their images.",
    help_format="plaintext",
    help_epilogue=(
        "The token comes from OMGMJ_TOKEN, or from ~/.config/omgmj/config.toml (token, base_url, rate). "
        "Exit codes: 0 all well, 1 some tasks failed, could not be resolved or not be downloaded, 2 wrong usage, "
        "3 a task may have been made or not, as the answer was lost, 129 hung up, "
        f"{INTERRUPTED} interrupted, {PIPE_CLOSED} nobody reads the output, 143 terminated."
    ),
    version=lambda: metadata.version("omgmj"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None: this process's own) and return its exit code."""
    if sys.stdout is None:
        complain("standard output is closed: nobody would learn what comes of the command")
        return USAGE
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # An emoji that the terminal cannot show is no reason to stop.
    try:
        return _run(arguments)
    except UsageError as error:
        said, code = str(error), USAGE
    except OmgmjError as error:
        said, code = f"{type(error).__name__}: {error}", FAILED
    except KeyboardInterrupt:
        said, code = "interrupted", INTERRUPTED
    except BrokenPipeError:
        drop(sys.stdout)
        return PIPE_CLOSED
    except OSError as error:
        drop(sys.stdout)
        said, code = f"cannot write the output: {error.strerror or error}", FAILED
    complain(said)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = app(arguments, console=Output(), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(_plainly(error)) from None
    finally:
        sys.stdout.flush()
    return code if isinstance(code, int) else OK  # The help and the version have none.


def _plainly(error: CycloptsError) -> str:
    """Return what is wrong with a command line."""
    said = str(error)
    if isinstance(error, UnusedCliTokensError):
        said = f"Unexpected argument: {shlex.join(error.unused_tokens or ())}."
    if error.target is imagine and isinstance(error, UnknownOptionError | UnusedCliTokensError):
        said += " The prompt is one argument: put it in quotes, and after -- where it begins with a dash."
    return said


@app.command(usage="Usage: omgmj query [OPTIONS] TASK_IDS...")
def query(*task_ids: Ids, from_: From = None, rate: Rate = None, progress: Progress = "auto") -> int:
    """Query each task once and show its record."""
    wanted = gather_ids(task_ids, from_)

    async def work(session: Session, view: View) -> None:
        last = asyncio.Event()  # Set when what was begun last is shown, and with it all that was begun before.
        last.set()

        async def look(task_id: int) -> None:
            nonlocal last
            before, last = last, asyncio.Event()
            is_shown = last
            try:
                found: Task | OmgmjError = await session.query(task_id)
            except OmgmjError as error:
                found = error
            await before.wait()
            if isinstance(found, Task):
                view.record(found)
            elif isinstance(found, AuthError | UsageError):
                raise found
            else:
                view.unresolved(found)
            is_shown.set()

        await each(wanted.all(view), ASKED_AT_ONCE, look)

    view = View(wanted.known, progress)
    command = partial(again, "query", rate=rate)
    return run_with_settings(work, view, lambda: view.way_on(command, unread=wanted.unread), rate=rate)


@app.command(usage="Usage: omgmj watch [OPTIONS] TASK_IDS...")
def watch(
    *task_ids: Ids,
    from_: From = None,
    timeout: Timeout = None,
    stall: Annotated[
        float | None,
        Parameter(
            validator=above_zero,
            help="Seconds without any change after which a task is given up; 3600 if not given.",
        ),
    ] = None,
    rate: Rate = None,
    progress: Progress = "auto",
) -> int:
    """Wait for all tasks to end and show each one's final record as it finishes."""
    wanted = gather_ids(task_ids, from_)

    async def work(session: Session, view: View) -> None:
        coming = None if wanted.are_known else wanted.all(view)
        async with watching(session, view, coming, timeout=timeout, stall=stall) as watched:
            async for task in watched:
                view.record(task)

    view = View(wanted.known, progress)
    command = partial(again, "watch", timeout=timeout, stall=stall, rate=rate)
    return run_with_settings(work, view, lambda: view.way_on(command, unread=wanted.unread), rate=rate)


for _command in (demo, serve, imagine, act, describe):
    app.command(_command)
app.command(blend, usage="Usage: omgmj blend [OPTIONS] IMAGES...")
app.command(download, usage="Usage: omgmj download --to PATH [OPTIONS] TASK_IDS...")
app.command(list_tasks, name="list")
