"""The journal in a file: SQLite with a write-ahead log, held by one connection alone."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import stat
import threading
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Literal, NoReturn, get_args

from omgmj.errors import JournalError, UsageError
from omgmj.journal import damage, schema
from omgmj.journal.account import Account
from omgmj.journal.journal import PAGE, PAGE_SIZE, Changes, IdRow, SubmissionRow
from omgmj.validation import brief

Sync = Literal["NORMAL", "FULL", "OFF"]

BLOCK = 250
"""Rows of one statement: of a few, or of thousands, each row costs more. `python -m benchmarks journal`"""

# Who opens and closes a file that this very process has locked lets go of the lock: that is how POSIX has it.
_opening = threading.Lock()
_in_use: set[tuple[int, int]] = set()


class SqliteJournal:
    """A journal in the file `path`, for one session at a time: `Session(journal=SqliteJournal("bot.journal"))`.

    `sync` says when what is watched is on the disk itself. With NORMAL it survives the end of the process at any
    moment, with FULL the end of power too; OFF leaves it to the system. Submissions are FULL, save with OFF. `account`
    is a name of yours for the account: it is stored, and tells it from others in place of the token.

    The file is made where there is none, readable by its owner only. A damaged one is set aside, and what can be read
    is saved. `JournalError` where it is in use, where its place cannot be written, and where it is another program's.
    """

    _connection: sqlite3.Connection | None = None
    _path = "(not made)"

    def __init__(self, path: str | os.PathLike[str], *, sync: Sync = "NORMAL", account: str | None = None) -> None:
        """Open the file."""
        shown = _check_path(path)
        if sync not in get_args(Sync):
            raise UsageError(f"sync must be NORMAL, FULL or OFF, not {brief(sync)}")
        if account is not None and not (isinstance(account, str) and account):
            raise UsageError(f"account must be a name, or None, not {brief(account)}")
        self._path = shown
        self._sync = sync
        self._account_name = account
        with _opening:
            self._connection, self._file = _open(os.path.realpath(shown), sync)

    @property
    def path(self) -> str:
        """The file's path, as it was given."""
        return self._path

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return f"the journal {self._path}"

    @property
    def account_name(self) -> str | None:
        """What its user calls the account; None: its tokens tell."""
        return self._account_name

    def __repr__(self) -> str:
        return f"<omgmj.SqliteJournal {self._path}{'' if self._connection else ' (closed)'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SqliteJournal is not pickled or copied")

    def __del__(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.close()

    def close(self) -> None:
        """Write the log into the file, and close it; to close twice is no error."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            finally:
                _in_use.discard(self._file)

    def read_account(self) -> Account | None:
        """Return whose it is; None where it is new."""
        row = next(self._read("SELECT host, salt, fingerprints, name FROM account"), None)
        return None if row is None else Account(row[0], row[1], tuple(row[2].split()), row[3])

    def read_made(self) -> tuple[set[int], int]:
        """Return the IDs that submissions were answered with, and the last key of any submission."""
        made = {task_id for (task_id,) in self._read("SELECT task_id FROM submissions WHERE task_id IS NOT NULL")}
        return made, next(self._read("SELECT max(key) FROM submissions"))[0] or 0

    def read_ids(self, after: int) -> list[IdRow]:
        """Return the next IDs after this one, ascending."""
        return [
            IdRow(*row)
            for row in _page(
                self._read(
                    "SELECT id, coalesce(context, (SELECT context FROM submissions WHERE task_id = id)) FROM ids"
                    " WHERE id > ? ORDER BY id LIMIT ?",
                    (after, PAGE),
                )
            )
        ]

    def read_submissions(self, after: int) -> list[SubmissionRow]:
        """Return the next submissions after this key, ascending."""
        return [
            SubmissionRow(key, submission, context, task_id)
            for key, context, submission, task_id in _page(
                self._read(
                    "SELECT key, context, submission, task_id FROM submissions WHERE key > ? ORDER BY key LIMIT ?",
                    (after, PAGE),
                )
            )
        ]

    def write(self, changes: Changes) -> None:
        """Write all of it, or nothing."""
        durable = bool(changes.intents) and self._sync == "NORMAL"
        connection = self._open_connection()
        try:
            if durable:
                connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN")
            _write(connection, changes)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise JournalError(f"{self.name} cannot be written: {error}") from None
        finally:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if durable:
                    connection.execute("PRAGMA synchronous=NORMAL")

    def _read(self, query: str, values: tuple[int, ...] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            with contextlib.closing(self._open_connection().execute(query, values)) as rows:
                yield from rows
        except sqlite3.Error as error:
            raise JournalError(f"{self.name} cannot be read: {error}") from None

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise JournalError(f"{self.name} is closed; make a new SqliteJournal for a new session")
        return self._connection


def _write(connection: sqlite3.Connection, changes: Changes) -> None:
    def each(statement: str, row: str, values: Iterable[Any], width: int = 1) -> None:
        # An iterator: a long list would hold all threads up.
        values = iter(values)
        while block := list(islice(values, BLOCK * width)):
            connection.execute(_statement(statement, row, len(block) // width), block)

    each("DELETE FROM ids WHERE id IN ({})", "?", changes.gone)
    each(
        "INSERT INTO ids VALUES {} ON CONFLICT DO UPDATE SET context = excluded.context",
        "(?,?)",
        chain.from_iterable(changes.contexts.items()),
        2,
    )
    each("INSERT OR IGNORE INTO ids (id) VALUES {}", "(?)", _in_order(changes.held))
    connection.executemany("INSERT INTO submissions VALUES (?, ?, ?, ?)", changes.intents)
    connection.executemany(
        "UPDATE submissions SET task_id = ? WHERE key = ?", ((made, key) for key, made in changes.made.items())
    )
    each("DELETE FROM submissions WHERE task_id IN ({})", "?", changes.settled)
    each("DELETE FROM submissions WHERE key IN ({})", "?", changes.dropped)
    if (account := changes.account) is not None:
        connection.execute("DELETE FROM account")
        connection.execute(
            "INSERT INTO account VALUES (?, ?, ?, ?)",
            (account.host, account.salt, " ".join(account.fingerprints), account.name),
        )


@functools.cache
def _statement(statement: str, row: str, rows: int) -> str:
    return statement.format(",".join([row] * rows))


def _in_order(task_ids: set[int]) -> Iterator[int]:
    """Yield IDs more or less ascending, as then rows are appended; to sort them all would hold all threads up."""
    left = iter(task_ids)
    while block := list(islice(left, 40 * BLOCK)):
        yield from sorted(block)


def _page(rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield rows up to the bound of a page; their second value is the context."""
    size = 0
    with contextlib.closing(rows):  # type: ignore[type-var]
        for row in rows:
            yield row
            size += len(row[1] or "")
            if size > PAGE_SIZE:
                return


def _check_path(path: object) -> str:
    if not isinstance(path, str | os.PathLike) or not isinstance(shown := os.fspath(path), str):
        raise UsageError(f"a journal's path must be a string or a Path, not {brief(path)}")
    if shown == ":memory:":
        raise UsageError("a journal in memory survives nothing; for tests there is omgmj.MemoryJournal")
    if not shown or "\0" in shown:
        raise UsageError(f"{brief(shown)} is no path of a file")
    return shown


def _open(path: str, sync: str) -> tuple[sqlite3.Connection, tuple[int, int]]:
    """Open a file, new or not; a damaged one is set aside first."""
    try:
        return _open_as_it_is(path, sync)
    except schema.DamagedError as error:
        reason = str(error)
    try:
        damage.set_aside(path, reason)
        return _open_as_it_is(path, sync)
    except (OSError, sqlite3.Error, schema.DamagedError) as error:
        raise JournalError(f"{path} is damaged ({reason}), and cannot be set aside: {error}") from None


def _open_as_it_is(path: str, sync: str) -> tuple[sqlite3.Connection, tuple[int, int]]:
    header, file = _look_at(path)
    looks_damaged: schema.DamagedError | None = None
    if header or _size(f"{path}-wal"):
        try:
            schema.check_header(header, path)
        except schema.DamagedError as error:
            looks_damaged = error  # First the lock: it may be another's, in use.
    connection = schema.connect(path)
    try:
        if looks_damaged:
            connection.execute("BEGIN EXCLUSIVE")
            raise looks_damaged
        schema.prepare(connection, sync)
    except sqlite3.Error as error:
        connection.close()
        if schema.is_lock(error):
            raise _in_use_error(path) from None
        if looks_damaged or schema.is_damage(error):
            raise looks_damaged or schema.DamagedError(str(error)) from None
        raise JournalError(f"{path} cannot be used for a journal: {error}") from None
    except schema.DamagedError:
        connection.close()
        raise
    _in_use.add(file)
    return connection, file


def _look_at(path: str) -> tuple[bytes, tuple[int, int]]:
    """Make a file where there is none, and return its header and which file it is; `JournalError` where it cannot be.

    A file that this process has open already is refused before it is touched.
    """
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        raise JournalError(f"{path} cannot be made: there is no directory {directory}")
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            what = "a directory" if stat.S_ISDIR(found.st_mode) else "no plain file"
            raise JournalError(f"{path} is {what}; a journal is a file")
        if (found.st_dev, found.st_ino) in _in_use:
            raise _in_use_error(path)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise JournalError(f"{directory} cannot be written, and a journal keeps a second file beside its own")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    except OSError as error:
        raise JournalError(f"{path} cannot be read and written: {error.strerror}") from None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        return file.read(schema.HEADER), (status.st_dev, status.st_ino)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _in_use_error(path: str) -> JournalError:
    return JournalError(f"{path} is in use by another session, of this process or of another; a journal is for one")
