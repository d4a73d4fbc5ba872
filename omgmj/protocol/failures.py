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
    """What an error means to a wait. It is a hint: whose trouble it is, `scheduler.verdicts` judges by contrast."""

    TRANSIENT = "transient"
    """No answer, or one that the service itself did not give."""
    PACED = "paced"
    """The service lives and wants to be asked more slowly."""
    ACCOUNT = "account"
    """The token is not taken, or may not do that."""
    UNKNOWN = "unknown"
    """There is no such task."""
    REFUSED = "refused"
    """The service says no, in its own envelope, and not why."""
    GARBLED = "garbled"
    """The answer came and cannot be read."""
    FINAL = "final"
    """A no that asking again does not change: nothing is there, it has moved, or it wants to be paid."""
    LOCAL = "local"
    """No answer at all but a mistake on this side: raise it."""


# What an error means to a wait, the first row that fits. A plain ServiceError is told by its facts. What stands in no
# row is no answer of the service: it is raised as it is.
MEANINGS: tuple[tuple[type[OmgmjError], Meaning], ...] = (
    (UsageError, Meaning.LOCAL),
    (TransportError, Meaning.TRANSIENT),
    (RateLimited, Meaning.PACED),
    (AuthError, Meaning.ACCOUNT),
    (TaskNotFound, Meaning.UNKNOWN),
    (DecodeError, Meaning.GARBLED),
)
_TASK_CODES = frozenset({400, 404})
# Not found, and of that no more than a page; may not be asked so; gone; pay first.
_FINAL_WITHOUT_ENVELOPE = frozenset({404, 405, 410})
_FINAL = frozenset({402, 405, 410})


def meaning(error: BaseException) -> Meaning:
    """Return what `error` means to a wait."""
    if isinstance(error, TransportError) and error.for_good:
        return Meaning.FINAL
    for kind, means in MEANINGS:
        if isinstance(error, kind):
            return means
    if not isinstance(error, ServiceError):
        return Meaning.LOCAL
    if is_about_task(error.status, error.code):
        return Meaning.REFUSED
    return Meaning.FINAL if _is_final(error.status, error.code) else Meaning.TRANSIENT


def is_about_task(status: int, code: int | None) -> bool:
    """Judge whether a refusal that is not about the account or the rate is about the ID."""
    return code is not None and status < 500 and (code in _TASK_CODES or status == 404)


def _is_final(status: int, code: int | None) -> bool:
    """Judge whether a refusal stays what it is, however often one asks: a redirect is never followed."""
    if code is None:
        return 300 <= status < 400 or status in _FINAL_WITHOUT_ENVELOPE
    return code in _FINAL or status in _FINAL


def is_of_the_way(error: Exception) -> bool:
    """Whether an error is that of the address that was asked, or of the way there: the service itself said nothing.

    A refused token and a 429 are the account's, wherever it is asked.
    """
    if isinstance(error, AuthError | RateLimited):
        return False
    return isinstance(error, TransportError) or (isinstance(error, ServiceError) and error.code is None)


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
