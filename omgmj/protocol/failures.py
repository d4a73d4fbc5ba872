"""What an error means: to a wait that goes on, and to a submission that must not be sent twice."""

from __future__ import annotations

import enum

from omgmj.errors import (
    AuthError,
    DecodeError,
    OmgmjError,
    RateLimited,
    ServiceError,
    TaskNotFound,
    TransportError,
    UsageError,
)


class Meaning(enum.Enum):
    """What an error means to a wait."""

    TRANSIENT = "transient"
    """The service or the way to it is out of order: poll again later; counts towards an outage."""
    PACED = "paced"
    """The service lives and wants to be asked more slowly."""
    ACCOUNT = "account"
    """It concerns every task of the account; believed after the token was asked for once more."""
    TASK = "task"
    """It concerns this ID; a wait believes it after three polls over 10 seconds of nothing else."""
    GARBLED = "garbled"
    """The answer came and cannot be read: asked again twice, then this ID is given up."""
    LOCAL = "local"
    """No answer at all but a mistake on this side: raise it."""


# What an error means to a wait, the first row that fits. A plain ServiceError is told by its facts: 5xx and what
# is no envelope speak for the way to the service, not for the task; with an envelope 400 and 404, as HTTP status or
# as the body's code, are about the ID. What stands in no row is no answer of the service: it is raised as it is.
MEANINGS: tuple[tuple[type[OmgmjError], Meaning], ...] = (
    (UsageError, Meaning.LOCAL),
    (TransportError, Meaning.TRANSIENT),
    (RateLimited, Meaning.PACED),
    (AuthError, Meaning.ACCOUNT),
    (TaskNotFound, Meaning.TASK),
    (DecodeError, Meaning.GARBLED),
)
_TASK_CODES = frozenset({400, 404})


def meaning(error: BaseException) -> Meaning:
    """Return what `error` means to a wait."""
    for kind, means in MEANINGS:
        if isinstance(error, kind):
            return means
    if not isinstance(error, ServiceError):
        return Meaning.LOCAL
    return Meaning.TASK if is_about_task(error.status, error.code) else Meaning.TRANSIENT


def is_about_task(status: int, code: int | None) -> bool:
    """Judge whether a refusal that is not about the account or the rate is about the ID."""
    return code is not None and status < 500 and (code in _TASK_CODES or status == 404)


# What HTTP says of a request that was turned away for its size or form, before anybody read it.
_TURNED_AWAY = frozenset({411, 413, 414, 417, 431})
# Too slow, or given up by whoever asked: this says nothing about what the service does.
_NO_ANSWER = frozenset({408, 499})


def is_refusal(error: Exception) -> bool:
    """Whether an error is the service's own no, so that a submission surely made no task."""
    if not isinstance(error, ServiceError) or error.status >= 500 or {error.status, error.code} & _NO_ANSWER:
        return False
    if isinstance(error, AuthError | RateLimited) or error.status in _TURNED_AWAY:
        return True
    return error.code is not None and 400 <= error.code < 500
