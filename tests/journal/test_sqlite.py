"""The journal's file: who may have it, what is refused, and what is left behind."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import sqlite3
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import omgmj
from omgmj.errors import JournalError, UsageError
from omgmj.journal import schema
from omgmj.journal.account import check_account
from omgmj.journal.journal import Changes, SubmissionRow
from omgmj.journal.sqlite import SqliteJournal
from tests.journal.rows import HOST, TOKEN, ids_of, python, run, submissions_of

HOLD = """
    import sys, time
    from omgmj.journal.journal import Changes, SubmissionRow
    from omgmj.journal.sqlite import SqliteJournal
    journal = SqliteJournal(sys.argv[1])
    journal.write(Changes(held=set(range(1, 5001))))
    journal.write(Changes(intents=[SubmissionRow(1, '{"kind":"IMAGINE"}', None)]))
    print("held", flush=True)
    input()
"""
"""A process that has a journal open, until it is killed."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.journal"


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o22)
    yield os.umask
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


def test_it_is_there_again(path: Path) -> None:
    """What was written is read by the next one; at rest it is one file."""
    journal = SqliteJournal(path)
    journal.write(Changes(held={1}, contexts={2: '"c"'}))
    journal.close()
    assert names(path) == ["a.journal"]
    again = SqliteJournal(str(path))
    assert ids_of(again) == {1: None, 2: '"c"'}
    again.close()


def test_many_rows_of_all_sizes(path: Path) -> None:
    """Batches that fill blocks of a statement, or none, or some and a bit."""
    journal = SqliteJournal(path)
    for size in (1, 249, 250, 251, 1000, 10_001):
        rows = range(1, size + 1)
        journal.write(Changes(held=set(rows)))
        journal.write(Changes(contexts={row: f'"{row}"' for row in rows[::2]}))
        assert ids_of(journal) == {row: f'"{row}"' if row % 2 else None for row in rows}
        journal.write(Changes(gone=set(rows)))
        assert ids_of(journal) == {}
    journal.close()


@pytest.mark.parametrize("sync", ["NORMAL", "FULL", "OFF"])
def test_submissions_are_synchronous(path: Path, sync: Any) -> None:
    """Intents are written with FULL, all else as it was said; with OFF both are left to the system."""
    journal = SqliteJournal(path, sync=sync)
    seen: list[str] = []
    assert journal._file is not None
    journal._file.connection.set_trace_callback(seen.append)
    journal.write(Changes(intents=[SubmissionRow(1, "{}", None)]))
    expected = {"NORMAL": ["PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"], "FULL": [], "OFF": []}
    assert [one for one in seen if "synchronous" in one] == expected[sync]
    seen.clear()
    journal.write(Changes(held={1}))
    assert not any("synchronous" in one for one in seen)
    (now,) = journal._file.connection.execute("PRAGMA synchronous").fetchone()
    assert now == {"OFF": 0, "NORMAL": 1, "FULL": 2}[sync]
    journal.close()


def test_a_batch_is_all_or_nothing(path: Path) -> None:
    """One that fails in the middle leaves nothing, and the next one is written."""
    journal = SqliteJournal(path)
    journal.write(Changes(intents=[SubmissionRow(1, "{}", None)]))
    with pytest.raises(JournalError, match=r"a\.journal cannot be written: UNIQUE"):
        journal.write(Changes(held={1}, intents=[SubmissionRow(2, "{}", None), SubmissionRow(1, "{}", None)]))
    assert ids_of(journal) == {}
    journal.write(Changes(held={2}))
    assert ids_of(journal) == {2: None}
    assert [row.key for row in submissions_of(journal)] == [1]
    journal.close()


@pytest.mark.parametrize("mask", [0, 0o22, 0o77])
def test_only_its_owner_can_read_it(path: Path, mask: int, umask: Callable[[int], int]) -> None:
    """Both files have the mode 0600, whatever the umask."""
    umask(mask)
    journal = SqliteJournal(path)
    journal.write(Changes(held={1}))
    assert {one.name: mode(one) for one in path.parent.iterdir()} == {"a.journal": 0o600, "a.journal-wal": 0o600}
    journal.close()


