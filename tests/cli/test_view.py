"""What is shown: on real terminals, and on streams that say they are one."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import pty
import re
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TextIO

import pytest

from omgmj.cli.options import again
from omgmj.cli.view import View, complain
from omgmj.errors import TaskNotFound
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


def on_screen(*tasks: Task, stdout: TextIO | None = None) -> str:
    """Show `tasks` on a real terminal, with standard output elsewhere if given; return what was written there."""
    ours, theirs = pty.openpty()
    with pytest.MonkeyPatch.context() as patch, os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        patch.setattr(sys, "stdout", stdout or terminal)
        patch.setattr(sys, "stderr", terminal)
        with View([task.id for task in tasks]) as view:
            for task in tasks:
                view.record(task)
    screen = b""
    try:
        while part := os.read(ours, 4096):
            screen += part
    except OSError:  # Linux says so that the other end is gone.
        pass
    os.close(ours)
    return plain(screen.decode())


# The table.


@pytest.mark.parametrize("columns", [60, 140])
def test_table(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """On a terminal, wide or narrow, ID, status, seconds, actions, reason, progress and the whole image URL stand."""
    monkeypatch.setenv("COLUMNS", str(columns))
    text = on_screen(DONE, FAILED, RUNNING)
    lines = [line.split() for line in text.splitlines()]
    assert text.count("ID  STATUS") == 1
    assert ["1", "SUCCESS", "41.2", "U1", "🔄", "🔍", "Zoom"] in lines
    assert [IMAGE] in lines
    assert ["2", "FAILURE", "no", "luck"] in lines
    assert ["3", "IN_PROGRESS", "31", "%"] in lines


@pytest.mark.parametrize("columns", [1, 20, 40])
def test_very_narrow_table(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """However narrow a terminal is, no ID, status or reason is cut: a line goes on in the terminal's next one."""
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    view = View([123456])
    for task in (Task(123456, Status.IN_PROGRESS, progress=31), Task(7, Status.FAILURE, fail_reason="no " * 9)):
        view.record(task)
    text = plain(out.getvalue())
    words = text.split()
    assert words[:8] == ["ID", "STATUS", "SECONDS", "ACTIONS,", "IMAGE", "123456", "IN_PROGRESS", "31"]
    assert words[8:11] == ["%", "7", "FAILURE"]
    assert words.count("no") == 9
    assert "\u2026" not in text


def test_bare_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure without a reason says so, and a running task without progress says nothing."""
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    view = View([1, 2])
    view.record(Task(1, Status.CANCEL))
    view.record(Task(2, Status.SUBMITTED))
    lines = [line.split() for line in plain(out.getvalue()).splitlines()]
    assert lines[1:] == [["1", "CANCEL", "no", "reason", "given"], ["2", "SUBMITTED"]]


def test_table_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a record says cannot steer the terminal, and a lone surrogate prints."""
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("NO_COLOR", "1")
    odd = Action("x", emoji="\ud83d", label="a\x1b[2Jb\nc")
    View([5]).record(Task(5, Status.SUCCESS, image_url="https://x/\x1b]0;boo\x07", actions=(odd,)))
    assert "\x1b[2J" not in out.getvalue()
    assert "\x1b]0" not in out.getvalue()
    assert "\ud83d" not in out.getvalue()


def test_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that was not asked for tells when the task was made, of what kind it is, and its prompt, unbroken."""
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    view = View()
    prompt = f"a cat {'x' * 120}\nin the rain"
    view.entry(Task(12345, Status.FAILURE, kind="IMAGINE", prompt=prompt, submitted_at=BEGAN))
    header, row, origin = plain(out.getvalue()).splitlines()
    assert (header.split()[0], row.split()[:2]) == ("ID", ["12345", "FAILURE"])
    made = f"{BEGAN.astimezone():%Y-%m-%d %H:%M}"
    assert origin.strip() == f"{made}  IMAGINE  a cat {'x' * 120} in the rain"
    assert (view.failed, view.lost) == (0, 0)


def test_entry_beyond_the_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time that has no local one is left out."""
    out = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        View().entry(Task(6, Status.SUBMITTED, kind="ZOOM", submitted_at=datetime.max.replace(tzinfo=UTC)))
    time.tzset()
    assert plain(out.getvalue()).splitlines()[-1].split() == ["ZOOM"]


