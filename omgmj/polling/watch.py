"""Waiting for many tasks: `Watch`, the iterator of their final records. Its results are `inbox`'s, contexts its own."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

from omgmj.errors import OmgmjError, UsageError
from omgmj.models import Task
from omgmj.polling.hold import Hold
from omgmj.polling.inbox import Inbox, id_of
from omgmj.polling.poller import Poller
from omgmj.polling.sinks import Terms
from omgmj.validation import check_count, check_task_id

MAX_WATCHED = 10_000
"""IDs of an endless source that are watched, or done and not yet taken, at once."""
KEPT_CONTEXTS = 1000
"""Contexts of ended IDs that are kept."""

TaskIds = Iterable[int | str] | Mapping[int, Any] | AsyncIterable[int | str]


class Watch:
    """The final records of many tasks, in the order they finish: an async iterator of `Task`.

    IDs that cannot be brought to an end do not stop the others: their errors are raised together as `WatchErrors` at
    the end, or go to `on_error` one by one. What concerns the whole account is raised at once, after the records
    already in hand.

    Leaving the loop ends the waits at once where nothing else holds the iterator. Who keeps it in a variable uses
    `async with` or `aclose`.
    """

    def __init__(
        self,
        poller: Poller,
        task_ids: TaskIds,
        terms: Terms,
        *,
        on_error: Callable[[OmgmjError], object] | None = None,
        max_watched: int | None = None,
        hold: Hold | None = None,
        resumes: bool = False,
    ) -> None:
        """Check everything that was given, then begin to wait; `Session.watch` makes these.

        It `resumes` what the journal holds and nobody waits for.
        """
        if on_error is not None and (not callable(on_error) or _is_async(on_error)):
            raise UsageError("on_error must be a plain function, not an async one, that takes an error")
        if max_watched is not None:
            check_count("max_watched", max_watched)
        endless = isinstance(task_ids, AsyncIterable)
        if endless and on_error is None:
            raise UsageError("an async iterable of IDs may never end: on_error is needed to hear of errors before that")
        self._on_error = on_error
        self._contexts = _Contexts()
        given = ([], None) if isinstance(task_ids, AsyncIterable) else _check(task_ids, hold)
        source = _iterator(task_ids) if isinstance(task_ids, AsyncIterable) else None
        self._inbox = Inbox(poller, terms, max_watched or (MAX_WATCHED if endless else None), hold)
        self._inbox.open()
        if source is not None:
            self._inbox.feed(source, self._inbox.add_one)
        if resumes and hold is not None:
            self._inbox.feed(hold.kept(), partial(_resume, self._inbox, self._contexts))
        self._add(*given)

    def add(self, task_ids: Iterable[int | str] | Mapping[int, Any]) -> None:
        """Wait for these too; an ID that is waited for already is delivered once. `UsageError` after the end."""
        if self._inbox.over:
            raise UsageError("this watch has ended; make a new one")
        self._add(*_check(task_ids, self._inbox.hold))

    def discard(self, task_ids: Iterable[int | str]) -> None:
        """Wait no longer for these, and drop what came of them; IDs that are not waited for are ignored."""
        gone = {check_task_id(task_id) for task_id in task_ids}
        self._inbox.discard(gone)
        self._contexts.discard(gone)

    def context(self, task: Task | int | str) -> Any:
        """Return what the mapping of IDs gave for this task; None where it was no mapping.

        It is kept while the task is waited for, and for the last thousand that came to an end.
        """
        return self._contexts.get(task.id if isinstance(task, Task) else check_task_id(task))

    @property
    def pending(self) -> tuple[int, ...]:
        """The IDs that are still waited for; after the end, in whatever way, those that came to none.

        Results that are done and not yet taken are not among them. For example `session.watch(watch.pending)`.
        """
        return self._inbox.pending()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Task:
        """Return the next final record."""
        inbox = self._inbox
        if (hold := inbox.hold) is not None:
            hold.come_back()
            if not hold.is_written:
                await inbox.written()
        while True:
            result = inbox.take()
            if result is None:
                await inbox.told()
                continue
            self._contexts.on_end(id_of(result))
            if isinstance(result, Task):
                inbox.hand(result)
                return result
            if self._on_error is None:
                inbox.put_aside(result)
                continue
            inbox.hand(result)
            try:
                self._on_error(result)
            except BaseException:
                inbox.release()
                raise
            if hold is not None:
                hold.come_back()

    async def aclose(self) -> None:
        """End all waits; whoever reads gets the end of the iteration."""
        self._inbox.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if (inbox := getattr(self, "_inbox", None)) is not None:
            inbox.abandon()

    def _add(self, task_ids: list[int], contexts: list[Any] | None) -> None:
        self._inbox.add(task_ids, contexts)
        self._contexts.on_add(task_ids, contexts)


def _resume(inbox: Inbox, contexts: _Contexts, page: tuple[list[int], list[Any]]) -> None:
    """Wait again for a page of IDs out of the journal. Their contexts came from JSON: none of them holds the handle."""
    inbox.resume(page[0])
    contexts.on_add(*page)


def _check(task_ids: Iterable[int | str] | Mapping[int, Any], hold: Hold | None) -> tuple[list[int], list[Any] | None]:
    """Return IDs, checked, and their contexts: of a mapping, or those that the tasks were made with."""
    if isinstance(task_ids, str | bytes) or not isinstance(task_ids, Iterable):
        raise UsageError(f"task IDs must be an iterable of them, not {type(task_ids).__name__}")
    checked = [check_task_id(task_id) for task_id in task_ids]
    if isinstance(task_ids, Mapping):
        return checked, list(task_ids.values())
    return checked, None if hold is None else hold.contexts(checked)


class _Contexts:
    """Contexts from mappings, by ID: of those that are waited for, and of the last `KEPT_CONTEXTS` that ended.

    They stay with the handle, as a context may hold it.
    """

    def __init__(self) -> None:
        self._of: dict[int, Any] = {}
        self._ended: dict[int, None] = {}  # the oldest first

    def get(self, task_id: int) -> Any:
        return self._of.get(task_id)

    def on_add(self, task_ids: Sequence[int], contexts: Sequence[Any] | None) -> None:
        for task_id in task_ids:
            self._ended.pop(task_id, None)
        if contexts is not None:
            self._of.update(zip(task_ids, contexts, strict=True))

    def on_end(self, task_id: int | None) -> None:
        if task_id is not None and task_id in self._of:
            self._ended.pop(task_id, None)
            self._ended[task_id] = None
        if len(self._ended) > KEPT_CONTEXTS:
            self.discard((next(iter(self._ended)),))

    def discard(self, task_ids: Iterable[int]) -> None:
        for task_id in task_ids:
            self._of.pop(task_id, None)
            self._ended.pop(task_id, None)


def _is_async(function: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _iterator(task_ids: AsyncIterable[int | str]) -> AsyncIterator[int | str]:
    try:
        return aiter(task_ids)
    except TypeError as error:
        raise UsageError(f"the async iterable of task IDs cannot be iterated: {error}") from None
