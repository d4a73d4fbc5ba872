"""Kept screens: what a terminal still has, on its screen and in its history, after a program wrote to it.

Text without its control sequences shows what was written. Whether it was wiped away again shows only here.
"""

from __future__ import annotations

import fcntl
import os
import pty
import selectors
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import cast

import pyte
import pyte.modes

SIZES = [(80, 24), (120, 40), (200, 50), (40, 15)]
"""Columns and lines of the terminals that are tried."""


class Kept:
    """A terminal that is shown `text`, and all that it still has then."""

    def __init__(self, columns: int = 80, lines: int = 24, text: str = "") -> None:
        self.screen = pyte.HistoryScreen(columns, lines, history=2000)
        self._stream = pyte.ByteStream(self.screen)
        self.show(text.replace("\n", "\r\n").encode())  # As a terminal's driver does it.

    def show(self, output: bytes) -> None:
        """Take in what was written."""
        self._stream.feed(output)

    @property
    def lines(self) -> list[str]:
        """The lines of the history and of the screen, but empty ones at the end."""
        kept = [*self.screen.history.top, *(self.screen.buffer[y] for y in range(self.screen.lines))]
        lines = ["".join(line[x].data for x in range(self.screen.columns)).rstrip() for line in kept]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)

    @property
    def is_as_before(self) -> bool:
        """Whether the cursor is seen and lines go on in the next one, as before the program began."""
        return not self.screen.cursor.hidden and pyte.modes.DECAWM in self.screen.mode


class Pseudo(Kept):
    """A pseudo-terminal; `end` is the file descriptor that a program writes to."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        super().__init__(columns, lines)
        self._ours, self.end = pty.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def fileno(self) -> int:
        """Return what a selector waits for."""
        return self._ours

    def read(self) -> bool:
        """Wait for what is written next, and take it in; False where all who could write have gone."""
        try:
            part = os.read(self._ours, 65536)
        except OSError:  # Linux says so that the other end is gone.
            part = b""
        self.show(part)
        if not part:
            os.close(self._ours)
        return bool(part)

    def read_until(self, is_enough: Callable[[], bool]) -> None:
        """Take in what is written until it is enough."""
        while not is_enough():
            assert self.read(), f"it has ended:\n{self.text}"


def read_all(*terminals: Pseudo) -> None:
    """Take in all that is written to terminals until their programs end."""
    with selectors.DefaultSelector() as reading:
        for terminal in terminals:
            reading.register(terminal, selectors.EVENT_READ)
        while reading.get_map():
            for key, _ in reading.select():
                descriptor, terminal = key.fd, cast("Pseudo", key.fileobj)
                if not terminal.read():
                    reading.unregister(descriptor)


@contextmanager
def running(arguments: Sequence[str], out: Pseudo, err: Pseudo | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command on a terminal, its standard error on another if given, until it ends or the block is left."""
    ends = {out.end, (err or out).end}
    with subprocess.Popen(arguments, stdin=out.end, stdout=out.end, stderr=(err or out).end) as process:
        for end in ends:
            os.close(end)
        try:
            yield process
        finally:
            process.kill()


def run_on(arguments: Sequence[str], *sizes: tuple[int, int]) -> list[Pseudo]:
    """Run a command on a terminal of each of `sizes`, at the same time, and return what the terminals have after it."""
    terminals = [Pseudo(*size) for size in sizes]
    with ExitStack() as all_of_them:
        for terminal in terminals:
            all_of_them.enter_context(running(arguments, terminal))
        read_all(*terminals)
    return terminals


def squeezed(text: str) -> str:
    """Return a text without white space: the same however wide the terminal is that it was read from."""
    return "".join(text.split())
