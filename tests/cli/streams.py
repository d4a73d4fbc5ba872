"""Standard streams for tests: real terminals, and what says it is one; some tasks to show on them."""

from __future__ import annotations

import errno
import io
import os
import pty
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TextIO

import pytest

from omgmj.cli.view import View
from omgmj.models import Action, Status, Task

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
IMAGE = f"https://cdn.example/{'x' * 150}.png"
DONE = Task(
    1,
    Status.SUCCESS,
    submitted_at=BEGAN,
    finished_at=BEGAN + timedelta(seconds=41.25),
    image_url=IMAGE,
    actions=(Action("a", label="U1"), Action("b", emoji="🔄"), Action("c", emoji="🔍", label="Zoom")),
)
FAILED = Task(2, Status.FAILURE, fail_reason="no luck")
RUNNING = Task(3, Status.IN_PROGRESS, progress=31)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test the same kind of terminal."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")


class Closed(io.StringIO):
    """A standard stream whose reader has gone."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


class Terminal(io.StringIO):
    """A standard stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Gone(Terminal):
    """A terminal that was closed."""

    def write(self, _: str) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def plain(screen: str) -> str:
    """Return what was written to a terminal without its control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)


def shown_on(ours: int) -> str:
    """Return what was written to a pseudo-terminal, without control sequences, once its other end is closed."""
    screen = b""
    try:
        while part := os.read(ours, 4096):
            screen += part
    except OSError:  # Linux says so that the other end is gone.
        pass
    os.close(ours)
    return plain(screen.decode())


def on_screen(*tasks: Task, stdout: TextIO | None = None) -> str:
    """Show `tasks` on a real terminal, with standard output elsewhere if given; return what was written there."""
    ours, theirs = pty.openpty()
    with pytest.MonkeyPatch.context() as patch, os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        patch.setattr(sys, "stdout", stdout or terminal)
        patch.setattr(sys, "stderr", terminal)
        with View([task.id for task in tasks]) as view:
            for task in tasks:
                view.record(task)
    return shown_on(ours)
