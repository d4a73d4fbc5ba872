"""What was learned, kept between runs: a small JSON file that a session begins with, and writes for the next one.

The file is of one account at one host, and of one version. What is odd or of others is ignored, and written over with
the next ends; a file of another sort is left as it is. It only makes polls fewer: where it cannot be written, the
session goes on as without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import json
import math
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

from omgmj import log
from omgmj.errors import UsageError
from omgmj.journal.account import KEPT, Account
from omgmj.journal.ledger import Tokens
from omgmj.threads import own_thread
from omgmj.validation import brief

VERSION = 2
"""Of what is kept: another one where `dump` gives something else, or means something else by it."""
EVERY = 300.0
"""Seconds from an end to when what was learned is written, with all that ended meanwhile."""
BEGINS = re.compile(rb'\{"version": ?\d+, ?"host"')
"""How a file begins that may be written over; one that is empty, or zeros after a power cut, may be too."""
LIMIT = 2 * 1024 * 1024
"""Bytes of a file that is read. A full one has a quarter of that."""


class Learning(Protocol):
    """What a session learned, as JSON takes it."""

    def dump(self) -> dict[str, Any]:
        """Return it."""
        ...

    def restore(self, dumped: dict[str, Any], ago: float) -> None:
        """Take over what `dump` gave so many seconds `ago`; `ValueError` where it cannot have given that."""
        ...


class Kept(NamedTuple):
    """What a file holds: whose it is, and what `dump` gave; it was written so many seconds `ago`."""

    account: Account
    learned: dict[str, Any]
    ago: float = 0.0


class Keeper:
    """Reads a file as soon as it is made, and writes it some minutes after an end and when the session is closed.

    The disk is a thread's. A session that saw no end writes nothing. Of several that write one file the last one wins,
    and nobody ever reads half of one.
    """

    def __init__(
        self, path: Path, hosts: Sequence[str], tokens: Tokens, learning: Learning, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._path = path
        self._hosts = hosts
        self._tokens = tokens
        self._learning = learning
        self._loop = loop
        self._thread = own_thread()
        self._account: Account | None = None
        self._timer: asyncio.TimerHandle | None = None  # There is one while an end is not written yet.
        self._fails = False
        self._job = self._do(partial(_read, path), self._on_read)

    async def settled(self) -> None:
        """Wait until what was begun is done with: the file is read, or written."""
        await asyncio.wait((self._job,))

    def on_end(self) -> None:
        """Record that something was learned."""
        if self._timer is None:
            self._timer = self._loop.call_later(EVERY, self._write, context=contextvars.Context())

    async def aclose(self) -> None:
        """Write what is not written yet, and wait for it."""
        try:
            await self.settled()
            if self._timer is not None:
                self._timer.cancel()
                self._write()
                await self.settled()
        finally:
            self._thread.shutdown(wait=False)

    def _do(self, work: Callable[[], Any], then: Callable[[asyncio.Future[Any]], None]) -> asyncio.Future[Any]:
        """Begin to do it in the thread, after what was begun before."""
        job = self._loop.run_in_executor(self._thread, work)
        job.add_done_callback(then, context=contextvars.Context())
        return job

    def _on_read(self, job: asyncio.Future[Kept | None]) -> None:
        try:
            kept = job.result()
            if kept is not None:
                self._take_over(kept)
        except (OSError, ValueError, RecursionError) as error:
            log.learned_ignored(str(self._path), error)

    def _take_over(self, kept: Kept) -> None:
        token = self._tokens.known
        if kept.account.host not in self._hosts:
            raise ValueError(f"it is of another host: {kept.account.host}")
        # A callable's token is not known yet: then it is the host that counts.
        if token is not None and not kept.account.knows(token.reveal()):
            raise ValueError("it is of another account, or of another token")
        self._learning.restore(kept.learned, kept.ago)
        self._account = kept.account

    def _write(self) -> None:
        self._timer = None
        account = self._account or Account(self._hosts[0], secrets.token_hex(16))
        if (token := self._tokens.known) is not None:
            account = account.with_token(token.reveal())
        self._account = account
        self._job = self._do(partial(_write, self._path, Kept(account, self._learning.dump())), self._on_written)

    def _on_written(self, job: asyncio.Future[None]) -> None:
        try:
            job.result()
        except (OSError, ValueError) as error:
            if not self._fails:
                log.learned_not_kept(str(self._path), error)
            self._fails = True
        else:
            self._fails = False


def check_path(path: object) -> Path | None:
    """Return where to keep what is learned, from the root on, as the process may move; None for None."""
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike) or not isinstance(shown := os.fspath(path), str):
        raise UsageError(f"learned must be a path, as a string or a Path, or None; not {brief(path)}")
    if not shown or "\0" in shown:
        raise UsageError(f"learned must be the path of a file, not {brief(shown)}")
    with contextlib.suppress(OSError):  # The folder that we are in is gone.
        return Path(shown).absolute()
    return Path(shown)


def _read(path: Path) -> Kept | None:
    """Return what a file holds, None where there is none; `ValueError` where it is odd."""
    if not path.exists():
        return None
    _check_file(path)
    with path.open("rb") as file:
        text = file.read(LIMIT + 1)
        ago = max(0.0, time.time() - os.fstat(file.fileno()).st_mtime)
    if len(text) > LIMIT:
        raise ValueError(f"it has more than {LIMIT} bytes")
    found = json.loads(text, parse_float=_finite, parse_constant=_refuse)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError(f"it is not of version {VERSION}")
    host, salt, prints, learned = map(found.get, ("host", "salt", "fingerprints", "learned"))
    words: list[Any] = [host, salt, *prints] if isinstance(prints, list) and len(prints) <= KEPT else [None]
    if not isinstance(learned, dict) or not all(isinstance(word, str) for word in words):
        raise ValueError("it has another shape")
    return Kept(Account(words[0], words[1], tuple(words[2:])), learned, ago)


def _write(path: Path, kept: Kept) -> None:
    """Put a file in place, whole or not at all, for its owner only; `OSError` where that cannot be."""
    account = kept.account
    whole = {
        "version": VERSION,
        "host": account.host,
        "salt": account.salt,
        "fingerprints": account.fingerprints,
        "learned": kept.learned,
    }
    text = json.dumps(whole, allow_nan=False, separators=(",", ":"))
    path = Path(os.path.realpath(path))  # A link stays one.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        _check_file(path)
        _check_ours(path)
    with tempfile.NamedTemporaryFile("w", prefix=".omgmj-", dir=path.parent, delete=False) as file:
        beside = Path(file.name)
        try:
            file.write(text)
            file.close()
            beside.replace(path)
        except BaseException:
            file.close()
            beside.unlink(missing_ok=True)
            raise


def _check_file(path: Path) -> None:
    """Raise `OSError` unless it is a file: a pipe would be waited for, and a device written over."""
    if not path.is_file():
        raise FileExistsError(errno.EEXIST, "it is no file", str(path))


def _check_ours(path: Path) -> None:
    """Raise `OSError` where a file is of another sort, such as a journal or somebody's notes."""
    with path.open("rb") as file:
        head = file.read(64)
    if head.strip(b"\0") and not BEGINS.match(head):
        raise FileExistsError(
            errno.EEXIST, "it is a file of another sort; choose another path, or delete it", str(path)
        )


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
