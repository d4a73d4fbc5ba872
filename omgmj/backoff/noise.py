"""Noise: the 429s that have nothing to do with the pace, told from a limit by their share at two paces.

A limit that was met refuses nothing at a lower pace; what refuses by chance goes on as before. So answers are counted
while the pace stands well below what the service let through at the last cut, in blocks of `BLOCK`. The share of 429s
in the middle one of the last blocks is the noise: a limit seen late, a window that is used up or another session spoil
some blocks, and not the half of them. A cut counts as a block without a 429, so who meets a limit again and again takes
longer to believe in noise. 429s in excess of the noise, and of what is borne anyway, are the pace's.

Its numbers come from simulated limiters (token buckets, fixed and sliding windows, caps on what is in flight, far and
near, shared by two sessions) and from shares of noise up to 10 %: `python -m benchmarks pace` has the most telling.
"""

from __future__ import annotations

import math
from collections import deque

BORNE = 0.015
"""Share of 429s that is borne in any case: a pace a little above the limit costs no more."""
BLOCK = 50
"""Answers."""
BLOCKS = 9
"""Blocks that are remembered; two more are taken to have been without a 429."""
SAME = 0.5
"""Ratio of the noise to the share of 429s before the last cut: from this on the cut changed nothing."""
MOST = 0.15
"""Share of 429s: what is above that is never noise."""
MARGIN, NOISY_MARGIN = 1.0, 3.0
"""Standard deviations by which 429s may exceed their number, without and with noise."""
MEMORY, MEMORY_SECONDS = 100.0, 2.0
"""Answers that the share of the moment is taken over: so many, or those of so many seconds."""
PROBATION = 3.0
"""Seconds after a cut for which it is thought that the 429s before it were noise."""
TRUSTED = 30.0
"""Seconds after which noise is no longer believed without a look: the next 429 cuts, and a low pace tells."""

_PADDING = (0, 0)


class Noise:
    """The share of 429s that does not depend on the pace. Times are seconds on the caller's clock."""

    __slots__ = (
        "_answers",
        "_blocks",
        "_cut_at",
        "_in_block",
        "_measured_at",
        "_refused",
        "_refused_in_block",
        "_suspected",
        "share",
    )

    def __init__(self, now: float) -> None:
        self.share: float = 0.0
        self._answers = 0.0  # since the last cut; the older, the less an answer counts
        self._refused = 0.0  # of those
        self._in_block = self._refused_in_block = 0
        self._blocks: deque[int] = deque(maxlen=BLOCKS)  # 429s in each
        self._suspected = 0.0  # the share of 429s before the last cut
        self._cut_at = -math.inf
        self._measured_at = now

    def on_low_success(self, now: float) -> bool:
        """Record an answer that is no 429, at a pace that the service surely allows; return as `_on_low`."""
        return self._on_low(now, refused=0)

    def on_429(self, now: float, limit: float, passed: int, *, low: bool) -> bool:
        """Record a 429 at a limit of so many requests a second; return as `_on_low`.

        `passed` is how many answers were no 429 since the last one; `low`: at a pace that the service surely allows.
        """
        memory = max(MEMORY, MEMORY_SECONDS * limit)
        kept = (1 - 1 / memory) ** (passed + 1)
        self._answers = self._answers * kept + memory * (1 - kept)
        self._refused = self._refused * kept + 1
        return low and self._on_low(now, refused=1)

    def explains(self, now: float) -> bool:
        """Whether noise, and what is borne, explain the 429 that was recorded last."""
        if self._must_measure(now):
            return False
        share = max(self.share, self._suspected) if now - self._cut_at < PROBATION else self.share
        expected = self._answers * (share + BORNE)
        return self._refused <= expected + (NOISY_MARGIN if share else MARGIN) * math.sqrt(expected)

    def on_cut(self, now: float) -> None:
        """Record that the pace is cut for the 429 that was recorded last."""
        if self._must_measure(now):
            self._in_block = self._refused_in_block = 0
            self._measured_at = now
        else:
            self._blocks.append(0)  # More than noise: there is a limit, which may be or have been taken for noise.
        self._suspected = min(MOST, self._refused / self._answers)
        self._answers = self._refused = 0.0
        self._cut_at = now

    def _must_measure(self, now: float) -> bool:
        return self.share > 0 and now - self._measured_at > TRUSTED

    def _on_low(self, now: float, *, refused: int) -> bool:
        """Count an answer of a low pace; return whether noise was found just now and the cut changed nothing."""
        self._in_block += 1
        self._refused_in_block += refused
        if self._in_block < BLOCK:
            return False
        self._blocks.append(self._refused_in_block)
        self._in_block = self._refused_in_block = 0
        counts = sorted((*_PADDING, *self._blocks))
        half = len(counts) // 2
        self.share = min(MOST, (counts[half] + counts[~half]) / 2 / BLOCK)
        if not self.share:
            return False
        self._measured_at = now
        return self.share >= SAME * self._suspected
