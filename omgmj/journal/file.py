"""A journal's file from outside: where it may be, who may have it, and that it is opened once.

Whatever stands in the way is found here, and said in plain words: of most of it SQLite says "disk I/O error".
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import attrs

from omgmj.errors import JournalError
from omgmj.journal import damage, schema

_opening = threading.Lock()
# Who opens and closes a file that the same process has locked lets go of the lock: that is how POSIX has it. So a file
# that is open is known by its numbers.
_in_use: set[tuple[int, int]] = set()


@attrs.frozen
class OpenFile:
    """A file that is locked and ready, until it is closed."""

    connection: sqlite3.Connection
    path: Path
    numbers: tuple[int, int]
    process: int = attrs.field(factory=os.getpid)

    def obstacle(self) -> str | None:
        """Return what keeps this process from using it, None where nothing does."""
        if self.process != os.getpid():
            return "was opened before a fork, and is the other process's; open it after the fork"
        try:
            is_there = _numbers(self.path.stat()) == self.numbers
        except OSError:
            is_there = False
        return None if is_there else "was moved or deleted while it was open: what is written now would be lost"

    def close(self) -> None:
        """Bring the WAL into the file, and let go of both; what came by a fork is the other process's."""
        if self.process != os.getpid():
            # Who closes it deletes the WAL into which the other process writes, and so does who frees it.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.connection))
            return
        try:
            self.connection.close()
        finally:
            _in_use.discard(self.numbers)


class _Damaged(NamedTuple):
    reason: str
    aside: Path


def open_file(given: str, sync: str) -> OpenFile:
    """Open a file, new or not; a damaged one is set aside first. `JournalError` where it cannot be."""
    path = Path(os.path.realpath(given))
    with _opening:
        found = _open_or_copy(path, sync)
        if isinstance(found, _Damaged):
            with _told(path, found.reason):
                damage.replace(path, *found)
            found = _open_or_copy(path, sync)
        if isinstance(found, _Damaged):
            raise JournalError(f"{path} is damaged as soon as it is written ({found.reason})")
        return found


def _open_or_copy(path: Path, sync: str) -> OpenFile | _Damaged:
    """Open a file; a damaged one is copied, with its WAL, before SQLite closes it: then it writes to both."""
    header, numbers = _look_at(path)
    if header or damage.size_of(damage.wal_of(path)):
        no_database = schema.check_header(header, path)
        if no_database:
            with _told(path, no_database):
                return _Damaged(no_database, damage.copy_aside(path))
    connection = schema.connect(path)
    try:
        schema.prepare(connection, sync)
    except (sqlite3.Error, schema.DamagedError) as error:
        with contextlib.closing(connection):
            if schema.is_lock(error):
                raise _in_use_error(path) from None
            if not schema.is_damage(error):
                raise JournalError(f"{path} cannot be used for a journal: {error}") from None
            with _told(path, str(error)):
                return _Damaged(str(error), damage.copy_aside(path))
    _in_use.add(numbers)
    return OpenFile(connection, path, numbers)


@contextlib.contextmanager
def _told(path: Path, reason: str) -> Iterator[None]:
    """Have what keeps a damaged file from being set aside raised as `JournalError`."""
    try:
        yield
    except (OSError, sqlite3.Error, schema.DamagedError) as error:
        raise JournalError(f"{path} is damaged ({reason}), and cannot be set aside: {error}") from None


def _look_at(path: Path) -> tuple[bytes, tuple[int, int]]:
    """Make a file where there is none, and return its header and its numbers; `JournalError` where it cannot be had."""
    try:
        if not path.parent.is_dir():
            raise JournalError(f"{path} cannot be made: there is no directory {path.parent}")
        if path.exists():
            _check_kind(path)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise JournalError(f"{path.parent} cannot be written, and a journal keeps a second file beside its own")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            return os.read(descriptor, schema.HEADER), _numbers(os.fstat(descriptor))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise JournalError(f"{path} cannot be read and written: {error.strerror}") from None


def _check_kind(path: Path) -> None:
    if not path.is_file():
        raise JournalError(f"{path} is {'a directory' if path.is_dir() else 'no plain file'}; a journal is a file")
    if _numbers(path.stat()) in _in_use:
        raise _in_use_error(path)


def _numbers(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _in_use_error(path: Path) -> JournalError:
    return JournalError(f"{path} is in use by another session, of this process or of another; a journal is for one")
