"""Results as JSON lines, for programs: records, new task IDs, and where images lie."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from omgmj.cli.terminal import tell
from omgmj.models import Task


class JsonLines:
    """Writes each result as one line of JSON to standard output."""

    def fit(self, _: Iterable[int]) -> None:
        """Do nothing: lines have no columns."""

    def record(self, task: Task, context: object = None) -> None:
        """Write a record under the wire's names, a context beside them; `DecodeError` where it cannot be written."""
        tell(dump_record(task, context))

    entry = record
    """A record that nobody expected is written like any other."""

    def saved(self, task_id: int, path: Path) -> None:
        """Write where the image of a task lies."""
        tell(json.dumps({"taskId": task_id, "path": str(path)}))

    def made(self, task_id: int) -> None:
        """Write the ID of a new task."""
        tell(json.dumps({"taskId": task_id}))


def dump_record(task: Task, context: object = None) -> str:
    """Return the record as one line of ASCII JSON with the wire's names.

    It is the record as it came, with its ID as a number; for a task made by hand it is `Task.to_dict`. What was handed
    in with the ID, if anything, is its `context`.
    NaN and infinity, which JSON has no words for, become null.
    """
    record = task.raw or task.to_dict()
    record["taskId"] = task.id
    if context is not None:
        record["context"] = context
    try:
        return json.dumps(record, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(record), parse_constant=lambda _: None))
