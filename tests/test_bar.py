"""What moves: figures, told in lines or drawn on a terminal of known size, whose screen and history are kept."""

from __future__ import annotations

import io
import os
import re
import time
from typing import cast

import pytest
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions

from omgmj.bar import ROWS, SETTLED, Bar, Figures, Lines, Row
from tests.kept import Kept


class Terminal(io.StringIO):
    """What a bar is drawn on."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


def console(width: int = 79, height: int = 40, *, colours: str | None = None, encoding: str = "utf-8") -> Console:
    file = Terminal(encoding)
    made = Console(file=file, force_terminal=True, color_system=colours, legacy_windows=False)  # type: ignore[arg-type]
    made.size = ConsoleDimensions(width, height)
    return made


def written(on: Console) -> str:
    """Return what was written to a console's terminal."""
    return cast("Terminal", on.file).getvalue()


def figures(rows: int, left: int, total: int, prompt: str = "") -> Figures:
    made = Figures()
    made.begin(time.monotonic())
    made.count(left, total, "so many done")
    for task_id in range(1, rows + 1):
        row = Row("IN_PROGRESS", 100 - task_id, prompt) if task_id > 1 else Row()
        made.rows[task_id * 100] = row
    return made


def drawn(shown: Figures, on: Console | None = None) -> list[str]:
    """Return the lines of a bar as they go to a terminal."""
    on = on or console()
    lines = on.render_lines(Bar(on, shown), pad=False)
    return ["".join(segment.text for segment in line) for line in lines]


# What is drawn.


def test_rows() -> None:
    """A row has the ID, the status, the percent and the prompt where they are known; the totals are the last line."""
    first, second, last = drawn(figures(2, 2, 3, "a cat"))
    assert first.split() == ["100", "─" * 20]
    assert re.fullmatch("200  IN_PROGRESS  [━─]{20}  98 %  a cat", second)
    assert re.fullmatch("━{6}─{14} so many done, 0:00:00", last)


def test_more() -> None:
    """No more rows than are cheap are drawn, nor more than half of the screen; the rest is a number."""
    lines = drawn(figures(ROWS + 5, 300, 400), console(height=100))
    assert (len(lines), lines[ROWS]) == (ROWS + 2, f"and {300 - ROWS} more")
    lines = drawn(figures(ROWS, 300, 400), console(height=20))
    assert (len(lines), lines[-2]) == (9, "and 293 more")
    assert len(drawn(figures(ROWS, 300, 400), console(height=2))) == 1


@pytest.mark.parametrize("width", [1, 5, 18, 30, 50, 79])
@pytest.mark.parametrize("prompt", ["a cat " * 40, "猫" * 100, "👩\u200d👩\u200d👧🇩🇪❤\ufe0f" * 30, "e\u0301" * 100])
def test_narrow(width: int, prompt: str) -> None:
    """No line is wider than the screen, whatever characters a prompt has; the totals go on in the next line."""
    lines = drawn(figures(3, 3, 3, prompt), console(width))
    assert max(map(cell_len, lines)) <= width
    if width == 18:
        assert lines[3:] == ["so many done,", "0:00:00"]
    if width >= 50:
        assert lines[2].endswith("…")


@pytest.mark.parametrize(("encoding", "bar"), [("utf-8", "━━━━━━━━━━──────────"), ("latin-1", "##########----------")])
@pytest.mark.parametrize("colours", [None, "standard", "truecolor"])
def test_bar_s_looks(colours: str | None, encoding: str, bar: str) -> None:
    """A bar has the same width with colours and without, in characters that the terminal has; it is never red."""
    on = console(colours=colours, encoding=encoding)
    Bar(on, figures(0, 1, 2)).draw()
    text = written(on)
    assert re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text).split()[0] == bar
    codes = {code for codes in re.findall(r"\x1b\[([\d;]*)m", text) for code in codes.split(";")}
    assert codes == ({"36", "2", "0"} if colours else set())


# Rate and time left.


def test_time_left() -> None:
    """Rate and time left are shown once some tasks have ended that had not ended before anyone asked."""
    shown = Figures()
    shown.begin(100)
    shown.count(20, 24, "4 of 24 done")
    for task_id in range(4):
        shown.end(task_id, 100.5)
    assert shown.said(130) == "4 of 24 done, 0:00:30"
    for task_id in range(4, 7):
        assert "left" not in shown.said(103 + 10)
        shown.end(task_id, 103 + 3 * (task_id - 3))
    shown.count(17, 24, "7 of 24 done")
    assert shown.said(103 + 10) == "7 of 24 done, 0:00:13, 18/min, about 0:00:56 left"
    shown.count(0, 24, "24 of 24 done")
    assert shown.said(103 + 10) == "24 of 24 done, 0:00:13"


