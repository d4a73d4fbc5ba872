"""What waits for tasks: a session's main job, and what of it a journal keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from omgmj.backoff.policies import Policy, check_policy
from omgmj.errors import OmgmjError
from omgmj.models import Task, Unsettled
from omgmj.polling.follow import Follow
from omgmj.polling.hold import Hold
from omgmj.polling.sinks import Terms
from omgmj.polling.wait import wait_for
from omgmj.polling.watch import TaskIds, Watch
from omgmj.protocol.callbacks import read_callback
from omgmj.session.opening import Opening
from omgmj.validation import check_seconds, check_task_id

STALL = 3600.0


class Waiting(Opening):
    """What waits for the ends of tasks."""

    async def wait(
        self,
        task_id: int | str,
        *,
        timeout: float | None = None,
        stall: float | None = STALL,
        backoff: Policy | None = None,
    ) -> Task:
        """Wait until the task is done and return its final record, success or failure alike.

        Raise `WaitTimeout` after `timeout` seconds (0: after one poll; None: never), `Stalled` after `stall` seconds of
        successful polls without any change, `GaveUp` when the policy says stop; `TaskNotFound` or `ServiceError` when
        the service says no to this ID again and again, `AuthError` when it refuses the token; `UsageError`,
        `SessionClosed`. Passing failures and an outage are waited out. An ID that alone fails for ten minutes is given
        up with its last error, and so is an unreadable record (`DecodeError`).

            task = await session.wait(3432, timeout=600)
        """
        checked = check_task_id(task_id)
        terms = self._terms(timeout, stall, backoff)
        engine = self._open()
        await engine.begin()
        task = await wait_for(engine.poller, checked, terms)
        if engine.ledger is not None:
            engine.ledger.settle(task.id)
        return task

    def watch(
        self,
        task_ids: TaskIds,
        *,
        timeout: float | None = None,
        stall: float | None = STALL,
        backoff: Policy | None = None,
        on_error: Callable[[OmgmjError], object] | None = None,
        max_watched: int | None = None,
    ) -> Watch:
        """Wait for many tasks: an async iterator of their final records, in the order they finish.

        `task_ids` is an iterable, a mapping of ID to a context of yours (`Watch.context`), or an async iterable,
        endless ones too. `timeout` and `stall` are the seconds of `wait`, for each ID from when it was taken in. Errors
        of single IDs are those of `wait`: raised at the end as `WatchErrors`, or given one by one to `on_error`, a
        plain function. `max_watched` bounds how many IDs are taken in at once, unfetched records included: all at once
        unless said otherwise, 10,000 of an async iterable. Raise `UsageError`, `SessionClosed`.

        In a session with a journal the IDs and their contexts, JSON values, are written there. An ID leaves it when its
        reader has had its final record, or a verdict on it, and comes back for the next one; `JournalError` comes at
        the first one where the journal is another account's. A watch has one reader then.

            async for task in session.watch([3432, 3433], timeout=3600, on_error=print):
                print(task.id, task.status)
        """
        terms = self._terms(timeout, stall, backoff)
        engine = self._open()
        hold = engine.hold()
        return Watch(engine.poller, task_ids, terms, on_error=on_error, max_watched=max_watched, hold=hold)

    def resume(
        self,
        *,
        timeout: float | None = None,
        stall: float | None = STALL,
        backoff: Policy | None = None,
        on_error: Callable[[OmgmjError], object] | None = None,
        max_watched: int | None = None,
    ) -> Watch:
        """Wait again for all that the journal holds and nobody waits for now: what an earlier run left.

        That is a `Watch`, with the contexts of then, to which more can be added. Tasks that were made in a session with
        this journal, and never waited for to their ends, are among them. At least once: what came to its end just
        before the last run died may come again. Arguments and errors are those of `watch`, `UsageError` and
        `SessionClosed` too.

            async for task in session.resume(on_error=print):
                print(task.id, task.status)
        """
        terms = self._terms(timeout, stall, backoff)
        engine = self._open()
        hold = Hold(engine.journal())
        return Watch(engine.poller, (), terms, on_error=on_error, max_watched=max_watched, hold=hold, resumes=True)

    def forget(self, forgotten: Iterable[int | str | Unsettled]) -> None:
        """Remove IDs, or submissions that `unsettled` told of, from the journal; who waits for an ID goes on waiting.

        Raise `UsageError`, `SessionClosed`.

            session.forget([3432])
        """
        given = list(forgotten)
        keys = [one.key for one in given if isinstance(one, Unsettled)]
        task_ids = [check_task_id(one) for one in given if not isinstance(one, Unsettled)]
        ledger = self._open().journal()
        ledger.forget(task_ids)
        ledger.drop(keys)

    def follow(
        self,
        task_id: int | str,
        *,
        timeout: float | None = None,
        stall: float | None = STALL,
        backoff: Policy | None = None,
    ) -> Follow:
        """Wait for one task and see each change of it: an async iterator of records, the final one last.

        Seconds and errors are those of `wait`; `UsageError` and `SessionClosed` come at once.

            async for task in session.follow(3432):
                print(task.status, task.progress)
        """
        checked = check_task_id(task_id)
        terms = self._terms(timeout, stall, backoff)
        engine = self._open()
        return Follow(engine.poller, checked, terms, engine.hold())

    def notify(self, payload: Mapping[str, Any] | bytes | str) -> None:
        """Take the body that was posted to a webhook as a hint of when to poll; `omgmj.webhook.Receiver` calls this.

        It proves nothing, and is ignored if nobody waits for the task. One that claims an end, or says nothing of the
        task, brings a poll now, at most one a second. One that claims progress brings none: for two minutes the task is
        polled each 60 seconds only, or when its end is foretold; one that somebody follows is polled 5 seconds after
        its last poll. Raise `UsageError` for a body without a task's ID, `SessionClosed`.

            session.notify(b'{"taskId": 3432}')
        """
        callback = read_callback(payload)
        self._open().poller.hear(callback)

    def _terms(self, timeout: float | None, stall: float | None, backoff: Policy | None) -> Terms:
        return Terms(
            check_policy(backoff, self._backoff),
            check_seconds("timeout", timeout, zero=True, none=True),
            check_seconds("stall", stall, none=True),
        )
