"""What a session reads with a call of its own: records, pages of the account's list, images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from omgmj.errors import OmgmjError
from omgmj.images.download import MAX_BYTES, Progress, download
from omgmj.listing.tasks import Tasks, Words
from omgmj.models import Task, TaskPage
from omgmj.protocol import messages, responses
from omgmj.protocol.image_urls import Via
from omgmj.protocol.messages import PAGE_MOST, Answer, check_size
from omgmj.session.opening import Opening
from omgmj.validation import check_page, check_task_id


class Reading(Opening):
    """What asks the service, and changes nothing."""

    async def query(self, task_id: int | str) -> Task:
        """Query the task once and return its record as it is now.

        Transient failures are retried, by the session's `retry`. Raise `TaskNotFound`, `AuthError`, `RateLimited` or
        `ServiceError` (the service says no), `DecodeError` (its answer cannot be read), `TransportError` or
        `ExchangeTimeout` (there was none); `UsageError`, `SessionClosed`.

            task = await session.query(3432)
        """
        asked = check_task_id(task_id)
        engine = self._open()

        def read(answer: Answer) -> tuple[Task, Answer]:
            return responses.read_query(answer, asked, engine.poller.health.odd), answer

        if engine.must_yield():  # Asked here too: a coroutine for each query costs.
            await engine.begin()
        try:
            task, answer = await engine.exchange.call(messages.query_request(asked), read)
        except OmgmjError as error:
            error.task_id = asked
            raise
        engine.poller.feed(task, answer)
        return task

    async def page(self, number: int = 1, size: int = PAGE_MOST) -> TaskPage:
        """Return a page of the account's tasks, newest first: page `number`, from 1, of pages of 5 to 20.

        One request, with the errors of `query`, `UsageError` and `SessionClosed` too. A page beyond the end is empty. A
        record that cannot be read is left out; where none of several can, that is a `DecodeError`.
        Tasks created between two calls push others to later pages; `tasks` hides that.

            newest = await session.page(1, size=20)
        """
        number, size = check_page(number), check_size(size)
        return await self._open().page(number, size)

    def tasks(
        self,
        *,
        size: int = PAGE_MOST,
        status: Words | None = None,
        action: Words | None = None,
        since: datetime | None = None,
    ) -> Tasks:
        """List the account's tasks, newest first, each once: an async iterator that reads pages of `size` (5 to 20).

        Only those with a `status`, or one of several; with an `action` (the wire's word, `Task.kind`), or one of
        several; submitted at `since`, an aware datetime, or later, by the service's clock: reading stops soon after.

        Tasks created meanwhile make none slip past, nor come twice; they come themselves only on a page that is read
        anyway. Errors are those of `page`, `UsageError` and `SessionClosed` too. Leave it whenever you like.

            async for task in session.tasks(status="SUCCESS"):
                print(task.id, task.prompt)
        """
        checked = check_size(size)
        self._open()
        return Tasks(self.page, checked, status=status, action=action, since=since)

    async def download(
        self,
        task: Task,
        directory: str | os.PathLike[str],
        *,
        via: Via = "auto",
        compress: Mapping[str, object] | None = None,
        overwrite: bool = False,
        max_bytes: int = MAX_BYTES,
        on_progress: Progress | None = None,
    ) -> Path:
        """Download the task's image into `directory`, made if it is missing, and return the file's path.

        The file is named by the task's ID and by what the image is, `task-3432.png`, and appears when it is whole.
        `via` is `stored` (the service's object storage), `discord`, `wsrv` or `wsrv-stored` (the same through the proxy
        WSRV), or `auto`, which tries them in this order; `compress` gives WSRV's parameters, such as `{"w": 512,
        "output": "webp"}`. At most `max_bytes` are taken. `on_progress` is called with the bytes so far, and of how
        many (None: not told).

        Raise `ImageExists` for a file that is there, unless `overwrite` is set; `DownloadError` if no way led to an
        image, broken transfers begun again; `UsageError` before anything is fetched (arguments, a task without an
        image, a directory that cannot be written); `SessionClosed`. Downloads do not count in `rate`, and the token
        does not go with them.

            path = await session.download(task, "pictures")
        """
        engine = self._open()
        await engine.begin()
        with engine.exchange.open():
            return await download(
                engine.transport,
                task,
                directory,
                via=via,
                compress=compress,
                overwrite=overwrite,
                max_bytes=max_bytes,
                on_progress=on_progress,
            )
