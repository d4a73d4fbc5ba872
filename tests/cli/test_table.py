"""The table: what of a task a person at a terminal sees."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

import pytest

from omgmj.cli.view import View
from omgmj.models import Action, Status, Task
from tests.cli.streams import (
    BEGAN,
    DONE,
    FAILED,
    IMAGE,
    RUNNING,
    Terminal,
    on_screen,
    plain,
    surroundings,
)

__all__ = ["surroundings"]  # a fixture


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
    assert (view.tally.failed, view.tally.lost) == (0, 0)


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