def test_an_empty_file_is_a_new_one(path: Path) -> None:
    """As `mktemp` makes them."""
    path.touch()
    journal = SqliteJournal(path)
    assert ids_of(journal) == {}
    journal.close()


def test_a_second_one_in_this_process_is_refused(path: Path, tmp_path: Path) -> None:
    """By any name of the file; the first keeps its lock, and the file is free when it is closed."""
    journal = SqliteJournal(path)
    (tmp_path / "link").symlink_to(path)
    for name in (path, tmp_path / "." / "a.journal", tmp_path / "link"):
        with pytest.raises(JournalError, match="in use by another session"):
            SqliteJournal(name)
    # POSIX lets go of a lock when its process closes the file by any other way.
    with pytest.raises(AssertionError, match="in use by another session"):
        run("import sys, omgmj; omgmj.SqliteJournal(sys.argv[1])", path)
    journal.write(Changes(held={1}))
    journal.close()
    SqliteJournal(path).close()


def test_a_second_process_is_refused_until_the_first_is_killed(path: Path) -> None:
    """The kill leaves a WAL and no lock, and all that was written is there."""
    with python(HOLD, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(JournalError, match="in use by another session"):
            SqliteJournal(path)
        process.send_signal(signal.SIGKILL)
    assert names(path) == ["a.journal", "a.journal-wal"]
    journal = SqliteJournal(path)
    assert len(ids_of(journal)) == 5000
    assert [row.key for row in submissions_of(journal)] == [1]
    journal.close()
    assert names(path) == ["a.journal"]


def other_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE ids (id INTEGER PRIMARY KEY, context TEXT)")
    connection.close()


def newer_format(path: Path) -> None:
    SqliteJournal(path).close()
    with path.open("r+b") as file:
        file.seek(60)
        file.write((schema.VERSION + 1).to_bytes(4, "big"))


@pytest.mark.parametrize(
    ("make", "why"), [(other_program, "another program's database"), (newer_format, "has the format 2 of a journal")]
)
def test_what_is_not_ours_is_left_alone(path: Path, make: Callable[[Path], None], why: str) -> None:
    """It is refused, with not a byte of it touched and nothing beside it."""
    make(path)
    before, touched = path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(JournalError, match=why):
        SqliteJournal(path)
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == touched
    assert names(path) == ["a.journal"]


def test_where_no_file_can_be(tmp_path: Path) -> None:
    """Each in its own words, and nothing is made."""
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path, why in (
        (tmp_path / "missing" / "a.journal", f"there is no directory {tmp_path}/missing"),
        (tmp_path / "a", "is a directory"),
        (tmp_path / "pipe", "no plain file"),
        (tmp_path / "pipe" / "a.journal", "there is no directory"),
        (tmp_path / ("x" * 300), "cannot be read and written"),
    ):
        with pytest.raises(JournalError, match=why):
            SqliteJournal(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "pipe"]


@pytest.mark.parametrize("what", ["file", "directory", "directory of a file"])
def test_without_the_rights(what: str) -> None:
    """A read-only file or directory is refused with words of its own, by a user who is no root."""
    # Not in pytest's own folder: others cannot enter that, or not for long where another pytest starts meanwhile.
    with tempfile.TemporaryDirectory() as folder:
        _refuse_without_rights(Path(folder), what)


def _refuse_without_rights(folder: Path, what: str) -> None:
    place = folder / "place"
    place.mkdir()
    path = place / "a.journal"
    if what != "directory":
        SqliteJournal(path).close()
    nobody = 65534
    if os.getuid() == 0:
        for one in (place, *place.iterdir()):
            os.chown(one, nobody, nobody)
        folder.chmod(0o711)
    if what == "file":
        path.chmod(0o400)
    else:
        place.chmod(0o500)
    said = run(
        """
        import os, sys
        from omgmj.errors import JournalError
        from omgmj.journal.sqlite import SqliteJournal
        if os.getuid() == 0:
            os.setuid(int(sys.argv[2]))
        try:
            SqliteJournal(sys.argv[1])
        except JournalError as error:
            print(error)
        """,
        path,
        nobody,
    )
    place.chmod(0o700)
    assert ("cannot be read and written: Permission denied" if what == "file" else "place cannot be written") in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((":memory:",), "omgmj.MemoryJournal"),
        (("",), "no path"),
        (("a\0b",), "no path"),
        ((b"a",), "a string or a Path"),
        ((3,), "a string or a Path"),
    ],
)
def test_wrong_paths(arguments: tuple[Any, ...], why: str) -> None:
    """They are found before anything is made."""
    with pytest.raises(UsageError, match=why):
        SqliteJournal(*arguments)


