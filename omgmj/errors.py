"""Every exception that omgmj raises, in one tree under `OmgmjError`.

What an error means to a wait is decided in `protocol`; here each error only carries its facts.
All of them pickle and copy, and those that are about one task carry its ID in `task_id`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime
from typing import Self

import omgmj  # Models stand above errors, so annotations find them by way of the package, which imports them lazily.

BODY_KEPT = 64 * 1024
"""Bytes of an answer that an error keeps."""


class OmgmjError(Exception):
    """The root of all errors of this package.

    `task_id` is the ID of the task that the error is about, or None where it is about no single one.
    """

    task_id: int | None = None

    def about(self, task_id: int | None) -> Self:
        """Return a copy of this error that carries `task_id`, with a traceback of its own."""
        twin = copy.copy(self)
        twin.task_id = task_id
        twin.__cause__ = self.__cause__
        twin.__suppress_context__ = self.__suppress_context__
        return twin


class UsageError(OmgmjError, ValueError):
    """Local misuse, found before anything was sent."""


class SessionClosed(UsageError):
    """The session was closed, before this call or while it waited."""


def crashed(error: BaseException) -> SessionClosed:
    """Return what to tell those whose waits and calls end because `error` was raised where nothing may raise."""
    closed = SessionClosed(f"a part of this session crashed: {type(error).__name__}; make a new session")
    closed.__cause__ = error
    return closed


class TransportError(OmgmjError, ConnectionError):
    """No answer: the connection could not be made, or broke.

    `for_good`: asking again would not help, as there is no such host, or its certificate is not trusted.
    """

    for_good: bool = False


class ExchangeTimeout(TransportError, TimeoutError):
    """No answer within `request_timeout` seconds."""


class ServiceUnavailable(TransportError):
    """Nobody was answered for as long as the session has patience (`Session(outage=…)`); the cause is the last error.

    The tasks go on at the service, and may be waited for again.
    """


class ServiceError(OmgmjError):
    """The service answered, and its answer is no.

    `status` is the HTTP status, `code` the `statusCode` of the body (None where the body is no envelope),
    `message` the body's own words, `retry_after` the seconds the service asked to be left alone for.
    """

    def __init__(
        self,
        text: str,
        *,
        status: int = 0,
        code: int | None = None,
        message: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


class AuthError(ServiceError):
    """The service does not take the token, or no token could be had."""


class RateLimited(ServiceError):
    """The service answered 429: too many requests."""


class TaskNotFound(ServiceError):
    """The service does not know the task's ID."""


class DecodeError(OmgmjError, ValueError):
    """An answer, or a record of one, that cannot be read.

    `field` names the place as a path (`$.data.status`; `$` is the whole body), `body` is the answer as it came, or
    the first 64 KiB of it.
    """

    def __init__(self, text: str, *, field: str = "$", body: bytes = b"") -> None:
        super().__init__(text)
        self.field = field
        self.body: bytes = body[:BODY_KEPT]


class WaitError(OmgmjError):
    """A wait ended although its task did not.

    `last` is the last record seen (None where there was none), `elapsed` the seconds since the wait began,
    `queries` the polls of this task's ID while it was being watched. The task itself goes on at the service:
    call `wait` with the same ID again to go on waiting.
    """

    def __init__(
        self,
        text: str,
        *,
        task_id: int | None = None,
        last: omgmj.Task | None = None,
        elapsed: float = 0.0,
        queries: int = 0,
    ) -> None:
        super().__init__(text)
        self.task_id = task_id
        self.last = last
        self.elapsed = elapsed
        self.queries = queries


class WaitTimeout(WaitError, TimeoutError):
    """The wait's `timeout` passed before the task came to its end."""


class Stalled(WaitError, TimeoutError):
    """Status and progress did not change for `stall` seconds of successful polls."""


class GaveUp(WaitError):
    """The backoff policy said stop."""


class Cancelled(WaitError):
    """Whoever handed the ID in to a queue took it back; the task itself goes on at the service."""


class TaskFailed(OmgmjError):
    """A task's final record is no success; raised by `Task.raise_for_failure` only. `task` is the record."""

    def __init__(self, text: str, *, task: omgmj.Task | None = None) -> None:
        super().__init__(text)
        self.task = task
        self.task_id: int | None = task.id if task is not None else None


class SubmissionUncertain(OmgmjError):
    """A submission whose answer was lost: the service may have made the task, or not.

    It was not sent again, as that could make, and cost, two tasks. `submission` is what was sent, `sent_at` when;
    `Session.reconcile(error)` searches for the task. `task_id` is None, or for an action that of its
    parent.
    """

    def __init__(self, text: str, *, submission: omgmj.Submission | None = None) -> None:
        super().__init__(text)
        self.submission = submission
        self.task_id: int | None = submission.parent_id if submission is not None else None

    @property
    def sent_at(self) -> datetime | None:
        """When the submission was sent, by this machine's clock."""
        return self.submission.sent_at if self.submission is not None else None


class DownloadError(OmgmjError):
    """A task's image could not be fetched by any of the ways that were tried, or not be written.

    `url` is where the last of them ended, without its query (empty where the disk failed), `status` the HTTP status it
    answered (0: none, or no fault of it), `retry_after` the seconds it asked to be left alone for.
    """

    def __init__(
        self,
        text: str,
        *,
        task_id: int | None = None,
        url: str = "",
        status: int = 0,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text)
        self.task_id = task_id
        self.url = url
        self.status = status
        self.retry_after = retry_after


class ImageExists(UsageError, FileExistsError):
    """The file is there already, and overwriting it was not asked for; `path` is where."""

    def __init__(self, text: str, *, path: str = "") -> None:
        super().__init__(text)
        self.path = path


class JournalError(OmgmjError):
    """A journal that cannot be used: not opened, not written, in use by another, of another account or program."""


class QueueError(OmgmjError):
    """A queue's Redis that cannot be used: not reached, refused, or full."""


class WatchErrors(OmgmjError, ExceptionGroup[OmgmjError]):
    """What a watch could not bring to an end: one error an ID, each with its `task_id`."""

    def derive(self, excs: Sequence[OmgmjError], /) -> WatchErrors:  # type: ignore[override]
        """Keep the type when the group is split."""
        return WatchErrors(self.message, excs)

    @property
    def task_ids(self) -> tuple[int, ...]:
        """The IDs that came to no end, in the order of their errors."""
        return tuple(error.task_id for error in self.exceptions if isinstance(error, OmgmjError) and error.task_id)
