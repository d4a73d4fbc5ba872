"""The search for the task of a submission whose answer was lost, in the account's latest tasks.

What fits a submission is told by `protocol.submissions`. Nothing is sent again here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from omgmj.listing.tasks import Fetch, Tasks
from omgmj.models import Reconciled, Submission
from omgmj.protocol.messages import PAGE_MOST
from omgmj.protocol.submissions import fits

OLD = 10
"""Tasks in a row that are too old, after which no other is expected: the clocks of one service differ."""
UNDATED = 200
"""Tasks in a row that tell no submit time, after which the search ends: nothing else would end it."""
SLACK = timedelta(seconds=10)
"""Time by which a task may seem to be made before it was sent: clocks differ, and are read in whole seconds."""


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
    came as the answers to other submissions, and are left out.
    """
    found, old, undated = Reconciled(), 0, 0
    async with Tasks(fetch, PAGE_MOST) as tasks:
        async for task in tasks:
            made = task.submitted_at  # by the service's clock
            if made is None:
                undated += 1
            else:
                undated = 0
                old = old + 1 if since - made + ahead() > SLACK else 0
                found.looked_back_to = min(made, found.looked_back_to or made)
            if not old and not is_known(task.id) and fits(task, submission):
                found.append(task)
            if old == OLD or undated == UNDATED:
                break  # All behind them are older still, as far as can be told.
    return found
