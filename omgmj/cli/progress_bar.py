"""How far a run is: drawn on a terminal, or told in a line now and then where nothing can be drawn.

What is drawn leaves nothing behind, and takes away nothing else. What is counted, and what is said of it, is `tally`'s
business; when to draw or to tell is `runner`'s.
"""

from __future__ import annotations

import contextlib
import os
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import NamedTuple

from rich.cells import set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

ROWS = 20
"""Tasks that are shown at most."""
WIDTH = 20
"""Characters of a bar at most."""
LEAST = 5
"""Characters of a bar at least: where there is no room for it, the words have the line for themselves."""
DONE, TO_DO = Style(color="cyan"), Style(dim=True)
"""The colours of a bar."""
SETTLED = 3.0
"""Seconds whose ends say nothing of the rate: most of those tasks had ended before anyone asked."""
ENOUGH = 3
"""Ends before there is a rate."""
SOON, LONGEST = 5.0, 30.0
"""Seconds until the first line is told; and between two of them, when it has come to that."""
UP, WIPE_LINE, WIPE_BELOW = "\x1b[A", "\x1b[2K", "\x1b[J"
CUT_OFF, GO_ON = "\x1b[?7l", "\x1b[?7h"
"""What goes over the edge is cut off, as what the terminal takes for wider than we do would cost a line more than we
count; and it goes on in the next line again, as it should."""


class Row(NamedTuple):
    """How far one task is: its status, percent if that is known, and its prompt, all on one line."""

    status: str = ""
    percent: int | None = None
    prompt: str = ""


class Figures:
    """How far a run is: how many tasks of how many are `left`, what is said of them, and `rows` of some of them."""

    def __init__(self) -> None:
        self.left: int = 0
        self.total: int = 0
        self.rows: dict[int, Row] = {}
        self._text = ""
        self._began = 0.0
        self._measured_from = 0.0
        self._ends = 0

    def begin(self, now: float) -> None:
        """Start the clock at `now`, seconds."""
        self._began = now
        self.measure(now)

    def measure(self, now: float) -> None:
        """Measure the rate anew: there was a pause, and what ended in it is told at once now."""
        self._measured_from = now + SETTLED
        self._ends = 0

    def count(self, left: int, total: int, text: str) -> None:
        """Set how many tasks of how many are left, and what is said of them."""
        self.left, self.total, self._text = left, total, text

    def end(self, task_id: int, now: float) -> None:
        """Count the end of a task, and take its row away if it has one."""
        self.rows.pop(task_id, None)
        self._ends += now >= self._measured_from

    def elapsed(self, now: float) -> float:
        """Return the seconds since the run began."""
        return now - self._began

    def said(self, now: float) -> str:
        """Return the totals: what is said of them, the time, and the rate and the time left once they are known."""
        words = [self._text, clock(self.elapsed(now))]
        seconds = now - self._measured_from
        if self.left and seconds > 0 and self._ends >= ENOUGH:
            rate = self._ends / seconds
            words += [_rate(rate), f"about {clock(self.left / rate)} left"]
        return ", ".join(words)


class Lines:
    """Figures that are told in a line now and then, by `say`."""

    def __init__(self, figures: Figures, say: Callable[[str], object]) -> None:
        self.told: bool = False
        self._figures = figures
        self._say = say
        self._pause = SOON
        self._due = SOON

    def tick(self) -> None:
        """Tell how far it is, if it is time, and there is something left to come."""
        now = time.monotonic()
        elapsed = self._figures.elapsed(now)
        if elapsed < self._due or not self._figures.left:
            return
        words = [self._figures.said(now)]
        if self._figures.left <= ENOUGH:
            words += [_brief(task_id, row) for task_id, row in self._figures.rows.items() if row.status]
        self._say("; ".join(words))
        self.told = True
        self._pause = min(2 * self._pause, LONGEST)
        self._due = elapsed + self._pause


