"""How long tasks stand at a step before they end there: their hazard by the seconds since the step was seen.

What is left after a step is lognormal on most days, and `steps` has that. Where some end at once and others hang for a
minute before they fail, it is not: the hazard is high, then nothing for a while, then high again, and the lognormal
that is drawn over both asks for looks all the way. It shows by its spread.
"""

from __future__ import annotations

from omgmj.backoff.hazard import OLDEST, Hazard, Slots

BIN = 12
"""Percents that are one step."""
ENOUGH = 20
"""So many tasks must have ended at a step before anything is said of it."""
_SLOTS = Slots(0.5, doublings=13, to_each=2)  # up to an hour


class Stays:
    """How long tasks stand at each step, of one kind of task. Its size is bounded."""

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at: dict[int, Hazard] = {}

    def learn(self, progress: int, seconds: float, *, ended: bool) -> None:
        """Record for how many seconds a task stood at a step, and whether it ended there.

        Of a step at which none has ended nothing is kept.
        """
        at = self._at.get(progress // BIN)
        if at is None:
            if not ended:
                return
            at = self._at[progress // BIN] = Hazard(_SLOTS, ENOUGH)
        seconds = min(OLDEST, max(0.0, seconds))
        at.ran(0.0, seconds)
        if ended:
            at.ended(seconds)

    def wait(self, progress: int, since: float, price: float, surprises: float) -> float | None:
        """Return the seconds to the next look at a task, so many `since` the step was seen; None: too little known."""
        at = self._at.get(progress // BIN)
        return at.wait(since, price, surprises) if at is not None and at.is_known else None

    def dump(self) -> dict[str, list[list[float]]]:
        """Return what was learned as JSON takes it, step by step."""
        return {str(step): at.dump() for step, at in self._at.items()}

    def restore(self, dumped: dict[str, list[list[float]]]) -> None:
        """Take over what `dump` gave; `ValueError` where it cannot have given that."""
        for step, sums in dumped.items():
            if not 0 <= int(step) <= 100 // BIN:
                raise ValueError(f"{step} is no step")
            at = self._at[int(step)] = Hazard(_SLOTS, ENOUGH)
            at.restore(sums)