def test_rate_after_a_pause() -> None:
    """After a pause the rate is measured anew; the time goes on."""
    shown = Figures()
    shown.begin(0)
    for task_id in range(3):
        shown.end(task_id, 10)
    shown.count(5, 8, "3 of 8 done")
    shown.measure(1000)
    assert shown.said(1001) == "3 of 8 done, 0:16:41"
    assert shown.said(1010) == "3 of 8 done, 0:16:50"


@pytest.mark.parametrize(
    ("seconds", "rate"), [(0.1, "30/s"), (1, "3.0/s"), (20, "9.0/min"), (1000, "10.8/h"), (7200, "1.5/h")]
)
def test_units_of_a_rate(seconds: float, rate: str) -> None:
    """A rate is per second, minute or hour, such that it is a number above 1."""
    shown = Figures()
    shown.begin(0)
    shown.count(1, 4, "3 of 4 done")
    for task_id in range(3):
        shown.end(task_id, SETTLED)
    assert shown.said(SETTLED + seconds).split(", ")[2] == rate


# Lines.


def test_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line is told after some seconds, and then they get rarer, up to a bound."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    shown = figures(5, 5, 9)
    told: list[float] = []
    lines = Lines(shown, lambda _: told.append(now - 1000))
    for tick in range(600):
        assert lines.told == bool(told)
        now = 1000 + tick / 4
        lines.tick()
    assert told == [5, 15, 35, 65, 95, 125]


def test_lines_of_few_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few tasks are left a line tells of each how far it is."""
    shown = figures(2, 2, 3, "a cat")
    now = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: now)
    told: list[str] = []
    Lines(shown, told.append).tick()
    assert re.fullmatch(r"so many done, 0:01:00; 200 IN_PROGRESS 98 %", told[0])


# On a screen.


def kept(on: Console) -> Kept:
    return Kept(80, 24, written(on))


def test_in_place() -> None:
    """A bar is drawn over the one before, be it lower or higher, and nothing is left when it is taken away."""
    on = console(height=24)
    shown = figures(8, 9, 9)
    bar = Bar(on, shown)
    on.file.write("above\n" * 30)
    for task_id in (100, 200, 300):
        bar.draw()
        shown.end(task_id, 0)
    assert len(kept(on).lines) == 30 + 8
    shown.rows.update(figures(8, 9, 9).rows)
    bar.draw()
    with bar.aside():
        on.file.write("beside\n")
    assert kept(on).lines[:31] == ["above"] * 30 + ["beside"]
    assert len(kept(on).lines) == 31 + 10
    bar.erase()
    bar.erase()
    on.file.write("below\n")
    assert kept(on).lines == ["above"] * 30 + ["beside", "below"]
    assert kept(on).is_as_before


def test_drawn_once() -> None:
    """What has not changed is not written again, but on a screen of another size it is."""
    on = console(height=24)
    bar = Bar(on, figures(2, 9, 9))
    bar.draw()
    before = written(on)
    bar.draw()
    assert written(on) == before
    on.size = ConsoleDimensions(60, 24)
    bar.draw()
    assert written(on) != before


def test_wider_than_we_think() -> None:
    """What a terminal holds for wider than we do costs no line."""
    on = console(300, 24)
    bar = Bar(on, figures(3, 3, 3, "x" * 300))
    on.file.write("above\n")
    bar.draw()
    assert len(kept(on).lines) == 1 + 4
    bar.erase()
    assert kept(on).lines == ["above"]


def test_out_of_sight() -> None:
    """Where the screen got so small that the bar may begin above it, it goes on in a line of its own."""
    for size, begins in (((60, 20), "\r"), ((30, 20), "\n\r"), ((79, 6), "\r"), ((79, 24), "\r")):
        on = console(height=24)
        bar = Bar(on, figures(9, 9, 9))
        bar.draw()
        before = len(written(on))
        on.size = ConsoleDimensions(*size)
        bar.erase()
        assert written(on)[before:].startswith(f"{begins}\x1b[2K")


def test_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the terminal belongs to others nothing is drawn there, nor wiped away."""
    on = console()
    bar = Bar(on, figures(2, 2, 2))
    bar.draw()
    before = written(on)
    with monkeypatch.context() as patch:
        patch.setattr(on.file, "fileno", lambda: 2)
        patch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp() + 1)
        bar.draw()
        bar.erase()
        assert written(on) == before
        patch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp())
        bar.draw()
        assert written(on) != before
