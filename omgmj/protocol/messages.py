"""What is sent and what comes back, as plain values: each call of the service, and an answer as it came.

What an answer means is read in `responses`; what creates a task is in `submissions`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from omgmj.errors import UsageError
from omgmj.validation import brief

LIST, SUBMISSIONS = "list", "submissions"
"""Subjects of requests, beside the tasks' IDs."""
PAGE_LEAST, PAGE_MOST = 5, 20
"""Tasks; the sizes that a page of the list may have [D]."""


FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


class Request(NamedTuple):
    """One call to the service, without host and token. `idempotent`: whether it may be sent again.

    `subject` is what it is about, as the service may limit that apart: a task's ID, `LIST`, `SUBMISSIONS`, or None.
    """

    method: str
    path: str
    body: bytes | bytearray
    idempotent: bool
    content_type: str = FORM
    """The type of the body: a URL-encoded form, or JSON."""
    subject: int | str | None = None


class Fate(enum.Enum):
    """How far a request has come that must not be sent twice."""

    UNSENT = "unsent"
    """No byte of it has left, as no connection was made: it may be sent again."""
    PARTIAL = "partial"
    """It has begun to leave, but its end has not: nothing can have come of it."""
    SENT = "sent"
    """The service may have read all of it."""
    REFUSED = "refused"
    """The service has answered that it makes nothing of it."""


class Passage:
    """Where a request is on its way that must not be sent twice; its transport keeps `fate` up to date.

    A transport that says nothing is taken to have sent it.
    """

    __slots__ = ("fate",)

    def __init__(self) -> None:
        self.fate: Fate = Fate.UNSENT


class Answer(NamedTuple):
    """What came back. `headers` holds those of `KEPT_HEADERS` that the answer had, under lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


KEPT_HEADERS = ("date", "retry-after", "content-type", "content-length", "location")


def query_request(task_id: int) -> Request:
    """Build the call that asks for one task's record."""
    return Request("POST", "/api/v1/ai/draw/mj/query", b"model=midjourney&taskId=%d" % task_id, True, FORM, task_id)  # noqa: FBT003


def check_size(size: object) -> int:
    """Return `size` as that of a page of the list, in tasks; `UsageError` where the service has no such pages."""
    if not isinstance(size, int) or isinstance(size, bool) or not PAGE_LEAST <= size <= PAGE_MOST:
        raise UsageError(f"the size of a page is a whole number from {PAGE_LEAST} to {PAGE_MOST}, not {brief(size)}")
    return int(size)


def page_request(number: int, size: int) -> Request:
    """Build the call that asks for one page of the account's tasks, newest first."""
    path = f"/api/v1/ai/draw/mj/query-mj-tasks?page={number}&pageSize={size}"
    return Request("POST", path, b"model=midjourney", idempotent=True, subject=LIST)
