"""Watching on behalf of a command: the records as they come, and how far the others are.

The rows cost no request: they hear what the watch polls anyway, as all who wait for one ID share its polls.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from omgmj.backoff.policies import Fixed
from omgmj.cli.progress_bar import ROWS
from omgmj.cli.runner import cancel
from omgmj.cli.view import View
from omgmj.errors import OmgmjError

if TYPE_CHECKING:
    from omgmj.polling.watch import Watch
    from omgmj.session import Session

ONLY_HEARS = Fixed(86400)
"""The policy of a row, which would poll by itself later than any watch does."""


@contextlib.asynccontextmanager
async def watching(
    session: Session,
    view: View,
    coming: AsyncGenerator[int, None] | None = None,
    *,
    timeout: float | None = None,
    stall: float | None = None,
) -> AsyncIterator[Watch]:
    """Watch the IDs that `view` expects, or those `coming`; seconds, and `stall` None is the library's own."""
    from omgmj.session.waiting import STALL  # noqa: PLC0415 (imports aiohttp)

    bound = STALL if stall is None else stall
    rows = _Rows(session, view)
    ids = list(view.tally.left) if coming is None else _told(coming, rows)
    async with session.watch(ids, timeout=timeout, stall=bound, on_error=view.unresolved) as watched:
        try:
            if view.display.has_rows:
                rows.begin()
            yield watched
        finally:
            await rows.end()


async def _told(coming: AsyncGenerator[int, None], rows: _Rows) -> AsyncIterator[int]:
    """Pass IDs on, and have them shown where there is room for a row."""
    async with contextlib.aclosing(coming):
        async for task_id in coming:
            rows.follow_more()
            yield task_id


class _Rows:
    """The rows of a view: each follows a task until the view expects it no more, and then the next one."""

    def __init__(self, session: Session, view: View) -> None:
        self._session = session
        self._view = view
        self._is_open = False
        self._followers: dict[int, asyncio.Task[None]] = {}

    def begin(self) -> None:
        self._is_open = True
        self._view.on_end = self._leave
        self.follow_more()

    async def end(self) -> None:
        self._is_open = False
        self._view.on_end = None
        await cancel(list(self._followers.values()))

    def follow_more(self) -> None:
        room = ROWS - len(self._followers) if self._is_open else 0
        for task_id in islice((task_id for task_id in self._view.tally.left if task_id not in self._followers), room):
            follower = self._followers[task_id] = asyncio.create_task(self._follow(task_id))
            follower.add_done_callback(partial(self._free, task_id))

    async def _follow(self, task_id: int) -> None:
        self._view.display.going(task_id)
        with contextlib.suppress(OmgmjError):  # The watch tells of it.
            async with self._session.follow(task_id, stall=None, backoff=ONLY_HEARS) as changes:
                async for task in changes:
                    self._view.display.going(task_id, task)
        await asyncio.get_running_loop().create_future()  # Until the view has heard of the end too.

    def _leave(self, task_id: int) -> None:
        if task_id in self._followers:
            self._followers[task_id].cancel()

    def _free(self, task_id: int, _: object) -> None:
        del self._followers[task_id]
        self.follow_more()
