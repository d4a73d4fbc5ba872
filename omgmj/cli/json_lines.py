"""Results as JSON lines, for programs: records, new task IDs, and where images lie."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from omgmj.cli.terminal import tell
from omgmj.models import Task
from omgmj.protocol.codec import dump_record


class JsonLines:
    """Writes each result as one line of JSON to standard output."""

    def fit(self, _: Iterable[int]) -> None:
        """Do nothing: lines have no columns."""

    def record(self, task: Task) -> None:
        """Write a record under the wire's names; `DecodeError` where it cannot be written."""
        tell(dump_record(task))

    entry = record
    """A record that nobody expected is written like any other."""

    def saved(self, task_id: int, path: Path) -> None:
        """Write where the image of a task lies."""
        tell(json.dumps({"taskId": task_id, "path": str(path)}))

    def made(self, task_id: int) -> None:
        """Write the ID of a new task."""
        tell(json.dumps({"taskId": task_id}))
