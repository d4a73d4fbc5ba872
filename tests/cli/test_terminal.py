"""Messages on standard error."""

from __future__ import annotations

import sys

import pytest

from omgmj.cli.terminal import complain
from tests.cli.streams import (
    Closed,
    surroundings,
)

__all__ = ["surroundings"]  # a fixture


def test_complain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A complaint is one harmless line, and one that nobody can read is no error."""
    complain("a\nb \x1b[2J")
    assert capsys.readouterr().err == "omgmj: a b \ufffd[2J\n"
    monkeypatch.setattr(sys, "stderr", Closed())
    complain("nobody hears")
    monkeypatch.setattr(sys, "stderr", None)
    complain("nobody is there")
    assert capsys.readouterr().out == ""
