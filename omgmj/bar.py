"""What moves on the screen: a line of totals with its bar, over it a row for each of some tasks that still run.

It is drawn four times a second and leaves nothing behind. What stands in it is `screen`'s business.
"""

from __future__ import annotations

import time
from datetime import timedelta

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment

ROWS = 20
"""Tasks that are shown at most."""
WIDTH = 20
"""Characters of a bar."""
SPARE = 3
"""Lines of the screen that no row takes: the line of totals, that of how many more there are, and the next one."""


class Bar:
    """The line of totals and the rows, drawn on `console` from `start` to `stop`."""

    def __init__(self, console: Console) -> None:
        self._rows: dict[int, tuple[str, int | None]] = {}
        self._done = self._total = self._left = 0
        self._text = ""
        self._began = time.monotonic()
        # Standard output and standard error are not redirected through it: each goes where it should.
        self._live = Live(
            get_renderable=lambda: self,
            console=console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def start(self) -> None:
        """Draw it, and go on drawing it."""
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Take it away."""
        self._live.stop()

    def count(self, left: int, total: int, text: str) -> None:
        """Set the line of totals: how many tasks of how many are left, and what is said of them."""
        self._left, self._total, self._text = left, total, text

    def row(self, task_id: int, status: str, percent: int | None) -> None:
        """Set the row of a task."""
        self._rows[task_id] = status, percent

    def drop(self, task_id: int) -> None:
        """Take the row of a task away, if it has one."""
        self._rows.pop(task_id, None)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # Bare segments: they are drawn often, and what goes over the edge of the screen is cut off.
        rows = list(self._rows.items())[: max(0, min(ROWS, console.height - SPARE))]  # A copy: rich draws in a thread.
        width = max((len(str(task_id)) for task_id, _ in rows), default=0)
        for task_id, (status, percent) in rows:
            yield Segment(f"{task_id:>{width}}  {status:<11}  ")
            yield ProgressBar(100, percent or 0, width=WIDTH)
            yield Segment("\n" if percent is None else f" {percent:>3} %\n")
        if rows and self._left > len(rows):
            yield Segment(f"and {self._left - len(rows)} more\n")
        yield ProgressBar(self._total, self._total - self._left, width=WIDTH)
        yield Segment(f" {self._text} {timedelta(seconds=int(time.monotonic() - self._began))}")
