"""What came of an ID, as values and as the bytes that cross Redis: JSON, packed with zlib.

An error crosses as its class's name, its text and its plain fields, and is rebuilt from them: nothing is pickled.
"""

from __future__ import annotations

import json
import zlib
from enum import StrEnum
from typing import Any

import attrs

from omgmj import errors
from omgmj.errors import Cancelled, DecodeError, OmgmjError
from omgmj.models import Task, read_task

LEVEL = 6
"""Of zlib: a record of 2 kB becomes about 600 bytes in 30 us."""
_WEBHOOK = "webhookUrl"


class End(StrEnum):
    """How an ID came to its end, as it is counted: a letter on the wire."""

    SUCCEEDED = "s"
    FAILED = "f"
    ERROR = "e"
    CANCELLED = "c"


@attrs.frozen
class Result:
    """What came of an ID of a batch: its final record in `task`, or an `error`, never both.

    `context` is what was handed in with the ID. The record's webhook URL is blank: its path may hold a secret.
    """

    task_id: int
    task: Task | None = None
    error: OmgmjError | None = None
    context: Any = None


@attrs.frozen
class Counts:
    """IDs of a batch: `total` were handed in, `pending` are waited for, the others came to their ends.

    `failed` are tasks that ended and not well, `errors` are IDs without a final record.
    """

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    errors: int = 0
    cancelled: int = 0

    @property
    def pending(self) -> int:
        """How many are still waited for."""
        return self.total - self.succeeded - self.failed - self.errors - self.cancelled


def end_of(outcome: Task | OmgmjError) -> End:
    """Return how an outcome is counted."""
    if isinstance(outcome, Task):
        return End.SUCCEEDED if outcome.succeeded else End.FAILED
    return End.CANCELLED if isinstance(outcome, Cancelled) else End.ERROR


def encode(outcome: Task | OmgmjError) -> bytes:
    """Return a record or an error as packed JSON."""
    value = {"task": _record(outcome)} if isinstance(outcome, Task) else _error(outcome)
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), LEVEL)


def decode(task_id: int, packed: bytes) -> Task | OmgmjError:
    """Return what `encode` was given; `DecodeError` as a value where it cannot be read."""
    try:
        value = json.loads(zlib.decompress(packed))
        if "task" in value:
            return _task(task_id, value["task"])
        return _rebuilt(task_id, value)
    except (ValueError, zlib.error, TypeError, AttributeError, LookupError, RecursionError, OmgmjError) as error:
        return DecodeError(f"the result of task {task_id} cannot be read: {error}").about(task_id)


def _record(task: Task) -> dict[str, Any]:
    try:
        record = task.raw or task.to_dict()
    except DecodeError:  # orjson read it, and json cannot.
        record = task.to_dict()
    if record.get(_WEBHOOK):
        record = record | {_WEBHOOK: ""}
    return record


def _task(task_id: int, record: dict[str, Any]) -> Task:
    return read_task(record, asked=task_id, source=json.dumps(record).encode())


def _error(error: OmgmjError) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in vars(error).items():
        if isinstance(value, Task):
            fields[name] = {"task": _record(value)}
        elif value is None or isinstance(value, bool | int | float | str):
            fields[name] = value
    return {"error": type(error).__name__, "text": str(error), "fields": fields}


def _rebuilt(task_id: int, value: dict[str, Any]) -> OmgmjError:
    kind = getattr(errors, value["error"], OmgmjError)
    if not (isinstance(kind, type) and issubclass(kind, OmgmjError)):
        kind = OmgmjError
    error = kind(value["text"])
    for name, field in value["fields"].items():
        vars(error)[name] = _task(task_id, field["task"]) if isinstance(field, dict) else field
    error.task_id = task_id
    return error