def test_actions_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two actions there is more room than within one."""
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    View([1]).record(DONE)
    assert "U1  🔄  🔍 Zoom" in plain(out.getvalue())


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("a cat\nin the rain", "a cat in the rain"),
        ("a \x1b[2Jcat\u202e", "a \ufffd[2Jcat\ufffd"),
        ("ش\u200cش 👩\u200d👧", "ش\u200cش 👩\u200d👧"),
        ("x" * 96, "x" * 96),
        ("x" * 97, "x" * 95 + "…"),
        ("猫" * 48, "猫" * 48),
        ("猫" * 49, "猫" * 47 + " …"),
    ],
)
def test_prompt(monkeypatch: pytest.MonkeyPatch, prompt: str, shown: str) -> None:
    """The prompt has a line of its own, harmless, and is whole where there is room for it."""
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    View([1]).record(Task(1, Status.SUCCESS, prompt=prompt, image_url="https://x/y"))
    lines = plain(out.getvalue()).splitlines()
    assert lines[2:] == [f"    {shown}", "    https://x/y"]


def test_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prompts that a DESCRIBE found are shown, each on a line."""
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    View([1]).record(Task(1, Status.SUCCESS, kind="DESCRIBE", prompt="1 a cat\n\n2 a fox"))
    lines = [line.split() for line in plain(out.getvalue()).splitlines()]
    assert lines[1:] == [["1", "SUCCESS"], ["1", "a", "cat"], ["2", "a", "fox"]]


def test_made_and_saved(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A new ID and the place of an image are a JSON line each, and bare on a terminal; neither steers it."""
    path = Path(f"my  images/{'x' * 120}\x1b[2J\udc80.png")
    view = View([5])
    view.made(5)
    view.saved(5, path)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first, second) == ({"taskId": 5}, {"taskId": 5, "path": str(path)})
    assert list(view.left) == []
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    view = View([5])
    view.made(5)
    view.saved(5, path)
    assert out.getvalue() == f"5\nmy  images/{'x' * 120}\ufffd[2J\ufffd.png\n"


def test_made_and_not_written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A new ID that cannot be written to stdout is told on stderr, and the error goes on."""
    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError):
        View().made(5)
    assert capsys.readouterr().err == "omgmj: the new task is 5\n"


# The bar.


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
        view.going(1)
        view.going(3, Task(3, "A\x1b[2J", progress=31, prompt="a\x1b]0;b\nc\u202ed"))
        view.tick()
        view.unresolved(TaskNotFound("gone").about(3))
        view.going(3, RUNNING)
        assert view._figures.rows.keys() == {1}
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
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with View([1, 3], progress) as view:
        view.going(3, RUNNING)
        view.tick()
        assert err.getvalue() == ""
        now += 6
        view.tick()
        view.record(DONE)
    first, last = plain(err.getvalue()).splitlines()
    assert first == "omgmj: 0 of 2 done, 0 failed, 0:00:06; 3 IN_PROGRESS 31 %"
    assert last == "omgmj: 1 of 2 done, 0 failed, 6.0 s"


