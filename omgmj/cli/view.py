"""What the command line shows: records on standard output, how far it is and all messages on standard error.

Nothing that it shows can steer a terminal. What there is to show, and the exit codes, are `app`'s business.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self, TextIO, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from omgmj.cli.progress_bar import Bar, Figures, Lines, Row
from omgmj.errors import DecodeError, OmgmjError
from omgmj.models import Kind, Task
from omgmj.protocol.codec import dump_record

NAMED = 20
"""IDs that a line names at most."""
LEAST_SAID = 10
"""Characters that the last column of the table has, however narrow the terminal is."""
SHOWN = 500
"""Characters of a prompt that a row takes at most: more than any terminal has columns for."""
PROGRESS = ("auto", "plain", "none")
"""How it is shown how far a run is: as a bar or in lines, whichever the terminal is fit for; in lines; not at all."""


class Output(Console):
    """Standard output as rich writes to it; when its reader has gone, that is an error like any other."""

    def on_broken_pipe(self) -> None:
        """Raise `BrokenPipeError` where rich would end the process."""
        raise BrokenPipeError


class _Messages:
    """Standard error as messages and the bar are written to it: what cannot be written there is dropped."""

    def __init__(self) -> None:
        self._stream = sys.stderr

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("it is closed")
        return self._stream.fileno()

    def isatty(self) -> bool:
        return _is_terminal(self._stream)

    def write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            drop(self._stream)

    def flush(self) -> None:
        """Do nothing: all is flushed as it is written."""


def complain(text: str) -> None:
    """Write one line to standard error, if anyone still reads it."""
    _Messages().write(f"omgmj: {_clean(text)}\n")


def tell(text: str) -> None:
    """Write one line to standard output."""
    print(text, flush=True)  # noqa: T201 (printing is its work)


def drop(stream: TextIO) -> None:
    """Lead a stream that cannot be written to nowhere, so that Python does not try once more at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class View(logging.Handler):
    """What a run over `ids` shows: their records as JSON lines or, on a terminal, as a table; the rest on stderr.

    It takes the library's log lines too, so that they do not tear the bar. `progress` is one of `PROGRESS`. `left` are
    the IDs still to come, `failed` counts the tasks that ended and not well, `lost` the IDs that came to no record or
    no image. `on_end` is told of each ID that is to come no more.
    """

    def __init__(self, ids: Iterable[int] = (), progress: str = "auto") -> None:
        super().__init__(logging.WARNING)
        self.left: dict[int, None] = {}
        self.failed: int = 0
        self.lost: int = 0
        self.on_end: Callable[[int], object] | None = None
        self._total = 0
        self._id_width = len("ID")
        self._kept = 0
        self._received: dict[int, int] = {}
        self._bytes = 0
        self._began = time.monotonic()
        self._err = Console(file=cast("TextIO", _Messages()), highlight=False)
        self._out = Output(highlight=False) if _is_terminal(sys.stdout) else None
        self._headed = False
        self._figures = Figures()
        self._bar = Bar(self._err, self._figures) if progress == "auto" and self._can_draw() else None
        self._lines = Lines(self._figures, self.say) if progress != "none" and not self._bar else None
        self._is_open = False
        self.expect(ids)

    def __enter__(self) -> Self:
        logging.getLogger("omgmj").addHandler(self)
        self._is_open = True
        self.tick()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        logging.getLogger("omgmj").removeHandler(self)
        self.pause()
        self._is_open = False
        is_told = self._bar is not None or (self._lines is not None and self._lines.told)
        if kind is None and is_told and self._total:
            self.say(f"{self._tally()}, {time.monotonic() - self._began:.1f} s")
        self.close()

    def expect(self, ids: Iterable[int]) -> None:
        """Take in IDs whose records are to come; with the first of them it begins to be shown how far they are."""
        before, new = len(self.left), dict.fromkeys(ids)
        self.left.update(new)
        is_first = not self._total
        self._total += len(self.left) - before
        self._id_width = max([self._id_width, *(len(str(task_id)) for task_id in new)])
        self._advance()
        if is_first:
            self._figures.begin(time.monotonic())
            self.tick()

    @property
    def has_bar(self) -> bool:
        """Whether it is drawn on a terminal how far it is."""
        return self._bar is not None

    @property
    def wants_rows(self) -> bool:
        """Whether it is shown how far single tasks are."""
        return self._bar is not None or self._lines is not None

    def tick(self) -> None:
        """Show how far it is by now; to be called a few times a second while the view is open."""
        if self._is_moving and self._bar:
            self._bar.draw()
        elif self._is_moving and self._lines:
            self._lines.tick()

    def pause(self) -> None:
        """Leave the terminal to others, until `resume`."""
        if self._bar:
            self._bar.erase()

    def resume(self) -> None:
        """Go on after a pause of the process, below what others have written meanwhile."""
        self._figures.measure(time.monotonic())
        self.tick()

    def going(self, task_id: int, task: Task | None = None) -> None:
        """Show in a row how far a task is that is still to come; None: that is not known yet."""
        if task_id in self.left:
            row = Row(_clean(task.status), task.progress, _clean(_prompt(task)[:SHOWN])) if task else Row()
            self._figures.rows[task_id] = row

    def record(self, task: Task) -> None:
        """Show the record of a task that was expected, and count it."""
        self._end(task.id)
        self.failed += task.failed
        self._advance()
        self._print(task)

    def entry(self, task: Task) -> None:
        """Show the record of a task that was not expected, on a terminal with what it was made of."""
        self._print(task, _origin(task))

    def saved(self, task_id: int, path: Path, *, before: bool = False) -> None:
        """Show where the image of a task lies on disk now; `before` says that it was there already."""
        self._end(task_id)
        self._kept += before
        self._advance()
        if self._out is None:
            tell(json.dumps({"taskId": task_id, "path": str(path)}))
            return
        with self._aside():
            self._out.print(Text(_harmless(str(path))), soft_wrap=True)

    def made(self, task_id: int) -> None:
        """Show the ID of a new task."""
        # An ID that nobody was told has cost money for nothing.
        try:
            tell(str(task_id) if self._out else json.dumps({"taskId": task_id}))
        except OSError:
            complain(f"the new task is {task_id}")
            raise

    def received(self, task_id: int, size: int) -> None:
        """Note that `size` bytes of a task's image have come by now."""
        self._bytes += size - self._received.get(task_id, 0)
        self._received[task_id] = size
        self._advance()

    def unresolved(self, error: OmgmjError) -> None:
        """Note that the ID which `error` is about came to no record, or to no image."""
        if error.task_id is not None:
            self._end(error.task_id)
        self.lost += 1
        self._advance()
        self.say(f"{error.task_id}: {type(error).__name__}: {error}")

    def refused(self, said: str) -> None:
        """Note what was to name a task and does not, as one more that came to nothing; empty: without a word."""
        self._total += 1
        self.lost += 1
        self._advance()
        if said:
            self.say(said)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line of the library's log."""
        self.say(record.getMessage())

    def way_on(
        self,
        again: Callable[[Iterable[int]], str] | None,
        then: str = "tasks that are done are answered at once",
        *,
        unread: str = "",
    ) -> str:
        """Return what to say at an interrupt; `again` makes the command that goes on with what is left, None: none.

        `then` is what becomes of IDs that are done where the whole command is given again; `unread` is what may hold
        more of them.
        """
        more = f", and {unread} was not read to its end" if unread else ""
        if not self.left:
            return f"interrupted, with no task left{more}"
        said = f"interrupted; {len(self.left)} of {self._total} tasks left{more}"
        if again is None:
            return f"{said}, which are gone with the demo"
        if len(self.left) <= NAMED:
            return f"{said}. To go on: {again(self.left)}"
        return f"{said}. To go on, use the same command again: {then}"

    def say(self, text: str) -> None:
        """Write one line to standard error."""
        with self._aside():
            self._err.print(Text(f"omgmj: {_clean(text)}"), soft_wrap=True)

    def _end(self, task_id: int) -> None:
        self.left.pop(task_id, None)
        self._received.pop(task_id, None)  # There may be no end of them.
        self._figures.end(task_id, time.monotonic())
        if self.on_end is not None:
            self.on_end(task_id)

    def _tally(self) -> str:
        said = f"{self._total - len(self.left) - self.lost} of {self._total} done, {self.failed} failed"
        if self.lost:
            said += f", {self.lost} unresolved"
        if self._kept:
            said += f", {self._kept} there already"
        return f"{said}, {self._bytes / 1e6:.1f} MB" if self._bytes else said

    def _can_draw(self) -> bool:
        """Whether standard error is a terminal that a bar can be drawn on.

        What reads from a pipe may write to the same screen at any time, and then to where the bar is: it would be wiped
        away with that, where its line is not at its end yet.
        """
        drawable = self._err.is_interactive and not self._err.legacy_windows
        return _is_terminal(sys.stderr) and drawable and not _is_pipe(sys.stdout)

    @property
    def _is_moving(self) -> bool:
        return self._is_open and self._total > 0

    def _advance(self) -> None:
        self._figures.count(len(self.left), self._total, self._tally())

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Take the bar away for a moment: it may be on the screen that is written to."""
        with self._bar.aside() if self._is_moving and self._bar else contextlib.nullcontext():
            yield

    def _print(self, task: Task, origin: str = "") -> None:
        if self._out is not None:
            with self._aside():
                self._show(task, self._out, origin)
            return
        try:
            tell(dump_record(task))
        except DecodeError as error:
            self.unresolved(error.about(task.id))

    def _show(self, task: Task, out: Console, origin: str) -> None:
        self._id_width = max(self._id_width, len(str(task.id)))
        if not self._headed:
            self._headed = True
            self._line(out, "ID", "STATUS", "SECONDS", "ACTIONS, IMAGE", style="bold")
        colour = "red" if task.failed else "green" if task.succeeded else "yellow"
        took = ""
        if task.finished_at and task.submitted_at:
            took = f"{(task.finished_at - task.submitted_at).total_seconds():.1f}"
        self._line(out, str(task.id), Text(_clean(task.status), colour), took, _remark(task))
        image = task.stored_image_url or task.image_url or ""
        texts = (task.prompt or "").splitlines() if task.succeeded and task.kind == Kind.DESCRIBE else []
        indent = " " * (self._id_width + 2)
        if (prompt := _clean(_prompt(task))) and not origin:
            line = Text(indent + prompt)
            line.truncate(max(out.width, self._least), overflow="ellipsis")
            out.print(line, soft_wrap=True)
        for below, style in ((origin, ""), *((_clean(text), "") for text in texts), (_clean(image), "dim")):
            # Each on a line of its own and unbroken, so that it can be copied and clicked whatever the width.
            if below:
                out.print(Text(indent + below, style=style), soft_wrap=True)

    @property
    def _least(self) -> int:
        """Columns that the table has, however narrow the terminal is."""
        return self._id_width + len("  IN_PROGRESS  SECONDS  ") + LEAST_SAID

    def _line(self, out: Console, task_id: str, status: Text | str, took: str, said: str, *, style: str = "") -> None:
        """Show one line of the table; all have the same widths, as they are shown one by one."""
        line = Table.grid(padding=(0, 2, 0, 0))
        if out.width < self._least:
            line.width = self._least  # It goes on in the terminal's next line: an ID that is cut would be of no use.
        line.add_column(width=self._id_width, justify="right", style=style)
        line.add_column(width=len("IN_PROGRESS"), overflow="fold", style=style)
        line.add_column(width=len("SECONDS"), justify="right", style=style)
        line.add_column(overflow="fold", style=style)
        line.add_row(task_id, status, took, Text(said))
        out.print(line, crop=False)


def _remark(task: Task) -> str:
    """Return what matters most of a task besides its status: its actions, why it failed, or how far it is."""
    if task.succeeded:
        return "  ".join(_clean(f"{action.emoji} {action.label}") for action in task.actions)
    if task.failed:
        return _clean(task.fail_reason or "no reason given")
    return "" if task.progress is None else f"{task.progress} %"


def _origin(task: Task) -> str:
    """Return when the task was made, by the clock on the wall here, and of what."""
    made = ""
    with contextlib.suppress(OverflowError, OSError):  # In the year 1 or 9999, where no clock goes.
        made = f"{task.submitted_at.astimezone():%Y-%m-%d %H:%M}" if task.submitted_at else ""
    return "  ".join(_clean(part) for part in (made, task.kind, _prompt(task)) if part)


def _prompt(task: Task) -> str:
    """Return what the task makes an image of; a DESCRIBE has its results there."""
    return "" if task.kind == Kind.DESCRIBE else task.prompt or task.description or ""


def _clean(text: str) -> str:
    """Return `text` on one line, without what could steer a terminal."""
    return _harmless(" ".join(text.split()))


def _harmless(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\u200d" else "\ufffd" for c in text)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _is_pipe(stream: TextIO | None) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode if stream is not None else 0
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)  # ksh makes its pipes of sockets.
