"""The progress display: a bar, lines or nothing, and what is left of it at the end."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from omgmj.cli.view import View
from omgmj.errors import TaskNotFound
from omgmj.models import Task
from tests.cli.streams import (
    DONE,
    FAILED,
    RUNNING,
    Gone,
    Terminal,
    on_screen,
    plain,
    surroundings,
)

__all__ = ["surroundings"]  # a fixture


def test_bar_that_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar begins with the first ID that is expected, and tells the bytes of images; without IDs there is none."""
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    with View() as view:
        assert err.getvalue() == ""
        view.expect([1])
        view.received(1, 700_000)
        view.received(1, 1_500_000)
        view.saved(1, Path("x"))
    assert "0 of 1 done, 0 failed, 0:00:00" in plain(err.getvalue())
    assert "omgmj: 1 of 1 done, 0 failed, 1.5 MB, " in plain(err.getvalue())
    err.truncate(0)
    with View():
        pass
    assert err.getvalue() == ""


def test_going(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is still to come has a row, harmless and gone with its record; one that is over gets none."""
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    with View([1, 3]) as view:
        view.display.going(1)
        view.display.going(3, Task(3, "A\x1b[2J", progress=31, prompt="a\x1b]0;b\nc\u202ed"))
        view.display.tick()
        view.unresolved(TaskNotFound("gone").about(3))
        view.display.going(3, RUNNING)
        assert view.display._figures.rows.keys() == {1}
        view.record(DONE)
    shown = plain(err.getvalue())
    assert re.search(r"3  A\ufffd\[2J +[━─]+  31 %  a\ufffd\]0;b c\ufffdd", shown)
    assert "3  IN_PROGRESS" not in shown


def test_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there already is done, what is unresolved is not, and both are told."""
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    with View([1, 2, 3]) as view:
        view.saved(1, Path("x"), before=True)
        view.saved(2, Path("y"))
        view.unresolved(TaskNotFound("gone").about(3))
    assert "omgmj: 2 of 3 done, 0 failed, 1 unresolved, 1 there already, " in plain(err.getvalue())


def test_bar() -> None:
    """On a terminal there is a bar, and at the end the figures stay."""
    text = on_screen(DONE, FAILED)
    assert "0 of 2 done, 0 failed, 0:00:00" in text
    assert re.search(r"omgmj: 2 of 2 done, 1 failed, [0-9.]+ s\s*$", text)


def test_bar_beside_a_file(tmp_path: Path) -> None:
    """With output to a file there are JSON lines in it and a bar on the terminal."""
    with (tmp_path / "out").open("w") as file:
        text = on_screen(DONE, FAILED, stdout=file)
    assert [json.loads(line)["taskId"] for line in (tmp_path / "out").read_text().splitlines()] == [1, 2]
    assert "0 of 2 done, 0 failed, 0:00:00" in text


@pytest.mark.parametrize("pair", [os.pipe, socket.socketpair])
def test_no_bar_beside_a_pipe(pair: Callable[[], tuple[int | socket.socket, int | socket.socket]]) -> None:
    """With output to a pipe, such as ksh makes too, there is no bar, as the pipe's reader may use the screen."""
    theirs, ours = (end if isinstance(end, int) else end.detach() for end in pair())
    with os.fdopen(ours, "w") as file:
        assert on_screen(DONE, FAILED, stdout=file) == ""
    with os.fdopen(theirs) as pipe:
        assert [json.loads(line)["taskId"] for line in pipe] == [1, 2]


@pytest.mark.parametrize(
    ("progress", "is_terminal", "term"), [("auto", False, "xterm"), ("auto", True, "dumb"), ("plain", True, "xterm")]
)
def test_lines(monkeypatch: pytest.MonkeyPatch, progress: str, is_terminal: bool, term: str) -> None:
    """Where nothing can be drawn, or is to be, a line tells how far it is, and at the end there are the figures."""
    monkeypatch.setenv("TERM", term)
    err = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    now = 1000.0  # whole seconds, so that sums are exact
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with View([1, 3], progress) as view:
        view.display.going(3, RUNNING)
        view.display.tick()
        assert err.getvalue() == ""
        now += 6
        view.display.tick()
        view.record(DONE)
    first, last = plain(err.getvalue()).splitlines()
    assert first == "omgmj: 0 of 2 done, 0 failed, 0:00:06; 3 IN_PROGRESS 31 %"
    assert last == "omgmj: 1 of 2 done, 0 failed, 6.0 s"


def test_lines_of_an_idle_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing is left nothing is told, and the time till then says nothing of the rate of what comes next."""
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    now = 1000.0  # whole seconds, so that sums are exact
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with View([1]) as view:
        view.record(Task(1, "SUCCESS"))
        for _ in range(100):
            now += 60
            view.display.tick()
        assert err.getvalue() == ""
        view.expect(range(2, 12))
        now += 5
        for task_id in range(2, 6):
            view.record(Task(task_id, "SUCCESS"))
        view.display.tick()
    first, _ = err.getvalue().splitlines()
    assert first == "omgmj: 5 of 11 done, 0 failed, 1:40:05, 2.0/s, about 0:00:03 left"


@pytest.mark.parametrize(("progress", "seconds"), [("none", 600), ("auto", 4)])
def test_no_lines(monkeypatch: pytest.MonkeyPatch, progress: str, seconds: float) -> None:
    """There are only messages where nothing else is wanted, and where it is over before a line is due."""
    err = Terminal() if progress == "none" else io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    now = 1000.0  # whole seconds, so that sums are exact
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with View([1, 2], progress) as view:
        now += seconds
        view.display.tick()
        view.record(DONE)
        view.unresolved(TaskNotFound("gone").about(2))
    assert plain(err.getvalue()) == "omgmj: 2: TaskNotFound: gone\n"


def test_bar_that_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal that has gone takes the bar and the messages with it, and no record."""
    monkeypatch.setattr(sys, "stderr", Gone())
    with View([1, 2]) as view:
        view.unresolved(TaskNotFound("gone").about(2))
        view.record(DONE)
    assert json.loads(capsys.readouterr().out)["taskId"] == 1
