"""When failed polls in a row at one ID mean that the ID is to be given up.

What each error means stands in `protocol`; when the next poll is due is `planner`'s business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from omgmj.errors import OmgmjError
    from omgmj.protocol.failures import Meaning


class Patience(NamedTuple):
    """How many failed polls in a row it takes, over how many seconds."""

    polls: int
    seconds: float

    @property
    def spacing(self) -> float:
        """How many seconds apart the polls are to be, so that the last one decides."""
        return self.seconds / (self.polls - 1)


UNKNOWN = Patience(3, 10.0)
"""The service says no about the ID. Right after it was made it may not be known yet."""
UNREADABLE = Patience(3, 0.0)
"""The service's answer about the ID cannot be read."""
WHATEVER = Patience(8, 600.0)
"""The ID fails in one way or another, while others succeed."""


class Failures:
    """Failed polls in a row at one ID: in all, and of the kind that came last."""

    __slots__ = ("began", "count", "error", "meaning", "same", "same_since", "since")

    def __init__(self, now: float) -> None:
        self.began: float = now
        self.count: int = 0
        self.same: int = 0
        self.since: float = now
        self.same_since: float = now
        self.meaning: Meaning | None = None
        self.error: OmgmjError | None = None

    def note(self, error: OmgmjError) -> None:
        """Keep an error that says nothing about the ID, for whoever asks why it takes so long; it ends a run."""
        self.error = error
        self.meaning = None

    def add(self, error: OmgmjError, meaning: Meaning, now: float) -> None:
        """Take in one more failed poll."""
        if meaning is not self.meaning:
            self.meaning, self.same, self.same_since = meaning, 0, now
        if not self.count:
            self.since = now
        self.count += 1
        self.same += 1
        self.error = error

    def shift(self, seconds: float) -> None:
        """Leave so many seconds out of account."""
        self.since += seconds
        self.same_since += seconds

    def is_hopeless(self, now: float, last_success: float, patience: Patience | None) -> bool:
        """Whether the ID is to be given up.

        `last_success` is when a poll of any ID succeeded last, `patience` what the kind of failure that came last
        takes, where it speaks about the ID by itself.
        """
        if patience is not None and self.same >= patience.polls and now - self.same_since >= patience.seconds:
            return True
        return self.count >= WHATEVER.polls and now - self.since >= WHATEVER.seconds and last_success > self.since
