"""What the command line shows: results on standard output, how far it is and all messages on standard error.

A result is a row of the `table` or one of the `json_lines`. What there is to show is the commands' business.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self, TextIO, cast

from rich.console import Console
from rich.text import Text

from omgmj.cli.json_lines import JsonLines
from omgmj.cli.progress_display import ProgressDisplay
from omgmj.cli.table import TaskTable
from omgmj.cli.tally import Tally
from omgmj.cli.terminal import Messages, clean, complain, is_terminal
from omgmj.errors import DecodeError, OmgmjError
from omgmj.log import log
from omgmj.models import Task


class View(logging.Handler):
    """What a run over `ids` shows: results as JSON lines or, on a terminal, as a table; the rest on stderr.

    It takes the library's log lines too, so that they do not tear the bar. `progress` is one of `PROGRESS`. `on_end` is
    told of each ID that is to come no more.
    """

    def __init__(self, ids: Iterable[int] = (), progress: str = "auto") -> None:
        super().__init__(logging.WARNING)
        self.tally: Tally = Tally()
        self.on_end: Callable[[int], object] | None = None
        self._began = time.monotonic()
        self._err = Console(file=cast("TextIO", Messages()), highlight=False)
        self._results = TaskTable() if is_terminal(sys.stdout) else JsonLines()
        self.display: ProgressDisplay = ProgressDisplay(self.tally, progress, self._err, self.say)
        self.expect(ids)

    def __enter__(self) -> Self:
        log.addHandler(self)
        self.display.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        log.removeHandler(self)
        self.display.close()
        if kind is None and self.display.was_seen and self.tally.total:
            self.say(f"{self.tally}, {time.monotonic() - self._began:.1f} s")
        self.close()

    def expect(self, ids: Iterable[int]) -> None:
        """Add IDs whose records are to come; with the first of them the display begins."""
        is_first, was_idle, new = not self.tally.total, not self.tally.left, list(ids)
        self.tally.expect(new)
        self._results.fit(new)
        self.display.count()
        if is_first:
            self.display.begin()
        elif was_idle:
            self.display.measure()  # Nothing could end while nothing was left.

    def record(self, task: Task, context: object = None) -> None:
        """Show the record of a task that was expected, with what was handed in with its ID, and count it."""
        self.tally.record(task.id, failed=task.failed)
        self._end(task.id)
        self._print(lambda task: self._results.record(task, context), task)

    def entry(self, task: Task) -> None:
        """Show the record of a task that was not expected, on a terminal with what it was made of."""
        self._print(self._results.entry, task)

    def saved(self, task_id: int, path: Path, *, before: bool = False) -> None:
        """Show where the image of a task lies on disk now; `before` says that it was there already."""
        self.tally.save(task_id, before=before)
        self._end(task_id)
        with self._aside():
            self._results.saved(task_id, path)

    def made(self, task_id: int) -> None:
        """Show the ID of a new task."""
        # An ID that nobody was told has cost money for nothing.
        try:
            self._results.made(task_id)
        except OSError:
            complain(f"the new task is {task_id}")
            raise

    def received(self, task_id: int, size: int) -> None:
        """Count the bytes of a task's image that have come by now: `size`."""
        self.tally.receive(task_id, size)
        self.display.count()

    def unresolved(self, error: OmgmjError, context: object = None) -> None:
        """Show that the ID which `error` is about came to no record, or to no image; and its context, if any."""
        self.tally.lose(error.task_id)
        self._end(error.task_id)
        beside = "" if context is None else f"; context: {json.dumps(context)}"
        self.say(f"{error.task_id}: {type(error).__name__}: {error}{beside}")

    def refused(self, said: str) -> None:
        """Count a line that names no task, and show what is `said` of it, if anything."""
        self.tally.refuse()
        self.display.count()
        if said:
            self.say(said)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line of the library's log."""
        self.say(record.getMessage())

    def say(self, text: str) -> None:
        """Write one line to standard error."""
        with self.display.aside():
            self._err.print(Text(f"omgmj: {clean(text)}"), soft_wrap=True)

    def _end(self, task_id: int | None) -> None:
        if task_id is not None:
            self.display.end(task_id)
            if self.on_end is not None:
                self.on_end(task_id)
        self.display.count()

    def _print(self, write: Callable[[Task], object], task: Task) -> None:
        try:
            with self._aside():
                write(task)
        except DecodeError as error:
            self.unresolved(error.about(task.id))

    def _aside(self) -> contextlib.AbstractContextManager[None]:
        """Take the bar away while a table is written; JSON lines go to no terminal."""
        return self.display.aside() if isinstance(self._results, TaskTable) else contextlib.nullcontext()
