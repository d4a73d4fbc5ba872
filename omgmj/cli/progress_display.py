"""Progress display: how far a run is, shown by whatever standard error is fit for.

What is counted is the tally's business, how a bar or a line is drawn `progress_bar`'s.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console

from omgmj.cli.progress_bar import Bar, Figures, Lines, Row
from omgmj.cli.table import prompt_of
from omgmj.cli.tally import Tally
from omgmj.cli.terminal import clean, is_pipe, is_terminal
from omgmj.models import Task

PROMPT_SHOWN = 500
"""Characters of a prompt that a row takes at most: more than any terminal has columns for."""
PROGRESS = ("auto", "plain", "none")
"""A bar, or lines where the terminal is not fit for one; lines; nothing."""


class ProgressDisplay:
    """How far a run is: as a bar on `err`, in lines by `say`, or not at all. `progress` is one of `PROGRESS`."""

    def __init__(self, tally: Tally, progress: str, err: Console, say: Callable[[str], object]) -> None:
        self._tally = tally
        self._figures = Figures()
        self._bar = Bar(err, self._figures) if progress == "auto" and _can_draw(err) else None
        self._lines = Lines(self._figures, say) if progress != "none" and not self._bar else None
        self._is_open = False

    def open(self) -> None:
        """Begin to show it."""
        self._is_open = True
        self.tick()

    def close(self) -> None:
        """Show it no more; the bar is gone then."""
        self.pause()
        self._is_open = False

    @property
    def has_bar(self) -> bool:
        """Whether it is drawn on a terminal."""
        return self._bar is not None

    @property
    def has_rows(self) -> bool:
        """Whether it also shows how far single tasks are."""
        return self._bar is not None or self._lines is not None

    @property
    def was_seen(self) -> bool:
        """Whether there was a bar, or a line by now."""
        return self._bar is not None or (self._lines is not None and self._lines.told)

    def begin(self) -> None:
        """Start its clock."""
        self._figures.begin(time.monotonic())
        self.tick()

    def tick(self) -> None:
        """Show how far it is by now; to be called a few times a second while it is open."""
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
        self.measure()
        self.tick()

    def measure(self) -> None:
        """Measure the rate anew."""
        self._figures.measure(time.monotonic())

    def going(self, task_id: int, task: Task | None = None) -> None:
        """Show the state of a task still to come in a row; None: it is not known yet."""
        if task_id in self._tally.left:
            row = Row(clean(task.status), task.progress, clean(prompt_of(task)[:PROMPT_SHOWN])) if task else Row()
            self._figures.rows[task_id] = row

    def end(self, task_id: int) -> None:
        """Take away the row of a task that is to come no more."""
        self._figures.end(task_id, time.monotonic())

    def count(self) -> None:
        """Show the tally as it is now."""
        self._figures.count(len(self._tally.left), self._tally.total, str(self._tally))

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar away for a moment: it may be on the screen that is written to."""
        with self._bar.aside() if self._is_moving and self._bar else contextlib.nullcontext():
            yield

    @property
    def _is_moving(self) -> bool:
        return self._is_open and self._tally.total > 0


def _can_draw(err: Console) -> bool:
    """Whether standard error is a terminal that a bar can be drawn on.

    What reads from a pipe may write to the same screen at any time, and then to where the bar is: it would be wiped
    away with that, where its line is not at its end yet.
    """
    return is_terminal(sys.stderr) and err.is_interactive and not err.legacy_windows and not is_pipe(sys.stdout)
