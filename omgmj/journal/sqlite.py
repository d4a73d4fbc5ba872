"""The journal in a file: SQLite with a write-ahead log, held by one connection alone."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Literal, NoReturn, get_args

from omgmj.errors import JournalError, UsageError
from omgmj.journal.account import Account
from omgmj.journal.file import OpenFile, open_file
from omgmj.journal.journal import PAGE, PAGE_SIZE, Changes, IdRow, SubmissionRow
from omgmj.validation import brief

Sync = Literal["NORMAL", "FULL", "OFF"]

BLOCK = 250
"""Rows of one statement: of a few, or of thousands, each row costs more. `python -m benchmarks journal`"""


class SqliteJournal:
    """A journal in the file `path`, for one session at a time: `Session(journal=SqliteJournal("bot.journal"))`.

    `sync` says when what is watched is on the disk itself. With NORMAL it survives the end of the process at any
    moment, with FULL the end of power too; OFF leaves it to the system. Submissions are FULL, save with OFF. `account`
    is a name of yours for the account: it is stored, and tells it from others in place of the token.

    The file is made where there is none, readable by its owner only. A damaged one is set aside, and what can be read
    is saved. `JournalError` where it is in use, where its place cannot be written, and where it is another program's.
    """

    # Of a journal that could not be opened, for whoever shows it.
    _file: OpenFile | None = None
    _path = "(not made)"

    def __init__(self, path: str | os.PathLike[str], *, sync: Sync = "NORMAL", account: str | None = None) -> None:
        """Open the file."""
        shown = _check_path(path)
        if sync not in get_args(Sync):
            raise UsageError(f"sync must be NORMAL, FULL or OFF, not {brief(sync)}")
        if account is not None:
            _check_name(account)
        self._path = shown
        self._sync = sync
        self._account_name = account
        self._file = open_file(shown, sync)

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
        return f"<omgmj.SqliteJournal {self._path}{'' if self._file else ' (closed)'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SqliteJournal is not pickled or copied")

    def __del__(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.close()

    def close(self) -> None:
        """Write the log into the file, and close it; to close twice is no error."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

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
        connection = self._connection()
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
            with contextlib.closing(self._connection().execute(query, values)) as rows:
                yield from rows
        except sqlite3.Error as error:
            raise JournalError(f"{self.name} cannot be read: {error}") from None

    def _connection(self) -> sqlite3.Connection:
        if self._file is None:
            raise JournalError(f"{self.name} is closed; make a new SqliteJournal for a new session")
        if (obstacle := self._file.obstacle()) is not None:
            raise JournalError(f"{self.name} {obstacle}")
        return self._file.connection


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


def _check_name(account: object) -> None:
    if not (isinstance(account, str) and account):
        raise UsageError(f"account must be a name, or None, not {brief(account)}")
    try:
        account.encode()
    except UnicodeEncodeError:
        raise UsageError(f"account must be a name that can be written, not {account!a}") from None


def _check_path(path: object) -> str:
    if not isinstance(path, str | os.PathLike) or not isinstance(shown := os.fspath(path), str):
        raise UsageError(f"a journal's path must be a string or a Path, not {brief(path)}")
    if shown == ":memory:":
        raise UsageError("a journal in memory survives nothing; for tests there is omgmj.MemoryJournal")
    if not shown or "\0" in shown:
        raise UsageError(f"{brief(shown)} is no path of a file")
    return shown
