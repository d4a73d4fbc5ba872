"""JSON lines: records that a program can read, or that nobody can."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given

from omgmj.cli.json_lines import dump_record
from omgmj.cli.view import View
from omgmj.models import Status, Task, read_task
from omgmj.protocol.responses import loads
from tests.cli.streams import surroundings
from tests.test_records import RECORD, tasks

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


def test_dump_is_the_record_as_it_came() -> None:
    """A line of output is the record with all that came, in ASCII, so that a lone surrogate prints."""
    source = json.dumps({**RECORD, "prompt": "cut \ud83d", "brandNew": 1}).encode()
    line = dump_record(read_task(json.loads(source), asked=20, source=source))
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == json.loads(source)


def test_dump_names_the_task() -> None:
    """A record that names no ID gets the one that was asked for."""
    source = b'{"status": "SUCCESS"}'
    assert json.loads(dump_record(read_task(json.loads(source), asked=5, source=source)))["taskId"] == 5


def test_dump_is_json() -> None:
    """NaN and infinity, which JSON has no words for, come out as null."""
    source = b'{"status": "SUCCESS", "a": [NaN, -Infinity, 1e999, 1.5]}'
    line = dump_record(read_task(loads(source), asked=5, source=source))
    assert json.loads(line, parse_constant=pytest.fail)["a"] == [None, None, None, 1.5]


@given(tasks)
def test_there_and_back(task: Task) -> None:
    """A task made by hand, written and read again, is the same task, by either reader."""
    line = dump_record(task).encode()
    readers: list[Callable[[bytes], object]] = [loads, json.loads]
    for reader in readers:
        assert read_task(reader(line), asked=None, source=line) == task
