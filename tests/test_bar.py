"""What moves on the screen, drawn on a console of known size."""

from __future__ import annotations

import io

from rich.console import Console

from omgmj.bar import ROWS, Bar


def drawn(bar: Bar, *, width: int = 80, height: int = 40) -> list[str]:
    """Return the lines of a bar on a screen of this size."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    lines = console.render_lines(bar, pad=False)
    return ["".join(segment.text for segment in line) for line in lines]


def bar(rows: int, left: int, total: int) -> Bar:
    made = Bar(Console(file=io.StringIO()))
    made.count(left, total, "so many done")
    for task_id in range(1, rows + 1):
        made.row(task_id * 100, "IN_PROGRESS" if task_id > 1 else "", 100 - task_id if task_id > 1 else None)
    return made


def test_rows() -> None:
    """A row has the ID, the status and the percent where they are known; the totals are the last line."""
    first, second, last = drawn(bar(2, 2, 3))
    assert first.split()[0] == "100"
    assert "%" not in first
    assert second.split()[:2] == ["200", "IN_PROGRESS"]
    assert second.endswith(" 98 %")
    assert last.endswith(" so many done 0:00:00")


def test_more() -> None:
    """No more rows than are cheap are drawn, nor more than the screen has room for; the rest is a number."""
    lines = drawn(bar(ROWS + 5, 300, 400))
    assert (len(lines), lines[ROWS]) == (ROWS + 2, f"and {300 - ROWS} more")
    lines = drawn(bar(ROWS, 300, 400), height=10)
    assert (len(lines), lines[-2]) == (9, "and 293 more")
    assert len(drawn(bar(ROWS, 300, 400), height=2)) == 1


def test_narrow() -> None:
    """A line that is too long is cut off, as one that goes on in the next line could not be taken away."""
    assert [len(line) for line in drawn(bar(3, 3, 3), width=18)] == [18] * 4


def test_row_that_goes() -> None:
    """A row that was taken away is not drawn, and one that is not there can be taken away."""
    shown = bar(2, 2, 3)
    shown.drop(100)
    shown.drop(100)
    assert len(drawn(shown)) == 3
