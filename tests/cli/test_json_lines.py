"""JSON lines: records that a program can read, or that nobody can."""

from __future__ import annotations

import pytest

from omgmj.cli.view import View
from omgmj.models import Status, Task
from tests.cli.streams import (
    surroundings,
)

__all__ = ["surroundings"]  # a fixture


def test_lone_surrogate_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A record with half an emoji is printed as ASCII."""
    View([5]).record(Task(5, Status.SUCCESS, prompt="\ud83d"))
    assert '"prompt": "\\ud83d"' in capsys.readouterr().out


def test_record_that_cannot_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A record that cannot be read again counts as unresolved, under its ID."""
    view = View([5])
    view.record(Task(5, Status.SUCCESS, source=b"rubbish"))
    assert capsys.readouterr().err.startswith("omgmj: 5: DecodeError: ")
    assert (view.tally.lost, list(view.tally.left)) == (1, [])