def test_lines_of_an_idle_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing is left nothing is told, and the time till then says nothing of the rate of what comes next."""
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with View([1]) as view:
        view.record(DONE)
        for _ in range(100):
            now += 60
            view.tick()
        assert err.getvalue() == ""
        view.expect(range(2, 12))
        now += 5
        for task_id in range(2, 6):
            view.record(Task(task_id, Status.SUCCESS))
        view.tick()
    first, _ = err.getvalue().splitlines()
    assert first == "omgmj: 5 of 11 done, 0 failed, 1:40:05, 2.0/s, about 0:00:03 left"


@pytest.mark.parametrize(("progress", "seconds"), [("none", 600), ("auto", 4)])
def test_no_lines(monkeypatch: pytest.MonkeyPatch, progress: str, seconds: float) -> None:
    """There are only messages where nothing else is wanted, and where it is over before a line is due."""
    err = Terminal() if progress == "none" else io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with View([1, 2], progress) as view:
        now += seconds
        view.tick()
        view.record(DONE)
        view.unresolved(TaskNotFound("gone").about(2))
    assert plain(err.getvalue()) == "omgmj: 2: TaskNotFound: gone\n"


def test_no_figures_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends in an error leaves no bar, no figures and no handler of the log behind."""
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    handlers = list(logging.getLogger("omgmj").handlers)
    with pytest.raises(KeyboardInterrupt), View([1]):
        raise KeyboardInterrupt
    assert "omgmj: " not in plain(err.getvalue())
    assert logging.getLogger("omgmj").handlers == handlers


def test_bar_that_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal that has gone takes the bar and the messages with it, and no record."""
    monkeypatch.setattr(sys, "stderr", Gone())
    with View([1, 2]) as view:
        view.unresolved(TaskNotFound("gone").about(2))
        view.record(DONE)
    assert json.loads(capsys.readouterr().out)["taskId"] == 1


# Lines.


def test_lone_surrogate_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A record with half an emoji is printed as ASCII."""
    View([5]).record(Task(5, Status.SUCCESS, prompt="\ud83d"))
    assert '"prompt": "\\ud83d"' in capsys.readouterr().out


def test_record_that_cannot_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A record that cannot be read again counts as unresolved, under its ID."""
    view = View([5])
    view.record(Task(5, Status.SUCCESS, source=b"rubbish"))
    assert capsys.readouterr().err.startswith("omgmj: 5: DecodeError: ")
    assert (view.lost, list(view.left)) == (1, [])


def test_unresolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ID that comes to no record is a line with its error, and stands in the figures."""
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    with View([1, 2]) as view:
        view.unresolved(TaskNotFound("no such\ntask").about(2))
    assert "omgmj: 2: TaskNotFound: no such task\n" in plain(err.getvalue())
    assert "omgmj: 0 of 2 done, 0 failed, 1 unresolved, " in plain(err.getvalue())


def test_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning of the library is one line on stderr while the view is open; what is less is not shown."""
    log = logging.getLogger("omgmj")
    with View([1]):
        log.info("nothing much")
        log.warning("task %s is\nodd", 1)
    assert capsys.readouterr().err == "omgmj: task 1 is odd\n"


def test_way_on() -> None:
    """What is said at an interrupt names what is left, unless it is too much, nothing, or gone."""
    assert View([]).way_on(partial(again, "watch")) == "interrupted, with no task left"
    view = View([1, 2, 3])
    view.unresolved(TaskNotFound("gone").about(3))
    assert view.way_on(None) == "interrupted; 2 of 3 tasks left, which are gone with the demo"
    assert view.way_on(partial(again, "query")) == "interrupted; 2 of 3 tasks left. To go on: omgmj query 1 2"
    many = View(list(range(1, 2001))).way_on(partial(again, "watch"))
    assert "2000 of 2000 tasks left" in many
    assert "use the same command again: tasks that are done" in many
    assert View(list(range(1, 22))).way_on(partial(again, "download"), "images stay").endswith("again: images stay")


def test_complain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A complaint is one harmless line, and one that nobody can read is no error."""
    complain("a\nb \x1b[2J")
    assert capsys.readouterr().err == "omgmj: a b \ufffd[2J\n"
    monkeypatch.setattr(sys, "stderr", Closed())
    complain("nobody hears")
    monkeypatch.setattr(sys, "stderr", None)
    complain("nobody is there")
    assert capsys.readouterr().out == ""
