"""Callbacks: what the body that is posted to a webhook claims of its task.

The service posts the bare record. Nothing signs it, so nothing of it is believed: a claim only says when to poll, which
`scheduler` decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from omgmj.errors import DecodeError, UsageError
from omgmj.models import STATUS_ORDER, read_task
from omgmj.protocol.responses import loads
from omgmj.validation import check_task_id


class Callback(NamedTuple):
    """A claim about a task: that it `goes_on`, maybe with its progress in percent.

    One that does not say so claims an end, or nothing that can be read: either is a reason to poll.
    """

    task_id: int
    goes_on: bool = False
    progress: int | None = None


def read_callback(payload: Mapping[str, Any] | bytes | str) -> Callback:
    """Return what a webhook's body claims; `UsageError` where it names no task."""
    value: Any = payload
    if isinstance(payload, str | bytes):
        try:
            value = loads(payload.encode() if isinstance(payload, str) else payload)
        except (DecodeError, UnicodeEncodeError):
            value = None
    if not isinstance(value, Mapping) or "taskId" not in value:
        raise UsageError("a webhook's body is a JSON object with a taskId; this is none")
    task_id = check_task_id(value["taskId"])
    try:
        task = read_task(dict(cast("Mapping[str, Any]", value)), asked=task_id, source=b"")
    except DecodeError:
        return Callback(task_id)
    if task.is_terminal or (task.status not in STATUS_ORDER and task.progress is None):
        return Callback(task_id)
    return Callback(task_id, goes_on=True, progress=task.progress)
