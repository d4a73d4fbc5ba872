"""A damaged file: it is set aside, with its WAL, and what can be read goes into a new one.

Each table is read from both ends, until the damage. That is done on a copy, as SQLite writes to what it opens.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from omgmj import log
from omgmj.journal import schema


class Saved(NamedTuple):
    """Rows that could be read, as they stand in the tables."""

    ids: list[tuple[Any, ...]]
    submissions: list[tuple[Any, ...]]
    account: list[tuple[Any, ...]]


def set_aside(path: str, reason: str) -> None:
    """Set a damaged file aside, and put a new one with all that can be read in its place; `OSError` where it cannot.

    At any moment the damaged file, or the new one, is in place.
    """
    aside = _copy_aside(path)
    with tempfile.TemporaryDirectory(prefix=".omgmj-", dir=Path(path).parent) as place:
        fresh = Path(place, "fresh")
        fresh.touch(0o600)
        with contextlib.closing(schema.connect(str(fresh))) as connection:
            schema.prepare(connection, "FULL")
        saved = _read(aside, Path(place, "copy"), fresh.read_bytes()[: schema.PAGE_BYTES])
        with contextlib.closing(schema.connect(str(fresh))) as connection:
            _write(connection, saved)
        # What comes of the old file must not find the WAL when the new file is there.
        Path(f"{path}-wal").unlink(missing_ok=True)
        fresh.replace(path)
    log.journal_damaged(path, reason, aside, len(saved.ids), len(saved.submissions))


def _copy_aside(path: str) -> str:
    """Copy a file and its WAL to names that nobody has, and return the file's."""
    began = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        aside = f"{path}.damaged-{began}-{number}"
        try:
            _copy(path, aside)
        except FileExistsError:
            continue
        with contextlib.suppress(FileNotFoundError):
            _copy(f"{path}-wal", f"{aside}-wal")
        return aside
    raise AssertionError  # count() has no end


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as old, open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
        shutil.copyfileobj(old, new)
        new.flush()
        os.fsync(new.fileno())


def _read(aside: str, copy: Path, first_page: bytes) -> Saved:
    """Return what can be read of a damaged file; `first_page` is that of a new one, as the tables' places are alike."""
    best = Saved([], [], [])
    for whole in (False, True):
        shutil.copyfile(aside, copy)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"{aside}-wal", f"{copy}-wal")
        if whole:
            with copy.open("r+b") as file:
                # The two counters differ, so that the number of pages is that of the file.
                file.write(first_page[:24] + b"\0\0\0\1" + first_page[28:92] + b"\0\0\0\0" + first_page[96:])
        connection = schema.connect(str(copy))
        connection.text_factory = lambda text: text.decode(errors="replace")
        with contextlib.closing(connection):
            found = Saved(
                [row for row in _both_ends(connection, "ids", "id", "context") if _is_id_row(row)],
                [
                    row
                    for row in _both_ends(connection, "submissions", "key", "submission, context, task_id")
                    if _is_submission_row(row)
                ],
                list(_until_damage(connection, "SELECT host, salt, fingerprints, name FROM account")),
            )
        if len(found.ids) + len(found.submissions) >= len(best.ids) + len(best.submissions):
            best = found._replace(account=found.account or best.account)
        if any(found):
            break
    return best


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


def _is_id_row(row: tuple[Any, ...]) -> bool:
    task_id, context = row
    return isinstance(task_id, int) and task_id > 0 and (context is None or _is_json(context))


def _is_submission_row(row: tuple[Any, ...]) -> bool:
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
