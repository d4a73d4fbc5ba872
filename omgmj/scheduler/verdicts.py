"""Verdicts on failed polls: when each is made again, and when its ID is to be given up.

What each error means stands in `protocol`. All times are service time, so that an outage counts against no ID.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from omgmj.backoff.policies import Retry
from omgmj.backoff.retry_after import believed
from omgmj.errors import OmgmjError
from omgmj.protocol.failures import Meaning


class Patience(NamedTuple):
    """Patience with an ID: the failed polls in a row that it takes, over how many seconds."""

    polls: int
    seconds: float

    @property
    def spacing(self) -> float:
        """Seconds between two such polls, so that the last one decides."""
        return self.seconds / (self.polls - 1)


UNKNOWN = Patience(3, 10.0)
"""The service says no about the ID. Right after it was made it may not be known yet."""
UNREADABLE = Patience(3, 0.0)
"""The service's answer about the ID cannot be read."""
WHATEVER = Patience(8, 600.0)
"""The ID fails in one way or another, while others succeed."""
BELIEVED = {Meaning.TASK: UNKNOWN, Meaning.GARBLED: UNREADABLE}
"""The kinds of failure that speak about the ID by themselves, and when they are believed."""


class FailedPoll(NamedTuple):
    """A poll that failed: how, when (service time), and whether nobody succeeds just now.

    `odd`: it was refused with a 429 that concerns this ID alone.
    """

    error: OmgmjError
    meaning: Meaning
    served: float
    outage: bool
    odd: bool


class Failures:
    """Failed polls in a row at one ID: in all, and of the kind that came last."""

    __slots__ = ("began", "count", "error", "meaning", "same", "same_since", "since")

    def __init__(self, served: float) -> None:
        self.began: float = served
        self.count: int = 0
        self.same: int = 0
        self.since: float = served
        self.same_since: float = served
        self.meaning: Meaning | None = None
        self.error: OmgmjError | None = None

    def note(self, error: OmgmjError) -> None:
        """Keep an error that says nothing about the ID, for whoever asks why it takes so long; it ends a run."""
        self.error = error
        self.meaning = None

    def add(self, error: OmgmjError, meaning: Meaning, served: float) -> None:
        """Add one more failed poll."""
        if meaning is not self.meaning:
            self.meaning, self.same, self.same_since = meaning, 0, served
        if not self.count:
            self.since = served
        self.count += 1
        self.same += 1
        self.error = error

    def is_hopeless(self, served: float, last_success: float, patience: Patience | None) -> bool:
        """Whether the ID is to be given up.

        `last_success` is when a poll of any ID succeeded last; `patience` is that of the kind of failure that came
        last, None where it does not speak about the ID by itself.
        """
        if patience is not None and self.same >= patience.polls and served - self.same_since >= patience.seconds:
            return True
        return self.count >= WHATEVER.polls and served - self.since >= WHATEVER.seconds and last_success > self.since


class Verdicts:
    """The failures of all IDs, and what they come to; `failures` has those that were not forgiven, for reading."""

    def __init__(self, retry: Retry) -> None:
        self.failures: dict[int, Failures] = {}
        self._retry = retry

    def delay_after(self, task_id: int, poll: FailedPoll, last_success: float, roll: float) -> float:
        """Record a failed poll; return the seconds until it is made again, infinite where the ID is given up."""
        failures = self.failures.get(task_id)
        if failures is None:
            failures = self.failures[task_id] = Failures(poll.served)
        hint = getattr(poll.error, "retry_after", None)
        if poll.meaning is Meaning.PACED and not poll.odd:
            failures.note(poll.error)
            # The rate was cut; it holds everybody back for as long as it takes.
            return 0.0 if hint is None else believed(hint)
        if poll.outage:
            failures.note(poll.error)
            return self._retry.delay(1, roll, hint)
        failures.add(poll.error, poll.meaning, poll.served)
        if failures.is_hopeless(poll.served, last_success, BELIEVED.get(poll.meaning)):
            return math.inf
        return UNKNOWN.spacing if poll.meaning is Meaning.TASK else self._retry.delay(failures.count, roll, hint)

    def forgive(self, task_id: int, *, listed: bool) -> None:
        """Forgive the failures of an ID that was seen; those of polls only where a poll saw it, and no page did."""
        failures = self.failures.get(task_id)
        if failures is not None and not (listed and failures.count):
            del self.failures[task_id]

    def forget(self, task_id: int) -> None:
        """Forget an ID that nobody waits for."""
        self.failures.pop(task_id, None)

    def blame_service(self, task_id: int, last_success: float) -> bool:
        """Whether a failed poll of an ID speaks against the service: nobody succeeded since its failures began."""
        failures = self.failures.get(task_id)
        return failures is None or last_success <= failures.began

    def error(self, task_id: int) -> OmgmjError | None:
        """Return how the last poll of an ID failed; None where it did not."""
        failures = self.failures.get(task_id)
        return None if failures is None else failures.error
