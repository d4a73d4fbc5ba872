"""`errors`: every error pickles and copies with its facts, and stands at its place in the tree."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from omgmj import errors
from omgmj.errors import (
    AuthError,
    Cancelled,
    DecodeError,
    DownloadError,
    ExchangeTimeout,
    GaveUp,
    ImageExists,
    JournalError,
    OmgmjError,
    QueueError,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
    SessionClosed,
    Stalled,
    SubmissionUncertain,
    TaskFailed,
    TaskNotFound,
    TransportError,
    UsageError,
    WaitError,
    WaitTimeout,
    WatchErrors,
)
from omgmj.models import Status, Submission, Task

TASK = Task(id=20, status=Status.FAILURE, fail_reason="no reason")
ERRORS: list[OmgmjError] = [
    *(
        kind("said")
        for kind in (
            OmgmjError,
            UsageError,
            SessionClosed,
            TransportError,
            ExchangeTimeout,
            ServiceUnavailable,
            JournalError,
            QueueError,
        )
    ),
    *(
        kind("said", status=429, code=400, message="their words", retry_after=1.5)
        for kind in (ServiceError, AuthError, RateLimited, TaskNotFound)
    ),
    DecodeError("said", field="$.data.status", body=b"{}"),
    *(
        kind("said", task_id=20, last=TASK, elapsed=2.5, queries=3)
        for kind in (WaitError, WaitTimeout, Stalled, GaveUp, Cancelled)
    ),
    TaskFailed("said", task=TASK),
    SubmissionUncertain(
        "said", submission=Submission("ACTION", parent_id=20, sent_at=datetime(2026, 1, 2, tzinfo=UTC))
    ),
    DownloadError("said", task_id=20, url="https://a.test/b.png", status=503, retry_after=1.5),
    ImageExists("said", path="a/task-20.png"),
    WatchErrors("said", [TaskNotFound("one", status=404).about(20), GaveUp("two", task_id=21)]),
]
every_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


def facts(error: BaseException) -> object:
    """Return all that an error carries, in a form that can be compared."""
    inner = [facts(each) for each in error.exceptions] if isinstance(error, WatchErrors) else []
    return type(error), str(error), error.args[:1], vars(error), inner


def test_every_error_is_here() -> None:
    """No error of the package is left out of these tests, and each has a docstring."""
    kinds = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, OmgmjError)}
    assert kinds == {type(error) for error in ERRORS}
    assert all(kind.__doc__ for kind in kinds)


@every_error
@pytest.mark.parametrize(
    "through",
    [copy.copy, copy.deepcopy, *(lambda error, n=n: pickle.loads(pickle.dumps(error, n)) for n in range(2, 6))],  # noqa: S301
    ids=["copy", "deepcopy", "pickle2", "pickle3", "pickle4", "pickle5"],
)
def test_errors_pickle_and_copy(error: OmgmjError, through: Callable[[OmgmjError], OmgmjError]) -> None:
    """Every error comes out of pickle and copy with its type, its text and all its facts."""
    twin = through(error)
    assert twin is not error
    assert facts(twin) == facts(error)


@every_error
def test_about(error: OmgmjError) -> None:
    """`about` gives a copy with the task's ID, the same facts and cause, and no traceback of another raise."""
    cause = OSError("cause")
    with pytest.raises(type(error)) as caught:
        raise copy.copy(error) from cause
    twin = caught.value.about(99)
    assert (type(twin), str(twin), twin.task_id) == (type(error), str(error), 99)
    assert {**vars(twin), "task_id": None} == {**vars(error), "task_id": None}
    assert caught.value.task_id == error.task_id
    assert (twin.__cause__, twin.__suppress_context__, twin.__traceback__) == (cause, True, None)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (UsageError, ValueError),
        (SessionClosed, UsageError),
        (TransportError, ConnectionError),
        (ExchangeTimeout, TimeoutError),
        (DecodeError, ValueError),
        (WaitTimeout, TimeoutError),
        (Stalled, TimeoutError),
        (GaveUp, WaitError),
        (AuthError, ServiceError),
        (RateLimited, ServiceError),
        (TaskNotFound, ServiceError),
        (WatchErrors, ExceptionGroup),
    ],
)
def test_places_in_the_tree(kind: type[OmgmjError], builtin: type[Exception]) -> None:
    """Each error is also what the language calls such a thing, so that `except TimeoutError` does what it says."""
    assert issubclass(kind, OmgmjError)
    assert issubclass(kind, builtin)


def test_bare_errors_have_plain_facts() -> None:
    """An error that was given nothing but its text has harmless facts."""
    service, wait, decode = ServiceError("x"), WaitError("x"), DecodeError("x")
    assert (service.status, service.code, service.message, service.retry_after) == (0, None, "", None)
    assert (wait.task_id, wait.last, wait.elapsed, wait.queries) == (None, None, 0.0, 0)
    assert (decode.field, decode.body, TaskFailed("x").task_id) == ("$", b"", None)


def test_a_group_keeps_its_type_when_split() -> None:
    """`except*` and `split` on a WatchErrors leave WatchErrors, each with its task IDs."""
    group = WatchErrors("two", [TaskNotFound("one").about(20), GaveUp("two", task_id=21), UsageError("no ID")])
    assert group.task_ids == (20, 21)
    missing, rest = group.split(TaskNotFound)
    assert isinstance(missing, WatchErrors)
    assert isinstance(rest, WatchErrors)
    assert (missing.task_ids, rest.task_ids, missing.message) == ((20,), (21,), "two")
    assert isinstance(group.subgroup(GaveUp), WatchErrors)


def test_raise_for_failure_names_task_and_reason() -> None:
    """The error of a failed task carries its record, its ID and its reason."""
    with pytest.raises(TaskFailed, match=r"^task 20 ended as FAILURE: no reason$") as caught:
        TASK.raise_for_failure()
    assert (caught.value.task, caught.value.task_id) == (TASK, 20)
