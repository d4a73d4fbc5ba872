"""Claims: what callbacks told of watched IDs. None is believed: they only say how long the next poll can wait.

Who knows a webhook's URL can claim anything. So a claim that a task goes on is heard for `HEARD_FOR` seconds, and after
one that it has ended no other is heard for as long. The end that claims foretell is a time to poll, should the claim of
the end itself be lost.
"""

from __future__ import annotations

from omgmj.backoff.policies import HEARD_FOR, HEARTBEAT
from omgmj.scheduler.registry import NEVER

# How long after the end that claims foretell the claim of that end is waited for. `python -m benchmarks callbacks`
# shows what other values cost: a poll for nothing where it is too short, delay after a lost claim where it is too long.
SLACK = 3.0
"""Seconds, at least."""
SLACK_SHARE = 0.08
"""Share of the foretold duration."""


class Claimed:
    """Claims about one task: when it was heard of last and until when that counts, its first progress and its last."""

    __slots__ = ("at", "ends_at", "first", "first_at", "is_over", "last", "until")

    def __init__(self, at: float, until: float, *, is_over: bool = False) -> None:
        self.at: float = at
        self.until: float = until
        self.is_over: bool = is_over
        self.first: int = -1
        self.last: int = -1
        self.first_at: float = at
        self.ends_at: float = NEVER


class Claims:
    """The claims about watched IDs. Times are seconds on the planner's clock.

    `of` has what is claimed by ID, and tells with one look of how few IDs anything is.
    """

    def __init__(self) -> None:
        self.of: dict[int, Claimed] = {}

    def expect(self, task_id: int, made_at: float) -> None:
        """Note that callbacks are to come for a task made just now: until the heartbeat that counts as one."""
        self.of[task_id] = Claimed(made_at, made_at + HEARTBEAT)

    def on_progress(self, task_id: int, progress: int | None, now: float) -> None:
        """Record a claim that a task goes on."""
        claimed = self.of.get(task_id)
        if claimed is not None and claimed.is_over and now < claimed.until:
            return
        if claimed is None or claimed.is_over:
            claimed = self.of[task_id] = Claimed(now, now)
        claimed.at, claimed.until = now, now + HEARD_FOR
        if progress is not None:
            _foretell(claimed, progress, now)

    def on_end(self, task_id: int, now: float) -> None:
        """Record a claim that a task has ended: should a poll not find it so, its next ones are not put off."""
        self.of[task_id] = Claimed(now, now + HEARD_FOR, is_over=True)

    def heard(self, task_id: int, now: float) -> float | None:
        """Return how many seconds ago it was claimed that a task goes on; None where it was not, or too long ago."""
        claimed = self.of.get(task_id)
        return None if claimed is None or claimed.is_over or now >= claimed.until else max(0.0, now - claimed.at)

    def ends_at(self, task_id: int, now: float) -> float:
        """Return when to poll for the end that claims foretell; infinite where they foretell none, or it has passed."""
        claimed = self.of.get(task_id)
        return claimed.ends_at if claimed is not None and now < claimed.ends_at else NEVER

    def forget(self, task_id: int) -> None:
        """Let go of an ID that nobody waits for."""
        self.of.pop(task_id, None)


def _foretell(claimed: Claimed, progress: int, now: float) -> None:
    """Foretell the end by the pace of the claims so far. They come in any order: one that goes back says nothing."""
    if claimed.first < 0 or progress < claimed.first:
        claimed.first = claimed.last = progress
        claimed.first_at, claimed.ends_at = now, NEVER
    elif progress > claimed.last:
        claimed.last = progress
        ran = now - claimed.first_at
        left = ran * max(0, 100 - progress) / (progress - claimed.first)
        claimed.ends_at = now + left + max(SLACK, SLACK_SHARE * (ran + left))
