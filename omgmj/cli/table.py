"""Results as a table, for people at a terminal: a row for each task, its prompt and image on lines of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from rich.table import Table
from rich.text import Text

from omgmj.cli.terminal import Output, clean, harmless, tell
from omgmj.models import Kind, Task

LEAST_SAID = 10
"""Characters of the last column at least, however narrow the terminal is."""


class TaskTable:
    """Writes results to a terminal, one by one: so all lines have the same widths."""

    def __init__(self) -> None:
        self._out = Output(highlight=False)
        self._id_width = len("ID")
        self._headed = False

    def fit(self, ids: Iterable[int]) -> None:
        """Make the column of IDs wide enough for these."""
        self._id_width = max([self._id_width, *(len(str(task_id)) for task_id in ids)])

    def record(self, task: Task, _: object = None) -> None:
        """Show a record that was expected; its context is for programs."""
        self._show(task, "")

    def entry(self, task: Task) -> None:
        """Show a record that nobody expected: its kind, prompt and time too."""
        self._show(task, _origin(task))

    def saved(self, _: int, path: Path) -> None:
        """Show where the image of a task lies."""
        self._out.print(Text(harmless(str(path))), soft_wrap=True)

    def made(self, task_id: int) -> None:
        """Show the ID of a new task."""
        tell(str(task_id))

    def _show(self, task: Task, origin: str) -> None:
        self.fit([task.id])
        if not self._headed:
            self._headed = True
            self._line("ID", "STATUS", "SECONDS", "ACTIONS, IMAGE", style="bold")
        colour = "red" if task.failed else "green" if task.succeeded else "yellow"
        took = ""
        if task.finished_at and task.submitted_at:
            took = f"{(task.finished_at - task.submitted_at).total_seconds():.1f}"
        self._line(str(task.id), Text(clean(task.status), colour), took, _remark(task))
        image = task.stored_image_url or task.image_url or ""
        texts = (task.prompt or "").splitlines() if task.succeeded and task.kind == Kind.DESCRIBE else []
        indent = " " * (self._id_width + 2)
        if (prompt := clean(prompt_of(task))) and not origin:
            line = Text(indent + prompt)
            line.truncate(max(self._out.width, self._least), overflow="ellipsis")
            self._out.print(line, soft_wrap=True)
        for below, style in ((origin, ""), *((clean(text), "") for text in texts), (clean(image), "dim")):
            # Each on a line of its own and unbroken, so that it can be copied and clicked whatever the width.
            if below:
                self._out.print(Text(indent + below, style=style), soft_wrap=True)

    @property
    def _least(self) -> int:
        """Columns of the table, however narrow the terminal is."""
        return self._id_width + len("  IN_PROGRESS  SECONDS  ") + LEAST_SAID

    def _line(self, task_id: str, status: Text | str, took: str, said: str, *, style: str = "") -> None:
        line = Table.grid(padding=(0, 2, 0, 0))
        if self._out.width < self._least:
            line.width = self._least  # It goes on in the terminal's next line: an ID that is cut would be of no use.
        line.add_column(width=self._id_width, justify="right", style=style)
        line.add_column(width=len("IN_PROGRESS"), overflow="fold", style=style)
        line.add_column(width=len("SECONDS"), justify="right", style=style)
        line.add_column(overflow="fold", style=style)
        line.add_row(task_id, status, took, Text(said))
        self._out.print(line, crop=False)


def prompt_of(task: Task) -> str:
    """Return what the task makes an image of; a DESCRIBE has its results there."""
    return "" if task.kind == Kind.DESCRIBE else task.prompt or task.description or ""


def _remark(task: Task) -> str:
    """Return what matters most of a task besides its status: its actions, why it failed, or how far it is."""
    if task.succeeded:
        return "  ".join(clean(f"{action.emoji} {action.label}") for action in task.actions)
    if task.failed:
        return clean(task.fail_reason or "no reason given")
    return "" if task.progress is None else f"{task.progress} %"


def _origin(task: Task) -> str:
    """Return when the task was made, by the clock on the wall here, and of what."""
    made = ""
    with contextlib.suppress(OverflowError, OSError):  # In the year 1 or 9999, where no clock goes.
        made = f"{task.submitted_at.astimezone():%Y-%m-%d %H:%M}" if task.submitted_at else ""
    return "  ".join(clean(part) for part in (made, task.kind, prompt_of(task)) if part)
