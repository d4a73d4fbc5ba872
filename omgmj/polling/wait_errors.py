"""Errors of waits that end before their task: each with its ID, the last record, and how it came to that."""

from __future__ import annotations

import traceback

from omgmj.errors import GaveUp, OmgmjError, Stalled, WaitError, WaitTimeout
from omgmj.models import Task
from omgmj.protocol.failures import Meaning
from omgmj.protocol.responses import read_source
from omgmj.scheduler.planner import Ended, Why

_ENDINGS: dict[Why, tuple[type[WaitError], str]] = {
    Why.TIMEOUT: (WaitTimeout, "was not done in time"),
    Why.STALLED: (Stalled, "did not move for too long"),
    Why.GAVE_UP: (GaveUp, "was given up, as the backoff policy said stop"),
}


def error_of(one: Ended, now: float) -> OmgmjError:
    """Return the error of a wait that ended before its task."""
    if one.why is Why.FAILED and one.error is not None:
        return _without_frames(one.error.about(one.task_id))
    kind, said = _ENDINGS[one.why]
    last = record_of(one.last, one.task_id)
    elapsed = now - one.subscription.since
    seen = "never seen" if last is None else f"last seen as {last.status} at {_percent(last)}"
    goes_on = "" if last is None else "; it goes on at the service, and may be waited for again"
    failed = "" if one.error is None else f"; the last poll failed: {one.error}"
    error = kind(
        f"task {one.task_id} {said}: {seen}, polls: {one.polls} in {elapsed:.1f} s{failed}{goes_on}",
        task_id=one.task_id,
        last=last,
        elapsed=elapsed,
        queries=one.polls,
    )
    if one.error is not None:
        error.__cause__ = one.error.about(one.task_id)
    return error


def for_all(error: OmgmjError, means: Meaning, base_url: str) -> OmgmjError:
    """Return the error that ends all waits; where nothing answers as the service would, it names what was asked."""
    if means is not Meaning.FINAL:
        return error
    told = error.about(None)
    told.args = (f"{error}; this was said again and again by {base_url}, which was asked for tasks", *error.args[1:])
    return told


def _without_frames(error: OmgmjError) -> OmgmjError:
    """Return an error with the traceback of its cause, such as a policy's exception, as text.

    The frames themselves would hold a watch that was being added to, so that nobody could drop it.
    """
    cause = error.__cause__
    if cause is not None and cause.__traceback__ is not None:
        cause.add_note("".join(["It was raised here:\n", *traceback.format_tb(cause.__traceback__)]))
        cause.__traceback__ = None
    return error


def _percent(task: Task) -> str:
    return "no progress" if task.progress is None else f"{task.progress} %"


def record_of(source: bytes | None, task_id: int) -> Task | None:
    """Read an ID's last record again from its source."""
    return None if source is None else read_source(source, task_id)
