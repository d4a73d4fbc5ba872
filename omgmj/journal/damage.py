"""A damaged file: it is set aside, with its WAL, and what can be read goes into a new one.

Each table is read from both ends, until the damage. That is done on a copy, as SQLite writes to what it opens.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from omgmj import log
from omgmj.journal import schema


class Saved(NamedTuple):
    """Rows that could be read, as they stand in the tables."""

    ids: list[tuple[Any, ...]]
    submissions: list[tuple[Any, ...]]
    account: list[tuple[Any, ...]]


def replace(path: Path, reason: str, aside: Path) -> None:
    """Put a new file in the place of a damaged one, with all that can be read of its copy.

    At any moment one of the two is in place.
    """
    with tempfile.TemporaryDirectory(prefix=".omgmj-", dir=path.parent) as place:
        fresh = Path(place, "fresh")
        fresh.touch(0o600)
        with contextlib.closing(schema.connect(fresh)) as connection:
            schema.prepare(connection, "FULL")
        saved = _read(aside, Path(place, "copy"), fresh.read_bytes()[: schema.PAGE_BYTES])
        with contextlib.closing(schema.connect(fresh)) as connection:
            _write(connection, saved)
        # The new file must not find what belongs to the old one.
        wal_of(path).unlink(missing_ok=True)
        fresh.replace(path)
    log.journal_damaged(str(path), reason, str(aside), len(saved.ids), len(saved.submissions))


def wal_of(path: Path) -> Path:
    """Return where the WAL of a file stands."""
    return path.with_name(f"{path.name}-wal")


def size_of(path: Path) -> int:
    """Return a file's size, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def copy_aside(path: Path) -> Path:
    """Copy a file and its WAL to names that nobody has, and return the file's."""
    stem = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    number = 1
    while (aside := path.with_name(f"{stem}-{number}")).exists() or wal_of(aside).exists():
        number += 1
    _copy(path, aside)
    if size_of(wal_of(path)):
        _copy(wal_of(path), wal_of(aside))
    return aside


def _copy(source: Path, target: Path) -> None:
    target.touch(0o600, exist_ok=False)
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _read(aside: Path, copy: Path, first_page: bytes) -> Saved:
    """Return what can be read of a damaged file.

    Where there is nothing, it is tried with the first page of a new one, as each table begins at the same place.
    """
    found = _read_copy(aside, copy)
    if any(found):
        return found
    # The two counters differ, so that the file's size tells the number of pages.
    return _read_copy(
        aside, copy, first_page[:24] + bytes((0, 0, 0, 1)) + first_page[28:92] + bytes(4) + first_page[96:]
    )


def _read_copy(aside: Path, copy: Path, first_page: bytes = b"") -> Saved:
    shutil.copyfile(aside, copy)
    if wal_of(aside).exists():
        shutil.copyfile(wal_of(aside), wal_of(copy))
    with copy.open("r+b") as file:
        file.write(first_page)
    with contextlib.closing(schema.connect(copy)) as connection:
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # So that the WAL is read without a third file.
        return Saved(
            list(filter(_is_id, _both_ends(connection, "ids", "id", "context"))),
            list(filter(_is_submission, _both_ends(connection, "submissions", "key", "submission, context, task_id"))),
            list(_until_damage(connection, "SELECT host, salt, fingerprints, name FROM account")),
        )


def _both_ends(connection: sqlite3.Connection, table: str, key: str, columns: str) -> list[tuple[Any, ...]]:
    select = f"SELECT {key}, {columns} FROM {table} ORDER BY {key}"  # noqa: S608 (names of ours)
    rows = {row[0]: row for row in _until_damage(connection, select)}
    for row in _until_damage(connection, f"{select} DESC"):
        if row[0] in rows:
            break
        rows[row[0]] = row
    return list(rows.values())


def _until_damage(connection: sqlite3.Connection, select: str) -> Iterator[tuple[Any, ...]]:
    with contextlib.suppress(sqlite3.Error):
        yield from connection.execute(select)


def _is_id(row: tuple[Any, ...]) -> bool:
    task_id, context = row
    return isinstance(task_id, int) and task_id > 0 and (context is None or _is_json(context))


def _is_submission(row: tuple[Any, ...]) -> bool:
    key, submission, context, task_id = row
    return (
        isinstance(key, int)
        and _is_json(submission)
        and (context is None or _is_json(context))
        and (task_id is None or isinstance(task_id, int))
    )


def _is_json(text: object) -> bool:
    try:
        json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _write(connection: sqlite3.Connection, saved: Saved) -> None:
    connection.execute("BEGIN")
    connection.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?)", saved.ids)
    connection.executemany("INSERT OR IGNORE INTO submissions VALUES (?, ?, ?, ?)", saved.submissions)
    connection.executemany("INSERT INTO account VALUES (?, ?, ?, ?)", saved.account[:1])
    connection.execute("COMMIT")
