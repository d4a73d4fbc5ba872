"""The form of a journal's file: its marks, its tables, and how it is opened.

The marks stand in the first hundred bytes. They are read by hand, as SQLite may write to what it opens.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from omgmj.errors import JournalError

APPLICATION_ID = 0x6F6D676A
"""`omgj`: what tells a journal from other programs' databases."""
VERSION = 1
HEADER = 100
MAGIC = b"SQLite format 3\0"
PAGE_BYTES = 4096

_TABLES = (
    "CREATE TABLE ids (id INTEGER PRIMARY KEY, context TEXT)",
    "CREATE TABLE submissions (key INTEGER PRIMARY KEY, submission TEXT NOT NULL, context TEXT, task_id INTEGER)",
    "CREATE INDEX submissions_by_task ON submissions (task_id) WHERE task_id IS NOT NULL",
    "CREATE TABLE account (host TEXT NOT NULL, salt TEXT NOT NULL, fingerprints TEXT NOT NULL, name TEXT)",
)
_NAMES = {"ids", "submissions", "account"}


class DamagedError(Exception):
    """A file that cannot be read as the journal it was."""


def check_header(header: bytes, path: Path) -> str | None:
    """Raise `JournalError` where a file is another program's database, or of another format.

    What is no database at all is damaged; then return in which way.
    """
    if header[: len(MAGIC)] != MAGIC or len(header) < HEADER:
        return "it does not begin as a database does"
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise JournalError(
            f"{path} is another program's database, and is left alone; give the journal a file of its own"
        )
    version = int.from_bytes(header[60:64], "big")
    if version != VERSION:
        raise JournalError(
            f"{path} has the format {version} of a journal, and this version of omgmj knows {VERSION}; it is left alone"
        )
    return None


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to a file; nothing is read yet."""
    return sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=1000)


def prepare(connection: sqlite3.Connection, sync: str) -> None:
    """Lock a file for this connection alone, make the tables where it is new, and check what is in it.

    The lock is let go when the connection, or its process, ends. SQLite's errors pass through.
    """
    run = connection.execute
    run("PRAGMA locking_mode=EXCLUSIVE")
    run("BEGIN EXCLUSIVE")
    tables = {name for (name,) in run("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables and run("PRAGMA page_count").fetchone()[0] <= 1:
        run(f"PRAGMA application_id={APPLICATION_ID}")
        run(f"PRAGMA user_version={VERSION}")
        for table in _TABLES:
            run(table)
    elif tables != _NAMES:
        raise DamagedError("its tables are gone")
    run("COMMIT")
    run("PRAGMA journal_mode=WAL")
    run(f"PRAGMA synchronous={sync}")
    found = run("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedError(found.splitlines()[-1])


def is_damage(error: Exception) -> bool:
    """Whether an error says that the file is damaged."""
    return isinstance(error, DamagedError) or _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_lock(error: Exception) -> bool:
    """Whether an error says that another connection has the file."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(error: Exception) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
