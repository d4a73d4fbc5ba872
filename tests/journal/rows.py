"""What the tests of the journal share: all rows of one, and one that fails on demand."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from omgmj.client.secrets import Secret
from omgmj.errors import JournalError
from omgmj.journal.journal import FIRST, Changes, Journal, SubmissionRow
from omgmj.journal.ledger import Ledger
from omgmj.journal.memory import MemoryJournal

HOST, TOKEN = "a.test", "sk-a-secret-of-ours"


def ids_of(journal: Journal) -> dict[int, str | None]:
    """Return all IDs, with their contexts, read page by page."""
    found: dict[int, str | None] = {}
    after = FIRST
    while page := journal.read_ids(after):
        found.update(page)
        after = page[-1].task_id
    return found


def submissions_of(journal: Journal) -> list[SubmissionRow]:
    """Return all submissions, read page by page."""
    found: list[SubmissionRow] = []
    after = FIRST
    while page := journal.read_submissions(after):
        found += page
        after = page[-1].key
    return found


class Tokens:
    """Who has the token of a session: `known` at once, or what is set there later."""

    def __init__(self, token: str | None = TOKEN) -> None:
        self.known: Secret | None = None if token is None else Secret(token)
        self.came = asyncio.Event()

    async def current(self) -> Secret:
        while self.known is None:
            await self.came.wait()
        return self.known


def ledger_of(journal: Journal, token: str = TOKEN, host: str = HOST) -> Ledger:
    """Return a ledger of the running loop's."""
    return Ledger(journal, (host,), Tokens(token), asyncio.get_running_loop())


async def bound(journal: Journal, token: str = TOKEN) -> Ledger:
    """Return a ledger of the running loop's, whose token the service has taken."""
    ledger = ledger_of(journal, token)
    await ledger.written()
    ledger.prove()
    return ledger


async def resumed(ledger: Ledger) -> dict[int, Any]:
    """Return all that nobody holds, with contexts."""
    return {
        task_id: context
        async for task_ids, contexts in ledger.resume()
        for task_id, context in zip(task_ids, contexts, strict=True)
    }


class Failing(MemoryJournal):
    """A journal that counts its batches, and fails as long as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False
        self.batches: list[Changes] = []

    @property
    def name(self) -> str:
        return "the journal"

    def write(self, changes: Changes) -> None:
        self.batches.append(changes)
        if self.fails:
            raise JournalError("the journal cannot be written: the disk is full")
        super().write(changes)


def python(code: str, *arguments: object, **settings: Any) -> subprocess.Popen[str]:
    """Start Python on some code of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        **settings,
    )


def run(code: str, *arguments: object, **settings: Any) -> str:
    """Return what some code of its own wrote."""
    with python(code, *arguments, **settings) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert not errors
    return output
