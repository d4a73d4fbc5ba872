"""The standard streams: lines on standard output, messages on standard error, and text that cannot steer a terminal."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from typing import TextIO

from rich.console import Console

JOINERS = "\u200c\u200d"
"""What cannot be seen and is harmless: emoji are joined by it, and letters of Persian and Indic words kept apart."""


class Output(Console):
    """Standard output as rich writes to it; when its reader has gone, that is an error like any other."""

    def on_broken_pipe(self) -> None:
        """Raise `BrokenPipeError` where rich would end the process."""
        raise BrokenPipeError


class Messages:
    """Standard error as messages and the bar are written to it: what cannot be written there is dropped."""

    def __init__(self) -> None:
        self._stream = sys.stderr

    @property
    def encoding(self) -> str:
        """The stream's encoding."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def fileno(self) -> int:
        """Return the stream's file descriptor; `OSError` where there is none."""
        if self._stream is None:
            raise OSError("it is closed")
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return is_terminal(self._stream)

    def write(self, text: str) -> None:
        """Write and flush, if anyone still reads it."""
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
    Messages().write(f"omgmj: {clean(text)}\n")


def tell(text: str) -> None:
    """Write one line to standard output."""
    print(text, flush=True)  # noqa: T201 (printing is its work)


def drop(stream: TextIO) -> None:
    """Lead a stream that cannot be written to nowhere, so that Python does not try once more at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def clean(text: str) -> str:
    """Return `text` on one line, without what could steer a terminal."""
    return harmless(" ".join(text.split()))


def harmless(text: str) -> str:
    """Return `text` without what could steer a terminal, its white space as it is."""
    return "".join(c if c.isprintable() or c in JOINERS else "\ufffd" for c in text)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a standard stream is a terminal; a closed one is None."""
    return stream is not None and stream.isatty()


def is_pipe(stream: TextIO | None) -> bool:
    """Whether a standard stream is a pipe; ksh makes its pipes of sockets."""
    try:
        mode = os.fstat(stream.fileno()).st_mode if stream is not None else 0
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
