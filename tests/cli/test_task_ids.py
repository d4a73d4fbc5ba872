"""`task_ids`: what names a task, in a file that is read whole and in a stream that is read as it comes."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pty
import sys
from collections.abc import Iterator
from contextlib import aclosing, suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock, patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.cli import task_ids
from omgmj.cli.task_ids import CHUNK, LONGEST, NAMED, Wanted, gather_ids
from omgmj.cli.view import View
from omgmj.errors import TaskNotFound, UsageError
from tests.cli.streams import Terminal
from tests.test_records import RECORD

NAMES_3432 = [
    "3432",
    " 3432\t# a comment",
    "0003432",
    '{"taskId": 3432}',
    '{"taskId": "3432"}',
    ' {"taskId": 3432, "path": "pictures/#1/task-3432.png"} ',
    json.dumps({**RECORD, "taskId": 3432, "prompt": 'a cat # "no 1"\n \ud83d'}),
    json.dumps({**RECORD, "taskId": 3432, "new": [{"taskId": 5}]}),
]
NAMES_NONE = ["", "  ", "# 3432", "\t#"]
WRONG = {
    "12x": "such as 3432, not '12x'",
    "3432 3433": "not '3432 3433'",
    "-1": "not '-1'",
    "9" * 20: "at most 19 digits",
    '"3432"': "not '\"3432\"'",
    "{": "no JSON record on a line of its own: '{'",
    '{"taskId": 3432} x': "no JSON record on a line of its own",
    '{"taskId": 3432}{"taskId": 3433}': "no JSON record on a line of its own",
    "{'taskId': 3432}": "no JSON record on a line of its own",
    '{"id": 3432}': "the record has no taskId: ",
    '{"taskId": null}': "not None",
    '{"taskId": 3432.0}': "not 3432.0",
    '{"taskId": true}': "not True",
    '{"taskId": [3432]}': "not [3432]",
    "[" * 100_000: "not '[[",
    "{" + '"a":{' * 100_000: "no JSON record on a line of its own",
}


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Open a pipe, and close what a test left open of it."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def stream(end: int) -> Wanted:
    """Return what `--from -` makes of a pipe or a terminal."""
    with patch.object(sys, "stdin", SimpleNamespace(fileno=lambda: end)):
        return gather_ids([], "-")


async def taken(wanted: Wanted, view: View) -> list[int]:
    return [task_id async for task_id in wanted.all(view)]


@pytest.mark.parametrize("line", NAMES_3432)
def test_lines_that_name_a_task(tmp_path: Path, line: str) -> None:
    """A line names a task by its ID or by a JSON record of ours, whatever else stands in that."""
    (tmp_path / "ids").write_text(f"\n# c\n{line}\n")
    assert gather_ids(["5"], str(tmp_path / "ids")).known == [5, 3432]


@pytest.mark.parametrize("line", NAMES_NONE)
def test_lines_that_name_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    """Blank lines and comments are skipped; a file of nothing else is told of."""
    (tmp_path / "ids").write_text(f"{line}\n{line}")
    assert gather_ids([], str(tmp_path / "ids")).known == []
    assert capsys.readouterr().err == f"omgmj: no task IDs in {tmp_path}/ids\n"


@pytest.mark.parametrize(("line", "said"), WRONG.items())
def test_wrong_lines_of_a_file(tmp_path: Path, line: str, said: str) -> None:
    """A wrong line of a file is an error at once, with the file, the line and what is wrong with it."""
    (tmp_path / "ids").write_text(f"1\r\n\r\n{line}\r\n")
    with pytest.raises(UsageError) as caught:
        gather_ids([], str(tmp_path / "ids"))
    assert str(caught.value).startswith(f"{tmp_path}/ids, line 3: ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 200


lines_of = st.lists(st.sampled_from(["3432", "é # 猫", '{"taskId": 5}', "", "\ufffd"]))


@given(lines_of, st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 200)), st.booleans())
def test_lines_are_cut_as_they_come(texts: list[str], end: str, cuts: list[int], marked: bool) -> None:
    """However the bytes come in pieces, the lines and their numbers are those of the whole."""
    data = ("\ufeff" * marked + end.join(texts)).encode()
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[low:high] for low, high in pairwise(bounds) if low < high]
    cutter = task_ids._Lines()
    got = [line for piece in [*pieces, b""] for line in cutter.take(piece)]
    assert got == list(enumerate(texts or [""], 1))


def test_a_line_without_end_takes_no_memory() -> None:
    """Of a line that goes on and on little is kept; it is wrong when it ends, and the next one counts."""
    cutter = task_ids._Lines()
    for _ in range(100):
        assert list(cutter.take(b"x" * CHUNK)) == []
        assert len(cutter._rest) <= LONGEST + 1
    (first, second) = cutter.take(b"\n3432\n")
    with pytest.raises(UsageError, match="longer than 1048576 characters"):
        task_ids._read_line(first[1])
    assert (first[0], second) == (1, (2, "3432"))


# Streams.


@pytest.mark.real_time
async def test_an_id_comes_before_the_end(pipe: tuple[int, int]) -> None:
    """A stream's IDs are there as soon as their lines are, and then the view expects them."""
    theirs, ours = pipe
    wanted, view = stream(theirs), View()
    assert (wanted.known, wanted.are_known) == ([], False)
    async with aclosing(wanted.all(view)) as coming:
        for line, task_id in ((b"1\n2", 1), (b"3\n", 23), (b'{"taskId": 4}\r\n', 4)):
            os.write(ours, line)
            assert await anext(coming) == task_id
            assert list(view.tally.left)[-1] == task_id
        assert wanted.unread
        os.write(ours, b"5")
        os.close(ours)
        assert [task_id async for task_id in coming] == [5]
    assert wanted.unread == ""
    assert (view.tally.lost, view.tally.total) == (0, 4)


