"""A damaged file is set aside as it was, and what can be read of it is in the new one."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from omgmj.errors import JournalError
from omgmj.journal import damage
from omgmj.journal.account import Account
from omgmj.journal.journal import Changes, SubmissionRow
from omgmj.journal.sqlite import SqliteJournal
from tests.journal.rows import ids_of, python, submissions_of

PAGE = 4096
IDS = {task_id: f'{{"chat":{task_id}}}' for task_id in range(1, 10_001)}
KEYS = range(1, 401)
ACCOUNT = Account("h", "s", ("a",))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a journal's file, as it is at rest."""
    path = tmp_path_factory.mktemp("whole") / "a.journal"
    journal = SqliteJournal(path)
    sent = [SubmissionRow(key, f'{{"kind":"IMAGINE","prompt":"{"x" * 300}"}}', None) for key in KEYS]
    journal.write(Changes(contexts=dict(IDS), intents=sent, account=ACCOUNT))
    journal.close()
    return path


@pytest.fixture
def path(tmp_path: Path, whole: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path))


def overwrite(path: Path, at: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(random.randbytes(length))


def pages(path: Path) -> int:
    return path.stat().st_size // PAGE


def header(path: Path) -> None:
    overwrite(path, 0, 100)


def first_page(path: Path) -> None:
    overwrite(path, 0, PAGE)


def middle(path: Path) -> None:
    overwrite(path, pages(path) // 3 * PAGE, 2 * PAGE)


def end(path: Path) -> None:
    overwrite(path, path.stat().st_size - 2 * PAGE, 2 * PAGE)


def zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(pages(path) // 3 * PAGE)
        file.write(bytes(PAGE))


def cut(path: Path) -> None:
    os.truncate(path, pages(path) // 2 * PAGE)


def torn(path: Path) -> None:
    os.truncate(path, pages(path) // 2 * PAGE + 1000)


def root_of_ids(path: Path) -> None:
    overwrite(path, PAGE, PAGE)


def stump(path: Path) -> None:
    os.truncate(path, 50)


def rubbish(path: Path) -> None:
    path.write_bytes(b"no database at all\n" * 1000)


@pytest.mark.parametrize(
    ("harm", "ids", "keys"),
    [
        (header, 10_000, 400),
        (first_page, 10_000, 400),
        (middle, 9_000, 400),
        (zeros, 9_000, 400),
        (end, 10_000, 300),
        (cut, 4_000, 0),
        (torn, 4_000, 0),
        (root_of_ids, 0, 400),
        (stump, 0, 0),
        (rubbish, 0, 0),
    ],
)
def test_what_can_be_read_is_saved(
    path: Path, harm: Callable[[Path], None], ids: int, keys: int, caplog: pytest.LogCaptureFixture
) -> None:
    """At least so much of each table; the damaged file is kept to the byte, and one line tells of it."""
    harm(path)
    damaged = path.read_bytes()
    journal = SqliteJournal(path)
    found, sent = ids_of(journal), submissions_of(journal)
    assert len(found) >= ids
    assert len(sent) >= keys
    assert found.items() <= IDS.items()
    assert {row.key for row in sent} <= set(KEYS)
    (aside,) = path.parent.glob("a.journal.damaged-*-1")
    assert aside.read_bytes() == damaged
    assert aside.stat().st_mode & 0o777 == path.stat().st_mode & 0o777 == 0o600
    (line,) = caplog.messages
    assert "is damaged" in line
    assert f"it was set aside as {aside}; saved were {len(found)} task IDs and {len(sent)} submissions" in line
    journal.write(Changes(held={77_777}))
    journal.close()
    assert sorted(one.name for one in path.parent.iterdir()) == ["a.journal", aside.name]
    again = SqliteJournal(path)
    assert 77_777 in ids_of(again)
    again.close()


def test_the_account_is_saved(path: Path) -> None:
    """So that another's is refused as before."""
    middle(path)
    journal = SqliteJournal(path)
    assert journal.read_account() == ACCOUNT
    journal.close()


def test_what_is_aside_is_never_overwritten(path: Path) -> None:
    """Damage upon damage, within a second, has names of its own."""
    for _ in range(3):
        middle(path)
        SqliteJournal(path).close()
    assert len(list(path.parent.glob("a.journal.damaged-*"))) == 3


KILLED = """
    import sys
    from omgmj.journal.journal import Changes
    from omgmj.journal.sqlite import SqliteJournal
    journal = SqliteJournal(sys.argv[1])
    journal.write(Changes(held={20_000}))
    print("held", flush=True)
    input()
"""


@pytest.mark.parametrize("harm", [middle, first_page, lambda path: os.truncate(path, 0)])
def test_the_wal_goes_along(path: Path, harm: Callable[[Path], None]) -> None:
    """What a killed process left is set aside as it was, and what it holds is saved too."""
    with python(KILLED, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
    wal = path.with_name("a.journal-wal")
    harm(path)
    before = path.read_bytes(), wal.read_bytes()
    assert before[1]
    journal = SqliteJournal(path)
    (aside,) = path.parent.glob("a.journal.damaged-*-1")
    assert (aside.read_bytes(), aside.with_name(f"{aside.name}-wal").read_bytes()) == before
    if before[0]:
        assert 20_000 in ids_of(journal)
        assert len(ids_of(journal)) > 9000
    journal.close()


def test_where_it_cannot_be_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk: the error says both, and the file stays as it was."""
    middle(path)
    damaged = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(damage, "_copy", full)
    with pytest.raises(JournalError, match=r"is damaged .* and cannot be set aside: .*No space left"):
        SqliteJournal(path)
    monkeypatch.undo()
    monkeypatch.setattr(damage, "_write", full)
    with pytest.raises(JournalError, match=r"is damaged .* and cannot be set aside: .*No space left"):
        SqliteJournal(path)
    assert path.read_bytes() == damaged


def test_rows_of_rubbish_are_left_out(path: Path) -> None:
    """Of what can be read, what is no ID, no JSON or no submission is not taken over."""
    journal = SqliteJournal(path)
    assert journal._file is not None
    run = journal._file.connection.execute
    run("UPDATE ids SET context = x'ff00' WHERE id = 1")
    run("UPDATE ids SET context = '{' WHERE id = 2")
    run("UPDATE submissions SET submission = 'x' WHERE key = 1")
    run("UPDATE submissions SET context = '{' WHERE key = 2")
    run("UPDATE submissions SET task_id = 'x' WHERE key = 3")
    run("INSERT INTO ids VALUES (-1, NULL)")
    journal.close()
    end(path)
    journal = SqliteJournal(path)
    assert not {-1, 1, 2} & set(ids_of(journal))
    assert min(row.key for row in submissions_of(journal)) == 4
    journal.close()
