"""The commands about tasks made before, against a served `FakeService`: what they list, and what they fetch."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from omgmj.cli import app
from omgmj.cli.list_tasks import AT_ONCE, LISTED, read_since
from omgmj.errors import UsageError
from omgmj.session import Session
from omgmj.testing import PNG, FakeService, Life
from tests.cli.test_app import DONE, ENDLESS, FAILED, OMGMJ, in_thread, records

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))


@pytest.fixture(autouse=True)
def fake(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """Serve an account with tasks 1 and 2, done, 3, failed, and 4, which never ends; the environment leads there."""
    service = FakeService(epoch=datetime.now(UTC))
    for task_id, life in enumerate((DONE, DONE, FAILED, ENDLESS), 1):
        service.add_task(life, task_id=task_id, kind="UPSCALE" if task_id == 2 else "IMAGINE")
    monkeypatch.setenv("COLUMNS", "100")
    with in_thread(service):
        monkeypatch.setenv("OMGMJ_TOKEN", "t")
        monkeypatch.setenv("OMGMJ_BASE_URL", service.url)
        yield service


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[int]:
    """Return the IDs that `list` shows."""
    assert app.main(["list", *arguments]) == 0
    return [record["taskId"] for record in records(capsys.readouterr().out)]


# The list.


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ([], [4, 3, 2, 1]),
        (["--limit", "2"], [4, 3]),
        (["--limit", "0"], [4, 3, 2, 1]),
        (["--status", "success"], [2, 1]),
        (["--status", "SUCCESS", "--status", "FAILURE"], [3, 2, 1]),
        (["--status", "success, failure"], [3, 2, 1]),
        (["--action", "upscale"], [2]),
        (["--action", "IMAGINE,UPSCALE", "--action", "PAN"], [4, 3, 2, 1]),
        (["--since", "1h"], [4, 3, 2, 1]),
        (["--since", "2100-01-01"], []),
    ],
)
def test_list(capsys: pytest.CaptureFixture[str], arguments: list[str], ids: list[int]) -> None:
    """Records are shown as JSON lines, newest first, those that fit; a failed task among them is no failure."""
    assert listed(capsys, *arguments) == ids


def test_list_has_a_limit(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """Unless told otherwise no more tasks are shown than one cares to read, and that is said."""
    for task_id in range(10, 10 + LISTED):
        fake.add_task(DONE, task_id=task_id)
    assert app.main(["list"]) == 0
    out, err = capsys.readouterr()
    assert len(records(out)) == LISTED
    assert err == f"omgmj: these are the newest {LISTED}; --limit N shows more\n"
    assert sum(fake.pages.values()) == LISTED / 20
    assert len(listed(capsys, "--limit", "0")) == LISTED + 4


def test_list_unknown_status(capsys: pytest.CaptureFixture[str]) -> None:
    """A status that nobody knows may be a new one: that it is not known is said, and that there is no such task."""
    assert app.main(["list", "--status", "succes"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("omgmj: 'SUCCES' is no status that is known; known are NOT_START, ")
    assert err.endswith("omgmj: there are no such tasks\n")


def test_list_refused(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """A list that cannot be had is one line and the code 1."""
    fake.inject("not_found")
    assert app.main(["list"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d ago", NOW - timedelta(days=3)),
        ("1.5 h", NOW - timedelta(minutes=90)),
        ("2w", NOW - timedelta(days=14)),
        ("2026-01-31T12:30:00Z", datetime(2026, 1, 31, 12, 30, tzinfo=UTC)),
        ("2026-01-31 12:30+02:00", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
        ("2026-01-31T12:30", datetime(2026, 1, 31, 17, 30, tzinfo=UTC)),
        ("2026-07-31", datetime(2026, 7, 31, 4, tzinfo=UTC)),
    ],
)
def test_since(monkeypatch: pytest.MonkeyPatch, text: str, meant: datetime) -> None:
    """A time is so long ago, or a date and time, by the clock on the wall here where it names no zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        read = read_since(text, NOW)
    time.tzset()
    assert read == meant
    assert read.tzinfo is not None


@pytest.mark.parametrize("text", ["", "soon", "2h30", "-2h", "99999999999d", "9" * 400 + "s", "2026-13-01", "12:30"])
def test_since_rubbish(text: str) -> None:
    """What is no time is wrong usage, and the error says what is one."""
    with pytest.raises(UsageError, match="--since must be like 30m, 2h, 3d, or 2026-01-31"):
        read_since(text, NOW)


# Images.


