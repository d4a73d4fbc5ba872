"""Enumerations of the service's words: statuses, with the order in which a task goes through them, and kinds of tasks.

Each is a `StrEnum`: a member equals its word. A word beyond these is no error and stays the plain string it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    """The status words that are known; a word beyond these stays the plain string it was."""

    NOT_START = "NOT_START"
    SUBMITTED = "SUBMITTED"
    IN_PROGRESS = "IN_PROGRESS"
    MODAL = "MODAL"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCEL = "CANCEL"


# The one table of statuses. A task moves from a smaller number to a larger one and never back; words with the
# same number have no order among them, and neither has an unknown word. Those with the largest are terminal.
STATUS_ORDER: Mapping[str, int] = {
    Status.NOT_START: 0,
    Status.SUBMITTED: 1,
    Status.IN_PROGRESS: 2,
    Status.MODAL: 2,
    Status.SUCCESS: 3,
    Status.FAILURE: 3,
    Status.CANCEL: 3,
}
TERMINAL = frozenset(word for word, order in STATUS_ORDER.items() if order == max(STATUS_ORDER.values()))
"""The words that end a task."""


class Kind(StrEnum):
    """The kinds of tasks that are known, the wire's `action`; a word beyond these stays the plain string it was."""

    IMAGINE = "IMAGINE"
    UPSCALE = "UPSCALE"
    VARIATION = "VARIATION"
    ZOOM = "ZOOM"
    PAN = "PAN"
    BLEND = "BLEND"
    DESCRIBE = "DESCRIBE"
    """Its final record has no image: what it made is its prompt."""
