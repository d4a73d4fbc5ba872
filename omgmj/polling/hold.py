"""What one handle holds in the journal: each ID, until its reader has had what came of it.

An ID is done with when its reader, who was handed its final record or a verdict on it, comes back for more. Whatever
else ends the wait leaves the ID in the journal, for a later run. A handle has one reader: whoever comes back, comes
back for all that was handed out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from omgmj.errors import OmgmjError, UsageError, WaitError
from omgmj.journal.ledger import Ledger
from omgmj.models import Task


class Hold:
    """The IDs of one handle in the journal. `is_written`: those it began with are on disk."""

    def __init__(self, ledger: Ledger) -> None:
        self.is_written: bool = False
        self._ledger = ledger
        self._left = False
        self._held: set[int] = set()
        self._handed: dict[int, bool] = {}  # whether that is all that comes of it

    def take_in(self, task_ids: Sequence[int], contexts: Sequence[Any] | None = None) -> None:
        """Write IDs into the journal; `UsageError` for a context that JSON cannot hold.

        One that the reader has in hand, and waits for again, is not done with as the reader comes back.
        """
        if self._left or not self._held.isdisjoint(task_ids):
            self._ledger.put(task_ids, contexts)
            for task_id in self._handed.keys() & task_ids:
                del self._handed[task_id]
            if self._left:
                return  # What was still to be written when the handle left is for a later run.
            task_ids, contexts = [task_id for task_id in task_ids if task_id not in self._held], None
        self._ledger.hold(task_ids, contexts)
        self._held.update(task_ids)

    def resume(self, task_ids: Iterable[int]) -> None:
        """Take over IDs that the journal has handed out, held."""
        self._held.update(task_ids)

    def hand(self, result: Task | OmgmjError) -> None:
        """Note what the reader is handed: a record, or an error, which is a verdict on the ID or only ends the wait."""
        if isinstance(result, Task):
            self._ledger.prove()
        task_id = result.id if isinstance(result, Task) else result.task_id
        if task_id in self._held:
            self._handed[task_id] = not isinstance(result, WaitError | UsageError)

    def come_back(self) -> None:
        """Be done with what the reader was handed, as it comes for more."""
        if not self._handed:
            return
        for task_id, is_over in self._handed.items():
            if task_id in self._held:
                self._held.discard(task_id)
                if is_over:
                    self._ledger.done(task_id)
                else:
                    self._ledger.leave((task_id,))
        self._handed.clear()

    async def written(self) -> None:
        """Wait until all is on disk, or cannot be written now; `JournalError` where it is another account's."""
        await self._ledger.written()
        self.is_written = True

    def contexts(self, task_ids: Iterable[int]) -> list[Any] | None:
        """Return the contexts that these were made with, None for one without; None where none has any."""
        return self._ledger.contexts(task_ids)

    def kept(self) -> AsyncIterator[tuple[list[int], list[Any]]]:
        """Yield, held, all that the journal holds and nobody waits for, with the contexts."""
        return self._ledger.resume()

    def discard(self, task_ids: Iterable[int]) -> None:
        """Be done with IDs that nobody wants to hear of any more."""
        for task_id in self._held.intersection(task_ids):
            self._held.discard(task_id)
            self._ledger.done(task_id)

    def leave(self) -> None:
        """Leave all in the journal that is not done with, and hold it no longer."""
        self._left = True
        self._handed.clear()
        held, self._held = self._held, set()
        if held:
            self._ledger.leave(held)
