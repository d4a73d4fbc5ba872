"""What a journal is: the protocol, and the values that pass through it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import attrs

from omgmj.journal.account import Account

PAGE = 1000
"""Rows that are read at a time, fewer where they are large."""
PAGE_SIZE = 1_000_000
"""Characters of contexts after which a page ends."""
FIRST = -(2**63)
"""What all rows come after."""


class IdRow(NamedTuple):
    """An ID that is waited for, and its context as JSON."""

    task_id: int
    context: str | None


class SubmissionRow(NamedTuple):
    """A submission as JSON, its context as JSON, and the ID that it was answered with, None where none is known."""

    key: int
    submission: str
    context: str | None
    task_id: int | None = None


@attrs.define
class Changes:
    """Changes that are written together, in the order of these fields: the last word on each row."""

    gone: set[int] = attrs.Factory(set)
    """IDs whose rows go."""
    contexts: dict[int, str] = attrs.Factory(dict)
    """IDs to be there, with these contexts."""
    held: set[int] = attrs.Factory(set)
    """IDs to be there, whatever context they have."""
    made: dict[int, int] = attrs.Factory(dict)
    """The IDs that submissions were answered with, by key."""
    settled: set[int] = attrs.Factory(set)
    """IDs whose submissions' rows go."""
    dropped: set[int] = attrs.Factory(set)
    """Keys of submissions whose rows go."""
    intents: list[SubmissionRow] = attrs.Factory(list)
    """Submissions that are about to be sent: these are to survive a power loss."""
    account: Account | None = None

    def __bool__(self) -> bool:
        return bool(self.urgent or self.gone or self.settled)

    @property
    def urgent(self) -> bool:
        """Whether there is more than rows that go as their IDs came to an end."""
        return bool(self.held or self.contexts or self.made or self.dropped or self.intents or self.account)

    def remove(self, task_ids: Iterable[int]) -> None:
        """Have the rows of these IDs go."""
        for task_id in task_ids:
            self.held.discard(task_id)
            self.contexts.pop(task_id, None)
            self.gone.add(task_id)

    def hold(self, rows: Iterable[IdRow]) -> None:
        """Have these rows be there; one without a context keeps what there is."""
        for row in rows:
            if row.context is None:
                self.held.add(row.task_id)
            else:
                self.contexts[row.task_id] = row.context

    def follow_with(self, later: Changes) -> None:
        """Take in what is to be written after these."""
        self.remove(later.gone)
        self.contexts.update(later.contexts)
        self.held |= later.held
        self.made |= later.made
        self.settled |= later.settled
        self.dropped |= later.dropped
        self.intents += later.intents
        self.account = later.account or self.account


class Journal(Protocol):
    """Where rows are kept. Each method may block, and is called by one thread at a time; `JournalError` if it fails."""

    @property
    def name(self) -> str:
        """What it is called in the log."""
        ...

    @property
    def account_name(self) -> str | None:
        """What its user calls the account; None: its tokens tell."""
        ...

    def read_account(self) -> Account | None:
        """Return whose it is; None where it is new."""
        ...

    def read_made(self) -> tuple[set[int], int]:
        """Return the IDs that submissions were answered with, and the last key of all, 0 where there is none."""
        ...

    def read_ids(self, after: int) -> list[IdRow]:
        """Return the next IDs after this one, ascending; a submission's context where an ID has none of its own."""
        ...

    def read_submissions(self, after: int) -> list[SubmissionRow]:
        """Return the next submissions after this key, ascending."""
        ...

    def write(self, changes: Changes) -> None:
        """Write all of it, or nothing."""
        ...

    def close(self) -> None:
        """Let go of what is open; to close twice is no error."""
        ...
