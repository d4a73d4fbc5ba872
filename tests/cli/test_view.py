"""The view: results, messages and log lines together."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from omgmj.cli.view import View
from omgmj.errors import TaskNotFound
from tests.cli.streams import (
    Closed,
    Terminal,
    plain,
    surroundings,
)

__all__ = ["surroundings"]  # a fixture


def test_made_and_saved(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A new ID and the place of an image are a JSON line each, and bare on a terminal; neither steers it."""
    path = Path(f"my  images/{'x' * 120}\x1b[2J\udc80.png")
    view = View([5])
    view.made(5)
    view.saved(5, path)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first, second) == ({"taskId": 5}, {"taskId": 5, "path": str(path)})
    assert list(view.tally.left) == []
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


def test_no_figures_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends in an error leaves no bar, no figures and no handler of the log behind."""
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    handlers = list(logging.getLogger("omgmj").handlers)
    with pytest.raises(KeyboardInterrupt), View([1]):
        raise KeyboardInterrupt
    assert "omgmj: " not in plain(err.getvalue())
    assert logging.getLogger("omgmj").handlers == handlers


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
