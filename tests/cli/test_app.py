"""The command line, run in this process where that shows as much as a process of its own does.

The service is a `FakeService` in a thread. Its tasks are at their ends from the beginning, or never, so that nothing
waits in real time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from omgmj.cli import app
from omgmj.cli.view import View
from omgmj.session.waiting import STALL
from omgmj.testing import PNG, FakeService, Life
from tests.cli.streams import shown_on

OMGMJ = [sys.executable, "-m", "omgmj"]
DONE = Life.steps([(0, "SUCCESS", "100%")])
FAILED = Life.steps([(0, "FAILURE", "31%", {"failReason": "no luck"})])
ENDLESS = Life.steps([(0, "IN_PROGRESS", "31%")])


@pytest.fixture(autouse=True)
def surroundings(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an environment without settings, and a terminal of its own."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")


@contextmanager
def in_thread(fake: FakeService) -> Iterator[None]:
    """Serve `fake` in a thread until the block is left."""
    ready = threading.Event()
    doors: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        over = asyncio.Event()
        async with fake:
            await fake.serve()
            doors.append((asyncio.get_running_loop(), over))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        loop, over = doors[0]
        loop.call_soon_threadsafe(over.set)
        thread.join()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """Serve tasks 1 and 2, done, 3, failed, and 4, which never ends; the environment leads there."""
    service = FakeService()
    for task_id, life in enumerate((DONE, DONE, FAILED, ENDLESS), 1):
        service.add_task(life, task_id=task_id)
    with in_thread(service):
        monkeypatch.setenv("OMGMJ_TOKEN", "t")
        monkeypatch.setenv("OMGMJ_BASE_URL", service.url)
        yield service


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# Watching and querying.


@pytest.mark.usefixtures("fake")
def test_watch_prints_records(capsys: pytest.CaptureFixture[str]) -> None:
    """When all succeed there is a JSON line for each, with the wire's names, nothing else, and the code is 0."""
    assert app.main(["watch", "1", "2", "1"]) == 0
    out, err = capsys.readouterr()
    assert {record["taskId"] for record in records(out)} == {1, 2}
    assert all(record["status"] == "SUCCESS" and record["actions"][0]["customId"] for record in records(out))
    assert (len(records(out)), err) == (2, "")


@pytest.mark.usefixtures("fake")
def test_what_a_watch_learned_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A watch leaves what it learned for the next one, in the cache folder; one that is told not to leaves nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert app.main(["watch", "1"]) == 0
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("OMGMJ_LEARNED")
    for _ in range(2):
        assert app.main(["watch", "1", "2"]) == 0
        assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "omgmj"]


@pytest.mark.usefixtures("fake")
def test_watch_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """A task that failed is a record like any other, and makes the code 1."""
    assert app.main(["watch", "1", "3"]) == 1
    out, err = capsys.readouterr()
    assert {(record["taskId"], record["status"]) for record in records(out)} == {(1, "SUCCESS"), (3, "FAILURE")}
    assert err == ""


@pytest.mark.usefixtures("fake")
def test_watch_unresolved(capsys: pytest.CaptureFixture[str]) -> None:
    """An ID that comes to no end is one line on stderr with its error; the others are shown; the code is 1."""
    assert app.main(["watch", "4", "1", "--timeout", "0"]) == 1
    out, err = capsys.readouterr()
    assert [record["taskId"] for record in records(out)] == [1]
    assert err.startswith("omgmj: 4: WaitTimeout: task 4 was not done in time")
    assert err.count("\n") == 1


