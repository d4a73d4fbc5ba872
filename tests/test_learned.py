"""What was learned, in its file: the next session begins with it, and nothing that stands there or fails stops one."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import omgmj
from omgmj import learned
from omgmj.testing import FakeService, Life


async def watched(
    path: object,
    tasks: int = 12,
    *,
    token: str = "t",  # noqa: S107 (a make-believe one)
    by: object = None,
    **settings: Any,
) -> int:
    """Return the requests of a session for tasks of some 45 seconds, one after the other, with the same chance.

    The token is given as it is, or `by` a callable.
    """
    random.seed(1)
    async with FakeService(token=token) as fake, fake.session(by or token, learned=path, **settings) as session:
        for number in range(tasks):
            await session.wait(fake.add_task(Life.succeed(40 + number % 12)))
        return fake.requests


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def ends(path: Path) -> int:
    """Return how many ends the file tells of."""
    return sum(kind["ends"] for kind in read(path)["learned"]["kinds"])


async def test_the_next_session_polls_less(tmp_path: Path) -> None:
    """What one session learned spares the next one polls, and that adds to it; without a file each begins anew."""
    path = tmp_path / "learned.json"
    await watched(path, 60)
    assert await watched(path, 12) < 0.8 * await watched(None, 12)
    assert ends(path) == 72


async def test_a_script_of_one_task_learns(tmp_path: Path) -> None:
    """A session for each task does with a file what one session does for all of them."""
    path = str(tmp_path / "learned.json")
    alone = sum([await watched(None, 1) for _ in range(10)])
    assert sum([await watched(path, 1) for _ in range(10)]) < 0.9 * alone


async def test_a_storm_of_yesterday_is_over(tmp_path: Path) -> None:
    """After a run in which all ended before its time the next one polls often: the one of a day later does not."""
    path = tmp_path / "learned.json"
    await watched(path, 60)
    kept = read(path)
    calm, stormy = (
        {**kept, "learned": {**kept["learned"], "surprises": surprises}}
        for surprises in ([0.0, 0.0, 10.0], [9.0, 27.0, 10.0])
    )

    async def requests(whole: dict[str, Any], ago: float) -> int:
        path.write_text(json.dumps(whole), encoding="utf-8")
        os.utime(path, (time.time() - ago,) * 2)
        return await watched(path, 1)

    assert await requests(stormy, 0.0) > 2 * await requests(calm, 0.0)
    assert await requests(stormy, 86_400.0) == await requests(calm, 0.0)
    assert await requests(stormy, -86_400.0) == await requests(stormy, 0.0)  # The disk's clock may be ahead.


async def test_it_is_read_where_nobody_enters(tmp_path: Path) -> None:
    """A session that is used without `async with` begins with the file too, and adds to it."""
    path = tmp_path / "learned.json"
    await watched(path)
    async with FakeService() as fake:
        session = fake.session(learned=path)
        await session.query(fake.add_task(Life.succeed(0.0)))
        await settled(session)
        await session.wait(fake.add_task(Life.succeed(5)))
        await session.aclose()
    assert ends(path) == 13


async def test_the_file_is_the_owners(tmp_path: Path) -> None:
    """The file and the folder that was missing are their owner's; the token does not stand in it, nor half a file."""
    path = tmp_path / "new" / "folder" / "learned.json"
    await watched(path, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    async with FakeService(token="sk-secret") as fake, fake.session(learned=path) as session:
        await session.wait(fake.add_task(Life.succeed(5)))
    assert "sk-secret" not in path.read_text()
    assert names(path.parent) == ["learned.json"]


async def test_no_end_no_file(tmp_path: Path) -> None:
    """A session that saw no end writes nothing, and leaves a file that is there as it is."""
    path = tmp_path / "learned.json"
    for text in (None, "odd"):
        if text is not None:
            path.write_text(text)
        async with FakeService(tasks=1) as fake, fake.session(learned=path) as session:
            await session.query(fake.task_ids[0])
            with pytest.raises(omgmj.WaitTimeout):
                await session.wait(fake.add_task(Life.succeed(1000)), timeout=20)
        assert (path.read_text() if path.exists() else None) == text


async def test_it_is_written_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While tasks end it is written each five minutes, once more at the close, and not where nothing ends."""
    written: list[float] = []
    write = learned._write

    def count(path: Path, kept: learned.Kept) -> None:
        written.append(loop.time())
        write(path, kept)

    monkeypatch.setattr(learned, "_write", count)
    loop = asyncio.get_running_loop()
    path = tmp_path / "learned.json"
    async with FakeService() as fake, fake.session(learned=path) as session:
        for _ in range(80):
            await session.wait(fake.add_task(Life.succeed(9)))
        assert loop.time() // learned.EVERY - 1 <= len(written) <= loop.time() // learned.EVERY
        assert path.exists()
        await asyncio.sleep(10 * learned.EVERY)
        before = len(written)
        await session.wait(fake.add_task(Life.succeed(9)))
        assert len(written) == before
    assert len(written) == before + 1
    assert ends(path) == 81


OURS = '{"version":2,"host":"x"}'
"""How a file begins that may be written over."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Whose it is, and what is odd.


def changed(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda kept: {**kept, **values}


def deeper(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    """Return what puts a value into each kind."""
    return lambda kept: {
        **kept,
        "learned": {**kept["learned"], "kinds": [{**kind, name: value} for kind in kept["learned"]["kinds"]]},
    }


def as_ends(number: str, kept: dict[str, Any]) -> bytes:
    return json.dumps(deeper("ends", 77777)(kept)).replace("77777", number).encode()


ODD: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing": lambda _: b"",
    "zeros, as after a power cut": lambda _: bytes(4096),
    "torn": lambda kept: json.dumps(kept).encode()[:500],
    "deep": lambda _: b'{"version":2,"host":' + b"[" * 100_000,
    "another version": changed(version=learned.VERSION + 1),
    "another host": changed(host="elsewhere.example"),
    "another account": changed(salt="another"),
    "a host that is none": changed(host=5),
    "no account": changed(fingerprints=None),
    "fingerprints that are none": changed(fingerprints=[1]),
    "too many fingerprints": lambda kept: {**kept, "fingerprints": [*kept["fingerprints"], *["x"] * 8]},
    "nothing learned": changed(learned=None),
    "another shape": changed(learned={"kinds": 5}),
    "NaN": deeper("ends", float("nan")),
    "Infinity": deeper("ends", float("inf")),
    "a number that is too large": lambda kept: as_ends("1e999", kept),
    "a number with too many digits": lambda kept: as_ends("1" * 10_000, kept),
    "steps that are none": deeper("steps", {"1": [1]}),
    "sums that cannot be": deeper("steps", {"1": [30.0, 1.0, 1.0, 1.0, 1.0, 1e6]}),
    "durations that cannot be": deeper("durations", [[30.0], [1e300] * 49, [1e300] * 49]),
    "too large": lambda kept: json.dumps(kept).encode() + b" " * learned.LIMIT,
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
async def test_what_is_odd_is_ignored(
    change: Callable[[dict[str, Any]], object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that finds an odd file goes on as without one, says so when debugging, and writes its own."""
    path = tmp_path / "learned.json"
    await watched(path)
    odd = change(read(path))
    path.write_bytes(odd if isinstance(odd, bytes) else json.dumps(odd).encode())
    with caplog.at_level(logging.DEBUG, "omgmj"):
        found = await watched(path, 3)
    assert found == await watched(None, 3)
    assert [record.levelname for record in caplog.records if "is not used" in record.message] == ["DEBUG"]
    assert ends(path) == 3


FOREIGN = {
    "notes": b"buy milk\n",
    "no text": b"\xff\xfe\xff",
    "another value": b"[1]",
    "somebody's settings": b'{"version": 2, "name": "mine"}',
    "deep": b"[" * 100_000,
    "a database": b"SQLite format 3\0" + bytes(4096),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
async def test_a_file_of_another_sort_stays(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is no file of what was learned is neither used nor written over: a warning says so, once."""
    path = tmp_path / "notes"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING, "omgmj"):
        assert await watched(path, 3) == await watched(None, 3)
    assert path.read_bytes() == content
    (warning,) = [record.message for record in caplog.records]
    assert "not kept" in warning
    assert "choose another path" in warning


async def test_a_journal_is_not_written_over(tmp_path: Path) -> None:
    """One path for both is refused; by another name of the file the journal stays, and what is pending with it."""
    path, link = tmp_path / "a.journal", tmp_path / "link"
    with pytest.raises(omgmj.UsageError, match="two files"):
        omgmj.Session("t", journal=omgmj.SqliteJournal(path), learned=str(path))
    path.unlink(missing_ok=True)
    link.symlink_to(path)
    async with FakeService() as fake:
        ids = [fake.add_task(Life.succeed(after)) for after in (1.0, 1000.0)]
        journal = omgmj.SqliteJournal(path)
        async with fake.session(journal=journal, learned=link) as session, session.watch(ids) as watch:
            assert (await anext(watch)).id == ids[0]
        async with fake.session(journal=omgmj.SqliteJournal(path), learned=link) as session:
            assert ids[1] in [task.id async for task in session.resume()]


async def test_a_link_stays_one(tmp_path: Path) -> None:
    """A link is followed, also where nothing is at its end yet."""
    path, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(path)
    for tasks in (2, 3):
        await watched(link, tasks)
        assert link.is_symlink()
    assert ends(path) == 5


async def test_other_accounts_and_hosts(tmp_path: Path) -> None:
    """What another token or host left is not taken, and written over; the same one's is, also at a mirror."""
    path, alone = tmp_path / "learned.json", await watched(None, 3)
    await watched(path, token="sk-one")
    assert await watched(path, 3, token="sk-two") == alone
    assert ends(path) == 3
    assert await watched(path, 3, token="sk-two", base_url="https://other.invalid") == alone
    assert ends(path) == 3
    addresses = ["https://first.invalid", "https://other.invalid"]
    assert await watched(path, 3, token="sk-two", base_url=addresses) < alone
    assert ends(path) == 6


async def test_a_callable_counts_by_its_host(tmp_path: Path) -> None:
    """Where a callable gives the token the host is enough, and each token that it gave is known from then on."""
    path = tmp_path / "learned.json"
    await watched(path, 3, token="sk-one")
    await watched(path, 3, token="sk-two", by=lambda: "sk-two")
    assert ends(path) == 6
    assert len(read(path)["fingerprints"]) == 2
    for token in ("sk-one", "sk-two"):
        await watched(path, 3, token=token)
    assert ends(path) == 12
    await watched(path, 3, token="sk-two", by=lambda: "sk-two", base_url="https://other.invalid")
    assert ends(path) == 3


@pytest.mark.parametrize("path", ["", "a\0b", 5, b"bytes", True])
def test_a_path_is_a_path(path: Any) -> None:
    """What cannot be a path is refused at once."""
    with pytest.raises(omgmj.UsageError, match="learned must be"):
        omgmj.Session("t", learned=path)


def test_the_path_is_that_of_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is one of the folder that the session was made in; that this folder is gone is no error."""
    monkeypatch.chdir(tmp_path)
    assert learned.check_path("learned.json") == tmp_path / "learned.json"
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert learned.check_path("learned.json") == Path("learned.json")


# A disk that does not do as it should.


def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def below_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "learned.json"


def read_only(tmp_path: Path) -> Path:
    """Return a place where nobody can write, root neither."""
    return Path("/proc/omgmj/learned.json")


@pytest.mark.parametrize("place", [folder, pipe, below_a_file, read_only])
async def test_a_place_that_cannot_be_written(
    place: Callable[[Path], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing can be read or written the session goes on as without, and says so once."""
    path = place(tmp_path)
    before = names(tmp_path)
    async with FakeService() as fake, fake.session(learned=path) as session:
        for _ in range(3):
            await session.wait(fake.add_task(Life.succeed(40)))
            await asyncio.sleep(learned.EVERY)
    assert [record.levelname for record in caplog.records if "is not kept" in record.message] == ["WARNING"]
    assert names(tmp_path) == before


async def test_a_folder_that_goes(tmp_path: Path) -> None:
    """A folder that is gone when it is written is made anew."""
    path = folder(tmp_path) / "learned.json"
    async with FakeService() as fake, fake.session(learned=path) as session:
        await session.wait(fake.add_task(Life.succeed(40)))
        path.parent.rmdir()
    assert ends(path) == 1


async def test_it_is_said_anew_after_a_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of each row of failures one is told, and what is no number of JSON is a failure."""
    path = tmp_path / "learned.json"
    async with FakeService() as fake, fake.session(learned=path) as session:
        learning = session._open().poller.planner.learning
        for fails in (True, True, False, True):
            with monkeypatch.context() as patch:
                if fails:
                    patch.setattr(learning, "dump", lambda: {"kinds": float("nan")})
                await session.wait(fake.add_task(Life.succeed(40)))
                await asyncio.sleep(2 * learned.EVERY)
                await settled(session)
    assert sum("is not kept" in record.message for record in caplog.records) == 2
    assert ends(path) == 3


async def settled(session: omgmj.Session) -> None:
    keeper = session._open().keeper
    assert keeper is not None
    await keeper.settled()


FULL = """
import resource, signal, sys
from pathlib import Path
from omgmj import learned
from omgmj.journal.account import Account
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    learned._write(Path(sys.argv[1]), learned.Kept(Account("h", "s"), {"kinds": "x" * 100_000}))
except OSError as error:
    print(error.strerror)
"""


def test_a_full_disk(tmp_path: Path) -> None:
    """A write that finds no room leaves the file as it was, and nothing beside it."""
    path = tmp_path / "learned.json"
    path.write_text(OURS)
    done = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert (path.read_text(), names(tmp_path)) == (OURS, ["learned.json"])


WRITES = """
import sys
from pathlib import Path
from omgmj import learned
from omgmj.journal.account import Account
kept = learned.Kept(Account("h", "s", ("f",)), {"kinds": ["x" * 1000] * 400})
print("begins", flush=True)
while True:
    learned._write(Path(sys.argv[1]), kept)
"""


def test_killed_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """A process that is killed while it writes, beside another one that writes too, leaves a whole file."""
    path = tmp_path / "learned.json"
    with subprocess.Popen([sys.executable, "-c", WRITES, path], stdout=subprocess.PIPE) as other:
        try:
            for wait in (0.01, 0.03, 0.05, 0.08):
                with subprocess.Popen([sys.executable, "-c", WRITES, path], stdout=subprocess.PIPE) as process:
                    assert process.stdout is not None
                    process.stdout.readline()
                    until = time.monotonic() + wait
                    while time.monotonic() < until or not path.exists():
                        if path.exists():
                            assert learned._read(path) is not None
                    process.kill()
                    assert process.wait() == -signal.SIGKILL
                assert learned._read(path) is not None
        finally:
            other.kill()
    assert learned._read(path) is not None


# Sessions beside each other, and their ends.


async def test_two_sessions_at_once(tmp_path: Path) -> None:
    """Two sessions that write one file both end well; the one that is closed last has its own in it."""
    path = tmp_path / "learned.json"
    async with FakeService() as fake:
        async with fake.session(learned=path) as one:
            async with fake.session(learned=path) as other:
                for session in (one, other, one):
                    await session.wait(fake.add_task(Life.succeed(40)))
            assert ends(path) == 1
        assert ends(path) == 2
        async with fake.session(learned=path) as one, fake.session(learned=path) as other:
            for session in (one, other):
                await session.wait(fake.add_task(Life.succeed(40)))
            await asyncio.gather(one.aclose(), other.aclose())
    assert ends(path) == 3
    assert names(tmp_path) == ["learned.json"]


async def test_closed_while_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that is closed while a write goes on waits for it, and then writes what came since."""
    path = tmp_path / "learned.json"
    write, goes, may = learned._write, threading.Event(), threading.Event()

    def slow(path: Path, kept: learned.Kept) -> None:
        goes.set()
        assert may.wait(30)
        write(path, kept)

    monkeypatch.setattr(learned, "_write", slow)
    async with FakeService() as fake, fake.session(learned=path) as session:
        await session.wait(fake.add_task(Life.succeed(40)))
        await asyncio.sleep(learned.EVERY)
        assert goes.wait(30)
        await session.wait(
            fake.add_task(Life.succeed(0.3)), backoff=omgmj.Fixed(0.2)
        )  # While a thread works, time is real.
        closing = asyncio.gather(session.aclose(), session.aclose())
        await asyncio.sleep(0.05)
        assert not closing.done()
        assert not path.exists()
        may.set()
        await closing
        assert ends(path) == 2
        await session.aclose()
    assert ends(path) == 2


async def test_closed_while_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is cancelled while the file is read does not enter, and leaves a closed session; no thread goes on."""
    path = tmp_path / "learned.json"
    read, may = learned._read, threading.Event()

    def slow(path: Path) -> learned.Kept | None:
        assert may.wait(30)
        return read(path)

    monkeypatch.setattr(learned, "_read", slow)
    before = threading.active_count()
    async with FakeService() as fake:
        session = fake.session(learned=path)
        entering = asyncio.ensure_future(session.__aenter__())
        await asyncio.sleep(0.05)
        assert not entering.done()
        entering.cancel()
        await asyncio.sleep(0.05)
        may.set()
        with pytest.raises(asyncio.CancelledError):
            await entering
        with pytest.raises(omgmj.SessionClosed):
            await session.query(1)
    until = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < until