def test_download(fake: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each image is fetched and its place shown; each ID that has none is one line with the reason; the code is 1."""
    file = tmp_path / "ids.txt"
    file.write_text("4\n2\n99\n")
    assert app.main(["download", "1", "3", "--from", str(file), "--to", str(tmp_path / "a" / "b")]) == 1
    out, err = capsys.readouterr()
    paths = {record["taskId"]: record["path"] for record in records(out)}
    assert paths == {task_id: str(tmp_path / "a" / "b" / f"task-{task_id}.png") for task_id in (1, 2)}
    assert all(Path(path).read_bytes() == fake.image(task_id) for task_id, path in paths.items())
    lines = sorted(err.splitlines())
    assert lines[0].startswith("omgmj: 3: UsageError: task 3 has no image: it ended as FAILURE (no luck)")
    assert lines[1].startswith("omgmj: 4: UsageError: task 4 has no image: it is not finished")
    assert lines[2].startswith("omgmj: 99: TaskNotFound: ")
    assert len(lines) == 3
    assert fake.downloads == {1: 1, 2: 1}


def test_download_again(fake: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file that is there stays as it is and is shown like a fresh one; `--overwrite` replaces it."""
    kept = tmp_path / "task-1.png"
    kept.write_text("mine")
    assert app.main(["download", "1", "2", "--to", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert {record["taskId"]: record["path"] for record in records(out)} == {
        task_id: str(tmp_path / f"task-{task_id}.png") for task_id in (1, 2)
    }
    assert err == ""
    assert kept.read_text() == "mine"
    assert app.main(["download", "1", "--to", str(tmp_path), "--overwrite"]) == 0
    assert kept.read_bytes() == fake.image(1)


def test_some_at_once(
    fake: FakeService, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Several images are fetched at once, and never more than a few; WSRV's parameters go with each."""
    now: set[int] = set()
    seen: list[object] = []
    most = 0

    async def slow(_: Session, task: object, to: Path, **options: object) -> Path:
        nonlocal most
        now.add(id(task))
        most = max(most, len(now))
        await asyncio.sleep(0.01)
        now.discard(id(task))
        seen.append(options["compress"])
        return to

    for task_id in range(10, 30):
        fake.add_task(DONE, task_id=task_id)
    monkeypatch.setattr(Session, "download", slow)
    options = ["--width", "512", "--quality", "80", "--output", "JPEG", "--rate", "1000"]
    assert app.main(["download", *map(str, range(10, 30)), "--to", str(tmp_path), *options]) == 0
    assert len(records(capsys.readouterr().out)) == 20
    assert most == AT_ONCE
    assert seen == [{"w": 512, "q": 80, "output": "jpg"}] * 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["download", "--to", "x"], "no task IDs were given"),
        (["download", "1"], "--to"),
        (["download", "1", "--to", "/dev/null"], "'/dev/null' is not a directory"),
        (["download", "1", "--to", "/dev/null/x"], "cannot write into '/dev/null/x': Not a directory"),
        (["download", "1", "--to", ""], "for --to: it is empty"),
        (["download", "1", "--to", "x", "--via", "pigeon"], "for --via: 'pigeon' is none of auto, stored"),
        (["download", "1", "--to", "x", "--via", "Stored", "--width", "3"], "they go with --via wsrv or --via wsrv-st"),
        (["download", "1", "--to", "x", "--width", "0"], "for --width. It must be a whole number from 1 to 100000."),
        (["download", "1", "--to", "x", "--quality", "101"], "for --quality. It must be a whole number from 1 to 100."),
        (["download", "1", "--to", "x", "--output", "bmp"], "for --output: 'bmp' is none of jpg, png"),
        (["list", "--limit", "-1"], "--limit must be 0 or more"),
        (["list", "--since", "soon"], "--since must be like"),
        (["list", "--status", "SUCCESS,"], "--status takes words with commas between, not 'SUCCESS,'"),
    ],
)
def test_wrong_usage(
    fake: FakeService,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    """What is misused is one line at last on stderr and the code 2; nothing is sent, and no directory is made."""
    monkeypatch.chdir(tmp_path)
    assert app.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err.splitlines()[-1].replace('"', "")  # early cyclopts puts an option in quotes
    assert (fake.requests, list(tmp_path.iterdir())) == (0, [])


def test_refused_token(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A token that is refused ends a download at once, in one line for all IDs."""
    monkeypatch.setenv("OMGMJ_TOKEN", "sk-wrong")
    assert app.main(["download", "1", "2", "--to", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("omgmj: AuthError: ")
    assert "sk-wrong" not in err
    assert err.count("\n") == 1


def test_interrupted(fake: FakeService, tmp_path: Path) -> None:
    """An interrupt leaves no half file, and tells the command that goes on with what is left, its options too."""
    slow = fake.add_task(Life.steps([(0, "SUCCESS", "100%")]), task_id=50)
    fake.inject("silence", task_id=slow)
    arguments = ["download", "1", str(slow), "--to", str(tmp_path), "--via", "discord", "--overwrite"]
    with subprocess.Popen([*OMGMJ, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert records(process.stdout.readline()) == [{"taskId": 1, "path": str(tmp_path / "task-1.png")}]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    again = f"omgmj download {slow} --to {tmp_path} --via discord --overwrite"
    assert err == f"omgmj: interrupted; 1 of 2 tasks left. To go on: {again}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["task-1.png"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interrupted_half_way(fake: FakeService, tmp_path: Path, number: signal.Signals, code: int) -> None:
    """A signal in the midst of an image leaves no part of it, also where the terminal is closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/half.png"
        fake.add_task(Life.steps([(0, "SUCCESS", "100%", {"imageDcUrl": url})]), task_id=50)
        arguments = [*OMGMJ, "download", "50", "--to", str(tmp_path), "--via", "discord"]
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + PNG)
                assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
                process.send_signal(number)
                _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert err.startswith("omgmj: interrupted; 1 of 1 tasks left. To go on: omgmj download 50 ")
    assert list(tmp_path.iterdir()) == []
