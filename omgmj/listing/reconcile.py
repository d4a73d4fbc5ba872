"""The search for the task of a submission whose answer was lost, in the account's latest tasks.

What fits a submission is told by `protocol.submissions`. Nothing is sent again here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from omgmj.errors import OmgmjError
from omgmj.listing.tasks import Fetch, Tasks
from omgmj.models import Reconciled, Submission, Task
from omgmj.protocol.failures import Meaning, meaning
from omgmj.protocol.messages import PAGE_MOST
from omgmj.protocol.submissions import bears_webhook, fits

OLD = 10
"""Tasks in a row that are too old, after which no other is expected: the clocks of one service differ."""
UNDATED = 200
"""Tasks in a row that tell no submit time, after which the search ends: nothing else would end it."""
SLACK = timedelta(seconds=10)
"""Time by which a task may seem to be made before it was sent: clocks differ, and are read in whole seconds."""
FIRST, FACTOR, CAP = 1.0, 2.0, 15.0
"""Seconds between the first search and the second, their growth, and seconds at most."""


async def reconcile(
    fetch: Fetch,
    submission: Submission,
    since: datetime,
    *,
    ahead: Callable[[], timedelta],
    is_known: Callable[[int], bool],
) -> Reconciled:
    """Return the tasks made after `since`, by this machine's clock, that may have come of a submission; newest first.

    `ahead` tells how far the service's clock is ahead of ours, once the first page was fetched. IDs that are known
    came as the answers to other submissions, and are left out. The only task that was read with the submission's
    webhook is the one, whatever else it says; a webhook that others have too tells nothing of them apart.
    """
    found, old, undated = Reconciled(), 0, 0
    bearers: list[Task | None] = []  # those with its webhook; None: too old, or another's
    async with Tasks(fetch, PAGE_MOST) as tasks:
        async for task in tasks:
            made = task.submitted_at  # by the service's clock
            if made is None:
                undated += 1
            else:
                undated = 0
                old = old + 1 if since - made + ahead() > SLACK else 0
                found.looked_back_to = min(made, found.looked_back_to or made)
            may_be = not old and not is_known(task.id)
            if bears_webhook(task, submission):
                bearers.append(task if may_be else None)
            if may_be and fits(task, submission):
                found.append(task)
            if old == OLD or undated == UNDATED:
                break  # All behind them are older still, as far as can be told.
    if len(bearers) == 1 and bearers[0] is not None:
        found[:] = [bearers[0]]
    return found


async def until_found(
    search: Callable[[], Awaitable[Reconciled]], seconds: float, pause: Callable[[float], Awaitable[None]]
) -> Reconciled:
    """Search until something is found, or so many seconds are over.

    What fails in passing is waited out, as a list is that shows nothing yet.
    """
    now = asyncio.get_running_loop().time
    until, delay = now() + seconds, FIRST
    while True:
        is_last = now() >= until
        try:
            found = await search()
            if found or is_last:
                return found
        except OmgmjError as error:
            if is_last or meaning(error) not in (Meaning.TRANSIENT, Meaning.PACED):
                raise
        await pause(max(0.0, min(delay, until - now())))
        delay = min(CAP, delay * FACTOR)