class Bar:
    """Figures drawn on a terminal, below all that is written there: a row for each of some tasks, then the totals.

    Between two drawings the cursor stands, seen, where the bar begins. So all that is below it is the bar, also when
    the terminal has broken its lines anew; nothing above is touched; and nothing has to be put right, whatever ends or
    stops the program.
    """

    def __init__(self, console: Console, figures: Figures) -> None:
        self._console = console
        self._figures = figures
        self._frame = ""  # What is drawn now.
        self._height = 0
        self._size = self._measure()
        self._lock = threading.RLock()  # A line of the library's log may come from another thread.

    def draw(self) -> None:
        """Draw it as it is now, in place of what was drawn before."""
        with self._lock:
            if self._is_in_background():
                self._frame = ""
                return
            wipe, size = self._wipe(), self._measure()
            self._console.size = size
            with self._console.capture() as captured:
                self._console.print(self, end="")
            frame = captured.get()
            if frame != self._frame or size != self._size:
                self._frame, self._size, self._height = frame, size, frame.count("\n") + 1
                self._console.file.write(f"{wipe}{CUT_OFF}{frame}{GO_ON}{UP * (self._height - 1)}\r")

    def erase(self) -> None:
        """Take it away until it is drawn again."""
        with self._lock:
            if self._frame:
                self._console.file.write(self._wipe())
            self._frame = ""

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Take it away for as long as something else is written, to whatever stream."""
        with self._lock:
            self.erase()
            yield
            self.draw()

    def _wipe(self) -> str:
        """Return the control sequences that wipe away the bar.

        In a screen that got narrower the bar may have begun further up than it reaches, and the cursor with it. Then it
        stands in the middle of a line that was broken, and what is written there would become the end of that.
        """
        (columns, lines), before = self._measure(), self._size[0]
        is_broken = self._frame and columns < before and self._height * -(-before // columns) > lines
        start = "\n\r" if is_broken else "\r"
        # A whole line first, which is broken no longer then. What is below not from the first column: at the top of the
        # screen tmux would put it into its history.
        return f"{start}{WIPE_LINE} {WIPE_BELOW}\r"

    def _measure(self) -> tuple[int, int]:
        """Return the terminal's size, less its last column; rich knows only that of standard input."""
        with contextlib.suppress(OSError):
            columns, lines = os.get_terminal_size(self._console.file.fileno())
            if columns and lines:
                return max(1, columns - 1), lines
        return self._console.size

    def _is_in_background(self) -> bool:
        """Whether the terminal belongs to the shell now, or to what runs in it."""
        try:
            return os.tcgetpgrp(self._console.file.fileno()) != os.getpgrp()
        except (OSError, AttributeError):  # It is not the terminal that this process belongs to, or no POSIX.
            return False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # Bare segments, as they are drawn often. They take less than half of the screen: results want some too, and
        # when each line breaks in two, as the screen gets narrower, all of them are still there.
        width, height = console.size
        bar = min(WIDTH, (width + 1) // 4)
        rows = list(self._figures.rows.items())[: max(0, min(ROWS, height // 2 - 3))]
        widest = max((len(str(task_id)) for task_id, _ in rows), default=0)
        for task_id, row in rows:
            yield Segment(f"{task_id:>{widest}}  {set_cell_size(row.status, len('IN_PROGRESS'))}  ")
            yield from _drawn((row.percent or 0) / 100, bar, options)
            yield Segment("      " if row.percent is None else f" {row.percent:>3} %")
            prompt = Text(f"  {row.prompt}")
            prompt.truncate(max(1, width - widest - bar - len("    IN_PROGRESS 100 %")), overflow="ellipsis")
            yield Segment(f"{prompt.plain}\n")
        if rows and self._figures.left > len(rows):
            yield Segment(f"and {self._figures.left - len(rows)} more\n")
        said = self._figures.said(time.monotonic())
        if (bar := min(WIDTH, width - len(said) - 1)) >= LEAST:
            yield from _drawn(1 - self._figures.left / self._figures.total, bar, options)
            yield Segment(f" {said}")
        else:
            yield Segment("\n".join(textwrap.wrap(said, width)[: max(1, height // 2)]))


def _drawn(part: float, width: int, options: ConsoleOptions) -> Iterable[Segment]:
    """Draw a bar of which `part` is done, from 0 to 1."""
    done = int(width * min(1, max(0, part)))
    full, empty = "#-" if options.ascii_only else "━─"
    yield Segment(full * done, DONE)
    yield Segment(empty * (width - done), TO_DO)


def _brief(task_id: int, row: Row) -> str:
    return f"{task_id} {row.status}" + ("" if row.percent is None else f" {row.percent} %")


def clock(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds."""
    return str(timedelta(seconds=int(seconds)))


def _rate(a_second: float) -> str:
    for number, unit in ((a_second, "s"), (a_second * 60, "min")):
        if number >= 1:
            return f"{number:.0f}/{unit}" if number >= 10 else f"{number:.1f}/{unit}"
    return f"{a_second * 3600:.1f}/h"
