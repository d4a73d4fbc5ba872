"""The command line: the program and its exit codes, and the commands that look at tasks.

All that they do with tasks is done by `Session`; what is shown is `screen`'s business, settings are `settings`'.
aiohttp takes longer to import than the rest, so what needs it is imported by the commands themselves.
"""

from __future__ import annotations

import asyncio
import io
import shlex
import sys
from collections import deque
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from itertools import islice
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Parameter, UnknownOptionError, UnusedCliTokensError

from omgmj.creating import act, blend, describe, imagine
from omgmj.errors import AuthError, OmgmjError, UsageError
from omgmj.gallery import download, list_tasks
from omgmj.options import From, Ids, Progress, Rate, Timeout, above_zero, again, gather_ids
from omgmj.playground import demo, serve
from omgmj.rows import watching
from omgmj.runs import FAILED, INTERRUPTED, OK, PIPE_CLOSED, USAGE, cancel, run_with_settings
from omgmj.screen import Output, View, complain, drop

if TYPE_CHECKING:
    from omgmj.session import Session

ASKED_AT_ONCE = 64
"""Looks of `query` that are begun before the first of them is shown."""

app: App = App(
    name="omgmj",
    help="Make OhMyGPT's Midjourney tasks, wait for them, and fetch their images.",
    help_format="plaintext",
    help_epilogue=(
        "The token comes from OMGMJ_TOKEN, or from ~/.config/omgmj/config.toml (token, base_url, rate). "
        "Exit codes: 0 all well, 1 some tasks failed, could not be resolved or not be downloaded, 2 wrong usage, "
        "3 a task may have been made or not, as the answer was lost, 129 hung up, 130 interrupted, "
        "141 nobody reads the output, 143 terminated."
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
    """Look at each task once and show its record."""
    ids = gather_ids(task_ids, from_)

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
            await cancel(asked)

    view = View(ids, progress)
    return run_with_settings(work, view, lambda: view.way_on(partial(again, "query", rate=rate)), rate=rate)


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
    ids = gather_ids(task_ids, from_)

    async def work(session: Session, view: View) -> None:
        async with watching(session, view, timeout=timeout, stall=stall) as watched:
            async for task in watched:
                view.record(task)

    view = View(ids, progress)
    return run_with_settings(
        work, view, lambda: view.way_on(partial(again, "watch", timeout=timeout, stall=stall, rate=rate)), rate=rate
    )


for _command in (demo, serve, imagine, act, describe):
    app.command(_command)
app.command(blend, usage="Usage: omgmj blend [OPTIONS] IMAGES...")
app.command(download, usage="Usage: omgmj download --to PATH [OPTIONS] TASK_IDS...")
app.command(list_tasks, name="list")
