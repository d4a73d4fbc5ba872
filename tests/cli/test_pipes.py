"""Commands in pipes: what one writes another reads, as it comes, and each ends when it should.

All are processes of their own, as what matters is what standard input is.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from omgmj.cli.task_ids import NAMED
from omgmj.testing import FakeService
from tests.cli.kept import Pseudo, read_all, squeezed
from tests.cli.test_app import DONE, OMGMJ, fake, records, surroundings

__all__ = ["fake", "surroundings"]  # fixtures

SOON = 20
"""Seconds in which what should end at once has ended on a slow machine; a request has 30."""
WATCH = [*OMGMJ, "watch", "--from", "-"]


def run(line: str, *, code: int = 0) -> tuple[str, str]:
    """Run a line of the shell, in which OMGMJ is the command, and return what it wrote; `code` is the last one's."""
    script = line.replace("OMGMJ", shlex.join(OMGMJ))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)  # noqa: S607
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command on IDs from standard input, with pipes, and end it after the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*OMGMJ, *words, "--from", "-"], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def write(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin
    process.stdin.write(text)
    process.stdin.flush()


def read(process: subprocess.Popen[str]) -> int:
    """Return the ID of the next record."""
    assert process.stdout
    return int(json.loads(process.stdout.readline())["taskId"])


def said(process: subprocess.Popen[str]) -> str:
    """Return all that was said on standard error, after the end."""
    assert process.stderr
    return process.stderr.read()


def test_imagine_and_watch(fake: FakeService) -> None:
    """What `imagine` makes `watch` waits for, and `watch` ends when both are done."""
    fake.plan(DONE)
    out, err = run('OMGMJ imagine "a cat" | OMGMJ watch --from -')
    (record,) = records(out)
    assert (record["taskId"], record["status"], record["prompt"], err) == (fake.task_ids[-1], "SUCCESS", "a cat", "")


@pytest.mark.usefixtures("fake")
def test_from_one_to_the_next(tmp_path: Path) -> None:
    """Whole records and the lines of `download` are taken too, by each command that takes IDs."""
    line = "OMGMJ list --status SUCCESS | OMGMJ watch --from - | OMGMJ download --from - --to"
    out, err = run(f"{line} {shlex.quote(str(tmp_path))} | OMGMJ query --from -")
    assert ({record["taskId"] for record in records(out)}, err) == ({1, 2}, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["task-1.png", "task-2.png"]


@pytest.mark.usefixtures("fake")
def test_failed_tasks_in_a_pipe(tmp_path: Path) -> None:
    """A task without an image is told of by its ID, the others are fetched, and the code is 1."""
    out, err = run(f"OMGMJ watch 1 3 2 | OMGMJ download --from - --to {shlex.quote(str(tmp_path))}", code=1)
    assert {record["taskId"] for record in records(out)} == {1, 2}
    assert err.startswith("omgmj: 3: UsageError: task 3 has no image: it ended as FAILURE")


@pytest.mark.usefixtures("fake")
def test_records_come_before_the_end() -> None:
    """Each line of an endless input is taken as it comes, and a wrong one stops nothing: it makes the code 1."""
    with running("watch") as process:
        for line, task_id in (("1\n", 1), ("junk\n2\n", 2), ('{"taskId": 3}\n', 3)):
            write(process, line)
            assert read(process) == task_id
        assert process.stdin
        process.stdin.close()
        assert process.wait(SOON) == 1
        assert re.fullmatch(r"omgmj: standard input, line 2: a task ID is .* not 'junk'\n", said(process))


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_while_input_is_open(number: signal.Signals, code: int) -> None:
    """A signal ends a watch at once whose input goes on, and says what is left and that there may be more."""
    with running("watch", "--timeout", "600") as process:
        write(process, "4\nx\n1\n")
        assert read(process) == 1
        process.send_signal(number)
        assert process.wait(SOON) == code
        said_of_line, said_at_end = said(process).splitlines()
        assert said_of_line.startswith("omgmj: standard input, line 2: ")
        assert said_at_end == (
            "omgmj: interrupted; 1 of 3 tasks left, and standard input was not read to its end. "
            "To go on: omgmj watch 4 --timeout 600"
        )


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("command", ["watch", "query"])
def test_a_refused_token_ends_it(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """What concerns the whole account ends a command although its input goes on."""
    monkeypatch.setenv("OMGMJ_TOKEN", "sk-wrong-token")
    with running(command) as process:
        write(process, "1\n")
        assert process.wait(SOON) == 1
        *_, last = said(process).splitlines()  # How far it is may have been told before.
        assert last.startswith("omgmj: AuthError: the service does not take the token")


@pytest.mark.usefixtures("fake")
def test_nobody_reads_any_more() -> None:
    """A reader that has gone ends a watch quietly with the next record, although its input goes on."""
    with running("watch") as process:
        write(process, "1\n")
        assert read(process) == 1
        assert process.stdout
        process.stdout.close()
        write(process, "2\n")
        assert process.wait(SOON) == 141
        assert said(process) == ""


@pytest.mark.usefixtures("fake")
def test_the_writer_is_killed() -> None:
    """Where the command before is killed, what it wrote is watched to its end, and half a record is told of."""
    script = """import os, signal, sys; sys.stdout.write('{"taskId": 1}\\n2\\n{"taskId": 3'); sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)"""
    out, err = run(f"{shlex.join([OMGMJ[0], '-c', script])} | OMGMJ watch --from -", code=1)
    assert {record["taskId"] for record in records(out)} == {1, 2}
    assert "omgmj: standard input, line 3: it is no JSON record on a line of its own: '{\"taskId\": 3'\n" in err


def test_the_command_before_fails(fake: FakeService) -> None:
    """Where nothing comes, one line says so after that of the command before, and nothing is sent."""
    _, err = run('OMGMJ imagine "" | OMGMJ watch --from -')
    assert sorted(err.splitlines()) == [
        "omgmj: no task IDs in standard input",
        "omgmj: the prompt is empty, or holds nothing that can be seen",
    ]
    assert fake.requests == 0


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("where", ["</dev/null", "< <(:)"])
def test_an_empty_input(where: str) -> None:
    """An input without anything is nothing to do, and is told of."""
    assert run(f"OMGMJ watch --from - {where}") == ("", "omgmj: no task IDs in standard input\n")


def test_a_closed_input(fake: FakeService) -> None:
    """A standard input that is closed is one line, and nothing is sent."""
    assert run("OMGMJ watch --from - <&-", code=2) == ("", "omgmj: cannot read standard input: it is closed\n")
    assert fake.requests == 0


@pytest.mark.usefixtures("fake")
def test_rubbish_without_end() -> None:
    """Rubbish without end fills neither the screen nor the memory, and an interrupt ends it."""
    with subprocess.Popen(["yes", "rubbish"], stdout=subprocess.PIPE) as rubbish:  # noqa: S607
        process = subprocess.Popen(WATCH, stdin=rubbish.stdout, stderr=subprocess.PIPE, text=True)
        with process:
            assert process.stderr
            lines = [process.stderr.readline() for _ in range(NAMED)]
            process.send_signal(signal.SIGINT)
            assert process.wait(SOON) == 130
            (last,) = process.stderr.read().splitlines()
        rubbish.kill()
    assert lines[-1].endswith("; more such lines are counted, and not shown\n")
    assert last == "omgmj: interrupted, with no task left, and standard input was not read to its end"


@pytest.mark.usefixtures("fake")
def test_named_pipes(tmp_path: Path) -> None:
    """A named pipe is read as it comes too, and the records of what it brought first come before its end."""
    os.mkfifo(tmp_path / "ids")
    with subprocess.Popen(
        [*OMGMJ, "watch", "4", "--timeout", "0", "--from", tmp_path / "ids"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        with (tmp_path / "ids").open("w") as ids:
            for task_id in (1, 2):
                print(task_id, file=ids, flush=True)
                assert read(process) == task_id
        assert process.wait(SOON) == 1
        assert said(process).startswith("omgmj: 4: WaitTimeout: ")


@pytest.mark.usefixtures("fake")
def test_typed_on_a_terminal() -> None:
    """IDs can be typed: each is watched when its line is sent, and what is typed stays, with nothing drawn over it."""
    kept = Pseudo()

    def take_the_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    end = kept.end
    with subprocess.Popen(WATCH, stdin=end, stdout=end, stderr=end, preexec_fn=take_the_terminal) as process:  # noqa: PLW1509 (no thread of the child's is there yet)
        os.close(end)
        for seen, typed in (("Ctrl-D", b"1\n"), ("1  SUCCESS", b"4\n"), ("\n4", b"2\n"), ("2  SUCCESS", b"\x03")):
            while seen not in kept.text:
                assert kept.read()
            os.write(kept.fileno(), typed)
        read_all(kept)
        assert process.wait(SOON) == 130
    assert [line for line in kept.lines if re.match(r"\d\S*$", line)] == ["1", "4", "2"]
    assert not re.search("[━─]", kept.text)
    way_on = "1 of 3 tasks left, and standard input was not read to its end. To go on: omgmj watch 4"
    assert squeezed(kept.text).endswith(squeezed(way_on))