@pytest.mark.parametrize(
    "setting", [{"sync": "normal"}, {"sync": None}, {"account": ""}, {"account": 3}, {"account": "half: \ud83d"}]
)
def test_wrong_settings(path: Path, setting: Any) -> None:
    """Each names itself."""
    with pytest.raises(UsageError, match=f"^{next(iter(setting))} must be"):
        SqliteJournal(path, **setting)
    assert names(path) == []


def test_it_shows_its_path_and_no_token(path: Path) -> None:
    """Open, closed and refused."""
    journal = SqliteJournal(path, account="mine")
    journal.write(Changes(account=check_account(None, HOST, TOKEN, "mine")))
    assert repr(journal) == f"<omgmj.SqliteJournal {path}>"
    assert (journal.path, journal.name, journal.account_name) == (str(path), f"the journal {path}", "mine")
    journal.close()
    assert repr(journal) == f"<omgmj.SqliteJournal {path} (closed)>"
    assert TOKEN.encode() not in path.read_bytes()
    assert repr(SqliteJournal.__new__(SqliteJournal)) == "<omgmj.SqliteJournal (not made) (closed)>"


def test_it_is_not_copied(path: Path) -> None:
    """Neither pickled: there is one of it."""
    journal = SqliteJournal(path)
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="not pickled or copied"):
            way(journal)
    journal.close()


def test_after_the_end(path: Path) -> None:
    """Each call says that it is closed."""
    journal = SqliteJournal(path)
    journal.close()
    for call in (lambda: journal.write(Changes(held={1})), lambda: journal.read_ids(0), journal.read_account):
        with pytest.raises(JournalError, match="is closed; make a new SqliteJournal"):
            call()


def test_what_is_dropped_is_closed_quietly(path: Path) -> None:
    """Nothing is said, nothing is lost, and the file is free."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        journal = SqliteJournal(path)
        journal.write(Changes(held={1}))
        del journal
        gc.collect()
    assert names(path) == ["a.journal"]
    again = SqliteJournal(path)
    assert ids_of(again) == {1: None}
    again.close()


FORK = """
    import os, signal, sys
    from omgmj.errors import JournalError
    from omgmj.journal.journal import Changes
    from omgmj.journal.sqlite import SqliteJournal
    journal = SqliteJournal(sys.argv[1])
    journal.write(Changes(held={1}))
    if (child := os.fork()) == 0:
        try:
            journal.write(Changes(held={2}))
        except JournalError as error:
            print(error, flush=True)
        if sys.argv[2] == "closes":
            journal.close()
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    journal.write(Changes(held={3}))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("what", ["closes", "leaves"])
def test_a_fork_takes_nothing_from_who_opened_it(path: Path, what: str) -> None:
    """A child may not write, and its end does not delete the log into which its parent writes."""
    said, errors = python(FORK, path, what).communicate(timeout=60)
    assert "opened before a fork" in said, errors
    journal = SqliteJournal(path)
    assert set(ids_of(journal)) == {1, 3}
    journal.close()


def test_a_file_that_is_moved_is_not_written_until_it_is_back(path: Path) -> None:
    """What nobody would find again is refused, as on a full disk, and so where another file took its place."""
    journal = SqliteJournal(path)
    away = path.rename(path.with_name("away"))
    with pytest.raises(JournalError, match="was moved or deleted"):
        journal.write(Changes(held={1}))
    path.touch()
    with pytest.raises(JournalError, match="was moved or deleted"):
        journal.write(Changes(held={1}))
    away.rename(path)
    journal.write(Changes(held={2}))
    assert ids_of(journal) == {2: None}
    journal.close()


def test_it_is_found_in_the_package() -> None:
    """By its public name, and what imports the package does not import SQLite."""
    assert omgmj.SqliteJournal is SqliteJournal
    said = run("import sys, omgmj, omgmj.journal.ledger, omgmj.session; print('sqlite3' in sys.modules)")
    assert said == "False\n"
