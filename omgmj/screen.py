"""What the command line shows: records on standard output, the progress bar and all messages on standard error.

Nothing that it shows can steer a terminal. What there is to show, and the exit codes, are `cli`'s business.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
import time
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from omgmj.codec import dump_record
from omgmj.errors import DecodeError, OmgmjError
from omgmj.models import Task

NAMED = 20
"""IDs that a line names at most."""


def complain(text: str) -> None:
    """Write one line to standard error, if anyone still reads it."""
    with contextlib.suppress(OSError):
        print(f"omgmj: {_clean(text)}", file=sys.stderr, flush=True)  # noqa: T201 (printing is its work)


def drop_output() -> None:
    """Keep Python from trying once more, at its end, to write what could not be written."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class View(logging.Handler):
    """What a run over `ids` shows: their records as JSON lines or, on a terminal, as a table; the rest on stderr.

    It takes the library's log lines too, so that they do not tear the progress bar. `left` are the IDs still to come,
    `failed` counts the tasks that ended and not well, `lost` the IDs that came to no record.
    """

    def __init__(self, ids: list[int]) -> None:
        super().__init__(logging.WARNING)
        self.left: dict[int, None] = dict.fromkeys(ids)
        self.failed: int = 0
        self.lost: int = 0
        self._total = len(ids)
        self._id_width = max([len("ID"), *(len(str(task_id)) for task_id in ids)])
        self._began = time.monotonic()
        self._err = Console(stderr=True, highlight=False)
        self._out = Console(highlight=False) if _is_terminal(sys.stdout) else None
        self._headed = False
        # Standard output and standard error are not redirected through the bar: each goes where it should.
        bar = Progress(
            BarColumn(20),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._err,
            redirect_stdout=False,
            redirect_stderr=False,
            refresh_per_second=4,
            transient=True,
        )
        self._line_of_bar = bar.add_task(self._tally(), total=self._total)
        # What reads from a pipe may write to the same screen, and would tear the bar.
        shown = _is_terminal(sys.stderr) and self._err.is_interactive and not _is_pipe(sys.stdout)
        self._bar = bar if shown else None

    def __enter__(self) -> Self:
        logging.getLogger("omgmj").addHandler(self)
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        logging.getLogger("omgmj").removeHandler(self)
        self.close()
        if self._bar:
            self._bar.stop()
            if kind is None:
                self._note(f"{self._tally()}, {time.monotonic() - self._began:.1f} s")

    def record(self, task: Task) -> None:
        """Show a task's record."""
        self.left.pop(task.id, None)
        self.failed += task.failed
        self._advance()
        if self._out is not None:
            self._show(task, self._out)
            return
        try:
            print(dump_record(task), flush=True)  # noqa: T201 (printing is its work)
        except DecodeError as error:
            self.unresolved(error.about(task.id))

    def unresolved(self, error: OmgmjError) -> None:
        """Note that the ID which `error` is about came to no record."""
        if error.task_id is not None:
            self.left.pop(error.task_id, None)
        self.lost += 1
        self._advance()
        self._note(f"{error.task_id}: {type(error).__name__}: {error}")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line of the library's log."""
        self._note(record.getMessage())

    def way_on(self, again: str | None) -> str:
        """Return what to say at an interrupt; `again` is the command that goes on with what is left, None: none."""
        if not self.left:
            return "interrupted, with no task left"
        said = f"interrupted; {len(self.left)} of {self._total} tasks left"
        if again is None:
            return f"{said}, which are gone with the demo"
        if len(self.left) <= NAMED:
            return f"{said}. To go on: {again} {' '.join(map(str, self.left))}"
        return f"{said}. To go on, use the same command again: tasks that are done are answered at once"

    def _note(self, text: str) -> None:
        self._err.print(Text(f"omgmj: {_clean(text)}"), soft_wrap=True)

    def _tally(self) -> str:
        lost = f", {self.lost} unresolved" if self.lost else ""
        return f"{self._total - len(self.left)} of {self._total} done, {self.failed} failed{lost}"

    def _advance(self) -> None:
        if self._bar:
            self._bar.update(self._line_of_bar, completed=self._total - len(self.left), description=self._tally())

    def _show(self, task: Task, out: Console) -> None:
        # The bar may be on the same screen, so it makes room.
        if self._bar:
            self._bar.stop()
        if not self._headed:
            self._headed = True
            out.print(self._line("ID", "STATUS", "SECONDS", "ACTIONS, IMAGE", style="bold"))
        colour = "red" if task.failed else "green" if task.succeeded else "yellow"
        took = ""
        if task.finished_at and task.submitted_at:
            took = f"{(task.finished_at - task.submitted_at).total_seconds():.1f}"
        out.print(self._line(str(task.id), Text(_clean(task.status), colour), took, _clean(_remark(task))))
        if image := task.stored_image_url or task.image_url:
            # On a line of its own and unbroken, so that it can be copied and clicked whatever the width.
            out.print(Text(" " * (self._id_width + 2) + _clean(image), style="dim"), soft_wrap=True)
        if self._bar:
            self._bar.start()

    def _line(self, task_id: str, status: Text | str, took: str, said: str, *, style: str = "") -> Table:
        """Lay out one line of the table; all have the same widths, as they are shown one by one."""
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_column(width=self._id_width, justify="right", style=style)
        line.add_column(width=len("IN_PROGRESS"), overflow="fold", style=style)
        line.add_column(width=len("SECONDS"), justify="right", style=style)
        line.add_column(overflow="fold", style=style)
        line.add_row(task_id, status, took, Text(said))
        return line


def _remark(task: Task) -> str:
    """Return what matters most of a task besides its status: its actions, why it failed, or how far it is."""
    if task.succeeded:
        return "  ".join(" ".join(filter(None, (action.emoji, action.label))) for action in task.actions)
    if task.failed:
        return task.fail_reason or "no reason given"
    return "" if task.progress is None else f"{task.progress} %"


def _clean(text: str) -> str:
    """Return `text` on one line, without what could steer a terminal."""
    return "".join(c if c.isprintable() or c == "\u200d" else "\ufffd" for c in " ".join(text.split()))


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _is_pipe(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except OSError:
        return False