@pytest.mark.real_time
async def test_wrong_lines_of_a_stream(pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong line of a stream is told of with its number and counts as lost; those after it are taken all the same."""
    theirs, ours = pipe
    os.write(ours, b"1\njunk\n\n# c\n{\n2\n\xff\n")
    os.close(ours)
    view = View()
    assert await taken(stream(theirs), view) == [1, 2]
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": a")[0].partition(": it")[0] for line in said] == [
        f"omgmj: standard input, line {number}" for number in (2, 5, 7)
    ]
    assert (view.tally.lost, view.tally.total, list(view.tally.left)) == (3, 5, [1, 2])


@pytest.mark.real_time
async def test_wrong_lines_without_end(pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    """Of many wrong lines in a row the first are shown, all are counted, and after a good one they are shown again."""
    theirs, ours = pipe
    os.write(ours, b"x\n" * 500 + b"1\n" + b"x\n" * 3)
    os.close(ours)
    view = View()
    assert await taken(stream(theirs), view) == [1]
    said = capsys.readouterr().err.splitlines()
    assert (len(said), view.tally.lost) == (NAMED + 3, 503)
    assert said[NAMED - 1].endswith("more such lines are counted, and not shown")
    assert "line 502: " in said[NAMED]


@pytest.mark.real_time
async def test_no_more_is_read_than_is_wanted(pipe: tuple[int, int]) -> None:
    """While nobody asks for the next ID the stream waits, and with it whoever fills it."""
    theirs, ours = pipe
    os.write(ours, b"".join(b"%d\n" % task_id for task_id in range(1000, 10_000)))
    async with aclosing(stream(theirs).all(View())) as coming:
        for _ in range(CHUNK // 5):
            await anext(coming)
        os.set_blocking(theirs, False)
        assert len(os.read(theirs, 100_000)) == 45_000 - CHUNK
    os.close(ours)


@pytest.mark.real_time
async def test_an_id_that_comes_again(pipe: tuple[int, int]) -> None:
    """While an ID is still to come it is there once, after its end it may come again, and the figures add up."""
    theirs, ours = pipe
    os.write(ours, b"5\n6\n5\n5\n")
    os.close(ours)
    wanted = gather_ids(["6"], f"/dev/fd/{theirs}")
    view = View(wanted.known)
    async with aclosing(wanted.all(view)) as coming:
        assert [await anext(coming), await anext(coming)] == [6, 5]
        view.unresolved(TaskNotFound("gone").about(5))
        assert [task_id async for task_id in coming] == [5]
    for task_id in (5, 6):
        view.unresolved(TaskNotFound("gone").about(task_id))
    assert str(view.tally) == "0 of 3 done, 0 failed, 3 unresolved"


@pytest.mark.real_time
async def test_the_known_come_first(pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    """The IDs of the command line come before those of the stream, and a stream without any is no matter then."""
    theirs, ours = pipe
    os.close(ours)
    wanted = gather_ids(["7", "8", "7"], f"/dev/fd/{theirs}")
    assert await taken(wanted, View(wanted.known)) == [7, 8]
    assert capsys.readouterr().err == ""


@pytest.mark.real_time
@pytest.mark.parametrize("content", [b"", b"\n# nothing\n"])
async def test_a_stream_without_ids(pipe: tuple[int, int], capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    """A stream that ends without an ID, as when the command before it failed, is told of."""
    theirs, ours = pipe
    os.write(ours, content)
    os.close(ours)
    view = View()
    assert await taken(stream(theirs), view) == []
    assert (capsys.readouterr().err, view.tally.lost) == ("omgmj: no task IDs in standard input\n", 0)


def test_no_bar_over_what_is_typed(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where IDs are typed no bar is drawn, as it would be over them; where they come by a pipe there is one."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    ours, typed = pty.openpty()
    view = stream(typed).view("auto")
    assert (view.display.has_bar, view.display.has_rows) == (False, True)
    assert not stream(typed).view("none").display.has_rows
    assert stream(pipe[0]).view("auto").display.has_bar
    for end in (ours, typed):
        os.close(end)


@pytest.mark.real_time
async def test_a_stream_that_breaks(pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be read any further is told of and counts as lost; whole lines before are kept, half a one is not."""
    wanted, view = stream(pipe[0]), View()
    answers = [b"3432\n34", OSError(errno.EIO, os.strerror(errno.EIO))]
    with patch.object(wanted._stream, "_file", Mock(read=Mock(side_effect=answers))):
        assert await taken(wanted, view) == [3432]
    assert capsys.readouterr().err == "omgmj: cannot read standard input any further: Input/output error\n"
    assert (view.tally.lost, wanted.unread) == (1, "")


@pytest.mark.real_time
async def test_a_stream_that_does_not_wait(pipe: tuple[int, int]) -> None:
    """A pipe that others have told not to wait is waited for all the same."""
    theirs, ours = pipe
    wanted = stream(theirs)
    assert wanted._stream is not None
    os.set_blocking(wanted._stream._file.fileno(), False)
    coming = asyncio.create_task(taken(wanted, View()))
    await asyncio.sleep(0.02)
    os.write(ours, b"1\n")
    await asyncio.sleep(0.02)
    os.close(ours)
    assert await coming == [1]


@pytest.mark.real_time
async def test_cancelled_while_it_waits(pipe: tuple[int, int]) -> None:
    """Who waits for a line can be cancelled at once; what comes later harms nobody."""
    theirs, ours = pipe
    coming = asyncio.create_task(taken(stream(theirs), View()))
    await asyncio.sleep(0.01)
    coming.cancel()
    async with asyncio.timeout(1):
        assert isinstance((await asyncio.gather(coming, return_exceptions=True))[0], asyncio.CancelledError)
    os.write(ours, b"1\n")
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("source", ["nowhere", "."])
def test_what_cannot_be_opened(source: str) -> None:
    """What cannot be opened is an error that names it."""
    with pytest.raises(UsageError, match=f"cannot read {source}: "):
        gather_ids(["1"], source)