def test_query_asks_once(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """`query` shows the records in the order asked for, running tasks too, and asks once for each."""
    assert app.main(["query", "4", "2", "1"]) == 0
    assert [record["taskId"] for record in records(capsys.readouterr().out)] == [4, 2, 1]
    assert fake.requests == 3


@pytest.mark.usefixtures("fake")
def test_query_unresolved(capsys: pytest.CaptureFixture[str]) -> None:
    """`query` names an ID that the service does not know, shows the rest, and the code is 1."""
    assert app.main(["query", "99", "2"]) == 1
    out, err = capsys.readouterr()
    assert [record["taskId"] for record in records(out)] == [2]
    assert err.startswith("omgmj: 99: TaskNotFound: ")
    assert err.count("\n") == 1


def test_query_many(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """More IDs than are asked at once are all shown, in order."""
    for task_id in range(100, 200):
        fake.add_task(DONE, task_id=task_id)
    ids = [str(task_id) for task_id in range(100, 200)]
    assert app.main(["query", *ids, "--rate", "1000"]) == 0
    assert [str(record["taskId"]) for record in records(capsys.readouterr().out)] == ids


def test_log_lines(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """A warning of the library is one line on stderr, and the handler is gone afterwards."""
    life = Life.steps([(0, "PONDERING", "9%", {"finishTime": "2026-01-01T00:00:00.000Z"})])
    task_id = fake.add_task(life)
    handlers = list(logging.getLogger("omgmj").handlers)
    assert app.main(["watch", str(task_id)]) == 1
    assert f"omgmj: task {task_id} has the status 'PONDERING'" in capsys.readouterr().err
    assert logging.getLogger("omgmj").handlers == handlers


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("command", ["query", "watch"])
def test_refused_token(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """A token that is refused is one line that says whence it came and where to put another, without the token."""
    monkeypatch.setenv("OMGMJ_TOKEN", "sk-wrong")
    assert app.main([command, "1", "2"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("omgmj: AuthError: the service does not take the token")
    assert "came from OMGMJ_TOKEN" in err
    assert "config.toml" in err
    assert "sk-wrong" not in err
    assert err.count("\n") == 1


# Arguments.


def test_no_token(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a token one line names the variable and the file, and the code is 2."""
    assert app.main(["watch", "1"]) == 2
    err = capsys.readouterr().err
    assert "there is no token: put it into OMGMJ_TOKEN" in err
    assert "~/.config/omgmj/config.toml" in err
    assert err.count("\n") == 1


def test_config_file(
    fake: FakeService, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A command works by the config file alone."""
    monkeypatch.delenv("OMGMJ_TOKEN")
    monkeypatch.delenv("OMGMJ_BASE_URL")
    path = tmp_path / ".config/omgmj/config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(f'token = "t"\nbase_url = "{fake.url}"\n')
    assert app.main(["query", "1"]) == 0
    assert len(records(capsys.readouterr().out)) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["watch"], "no task IDs were given"),
        (["query"], "no task IDs were given"),
        (["watch", "abc"], "a task ID is a whole number of at most 19 digits, such as 3432, not 'abc'"),
        (["watch", "-5"], "not '-5'"),
        (["watch", "0"], "not '0'"),
        (["query", "1.5"], "not '1.5'"),
        (["watch", "1", "--timeout", "soon"], "--timeout"),
        (["watch", "1", "--timeout", "nan"], "for --timeout. It must be a number, 0 or more."),
        (["watch", "1", "--stall", "-1"], "for --stall. It must be a number above 0."),
        (["watch", "1", "--rate", "0"], "for --rate. It must be a number above 0."),
        (["demo", "a b", "c"], "Unexpected argument: 'a b' c."),
        (["watch", "1", "--nope"], "--nope"),
        (["query", "1", "--progress", "loud"], "for --progress: 'loud' is none of auto, plain, none"),
        (["list", "--progress", "none"], "--progress"),
        (["paint"], "paint"),
        (["demo", "--tasks", "-1"], "the number of tasks must be"),
        (["demo", "--tasks", "3", "--failing", "4"], "failing must be"),
        (["watch", "--from", "nowhere.txt"], "cannot read nowhere.txt: No such file"),
        (["watch", "--from", "."], "cannot read .: Is a directory"),
    ],
)
def test_wrong_usage(fake: FakeService, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    """What is misused is one line on stderr and the code 2, and nothing is sent."""
    assert app.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("omgmj: ")
    assert said in err.replace('"', "")  # early cyclopts puts an option in quotes
    assert fake.requests == 0


@pytest.mark.usefixtures("fake")
def test_ids_from_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """IDs come from a file too: blank lines and comments are skipped, Windows' line ends and its mark are taken."""
    file = tmp_path / "ids.txt"
    file.write_bytes("\ufeff1\r\n\r\n# two\r\n  2  # more\r\n1\r\n".encode())
    assert app.main(["query", "4", "--from", str(file)]) == 0
    assert [record["taskId"] for record in records(capsys.readouterr().out)] == [4, 1, 2]


@pytest.mark.parametrize("rubbish", [b"12x", b"3432 3433", b"\xff\xfe", b"-1"])
def test_rubbish_in_file(fake: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path, rubbish: bytes) -> None:
    """Rubbish on line 7 is named with the file and the line, and nothing has been sent."""
    file = tmp_path / "ids.txt"
    file.write_bytes(b"1\n2\n\n# c\n3\n4\n" + rubbish + b"\n1\n")
    assert app.main(["watch", "--from", str(file)]) == 2
    assert f"{file}, line 7: " in capsys.readouterr().err
    assert fake.requests == 0


@pytest.mark.usefixtures("fake")
def test_ids_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`--from -` reads standard input, and names it where it holds rubbish; an empty one is nothing to do."""
    file = tmp_path / "ids.txt"
    for content, code, said in (("2\n1\n", 0, ""), ("1\nx\n", 2, "standard input, line 2: "), ("", 0, "")):
        file.write_text(content)
        with file.open() as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            assert app.main(["query", "--from", "-"]) == code
        assert said in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", None)
    assert app.main(["query", "--from", "-"]) == 2
    assert "cannot read standard input: it is closed" in capsys.readouterr().err


def test_help_tells_the_library_s_default(capsys: pytest.CaptureFixture[str]) -> None:
    """The help's figure for `--stall` is the library's own, and each command is in the help."""
    assert app.main(["watch", "--help"]) == 0
    help_text = " ".join(capsys.readouterr().out.split())
    assert f"{STALL:.0f} if not given" in help_text
    assert "omgmj watch [OPTIONS] TASK_IDS..." in help_text
    assert app.main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("query", "watch", "demo", "serve", "--version"))


@pytest.mark.usefixtures("fake")
def test_progress_is_taken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What is said to `--progress` comes to what shows it, in each command."""
    seen = []

    class Noting(View):
        def __init__(self, ids: Iterable[int] = (), progress: str = "auto") -> None:
            seen.append(progress)
            super().__init__(ids, progress)

    for module in ("create_tasks", "task_ids", "demo"):
        monkeypatch.setattr(f"omgmj.cli.{module}.View", Noting)
    picture = tmp_path / "cat.png"
    picture.write_bytes(PNG)
    for arguments in (
        ["query", "1"],
        ["watch", "1"],
        ["imagine", "a cat"],
        ["act", "1", "U1"],
        ["blend", str(picture), str(picture)],
        ["describe", str(picture)],
        ["download", "1", "--to", str(tmp_path)],
        ["demo", "--tasks", "0"],
    ):
        assert app.main([*arguments, "--progress", "None"]) == 0
    assert seen == ["none"] * 8


# Processes of their own.


@pytest.mark.slow
def test_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """`omgmj demo --tasks 20 | cat` prints 20 final records and exits 0, whatever the environment holds."""
    monkeypatch.setenv("OMGMJ_TOKEN", "not a token")
    monkeypatch.setenv("OMGMJ_BASE_URL", "https://nowhere.invalid")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    command = f"set -o pipefail; {sys.executable} -m omgmj demo --tasks 20 | cat"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)  # noqa: S607
    assert done.returncode == 0
    assert re.fullmatch(r"(omgmj: \d+ of 20 done, 0 failed, .*\n)*", done.stderr)  # It takes longer than some seconds.
    lines = records(done.stdout)
    assert len({line["taskId"] for line in lines}) == len(lines) == 20
    assert all(line["status"] == "SUCCESS" and len(line["actions"]) == 9 for line in lines)


@pytest.mark.slow
def test_failing_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """With `--failing` as many tasks fail, and the code is 1."""
    assert app.main(["demo", "--tasks", "3", "--failing", "2"]) == 1
    out, _ = capsys.readouterr()
    assert sorted(record["status"] for record in records(out)) == ["FAILURE", "FAILURE", "SUCCESS"]


@pytest.mark.usefixtures("fake")
def test_on_a_terminal() -> None:
    """On a real terminal there are the table, a bar and at the end the figures."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*OMGMJ, "watch", "1", "2", "3"], stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        text = shown_on(ours)
    assert process.returncode == 1
    assert text.count("SUCCESS") == 2
    assert re.search(r"0 of 3 done, 0 failed, 0:00:\d\d", text)
    assert "omgmj: 3 of 3 done, 1 failed" in text


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interrupted(number: signal.Signals, code: int) -> None:
    """An interrupt ends a watch with the usual code and one line: the command for what is left, its options too."""
    arguments = [*OMGMJ, "watch", "4", "1", "2", "--timeout", "600", "--stall", "99", "--rate", "30"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        seen = {json.loads(process.stdout.readline())["taskId"] for _ in range(2)}
        process.send_signal(number)
        assert process.wait(20) == code  # seconds, where a request has 30
        again = "omgmj watch 4 --timeout 600 --stall 99 --rate 30"
        assert process.stderr.read() == f"omgmj: interrupted; 1 of 3 tasks left. To go on: {again}\n"
    assert seen == {1, 2}


@pytest.mark.usefixtures("fake")
def test_hang_up_ignored() -> None:
    """Under nohup a watch goes on when the terminal is closed."""
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *OMGMJ, "watch", "1", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143


@pytest.mark.usefixtures("fake")
def test_interrupted_before_anything(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """An interrupt while the arguments are being read is one line too."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("omgmj.cli.query_and_watch.gather_ids", interrupt)
    assert app.main(["watch", "--from", "-"]) == 130
    assert capsys.readouterr().err == "omgmj: interrupted\n"


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("arguments", [["watch", "1"], ["--help"], ["watch", "--help"], ["--version"]])
def test_closed_pipe(arguments: list[str]) -> None:
    """A reader that has gone ends a command quietly, the help too."""
    theirs, ours = os.pipe()
    os.close(theirs)
    done = subprocess.run([*OMGMJ, *arguments], stdout=ours, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(ours)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [["watch", "1"], ["imagine", "a cat"], ["--help"]])
def test_closed_output(fake: FakeService, arguments: list[str]) -> None:
    """Without a standard output nothing is sent, as nobody would be told what was made."""
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *OMGMJ, *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, fake.requests) == (2, 0)
    assert done.stderr == "omgmj: standard output is closed: nobody would learn what comes of the command\n"


full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")


@full_disk
@pytest.mark.usefixtures("fake")
def test_full_disk() -> None:
    """Output that cannot be written is one line, which says so, and the code 1."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*OMGMJ, "watch", "1"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, b"omgmj: cannot write the output: No space left on device\n")


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("where", ["2>&-", pytest.param("2>/dev/full", marks=full_disk), ""])
def test_messages_that_nobody_takes(where: str) -> None:
    """What cannot be written to standard error is dropped: the results are shown all the same."""
    theirs, broken = os.pipe()
    os.close(theirs)
    command = ["sh", "-c", f'exec "$@" {where}', "sh", *OMGMJ, "query", "99", "1", "98", "2"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=broken, text=True, timeout=60, check=False)
    os.close(broken)
    assert done.returncode == 1
    assert [record["taskId"] for record in records(done.stdout)] == [1, 2]


@pytest.mark.parametrize("missing", ["cyclopts", "rich"])
def test_without_the_extra(missing: str) -> None:
    """Without the extra one line says how to get it, and the code is 2."""
    code = f"import sys; sys.modules[{missing!r}] = None; from omgmj.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'omgmj[cli]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_quick_start(argument: str) -> None:
    """The help and the version import no aiohttp."""
    code = (
        "import sys; from omgmj.__main__ import main; code = main();"
        "sys.exit(code or sorted({'aiohttp', 'yarl'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, argument], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "omgmj" in done.stdout or "." in done.stdout
