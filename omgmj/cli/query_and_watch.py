"""The commands that take task IDs and show records: `query` asks once, `watch` waits for the ends.

All that they do with tasks is done by `Session`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from omgmj.cli.live_rows import watching
from omgmj.cli.options import PROGRESS_DEFAULTS, From, Ids, ProgressOptions, Timeout, above_zero, again
from omgmj.cli.resume_advice import resume_advice
from omgmj.cli.runner import each, run_with_settings
from omgmj.cli.task_ids import gather_ids
from omgmj.cli.view import View
from omgmj.errors import AuthError, OmgmjError, UsageError
from omgmj.models import Task

if TYPE_CHECKING:
    from omgmj.session import Session

QUERIES_AT_ONCE = 64
"""Queries that `query` begins before the first of them is shown."""


def query(*task_ids: Ids, from_: From = None, shared: ProgressOptions = PROGRESS_DEFAULTS) -> int:
    """Query each task once and show its record."""
    wanted = gather_ids(task_ids, from_)

    async def work(session: Session, view: View) -> None:
        last = asyncio.Event()  # Set when what was begun last is shown, and with it all that was begun before.
        last.set()

        async def query_one(task_id: int) -> None:
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

        await each(wanted.all(view), QUERIES_AT_ONCE, query_one)

    view = wanted.view(shared.progress)
    command = partial(again, "query", shared=shared)
    return run_with_settings(work, view, lambda: resume_advice(view.tally, command, unread=wanted.unread), shared)


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
    shared: ProgressOptions = PROGRESS_DEFAULTS,
) -> int:
    """Wait for all tasks to end and show each one's final record as it finishes."""
    wanted = gather_ids(task_ids, from_)

    async def work(session: Session, view: View) -> None:
        coming = None if wanted.are_known else wanted.all(view)
        async with watching(session, view, coming, timeout=timeout, stall=stall) as watched:
            async for task in watched:
                view.record(task)

    view = wanted.view(shared.progress)
    command = partial(again, "watch", shared=shared, timeout=timeout, stall=stall)
    return run_with_settings(work, view, lambda: resume_advice(view.tally, command, unread=wanted.unread), shared)
