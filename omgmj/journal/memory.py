"""A journal in memory, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from omgmj.journal.account import Account
from omgmj.journal.journal import PAGE, PAGE_SIZE, Changes, IdRow, SubmissionRow

Row = TypeVar("Row", IdRow, SubmissionRow)


class MemoryJournal:
    """A journal that lasts as long as this object does, for tests.

    Another session may have it when the one before was closed, or was dropped as by a crash. `account` as in
    `SqliteJournal`.

        journal = MemoryJournal()
    """

    def __init__(self, *, account: str | None = None) -> None:
        self._account_name = account
        self._account: Account | None = None
        self._ids: dict[int, str | None] = {}
        self._submissions: dict[int, SubmissionRow] = {}

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return "the journal in memory"

    @property
    def account_name(self) -> str | None:
        """What its user calls the account; None: its tokens tell."""
        return self._account_name

    def read_account(self) -> Account | None:
        """Return whose it is; None where it is new."""
        return self._account

    def read_made(self) -> tuple[set[int], int]:
        """Return the IDs that submissions were answered with, and the last key of any submission."""
        made = {row.task_id for row in self._submissions.values() if row.task_id is not None}
        return made, max(self._submissions, default=0)

    def read_ids(self, after: int) -> list[IdRow]:
        """Return the next IDs after this one, ascending."""
        contexts = {row.task_id: row.context for row in self._submissions.values()}
        rows = (IdRow(one, self._ids[one] or contexts.get(one)) for one in sorted(self._ids) if one > after)
        return page_of(rows)

    def read_submissions(self, after: int) -> list[SubmissionRow]:
        """Return the next submissions after this key, ascending."""
        return page_of(self._submissions[key] for key in sorted(self._submissions) if key > after)

    def write(self, changes: Changes) -> None:
        """Write all of it."""
        for task_id in changes.gone:
            self._ids.pop(task_id, None)
        self._ids.update(changes.contexts)
        for task_id in changes.held:
            self._ids.setdefault(task_id, None)
        for key, task_id in changes.made.items():
            if key in self._submissions:
                self._submissions[key] = self._submissions[key]._replace(task_id=task_id)
        for row in list(self._submissions.values()):
            if row.key in changes.dropped or row.task_id in changes.settled:
                del self._submissions[row.key]
        self._submissions.update((row.key, row) for row in changes.intents)
        self._account = changes.account or self._account

    def close(self) -> None:
        """Keep everything for whoever comes next."""


def page_of(rows: Iterable[Row]) -> list[Row]:
    """Return the first rows: a page."""
    page: list[Row] = []
    size = 0
    for row in rows:
        page.append(row)
        size += len(row.context or "")
        if len(page) == PAGE or size > PAGE_SIZE:
            break
    return page
